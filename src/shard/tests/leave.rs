//! Lame-duck mode and the drain of one shard alone.

use super::sessions::{V5, Wish};
use super::*;
use crate::mqtt::encode::AckKind;
use crate::mqtt::packet::Qos;
use crate::mqtt::property::Property;
use crate::mqtt::reason::Reason;
use crate::nats::handshake::Reached;
use crate::shard::leave::Forgotten;

fn handshaken(alone: &mut Alone, protocol: u8) -> ConnectionId {
    let id = alone.connect(Listener::Nats);
    alone
        .receive(id, format!("CONNECT {{\"verbose\":false,\"protocol\":{protocol}}}\r\nPING\r\n").as_bytes());
    alone.sent(id);
    id
}

fn mqtt_5(alone: &mut Alone) -> ConnectionId {
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01m");
    assert!(alone.sent_bytes(id).starts_with(b"\x20"));
    id
}

#[test]
fn a_lame_duck_tells_those_who_can_hear_it_and_closes_all_one_by_one() {
    let mut settings = settings();
    let reached = Reached {
        host: "a.example".into(),
        port: 4222,
        connect_urls: vec!["a.example:4222".into(), "b.example:4222".into()],
    };
    settings.nats.server.reached = vec![reached];
    let mut alone = Alone::new(settings);
    let told = handshaken(&mut alone, 1);
    let old = handshaken(&mut alone, 0);
    let unfinished = alone.nats("");
    let mqtt = mqtt_5(&mut alone);
    alone.shard.begin_lame_duck(alone.now);
    let info = alone.sent(told);
    assert!(
        info.contains("\"ldm\":true") && info.contains("\"connect_urls\":[\"b.example:4222\"]"),
        "{info}"
    );
    assert_eq!(alone.sent(old) + &alone.sent(unfinished), "");
    alone.receive(unfinished, b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    assert!(alone.sent(unfinished).contains("\"ldm\":true"));

    let ids = [told, old, unfinished, mqtt];
    let mut closed_at = Vec::new();
    for _ in 0..200 {
        alone.now = alone.now + Span::from_millis(100);
        let n_before = ids.iter().filter(|&&id| alone.shard.is_closing(id)).count();
        alone.shard.tick(alone.now);
        let n_after = ids.iter().filter(|&&id| alone.shard.is_closing(id)).count();
        closed_at.extend((n_before..n_after).map(|_| alone.now));
    }
    assert_eq!(closed_at.len(), 4);
    assert!(closed_at[0].since(Time::START) >= Span::from_secs(10), "{closed_at:?}");
    assert!(closed_at[3].since(closed_at[0]) <= Span::from_secs(4), "{closed_at:?}");
    let farewell = alone.sent_bytes(mqtt);
    assert!(farewell.starts_with(b"\xe0") && farewell.contains(&0x8b), "{farewell:?}");
    ids.iter().for_each(|&id| alone.shard.release(id, alone.now));
    assert!(alone.shard.has_left());
}

#[test]
fn a_drain_takes_no_more_and_has_what_was_taken_written() {
    let mut alone = Alone::new(settings());
    let [subscriber, publisher] = [alone.nats("SUB a 1\r\n"), alone.nats("")];
    alone.receive(publisher, b"PUB a 1\r\nx\r\n");
    assert!(alone.shard.wants_input(publisher));
    alone.shard.begin_drain(alone.now);
    assert!(alone.shard.is_closing(subscriber) && alone.shard.is_closing(publisher));
    assert!(!alone.shard.is_drained());
    // It has as long as the drain may take to read, and then no longer than it must.
    alone.now = alone.now + Span::from_millis(4_000);
    alone.shard.tick(alone.now);
    assert!(!alone.shard.effects().cut.contains(&subscriber));
    assert_eq!(alone.sent(subscriber), "MSG a 1 1\r\nx\r\n");
    alone.now = alone.now + Span::from_millis(700);
    alone.shard.tick(alone.now);
    assert!(alone.shard.effects().cut.contains(&subscriber));
    [subscriber, publisher].iter().for_each(|&id| alone.shard.release(id, alone.now));
    assert!(alone.shard.is_drained());
}

/// One whose window takes two, and one who publishes five.
fn slow_and_publisher(alone: &mut Alone, lives_on: bool) -> [ConnectionId; 2] {
    let window = [Property::ReceiveMaximum(2), Property::SessionExpiryInterval(100)];
    let properties = if lives_on { &window[..] } else { &window[..1] };
    let slow = alone.mqtt(Wish { client_id: "slow", properties, ..V5 }).0;
    alone.subscribe(slow, "t", Qos::ExactlyOnce);
    let publisher = alone.mqtt(Wish { client_id: "p", ..V5 }).0;
    alone.publish(publisher, 1, Qos::ExactlyOnce, "1", &[]);
    (2..=5).for_each(|nth| alone.publish(publisher, nth, Qos::AtLeastOnce, &nth.to_string(), &[]));
    [slow, publisher]
}

#[test]
fn a_drain_awaits_what_clients_acknowledge_and_takes_nothing_else_of_them() {
    let mut alone = Alone::new(settings());
    let [slow, publisher] = slow_and_publisher(&mut alone, false);
    let nats = alone.nats("SUB > 1\r\n");
    alone.shard.begin_drain(alone.now);
    assert!(alone.shard.is_closing(publisher) && alone.shard.is_closing(nats));
    assert!(!alone.shard.is_closing(slow) && alone.shard.wants_input(slow));
    assert!(alone.shard.effects().resume.contains(&slow));
    assert_eq!(alone.hears(slow), ["PUBLISH 2 1 1", "PUBLISH 1 2 2"]);
    alone.publish(slow, 1, Qos::AtLeastOnce, "late", &[]);
    alone.receive(slow, b"\x82\x07\0\x01\0\0\x01u\0\xc0\0");
    alone.ack(slow, AckKind::Puback, 2, Reason::Success);
    alone.ack(slow, AckKind::Pubrec, 1, Reason::Success);
    assert_eq!(alone.hears(slow), ["PUBLISH 1 3 3", "PUBREL 1 00"]);
    alone.ack(slow, AckKind::Pubcomp, 1, Reason::Success);
    alone.ack(slow, AckKind::Puback, 3, Reason::Success);
    alone.ack(slow, AckKind::Puback, 4, Reason::Success);
    assert!(!alone.shard.is_closing(slow));
    alone.ack(slow, AckKind::Puback, 5, Reason::Success);
    assert!(alone.shard.is_closing(slow));
    assert_eq!(alone.hears(slow), ["PUBLISH 1 4 4", "PUBLISH 1 5 5", "DISCONNECT 8b"]);
    [slow, publisher, nats].iter().for_each(|&id| alone.shard.release(id, alone.now));
    assert!(alone.shard.is_drained());
    assert_eq!(alone.shard.forgotten(), Forgotten::default());
}

#[test]
fn a_drain_says_what_was_not_acknowledged_in_time() {
    for lives_on in [true, false] {
        let mut alone = Alone::new(settings());
        let [slow, publisher] = slow_and_publisher(&mut alone, lives_on);
        let away = alone.mqtt(Wish { client_id: "away", ..V5 }).0;
        alone.subscribe(away, "t", Qos::AtLeastOnce);
        alone.leave(away, Reason::Success, &[]);
        (6..=7).for_each(|nth| alone.publish(publisher, nth, Qos::AtLeastOnce, "x", &[]));
        alone.shard.begin_drain(alone.now);
        alone.ack(slow, AckKind::Puback, 2, Reason::Success);
        alone.shard.release(publisher, alone.now);
        for (millis, is_closing) in [(2_499, false), (2_500, true)] {
            alone.shard.tick(Time::START + Span::from_millis(millis));
            assert_eq!(alone.shard.is_closing(slow), is_closing);
        }
        assert!(!alone.shard.is_drained());
        alone.shard.release(slow, alone.now);
        assert!(alone.shard.is_drained());
        // Two of who is away, and six of seven.
        assert_eq!(alone.shard.forgotten(), Forgotten { sessions: 2, messages: 8 }, "{lives_on}");
    }
}

#[test]
fn a_drain_does_not_wait_for_a_core_that_never_answers() {
    let mut settings = settings();
    settings.n_cores = 2;
    let mut alone = Alone::new(settings);
    let id = alone.nats("");
    alone.shard.begin_drain(alone.now);
    assert!(!alone.shard.is_closing(id) && !alone.shard.wants_input(id));
    for (millis, is_closing) in [(2_499, false), (2_500, true)] {
        alone.shard.tick(Time::START + Span::from_millis(millis));
        assert_eq!(alone.shard.is_closing(id), is_closing);
    }
}
