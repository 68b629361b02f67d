//! A run from its first connection to its result: phases, samples, and when it is over. Not the load itself;
//! that is the workers'.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::Clock;
use crate::job::Job;
use crate::process::{self, Usage};
use crate::progress::Progress;
use crate::publisher::Pace;
use crate::schedule::Schedule;
use crate::shared::{Phase, Shared, histogram, lock};
use crate::worker::Worker;

const STEP: Duration = Duration::from_millis(5);
const SECOND: u64 = 1_000_000_000;
/// What was sent in an open loop and has not come after so long without a message is lost.
const DRAIN_NS: u64 = 2 * SECOND;

#[derive(Clone, Debug, Default)]
pub struct Interval {
    pub t_s: f64,
    pub sent: u64,
    pub received: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// What one publisher's messages have lost on their way to one subscriber, or to whichever was to get them.
#[derive(Clone, Debug)]
pub struct LossyFlow {
    pub publisher: usize,
    pub subscriber: Option<usize>,
    pub sent: u64,
    pub received: u64,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
struct Sample {
    now: u64,
    sent: u64,
    received: u64,
    server: Option<Usage>,
    /// CPU and idle time of each.
    threads: Vec<(process::Spent, u64)>,
}

/// What a run has found out.
pub struct Outcome {
    /// Time of day.
    pub started: String,
    pub duration_s: f64,
    pub sent: u64,
    pub expected: u64,
    pub received: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub foreign: u64,
    pub lossy_flows: Vec<LossyFlow>,
    pub window_sent: u64,
    pub window_received: u64,
    pub latency: Histogram<u64>,
    pub handshakes: Histogram<u64>,
    pub opened: u64,
    pub server: Option<(Usage, Usage)>,
    pub memory_per_connection: Option<f64>,
    pub own_cpu_s: f64,
    pub busy: f64,
    /// The share of the run in which a thread was ready and others had its CPU, at worst.
    pub waited: f64,
    pub late: u64,
    pub intervals: Vec<Interval>,
    pub failure: Option<String>,
    pub is_interrupted: bool,
}

impl Outcome {
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received - self.duplicates)
    }
}

impl Job {
    /// Carries it out. Failures are part of the outcome; an error is something that kept it from beginning.
    pub fn run(&self, progress: &Progress, interrupted: &Arc<AtomicBool>) -> Result<Outcome, String> {
        let clock = Clock::start();
        let plan = &self.plan;
        if let Some(pid) = self.server_pid {
            process::usage(pid).map_err(|error| format!("--server-pid {pid}: {error}"))?;
        }
        if let Some(core) = self.core {
            pin(core)?;
        }
        let shared = Shared::new(clock, self.threads, plan.publishers, plan.receipts_per_publisher())
            .map_err(|error| error.to_string())?;
        let before = self.server_pid.and_then(|pid| process::usage(pid).ok());
        std::thread::scope(|scope| {
            for (idx, order) in self.orders(clock).into_iter().enumerate() {
                let shared = &shared;
                scope.spawn(move || {
                    let started = order.core.map_or(Ok(()), pin).and_then(|()| {
                        Worker::new(shared, plan, idx, order).map_err(|error| error.to_string())
                    });
                    match started {
                        Ok(mut worker) => worker.run(),
                        Err(error) => shared.fail(error),
                    }
                });
            }
            let mut course = Course::new(self, &shared, progress, interrupted);
            course.go();
            shared.go(Phase::Stopped);
            Ok(course.outcome(before))
        })
    }
}

/// A run as seen from the main thread.
struct Course<'a> {
    job: &'a Job,
    shared: &'a Shared,
    progress: &'a Progress,
    interrupted: &'a AtomicBool,
    latency: Histogram<u64>,
    intervals: Vec<Interval>,
    begin: Sample,
    end: Sample,
    moved: (u64, u64),
}

impl<'a> Course<'a> {
    fn new(
        job: &'a Job,
        shared: &'a Shared,
        progress: &'a Progress,
        interrupted: &'a AtomicBool,
    ) -> Course<'a> {
        Course {
            job,
            shared,
            progress,
            interrupted,
            latency: histogram(),
            intervals: Vec::new(),
            begin: Sample::default(),
            end: Sample::default(),
            moved: (0, 0),
        }
    }

    fn go(&mut self) {
        let n_clients = (self.job.plan.publishers + self.job.plan.subscribers) as u64;
        loop {
            let n_ready = self.shared.sum(|cell| &cell.ready);
            if n_ready >= n_clients {
                break;
            }
            if self.is_over() {
                return;
            }
            self.progress.opened(n_ready, n_clients);
            std::thread::sleep(STEP);
        }
        self.shared.start(self.shared.clock.now());
        let warm = self.job.warmup + self.job.ramp_up;
        if !warm.is_zero() {
            self.progress.warms_up(n_clients, warm);
            if !self.pass(self.shared.started() + warm.as_nanos() as u64, false) {
                return;
            }
            self.shared.take_latencies();
        }
        self.begin = self.sample();
        self.end = self.begin.clone();
        self.progress.begins(self.job.msgs.is_some() || self.job.duration.is_some());
        let until =
            self.job.duration.map_or(u64::MAX, |duration| self.begin.now + duration.as_nanos() as u64);
        self.pass(until, true);
        self.close_interval();
        self.end = self.sample();
        if self.shared.failure().is_none() {
            self.drain();
        }
    }

    /// Lets time pass; false if the run is over before.
    fn pass(&mut self, until: u64, is_measured: bool) -> bool {
        let mut next_interval = self.shared.clock.now() + SECOND;
        self.moved = (0, self.shared.clock.now());
        loop {
            let now = self.shared.clock.now();
            if now >= until {
                return true;
            }
            if self.is_over() || (is_measured && self.has_all()) {
                return false;
            }
            self.check_movement(now, self.job.timeout.as_nanos() as u64);
            if is_measured && now >= next_interval {
                self.close_interval();
                next_interval += SECOND;
            }
            self.progress.moves(if is_measured { self.share(now) } else { None });
            std::thread::sleep(STEP.min(Duration::from_nanos(until - now)));
        }
    }

    fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.shared.failure().is_some()
    }

    /// Whether all that `--msgs` asked for is done.
    fn has_all(&self) -> bool {
        let Some(msgs) = self.job.msgs else { return false };
        let plan = &self.job.plan;
        if plan.publishers == 0 {
            return self.unique() >= msgs;
        }
        let is_sent = self.shared.sum(|cell| &cell.finished) == plan.publishers as u64;
        is_sent && (self.unique() >= self.expected() || self.shared.clock.now() - self.moved.1 > DRAIN_NS)
    }

    fn unique(&self) -> u64 {
        self.shared.sum(|cell| &cell.received) - self.shared.sum(|cell| &cell.duplicates)
    }

    fn expected(&self) -> u64 {
        self.shared.sum(|cell| &cell.sent) * self.job.plan.copies()
    }

    /// What should move and does not will not move any more.
    fn check_movement(&mut self, now: u64, timeout: u64) {
        let moves = self.shared.sum(|cell| &cell.sent) + self.shared.sum(|cell| &cell.received);
        if moves != self.moved.0 {
            self.moved = (moves, now);
        }
        if now - self.moved.1 > timeout && self.should_move(now, timeout) {
            self.shared.fail(format!("nothing has moved for {:?}: {}", self.job.timeout, self.waiting()));
        }
    }

    fn should_move(&self, now: u64, timeout: u64) -> bool {
        let publishers = self.job.plan.publishers as u64;
        let is_sending = self.shared.sum(|cell| &cell.finished) < publishers;
        match self.job.pace {
            Pace::Lag(_) => true,
            Pace::Flood if publishers > 0 => is_sending,
            // Who only listens may have to wait for the first message, but not in the middle of so many.
            Pace::Flood => self.job.msgs.is_some() && self.moved.0 > 0,
            Pace::Rate { per_second, ramp_ns } => {
                let since = now.saturating_sub(self.shared.started() + timeout);
                let due = Schedule::new(per_second, ramp_ns).due(since);
                is_sending && due > self.shared.sum(|cell| &cell.sent)
            }
        }
    }

    /// Which flow waits for what.
    fn waiting(&self) -> String {
        let plan = &self.job.plan;
        let said = self.shared.last_heard();
        let said = if said.is_empty() {
            "the server has said nothing".into()
        } else {
            format!("the server last said: {said}")
        };
        for publisher in 0..plan.publishers {
            let (sent, got) = self.flows_of(publisher);
            let (subscriber, got) = if plan.copies() == 1 {
                (None, got.sum())
            } else {
                got.enumerate()
                    .min_by_key(|(_, got)| *got)
                    .map_or((None, sent), |(idx, got)| (Some(idx), got))
            };
            if got < sent {
                let who =
                    subscriber.map_or_else(|| "no subscriber".into(), |idx| format!("subscriber {idx} not"));
                return format!(
                    "{} of the {sent} messages of publisher {publisher} are under way, which {who} has received; {said}",
                    sent - got
                );
            }
        }
        match (plan.publishers, self.job.msgs) {
            (0, Some(msgs)) => format!("{} of {msgs} messages have come; {said}", self.unique()),
            _ => format!("the server takes no more, or acknowledges nothing; {said}"),
        }
    }

    /// What a publisher has sent, and what of it each receipt counts.
    fn flows_of(&self, publisher: usize) -> (u64, impl Iterator<Item = u64> + use<'_, 'a>) {
        let n = self.job.plan.receipts_per_publisher();
        let receipts = &self.shared.receipts[publisher * n..(publisher + 1) * n];
        let got = receipts.iter().map(|got| got.load(Ordering::Acquire));
        (self.shared.sent[publisher].load(Ordering::Acquire), got)
    }

    fn lossy_flows(&self) -> Vec<LossyFlow> {
        let plan = &self.job.plan;
        let mut lossy = Vec::new();
        for publisher in (0..plan.publishers).filter(|_| plan.copies() > 0) {
            let (sent, got) = self.flows_of(publisher);
            if plan.copies() == 1 {
                lossy.push(LossyFlow { publisher, subscriber: None, sent, received: got.sum() });
            } else {
                lossy.extend(got.enumerate().map(|(idx, received)| LossyFlow {
                    publisher,
                    subscriber: Some(idx),
                    sent,
                    received,
                }));
            }
            lossy.retain(|flow| flow.received < flow.sent);
        }
        lossy.sort_by_key(|flow| std::cmp::Reverse(flow.sent - flow.received));
        lossy
    }

    /// What is under way still counts, and a server confirms that it has read what was sent.
    fn drain(&mut self) {
        self.shared.go(Phase::Draining);
        let publishers = self.job.plan.publishers as u64;
        let timeout = self.job.timeout.as_nanos() as u64;
        self.moved = (0, self.shared.clock.now());
        loop {
            let is_confirmed = self.shared.sum(|cell| &cell.confirmed) >= publishers;
            let has_all = publishers == 0 || self.unique() >= self.expected();
            if (is_confirmed && has_all) || self.shared.failure().is_some() {
                return;
            }
            let now = self.shared.clock.now();
            let moves = self.shared.sum(|cell| &cell.confirmed) + self.shared.sum(|cell| &cell.received);
            if moves != self.moved.0 {
                self.moved = (moves, now);
            }
            let is_interrupted = self.interrupted.load(Ordering::Relaxed);
            let is_lossy = is_confirmed && !matches!(self.job.pace, Pace::Lag(_));
            let patience = if is_lossy || is_interrupted { DRAIN_NS } else { timeout };
            if now - self.moved.1 > patience {
                if !is_confirmed && !is_interrupted {
                    let waited = self.job.timeout;
                    let text = "no answer to a ping behind the last messages";
                    self.shared.fail(format!("{text} within {waited:?}: {}", self.waiting()));
                }
                return;
            }
            std::thread::sleep(STEP);
        }
    }

    fn sample(&self) -> Sample {
        let cells = &self.shared.cells;
        let threads = cells.iter().map(|cell| {
            let spent = process::own_thread(cell.thread_id.load(Ordering::Relaxed));
            (spent, cell.idle_ns.load(Ordering::Relaxed))
        });
        Sample {
            sent: self.shared.sum(|cell| &cell.sent),
            received: self.shared.sum(|cell| &cell.received),
            server: self.job.server_pid.and_then(|pid| process::usage(pid).ok()),
            now: self.shared.clock.now(),
            threads: threads.collect(),
        }
    }

    fn close_interval(&mut self) {
        let latencies = self.shared.take_latencies();
        let (sent, received) =
            self.intervals.iter().fold((self.begin.sent, self.begin.received), |(sent, received), one| {
                (sent + one.sent, received + one.received)
            });
        let interval = Interval {
            t_s: (self.shared.clock.now() - self.begin.now) as f64 / 1e9,
            sent: self.shared.sum(|cell| &cell.sent) - sent,
            received: self.shared.sum(|cell| &cell.received) - received,
            p50_us: latencies.value_at_quantile(0.5) as f64 / 1e3,
            p99_us: latencies.value_at_quantile(0.99) as f64 / 1e3,
            max_us: latencies.max() as f64 / 1e3,
        };
        self.latency.add(latencies).expect("the bounds are the same");
        let before = self.intervals.last().map_or(0.0, |last| last.t_s);
        self.progress.interval(&interval, before);
        self.intervals.push(interval);
    }

    /// How far the run is, where that is known.
    fn share(&self, now: u64) -> Option<f64> {
        match (self.job.msgs, self.job.duration) {
            (Some(msgs), _) if self.job.plan.publishers == 0 => {
                Some(self.unique() as f64 / msgs.max(1) as f64)
            }
            (Some(msgs), _) => Some(self.shared.sum(|cell| &cell.sent) as f64 / msgs.max(1) as f64),
            (None, Some(duration)) => Some((now - self.begin.now) as f64 / duration.as_nanos().max(1) as f64),
            _ => None,
        }
    }

    fn outcome(self, before: Option<Usage>) -> Outcome {
        let plan = &self.job.plan;
        let (begin, end) = (&self.begin, &self.end);
        let expected = if plan.publishers == 0 { self.unique() } else { self.expected() };
        let duration_s = (end.now - begin.now) as f64 / 1e9;
        let busy = begin
            .threads
            .iter()
            .zip(&end.threads)
            .map(|(begin, end)| 1.0 - (end.1 - begin.1) as f64 / 1e9 / duration_s.max(1e-9));
        // Of the load's own threads: other jobs may run in this process.
        let spent = || begin.threads.iter().zip(&end.threads).map(|(begin, end)| (begin.0, end.0));
        let own_cpu: u64 = spent().map(|(begin, end)| end.cpu_ns.saturating_sub(begin.cpu_ns)).sum();
        let waited = spent().map(|(begin, end)| end.waited_ns.saturating_sub(begin.waited_ns)).max();
        let mut handshakes = histogram();
        for cell in &self.shared.cells {
            handshakes.add(&*lock(&cell.handshakes)).expect("the bounds are the same");
        }
        let opened = self.shared.sum(|cell| &cell.ready);
        let memory = match (before, end.server) {
            (Some(before), Some(now)) if opened > 0 => {
                Some((now.rss_bytes as f64 - before.rss_bytes as f64) / opened as f64)
            }
            _ => None,
        };
        Outcome {
            started: self.shared.clock.day(),
            duration_s,
            sent: self.shared.sum(|cell| &cell.sent),
            expected,
            received: self.shared.sum(|cell| &cell.received),
            duplicates: self.shared.sum(|cell| &cell.duplicates),
            reordered: self.shared.sum(|cell| &cell.reordered),
            foreign: self.shared.sum(|cell| &cell.foreign),
            lossy_flows: self.lossy_flows(),
            window_sent: end.sent - begin.sent,
            window_received: end.received - begin.received,
            latency: self.latency,
            handshakes,
            opened,
            server: begin.server.zip(end.server),
            memory_per_connection: memory,
            own_cpu_s: own_cpu as f64 / 1e9,
            busy: busy.fold(0.0, f64::max).clamp(0.0, 1.0),
            waited: (waited.unwrap_or(0) as f64 / 1e9 / duration_s.max(1e-9)).clamp(0.0, 1.0),
            late: self.shared.sum(|cell| &cell.late),
            intervals: self.intervals,
            failure: self.shared.failure().map(|failure| failure.text),
            is_interrupted: self.interrupted.load(Ordering::Relaxed),
        }
    }
}

pub fn pin(core: usize) -> Result<(), String> {
    let mut set = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(format!("--core {core}: there is no such core"));
    }
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("--core {core}: {error}"))
}
