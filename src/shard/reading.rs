//! NATS clients read what is retained, by request: one message, or all that match a filter, one each to the
//! reply subject and then the word that there are no more. A long list is sent in slices, as the requester
//! takes it: by the room in its queue, and in those of others here that hear the same. Those on other cores are
//! sent what their outbox takes.
//!
//! A requester, unlike a subscription, is sent nothing of what changes live: what it reads is what there is
//! when its subject's turn comes. So nothing is missing that is retained all the while, in whatever value.

use super::Shard;
use super::connection::SubscriptionKind;
use super::crossing;
use super::id::{ConnectionId, CoreId};
use super::own::{ANEW, ANSWERING, is_kept_from};
use super::publish::{Ask, Plan};
use super::retained::{ANY_VERSION, Budget, Cursor, Found, Kept};
use super::table::Target;
use crate::message::{Message, Origin, ProtocolKind, Quality};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::nats::encode::before_sid_len;
use crate::payload::Payload;
use crate::subject::SubjectFilter;
use crate::subject::mapping::{self, MappedFilter};
use crate::subject::view::{Unseen, View};
use crate::time::{Span, Time};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

/// Lists that one core sends at once; a request beyond them is refused.
const LISTINGS_MAX: usize = 1_024;

/// Of those, the ones of a single client.
const LISTINGS_OF_CLIENT_MAX: usize = 16;

/// Messages that one slice looks at, and that it sends.
const SLICE: Budget = Budget { n_looks: 512, n_found: 64 };

/// How long a list waits whose requester, or the way to it, has no room.
const WAIT: Span = Span::from_millis(5);

/// What a message has behind its sid besides header and payload: two sizes and two ends of lines, in bytes.
const SIZES_LEN_MAX: usize = 32;

const NOT_FOUND: &[u8] = b"NATS/1.0 404\r\n\r\n";
const END_OF_LIST: &[u8] = b"NATS/1.0 204\r\n\r\n";
const BAD_REQUEST: &[u8] = b"NATS/1.0 400\r\n\r\n";
const TOO_MANY: &[u8] = b"NATS/1.0 429\r\n\r\n";

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    One,
    Many,
}

/// The lists that one core's clients have asked for, in turn.
#[derive(Debug, Default)]
pub struct Listings {
    open: VecDeque<Listing>,
    /// When the first goes on.
    at: Time,
}

impl Listings {
    fn has_room_for(&self, requester: ConnectionId) -> bool {
        let n_own = self.open.iter().filter(|listing| listing.requester == requester).count();
        self.open.len() < LISTINGS_MAX && n_own < LISTINGS_OF_CLIENT_MAX
    }
}

#[derive(Debug)]
struct Listing {
    requester: ConnectionId,
    filter: SubjectFilter,
    /// What is listed after it: EMQX's `a.>` is also `a`.
    parent: Option<SubjectFilter>,
    /// By EMQX's mapping a wildcard in front sees no `$` topics.
    begins_with_wildcard: bool,
    reply: Box<[u8]>,
    /// How the requester sees names, where that is not as everybody does.
    view: Option<Rc<View>>,
    cursor: Cursor,
}

/// Where a slice ended.
enum Slice {
    Done,
    GoesOn,
    /// Somebody has no room.
    Waits,
}

impl Shard {
    /// Takes a request, unless its answer must wait for another core's outbox. `name` and `reply` are as the
    /// requester writes them.
    pub(super) fn take_read(
        &mut self,
        requester: ConnectionId,
        read: Read,
        name: &[u8],
        reply: &[u8],
    ) -> Result<(), CoreId> {
        let reply = &*self.canonical(requester, reply);
        let plan = self.plan(reply)?;
        let view = self.view(requester).cloned();
        let filter = asked_for(view.as_deref(), read, name);
        let Some(MappedFilter { filter, parent, begins_with_wildcard }) = filter else {
            self.send_status(reply, plan, BAD_REQUEST);
            return Ok(());
        };
        if read == Read::One {
            let (mut found, mut cursor, mut budget) = (Vec::new(), Cursor::default(), SLICE);
            self.retained.walk(&mut cursor, &filter, ANY_VERSION, self.now, &mut budget, &mut found);
            match found.first() {
                Some(Found { kept, .. }) => {
                    let header = self.header_read(kept);
                    self.send_read(reply, plan, &header, kept.message().payload, kept.protocol);
                }
                None => self.send_status(reply, plan, NOT_FOUND),
            }
        } else if self.listings.has_room_for(requester) {
            self.drop_plan(plan);
            let (reply, cursor) = (reply.into(), Cursor::default());
            self.listings.open.push_back(Listing {
                requester,
                filter,
                parent,
                begins_with_wildcard,
                reply,
                view,
                cursor,
            });
            self.listings.at = self.now;
        } else {
            self.send_status(reply, plan, TOO_MANY);
        }
        Ok(())
    }

    /// When lists go on.
    pub(super) fn listings_wake_at(&self) -> Option<Time> {
        (!self.listings.open.is_empty()).then_some(self.listings.at)
    }

    /// Sends a slice of the list whose turn it is.
    pub(super) fn tick_listings(&mut self, now: Time) {
        if self.listings.at > now {
            return;
        }
        let Some(mut listing) = self.listings.open.pop_front() else { return };
        match self.send_slice_of(&mut listing, now) {
            Slice::Done => {}
            Slice::GoesOn => self.listings.open.push_back(listing),
            Slice::Waits => {
                self.listings.open.push_back(listing);
                self.listings.at = now + WAIT;
            }
        }
    }

    fn send_slice_of(&mut self, listing: &mut Listing, now: Time) -> Slice {
        let Some(connection) = self.clients.slots.get(listing.requester) else { return Slice::Done };
        if !connection.is_open() {
            return Slice::Done;
        }
        if !self.has_room_for_replay(listing.requester, Quality::AtMostOnce, 0) {
            return Slice::Waits;
        }
        let (mut budget, mut found) = (SLICE, Vec::new());
        let before = listing.cursor.clone();
        let Listing { cursor, filter, .. } = listing;
        let is_done = self.retained.walk(cursor, filter, ANY_VERSION, now, &mut budget, &mut found);
        for (n_sent, Found { kept, .. }) in found.iter().enumerate() {
            if !self.send_listed(listing, kept) {
                // What is not sent is looked for again: it may be another one by then.
                listing.cursor = n_sent.checked_sub(1).map_or(before, |last| found[last].cursor());
                return Slice::Waits;
            }
        }
        if !is_done {
            return Slice::GoesOn;
        }
        if let Some(parent) = listing.parent.take() {
            (listing.filter, listing.cursor) = (parent, Cursor::default());
            return Slice::GoesOn;
        }
        if !self.send_of_list(listing, END_OF_LIST, Payload::Copied(b""), ProtocolKind::Nats) {
            listing.cursor = found.last().map_or(before, Found::cursor);
            return Slice::Waits;
        }
        Slice::Done
    }

    /// Sends one that a list came upon, if its requester is to see it; false where there is no room for that.
    fn send_listed(&mut self, listing: &Listing, kept: &Kept) -> bool {
        let subject = kept.subject();
        let is_hidden = listing.begins_with_wildcard && mapping::is_dollar_topic(subject);
        if is_hidden || is_kept_from(&listing.filter, subject) {
            return true;
        }
        let Some(subject) = self.seen_by(listing.view.as_deref(), kept) else { return true };
        let header = crossing::with_subject(&self.header_read(kept), &subject);
        self.send_of_list(listing, &header, kept.message().payload, kept.protocol)
    }

    fn send_of_list(
        &mut self,
        listing: &Listing,
        header: &[u8],
        payload: Payload<'_>,
        protocol: ProtocolKind,
    ) -> bool {
        let Listing { requester, reply, .. } = listing;
        let Ok(plan) = self.plan(reply) else { return false };
        let n_bytes = before_sid_len(reply, true) + SIZES_LEN_MAX + header.len() + payload.len();
        if !self.has_room_for_listed(*requester, &plan, n_bytes) {
            self.drop_plan(plan);
            return false;
        }
        self.send_read(reply, plan, header, payload, protocol);
        true
    }

    /// Whether a requester has room for so many bytes more, of which half is left to what is live; and who else
    /// here hears the same, for whom a list waits as publishers do.
    fn has_room_for_listed(&self, requester: ConnectionId, plan: &Plan, n_bytes: usize) -> bool {
        // Of a client that hears it several times each must fit, and few do.
        let n_copies = if plan.has_overlaps() { plan.local().len() } else { 1 };
        let has_room = |target: &Target| {
            let Some(connection) = self.clients.slots.get(target.connection) else { return true };
            let Some(subscription) = connection.subscriptions.get(target.subscription) else { return true };
            let sid_len = match &subscription.kind {
                SubscriptionKind::Nats { sid, .. } => sid.as_bytes().len(),
                SubscriptionKind::Mqtt { .. } => 0,
            };
            let is_relieved = target.connection == requester || connection.is_relieved(&self.settings);
            (is_relieved && connection.fits(n_copies * (n_bytes + sid_len), &self.settings))
                || !connection.is_reachable()
                || !self.hears_gateway(target, ANSWERING)
        };
        self.has_room_for_replay(requester, Quality::AtMostOnce, n_bytes) && plan.local().iter().all(has_room)
    }

    /// The subject by which a requester knows what is kept, if it has one.
    fn seen_by<'k>(&mut self, view: Option<&View>, kept: &'k Kept) -> Option<Cow<'k, [u8]>> {
        let Some(view) = view else { return Some(Cow::Borrowed(kept.subject())) };
        let seen = view.seen(kept.subject());
        self.clients.counters.no_emqx_subject += u64::from(matches!(seen, Err(Unseen::NoName(_))));
        seen.ok()
    }

    /// What a requester is told beside the payload of a message that is kept.
    fn header_read(&self, kept: &Kept) -> Vec<u8> {
        crossing::without_status(crossing::with_quality(header_of(kept, self.now), kept.message().quality))
    }

    fn send_status(&mut self, reply: &[u8], plan: Plan, status: &[u8]) {
        self.send_read(reply, plan, status, Payload::Copied(b""), ProtocolKind::Nats);
    }

    fn send_read(
        &mut self,
        reply: &[u8],
        plan: Plan,
        header: &[u8],
        payload: Payload<'_>,
        protocol: ProtocolKind,
    ) {
        let message = Message { header, ..Message::plain(reply, payload) };
        // What its reader publishes next, in the same turn, comes from the reader.
        let origin = Origin { protocol, read_at: self.now };
        let before = std::mem::replace(&mut self.clients.origin, origin);
        self.send_out(ANEW, &message, plan, Ask::Nothing);
        self.clients.origin = before;
    }
}

/// What NATS clients are told beside the payload of a message that is kept: from NATS as it came, but for what
/// is left of its time.
pub(super) fn header_of(kept: &Kept, now: Time) -> Vec<u8> {
    let (message, secs_left) = (kept.message(), kept.secs_left(now));
    if !message.header.is_empty() {
        return secs_left
            .map_or_else(|| message.header.to_vec(), |secs| crossing::with_expiry(message.header, secs));
    }
    let properties = Properties::from_checked(message.properties);
    let mut block = PropertyBlock::new();
    // It replaces one that fitted.
    let _ = secs_left.map(|secs| block.push(Property::MessageExpiryInterval(secs)));
    block.push_without(properties, |it| matches!(it, Property::MessageExpiryInterval(_)));
    let mut header = Vec::new();
    crossing::write_header(&Message { properties: block.properties().raw(), ..message }, &mut header);
    header
}

/// What a request is about, to everybody.
fn asked_for(view: Option<&View>, read: Read, name: &[u8]) -> Option<MappedFilter> {
    let written = SubjectFilter::parse(name).ok()?;
    match (view, read) {
        (_, Read::One) if written.has_wildcard() => None,
        (None, _) => Some(MappedFilter::of_subjects(written)),
        // What it would be as it is written is another topic's.
        (Some(view), Read::One) if view.is_for_own(name) => None,
        (Some(view), Read::One) => {
            SubjectFilter::parse(&view.canonical(name)).ok().map(MappedFilter::of_subjects)
        }
        (Some(view), Read::Many) => view.filter(name).ok(),
    }
}
