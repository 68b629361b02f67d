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
