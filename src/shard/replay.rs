//! Retained messages on their way in and out: a publish that is to be kept, and what a new subscription is
//! sent of what was kept before. Not the store: `retained`.
//!
//! A subscription notes the store's version W when its fence ends, and every core sends it what is
//! published. Changes up to W come to it by its replay and later ones live: no gap, no message twice, and
//! none that is older than one that came before. A subscription that is only renewed takes all that is live
//! as before: it notes W first, and its fence ends when all up to W has come live.

use super::Shard;
use super::connection::{Connection, Protocol, Subscription, SubscriptionKind};
use super::id::ConnectionId;
use super::own::{ANEW, is_kept_from};
use super::reading;
use super::retained::{Budget, Cursor, Found, Full};
use super::settings::Settings;
use super::table::Target;
use crate::message::{Message, Origin, Quality};
use crate::subject::SubjectFilter;
use crate::time::{Span, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The rest of what a subscription is due.
#[derive(Debug)]
struct Replay {
    /// Versions up to this are replayed; `None` before the fence of a new subscription ends.
    until: Option<u64>,
    /// Which of the subscription's filters it is at.
    filter_idx: usize,
    cursor: Cursor,
}

/// Where a subscription stands that is to have what was kept before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It is new, and hears of nothing live that is kept until its fence ends.
    Nowhere,
    /// It is new or was taken back within this fence: what is live comes, but perhaps not yet from every core.
    AnewOrAgain,
    /// It is renewed, and has all that is live.
    Everywhere,
}

/// What a client's subscriptions are due, by their keys: a client may subscribe to a hundred thousand filters
/// in one go, and end them as fast. Nearly all clients are due nothing, and have none of these.
#[derive(Debug, Default)]
pub struct DueReplays {
    /// Those that begin with the fence.
    expected: BTreeMap<u32, Replay>,
    begun: BTreeMap<u32, Replay>,
    /// New ones that want nothing. Until the fence ends not every core sends them what it keeps, which counts where
    /// one is renewed meanwhile and wants it.
    fresh: BTreeSet<u32>,
}

impl DueReplays {
    /// Whether a subscription is due something.
    pub fn has(&self, subscription: u32) -> bool {
        self.expected.contains_key(&subscription) || self.begun.contains_key(&subscription)
    }

    /// Forgets what a subscription is due, and all of `due` where nothing is left.
    pub fn forget(due: &mut Option<Box<Self>>, subscription: u32) {
        let Some(it) = due else { return };
        it.expected.remove(&subscription);
        it.begun.remove(&subscription);
        it.fresh.remove(&subscription);
        if it.expected.is_empty() && it.begun.is_empty() && it.fresh.is_empty() {
            *due = None;
        }
    }
}

/// Who is due what, on one core.
#[derive(Debug, Default)]
pub struct Replays {
    /// Whose replay has just begun: their first slice is part of this turn.
    begun: Vec<ConnectionId>,
    /// Those that go on with the next tick, in turn.
    waiting: VecDeque<ConnectionId>,
    /// How far this core has come in dropping what has expired.
    swept: Cursor,
    sweep_at: Time,
    found: Vec<Found>,
}

/// Messages that one slice looks at, and that it sends.
const SLICE: Budget = Budget { n_looks: 512, n_found: 64 };

/// The same of all slices of a turn. However little there is to see, a slice counts as some looks.
const TURN: Budget = Budget { n_looks: 4_096, n_found: 512 };
const SLICE_LOOKS_MIN: usize = 16;

/// How often a slice of what is kept is looked through for what has expired.
const SWEEP_EVERY: Span = Span::from_millis(500);
const SWEEP: Budget = Budget { n_looks: 8_192, n_found: 1 };

/// Where a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slice {
    /// Nothing more is due, or there is no room for it now.
    Rests,
    /// There is more to look through.
    GoesOn,
}

impl Shard {
    /// Keeps a message, and writes into it what place that has among all changes. Where there is no room it
    /// is one like others.
    pub(super) fn retain(&mut self, publisher: ConnectionId, message: &mut Message<'_>) -> Result<(), Full> {
        let source = self.source(publisher);
        self.is_changing_tables = true;
        let set = self.retained.set(message, source, self.clients.origin.protocol, self.now);
        self.is_changing_tables = false;
        match set {
            Ok(version) => {
                message.version = version;
                self.write_down_retained(message, source);
            }
            Err(Full(limit)) => {
                self.clients.counters.retained_refused += 1;
                self.note_loss_at(publisher, limit, message.subject);
            }
        }
        set.map(drop)
    }

    /// Notes that a subscription is due what was kept before.
    pub(super) fn expect_replay(&mut self, id: ConnectionId, key: u32, stands: Stands) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let due = connection.replays.get_or_insert_default();
        let stands = if due.fresh.remove(&key) { Stands::AnewOrAgain } else { stands };
        let until = (stands == Stands::Everywhere).then(|| self.retained.version());
        // It has not begun yet: as well as anew.
        if due.expected.get(&key).is_some_and(|replay| replay.until.is_none()) {
            return;
        }
        due.begun.remove(&key);
        due.expected.insert(key, Replay { until, filter_idx: 0, cursor: Cursor::default() });
        if stands == Stands::Nowhere
            && let Some(subscription) = connection.subscriptions.get_mut(key)
        {
            note_replayed_until(subscription, u64::MAX);
        }
        connection.note_replay(key, true);
        self.clients.write_down(id);
        if until.is_some() && self.settings.n_cores > 1 {
            self.post_fence();
        }
    }

    /// Notes that a new subscription is due nothing.
    pub(super) fn expect_no_replay(&mut self, id: ConnectionId, key: u32) {
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.replays.get_or_insert_default().fresh.insert(key);
        }
    }

    /// Begins the replays whose fence has ended.
    pub(super) fn begin_replays(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let Connection { replays, subscriptions, .. } = connection;
        let Some(due) = replays else { return };
        due.fresh.clear();
        let version = self.retained.version();
        // Seen after the version: then nothing up to that is kept, and all else comes live.
        let is_empty = self.retained.is_empty();
        let mut done = Vec::new();
        for (key, mut replay) in std::mem::take(&mut due.expected) {
            if replay.until.is_none()
                && let Some(subscription) = subscriptions.get_mut(key)
            {
                note_replayed_until(subscription, version);
            }
            replay.until.get_or_insert(version);
            if is_empty {
                done.push(key);
            } else {
                due.begun.insert(key, replay);
            }
        }
        if due.begun.is_empty() {
            *replays = None;
        } else {
            self.replays.begun.push(id);
        }
        done.into_iter().for_each(|key| connection.note_replay(key, false));
        self.clients.write_down(id);
    }

    /// Sends the first slices of those that have begun in this turn. Where they are too many the rest goes
    /// on with the next.
    pub(super) fn send_first_slices(&mut self, now: Time) {
        let mut budget = TURN;
        while let Some(id) = self.replays.begun.pop() {
            if budget.is_spent() {
                self.resume_replays(id);
            } else {
                self.send_slice(id, &mut budget, now);
            }
        }
    }

    /// Lets a client's replays go on, where it has any and has read some.
    pub(super) fn resume_replays(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.slots.get_mut(id)
            && connection.replays.as_ref().is_some_and(|due| !due.begun.is_empty())
            && !std::mem::replace(&mut connection.is_replaying, true)
        {
            self.replays.waiting.push_back(id);
        }
    }

    /// When replays go on, or what has expired is looked for.
    pub(super) fn replays_wake_at(&self) -> Option<Time> {
        if !self.replays.waiting.is_empty() {
            return Some(self.now);
        }
        (self.sweeps() && self.retained.has_expiring()).then_some(self.replays.sweep_at)
    }

    /// Whether something goes on with the next tick, whenever that is.
    pub fn goes_on(&self) -> bool {
        !self.replays.waiting.is_empty()
            || self.redelivery.goes_on()
            || self.hearing_wakes_at().is_some()
            || self.listings_wake_at().is_some_and(|at| at <= self.now)
            || self.departed_wake_at().is_some()
            || self.is_unsettled()
    }

    /// One core does it for all.
    fn sweeps(&self) -> bool {
        self.core.0 == 0
    }

    pub(super) fn tick_replays(&mut self, now: Time) {
        let mut budget = TURN;
        for _ in 0..self.replays.waiting.len() {
            if budget.is_spent() {
                break;
            }
            let Some(id) = self.replays.waiting.pop_front() else { break };
            if let Some(connection) = self.clients.slots.get_mut(id) {
                connection.is_replaying = false;
                self.send_slice(id, &mut budget, now);
            }
        }
        if self.sweeps() && self.replays.sweep_at <= now {
            self.replays.sweep_at = now + SWEEP_EVERY;
            if self.retained.sweep(&mut self.replays.swept, now, &mut SWEEP.clone()) {
                self.replays.swept = Cursor::default();
            }
        }
    }

    fn send_slice(&mut self, id: ConnectionId, of_turn: &mut Budget, now: Time) {
        let mut budget = SLICE.min(*of_turn);
        let before = budget;
        let slice = self.guarded(id, now, |shard| shard.replay_slice(id, &mut budget, now));
        let n_looks = (before.n_looks - budget.n_looks).max(SLICE_LOOKS_MIN);
        of_turn.n_looks = of_turn.n_looks.saturating_sub(n_looks);
        of_turn.n_found -= before.n_found - budget.n_found;
        // One of NATS may have had its last message.
        if !self.clients.finished.is_empty() {
            self.end_finished_subscriptions();
        }
        if slice == Some(Slice::GoesOn) {
            self.resume_replays(id);
        }
    }

    /// Sends some of what a client is due, as far as its window and its queue have room.
    fn replay_slice(&mut self, id: ConnectionId, budget: &mut Budget, now: Time) -> Slice {
        while !budget.is_spent() {
            let Some((key, filter, quality)) = self.next_replay(id) else { return Slice::Rests };
            if !self.has_room_for_replay(id, quality, 0) {
                return Slice::Rests;
            }
            let Some(connection) = self.clients.slots.get_mut(id) else { return Slice::Rests };
            let due = connection.replays.as_mut();
            let Some(replay) = due.and_then(|due| due.begun.get_mut(&key)) else { return Slice::Rests };
            let until = replay.until.unwrap_or(0);
            let before = std::mem::take(&mut replay.cursor);
            let mut cursor = before.clone();
            let mut found = std::mem::take(&mut self.replays.found);
            let n_looks = budget.n_looks;
            let is_done = self.retained.walk(&mut cursor, &filter, until, now, budget, &mut found);
            found.retain(|it| !is_kept_from(&filter, it.kept.subject()));
            // Where there is nothing to look at there may be very many who look.
            budget.n_looks = budget.n_looks.min(n_looks - 1);
            let target = Target { connection: id, subscription: key };
            let n_sent = self.send_found(target, quality, &found, now);
            let is_full = n_sent < found.len();
            if is_full {
                // What is not sent is looked for again: it may be another one by then.
                cursor = n_sent.checked_sub(1).map_or(before, |last| found[last].cursor());
            }
            found.clear();
            self.replays.found = found;
            self.put_cursor(id, key, cursor, is_done && !is_full);
            if is_full {
                return Slice::Rests;
            }
        }
        Slice::GoesOn
    }

    /// Whose replay goes on first, with its filter and its quality.
    fn next_replay(&self, id: ConnectionId) -> Option<(u32, SubjectFilter, Quality)> {
        let Connection { replays, subscriptions, .. } = self.clients.slots.get(id)?;
        let (&key, replay) = replays.as_ref()?.begun.first_key_value()?;
        let subscription = subscriptions.get(key)?;
        let quality = match &subscription.kind {
            SubscriptionKind::Mqtt { quality, .. } => *quality,
            SubscriptionKind::Nats { .. } => Quality::AtMostOnce,
        };
        let filter = subscription.filters().nth(replay.filter_idx)?;
        Some((key, self.table.filter(filter), quality))
    }

    fn put_cursor(&mut self, id: ConnectionId, key: u32, cursor: Cursor, is_done: bool) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let Connection { replays, subscriptions, .. } = connection;
        let Some(replay) = replays.as_mut().and_then(|due| due.begun.get_mut(&key)) else { return };
        replay.cursor = cursor;
        if !is_done {
            return;
        }
        replay.filter_idx += 1;
        replay.cursor = Cursor::default();
        let n_filters = subscriptions.get(key).map_or(0, |it| it.filters().count());
        if replay.filter_idx >= n_filters {
            DueReplays::forget(replays, key);
            connection.note_replay(key, false);
            self.clients.write_down(id);
        }
    }

    /// Sends messages to one subscription until there is no more room; how many that were.
    fn send_found(&mut self, target: Target, quality: Quality, found: &[Found], now: Time) -> usize {
        let own_source = self.source(target.connection);
        let connection = self.clients.slots.get(target.connection);
        let is_nats = connection.is_some_and(|it| matches!(it.protocol, Protocol::Nats(_)));
        for (n_sent, Found { kept, .. }) in found.iter().enumerate() {
            let message = kept.message();
            let n_bytes = message.subject.len() + message.properties.len() + message.payload.len();
            if !self.has_room_for_replay(target.connection, quality.min(message.quality), n_bytes) {
                return n_sent;
            }
            self.clients.origin = Origin { protocol: kept.protocol, read_at: now };
            let (is_own, secs_left) = (kept.source == own_source, kept.secs_left(now));
            // To MQTT clients its own shape tells that.
            let header = (is_nats && secs_left.is_some()).then(|| reading::header_of(kept, now));
            let message = Message { header: header.as_deref().unwrap_or(message.header), ..message };
            let mut fanout = self.clients.begin(&message, Some(ANEW), 1, now);
            fanout.replay = Some(Replayed { is_own, secs_left });
            if self.clients.deliver(target, &mut fanout, &self.settings) {
                self.clients.counters.replayed += 1;
            }
            self.clients.end(fanout);
        }
        found.len()
    }

    /// Whose a message is as long as it is kept; 0 where nobody asks.
    fn source(&self, id: ConnectionId) -> u64 {
        let session = self.clients.slots.session(id);
        session.map_or(0, |session| self.keys.subject_hash(session.client_id()) | 1)
    }

    pub(super) fn has_room_for_replay(&self, id: ConnectionId, quality: Quality, n_bytes: usize) -> bool {
        self.clients
            .slots
            .get(id)
            .is_some_and(|connection| has_room(connection, quality, n_bytes, &self.settings))
    }
}

/// What a copy of a retained message depends on besides the message.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// It was published under the subscriber's own name.
    pub is_own: bool,
    pub secs_left: Option<u32>,
}

fn note_replayed_until(subscription: &mut Subscription, version: u64) {
    match &mut subscription.kind {
        SubscriptionKind::Mqtt { traits, .. } => traits.replayed_until = version,
        SubscriptionKind::Nats { special, .. } => special.get_or_insert_default().replayed_until = version,
    }
}

/// What a packet has besides topic, properties and payload, in bytes: lengths, and what is its receiver's own.
const HEAD_BYTES_MAX: usize = 32;

/// A replay is pulled by the room that there is: half of the write queue is left to what is live.
fn has_room(connection: &Connection, quality: Quality, n_bytes: usize, settings: &Settings) -> bool {
    let has_window = match &connection.protocol {
        Protocol::Mqtt(mqtt) if quality != Quality::AtMostOnce => {
            mqtt.session.inflight.is_open() && !mqtt.session.inflight.has_pending()
        }
        Protocol::Mqtt(_) | Protocol::Nats(_) => true,
    };
    connection.is_reachable()
        && has_window
        && connection.queue.len() < settings.write_queue_bytes_max / 2
        && connection.fits(n_bytes + HEAD_BYTES_MAX, settings)
}
