//! Shared subscriptions on one core: who is in a group, who is given what, and what is refused.

use super::*;
use crate::mqtt::packet::{Unsubscribe, UnsubscribeFilters};
use crate::shard::limits::Limit;
use crate::shard::tests::log::lines;

const MEMBER: Wish<'_> = Wish { client_id: "a", ..V5 };

impl Alone {
    /// Subscribes to each of the filters, and gives the codes of SUBACK.
    fn codes(&mut self, id: ConnectionId, filters: &[&str], options: SubscribeOptions) -> Vec<u8> {
        let filters: Vec<_> = filters.iter().map(|filter| (filter.as_bytes(), options)).collect();
        let filters = Filters::from_list(&filters);
        let mut out = Vec::new();
        let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
        encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
        self.receive(id, &out);
        let bytes = self.sent_bytes(id);
        match decode(&bytes, Version::V5, &Limits::NONE) {
            Ok(Decoded::Packet(Packet::Suback(suback), _)) => suback.codes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn unsubscribe(&mut self, id: ConnectionId, filter: &str) {
        let filters = [filter.as_bytes()];
        let filters = UnsubscribeFilters::from_list(&filters);
        let mut out = Vec::new();
        let unsubscribe = Unsubscribe { packet_id: 1, properties: Properties::EMPTY, filters };
        encode::unsubscribe(&mut out, Version::V5, &unsubscribe).unwrap();
        self.receive(id, &out);
        assert_eq!(self.hears(id), ["UNSUBACK"]);
    }

    fn member(&mut self, client_id: &str, filter: &str, qos: Qos) -> ConnectionId {
        let (id, _) = self.mqtt(Wish { client_id, ..MEMBER });
        self.subscribe(id, filter, qos);
        id
    }

    /// Publishes so many messages of QoS 0 on topic `t`.
    fn publish_many(&mut self, n: usize) {
        let (publisher, _) = self.mqtt(Wish { client_id: "publisher", clean_start: true, ..V5 });
        (0..n).for_each(|_| self.publish(publisher, 0, Qos::AtMostOnce, "x", &[]));
        self.leave(publisher, Reason::Success, &[Property::SessionExpiryInterval(0)]);
    }

    fn n_heard(&mut self, id: ConnectionId) -> usize {
        self.hears(id).iter().filter(|it| it.starts_with("PUBLISH")).count()
    }
}

#[test]
fn members_of_both_kinds_have_about_as_many_messages_each_and_nobody_the_same() {
    let mut alone = Alone::new(settings());
    let mqtt = ["a", "b", "c"].map(|name| alone.member(name, "$share/g/t", Qos::AtMostOnce));
    let nats = ["SUB t g 1\r\n", "SUB * g 2\r\n"].map(|subscribe| alone.nats(subscribe));
    alone.publish_many(2_000);
    let mut counts: Vec<usize> = mqtt.iter().map(|id| alone.n_heard(*id)).collect();
    counts.extend(nats.iter().map(|id| alone.sent(*id).matches("MSG t").count()));
    assert_eq!(counts.iter().sum::<usize>(), 2_000);
    assert!(counts.iter().all(|n| (300..=500).contains(n)), "{counts:?}");
}

#[test]
fn each_filter_that_is_shared_under_a_name_has_its_copy() {
    let mut alone = Alone::new(settings());
    let exact = alone.member("a", "$share/g/t", Qos::AtMostOnce);
    let wide = alone.member("b", "$share/g/#", Qos::AtMostOnce);
    let below = alone.member("c", "$share/g/t/#", Qos::AtMostOnce);
    let other = alone.member("d", "$share/h/t", Qos::AtMostOnce);
    let plain = alone.member("e", "t", Qos::AtMostOnce);
    alone.publish_many(10);
    for id in [exact, wide, below, other, plain] {
        assert_eq!(alone.n_heard(id), 10);
    }
    // One client with several of them has several copies.
    let (both, _) = alone.mqtt(Wish { client_id: "f", ..MEMBER });
    alone.codes(both, &["$share/i/t", "$share/i/+", "t"], SubscribeOptions::default());
    alone.publish_many(1);
    assert_eq!(alone.n_heard(both), 3);
}

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn a_malformed_share_is_refused_by_itself() {
    let mut alone = Alone::new(settings());
    let (id, _) = alone.mqtt(V5);
    let filters = ["$share/g/t", "$share//t", "$share/g/", "$share/g", "$share/+/t", "$share/g/a#", "t"];
    let qos = |qos| SubscribeOptions { qos, ..SubscribeOptions::default() };
    let codes = alone.codes(id, &filters, qos(Qos::AtLeastOnce));
    assert_eq!(codes, [0x01, 0x8f, 0x8f, 0x8f, 0x8f, 0x8f, 0x01]);
    // As long as a packet lets it be.
    let long = format!("$share/{}/t", "g".repeat(60_000));
    assert_eq!(alone.codes(id, &[&long], qos(Qos::AtMostOnce)), [0x00]);
    alone.publish_many(1);
    assert_eq!(alone.n_heard(id), 3);
}

// [MQTT-3.8.4-3] [MQTT-3.10.4-1]
#[test]
fn a_shared_subscription_is_replaced_and_ended_under_its_whole_name() {
    let mut alone = Alone::new(settings());
    let id = alone.member("a", "$share/g/t", Qos::AtMostOnce);
    alone.subscribe(id, "$share/g/t", Qos::AtLeastOnce);
    alone.subscribe(id, "$share/h/t", Qos::AtMostOnce);
    alone.subscribe(id, "t", Qos::AtMostOnce);
    assert_eq!(alone.shard.counters().n_subscriptions, [3, 0]);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, "x", &[]);
    assert_eq!(alone.hears(id), ["PUBLISH 0 0 x", "PUBLISH 1 1 x", "PUBLISH 0 0 x"]);
    alone.unsubscribe(id, "$share/g/t");
    alone.publish(publisher, 2, Qos::AtLeastOnce, "y", &[]);
    assert_eq!(alone.hears(id), ["PUBLISH 0 0 y", "PUBLISH 0 0 y"]);
}

#[test]
fn a_shared_subscription_is_sent_nothing_that_was_retained_before() {
    let mut alone = Alone::new(settings());
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: true,
        topic: b"t",
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: b"old",
    };
    let mut out = Vec::new();
    encode::publish(&mut out, Version::V5, &publish).unwrap();
    alone.receive(publisher, &out);
    let id = alone.member("a", "$share/g/#", Qos::AtMostOnce);
    alone.subscribe(id, "$share/g/#", Qos::AtMostOnce);
    assert_eq!(alone.n_heard(id), 0);
    alone.receive(publisher, &out);
    assert_eq!(alone.n_heard(id), 1);
}

// [MQTT-4.8.2-3]
#[test]
fn each_member_has_the_quality_that_it_was_granted() {
    let mut alone = Alone::new(settings());
    let low = alone.member("a", "$share/g/t", Qos::AtMostOnce);
    let high = alone.member("b", "$share/g/t", Qos::ExactlyOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    (1..=40).for_each(|id| alone.publish(publisher, id, Qos::AtLeastOnce, "x", &[]));
    let (low, high) = (alone.hears(low), alone.hears(high));
    assert_eq!(low.len() + high.len(), 40);
    assert!(low.iter().all(|it| it.starts_with("PUBLISH 0")) && !low.is_empty());
    assert!(high.iter().all(|it| it.starts_with("PUBLISH 1")) && !high.is_empty());
}

#[test]
fn who_is_not_there_is_given_something_only_where_nobody_is() {
    let mut alone = Alone::new(settings());
    let gone = alone.member("a", "$share/g/t", Qos::AtLeastOnce);
    let here = alone.member("b", "$share/g/t", Qos::AtLeastOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.lose(gone);
    (1..=20).for_each(|id| alone.publish(publisher, id, Qos::AtLeastOnce, "x", &[]));
    assert_eq!(alone.n_heard(here), 20);
    (1..=20).for_each(|id| alone.ack(here, AckKind::Puback, id, Reason::Success));
    alone.lose(here);
    (1..=20).for_each(|id| alone.publish(publisher, id, Qos::AtLeastOnce, "y", &[]));
    alone.publish(publisher, 0, Qos::AtMostOnce, "nobody", &[]);
    assert_eq!(alone.shard.counters().dropped_no_member, 1);
    let kept = ["a", "b"].map(|client_id| alone.mqtt(Wish { client_id, ..MEMBER }).1);
    let counts = kept.map(|heard| heard.iter().filter(|it| it.starts_with("PUBLISH 1")).count());
    assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == 20, "{counts:?}");
}

#[test]
fn a_member_whose_queue_is_full_leaves_it_to_another() {
    let mut limited = settings();
    (limited.mqtt.session_queue_messages_max, limited.mqtt.session_queue_drops_oldest) = (4, true);
    let mut alone = Alone::new(limited);
    let window = [Property::ReceiveMaximum(1), Property::SessionExpiryInterval(100)];
    let ids = ["a", "b"].map(|client_id| {
        let (id, _) = alone.mqtt(Wish { client_id, properties: &window, ..MEMBER });
        alone.subscribe(id, "$share/g/t", Qos::AtLeastOnce);
        id
    });
    // As many as both can take, and one more.
    for packet_id in 1..=11 {
        let name = format!("p{packet_id}");
        let (publisher, _) = alone.mqtt(Wish { client_id: &name, ..V5 });
        alone.publish(publisher, packet_id, Qos::AtLeastOnce, "x", &[]);
        let reason = if packet_id <= 10 { "00" } else { "10" };
        assert_eq!(alone.hears(publisher), [format!("PUBACK {packet_id} {reason}")]);
    }
    let counters = alone.shard.counters();
    assert_eq!((counters.dropped_no_member, counters.dropped_session_full), (1, 0));
    for id in ids {
        assert_eq!(alone.n_heard(id), 1);
    }
}

#[test]
fn a_packet_that_is_too_large_for_one_member_goes_to_another() {
    let mut alone = Alone::new(settings());
    let small = [Property::MaximumPacketSize(30)];
    let (id, _) = alone.mqtt(Wish { client_id: "a", properties: &small, ..MEMBER });
    alone.subscribe(id, "$share/g/t", Qos::AtMostOnce);
    let other = alone.member("b", "$share/g/t", Qos::AtMostOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    (0..10).for_each(|_| alone.publish(publisher, 0, Qos::AtMostOnce, &"x".repeat(50), &[]));
    assert_eq!((alone.n_heard(id), alone.n_heard(other)), (0, 10));
    assert_eq!(alone.shard.counters().dropped_packet_too_large, 0);
}

#[test]
fn a_group_hears_what_the_gateway_says_where_it_asks_for_that_by_name() {
    let mut alone = Alone::new(settings());
    let named = alone.member("a", "$share/g/$SYS/#", Qos::AtMostOnce);
    let wide = alone.member("b", "$share/g/#", Qos::AtMostOnce);
    let queue = alone.nats("SUB $STRAIT.CLIENT.*.CONNECTED g 1\r\nSUB > g 2\r\n");
    alone.hears(named);
    alone.sent(queue);
    let (id, _) = alone.mqtt(Wish { client_id: "new", ..V5 });
    assert_eq!(alone.n_heard(named), 1);
    assert_eq!(alone.n_heard(wide), 0);
    assert_eq!(alone.sent(queue).matches("MSG ").count(), 1);
    alone.lose(id);
}

#[test]
fn a_take_over_keeps_its_place_in_the_group() {
    let mut alone = Alone::new(settings());
    let first = alone.member("a", "$share/g/t", Qos::AtLeastOnce);
    let (second, heard) = alone.mqtt(Wish { client_id: "a", ..MEMBER });
    assert_eq!(heard, ["CONNACK present"]);
    assert_eq!(alone.hears(first), ["DISCONNECT 8e"]);
    alone.publish_many(3);
    assert_eq!(alone.n_heard(second), 3);
    let (_, heard) = alone.mqtt(Wish { client_id: "a", clean_start: true, ..MEMBER });
    assert_eq!(heard, ["CONNACK 00"]);
    alone.publish_many(3);
    let mut n_members = 0;
    alone.shard.announced(|_, _, counts| n_members += counts.n_online + counts.n_offline);
    assert_eq!(n_members, 0);
}

// [MQTT-4.8.2-4] [MQTT-4.8.2-5]
#[test]
fn what_was_sent_at_qos_2_is_completed_by_its_client_alone() {
    let mut alone = Alone::new(settings());
    let first = alone.member("a", "$share/g/t", Qos::ExactlyOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::ExactlyOnce, "x", &[]);
    alone.publish(publisher, 2, Qos::ExactlyOnce, "y", &[]);
    assert_eq!(alone.hears(first), ["PUBLISH 2 1 x", "PUBLISH 2 2 y"]);
    alone.ack(first, AckKind::Pubrec, 2, Reason::Success);
    let second = alone.member("b", "$share/g/t", Qos::ExactlyOnce);
    alone.lose(first);
    let (first, heard) = alone.mqtt(Wish { client_id: "a", ..MEMBER });
    assert_eq!(heard, ["CONNACK present", "PUBLISH 2 1 dup x", "PUBREL 2 00"]);
    alone.leave(first, Reason::Success, &[Property::SessionExpiryInterval(0)]);
    assert_eq!(alone.n_heard(second), 0);
}

// [MQTT-4.8.2-6]
#[test]
fn what_a_member_refuses_goes_to_nobody_else() {
    let mut alone = Alone::new(settings());
    let first = alone.member("a", "$share/g/t", Qos::ExactlyOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, "x", &[]);
    alone.publish(publisher, 2, Qos::ExactlyOnce, "y", &[]);
    assert_eq!(alone.hears(first), ["PUBLISH 1 1 x", "PUBLISH 2 2 y"]);
    let second = alone.member("b", "$share/g/t", Qos::ExactlyOnce);
    alone.ack(first, AckKind::Puback, 1, Reason::UnspecifiedError);
    alone.ack(first, AckKind::Pubrec, 2, Reason::UnspecifiedError);
    alone.leave(first, Reason::Success, &[Property::SessionExpiryInterval(0)]);
    assert_eq!(alone.n_heard(second), 0);
}

#[test]
fn what_a_session_that_ends_had_not_acknowledged_goes_to_another_member() {
    let mut alone = Alone::new(settings());
    let properties = [Property::ReceiveMaximum(2), Property::SessionExpiryInterval(100)];
    let (first, _) = alone.mqtt(Wish { client_id: "a", properties: &properties, ..MEMBER });
    alone.subscribe(first, "$share/g/t", Qos::AtLeastOnce);
    alone.subscribe(first, "t", Qos::AtLeastOnce);
    alone.unsubscribe(first, "t");
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    let old = [Property::MessageExpiryInterval(5)];
    let young = [Property::MessageExpiryInterval(50)];
    alone.publish(publisher, 1, Qos::AtLeastOnce, "acknowledged", &[]);
    alone.publish(publisher, 2, Qos::AtLeastOnce, "sent", &young);
    alone.publish(publisher, 3, Qos::AtLeastOnce, "sent too", &[]);
    alone.publish(publisher, 4, Qos::AtLeastOnce, "old", &old);
    alone.publish(publisher, 5, Qos::AtLeastOnce, "waits", &young);
    alone.ack(first, AckKind::Puback, 1, Reason::Success);
    assert_eq!(
        alone.hears(first),
        ["PUBLISH 1 1 acknowledged", "PUBLISH 1 2 sent 50s", "PUBLISH 1 3 sent too"]
    );
    alone.lose(first);
    let second = alone.member("b", "$share/g/t", Qos::AtLeastOnce);
    assert_eq!(alone.n_heard(second), 0);
    alone.pass(101);
    // Its time was up: the session's and that of some.
    assert_eq!(alone.hears(second), ["PUBLISH 1 1 sent too"]);
    let counters = alone.shard.counters();
    assert_eq!((counters.redelivered, counters.expired), (1, 3));
    alone.hears(publisher);
    assert_eq!(alone.shard.n_waiting_bytes().0, "tsent too".len());
}

#[test]
fn a_member_that_leaves_for_good_leaves_all_to_the_others() {
    let mut alone = Alone::new(settings());
    let identified = [Property::SubscriptionIdentifier(7)];
    for way in 0..3 {
        let wish = Wish { client_id: "a", clean_start: true, ..MEMBER };
        let (first, _) = alone.mqtt(wish);
        let properties = block(&identified);
        let options = SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
        let filters = [(&b"$share/g/t"[..], options)];
        let filters = Filters::from_list(&filters);
        let subscribe = Subscribe { packet_id: 1, properties: properties.properties(), filters };
        let mut out = Vec::new();
        encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
        alone.receive(first, &out);
        let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
        alone.publish(publisher, 1, Qos::AtLeastOnce, "x", &[Property::MessageExpiryInterval(50)]);
        assert_eq!(alone.hears(first), ["SUBACK", "PUBLISH 1 1 x 50s"]);
        let second = alone.member("b", "$share/g/t", Qos::AtLeastOnce);
        let nats = alone.nats("SUB t other 1\r\n");
        alone.pass(10);
        match way {
            0 => alone.leave(first, Reason::Success, &[Property::SessionExpiryInterval(0)]),
            1 => {
                // It has begun, and no other member is there yet.
                alone.unsubscribe(first, "$share/g/t");
                assert_eq!(alone.n_heard(second), 0);
                alone.leave(first, Reason::Success, &[Property::SessionExpiryInterval(0)]);
            }
            _ => drop(alone.mqtt(wish)),
        }
        let bytes = alone.sent_bytes(second);
        let Ok(Decoded::Packet(Packet::Publish(publish), _)) = decode(&bytes, Version::V5, &Limits::NONE)
        else {
            panic!("{bytes:?}")
        };
        assert_eq!(publish.properties.message_expiry_interval(), Some(40));
        assert_eq!(publish.properties.subscription_identifiers().count(), 0);
        assert_eq!((publish.dup, alone.said_to(nats).as_str()), (false, ""));
        alone.leave(second, Reason::Success, &[Property::SessionExpiryInterval(0)]);
    }
    assert_eq!(alone.shard.counters().redelivered, 3);
    assert_eq!(alone.shard.counters().dropped_no_member, 3);
}

#[test]
fn what_was_never_sent_to_a_client_that_is_gone_goes_to_one_that_is_there() {
    let mut alone = Alone::new(settings());
    let properties = [Property::ReceiveMaximum(1), Property::SessionExpiryInterval(100)];
    let (first, _) = alone.mqtt(Wish { client_id: "a", properties: &properties, ..MEMBER });
    alone.subscribe(first, "$share/g/t", Qos::ExactlyOnce);
    alone.subscribe(first, "t", Qos::AtLeastOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    for (packet_id, text) in (1..).zip(["one", "two", "three"]) {
        alone.publish(publisher, packet_id, Qos::ExactlyOnce, text, &[]);
    }
    let second = alone.member("b", "$share/g/#", Qos::ExactlyOnce);
    alone.lose(first);
    assert_eq!(alone.n_heard(second), 0);
    let (first, _) = alone.mqtt(Wish { client_id: "a", properties: &properties, ..MEMBER });
    let third = alone.member("c", "$share/g/t", Qos::ExactlyOnce);
    alone.lose(first);
    assert_eq!(alone.hears(third), ["PUBLISH 2 1 one", "PUBLISH 2 2 two", "PUBLISH 2 3 three"]);
    // Its plain subscription's are its own, and the first of them was all that its window let through.
    let (_, heard) = alone.mqtt(MEMBER);
    assert_eq!(heard[1..], ["PUBLISH 1 1 dup one", "PUBLISH 1 2 two", "PUBLISH 1 3 three"]);
    assert_eq!(alone.n_heard(second), 0);
}

#[test]
fn a_long_queue_goes_to_others_in_slices() {
    let mut roomy = settings();
    roomy.mqtt.session_queue_messages_max = 10_000;
    let mut alone = Alone::new(roomy);
    let first = alone.member("a", "$share/g/t", Qos::AtLeastOnce);
    alone.lose(first);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    (1..=1_000).for_each(|id| alone.publish(publisher, id, Qos::AtLeastOnce, "x", &[]));
    let second = alone.member("b", "$share/g/t", Qos::AtLeastOnce);
    alone.now = alone.now + Span::from_secs(101);
    alone.shard.tick(alone.now);
    assert_eq!(alone.shard.counters().redelivered, 256);
    while alone.shard.wake_at() == Some(alone.now) {
        alone.shard.tick(alone.now);
    }
    assert_eq!((alone.shard.counters().redelivered, alone.n_heard(second)), (1_000, 1_000));
}

/// A member with a thousand messages of 101 bytes that its session ends with, beside one that is there.
fn left_behind(limited: Settings) -> (Alone, ConnectionId) {
    let mut alone = Alone::new(limited);
    let first = alone.member("a", "$share/g/t", Qos::AtLeastOnce);
    alone.lose(first);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    (1..=1_000).for_each(|id| alone.publish(publisher, id, Qos::AtLeastOnce, &"x".repeat(100), &[]));
    alone.hears(publisher);
    let second = alone.member("b", "$share/g/t", Qos::AtLeastOnce);
    alone.now = alone.now + Span::from_secs(101);
    alone.shard.tick(alone.now);
    (alone, second)
}

impl Alone {
    fn go_on(&mut self) {
        while self.shard.wake_at() == Some(self.now) {
            self.shard.tick(self.now);
        }
    }
}

#[test]
fn of_what_too_many_leave_behind_the_oldest_is_dropped_and_counted() {
    let mut limited = settings();
    limited.mqtt.left_behind.messages_max = 300;
    let (mut alone, second) = left_behind(limited);
    assert_eq!(alone.shard.counters().dropped_left_behind, 700);
    assert_eq!(n_limited(&alone), [1, 0, 0]);
    alone.go_on();
    let counters = alone.shard.counters();
    assert_eq!((counters.redelivered, counters.dropped_left_behind), (300, 700));
    assert_eq!(alone.n_heard(second), 300);
    let mut limited = settings();
    limited.mqtt.left_behind.bytes_max = 101 * 10 + 100;
    let (mut alone, second) = left_behind(limited);
    assert_eq!((alone.n_heard(second), alone.shard.counters().dropped_left_behind), (10, 990));
    assert_eq!(n_limited(&alone), [0, 1, 0]);
}

/// How often what is left behind was too many messages, too many bytes, or too much for the core.
fn n_limited(alone: &Alone) -> [u64; 3] {
    let limits = [Limit::LeftBehindMessages, Limit::LeftBehindBytes, Limit::CoreQueue];
    limits.map(|limit| alone.shard.counters().n_limited[limit as usize])
}

#[test]
fn a_session_that_ends_for_the_cores_limit_is_counted_and_told_of() {
    let mut alone = Alone::new(Settings { core_queue_bytes_max: 5_000, ..settings() });
    let first = alone.member("a", "t", Qos::AtLeastOnce);
    alone.lose(first);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    let told = lines(|| {
        (1..=100).for_each(|id| alone.publish(publisher, id, Qos::AtLeastOnce, &"x".repeat(100), &[]));
    });
    assert_eq!((alone.shard.counters().sessions_discarded, n_limited(&alone)), (1, [0, 0, 1]));
    assert!(told.iter().any(|line| line.contains("limits.core_queue_bytes_max is 5000")), "{told:#?}");
}

#[test]
fn what_is_left_behind_counts_in_the_cores_total_and_gives_way_where_it_is_the_most() {
    let (mut alone, second) = left_behind(Settings { core_queue_bytes_max: 110_000, ..settings() });
    let (n_bytes, counters) = (alone.shard.n_waiting_bytes().0, alone.shard.counters());
    assert!(n_bytes <= 110_000 && n_bytes > 110_000 - 101, "{n_bytes} bytes");
    assert_eq!((counters.redelivered, counters.queued_bytes), (256, n_bytes as u64));
    assert!(n_limited(&alone)[2] > 0);
    let n_dropped = counters.dropped_left_behind;
    assert!((100..300).contains(&n_dropped), "{n_dropped}");
    let mut n_heard = alone.n_heard(second);
    while alone.shard.goes_on() {
        alone.shard.tick(alone.now);
        n_heard += alone.n_heard(second);
    }
    assert_eq!((n_heard as u64 + n_dropped, alone.shard.counters().slow_consumers), (1_000, 0));
}
