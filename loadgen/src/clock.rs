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

    /// The origin as people write it, in UTC.
    pub fn day(&self) -> String {
        written(self.day_at_origin / 1_000_000_000)
    }
}

/// Seconds since 1970 as `2026-11-26T14:05:00Z`.
fn written(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_the_calendar_has_them() {
        assert_eq!(written(0), "1970-01-01T00:00:00Z");
        assert_eq!(written(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(written(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(written(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(written(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn time_goes_forward() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second && clock.stamp(second) >= clock.stamp(first));
        assert!(clock.day_ms() > 1_700_000_000_000);
    }
}
