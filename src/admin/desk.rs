//! Where a core and the admin thread meet: counters in atomics that only the core writes, and recorded
//! latencies that change hands when they are asked for. Neither waits for the other.

use crate::shard::counters::{Counters, N_WORDS};
use crate::shard::latency::Latencies;
use crate::time::{Span, Time};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// How old the published counters of a busy core may be; one that is asked publishes at once.
const PUBLISH_EVERY: Span = Span::from_millis(1);

/// How far the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Starting,
    Serving,
    Draining,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The admin thread's side.
#[derive(Debug)]
pub struct Desks {
    pub(super) cores: Vec<AdminDesk>,
    pub(super) shared: Arc<Shared>,
}

/// What any thread may set.
#[derive(Debug)]
pub struct Shared {
    stage: AtomicU8,
    /// Connections turned away: for their number, and for want of descriptors.
    pub n_turned_away: [AtomicU64; 2],
}

impl Shared {
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Serving,
            _ => Stage::Draining,
        }
    }
}

/// One core as the admin thread reaches it.
#[derive(Debug)]
pub(super) struct AdminDesk {
    pub board: Arc<Board>,
    pub asks: Sender<Box<Latencies>>,
    pub answers: mpsc::UnboundedReceiver<Box<Latencies>>,
}

/// A core's side.
#[derive(Debug)]
pub struct CoreDesk {
    board: Arc<Board>,
    published_at: Time,
    asks: Receiver<Box<Latencies>>,
    answers: mpsc::UnboundedSender<Box<Latencies>>,
}

/// A core's counters as other threads may read them; lines of the cache that no other core writes.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Board {
    words: [AtomicU64; N_WORDS],
}

impl Board {
    fn publish(&self, counters: &Counters) {
        // One writer each: plain stores.
        for (word, value) in self.words.iter().zip(counters.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> Counters {
        Counters::from_words(&std::array::from_fn(|idx| self.words[idx].load(Ordering::Relaxed)))
    }
}

/// Desks for `n_cores`: the admin thread's side, and one for each core.
pub fn desks(n_cores: usize) -> (Desks, Vec<CoreDesk>) {
    let shared = Shared {
        stage: AtomicU8::new(Stage::Starting as u8),
        n_turned_away: [AtomicU64::new(0), AtomicU64::new(0)],
    };
    let (admin, cores) = (0..n_cores).map(|_| desk()).unzip();
    (Desks { cores: admin, shared: Arc::new(shared) }, cores)
}

fn desk() -> (AdminDesk, CoreDesk) {
    let board = Arc::new(Board { words: [const { AtomicU64::new(0) }; N_WORDS] });
    // One set of latencies goes back and forth.
    let (asks, asked) = bounded(1);
    let (answers, answered) = mpsc::unbounded_channel();
    let core = CoreDesk { board: board.clone(), published_at: Time::START, asks: asked, answers };
    (AdminDesk { board, asks, answers: answered }, core)
}

impl Desks {
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}

impl CoreDesk {
    /// Whether the published counters are old enough for a busy core to publish again.
    #[inline]
    pub fn is_due(&self, now: Time) -> bool {
        now.since(self.published_at) >= PUBLISH_EVERY
    }

    pub fn publish(&mut self, counters: &Counters, now: Time) {
        self.published_at = now;
        self.board.publish(counters);
    }

    /// An empty set of latencies where the admin thread asks for the core's.
    pub fn asked(&self) -> Option<Box<Latencies>> {
        self.asks.try_recv().ok()
    }

    /// Gives the admin thread what was recorded. It may be gone; then nobody wants it.
    pub fn answer(&self, latencies: Box<Latencies>) {
        let _ = self.answers.send(latencies);
    }
}
