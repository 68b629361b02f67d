//! One message to many clients of this core: a head is built once per shape (NATS with or without headers,
//! MQTT by version and QoS) and only patched where clients differ, in sid and packet identifier.

use super::connection::{Connection, Protocol, Subscription, SubscriptionKind};
use super::counters::Counters;
use super::effects::Effects;
use super::id::{ConnectionId, Slots};
use super::settings::Settings;
use super::table::Target;
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Digits, Message, Quality};
use crate::mqtt::encode::{PublishHead, publish_head};
use crate::mqtt::inflight::Waiting;
use crate::mqtt::packet::{Publish, Qos, Version};
use crate::mqtt::property::Properties;
use crate::payload::Payload;
use crate::subject::mapping;
use crate::{mqtt, nats};
use bytes::Bytes;
use std::net::SocketAddr;

/// A core's connections, and the lists in which a fan-out notes what must follow it.
#[derive(Debug, Default)]
pub struct Clients {
    pub slots: Slots<Connection>,
    pub pool: BufferPool,
    pub effects: Effects,
    pub counters: Counters,
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

/// Buffers for the heads, kept from one fan-out to the next.
#[derive(Debug, Default)]
struct Shapes {
    topic: Vec<u8>,
    /// By whether the client takes headers.
    nats: [NatsShape; 2],
    /// By MQTT 5 or before, then by QoS.
    mqtt: [[MqttShape; 2]; 2],
}

#[derive(Debug, Default)]
struct NatsShape {
    is_built: bool,
    before_sid: Vec<u8>,
    /// With the payload and its end where the payload is small.
    after_sid: Vec<u8>,
}

#[derive(Debug, Default)]
struct MqttShape {
    is_built: bool,
    /// With the payload where it is small.
    frame: Vec<u8>,
    packet_id_at: usize,
    head_len: usize,
}

/// A message's way through one core's clients.
#[derive(Debug)]
pub struct Fanout<'m> {
    message: &'m Message<'m>,
    publisher: Option<Publisher>,
    shapes: Box<Shapes>,
    /// Whether the subject has a topic, once somebody asked.
    has_topic: Option<bool>,
    /// Whether some client took it.
    pub is_taken: bool,
    /// Whether a client that took it falls behind.
    pub is_pressed: bool,
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
}

impl Clients {
    pub fn begin<'m>(&mut self, message: &'m Message<'m>, publisher: Option<Publisher>) -> Fanout<'m> {
        let mut shapes = self.shapes.take().unwrap_or_default();
        shapes.nats.iter_mut().for_each(|shape| shape.is_built = false);
        shapes.mqtt.iter_mut().flatten().for_each(|shape| shape.is_built = false);
        Fanout { message, publisher, shapes, has_topic: None, is_taken: false, is_pressed: false }
    }

    pub fn end(&mut self, fanout: Fanout<'_>) {
        self.shapes = Some(fanout.shapes);
    }

    /// Gives the message to one subscription; false where it is not eligible and another may be asked.
    pub fn deliver(&mut self, target: Target, fanout: &mut Fanout<'_>, settings: &Settings) -> bool {
        let Some(connection) = self.slots.get_mut(target.connection) else { return false };
        if !connection.is_open() || connection.is_write_dead || connection.is_overflowed {
            return false;
        }
        #[cfg(test)]
        assert!(self.breaks != Some(target.connection), "a delivery panics on purpose");
        let Connection { protocol, queue, subscriptions, .. } = connection;
        let Some(subscription) = subscriptions.get_mut(target.subscription) else { return false };
        let is_own = fanout.publisher.is_some_and(|publisher| publisher.id == target.connection);
        let n_bytes_before = queue.len();
        let room = Room { settings };
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
        if n_bytes > n_bytes_before && !std::mem::replace(&mut connection.is_dirty, true) {
            self.effects.flush.push(target.connection);
        }
        // Short of its limit, a queue slows those who fill it.
        if n_bytes >= settings.write_queue_bytes_max / 4 * 3 {
            connection.is_pressed = true;
            fanout.is_pressed = true;
        }
        self.note(target, outcome, fanout)
    }

    fn note(&mut self, target: Target, outcome: Outcome, fanout: &mut Fanout<'_>) -> bool {
        let counters = &mut self.counters;
        let is_taken = match outcome {
            Outcome::Delivered | Outcome::DeliveredLast => {
                counters.delivered += 1;
                if outcome == Outcome::DeliveredLast {
                    self.finished.push(target);
                }
                true
            }
            Outcome::DroppedQueueFull => {
                counters.dropped_queue_full += 1;
                true
            }
            Outcome::DroppedSessionFull => {
                counters.dropped_session_full += 1;
                true
            }
            Outcome::DroppedPacketTooLarge => {
                counters.dropped_packet_too_large += 1;
                true
            }
            Outcome::Unmappable => {
                counters.unmappable += 1;
                false
            }
            Outcome::SubjectTooLong => {
                counters.subject_too_long += 1;
                false
            }
            Outcome::NotEligible => false,
            Outcome::Overflowed => {
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
        let Connection { protocol: Protocol::Mqtt(mqtt), queue, .. } = connection else { return };
        let n_bytes_before = queue.len();
        while mqtt.inflight.is_open()
            && queue.len() < session_share(settings)
            && let Some(waiting) = mqtt.inflight.next_waiting()
        {
            self.n_queued_bytes -= waiting.n_bytes();
            let packet_id = mqtt.inflight.begin();
            queue.append(&mut self.pool, |buffer| {
                let at = buffer.len() + waiting.packet_id_at;
                buffer.extend_from_slice(&waiting.head);
                buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
            });
            append_payload(queue, &mut self.pool, &waiting.payload);
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
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
            return Outcome::NotEligible;
        };
        if max.is_some_and(|max| *n_delivered >= max) {
            return Outcome::NotEligible;
        }
        let message = self.message;
        let takes_header = nats.headers() && !message.header.is_empty();
        let shape = &mut self.shapes.nats[usize::from(takes_header)];
        if !shape.is_built {
            shape.build(message, takes_header);
        }
        if shape.before_sid.len() > room.settings.nats.parse.control_line_bytes_max {
            return Outcome::SubjectTooLong;
        }
        let shared = match message.payload {
            Payload::Copied(_) => None,
            Payload::Shared(bytes) => Some(bytes),
        };
        let n_bytes = shape.before_sid.len()
            + sid.len()
            + shape.after_sid.len()
            + shared.map_or(0, |bytes| bytes.len() + 2);
        if !queue.is_empty() && queue.len() + n_bytes > room.settings.write_queue_bytes_max {
            return Outcome::Overflowed;
        }
        queue.append(pool, |buffer| {
            buffer.extend_from_slice(&shape.before_sid);
            buffer.extend_from_slice(sid);
            buffer.extend_from_slice(&shape.after_sid);
        });
        if let Some(bytes) = shared {
            queue.append_shared(bytes.clone());
            queue.append(pool, |buffer| buffer.extend_from_slice(b"\r\n"));
        }
        *n_delivered += 1;
        if max.is_some_and(|max| *n_delivered >= max) { Outcome::DeliveredLast } else { Outcome::Delivered }
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
            return Outcome::NotEligible;
        };
        let message = self.message;
        if (is_own && *no_local)
            || (*begins_with_wildcard && mapping::is_hidden_from_wildcards(message.subject))
        {
            return Outcome::NotEligible;
        }
        if !self.has_topic() {
            return Outcome::Unmappable;
        }
        let quality = message.quality.min(*quality);
        let shape = self.mqtt_shape(mqtt.version(), quality);
        let large = match message.payload {
            Payload::Copied(_) => None,
            Payload::Shared(bytes) => Some(bytes),
        };
        let n_bytes = shape.frame.len() + large.map_or(0, Bytes::len);
        if n_bytes > mqtt.packet_bytes_max() {
            return Outcome::DroppedPacketTooLarge;
        }
        if quality == Quality::AtMostOnce {
            if !queue.is_empty() && queue.len() + n_bytes > room.settings.write_queue_bytes_max {
                return Outcome::DroppedQueueFull;
            }
            queue.append(pool, |buffer| buffer.extend_from_slice(&shape.frame));
        } else if mqtt.inflight.is_open()
            && !mqtt.inflight.has_waiting()
            && queue.len() < session_share(room.settings)
        {
            let packet_id = mqtt.inflight.begin();
            queue.append(pool, |buffer| {
                let at = buffer.len() + shape.packet_id_at;
                buffer.extend_from_slice(&shape.frame);
                buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
            });
        } else {
            let limits = &room.settings.mqtt;
            if mqtt.inflight.n_waiting() >= limits.session_queue_messages_max
                || mqtt.inflight.n_waiting_bytes() + n_bytes > limits.session_queue_bytes_max
            {
                return Outcome::DroppedSessionFull;
            }
            let head = shape.frame[..shape.head_len].into();
            let payload =
                large.cloned().unwrap_or_else(|| Bytes::copy_from_slice(message.payload.as_slice()));
            mqtt.inflight.wait(Waiting { head, packet_id_at: shape.packet_id_at, payload });
            return Outcome::Delivered;
        }
        if let Some(bytes) = large {
            queue.append_shared(bytes.clone());
        }
        Outcome::Delivered
    }

    fn has_topic(&mut self) -> bool {
        *self.has_topic.get_or_insert_with(|| {
            self.shapes.topic.clear();
            mapping::subject_to_topic(self.message.subject, &mut self.shapes.topic)
        })
    }

    fn mqtt_shape(&mut self, version: Version, quality: Quality) -> &MqttShape {
        let by_version = &mut self.shapes.mqtt[usize::from(version.is_v5())];
        let shape = &mut by_version[usize::from(quality == Quality::AtLeastOnce)];
        if !shape.is_built {
            shape.build(self.message, &self.shapes.topic, version, quality);
        }
        shape
    }
}

impl NatsShape {
    fn build(&mut self, message: &Message<'_>, with_header: bool) {
        self.is_built = true;
        self.before_sid.clear();
        self.after_sid.clear();
        nats::encode::delivery_before_sid(&mut self.before_sid, message.subject, with_header);
        let header: &[u8] = if with_header { message.header } else { b"" };
        // Where the block was cut off the sizes are not the publisher's.
        let digits = if header.len() == message.header.len() { message.digits } else { Digits::default() };
        let after = &mut self.after_sid;
        nats::encode::delivery_after_sid(after, message.reply, header.len(), message.payload.len(), digits);
        after.extend_from_slice(header);
        if let Payload::Copied(bytes) = message.payload {
            after.extend_from_slice(bytes);
            after.extend_from_slice(b"\r\n");
        }
    }
}

impl MqttShape {
    fn build(&mut self, message: &Message<'_>, topic: &[u8], version: Version, quality: Quality) {
        self.is_built = true;
        self.frame.clear();
        let publish = Publish {
            dup: false,
            qos: if quality == Quality::AtLeastOnce { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: false,
            topic,
            packet_id: 0,
            properties: Properties::from_checked(message.properties),
            payload: message.payload.as_slice(),
        };
        let PublishHead { packet_id_at, len } = publish_head(&mut self.frame, version, &publish)
            .expect("topic and payload are within their limits");
        self.packet_id_at = packet_id_at.unwrap_or(0);
        self.head_len = len;
        if let Payload::Copied(bytes) = message.payload {
            self.frame.extend_from_slice(bytes);
        }
    }
}
