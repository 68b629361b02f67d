//! What is lost by a limit: counted under the limit's key and told in the log, once for each spell.

use super::log::lines;
use super::sessions::{V5, Wish};
use super::*;
use crate::mqtt::packet::{Qos, Version};
use crate::mqtt::property::Property;
use crate::mqtt::reason::Reason;
use crate::shard::limits::Limit;

impl Alone {
    fn counts(&self, limits: [Limit; 2]) -> [u64; 2] {
        limits.map(|limit| self.shard.counters().n_limited[limit as usize])
    }
}

/// The one line, which has all of this.
fn assert_is_one(told: &[String], parts: &[&str]) {
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(parts.iter().all(|part| told[0].contains(part)), "{parts:?} is not in {}", told[0]);
}

#[test]
fn a_slow_consumer_of_mqtt_is_told_of_once_until_it_has_caught_up() {
    let mut alone = Alone::new(Settings { write_queue_bytes_max: 3_000, ..settings() });
    let (reader, publisher) = (alone.mqtt(V5).0, alone.nats(""));
    alone.subscribe(reader, "a", Qos::AtMostOnce);
    let messages = format!("PUB a 900\r\n{}\r\n", "x".repeat(900)).repeat(10);
    let n_lost = |alone: &Alone| alone.counts([Limit::WriteQueue, Limit::CoreQueue]);
    let told = lines(|| {
        for n_dropped in [7, 17] {
            alone.receive_whole(publisher, messages.as_bytes());
            assert_eq!(alone.shard.counters().dropped_queue_full, n_dropped);
            assert_eq!(n_lost(&alone), [1, 0]);
            alone.pass(1);
        }
    });
    assert_is_one(&told, &["WARN", "id=\"c\"", "127.0.0.1:9", "limits.write_queue_bytes_max is 3000"]);
    assert!(!told[0].contains("n_before"));
    assert!(!alone.shard.is_closing(reader));
    let told = lines(|| {
        for secs in [1, 3] {
            alone.sent_bytes(reader);
            alone.pass(secs);
            alone.receive_whole(publisher, messages.as_bytes());
        }
    });
    assert_eq!(n_lost(&alone), [3, 0]);
    // The first of them came too soon after the line before.
    assert!(told[0].contains("1 more: ") && told[0].contains("n_messages=23"), "{told:#?}");
    assert_is_one(&told[1..], &["id=\"c\""]);
    assert!(told[1].ends_with(" n_messages=1"), "{told:#?}");
}

#[test]
fn a_full_queue_of_a_session_is_told_of_with_its_client_be_it_there_or_not() {
    for (drops_oldest, limit) in [
        (false, Limit::SessionQueueMessages),
        (true, Limit::SessionQueueMessages),
        (false, Limit::SessionQueueBytes),
        (true, Limit::SessionQueueBytes),
    ] {
        let mut limited = settings();
        limited.mqtt.session_queue_drops_oldest = drops_oldest;
        let value = if limit == Limit::SessionQueueMessages {
            limited.mqtt.session_queue_messages_max = 4;
            4
        } else {
            limited.mqtt.session_queue_bytes_max = 1_000;
            1_000
        };
        let mut alone = Alone::new(limited);
        let (away, publisher) = (alone.mqtt(V5).0, alone.mqtt(Wish { client_id: "p", ..V5 }).0);
        alone.subscribe(away, "t", Qos::AtLeastOnce);
        alone.leave(away, Reason::Success, &[]);
        alone.shard.release(away, alone.now);
        let told = lines(|| {
            for packet_id in 1..100 {
                alone.publish(publisher, packet_id, Qos::AtLeastOnce, &"x".repeat(50), &[]);
                // It is slowed for the queue's sake.
                alone.pass(1);
            }
        });
        assert_is_one(&told, &["id=\"c\"", &format!("{} is {value}", limit.key())]);
        assert!(told[0].ends_with(" n_messages=1"), "{told:#?}");
        assert_eq!(alone.counts([limit, Limit::WriteQueue]), [1, 0]);
        assert!(alone.shard.counters().dropped_session_full > 50);
        // Once it has had what waited, it is another spell.
        let (back, _) = alone.mqtt(V5);
        alone.sent_bytes(back);
        alone.leave(back, Reason::Success, &[]);
        alone.shard.release(back, alone.now);
        let n_lost = alone.shard.counters().dropped_session_full;
        let told = lines(|| {
            (101..200).for_each(|packet_id| {
                alone.publish(publisher, packet_id, Qos::AtLeastOnce, &"x".repeat(50), &[]);
                alone.pass(1);
            });
        });
        // Those that the line before was too early for, and one.
        assert_is_one(&told, &["id=\"c\""]);
        assert!(told[0].ends_with(&format!(" n_messages={n_lost}")), "{n_lost} in {told:#?}");
        assert_eq!(alone.counts([limit, Limit::WriteQueue]), [2, 0]);
    }
}

#[test]
fn what_is_not_retained_is_told_with_its_publisher_and_what_was_in_the_way() {
    let mut limited = settings();
    limited.mqtt.retained = retained::Limits { messages_max: 2, bytes_max: 1_100, payload_bytes_max: 700 };
    let mut alone = Alone::new(limited);
    let (id, service) = (alone.mqtt(V5).0, alone.nats(""));
    let retain = |alone: &mut Alone, topic: u8, n_bytes: usize| {
        let n = 4 + n_bytes;
        let head = [0x31, (n % 128) as u8 | 0x80, (n / 128) as u8, 0, 1, topic, 0];
        lines(|| alone.receive_whole(id, &[&head[..], &vec![b'x'; n_bytes]].concat()))
    };
    assert_is_one(
        &retain(&mut alone, b'a', 701),
        &["id=\"c\"", "subject=a", "mqtt.retained_payload_bytes_max is 700"],
    );
    assert!(retain(&mut alone, b'a', 600).is_empty());
    assert_is_one(&retain(&mut alone, b'b', 600), &["id=\"c\"", "mqtt.retained_bytes_max is 1100"]);
    assert!(retain(&mut alone, b'b', 130).is_empty());
    let told = lines(|| {
        let publish = b"HPUB c 27 28\r\nNATS/1.0\r\nMqtt-Retain:1\r\n\r\nx\r\n";
        (0..100).for_each(|_| alone.receive_whole(service, publish));
    });
    assert_is_one(&told, &["protocol=\"nats\"", "id=\"1\"", "mqtt.retained_messages_max is 2"]);
    assert_eq!(alone.counts([Limit::RetainedMessages, Limit::RetainedBytes]), [100, 1]);
    assert_eq!(alone.shard.counters().retained_refused, 102);
}

#[test]
fn a_request_that_is_forgotten_for_others_is_told_of() {
    for (per_client_max, bytes_max, limit) in [(2, 1 << 20, Limit::Requests), (100, 600, Limit::RequestBytes)]
    {
        let mut limited = settings();
        limited.mqtt.requests = requests::Limits { per_client_max, bytes_max, ..REQUESTS };
        let mut alone = Alone::new(limited);
        let (id, _) = (alone.mqtt(V5).0, alone.nats("SUB t 1\r\n"));
        let told = lines(|| {
            for _ in 0..5 {
                alone.publish(id, 0, Qos::AtMostOnce, "?", &[Property::ResponseTopic(b"r")]);
            }
        });
        let value = limit.value(&alone.shard.settings);
        assert_is_one(&told, &[&format!("{} is {value}", limit.key())]);
        // The oldest of all requests may be anybody's.
        assert_eq!(told[0].contains("id=\"c\""), limit == Limit::Requests);
        assert_eq!(alone.counts([limit, Limit::WriteQueue]), [3, 0]);
        assert_eq!(alone.shard.counters().requests_forgotten, 3);
    }
}

#[test]
fn the_gateways_statistics_take_no_room_from_what_clients_retain() {
    let mut limited = Settings { statistics_every: Span::from_secs(1), ..settings() };
    limited.mqtt.retained = retained::Limits { messages_max: 1, bytes_max: 200, payload_bytes_max: 1 };
    let mut alone = Alone::new(limited);
    alone.pass(3);
    let (id, _) = alone.mqtt(V5);
    alone.receive(id, b"\x31\x05\0\x01a\0x");
    alone.pass(3);
    let counters = alone.shard.counters();
    assert_eq!((counters.n_retained, counters.retained_refused), (1, 0));
    alone.receive(id, b"\x82\x13\0\x01\0\0\x0d$SYS/broker/#\0");
    assert!(alone.hears(id).len() > 30);
    alone.receive(id, b"\x31\x05\0\x01b\0x");
    let counters = alone.shard.counters();
    assert_eq!((counters.n_retained, counters.retained_refused), (1, 1));
}

#[test]
fn how_many_losses_were_passed_over_is_told_though_no_other_comes() {
    let mut limited = settings();
    limited.mqtt.requests = requests::Limits { per_client_max: 2, bytes_max: 1 << 20, ..REQUESTS };
    let mut alone = Alone::new(limited);
    let (id, _) = (alone.mqtt(V5).0, alone.nats("SUB t 1\r\n"));
    let told = lines(|| {
        for _ in 0..5 {
            alone.publish(id, 0, Qos::AtMostOnce, "?", &[Property::ResponseTopic(b"r")]);
        }
        alone.pass(6);
    });
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[1].contains("2 more: ") && told[1].contains("mqtt.requests_max is 2"), "{told:#?}");
}

#[test]
fn how_many_complaints_were_passed_over_is_told_though_no_other_comes() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    let told = lines(|| {
        (0..30).for_each(|_| alone.receive(id, b"PUB $SYS.x 0\r\n\r\nSUB _INBOX.strait.0.x 1\r\n"));
        alone.pass(2);
    });
    assert!(told.last().is_some_and(|line| line.contains(" more lines about refusals")), "{told:#?}");
    assert_eq!(told.len(), 11);
}

#[test]
fn a_publish_that_is_denied_is_told_of_in_every_version() {
    for (version, publish) in
        [(Version::V5, b"\x30\x09\0\x06$SYS/x\0".as_slice()), (Version::V3_1_1, b"\x30\x08\0\x06$SYS/x")]
    {
        let mut alone = Alone::new(settings());
        let (id, _) = alone.mqtt(Wish { version, ..V5 });
        let told = lines(|| alone.receive_whole(id, publish));
        assert_is_one(&told, &["WARN", "id=\"c\"", "topic=$SYS/x", "publish refused: the topic is not open"]);
        assert!(!told[0].contains("filter"), "{told:#?}");
        assert_eq!(alone.shard.counters().denied, 1);
    }
    let mut alone = Alone::new(settings());
    let (id, _) = alone.mqtt(V5);
    // With an alias, and by it.
    alone.receive_whole(id, b"\x30\x0c\0\x06$SYS/x\x03\x23\0\x01");
    alone.pass(10);
    let told = lines(|| alone.receive_whole(id, b"\x30\x06\0\0\x03\x23\0\x01"));
    assert_is_one(&told, &["topic=$SYS/x", "publish refused"]);
}
