//! Frame builders: what one message, or one run of them, looks like to each kind of subscriber. A head is
//! built once per shape and patched where subscribers differ, in sid and packet identifier. Not the choice
//! of who gets it, and no queue's limits: `fanout`.

use super::crossing;
use super::frames::{PART_BYTES, SharedFrames, append_frames, parts, queue_frames};
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Digits, Message, Quality, Run};
use crate::mqtt::alias::Alias;
use crate::mqtt::encode::{PublishHead, publish_head};
use crate::mqtt::packet::{Publish, Qos, Version};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::nats;
use crate::payload::Payload;
use crate::subject::mapping;

/// Buffers for the heads, kept from one fan-out to the next.
#[derive(Debug, Default)]
pub struct Shapes {
    /// Whether the message goes to many: then it pays to build its end once, payload and all.
    is_wide: bool,
    /// Whether the subject has a topic, once somebody asked.
    has_topic: Option<bool>,
    topic: Vec<u8>,
    /// By whether the client takes headers.
    nats: [NatsShape; 2],
    /// What precedes the payload for one NATS subscriber that sees names otherwise.
    own_head: Vec<u8>,
    /// Reply subjects that subscribers could not have addressed, and were not shown.
    pub n_replies_hidden: u64,
    /// By MQTT 5 or before, then by QoS.
    mqtt: [[MqttShape; Quality::COUNT]; 2],
    /// The copy of one subscriber that has something of its own in it.
    own: MqttShape,
    own_properties: PropertyBlock,
    built_for: BuiltFor,
    pub crossed: Crossed,
}

/// What the message says in the other protocol's words, made once somebody is due it.
#[derive(Debug, Default)]
pub struct Crossed {
    header: Vec<u8>,
    has_header: bool,
    properties: PropertyBlock,
    has_properties: bool,
    /// Headers that no property can hold.
    pub n_unmappable: u64,
}

impl Crossed {
    fn begin(&mut self) {
        self.has_header = false;
        self.has_properties = false;
    }

    /// The header block of a message from MQTT, lent until it is given back.
    pub fn take_header(&mut self, message: &Message<'_>) -> Vec<u8> {
        if !self.has_header {
            crossing::write_header(message, &mut self.header);
        }
        std::mem::take(&mut self.header)
    }

    pub fn give_header_back(&mut self, header: Vec<u8>) {
        self.header = header;
        // Not before: a delivery that panics takes the lent buffer with it.
        self.has_header = true;
    }

    /// The properties of a message from NATS, lent until they are given back.
    pub fn take_properties(&mut self, message: &Message<'_>) -> PropertyBlock {
        if !self.has_properties {
            let n_unmappable = crossing::write_properties(message, &mut self.properties);
            self.n_unmappable += n_unmappable * message.n() as u64;
        }
        std::mem::take(&mut self.properties)
    }

    pub fn give_properties_back(&mut self, properties: PropertyBlock) {
        self.properties = properties;
        self.has_properties = true;
    }
}

/// What the heads that are built depend on.
#[derive(Debug, Default)]
struct BuiltFor {
    /// Empty, which is nobody's, where there is more in the shapes than subject and sizes.
    subject: Vec<u8>,
    payload_len: usize,
    digits: Digits,
    /// A header that is made says it.
    quality: Option<Quality>,
}

impl BuiltFor {
    #[inline]
    fn fits(&self, message: &Message<'_>) -> bool {
        self.payload_len == message.payload.len()
            && self.digits == message.digits
            && self.quality == Some(message.quality)
            && is_plain(message)
            && *self.subject == *message.subject
            && !self.subject.is_empty()
    }

    fn note(&mut self, message: &Message<'_>) {
        self.subject.clear();
        if is_plain(message) {
            self.subject.extend_from_slice(message.subject);
        }
        self.payload_len = message.payload.len();
        self.digits = message.digits;
        self.quality = Some(message.quality);
    }
}

/// Whether nothing but a payload is in the message.
fn is_plain(message: &Message<'_>) -> bool {
    message.reply.is_empty() && message.header.is_empty() && message.properties.is_empty() && !message.retain
}

/// What one subscriber's copy has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub retain: bool,
    /// The identifier of the subscription; 0 where it has none.
    pub identifier: u32,
    /// Seconds that the message has left, where that is not what its publisher said.
    pub secs_left: Option<u32>,
    pub alias: Option<Alias>,
}

/// A subscriber's copy: its frame, its topic, and the properties in it.
pub struct Copied<'s> {
    pub shape: &'s mut MqttShape,
    pub topic: &'s [u8],
    pub properties: &'s [u8],
}

impl Shapes {
    /// Makes ready for `message`, which goes to `n_clients` here. What was built for the last one is kept
    /// where it serves again.
    #[inline]
    pub fn begin(&mut self, message: &Message<'_>, n_clients: usize) {
        let is_wide = n_clients > 1;
        if is_wide || self.is_wide || !self.built_for.fits(message) {
            self.built_for.note(message);
            self.has_topic = None;
            self.nats.iter_mut().for_each(|shape| shape.is_built = false);
        }
        self.is_wide = is_wide;
        self.crossed.begin();
        self.nats.iter_mut().for_each(|shape| {
            shape.was_addressed = false;
            shape.frames.clear();
        });
        // Their frames have the payload in them.
        self.mqtt.iter_mut().flatten().for_each(|shape| shape.is_built = false);
    }

    /// Gives back the buffers that this message's clients alone need from here on.
    #[inline]
    pub fn end(&mut self, message: &Message<'_>, pool: &mut BufferPool) {
        if message.run.is_some() && self.is_wide {
            self.nats.iter_mut().for_each(|shape| shape.shared.give_back(pool));
            self.mqtt.iter_mut().flatten().for_each(|shape| shape.shared.give_back(pool));
        }
    }

    #[inline]
    pub fn nats(&mut self, message: &Message<'_>, with_header: bool) -> &mut NatsShape {
        let shape = &mut self.nats[usize::from(with_header)];
        if !shape.is_built {
            shape.build(message, with_header, self.is_wide);
        }
        shape
    }

    /// What precedes the payload for one subscriber, of this sid, to whom the message is `seen`.
    pub fn nats_apart(
        &mut self,
        message: &Message<'_>,
        seen: &Message<'_>,
        with_header: bool,
        sid: &[u8],
    ) -> &[u8] {
        self.n_replies_hidden += u64::from(seen.reply.is_empty() && !message.reply.is_empty());
        let head = &mut self.own_head;
        head.clear();
        nats::encode::delivery_before_sid(head, seen.subject, with_header);
        head.extend_from_slice(sid);
        after_sid(head, seen, with_header);
        head
    }

    /// Whether MQTT can spell the subject.
    #[inline]
    pub fn has_topic(&mut self, message: &Message<'_>) -> bool {
        *self.has_topic.get_or_insert_with(|| {
            self.topic.clear();
            if message.topic.is_empty() {
                return mapping::subject_to_topic(message.subject, &mut self.topic);
            }
            self.topic.extend_from_slice(message.topic);
            true
        })
    }

    /// What the message looks like to such a client, and its topic.
    #[inline]
    pub fn mqtt(
        &mut self,
        message: &Message<'_>,
        version: Version,
        quality: Quality,
    ) -> (&mut MqttShape, &[u8]) {
        let by_version = &mut self.mqtt[usize::from(version.is_v5())];
        let shape = &mut by_version[quality as usize];
        if !shape.is_built {
            shape.build(message, &self.topic, version, quality);
            shape.is_wide = self.is_wide;
        }
        (shape, &self.topic)
    }

    /// A copy with something of its subscriber's own in it.
    pub fn mqtt_own(
        &mut self,
        message: &Message<'_>,
        version: Version,
        quality: Quality,
        own: &Own,
    ) -> Copied<'_> {
        let properties = &mut self.own_properties;
        properties.clear();
        let came = Properties::from_checked(message.properties);
        properties.push_without(came, |it| {
            own.secs_left.is_some() && matches!(it, Property::MessageExpiryInterval(_))
        });
        let secs_left = own.secs_left.map(Property::MessageExpiryInterval);
        let identifier = (own.identifier != 0).then_some(Property::SubscriptionIdentifier(own.identifier));
        let alias = own.alias.map(|alias| Property::TopicAlias(alias.number));
        for property in secs_left.into_iter().chain(identifier).chain(alias) {
            properties.push(property).expect("every value of it is within MQTT's range");
        }
        let properties = self.own_properties.properties().raw();
        let message = &Message { properties, ..*message };
        let is_known = own.alias.is_some_and(|alias| alias.is_known);
        self.own.build(message, if is_known { b"" } else { &self.topic }, version, quality);
        if own.retain {
            self.own.frame[0] |= 1;
        }
        Copied { shape: &mut self.own, topic: &self.topic, properties }
    }

    /// The topic, where there is one.
    pub fn topic(&self) -> &[u8] {
        &self.topic
    }
}

#[derive(Debug, Default)]
pub struct NatsShape {
    is_built: bool,
    with_header: bool,
    /// The head for one sid, the last that was asked for.
    head: Vec<u8>,
    head_sid: Vec<u8>,
    /// Of a message to many: what precedes the sid, and what follows it up to the message's end, unless
    /// that is shared.
    before_sid: Vec<u8>,
    after_sid: Vec<u8>,
    is_whole: bool,
    is_wide: bool,
    /// Some client was addressed by `head` in this fan-out.
    was_addressed: bool,
    /// The run's frames for `head_sid`: clients of one program often use the same. Of a short run copied into
    /// each queue, of a long one shared.
    frames: Vec<u8>,
    shared: SharedFrames,
}

impl NatsShape {
    fn build(&mut self, message: &Message<'_>, with_header: bool, is_wide: bool) {
        self.is_built = true;
        self.with_header = with_header;
        self.head.clear();
        self.is_wide = is_wide;
        self.is_whole = is_wide && message.run.is_none();
        if let (true, Payload::Copied(bytes)) = (self.is_whole, message.payload) {
            self.before_sid.clear();
            self.after_sid.clear();
            nats::encode::delivery_before_sid(&mut self.before_sid, message.subject, with_header);
            after_sid(&mut self.after_sid, message, with_header);
            self.after_sid.extend_from_slice(bytes);
            self.after_sid.extend_from_slice(b"\r\n");
        }
    }

    /// Makes ready for `sid` and says how many bytes one message to it has.
    #[inline]
    pub fn address(&mut self, message: &Message<'_>, sid: &[u8]) -> usize {
        match (&message.run, message.payload) {
            (None, Payload::Copied(_)) if self.is_whole => {
                return self.before_sid.len() + sid.len() + self.after_sid.len();
            }
            (None, Payload::Copied(payload)) => {
                return nats::encode::before_sid_len(message.subject, self.with_header)
                    + sid.len()
                    + after_sid_len(message, self.with_header)
                    + payload.len()
                    + 2;
            }
            _ => {}
        }
        if self.head.is_empty() || *self.head_sid != *sid {
            self.head_sid.clear();
            self.head_sid.extend_from_slice(sid);
            self.head.clear();
            nats::encode::delivery_before_sid(&mut self.head, message.subject, self.with_header);
            self.head.extend_from_slice(sid);
            after_sid(&mut self.head, message, self.with_header);
            self.was_addressed = false;
            self.frames.clear();
            self.shared.forget();
        }
        self.head.len() + message.payload.len() + 2
    }

    /// Queues the first `n` of what `message` stands for to the client that was addressed.
    #[inline]
    pub fn queue(
        &mut self,
        message: &Message<'_>,
        n: usize,
        sid: &[u8],
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
    ) {
        if let Some(run) = &message.run {
            return self.queue_run(run, n, queue, pool);
        }
        match message.payload {
            Payload::Copied(_) if self.is_whole => queue.append(pool, |buffer| {
                buffer.extend_from_slice(&self.before_sid);
                buffer.extend_from_slice(sid);
                buffer.extend_from_slice(&self.after_sid);
            }),
            // Alone: straight into its queue.
            Payload::Copied(payload) => queue.append(pool, |buffer| {
                nats::encode::delivery_before_sid(buffer, message.subject, self.with_header);
                buffer.extend_from_slice(sid);
                after_sid(buffer, message, self.with_header);
                buffer.extend_from_slice(payload);
                buffer.extend_from_slice(b"\r\n");
            }),
            Payload::Shared(bytes) => {
                queue.append(pool, |buffer| buffer.extend_from_slice(&self.head));
                queue.append_shared(bytes.clone());
                queue.append(pool, |buffer| buffer.extend_from_slice(b"\r\n"));
            }
        }
    }

    fn queue_run(&mut self, run: &Run<'_>, n: usize, queue: &mut WriteQueue, pool: &mut BufferPool) {
        let (head, tail) = (&self.head, b"\r\n");
        let frame_len = head.len() + run.payload().len() + tail.len();
        if self.is_wide && SharedFrames::suits(run, n, frame_len) {
            let build = |out: &mut Vec<u8>, range| append_frames(out, head, run, range, tail);
            return self.shared.queue(run, frame_len, queue, pool, build);
        }
        // The first client of a sid has them made in its queue, the second here, for all that follow.
        let is_first = !std::mem::replace(&mut self.was_addressed, true);
        if is_first || n < run.n() {
            return queue_frames(&self.head, run, n, b"\r\n", queue, pool);
        }
        if self.frames.is_empty() {
            append_frames(&mut self.frames, &self.head, run, 0..n, b"\r\n");
        }
        for part in self.frames.chunks(PART_BYTES) {
            queue.append(pool, |buffer| buffer.extend_from_slice(part));
        }
    }
}

/// What follows the sid up to the payload.
fn after_sid(out: &mut Vec<u8>, message: &Message<'_>, with_header: bool) {
    let header: &[u8] = if with_header { message.header } else { b"" };
    // Where the block was cut off the sizes are not the publisher's.
    let digits = if header.len() == message.header.len() { message.digits } else { Digits::default() };
    nats::encode::delivery_after_sid(out, message.reply, header.len(), message.payload.len(), digits);
    out.extend_from_slice(header);
}

/// Bytes of [`after_sid`].
fn after_sid_len(message: &Message<'_>, with_header: bool) -> usize {
    let header: &[u8] = if with_header { message.header } else { b"" };
    let digits = if header.len() == message.header.len() { message.digits } else { Digits::default() };
    nats::encode::after_sid_len(message.reply, header.len(), message.payload.len(), digits) + header.len()
}

#[derive(Debug, Default)]
pub struct MqttShape {
    is_built: bool,
    is_wide: bool,
    shared: SharedFrames,
    /// The head, and of a single small message also the payload.
    pub frame: Vec<u8>,
    pub packet_id_at: usize,
    pub head_len: usize,
}

impl MqttShape {
    fn build(&mut self, message: &Message<'_>, topic: &[u8], version: Version, quality: Quality) {
        self.is_built = true;
        self.frame.clear();
        let publish = Publish {
            dup: false,
            qos: Qos::of(quality),
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
        if let (Payload::Copied(bytes), None) = (message.payload, message.run) {
            self.frame.extend_from_slice(bytes);
        }
    }

    /// Bytes of one packet.
    #[inline]
    pub fn packet_len(&self, payload: &Payload<'_>) -> usize {
        self.head_len + payload.len()
    }

    /// Queues the first `n` of what `message` stands for, at QoS 0.
    #[inline]
    pub fn queue(&mut self, message: &Message<'_>, n: usize, queue: &mut WriteQueue, pool: &mut BufferPool) {
        match (&message.run, message.payload) {
            (Some(run), _) => self.queue_run(run, n, queue, pool),
            (None, Payload::Copied(_)) => queue.append(pool, |buffer| buffer.extend_from_slice(&self.frame)),
            (None, Payload::Shared(bytes)) => {
                queue.append(pool, |buffer| buffer.extend_from_slice(&self.frame));
                queue.append_shared(bytes.clone());
            }
        }
    }

    fn queue_run(&mut self, run: &Run<'_>, n: usize, queue: &mut WriteQueue, pool: &mut BufferPool) {
        let (head, frame_len) = (&self.frame, self.frame.len() + run.payload().len());
        // What would be built is what came.
        let is_alike = *run.head() == **head && run.payload().end == run.stride();
        let build = |out: &mut Vec<u8>, range| {
            if is_alike {
                out.extend_from_slice(run.frames(range));
            } else {
                append_frames(out, head, run, range, b"");
            }
        };
        if self.is_wide && SharedFrames::suits(run, n, frame_len) {
            return self.shared.queue(run, frame_len, queue, pool, build);
        }
        for range in parts(n, frame_len, PART_BYTES) {
            queue.append(pool, |buffer| build(buffer, range));
        }
    }
}
