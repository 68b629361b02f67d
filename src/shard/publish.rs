//! The crossroads: a message from a client of this core, or from another core, goes to everyone who is due
//! it. Here both protocols are one.

use super::Shard;
use super::closed::Refused;
use super::fanout::Publisher;
use super::groups::{Due, GroupRoute, Pick};
use super::id::{ConnectionId, CoreId};
use super::mail::{Address, Batch, GroupPick, Item, Posted};
use super::members::{Asked, SHARES_MAX};
use super::routes::Found;
use super::table::Target;
use super::tickets::{Purpose, Ticket};
use crate::message::{GATEWAY_INBOX, Message};
use crate::mqtt::packet::Qos;
use crate::mqtt::reason::Reason;
use crate::nats;
use crate::shard::connection::{Protocol, SubscriptionKind};
use std::borrow::Cow;

/// Who gets a message, decided before anything is done: where an outbox on the way is full nothing has
/// happened yet, and the frame stays where it is.
#[derive(Debug)]
pub struct Plan {
    found: Found,
    /// The cores picked for the copies that groups are due.
    picks: Vec<Pick>,
}

impl Plan {
    /// Whether a run of messages can go as one: everyone who is due the subject is here. A connection that
    /// gets each several times must get all of one before the next.
    pub fn takes_runs(&self) -> bool {
        self.found.route().is_none_or(|route| route.is_local && !route.has_overlaps)
    }

    pub fn groups(&self) -> &[GroupRoute] {
        self.found.groups()
    }

    /// The plain subscriptions here.
    pub fn local(&self) -> &[Target] {
        self.found.local()
    }

    /// Whether some connection here gets it several times.
    pub fn has_overlaps(&self) -> bool {
        self.found.route().is_some_and(|route| route.has_overlaps)
    }

    /// Whether others than plain subscriptions here may get it.
    pub fn is_more_than_local(&self) -> bool {
        self.found.route().is_some_and(|route| !route.remote.is_empty() || !route.groups.is_empty())
    }
}

/// What the publisher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    Nothing,
    /// MQTT QoS 1 and 2.
    Receipt {
        packet_id: u16,
        qos: Qos,
    },
    /// A NATS request whose publisher wants to hear that nobody took it.
    NoResponders {
        /// As it was asked, wherever it went.
        subject: &'a [u8],
    },
    /// NATS, asked for by header: the word, on this subject, that the gateway has taken responsibility.
    Acknowledgement {
        reply: &'a [u8],
        /// It is kept, whoever else gets it.
        is_retained: bool,
    },
}

/// What one message sends to one other core.
#[derive(Debug)]
pub(super) struct Post {
    pub core: CoreId,
    pub to_plain: bool,
    pub groups: Vec<GroupPick>,
}

impl Shard {
    /// Looks up who gets `subject`, or says whose outbox the publisher must wait for.
    pub(super) fn plan(&mut self, subject: &[u8]) -> Result<Plan, CoreId> {
        let Plan { found, picks } = self.plan_anyway(subject);
        let Some(route) = found.route() else { return Ok(Plan { found, picks }) };
        let picked = picks.iter().map(|pick| pick.core).filter(|core| *core != self.core);
        let full =
            route.remote.iter().copied().chain(picked).find(|core| self.peers[core.idx()].outbox.is_full());
        match full {
            Some(core) => {
                self.picks = picks;
                Err(core)
            }
            None => Ok(Plan { found, picks }),
        }
    }

    /// The same where outboxes may be exceeded.
    #[inline]
    pub(super) fn plan_anyway(&mut self, subject: &[u8]) -> Plan {
        let found = self.routes.find(subject, &self.table, &self.interest);
        let mut picks = std::mem::take(&mut self.picks);
        picks.clear();
        for (group_idx, group) in found.groups().iter().enumerate() {
            group.pick_cores(group_idx, &mut picks, || self.chance.next());
        }
        Plan { found, picks }
    }

    /// Gives a plan up; its list is used again.
    pub(super) fn drop_plan(&mut self, plan: Plan) {
        self.picks = plan.picks;
    }

    /// Delivers here, posts to the other cores, and sees to what the publisher waits for.
    pub(super) fn carry_out(
        &mut self,
        publisher: Publisher,
        message: &Message<'_>,
        plan: Plan,
        ask: Ask<'_>,
    ) {
        self.count_published(message, message.header.len());
        self.send_out(publisher, message, plan, ask);
    }

    /// Counts what a client has published: of its header block so many bytes, whatever the gateway made of that.
    #[inline]
    pub(super) fn count_published(&mut self, message: &Message<'_>, n_header_bytes: usize) {
        let kind = self.clients.origin.protocol as usize;
        let n = message.n() as u64;
        self.clients.counters.published[kind] += n;
        self.clients.counters.published_bytes[kind] += n * message.payload.len() as u64;
        self.clients.counters.published_header_bytes += n * n_header_bytes as u64;
    }

    /// As `carry_out`, for what is counted as nobody's.
    #[inline]
    pub(super) fn send_out(&mut self, publisher: Publisher, message: &Message<'_>, plan: Plan, ask: Ask<'_>) {
        let mut fanout = self.clients.begin(message, Some(publisher), plan.found.local().len(), self.now);
        self.deliver_to_plain(publisher.id, plan.found.local(), &mut fanout);
        if let (Some(run), false) = (&message.run, plan.found.groups().is_empty()) {
            self.must_stall |= fanout.is_pressed;
            self.clients.end(fanout);
            self.share_out(publisher, message, run, &plan.found);
            self.picks = plan.picks;
            return self.after_fanout();
        }
        let mut posts = std::mem::take(&mut self.posts);
        if let Some(route) = plan.found.route() {
            self.serve_groups(route, &plan.picks, &mut fanout, &mut posts);
        }
        self.must_stall |= fanout.is_pressed;
        self.must_stop |= fanout.is_session_pressed;
        let is_taken = fanout.is_taken;
        self.clients.end(fanout);
        self.picks = plan.picks;
        if posts.is_empty() || self.post(publisher, message, &mut posts, ask, is_taken).is_none() {
            self.conclude(publisher.id, message, ask, is_taken);
        }
        self.posts = posts;
        self.after_fanout();
    }

    /// How many messages of at most so many bytes every session that is due them surely keeps, so that none
    /// is dropped behind the back of a publisher that could have been stopped. `None` where they can't go as
    /// one.
    pub(super) fn n_kept_for_sure(&self, plan: &Plan, n_bytes: usize) -> Option<usize> {
        let local = plan.found.local();
        if !plan.takes_runs() || !plan.found.groups().is_empty() || local.len() > SHARES_MAX {
            return None;
        }
        let n = |target| self.clients.n_kept_for_sure(target, n_bytes, &self.settings);
        Some(local.iter().map(n).min().unwrap_or(usize::MAX))
    }

    /// Posts a message, with a ticket where the publisher must hear what becomes of it.
    pub(super) fn post(
        &mut self,
        publisher: Publisher,
        message: &Message<'_>,
        posts: &mut Vec<Post>,
        ask: Ask<'_>,
        is_taken: bool,
    ) -> Option<u64> {
        let purpose = match ask {
            _ if posts.is_empty() => None,
            Ask::Receipt { .. } => Some(Purpose::Receipt),
            Ask::NoResponders { subject } if !is_taken => {
                Some(Purpose::NoResponders { reply: message.reply.into(), subject: subject.into() })
            }
            Ask::Acknowledgement { reply, .. } => Some(Purpose::Acknowledgement { reply: reply.into() }),
            Ask::NoResponders { .. } | Ask::Nothing => None,
        };
        let n_posts = posts.len() as u32;
        let is_taken = is_taken || matches!(ask, Ask::Acknowledgement { is_retained: true, .. });
        let ticket = purpose.map(|purpose| self.tickets.open(publisher.id, purpose, is_taken, n_posts));
        if let (Some(ticket), Ask::Receipt { packet_id, qos }) = (ticket, ask)
            && let Some(connection) = self.clients.slots.get_mut(publisher.id)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            mqtt.receipts.owe_waiting(packet_id, qos, ticket);
        }
        for Post { core, to_plain, groups } in posts.drain(..) {
            let Publisher { id: publisher, is_author, .. } = publisher;
            let address = Address { origin_core: self.core, publisher, is_author, ticket, to_plain, groups };
            let peer = &mut self.peers[core.idx()];
            peer.outbox.push_publication(message, address, self.clients.origin);
            self.clients.counters.mail_publications += 1;
            peer.tickets.extend(ticket);
        }
        ticket
    }

    /// Tells the publisher what it waits for, where no other core had to be asked.
    pub(super) fn conclude(
        &mut self,
        publisher: ConnectionId,
        message: &Message<'_>,
        ask: Ask<'_>,
        is_taken: bool,
    ) {
        match ask {
            Ask::Nothing => {}
            Ask::NoResponders { .. } if is_taken => {}
            Ask::NoResponders { subject } => self.say_no_responders(publisher, message.reply, subject),
            Ask::Acknowledgement { reply, is_retained } => {
                self.acknowledge_publish(reply, is_taken || is_retained);
            }
            Ask::Receipt { packet_id, qos } => {
                if let Some(connection) = self.clients.slots.get_mut(publisher)
                    && let Protocol::Mqtt(mqtt) = &mut connection.protocol
                {
                    let reason = receipt_reason(is_taken);
                    match &message.run {
                        Some(run) => run.packet_ids().for_each(|id| mqtt.receipts.owe_ready(id, qos, reason)),
                        None => mqtt.receipts.owe_ready(packet_id, qos, reason),
                    }
                }
                // With those of the publishes that were read with it.
                self.owing = Some(publisher);
            }
        }
    }

    /// Handles a publication of another core's batch.
    pub(super) fn deliver_posted(&mut self, from: CoreId, batch: &Batch, posted: &Posted) {
        let message = batch.message(posted);
        let address = &posted.address;
        if message.subject.starts_with(GATEWAY_INBOX) {
            self.must_stall = false;
            let is_taken = self.give_answer(&message);
            if std::mem::take(&mut self.must_stall) {
                self.slow_down(address.origin_core, address.publisher);
            }
            if let Some(ticket) = address.ticket {
                self.report(from, address.origin_core, ticket, is_taken, 0);
            }
            return self.after_fanout();
        }
        // A group's copy that nobody elsewhere could take is back: whose it is has not changed.
        let publisher = (address.origin_core == self.core).then(|| self.publisher(address));
        let found = self.routes.find(message.subject, &self.table, &self.interest);
        let mut fanout = self.clients.begin(&message, publisher, found.local().len(), self.now);
        if address.to_plain {
            self.deliver_to_plain(address.publisher, found.local(), &mut fanout);
        }
        let mut n_forwarded = 0;
        for pick in &address.groups {
            let group = found.groups().iter().find(|group| *group.name == *pick.name);
            let due =
                group.map_or(Due::default(), |group| group.due_as(pick.unit.as_deref(), pick.with_queue));
            let mut asked = Asked { is_last_resort: pick.is_last_resort, tried: pick.tried.clone() };
            if let Some(core) = self.give_to_member(due, &mut asked, &mut fanout) {
                let Asked { is_last_resort, tried } = asked;
                let groups = vec![GroupPick { is_last_resort, tried, ..pick.clone() }];
                let address = Address { to_plain: false, groups, ..address.clone() };
                let peer = &mut self.peers[core.idx()];
                peer.outbox.push_publication(&message, address, self.clients.origin);
                self.clients.counters.mail_publications += 1;
                // From its origin a mail is answered with the lane, wherever it has been before.
                if let (Some(ticket), true) = (posted.address.ticket, posted.address.origin_core == self.core)
                {
                    peer.tickets.push_back(ticket);
                    self.tickets.took_over(ticket);
                }
                n_forwarded += 1;
            }
        }
        let (is_taken, is_pressed) = (fanout.is_taken, fanout.is_pressed);
        self.clients.end(fanout);
        if is_pressed {
            self.slow_down(address.origin_core, address.publisher);
        }
        if !self.clients.unseen.afar.is_empty() {
            self.post_unseen(address.origin_core, address.publisher);
        }
        if let Some(ticket) = address.ticket {
            self.report(from, address.origin_core, ticket, is_taken, n_forwarded);
        }
        self.after_fanout();
    }

    /// Owes the origin the word on a ticket: with the lane's acknowledgement where the mail came from there,
    /// in a mail of its own where a third core had passed it on.
    fn report(&mut self, from: CoreId, origin: CoreId, ticket: u64, is_taken: bool, n_forwarded: usize) {
        if from == origin {
            let peer = &mut self.peers[from.idx()];
            peer.owes = true;
            peer.owed.n_handled += 1;
            if !is_taken {
                peer.owed.untaken.push(ticket);
            }
            peer.owed.forwarded.extend(std::iter::repeat_n(ticket, n_forwarded));
        } else if n_forwarded == 0 && origin == self.core {
            let closed = self.tickets.settled(ticket, is_taken);
            self.conclude_ticket(ticket, closed);
        } else if n_forwarded == 0 {
            self.say_taken(origin, Item::Settled { ticket, was_taken: is_taken });
        }
    }

    /// Tells the publisher, once the last answer has closed its ticket.
    pub(super) fn conclude_ticket(&mut self, number: u64, closed: Option<Ticket>) {
        let Some(ticket) = closed else { return };
        let Ticket { connection, purpose, is_taken, .. } = ticket;
        match purpose {
            Purpose::Receipt => {
                if let Some(publisher) = self.clients.slots.get_mut(connection)
                    && let Protocol::Mqtt(mqtt) = &mut publisher.protocol
                {
                    mqtt.receipts.settle(number, receipt_reason(is_taken));
                }
                self.send_receipts(connection);
            }
            Purpose::NoResponders { reply, subject } if !is_taken => {
                self.say_no_responders(connection, &reply, &subject);
            }
            Purpose::NoResponders { .. } => {}
            Purpose::Acknowledgement { reply } => self.acknowledge_publish(&reply, is_taken),
        }
    }

    fn publisher(&self, address: &Address) -> Publisher {
        let id = address.publisher;
        if !address.is_author {
            return Publisher::nobody(id);
        }
        let hears_itself = self.clients.slots.get(id).is_none_or(|connection| match &connection.protocol {
            Protocol::Nats(nats) => nats.echo(),
            Protocol::Mqtt(_) => true,
        });
        Publisher::new(id, hears_itself)
    }

    /// Sends the 503 to the requester's own plain subscription for the reply, if it has one.
    fn say_no_responders(&mut self, requester: ConnectionId, reply: &[u8], subject: &[u8]) {
        let found = self.routes.find(reply, &self.table, &self.interest);
        let Some(target) = found.local().iter().find(|target| target.connection == requester) else { return };
        let Some(connection) = self.clients.slots.get(requester) else { return };
        let Some(subscription) = connection.subscriptions.get(target.subscription) else { return };
        if let SubscriptionKind::Nats { sid, special, .. } = &subscription.kind {
            let view = special.as_ref().and_then(|special| special.view.as_deref());
            let seen = |name| match view {
                Some(view) => view.seen(name).unwrap_or_else(|_| view.without_mount(name).into()),
                None => Cow::Borrowed(name),
            };
            let (reply, subject) = (seen(reply), seen(subject));
            let mut out = Vec::new();
            nats::encode::no_responders(&mut out, &reply, sid.as_bytes(), &subject);
            self.clients.write(requester, &out);
        }
    }

    /// Sends the acknowledgements of what was taken in this turn.
    #[inline]
    pub(super) fn send_owed_receipts(&mut self) {
        if let Some(publisher) = self.owing.take() {
            self.send_receipts(publisher);
        }
    }

    pub(super) fn send_receipts(&mut self, id: ConnectionId) {
        let mut out = std::mem::take(&mut self.answer);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            mqtt.send_receipts(|why| Refused::words_of_publish(why, &self.settings), &mut out);
        }
        self.clients.write_down(id);
        self.clients.write(id, &out);
        out.clear();
        self.answer = out;
    }
}

fn receipt_reason(is_taken: bool) -> Reason {
    if is_taken { Reason::Success } else { Reason::NoMatchingSubscribers }
}
