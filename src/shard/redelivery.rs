//! Messages of shared subscriptions that a member leaves behind: another one gets them. Where a session ends
//! that is what it was sent at QoS 1 and did not acknowledge, and what it was never sent; where a client is
//! only gone, and another member is there, what it was never sent. What was sent waits for the client then,
//! and of QoS 2 it is nobody else's, whatever becomes of the session. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
//!
//! A long queue goes a slice at a time, and waits itself where an outbox on its way is full. What waits here
//! is bounded, and counts among what waits for this core's clients.

use super::Shard;
use super::connection::Connection;
use super::core_set::CoreSet;
use super::id::{ConnectionId, CoreId};
use super::limits::Limit;
use super::mail::{Address, GroupPick};
use super::members::Asked;
use super::own::{ANEW, GATEWAY};
use crate::message::{Message, Origin, ProtocolKind};
use crate::mqtt::inflight::{Leftovers, Limits};
use crate::mqtt::kept::Kept;
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::subject::mapping;
use crate::time::Time;
use std::collections::VecDeque;

/// What members have left behind.
#[derive(Debug, Default)]
pub struct Redelivery {
    /// Clients that have gone in this turn and whose sessions stay.
    gone: Vec<ConnectionId>,
    waiting: VecDeque<Leftovers>,
    /// Messages in `waiting`, and their bytes.
    n_messages: usize,
    n_bytes: usize,
    /// The next must wait for a full outbox.
    is_blocked: bool,
}

/// The outbox of a core on the way has no room.
struct Full;

impl Redelivery {
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.waiting.is_empty()
    }

    /// Whether something can go on without anything happening first.
    pub fn goes_on(&self) -> bool {
        !self.gone.is_empty() || (!self.waiting.is_empty() && !self.is_blocked)
    }

    /// Notes that a client is gone.
    pub fn note_gone(&mut self, id: ConnectionId) {
        self.gone.push(id);
    }

    /// Bytes of what waits.
    #[inline]
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Takes in what a member leaves behind, and says how many messages, the oldest, gave way to it, and by which
    /// limit if any did.
    pub fn enter(&mut self, leftovers: Leftovers, limits: &Limits) -> (u64, Limit) {
        self.n_messages += leftovers.n_messages();
        self.n_bytes += leftovers.n_bytes();
        self.waiting.push_back(leftovers);
        let has_many = self.n_messages > limits.messages_max;
        let limit = if has_many { Limit::LeftBehindMessages } else { Limit::LeftBehindBytes };
        (self.shrink_to(limits.messages_max, limits.bytes_max), limit)
    }

    /// Forgets the oldest until no more than this is left, and says how many somebody might have had.
    pub fn shrink_to(&mut self, messages_max: usize, bytes_max: usize) -> u64 {
        let mut n_forgotten = 0;
        while (self.n_messages > messages_max || self.n_bytes > bytes_max)
            && let Some(mut oldest) = self.take_oldest()
        {
            if oldest.first().is_some() {
                n_forgotten += 1;
                oldest.forget_first();
            }
            self.put_back(oldest);
        }
        n_forgotten
    }

    fn take_oldest(&mut self) -> Option<Leftovers> {
        let oldest = self.waiting.pop_front()?;
        self.n_messages -= oldest.n_messages();
        self.n_bytes -= oldest.n_bytes();
        Some(oldest)
    }

    /// Puts back what was taken, if there is something of it that others may have.
    fn put_back(&mut self, mut oldest: Leftovers) {
        if oldest.first().is_some() {
            self.n_messages += oldest.n_messages();
            self.n_bytes += oldest.n_bytes();
            self.waiting.push_front(oldest);
        }
    }
}

impl Shard {
    /// Gives others some of what members have left behind.
    pub(super) fn redeliver(&mut self, now: Time) {
        while self.budget.left_behind > 0
            && let Some(id) = self.redelivery.gone.pop()
        {
            self.budget.left_behind -= 1;
            self.take_unsent(id);
        }
        if self.has_closed() {
            // Nobody is there any more.
            self.clients.counters.dropped_no_member += self.redelivery.shrink_to(0, 0);
        }
        self.redelivery.is_blocked = false;
        let mut n_left = self.budget.left_behind;
        while n_left > 0
            && !self.redelivery.is_blocked
            && let Some(mut oldest) = self.redelivery.take_oldest()
        {
            self.give_some(&mut oldest, &mut n_left, now);
            self.redelivery.put_back(oldest);
        }
        self.budget.left_behind = n_left;
        // What was out meanwhile did not count.
        self.keep_core_total();
    }

    /// Gives others at most so many of one member's messages.
    fn give_some(&mut self, leftovers: &mut Leftovers, n_left: &mut usize, now: Time) {
        while *n_left > 0
            && let Some(kept) = leftovers.first()
        {
            *n_left -= 1;
            if let Err(Full) = self.give_again(&kept, now) {
                self.redelivery.is_blocked = true;
                return;
            }
            leftovers.forget_first();
        }
    }

    /// Keeps what a member leaves behind until others have been given it.
    pub(super) fn leave_to_others(&mut self, leftovers: Leftovers) {
        let (n_gave_way, limit) = self.redelivery.enter(leftovers, &self.settings.mqtt.left_behind);
        self.clients.counters.dropped_left_behind += n_gave_way;
        if n_gave_way > 0 {
            self.note_shared_loss(limit);
        }
    }

    /// Takes from a session whose client is gone what it was never sent, if another member is there.
    fn take_unsent(&mut self, id: ConnectionId) {
        // It may be back by now, on a connection that has taken the session.
        if self.clients.slots.get(id).is_some_and(Connection::is_open) || !self.has_session(id) {
            return;
        }
        let Some(session) = self.clients.slots.session(id) else { return };
        let Some(first) = session.inflight.first_unsent_shared() else { return };
        let Some(share) = first.share.cloned() else { return };
        let with_queue = first.with_queue;
        let mut subject = Vec::new();
        mapping::topic_to_subject(first.topic, &mut subject);
        let found = self.routes.find(&subject, &self.table, &self.interest);
        let group = found.groups().iter().find(|group| group.name == share.name);
        let due = group.map(|group| group.due_as(Some(share.filter.as_bytes()), with_queue));
        let is_anybody_there =
            due.is_some_and(|due| due.pick_core(false, &CoreSet::EMPTY, self.chance.next()).is_some());
        if !is_anybody_there {
            return;
        }
        let Some(session) = self.clients.slots.session_mut(id) else { return };
        let n_bytes_before = session.inflight.n_bytes();
        let leftovers = session.inflight.take_unsent_shared();
        let n_bytes = n_bytes_before - session.inflight.n_bytes();
        self.clients.n_queued_bytes -= n_bytes;
        self.clients.counters.discarded += leftovers.n_unsent() as u64;
        self.clients.counters.n_session_messages -= leftovers.n_unsent() as u64;
        self.clients.write_down(id);
        self.leave_to_others(leftovers);
    }

    /// Gives a message to another member of its group.
    fn give_again(&mut self, kept: &Kept<'_>, now: Time) -> Result<(), Full> {
        let Some(share) = kept.share else { return Ok(()) };
        if kept.is_expired(now) {
            self.clients.counters.expired += 1;
            return Ok(());
        }
        let mut subject = Vec::new();
        mapping::topic_to_subject(kept.topic, &mut subject);
        let found = self.routes.find(&subject, &self.table, &self.interest);
        let group = found.groups().iter().find(|group| group.name == share.name);
        let filter = share.filter.as_bytes();
        let due = group.map(|group| (group, group.due_as(Some(filter), kept.with_queue)));
        let mut asked = Asked::default();
        let core = due.and_then(|(_, due)| {
            let online = due.pick_core(false, &asked.tried, self.chance.next());
            asked.is_last_resort = online.is_none();
            online.or_else(|| due.pick_core(true, &asked.tried, self.chance.next()))
        });
        let (Some((group, due)), Some(core)) = (due, core) else {
            self.clients.counters.dropped_no_member += 1;
            return Ok(());
        };
        if core != self.core && self.peers[core.idx()].outbox.is_full() {
            return Err(Full);
        }
        self.clients.counters.redelivered += 1;
        self.clients.origin = Origin { read_at: now, ..kept.origin };
        let properties = properties_anew(kept, now);
        let mut reply = self.reply_to(&subject, properties.properties());
        // A requester of NATS hears the answer itself.
        let may_need_way = kept.with_queue && kept.origin.protocol == ProtocolKind::Mqtt && !reply.is_empty();
        if may_need_way && let Some(correlation) = properties.properties().correlation_data() {
            reply = self.open_request_anew(&share.name, &reply, correlation);
        }
        let message = Message { reply: &reply, ..message_anew(kept, &subject, &properties) };
        let mut fanout = self.clients.begin(&message, Some(ANEW), 1, now);
        let next =
            if core == self.core { self.give_to_member(due, &mut asked, &mut fanout) } else { Some(core) };
        self.clients.end(fanout);
        if let Some(core) = next {
            let pick = asked.pick(group, due);
            self.post_again(core, &message, pick);
        }
        self.after_fanout();
        Ok(())
    }

    fn post_again(&mut self, core: CoreId, message: &Message<'_>, pick: GroupPick) {
        let groups = vec![pick];
        let address = Address {
            origin_core: self.core,
            publisher: GATEWAY,
            is_author: false,
            ticket: None,
            to_plain: false,
            groups,
        };
        let origin = self.clients.origin;
        self.peers[core.idx()].outbox.push_publication(message, address, origin);
        self.clients.counters.mail_publications += 1;
    }
}

/// Its properties without what was another member's own, and with what is left of its life. [MQTT-3.3.2-6]
fn properties_anew(kept: &Kept<'_>, now: Time) -> PropertyBlock {
    let mut block = PropertyBlock::new();
    block.push_without(Properties::from_checked(kept.properties), |it| {
        matches!(it, Property::SubscriptionIdentifier(_) | Property::MessageExpiryInterval(_))
    });
    if let Some(secs_left) = kept.secs_left(now) {
        block.push(Property::MessageExpiryInterval(secs_left)).expect("any number of seconds is legal");
    }
    block
}

fn message_anew<'m>(kept: &Kept<'m>, subject: &'m [u8], properties: &'m PropertyBlock) -> Message<'m> {
    Message {
        topic: kept.topic,
        properties: properties.properties().raw(),
        quality: kept.quality,
        retain: kept.retain,
        ..Message::plain(subject, kept.payload)
    }
}
