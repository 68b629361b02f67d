//! What an MQTT client's packets do.

use super::Shard;
use super::closed::Closed;
use super::connection::{Life, Protocol, Subscription, SubscriptionKind};
use super::fanout::Publisher;
use super::id::ConnectionId;
use super::input::Served;
use super::publish::Ask;
use crate::message::{Digits, Message, Quality, Run};
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::decode::{Decoded, decode};
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{
    Connect, Packet, Publish, Qos, Suback, Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use crate::mqtt::property::Properties;
use crate::mqtt::reason::Reason;
use crate::payload::{Payload, share_if_large};
use crate::subject::mapping::{self, map_topic_filter};
use crate::time::Time;

/// PUBACKs that a client may be owed at once: our Receive Maximum, which we leave at its default.
const RECEIPTS_MAX: usize = u16::MAX as usize;

impl Shard {
    /// Takes the first packet of `input`, if it is whole and may be taken now.
    pub(super) fn serve_mqtt(&mut self, id: ConnectionId, input: &[u8], now: Time) -> Served {
        let Some(connection) = self.clients.slots.get_mut(id) else { return Served::Ended };
        // The packet before may have ended it: by what it delivered to its own client.
        if !connection.is_open() {
            return Served::Ended;
        }
        if connection.chokes(self.settings.write_queue_bytes_max) {
            return Served::Waiting;
        }
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return Served::Ended };
        let is_fenced = connection.fence.is_some();
        let is_connected = mqtt.is_connected();
        // The first byte tells a stranger, before anything is kept for it.
        if !is_connected && input.first().is_some_and(|first| first >> 4 != 1) {
            return self.end(id, Closed::NotConnect, now);
        }
        let (packet, n_taken) = match decode(input, mqtt.version(), &self.settings.mqtt.decode) {
            Ok(Decoded::Packet(packet, n_taken)) => (packet, n_taken),
            Ok(Decoded::Incomplete { need }) => return Served::Incomplete { need },
            Err(_) if is_fenced => return Served::Waiting,
            Err(malformed) => {
                if !is_connected {
                    self.refuse_malformed_connect(id, input, malformed);
                }
                return self.end(id, Closed::Mqtt(malformed), now);
            }
        };
        if is_fenced && !matches!(packet, Packet::Subscribe(_) | Packet::Unsubscribe(_)) {
            return Served::Waiting;
        }
        match packet {
            Packet::Connect(_) if is_connected => {
                self.end(id, Closed::MqttRefused(Reason::ProtocolError), now)
            }
            Packet::Connect(connect) => self.mqtt_connect(id, &connect, n_taken, now),
            Packet::Publish(publish) => self.mqtt_publish(id, &publish, input, n_taken, now),
            packet => self.mqtt_other(id, packet, n_taken, now),
        }
    }

    fn mqtt_other(&mut self, id: ConnectionId, packet: Packet<'_>, n_taken: usize, now: Time) -> Served {
        match packet {
            Packet::Puback(ack) => {
                self.with_mqtt(id, |mqtt, _| {
                    mqtt.inflight.acknowledge(ack.packet_id);
                });
                self.clients.send_waiting(id, &self.settings);
                self.end_stalls_of_pressed(id, now);
            }
            Packet::Subscribe(subscribe) => return self.mqtt_subscribe(id, &subscribe, n_taken, now),
            Packet::Unsubscribe(unsubscribe) => self.mqtt_unsubscribe(id, &unsubscribe),
            Packet::Pingreq => self.with_mqtt(id, |_, out| encode::pingresp(out)),
            // Left over from a session elsewhere: nothing of QoS 2 is under way here. The handshake ends.
            Packet::Pubrel(ack) => {
                self.answer_stray(id, AckKind::Pubcomp, ack.packet_id);
            }
            Packet::Pubrec(ack) => {
                self.answer_stray(id, AckKind::Pubrel, ack.packet_id);
            }
            Packet::Pubcomp(_) => {}
            Packet::Disconnect(_) => return self.end(id, Closed::ByPeer, now),
            // [MQTT-4.8.0-1] and enhanced authentication, which is refused in CONNECT.
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::Auth(_) => return self.end(id, Closed::MqttRefused(Reason::ProtocolError), now),
        }
        Served::Taken(n_taken)
    }

    fn end(&mut self, id: ConnectionId, closed: Closed, now: Time) -> Served {
        self.close(id, closed, now);
        Served::Ended
    }

    fn with_mqtt(&mut self, id: ConnectionId, answer: impl FnOnce(&mut Mqtt, &mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.answer);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            answer(mqtt, &mut out);
        }
        self.send_answer(id, out);
    }

    fn answer_stray(&mut self, id: ConnectionId, kind: AckKind, packet_id: u16) {
        self.with_mqtt(id, |mqtt, out| {
            encode::bare_ack(out, mqtt.version(), kind, packet_id, Reason::PacketIdentifierNotFound);
        });
    }

    /// A CONNECT that can't be read is answered in the client's version, as far as it can be told.
    fn refuse_malformed_connect(&mut self, id: ConnectionId, input: &[u8], malformed: Malformed) {
        let version = match malformed {
            // [MQTT-3.1.2-1] lets a server close on a name that is not MQTT's at all.
            Malformed::UnknownProtocol => return,
            Malformed::UnsupportedVersion(level) if level > Version::V5.level() => Version::V5,
            Malformed::UnsupportedVersion(_) => Version::V3_1_1,
            _ if connect_level(input) == Some(Version::V5.level()) => Version::V5,
            // MQTT 3 has no word for it.
            _ => return,
        };
        self.with_mqtt(id, |_, out| Mqtt::refuse(version, malformed.reason(), out));
    }

    fn mqtt_connect(&mut self, id: ConnectionId, connect: &Connect<'_>, n_taken: usize, now: Time) -> Served {
        let home = self.home(connect.client_id);
        let Some(connection) = self.clients.slots.get_mut(id) else { return Served::Ended };
        if home != self.core && !connection.is_home {
            connection.life = Life::Leaving(home);
            self.clients.effects.depart.push((id, home));
            return Served::Waiting;
        }
        connection.is_home = true;
        if let Err(reason) = Mqtt::judge_connect(connect) {
            self.with_mqtt(id, |_, out| Mqtt::refuse(connect.version, reason, out));
            return self.end(id, Closed::MqttConnect(reason), now);
        }
        let assigned = connect.client_id.is_empty().then(|| self.new_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let offer = self.settings.mqtt.offer;
        if self.is_outdated(id, client_id) {
            // As if it had come in time: it is let in, and its successor takes over.
            self.with_mqtt(id, |mqtt, out| mqtt.accept(connect, client_id, &offer, out));
            self.clients.counters.taken_over += 1;
            return self.end(id, Closed::TakenOver, now);
        }
        if let Some(other) = self.directory.insert(client_id.into(), id)
            && other != id
        {
            self.clients.counters.taken_over += 1;
            self.close(other, Closed::TakenOver, now);
        }
        self.with_mqtt(id, |mqtt, out| mqtt.accept(connect, client_id, &offer, out));
        self.check_deadlines(id, now);
        Served::Taken(n_taken)
    }

    /// Whether a connection that was accepted later has this client id already. The CONNECTs of two that were
    /// accepted on different cores may come home in either order, and the client waits on its last one.
    fn is_outdated(&self, id: ConnectionId, client_id: &[u8]) -> bool {
        let nth = |id| self.clients.slots.get(id).map(|connection| connection.nth);
        self.directory.get(client_id).is_some_and(|holder| nth(*holder) > nth(id))
    }

    fn mqtt_publish(
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
        if publish.qos == Qos::ExactlyOnce {
            return Err(Reason::QosNotSupported);
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
        let owes_too_many = self.clients.slots.get(id).is_some_and(|connection| {
            matches!(&connection.protocol, Protocol::Mqtt(mqtt) if mqtt.receipts.len() >= RECEIPTS_MAX)
        });
        if owes_too_many { Err(Reason::ReceiveMaximumExceeded) } else { Ok(()) }
    }

    fn publish_to(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        subject: &[u8],
        input: &[u8],
        n_taken: usize,
    ) -> Served {
        let is_acknowledged = publish.qos == Qos::AtLeastOnce;
        if mapping::is_reserved_for_gateway(subject) {
            self.clients.counters.denied += 1;
            if is_acknowledged {
                self.with_mqtt(id, |mqtt, out| {
                    mqtt.receipts.owe_ready(publish.packet_id, Reason::NotAuthorized);
                    mqtt.send_receipts(out);
                });
            }
            return Served::Taken(n_taken);
        }
        let plan = match self.plan(subject) {
            Ok(plan) => plan,
            Err(full) => return self.wait_for_outbox(id, full),
        };
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
            quality: if is_acknowledged { Quality::AtLeastOnce } else { Quality::AtMostOnce },
            run,
        };
        let ask = if is_acknowledged { Ask::Receipt { packet_id: publish.packet_id } } else { Ask::Nothing };
        self.carry_out(Publisher { id, hears_itself: true }, &message, plan, ask);
        Served::Taken(run.map_or(n_taken, |run| run.n_bytes()))
    }

    fn mqtt_subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        n_taken: usize,
        now: Time,
    ) -> Served {
        if subscribe.properties.subscription_identifiers().next().is_some() {
            return self.end(id, Closed::MqttRefused(Reason::SubscriptionIdentifiersNotSupported), now);
        }
        let mut codes = Vec::new();
        for (filter, options) in subscribe.filters.iter() {
            let reason = self.mqtt_subscribe_one(id, filter, options);
            codes.push(reason);
        }
        self.stamp(id);
        self.with_mqtt(id, |mqtt, out| {
            let version = mqtt.version();
            let codes: Vec<u8> = codes.iter().map(|reason| suback_code(version, *reason)).collect();
            let suback =
                Suback { packet_id: subscribe.packet_id, properties: Properties::EMPTY, codes: &codes };
            encode::suback(out, version, &suback).expect("as many codes as filters came fit a packet");
        });
        Served::Taken(n_taken)
    }

    fn mqtt_subscribe_one(&mut self, id: ConnectionId, filter: &[u8], options: SubscribeOptions) -> Reason {
        if filter.strip_prefix(b"$share").is_some_and(|rest| matches!(rest, [] | [b'/', ..])) {
            return Reason::SharedSubscriptionsNotSupported;
        }
        let n_levels = 1 + memchr::memchr_iter(b'/', filter).count();
        let Ok(mapped) = map_topic_filter(filter) else { return Reason::TopicFilterInvalid };
        if n_levels > self.settings.mqtt.topic_levels_max {
            return Reason::TopicFilterInvalid;
        }
        let quality = if options.qos == Qos::AtMostOnce { Quality::AtMostOnce } else { Quality::AtLeastOnce };
        let granted = if quality == Quality::AtMostOnce { Reason::Success } else { Reason::GrantedQos1 };
        let kind = SubscriptionKind::Mqtt {
            topic_filter: filter.into(),
            quality,
            no_local: options.no_local,
            begins_with_wildcard: mapped.begins_with_wildcard,
        };
        let Some(connection) = self.clients.slots.get_mut(id) else { return Reason::UnspecifiedError };
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return Reason::UnspecifiedError };
        let known = mqtt.subscription(filter).or_else(|| given_up_with_filter(connection, filter));
        // [MQTT-3.8.4-3]: the same filter again replaces its subscription.
        if let Some(key) = known {
            if let Some(subscription) = connection.subscriptions.get_mut(key) {
                subscription.kind = kind;
                if subscription.is_given_up {
                    self.take_back_subscription(id, key);
                }
            }
            self.with_mqtt(id, |mqtt, _| mqtt.subscribed(filter, key));
            return granted;
        }
        let subscriptions_max = self.settings.mqtt.subscriptions_max;
        if subscriptions_max > 0 && mqtt.n_subscriptions() >= subscriptions_max {
            return Reason::QuotaExceeded;
        }
        let subscription =
            Subscription { filter: mapped.filter, parent: mapped.parent, kind, is_given_up: false };
        let key = self.begin_subscription(id, subscription);
        self.with_mqtt(id, |mqtt, _| key.into_iter().for_each(|key| mqtt.subscribed(filter, key)));
        granted
    }

    fn mqtt_unsubscribe(&mut self, id: ConnectionId, unsubscribe: &Unsubscribe<'_>) {
        let mut codes = Vec::new();
        for filter in unsubscribe.filters.iter() {
            let mut key = None;
            self.with_mqtt(id, |mqtt, _| {
                key = mqtt.subscription(filter);
                key.into_iter().for_each(|key| mqtt.unsubscribed(filter, key));
            });
            codes.push(match key {
                Some(key) => {
                    self.give_up_subscription(id, key);
                    Reason::Success.code()
                }
                None => Reason::NoSubscriptionExisted.code(),
            });
        }
        self.stamp(id);
        self.with_mqtt(id, |mqtt, out| {
            let codes: &[u8] = if mqtt.version().is_v5() { &codes } else { &[] };
            let unsuback = Suback { packet_id: unsubscribe.packet_id, properties: Properties::EMPTY, codes };
            encode::unsuback(out, mqtt.version(), &unsuback)
                .expect("as many codes as filters came fit a packet");
        });
    }
}

/// A subscription to `filter` that ends with the fence.
fn given_up_with_filter(connection: &super::connection::Connection, filter: &[u8]) -> Option<u32> {
    let has_filter = |key: &&u32| {
        connection.subscriptions.get(**key).is_some_and(|subscription| {
            matches!(&subscription.kind, SubscriptionKind::Mqtt { topic_filter, .. } if **topic_filter == *filter)
        })
    };
    connection.given_up.iter().find(has_filter).copied()
}

/// MQTT 3 has one word for every failure. [MQTT-3.9.3-2]
fn suback_code(version: Version, reason: Reason) -> u8 {
    if version.is_v5() || !reason.is_failure() { reason.code() } else { Reason::UnspecifiedError.code() }
}

/// The level that a CONNECT gives after its protocol name, however broken the rest is.
fn connect_level(input: &[u8]) -> Option<u8> {
    let n_length = input.get(1..5)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let name = input.get(1 + n_length..)?;
    let name_len = usize::from(u16::from_be_bytes([*name.first()?, *name.get(1)?]));
    name.get(2 + name_len).copied()
}
