//! What a million subscriptions cost, and clients that do nothing, there or not. By the pages that the process
//! has, so it counts what the allocator loses as well; each test has a process of its own.

use super::storm::{Two, subscribe_to};
use super::*;

const N_SUBSCRIPTIONS: usize = 1_000_000;
/// Of the hosts that this runs on.
const PAGE_BYTES: usize = 4_096;

/// Clients of MQTT, each with a name and filters of its own.
const N_CLIENTS: usize = 50_000;

pub(super) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let n_pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    n_pages * PAGE_BYTES
}

#[test]
fn a_million_subscriptions_take_less_than_200_bytes_each() {
    let sent =
        take_less_than_200_bytes(|n| format!("device.{n:06}.state"), b"PUB device.912345.state 1\r\nx\r\n");
    assert_eq!(sent, "MSG device.912345.state 12345 1\r\nx\r\n");
}

#[test]
fn a_million_subscriptions_with_wildcards_take_less_than_200_bytes_each() {
    let sent =
        take_less_than_200_bytes(|n| format!("device.{n:06}.*.x"), b"PUB device.912345.a.x 1\r\nx\r\n");
    assert_eq!(sent, "MSG device.912345.a.x 12345 1\r\nx\r\n");
}

#[test]
fn a_million_subscriptions_to_all_below_a_name_take_less_than_200_bytes_each() {
    let sent = take_less_than_200_bytes(|n| format!("device.{n:06}.>"), b"PUB device.912345.a.x 1\r\nx\r\n");
    assert_eq!(sent, "MSG device.912345.a.x 12345 1\r\nx\r\n");
}

#[test]
fn a_session_without_its_client_takes_at_most_a_kibibyte_with_one_subscription() {
    let n_bytes = bytes_of_each_client(false);
    assert!(n_bytes <= 1_024, "{n_bytes} bytes for each session");
}

#[test]
fn an_idle_client_of_mqtt_takes_at_most_one_and_a_half_kibibytes_with_one_subscription() {
    let n_bytes = bytes_of_each_client(true);
    assert!(n_bytes <= 1_536, "{n_bytes} bytes for each client");
}

/// All that the cores keep of each, on its own core and on the other; not its socket.
fn bytes_of_each_client(are_there: bool) -> usize {
    let mut two = Two::new(1 << 30);
    let go = |two: &mut Two, nth: usize| {
        let name = format!("device-{nth:08}");
        let id = two.connect(&name, None, &subscribe_to(&[format!("device/{nth:08}/set")]));
        two.come_to_rest();
        if !are_there {
            two.lose(id);
            two.come_to_rest();
        }
    };
    // What is there once is there.
    let keys = two.keys.clone();
    let mut at_home = (0..).filter(|nth| keys.home(format!("device-{nth:08}").as_bytes(), 2).0 == 0);
    at_home.by_ref().take(100).for_each(|nth| go(&mut two, nth));
    let before = resident_bytes();
    at_home.take(N_CLIENTS).for_each(|nth| go(&mut two, nth));
    let n_bytes = (resident_bytes() - before) / N_CLIENTS;
    let sum =
        |count: fn(&Counters) -> u64| two.shards.iter().map(|shard| count(&shard.counters())).sum::<u64>();
    assert_eq!(sum(|counters| counters.n_subscriptions[0]), 100 + N_CLIENTS as u64);
    let n_offline = if are_there { 0 } else { 100 + N_CLIENTS as u64 };
    assert_eq!(sum(|counters| counters.n_offline_sessions), n_offline);
    n_bytes
}

/// Ten clients have a hundred thousand each, of the `n` from theirs on; says what the last one is sent of
/// what `publish` publishes.
fn take_less_than_200_bytes(filter: impl Fn(usize) -> String, publish: &[u8]) -> String {
    let mut alone = Alone::new(settings());
    let ids: Vec<_> = (0..10).map(|_| alone.nats("")).collect();
    let n_each = N_SUBSCRIPTIONS / ids.len();
    let before = resident_bytes();
    for sid in 0..n_each {
        for (idx, &id) in ids.iter().enumerate() {
            let op = format!("SUB {} {sid}\r\n", filter(idx * n_each + sid));
            alone.receive_whole(id, op.as_bytes());
        }
    }
    assert_eq!(alone.shard.counters().n_subscriptions[1], N_SUBSCRIPTIONS as u64);
    let n_bytes = (resident_bytes() - before) / N_SUBSCRIPTIONS;
    assert!(n_bytes < 200, "{n_bytes} bytes for each subscription");
    let publisher = alone.nats("");
    alone.receive(publisher, publish);
    let sent = alone.sent(ids[9]);
    for (idx, &id) in ids.iter().enumerate() {
        alone.receive(id, format!("UNSUB {idx}\r\n").as_bytes());
        alone.shard.release(id, alone.now);
    }
    while alone.shard.goes_on() {
        alone.shard.tick(alone.now);
    }
    assert_eq!(alone.shard.counters().n_subscriptions[1], 0);
    sent
}
