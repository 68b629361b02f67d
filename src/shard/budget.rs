//! How much a core does of what has waited, before it looks at its sockets and its mail again. A hundred
//! thousand clients may wait for one word of another core, and what each of them is then written is a call of
//! the shard's as well: were that to let the next ones go on, the driver would write until all had.

use crate::time::{Span, Time};

/// What is left of it, of each kind.
#[derive(Debug)]
pub struct Budget {
    began_at: Time,
    /// Fences that end. Each lets a connection go on.
    pub fences: usize,
    /// Connections that go on, and wills that are published.
    pub pieces: usize,
    /// Notices of the gateway's that are published.
    pub notices: usize,
    /// Answers of the gateway's to those who published.
    pub answers: usize,
    /// Messages that members of groups have left behind, and sessions that are looked through for them.
    pub left_behind: usize,
}

/// How long a budget is one: what comes later has another.
const SLICE: Span = Span::from_millis(1);

impl Budget {
    pub fn new(now: Time) -> Self {
        Self { began_at: now, fences: 128, pieces: 256, notices: 256, answers: 256, left_behind: 256 }
    }

    /// For input and mail, which may come a hundred times in a moment.
    #[inline]
    pub fn renew_if_old(&mut self, now: Time) {
        if now.since(self.began_at) >= SLICE {
            *self = Self::new(now);
        }
    }
}
