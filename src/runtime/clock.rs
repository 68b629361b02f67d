//! The clock, which only this folder reads.

use crate::time::Time;
use std::time::Instant;

/// Time since the process began, the same on every core.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "here time comes from")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(self) -> Time {
        Time::from_nanos(self.start.elapsed().as_nanos() as u64)
    }
}
