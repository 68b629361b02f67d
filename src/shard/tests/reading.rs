//! Retained messages read by request: what a list or a single answer has while topics change.

use super::answers::hpub;
use super::retained::tests::message;
use super::*;
use crate::message::ProtocolKind;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The subjects of a list and their payloads, each of which came once.
fn listed(said: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for part in said.split("Nats-Subject: ").skip(1) {
        let mut lines = part.split("\r\n");
        let subject = lines.next().unwrap_or_default().to_owned();
        let payload = lines.skip_while(|line| !line.is_empty()).nth(1).unwrap_or_default();
        let before = all.insert(subject.clone(), payload.to_owned());
        assert_eq!(before, None, "{subject} is listed again");
    }
    all
}

fn retain(alone: &mut Alone, publisher: ConnectionId, subject: &str, payload: &str) {
    alone.receive(publisher, hpub(subject, "", "Mqtt-Retain: 1", payload).as_bytes());
}

#[test]
fn a_list_has_what_is_retained_all_the_while_in_its_value_then_or_a_newer_one() {
    let mut alone = Alone::new(settings());
    let publisher = alone.nats("");
    for n in 0..300 {
        retain(&mut alone, publisher, &format!("a.{n}"), "old");
    }
    let reader = alone.nats("SUB r 1\r\n");
    alone.receive(reader, b"PUB $STRAIT.RETAINED.LIST.a.> r 0\r\n\r\n");
    // Once before the first slice, and once after each.
    let (mut said, mut n_rounds) = (String::new(), 0);
    while !said.contains("NATS/1.0 204") {
        for n in 0..300 {
            retain(&mut alone, publisher, &format!("a.{n}"), &format!("new {n_rounds}"));
        }
        retain(&mut alone, publisher, "a.cleared", "x");
        retain(&mut alone, publisher, "a.cleared", "");
        alone.shard.tick(alone.now);
        said += &alone.sent(reader);
        n_rounds += 1;
        assert!(n_rounds < 100, "it does not end");
    }
    let listed = listed(&said);
    assert!(n_rounds > 4, "it came in one go");
    assert_eq!(listed.len(), 300);
    assert!((0..300).all(|n| listed[&format!("a.{n}")].starts_with("new ")), "{listed:?}");
    assert!(said.ends_with("NATS/1.0 204\r\n\r\n\r\n"));
}

#[test]
fn a_topic_that_always_has_a_message_is_found_however_fast_that_changes() {
    let mut alone = Alone::new(settings());
    alone.is_keeping = false;
    let reader = alone.nats("SUB r 1\r\n");
    let store = alone.shard.retained.clone();
    let change = || store.set(&message(b"hot", b"", b"x"), 0, ProtocolKind::Nats, Time::START).unwrap();
    change();
    let is_done = AtomicBool::new(false);
    let n_missed = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                change();
            }
        });
        let (mut n_found, mut n_missed) = (0, 0);
        for _ in 0..1_000 {
            alone.receive(reader, "PUB $STRAIT.RETAINED.GET.hot r 0\r\n\r\n".repeat(50).as_bytes());
            let said = alone.sent(reader);
            n_found += said.matches("Mqtt-Retain: 1").count();
            n_missed += said.matches("NATS/1.0 404").count();
        }
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(n_found + n_missed, 50_000);
        n_missed
    });
    assert_eq!(n_missed, 0);
}

const QUEUE_BYTES_MAX: usize = 20_000;

/// A shard whose clients have a small queue, and what is retained in it: more in a slice than a queue takes.
fn with_large_messages() -> Alone {
    let mut alone = Alone::new(Settings { write_queue_bytes_max: QUEUE_BYTES_MAX, ..settings() });
    let publisher = alone.nats("");
    for n in 0..100 {
        retain(&mut alone, publisher, &format!("a.{n}"), &"x".repeat(3_000));
    }
    alone
}

/// What each of `readers` is sent until the list has ended at all of them; none has more waiting than it may.
fn read_to_the_end(alone: &mut Alone, readers: &[ConnectionId]) -> Vec<String> {
    let mut said = vec![String::new(); readers.len()];
    for n_rounds in 0.. {
        alone.shard.tick(alone.now);
        for (said, reader) in said.iter_mut().zip(readers) {
            let n_waiting = alone.shard.queue(*reader).map_or(0, WriteQueue::len);
            let now = alone.sent(*reader);
            let is_lone = now.matches("HMSG").count() == 1;
            assert!(n_waiting <= QUEUE_BYTES_MAX || is_lone, "{n_waiting} bytes wait");
            *said += &now;
        }
        if said.iter().all(|said| said.ends_with("NATS/1.0 204\r\n\r\n\r\n")) {
            break;
        }
        assert!(n_rounds < 1_000, "it does not end");
        alone.now = alone.now + Span::from_millis(5);
    }
    assert_eq!(alone.shard.counters().slow_consumers, 0);
    said
}

#[test]
fn a_list_is_sent_by_the_room_in_its_requesters_queue_however_large_its_messages_are() {
    // Also where each comes twice, or one is larger than all of the queue.
    for (subscriptions, n_copies, n_larger) in [("SUB r 1\r\nSUB * 2\r\n", 2, 0), ("SUB r 1\r\n", 1, 2)] {
        let mut alone = with_large_messages();
        let reader = alone.nats(subscriptions);
        for n in 0..n_larger {
            retain(&mut alone, reader, &format!("a.larger.{n}"), &"x".repeat(2 * QUEUE_BYTES_MAX));
        }
        alone.receive(reader, b"PUB $STRAIT.RETAINED.LIST.a.> r 0\r\n\r\n");
        let [said] = &read_to_the_end(&mut alone, &[reader])[..] else { panic!("one reads") };
        assert_eq!(said.matches("Nats-Subject: a.").count(), n_copies * (100 + n_larger));
    }
}

#[test]
fn a_list_waits_for_others_here_that_hear_it_and_not_for_those_that_do_not() {
    let mut alone = with_large_messages();
    let [requester, reader] = ["", "SUB r 1\r\n"].map(|it| alone.nats(it));
    // It reads nothing, and is nearly full.
    let monitor = alone.nats("SUB > 1\r\nSUB full 2\r\n");
    alone.receive(requester, format!("PUB full 8500\r\n{}\r\n", "x".repeat(8_500)).as_bytes());
    assert!(alone.shard.queue(monitor).unwrap().len() > QUEUE_BYTES_MAX / 4 * 3);
    alone.receive(requester, b"PUB $STRAIT.RETAINED.LIST.a.> r 0\r\n\r\n");
    let [said] = &read_to_the_end(&mut alone, &[reader])[..] else { panic!("one reads") };
    assert_eq!(listed(said).len(), 100);
    // A client that reads nothing for a while is waited for.
    let late = alone.nats("SUB r 1\r\n");
    alone.receive(requester, b"PUB $STRAIT.RETAINED.LIST.a.> r 0\r\n\r\n");
    for _ in 0..100 {
        alone.now = alone.now + Span::from_millis(5);
        alone.shard.tick(alone.now);
        alone.sent(reader);
    }
    let n_waiting = alone.shard.queue(late).unwrap().len();
    assert!((QUEUE_BYTES_MAX / 2..=QUEUE_BYTES_MAX).contains(&n_waiting), "{n_waiting}");
    read_to_the_end(&mut alone, &[late, reader]);
}
