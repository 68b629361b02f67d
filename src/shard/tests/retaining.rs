//! Retained messages at one shard: when they come, with which flags, and what bounds them.

use super::retained::tests::message;
use super::storm::Two;
use super::*;
use crate::message::ProtocolKind;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{
    Connect, Filters, Packet, Publish, Qos, RetainHandling, Subscribe, SubscribeOptions, Version,
};
use crate::mqtt::property::{Properties, Property, PropertyBlock};

/// What a client has been sent of a PUBLISH: topic, payload, retain flag, QoS.
type Came = (String, String, bool, u8);

fn packets(alone: &mut Alone, id: ConnectionId, version: Version) -> Vec<(Came, Vec<u8>)> {
    let bytes = alone.sent_bytes(id);
    let mut rest = &bytes[..];
    let mut came = Vec::new();
    while !rest.is_empty() {
        let Decoded::Packet(packet, n) = decode(rest, version, &Limits::NONE).unwrap() else {
            panic!("half")
        };
        rest = &rest[n..];
        if let Packet::Publish(it) = packet {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let properties = it.properties.raw().to_vec();
            came.push(((text(it.topic), text(it.payload), it.retain, it.qos as u8), properties));
        }
    }
    came
}

fn came(alone: &mut Alone, id: ConnectionId) -> Vec<Came> {
    packets(alone, id, Version::V5).into_iter().map(|it| it.0).collect()
}

fn client(alone: &mut Alone, name: &str, receive_maximum: u16) -> ConnectionId {
    let id = alone.connect(Listener::Mqtt);
    let mut block = PropertyBlock::new();
    block.push(Property::ReceiveMaximum(receive_maximum)).unwrap();
    let mut out = Vec::new();
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: name.as_bytes(),
        will: None,
        username: None,
        password: None,
        properties: block.properties(),
    };
    encode::connect(&mut out, &connect).unwrap();
    alone.receive(id, &out);
    alone.sent_bytes(id);
    id
}

fn publish(
    alone: &mut Alone,
    id: ConnectionId,
    topic: &str,
    payload: &[u8],
    qos: Qos,
    properties: &[Property<'_>],
) {
    let mut block = PropertyBlock::new();
    properties.iter().for_each(|it| block.push(*it).unwrap());
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { 9 };
    let (dup, retain, topic) = (false, true, topic.as_bytes());
    let it = Publish { dup, qos, retain, topic, packet_id, properties: block.properties(), payload };
    let mut out = Vec::new();
    encode::publish(&mut out, Version::V5, &it).unwrap();
    alone.receive(id, &out);
}

fn subscribe(alone: &mut Alone, id: ConnectionId, filter: &str, options: SubscribeOptions, identifier: u32) {
    let mut block = PropertyBlock::new();
    if identifier != 0 {
        block.push(Property::SubscriptionIdentifier(identifier)).unwrap();
    }
    let filters = [(filter.as_bytes(), options)];
    let filters = Filters::from_list(&filters);
    let mut out = Vec::new();
    let it = Subscribe { packet_id: 1, properties: block.properties(), filters };
    encode::subscribe(&mut out, Version::V5, &it).unwrap();
    alone.receive(id, &out);
}

fn qos_1() -> SubscribeOptions {
    SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() }
}

fn it(topic: &str, payload: &str, retain: bool, qos: u8) -> Came {
    (topic.into(), payload.into(), retain, qos)
}

// [MQTT-3.8.4-4]
// 3.1.1: [MQTT-3.8.4-3]
#[test]
fn retain_handling_says_when_retained_messages_come() {
    // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
    let mut alone = Alone::new(settings());
    let publisher = client(&mut alone, "p", 10);
    publish(&mut alone, publisher, "a/b", b"x", Qos::AtMostOnce, &[]);
    let id = client(&mut alone, "s", 10);
    let handling = |retain_handling| SubscribeOptions { retain_handling, ..qos_1() };
    let x = [it("a/b", "x", true, 0)];
    for (retain_handling, expected) in [
        (RetainHandling::DoNotSend, &[][..]),
        (RetainHandling::SendIfNew, &[]),
        (RetainHandling::Send, &x),
        (RetainHandling::Send, &x),
    ] {
        subscribe(&mut alone, id, "a/#", handling(retain_handling), 0);
        assert_eq!(came(&mut alone, id), expected, "{retain_handling:?}");
    }
    subscribe(&mut alone, id, "+/b", handling(RetainHandling::SendIfNew), 0);
    assert_eq!(came(&mut alone, id), x);
}

// 3.1.1: [MQTT-3.3.1-8] [MQTT-3.3.1-9]
#[test]
fn a_live_message_has_no_retain_flag_unless_the_subscription_asks_for_it() {
    // [MQTT-3.3.1-8] [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    let mut alone = Alone::new(settings());
    let [publisher, plain, flagged] = ["p", "a", "b"].map(|name| client(&mut alone, name, 10));
    subscribe(&mut alone, plain, "a", SubscribeOptions::default(), 0);
    let options = SubscribeOptions { retain_as_published: true, ..SubscribeOptions::default() };
    subscribe(&mut alone, flagged, "a", options, 0);
    publish(&mut alone, publisher, "a", b"x", Qos::AtMostOnce, &[]);
    assert_eq!(came(&mut alone, plain), [it("a", "x", false, 0)]);
    assert_eq!(came(&mut alone, flagged), [it("a", "x", true, 0)]);
}

// 3.1.1: [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[test]
fn the_last_message_of_a_topic_is_kept_and_an_empty_one_clears_it() {
    // [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
    let mut alone = Alone::new(settings());
    let publisher = client(&mut alone, "p", 10);
    for (topic, payload) in [("a", "1"), ("a", "2"), ("b", "3"), ("b", "")] {
        publish(&mut alone, publisher, topic, payload.as_bytes(), Qos::AtLeastOnce, &[]);
    }
    let id = client(&mut alone, "s", 10);
    subscribe(&mut alone, id, "#", qos_1(), 0);
    assert_eq!(came(&mut alone, id), [it("a", "2", true, 1)]);
    assert_eq!(alone.shard.counters().n_retained, 1);
    // The gateway's and other `$` topics are not for a wildcard. [MQTT-4.7.2-1]
    publish(&mut alone, publisher, "$x/y", b"4", Qos::AtMostOnce, &[]);
    let id = client(&mut alone, "t", 10);
    subscribe(&mut alone, id, "+/y", qos_1(), 0);
    assert_eq!(came(&mut alone, id), []);
    subscribe(&mut alone, id, "$x/+", qos_1(), 0);
    assert_eq!(came(&mut alone, id), [it("$x/y", "4", true, 0)]);
}

#[test]
fn a_replay_is_pulled_by_the_window_and_what_changes_meanwhile_comes_once() {
    let mut alone = Alone::new(settings());
    let publisher = client(&mut alone, "p", 10);
    for n in 0..200 {
        publish(&mut alone, publisher, &format!("a/{n}"), b"old", Qos::AtLeastOnce, &[]);
    }
    let id = client(&mut alone, "s", 3);
    subscribe(&mut alone, id, "a/#", qos_1(), 0);
    let first = came(&mut alone, id);
    assert_eq!(first.len(), 3);
    let inflight = &alone.shard.mqtt(id).unwrap().session.inflight;
    assert!(!inflight.has_pending(), "nothing waits in the session for a replay");
    // Those that have come change, and one that has not.
    let late =
        (0..200).map(|n| format!("a/{n}")).find(|topic| first.iter().all(|it| it.0 != *topic)).unwrap();
    for topic in [&first[0].0, &late] {
        publish(&mut alone, publisher, topic, b"new", Qos::AtMostOnce, &[]);
    }
    let mut all = first;
    let mut packet_id = 1u16;
    while all.len() < 201 {
        let [high, low] = packet_id.to_be_bytes();
        alone.receive(id, &[0x40, 2, high, low]);
        alone.shard.tick(alone.now);
        packet_id += 1;
        let more = came(&mut alone, id);
        all.extend(more);
        assert!(packet_id < 500, "it does not go on");
    }
    let of =
        |topic: &str| all.iter().filter(|it| it.0 == *topic).map(|it| (&*it.1, it.2)).collect::<Vec<_>>();
    assert_eq!(of(&all[0].0), [("old", true), ("new", false)]);
    assert_eq!(of(&late), [("new", false)]);
    // Whether `a` itself is retained is seen once there is room again.
    let [high, low] = packet_id.to_be_bytes();
    alone.receive(id, &[0x40, 2, high, low]);
    alone.shard.tick(alone.now);
    assert!(alone.shard.clients.slots.get(id).unwrap().replays.is_none());
}

#[test]
fn a_replay_leaves_half_of_the_write_queue_and_goes_on_as_it_is_read() {
    let mut alone = Alone::new(Settings { write_queue_bytes_max: 2_000, ..settings() });
    let publisher = client(&mut alone, "p", 10);
    for n in 0..100 {
        publish(&mut alone, publisher, &format!("a/{n}"), &[b'x'; 80], Qos::AtMostOnce, &[]);
    }
    let id = client(&mut alone, "s", 10);
    subscribe(&mut alone, id, "#", qos_1(), 0);
    let mut n_came = 0;
    while n_came < 100 {
        let n_waiting = alone.shard.queue(id).unwrap().len();
        assert!(n_waiting > 0 && n_waiting < 1_200, "{n_waiting}");
        n_came += came(&mut alone, id).len();
        alone.shard.tick(alone.now);
    }
    assert_eq!((n_came, alone.shard.counters().dropped_queue_full), (100, 0));
}

// [MQTT-3.3.4-5]
#[test]
fn a_subscription_identifier_comes_with_live_and_retained_messages() {
    // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    let mut alone = Alone::new(settings());
    let [publisher, id] = ["p", "s"].map(|name| client(&mut alone, name, 10));
    publish(&mut alone, publisher, "a", b"x", Qos::AtMostOnce, &[Property::ContentType(b"t")]);
    subscribe(&mut alone, id, "a", qos_1(), 7);
    subscribe(
        &mut alone,
        id,
        "+",
        SubscribeOptions { retain_handling: RetainHandling::DoNotSend, ..qos_1() },
        300,
    );
    publish(&mut alone, publisher, "a", b"y", Qos::AtMostOnce, &[Property::ContentType(b"t")]);
    let ids: Vec<_> = packets(&mut alone, id, Version::V5)
        .iter()
        .map(|(came, properties)| {
            let properties = Properties::from_checked(properties);
            assert_eq!(properties.content_type(), Some(&b"t"[..]));
            (came.1.clone(), properties.subscription_identifiers().collect::<Vec<_>>())
        })
        .collect();
    let expected = [("x", vec![7]), ("y", vec![7]), ("y", vec![300])];
    let mut sorted = ids;
    sorted.sort();
    assert_eq!(sorted, expected.map(|(payload, ids)| (payload.to_owned(), ids)));
}

#[test]
fn what_is_left_of_a_messages_time_comes_with_it_and_then_it_is_gone() {
    // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    let mut alone = Alone::new(settings());
    let publisher = client(&mut alone, "p", 10);
    let pair = Property::ContentType(b"t");
    publish(&mut alone, publisher, "a", b"x", Qos::AtMostOnce, &[Property::MessageExpiryInterval(10), pair]);
    alone.now = alone.now + Span::from_secs(4);
    let early = client(&mut alone, "s", 10);
    subscribe(&mut alone, early, "a", qos_1(), 0);
    let (_, properties) = packets(&mut alone, early, Version::V5).pop().unwrap();
    let properties = Properties::from_checked(&properties);
    assert_eq!((properties.message_expiry_interval(), properties.content_type()), (Some(6), Some(&b"t"[..])));
    alone.now = alone.now + Span::from_secs(6);
    let late = client(&mut alone, "t", 10);
    subscribe(&mut alone, late, "a", qos_1(), 0);
    assert_eq!(came(&mut alone, late), []);
    alone.shard.tick(alone.now);
    let counters = alone.shard.counters();
    assert_eq!((counters.n_retained, counters.retained_expired), (0, 1));
}

#[test]
fn what_there_is_no_room_for_is_refused_where_that_can_be_said_and_delivered_otherwise() {
    let mut alone = Alone::new(settings());
    let [publisher, id] = ["p", "s"].map(|name| client(&mut alone, name, 10));
    subscribe(&mut alone, id, "a", qos_1(), 0);
    alone.sent_bytes(id);
    let large = vec![b'x'; (1 << 16) + 1];
    let publish = |alone: &mut Alone, qos| {
        let mut out = Vec::new();
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { 9 };
        let (dup, retain, topic) = (false, true, &b"a"[..]);
        let it =
            Publish { dup, qos, retain, topic, packet_id, properties: Properties::EMPTY, payload: &large };
        encode::publish(&mut out, Version::V5, &it).unwrap();
        alone.receive_whole(publisher, &out);
    };
    publish(&mut alone, Qos::AtLeastOnce);
    let heard = alone.sent_bytes(publisher);
    assert_eq!((heard[0], &heard[2..5]), (0x40, &[0, 9, 0x97][..]));
    assert_eq!(came(&mut alone, id), []);
    publish(&mut alone, Qos::AtMostOnce);
    assert_eq!(came(&mut alone, id).len(), 1);
    let counters = alone.shard.counters();
    assert_eq!((counters.retained_refused, counters.n_retained), (2, 0));
}

#[test]
fn no_local_keeps_ones_own_retained_messages_away_even_after_a_reconnect() {
    // [MQTT-3.8.3-3]
    let mut alone = Alone::new(settings());
    let id = client(&mut alone, "p", 10);
    publish(&mut alone, id, "a", b"x", Qos::AtMostOnce, &[]);
    let again = client(&mut alone, "p", 10);
    subscribe(&mut alone, again, "a", SubscribeOptions { no_local: true, ..qos_1() }, 0);
    assert_eq!(came(&mut alone, again), []);
    subscribe(&mut alone, again, "a", qos_1(), 0);
    assert_eq!(came(&mut alone, again).len(), 1);
}

#[test]
fn a_client_has_some_lists_at_once_and_others_have_theirs() {
    let mut alone = Alone::new(settings());
    let greedy = alone.nats("SUB r 1\r\n");
    alone.receive(greedy, "PUB $STRAIT.RETAINED.LIST.> r 0\r\n\r\n".repeat(40).as_bytes());
    let modest = alone.nats("SUB r 1\r\n");
    alone.receive(modest, b"PUB $STRAIT.RETAINED.LIST.> q 0\r\n\r\n");
    let mut said = alone.sent(greedy);
    while alone.shard.wake_at().is_some_and(|at| at <= alone.now) {
        alone.shard.tick(alone.now);
        said += &alone.sent(greedy);
    }
    assert_eq!((said.matches("NATS/1.0 429").count(), said.matches("NATS/1.0 204").count()), (24, 16));
    alone.receive(greedy, b"PUB $STRAIT.RETAINED.LIST.> r 0\r\n\r\n");
    alone.shard.tick(alone.now);
    assert!(alone.sent(greedy).contains("NATS/1.0 204"));
}

const N_TOPICS: usize = 1_000_000;

/// Messages that a slice of a replay looks at, and that it sends; one client has one of a turn.
const SLICE_LOOKS: usize = 512;
const SLICE_SENDS: usize = 64;

#[test]
fn a_million_retained_topics_are_replayed_some_a_turn_and_others_are_answered_between() {
    let mut settings = settings();
    settings.mqtt.retained = retained::Limits { messages_max: N_TOPICS, bytes_max: 1 << 30, ..RETAINED };
    let mut alone = Alone::new(settings);
    alone.is_keeping = false;
    for n in 0..N_TOPICS {
        let subject = if n % 1_000 == 0 { format!("z.x.{n}") } else { format!("a.{n}") };
        let message = message(subject.as_bytes(), b"", b"x");
        alone.shard.retained.set(&message, 0, ProtocolKind::Mqtt, alone.now).unwrap();
    }
    let bystander = alone.nats("");
    for (filter, n_looks, n_sends) in [
        ("#", N_TOPICS, N_TOPICS),
        ("+/x/+", N_TOPICS, N_TOPICS / 1_000),
        ("a/#", N_TOPICS - N_TOPICS / 1_000, N_TOPICS - N_TOPICS / 1_000),
    ] {
        let id = client(&mut alone, filter, 10);
        let before = alone.shard.counters().replayed;
        subscribe(&mut alone, id, filter, SubscribeOptions::default(), 0);
        let (mut n_turns, mut n_replayed) = (1, before);
        loop {
            let n_last = std::mem::replace(&mut n_replayed, alone.shard.counters().replayed);
            assert!(n_replayed - n_last <= SLICE_SENDS as u64, "{} in a turn", n_replayed - n_last);
            alone.receive(bystander, b"PING\r\n");
            assert_eq!(alone.sent(bystander), "PONG\r\n");
            alone.sent_bytes(id);
            if !alone.shard.goes_on() {
                break;
            }
            alone.shard.tick(alone.now);
            n_turns += 1;
        }
        assert_eq!(n_replayed - before, n_sends as u64, "{filter}");
        assert!(
            n_turns >= (n_looks / SLICE_LOOKS).max(n_sends / SLICE_SENDS),
            "{n_turns} turns for {filter}"
        );
    }
}

#[test]
fn a_subscription_renewed_before_all_cores_know_of_it_has_what_is_retained_meanwhile() {
    let subscribe = |packet_id, options| [0x82, 7, 0, packet_id, 0, 0, 1, b'a', options];
    let retained = "HPUB a 28 29\r\nNATS/1.0\r\nMqtt-Retain: 1\r\n\r\nx\r\n";
    // Retain Handling 2 at first.
    let mut two = Two::new(1 << 20);
    let device = two.connect("k0", None, b"");
    two.come_to_rest();
    two.receive(0, device, &[subscribe(1, 0x20), subscribe(2, 0)].concat());
    two.nats(1, retained);
    two.come_to_rest();
    assert_eq!(two.shards[0].counters().replayed, 1);
    // Given up and taken back.
    let mut two = Two::new(1 << 20);
    let device = two.connect("k0", None, &subscribe(1, 0));
    two.come_to_rest();
    two.receive(0, device, b"\xa2\x06\0\x02\0\0\x01a");
    two.mail(0);
    two.receive(0, device, &subscribe(3, 0));
    two.nats(1, retained);
    two.come_to_rest();
    assert_eq!(two.shards[0].counters().replayed, 1);
}
