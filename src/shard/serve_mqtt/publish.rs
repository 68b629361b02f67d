//! PUBLISH: what may be published, and how it is given to the crossroads.

use crate::message::{Digits, Message, Run};
use crate::mqtt::packet::{Publish, Qos};
use crate::mqtt::reason::Reason;
use crate::mqtt::receipts::Flow;
use crate::payload::{Payload, share_if_large};
use crate::shard::Shard;
use crate::shard::closed::Closed;
use crate::shard::connection::Protocol;
use crate::shard::fanout::Publisher;
use crate::shard::id::ConnectionId;
use crate::shard::input::Served;
use crate::shard::publish::Ask;
use crate::subject::mapping;
use crate::time::Time;

impl Shard {
    pub(super) fn mqtt_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        input: &[u8],
        n_taken: usize,
        now: Time,
    ) -> Served {
        if let Err(reason) = self.judge_publish(id, publish) {
            return self.end(id, Closed::MqttRefused(reason), now);
        }
        let mut subject = std::mem::take(&mut self.subject);
        subject.clear();
        mapping::topic_to_subject(publish.topic, &mut subject);
        let served = self.publish_to(id, publish, &subject, input, n_taken);
        self.subject = subject;
        served
    }

    /// What closes the publisher: nothing of it is accepted and then forgotten.
    fn judge_publish(&self, id: ConnectionId, publish: &Publish<'_>) -> Result<(), Reason> {
        let settings = &self.settings.mqtt;
        if publish.retain {
            return Err(Reason::RetainNotSupported);
        }
        if publish.payload.len() > settings.payload_bytes_max {
            return Err(Reason::PacketTooLarge);
        }
        let n_levels = 1 + memchr::memchr_iter(b'/', publish.topic).count();
        if n_levels > settings.topic_levels_max {
            return Err(Reason::TopicNameInvalid);
        }
        if !publish.properties.raw().is_empty() {
            // We announce a Topic Alias Maximum of 0. [MQTT-3.3.2-9]
            if publish.properties.topic_alias().is_some() {
                return Err(Reason::TopicAliasInvalid);
            }
            // [MQTT-3.3.4-6]
            if publish.properties.subscription_identifiers().next().is_some() {
                return Err(Reason::ProtocolError);
            }
        }
        // Section 3.3.4; one that comes again was counted the first time.
        let is_too_many = publish.qos != Qos::AtMostOnce
            && self.mqtt(id).is_some_and(|mqtt| !mqtt.may_receive_one(publish.qos, publish.packet_id));
        if is_too_many { Err(Reason::ReceiveMaximumExceeded) } else { Ok(()) }
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

    fn publish_to(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        subject: &[u8],
        input: &[u8],
        n_taken: usize,
    ) -> Served {
        let is_acknowledged = publish.qos != Qos::AtMostOnce;
        if mapping::is_reserved_for_gateway(subject) {
            self.clients.counters.denied += 1;
            if is_acknowledged {
                self.with_mqtt(id, |mqtt, out| {
                    mqtt.receive_one();
                    mqtt.receipts.owe_ready(publish.packet_id, publish.qos, Reason::NotAuthorized);
                    mqtt.send_receipts(out);
                });
            }
            return Served::Taken(n_taken);
        }
        let plan = match self.plan(subject) {
            Ok(plan) => plan,
            Err(full) => return self.wait_for_outbox(id, full),
        };
        // In the turn that routes it. [MQTT-4.3.3-8]
        if publish.qos == Qos::ExactlyOnce && self.is_repetition(id, publish.packet_id) {
            return Served::Taken(n_taken);
        }
        if is_acknowledged {
            self.with_mqtt(id, |mqtt, _| mqtt.receive_one());
        }
        let shared = share_if_large(publish.payload);
        let head_len = n_taken - publish.payload.len();
        let run = if shared.is_none() && !is_acknowledged {
            self.run_for(id, &plan, || Run::at_front(input, n_taken, head_len, b""))
        } else {
            None
        };
        let message = Message {
            subject,
            topic: publish.topic,
            reply: b"",
            header: b"",
            digits: Digits::default(),
            properties: publish.properties.raw(),
            payload: shared.as_ref().map_or(Payload::Copied(publish.payload), Payload::Shared),
            quality: publish.qos.quality(),
            run,
        };
        let ask = if is_acknowledged {
            Ask::Receipt { packet_id: publish.packet_id, qos: publish.qos }
        } else {
            Ask::Nothing
        };
        self.carry_out(Publisher { id, hears_itself: true }, &message, plan, ask);
        Served::Taken(run.map_or(n_taken, |run| run.n_bytes()))
    }
}
