//! What the threads of a run tell each other: the phase, counters with one writer each, and the first failure.
//! Not results; `run` makes those of it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use rustix::event::EventfdFlags;

use crate::clock::Clock;

/// Where the run is. Only `run` moves it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Connecting,
    Running,
    /// No more publishing; what is under way still arrives.
    Draining,
    Stopped,
}

const PHASES: [Phase; 4] = [Phase::Connecting, Phase::Running, Phase::Draining, Phase::Stopped];

/// One worker's counters. It alone writes them.
pub struct Cell {
    pub sent: AtomicU64,
    pub received: AtomicU64,
    pub duplicates: AtomicU64,
    pub reordered: AtomicU64,
    /// Payloads that are not this run's.
    pub foreign: AtomicU64,
    pub late: AtomicU64,
    /// Clients that are ready, and publishers that have sent all they were asked for.
    pub ready: AtomicU64,
    pub finished: AtomicU64,
    /// Publishers whose server has confirmed that it has read all.
    pub confirmed: AtomicU64,
    pub idle_ns: AtomicU64,
    /// For /proc; 0 before the thread runs.
    pub thread_id: AtomicU32,
    /// Swapped out by `run`; the worker holds the lock while it reads a turn's sockets.
    pub latency: Mutex<Histogram<u64>>,
    pub handshakes: Mutex<Histogram<u64>>,
    is_asleep: AtomicBool,
    waker: OwnedFd,
}

impl Cell {
    fn new() -> std::io::Result<Cell> {
        let zero = || AtomicU64::new(0);
        Ok(Cell {
            sent: zero(),
            received: zero(),
            duplicates: zero(),
            reordered: zero(),
            foreign: zero(),
            late: zero(),
            ready: zero(),
            finished: zero(),
            confirmed: zero(),
            idle_ns: zero(),
            thread_id: AtomicU32::new(0),
            latency: Mutex::new(histogram()),
            handshakes: Mutex::new(histogram()),
            is_asleep: AtomicBool::new(false),
            waker: rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    pub fn waker(&self) -> &OwnedFd {
        &self.waker
    }

    /// Said before sleeping; afterwards the sleeper looks once more at what might wake it.
    pub fn set_asleep(&self, is_asleep: bool) {
        self.is_asleep.store(is_asleep, Ordering::SeqCst);
    }

    pub fn wake(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) {
            // Full means that it is awake already.
            let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
        }
    }
}

/// Nanoseconds, three digits, up to an hour.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are in order")
}

/// Why a run ends early.
#[derive(Clone, Debug)]
pub struct Failure {
    pub text: String,
}

pub struct Shared {
    pub clock: Clock,
    phase: AtomicU8,
    /// When `Running` began.
    started: AtomicU64,
    pub cells: Vec<Cell>,
    /// By publisher.
    pub sent: Vec<AtomicU64>,
    /// By publisher, then by receipt; each has one writer.
    pub receipts: Vec<AtomicU64>,
    /// Counts receipts and acknowledgements of any kind, to see that something moves.
    failure: Mutex<Option<Failure>>,
    said: Mutex<String>,
}

impl Shared {
    pub fn new(clock: Clock, workers: usize, publishers: usize, receipts: usize) -> std::io::Result<Shared> {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Ok(Shared {
            clock,
            phase: AtomicU8::new(0),
            started: AtomicU64::new(0),
            cells: (0..workers).map(|_| Cell::new()).collect::<Result<_, _>>()?,
            sent: zeros(publishers),
            receipts: zeros(publishers * receipts),
            failure: Mutex::new(None),
            said: Mutex::new(String::new()),
        })
    }

    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire)).min(PHASES.len() - 1)]
    }

    pub fn start(&self, now: u64) {
        self.started.store(now, Ordering::Release);
        self.go(Phase::Running);
    }

    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    pub fn go(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        self.cells.iter().for_each(Cell::wake);
    }

    /// The first one counts; what follows from it would only hide it.
    pub fn fail(&self, text: String) {
        lock(&self.failure).get_or_insert(Failure { text });
    }

    pub fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// Keeps a server's last word that was not a message.
    pub fn heard(&self, text: &str) {
        text.clone_into(&mut lock(&self.said));
    }

    pub fn last_heard(&self) -> String {
        lock(&self.said).clone()
    }

    /// The sum of a counter over the workers.
    pub fn sum(&self, counter: impl Fn(&Cell) -> &AtomicU64) -> u64 {
        self.cells.iter().map(|cell| counter(cell).load(Ordering::Relaxed)).sum()
    }

    /// Takes the latencies recorded since the last time.
    pub fn take_latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        for cell in &self.cells {
            let taken = std::mem::replace(&mut *lock(&cell.latency), histogram());
            all.add(taken).expect("the bounds are the same");
        }
        all
    }
}

/// A worker that panicked has poisoned nothing that its counters could not say.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
