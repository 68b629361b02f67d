//! What a NATS client's ops do.

mod special;

use super::Shard;
use super::closed::Closed;
use super::connection::{Protocol, Special as SpecialSubscription, SubscriptionKind};
use super::crossing::{self, Asked, Identity};
use super::fanout::Publisher;
use super::id::ConnectionId;
use super::input::Served;
use super::limits::Limit;
use super::log::Unseen;
use super::publish::{Ask, Plan};
use super::refused::NotSubscribed;
use super::replay::Stands;
use super::retained::Full;
use super::settings::{NatsSettings, Settings};
use super::stranger;
use crate::message::{Digits, Message, ProtocolKind, Quality, Run, is_gateway_inbox};
use crate::mqtt::property::PropertyBlock;
use crate::nats::connection::Connection as Nats;
use crate::nats::encode;
use crate::nats::op::{Op, Publish};
use crate::nats::parse::{Parsed, parse};
use crate::nats::sid::Sid;
use crate::payload::{Payload, share_if_large};
use crate::subject::mapping::{self, MappedFilter};
use crate::subject::{InvalidFilter, SubjectFilter, tokens};
use crate::time::{Span, Time};
use std::rc::Rc;

/// The first PING comes this long after CONNECT, and up to a fifth later: clients learn the round trip
/// from it.
const FIRST_PING: Span = Span::from_secs(2);

/// Why a SUB is refused; the connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscribeRefused {
    Tokens,
    Queue,
    /// Answers are for those who asked.
    Inbox,
    TooMany,
    Subject,
}

impl SubscribeRefused {
    fn counted(self) -> NotSubscribed {
        match self {
            Self::Tokens => NotSubscribed::TooManyLevels,
            Self::Queue | Self::Inbox => NotSubscribed::Reserved,
            Self::TooMany => NotSubscribed::TooMany,
            Self::Subject => NotSubscribed::Invalid,
        }
    }

    fn say(self, subject: &[u8], queue: Option<&[u8]>, out: &mut Vec<u8>) {
        match self {
            Self::Tokens => encode::too_many_tokens(out, subject),
            Self::Queue | Self::Inbox => {
                encode::permissions_violation(out, "Subscription to", subject, queue);
            }
            Self::TooMany => encode::error(out, "maximum subscriptions exceeded"),
            Self::Subject => encode::error(out, "Invalid Subject"),
        }
    }
}

impl Shard {
    /// Takes the first op of `input`, if it is whole and may be taken now.
    pub(super) fn serve_nats(&mut self, id: ConnectionId, input: &[u8], now: Time) -> Served {
        let Some(connection) = self.clients.slots.get_mut(id) else { return Served::Ended };
        if !connection.is_open() {
            return Served::Ended;
        }
        if connection.chokes(self.settings.write_queue_bytes_max) {
            return Served::Waiting;
        }
        let Protocol::Nats(nats) = &mut connection.protocol else { return Served::Ended };
        let (op, n_taken) = match parse(input, nats.headers(), &self.settings.nats.parse) {
            Ok(Parsed::Op(op, n_taken)) => (op, n_taken),
            Ok(Parsed::Incomplete { need }) => return Served::Incomplete { need },
            // What a run of SUB and UNSUB is owed comes before the error.
            Err(_) if connection.fence.is_some() => return Served::Waiting,
            Err(malformed) => {
                let is_stranger = !nats.is_connected();
                let speaks = is_stranger.then(|| stranger::guess(input, ProtocolKind::Nats)).flatten();
                self.close_stranger(id, Closed::Nats(malformed), speaks, now);
                return Served::Ended;
            }
        };
        if connection.fence.is_some() && !op.joins_run() {
            return Served::Waiting;
        }
        match op {
            Op::Publish(publish) => {
                if self.are_answers_too_many() && asks_for_answer(&publish) {
                    return self.wait_for_answers(id);
                }
                return self.nats_publish(id, &publish, None, input, n_taken);
            }
            Op::Ignored => {}
            Op::Pong => {
                nats.pong();
                connection.note_pong();
            }
            Op::Ping => self.nats_ping(id),
            Op::Connect(json) => self.nats_connect(id, json, now),
            Op::Subscribe { subject, queue, sid } => self.nats_subscribe(id, subject, queue, sid),
            Op::Unsubscribe { sid, max } => self.nats_unsubscribe(id, sid, max),
        }
        Served::Taken(n_taken)
    }

    fn with_nats(&mut self, id: ConnectionId, answer: impl FnOnce(&mut Nats, &mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.answer);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Protocol::Nats(nats) = &mut connection.protocol
        {
            answer(nats, &mut out);
        }
        self.send_answer(id, out);
    }

    /// Tells a client what it is refused; its connection stays. What was in the way is for the log alone, which
    /// says the rest in the words that the client hears.
    fn nats_refuse(&mut self, id: ConnectionId, in_the_way: &str, say: impl FnOnce(&Nats, &mut Vec<u8>)) {
        let mut said = Vec::new();
        self.with_nats(id, |nats, out| {
            say(nats, &mut said);
            out.extend_from_slice(&said);
        });
        self.log_refusal(id, &said, in_the_way, self.now);
    }

    /// Answers a PING. Clients take the PONG as the word that whatever was published before has come, and
    /// some end their subscriptions on it: it waits for what other cores may have posted.
    fn nats_ping(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.slots.get(id) else { return };
        let client = connection.greeted();
        if matches!(&connection.protocol, Protocol::Nats(nats) if nats.n_subscriptions() > 0) {
            self.post_fence();
            self.stamp(id);
        }
        let server = self.server.clone();
        self.with_nats(id, |nats, out| nats.ping(&server, client, out));
    }

    /// Tells a client what INFO says now, if it may hear of that.
    pub(super) fn tell_server(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.slots.get(id) else { return };
        let client = connection.greeted();
        let server = self.server.clone();
        self.with_nats(id, |nats, out| {
            if nats.hears_of_changes() {
                nats.greet(&server, client, out);
            }
        });
    }

    fn nats_connect(&mut self, id: ConnectionId, json: &[u8], now: Time) {
        let Some(connection) = self.clients.slots.get(id) else { return };
        // A second CONNECT begins anew: its subscriptions are dropped, as in nats-server since 2.15.
        if matches!(&connection.protocol, Protocol::Nats(nats) if nats.is_connected()) {
            self.end_nats_subscriptions(id);
        }
        let (mut refused, mut has_moved) = (None, false);
        self.with_nats(id, |nats, out| {
            let view = nats.view().cloned();
            refused = nats.connect(json, out).err();
            has_moved = nats.view() != view.as_ref();
        });
        // What began before is not where the client is now.
        if has_moved {
            self.end_nats_subscriptions(id);
        }
        if let Some(refused) = refused {
            self.close(id, Closed::NatsConnect(refused), now);
            return;
        }
        self.note_connected(id);
        let lateness = Span::from_millis(self.chance.next() % (FIRST_PING.as_micros() / 5_000));
        let interval = self.settings.nats.ping_interval;
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.ping_at = Some(now + FIRST_PING.min(interval) + lateness);
            connection.estimate_round_trip();
            if matches!(&connection.protocol, Protocol::Nats(nats) if nats.shares_mount()) {
                self.log_shared_mount(id);
            }
        }
        self.check_deadlines(id, now);
    }

    fn end_nats_subscriptions(&mut self, id: ConnectionId) {
        let keys = self.clients.slots.get(id).map(|connection| connection.subscriptions.keys());
        for key in keys.into_iter().flatten() {
            self.forget_sid(id, key);
            self.end_subscription(id, key);
        }
    }

    /// Publishes what was `written`: as it is in `apart`, where its client is set apart from others.
    fn nats_publish(
        &mut self,
        id: ConnectionId,
        written: &Publish<'_>,
        apart: Option<&Publish<'_>>,
        input: &[u8],
        n_taken: usize,
    ) -> Served {
        let Some(connection) = self.clients.slots.get(id) else { return Served::Ended };
        let Protocol::Nats(nats) = &connection.protocol else { return Served::Ended };
        if apart.is_none()
            && let Err(special) = nats.judge_publish(written)
        {
            return self.nats_publish_special(id, written, special, input, n_taken);
        }
        let is_identified = apart.is_some() && nats.is_identified();
        let publish = apart.unwrap_or(written);
        let publisher = Publisher::new(id, nats.echo());
        let is_request = !publish.reply.is_empty() && nats.wants_no_responders();
        let ask = if is_request { Ask::NoResponders { subject: publish.subject } } else { Ask::Nothing };
        let says_something = nats.answers_publish();
        let is_verbose = nats.is_verbose();
        let mount_len = publish.subject.len().saturating_sub(written.subject.len());
        let is_mounted = apart.is_some() && nats.is_mounted();
        let responder = if publish.reply.is_empty() { None } else { self.responder_for(publish.subject) };
        // An acknowledgement is no answer to a request, and what is retained stays where others look for it.
        let responder = responder.filter(|_| {
            let asked = crossing::asked(publish.header).unwrap_or(Asked::NOTHING);
            !asked.retain && !wants_acknowledgement(publish, asked)
        });
        let quality = self.settings.nats.qualities.of(publish.subject, is_verbose);
        let plan = match self.plan(responder.as_ref().map_or(publish.subject, |it| &it.probe)) {
            Ok(plan) => plan,
            Err(full) => return self.wait_for_outbox(id, full),
        };
        let subject = responder.map(|it| self.ask_responder(&it, id, publish.subject, publish.reply));
        let publish = &Publish { subject: subject.as_deref().unwrap_or(publish.subject), ..*publish };
        if says_something {
            let mut scratch = Vec::new();
            self.with_nats(id, |nats, out| nats.publish_taken(written, &mut scratch, out));
        }
        let shared = share_if_large(publish.payload);
        let asked = if publish.header.is_empty() { None } else { crossing::asked(publish.header) };
        let is_bare = publish.reply.is_empty() && asked.is_none();
        // A header block is part of what those of one run have in common.
        let head_len = n_taken - publish.payload.len() - 2;
        let is_limited = self.rate_of(false).is_some();
        let is_alone = says_something || is_identified || is_limited || quality != Quality::AtMostOnce;
        let run = if shared.is_none() && is_bare && !is_alone {
            self.run_for(id, &plan, mount_len, || Run::at_front(input, n_taken, head_len, b"\r\n"))
        } else {
            None
        };
        let payload = Payload::of(publish.payload, shared.as_ref());
        let message = Message { quality, run, ..neutral(publish, payload) };
        match asked {
            None if !is_identified => self.carry_out(publisher, &message, plan, ask),
            asked => {
                self.carry_out_asked(
                    publisher,
                    &message,
                    plan,
                    ask,
                    asked.unwrap_or(Asked::NOTHING),
                    is_mounted,
                );
            }
        }
        Served::Taken(run.map_or(n_taken, |run| run.n_bytes()))
    }

    /// As `carry_out`, for a publish whose header asks for what is MQTT's, or says who published it.
    #[cold]
    fn carry_out_asked(
        &mut self,
        publisher: Publisher,
        message: &Message<'_>,
        plan: Plan,
        ask: Ask<'_>,
        asked: Asked,
        is_mounted: bool,
    ) {
        self.clients.counters.headers_unknown += asked.n_unknown;
        let n_header_bytes = message.header.len();
        let is_cleaned = asked.has_forbidden || is_mounted;
        let mut cleaned = is_cleaned.then(|| crossing::without_forbidden(message.header, is_mounted));
        if let Some(told) = self.identified(publisher.id, cleaned.as_deref().unwrap_or(message.header)) {
            cleaned = Some(told);
        }
        let mut properties = PropertyBlock::new();
        let mut message = Message { quality: asked.quality.unwrap_or(message.quality), ..*message };
        let mut ask = ask;
        if asked.quality.is_some_and(|quality| quality > Quality::AtMostOnce) && !message.reply.is_empty() {
            ask = Ask::Acknowledgement { reply: message.reply, is_retained: false };
            message.reply = b"";
        }
        if let Some(cleaned) = &cleaned {
            message.header = cleaned;
            message.digits = Digits::default();
        }
        // What MQTT could neither see nor clear would take its room.
        let is_seen = || mapping::subject_to_topic(message.subject, &mut Vec::new());
        if asked.retain && self.retained.is_offered() && !is_seen() {
            self.clients.note_unseen(Unseen::NoTopic, message.subject, 1, Some(publisher.id), self.now);
            if let Ask::Acknowledgement { reply, .. } = ask {
                self.drop_plan(plan);
                return self.refuse_publish(reply, 400, "no topic can spell the subject: it is not retained");
            }
        } else if asked.retain {
            // It is kept as MQTT clients get it, its expiry included.
            let n_unmappable = crossing::write_properties(&message, &mut properties);
            self.clients.counters.headers_unmappable += n_unmappable;
            message.properties = properties.properties().raw();
            message.retain = self.retained.is_offered();
            let retained = self.retain(publisher.id, &mut message);
            if let Ask::Acknowledgement { reply, .. } = ask {
                // Where there is no room it goes to those who are there, and that is counted; unless there is a
                // way to say so.
                if let Err(full) = retained {
                    self.drop_plan(plan);
                    return self.refuse_publish(reply, 507, &not_retained(full, &self.settings));
                }
                ask = Ask::Acknowledgement { reply, is_retained: true };
            }
        }
        self.count_published(&message, n_header_bytes);
        self.send_out(publisher, &message, plan, ask);
    }

    /// A header block with who its client is, where that is told. What the client says of that is not in it.
    fn identified(&self, id: ConnectionId, header: &[u8]) -> Option<Vec<u8>> {
        let connection = self.clients.slots.get(id)?;
        let Protocol::Nats(nats) = &connection.protocol else { return None };
        if !nats.is_identified() {
            return None;
        }
        let mut client_id = itoa::Buffer::new();
        let user = nats.options().user.as_deref().unwrap_or_default().as_bytes();
        let client_id = client_id.format(nats.client_id()).as_bytes();
        let identity = Identity { client_id, user, protocol: ProtocolKind::Nats };
        Some(identity.write_before(header))
    }

    fn nats_subscribe(&mut self, id: ConnectionId, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        let Some(connection) = self.clients.slots.get(id) else { return };
        let Protocol::Nats(nats) = &connection.protocol else { return };
        let is_new = nats.subscription(sid).is_none();
        let view = nats.view().cloned();
        let mapped = match self.judge_subscribe(nats, is_new, subject, queue) {
            Ok(mapped) => mapped,
            Err(refused) => {
                let in_the_way = self.count_refused(refused.counted(), ProtocolKind::Nats);
                self.nats_refuse(id, &in_the_way, |_, out| refused.say(subject, queue, out));
                return;
            }
        };
        if let Some(MappedFilter { filter, parent, begins_with_wildcard }) = mapped {
            // What comes late to the one that had the sid before must not come under it.
            if let Some(key) = self.given_up_as(id, sid) {
                self.end_subscription(id, key);
            }
            // As of MQTT, a member of a group is sent nothing of what was retained before.
            let replays = queue.is_none() && self.settings.nats.replays(&filter);
            let special = (queue.is_some() || view.is_some() || replays).then(|| {
                let group = queue.map(Rc::from);
                Box::new(SpecialSubscription { group, view, begins_with_wildcard, ..Default::default() })
            });
            let kind = SubscriptionKind::Nats { sid: Sid::new(sid), n_delivered: 0, special };
            let key = self.begin_subscription(id, &filter, parent.as_ref(), kind);
            self.with_nats(id, |nats, _| key.into_iter().for_each(|key| nats.subscribed(sid, key)));
            if let (Some(key), true) = (key, replays) {
                self.expect_replay(id, key, Stands::Nowhere);
            }
        }
        // The same sid again leaves the first subscription as it is, but is as good an answer to wait for.
        self.stamp(id);
        self.with_nats(id, |nats, out| nats.acknowledge(out));
    }

    /// The filter of a SUB, if its sid is new, or why it is refused: in the order in which nats-server looks.
    fn judge_subscribe(
        &self,
        nats: &Nats,
        is_new: bool,
        subject: &[u8],
        queue: Option<&[u8]>,
    ) -> Result<Option<MappedFilter>, SubscribeRefused> {
        let NatsSettings { subscriptions_max, subscription_tokens_max, .. } = self.settings.nats;
        let n_tokens = nats.view().map_or_else(|| tokens(subject).count(), |view| view.n_tokens(subject));
        if subscription_tokens_max > 0 && n_tokens > subscription_tokens_max {
            return Err(SubscribeRefused::Tokens);
        }
        if queue == Some(b"_sys_") {
            return Err(SubscribeRefused::Queue);
        }
        if is_gateway_inbox(subject) {
            return Err(SubscribeRefused::Inbox);
        }
        if subscriptions_max > 0 && nats.n_subscriptions() >= subscriptions_max {
            return Err(SubscribeRefused::TooMany);
        }
        if !is_new {
            return Ok(None);
        }
        let mapped = match nats.view() {
            Some(view) => view.filter(subject),
            None => SubjectFilter::parse(subject).map(MappedFilter::of_subjects),
        };
        mapped.map(Some).map_err(|InvalidFilter| SubscribeRefused::Subject)
    }

    fn nats_unsubscribe(&mut self, id: ConnectionId, sid: &[u8], max: Option<u64>) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let Protocol::Nats(nats) = &connection.protocol else { return };
        if let Some(key) = nats.subscription(sid) {
            let mut ends_now = true;
            if let Some(subscription) = connection.subscriptions.get_mut(key)
                && let SubscriptionKind::Nats { special, n_delivered, .. } = &mut subscription.kind
                && max.is_some_and(|max| max > *n_delivered)
            {
                special.get_or_insert_default().max = max;
                ends_now = false;
            }
            if ends_now {
                self.forget_sid(id, key);
                self.give_up_subscription(id, key);
            }
        }
        self.stamp(id);
        self.with_nats(id, |nats, out| nats.acknowledge(out));
    }

    fn forget_sid(&mut self, id: ConnectionId, key: u32) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if let Some(subscription) = connection.subscriptions.get(key)
            && let SubscriptionKind::Nats { sid, .. } = &subscription.kind
            && let Protocol::Nats(nats) = &mut connection.protocol
        {
            nats.unsubscribed(sid.as_bytes(), key);
        }
    }
}

/// Whether a publish that is taken is acknowledged, or refused by a word on its reply subject.
fn wants_acknowledgement(publish: &Publish<'_>, asked: Asked) -> bool {
    !publish.reply.is_empty() && asked.quality.is_some_and(|quality| quality > Quality::AtMostOnce)
}

#[cold]
fn asks_for_answer(publish: &Publish<'_>) -> bool {
    wants_acknowledgement(publish, crossing::asked(publish.header).unwrap_or(Asked::NOTHING))
}

/// Why a message is not retained, for its publisher.
#[cold]
fn not_retained(Full(limit): Full, settings: &Settings) -> String {
    match limit {
        Limit::RetainedPayload => {
            format!("a retained message has at most {} bytes of payload", limit.value(settings))
        }
        Limit::RetainedMessages if limit.value(settings) == 0 => "retained messages are not offered".into(),
        _ => "no room for another retained message".into(),
    }
}

/// A publish as it came.
fn neutral<'a>(publish: &Publish<'a>, payload: Payload<'a>) -> Message<'a> {
    Message {
        reply: publish.reply,
        header: publish.header,
        digits: publish.digits,
        ..Message::plain(publish.subject, payload)
    }
}
