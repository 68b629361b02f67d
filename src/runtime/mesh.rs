//! Mail between cores: one bounded channel per receiving core, credits per sender, and the wake-up.
//!
//! Invariants: a sender has at most as many parcels in a channel as it has credits, so that a send never
//! finds it full. A wake-up is never lost: the sender pushes, then looks at `notified`; the receiver clears
//! `notified`, then looks at the channel; both with full fences between. While `notified` is set, a look is
//! to come: a core leaves it set while it is awake.
//!
//! A core is woken by a count that its ring polls, its bell, and never by a waker on a foreign thread. glommio
//! turns such a waker into a completion that wakes no task, and where that arrives just before the executor
//! turns to its ready tasks it runs none of them, takes the completion for nothing done, and sleeps: with
//! back-pressure, for ever. (It also counts wakers in sixteen bits.)

use super::admission::{self, AddressKey, Admission};
use super::ring::bell;
use crate::shard::Door;
use crate::shard::id::CoreId;
use crate::shard::limits::NoRoom;
use crate::shard::mail::Batch;
use crate::shard::moving::Moved;
use crate::time::Time;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

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
    pub door: Door,
    pub peer: SocketAddr,
    /// Its place in the order in which all were accepted.
    pub nth: u64,
    /// There is no room for it: what it hears of that, if it speaks MQTT.
    pub no_room: Option<NoRoom>,
}

impl Accepted {
    /// For whom it counts; `None` where it is turned away.
    pub fn entry(&self) -> Option<AddressKey> {
        self.no_room.is_none().then(|| AddressKey::of(self.peer))
    }
}

/// How many accepted connections may wait for one core; beyond, the listeners wait.
const ACCEPTED_MAX: usize = 1_024;

/// Connections that are told that there is no room for them, at once; beyond, they are closed without a word.
const TURNED_AWAY_MAX: usize = 256;

/// All cores' channels.
#[derive(Debug)]
pub struct Mesh {
    inboxes: Vec<Inbox>,
    n_credits: u32,
    /// Lame-duck mode.
    pub is_leaving: AtomicBool,
    /// A drain.
    pub is_stopping: AtomicBool,
    /// Connections of all cores, and of each listener, by what is spoken there and its place.
    n_connections: AtomicUsize,
    n_connections_at: [Vec<AtomicUsize>; 2],
    /// Connections that are being told that there is no room for them.
    n_turned_away: AtomicUsize,
    pub admission: Admission,
}

#[derive(Debug)]
struct Inbox {
    parcels: (Sender<Parcel>, Receiver<Parcel>),
    accepted: (Sender<Accepted>, Receiver<Accepted>),
    notified: AtomicBool,
    bell: OwnedFd,
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
    /// # Errors
    ///
    /// For want of descriptors.
    pub fn new(
        n_cores: usize,
        n_credits: usize,
        n_doors: [usize; 2],
        limits: admission::Limits,
    ) -> io::Result<Self> {
        let mut inboxes = Vec::new();
        for _ in 0..n_cores {
            inboxes.push(Inbox {
                parcels: bounded(n_cores * n_credits),
                accepted: bounded(ACCEPTED_MAX),
                notified: AtomicBool::new(false),
                bell: bell()?,
                lanes: (0..n_cores).map(|_| Lane::default()).collect(),
            });
        }
        Ok(Self {
            inboxes,
            n_credits: u32::try_from(n_credits).unwrap_or(u32::MAX),
            is_leaving: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            n_connections: AtomicUsize::new(0),
            n_connections_at: n_doors.map(|n| (0..n).map(|_| AtomicUsize::new(0)).collect()),
            n_turned_away: AtomicUsize::new(0),
            admission: Admission::new(limits),
        })
    }

    /// What rings for a core, for its ring to poll.
    ///
    /// # Errors
    ///
    /// For want of descriptors.
    pub fn bell(&self, core: CoreId) -> io::Result<OwnedFd> {
        self.inboxes[core.idx()].bell.try_clone()
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

    /// Counts a connection in, unless there are as many as may be in all, at its door, or of its address.
    pub fn admit(
        &self,
        door: Door,
        peer: SocketAddr,
        n_max: usize,
        n_at_door_max: usize,
        now: Time,
    ) -> Result<(), NoRoom> {
        let at_door = &self.n_connections_at[door.listener as usize][usize::from(door.nth)];
        let n_at_door = at_door.fetch_add(1, Ordering::Relaxed);
        let n = self.n_connections.fetch_add(1, Ordering::Relaxed);
        let judged = if n >= n_max {
            Err(NoRoom::Full)
        } else if n_at_door >= n_at_door_max {
            Err(NoRoom::ListenerFull)
        } else {
            self.admission.enter(AddressKey::of(peer), now)
        };
        if judged.is_err() {
            self.count_out(door);
        }
        judged
    }

    /// Whether one more may be told that there is no room for it; then it counts as one.
    pub fn may_turn_away(&self) -> bool {
        let more = |n| (n < TURNED_AWAY_MAX).then_some(n + 1);
        self.n_turned_away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts a connection out; `entry` is none where it was turned away.
    pub fn discharge(&self, door: Door, entry: Option<AddressKey>) {
        match entry {
            Some(key) => {
                self.count_out(door);
                self.admission.leave(key);
            }
            None => {
                self.n_turned_away.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn count_out(&self, door: Door) {
        self.n_connections_at[door.listener as usize][usize::from(door.nth)].fetch_sub(1, Ordering::Relaxed);
        self.n_connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hands a new connection to a core, waiting where too many wait there already. Not for executors.
    pub fn hand_over(&self, to: CoreId, accepted: Accepted) {
        let sent = self.inboxes[to.idx()].accepted.0.send(accepted);
        debug_assert!(sent.is_ok(), "the mesh holds both ends");
        self.wake(to);
    }

    pub fn wake(&self, core: CoreId) {
        fence(Ordering::SeqCst);
        let inbox = &self.inboxes[core.idx()];
        if !inbox.notified.swap(true, Ordering::SeqCst) {
            // It fails where the count is at its end, beyond what a process lives to ring.
            let _ = rustix::io::write(&inbox.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Whether new connections are still taken.
    pub fn accepts(&self) -> bool {
        !self.is_leaving.load(Ordering::SeqCst) && !self.is_stopping.load(Ordering::SeqCst)
    }

    /// Has all cores enter lame-duck mode.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Has all cores drain.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    fn wake_all(&self) {
        (0..self.inboxes.len()).for_each(|core| self.wake(CoreId(core as u16)));
    }

    /// Says that a core looks into its inbox once more before it waits: what comes from now on rings.
    pub fn begin_look(&self, core: CoreId) {
        self.inboxes[core.idx()].notified.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that a core is awake and looks by itself: what comes need not ring.
    pub fn will_look_again(&self, core: CoreId) {
        self.inboxes[core.idx()].notified.store(true, Ordering::SeqCst);
    }

    /// How many parcels are there now.
    pub fn n_parcels(&self, core: CoreId) -> usize {
        self.inboxes[core.idx()].parcels.1.len()
    }

    pub fn next_parcel(&self, core: CoreId) -> Option<Parcel> {
        self.inboxes[core.idx()].parcels.1.try_recv().ok()
    }

    pub fn next_accepted(&self, core: CoreId) -> Option<Accepted> {
        self.inboxes[core.idx()].accepted.1.try_recv().ok()
    }
}
