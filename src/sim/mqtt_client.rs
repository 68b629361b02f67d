//! An MQTT client, 3.1.1 or 5.0: sends packets of the small alphabet, acknowledges at once, late or out of
//! order, and holds the gateway to its packet identifiers, its window and the order of its answers.

mod publishing;

use super::client::Scene;
use super::faults::{Check, Kind, Violation, broken};
use super::own::Came;
use super::record::{Known, Subscription, Terms};
use super::retained::Request;
use super::scenario::{
    GROUPS, PRESENCE_TOPIC_FILTERS, RESPONDER_TOPIC_FILTERS, SHARED_FILTERS, TOPIC_FILTERS,
};
use crate::message::Quality;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::packet::{
    Connect, Disconnect, Filters, Packet, Publish, Qos, RetainHandling, Subscribe, SubscribeOptions,
    Unsubscribe, UnsubscribeFilters, Version,
};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::share::Wanted;
use crate::subject::mapping::{self, map_topic_filter};
use std::collections::VecDeque;

#[derive(Debug)]
pub struct MqttClient {
    pub version: Version,
    pub client_id: String,
    keep_alive_secs: u16,
    receive_maximum: u16,
    unread: Vec<u8>,
    /// Packets sent whose answers keep their order, and publishes of QoS 0 between them.
    pub sent: VecDeque<Sent>,
    /// Publishes of QoS 1 without PUBACK, oldest first.
    receipts: VecDeque<(u16, usize)>,
    /// Messages of QoS 1 that came and are not acknowledged.
    unacknowledged: Vec<u16>,
    next_packet_id: u16,
    /// Filter and the oracle's number.
    subscriptions: Vec<(&'static str, usize)>,
    /// Response topics of requests of NATS, and whether they have correlation data.
    asked: Vec<(Vec<u8>, bool)>,
    /// Requests that came by topic alone, by the oracle's number.
    asked_by_topic: Vec<usize>,
    has_left: bool,
    was_dismissed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Connect,
    /// The oracle's number and the place in its terms, per filter.
    Subscribe(u16, Vec<(usize, usize, Qos)>),
    /// The oracle's number where the filter was known, per filter.
    Unsubscribe(u16, Vec<Option<usize>>),
    Publish(usize),
    Ping,
}

impl MqttClient {
    pub fn new(scene: &mut super::chance::Chance, n_client_ids: usize) -> Self {
        let receive_maximum = *scene.pick(&[1, 2, 5, 65_535]);
        Self {
            version: if scene.one_in(2) { Version::V5 } else { Version::V3_1_1 },
            client_id: format!("m{}", scene.below(n_client_ids)),
            keep_alive_secs: *scene.pick(&[0, 5]),
            receive_maximum,
            unread: Vec::new(),
            sent: VecDeque::new(),
            receipts: VecDeque::new(),
            unacknowledged: Vec::new(),
            next_packet_id: 1,
            subscriptions: Vec::new(),
            asked: Vec::new(),
            asked_by_topic: Vec::new(),
            has_left: false,
            was_dismissed: false,
        }
    }

    pub fn connect(&mut self, scene: &mut Scene<'_>) {
        let mut block = PropertyBlock::new();
        if self.version.is_v5() {
            block.push(Property::ReceiveMaximum(self.receive_maximum)).expect("it is not 0");
        } else {
            self.receive_maximum = u16::MAX;
        }
        let listener = &mut scene.oracle.listeners[scene.connection];
        listener.is_mqtt = true;
        listener.name = self.client_id[1..].parse().ok();
        listener.takes_header = self.version.is_v5();
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_secs: self.keep_alive_secs,
            client_id: self.client_id.as_bytes(),
            will: None,
            username: None,
            password: None,
            properties: block.properties(),
        };
        encode::connect(scene.out, &connect).expect("all of it is short");
        self.sent.push_back(Sent::Connect);
    }

    pub fn act(&mut self, scene: &mut Scene<'_>) -> &'static str {
        if self.has_left {
            return "nothing";
        }
        if !self.asked.is_empty() && scene.chance.one_in(3) {
            return self.answer(scene);
        }
        if !self.asked_by_topic.is_empty() && scene.chance.one_in(3) {
            return self.answer_by_topic(scene);
        }
        match scene.chance.weighted(&scene.scenario.mqtt_ops) {
            1 if scene.scenario.watches_presence && scene.chance.one_in(4) => {
                self.subscribe(scene, &PRESENCE_TOPIC_FILTERS)
            }
            1 if scene.scenario.has_responders() && scene.chance.one_in(3) => {
                self.subscribe(scene, &RESPONDER_TOPIC_FILTERS)
            }
            1 => self.subscribe(scene, &TOPIC_FILTERS),
            6 => self.subscribe(scene, &SHARED_FILTERS),
            2 => self.unsubscribe(scene),
            3 => self.acknowledge_any(scene),
            4 => {
                self.ping(scene);
                "PINGREQ"
            }
            5 if scene.chance.one_in(8) => {
                let disconnect = Disconnect { reason: Reason::Success, properties: Properties::EMPTY };
                encode::disconnect(scene.out, self.version, &disconnect).expect("all of it is short");
                self.has_left = true;
                "DISCONNECT"
            }
            _ => self.publish(scene),
        }
    }

    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// Whether it promised to be heard of, or was told to.
    pub fn is_watched(&self, keep_alive_secs_max: u16) -> bool {
        self.keep_alive_secs > 0 || (self.version.is_v5() && keep_alive_secs_max > 0)
    }

    pub fn come_to_rest(&mut self, scene: &mut Scene<'_>) {
        while !self.unacknowledged.is_empty() {
            self.acknowledge_any(scene);
        }
        if !self.has_left {
            self.ping(scene);
        }
    }

    fn packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id % 60_000 + 1;
        self.next_packet_id
    }

    fn subscribe(&mut self, scene: &mut Scene<'_>, choice: &[&'static str]) -> &'static str {
        let packet_id = self.packet_id();
        let mut filters = Vec::new();
        let mut entered = Vec::new();
        for _ in 0..scene.chance.between(1, 3) {
            let filter = *scene.chance.pick(choice);
            let wanted = Wanted::parse(filter.as_bytes()).expect("the alphabet has only filters");
            let is_shared = wanted.group.is_some();
            let qos = *scene.chance.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
            let no_local = self.version.is_v5() && !is_shared && scene.chance.one_in(4);
            let retain_as_published = self.version.is_v5() && scene.chance.one_in(4);
            let retain_handling = match scene.chance.below(4) {
                1 if self.version.is_v5() => RetainHandling::SendIfNew,
                2 if self.version.is_v5() => RetainHandling::DoNotSend,
                _ => RetainHandling::Send,
            };
            let options = SubscribeOptions { qos, no_local, retain_as_published, retain_handling };
            filters.push((filter.as_bytes(), options));
            let quality = qos.quality();
            let known = Known::sent(scene.oracle.now);
            let terms = Terms { known, quality, hears_itself: !no_local, retain_as_published };
            let new = self.enter(filter, terms, qos, scene);
            let (subscription, place) = (new.0, new.1);
            let wants_retained = retain_handling == RetainHandling::Send
                || (retain_handling == RetainHandling::SendIfNew && place == 0);
            if wants_retained && !is_shared {
                scene.oracle.requests.push(Request { subscription, place });
            }
            entered.push(new);
        }
        let filters = Filters::from_list(&filters);
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
        encode::subscribe(scene.out, self.version, &subscribe).expect("all of it is short");
        self.sent.push_back(Sent::Subscribe(packet_id, entered));
        "SUBSCRIBE"
    }

    fn enter(
        &mut self,
        filter: &'static str,
        terms: Terms,
        qos: Qos,
        scene: &mut Scene<'_>,
    ) -> (usize, usize, Qos) {
        if let Some((_, number)) = self.subscriptions.iter().find(|(other, _)| *other == filter) {
            let list = &mut scene.oracle.subscriptions[*number].terms;
            list.push(terms);
            return (*number, list.len() - 1, qos);
        }
        let wanted = Wanted::parse(filter.as_bytes()).expect("the alphabet has only filters");
        let mapped = map_topic_filter(wanted.filter).expect("the alphabet has only filters");
        let is_name = |name: &&&'static str| wanted.group == Some(name.as_bytes());
        scene.oracle.subscriptions.push(Subscription {
            ear: (scene.connection, None),
            filters: [mapped.filter].into_iter().chain(mapped.parent).collect(),
            group: GROUPS.iter().find(is_name).copied(),
            begins_with_wildcard: wanted.filter.starts_with(b"+") || wanted.filter.starts_with(b"#"),
            terms: vec![terms],
            end: None,
            max: None,
            n_heard: 0,
            is_superseded: false,
        });
        let number = scene.oracle.subscriptions.len() - 1;
        self.subscriptions.push((filter, number));
        (number, 0, qos)
    }

    fn unsubscribe(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let packet_id = self.packet_id();
        let mut filters = Vec::new();
        let mut ended = Vec::new();
        for _ in 0..scene.chance.between(1, 2) {
            let filter = match self.subscriptions.is_empty() || scene.chance.one_in(5) {
                true => *scene.chance.pick(&TOPIC_FILTERS),
                false => scene.chance.pick(&self.subscriptions).0,
            };
            filters.push(filter.as_bytes());
            let place = self.subscriptions.iter().position(|(other, _)| *other == filter);
            let number = place.map(|place| self.subscriptions.swap_remove(place).1);
            if let Some(number) = number {
                scene.oracle.subscriptions[number].end = Some(Known::sent(scene.oracle.now));
            }
            ended.push(number);
        }
        let filters = UnsubscribeFilters::from_list(&filters);
        let unsubscribe = Unsubscribe { packet_id, properties: Properties::EMPTY, filters };
        encode::unsubscribe(scene.out, self.version, &unsubscribe).expect("all of it is short");
        self.sent.push_back(Sent::Unsubscribe(packet_id, ended));
        "UNSUBSCRIBE"
    }

    fn ping(&mut self, scene: &mut Scene<'_>) {
        encode::pingreq(scene.out);
        self.sent.push_back(Sent::Ping);
    }

    fn acknowledge_any(&mut self, scene: &mut Scene<'_>) -> &'static str {
        if self.unacknowledged.is_empty() || self.has_left {
            self.unacknowledged.clear();
            return "nothing";
        }
        let packet_id = self.unacknowledged.swap_remove(scene.chance.below(self.unacknowledged.len()));
        encode::bare_ack(scene.out, self.version, AckKind::Puback, packet_id, Reason::Success);
        "PUBACK"
    }

    pub fn hear(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Check {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut n_read = 0;
        loop {
            match decode(&unread[n_read..], self.version, &Limits::NONE) {
                Ok(Decoded::Packet(packet, n)) => {
                    self.take(&packet, scene)?;
                    n_read += n;
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(malformed) => return scene.unexpected(&format!("{malformed:?}")),
            }
        }
        unread.drain(..n_read);
        self.unread = unread;
        Ok(())
    }

    fn take(&mut self, packet: &Packet<'_>, scene: &mut Scene<'_>) -> Check {
        // A refusal would be one too: the world sends nothing that may be refused.
        let is_connack = matches!(packet, Packet::Connack(_));
        if self.was_dismissed {
            return scene.unexpected(&format!("{packet:?} after DISCONNECT"));
        }
        if is_connack != self.sent.contains(&Sent::Connect) {
            return scene.unexpected(&format!("{packet:?} before CONNACK or twice"));
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are answers in order, or wrong")]
        match packet {
            Packet::Publish(publish) => self.take_publish(publish, scene),
            Packet::Puback(ack) => {
                let Some((packet_id, number)) = self.receipts.pop_front() else {
                    return scene.unexpected("PUBACK for nothing");
                };
                let is_known = matches!(ack.reason, Reason::Success | Reason::NoMatchingSubscribers);
                if packet_id != ack.packet_id || !is_known {
                    return scene.unexpected(&format!("{ack:?} where {packet_id} was due"));
                }
                scene.oracle.listeners[scene.connection].is_served = true;
                scene.oracle.kept(number, ack.reason);
                Ok(())
            }
            Packet::Disconnect(disconnect) if self.version.is_v5() => {
                self.was_dismissed = true;
                let may = matches!(disconnect.reason, Reason::SessionTakenOver | Reason::UnspecifiedError)
                    || (disconnect.reason == Reason::ServerShuttingDown && scene.is_leaving)
                    || (disconnect.reason == Reason::QuotaExceeded && !scene.scenario.is_roomy)
                    || (disconnect.reason == Reason::KeepAliveTimeout && scene.may_be_lost);
                if may { Ok(()) } else { scene.unexpected(&format!("{disconnect:?}")) }
            }
            _ => self.take_answer(packet, scene),
        }
    }

    fn take_answer(&mut self, packet: &Packet<'_>, scene: &mut Scene<'_>) -> Check {
        // A CONNACK may be the last that a client hears whose successor has come before it.
        scene.oracle.listeners[scene.connection].is_served |= !matches!(packet, Packet::Connack(_));
        loop {
            let sent = self.sent.pop_front();
            if let Some(Sent::Publish(number)) = sent {
                scene.oracle.handled(number);
                continue;
            }
            return match (packet, sent) {
                (Packet::Connack(connack), Some(Sent::Connect)) if connack.reason == Reason::Success => {
                    Ok(())
                }
                (Packet::Pingresp, Some(Sent::Ping)) => Ok(()),
                (Packet::Suback(ack), Some(Sent::Subscribe(packet_id, entered)))
                    if ack.packet_id == packet_id =>
                {
                    confirm_subscribe(ack.codes, &entered, scene)
                }
                (Packet::Unsuback(ack), Some(Sent::Unsubscribe(packet_id, ended)))
                    if ack.packet_id == packet_id =>
                {
                    confirm_unsubscribe(self.version, ack.codes, &ended, scene)
                }
                (packet, sent) => scene.unexpected(&format!("{packet:?} for {sent:?}")),
            };
        }
    }

    fn take_publish(&mut self, publish: &Publish<'_>, scene: &mut Scene<'_>) -> Check {
        if let Some(number) = scene.own_at_topic(publish.topic, publish.payload) {
            let is_marked = publish.retain || publish.qos != Qos::AtMostOnce;
            let ear = (scene.connection, None);
            return scene.hear_own(number, &Came { ear, payload: publish.payload, header: None, is_marked });
        }
        if publish.payload.is_empty() {
            return self.take_clear(publish, scene);
        }
        let number = scene.recognise(publish.payload)?;
        let publication = &scene.oracle.publications[number];
        let is_from_mqtt = scene.oracle.listeners[publication.by].is_mqtt;
        let properties =
            if self.version.is_v5() { publication.properties_told(is_from_mqtt) } else { Vec::new() };
        let is_same = publish.properties.raw() == properties && !publish.dup;
        let mut subject = Vec::new();
        mapping::topic_to_subject(publish.topic, &mut subject);
        let is_same = is_same && scene.oracle.may_be_named(number, &subject, b"");
        if !is_same {
            let what = scene.oracle.describe(number);
            let what = format!("{}: {publish:?} differs from {what}", scene.connection);
            return broken(Kind::Content, what);
        }
        if let Some(topic) = publish.properties.response_topic()
            && !is_from_mqtt
        {
            self.asked.push((topic.to_vec(), publish.properties.correlation_data().is_some()));
        }
        if scene.oracle.publications[number].was_asked_by_topic() {
            self.asked_by_topic.push(number);
        }
        let quality = self.take_quality(publish, scene)?;
        let ear = (scene.connection, None);
        let as_published = self.may_be_flagged(number, scene);
        let is_replay = publish.retain
            && match scene.oracle.replayed(ear, number, quality) {
                Ok(()) => true,
                Err(_) if as_published => false,
                Err(violation) => return Err(violation),
            };
        if !is_replay {
            // What was taken for its replay may have been this one.
            if publish.retain {
                let by = scene.oracle.publications[number].by;
                scene.oracle.forget_order(ear, by);
            }
            scene.oracle.heard(ear, number, quality)?;
        }
        self.after_publish(scene);
        Ok(())
    }

    /// Whether some subscription of this client leaves a publication its retain flag.
    fn may_be_flagged(&self, number: usize, scene: &Scene<'_>) -> bool {
        let publication = &scene.oracle.publications[number];
        scene.oracle.subscriptions.iter().any(|it| {
            let flags = it.terms.iter().any(|terms| terms.retain_as_published);
            it.ear.0 == scene.connection && flags && scene.oracle.concerns(it, publication)
        })
    }

    /// What clears a retained message comes live only, and its like can't be told apart.
    fn take_clear(&mut self, publish: &Publish<'_>, scene: &mut Scene<'_>) -> Check {
        let mut subject = Vec::new();
        mapping::topic_to_subject(publish.topic, &mut subject);
        if !scene.is_clear(|it| it == subject) || publish.dup {
            return scene.unexpected("a message without payload that nobody sent");
        }
        self.take_quality(publish, scene)?;
        scene.oracle.n_clears += 1;
        self.after_publish(scene);
        Ok(())
    }

    fn after_publish(&mut self, scene: &mut Scene<'_>) {
        if scene.is_calm || !scene.scenario.acknowledges_late {
            self.acknowledge_any(scene);
        }
    }

    fn take_quality(&mut self, publish: &Publish<'_>, scene: &Scene<'_>) -> Result<Quality, Violation> {
        let unexpected = |what: &str| match scene.unexpected(what) {
            Err(violation) => violation,
            Ok(()) => unreachable!("it complains"),
        };
        let quality = match publish.qos {
            Qos::AtMostOnce => Quality::AtMostOnce,
            Qos::AtLeastOnce => Quality::AtLeastOnce,
            Qos::ExactlyOnce => return Err(unexpected("QoS 2")),
        };
        if quality == Quality::AtLeastOnce {
            if self.unacknowledged.contains(&publish.packet_id) {
                return Err(unexpected(&format!("packet identifier {} in use", publish.packet_id)));
            }
            self.unacknowledged.push(publish.packet_id);
            let window = self.receive_maximum.min(scene.scenario.settings.mqtt.offer.inflight_max);
            if self.unacknowledged.len() > usize::from(window) {
                return Err(unexpected(&format!("more than {window} unacknowledged")));
            }
        }
        Ok(quality)
    }

    pub fn waits_for(&self) -> Option<String> {
        if self.has_left {
            return None;
        }
        let receipt = self.receipts.front().map(|(packet_id, _)| format!("PUBACK {packet_id}"));
        let rest = (!self.unread.is_empty()).then(|| "the rest of a packet".to_owned());
        self.sent.front().map(|sent| format!("an answer to {sent:?}")).or(receipt).or(rest)
    }
}

fn confirm_subscribe(codes: &[u8], entered: &[(usize, usize, Qos)], scene: &mut Scene<'_>) -> Check {
    let granted: Vec<u8> = entered.iter().map(|(_, _, qos)| *qos as u8).collect();
    if codes != granted {
        return scene.unexpected(&format!("SUBACK {codes:?} where {granted:?} was due"));
    }
    for &(number, place, _) in entered {
        let now = scene.oracle.now;
        scene.oracle.subscriptions[number].terms[place].known.acknowledged = Some(now);
    }
    Ok(())
}

fn confirm_unsubscribe(
    version: Version,
    codes: &[u8],
    ended: &[Option<usize>],
    scene: &mut Scene<'_>,
) -> Check {
    let expected: Vec<u8> = ended.iter().map(|number| if number.is_some() { 0x00 } else { 0x11 }).collect();
    if version.is_v5() && codes != expected {
        return scene.unexpected(&format!("UNSUBACK {codes:?} where {expected:?} was due"));
    }
    for number in ended.iter().flatten() {
        let now = scene.oracle.now;
        if let Some(end) = &mut scene.oracle.subscriptions[*number].end {
            end.acknowledged = Some(now);
        }
    }
    Ok(())
}
