//! What one core tells another, and the outbox in which it gathers. A lane is first in, first out: interest
//! changes, publications and acknowledgements keep the order in which they were posted, which is what the
//! fence and the order of messages stand on. Only where a filter changes twice in one batch has the later
//! change the place of the earlier one; its own position in the log comes as a fence, so that nothing is
//! acknowledged before all that was announced until then is applied.

use super::core_set::CoreSet;
use super::counters::Counters;
use super::id::{ConnectionId, CoreId};
use super::interest::Change;
use super::log::Sighting;
use crate::message::{Digits, Message, Origin, Quality};
use crate::payload::Payload;
use crate::time::Time;
use bytes::Bytes;
use hashbrown::HashTable;
use std::collections::VecDeque;

/// What a core produced for one peer, as one item of their channel.
#[derive(Debug, Default)]
pub struct Batch {
    /// The texts of all publications, one after another.
    text: Vec<u8>,
    pub items: Vec<Item>,
    /// Where the publications came in: the first item of each run that came from one read, in order.
    pub origins: Vec<(usize, Origin)>,
    /// When it left.
    pub posted_at: Time,
    n_bytes: usize,
}

#[derive(Debug)]
pub enum Item {
    Publication(Posted),
    /// The sender's interest changed; counts in its log.
    Interest(Change),
    /// Nothing changed at so many positions of the sender's log, but it waits to hear that all before was applied.
    Fence(u64),
    Acknowledged(Acknowledgement),
    /// The last word on a ticket whose publication a third core took over.
    Settled {
        ticket: u64,
        was_taken: bool,
    },
    /// The sender drains, and posts no publication of its own clients any more; see `leave`.
    DrainRound,
    /// A subscriber of this connection's publications falls behind.
    Slow {
        publisher: ConnectionId,
    },
    /// A subscriber went without this connection's publication, because of its subject.
    Unseen {
        publisher: ConnectionId,
        sighting: Box<Sighting>,
    },
    /// What the sender has counted so far.
    Counters(Box<Counters>),
}

/// A publication on its way; its texts are in the batch.
#[derive(Debug)]
pub struct Posted {
    at: usize,
    subject_len: usize,
    reply_len: usize,
    header_len: usize,
    properties_len: usize,
    payload: PostedPayload,
    digits: Digits,
    quality: Quality,
    retain: bool,
    version: u64,
    pub address: Address,
}

#[derive(Debug)]
enum PostedPayload {
    InText(usize),
    Shared(Bytes),
}

/// Where a publication comes from, and whom it is for on the receiving core.
#[derive(Clone, Debug)]
pub struct Address {
    pub origin_core: CoreId,
    pub publisher: ConnectionId,
    /// Whether the message is the publisher's own.
    pub is_author: bool,
    /// The origin waits to hear who took it.
    pub ticket: Option<u64>,
    /// Whether it is for the plain subscriptions.
    pub to_plain: bool,
    /// The groups whose member this core picks.
    pub groups: Vec<GroupPick>,
}

/// A copy for one member of a group, and the cores that found none for it.
#[derive(Clone, Debug)]
pub struct GroupPick {
    pub name: Box<[u8]>,
    /// The filter of the shared subscription whose copy it is.
    pub unit: Option<Box<[u8]>>,
    /// Whether it may go to a member of NATS.
    pub with_queue: bool,
    /// Nobody who is online took it: members whose client is gone may have it.
    pub is_last_resort: bool,
    pub tried: CoreSet,
}

/// How far the receiver of a lane has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Log positions applied, from the beginning.
    pub n_applied: u64,
    /// Publications with a ticket that were handled since the last acknowledgement.
    pub n_handled: u32,
    /// Of those, the tickets that nobody here took.
    pub untaken: Vec<u64>,
    /// Of those, the tickets for which one more core will answer.
    pub forwarded: Vec<u64>,
}

impl Batch {
    /// Bytes that the batch keeps from others' use.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// The message of one of this batch's publications.
    pub fn message<'a>(&'a self, posted: &'a Posted) -> Message<'a> {
        let mut rest = &self.text[posted.at..];
        let mut take = |len: usize| {
            let (part, after) = rest.split_at(len);
            rest = after;
            part
        };
        let subject = take(posted.subject_len);
        let reply = take(posted.reply_len);
        let header = take(posted.header_len);
        let properties = take(posted.properties_len);
        let payload = match &posted.payload {
            PostedPayload::InText(len) => Payload::Copied(take(*len)),
            PostedPayload::Shared(bytes) => Payload::Shared(bytes),
        };
        let &Posted { digits, quality, retain, version, .. } = posted;
        let topic = b"";
        Message {
            subject,
            topic,
            reply,
            header,
            digits,
            properties,
            payload,
            quality,
            retain,
            version,
            run: None,
        }
    }

    fn push(&mut self, item: Item, n_bytes: usize) {
        self.items.push(item);
        self.n_bytes += n_bytes + size_of::<Item>();
    }

    fn push_publication(&mut self, message: &Message<'_>, address: Address, origin: Origin) {
        if self.origins.last().is_none_or(|(_, last)| *last != origin) {
            self.origins.push((self.items.len(), origin));
        }
        let at = self.text.len();
        for part in [message.subject, message.reply, message.header, message.properties] {
            self.text.extend_from_slice(part);
        }
        let payload = match message.payload {
            Payload::Copied(bytes) => {
                self.text.extend_from_slice(bytes);
                PostedPayload::InText(bytes.len())
            }
            Payload::Shared(bytes) => PostedPayload::Shared(bytes.clone()),
        };
        let n_bytes = self.text.len() - at
            + match &payload {
                PostedPayload::InText(_) => 0,
                PostedPayload::Shared(bytes) => bytes.len(),
            };
        let posted = Posted {
            at,
            subject_len: message.subject.len(),
            reply_len: message.reply.len(),
            header_len: message.header.len(),
            properties_len: message.properties.len(),
            payload,
            digits: message.digits,
            quality: message.quality,
            retain: message.retain,
            version: message.version,
            address,
        };
        self.push(Item::Publication(posted), n_bytes);
    }
}

/// Batches for one peer that have not left yet.
#[derive(Debug)]
pub struct Outbox {
    closed: VecDeque<Batch>,
    open: Batch,
    /// Interest changes of the open batch: their hashes, and which items they are.
    changes: HashTable<(u64, u32)>,
    n_bytes: usize,
    batch_bytes_max: usize,
    bytes_max: usize,
}

impl Outbox {
    pub fn new(batch_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            closed: VecDeque::new(),
            open: Batch::default(),
            changes: HashTable::new(),
            n_bytes: 0,
            batch_bytes_max,
            bytes_max,
        }
    }

    /// Bytes waiting.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Whether publishers to this peer must wait. Control goes in regardless: it is bounded by coalescing.
    pub fn is_full(&self) -> bool {
        self.n_bytes >= self.bytes_max
    }

    /// Whether publishers that wait may go on: well below the limit, so that they don't wake for one batch.
    pub fn has_room(&self) -> bool {
        self.n_bytes <= self.bytes_max / 2
    }

    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.items.is_empty()
    }

    pub fn push(&mut self, item: Item) {
        let n_bytes_before = self.open.n_bytes;
        self.open.push(item, 0);
        self.grown_from(n_bytes_before);
    }

    pub fn push_publication(&mut self, message: &Message<'_>, address: Address, origin: Origin) {
        let n_bytes_before = self.open.n_bytes;
        self.open.push_publication(message, address, origin);
        self.grown_from(n_bytes_before);
    }

    /// Posts a change of interest, whose `hash` is that of all changes of the same.
    pub fn push_change(&mut self, change: &Change, hash: u64) {
        let items = &mut self.open.items;
        let is_it = |(_, item_idx): &(u64, u32)| matches!(&items[*item_idx as usize], Item::Interest(other) if other.is_of_the_same(change));
        if let Some(&(_, item_idx)) = self.changes.find(hash, is_it) {
            items[item_idx as usize] = Item::Interest(change.clone());
            return self.push_fence();
        }
        let item_idx = items.len() as u32;
        self.changes.insert_unique(hash, (hash, item_idx), |(hash, _)| *hash);
        self.push(Item::Interest(change.clone()));
    }

    /// Fences with nothing between them become one.
    pub fn push_fence(&mut self) {
        if let Some(Item::Fence(n)) = self.open.items.last_mut() {
            *n += 1;
        } else {
            self.push(Item::Fence(1));
        }
    }

    /// Posts an answer. Acknowledgements with nothing between them become one.
    pub fn push_answer(&mut self, item: Item) {
        match item {
            Item::Acknowledged(acknowledgement) => self.acknowledge(acknowledgement),
            item => self.push(item),
        }
    }

    fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        if let Some(Item::Acknowledged(last)) = self.open.items.last_mut() {
            last.n_applied = acknowledgement.n_applied;
            last.n_handled += acknowledgement.n_handled;
            last.untaken.extend(acknowledgement.untaken);
            last.forwarded.extend(acknowledgement.forwarded);
        } else {
            self.push(Item::Acknowledged(acknowledgement));
        }
    }

    /// The next batch in order, on its way at `now`.
    pub fn take(&mut self, now: Time) -> Option<Batch> {
        let mut batch = match self.closed.pop_front() {
            Some(batch) => batch,
            None if self.open.items.is_empty() => return None,
            None => self.close(),
        };
        self.n_bytes -= batch.n_bytes;
        batch.posted_at = now;
        Some(batch)
    }

    fn grown_from(&mut self, n_bytes_before: usize) {
        self.n_bytes += self.open.n_bytes - n_bytes_before;
        if self.open.n_bytes >= self.batch_bytes_max {
            let batch = self.close();
            self.closed.push_back(batch);
        }
    }

    fn close(&mut self) -> Batch {
        self.changes.clear();
        std::mem::take(&mut self.open)
    }
}

/// What stands in another core's log.
#[derive(Clone, Debug)]
pub enum Heard {
    Change(Change),
    /// So many positions at which nothing changed.
    Fence(u64),
}

/// One other core, as this one sees it.
#[derive(Debug)]
pub struct Peer {
    pub outbox: Outbox,
    /// How much of this core's log the peer has applied.
    pub n_applied: u64,
    /// Tickets posted to the peer that it has not acknowledged, in lane order.
    pub tickets: VecDeque<u64>,
    /// What this core owes the peer an acknowledgement of.
    pub owed: Acknowledgement,
    pub owes: bool,
    /// What the peer has announced and this core has not applied yet.
    pub unapplied: VecDeque<Heard>,
    /// Publishers that wait for room in the outbox.
    pub waiting: Vec<ConnectionId>,
    /// Rounds of a drain that the peer has begun.
    pub n_rounds: u32,
}

impl Peer {
    pub fn new(batch_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            outbox: Outbox::new(batch_bytes_max, bytes_max),
            n_applied: 0,
            tickets: VecDeque::new(),
            owed: Acknowledgement::default(),
            owes: false,
            unapplied: VecDeque::new(),
            waiting: Vec::new(),
            n_rounds: 0,
        }
    }

    /// One acknowledgement for everything that was handled since the last, if that is owed.
    #[inline]
    pub fn take_owed(&mut self) -> Option<Acknowledgement> {
        let n_applied = self.owed.n_applied;
        std::mem::take(&mut self.owes)
            .then(|| std::mem::replace(&mut self.owed, Acknowledgement { n_applied, ..Default::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ProtocolKind;
    use crate::shard::interest::FilterKey;

    fn message<'a>(subject: &'a [u8], payload: Payload<'a>) -> Message<'a> {
        Message {
            reply: b"r",
            properties: b"pp",
            quality: Quality::AtLeastOnce,
            retain: true,
            version: 9,
            ..Message::plain(subject, payload)
        }
    }

    fn address() -> Address {
        Address {
            origin_core: CoreId(0),
            publisher: ConnectionId { slot: 0, generation: 0 },
            is_author: true,
            ticket: None,
            to_plain: true,
            groups: Vec::new(),
        }
    }

    fn origin(micros: u64) -> Origin {
        Origin { protocol: ProtocolKind::Mqtt, read_at: Time::from_micros(micros) }
    }

    #[test]
    fn a_batch_says_once_for_each_read_where_its_messages_came_in() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20);
        for micros in [1, 1, 2, 2] {
            outbox.push(Item::Fence(1));
            outbox.push_publication(&message(b"a", Payload::Copied(b"x")), address(), origin(micros));
        }
        let batch = outbox.take(Time::from_micros(3)).unwrap();
        assert_eq!(batch.origins, [(1, origin(1)), (5, origin(2))]);
        assert_eq!(batch.posted_at, Time::from_micros(3));
    }

    #[test]
    fn a_message_arrives_as_it_was_posted() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20);
        let large = Bytes::from(vec![7; 3_000]);
        outbox.push_publication(&message(b"a.b", Payload::Copied(b"small")), address(), origin(1));
        outbox.push_publication(&message(b"c", Payload::Shared(&large)), address(), origin(2));
        let batch = outbox.take(Time::START).unwrap();
        let read: Vec<_> = batch
            .items
            .iter()
            .map(|item| match item {
                Item::Publication(posted) => batch.message(posted),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((read[0].subject, read[0].payload.as_slice()), (&b"a.b"[..], &b"small"[..]));
        assert_eq!((read[0].reply, read[0].properties), (&b"r"[..], &b"pp"[..]));
        assert_eq!((read[0].retain, read[0].version), (true, 9));
        assert_eq!((read[1].subject, read[1].payload.len()), (&b"c"[..], 3_000));
        assert!(outbox.is_empty() && outbox.n_bytes() == 0);
    }

    #[test]
    fn batches_are_capped_and_leave_in_order() {
        let mut outbox = Outbox::new(600, 2_000);
        for subject in [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i"] {
            outbox.push_publication(&message(subject, Payload::Copied(&[0; 100])), address(), origin(1));
        }
        assert!(outbox.is_full());
        let mut subjects = Vec::new();
        while let Some(batch) = outbox.take(Time::START) {
            assert!(batch.n_bytes() < 600 + 500);
            for item in &batch.items {
                let Item::Publication(posted) = item else { panic!() };
                subjects.extend_from_slice(batch.message(posted).subject);
            }
        }
        assert_eq!(subjects, b"abcdefghi");
        assert!(outbox.has_room());
    }

    #[test]
    fn a_filter_that_changes_twice_in_one_batch_is_one_change_and_the_log_is_as_long() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20);
        let plain = |hash, is_present| Change::Plain { key: FilterKey::Exact(hash), is_present };
        // The hashes of two filters may be equal.
        for (hash, is_present) in [(1, true), (2, true), (1, false), (1, true), (2, false), (3, true)] {
            outbox.push_change(&plain(hash, is_present), 7);
        }
        outbox.push_fence();
        let items = outbox.take(Time::START).unwrap().items;
        let [Item::Interest(one), Item::Interest(two), Item::Fence(3), Item::Interest(three), Item::Fence(1)] =
            items.as_slice()
        else {
            panic!("{items:?}");
        };
        assert_eq!([one, two, three], [&plain(1, true), &plain(2, false), &plain(3, true)]);
        outbox.push_change(&plain(1, false), 7);
        assert_eq!(outbox.take(Time::START).unwrap().items.len(), 1);
    }

    #[test]
    fn acknowledgements_in_a_row_become_one() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20);
        let one = |n_applied, ticket| Acknowledgement {
            n_applied,
            n_handled: 1,
            untaken: vec![ticket],
            forwarded: Vec::new(),
        };
        outbox.acknowledge(one(1, 10));
        outbox.acknowledge(one(2, 11));
        let batch = outbox.take(Time::START).unwrap();
        let [Item::Acknowledged(all)] = batch.items.as_slice() else { panic!() };
        assert_eq!(
            *all,
            Acknowledgement { n_applied: 2, n_handled: 2, untaken: vec![10, 11], forwarded: vec![] }
        );
    }
}
