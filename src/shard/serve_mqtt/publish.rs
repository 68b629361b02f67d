//! PUBLISH: what may be published, and how it is given to the crossroads.

use crate::message::{GATEWAY_INBOX, Message, ProtocolKind, Run};
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::packet::{Publish, Qos};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::receipts::Flow;
use crate::nats::encode::before_sid_len;
use crate::payload::{Payload, share_if_large};
use crate::shard::Shard;
use crate::shard::closed::{BY_RULE, Closed, NOT_OPEN, Refused};
use crate::shard::connection::Protocol;
use crate::shard::crossing::{self, Identity};
use crate::shard::fanout::Publisher;
use crate::shard::id::ConnectionId;
use crate::shard::input::Served;
use crate::shard::limits::Limit;
use crate::shard::log::Name;
use crate::shard::publish::{Ask, Plan};
use crate::shard::retained::Full;
use crate::subject::mapping;
use crate::time::Time;

/// What else is in the control line of a message with a reply subject, in bytes: a sid, sizes, blanks.
const SID_AND_SIZES_LEN: usize = 64;

/// The longest reply subject that the gateway makes, in bytes.
const INBOX_LEN_MAX: usize = GATEWAY_INBOX.len() + 38;

impl Shard {
    pub(super) fn mqtt_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        input: &[u8],
        n_taken: usize,
        now: Time,
    ) -> Served {
        if let Err(refused) = self.judge_publish(id, publish) {
            return self.end(id, Closed::MqttRefused(refused), now);
        }
        let (told, own);
        let (mut publish, mut input) = (publish, input);
        if self.settings.mqtt.identifies_publishers
            || (!publish.properties.raw().is_empty() && crossing::has_forbidden_property(publish.properties))
        {
            // Each message goes alone: what goes on is not what came.
            told = self.told_properties(id, publish.properties);
            own = Publish { properties: told.properties(), ..*publish };
            (publish, input) = (&own, b"");
        }
        let alias = if publish.properties.raw().is_empty() { None } else { publish.properties.topic_alias() };
        let mut subject = std::mem::take(&mut self.subject);
        subject.clear();
        let served = match alias {
            None => {
                mapping::topic_to_subject(publish.topic, &mut subject);
                self.publish_to(id, publish, &subject, input, n_taken)
            }
            Some(alias) => match self.resolve_alias(id, alias, publish.topic, &mut subject) {
                Ok(()) => self.publish_aliased(id, publish, &subject, input, n_taken),
                Err(refused) => self.end(id, Closed::MqttRefused(refused), now),
            },
        };
        self.subject = subject;
        served
    }

    /// What a client says with its message: with who it is, where that is told, and without what it says of
    /// that itself.
    #[cold]
    fn told_properties(&self, id: ConnectionId, properties: Properties<'_>) -> PropertyBlock {
        let identity = self.mqtt(id).filter(|_| self.settings.mqtt.identifies_publishers).map(identity_of);
        let mut block = PropertyBlock::new();
        crossing::identified(properties, identity.as_ref(), &mut block);
        block
    }

    /// Appends the subject of the topic that an alias stands for.
    fn resolve_alias(
        &mut self,
        id: ConnectionId,
        alias: u16,
        topic: &[u8],
        subject: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let Some(connection) = self.clients.slots.get_mut(id) else { return Ok(()) };
        let Protocol::Mqtt(mqtt) = &mut connection.protocol else { return Ok(()) };
        let n_bytes_before = mqtt.known_topics.n_bytes();
        let limits = &self.settings.mqtt.offer.aliases;
        let topic = mqtt.known_topics.resolve(alias, topic, limits).map_err(|reason| match reason {
            Reason::TopicAliasInvalid => Refused::beyond(Limit::TopicAliases, &self.settings),
            Reason::QuotaExceeded => Refused::beyond(Limit::TopicAliasBytes, &self.settings),
            _ => Refused::against(reason, "its topic alias stands for no topic"),
        })?;
        mapping::topic_to_subject(topic, subject);
        let n_bytes = mqtt.known_topics.n_bytes();
        let counted = &mut self.clients.counters.alias_bytes;
        *counted = *counted + n_bytes as u64 - n_bytes_before as u64;
        Ok(())
    }

    /// An alias is its connection's: nobody else is sent it. [MQTT-3.3.2-7]
    fn publish_aliased(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        subject: &[u8],
        input: &[u8],
        n_taken: usize,
    ) -> Served {
        let mut block = std::mem::take(&mut self.properties);
        block.clear();
        block.push_without(publish.properties, |it| matches!(it, Property::TopicAlias(_)));
        let publish = Publish { topic: b"", properties: block.properties(), ..*publish };
        let served = self.publish_to(id, &publish, subject, input, n_taken);
        self.properties = block;
        served
    }

    /// What closes the publisher: nothing of it is accepted and then forgotten.
    fn judge_publish(&self, id: ConnectionId, publish: &Publish<'_>) -> Result<(), Refused> {
        let settings = &self.settings.mqtt;
        if publish.retain && !self.retained.is_offered() {
            // [MQTT-3.2.2-14]
            return Err(Refused::no_retain());
        }
        if publish.topic.len() > self.settings.limits.topic_bytes_max {
            return Err(Refused::beyond(Limit::Topic, &self.settings));
        }
        let n_levels = 1 + memchr::memchr_iter(b'/', publish.topic).count();
        if n_levels > settings.topic_levels_max {
            return Err(Refused::beyond(Limit::TopicLevels, &self.settings));
        }
        if !publish.properties.raw().is_empty() {
            // [MQTT-3.3.4-6]
            if publish.properties.subscription_identifiers().next().is_some() {
                let rule = "a client's PUBLISH has no subscription identifier";
                return Err(Refused::against(Reason::ProtocolError, rule));
            }
        }
        // Section 3.3.4; one that comes again was counted the first time.
        let is_too_many = publish.qos != Qos::AtMostOnce
            && self.mqtt(id).is_some_and(|mqtt| !mqtt.may_receive_one(publish.qos, publish.packet_id));
        if is_too_many {
            return Err(Refused::beyond(Limit::ReceiveMaximum, &self.settings));
        }
        Ok(())
    }

    /// The run of QoS 1 at the front of `input`: no longer than its publisher may send, and its subscribers
    /// here surely keep.
    fn identified_run<'a>(
        &self,
        id: ConnectionId,
        plan: &Plan,
        input: &'a [u8],
        stride: usize,
        head_len: usize,
    ) -> Option<Run<'a>> {
        let n_length = input.get(1..5)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let topic_at = 1 + n_length;
        let topic_len = u16::from_be_bytes([*input.get(topic_at)?, *input.get(topic_at + 1)?]);
        let packet_id_at = topic_at + 2 + usize::from(topic_len);
        let n_max = self.mqtt(id)?.n_receivable().min(self.n_kept_for_sure(plan, stride)?);
        Run::of_identified(input, stride, head_len, packet_id_at, n_max)
    }

    /// Answers a publish of QoS 2 that was published already; false where it is new, and then it is known
    /// from here on.
    fn is_repetition(&mut self, id: ConnectionId, packet_id: u16) -> bool {
        let Some(connection) = self.clients.slots.get_mut(id) else { return false };
        let Protocol::Mqtt(mqtt) = &mut connection.protocol else { return false };
        let Some(flow) = mqtt.session.unreleased.begin(packet_id) else { return false };
        match flow {
            Flow::Owed => {}
            Flow::Left(ticket) if self.tickets.is_open(ticket) => {
                self.tickets.readdress(ticket, id);
                mqtt.receipts.owe_waiting(packet_id, Qos::ExactlyOnce, ticket);
            }
            Flow::Answered | Flow::Left(_) => {
                mqtt.receipts.owe_ready(packet_id, Qos::ExactlyOnce, Reason::Success);
            }
        }
        self.send_receipts(id);
        true
    }

    /// Says that a message can't be kept, for this limit, where there is a way to say so: it is taken by nobody
    /// then.
    fn refuses(&mut self, id: ConnectionId, publish: &Publish<'_>, limit: Limit) -> bool {
        let is_refused =
            publish.qos != Qos::AtMostOnce && self.mqtt(id).is_some_and(|it| it.version().is_v5());
        if is_refused {
            self.owe_refused(id, publish, limit as u8);
            self.send_receipts(id);
        }
        is_refused
    }

    fn owe_refused(&mut self, id: ConnectionId, publish: &Publish<'_>, why: u8) {
        let reason = Refused::of_publish(why, &self.settings).reason;
        if let Some(mqtt) = self.mqtt_mut(id) {
            mqtt.receipts.owe_refused(publish.packet_id, publish.qos, reason, why);
        }
    }

    /// Version 3 acknowledges what it has no word to refuse with. [MQTT-3.3.5-2] of 3.1.1
    #[cold]
    fn deny_publish(&mut self, id: ConnectionId, publish: &Publish<'_>, subject: &[u8]) {
        self.clients.counters.denied += 1;
        // An alias may stand for it.
        let mut topic = Vec::new();
        mapping::subject_to_topic(subject, &mut topic);
        self.log_refused(id, Name::Topic(&topic), NOT_OPEN, self.now);
        if publish.qos != Qos::AtMostOnce {
            self.with_mqtt(id, |mqtt, _| mqtt.receive(1));
            self.owe_refused(id, publish, BY_RULE);
            self.send_receipts(id);
        }
    }

    fn publish_to(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        subject: &[u8],
        input: &[u8],
        n_taken: usize,
    ) -> Served {
        if mapping::is_reserved_for_gateway(subject) {
            self.deny_publish(id, publish, subject);
            return Served::Taken(n_taken);
        }
        let is_acknowledged = publish.qos != Qos::AtMostOnce;
        if let Some(inbox) = self.inbox_of(subject) {
            return self.mqtt_answer(id, publish, &inbox, n_taken);
        }
        // An answer has been heard when it has come.
        let retain = publish.retain && !mapping::is_inbox(subject);
        let has_way_back = self.way_back(subject, publish.properties);
        let asks = has_way_back == Some(true);
        // What is retained stays where others look for it.
        let responder = if asks && !retain { self.responder_for(subject) } else { None };
        let plan = match self.plan(responder.as_ref().map_or(subject, |it| &it.probe)) {
            Ok(plan) => plan,
            Err(full) => return self.wait_for_outbox(id, full),
        };
        // In the turn that routes it. [MQTT-4.3.3-8]
        if publish.qos == Qos::ExactlyOnce && self.is_repetition(id, publish.packet_id) {
            return Served::Taken(n_taken);
        }
        let shared = share_if_large(publish.payload);
        let head_len = n_taken - publish.payload.len();
        let run = match publish.qos {
            // Where a client may publish only so much its messages are counted one by one.
            _ if shared.is_some() || retain || self.rate_of(true).is_some() => None,
            // The header that is made of them is not in the bound of what a group's member surely takes.
            _ if !plan.groups().is_empty() && !publish.properties.raw().is_empty() => None,
            Qos::AtMostOnce => self.run_for(id, &plan, 0, || Run::at_front(input, n_taken, head_len, b"")),
            Qos::AtLeastOnce => self.identified_run(id, &plan, input, n_taken, head_len),
            Qos::ExactlyOnce => None,
        };
        if is_acknowledged
            && let Some(connection) = self.clients.slots.get_mut(id)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            mqtt.receive(run.map_or(1, |run| run.n()));
        }
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        if has_way_back == Some(false) && self.may_reach_nats(&plan) {
            self.clients.counters.replies_hidden += 1;
        }
        if asks && (responder.is_some() || self.may_reach_nats(&plan)) {
            self.open_request(id, publish.properties, &mut reply);
        }
        let asked = responder.and_then(|it| self.subject_for(&it, subject, &reply));
        let mut message = Message {
            topic: if asked.is_some() { b"" } else { publish.topic },
            reply: &reply,
            properties: publish.properties.raw(),
            quality: publish.qos.quality(),
            retain,
            run,
            ..Message::plain(
                asked.as_deref().unwrap_or(subject),
                Payload::of(publish.payload, shared.as_ref()),
            )
        };
        if retain
            && let Err(Full(limit)) = self.retain(id, &mut message)
            && self.refuses(id, publish, limit)
        {
            self.drop_plan(plan);
            self.reply = reply;
            return Served::Taken(n_taken);
        }
        self.carry_out(Publisher::new(id, true), &message, plan, ask(publish));
        self.reply = reply;
        Served::Taken(run.map_or(n_taken, |run| run.n_bytes()))
    }

    /// Takes an answer, to a request of this client's own kind, that came to it as a request of NATS.
    fn mqtt_answer(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        subject: &[u8],
        n_taken: usize,
    ) -> Served {
        let to = match self.answer_to(subject) {
            Ok(to) => to,
            Err(full) => return self.wait_for_outbox(id, full),
        };
        if publish.qos == Qos::ExactlyOnce && self.is_repetition(id, publish.packet_id) {
            return Served::Taken(n_taken);
        }
        self.with_mqtt(id, |mqtt, _| mqtt.receive(usize::from(publish.qos != Qos::AtMostOnce)));
        let shared = share_if_large(publish.payload);
        let message = Message {
            topic: publish.topic,
            properties: publish.properties.raw(),
            quality: publish.qos.quality(),
            ..Message::plain(subject, Payload::of(publish.payload, shared.as_ref()))
        };
        self.count_published(&message, 0);
        self.carry_out_answer(id, &message, to, ask(publish));
        Served::Taken(n_taken)
    }

    /// Of a publish with a response topic that is open to clients: whether a line with a reply subject can be read.
    #[inline]
    fn way_back(&self, subject: &[u8], properties: Properties<'_>) -> Option<bool> {
        if properties.raw().is_empty() {
            return None;
        }
        let mut reply = Vec::new();
        mapping::topic_to_subject(properties.response_topic()?, &mut reply);
        (!mapping::is_reserved_for_gateway(&reply)).then(|| self.is_readable(subject, INBOX_LEN_MAX))
    }

    fn is_readable(&self, subject: &[u8], reply_len: usize) -> bool {
        let line_len = before_sid_len(subject, true) + reply_len + SID_AND_SIZES_LEN;
        line_len <= self.settings.nats.parse.control_line_bytes_max
    }

    /// The subject at which NATS clients answer a request that is published anew, whoever made it: the response
    /// topic's, where a line with it can be read and it is open to clients.
    pub(in crate::shard) fn reply_to(&self, subject: &[u8], properties: Properties<'_>) -> Vec<u8> {
        let Some(topic) = properties.response_topic() else { return Vec::new() };
        let mut reply = Vec::new();
        mapping::topic_to_subject(topic, &mut reply);
        if !self.is_readable(subject, reply.len()) || mapping::is_reserved_for_gateway(&reply) {
            reply.clear();
        }
        reply
    }
}

/// What a publisher is owed.
fn ask(publish: &Publish<'_>) -> Ask<'static> {
    match publish.qos {
        Qos::AtMostOnce => Ask::Nothing,
        qos => Ask::Receipt { packet_id: publish.packet_id, qos },
    }
}

fn identity_of(mqtt: &Mqtt) -> Identity<'_> {
    let user = mqtt.user().unwrap_or_default();
    Identity { client_id: mqtt.client_id(), user, protocol: ProtocolKind::Mqtt }
}
