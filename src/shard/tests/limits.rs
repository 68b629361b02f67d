//! What becomes of a client that reaches a limit: it hears the limit's reason, nobody else suffers, and the count
//! and the log name the limit.

use super::sessions::{V5, Wish};
use super::*;
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::packet::{Filters, Qos, Subscribe, SubscribeOptions, Version};
use crate::mqtt::property::{Pair, Properties, Property};
use crate::mqtt::reason::Reason;
use crate::shard::closed::Refused;
use crate::shard::limits::{Limit, Limits, NoRoom};

fn limited(limits: Limits) -> Alone {
    Alone::new(Settings { limits, ..settings() })
}

/// A user property that counts three bytes.
const USER: Property<'_> = Property::UserProperty(Pair { name: b"n", value: b"vv" });

impl Alone {
    fn n_limited(&self, limit: Limit) -> u64 {
        self.shard.counters().n_limited[limit as usize]
    }

    /// What a SUBSCRIBE to all of these is answered with, as its codes.
    fn suback_codes(&mut self, id: ConnectionId, version: Version, filters: &[&str]) -> Vec<u8> {
        let options = SubscribeOptions::default();
        let filters: Vec<_> = filters.iter().map(|it| (it.as_bytes(), options)).collect();
        let filters = Filters::from_list(&filters);
        let mut out = Vec::new();
        let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
        encode::subscribe(&mut out, version, &subscribe).unwrap();
        self.receive(id, &out);
        let suback = self.sent_bytes(id);
        suback[suback.len() - filters.iter().count()..].to_vec()
    }
}

#[test]
fn a_longer_client_id_is_refused_in_connack() {
    let mut alone = limited(Limits { client_id_bytes_max: 3, ..Limits::NONE });
    assert_eq!(alone.mqtt(Wish { client_id: "abcd", ..V5 }).1, ["CONNACK 85"]);
    let old = Wish { client_id: "abcd", version: Version::V3_1_1, properties: &[], ..V5 };
    // "Identifier rejected" of MQTT 3.
    assert_eq!(alone.mqtt(old).1, ["CONNACK 85"]);
    assert_eq!(alone.mqtt(Wish { client_id: "abc", ..V5 }).1, ["CONNACK 00"]);
    assert_eq!(alone.n_limited(Limit::ClientId), 2);
}

#[test]
fn a_longer_topic_ends_its_publisher_and_a_longer_filter_is_refused_alone() {
    let mut alone = limited(Limits { topic_bytes_max: 3, ..Limits::NONE });
    assert_eq!(alone.mqtt(Wish { will: Some(("long", &[])), ..V5 }).1, ["CONNACK 90"]);
    let (id, _) = alone.mqtt(V5);
    assert_eq!(
        alone.suback_codes(id, Version::V5, &["a/b", "a/bc", "$share/group/abc", "ab"]),
        [0, 0x8F, 0, 0]
    );
    alone.publish(id, 0, Qos::AtMostOnce, "a topic of one byte", &[]);
    assert!(!alone.shard.is_closing(id));
    alone.receive(id, b"\x30\x07\0\x04a/bc\0");
    assert_eq!(alone.hears(id), ["DISCONNECT 90"]);
    assert_eq!(alone.n_limited(Limit::Topic), 3);
}

#[test]
fn more_user_properties_than_may_be_end_their_sender_whatever_packet_they_are_in() {
    for (limits, limit) in [
        (Limits { user_properties_max: 2, ..Limits::NONE }, Limit::UserProperties),
        (Limits { user_property_bytes_max: 7, ..Limits::NONE }, Limit::UserPropertyBytes),
    ] {
        let mut alone = limited(limits);
        let (few, many) = ([USER; 2], [USER; 3]);
        assert_eq!(alone.mqtt(Wish { properties: &many, ..V5 }).1, ["CONNACK 97"]);
        assert_eq!(alone.mqtt(Wish { will: Some(("t", &many)), ..V5 }).1, ["CONNACK 97"]);
        let (id, heard) = alone.mqtt(Wish { properties: &few, will: Some(("t", &few)), ..V5 });
        assert_eq!(heard, ["CONNACK 00"]);
        alone.publish(id, 1, Qos::AtLeastOnce, "x", &few);
        assert_eq!(alone.hears(id), ["PUBACK 1 10"]);
        alone.publish(id, 2, Qos::AtLeastOnce, "x", &many);
        assert_eq!(alone.hears(id), ["DISCONNECT 97"]);
        let (id, _) = alone.mqtt(Wish { client_id: "d", ..V5 });
        alone.leave(id, Reason::Success, &many);
        assert_eq!(alone.n_limited(limit), 4);
        assert_eq!(alone.shard.counters().n_limited.iter().sum::<u64>(), 4);
    }
}

#[test]
fn filters_beyond_those_of_one_packet_are_refused_and_counted() {
    let mut alone = limited(Limits { filters_max: 2, ..Limits::NONE });
    let (id, _) = alone.mqtt(V5);
    assert_eq!(alone.suback_codes(id, Version::V5, &["a", "b", "c", "d"]), [0, 0, 0x97, 0x97]);
    assert_eq!(alone.suback_codes(id, Version::V5, &["c", "d"]), [0, 0]);
    let old = Wish { client_id: "d", version: Version::V3_1_1, properties: &[], ..V5 };
    let (id, _) = alone.mqtt(old);
    assert_eq!(alone.suback_codes(id, Version::V3_1_1, &["a", "b", "c"]), [0, 0, 0x80]);
    assert_eq!(alone.n_limited(Limit::Filters), 3);
    assert_eq!(alone.shard.counters().n_subscriptions[0], 6);
}

#[test]
fn a_longer_header_block_of_nats_ends_its_sender_before_it_has_come() {
    let mut limited = settings();
    limited.nats.parse.header_bytes_max = 18;
    let mut alone = Alone::new(limited);
    let subscriber = alone.nats("SUB a 1\r\n");
    let id = alone.nats("");
    alone.receive(id, b"HPUB a 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    assert!(alone.sent(subscriber).starts_with("HMSG a 1 18 20\r\n"));
    alone.receive(id, b"HPUB a 19 20\r\n");
    assert_eq!(alone.sent(id), "-ERR 'Maximum Payload Violation'\r\n");
    assert_eq!((alone.n_limited(Limit::Header), alone.n_limited(Limit::NatsPayload)), (1, 0));
}

#[test]
fn limits_that_end_a_connection_or_refuse_a_part_are_counted_by_their_names() {
    let mut limited = settings();
    limited.mqtt.subscriptions_max = 1;
    limited.mqtt.sessions_max = 4;
    limited.mqtt.topic_levels_max = 2;
    limited.mqtt.decode.packet_bytes_max = 40;
    limited.mqtt.offer.receive_maximum = 1;
    limited.mqtt.decode.connect_bytes_max = 100;
    limited.nats.subscriptions_max = 1;
    limited.nats.subscription_tokens_max = 2;
    limited.nats.parse.payload_bytes_max = 4;
    limited.nats.parse.control_line_bytes_max = 100;
    let mut alone = Alone::new(limited);
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, b"\x10\x7f");
    assert!(alone.shard.is_closing(id));
    for (name, packet) in [("a", &b"\x30\x7f\0\x01t"[..]), ("b", b"\x30\x08\0\x05a/b/c\0")] {
        let (id, _) = alone.mqtt(Wish { client_id: name, ..V5 });
        alone.receive(id, packet);
        assert!(alone.shard.is_closing(id));
    }
    let (id, _) = alone.mqtt(Wish { client_id: "c", ..V5 });
    assert_eq!(alone.suback_codes(id, Version::V5, &["a", "b", "a/b/c"]), [0, 0x97, 0x8F]);
    (1..=2).for_each(|packet_id| alone.publish(id, packet_id, Qos::ExactlyOnce, "x", &[]));
    assert_eq!(alone.hears(id), ["PUBREC 1 10", "DISCONNECT 93"]);
    alone.ack(id, AckKind::Puback, 1, Reason::Success);
    alone.mqtt(Wish { client_id: "d", ..V5 });
    assert_eq!(alone.mqtt(Wish { client_id: "e", ..V5 }).1, ["CONNACK 97"]);
    alone.nats("SUB a.b.c 1\r\nSUB a 2\r\nSUB b 3\r\nPUB a 5\r\n");
    alone.nats(&format!("SUB {} 1\r\n", "x".repeat(100)));
    let silent = alone.connect(Listener::Mqtt);
    alone.pass(11);
    assert!(alone.shard.is_closing(silent));
    let counted = [
        Limit::Connect,
        Limit::ConnectTime,
        Limit::MqttPayload,
        Limit::TopicLevels,
        Limit::MqttSubscriptions,
        Limit::ReceiveMaximum,
        Limit::Sessions,
        Limit::NatsSubscriptions,
        Limit::SubscriptionTokens,
        Limit::NatsPayload,
        Limit::ControlLine,
    ];
    for limit in counted {
        let n = if limit == Limit::TopicLevels { 2 } else { 1 };
        assert_eq!(alone.n_limited(limit), n, "{}", limit.key());
    }
    assert_eq!(alone.shard.counters().n_limited.iter().sum::<u64>(), 1 + counted.len() as u64);
}

#[test]
fn aliases_beyond_their_limits_are_counted_by_which_it_was() {
    let mut alone = Alone::new(settings());
    for (alias, n_bytes, limit, code) in
        [(5, 200, Limit::TopicAliases, "94"), (1, 1_001, Limit::TopicAliasBytes, "97")]
    {
        let (id, _) = alone.mqtt(Wish { client_id: code, ..V5 });
        let n = 2 + n_bytes + 4;
        let head = [0x30, (n % 128) as u8 | 0x80, (n / 128) as u8, (n_bytes >> 8) as u8, n_bytes as u8];
        let topic = vec![b't'; n_bytes];
        alone.receive(id, &[&head[..], &topic, &[3, 0x23, 0, alias]].concat());
        assert_eq!(alone.hears(id), [format!("DISCONNECT {code}")]);
        assert_eq!(alone.n_limited(limit), 1, "{}", limit.key());
    }
}

#[test]
fn a_packet_against_a_rule_is_told_which() {
    let mut alone = Alone::new(settings());
    for (packet, told) in [
        (&b"\x30\x06\0\0\x03\x23\0\x01"[..], "Protocol Error (0x82), its topic alias stands for no topic"),
        (b"\x30\x06\0\x01a\x02\x0b\x01", "a client's PUBLISH has no subscription identifier"),
        (b"\xe0\x07\0\x05\x11\0\0\0\x01", "DISCONNECT raises a session expiry interval that was 0"),
        (b"\xf0\0", "AUTH without an authentication method in CONNECT"),
        (b"\x10\x01", "a second CONNECT"),
    ] {
        let (id, _) = alone.mqtt(Wish { clean_start: true, properties: &[], ..V5 });
        alone.receive(id, packet);
        let said = alone.sent(id);
        assert!(said.contains(told), "{told} in {said}");
    }
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, b"\x10\x19\0\x04MQTT\x05\x06\0\0\0\0\x01w\0\0\x06$SYS/a\0\0");
    assert!(alone.sent(id).contains("Not authorized (0x87), the will's topic is not open to clients"));
}

#[test]
fn suback_tells_of_the_first_filter_that_is_refused_what_was_in_the_way() {
    let mut limited = settings();
    limited.mqtt.subscriptions_max = 1;
    limited.limits.filters_max = 2;
    let mut alone = Alone::new(limited);
    let (id, _) = alone.mqtt(V5);
    for (packet, told) in [
        (&b"\x82\x0c\0\x01\0\0\x01a\0\0\x02#b\0"[..], "Topic Filter invalid (0x8F), no such filter"),
        (b"\x82\x0c\0\x01\0\0\x01b\0\0\x02#b\0", "Quota exceeded (0x97), mqtt.subscriptions_max is 1"),
        (b"\x82\x0f\0\x01\0\0\x01a\0\0\x01a\0\0\x01a\0", "Quota exceeded (0x97), mqtt.filters_max is 2"),
    ] {
        alone.receive(id, packet);
        let said = alone.sent(id);
        assert!(said.contains(told), "{told} in {said}");
    }
}

// [MQTT-3.1.2-29] [MQTT-3.4.2-2] [MQTT-3.5.2-2]
#[test]
fn a_refused_publish_is_told_why_where_that_is_wanted_and_has_room() {
    let mut limited = settings();
    limited.mqtt.retained.messages_max = 1;
    let mut alone = Alone::new(limited);
    let (first, _) = alone.mqtt(Wish { client_id: "first", ..V5 });
    alone.receive(first, b"\x31\x05\0\x01a\0x");
    let full = "Quota exceeded (0x97), mqtt.retained_messages_max is 1";
    let reserved = "Not authorized (0x87), the topic is not open to clients";
    let publishes: [(&[u8], _, _, _); 3] = [
        (b"\x33\x07\0\x01b\0\x01\0x", 0x40, 0x97, full),
        (b"\x35\x07\0\x01b\0\x01\0x", 0x50, 0x97, full),
        (b"\x32\x0b\0\x06$SYS/x\0\x01\0", 0x40, 0x87, reserved),
    ];
    for (publish, first_byte, reason, told) in publishes {
        // Of an acknowledgement: its length, the identifier, the code, and the text with the lengths before it.
        let n = u8::try_from(4 + told.len() + 3).unwrap();
        let whole = [&[first_byte, n, 0, 1, reason, n - 4, 0x1F, 0, n - 7], told.as_bytes()].concat();
        let room = u32::try_from(whole.len()).unwrap();
        let bare = [first_byte, 3, 0, 1, reason];
        for (property, heard) in [
            (Property::RequestProblemInformation(true), &whole[..]),
            (Property::RequestProblemInformation(false), &bare),
            (Property::MaximumPacketSize(room), &whole),
            (Property::MaximumPacketSize(room - 1), &bare),
        ] {
            let (id, _) = alone.mqtt(Wish { clean_start: true, properties: &[property], ..V5 });
            alone.receive(id, publish);
            assert_eq!(alone.sent_bytes(id), heard, "{property:?}");
        }
        // Version 3 has no word for it, and the packet is one that is taken.
        let (id, _) = alone.mqtt(Wish { version: Version::V3_1_1, properties: &[], client_id: "old", ..V5 });
        let without_properties = [&[publish[0], publish[1] - 1], &publish[2..publish.len() - 1]].concat();
        alone.receive(id, &without_properties);
        assert_eq!(alone.sent_bytes(id), [first_byte, 2, 0, 1]);
    }
}

#[test]
fn slow_consumers_are_counted_by_the_limit_that_ended_them() {
    let fill = |settings: Settings| {
        let mut alone = Alone::new(settings);
        let (_, publisher) = (alone.nats("SUB a 1\r\n"), alone.nats(""));
        let publish = format!("PUB a 900\r\n{}\r\n", "x".repeat(900));
        (0..4).for_each(|_| alone.receive(publisher, publish.as_bytes()));
        alone
    };
    let alone = fill(Settings { write_queue_bytes_max: 3_000, ..settings() });
    assert_eq!((alone.n_limited(Limit::WriteQueue), alone.n_limited(Limit::CoreQueue)), (1, 0));
    let alone = fill(Settings { core_queue_bytes_max: 3_000, ..settings() });
    assert_eq!((alone.n_limited(Limit::WriteQueue), alone.n_limited(Limit::CoreQueue)), (0, 1));
}

#[test]
fn the_log_names_the_limit_and_its_value_at_a_limited_rate() {
    let mut alone = limited(Limits { topic_bytes_max: 3, filters_max: 1, ..Limits::NONE });
    let told = super::log::lines(|| {
        let (id, _) = alone.mqtt(V5);
        (0..1_000).for_each(|_| drop(alone.suback_codes(id, Version::V5, &["a", "b"])));
        alone.now = alone.now + Span::from_secs(1);
        alone.receive(id, b"\x30\x07\0\x04a/bc\0");
    });
    let refused: Vec<_> = told.iter().filter(|line| line.contains("mqtt.filters_max is 1")).collect();
    assert_eq!(refused.len(), 10, "{told:#?}");
    assert!(told.last().unwrap().contains("mqtt.topic_bytes_max is 3"), "{told:#?}");
    assert_eq!(alone.n_limited(Limit::Filters), 1_000);
}

/// A shard that may have so many connections that have said nothing, and so much of what they say.
fn with_unconnected(unconnected_max: usize, unconnected_bytes_max: usize) -> Alone {
    limited(Limits { unconnected_max, unconnected_bytes_max, ..Limits::NONE })
}

#[test]
fn those_who_have_said_nothing_for_longest_give_way_and_clients_stay() {
    let mut alone = with_unconnected(3, 1_000);
    let clients = [alone.mqtt(V5).0, alone.nats("")];
    let silent = [Listener::Mqtt, Listener::Nats, Listener::Mqtt].map(|it| alone.connect(it));
    // Nobody gives way at once: a CONNECT may be on its way.
    let young = alone.connect(Listener::Mqtt);
    assert!(silent.iter().all(|id| !alone.shard.is_closing(*id)));
    alone.now = alone.now + Span::from_secs(1);
    let newest = alone.connect(Listener::Nats);
    assert_eq!(silent.map(|id| alone.shard.is_closing(id)), [true, true, false]);
    assert_eq!(alone.sent(silent[1]), "-ERR 'Authentication Timeout'\r\n");
    assert!(clients.into_iter().chain([young, newest]).all(|id| !alone.shard.is_closing(id)));
    assert_eq!(alone.n_limited(Limit::Unconnected), 2);
    // Who has said something is none of them any longer.
    alone.receive(silent[2], b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s");
    alone.receive(newest, b"PING\r\n");
    for _ in 0..2 {
        alone.connect(Listener::Mqtt);
    }
    assert_eq!(alone.n_limited(Limit::Unconnected), 2);
}

// Where there is no place, nobody comes who could make one give way.
#[test]
fn those_who_have_said_nothing_give_way_though_nobody_comes_after_them() {
    let mut alone = with_unconnected(3, 1_000);
    let silent: Vec<_> = (0..5).map(|_| alone.connect(Listener::Nats)).collect();
    alone.shard.tick(alone.now);
    assert!(silent.iter().all(|id| !alone.shard.is_closing(*id)));
    let due = alone.shard.wake_at().expect("two have to go");
    assert_eq!(due.since(alone.now), Span::from_secs(1));
    alone.now = due;
    alone.shard.tick(due);
    assert_eq!(silent.iter().filter(|id| alone.shard.is_closing(**id)).count(), 2);
    assert_eq!(alone.n_limited(Limit::Unconnected), 2);
    assert!(alone.shard.wake_at().is_none_or(|at| at > due));
}

#[test]
fn a_hundred_thousand_that_come_and_go_leave_nothing_behind() {
    let mut alone = with_unconnected(100_000, 1_000);
    let oldest = alone.connect(Listener::Nats);
    alone.is_keeping = false;
    for _ in 0..100_000 {
        let id = alone.connect(Listener::Nats);
        alone.receive_whole(id, b"PING\r\n");
        alone.shard.release(id, alone.now);
    }
    assert!(alone.shard.n_queued_unconnected() <= 64, "{}", alone.shard.n_queued_unconnected());
    assert!(!alone.shard.is_closing(oldest));
}

#[test]
fn half_packets_of_those_who_have_said_nothing_have_so_many_bytes_together() {
    let mut alone = with_unconnected(100, 50);
    let half = b"\x10\x40\0\x04MQTT\x04\x02\0\0\0\x30twenty bytes and mor";
    let [first, second] = [(); 2].map(|()| alone.connect(Listener::Mqtt));
    alone.receive(first, half);
    assert!(!alone.shard.is_closing(first));
    alone.receive(second, half);
    assert!(!alone.shard.is_closing(first) && alone.shard.is_closing(second));
    assert_eq!(alone.n_limited(Limit::UnconnectedBytes), 1);
    // Who has had its time goes first.
    alone.now = alone.now + Span::from_secs(1);
    let late = alone.connect(Listener::Mqtt);
    alone.receive(late, half);
    assert!(alone.shard.is_closing(first) && !alone.shard.is_closing(late));
    // Whole ones are in nobody's way, and neither is what a client sends in halves.
    let (_, heard) = alone.mqtt(V5);
    assert_eq!(heard, ["CONNACK 00"]);
    let client = alone.nats("");
    alone.receive(client, &[&b"PUB a 100\r\n"[..], &[b'x'; 90]].concat());
    assert!(!alone.shard.is_closing(client));
    // What the one has gives its room back.
    alone.shard.end_of_input(late, false, alone.now);
    let third = alone.connect(Listener::Mqtt);
    alone.receive(third, half);
    assert!(!alone.shard.is_closing(third));
}

#[test]
fn as_many_give_way_to_a_half_packet_as_make_room_or_its_sender_does() {
    for (n_old, n_closed) in [(5, 4), (40, 16)] {
        let mut alone = with_unconnected(1_000, 100);
        let begin = |alone: &mut Alone, n_bytes| {
            let id = alone.connect(Listener::Nats);
            alone.receive(id, &b"CONNECT {".iter().copied().cycle().take(n_bytes).collect::<Vec<_>>());
            id
        };
        let old: Vec<_> = (0..n_old).map(|_| begin(&mut alone, 2)).collect();
        alone.now = alone.now + Span::from_secs(1);
        let newest = begin(&mut alone, 98);
        let is_closing: Vec<_> = old.iter().map(|id| alone.shard.is_closing(*id)).collect();
        assert_eq!(is_closing, (0..n_old).map(|nth| nth < n_closed).collect::<Vec<_>>());
        assert_eq!(alone.shard.is_closing(newest), n_old == 40);
        assert!(alone.shard.n_unconnected_bytes() <= 100);
    }
}

/// Whether a packet has this text in it.
fn says(packet: &[u8], text: &str) -> bool {
    packet.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_refused_connect_says_which_limit_it_was_and_is_logged_with_its_client() {
    let mut limited = settings();
    limited.limits.client_id_bytes_max = 300;
    limited.mqtt.decode.connect_bytes_max = 600;
    let mut alone = Alone::new(limited);
    let told = super::log::lines(|| {
        let long = alone.connect(Listener::Mqtt);
        let front = b"\x10\xd8\x05\0\x04MQTT\x05\x02\0\0\0\0\x05press".as_slice();
        alone.receive(long, front);
        let heard = alone.sent_bytes(long);
        assert_eq!((heard[0], heard[3]), (0x20, 0x95));
        assert!(says(&heard, "Packet too large (0x95), mqtt.connect_bytes_max is 600"), "{heard:?}");
        // Its Maximum Packet Size, 20 bytes, may come later, or has no room for the reason.
        for front in [&front[..12], b"\x10\xd8\x05\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\x14\0\x05press"] {
            let id = alone.connect(Listener::Mqtt);
            alone.receive(id, front);
            assert_eq!(alone.sent_bytes(id), b"\x20\x03\0\x95\0");
        }
        let name = "p".repeat(301);
        assert_eq!(alone.mqtt(Wish { client_id: &name, ..V5 }).1, ["CONNACK 85"]);
    });
    assert_eq!(told.len(), 4, "{told:#?}");
    for (line, name) in told.iter().zip(["press", "", "press", &("p".repeat(128) + "…")]) {
        assert!(line.contains(&format!("id=\"{name}\"")), "{name} is not in {line}");
    }
    assert!(told[3].contains("mqtt.client_id_bytes_max is 300"));
}

#[test]
fn a_connection_that_there_is_no_room_for_is_told_so_in_its_connack_or_closed_soon() {
    let mut alone = limited(Limits { connections: [9, 8, 6, 7], ..Limits::NONE });
    let turned_away = |alone: &mut Alone| {
        let peer = "127.0.0.1:9".parse().unwrap();
        alone.shard.accept_to_refuse(Door::first(Listener::Mqtt), peer, 0, NoRoom::AddressRate, alone.now)
    };
    let [modern, old, silent] = [(); 3].map(|()| turned_away(&mut alone));
    let told = super::log::lines(|| {
        alone.receive(modern, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01m");
        let heard = alone.sent_bytes(modern);
        assert_eq!((heard[0], heard[3]), (0x20, 0x9F));
        assert!(says(&heard, "Connection rate exceeded (0x9F), limits.connection_rate_per_address_max is 7"));
        alone.receive(old, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o");
        // "Server unavailable" of MQTT 3.
        assert_eq!(alone.sent_bytes(old), b"\x20\x02\0\x03");
        assert!(alone.shard.is_closing(modern) && alone.shard.is_closing(old));
        alone.pass(2);
        assert!(alone.shard.is_closing(silent));
    });
    assert_eq!(told.len(), 3, "{told:#?}");
    for (line, name) in told.iter().zip(["m", "o", ""]) {
        let parts = [format!("id=\"{name}\""), "limits.connection_rate_per_address_max is 7".to_owned()];
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert_eq!(alone.shard.counters().n_accepted, [0, 0]);
    assert_eq!(alone.shard.counters().n_sessions, 0);
}

#[test]
fn a_listener_with_a_name_is_named_where_it_is_full() {
    let mut settings = settings();
    settings.limits.connections = [9, 8, 6, 7];
    settings.mqtt.named_connections_max = vec![("mqtt.listeners.edge.max_connections", 1)];
    let told =
        [(0, NoRoom::ListenerFull), (1, NoRoom::ListenerFull), (1, NoRoom::Full)].map(|(nth, no_room)| {
            let door = Door { listener: Listener::Mqtt, nth };
            Refused::no_room(no_room, door, &settings).to_string()
        });
    let expected = [
        "Quota exceeded (0x97), mqtt.max_connections is 8",
        "Quota exceeded (0x97), mqtt.listeners.edge.max_connections is 1",
        "Quota exceeded (0x97), limits.connections_max is 9",
    ];
    assert_eq!(told, expected);
}
