//! When a delivery counts as written, and with what latency.

use super::*;
use crate::message::ProtocolKind;
use crate::shard::latency::Direction;

fn at(micros: u64) -> Time {
    Time::from_micros(micros)
}

/// How many deliveries were recorded, and their latencies in all, in microseconds.
fn recorded(shard: &Shard, direction: Direction) -> (u64, u64) {
    let latency = shard.latencies().of(direction);
    (latency.histogram().len(), latency.sum_nanos() / 1_000)
}

/// An MQTT client that subscribes to `a` at QoS 1 and takes one message at a time.
fn one_at_a_time(alone: &mut Alone) -> ConnectionId {
    let id = alone.connect(Listener::Mqtt);
    alone.receive(id, b"\x10\x11\0\x04MQTT\x05\x02\0\0\x03\x21\0\x01\0\x01x");
    alone.receive(id, b"\x82\x07\0\x01\0\0\x01a\x01");
    alone.sent(id);
    id
}

#[test]
fn the_time_from_read_to_write_is_recorded_by_direction() {
    let mut alone = Alone::new(settings());
    let [first, second] = [alone.nats("SUB a 1\r\n"), alone.nats("SUB a 1\r\nSUB a 2\r\n")];
    let publisher = alone.nats("");
    alone.now = at(100);
    alone.receive(publisher, b"PUB a 1\r\nx\r\nPUB a 1\r\ny\r\n");
    alone.now = at(110);
    alone.sent(first);
    alone.now = at(130);
    alone.sent(second);
    assert_eq!(recorded(&alone.shard, Direction::NatsToNats), (6, 2 * 10 + 4 * 30));
    let counters = alone.shard.counters();
    assert_eq!(counters.delivered[Direction::NatsToNats.idx()], 6);
    assert_eq!(counters.published[ProtocolKind::Nats as usize], 2);
    assert_eq!((counters.delivered_bytes, counters.discarded), ([0, 0, 0, 6], 0));
}

#[test]
fn a_message_that_waited_to_be_taken_counts_from_its_read() {
    let mut alone = Alone::new(settings());
    let subscriber = alone.nats("SUB a 1\r\n");
    let publisher = alone.nats("");
    alone.now = at(1_000);
    alone.shard.stall(publisher, alone.now);
    // What a driver had read when the stall began is kept.
    alone.shard.clients.slots.get_mut(publisher).unwrap().kept = b"PUB a 1\r\nx\r\n".to_vec();
    alone.shard.clients.slots.get_mut(publisher).unwrap().read_at = alone.now;
    alone.now = at(21_000);
    alone.shard.tick(alone.now);
    alone.sent(subscriber);
    assert_eq!(recorded(&alone.shard, Direction::NatsToNats), (1, 20_000));
}

#[test]
fn a_message_that_waited_for_the_clients_window_counts_from_its_read() {
    let mut alone = Alone::new(settings());
    let subscriber = one_at_a_time(&mut alone);
    let publisher = alone.connect(Listener::Mqtt);
    alone.receive(publisher, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p");
    alone.now = at(10);
    alone.receive(publisher, b"\x32\x06\0\x01a\0\x01x\x32\x06\0\x01a\0\x02y");
    alone.sent(subscriber);
    assert_eq!(recorded(&alone.shard, Direction::MqttToMqtt), (1, 0));
    alone.now = at(510);
    alone.receive(subscriber, b"\x40\x02\0\x01");
    alone.sent(subscriber);
    assert_eq!(recorded(&alone.shard, Direction::MqttToMqtt), (2, 500));
}

#[test]
fn what_a_client_is_never_sent_is_counted_as_discarded_and_not_recorded() {
    let mut alone = Alone::new(settings());
    let [waiting, gone] = [one_at_a_time(&mut alone), alone.nats("SUB a 1\r\n")];
    let publisher = alone.connect(Listener::Mqtt);
    alone.receive(publisher, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p");
    alone.receive(publisher, b"\x32\x06\0\x01a\0\x01x\x32\x06\0\x01a\0\x02y");
    for id in [waiting, gone] {
        alone.shard.release(id, alone.now);
    }
    let counters = alone.shard.counters();
    assert_eq!((counters.delivered.iter().sum::<u64>(), counters.discarded), (4, 4));
    assert_eq!(counters.n_connections, [1, 0]);
    assert!(alone.shard.latencies().deliveries.iter().all(|latency| latency.histogram().is_empty()));
}

#[test]
fn mail_carries_the_time_of_the_read_and_of_its_posting() {
    let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
    let settings = Arc::new(Settings { n_cores: 2, ..settings() });
    let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
    let [mut origin, mut target] = [0, 1].map(|core| {
        let shard = Shard::new(CoreId(core), settings.clone(), &keys, retained.clone(), 7);
        Alone { shard, now: at(1), journal: Vec::new(), is_keeping: false }
    });
    let subscriber = target.nats("SUB a 1\r\n");
    pass(&mut target, &mut origin);
    pass(&mut origin, &mut target);
    let publisher = origin.nats("");
    origin.now = at(1_000);
    origin.receive(publisher, b"PUB a 1\r\nx\r\nPUB a 1\r\ny\r\n");
    origin.now = at(1_100);
    let batch = origin.shard.take_batch(CoreId(1), origin.now).unwrap();
    target.shard.swap_latencies(&mut Box::default());
    target.shard.mail(CoreId(0), &batch, at(1_150));
    target.now = at(1_200);
    target.sent(subscriber);
    assert_eq!(recorded(&target.shard, Direction::NatsToNats), (2, 400));
    let mail = &target.shard.latencies().mail;
    assert_eq!((mail.histogram().len(), mail.sum_nanos()), (1, 50_000));
}

#[test]
fn counters_tell_what_there_is_now() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("SUB a 1\r\nSUB b 2\r\nPUB a 1\r\nx\r\nPUB a 1\r\nx\r\nPUB a 1\r\nx\r\n");
    let counters = alone.shard.counters();
    assert_eq!((counters.n_connections, counters.n_accepted), ([0, 1], [0, 1]));
    assert_eq!(counters.n_subscriptions, [0, 2]);
    assert_eq!((counters.route_hits, counters.route_misses), (1, 2));
    assert_eq!(counters.n_reads, [0, 2]);
    alone.receive(id, b"UNSUB 1\r\nbad\r\n");
    let counters = alone.shard.counters();
    assert_eq!(counters.n_closed[closed::Reason::BadInput as usize], 1);
    assert_eq!(counters.n_subscriptions, [0, 0]);
    assert_eq!(counters.n_connections, [0, 1]);
    alone.shard.release(id, alone.now);
    assert_eq!(alone.shard.counters().n_connections, [0, 0]);
}

/// Takes one core's mail to the other.
fn pass(from: &mut Alone, to: &mut Alone) {
    while let Some(batch) = from.shard.take_batch(to.shard.core(), from.now) {
        to.shard.mail(from.shard.core(), &batch, to.now);
    }
}
