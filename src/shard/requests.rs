//! Requests whose answers come by way of the gateway. Those of MQTT clients that went to NATS: each has a reply
//! subject of the gateway's own for a while, and whatever is published there goes to the client that asked,
//! under its response topic and with its correlation data, of which a NATS service knows nothing. And those
//! that went to clients without response topics, whose topics carry the way back.
//!
//! The name of a reply subject says which core made it, so no core has to announce an interest in it, and no
//! subscription matches it: only the client that asked hears the answers. 128 bits of it can't be guessed.

use super::Shard;
use super::connection::Protocol;
use super::crossing;
use super::fanout::Publisher;
use super::id::{ConnectionId, CoreId};
use super::keys::Keys;
use super::limits::Limit;
use super::own::{ELSEWHERE, GATEWAY};
use super::publish::{Ask, Plan, Post};
use super::table::Target;
use crate::message::{Digits, GATEWAY_INBOX, Message};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::subject::mapping;
use crate::time::{Span, Time};
use ahash::RandomState;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::rc::Rc;

/// How long answers are taken, and how many requests are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub timeout: Span,
    pub per_client_max: usize,
    /// Memory of one core's requests, in bytes.
    pub bytes_max: usize,
}

/// What a request takes besides its texts, in bytes: its places in the three tables.
const REQUEST_BYTES: usize = 256;

/// The requests of one core's clients whose answers are awaited.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    open: HashMap<u128, Request, RandomState>,
    /// Oldest first; those that are gone are still in it until their time is up.
    ages: VecDeque<(Time, u128)>,
    /// By who asked, oldest first.
    of_asker: HashMap<Rc<[u8]>, VecDeque<u128>, RandomState>,
    n_bytes: usize,
    n_made: u64,
}

#[derive(Debug)]
struct Request {
    /// An MQTT client's identifier, or that of a connection.
    asker: Rc<[u8]>,
    way: Way,
    until: Time,
}

/// Requests that had to go for another.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gone {
    /// Of the same client, which has too many.
    n_own: u64,
    /// The oldest of all, whose bytes are too many.
    n_oldest: u64,
}

/// How an answer comes to the one who asked.
#[derive(Debug)]
enum Way {
    /// To an MQTT client alone.
    Topic { topic: Box<[u8]>, correlation: Option<Box<[u8]>> },
    /// As any publication.
    Subject(Onward),
}

/// Where an answer is published anew, and what it says then of the request.
#[derive(Clone, Debug)]
struct Onward {
    reply: Box<[u8]>,
    correlation: Option<Box<[u8]>>,
}

impl Request {
    fn n_bytes(&self) -> usize {
        let (Way::Topic { topic: name, correlation } | Way::Subject(Onward { reply: name, correlation })) =
            &self.way;
        REQUEST_BYTES + name.len() + correlation.as_ref().map_or(0, |data| data.len())
    }
}

impl Requests {
    pub fn new(limits: Limits, keys: &Keys) -> Self {
        Self {
            limits,
            open: HashMap::with_hasher(keys.hasher()),
            ages: VecDeque::new(),
            of_asker: HashMap::with_hasher(keys.hasher()),
            n_bytes: 0,
            n_made: 0,
        }
    }

    /// Requests whose answers are awaited.
    pub fn n_open(&self) -> usize {
        self.open.len()
    }

    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// When the oldest is forgotten.
    pub fn wake_at(&self) -> Option<Time> {
        self.ages.front().map(|(until, _)| *until)
    }

    /// Forgets those whose time is up.
    pub fn expire(&mut self, now: Time) {
        while let Some(&(until, token)) = self.ages.front()
            && until <= now
        {
            self.ages.pop_front();
            self.forget(token);
        }
    }

    /// Remembers a request under `token`; how many others had to go for it, the oldest first.
    fn enter(&mut self, token: u128, asker: &[u8], way: Way, now: Time) -> Gone {
        let until = now + self.limits.timeout;
        let asker = match self.of_asker.get_key_value(asker) {
            Some((known, _)) => known.clone(),
            None => Rc::from(asker),
        };
        let request = Request { asker: asker.clone(), way, until };
        self.n_bytes += request.n_bytes();
        self.open.insert(token, request);
        self.ages.push_back((until, token));
        let own = self.of_asker.entry(asker).or_default();
        own.push_back(token);
        let mut gone = Gone::default();
        if own.len() > self.limits.per_client_max
            && let Some(oldest) = own.front().copied()
        {
            gone.n_own += u64::from(self.forget(oldest));
        }
        while self.n_bytes > self.limits.bytes_max
            && let Some((_, oldest)) = self.ages.pop_front()
        {
            gone.n_oldest += u64::from(self.forget(oldest));
        }
        // Of those that are gone no more are kept than there are others.
        if self.ages.len() > 2 * self.open.len() + 64 {
            self.ages.retain(|(_, token)| self.open.contains_key(token));
        }
        gone
    }

    /// Whether it was there.
    fn forget(&mut self, token: u128) -> bool {
        let Some(request) = self.open.remove(&token) else { return false };
        self.n_bytes -= request.n_bytes();
        if let Some(own) = self.of_asker.get_mut(&request.asker) {
            // Nearly always the first.
            if let Some(place) = own.iter().position(|it| *it == token) {
                own.remove(place);
            }
            if own.is_empty() {
                self.of_asker.remove(&request.asker);
            }
        }
        true
    }

    /// Forgets what a client has asked, whose session ends.
    pub fn forget_client(&mut self, client_id: &[u8]) {
        for token in self.of_asker.remove(client_id).into_iter().flatten() {
            if let Some(request) = self.open.remove(&token) {
                self.n_bytes -= request.n_bytes();
            }
        }
    }

    fn get(&self, token: u128, now: Time) -> Option<&Request> {
        self.open.get(&token).filter(|request| request.until > now)
    }
}

/// An id that no request has, and that no filter names by chance: who gets what is published with it gets it whatever
/// the id.
const NOBODYS_ID: &[u8] = b"0-00000000000000000000000000000000";

/// A client that is asked by topics alone.
#[derive(Debug)]
pub struct Asked {
    responder_idx: usize,
    /// Who gets what is published there gets the request.
    pub probe: Vec<u8>,
}

/// Writes the reply subject of a core's request.
fn write_subject(core: CoreId, token: u128, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(56);
    let _ = write!(text, "{}.{token:032x}", core.0);
    out.extend_from_slice(GATEWAY_INBOX);
    out.extend_from_slice(text.as_bytes());
}

/// The core that made a reply subject, and its request.
fn read_subject(subject: &[u8]) -> Option<(CoreId, u128)> {
    let rest = std::str::from_utf8(subject.strip_prefix(GATEWAY_INBOX)?).ok()?;
    let (core, token) = rest.split_once('.')?;
    let is_token = token.len() == 32 && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let core = core.bytes().all(|byte| byte.is_ascii_digit()).then(|| core.parse().ok())??;
    is_token.then(|| Some((CoreId(core), u128::from_str_radix(token, 16).ok()?)))?
}

impl Shard {
    /// Whether a NATS client may get what is planned: a reply subject is made for nobody else.
    pub(super) fn may_reach_nats(&self, plan: &Plan) -> bool {
        let is_nats = |target: &Target| {
            let connection = self.clients.slots.get(target.connection);
            connection.is_some_and(|connection| matches!(connection.protocol, Protocol::Nats(_)))
        };
        plan.is_more_than_local() || plan.local().iter().any(is_nats)
    }

    /// Remembers a request of an MQTT client, and writes the subject of its answers.
    pub(super) fn open_request(&mut self, id: ConnectionId, properties: Properties<'_>, reply: &mut Vec<u8>) {
        let Some(topic) = properties.response_topic() else { return };
        let Some(connection) = self.clients.slots.get(id) else { return };
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return };
        let correlation = properties.correlation_data().map(Into::into);
        let client_id: Rc<[u8]> = mqtt.client_id().into();
        let token = self.enter_request(id, &client_id, Way::Topic { topic: topic.into(), correlation });
        write_subject(self.core, token, reply);
    }

    /// Remembers a request that a member of a group has left to others, of whom one of NATS knows nothing of
    /// its correlation data, and writes the subject of its answers. Those go to `reply`.
    pub(super) fn open_request_anew(&mut self, group: &[u8], reply: &[u8], correlation: &[u8]) -> Vec<u8> {
        let asker = [&[0][..], group].concat();
        let onward = Onward { reply: reply.into(), correlation: Some(correlation.into()) };
        let token = self.enter_request(GATEWAY, &asker, Way::Subject(onward));
        let mut inbox = Vec::new();
        write_subject(self.core, token, &mut inbox);
        inbox
    }

    fn enter_request(&mut self, id: ConnectionId, asker: &[u8], way: Way) -> u128 {
        let token = self.keys.token(self.core, self.requests.n_made);
        self.requests.n_made += 1;
        let gone = self.requests.enter(token, asker, way, self.now);
        self.clients.counters.requests_opened += 1;
        self.clients.counters.requests_forgotten += gone.n_own + gone.n_oldest;
        if gone.n_own > 0 {
            self.note_loss(id, Limit::Requests);
        }
        if gone.n_oldest > 0 {
            self.note_shared_loss(Limit::RequestBytes);
        }
        token
    }

    /// The client that is asked by topics alone for which a request is, if it is there.
    #[inline]
    pub(super) fn responder_for(&mut self, subject: &[u8]) -> Option<Asked> {
        if self.settings.mqtt.responders.is_empty() { None } else { self.find_responder(subject) }
    }

    fn find_responder(&mut self, subject: &[u8]) -> Option<Asked> {
        let settings = self.settings.clone();
        settings.mqtt.responders.iter().enumerate().find_map(|(responder_idx, it)| {
            let probe = it.request_subject(subject, NOBODYS_ID)?;
            let is_there = self.routes.has_anybody(&probe, &self.table, &self.interest);
            is_there.then_some(Asked { responder_idx, probe })
        })
    }

    /// Remembers a request to it, and says where that goes.
    pub(super) fn ask_responder(
        &mut self,
        asked: &Asked,
        id: ConnectionId,
        subject: &[u8],
        reply: &[u8],
    ) -> Vec<u8> {
        // Beside the identifiers of MQTT clients, which have no NUL.
        let asker = [&[0][..], &id.slot.to_le_bytes(), &id.generation.to_le_bytes()].concat();
        let onward = Onward { reply: reply.into(), correlation: None };
        let token = self.enter_request(id, &asker, Way::Subject(onward));
        let mut inbox = Vec::new();
        write_subject(self.core, token, &mut inbox);
        self.subject_for(asked, subject, &inbox).unwrap_or_default()
    }

    /// Where a request to it goes whose answers come to `inbox`.
    pub(super) fn subject_for(&self, asked: &Asked, subject: &[u8], inbox: &[u8]) -> Option<Vec<u8>> {
        let mut id = inbox.strip_prefix(GATEWAY_INBOX)?.to_vec();
        id.iter_mut().filter(|byte| **byte == b'.').for_each(|byte| *byte = b'-');
        self.settings.mqtt.responders.get(asked.responder_idx)?.request_subject(subject, &id)
    }

    /// The reply subject of the request that is answered at `subject`: that itself, or the one that it stands for
    /// where a client answers by topics alone.
    #[inline]
    pub(super) fn inbox_of<'s>(&self, subject: &'s [u8]) -> Option<Cow<'s, [u8]>> {
        if subject.starts_with(GATEWAY_INBOX) {
            return Some(Cow::Borrowed(subject));
        }
        if self.settings.mqtt.responders.is_empty() {
            None
        } else {
            self.inbox_by_topic(subject).map(Cow::Owned)
        }
    }

    fn inbox_by_topic(&self, subject: &[u8]) -> Option<Vec<u8>> {
        // Of one pair of topics the id may be what is written in another's.
        self.settings.mqtt.responders.iter().find_map(|it| {
            let (core, token) = std::str::from_utf8(it.answered(subject)?).ok()?.split_once('-')?;
            let reply = [GATEWAY_INBOX, core.as_bytes(), b".", token.as_bytes()].concat();
            read_subject(&reply).map(|_| reply)
        })
    }

    /// The core whose client gets an answer, if it names one; or whose outbox the answer must wait for.
    pub(super) fn answer_to(&mut self, subject: &[u8]) -> Result<Option<CoreId>, CoreId> {
        let Some((core, token)) = read_subject(subject) else { return Ok(None) };
        if core == self.core {
            if let Some(onward) = self.goes_on_at(token) {
                let plan = self.plan(&onward.reply)?;
                self.drop_plan(plan);
            }
            return Ok(Some(core));
        }
        match self.peers.get(core.idx()) {
            Some(peer) if peer.outbox.is_full() => Err(core),
            Some(_) => Ok(Some(core)),
            None => Ok(None),
        }
    }

    /// Where an answer is published anew that is not for an MQTT client alone.
    fn goes_on_at(&self, token: u128) -> Option<Onward> {
        match &self.requests.get(token, self.now)?.way {
            Way::Subject(onward) => Some(onward.clone()),
            Way::Topic { .. } => None,
        }
    }

    /// Publishes an answer to a request of an MQTT client, which its caller has counted.
    pub(super) fn carry_out_answer(
        &mut self,
        publisher: ConnectionId,
        message: &Message<'_>,
        to: Option<CoreId>,
        ask: Ask<'_>,
    ) {
        // Who answers is not the author of what goes on, be the request this core's or another's.
        let publisher = Publisher::nobody(publisher);
        let elsewhere = to.filter(|core| *core != self.core);
        let token = read_subject(message.subject).filter(|_| elsewhere.is_none()).map(|(_, token)| token);
        if let Some(onward) = token.and_then(|token| self.goes_on_at(token)) {
            if !self.pass_answer_on(publisher, &onward, message, ask) {
                self.conclude(publisher.id, message, ask, false);
            }
            return self.after_fanout();
        }
        let post = elsewhere.map(|core| Post { core, to_plain: true, groups: Vec::new() });
        let is_taken = elsewhere.is_none() && self.give_answer(message);
        let ticket = self.post(publisher, message, &mut post.into_iter().collect(), ask, is_taken);
        if ticket.is_none() {
            self.conclude(publisher.id, message, ask, is_taken);
        }
        self.after_fanout();
    }

    /// Gives an answer to the client that asked; false where it came too late, or nobody asked, or the client
    /// does not listen.
    pub(super) fn give_answer(&mut self, message: &Message<'_>) -> bool {
        let request = read_subject(message.subject)
            .filter(|(core, _)| *core == self.core)
            .and_then(|(_, token)| self.requests.get(token, self.now));
        let Some(request) = request else {
            self.clients.counters.answers_unasked += 1;
            return false;
        };
        let (topic, correlation) = match &request.way {
            Way::Topic { topic, correlation } => (topic, correlation.as_deref()),
            Way::Subject(onward) => {
                let onward = onward.clone();
                return self.pass_answer_on(ELSEWHERE, &onward, message, Ask::Nothing);
            }
        };
        let mut subject = Vec::new();
        mapping::topic_to_subject(topic, &mut subject);
        let told = told(message, correlation, &mut self.clients.counters.headers_unmappable);
        let answer = Message {
            subject: &subject,
            topic,
            header: b"",
            properties: told.properties().raw(),
            retain: false,
            version: 0,
            run: None,
            ..*message
        };
        let session = self.directory.get(&request.asker);
        let found = self.routes.find(&subject, &self.table, &self.interest);
        let is_own = |target: &&Target| Some(target.connection) == session;
        let targets: Vec<Target> = found.local().iter().filter(is_own).copied().collect();
        let mut fanout = self.clients.begin(&answer, None, targets.len(), self.now);
        self.clients.deliver_to_all(&targets, &mut fanout, &self.settings);
        let is_taken = fanout.is_taken;
        self.clients.end(fanout);
        if !is_taken {
            self.clients.counters.answers_unheard += 1;
        }
        is_taken
    }
}

impl Shard {
    /// Publishes an answer to the reply subject of a request; false where nobody is there to hear it.
    fn pass_answer_on(
        &mut self,
        publisher: Publisher,
        onward: &Onward,
        message: &Message<'_>,
        ask: Ask<'_>,
    ) -> bool {
        let reply = &*onward.reply;
        if !self.routes.has_anybody(reply, &self.table, &self.interest) {
            self.clients.counters.answers_unheard += 1;
            return false;
        }
        let plan = self.plan(reply).unwrap_or_else(|_| {
            // It has come by mail, which is always taken: it is one message more there, and who sent it slows down.
            self.must_stall = true;
            self.plan_anyway(reply)
        });
        let mut answer =
            Message { subject: reply, topic: b"", retain: false, version: 0, run: None, ..*message };
        let told = onward
            .correlation
            .as_deref()
            .map(|data| told(message, Some(data), &mut self.clients.counters.headers_unmappable));
        if let Some(told) = &told {
            answer = Message {
                header: b"",
                digits: Digits::default(),
                properties: told.properties().raw(),
                ..answer
            };
        }
        self.send_out(publisher, &answer, plan, ask);
        true
    }
}

/// What an answer says beside its payload: what the service said, and the correlation data of the request.
fn told(message: &Message<'_>, correlation: Option<&[u8]>, n_unmappable: &mut u64) -> PropertyBlock {
    let mut said = PropertyBlock::new();
    if crossing::has_properties_to_make(message) {
        *n_unmappable += crossing::write_properties(message, &mut said);
    } else {
        said.push_without(Properties::from_checked(message.properties), |_| false);
    }
    let Some(correlation) = correlation else { return said };
    let mut told = PropertyBlock::new();
    // It came with the request, so it fits.
    let _ = told.push(Property::CorrelationData(correlation));
    told.push_without(said.properties(), |it| matches!(it, Property::CorrelationData(_)));
    told
}

#[cfg(test)]
mod tests;
