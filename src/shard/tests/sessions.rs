//! One client's session: what it keeps, how long, and what its client hears of it; and wills.

mod groups;

use super::*;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::packet::{
    Connect, Disconnect, Filters, Packet, Publish, Qos, Subscribe, SubscribeOptions, Version, Will,
};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;

/// How a client connects.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) version: Version,
    pub(super) client_id: &'a str,
    pub(super) clean_start: bool,
    pub(super) properties: &'a [Property<'a>],
    pub(super) will: Option<(&'a str, &'a [Property<'a>])>,
}

pub(super) const V5: Wish<'_> =
    Wish { version: Version::V5, client_id: "c", clean_start: false, properties: &KEPT, will: None };
pub(super) const KEPT: [Property<'_>; 1] = [Property::SessionExpiryInterval(100)];

fn block(properties: &[Property<'_>]) -> PropertyBlock {
    let mut block = PropertyBlock::new();
    properties.iter().for_each(|it| block.push(*it).unwrap());
    block
}

impl Alone {
    /// Connects, and gives what came first and the rest.
    pub(super) fn mqtt(&mut self, wish: Wish<'_>) -> (ConnectionId, Vec<String>) {
        let id = self.connect(Listener::Mqtt);
        let mut out = Vec::new();
        let (properties, will_properties) = (block(wish.properties), block(wish.will.map_or(&[], |it| it.1)));
        let will = wish.will.map(|(topic, _)| Will {
            qos: Qos::AtMostOnce,
            retain: false,
            topic: topic.as_bytes(),
            payload: b"dead",
            properties: will_properties.properties(),
        });
        let connect = Connect {
            version: wish.version,
            clean_start: wish.clean_start,
            keep_alive_secs: 0,
            client_id: wish.client_id.as_bytes(),
            will,
            username: None,
            password: None,
            properties: properties.properties(),
        };
        encode::connect(&mut out, &connect).unwrap();
        self.receive(id, &out);
        (id, self.packets(id, wish.version))
    }

    /// What a client was sent, in short.
    pub(super) fn packets(&mut self, id: ConnectionId, version: Version) -> Vec<String> {
        let bytes = self.sent_bytes(id);
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        while let Ok(Decoded::Packet(packet, n)) = decode(rest, version, &Limits::NONE) {
            rest = &rest[n..];
            packets.push(in_short(&packet));
        }
        assert!(rest.is_empty());
        packets
    }

    pub(super) fn hears(&mut self, id: ConnectionId) -> Vec<String> {
        self.packets(id, Version::V5)
    }

    pub(super) fn subscribe(&mut self, id: ConnectionId, filter: &str, qos: Qos) {
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        let filters = [(filter.as_bytes(), options)];
        let subscribe =
            Subscribe { packet_id: 1, properties: Properties::EMPTY, filters: Filters::from_list(&filters) };
        let mut out = Vec::new();
        encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
        self.receive(id, &out);
        assert_eq!(self.hears(id).len(), 1);
    }

    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        packet_id: u16,
        qos: Qos,
        payload: &str,
        of: &[Property<'_>],
    ) {
        let properties = block(of);
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: b"t",
            packet_id,
            properties: properties.properties(),
            payload: payload.as_bytes(),
        };
        let mut out = Vec::new();
        encode::publish(&mut out, Version::V5, &publish).unwrap();
        self.receive(id, &out);
    }

    pub(super) fn ack(&mut self, id: ConnectionId, kind: AckKind, packet_id: u16, reason: Reason) {
        let mut out = Vec::new();
        encode::bare_ack(&mut out, Version::V5, kind, packet_id, reason);
        self.receive(id, &out);
    }

    pub(super) fn leave(&mut self, id: ConnectionId, reason: Reason, properties: &[Property<'_>]) {
        let properties = block(properties);
        let mut out = Vec::new();
        let disconnect = Disconnect { reason, properties: properties.properties() };
        encode::disconnect(&mut out, Version::V5, &disconnect).unwrap();
        self.receive(id, &out);
        self.shard.release(id, self.now);
    }

    /// What a NATS client was sent, but for the pings that time brings.
    pub(super) fn said_to(&mut self, id: ConnectionId) -> String {
        self.sent(id).replace("PING\r\n", "")
    }

    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.shard.end_of_input(id, true, self.now);
        self.shard.release(id, self.now);
    }

    pub(super) fn pass(&mut self, secs: u64) {
        self.now = self.now + Span::from_secs(secs);
        while self.shard.wake_at().is_some_and(|at| at <= self.now) {
            self.shard.tick(self.now);
        }
    }
}

fn in_short(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connack(it) if it.session_present => "CONNACK present".into(),
        Packet::Connack(it) => format!("CONNACK {:02x}", it.reason.code()),
        Packet::Publish(it) => {
            let text = String::from_utf8_lossy(it.payload);
            let dup = if it.dup { " dup" } else { "" };
            let expiry =
                it.properties.message_expiry_interval().map_or(String::new(), |it| format!(" {it}s"));
            format!("PUBLISH {} {}{dup} {text}{expiry}", it.qos as u8, it.packet_id)
        }
        Packet::Puback(it) | Packet::Pubrec(it) | Packet::Pubrel(it) | Packet::Pubcomp(it) => {
            format!("{} {} {:02x}", packet.kind().name(), it.packet_id, it.reason.code())
        }
        Packet::Disconnect(it) => format!("DISCONNECT {:02x}", it.reason.code()),
        other => other.kind().name().into(),
    }
}

// [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
// [MQTT-3.1.4-4]
#[test]
fn a_session_is_taken_up_again_or_ended_as_its_client_wants() {
    let mut alone = Alone::new(settings());
    let (id, heard) = alone.mqtt(V5);
    assert_eq!(heard, ["CONNACK 00"]);
    alone.subscribe(id, "t", Qos::AtLeastOnce);
    alone.lose(id);
    assert_eq!(alone.shard.n_connections(), 0);
    let (id, heard) = alone.mqtt(Wish { version: Version::V3_1_1, ..V5 });
    assert_eq!(heard, ["CONNACK present"]);
    assert_eq!(alone.shard.counters().n_subscriptions, [1, 0]);
    alone.lose(id);
    let (id, heard) = alone.mqtt(Wish { clean_start: true, ..V5 });
    assert_eq!(heard, ["CONNACK 00"]);
    assert_eq!(alone.shard.counters().n_subscriptions, [0, 0]);
    alone.lose(id);
}

// [MQTT-3.1.2-5] [MQTT-4.4.0-1] [MQTT-4.6.0-6]
// [MQTT-3.3.1-1] [MQTT-4.5.0-1]
// 3.1.1: [MQTT-3.1.2-5] [MQTT-3.3.1-1] [MQTT-4.5.0-1]
#[test]
fn messages_wait_for_their_client_and_come_after_what_it_had_not_acknowledged() {
    let mut alone = Alone::new(settings());
    let (id, _) = alone.mqtt(V5);
    alone.subscribe(id, "t", Qos::ExactlyOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, "one", &[]);
    alone.publish(publisher, 2, Qos::ExactlyOnce, "two", &[]);
    assert_eq!(alone.hears(id), ["PUBLISH 1 1 one", "PUBLISH 2 2 two"]);
    alone.ack(id, AckKind::Pubrec, 2, Reason::Success);
    assert_eq!(alone.hears(id), ["PUBREL 2 00"]);
    alone.lose(id);
    alone.publish(publisher, 0, Qos::AtMostOnce, "lost", &[]);
    alone.publish(publisher, 3, Qos::AtLeastOnce, "three", &[]);
    assert_eq!(alone.hears(publisher), ["PUBACK 1 00", "PUBREC 2 00", "PUBACK 3 00"]);
    let counters = alone.shard.counters();
    // Two are not acknowledged, of which one is released.
    assert_eq!((counters.dropped_offline, counters.n_session_messages), (1, 3));
    let (id, heard) = alone.mqtt(V5);
    assert_eq!(heard, ["CONNACK present", "PUBLISH 1 1 dup one", "PUBREL 2 00", "PUBLISH 1 3 three"]);
    alone.ack(id, AckKind::Puback, 1, Reason::Success);
    alone.ack(id, AckKind::Pubcomp, 2, Reason::Success);
    assert_eq!(alone.shard.counters().n_session_messages, 0);
    alone.ack(id, AckKind::Puback, 3, Reason::Success);
    assert_eq!(alone.shard.n_waiting_bytes(), (0, 0));
}

// [MQTT-3.1.2-23] and section 3.14.2.2.2
// [MQTT-4.1.0-1] [MQTT-4.1.0-2]
#[test]
fn a_session_ends_in_its_time_and_a_disconnect_may_change_that() {
    let mut alone = Alone::new(settings());
    for (properties, secs, is_left) in [
        (&[][..], 99, true),
        (&[][..], 103, false),
        (&[Property::SessionExpiryInterval(500)][..], 499, true),
        (&[Property::SessionExpiryInterval(0)][..], 0, false),
        (&[Property::SessionExpiryInterval(u32::MAX)][..], 1_000_000, true),
    ] {
        let (id, _) = alone.mqtt(Wish { clean_start: true, ..V5 });
        alone.subscribe(id, "t", Qos::AtLeastOnce);
        alone.leave(id, Reason::Success, properties);
        alone.pass(secs);
        assert_eq!(alone.shard.counters().n_subscriptions, [u64::from(is_left), 0], "{properties:?}");
    }
    let (id, _) = alone.mqtt(Wish { properties: &[], client_id: "other", ..V5 });
    alone.leave(id, Reason::Success, &[Property::SessionExpiryInterval(5)]);
    assert_eq!(alone.shard.counters().n_closed[closed::Reason::PacketRefused as usize], 1);
}

// Section 3.14.2.2.2
#[test]
fn a_disconnect_that_is_refused_leaves_the_will_and_one_whose_wish_was_not_granted_is_taken() {
    let mut alone = Alone::new(settings());
    let (watcher, _) = alone.mqtt(Wish { client_id: "w", ..V5 });
    alone.subscribe(watcher, "will", Qos::AtMostOnce);
    let wish = Wish { properties: &[], will: Some(("will", &[])), ..V5 };
    let (id, _) = alone.mqtt(wish);
    alone.leave(id, Reason::Success, &[Property::SessionExpiryInterval(5)]);
    assert_eq!(alone.shard.counters().n_closed[closed::Reason::PacketRefused as usize], 1);
    assert_eq!(alone.hears(watcher), ["PUBLISH 0 0 dead"]);
    let mut settings = settings();
    settings.mqtt.offer.session_expiry_secs_max = 0;
    let mut alone = Alone::new(settings);
    let (id, _) = alone.mqtt(V5);
    alone.leave(id, Reason::Success, &[Property::SessionExpiryInterval(5)]);
    assert_eq!(alone.shard.counters().n_closed[closed::Reason::Normal as usize], 1);
}

// [MQTT-3.1.4-3]
// [MQTT-3.1.3-2]
#[test]
fn a_client_that_is_taken_over_is_told_and_its_session_goes_on() {
    let mut alone = Alone::new(settings());
    let (old, _) = alone.mqtt(V5);
    alone.subscribe(old, "t", Qos::AtLeastOnce);
    let (new, heard) = alone.mqtt(V5);
    assert_eq!(heard, ["CONNACK present"]);
    assert_eq!(alone.hears(old), ["DISCONNECT 8e"]);
    alone.publish(new, 1, Qos::AtLeastOnce, "x", &[]);
    assert_eq!(alone.hears(new), ["PUBLISH 1 1 x", "PUBACK 1 00"]);
    alone.shard.release(old, alone.now);
    assert_eq!((alone.shard.n_connections(), alone.shard.counters().n_sessions), (1, 1));
}

// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
// [MQTT-4.3.3-7] [MQTT-4.3.3-13]
#[test]
fn a_message_grows_old_while_it_waits_and_an_expired_one_is_dropped_and_counted() {
    let mut alone = Alone::new(settings());
    let (id, _) = alone.mqtt(V5);
    alone.subscribe(id, "t", Qos::AtLeastOnce);
    alone.lose(id);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, "old", &[Property::MessageExpiryInterval(3)]);
    alone.publish(publisher, 2, Qos::AtLeastOnce, "new", &[Property::MessageExpiryInterval(10)]);
    alone.pass(4);
    assert_eq!(alone.mqtt(V5).1, ["CONNACK present", "PUBLISH 1 1 new 6s"]);
    assert_eq!(alone.shard.counters().expired, 1);
}

// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn what_waited_and_is_larger_than_its_client_takes_is_dropped_for_that_client_alone() {
    let mut alone = Alone::new(settings());
    let (id, _) = alone.mqtt(V5);
    alone.subscribe(id, "t", Qos::AtLeastOnce);
    alone.lose(id);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, &"x".repeat(200), &[]);
    alone.publish(publisher, 2, Qos::AtLeastOnce, "small", &[]);
    let properties = [KEPT[0], Property::MaximumPacketSize(100)];
    let (_, heard) = alone.mqtt(Wish { properties: &properties, ..V5 });
    assert_eq!(heard, ["CONNACK present", "PUBLISH 1 2 small"]);
    assert_eq!(alone.shard.counters().dropped_packet_too_large, 1);
}

// [MQTT-3.1.4-6] [MQTT-3.2.2-7] [MQTT-4.13.2-1]
#[test]
fn one_session_too_many_is_refused() {
    let mut limited = settings();
    limited.mqtt.sessions_max = 1;
    let mut alone = Alone::new(limited);
    let (id, _) = alone.mqtt(V5);
    alone.lose(id);
    assert_eq!(alone.mqtt(Wish { client_id: "d", ..V5 }).1, ["CONNACK 97"]);
    assert_eq!(alone.mqtt(V5).1, ["CONNACK present"]);
    assert_eq!(alone.shard.counters().sessions_refused, 1);
}

// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11]
// [MQTT-4.3.3-4] [MQTT-4.3.3-12]
// 3.1.1: [MQTT-4.3.3-2]
#[test]
fn a_repeated_publish_of_qos_2_is_not_delivered_twice_until_it_is_released() {
    let mut alone = Alone::new(settings());
    let subscriber = alone.nats("SUB t 1\r\n");
    let (id, _) = alone.mqtt(V5);
    alone.publish(id, 7, Qos::ExactlyOnce, "x", &[]);
    alone.publish(id, 7, Qos::ExactlyOnce, "x", &[]);
    alone.lose(id);
    let (id, _) = alone.mqtt(V5);
    alone.publish(id, 7, Qos::ExactlyOnce, "x", &[]);
    assert_eq!(alone.hears(id), ["PUBREC 7 00"]);
    assert_eq!(alone.sent(subscriber), "HMSG t 1 25 26\r\nNATS/1.0\r\nMqtt-QoS: 2\r\n\r\nx\r\n");
    alone.ack(id, AckKind::Pubrel, 7, Reason::Success);
    alone.ack(id, AckKind::Pubrel, 7, Reason::Success);
    assert_eq!(alone.hears(id), ["PUBCOMP 7 00", "PUBCOMP 7 92"]);
    alone.publish(id, 7, Qos::ExactlyOnce, "y", &[]);
    assert_eq!(alone.sent(subscriber), "HMSG t 1 25 26\r\nNATS/1.0\r\nMqtt-QoS: 2\r\n\r\ny\r\n");
}

// [MQTT-3.3.4-7] and section 4.9
#[test]
fn a_client_that_sends_more_than_the_receive_maximum_is_disconnected() {
    let mut limited = settings();
    limited.mqtt.offer.receive_maximum = 2;
    let mut alone = Alone::new(limited);
    let (id, _) = alone.mqtt(V5);
    for packet_id in [1, 2, 3] {
        alone.publish(id, packet_id, Qos::AtLeastOnce, "acknowledged at once", &[]);
    }
    for packet_id in [11, 12, 13] {
        alone.publish(id, packet_id, Qos::ExactlyOnce, "not released", &[]);
    }
    assert_eq!(alone.hears(id)[3..], ["PUBREC 11 10", "PUBREC 12 10", "DISCONNECT 93"]);
}

// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
// [MQTT-3.1.3-10]
// 3.1.1: [MQTT-3.1.2-10] [MQTT-3.1.2-12] [MQTT-3.14.4-3]
#[test]
fn a_will_is_published_unless_its_client_leaves_in_order() {
    let mut alone = Alone::new(settings());
    let subscriber = alone.nats("SUB will 1\r\n");
    let wish = Wish { will: Some(("will", &[])), ..V5 };
    let dead = "MSG will 1 4\r\ndead\r\n";
    let (id, _) = alone.mqtt(wish);
    alone.leave(id, Reason::Success, &[]);
    assert_eq!(alone.said_to(subscriber), "");
    let (id, _) = alone.mqtt(wish);
    alone.leave(id, Reason::DisconnectWithWill, &[]);
    assert_eq!(alone.said_to(subscriber), dead);
    let (id, _) = alone.mqtt(wish);
    alone.shard.end_of_input(id, false, alone.now);
    assert_eq!(alone.said_to(subscriber), dead);
    let (id, _) = alone.mqtt(Wish { properties: &[], clean_start: true, ..wish });
    // What was read before the end is handled before the will is decided.
    let mut bytes = Vec::new();
    let disconnect = Disconnect { reason: Reason::Success, properties: Properties::EMPTY };
    encode::disconnect(&mut bytes, Version::V5, &disconnect).unwrap();
    alone.receive(id, &bytes);
    alone.shard.end_of_input(id, true, alone.now);
    assert_eq!(alone.said_to(subscriber), "");
    assert_eq!(alone.shard.counters().wills_published, 2);
}

// [MQTT-3.1.3-9] and section 3.1.3.2.2
// [MQTT-3.1.2-7] [MQTT-3.1.2-8]
#[test]
fn a_will_waits_for_its_delay_or_the_end_of_the_session_and_a_client_that_is_back_takes_it_away() {
    let mut alone = Alone::new(settings());
    let subscriber = alone.nats("SUB will 1\r\n");
    let dead = "MSG will 1 4\r\ndead\r\n";
    let delay = [Property::WillDelayInterval(10)];
    let wish = Wish { will: Some(("will", &delay)), ..V5 };
    let (id, _) = alone.mqtt(wish);
    alone.lose(id);
    alone.pass(9);
    let (id, heard) = alone.mqtt(wish);
    assert_eq!(heard, ["CONNACK present"]);
    alone.pass(20);
    assert_eq!(alone.said_to(subscriber), "");
    alone.lose(id);
    alone.pass(11);
    assert_eq!(alone.said_to(subscriber), dead);
    // A session that is shorter than the delay takes the will with it, and so does a clean start.
    let (id, _) = alone.mqtt(Wish { properties: &[Property::SessionExpiryInterval(2)], ..wish });
    alone.lose(id);
    alone.pass(3);
    assert_eq!(alone.said_to(subscriber), dead);
    let (id, _) = alone.mqtt(wish);
    alone.lose(id);
    alone.mqtt(Wish { clean_start: true, will: None, ..wish });
    assert_eq!(alone.said_to(subscriber), dead);
}

// Section 3.1.4: a connection that is taken over ends without DISCONNECT.
#[test]
fn the_will_of_a_client_that_is_taken_over_is_published_unless_it_waits() {
    let mut alone = Alone::new(settings());
    let subscriber = alone.nats("SUB will 1\r\n");
    alone.mqtt(Wish { will: Some(("will", &[])), ..V5 });
    let delay = [Property::WillDelayInterval(10)];
    alone.mqtt(Wish { will: Some(("will", &delay)), ..V5 });
    assert_eq!(alone.said_to(subscriber), "MSG will 1 4\r\ndead\r\n");
    alone.mqtt(V5);
    alone.pass(20);
    assert_eq!(alone.said_to(subscriber), "");
}

#[test]
fn publishes_of_qos_1_that_come_together_are_acknowledged_and_delivered_one_by_one() {
    let mut alone = Alone::new(settings());
    let (nats, (id, _)) = (alone.nats("SUB t 1\r\n"), alone.mqtt(V5));
    alone.subscribe(id, "t", Qos::AtLeastOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    let mut bytes = Vec::new();
    for packet_id in [7u16, 9, 8] {
        let payload = packet_id.to_string();
        let publish = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: b"t",
            packet_id,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        encode::publish(&mut bytes, Version::V5, &publish).unwrap();
    }
    encode::pingreq(&mut bytes);
    alone.receive_whole(publisher, &bytes);
    assert_eq!(alone.hears(publisher), ["PUBACK 7 00", "PUBACK 9 00", "PUBACK 8 00", "PINGRESP"]);
    assert_eq!(alone.hears(id), ["PUBLISH 1 1 7", "PUBLISH 1 2 9", "PUBLISH 1 3 8"]);
    let told = |payload| format!("HMSG t 1 25 26\r\nNATS/1.0\r\nMqtt-QoS: 1\r\n\r\n{payload}\r\n");
    assert_eq!(alone.said_to(nats), [told(7), told(9), told(8)].concat());
    alone.receive_whole(id, &[0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]);
    assert_eq!(alone.shard.n_waiting_bytes(), (0, 0));
    // An identifier of 0 between them ends the publisher, and what came before it counts.
    bytes.clear();
    for packet_id in [1, 0] {
        bytes.extend_from_slice(&[0x32, 6, 0, 1, b't', 0, packet_id, 0]);
    }
    alone.receive_whole(publisher, &bytes);
    assert_eq!(alone.hears(publisher), ["PUBACK 1 00", "DISCONNECT 82"]);
    assert_eq!(alone.hears(id), ["PUBLISH 1 4 "]);
}

#[test]
fn publishes_that_come_together_keep_to_the_receive_maximum() {
    let mut limited = settings();
    limited.mqtt.offer.receive_maximum = 2;
    let mut alone = Alone::new(limited);
    let (publisher, _) = alone.mqtt(V5);
    let frames: Vec<u8> = (1..=3).flat_map(|id| [0x32, 6, 0, 1, b't', 0, id, 0]).collect();
    alone.receive_whole(publisher, &frames);
    assert_eq!(alone.hears(publisher), ["PUBACK 1 10", "PUBACK 2 10", "DISCONNECT 93"]);
}

/// What one costs besides its filters' text and the tables': its slot, and what the protocol keeps.
#[test]
fn a_session_without_messages_is_small() {
    let slot = size_of::<(u32, Option<connection::Connection>)>();
    let protocol = size_of::<mqtt::connection::Connection>();
    let subscription = size_of::<Option<connection::Subscription>>();
    assert!(slot + protocol + subscription <= 1_024, "{slot} + {protocol} + {subscription} bytes");
}
