//! The clock, which only this folder reads.

use crate::time::Time;
use std::time::{Instant, SystemTime};

/// Time since the process began, the same on every core.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    date: SystemTime,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "here time comes from")]
    pub fn start() -> Self {
        Self { start: Instant::now(), date: SystemTime::now() }
    }

    /// When the process began, as the host's calendar had it.
    pub fn date_of_start(self) -> SystemTime {
        self.date
    }

    pub fn now(self) -> Time {
        Time::from_nanos(self.start.elapsed().as_nanos() as u64)
    }
}
