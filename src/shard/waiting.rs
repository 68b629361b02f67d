//! A session's side of a fan-out: what waits for a client that can't be written to, or for its window, and
//! how it leaves. Not when a session begins or ends: `sessions`.

use super::connection::{Connection, Protocol, Subscription};
use super::crossing;
use super::fanout::{Asks, Clients, End, Fanout, Outcome, Room, session_share};
use super::frames::{PART_BYTES, parts};
use super::id::ConnectionId;
use super::latency::Direction;
use super::settings::Settings;
use super::shapes::{Copied, MqttShape, Own};
use super::slots::Recipient;
use super::table::Target;
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Message, Origin, ProtocolKind, Quality, Run};
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::inflight::{Acknowledged, Inflight, Next};
use crate::mqtt::kept::Kept;
use crate::mqtt::packet::{Publish, Qos, Version};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::session::Expiry;
use crate::payload::Payload;
use crate::time::{Span, Time};

/// What a session sends in one go, in bytes: the rest follows as that is written.
const BURST_BYTES: usize = 256 << 10;

impl Clients {
    /// How many messages of at most so many bytes this subscription's session surely keeps. One of NATS has
    /// none, and slows or loses its client as at QoS 0.
    pub fn n_kept_for_sure(&self, target: &Target, n_bytes: usize, settings: &Settings) -> usize {
        let Some(connection) = self.slots.get(target.connection) else { return 0 };
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return usize::MAX };
        if !connection.is_reachable() {
            return 0;
        }
        let (limits, inflight) = (&settings.mqtt, &mqtt.session.inflight);
        // Short of where publishers are stopped.
        let n_messages = (limits.session_queue_messages_max / 4 * 3).saturating_sub(inflight.n_waiting());
        let bytes = (limits.session_queue_bytes_max / 4 * 3).saturating_sub(inflight.n_waiting_bytes());
        n_messages.min(bytes / n_bytes.max(1))
    }

    /// Gives the message to the session of a client that can't be written to, where it has one that stays.
    pub(super) fn deliver_to_session(
        &mut self,
        target: Target,
        fanout: &mut Fanout<'_>,
        settings: &Settings,
    ) -> bool {
        let Some(recipient) = self.slots.recipient(target.connection) else { return false };
        let Recipient { session, subscriptions, awaits_connack } = recipient;
        if fanout.asks == Asks::OneOnline && !awaits_connack {
            return false;
        }
        let inflight = &mut session.inflight;
        let stays = session.expiry != Expiry::WithConnection || awaits_connack;
        let Some(subscription) = subscriptions.get(target.subscription).filter(|_| stays) else {
            return false;
        };
        let is_own = fanout.publisher.is_some_and(|publisher| publisher.wrote_as(target.connection));
        let n_kept_before = inflight.n_bytes();
        let room = Room { settings, origin: self.origin };
        let message = fanout.message;
        let block =
            crossing::has_properties_to_make(message).then(|| fanout.shapes.crossed.take_properties(message));
        let properties = block.as_ref().map_or(message.properties, |block| block.properties().raw());
        let message = &Message { properties, ..*message };
        let outcome = match fanout.terms_for(subscription, is_own) {
            Ok((Quality::AtMostOnce, _)) => Outcome::none(End::DroppedOffline),
            Ok((quality, own)) if own == Own::default() => {
                let topic = fanout.shapes.topic();
                let kept = kept(message, topic, quality, self.origin, subscription);
                let kept = Kept { with_queue: fanout.with_queue, ..kept };
                keep_waiting(inflight, &kept, room, fanout.now)
            }
            Ok((quality, own)) => {
                let Copied { topic, properties, .. } =
                    fanout.shapes.mqtt_own(message, Version::V5, quality, &own);
                let copied = Message { properties, ..*message };
                let kept = kept(&copied, topic, quality, self.origin, subscription);
                let kept = Kept { retain: own.retain, with_queue: fanout.with_queue, ..kept };
                keep_waiting(inflight, &kept, room, fanout.now)
            }
            Err(end) => Outcome::none(end),
        };
        if let Some(block) = block {
            fanout.shapes.crossed.give_properties_back(block);
        }
        self.n_queued_bytes += inflight.n_bytes();
        self.n_queued_bytes -= n_kept_before;
        if outcome.n_queued > 0 {
            let direction = Direction::new(self.origin.protocol, ProtocolKind::Mqtt).idx();
            self.counters.delivered[direction] += outcome.n_queued;
            self.counters.delivered_bytes[direction] += fanout.message.payload.len() as u64;
        }
        self.write_down(target.connection);
        self.note(target, outcome, fanout)
    }

    /// Sends what its session has for a client, as far as its window and its write queue have room: first
    /// what an earlier connection left unacknowledged, then what waited.
    pub fn send_waiting(&mut self, id: ConnectionId, settings: &Settings, now: Time) {
        let Some(connection) = self.slots.get_mut(id).filter(|connection| connection.is_reachable()) else {
            return;
        };
        let Connection { protocol: Protocol::Mqtt(mqtt), queue, marks, traffic, .. } = connection else {
            return;
        };
        if !mqtt.session.inflight.has_pending() {
            return;
        }
        let (version, packet_bytes_max) = (mqtt.version(), mqtt.packet_bytes_max());
        let session = &mut mqtt.session;
        let (n_bytes_before, n_kept_before) = (queue.len(), session.inflight.n_bytes());
        let n_waiting_before = session.inflight.n_waiting();
        let n_bytes_max = session_share(settings).min(n_bytes_before + BURST_BYTES);
        let mut n_expired = 0;
        while queue.len() < n_bytes_max
            && let Some(next) = session.inflight.next(now, &mut n_expired)
        {
            let (packet_id, dup, kept) = match next {
                Next::Pubrel { packet_id } => {
                    queue.append(&mut self.pool, |out| {
                        encode::bare_ack(out, version, AckKind::Pubrel, packet_id, Reason::Success);
                    });
                    continue;
                }
                Next::Publish { packet_id, dup, kept } => (packet_id, dup, kept),
            };
            let mut block = PropertyBlock::new();
            let publish = to_publish(&kept, packet_id, dup, now, &mut block);
            let len_before = queue.len();
            if encode::publish_frame_len(version, &publish).is_ok_and(|len| len <= packet_bytes_max) {
                queue.append(&mut self.pool, |out| {
                    encode::publish_head(out, version, &publish).expect("its length was told");
                });
                append_payload(queue, &mut self.pool, &kept.payload);
                traffic.count_out(1, kept.payload.len() as u64);
                let read_at = kept.origin.read_at.max(session.resumed_at);
                if !dup {
                    marks.note(Origin { read_at, ..kept.origin }, 1, len_before, queue.len());
                }
            } else {
                // [MQTT-3.1.2-25]: as if it had been sent.
                session.inflight.give_up(packet_id);
                self.counters.dropped_packet_too_large += 1;
            }
        }
        self.counters.expired += n_expired;
        self.counters.n_session_messages -= (n_waiting_before - session.inflight.n_waiting()) as u64;
        self.n_queued_bytes += queue.len() + session.inflight.n_bytes();
        self.n_queued_bytes -= n_bytes_before + n_kept_before;
        if queue.len() > n_bytes_before && !std::mem::replace(&mut connection.is_dirty, true) {
            self.effects.flush.push(id);
        }
        self.write_down(id);
    }

    /// Changes what is under way to a client, and what that frees.
    pub fn acknowledge(
        &mut self,
        id: ConnectionId,
        note: impl FnOnce(&mut Inflight) -> Acknowledged,
    ) -> Acknowledged {
        let Some(Connection { protocol: Protocol::Mqtt(mqtt), .. }) = self.slots.get_mut(id) else {
            return Acknowledged::Unknown;
        };
        let n_kept_before = mqtt.session.inflight.n_bytes();
        let acknowledged = note(&mut mqtt.session.inflight);
        self.n_queued_bytes += mqtt.session.inflight.n_bytes();
        self.n_queued_bytes -= n_kept_before;
        self.write_down(id);
        acknowledged
    }
}

fn append_payload(queue: &mut WriteQueue, pool: &mut BufferPool, payload: &Payload<'_>) {
    match payload {
        Payload::Shared(bytes) => queue.append_shared((*bytes).clone()),
        Payload::Copied(bytes) => queue.append(pool, |buffer| buffer.extend_from_slice(bytes)),
    }
}

/// The packet of a message that was kept. What is left of its life is told anew. [MQTT-3.3.2-6]
fn to_publish<'a>(
    kept: &Kept<'a>,
    packet_id: u16,
    dup: bool,
    now: Time,
    block: &'a mut PropertyBlock,
) -> Publish<'a> {
    let mut properties = Properties::from_checked(kept.properties);
    if let Some(secs_left) = kept.secs_left(now) {
        block.push_without(properties, |it| matches!(it, Property::MessageExpiryInterval(_)));
        block.push(Property::MessageExpiryInterval(secs_left)).expect("any number of seconds is legal");
        properties = block.properties();
    }
    Publish {
        dup,
        qos: Qos::of(kept.quality),
        retain: kept.retain,
        topic: kept.topic,
        packet_id,
        properties,
        payload: match kept.payload {
            Payload::Copied(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        },
    }
}

/// Sends one message of QoS 1 or 2 where the client's window and its queue have room; otherwise it waits.
#[inline]
pub(super) fn deliver_kept(
    mqtt: &mut Mqtt,
    kept: &Kept<'_>,
    shape: &MqttShape,
    queue: &mut WriteQueue,
    pool: &mut BufferPool,
    room: Room<'_>,
    now: Time,
) -> Outcome {
    let inflight = &mut mqtt.session.inflight;
    if inflight.has_pending() || !inflight.is_open() || queue.len() >= session_share(room.settings) {
        return keep_waiting(inflight, kept, room, now);
    }
    let packet_id = inflight.begin(kept);
    queue.append(pool, |buffer| {
        let at = buffer.len() + shape.packet_id_at;
        buffer.extend_from_slice(&shape.frame[..shape.head_len]);
        buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        if let Payload::Copied(bytes) = kept.payload {
            buffer.extend_from_slice(bytes);
        }
    });
    if let Payload::Shared(bytes) = kept.payload {
        queue.append_shared(bytes.clone());
    }
    Outcome::queued(1, End::Delivered)
}

/// As `deliver_kept`, of a run's messages, which differ from `kept` in their payloads.
#[expect(clippy::too_many_arguments, reason = "a connection's parts are lent one by one")]
pub(super) fn deliver_run(
    mqtt: &mut Mqtt,
    kept: &Kept<'_>,
    run: &Run<'_>,
    shape: &MqttShape,
    queue: &mut WriteQueue,
    pool: &mut BufferPool,
    room: Room<'_>,
    now: Time,
) -> Outcome {
    let inflight = &mut mqtt.session.inflight;
    let head = &shape.frame[..shape.head_len];
    let frame_len = head.len() + run.payload().len();
    let n_fitting = session_share(room.settings).saturating_sub(queue.len()).div_ceil(frame_len);
    let n_open = if inflight.has_pending() { 0 } else { inflight.n_open(kept.n_bytes()) };
    let n = run.n().min(n_open).min(n_fitting);
    inflight.reserve(n, kept.n_bytes());
    let is_alike = run.is_made_of(head, shape.packet_id_at);
    for range in parts(n, frame_len, PART_BYTES) {
        let frames = run.frames(range);
        queue.append(pool, |buffer| {
            // What would be built is what came, but for the identifiers.
            let start = buffer.len();
            if is_alike {
                buffer.extend_from_slice(frames);
            } else {
                for payload in run.of_some(frames).payloads() {
                    buffer.extend_from_slice(head);
                    buffer.extend_from_slice(payload);
                }
            }
            let sent = buffer[start..].chunks_exact_mut(frame_len);
            for (frame, payload) in sent.zip(run.of_some(frames).payloads()) {
                let packet_id = inflight.begin(&Kept { payload: Payload::Copied(payload), ..*kept });
                frame[shape.packet_id_at..][..2].copy_from_slice(&packet_id.to_be_bytes());
            }
        });
    }
    let mut all = Outcome::queued(n as u64, End::Delivered);
    for payload in run.of_some(run.frames(n..run.n())).payloads() {
        let kept = Kept { payload: Payload::Copied(payload), ..*kept };
        all.add(keep_waiting(inflight, &kept, room, now));
    }
    all
}

/// Keeps a message in its session until it can be sent.
fn keep_waiting(inflight: &mut Inflight, kept: &Kept<'_>, room: Room<'_>, now: Time) -> Outcome {
    let mut limits = room.settings.mqtt.session_queue();
    // Where a group has it, another member may have room.
    limits.drops_oldest &= kept.share.is_none();
    let waited = inflight.wait(kept, &limits, now);
    let (n_queued, end) = if waited.is_kept { (1, End::Delivered) } else { (0, End::DroppedSessionFull) };
    Outcome {
        n_queued,
        n_waiting: n_queued,
        n_gave_way: waited.n_dropped as u64,
        n_expired: waited.n_expired as u64,
        lacks_bytes: waited.lacks_bytes,
        end,
    }
}

/// The message as a session keeps it.
pub(super) fn kept<'a>(
    message: &'a Message<'a>,
    topic: &'a [u8],
    quality: Quality,
    origin: Origin,
    subscription: &'a Subscription,
) -> Kept<'a> {
    let mut expires_at = Time::NEVER;
    if !message.properties.is_empty() {
        let properties = Properties::from_checked(message.properties);
        let secs = properties.message_expiry_interval();
        expires_at = secs.map_or(Time::NEVER, |secs| origin.read_at + Span::from_secs(secs.into()));
    }
    Kept {
        topic,
        properties: message.properties,
        payload: message.payload,
        quality,
        retain: false,
        expires_at,
        origin,
        share: subscription.share(),
        with_queue: false,
    }
}
