//! What the gateway publishes itself: under its own names, to whoever subscribes to them, and answers to those
//! who published. It is counted as nobody's. Where an outbox on its way is full it waits itself: news in a
//! bounded queue, and nobody waits for it; answers until they can leave, and publishers who would have more of
//! them wait as well.

use super::closed::Closed;
use super::connection::{Connection, Protocol, SubscriptionKind};
use super::fanout::{Fanout, Publisher};
use super::id::ConnectionId;
use super::input::Served;
use super::publish::{Ask, Plan};
use super::table::Target;
use super::{Door, Shard};
use crate::message::{Message, Origin, ProtocolKind};
use crate::mqtt::packet::Version;
use crate::payload::Payload;
use crate::subject::{SubjectFilter, mapping, tokens};
use crate::time::Time;
use serde_json::json;
use std::collections::VecDeque;

/// The gateway as a publisher under its own names: no connection has this one.
pub const GATEWAY: ConnectionId = ConnectionId { slot: u32::MAX, generation: u32::MAX };

/// The same where it answers at a reply subject.
pub const ANSWERING: ConnectionId = ConnectionId { slot: u32::MAX, generation: u32::MAX - 1 };

/// Nobody's client: who publishes what comes again, late, or in answer.
pub const ANEW: Publisher = Publisher::nobody(ANSWERING);

/// A client of another core, as which nobody here publishes.
pub const ELSEWHERE: Publisher = Publisher::nobody(ConnectionId { slot: u32::MAX, generation: u32::MAX - 2 });

/// Notices that wait for room; those beyond it are dropped.
const NOTICES_MAX: usize = 10_000;

/// Answers that wait, from which on nothing is taken that asks for another. Those that other cores still owe
/// come on top of them.
const ANSWERS_MAX: usize = 1_024;

/// Something to be published when the turn has done its other work.
#[derive(Debug)]
pub struct Notice {
    subject: Vec<u8>,
    payload: Vec<u8>,
    retain: bool,
    is_answer: bool,
}

impl Notice {
    fn answer(reply: &[u8], payload: String) -> Self {
        Self { subject: reply.into(), payload: payload.into_bytes(), retain: false, is_answer: true }
    }
}

/// What publishers are to be told. None of it is ever dropped.
#[derive(Debug, Default)]
pub struct Answers {
    waiting: VecDeque<Notice>,
    /// The first must wait for a full outbox.
    is_blocked: bool,
    /// Publishers that wait until there are fewer.
    held_up: Vec<ConnectionId>,
}

impl Answers {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether another turn lets some leave.
    pub fn goes_on(&self) -> bool {
        !self.is_empty() && !self.is_blocked
    }
}

impl Shard {
    /// Publishes some of what the gateway has to say. A publication may end a subscriber, and that is news
    /// again.
    pub(super) fn publish_notices(&mut self) {
        self.are_notices_blocked = false;
        while self.budget.notices > 0 {
            let Some(notice) = self.notices.pop_front() else { return };
            self.budget.notices -= 1;
            let Ok(plan) = self.plan(&notice.subject) else {
                self.notices.push_front(notice);
                self.are_notices_blocked = true;
                return;
            };
            self.publish_own(&notice, plan);
        }
    }

    /// Tells a NATS publisher what became of a message that it wants acknowledged, in JetStream's words. `seq`
    /// grows, and no two acknowledgements have the same.
    pub(super) fn acknowledge_publish(&mut self, reply: &[u8], is_taken: bool) {
        if !is_taken {
            return self.refuse_publish(reply, 503, "nobody subscribes to the subject");
        }
        self.n_acknowledged += 1;
        let seq = (self.n_acknowledged - 1) * self.settings.n_cores as u64 + u64::from(self.core.0) + 1;
        let payload = json!({ "stream": "strait", "seq": seq }).to_string();
        self.note_taken(Notice::answer(reply, payload));
    }

    /// Tells a NATS publisher why a message is not taken.
    pub(super) fn refuse_publish(&mut self, reply: &[u8], code: u16, description: &str) {
        let error = json!({ "error": { "code": code, "description": description } });
        self.note(Notice::answer(reply, error.to_string()));
    }

    /// Publishes some of the answers, and lets publishers go on where few are left.
    pub(super) fn publish_answers(&mut self) {
        self.answers.is_blocked = false;
        while self.budget.answers > 0
            && let Some(answer) = self.answers.waiting.pop_front()
        {
            self.budget.answers -= 1;
            let Ok(plan) = self.plan(&answer.subject) else {
                self.answers.waiting.push_front(answer);
                self.answers.is_blocked = true;
                break;
            };
            self.publish_own(&answer, plan);
        }
        if self.n_answers() <= ANSWERS_MAX / 2 {
            for id in std::mem::take(&mut self.answers.held_up) {
                if let Some(connection) = self.clients.slots.get_mut(id)
                    && std::mem::replace(&mut connection.awaits_answers, false)
                {
                    connection.heard_at = self.now;
                    self.runnable.push_back(id);
                }
            }
        }
    }

    /// Whether no publish that asks for an answer is taken for now.
    #[inline]
    pub(super) fn are_answers_too_many(&self) -> bool {
        self.n_answers() >= ANSWERS_MAX
    }

    /// Answers that wait for their turn, or for a store.
    #[inline]
    pub(super) fn n_answers(&self) -> usize {
        self.answers.waiting.len() + self.unsaid.n_notices()
    }

    /// Leaves a publish where it is until fewer answers wait.
    #[cold]
    pub(super) fn wait_for_answers(&mut self, id: ConnectionId) -> Served {
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.awaits_answers = true;
            self.answers.held_up.push(id);
        }
        Served::Waiting
    }

    pub(super) fn note(&mut self, notice: Notice) {
        if notice.is_answer {
            self.answers.waiting.push_back(notice);
        } else if self.notices.len() < NOTICES_MAX {
            self.notices.push_back(notice);
        } else {
            self.clients.counters.notices_dropped += 1;
        }
    }

    /// Notes what to publish at a topic of the gateway's.
    pub(super) fn note_topic(&mut self, topic: &[u8], payload: Vec<u8>, retain: bool) {
        let mut subject = Vec::new();
        mapping::topic_to_subject(topic, &mut subject);
        self.note(Notice { subject, payload, retain, is_answer: false });
    }

    fn publish_own(&mut self, notice: &Notice, plan: Plan) {
        let mut message = Message {
            retain: notice.retain,
            ..Message::plain(&notice.subject, Payload::Copied(&notice.payload))
        };
        self.clients.origin = Origin { protocol: ProtocolKind::Mqtt, read_at: self.now };
        if notice.retain && self.retained.is_offered() {
            // One that is not kept comes again.
            let _ = self.retain(GATEWAY, &mut message);
        }
        // Nobody is slowed for it.
        let (must_stall, must_stop) = (self.must_stall, self.must_stop);
        let id = if notice.is_answer { ANSWERING } else { GATEWAY };
        let publisher = Publisher::nobody(id);
        self.send_out(publisher, &message, plan, Ask::Nothing);
        (self.must_stall, self.must_stop) = (must_stall, must_stop);
    }

    /// Gives a message to the plain subscriptions here.
    pub(super) fn deliver_to_plain(
        &mut self,
        publisher: ConnectionId,
        targets: &[Target],
        fanout: &mut Fanout<'_>,
    ) {
        if publisher != GATEWAY && publisher != ANSWERING {
            return self.clients.deliver_to_all(targets, fanout, &self.settings);
        }
        let hears = |target: &&Target| self.hears_gateway(target, publisher);
        let targets: Vec<Target> = targets.iter().filter(hears).copied().collect();
        self.clients.deliver_to_all(&targets, fanout, &self.settings);
    }

    /// Whether a subscription hears what the gateway says as `publisher`. That is not for those that ask for
    /// everything, in either world; an answer is for a requester of NATS whose reply subscription begins with a
    /// `*`.
    pub(super) fn hears_gateway(&self, target: &Target, publisher: ConnectionId) -> bool {
        let subscriptions = self.clients.slots.subscriptions(target.connection);
        let subscription = subscriptions.and_then(|it| it.get(target.subscription));
        subscription.is_some_and(|it| {
            let is_nats = matches!(it.kind, SubscriptionKind::Nats { .. });
            match tokens(self.table.text(it.filter)).next() {
                Some(b">") => false,
                Some(b"*") => publisher == ANSWERING && is_nats,
                _ => true,
            }
        })
    }

    /// A client is there: those who watch hear it.
    pub(super) fn note_connected(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.slots.get_mut(id)
            && self.settings.presence
            && connection.connected_at.is_none()
        {
            connection.connected_at = Some(self.now);
            self.note_presence(id, None);
        }
    }

    /// A client that was there is gone.
    pub(super) fn note_disconnected(&mut self, id: ConnectionId, closed: Closed) {
        self.note_presence(id, Some(closed));
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.connected_at = None;
        }
    }

    fn note_presence(&mut self, id: ConnectionId, closed: Option<Closed>) {
        let Some(connection) = self.clients.slots.get(id) else { return };
        let Some(connected_at) = connection.connected_at else { return };
        let subjects = presence_subjects(&client_id(connection), closed.is_none());
        // Written only where somebody reads it.
        if !subjects.iter().any(|it| self.routes.has_anybody(it, &self.table, &self.interest)) {
            return;
        }
        let payload = self.presence(id, connected_at, closed).into_bytes();
        for subject in subjects {
            self.note(Notice { subject, payload: payload.clone(), retain: false, is_answer: false });
        }
    }

    fn presence(&self, id: ConnectionId, connected_at: Time, closed: Option<Closed>) -> String {
        let Some(connection) = self.clients.slots.get(id) else { return String::new() };
        let (version, name, user) = match &connection.protocol {
            Protocol::Mqtt(mqtt) => {
                let version = match mqtt.version() {
                    Version::V3_1 => "3.1",
                    Version::V3_1_1 => "3.1.1",
                    Version::V5 => "5.0",
                };
                (version.to_owned(), None, mqtt.user().map(String::from_utf8_lossy))
            }
            Protocol::Nats(nats) => {
                let options = nats.options();
                (options.protocol.to_string(), nats.name(), options.user.as_deref().map(Into::into))
            }
        };
        let Door { listener, nth } = connection.door;
        let listener = self.settings.listener_names[listener as usize].get(usize::from(nth));
        let millis = |at: Time| self.settings.started_at_unix_millis + at.as_micros() / 1_000;
        let mut event = json!({
            "client_id": String::from_utf8_lossy(&client_id(connection)),
            "name": name,
            "user": user,
            "protocol": connection.protocol_kind().name(),
            "version": version,
            "listener": listener,
            "address": connection.peer.to_string(),
            "connected_at": millis(connected_at),
        });
        if let Some(closed) = closed {
            event["disconnected_at"] = millis(self.now).into();
            event["reason"] = closed.reason().name().into();
        }
        event.to_string()
    }
}

/// Whether a subject is one of the gateway's own and the filter asks for everything, which does not mean those.
pub fn is_kept_from(filter: &SubjectFilter, subject: &[u8]) -> bool {
    matches!(tokens(filter.as_bytes()).next(), Some(b"*" | b">")) && mapping::is_reserved_for_gateway(subject)
}

/// What a client is called among both kinds: MQTT's identifier, NATS's number.
fn client_id(connection: &Connection) -> Vec<u8> {
    match &connection.protocol {
        Protocol::Mqtt(mqtt) => mqtt.client_id().to_vec(),
        Protocol::Nats(nats) => nats.client_id().to_string().into_bytes(),
    }
}

/// The names under which a client's coming or going is told, as MQTT and as NATS spell them. A client id is
/// one level of them, whatever is in it: what can't be is percent-encoded.
fn presence_subjects(client_id: &[u8], is_connected: bool) -> [Vec<u8>; 2] {
    let mut level = Vec::new();
    for &byte in client_id {
        match byte {
            b'/' | b'+' | b'#' | b'%' => level.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => level.push(byte),
        }
    }
    let [low, high] =
        if is_connected { ["connected", "CONNECTED"] } else { ["disconnected", "DISCONNECTED"] };
    let mut mqtt = Vec::new();
    mapping::topic_to_subject(&[b"$SYS/clients/", &*level, b"/", low.as_bytes()].concat(), &mut mqtt);
    let token = tokens(&mqtt).nth(2).unwrap_or_default();
    let nats = [b"$STRAIT.CLIENT.", token, b".", high.as_bytes()].concat();
    [mqtt, nats]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_one_level_whatever_is_in_it() {
        let spelled = |client_id: &str, is_connected| {
            presence_subjects(client_id.as_bytes(), is_connected)
                .map(|subject| String::from_utf8(subject).expect("it was text"))
        };
        assert_eq!(spelled("a-1", true), ["/24SYS.clients.a-1.connected", "$STRAIT.CLIENT.a-1.CONNECTED"]);
        assert_eq!(
            spelled("a/b.c +#%", false),
            [
                "/24SYS.clients.a%2Fb//c/20%2B%23%25.disconnected",
                "$STRAIT.CLIENT.a%2Fb//c/20%2B%23%25.DISCONNECTED"
            ]
        );
        assert_eq!(spelled("*", true)[1], "$STRAIT.CLIENT./2a.CONNECTED");
    }
}
