//! The retained messages of the process: the one thing that shards share. An ordered tree by subject, in
//! stripes, each behind a lock that no operation outlives. Not who gets them, and when: that is `replay`.
//!
//! Every set and every clear takes a version from one counter while it holds its stripe's lock. Whoever
//! has seen the counter at W and then takes a stripe's lock finds all of that stripe's changes up to W.

use super::keys::Keys;
use super::limits::Limit;
use crate::message::{Message, ProtocolKind, Quality};
use crate::mqtt::property::Properties;
use crate::payload::{Payload, SHARED_BYTES_MIN, share_if_large};
use crate::store::journal;
use crate::subject::{SubjectFilter, mapping, tokens};
use crate::time::{Span, Time};
use bytes::Bytes;
use std::borrow::Borrow;
use std::cmp::Ordering as Order;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What may be kept in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages; 0 where retained messages are not offered.
    pub messages_max: usize,
    /// Their memory, in bytes.
    pub bytes_max: usize,
    /// The payload of one, in bytes.
    pub payload_bytes_max: usize,
}

/// There is no room for a message, and what is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub Limit);

/// A message as it is kept.
#[derive(Debug)]
pub struct Kept {
    version: u64,
    /// Subject, properties, header and, unless it is large, payload.
    text: Box<[u8]>,
    large: Option<Bytes>,
    subject_len: u32,
    properties_len: u32,
    header_len: u32,
    quality: Quality,
    /// Whose it is.
    pub source: u64,
    /// What its publisher speaks.
    pub protocol: ProtocolKind,
    expires_at: Time,
}

/// What a kept message costs besides its text, in bytes.
const OVERHEAD_BYTES: usize = 160;

impl Kept {
    fn new(message: &Message<'_>, source: u64, protocol: ProtocolKind, now: Time) -> Self {
        let payload = message.payload.as_slice();
        let is_large = payload.len() >= SHARED_BYTES_MIN;
        let large = is_large.then(|| match message.payload {
            Payload::Shared(bytes) => bytes.clone(),
            Payload::Copied(bytes) => Bytes::copy_from_slice(bytes),
        });
        let in_text = if is_large { &[][..] } else { payload };
        Self {
            version: 0,
            text: [message.subject, message.properties, message.header, in_text].concat().into(),
            large,
            subject_len: message.subject.len() as u32,
            properties_len: message.properties.len() as u32,
            header_len: message.header.len() as u32,
            quality: message.quality,
            source,
            protocol,
            expires_at: expires_at(message.properties, now),
        }
    }

    pub fn subject(&self) -> &[u8] {
        &self.text[..self.subject_len as usize]
    }

    /// Whether it is the gateway's: those have no limit, and clients' don't share theirs with them.
    fn is_own(&self) -> bool {
        mapping::is_reserved_for_gateway(self.subject())
    }

    /// Its place in the order of all changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its parts: subject, properties, header, and the payload unless it is large.
    fn parts(&self) -> [&[u8]; 4] {
        let (subject, rest) = self.text.split_at(self.subject_len as usize);
        let (properties, rest) = rest.split_at(self.properties_len as usize);
        let (header, payload) = rest.split_at(self.header_len as usize);
        [subject, properties, header, payload]
    }

    /// The message, as it was published.
    pub fn message(&self) -> Message<'_> {
        let [subject, properties, header, payload] = self.parts();
        Message {
            header,
            properties,
            quality: self.quality,
            retain: true,
            version: self.version,
            ..Message::plain(subject, Payload::of(payload, self.large.as_ref()))
        }
    }

    /// It as it is written down for a store.
    pub fn entry(&self) -> journal::Retained<'_> {
        let [subject, properties, header, payload] = self.parts();
        journal::Retained {
            version: self.version,
            source: self.source,
            protocol: self.protocol,
            quality: self.quality,
            expires_at: self.expires_at,
            subject,
            properties,
            header,
            payload: self.large.as_deref().unwrap_or(payload),
        }
    }

    /// Seconds that it has left, rounded up; `None` where it never expires.
    pub fn secs_left(&self, now: Time) -> Option<u32> {
        let nanos = self.expires_at.since(now).as_nanos();
        let secs = nanos.div_ceil(Span::from_secs(1).as_nanos());
        (self.expires_at != Time::NEVER).then(|| secs.min(u64::from(u32::MAX)) as u32)
    }

    fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }

    fn n_bytes(&self) -> usize {
        self.text.len() + self.large.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES
    }
}

/// When a message with these properties ends that is kept now.
pub(super) fn expires_at(properties: &[u8], now: Time) -> Time {
    let lifetime = Properties::from_checked(properties).message_expiry_interval();
    lifetime.map_or(Time::NEVER, |secs| now + Span::from_secs(secs.into()))
}

/// A kept message in its tree, in the order of subjects.
#[derive(Debug)]
struct Entry(Arc<Kept>);

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        self.0.subject()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.subject() == other.0.subject()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Order {
        self.0.subject().cmp(other.0.subject())
    }
}

type Tree = BTreeSet<Entry>;

/// The store.
#[derive(Debug)]
pub struct Retained {
    limits: Limits,
    keys: Keys,
    stripes: Box<[Mutex<Tree>]>,
    version: AtomicU64,
    /// Those of clients.
    n_messages: AtomicUsize,
    n_bytes: AtomicUsize,
    /// The gateway's own.
    n_own: AtomicUsize,
    /// Of the messages, those that expire.
    n_expiring: AtomicUsize,
    n_expired: AtomicU64,
}

/// No version is later.
pub const ANY_VERSION: u64 = u64::MAX;

/// How many locks there are.
const N_STRIPES: usize = 64;

/// How far a walk has come: all stripes before this one, and in it all subjects up to `after`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    stripe_idx: usize,
    after: Option<Box<[u8]>>,
}

/// What one slice of a walk may still do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Messages to look at.
    pub n_looks: usize,
    /// Messages to find.
    pub n_found: usize,
}

/// A look at a message is one for each so many bytes of its subject, which may have as many tokens.
const BYTES_PER_LOOK: usize = 256;

impl Budget {
    /// Looks at one with this subject.
    fn look_at(&mut self, subject: &[u8]) {
        self.n_looks = self.n_looks.saturating_sub(1 + subject.len() / BYTES_PER_LOOK);
    }

    pub fn is_spent(&self) -> bool {
        self.n_looks == 0 || self.n_found == 0
    }

    pub fn min(self, other: Self) -> Self {
        Self { n_looks: self.n_looks.min(other.n_looks), n_found: self.n_found.min(other.n_found) }
    }
}

/// A message that a walk came upon, and where.
#[derive(Debug)]
pub struct Found {
    stripe_idx: usize,
    pub kept: Arc<Kept>,
}

impl Found {
    /// A cursor that has come as far as this message.
    pub fn cursor(&self) -> Cursor {
        Cursor { stripe_idx: self.stripe_idx, after: Some(self.kept.subject().into()) }
    }
}

impl Retained {
    pub fn new(limits: Limits, keys: &Keys) -> Self {
        Self {
            limits,
            keys: keys.clone(),
            stripes: (0..N_STRIPES).map(|_| Mutex::default()).collect(),
            version: AtomicU64::new(0),
            n_messages: AtomicUsize::new(0),
            n_bytes: AtomicUsize::new(0),
            n_own: AtomicUsize::new(0),
            n_expiring: AtomicUsize::new(0),
            n_expired: AtomicU64::new(0),
        }
    }

    /// Whether messages are kept at all.
    pub fn is_offered(&self) -> bool {
        self.limits.messages_max > 0
    }

    /// The version of the last change. All of them up to it are found by whoever looks afterwards.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Messages of clients.
    pub fn len(&self) -> usize {
        self.n_messages.load(Ordering::Acquire)
    }

    /// Whether there are none, of the gateway either.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.n_own.load(Ordering::Acquire) == 0
    }

    pub fn has_expiring(&self) -> bool {
        self.n_expiring.load(Ordering::Relaxed) > 0
    }

    /// Memory of clients' messages, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes.load(Ordering::Relaxed)
    }

    /// Messages that have expired.
    pub fn n_expired(&self) -> u64 {
        self.n_expired.load(Ordering::Relaxed)
    }

    /// Keeps a message in the place of its subject's last, or with an empty payload keeps none. The version
    /// of the change comes back.
    pub fn set(
        &self,
        message: &Message<'_>,
        source: u64,
        protocol: ProtocolKind,
        now: Time,
    ) -> Result<u64, Full> {
        let mut tree = self.lock(self.stripe_of(message.subject));
        if message.payload.is_empty() {
            let old = tree.take(message.subject);
            let version = self.next_version();
            old.iter().for_each(|old| self.forget(&old.0));
            return Ok(version);
        }
        let mut kept = Kept::new(message, source, protocol, now);
        let old = tree.get(message.subject).map(|old| old.0.clone());
        self.reserve(&kept, old.as_deref(), message.payload.len())?;
        // Counted before the version is seen: an empty store has nothing up to any version.
        let version = self.next_version();
        kept.version = version;
        tree.replace(Entry(Arc::new(kept)));
        old.iter().for_each(|old| self.forget(old));
        Ok(version)
    }

    /// Keeps a message that an earlier process left, in its place among all changes; what comes from now on is
    /// later.
    pub fn restore(&self, entry: &journal::Retained<'_>) -> Result<(), Full> {
        let payload = share_if_large(entry.payload);
        let message = Message {
            header: entry.header,
            properties: entry.properties,
            quality: entry.quality,
            retain: true,
            version: entry.version,
            ..Message::plain(entry.subject, Payload::of(entry.payload, payload.as_ref()))
        };
        let mut kept = Kept::new(&message, entry.source, entry.protocol, Time::START);
        (kept.version, kept.expires_at) = (entry.version, entry.expires_at);
        let mut tree = self.lock(self.stripe_of(entry.subject));
        let old = tree.get(entry.subject).map(|old| old.0.clone());
        if old.as_ref().is_some_and(|old| old.version >= kept.version) {
            return Ok(());
        }
        self.reserve(&kept, old.as_deref(), entry.payload.len())?;
        self.version.fetch_max(entry.version, Ordering::AcqRel);
        tree.replace(Entry(Arc::new(kept)));
        old.iter().for_each(|old| self.forget(old));
        Ok(())
    }

    /// Looks for messages that match `filter` and are no younger than `until`, from where `cursor` stands and
    /// for as long as the budget lasts. True at the end of the store. It comes once upon a subject that has a
    /// message all the while; up to [`ANY_VERSION`] it finds that, whatever replaces it meanwhile.
    pub fn walk(
        &self,
        cursor: &mut Cursor,
        filter: &SubjectFilter,
        until: u64,
        now: Time,
        budget: &mut Budget,
        found: &mut Vec<Found>,
    ) -> bool {
        if self.is_empty() {
            return true;
        }
        if !filter.has_wildcard() {
            // It was the only one.
            if cursor.after.is_some() {
                return true;
            }
            budget.look_at(filter.as_bytes());
            let stripe_idx = self.stripe_of(filter.as_bytes());
            let kept = self.lock(stripe_idx).get(filter.as_bytes()).map(|entry| entry.0.clone());
            let kept = kept.filter(|kept| kept.version <= until && !kept.is_expired(now));
            budget.n_found -= usize::from(kept.is_some());
            found.extend(kept.map(|kept| Found { stripe_idx, kept }));
            return true;
        }
        let is_wanted = |kept: &Kept| kept.version <= until && filter.matches(kept.subject());
        self.scan(cursor, literal_prefix(filter), now, budget, |stripe_idx, kept| {
            let is_wanted = is_wanted(kept);
            found.extend(is_wanted.then(|| Found { stripe_idx, kept: kept.clone() }));
            is_wanted
        })
    }

    /// Drops messages that have expired, from where `cursor` stands and for as long as the budget lasts. True
    /// at the end of the store.
    pub fn sweep(&self, cursor: &mut Cursor, now: Time, budget: &mut Budget) -> bool {
        !self.has_expiring() || self.scan(cursor, b"", now, budget, |_, _| false)
    }

    /// Visits messages whose subjects begin with `prefix`, a stripe at a time; what has expired is dropped.
    fn scan(
        &self,
        cursor: &mut Cursor,
        prefix: &[u8],
        now: Time,
        budget: &mut Budget,
        mut visit: impl FnMut(usize, &Arc<Kept>) -> bool,
    ) -> bool {
        while cursor.stripe_idx < self.stripes.len() {
            let mut tree = self.lock(cursor.stripe_idx);
            let begin = match &cursor.after {
                Some(after) => Bound::Excluded(&**after),
                None => Bound::Included(prefix),
            };
            let mut expired = Vec::new();
            let mut last = None;
            for Entry(kept) in tree.range::<[u8], _>((begin, Bound::Unbounded)) {
                if budget.is_spent() || !kept.subject().starts_with(prefix) {
                    break;
                }
                budget.look_at(kept.subject());
                last = Some(kept);
                if kept.is_expired(now) {
                    expired.push(kept.clone());
                } else if visit(cursor.stripe_idx, kept) {
                    budget.n_found -= 1;
                }
            }
            let last = last.map(|kept| kept.subject().into());
            for kept in expired {
                self.drop_expired(&mut tree, &kept);
            }
            if budget.is_spent() {
                cursor.after = last.or_else(|| cursor.after.take());
                return false;
            }
            *cursor = Cursor { stripe_idx: cursor.stripe_idx + 1, after: None };
        }
        true
    }

    fn drop_expired(&self, tree: &mut Tree, kept: &Kept) {
        tree.remove(kept.subject());
        self.forget(kept);
        self.n_expired.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self, stripe_idx: usize) -> MutexGuard<'_, Tree> {
        // A panic in a tree ends the process (`Shard::retain`), or changed nothing.
        self.stripes[stripe_idx].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stripe_of(&self, subject: &[u8]) -> usize {
        self.keys.subject_hash(subject) as usize % self.stripes.len()
    }

    /// Under a stripe's lock.
    fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Makes room for a message beside the one that it replaces, which is counted until it is forgotten.
    fn reserve(&self, kept: &Kept, old: Option<&Kept>, payload_len: usize) -> Result<(), Full> {
        if kept.is_own() {
            self.n_own.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        }
        let n_messages = self.n_messages.fetch_add(1, Ordering::AcqRel) + 1 - usize::from(old.is_some());
        let old_bytes = old.map_or(0, Kept::n_bytes);
        let n_bytes = self.n_bytes.fetch_add(kept.n_bytes(), Ordering::Relaxed) + kept.n_bytes() - old_bytes;
        self.n_expiring.fetch_add(usize::from(kept.expires_at != Time::NEVER), Ordering::Relaxed);
        let Limits { messages_max, bytes_max, payload_bytes_max } = self.limits;
        let in_the_way = [
            (payload_len > payload_bytes_max, Limit::RetainedPayload),
            (n_messages > messages_max, Limit::RetainedMessages),
            (n_bytes > bytes_max, Limit::RetainedBytes),
        ];
        match in_the_way.into_iter().find(|(is_reached, _)| *is_reached) {
            Some((_, limit)) => {
                self.forget(kept);
                Err(Full(limit))
            }
            None => Ok(()),
        }
    }

    fn forget(&self, kept: &Kept) {
        if kept.is_own() {
            self.n_own.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        self.n_messages.fetch_sub(1, Ordering::AcqRel);
        self.n_bytes.fetch_sub(kept.n_bytes(), Ordering::Relaxed);
        self.n_expiring.fetch_sub(usize::from(kept.expires_at != Time::NEVER), Ordering::Relaxed);
    }
}

/// What every subject that matches a filter begins with.
fn literal_prefix(filter: &SubjectFilter) -> &[u8] {
    let is_literal = |token: &&[u8]| !matches!(*token, b"*" | b">");
    let len: usize = tokens(filter.as_bytes()).take_while(is_literal).map(|token| token.len() + 1).sum();
    &filter.as_bytes()[..len]
}

#[cfg(test)]
pub mod tests;
