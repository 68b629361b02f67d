//! What does not change while the process runs: its name, its listeners, its limits. Also the wall clock,
//! which is that of the beginning and the time since.

use crate::time::{Span, Time};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug)]
pub struct About {
    pub started_at: SystemTime,
    pub server_id: String,
    pub server_name: String,
    /// The nats-server release whose protocol is spoken.
    pub nats_version: &'static str,
    pub nats: Option<SocketAddr>,
    pub mqtt: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub n_processors: usize,
    pub n_cores: usize,
    pub connections_max: usize,
    /// Of one NATS connection; 0 for any number.
    pub subscriptions_max: usize,
    pub ping_interval: Span,
    pub pings_outstanding_max: u32,
    pub control_line_bytes_max: usize,
    pub payload_bytes_max: usize,
    pub write_queue_bytes_max: usize,
    pub write_timeout: Span,
}

impl About {
    /// One for tests.
    #[cfg(test)]
    pub fn of_cores(n_cores: usize) -> Self {
        Self {
            started_at: UNIX_EPOCH,
            server_id: "ID".into(),
            server_name: "strait".into(),
            nats_version: "2.10.0",
            nats: None,
            mqtt: None,
            admin: None,
            n_processors: 1,
            n_cores,
            connections_max: 1,
            subscriptions_max: 0,
            ping_interval: Span::from_secs(120),
            pings_outstanding_max: 2,
            control_line_bytes_max: 4_096,
            payload_bytes_max: 1,
            write_queue_bytes_max: 1,
            write_timeout: Span::from_secs(10),
        }
    }

    /// A moment as people write it: RFC 3339, in UTC, with nanoseconds.
    pub fn date(&self, time: Time) -> String {
        date(self.started_at + Duration::from_nanos(time.as_nanos()))
    }
}

fn date(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// Year, month and day of a number of days after 1970-01-01. Years begin in March here, so that a leap day is
/// a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / (DAYS_OF_400_YEARS - 1)) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// A span as nats-server writes it: `3d4h5m6s`, from its largest unit to seconds.
pub fn uptime(span: Span) -> String {
    let seconds = span.as_nanos() / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let years = days / 365;
    let (second, minute, hour, day) = (seconds % 60, minutes % 60, hours % 24, days % 365);
    if years > 0 {
        format!("{years}y{day}d{hour}h{minute}m{second}s")
    } else if days > 0 {
        format!("{day}d{hour}h{minute}m{second}s")
    } else if hours > 0 {
        format!("{hour}h{minute}m{second}s")
    } else if minutes > 0 {
        format!("{minute}m{second}s")
    } else {
        format!("{second}s")
    }
}

/// A span as Go writes it, to the microsecond: `1.234ms`.
pub fn duration(span: Span) -> String {
    let micros = span.as_micros();
    let (unit, name) = match micros {
        0..1_000 => return format!("{micros}µs"),
        1_000..1_000_000 => (1_000, "ms"),
        _ => (1_000_000, "s"),
    };
    let digits = if unit == 1_000 { 3 } else { 6 };
    let text = format!("{}.{:0digits$}", micros / unit, micros % unit);
    format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (micros, expected) in [
            (0, "0µs"),
            (999, "999µs"),
            (1_000, "1ms"),
            (1_230, "1.23ms"),
            (10_005, "10.005ms"),
            (2_000_000, "2s"),
            (2_000_001, "2.000001s"),
            (75_500_000, "75.5s"),
        ] {
            assert_eq!(duration(Span::from_nanos(micros * 1_000)), expected);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (951_868_800, "2000-03-01T00:00:00.000000007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::new(seconds, 7)), expected);
        }
    }

    #[test]
    fn spans_begin_with_their_largest_unit() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (7_200, "2h0m0s"),
            (90_061, "1d1h1m1s"),
            (366 * 86_400, "1y1d0h0m0s"),
        ] {
            assert_eq!(uptime(Span::from_secs(seconds)), expected);
        }
    }
}
