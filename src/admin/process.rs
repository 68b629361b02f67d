//! What the process uses of its host, as the kernel tells it.

use crate::time::Time;
use std::fs;

/// Linux counts the time of processes in hundredths of a second for whoever reads it.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Shorter than this a share of the processor is noise, in nanoseconds.
const SAMPLE_NANOS_MIN: u64 = 500_000_000;

/// The share of a processor that was used since the last look.
#[derive(Debug, Default)]
pub struct Processor {
    looked_at: Time,
    n_ticks: u64,
    percent: f64,
}

impl Processor {
    /// In hundredths of one processor.
    pub fn percent(&mut self, now: Time) -> f64 {
        let elapsed = now.since(self.looked_at).as_nanos();
        if elapsed >= SAMPLE_NANOS_MIN
            && let Some(n_ticks) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(ticks)
        {
            let used = n_ticks.saturating_sub(self.n_ticks) * NANOS_PER_TICK;
            self.percent = (used as f64 / elapsed as f64 * 1_000.0).round() / 10.0;
            self.n_ticks = n_ticks;
            self.looked_at = now;
        }
        self.percent
    }
}

/// User's and system's ticks: the 14th and 15th field, counted behind the name in brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Memory that is resident, in bytes.
pub fn resident_bytes() -> u64 {
    let kib = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_kib);
    kib.unwrap_or(0) * 1_024
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
        assert_eq!(resident_kib("VmPeak:\t 9 kB\nVmRSS:\t  123 kB\n"), Some(123));
        assert!(resident_bytes() > 1 << 20);
    }

    #[test]
    fn a_share_is_that_since_the_last_look() {
        let mut processor = Processor::default();
        let first = processor.percent(Time::from_nanos(SAMPLE_NANOS_MIN));
        // Too soon for another.
        assert_eq!(processor.percent(Time::from_nanos(SAMPLE_NANOS_MIN + 1)), first);
    }
}
