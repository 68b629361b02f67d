//! What a turn asks of the driver. Lists that are emptied and used again.

use super::id::{ConnectionId, CoreId};
use super::system::Request;

/// In the order in which they are to be done.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections with something to write.
    pub flush: Vec<ConnectionId>,
    /// Connections that end: flush what can be, shut down, and release when the peer has seen it.
    pub close: Vec<ConnectionId>,
    /// Connections to cut off at once: their time to end in order is over.
    pub cut: Vec<ConnectionId>,
    /// Connections to hand over to another core.
    pub depart: Vec<(ConnectionId, CoreId)>,
    /// Connections that had waited and may be read again.
    pub resume: Vec<ConnectionId>,
    /// What clients ask of the server itself, to be answered through `Shard::answer`.
    pub requests: Vec<Request>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        let Self { flush, close, cut, depart, resume, requests } = self;
        flush.is_empty()
            && close.is_empty()
            && cut.is_empty()
            && depart.is_empty()
            && resume.is_empty()
            && requests.is_empty()
    }
}
