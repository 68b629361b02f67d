//! The ops that a client may send, as borrowed views of its bytes. Not their meaning: `connection` has it.

use crate::message::Digits;

/// One op with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// The JSON text, unread.
    Connect(&'a [u8]),
    Ping,
    Pong,
    /// `+OK` and `INFO` from a client mean nothing to a server.
    Ignored,
    Publish(Publish<'a>),
    Subscribe {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    /// `max` counts deliveries since SUB. `None`, and a number that nothing can reach, mean now.
    Unsubscribe {
        sid: &'a [u8],
        max: Option<u64>,
    },
}

impl Op<'_> {
    /// Whether the op belongs to a run of SUB, UNSUB and PING, which shares one wait for the other cores.
    pub fn joins_run(&self) -> bool {
        matches!(self, Self::Subscribe { .. } | Self::Unsubscribe { .. } | Self::Ping)
    }
}

/// PUB or HPUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub subject: &'a [u8],
    /// Empty where the op had none.
    pub reply: &'a [u8],
    /// The header block as it came; empty with PUB, and with an HPUB that announced 0 bytes.
    pub header: &'a [u8],
    pub payload: &'a [u8],
    pub digits: Digits,
}
