//! The changes of a session, as bytes for a store, and read back. Whoever applies a session's changes in their
//! order has the session; a session can also be said whole, as the changes that make it anew. Not when they
//! are handed over, nor where they are kept: `store` is what does that.
//!
//! Bytes that come back from a store may be anything: what they announce is not believed, and a change that
//! can't be is [`Corrupt`].

use crate::message::{Origin, ProtocolKind, Quality};
use crate::mqtt::kept::Kept;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{RetainHandling, SubscribeOptions};
use crate::mqtt::property::{Place, Properties};
use crate::mqtt::session::{Expiry, Will};
use crate::mqtt::share::Share;
use crate::mqtt::topic::{check_topic_name, valid_topic_filter};
use crate::mqtt::wire::{Reader, is_utf8_without_nul, put_varint};
use crate::payload::{Payload, share_if_large};
use crate::subject::SubjectFilter;
use crate::time::{Span, Time};
use bytes::Bytes;
use std::rc::Rc;

/// One change. Times are those of the process that writes.
#[derive(Debug)]
pub enum Change<'a> {
    /// How long the session outlives its connection.
    Expires(Expiry),
    /// A connection took it up.
    Came,
    /// Its connection ended: when the session does, and when its will is due.
    Left {
        ends_at: Time,
        will_due: Time,
    },
    /// What is left for the case of its client's death.
    Will(&'a Will),
    /// The will was published, or taken back.
    NoWill,
    /// A new subscription, or other options of one that there is. `identifier` is 0 for none.
    Subscribed {
        filter: &'a [u8],
        options: SubscribeOptions,
        identifier: u32,
    },
    /// What the subscription is still due of what was retained before it: nothing, or (again) all.
    Replay {
        filter: &'a [u8],
        is_due: bool,
    },
    Unsubscribed {
        filter: &'a [u8],
    },
    /// The identifier of the next message that is sent.
    FirstId(u16),
    /// A message waits for the client.
    Waits(Kept<'a>),
    /// The oldest that waited is sent.
    Leaves,
    /// So many of the oldest that waited are dropped.
    Dropped(u32),
    /// All that waited by shared subscriptions went to others.
    WentToOthers,
    /// A message is sent at once.
    Sent(Kept<'a>),
    /// QoS 2: the client has it.
    Released(u16),
    /// The identifier is free.
    Finished(u16),
    /// QoS 2 from the client: everybody has taken the message, and PUBREC may leave.
    Received(u16),
    /// PUBREL came for it.
    Completed(u16),
}

/// Bytes that nobody wrote, or a change that could not follow those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl From<Malformed> for Corrupt {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// What a session writes down of itself, if somebody keeps it.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "a session of which nothing is kept has a word for it and not three"
)]
pub struct Diary(Option<Box<Vec<u8>>>);

impl Diary {
    /// From now on changes are written down.
    pub fn open(&mut self) {
        self.0.get_or_insert_default();
    }

    #[inline]
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub fn note(&mut self, change: &Change<'_>) {
        if let Some(changes) = &mut self.0 {
            change.write(changes);
        }
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        self.0.as_deref_mut().map(std::mem::take).unwrap_or_default()
    }
}

const EXPIRES: u8 = 1;
const CAME: u8 = 2;
const LEFT: u8 = 3;
const WILL: u8 = 4;
const NO_WILL: u8 = 5;
const SUBSCRIBED: u8 = 6;
const REPLAY: u8 = 7;
const UNSUBSCRIBED: u8 = 8;
const FIRST_ID: u8 = 9;
const WAITS: u8 = 10;
const LEAVES: u8 = 11;
const DROPPED: u8 = 12;
const WENT_TO_OTHERS: u8 = 13;
const SENT: u8 = 14;
const RELEASED: u8 = 15;
const FINISHED: u8 = 16;
const RECEIVED: u8 = 17;
const COMPLETED: u8 = 18;

/// Bits of a message's flags, above its QoS.
const RETAIN: u8 = 1 << 2;
const EXPIRING: u8 = 1 << 3;
const SHARED: u8 = 1 << 4;
const WITH_QUEUE: u8 = 1 << 5;
const FROM_NATS: u8 = 1 << 6;

impl Change<'_> {
    /// Appends it. No text in it is longer than what a packet can say.
    pub fn write(&self, out: &mut Vec<u8>) {
        let id = |out: &mut Vec<u8>, kind: u8, packet_id: u16| {
            out.push(kind);
            out.extend_from_slice(&packet_id.to_be_bytes());
        };
        match self {
            Self::Expires(expiry) => {
                out.push(EXPIRES);
                out.extend_from_slice(&expiry.as_secs().to_be_bytes());
            }
            Self::Came => out.push(CAME),
            Self::Left { ends_at, will_due } => {
                out.push(LEFT);
                put_time(out, *ends_at);
                put_time(out, *will_due);
            }
            Self::Will(will) => write_will(will, out),
            Self::NoWill => out.push(NO_WILL),
            Self::Subscribed { filter, options, identifier } => {
                // What is due of what was retained is another change.
                let options = SubscribeOptions { retain_handling: RetainHandling::default(), ..*options };
                out.extend_from_slice(&[SUBSCRIBED, options.to_byte()]);
                put_varint(out, *identifier);
                put_text(out, filter);
            }
            Self::Replay { filter, is_due } => {
                out.extend_from_slice(&[REPLAY, u8::from(*is_due)]);
                put_text(out, filter);
            }
            Self::Unsubscribed { filter } => {
                out.push(UNSUBSCRIBED);
                put_text(out, filter);
            }
            Self::FirstId(packet_id) => id(out, FIRST_ID, *packet_id),
            Self::Waits(kept) => write_message(WAITS, kept, out),
            Self::Leaves => out.push(LEAVES),
            Self::Dropped(n) => {
                out.push(DROPPED);
                out.extend_from_slice(&n.to_be_bytes());
            }
            Self::WentToOthers => out.push(WENT_TO_OTHERS),
            Self::Sent(kept) => write_message(SENT, kept, out),
            Self::Released(packet_id) => id(out, RELEASED, *packet_id),
            Self::Finished(packet_id) => id(out, FINISHED, *packet_id),
            Self::Received(packet_id) => id(out, RECEIVED, *packet_id),
            Self::Completed(packet_id) => id(out, COMPLETED, *packet_id),
        }
    }
}

fn write_will(will: &Will, out: &mut Vec<u8>) {
    out.extend_from_slice(&[WILL, will.quality as u8 | u8::from(will.retain) << 2]);
    out.extend_from_slice(&will.delay.as_nanos().to_be_bytes());
    put_text(out, &will.topic);
    put_text(out, &will.properties);
    put_text(out, &will.payload);
}

fn write_message(kind: u8, kept: &Kept<'_>, out: &mut Vec<u8>) {
    let is_expiring = kept.expires_at != Time::NEVER;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = kept.quality as u8
        | flag(kept.retain, RETAIN)
        | flag(is_expiring, EXPIRING)
        | flag(kept.share.is_some(), SHARED)
        | flag(kept.with_queue, WITH_QUEUE)
        | flag(kept.origin.protocol == ProtocolKind::Nats, FROM_NATS);
    out.extend_from_slice(&[kind, flags]);
    put_text(out, kept.topic);
    put_text(out, kept.properties);
    put_text(out, kept.payload.as_slice());
    if is_expiring {
        put_time(out, kept.expires_at);
    }
    if let Some(share) = kept.share {
        put_text(out, &share.name);
        put_text(out, share.filter.as_bytes());
    }
}

fn put_time(out: &mut Vec<u8>, time: Time) {
    out.extend_from_slice(&time.as_nanos().to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u32);
    out.extend_from_slice(text);
}

/// Reads the changes in `bytes` one by one. Their times were those of another process, which began so many
/// nanoseconds later than this one.
pub fn read(
    bytes: &[u8],
    shift_nanos: i64,
    mut visit: impl FnMut(&Change<'_>) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    let mut reader = ChangeReader { reader: Reader::new(bytes), shift_nanos, share: None };
    while !reader.reader.is_empty() {
        reader.read_one(&mut visit)?;
    }
    Ok(())
}

struct ChangeReader<'a> {
    reader: Reader<'a>,
    shift_nanos: i64,
    /// Messages of one subscription have one.
    share: Option<Rc<Share>>,
}

impl<'a> ChangeReader<'a> {
    fn read_one(
        &mut self,
        visit: &mut impl FnMut(&Change<'_>) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        let change = match self.reader.u8()? {
            EXPIRES => Change::Expires(Expiry::from_secs(self.reader.u32()?)),
            CAME => Change::Came,
            LEFT => Change::Left { ends_at: self.time()?, will_due: self.time()? },
            WILL => {
                let will = self.will()?;
                return visit(&Change::Will(&will));
            }
            NO_WILL => Change::NoWill,
            SUBSCRIBED => {
                let options = SubscribeOptions::from_byte(self.reader.u8()?).ok_or(Corrupt)?;
                let identifier = self.reader.varint()?;
                Change::Subscribed { filter: self.filter()?, options, identifier }
            }
            REPLAY => {
                let is_due = self.reader.u8()? != 0;
                Change::Replay { filter: self.filter()?, is_due }
            }
            UNSUBSCRIBED => Change::Unsubscribed { filter: self.filter()? },
            FIRST_ID => Change::FirstId(self.packet_id()?),
            WAITS => return self.message(|kept| visit(&Change::Waits(kept))),
            LEAVES => Change::Leaves,
            DROPPED => Change::Dropped(self.reader.u32()?),
            WENT_TO_OTHERS => Change::WentToOthers,
            SENT => return self.message(|kept| visit(&Change::Sent(kept))),
            RELEASED => Change::Released(self.packet_id()?),
            FINISHED => Change::Finished(self.packet_id()?),
            RECEIVED => Change::Received(self.packet_id()?),
            COMPLETED => Change::Completed(self.packet_id()?),
            _ => return Err(Corrupt),
        };
        visit(&change)
    }

    fn message(&mut self, visit: impl FnOnce(Kept<'_>) -> Result<(), Corrupt>) -> Result<(), Corrupt> {
        let flags = self.reader.u8()?;
        let topic = self.text()?;
        check_topic_name(topic)?;
        let properties = Properties::read(&mut self.reader, Place::Publish)?.raw();
        let payload = self.text()?;
        let expires_at = if flags & EXPIRING == 0 { Time::NEVER } else { self.time()? };
        let share = if flags & SHARED == 0 { None } else { Some(self.share()?) };
        let quality = quality(flags).filter(|quality| *quality != Quality::AtMostOnce).ok_or(Corrupt)?;
        let protocol = if flags & FROM_NATS == 0 { ProtocolKind::Mqtt } else { ProtocolKind::Nats };
        let shared = share_if_large(payload);
        visit(Kept {
            topic,
            properties,
            payload: Payload::of(payload, shared.as_ref()),
            quality,
            retain: flags & RETAIN != 0,
            expires_at,
            origin: Origin { protocol, read_at: Time::START },
            share: share.as_ref(),
            with_queue: flags & WITH_QUEUE != 0,
        })
    }

    fn share(&mut self) -> Result<Rc<Share>, Corrupt> {
        let (name, filter) = (self.text()?, self.text()?);
        let is_it = |share: &&Rc<Share>| *share.name == *name && share.filter.as_bytes() == filter;
        if let Some(share) = self.share.as_ref().filter(is_it) {
            return Ok(share.clone());
        }
        let filter = SubjectFilter::parse(filter).map_err(|_| Corrupt)?;
        Ok(self.share.insert(Rc::new(Share { name: name.into(), filter })).clone())
    }

    fn will(&mut self) -> Result<Will, Corrupt> {
        let flags = self.reader.u8()?;
        let delay = self.nanos()?;
        let topic = self.text()?;
        check_topic_name(topic)?;
        Ok(Will {
            topic: topic.into(),
            properties: Properties::read(&mut self.reader, Place::Publish)?.raw().into(),
            payload: Bytes::copy_from_slice(self.text()?),
            quality: quality(flags).ok_or(Corrupt)?,
            retain: flags & RETAIN != 0,
            delay: Span::from_nanos(delay),
        })
    }

    fn text(&mut self) -> Result<&'a [u8], Corrupt> {
        let n = self.reader.varint()?;
        Ok(self.reader.take(n as usize)?)
    }

    fn filter(&mut self) -> Result<&'a [u8], Corrupt> {
        let filter = self.text()?;
        (is_utf8_without_nul(filter) && valid_topic_filter(filter)).then_some(filter).ok_or(Corrupt)
    }

    fn packet_id(&mut self) -> Result<u16, Corrupt> {
        let packet_id = self.reader.u16()?;
        (packet_id != 0).then_some(packet_id).ok_or(Corrupt)
    }

    fn nanos(&mut self) -> Result<u64, Corrupt> {
        Ok(u64::from(self.reader.u32()?) << 32 | u64::from(self.reader.u32()?))
    }

    fn time(&mut self) -> Result<Time, Corrupt> {
        let nanos = self.nanos()?;
        let is_moment = nanos != Time::NEVER.as_nanos();
        Ok(Time::from_nanos(if is_moment { nanos.saturating_add_signed(self.shift_nanos) } else { nanos }))
    }
}

fn quality(flags: u8) -> Option<Quality> {
    match flags & 0b11 {
        0 => Some(Quality::AtMostOnce),
        1 => Some(Quality::AtLeastOnce),
        2 => Some(Quality::ExactlyOnce),
        _ => None,
    }
}
