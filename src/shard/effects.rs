//! What a turn asks of the driver. Lists that are emptied and used again.

use super::id::{ConnectionId, CoreId};

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
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        let Self { flush, close, cut, depart, resume } = self;
        flush.is_empty() && close.is_empty() && cut.is_empty() && depart.is_empty() && resume.is_empty()
    }
}
