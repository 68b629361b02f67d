//! One shard alone: what needs no second core and no chance. Everything that crosses cores, waits or races
//! is the simulation's.

use super::*;
use crate::mqtt;
use crate::nats;
use crate::time::Span;
use settings::{MqttSettings, NatsSettings};

mod several;
mod ahead;
mod answers;
mod reading;
mod census;
mod latency;
mod retaining;
mod runs;
mod leave;
mod memory;
mod hear;
mod departed;
mod identity;
mod mount;
mod emqx;
mod responders;
mod hostile;
mod log;
mod limits;
mod losses;
mod rates;
mod sessions;
mod storm;
mod keeping;
mod take_over;
mod by_the_book;
mod deep;
mod unanswered;

const RETAINED: retained::Limits =
    retained::Limits { messages_max: 1_000, bytes_max: 1 << 20, payload_bytes_max: 1 << 16 };

const PARSE: nats::parse::Limits = nats::parse::Limits {
    control_line_bytes_max: 4_096,
    payload_bytes_max: 1 << 20,
    header_bytes_max: usize::MAX,
};

const REQUESTS: requests::Limits =
    requests::Limits { timeout: Span::from_secs(60), per_client_max: 1_000, bytes_max: 64 << 20 };

fn settings() -> Settings {
    Settings {
        n_cores: 1,
        nats: NatsSettings {
            parse: PARSE,
            server: nats::handshake::ServerInfo {
                server_id: "ID".into(),
                server_name: "name".into(),
                payload_bytes_max: 1 << 20,
                ..Default::default()
            },
            ping_interval: Span::from_secs(120),
            pings_outstanding_max: 2,
            pong_timeout: Span::default(),
            subscriptions_max: 0,
            subscription_tokens_max: 0,
            mountpoints: Vec::new(),
            mappings: Vec::new(),
            qualities: qualities::Qualities::default(),
            replayed: Vec::new(),
            identifies_publishers: false,
        },
        mqtt: MqttSettings {
            decode: mqtt::decode::Limits { packet_bytes_max: 1 << 21, connect_bytes_max: 1 << 18 },
            connect_timeout: Span::from_secs(10),
            topic_levels_max: 65_536,
            offer: mqtt::connection::Offer {
                packet_bytes_max: 1 << 21,
                keep_alive_secs_max: 0,
                inflight_max: 1_024,
                receive_maximum: u16::MAX,
                session_expiry_secs_max: u32::MAX,
                session_expiry_secs: 3_600,
                retain: true,
                aliases: mqtt::alias::Limits { topics_max: 4, bytes_max: 1_000 },
            },
            named_connections_max: Vec::new(),
            subscriptions_max: 0,
            session_queue_messages_max: 1_000,
            session_queue_bytes_max: 1 << 20,
            session_queue_drops_oldest: false,
            left_behind: mqtt::inflight::Limits {
                messages_max: 10_000,
                bytes_max: 1 << 20,
                drops_oldest: true,
            },
            sessions_max: 1_000,
            responders: Vec::new(),
            requests: REQUESTS,
            retained: RETAINED,
            identifies_publishers: false,
        },
        limits: crate::shard::limits::Limits::NONE,
        write_queue_bytes_max: 1 << 20,
        core_queue_bytes_max: 1 << 24,
        outbox_bytes_max: 1 << 20,
        batch_bytes_max: 1 << 16,
        route_cache_bytes_max: 1 << 16,
        interest_slice: 100,
        write_timeout: Span::from_secs(10),
        statistics_every: Span::default(),
        presence: true,
        listener_names: [vec!["default".into()], vec!["default".into()]],
        started_at_unix_millis: 1_000,
        lame_duck_grace: Span::from_secs(10),
        lame_duck_duration: Span::from_secs(120),
        drain_timeout: Span::from_secs(5),
    }
}

/// A shard and what its clients have been sent. What it writes down is kept at once, and must be what there is.
struct Alone {
    shard: Shard,
    now: Time,
    journal: Vec<u8>,
    is_keeping: bool,
}

impl Alone {
    fn new(settings: Settings) -> Self {
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
        let mut shard = Shard::new(CoreId(0), Arc::new(settings), &keys, retained, 7);
        shard.keep_journal();
        Self { shard, now: Time::START, journal: Vec::new(), is_keeping: true }
    }

    fn connect(&mut self, listener: Listener) -> ConnectionId {
        let door = Door::first(listener);
        let id = self.shard.accept(door, "127.0.0.1:9".parse().unwrap(), 0, self.now);
        self.sent(id);
        id
    }

    fn nats(&mut self, subscribe: &str) -> ConnectionId {
        let id = self.connect(Listener::Nats);
        self.receive(id, b"CONNECT {\"verbose\":false,\"headers\":true}\r\n");
        self.receive(id, subscribe.as_bytes());
        self.sent(id);
        id
    }

    /// A client of the `nth` listener for NATS, whose CONNECT says `more`.
    fn nats_at_nth(&mut self, nth: u16, more: &str, ops: &str) -> ConnectionId {
        let door = Door { listener: Listener::Nats, nth };
        let id = self.shard.accept(door, "127.0.0.1:9".parse().unwrap(), u64::from(nth), self.now);
        let connect = format!("CONNECT {{\"verbose\":false,\"headers\":true,\"pedantic\":false{more}}}\r\n");
        self.receive(id, connect.as_bytes());
        self.receive(id, ops.as_bytes());
        self.sent(id);
        id
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut input = vec![0; 1 << 16];
        let n_kept = self.shard.begin_read(id, &mut input);
        input[n_kept..n_kept + bytes.len()].copy_from_slice(bytes);
        self.shard.receive(id, &input[..n_kept + bytes.len()], self.now);
    }

    /// As `receive`, of whole ops.
    fn receive_whole(&mut self, id: ConnectionId, ops: &[u8]) {
        self.shard.receive(id, ops, self.now);
    }

    /// What a client has been sent since the last look.
    fn sent(&mut self, id: ConnectionId) -> String {
        String::from_utf8_lossy(&self.sent_bytes(id)).into_owned()
    }

    fn sent_bytes(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut text = Vec::new();
        if self.is_keeping {
            self.keep();
        }
        while let Some(queue) = self.shard.queue(id)
            && queue.n_free() > 0
        {
            let n = queue.front().len();
            text.extend_from_slice(queue.front());
            self.shard.flushed(id, n, self.now);
        }
        text
    }
}

// 3.1.1: [MQTT-4.8.0-2]
#[test]
fn a_panic_in_a_clients_turn_ends_that_client_alone() {
    let mut alone = Alone::new(settings());
    let [bystander, culprit] = [alone.nats("SUB a 1\r\n"), alone.nats("SUB a 1\r\n")];
    alone.shard.breaks_when_served = Some(culprit);
    alone.receive(culprit, b"PING\r\n");
    assert!(alone.shard.is_closing(culprit) && !alone.shard.is_closing(bystander));
    let publisher = alone.nats("");
    alone.receive(publisher, b"PUB a 1\r\nx\r\n");
    assert_eq!(alone.sent(bystander), "MSG a 1 1\r\nx\r\n");
    assert_eq!(alone.shard.counters().panics, 1);
}

#[test]
fn a_panic_in_a_delivery_ends_the_subscriber_and_the_others_get_theirs() {
    let mut alone = Alone::new(settings());
    let clients = [(); 3].map(|()| alone.nats("SUB a 1\r\n"));
    let publisher = alone.nats("");
    alone.shard.clients.breaks = Some(clients[1]);
    alone.receive(publisher, b"PUB a 1\r\nx\r\nPUB a 1\r\ny\r\n");
    assert!(alone.shard.is_closing(clients[1]) && !alone.shard.is_closing(publisher));
    let waiting: usize = clients.iter().map(|&id| alone.shard.queue(id).map_or(0, WriteQueue::len)).sum();
    assert_eq!(alone.shard.n_waiting_bytes().0, waiting);
    for id in [clients[0], clients[2]] {
        assert_eq!(alone.sent(id), "MSG a 1 1\r\nx\r\nMSG a 1 1\r\ny\r\n");
    }
}

#[test]
#[should_panic(expected = "tables are half changed on purpose")]
fn a_panic_while_tables_change_is_not_survived() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    let now = alone.now;
    alone.shard.guarded(id, now, |shard| {
        shard.is_changing_tables = true;
        panic!("tables are half changed on purpose");
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("SUB a 1\r\nPING\r\nPUB a 1\r\nx\r\n");
    alone.sent(id);
    let connection = alone.shard.clients.slots.get(id).unwrap();
    assert_eq!(connection.kept.capacity() + connection.held.capacity(), 0);
    assert!(connection.queue.is_empty());
    assert_eq!(alone.shard.n_waiting_bytes().0, 0);
}

#[test]
fn an_announced_payload_costs_nothing_before_it_comes() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    alone.receive(id, b"PUB a 1000000\r\n0123456789");
    let connection = alone.shard.clients.slots.get(id).unwrap();
    assert!(connection.kept.capacity() < 100);
    assert!(alone.shard.large_frame(id).is_none());
    alone.receive(id, &[b'x'; 40_000]);
    let (frame, filled) = alone.shard.large_frame(id).unwrap();
    assert!(frame.len() <= 2 * filled && filled == 40_025);
    alone.shard.leave_large(id, filled);
}

// [MQTT-3.1.2-22]
// 3.1.1: [MQTT-3.1.2-24]
#[test]
fn a_client_silent_beyond_its_keep_alive_is_closed_and_one_that_pings_is_not() {
    let mut alone = Alone::new(settings());
    let [silent, lively] = [b"s", b"l"].map(|name| {
        let id = alone.connect(Listener::Mqtt);
        let connect = [b"\x10\x0d\0\x04MQTT\x04\x02\0\x02\0\x01".as_slice(), name].concat();
        alone.receive(id, &connect);
        assert_eq!(alone.sent(id).as_bytes(), b"\x20\x02\0\0");
        id
    });
    for _ in 0..5 {
        alone.now = alone.now + Span::from_millis(900);
        alone.receive(lively, b"\xc0\0");
        alone.shard.tick(alone.now);
    }
    assert!(alone.shard.is_closing(silent) && !alone.shard.is_closing(lively));
}

// [MQTT-3.1.2-22]: packets count, not bytes.
// 3.1.1: [MQTT-3.1.2-24]
#[test]
fn a_client_that_never_ends_its_packet_is_silent_and_one_on_a_slow_link_is_not() {
    let mut alone = Alone::new(settings());
    let [dripping, slow] = [b"d", b"s"].map(|name| {
        let id = alone.connect(Listener::Mqtt);
        alone.receive(id, &[b"\x10\x0d\0\x04MQTT\x04\x02\0\x02\0\x01".as_slice(), name].concat());
        // A PUBLISH of a megabyte.
        alone.receive(id, b"\x30\x83\x80\x40\0\x01t");
        id
    });
    // Its keep-alive is 2 s: silence may last 3. A part in time counts, whether it is read as a large frame or not.
    let mut n_sent = 0;
    for _ in 0..60 {
        alone.now = alone.now + Span::from_millis(1_400);
        if !alone.shard.is_closing(dripping) {
            alone.receive(dripping, &[b'x'; 300]);
            n_sent += 1;
        }
        match alone.shard.large_frame(slow) {
            Some((frame, filled)) => {
                frame[filled..filled + 1_024].fill(b'x');
                alone.shard.receive_large(slow, filled, 1_024, alone.now);
            }
            None => alone.receive(slow, &[b'x'; 1_024]),
        }
        alone.shard.tick(alone.now);
    }
    assert!(alone.shard.is_closing(dripping) && !alone.shard.is_closing(slow));
    assert!(n_sent < 4, "{n_sent}");
    assert_eq!(alone.shard.counters().n_closed[closed::Reason::KeepAlive as usize], 1);
}

#[test]
fn a_pong_that_does_not_come_in_its_time_ends_a_client_that_talks_on() {
    let mut settings = settings();
    settings.nats.pong_timeout = Span::from_secs(5);
    let mut alone = Alone::new(settings);
    let [silent, polite] = [(); 2].map(|()| alone.nats(""));
    for _ in 0..80 {
        alone.now = alone.now + Span::from_millis(100);
        alone.shard.tick(alone.now);
        alone.receive(silent, b"PING\r\n");
        if alone.sent(polite).contains("PING") {
            alone.receive(polite, b"PONG\r\n");
        }
    }
    assert!(alone.shard.is_closing(silent) && !alone.shard.is_closing(polite));
    assert!(alone.sent(silent).ends_with("-ERR 'Stale Connection'\r\n"));
}

#[test]
fn a_client_that_is_heard_of_is_asked_once_and_then_left_alone_for_an_hour() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    let mut n_pings = Vec::new();
    for minute in 0..130 {
        alone.now = alone.now + Span::from_secs(60);
        alone.shard.tick(alone.now);
        if alone.sent(id).contains("PING") {
            n_pings.push(minute);
            alone.receive(id, b"PONG\r\n");
        }
        alone.now = alone.now + Span::from_millis(1);
        alone.receive(id, b"PUB a 0\r\n\r\n");
    }
    assert_eq!(n_pings.len(), 3, "{n_pings:?}");
    assert!(!alone.shard.is_closing(id));
}

#[test]
fn subscriptions_beyond_a_limit_are_refused_in_the_servers_words_and_the_client_stays() {
    let mut settings = settings();
    settings.nats.subscriptions_max = 2;
    settings.nats.subscription_tokens_max = 3;
    let mut alone = Alone::new(settings);
    let id = alone.nats("SUB a 1\r\nSUB a..b.c 9\r\nSUB a.b.c 2\r\n");
    alone.receive(id, b"SUB a.b.c.d 3\r\nSUB a 4\r\nSUB a 1\r\nUNSUB 1\r\nSUB b 5\r\nPING\r\n");
    let too_many = "-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'\r\n";
    let exceeded = "-ERR 'maximum subscriptions exceeded'\r\n";
    assert_eq!(alone.sent(id), format!("{too_many}{exceeded}{exceeded}PONG\r\n"));
    assert_eq!(alone.shard.counters().subscriptions_refused, [0, 2, 0, 2, 0, 0]);
}

#[test]
fn a_nats_client_that_answers_no_ping_is_stale() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    let mut said = String::new();
    while !alone.shard.is_closing(id) {
        alone.now = alone.shard.wake_at().unwrap();
        alone.shard.tick(alone.now);
        said += &alone.sent(id);
    }
    assert_eq!(said, "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
}

#[test]
fn at_the_cores_limit_the_largest_queue_goes() {
    let mut alone = Alone::new(Settings { core_queue_bytes_max: 3_000, ..settings() });
    let [small, large] = [alone.nats("SUB a 1\r\n"), alone.nats("SUB a 1\r\nSUB b 2\r\n")];
    let publisher = alone.nats("");
    let payload = "x".repeat(900);
    for subject in ["a", "b", "b"] {
        alone.receive(publisher, format!("PUB {subject} 900\r\n{payload}\r\n").as_bytes());
    }
    assert!(alone.shard.is_closing(large) && !alone.shard.is_closing(small));
    assert_eq!(alone.shard.counters().slow_consumers, 1);
}

#[test]
fn a_client_that_was_idle_is_not_late_with_what_is_queued_now() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("SUB a 1\r\n");
    let publisher = alone.nats("");
    alone.now = alone.now + Span::from_secs(60);
    alone.receive(publisher, b"PUB a 1\r\nx\r\n");
    alone.shard.flushed(id, 1, alone.now);
    alone.now = alone.now + Span::from_secs(9);
    alone.shard.tick(alone.now);
    assert!(!alone.shard.is_closing(id));
    alone.now = alone.now + Span::from_secs(2);
    alone.shard.tick(alone.now);
    assert!(alone.shard.is_closing(id));
}

#[test]
fn forty_thousand_groups_on_one_filter_and_as_many_members_of_one_come_and_go() {
    let mut alone = Alone::new(settings());
    for group in ["g", ""] {
        let client = alone.nats("");
        for nth in 0..40_000 {
            let name = if group.is_empty() { String::new() } else { format!(" {group}{nth}") };
            alone.receive_whole(client, format!("SUB a{name} {nth}\r\n").as_bytes());
        }
        for nth in 0..20_000 {
            alone.receive_whole(client, format!("UNSUB {nth}\r\n").as_bytes());
        }
        alone.shard.end_of_input(client, false, alone.now);
        while alone.shard.goes_on() {
            alone.shard.tick(alone.now);
        }
        let mut n_left = 0;
        alone.shard.announced(|_, _, n| n_left += n.n_online + n.n_offline);
        assert_eq!(n_left, 0);
    }
}
