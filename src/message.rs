//! The neutral publication: what both protocols' publishes become, and deliveries are built from. Borrowed
//! for one turn; what crosses cores or waits is copied by whoever keeps it.

use crate::payload::Payload;
use crate::time::Time;
use std::ops::Range;

/// What reply subjects that the gateway makes begin with. Nobody can subscribe to them; what is published there
/// is an answer to the one who asked.
pub const GATEWAY_INBOX: &[u8] = b"_INBOX.strait.";

/// Whether a filter names reply subjects that the gateway makes.
pub fn is_gateway_inbox(filter: &[u8]) -> bool {
    filter.starts_with(GATEWAY_INBOX) || filter == b"_INBOX.strait"
}

/// One publication under way.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The canonical subject. From NATS it may be one that matches nothing.
    pub subject: &'a [u8],
    /// The subject's topic where it is known already; otherwise empty.
    pub topic: &'a [u8],
    /// The NATS reply subject; empty where there is none.
    pub reply: &'a [u8],
    /// The NATS header block as it came; empty where there is none.
    pub header: &'a [u8],
    /// How the sizes of a NATS publish were written.
    pub digits: Digits,
    /// The MQTT 5 properties that go to every subscriber as they came, without their length.
    pub properties: &'a [u8],
    pub payload: Payload<'a>,
    pub quality: Quality,
    /// Its publisher asked to keep it for later subscribers.
    pub retain: bool,
    /// Its place in the order of what was kept; 0 where it is not.
    pub version: u64,
    /// Where more than this one came at once: `payload` is the first one's.
    pub run: Option<Run<'a>>,
}

impl<'a> Message<'a> {
    /// One of QoS 0 that says nothing beside its payload: what others differ from.
    #[inline]
    pub const fn plain(subject: &'a [u8], payload: Payload<'a>) -> Self {
        Self {
            subject,
            topic: b"",
            reply: b"",
            header: b"",
            digits: Digits { header: 0, total: 0 },
            properties: b"",
            payload,
            quality: Quality::AtMostOnce,
            retain: false,
            version: 0,
            run: None,
        }
    }

    /// How many messages this stands for.
    #[inline]
    pub fn n(&self) -> usize {
        self.run.map_or(1, |run| run.n())
    }
}

/// Messages that one publisher sent back to back and that are alike in all but their payloads' bytes: what
/// was found out about the first holds for all, so they go through the shard as one.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The frames as they came: `n` of `stride` bytes, of which the last `tail_len` end a frame.
    frames: &'a [u8],
    n: usize,
    stride: usize,
    head_len: usize,
    tail_len: usize,
    /// Where in each head its message's identifier is, in which they differ; 0 where they have none.
    packet_id_at: usize,
}

impl<'a> Run<'a> {
    /// The frames at the front of `input` that have the first one's head and end with `tail`. The first
    /// one is whole, `stride` bytes of which `head_len` precede the payload. `None` where it is alone.
    #[inline]
    pub fn at_front(input: &'a [u8], stride: usize, head_len: usize, tail: &[u8]) -> Option<Self> {
        let head = input.get(..head_len)?;
        let mut n = 1;
        let mut end = stride;
        while let Some(frame) = input.get(end..end + stride)
            && frame.starts_with(head)
            && frame.ends_with(tail)
        {
            n += 1;
            end += stride;
        }
        let frames = input.get(..end)?;
        (n > 1).then_some(Self { frames, n, stride, head_len, tail_len: tail.len(), packet_id_at: 0 })
    }

    /// As `at_front`, of at most `n_max` frames without a tail whose heads have an identifier at
    /// `packet_id_at`, never 0, and are alike in all else.
    #[inline]
    pub fn of_identified(
        input: &'a [u8],
        stride: usize,
        head_len: usize,
        packet_id_at: usize,
        n_max: usize,
    ) -> Option<Self> {
        let (before, after) = (input.get(..packet_id_at)?, input.get(packet_id_at + 2..head_len)?);
        let mut n = 1;
        let mut end = stride;
        while n < n_max
            && let Some(frame) = input.get(end..end + stride)
            && frame.starts_with(before)
            && (after.is_empty() || frame[packet_id_at + 2..].starts_with(after))
            && frame[packet_id_at..packet_id_at + 2] != [0, 0]
        {
            n += 1;
            end += stride;
        }
        let frames = input.get(..end)?;
        (n > 1).then_some(Self { frames, n, stride, head_len, tail_len: 0, packet_id_at })
    }

    /// The identifiers, where they have any.
    pub fn packet_ids(&self) -> impl Iterator<Item = u16> + use<'a> {
        let at = self.packet_id_at;
        self.frames.chunks_exact(self.stride).map(move |frame| u16::from_be_bytes([frame[at], frame[at + 1]]))
    }

    /// The payloads, one after another.
    pub fn payloads(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let payload = self.payload();
        self.frames.chunks_exact(self.stride).map(move |frame| &frame[payload.clone()])
    }

    /// Whether its frames are what `head`, which has an identifier at `packet_id_at`, makes of its payloads, but
    /// for that.
    pub fn is_made_of(&self, head: &[u8], packet_id_at: usize) -> bool {
        let (own, after_id_at) = (self.head(), packet_id_at + 2);
        self.tail_len == 0
            && self.packet_id_at == packet_id_at
            && packet_id_at != 0
            && own.len() == head.len()
            && own[..packet_id_at] == head[..packet_id_at]
            && own[after_id_at..] == head[after_id_at..]
    }

    /// Some of this run's frames, one after another.
    pub fn of_some<'f>(&self, frames: &'f [u8]) -> Run<'f> {
        Run { frames, n: frames.len() / self.stride, ..*self }
    }

    #[inline]
    pub fn n(&self) -> usize {
        self.n
    }

    /// The bytes of all frames.
    pub fn n_bytes(&self) -> usize {
        self.frames.len()
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    /// What every frame begins with.
    pub fn head(&self) -> &'a [u8] {
        &self.frames[..self.head_len]
    }

    /// The frames of these messages, as they came.
    pub fn frames(&self, range: Range<usize>) -> &'a [u8] {
        &self.frames[range.start * self.stride..range.end * self.stride]
    }

    /// Where in a frame the payload is.
    pub fn payload(&self) -> Range<usize> {
        self.head_len..self.stride - self.tail_len
    }
}

/// Where a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What its publisher speaks.
    pub protocol: ProtocolKind,
    /// When the last of it was read from the publisher's socket.
    pub read_at: Time,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolKind {
    Mqtt,
    Nats,
}

impl ProtocolKind {
    pub const COUNT: usize = 2;
    /// In the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Mqtt, Self::Nats];

    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Nats => "nats",
        }
    }
}

/// What the publisher asked for, and what a subscriber at most gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Quality {
    pub const COUNT: usize = 3;
    /// In the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce];
}

/// How many digits the sizes of a NATS publish were sent with: nats-server echoes leading zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digits {
    pub header: u8,
    pub total: u8,
}
