//! The only place that reads clocks. Not a schedule: who sends when is `schedule`.

use rustix::thread::ClockId;
use rustix::time::{Timespec, clock_gettime};

/// Monotonic nanoseconds since the process began to look, and the same as time of day for headers.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: u64,
    /// Time of day at the origin; so `pub` and `sub` in two processes speak of the same time.
    day_at_origin: u64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { origin: read(ClockId::Monotonic), day_at_origin: read(ClockId::Realtime) }
    }

    #[inline]
    pub fn now(&self) -> u64 {
        read(ClockId::Monotonic).saturating_sub(self.origin)
    }

    /// What a header carries for this moment; `payload` keeps the low 48 bits.
    #[inline]
    pub fn stamp(&self, now: u64) -> u64 {
        self.day_at_origin.wrapping_add(now)
    }

    /// Milliseconds since 1970, for run ids and client names.
    pub fn day_ms(&self) -> u64 {
        self.day_at_origin / 1_000_000
    }
}

/// Nanoseconds of CPU that the process has used.
pub fn process_cpu() -> u64 {
    read(ClockId::ProcessCPUTime)
}

#[inline]
fn read(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    (tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(tv_nsec as u64)
}
