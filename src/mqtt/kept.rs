//! Messages kept one behind another, oldest first: their texts in one buffer, so that keeping and forgetting
//! one allocates nothing. What a session keeps is neutral: the client may come back with another version.

use crate::message::{Origin, Quality};
use crate::mqtt::share::Share;
use crate::payload::Payload;
use crate::time::{Span, Time};
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// One message for one client, as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub topic: &'a [u8],
    /// As they came, with the message's whole time to live.
    pub properties: &'a [u8],
    pub payload: Payload<'a>,
    pub quality: Quality,
    pub retain: bool,
    /// After which nobody is to be sent it for the first time.
    pub expires_at: Time,
    pub origin: Origin,
    /// The shared subscription by which it came: where this client can't have it, another may.
    pub share: Option<&'a Rc<Share>>,
    /// Then a NATS client may have it as well.
    pub with_queue: bool,
}

impl Kept<'_> {
    /// Bytes that keeping it takes.
    pub fn n_bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }

    /// Whole seconds of its life that are left, if it ends at all. [MQTT-3.3.2-6]
    pub fn secs_left(&self, now: Time) -> Option<u32> {
        let left = self.expires_at.since(now).as_nanos().div_ceil(Span::from_secs(1).as_nanos());
        (self.expires_at != Time::NEVER).then_some(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// Messages in order, each with something that its keeper notes of it.
#[derive(Debug)]
pub struct Log<N> {
    entries: VecDeque<Entry<N>>,
    /// The texts of all entries, one after another, from `start` on; before it is what the forgotten left.
    text: Vec<u8>,
    start: usize,
    /// Position of `text`'s first byte, counted from the first message ever kept.
    base: u64,
    n_shared_bytes: usize,
}

#[derive(Debug)]
struct Entry<N> {
    at: u64,
    topic_len: u32,
    properties_len: u32,
    /// Of the payload, where it is in the text.
    payload_len: u32,
    quality: Quality,
    retain: bool,
    expires_at: Time,
    origin: Origin,
    note: N,
    /// What few messages have.
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Default)]
struct Extra {
    /// A payload that is too large to be copied.
    payload: Option<Bytes>,
    share: Option<Rc<Share>>,
    with_queue: bool,
}

impl<N> Entry<N> {
    fn text_len(&self) -> usize {
        (self.topic_len + self.properties_len + self.payload_len) as usize
    }

    fn shared_payload(&self) -> Option<&Bytes> {
        self.extra.as_ref()?.payload.as_ref()
    }

    fn share(&self) -> Option<&Rc<Share>> {
        self.extra.as_ref()?.share.as_ref()
    }
}

impl<N> Default for Log<N> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), text: Vec::new(), start: 0, base: 0, n_shared_bytes: 0 }
    }
}

impl<N> Log<N> {
    /// What an empty log keeps of its buffers, for the next message: an idle client costs no more.
    const IDLE_TEXT_BYTES: usize = 512;
    const IDLE_ENTRIES: usize = 4;
    /// Less than this, in bytes, is not worth moving the rest for.
    const GAP_BYTES_MIN: usize = 1 << 10;

    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all messages in it.
    #[inline]
    pub fn n_bytes(&self) -> usize {
        self.text.len() - self.start + self.n_shared_bytes
    }

    /// Makes room for `n` messages of so many bytes that come now.
    pub fn reserve(&mut self, n: usize, n_bytes: usize) {
        self.text.reserve(n * n_bytes);
        self.entries.reserve(n);
    }

    /// Keeps one more, behind all others.
    #[inline]
    pub fn push(&mut self, kept: &Kept<'_>, note: N) {
        let at = self.base + self.text.len() as u64;
        self.text.extend_from_slice(kept.topic);
        if !kept.properties.is_empty() {
            self.text.extend_from_slice(kept.properties);
        }
        let mut payload_len = 0;
        if let Payload::Copied(bytes) = kept.payload {
            self.text.extend_from_slice(bytes);
            payload_len = bytes.len() as u32;
        }
        let is_bare = matches!(kept.payload, Payload::Copied(_)) && kept.share.is_none();
        let extra = if is_bare { None } else { Some(self.extra(kept)) };
        // Most sessions that keep something keep one message, and a queue's first guess is four.
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(1);
        }
        self.entries.push_back(Entry {
            at,
            topic_len: kept.topic.len() as u32,
            properties_len: kept.properties.len() as u32,
            payload_len,
            quality: kept.quality,
            retain: kept.retain,
            expires_at: kept.expires_at,
            origin: kept.origin,
            note,
            extra,
        });
    }

    #[cold]
    fn extra(&mut self, kept: &Kept<'_>) -> Box<Extra> {
        let payload = match kept.payload {
            Payload::Copied(_) => None,
            Payload::Shared(bytes) => Some(bytes.clone()),
        };
        self.n_shared_bytes += payload.as_ref().map_or(0, Bytes::len);
        Box::new(Extra { payload, share: kept.share.cloned(), with_queue: kept.with_queue })
    }

    /// The message at this place, from the oldest on.
    pub fn get(&self, idx: usize) -> Option<Kept<'_>> {
        let entry = self.entries.get(idx)?;
        let text = self.text.get((entry.at - self.base) as usize..)?;
        let (topic, rest) = text.split_at_checked(entry.topic_len as usize)?;
        let (properties, rest) = rest.split_at_checked(entry.properties_len as usize)?;
        let payload = match entry.shared_payload() {
            None => Payload::Copied(rest.get(..entry.payload_len as usize)?),
            Some(bytes) => Payload::Shared(bytes),
        };
        let Entry { quality, retain, expires_at, origin, .. } = *entry;
        let share = entry.share();
        let with_queue = entry.extra.as_ref().is_some_and(|extra| extra.with_queue);
        Some(Kept { topic, properties, payload, quality, retain, expires_at, origin, share, with_queue })
    }

    #[inline]
    pub fn note(&self, idx: usize) -> Option<&N> {
        self.entries.get(idx).map(|entry| &entry.note)
    }

    #[inline]
    pub fn note_mut(&mut self, idx: usize) -> Option<&mut N> {
        self.entries.get_mut(idx).map(|entry| &mut entry.note)
    }

    pub fn notes_mut(&mut self) -> impl Iterator<Item = &mut N> {
        self.entries.iter_mut().map(|entry| &mut entry.note)
    }

    /// The qualities and notes, from the oldest on.
    #[inline]
    pub fn noted(&self) -> impl Iterator<Item = (Quality, &N)> {
        self.entries.iter().map(|entry| (entry.quality, &entry.note))
    }

    #[inline]
    pub fn quality(&self, idx: usize) -> Option<Quality> {
        self.entries.get(idx).map(|entry| entry.quality)
    }

    pub fn is_shared(&self, idx: usize) -> bool {
        self.entries.get(idx).is_some_and(|entry| entry.share().is_some())
    }

    /// The place of the first that came by a shared subscription.
    pub fn first_shared(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.share().is_some())
    }

    /// Forgets the oldest.
    #[inline]
    pub fn pop_front(&mut self) -> Option<N> {
        let entry = self.entries.pop_front()?;
        self.start += entry.text_len();
        if let Some(extra) = entry.extra {
            self.forget_extra(*extra);
        }
        self.close_gap();
        Some(entry.note)
    }

    /// Forgets the `n` oldest of those that there are.
    pub fn forget(&mut self, n: usize) {
        for entry in self.entries.drain(..n) {
            self.start += entry.text_len();
            let shared = entry.extra.and_then(|extra| extra.payload);
            self.n_shared_bytes -= shared.map_or(0, |bytes| bytes.len());
        }
        self.close_gap();
    }

    /// Gives back what the forgotten have left, where that is worth it.
    #[inline]
    fn close_gap(&mut self) {
        if self.entries.is_empty() {
            self.shrink_when_empty();
        } else if self.start >= Self::GAP_BYTES_MIN && self.start * 2 >= self.text.len() {
            // What is moved is no more than what was forgotten since the last time.
            self.text.drain(..self.start);
            self.base += self.start as u64;
            self.start = 0;
        }
    }

    #[cold]
    fn forget_extra(&mut self, extra: Extra) {
        self.n_shared_bytes -= extra.payload.map_or(0, |bytes| bytes.len());
    }

    fn shrink_when_empty(&mut self) {
        self.text.clear();
        self.text.shrink_to(Self::IDLE_TEXT_BYTES);
        self.start = 0;
        self.base = 0;
        if self.entries.capacity() > Self::IDLE_ENTRIES {
            self.entries = VecDeque::new();
        }
    }

    /// Gives back what memory it does not need, for a long wait.
    pub fn shrink(&mut self) {
        self.text.drain(..self.start);
        self.base += self.start as u64;
        self.start = 0;
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ProtocolKind;
    use proptest::prelude::*;

    fn kept<'a>(topic: &'a [u8], payload: Payload<'a>) -> Kept<'a> {
        let origin = Origin { protocol: ProtocolKind::Mqtt, read_at: Time::START };
        Kept {
            topic,
            properties: b"pp",
            payload,
            quality: Quality::AtLeastOnce,
            retain: false,
            expires_at: Time::NEVER,
            origin,
            share: None,
            with_queue: false,
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            steps in proptest::collection::vec((any::<bool>(), 0usize..2_000, any::<bool>()), 0..200),
        ) {
            let mut log = Log::<u8>::default();
            let mut expected = VecDeque::new();
            for (nth, (is_push, len, is_shared)) in steps.into_iter().enumerate() {
                let (nth, bytes) = (nth as u8, Bytes::from(vec![nth as u8; len]));
                if is_push {
                    let payload = if is_shared { Payload::Shared(&bytes) } else { Payload::Copied(&bytes) };
                    log.push(&kept(&[nth; 3], payload), nth);
                    expected.push_back((nth, bytes));
                } else {
                    prop_assert_eq!(log.pop_front(), expected.pop_front().map(|(nth, _)| nth));
                }
                let n_bytes: usize = expected.iter().map(|(_, bytes)| bytes.len() + 5).sum();
                prop_assert_eq!((log.len(), log.n_bytes()), (expected.len(), n_bytes));
                for (idx, (nth, bytes)) in expected.iter().enumerate() {
                    let kept = log.get(idx).expect("it was pushed and not popped");
                    prop_assert_eq!((kept.topic, kept.properties), (&[*nth; 3][..], &b"pp"[..]));
                    prop_assert_eq!(kept.payload.as_slice(), &bytes[..]);
                }
            }
        }
    }

    #[test]
    fn an_empty_log_holds_next_to_nothing() {
        let mut log = Log::<()>::default();
        (0..100).for_each(|_| log.push(&kept(b"topic", Payload::Copied(&[0; 500])), ()));
        while log.pop_front().is_some() {}
        assert!(log.text.capacity() <= 512 && log.entries.capacity() <= 4);
    }

    #[test]
    fn what_is_left_of_a_life_is_told_in_whole_seconds() {
        let at = |millis| Time::START + Span::from_millis(millis);
        let mut it = kept(b"t", Payload::Copied(b""));
        assert_eq!(it.secs_left(at(0)), None);
        it.expires_at = at(3_000);
        assert_eq!(it.secs_left(at(0)), Some(3));
        assert_eq!(it.secs_left(at(2_500)), Some(1));
        assert!(!it.is_expired(at(2_999)) && it.is_expired(at(3_000)));
    }
}
