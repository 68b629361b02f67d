//! Where a core and the admin thread meet: counters in atomics that only the core writes, recorded latencies
//! that change hands when they are asked for, and looks at connections, a slice at a time. Neither waits for
//! the other.

use super::about::About;
use crate::shard::census::{Answer, Question};
use crate::shard::counters::{Counters, N_WORDS};
use crate::shard::latency::Latencies;
use crate::time::{Span, Time};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

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

/// Why connections are turned away.
pub const N_TURNED_AWAY: usize = 5;

/// What any thread may set.
#[derive(Debug)]
pub struct Shared {
    pub about: About,
    stage: AtomicU8,
    /// Connections turned away: for limits, in the order of their names, and for want of descriptors.
    pub n_turned_away: [AtomicU64; N_TURNED_AWAY],
    /// Times that accepting waited for its pace.
    pub n_delayed: AtomicU64,
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
    pub asks: Sender<Ask>,
    pub answers: mpsc::UnboundedReceiver<Box<Latencies>>,
}

/// What the admin thread wants of a core.
#[derive(Debug)]
pub enum Ask {
    /// What was recorded; an empty set to record in from now on.
    Latencies(Box<Latencies>),
    /// A slice of its connections, answered where it says.
    Look(Question, oneshot::Sender<Answer>),
}

/// A core's side.
#[derive(Debug)]
pub struct CoreDesk {
    board: Arc<Board>,
    /// Every core's.
    boards: Arc<[Arc<Board>]>,
    shared: Arc<Shared>,
    published_at: Time,
    asks: Receiver<Ask>,
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

/// Asks that wait for a core: one for what it recorded, and a look.
const ASKS_MAX: usize = 2;

/// Desks for all cores: the admin thread's side, and one for each core.
pub fn desks(about: About) -> (Desks, Vec<CoreDesk>) {
    let shared = Arc::new(Shared {
        stage: AtomicU8::new(Stage::Starting as u8),
        n_turned_away: Default::default(),
        n_delayed: AtomicU64::new(0),
        about,
    });
    let board = |_| Arc::new(Board { words: [const { AtomicU64::new(0) }; N_WORDS] });
    let boards: Arc<[_]> = (0..shared.about.n_cores).map(board).collect();
    let (admin, cores) = boards.iter().map(|board| desk(board, &boards, &shared)).unzip();
    (Desks { cores: admin, shared }, cores)
}

fn desk(board: &Arc<Board>, boards: &Arc<[Arc<Board>]>, shared: &Arc<Shared>) -> (AdminDesk, CoreDesk) {
    let (asks, asked) = bounded(ASKS_MAX);
    let (answers, answered) = mpsc::unbounded_channel();
    let core = CoreDesk {
        board: board.clone(),
        boards: boards.clone(),
        shared: shared.clone(),
        published_at: Time::START,
        asks: asked,
        answers,
    };
    (AdminDesk { board: board.clone(), asks, answers: answered }, core)
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

    /// The next thing that the admin thread asks for.
    pub fn asked(&self) -> Option<Ask> {
        self.asks.try_recv().ok()
    }

    /// What all cores have published.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.boards.iter().for_each(|board| total.add(&board.read()));
        total
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Gives the admin thread what was recorded. It may be gone; then nobody wants it.
    pub fn answer(&self, latencies: Box<Latencies>) {
        let _ = self.answers.send(latencies);
    }
}
