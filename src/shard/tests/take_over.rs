//! Two connections with one client id: who stays. [MQTT-3.1.4-3]

use super::storm::Two;
use super::*;
use id::CoreId;
use moving::Moved;

/// CONNECT of MQTT 5 as `k0`, which is at home on the first of two cores.
const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x02k0";

fn accept(shard: &mut Shard, nth: u64) -> ConnectionId {
    shard.accept(Door::first(Listener::Mqtt), "127.0.0.1:9".parse().unwrap(), nth, Time::START)
}

/// What is in a client's queue: the CONNACK, and the reason of a DISCONNECT behind it.
fn told(shard: &Shard, id: ConnectionId) -> (u8, Option<u8>) {
    let bytes = shard.queue(id).unwrap().front();
    let farewell = &bytes[2 + usize::from(bytes[1])..];
    (bytes[0], farewell.first().map(|_| farewell[2]))
}

/// A connection whose CONNECT is read by the other core at `read_at`, on its way home.
fn moved(two: &mut Two, nth: u64, read_at: Time) -> Moved {
    let away = &mut two.shards[1];
    let id = accept(away, nth);
    away.receive(id, CONNECT, read_at);
    let depart = std::mem::take(&mut away.effects().depart);
    assert_eq!(depart, [(id, CoreId(0))]);
    away.depart(id).unwrap()
}

#[test]
fn the_one_whose_connect_is_read_later_stays_whichever_was_accepted_first() {
    let mut two = Two::new(1 << 30);
    assert_eq!(two.keys.home(b"k0", 2).0, 0);
    let home = &mut two.shards[0];
    let [older, newer] = [3, 4].map(|nth| accept(home, nth));
    home.receive(newer, CONNECT, Time::from_micros(1));
    home.receive(older, CONNECT, Time::from_micros(200_000));
    assert!(home.is_closing(newer) && !home.is_closing(older));
    assert_eq!((told(home, newer), told(home, older)), ((0x20, Some(0x8e)), (0x20, None)));
    assert_eq!(home.counters().taken_over, 1);
}

#[test]
fn of_two_that_come_home_in_the_other_order_the_one_read_later_stays() {
    for (first, second) in [((3, 10), (4, 20)), ((4, 10), (3, 20)), ((3, 10), (4, 10))] {
        let mut two = Two::new(1 << 30);
        let [first, second] = [first, second].map(|(nth, at)| moved(&mut two, nth, Time::from_micros(at)));
        let home = &mut two.shards[0];
        let now = Time::from_micros(500);
        let second = home.arrive(second, now);
        let first = home.arrive(first, now);
        assert!(home.is_closing(first) && !home.is_closing(second));
        // As if it had come in time: it is let in, and its successor takes over.
        assert_eq!((told(home, first), told(home, second)), ((0x20, Some(0x8e)), (0x20, None)));
    }
}

#[test]
fn who_comes_home_too_late_is_told_of_the_session_that_its_successor_found() {
    // CONNECT with an expiry of a minute; with and without a clean start.
    let connect = |clean: u8| {
        [b"\x10\x14\x00\x04MQTT\x05", &[clean << 1][..], b"\x00\x00\x05\x11\x00\x00\x00\x3c\x00\x02k0"]
            .concat()
    };
    for (is_there, clean, says) in [(true, 0, 1), (true, 1, 0), (false, 0, 0)] {
        let mut two = Two::new(1 << 30);
        let home = &mut two.shards[0];
        if is_there {
            let before = accept(home, 3);
            home.receive(before, &connect(0), Time::from_micros(1));
        }
        let [late, successor] = [4, 5].map(|nth| accept(home, nth));
        home.receive(successor, &connect(0), Time::from_micros(200_000));
        home.receive(late, &connect(clean), Time::from_micros(100_000));
        assert_eq!(told(home, late), (0x20, Some(0x8e)));
        assert_eq!(home.queue(late).unwrap().front()[2..4], [says, 0], "{is_there} {clean}");
    }
}
