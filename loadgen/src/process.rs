//! What /proc says about the server under test and about our own threads.

use std::fs;
use std::io;

/// CPU seconds and memory at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    /// Its threads were ready to run and had no CPU for so long, all together.
    pub waited_s: f64,
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
}

/// All threads of a process.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (user_s, system_s) = times(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    // Ticks are coarse; the scheduler's own sum is in nanoseconds but forgets threads that have ended.
    let Spent { cpu_ns, waited_ns } = threads(pid).unwrap_or_default();
    let precise = cpu_ns as f64 / 1e9;
    let coarse = user_s + system_s;
    let cpu_s = if (precise - coarse).abs() < 0.05 { precise } else { coarse };
    Ok(Usage {
        cpu_s,
        user_s,
        system_s,
        waited_s: waited_ns as f64 / 1e9,
        rss_bytes: kib(&status, "VmRSS:") * 1024,
        rss_peak_bytes: kib(&status, "VmHWM:") * 1024,
    })
}

/// What the scheduler counts of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub cpu_ns: u64,
    /// Ready to run, while others had the CPU.
    pub waited_ns: u64,
}

/// Of one of our own threads.
pub fn own_thread(thread_id: u32) -> Spent {
    let text = fs::read_to_string(format!("/proc/self/task/{thread_id}/schedstat"));
    text.ok().and_then(|text| spent(&text)).unwrap_or_default()
}

fn threads(pid: u32) -> io::Result<Spent> {
    let mut sum = Spent::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        let Spent { cpu_ns, waited_ns } = spent(&schedstat).ok_or(io::ErrorKind::InvalidData)?;
        sum.cpu_ns += cpu_ns;
        sum.waited_ns += waited_ns;
    }
    Ok(sum)
}

fn spent(schedstat: &str) -> Option<Spent> {
    let mut fields = schedstat.split_whitespace().map(str::parse);
    Some(Spent { cpu_ns: fields.next()?.ok()?, waited_ns: fields.next()?.ok()? })
}

/// The 14th and 15th field; the second is a name in brackets that may hold anything.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some((fields.next()?? / ticks, fields.next()?? / ticks))
}

fn kib(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_brackets_does_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(times(stat), Some((250.0 / ticks, 50.0 / ticks)));
        assert_eq!(times("nothing"), None);
    }

    #[test]
    fn waiting_for_a_cpu_is_told_from_using_one() {
        assert_eq!(spent("1500 20 3\n"), Some(Spent { cpu_ns: 1500, waited_ns: 20 }));
        assert_eq!(spent("1500"), None);
    }

    #[test]
    fn we_can_be_looked_at_ourselves() {
        let usage = usage(std::process::id()).expect("we are alive");
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes);
    }
}
