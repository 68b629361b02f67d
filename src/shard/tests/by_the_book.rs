//! What an MQTT client hears where it asks for what it can't have, and what its limits keep from it.

use super::log::lines;
use super::sessions::{V5, Wish};
use super::*;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{
    Connect, Filters, Packet, PacketKind, Publish, Qos, Subscribe, SubscribeOptions, Unsubscribe,
    UnsubscribeFilters, Version,
};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::tests::generate::{Kitchen, ingredients};
use proptest::collection::vec;
use proptest::prelude::*;

impl Alone {
    /// Sends a SUBSCRIBE of MQTT 5 with these filters.
    fn ask_for(&mut self, id: ConnectionId, filters: &[&[u8]]) {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, SubscribeOptions::default())).collect();
        let filters = Filters::from_list(&filters);
        let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
        let mut out = Vec::new();
        encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
        self.shard.receive(id, &out, self.now);
    }

    pub(super) fn let_go_of(&mut self, id: ConnectionId, filters: &[&[u8]]) {
        let filters = UnsubscribeFilters::from_list(filters);
        let unsubscribe = Unsubscribe { packet_id: 2, properties: Properties::EMPTY, filters };
        let mut out = Vec::new();
        encode::unsubscribe(&mut out, Version::V5, &unsubscribe).unwrap();
        self.shard.receive(id, &out, self.now);
    }

    /// The packets of MQTT 5 that a client was sent since the last look, each with its length.
    fn heard(&mut self, id: ConnectionId, mut each: impl FnMut(&Packet<'_>, usize)) {
        let bytes = self.sent_bytes(id);
        let mut rest = &bytes[..];
        while let Ok(Decoded::Packet(packet, n)) = decode(rest, Version::V5, &Limits::NONE) {
            rest = &rest[n..];
            each(&packet, n);
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn a_filter_that_is_refused_is_counted_by_why_and_the_log_names_the_setting() {
    let mut limited = settings();
    (limited.mqtt.topic_levels_max, limited.mqtt.subscriptions_max) = (3, 2);
    let mut alone = Alone::new(limited);
    let (id, _) = alone.mqtt(V5);
    let filters: [&[u8]; 6] = [b"a/#/b", b"a/b/c/d", b"_INBOX/#", b"a", b"b", b"c"];
    let told = lines(|| alone.ask_for(id, &filters));
    let mut codes = Vec::new();
    alone.heard(id, |packet, _| match packet {
        Packet::Suback(it) => codes.extend_from_slice(it.codes),
        other => panic!("{other:?}"),
    });
    assert_eq!(codes, [0x8F, 0x8F, 0x87, 0, 0, 0x97]);
    assert_eq!(alone.shard.counters().subscriptions_refused, [1, 1, 1, 1, 0, 0]);
    let whys = ["no such filter", "mqtt.topic_levels_max is 3", "not open", "mqtt.subscriptions_max is 2"];
    assert_eq!(told.len(), whys.len(), "{told:#?}");
    for (line, why) in told.iter().zip(whys) {
        assert!(line.contains(why) && line.contains("127.0.0.1:9") && line.contains("filter="), "{line}");
    }
}

/// The packets in bytes that a server sent, in MQTT 5 or, to one that speaks something else, in 3.1.1. What may
/// not be in a packet, a reason among it, does not decode.
fn all_decode(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let read = |version| decode(bytes, version, &Limits::NONE).ok();
        let Some(Decoded::Packet(_, n)) = read(Version::V5).or_else(|| read(Version::V3_1_1)) else {
            return false;
        };
        bytes = &bytes[n..];
    }
    true
}

proptest! {
    // Section 2.4: [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2]
    // [MQTT-3.11.3-2] [MQTT-3.14.2-1]
    #[test]
    fn whatever_a_client_sends_the_answer_has_a_reason_that_its_packet_may_carry(
        it in ingredients(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        is_connected: bool,
    ) {
        for kind in PacketKind::ALL {
            let mut alone = Alone::new(settings());
            let id = if is_connected { alone.mqtt(V5).0 } else { alone.connect(Listener::Mqtt) };
            let mut bytes = Vec::new();
            encode::packet(&mut bytes, Version::V5, &Kitchen::new(&it, kind, Version::V5).packet()).unwrap();
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            alone.receive(id, &bytes);
            let sent = alone.sent_bytes(id);
            prop_assert!(all_decode(&sent), "{} is answered {sent:02x?}", bytes.escape_ascii());
        }
    }
}

// Section 2.4: [MQTT-3.1.0-2]
#[test]
fn a_second_connect_is_a_protocol_error_whatever_it_says_and_before_it_is_all_there() {
    for second in
        [&b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\0\0"[..], b"\x10\x0d\0\x04MQTX", b"\x10\xff\xff\xff\x7f"]
    {
        let mut alone = Alone::new(settings());
        let (id, _) = alone.mqtt(V5);
        alone.receive(id, second);
        assert_eq!(alone.hears(id), ["DISCONNECT 82"]);
    }
}

// Section 2.4: [MQTT-3.2.2-8]
#[test]
fn a_will_with_an_alias_is_refused_with_a_code_of_connack() {
    let mut alone = Alone::new(settings());
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, b"\x10\x16\0\x04MQTT\x05\x06\0\0\0\0\x01c\x03\x23\0\0\0\x01t\0\0");
    assert_eq!(alone.hears(id), ["CONNACK 82"]);
}

/// A client that takes no larger packets, and asks for what makes CONNACK long.
fn small(client_id: &str, packet_bytes_max: u32, asks: bool) -> Vec<u8> {
    let mut block = PropertyBlock::new();
    block.push(Property::MaximumPacketSize(packet_bytes_max)).unwrap();
    if asks {
        block.push(Property::RequestResponseInformation(true)).unwrap();
        block.push(Property::SessionExpiryInterval(u32::MAX)).unwrap();
    }
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: client_id.as_bytes(),
        will: None,
        username: None,
        password: None,
        properties: block.properties(),
    };
    let mut out = Vec::new();
    encode::connect(&mut out, &connect).unwrap();
    out
}

// [MQTT-3.1.2-24] [MQTT-3.2.2-19]
#[test]
fn a_connack_leaves_out_what_it_may_for_a_client_that_takes_little_and_is_a_refusal_for_one_that_takes_less()
{
    let mut limited = settings();
    limited.mqtt.offer.session_expiry_secs_max = 7;
    let mut said = Vec::new();
    for packet_bytes_max in 1..60 {
        let mut alone = Alone::new(limited.clone());
        let id = alone.connect(Listener::Mqtt);
        alone.receive(id, &small("some", packet_bytes_max, true));
        let mut heard = Vec::new();
        alone.heard(id, |packet, n| {
            assert!(n <= packet_bytes_max as usize, "{packet:?} in {n} bytes");
            let Packet::Connack(it) = packet else { panic!("{packet:?}") };
            let known = it.properties;
            if it.reason.is_failure() {
                return heard.push("refused");
            }
            // What a client must know is there in any case.
            assert!(known.maximum_packet_size().is_some() && known.session_expiry_interval() == Some(7));
            heard.push(match (known.topic_alias_maximum(), known.response_information()) {
                (Some(_), Some(_)) => "all",
                (Some(_), None) => "aliases",
                (None, Some(_)) => "information",
                (None, None) => "the least",
            });
        });
        assert_eq!(alone.shard.is_closing(id), heard.is_empty() || heard == ["refused"]);
        if said.last() != Some(&heard) {
            said.push(heard);
        }
    }
    assert_eq!(said, [vec![], vec!["refused"], vec!["the least"], vec!["aliases"], vec!["all"]]);
}

// [MQTT-3.1.2-24]
#[test]
fn an_answer_that_is_too_long_for_its_client_ends_the_connection_before_anything_of_it_begins() {
    let mut alone = Alone::new(settings());
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, &small("some", 20, false));
    assert_eq!(alone.hears(id), ["CONNACK 00"]);
    alone.ask_for(id, &[&b"a"[..]; 15]);
    assert_eq!(alone.hears(id), ["SUBACK"]);
    let told = lines(|| alone.ask_for(id, &[&b"b"[..]; 16]));
    assert_eq!(alone.hears(id), ["DISCONNECT 95"]);
    assert!(told[0].contains("the client's Maximum Packet Size is 20"), "{told:#?}");
    assert_eq!(alone.shard.counters().n_subscribed, 1);
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, &small("some", 20, false));
    alone.hears(id);
    for (n, answer) in [(15, "UNSUBACK"), (16, "DISCONNECT 95")] {
        alone.let_go_of(id, &vec![&b"a"[..]; n]);
        assert_eq!(alone.hears(id), [answer]);
    }
}

proptest! {
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25] [MQTT-3.2.2-19] [MQTT-3.9.2-1] [MQTT-3.14.2-3]
    #[test]
    fn no_packet_is_larger_than_its_client_takes(
        packet_bytes_max in 1..120u32,
        name in "[a-z/ ]{0,40}",
        asks: bool,
        filters in vec("[a-b+#/]{0,4}", 1..40),
        n_bytes in 0..100usize,
    ) {
        let mut alone = Alone::new(settings());
        let id = alone.connect(Listener::Mqtt);
        let (publisher, _) = alone.mqtt(Wish { client_id: "publisher", ..V5 });
        let mut n_heard = 0;
        let names: Vec<_> = filters.iter().map(String::as_bytes).collect();
        alone.receive(id, &small(&name, packet_bytes_max, asks));
        alone.ask_for(id, &names);
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let payload = vec![b'x'; n_bytes];
            let publish = Publish {
                dup: false, qos, retain: false, topic: b"a/b", packet_id: qos as u16,
                properties: Properties::EMPTY, payload: &payload,
            };
            let mut out = Vec::new();
            encode::publish(&mut out, Version::V5, &publish).unwrap();
            alone.receive(publisher, &out);
            // What nobody may publish is answered too.
            let denied = Publish { topic: b"$SYS/x", packet_id: 9, qos: Qos::AtLeastOnce, ..publish };
            out.clear();
            encode::publish(&mut out, Version::V5, &denied).unwrap();
            alone.receive(id, &out);
        }
        alone.let_go_of(id, &names);
        // A protocol error: the farewell has a reason string where it fits.
        alone.receive(id, b"\x20\x03\0\0\0");
        alone.heard(id, |packet, n| {
            n_heard += 1;
            assert!(n <= packet_bytes_max as usize, "{n} bytes of {packet:?}");
        });
        prop_assert!(packet_bytes_max < 5 || n_heard > 0);
        prop_assert!(alone.shard.is_closing(id));
    }
}

// Section 3.3.2.3.4, and [MQTT-3.1.2-25]: an alias makes no packet too large that was not.
#[test]
fn of_a_run_the_first_alone_says_what_its_alias_stands_for() {
    let topic = b"a/long/enough/topic";
    for (packet_bytes_max, n_topics) in [(1_000, 1), (2 + 2 + topic.len() as u32 + 1 + 50, 5)] {
        let mut alone = Alone::new(settings());
        let aliases = [Property::TopicAliasMaximum(3), Property::MaximumPacketSize(packet_bytes_max)];
        let (id, _) = alone.mqtt(Wish { properties: &aliases, ..V5 });
        alone.ask_for(id, &[topic]);
        alone.hears(id);
        let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            properties: Properties::EMPTY,
            payload: &[b'x'; 50],
        };
        let mut out = Vec::new();
        (0..5).for_each(|_| encode::publish(&mut out, Version::V5, &publish).unwrap());
        alone.receive(publisher, &out);
        let mut heard = Vec::new();
        alone.heard(id, |packet, n| {
            let Packet::Publish(it) = packet else { panic!("{packet:?}") };
            assert!(n <= packet_bytes_max as usize && it.payload == [b'x'; 50]);
            heard.push((it.topic == topic, it.properties.topic_alias()));
        });
        let is_aliased = n_topics == 1;
        let expected: Vec<_> = (0..5).map(|nth| (nth < n_topics, is_aliased.then_some(1))).collect();
        assert_eq!(heard, expected);
    }
}
