//! A client that leaves very many subscriptions has them taken out of the tables in slices, and none of them
//! is anybody's meanwhile.

use super::*;

const N: usize = 10_000;
const SLICE: usize = 1_024;

// A filter may have as many levels as it has bytes, and each is a step.
#[test]
fn long_filters_are_taken_out_by_their_bytes() {
    let mut alone = Alone::new(Settings { interest_slice: 512, ..settings() });
    let gone = alone.nats("");
    for n in 0..20 {
        alone.receive_whole(gone, format!("SUB {}{n}.* {n}\r\n", "a.".repeat(1_500)).as_bytes());
    }
    for _ in 0..2 {
        alone.shard.tick(alone.now);
    }
    alone.shard.release(gone, alone.now);
    // Each of some 3,000 bytes counts as twelve.
    assert!(alone.shard.departed.longest < 512 + 12);
    assert_eq!(alone.shard.departed.longest, 20 * 12);
}

#[test]
fn what_a_client_leaves_is_taken_out_in_slices_and_nobody_hears_it() {
    let mut alone = Alone::new(Settings { interest_slice: SLICE, ..settings() });
    let gone = alone.nats("");
    for n in 0..N {
        alone.receive_whole(gone, format!("SUB a.{n} {n}\r\nSUB *.{n} q x{n}\r\n").as_bytes());
    }
    alone.shard.release(gone, alone.now);
    let n_left = |alone: &Alone| alone.shard.counters().n_subscriptions[1] as usize;
    assert_eq!(n_left(&alone), 2 * N - SLICE);
    // It may well have the slot of the one who is gone, and its first key.
    let other = alone.nats("SUB a.5 other\r\n");
    let asking = alone.connect(Listener::Nats);
    alone.receive(
        asking,
        b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB r 1\r\n",
    );
    alone.receive(asking, b"PUB a.5 r 1\r\nx\r\nPUB a.6 r 1\r\nx\r\n");
    assert_eq!(alone.sent(other), "MSG a.5 other r 1\r\nx\r\n");
    let answer = alone.sent(asking);
    assert!(
        answer.starts_with("HMSG r 1 ") && answer.contains(" 503") && answer.matches("HMSG").count() == 1
    );
    while alone.shard.goes_on() {
        let n_before = n_left(&alone);
        alone.shard.tick(alone.now);
        assert!(n_before - n_left(&alone) <= SLICE);
    }
    assert_eq!(n_left(&alone), 2);
    assert_eq!(alone.shard.departed.longest, SLICE);
    let mut n_announced = 0;
    alone.shard.announced(|_, _, counts| n_announced += counts.n_online);
    assert_eq!(n_announced, 2);
}
