//! What a million subscriptions cost. By the pages that the process has, so it counts what the allocator
//! loses as well; each test has a process of its own.

use super::*;

const N_SUBSCRIPTIONS: usize = 1_000_000;
/// Of the hosts that this runs on.
const PAGE_BYTES: usize = 4_096;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let n_pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    n_pages * PAGE_BYTES
}

#[test]
fn a_million_subscriptions_take_less_than_200_bytes_each() {
    let mut alone = Alone::new(settings());
    let ids: Vec<_> = (0..10).map(|_| alone.nats("")).collect();
    let mut ops = Vec::new();
    let before = resident_bytes();
    for sid in 0..N_SUBSCRIPTIONS / ids.len() {
        for (idx, &id) in ids.iter().enumerate() {
            ops.clear();
            ops.extend_from_slice(format!("SUB device.{idx}{sid:05}.state {sid}\r\n").as_bytes());
            alone.receive_whole(id, &ops);
        }
    }
    assert_eq!(alone.shard.counters().n_subscriptions[1], N_SUBSCRIPTIONS as u64);
    let n_bytes = (resident_bytes() - before) / N_SUBSCRIPTIONS;
    assert!(n_bytes < 200, "{n_bytes} bytes for each subscription");
    let publisher = alone.nats("");
    alone.receive(publisher, b"PUB device.912345.state 1\r\nx\r\n");
    assert_eq!(alone.sent(ids[9]), "MSG device.912345.state 12345 1\r\nx\r\n");
    for (idx, &id) in ids.iter().enumerate() {
        alone.receive(id, format!("UNSUB {idx}\r\n").as_bytes());
        alone.shard.release(id, alone.now);
    }
    assert_eq!(alone.shard.counters().n_subscriptions[1], 0);
}
