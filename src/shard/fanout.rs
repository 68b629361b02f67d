//! One message, or one run of them, to many clients of this core: who is eligible, what their queues have
//! room for, and what follows. What it looks like to them: `shapes`.

use super::census::Ended;
use super::connection::{Connection, Protocol, SubscriptionKind};
use super::counters::Counters;
use super::effects::Effects;
use super::id::ConnectionId;
use super::latency::{Direction, Latencies};
use super::limits::Limit;
use super::log::{Unseen, UnseenSubjects};
use super::replay::Replayed;
use super::settings::Settings;
use super::shapes::Shapes;
use super::slots::Slots;
use super::table::Target;
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Message, Origin, ProtocolKind, Run};
use crate::store::journal::Journal;
use crate::subject::view::View;
use crate::time::{Span, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

/// A core's connections, and the lists in which a fan-out notes what must follow it.
#[derive(Debug)]
pub struct Clients {
    pub slots: Slots,
    pub pool: BufferPool,
    pub effects: Effects,
    pub counters: Counters,
    pub latencies: Box<Latencies>,
    pub unseen: UnseenSubjects,
    /// Where the messages under way came in.
    pub origin: Origin,
    /// Bytes that wait for all of this core's clients.
    pub n_queued_bytes: usize,
    /// NATS subscriptions that have had their last message.
    pub finished: Vec<Target>,
    /// NATS clients whose queue has no room left; and those of MQTT that begin to lose messages, by the limit.
    pub overflowed: Vec<(ConnectionId, Limit)>,
    /// Connections that have ended, for those who ask.
    pub ended: Ended,
    /// What sessions keep, for a store.
    pub journal: Journal,
    /// Connections that hold something back until the store has come so far, in this order.
    pub held_back: VecDeque<(u64, ConnectionId)>,
    /// Clients in whose delivery something panicked.
    pub broken: Vec<ConnectionId>,
    /// Makes the next delivery to this client panic.
    #[cfg(test)]
    pub breaks: Option<ConnectionId>,
    /// Lent to the fan-out under way; behind a pointer, since a fan-out is as often as a message.
    shapes: Option<Box<Shapes>>,
}

/// A message's way through one core's clients.
#[derive(Debug)]
pub struct Fanout<'m> {
    pub(super) message: &'m Message<'m>,
    pub(super) publisher: Option<Publisher>,
    pub(super) shapes: Box<Shapes>,
    /// Whether some client took it.
    pub is_taken: bool,
    /// Whether a client that took it falls behind.
    pub is_pressed: bool,
    /// Whether the next of QoS 1 may find a session's queue full.
    pub is_session_pressed: bool,
    pub(super) now: Time,
    /// The message was kept, and comes late.
    pub replay: Option<Replayed>,
    /// What topics of new aliases take.
    pub(super) n_alias_bytes: u64,
    pub asks: Asks,
    /// Of a group's message: whether it may go to a member of NATS.
    pub with_queue: bool,
}

/// Who is given the message that is offered a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Everybody: who can't take it goes without, and that counts.
    Everybody,
    /// One member of a group, whose client is there: who can't take it leaves it to another.
    OneOnline,
    /// One member of a group, and its session will do.
    Anybody,
}

/// Who published, if it is a client of this core.
#[derive(Clone, Copy, Debug)]
pub struct Publisher {
    pub id: ConnectionId,
    /// NATS: whether it gets its own messages.
    pub hears_itself: bool,
    /// Whether this is its own message, and not one that the gateway publishes anew from what it said.
    pub is_author: bool,
}

impl Publisher {
    /// The client as it publishes in its own name.
    pub fn new(id: ConnectionId, hears_itself: bool) -> Self {
        Self { id, hears_itself, is_author: true }
    }

    /// Who publishes what is nobody's own: what comes from elsewhere, again, or in answer.
    pub const fn nobody(id: ConnectionId) -> Self {
        Self { id, hears_itself: true, is_author: false }
    }

    #[inline]
    pub fn wrote_as(&self, id: ConnectionId) -> bool {
        self.id == id && self.is_author
    }
}

/// What a client's queue may hold, and what a delivery may need of the shard.
#[derive(Clone, Copy)]
pub(super) struct Room<'s> {
    pub settings: &'s Settings,
    pub origin: Origin,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            slots: Slots::default(),
            pool: BufferPool::default(),
            effects: Effects::default(),
            counters: Counters::default(),
            latencies: Box::default(),
            unseen: UnseenSubjects::default(),
            origin: Origin { protocol: ProtocolKind::Mqtt, read_at: Time::START },
            n_queued_bytes: 0,
            finished: Vec::new(),
            overflowed: Vec::new(),
            ended: Ended::default(),
            journal: Journal::default(),
            held_back: VecDeque::new(),
            broken: Vec::new(),
            #[cfg(test)]
            breaks: None,
            shapes: None,
        }
    }
}

impl Clients {
    pub fn begin<'m>(
        &mut self,
        message: &'m Message<'m>,
        publisher: Option<Publisher>,
        n_clients: usize,
        now: Time,
    ) -> Fanout<'m> {
        let mut shapes = self.shapes.take().unwrap_or_default();
        shapes.begin(message, n_clients);
        Fanout {
            message,
            publisher,
            shapes,
            is_taken: false,
            is_pressed: false,
            is_session_pressed: false,
            now,
            replay: None,
            n_alias_bytes: 0,
            asks: Asks::Everybody,
            with_queue: false,
        }
    }

    pub fn end(&mut self, mut fanout: Fanout<'_>) {
        self.counters.alias_bytes += fanout.n_alias_bytes;
        self.counters.headers_unmappable += std::mem::take(&mut fanout.shapes.crossed.n_unmappable);
        fanout.shapes.end(fanout.message, &mut self.pool);
        self.shapes = Some(fanout.shapes);
    }

    /// Whether this NATS subscription surely takes all of a run, whose subject may be longer than its frames
    /// say by a mount.
    pub fn surely_takes(
        &self,
        target: &Target,
        run: &Run<'_>,
        mount_len: usize,
        settings: &Settings,
    ) -> bool {
        let Some(connection) = self.slots.get(target.connection) else { return false };
        let Some(subscription) = connection.subscriptions.get(target.subscription) else { return false };
        let SubscriptionKind::Nats { sid, special, .. } = &subscription.kind else { return false };
        // Who sees names exchanged may have none for this subject, and then another member is due it.
        let is_emqx = |view: &Rc<View>| view.is_emqx();
        if special.as_ref().is_some_and(|it| it.max.is_some() || it.view.as_ref().is_some_and(is_emqx)) {
            return false;
        }
        // A topic's escape makes at most three bytes of one.
        let n_bytes_max = run.n() * (3 * run.stride() + mount_len + sid.as_bytes().len() + 32);
        connection.is_open()
            && !connection.is_write_dead
            && !connection.is_overflowed
            && connection.queue.len() + n_bytes_max <= settings.write_queue_bytes_max
    }

    /// Gives the message to one subscription; false where it is not eligible and another may be asked.
    pub fn deliver(&mut self, target: Target, fanout: &mut Fanout<'_>, settings: &Settings) -> bool {
        let connection = self.slots.get_mut(target.connection).filter(|connection| connection.is_reachable());
        let Some(connection) = connection else {
            return self.deliver_to_session(target, fanout, settings);
        };
        let kind = connection.protocol_kind();
        let Connection { protocol, queue, marks, subscriptions, traffic, .. } = connection;
        let Some(subscription) = subscriptions.get_mut(target.subscription) else { return false };
        let is_own = fanout.publisher.is_some_and(|publisher| publisher.wrote_as(target.connection));
        let n_bytes_before = queue.len();
        let room = Room { settings, origin: self.origin };
        let outcome = match protocol {
            Protocol::Nats(nats) => {
                if is_own && fanout.publisher.is_some_and(|publisher| !publisher.hears_itself) {
                    return false;
                }
                fanout.deliver_nats(nats, subscription, queue, &mut self.pool, room)
            }
            Protocol::Mqtt(mqtt) => {
                let n_kept_before = mqtt.session.inflight.n_bytes();
                let outcome = fanout.deliver_mqtt(mqtt, subscription, is_own, queue, &mut self.pool, room);
                self.n_queued_bytes += mqtt.session.inflight.n_bytes();
                self.n_queued_bytes -= n_kept_before;
                outcome
            }
        };
        #[cfg(test)]
        assert!(self.breaks != Some(target.connection), "a delivery panics on purpose");
        let n_bytes = queue.len();
        self.n_queued_bytes += n_bytes - n_bytes_before;
        if outcome.n_queued > 0 {
            let direction = Direction::new(self.origin.protocol, kind).idx();
            self.counters.delivered[direction] += outcome.n_queued;
            let n_payload_bytes = fanout.message.payload.len() as u64;
            self.counters.delivered_bytes[direction] += outcome.n_queued * n_payload_bytes;
            let n_out = outcome.n_queued - outcome.n_waiting;
            traffic.count_out(n_out, n_out * n_payload_bytes);
            if !fanout.message.header.is_empty()
                && let Protocol::Nats(nats) = protocol
                && nats.headers()
            {
                let n_header_bytes = outcome.n_queued * fanout.message.header.len() as u64;
                self.counters.delivered_header_bytes += n_header_bytes;
                traffic.out_bytes += n_header_bytes;
            }
            if n_bytes > n_bytes_before {
                marks.note(self.origin, n_out, n_bytes_before, n_bytes);
            }
        }
        if n_bytes > n_bytes_before && !std::mem::replace(&mut connection.is_dirty, true) {
            self.effects.flush.push(target.connection);
        }
        // Short of its limit, a queue slows those who fill it: until it is clear that the client does not
        // read, since others would wait for it for ever.
        if !connection.is_relieved(settings) {
            let since = *connection.pressed_since.get_or_insert(fanout.now);
            if fanout.now.since(since) < PATIENCE {
                fanout.is_pressed = true;
                fanout.is_session_pressed |= connection.is_session_pressed(settings);
            }
        }
        self.write_down(target.connection);
        self.note(target, outcome, fanout)
    }

    pub(super) fn note(&mut self, target: Target, outcome: Outcome, fanout: &mut Fanout<'_>) -> bool {
        let Outcome { n_queued, n_waiting, n_gave_way, n_expired, lacks_bytes, end } = outcome;
        let session_limit =
            || if lacks_bytes { Limit::SessionQueueBytes } else { Limit::SessionQueueMessages };
        let n_left = fanout.message.n() as u64 - n_queued;
        let counters = &mut self.counters;
        if n_waiting | n_gave_way | n_expired > 0 {
            counters.n_session_messages += n_waiting;
            counters.n_session_messages -= n_gave_way + n_expired;
            counters.dropped_session_full += n_gave_way;
            counters.expired += n_expired;
            if n_gave_way > 0 {
                self.begin_loss(target.connection, session_limit());
            }
        }
        let counters = &mut self.counters;
        // Whoever asks hears at once of nobody who could answer.
        let is_as_if_sent = fanout.message.reply.is_empty();
        let is_taken = match end {
            End::Delivered => true,
            End::DeliveredLast => {
                self.finished.push(target);
                true
            }
            // Another member may have room, or a name for it.
            End::DroppedQueueFull
            | End::DroppedSessionFull
            | End::DroppedOffline
            | End::DroppedPacketTooLarge
            | End::NoEmqxSubject
                if fanout.asks != Asks::Everybody =>
            {
                false
            }
            End::DroppedQueueFull => {
                counters.dropped_queue_full += n_left;
                self.begin_loss(target.connection, Limit::WriteQueue);
                is_as_if_sent
            }
            End::DroppedSessionFull => {
                counters.dropped_session_full += n_left;
                self.begin_loss(target.connection, session_limit());
                is_as_if_sent
            }
            End::DroppedOffline => {
                counters.dropped_offline += n_left;
                false
            }
            End::DroppedPacketTooLarge => {
                counters.dropped_packet_too_large += n_left;
                is_as_if_sent
            }
            End::Unmappable | End::SubjectTooLong => {
                let why = if end == End::Unmappable { Unseen::NoTopic } else { Unseen::LineTooLong };
                let publisher = fanout.publisher.map(|publisher| publisher.id);
                self.note_unseen(why, fanout.message.subject, n_left, publisher, fanout.now);
                false
            }
            End::NoEmqxSubject => {
                counters.no_emqx_subject += n_left;
                false
            }
            End::NotEligible => false,
            End::Overflowed => {
                self.overflowed.push((target.connection, Limit::WriteQueue));
                if let Some(connection) = self.slots.get_mut(target.connection) {
                    connection.is_overflowed = true;
                }
                false
            }
        };
        fanout.is_taken |= is_taken;
        is_taken
    }

    /// Has it told that a client goes without messages: once until it has caught up.
    #[cold]
    fn begin_loss(&mut self, id: ConnectionId, limit: Limit) {
        let begins = match limit {
            Limit::WriteQueue => {
                self.slots.get_mut(id).is_some_and(|it| !std::mem::replace(&mut it.is_losing, true))
            }
            _ => self.slots.session_mut(id).is_some_and(|session| session.inflight.begin_loss()),
        };
        if begins {
            self.overflowed.push((id, limit));
        }
    }

    /// Queues bytes for a client.
    pub fn write(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        // Nothing follows a farewell.
        if bytes.is_empty() || connection.is_write_dead || !connection.is_open() {
            return;
        }
        connection.queue.append(&mut self.pool, |buffer| buffer.extend_from_slice(bytes));
        self.n_queued_bytes += bytes.len();
        if !std::mem::replace(&mut connection.is_dirty, true) {
            self.effects.flush.push(id);
        }
        if self.journal.is_on() {
            self.hold_back(id);
        }
    }

    /// Reply subjects that were not shown to subscribers who could not have addressed them.
    pub fn n_replies_hidden(&self) -> u64 {
        self.shapes.as_ref().map_or(0, |shapes| shapes.n_replies_hidden)
    }

    /// The address of a client, for the log.
    pub fn peer(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.slots.get(id).map(|connection| connection.peer)
    }
}

/// How long a subscriber that stays at three quarters of its limits slows its publishers.
const PATIENCE: Span = Span::from_secs(5);

/// Messages of QoS 1 and 2 wait in their session rather than fill more than half of the write queue, where
/// QoS 0 and answers need room as well.
pub(super) fn session_share(settings: &Settings) -> usize {
    settings.write_queue_bytes_max / 2
}

/// What became of a message, or of a run, at one subscription.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub n_queued: u64,
    /// Of those, the ones that wait in their session.
    pub n_waiting: u64,
    /// Older ones that were dropped for it, and those whose time was over.
    pub n_gave_way: u64,
    pub n_expired: u64,
    /// Bytes were in the way in the session's queue, and not messages.
    pub lacks_bytes: bool,
    /// What became of those that were not queued, or what follows.
    pub end: End,
}

impl Outcome {
    pub const fn none(end: End) -> Self {
        Self::queued(0, end)
    }

    /// Takes in what became of one more.
    pub fn add(&mut self, one: Self) {
        self.n_queued += one.n_queued;
        self.n_waiting += one.n_waiting;
        self.n_gave_way += one.n_gave_way;
        self.n_expired += one.n_expired;
        self.lacks_bytes |= one.lacks_bytes;
        if one.end != End::Delivered {
            self.end = one.end;
        }
    }

    pub const fn queued(n_queued: u64, end: End) -> Self {
        Self { n_queued, n_waiting: 0, n_gave_way: 0, n_expired: 0, lacks_bytes: false, end }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Delivered,
    DeliveredLast,
    NotEligible,
    DroppedQueueFull,
    DroppedSessionFull,
    DroppedOffline,
    DroppedPacketTooLarge,
    Unmappable,
    SubjectTooLong,
    /// Its client's listener has EMQX's mapping, by which the topic has none.
    NoEmqxSubject,
    Overflowed,
}

impl Room<'_> {
    /// How many of `n` frames go into the queue: whatever its limit, one does when it is empty.
    #[inline]
    pub(super) fn n_fitting(self, queue: &WriteQueue, frame_len: usize, n: usize) -> usize {
        let limit = self.settings.write_queue_bytes_max;
        if queue.len() + n * frame_len <= limit {
            return n;
        }
        let n_fitting = limit.saturating_sub(queue.len()) / frame_len;
        n_fitting.max(usize::from(queue.is_empty())).min(n)
    }
}
