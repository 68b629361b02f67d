//! One message, or one run of them, to many clients of this core: who is eligible, what their queues have
//! room for, and what follows. What it looks like to them: `shapes`.

use super::connection::{Connection, Protocol, Subscription, SubscriptionKind};
use super::counters::Counters;
use super::effects::Effects;
use super::id::{ConnectionId, Slots};
use super::latency::{Direction, Latencies};
use super::routes::Route;
use super::settings::Settings;
use super::shapes::{MqttShape, Shapes};
use super::table::Target;
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Message, Origin, ProtocolKind, Quality, Run};
use crate::mqtt::inflight::Waiting;
use crate::payload::Payload;
use crate::subject::mapping;
use crate::time::{Span, Time};
use crate::{mqtt, nats};
use bytes::Bytes;
use std::net::SocketAddr;
use std::rc::Rc;

/// A core's connections, and the lists in which a fan-out notes what must follow it.
#[derive(Debug)]
pub struct Clients {
    pub slots: Slots<Connection>,
    pub pool: BufferPool,
    pub effects: Effects,
    pub counters: Counters,
    pub latencies: Box<Latencies>,
    /// Where the messages under way came in.
    pub origin: Origin,
    /// Bytes that wait for all of this core's clients.
    pub n_queued_bytes: usize,
    /// NATS subscriptions that have had their last message.
    pub finished: Vec<Target>,
    /// NATS clients whose queue has no room left.
    pub overflowed: Vec<ConnectionId>,
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
    message: &'m Message<'m>,
    publisher: Option<Publisher>,
    shapes: Box<Shapes>,
    /// Whether some client took it.
    pub is_taken: bool,
    /// Whether a client that took it falls behind.
    pub is_pressed: bool,
    /// Whether the next of QoS 1 may find a session's queue full.
    pub is_session_pressed: bool,
    now: Time,
}

/// Who published, if it is a client of this core.
#[derive(Clone, Copy, Debug)]
pub struct Publisher {
    pub id: ConnectionId,
    /// NATS: whether it gets its own messages.
    pub hears_itself: bool,
}

/// What a client's queue may hold, and what a delivery may need of the shard.
#[derive(Clone, Copy)]
struct Room<'s> {
    settings: &'s Settings,
    origin: Origin,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            slots: Slots::default(),
            pool: BufferPool::default(),
            effects: Effects::default(),
            counters: Counters::default(),
            latencies: Box::default(),
            origin: Origin { protocol: ProtocolKind::Mqtt, read_at: Time::START },
            n_queued_bytes: 0,
            finished: Vec::new(),
            overflowed: Vec::new(),
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
        route: &Rc<Route>,
        now: Time,
    ) -> Fanout<'m> {
        let mut shapes = self.shapes.take().unwrap_or_default();
        shapes.begin(message, route);
        Fanout {
            message,
            publisher,
            shapes,
            is_taken: false,
            is_pressed: false,
            is_session_pressed: false,
            now,
        }
    }

    pub fn end(&mut self, fanout: Fanout<'_>) {
        self.shapes = Some(fanout.shapes);
    }

    /// Whether this NATS subscription surely takes all of a run.
    pub fn surely_takes(&self, target: &Target, run: &Run<'_>, settings: &Settings) -> bool {
        let Some(connection) = self.slots.get(target.connection) else { return false };
        let Some(subscription) = connection.subscriptions.get(target.subscription) else { return false };
        let SubscriptionKind::Nats { sid, max: None, .. } = &subscription.kind else { return false };
        // A topic's escape makes at most three bytes of one.
        let n_bytes_max = run.n() * (3 * run.stride() + sid.len() + 32);
        connection.is_open()
            && !connection.is_write_dead
            && !connection.is_overflowed
            && connection.queue.len() + n_bytes_max <= settings.write_queue_bytes_max
    }

    /// Gives the message to one subscription; false where it is not eligible and another may be asked.
    pub fn deliver(&mut self, target: Target, fanout: &mut Fanout<'_>, settings: &Settings) -> bool {
        let Some(connection) = self.slots.get_mut(target.connection) else { return false };
        if !connection.is_open() || connection.is_write_dead || connection.is_overflowed {
            return false;
        }
        #[cfg(test)]
        assert!(self.breaks != Some(target.connection), "a delivery panics on purpose");
        let kind = connection.protocol_kind();
        let Connection { protocol, queue, marks, subscriptions, .. } = connection;
        let Some(subscription) = subscriptions.get_mut(target.subscription) else { return false };
        let is_own = fanout.publisher.is_some_and(|publisher| publisher.id == target.connection);
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
                let n_waiting_before = mqtt.inflight.n_waiting_bytes();
                let outcome = fanout.deliver_mqtt(mqtt, subscription, is_own, queue, &mut self.pool, room);
                self.n_queued_bytes += mqtt.inflight.n_waiting_bytes() - n_waiting_before;
                outcome
            }
        };
        let n_bytes = queue.len();
        self.n_queued_bytes += n_bytes - n_bytes_before;
        if outcome.n_queued > 0 {
            let direction = Direction::new(self.origin.protocol, kind).idx();
            self.counters.delivered[direction] += outcome.n_queued;
            self.counters.delivered_bytes[direction] +=
                outcome.n_queued * fanout.message.payload.len() as u64;
            if n_bytes > n_bytes_before {
                marks.note(self.origin, outcome.n_queued, n_bytes_before, n_bytes);
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
        self.note(target, outcome, fanout)
    }

    fn note(&mut self, target: Target, outcome: Outcome, fanout: &mut Fanout<'_>) -> bool {
        let Outcome { n_queued, end } = outcome;
        let n_left = fanout.message.n() as u64 - n_queued;
        let counters = &mut self.counters;
        let is_taken = match end {
            End::Delivered => true,
            End::DeliveredLast => {
                self.finished.push(target);
                true
            }
            End::DroppedQueueFull => {
                counters.dropped_queue_full += n_left;
                true
            }
            End::DroppedSessionFull => {
                counters.dropped_session_full += n_left;
                true
            }
            End::DroppedPacketTooLarge => {
                counters.dropped_packet_too_large += n_left;
                true
            }
            End::Unmappable => {
                counters.unmappable += n_left;
                false
            }
            End::SubjectTooLong => {
                counters.subject_too_long += n_left;
                false
            }
            End::NotEligible => false,
            End::Overflowed => {
                self.overflowed.push(target.connection);
                if let Some(connection) = self.slots.get_mut(target.connection) {
                    connection.is_overflowed = true;
                }
                false
            }
        };
        fanout.is_taken |= is_taken;
        is_taken
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
    }

    /// Sends what waited for the client's window, as far as it and the write queue have room.
    pub fn send_waiting(&mut self, id: ConnectionId, settings: &Settings) {
        let Some(connection) = self.slots.get_mut(id) else { return };
        if connection.is_write_dead || !connection.is_open() {
            return;
        }
        let Connection { protocol: Protocol::Mqtt(mqtt), queue, marks, .. } = connection else { return };
        let n_bytes_before = queue.len();
        while mqtt.inflight.is_open()
            && queue.len() < session_share(settings)
            && let Some(waiting) = mqtt.inflight.next_waiting()
        {
            self.n_queued_bytes -= waiting.n_bytes();
            let len_before = queue.len();
            let packet_id = mqtt.inflight.begin();
            queue.append(&mut self.pool, |buffer| {
                let at = buffer.len() + waiting.packet_id_at;
                buffer.extend_from_slice(&waiting.head);
                buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
            });
            append_payload(queue, &mut self.pool, &waiting.payload);
            marks.note(waiting.origin, 1, len_before, queue.len());
        }
        self.n_queued_bytes += queue.len() - n_bytes_before;
        if queue.len() > n_bytes_before && !std::mem::replace(&mut connection.is_dirty, true) {
            self.effects.flush.push(id);
        }
    }

    /// The address of a client, for the log.
    pub fn peer(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.slots.get(id).map(|connection| connection.peer)
    }
}

/// How long a subscriber that stays at three quarters of its limits slows its publishers.
const PATIENCE: Span = Span::from_secs(5);

/// Messages of QoS 1 wait in their session rather than fill more than half of the write queue, where
/// QoS 0 and answers need room as well.
fn session_share(settings: &Settings) -> usize {
    settings.write_queue_bytes_max / 2
}

fn append_payload(queue: &mut WriteQueue, pool: &mut BufferPool, payload: &Bytes) {
    if payload.len() >= crate::payload::SHARED_BYTES_MIN {
        queue.append_shared(payload.clone());
    } else if !payload.is_empty() {
        queue.append(pool, |buffer| buffer.extend_from_slice(payload));
    }
}

/// What became of a message, or of a run, at one subscription.
#[derive(Clone, Copy)]
struct Outcome {
    n_queued: u64,
    /// What became of those that were not queued, or what follows.
    end: End,
}

impl Outcome {
    const fn none(end: End) -> Self {
        Self { n_queued: 0, end }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Delivered,
    DeliveredLast,
    NotEligible,
    DroppedQueueFull,
    DroppedSessionFull,
    DroppedPacketTooLarge,
    Unmappable,
    SubjectTooLong,
    Overflowed,
}

impl Room<'_> {
    /// How many of `n` frames go into the queue: whatever its limit, one does when it is empty.
    #[inline]
    fn n_fitting(self, queue: &WriteQueue, frame_len: usize, n: usize) -> usize {
        let limit = self.settings.write_queue_bytes_max;
        if queue.len() + n * frame_len <= limit {
            return n;
        }
        let n_fitting = limit.saturating_sub(queue.len()) / frame_len;
        n_fitting.max(usize::from(queue.is_empty())).min(n)
    }
}

impl Fanout<'_> {
    fn deliver_nats(
        &mut self,
        nats: &nats::connection::Connection,
        subscription: &mut Subscription,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let SubscriptionKind::Nats { sid, max, n_delivered, .. } = &mut subscription.kind else {
            return Outcome::none(End::NotEligible);
        };
        let n_wanted = match max {
            Some(max) if *n_delivered >= *max => return Outcome::none(End::NotEligible),
            Some(max) => (*max - *n_delivered).min(self.message.n() as u64) as usize,
            None => self.message.n(),
        };
        let message = self.message;
        let takes_header = nats.headers() && !message.header.is_empty();
        let shape = self.shapes.nats(message, takes_header);
        if nats::encode::before_sid_len(message.subject, takes_header)
            > room.settings.nats.parse.control_line_bytes_max
        {
            return Outcome::none(End::SubjectTooLong);
        }
        let n = room.n_fitting(queue, shape.address(message, sid), n_wanted);
        if n > 0 {
            shape.queue(message, n, sid, queue, pool);
        }
        *n_delivered += n as u64;
        let end = if n < n_wanted {
            End::Overflowed
        } else if max.is_some_and(|max| *n_delivered >= max) {
            End::DeliveredLast
        } else {
            End::Delivered
        };
        Outcome { n_queued: n as u64, end }
    }

    fn deliver_mqtt(
        &mut self,
        mqtt: &mut mqtt::connection::Connection,
        subscription: &Subscription,
        is_own: bool,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let SubscriptionKind::Mqtt { quality, no_local, begins_with_wildcard, .. } = &subscription.kind
        else {
            return Outcome::none(End::NotEligible);
        };
        let message = self.message;
        if (is_own && *no_local)
            || (*begins_with_wildcard && mapping::is_hidden_from_wildcards(message.subject))
        {
            return Outcome::none(End::NotEligible);
        }
        if !self.shapes.has_topic(message) {
            return Outcome::none(End::Unmappable);
        }
        let quality = message.quality.min(*quality);
        let shape = self.shapes.mqtt(message, mqtt.version(), quality);
        let n_bytes = shape.packet_len(&message.payload);
        if n_bytes > mqtt.packet_bytes_max() {
            return Outcome::none(End::DroppedPacketTooLarge);
        }
        if quality == Quality::AtLeastOnce {
            return deliver_for_receipt(mqtt, message, shape, queue, pool, room);
        }
        let n = room.n_fitting(queue, n_bytes, message.n());
        if n > 0 {
            shape.queue(message, n, queue, pool);
        }
        let end = if n < message.n() { End::DroppedQueueFull } else { End::Delivered };
        Outcome { n_queued: n as u64, end }
    }
}

/// Sends one message at QoS 1 where the client's window and its queue have room; otherwise it waits.
fn deliver_for_receipt(
    mqtt: &mut mqtt::connection::Connection,
    message: &Message<'_>,
    shape: &MqttShape,
    queue: &mut WriteQueue,
    pool: &mut BufferPool,
    room: Room<'_>,
) -> Outcome {
    debug_assert!(message.run.is_none(), "only QoS 0 comes in runs");
    let large = match message.payload {
        Payload::Copied(_) => None,
        Payload::Shared(bytes) => Some(bytes),
    };
    if mqtt.inflight.is_open() && !mqtt.inflight.has_waiting() && queue.len() < session_share(room.settings) {
        let packet_id = mqtt.inflight.begin();
        queue.append(pool, |buffer| {
            let at = buffer.len() + shape.packet_id_at;
            buffer.extend_from_slice(&shape.frame);
            buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        });
        if let Some(bytes) = large {
            queue.append_shared(bytes.clone());
        }
        return Outcome { n_queued: 1, end: End::Delivered };
    }
    let limits = &room.settings.mqtt;
    if mqtt.inflight.n_waiting() >= limits.session_queue_messages_max
        || mqtt.inflight.n_waiting_bytes() + shape.packet_len(&message.payload)
            > limits.session_queue_bytes_max
    {
        return Outcome::none(End::DroppedSessionFull);
    }
    let head = shape.frame[..shape.head_len].into();
    let payload = large.cloned().unwrap_or_else(|| Bytes::copy_from_slice(message.payload.as_slice()));
    let (packet_id_at, origin) = (shape.packet_id_at, room.origin);
    mqtt.inflight.wait(Waiting { head, packet_id_at, payload, origin });
    Outcome { n_queued: 1, end: End::Delivered }
}
