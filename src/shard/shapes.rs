//! Frame builders: what one message, or one run of them, looks like to each kind of subscriber. A head is
//! built once per shape and patched where subscribers differ, in sid and packet identifier. Not the choice
//! of who gets it, and no queue's limits: `fanout`.

use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Digits, Message, Quality, Run};
use crate::mqtt::encode::{PublishHead, publish_head};
use crate::mqtt::packet::{Publish, Qos, Version};
use crate::mqtt::property::Properties;
use crate::nats;
use crate::payload::Payload;
use crate::subject::mapping;
use std::ops::Range;

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
    /// By MQTT 5 or before, then by QoS.
    mqtt: [[MqttShape; 2]; 2],
    built_for: BuiltFor,
}

/// What the heads that are built depend on.
#[derive(Debug, Default)]
struct BuiltFor {
    subject: Vec<u8>,
    reply: Vec<u8>,
    payload_len: usize,
    digits: Digits,
    /// Nothing but the payload's bytes is in the message besides, and none of them are in the shapes.
    is_plain: bool,
}

impl BuiltFor {
    fn fits(&self, message: &Message<'_>) -> bool {
        self.is_plain
            && message.header.is_empty()
            && message.properties.is_empty()
            && self.payload_len == message.payload.len()
            && self.digits == message.digits
            && *self.subject == *message.subject
            // Comparing nothing with nothing costs 80 ns: an empty buffer's address is no page's, and the
            // masked load of glibc's memcmp takes the slow way there.
            && (self.reply.is_empty() == message.reply.is_empty())
            && (self.reply.is_empty() || *self.reply == *message.reply)
    }

    fn set(&mut self, message: &Message<'_>, is_wide: bool) {
        self.is_plain = !is_wide && message.header.is_empty() && message.properties.is_empty();
        if self.is_plain {
            self.payload_len = message.payload.len();
            self.digits = message.digits;
            self.subject.clear();
            self.subject.extend_from_slice(message.subject);
            self.reply.clear();
            self.reply.extend_from_slice(message.reply);
        }
    }
}

impl Shapes {
    /// Makes ready for `message`, which goes to `n_targets` here. What was built for the last one is kept
    /// where it serves again.
    #[inline]
    pub fn begin(&mut self, message: &Message<'_>, n_targets: usize) {
        let is_wide = n_targets > 1;
        if is_wide || !self.built_for.fits(message) {
            self.built_for.set(message, is_wide);
            self.has_topic = None;
            self.nats.iter_mut().for_each(|shape| shape.is_built = false);
        }
        self.is_wide = is_wide;
        self.nats.iter_mut().for_each(|shape| shape.frames.clear());
        // Their frames have the payload in them.
        self.mqtt.iter_mut().flatten().for_each(|shape| shape.is_built = false);
    }

    #[inline]
    pub fn nats(&mut self, message: &Message<'_>, with_header: bool) -> &mut NatsShape {
        let shape = &mut self.nats[usize::from(with_header)];
        if !shape.is_built {
            shape.build(message, with_header, self.is_wide);
        }
        shape
    }

    /// Whether MQTT can spell the subject.
    #[inline]
    pub fn has_topic(&mut self, message: &Message<'_>) -> bool {
        *self.has_topic.get_or_insert_with(|| {
            self.topic.clear();
            mapping::subject_to_topic(message.subject, &mut self.topic)
        })
    }

    #[inline]
    pub fn mqtt(&mut self, message: &Message<'_>, version: Version, quality: Quality) -> &MqttShape {
        let by_version = &mut self.mqtt[usize::from(version.is_v5())];
        let shape = &mut by_version[usize::from(quality == Quality::AtLeastOnce)];
        if !shape.is_built {
            shape.build(message, &self.topic, version, quality);
        }
        shape
    }
}

#[derive(Debug, Default)]
pub struct NatsShape {
    is_built: bool,
    before_sid: Vec<u8>,
    after_sid: Vec<u8>,
    /// `after_sid` goes on to the message's end, unless that is shared.
    is_whole: bool,
    /// The head for one sid, the last that was asked for.
    head: Vec<u8>,
    head_sid: Vec<u8>,
    /// The run's frames for that sid: clients of one program often use the same.
    frames: Vec<u8>,
}

impl NatsShape {
    fn build(&mut self, message: &Message<'_>, with_header: bool, is_wide: bool) {
        self.is_built = true;
        self.before_sid.clear();
        self.after_sid.clear();
        self.head.clear();
        nats::encode::delivery_before_sid(&mut self.before_sid, message.subject, with_header);
        let header: &[u8] = if with_header { message.header } else { b"" };
        // Where the block was cut off the sizes are not the publisher's.
        let digits = if header.len() == message.header.len() { message.digits } else { Digits::default() };
        let after = &mut self.after_sid;
        nats::encode::delivery_after_sid(after, message.reply, header.len(), message.payload.len(), digits);
        after.extend_from_slice(header);
        self.is_whole = is_wide && message.run.is_none();
        if let (true, Payload::Copied(bytes)) = (self.is_whole, message.payload) {
            after.extend_from_slice(bytes);
            after.extend_from_slice(b"\r\n");
        }
    }

    /// Bytes of what a client reads as one line, sid and sizes aside.
    pub fn line_len(&self) -> usize {
        self.before_sid.len()
    }

    /// Bytes of one message to `sid`.
    #[inline]
    pub fn frame_len(&self, sid: &[u8], payload: &Payload<'_>) -> usize {
        let is_payload_in = self.is_whole && matches!(payload, Payload::Copied(_));
        let rest = if is_payload_in { 0 } else { payload.len() + 2 };
        self.before_sid.len() + sid.len() + self.after_sid.len() + rest
    }

    /// Queues the first `n` of what `message` stands for.
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
            return self.queue_run(run, n, sid, queue, pool);
        }
        match message.payload {
            Payload::Copied(_) if self.is_whole => queue.append(pool, |buffer| {
                buffer.extend_from_slice(&self.before_sid);
                buffer.extend_from_slice(sid);
                buffer.extend_from_slice(&self.after_sid);
            }),
            Payload::Copied(payload) => {
                self.set_head(sid);
                queue.append(pool, |buffer| {
                    buffer.extend_from_slice(&self.head);
                    buffer.extend_from_slice(payload);
                    buffer.extend_from_slice(b"\r\n");
                });
            }
            Payload::Shared(bytes) => {
                self.set_head(sid);
                queue.append(pool, |buffer| buffer.extend_from_slice(&self.head));
                queue.append_shared(bytes.clone());
                queue.append(pool, |buffer| buffer.extend_from_slice(b"\r\n"));
            }
        }
    }

    fn queue_run(
        &mut self,
        run: &Run<'_>,
        n: usize,
        sid: &[u8],
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
    ) {
        let is_same_sid = self.set_head(sid);
        if is_same_sid && n == run.n() {
            if self.frames.is_empty() {
                append_frames(&mut self.frames, &self.head, run, 0..n, b"\r\n");
            }
            for part in self.frames.chunks(PART_BYTES) {
                queue.append(pool, |buffer| buffer.extend_from_slice(part));
            }
            return;
        }
        self.frames.clear();
        queue_frames(&self.head, run, n, b"\r\n", queue, pool);
    }

    /// Makes `head` the one for `sid`; whether it was already.
    #[inline]
    fn set_head(&mut self, sid: &[u8]) -> bool {
        if !self.head.is_empty() && *self.head_sid == *sid {
            return true;
        }
        self.head_sid.clear();
        self.head_sid.extend_from_slice(sid);
        self.head.clear();
        self.head.extend_from_slice(&self.before_sid);
        self.head.extend_from_slice(sid);
        self.head.extend_from_slice(&self.after_sid);
        false
    }
}

#[derive(Debug, Default)]
pub struct MqttShape {
    is_built: bool,
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
    pub fn queue(&self, message: &Message<'_>, n: usize, queue: &mut WriteQueue, pool: &mut BufferPool) {
        match (&message.run, message.payload) {
            // What would be built is what came.
            (Some(run), _) if *run.head() == *self.frame && run.payload().end == run.stride() => {
                for range in parts(n, run.stride()) {
                    queue.append(pool, |buffer| buffer.extend_from_slice(run.frames(range)));
                }
            }
            (Some(run), _) => queue_frames(&self.frame, run, n, b"", queue, pool),
            (None, Payload::Copied(_)) => queue.append(pool, |buffer| buffer.extend_from_slice(&self.frame)),
            (None, Payload::Shared(bytes)) => {
                queue.append(pool, |buffer| buffer.extend_from_slice(&self.frame));
                queue.append_shared(bytes.clone());
            }
        }
    }
}

/// What one append to a queue adds at most, in bytes, so that its buffers keep to the pool's size.
const PART_BYTES: usize = 32 << 10;

/// `0..n` in parts of at most [`PART_BYTES`], of one item at least.
fn parts(n: usize, item_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let n_at_once = (PART_BYTES / item_bytes).max(1);
    (0..n).step_by(n_at_once).map(move |start| start..n.min(start + n_at_once))
}

fn queue_frames(
    head: &[u8],
    run: &Run<'_>,
    n: usize,
    tail: &[u8],
    queue: &mut WriteQueue,
    pool: &mut BufferPool,
) {
    let frame_len = head.len() + run.payload().len() + tail.len();
    for range in parts(n, frame_len) {
        queue.append(pool, |buffer| append_frames(buffer, head, run, range, tail));
    }
}

/// Appends a frame for each of these messages: `head`, its payload, `tail`.
fn append_frames(out: &mut Vec<u8>, head: &[u8], run: &Run<'_>, range: Range<usize>, tail: &[u8]) {
    let payload = run.payload();
    let payload_end = head.len() + payload.len();
    let frame_len = payload_end + tail.len();
    let start = out.len();
    out.resize(start + range.len() * frame_len, 0);
    let came = run.frames(range).chunks_exact(run.stride());
    for (frame, came) in out[start..].chunks_exact_mut(frame_len).zip(came) {
        frame[..head.len()].copy_from_slice(head);
        frame[head.len()..payload_end].copy_from_slice(&came[payload.clone()]);
        frame[payload_end..].copy_from_slice(tail);
    }
}
