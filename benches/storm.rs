//! Very many clients with kept sessions come, are lost and come back at once: how long one turn of a shard takes
//! at most, in CPU time. Not the kernel's part, and not messages.
//!
//! ```shell
//! cargo bench --bench storm                    # 100,000 clients of 3 filters each, over 1, 2 and 4 shards
//! cargo bench --bench storm -- 250000 4        # so many, over so many
//! cargo test --bench storm                     # a few, and nothing but that all of it happens
//! ```

#[expect(dead_code, reason = "every bench plays a part of the scenarios")]
mod scenarios;

use rustix::time::{ClockId, clock_gettime};
use scenarios::world::{keys, settings};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use strait::mqtt::encode;
use strait::mqtt::packet::{Connect, Filters, Qos, Subscribe, SubscribeOptions, Version};
use strait::mqtt::property::{Properties, Property, PropertyBlock};
use strait::shard::id::{ConnectionId, CoreId};
use strait::shard::mail::Batch;
use strait::shard::moving::Moved;
use strait::shard::retained::Retained;
use strait::shard::write_queue::WriteQueue;
use strait::shard::{Door, Listener, Shard};
use strait::time::{Span, Time};

/// What cores do of one kind before they look at the next, as `runtime` does.
const EVENTS_PER_ROUND: usize = 64;

/// How long sessions outlive their connections.
const EXPIRY_SECS: u32 = 3_600;

/// The largest turns that are told.
const N_LARGEST: usize = 3;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let is_measured = args.iter().any(|arg| arg == "--bench");
    args.retain(|arg| !arg.starts_with("--"));
    let numbers: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    match (is_measured, numbers.as_slice()) {
        (false, _) => play(1_000, 2),
        (true, [n_clients, n_cores]) => play(*n_clients, *n_cores),
        (true, _) => [1, 2, 4].into_iter().for_each(|n_cores| play(100_000, n_cores)),
    }
}

fn play(n_clients: usize, n_cores: usize) {
    println!("{n_clients} clients, {n_cores} shards: µs of CPU for a turn");
    let mut storm = Storm::new(n_clients, n_cores);
    storm.all_come();
    storm.finish("come");
    assert_eq!(storm.n_subscriptions(), 3 * n_clients as u64);
    storm.all_are_lost();
    storm.finish("are lost");
    storm.all_come();
    storm.finish("come back");
    assert_eq!(storm.sum(|it| it.counters().sessions_resumed), n_clients as u64);
    storm.all_are_lost();
    storm.finish("are lost again");
    storm.skipped = Span::from_secs(u64::from(EXPIRY_SECS) + 200);
    storm.finish("expire");
    assert_eq!((storm.n_subscriptions(), storm.sum(|it| it.counters().n_sessions)), (0, 0));
    storm.all_come();
    storm.finish("come anew");
    storm.drain();
    storm.finish("drained");
    assert!(storm.cores.iter().all(|core| core.shard.is_drained()));
}

/// What a core does next.
enum Event {
    Accept(usize),
    Arrive(Box<Moved>, usize),
    Read(ConnectionId, &'static str),
    Lost(ConnectionId),
}

/// A client's connection: who it is, and what it has said.
#[derive(Clone, Copy)]
struct Socket {
    id: ConnectionId,
    client: usize,
    has_subscribed: bool,
}

struct Core {
    shard: Shard,
    events: VecDeque<Event>,
    mail: VecDeque<(CoreId, Batch)>,
    /// By slot.
    sockets: Vec<Option<Socket>>,
}

/// A turn: its time in nanoseconds, what it was, and which of its phase.
type Turn = (u64, &'static str, usize);

struct Storm {
    cores: Vec<Core>,
    n_clients: usize,
    n_accepted: u64,
    /// By the clock of the host, in nanoseconds.
    start: u64,
    /// Time that nobody waited for.
    skipped: Span,
    turns: Vec<Turn>,
    /// Times of turns with all that follows from them before the core looks at anything else.
    stretches: Vec<u64>,
    stretch: u64,
}

impl Storm {
    fn new(n_clients: usize, n_cores: usize) -> Self {
        let mut settings = settings(n_cores);
        settings.mqtt.sessions_max = n_clients;
        let settings = Arc::new(settings);
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys()));
        let core = |core| Core {
            shard: Shard::new(CoreId(core as u16), settings.clone(), &keys(), retained.clone(), 7),
            events: VecDeque::new(),
            mail: VecDeque::new(),
            sockets: Vec::new(),
        };
        let cores = (0..n_cores).map(core).collect();
        // So that the list of turns takes no time of theirs.
        let turns = Vec::with_capacity(20 * n_clients);
        let stretches = Vec::with_capacity(20 * n_clients);
        let (start, skipped) = (nanos(ClockId::Monotonic), Span::default());
        Self { cores, n_clients, n_accepted: 0, start, skipped, turns, stretches, stretch: 0 }
    }

    fn now(&self) -> Time {
        Time::from_nanos(nanos(ClockId::Monotonic) - self.start) + self.skipped
    }

    fn sum(&self, count: impl Fn(&Shard) -> u64) -> u64 {
        self.cores.iter().map(|core| count(&core.shard)).sum()
    }

    fn n_subscriptions(&self) -> u64 {
        self.sum(|shard| shard.counters().n_subscriptions[0])
    }

    fn all_come(&mut self) {
        let n_cores = self.cores.len();
        for client in 0..self.n_clients {
            self.cores[client % n_cores].events.push_back(Event::Accept(client));
        }
    }

    fn all_are_lost(&mut self) {
        for core in &mut self.cores {
            core.events.extend(core.sockets.iter().flatten().map(|socket| Event::Lost(socket.id)));
        }
    }

    fn drain(&mut self) {
        let now = self.now();
        for core in 0..self.cores.len() {
            self.turn(core, "begin_drain", |shard| shard.begin_drain(now));
            self.see_to_effects(core);
        }
    }

    /// One turn of a shard, by its time.
    fn turn<T>(&mut self, core: usize, what: &'static str, work: impl FnOnce(&mut Shard) -> T) -> T {
        let before = cpu_nanos();
        let done = work(&mut self.cores[core].shard);
        let nanos = cpu_nanos() - before;
        self.stretch += nanos;
        self.turns.push((nanos, what, self.turns.len()));
        done
    }

    /// Lets the cores work until nobody has anything to do, and tells how long their turns took.
    fn finish(&mut self, phase: &str) {
        loop {
            let n_turns = self.turns.len();
            (0..self.cores.len()).for_each(|core| self.round(core));
            if self.turns.len() == n_turns {
                break;
            }
        }
        self.turns.sort_unstable();
        let at = |share: usize| self.turns[(self.turns.len() - 1) * share / 100].0 as f64 / 1e3;
        let total: u64 = self.turns.iter().map(|turn| turn.0).sum();
        println!(
            "{phase:>15}: {:8} turns, p50 {:6.1}, p99 {:6.1}, max {:7.1}, in all {:.0} ms",
            self.turns.len(),
            at(50),
            at(99),
            at(100),
            total as f64 / 1e6
        );
        let largest = self.turns.iter().rev().take(N_LARGEST);
        let largest: Vec<_> = largest
            .map(|(nanos, what, nth)| format!("{what} {:.1} (turn {nth})", *nanos as f64 / 1e3))
            .collect();
        let longest = self.stretches.iter().max().copied().unwrap_or(0) as f64 / 1e3;
        println!("{:>15}  {}; with what follows at most {longest:.1}", "", largest.join(", "));
        self.turns.clear();
        self.stretches.clear();
    }

    fn round(&mut self, core: usize) {
        let now = self.now();
        for (from, batch) in std::mem::take(&mut self.cores[core].mail) {
            self.turn(core, "mail", |shard| shard.mail(from, &batch, now));
            self.see_to_effects(core);
        }
        for _ in 0..EVENTS_PER_ROUND {
            let Some(event) = self.cores[core].events.pop_front() else { break };
            self.take(core, event);
            self.see_to_effects(core);
        }
        if self.cores[core].shard.wake_at().is_some_and(|at| at <= now) {
            self.turn(core, "tick", |shard| shard.tick(now));
            self.see_to_effects(core);
        }
    }

    fn take(&mut self, core: usize, event: Event) {
        let now = self.now();
        match event {
            Event::Accept(client) => {
                let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
                let door = Door::first(Listener::Mqtt);
                let nth = self.n_accepted;
                self.n_accepted += 1;
                let id = self.turn(core, "accept", |shard| shard.accept(door, peer, nth, now));
                self.enter(core, Socket { id, client, has_subscribed: false });
                self.cores[core].events.push_back(Event::Read(id, "CONNECT"));
            }
            Event::Arrive(moved, client) => {
                let id = self.turn(core, "arrive", |shard| shard.arrive(*moved, now));
                self.enter(core, Socket { id, client, has_subscribed: false });
            }
            Event::Read(id, what) => {
                let Some(client) = self.socket(core, id).map(|socket| socket.client) else { return };
                let packet = if what == "CONNECT" { connect(client) } else { subscribe(client) };
                self.turn(core, what, |shard| shard.receive(id, &packet, now));
            }
            Event::Lost(id) => self.turn(core, "lost", |shard| shard.end_of_input(id, true, now)),
        }
    }

    fn enter(&mut self, core: usize, socket: Socket) {
        let sockets = &mut self.cores[core].sockets;
        let slot = socket.id.slot as usize;
        if sockets.len() <= slot {
            sockets.resize(slot + 1, None);
        }
        sockets[slot] = Some(socket);
    }

    fn socket(&mut self, core: usize, id: ConnectionId) -> Option<&mut Socket> {
        self.cores[core].sockets.get_mut(id.slot as usize)?.as_mut().filter(|socket| socket.id == id)
    }

    fn see_to_effects(&mut self, core: usize) {
        let now = self.now();
        loop {
            let effects = std::mem::take(self.cores[core].shard.effects());
            if effects.is_empty() {
                break;
            }
            for id in effects.flush {
                let n_bytes = self.cores[core].shard.queue(id).map_or(0, WriteQueue::len);
                self.turn(core, "flushed", |shard| shard.flushed(id, n_bytes, now));
                // What it was sent was its CONNACK, and then its SUBACK.
                if let Some(socket) = self.socket(core, id)
                    && !std::mem::replace(&mut socket.has_subscribed, true)
                {
                    self.cores[core].events.push_back(Event::Read(id, "SUBSCRIBE"));
                }
            }
            for id in effects.close.into_iter().chain(effects.cut) {
                self.cores[core].sockets[id.slot as usize] = None;
                self.turn(core, "release", |shard| shard.release(id, now));
            }
            for (id, home) in effects.depart {
                let socket = self.cores[core].sockets[id.slot as usize].take();
                let moved = self.turn(core, "depart", |shard| shard.depart(id));
                if let Some((moved, socket)) = moved.zip(socket) {
                    self.cores[home.idx()].events.push_back(Event::Arrive(Box::new(moved), socket.client));
                }
            }
        }
        for to in (0..self.cores.len()).filter(|to| *to != core) {
            let to_id = CoreId(to as u16);
            while self.cores[core].shard.has_mail_for(to_id) {
                let batch = self.turn(core, "take_batch", |shard| shard.take_batch(to_id, now));
                self.cores[to].mail.extend(batch.map(|batch| (CoreId(core as u16), batch)));
            }
        }
        self.stretches.push(std::mem::take(&mut self.stretch));
    }
}

/// CPU time of this thread: what others do meanwhile does not count.
fn cpu_nanos() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn name(client: usize) -> String {
    format!("device-{client:08}")
}

fn connect(client: usize) -> Vec<u8> {
    let mut block = PropertyBlock::new();
    block.push(Property::SessionExpiryInterval(EXPIRY_SECS)).expect("a number");
    let name = name(client);
    let connect = Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_secs: 60,
        client_id: name.as_bytes(),
        will: None,
        username: None,
        password: None,
        properties: block.properties(),
    };
    let mut packet = Vec::new();
    encode::connect(&mut packet, &connect).expect("a short name");
    packet
}

fn subscribe(client: usize) -> Vec<u8> {
    let topics = ["set", "get", "ota/#"].map(|kind| format!("{}/{kind}", name(client)));
    let options = SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    let filters: Vec<_> = topics.iter().map(|topic| (topic.as_bytes(), options)).collect();
    let filters = Filters::from_list(&filters);
    let mut packet = Vec::new();
    let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
    encode::subscribe(&mut packet, Version::V5, &subscribe).expect("short filters");
    packet
}
