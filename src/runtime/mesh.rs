//! Mail between cores: one bounded channel per receiving core, credits per sender, and the wake-up.
//!
//! Invariants: a sender has at most as many parcels in a channel as it has credits, so that a send never
//! finds it full. A wake-up is never lost: the sender pushes, then looks at `notified`; the receiver clears
//! `notified`, then looks at the channel; both with full fences between.

use crate::shard::id::CoreId;
use crate::shard::mail::Batch;
use crate::shard::{Listener, Moved};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use socket2::Socket;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::task::Waker;

/// What one core sends to another.
#[derive(Debug)]
pub struct Parcel {
    pub from: CoreId,
    pub content: Content,
}

#[derive(Debug)]
pub enum Content {
    Mail(Batch),
    /// A connection that goes to its session's home core.
    Moved(Socket, Moved),
}

/// A connection that has just been accepted.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    pub listener: Listener,
    pub peer: SocketAddr,
    /// Its place in the order in which all were accepted.
    pub nth: u64,
}

/// How many accepted connections may wait for one core; beyond, the listeners wait.
const ACCEPTED_MAX: usize = 1_024;

/// All cores' channels.
#[derive(Debug)]
pub struct Mesh {
    inboxes: Vec<Inbox>,
    n_credits: u32,
    pub is_stopping: AtomicBool,
    /// Connections of all cores.
    pub n_connections: AtomicUsize,
}

#[derive(Debug)]
struct Inbox {
    parcels: (Sender<Parcel>, Receiver<Parcel>),
    accepted: (Sender<Accepted>, Receiver<Accepted>),
    notified: AtomicBool,
    /// The waker of the core's one never-ending pump. No other waker of the executor crosses threads: it
    /// counts them in sixteen bits, and drops on foreign threads are not safe.
    pump: OnceLock<Waker>,
    /// By sender.
    lanes: Vec<Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    n_in_channel: AtomicU32,
    /// The sender has more and waits for a credit.
    is_starved: AtomicBool,
}

impl Mesh {
    pub fn new(n_cores: usize, n_credits: usize) -> Self {
        let inbox = |_| Inbox {
            parcels: bounded(n_cores * n_credits),
            accepted: bounded(ACCEPTED_MAX),
            notified: AtomicBool::new(false),
            pump: OnceLock::new(),
            lanes: (0..n_cores).map(|_| Lane::default()).collect(),
        };
        Self {
            inboxes: (0..n_cores).map(inbox).collect(),
            n_credits: u32::try_from(n_credits).unwrap_or(u32::MAX),
            is_stopping: AtomicBool::new(false),
            n_connections: AtomicUsize::new(0),
        }
    }

    pub fn n_cores(&self) -> usize {
        self.inboxes.len()
    }

    /// Sends what `next` gives until it has no more or the credits are used up; whether that was anything.
    pub fn send_all(&self, from: CoreId, to: CoreId, mut next: impl FnMut() -> Option<Content>) -> bool {
        let inbox = &self.inboxes[to.idx()];
        let lane = &inbox.lanes[from.idx()];
        let mut has_sent = false;
        while self.has_credit(lane) {
            let Some(content) = next() else { break };
            lane.n_in_channel.fetch_add(1, Ordering::Relaxed);
            match inbox.parcels.0.try_send(Parcel { from, content }) {
                Ok(()) => has_sent = true,
                Err(TrySendError::Full(_)) => unreachable!("the channel has room for every sender's credits"),
                Err(TrySendError::Disconnected(_)) => unreachable!("the mesh holds both ends"),
            }
        }
        if has_sent {
            self.wake(to);
        }
        has_sent
    }

    fn has_credit(&self, lane: &Lane) -> bool {
        if lane.n_in_channel.load(Ordering::Acquire) < self.n_credits {
            return true;
        }
        // Said first and looked at again, so that a credit that comes back in between is not missed.
        lane.is_starved.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        lane.n_in_channel.load(Ordering::SeqCst) < self.n_credits
    }

    /// Gives a credit back, once the parcel is dealt with.
    pub fn return_credit(&self, from: CoreId, to: CoreId) {
        let lane = &self.inboxes[to.idx()].lanes[from.idx()];
        lane.n_in_channel.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if lane.is_starved.swap(false, Ordering::SeqCst) {
            self.wake(from);
        }
    }

    /// Hands a new connection to a core, waiting where too many wait there already. Not for executors.
    pub fn hand_over(&self, to: CoreId, accepted: Accepted) {
        let sent = self.inboxes[to.idx()].accepted.0.send(accepted);
        debug_assert!(sent.is_ok(), "the mesh holds both ends");
        self.wake(to);
    }

    pub fn wake(&self, core: CoreId) {
        let inbox = &self.inboxes[core.idx()];
        fence(Ordering::SeqCst);
        if !inbox.notified.swap(true, Ordering::SeqCst)
            && let Some(pump) = inbox.pump.get()
        {
            pump.wake_by_ref();
        }
    }

    /// Has a core look into its inbox though nobody said that there is something.
    pub fn nudge(&self, core: CoreId) {
        if let Some(pump) = self.inboxes[core.idx()].pump.get() {
            pump.wake_by_ref();
        }
    }

    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        (0..self.inboxes.len()).for_each(|core| self.wake(CoreId(core as u16)));
    }

    /// Begins a look into a core's inbox: what comes from now on wakes the pump again.
    pub fn begin_look(&self, core: CoreId, pump: &Waker) {
        let inbox = &self.inboxes[core.idx()];
        inbox.pump.get_or_init(|| pump.clone());
        inbox.notified.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// How many parcels are there now.
    pub fn n_parcels(&self, core: CoreId) -> usize {
        self.inboxes[core.idx()].parcels.1.len()
    }

    pub fn next_parcel(&self, core: CoreId) -> Option<Parcel> {
        self.inboxes[core.idx()].parcels.1.try_recv().ok()
    }

    pub fn n_accepted(&self, core: CoreId) -> usize {
        self.inboxes[core.idx()].accepted.1.len()
    }

    pub fn next_accepted(&self, core: CoreId) -> Option<Accepted> {
        self.inboxes[core.idx()].accepted.1.try_recv().ok()
    }
}
