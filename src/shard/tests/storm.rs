//! Very many clients come back, or are lost, at once: what one turn does of it is bounded, whatever waits for
//! one word of another core. Counts of work, not times.

use super::*;
use crate::mqtt::encode;
use crate::mqtt::packet::{
    Connect, Filters, Publish, Qos, Subscribe, SubscribeOptions, Unsubscribe, UnsubscribeFilters, Version,
    Will,
};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use id::CoreId;

const N: usize = 5_000;
/// What one turn may do of what waits, of each kind.
const N_PER_TURN: usize = 256;

/// Two shards; clients are at home on the first.
pub struct Two {
    pub shards: [Shard; 2],
    pub keys: Keys,
    now: Time,
    names: Vec<String>,
}

impl Two {
    pub fn new(outbox_bytes_max: usize) -> Self {
        let mut settings = Settings { n_cores: 2, interest_slice: 1_024, outbox_bytes_max, ..settings() };
        settings.mqtt.sessions_max = 1_000_000;
        settings.mqtt.retained.messages_max = 1_000_000;
        settings.mqtt.retained.bytes_max = 1 << 30;
        let settings = Arc::new(settings);
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
        let shards =
            [0, 1].map(|core| Shard::new(CoreId(core), settings.clone(), &keys, retained.clone(), 7));
        let names = (0..).map(|nth| format!("c{nth}")).filter(|name| keys.home(name.as_bytes(), 2).0 == 0);
        Self { shards, names: names.take(N).collect(), keys, now: Time::START }
    }

    /// Gives one core all that the other has for it.
    pub fn mail(&mut self, from: usize) {
        let to = 1 - from;
        while let Some(batch) = self.shards[from].take_batch(CoreId(to as u16), self.now) {
            self.shards[to].mail(CoreId(from as u16), &batch, self.now);
        }
    }

    /// Lets both cores talk until neither has anything to say or do.
    pub fn come_to_rest(&mut self) {
        while (0..2).any(|core| {
            let shard = &self.shards[core];
            shard.has_mail_for(CoreId(1 - core as u16)) || shard.goes_on()
        }) {
            for core in 0..2 {
                self.mail(core);
                self.shards[core].tick(self.now);
            }
        }
        for shard in &mut self.shards {
            let flush = std::mem::take(&mut shard.effects().flush);
            for id in flush {
                let n = shard.queue(id).map_or(0, WriteQueue::len);
                shard.flushed(id, n, self.now);
            }
            shard.effects().resume.clear();
            shard.effects().close.clear();
        }
    }

    fn mqtt(&mut self, name: &str, then: &[u8]) -> ConnectionId {
        let topic = format!("will/{name}");
        let will = Will {
            qos: Qos::AtMostOnce,
            retain: false,
            topic: topic.as_bytes(),
            payload: b"gone",
            properties: Properties::EMPTY,
        };
        self.connect(name, Some(will), then)
    }

    pub fn connect(&mut self, name: &str, will: Option<Will<'_>>, then: &[u8]) -> ConnectionId {
        let core = self.keys.home(name.as_bytes(), 2).idx();
        let door = Door::first(Listener::Mqtt);
        let id = self.shards[core].accept(door, "127.0.0.1:9".parse().unwrap(), 0, self.now);
        let mut block = PropertyBlock::new();
        block.push(Property::SessionExpiryInterval(1_000)).unwrap();
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_secs: 0,
            client_id: name.as_bytes(),
            will,
            username: None,
            password: None,
            properties: block.properties(),
        };
        let mut out = Vec::new();
        encode::connect(&mut out, &connect).unwrap();
        out.extend_from_slice(then);
        self.shards[core].receive(id, &out, self.now);
        id
    }

    pub fn receive(&mut self, core: usize, id: ConnectionId, bytes: &[u8]) {
        let mut input = vec![0; 1 << 16];
        let n_kept = self.shards[core].begin_read(id, &mut input);
        input[n_kept..n_kept + bytes.len()].copy_from_slice(bytes);
        self.shards[core].receive(id, &input[..n_kept + bytes.len()], self.now);
    }

    pub fn nats(&mut self, core: usize, ops: &str) -> ConnectionId {
        let door = Door::first(Listener::Nats);
        let id = self.shards[core].accept(door, "127.0.0.1:9".parse().unwrap(), 0, self.now);
        self.shards[core].receive(id, b"CONNECT {\"verbose\":false,\"headers\":true}\r\n", self.now);
        self.shards[core].receive(id, ops.as_bytes(), self.now);
        id
    }

    /// All clients come, with three filters each.
    fn all_come(&mut self) -> Vec<ConnectionId> {
        let names = self.names.clone();
        names.iter().map(|name| self.mqtt(name, &subscribe(name))).collect()
    }

    pub fn lose(&mut self, id: ConnectionId) {
        self.shards[0].end_of_input(id, true, self.now);
        self.shards[0].release(id, self.now);
    }

    fn counters(&self) -> Counters {
        self.shards[0].counters()
    }

    /// Turns of the first core until it has nothing to do; the most that `count` grew by in one.
    fn largest_step(&mut self, count: impl Fn(&mut Shard) -> u64) -> u64 {
        let mut largest = 0;
        while self.shards[0].goes_on() {
            let before = count(&mut self.shards[0]);
            self.shards[0].tick(self.now);
            largest = largest.max(count(&mut self.shards[0]) - before);
        }
        largest
    }
}

fn subscribe(name: &str) -> Vec<u8> {
    subscribe_to(&["a", "b", "c"].map(|kind| format!("{kind}/{name}")))
}

pub fn subscribe_to(topics: &[String]) -> Vec<u8> {
    let options = SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    let filters: Vec<_> = topics.iter().map(|topic| (topic.as_bytes(), options)).collect();
    let filters = Filters::from_list(&filters);
    let mut out = Vec::new();
    let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
    encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
    out
}

fn unsubscribe_from(topics: &[String]) -> Vec<u8> {
    let filters: Vec<_> = topics.iter().map(String::as_bytes).collect();
    let filters = UnsubscribeFilters::from_list(&filters);
    let mut out = Vec::new();
    let unsubscribe = Unsubscribe { packet_id: 1, properties: Properties::EMPTY, filters };
    encode::unsubscribe(&mut out, Version::V5, &unsubscribe).unwrap();
    out
}

fn retained(topic: &str) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: true,
        topic: topic.as_bytes(),
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: b"kept",
    };
    let mut out = Vec::new();
    encode::publish(&mut out, Version::V5, &publish).unwrap();
    out
}

/// Those whom the core wants to write to.
fn n_flushes(shard: &mut Shard) -> u64 {
    shard.effects().flush.len() as u64
}

#[test]
fn clients_that_wait_for_one_word_of_another_core_go_on_some_a_turn() {
    let mut two = Two::new(1 << 30);
    let ids = two.all_come();
    two.come_to_rest();
    assert_eq!(two.counters().n_subscriptions, [3 * N as u64, 0]);
    ids.into_iter().for_each(|id| two.lose(id));
    two.come_to_rest();
    assert_eq!(two.counters().n_offline_sessions, N as u64);
    // Something new is under way to the other core, so all who come back wait for its word.
    two.nats(0, "SUB news.* 1\r\nPING\r\n");
    two.shards[0].effects().flush.clear();
    two.all_come();
    assert_eq!((two.counters().sessions_resumed, n_flushes(&mut two.shards[0])), (N as u64, 0));
    two.mail(0);
    while two.shards[1].goes_on() {
        two.shards[1].tick(two.now);
    }
    let (mut n_batches, mut n_before) = (0, 0);
    while let Some(batch) = two.shards[1].take_batch(CoreId(0), two.now) {
        two.shards[0].mail(CoreId(1), &batch, two.now);
        n_batches += 1;
        assert!(n_flushes(&mut two.shards[0]) - n_before <= N_PER_TURN as u64);
        n_before = n_flushes(&mut two.shards[0]);
    }
    let largest = two.largest_step(n_flushes);
    assert!(largest <= N_PER_TURN as u64, "{largest} in a turn, {n_batches} batches");
    assert_eq!(n_flushes(&mut two.shards[0]), N as u64);
    two.come_to_rest();
    assert_eq!(two.shards[0].n_waiting_connections(), 0);
}

#[test]
fn clients_that_subscribe_at_once_are_sent_what_is_retained_some_a_turn() {
    let mut two = Two::new(1 << 30);
    let publisher = two.nats(0, "");
    two.lose(publisher);
    let topics: Vec<u8> = two.names.iter().flat_map(|name| retained(&format!("a/{name}"))).collect();
    let keeper = two.names[0].clone();
    two.mqtt(&keeper, &topics);
    two.come_to_rest();
    two.all_come();
    two.mail(0);
    while two.shards[1].goes_on() {
        two.shards[1].tick(two.now);
    }
    let count = |shard: &mut Shard| shard.counters().replayed;
    let mut n_before = 0;
    while let Some(batch) = two.shards[1].take_batch(CoreId(0), two.now) {
        two.shards[0].mail(CoreId(1), &batch, two.now);
        assert!(count(&mut two.shards[0]) - n_before <= 512);
        n_before = count(&mut two.shards[0]);
    }
    let largest = two.largest_step(count);
    assert!(largest <= 512, "{largest} in a turn");
    two.come_to_rest();
    assert_eq!(two.counters().replayed, N as u64);
}

#[test]
fn wills_and_presence_that_waited_for_an_outbox_are_published_some_a_turn() {
    let mut two = Two::new(1_000);
    let ids = two.all_come();
    two.come_to_rest();
    // The first will's and the first notice's watcher is on the other core; the rest concern nobody there.
    let first = two.names[0].clone();
    two.nats(1, &format!("SUB will.{first} 1\r\nSUB $STRAIT.CLIENT.{first}.DISCONNECTED 2\r\n"));
    two.nats(0, "SUB $STRAIT.CLIENT.*.DISCONNECTED 1\r\nSUB will.* 2\r\nSUB fill 3\r\n");
    two.nats(1, "SUB fill 3\r\n");
    two.come_to_rest();
    two.nats(0, &format!("PUB fill 2000\r\n{}\r\n", "x".repeat(2_000)));
    ids.into_iter().for_each(|id| two.lose(id));
    assert_eq!(two.counters().wills_published, 0);
    let mut n_before = 0;
    while let Some(batch) = two.shards[0].take_batch(CoreId(1), two.now) {
        let counters = two.counters();
        assert!(counters.wills_published - n_before <= N_PER_TURN as u64);
        n_before = counters.wills_published;
        two.shards[1].mail(CoreId(0), &batch, two.now);
    }
    let before = two.counters().delivered;
    let largest = two.largest_step(|shard| shard.counters().wills_published);
    assert!(largest <= N_PER_TURN as u64, "{largest} in a turn");
    two.come_to_rest();
    let counters = two.counters();
    assert_eq!((counters.wills_published, counters.notices_dropped), (N as u64, 0));
    assert!(before.iter().sum::<u64>() < counters.delivered.iter().sum::<u64>());
}

#[test]
fn what_clients_are_written_lets_no_more_of_them_go_on_before_the_next_tick() {
    let mut two = Two::new(1 << 30);
    let ids = two.all_come();
    two.come_to_rest();
    ids.into_iter().for_each(|id| two.lose(id));
    two.come_to_rest();
    two.nats(0, "SUB news.* 1\r\nPING\r\n");
    two.shards[0].effects().flush.clear();
    two.all_come();
    two.mail(0);
    two.shards[1].tick(two.now);
    two.mail(1);
    let mut written = 0;
    while two.shards[0].goes_on() {
        two.shards[0].tick(two.now);
        // As a driver does: until nothing more follows from it.
        let mut n_of_turn = 0;
        loop {
            let flush = std::mem::take(&mut two.shards[0].effects().flush);
            if flush.is_empty() {
                break;
            }
            for id in flush {
                let n = two.shards[0].queue(id).map_or(0, WriteQueue::len);
                two.shards[0].flushed(id, n, two.now);
                n_of_turn += 1;
            }
        }
        // Those of the mail before are among the first.
        assert!(n_of_turn <= 2 * N_PER_TURN, "{n_of_turn} in a turn");
        written += n_of_turn;
    }
    assert!(written >= N, "{written}");
}

#[test]
fn a_drain_closes_some_clients_a_turn() {
    let mut two = Two::new(1 << 30);
    two.all_come();
    two.come_to_rest();
    let count = |shard: &mut Shard| shard.counters().n_closed.iter().sum();
    two.shards.iter_mut().for_each(|shard| shard.begin_drain(two.now));
    let mut largest = 0;
    while two.shards.iter().any(|shard| shard.goes_on() || (0..2).any(|to| shard.has_mail_for(CoreId(to)))) {
        for core in 0..2 {
            let before = count(&mut two.shards[0]);
            two.mail(core);
            largest = largest.max(count(&mut two.shards[0]) - before);
            if core == 1 {
                largest = largest.max(two.largest_step(count));
            } else {
                two.shards[1].tick(two.now);
            }
        }
    }
    assert!((1..=N_PER_TURN as u64).contains(&largest), "{largest} in a turn");
    assert_eq!(count(&mut two.shards[0]), N as u64);
    let ids = two.shards[0].clients.slots.ids();
    ids.into_iter().for_each(|id| two.shards[0].release(id, two.now));
    assert!(two.shards[0].is_drained());
}

/// CPU time of this thread, which others do not take from, while one client subscribes to `n` filters, ends all
/// of them and subscribes to others, before the other core says a word; and of what follows.
fn nanos_for_filters(n: usize) -> u64 {
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let mut two = Two::new(1 << 30);
    two.mqtt("k0", &retained("kept"));
    let name = two.names[0].clone();
    let ids = [two.mqtt(&name, b""), two.nats(0, "")];
    two.come_to_rest();
    let filters = |kind: &str| (0..n).map(|nth| format!("{kind}/{nth}")).collect::<Vec<_>>();
    let (first, second) = (filters("a"), filters("b"));
    let ops = |what: &dyn Fn(usize) -> String| (0..n).map(what).collect::<String>();
    let before = cpu();
    for packet in
        [subscribe_to(&first), unsubscribe_from(&first), subscribe_to(&second), subscribe_to(&first)]
    {
        two.shards[0].receive(ids[0], &packet, two.now);
    }
    for ops in [
        ops(&|nth| format!("SUB a.{nth} {nth}\r\n")),
        ops(&|nth| format!("UNSUB {nth}\r\n")),
        ops(&|nth| format!("SUB b.{nth} b{nth}\r\n")),
        ops(&|nth| format!("SUB c.{nth} {nth}\r\n")),
    ] {
        two.shards[0].receive(ids[1], ops.as_bytes(), two.now);
    }
    two.come_to_rest();
    let nanos = cpu() - before;
    assert_eq!(two.counters().n_subscriptions, [2 * n as u64, 2 * n as u64]);
    nanos
}

#[test]
fn a_run_of_very_many_filters_costs_as_many_times_what_one_costs() {
    let (few, many) = (nanos_for_filters(4_000), nanos_for_filters(64_000));
    // Sixteen times as many; if each looked at all the others it would be 256 times the work.
    assert!(many < 40 * few, "{few} ns for 4,000 and {many} ns for 64,000");
}

#[test]
fn however_many_queues_have_to_go_at_once_they_are_looked_through_once() {
    const N_CLIENTS: u64 = 2_000;
    let mut alone = Alone::new(Settings { core_queue_bytes_max: 1 << 20, ..settings() });
    let ids: Vec<_> = (0..N_CLIENTS).map(|_| alone.nats("SUB a 1\r\n")).collect();
    let publisher = alone.nats("");
    alone.receive(publisher, format!("PUB a 500\r\n{}\r\n", "x".repeat(500)).as_bytes());
    assert_eq!(alone.shard.clients.slots.n_looks_at_queues.get(), 0);
    alone.receive(publisher, format!("PUB a 50\r\n{}\r\n", "x".repeat(50)).as_bytes());
    let n_closed = ids.iter().filter(|&&id| alone.shard.is_closing(id)).count();
    assert!((100..N_CLIENTS as usize).contains(&n_closed), "{n_closed}");
    assert!(alone.shard.n_waiting_bytes().0 <= 1 << 20);
    assert_eq!(alone.shard.clients.slots.n_looks_at_queues.get(), 1);
}
