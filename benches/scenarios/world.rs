//! Shards driven without sockets, as `runtime` drives them: reads of 64 KiB come in, effects are seen to,
//! write queues are emptied to nowhere, and mail goes from shard to shard. Not a simulation: nothing here
//! is late, lost or left to chance.

use super::Meter;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use strait::config::schema::Config;
use strait::mqtt::encode;
use strait::mqtt::packet::{Connect, Filters, Qos, Subscribe, SubscribeOptions, Version};
use strait::mqtt::property::Properties;
use strait::nats::handshake::ServerInfo;
use strait::shard::id::{ConnectionId, CoreId};
use strait::shard::keys::Keys;
use strait::shard::mail::Batch;
use strait::shard::qualities::Qualities;
use strait::shard::requests;
use strait::shard::retained::{self, Retained};
use strait::shard::settings::{MqttSettings, NatsSettings, Settings};
use strait::shard::write_queue::WriteQueue;
use strait::shard::{Door, Listener, Shard};
use strait::time::{Span, Time};
use strait::{mqtt, nats};

/// What one read brings, in bytes, and the longest unfinished frame that precedes it: as in `runtime`.
pub const READ_BYTES: usize = 64 << 10;
const KEPT_BYTES: usize = 40 << 10;

/// Pieces that one send gathers.
const N_SLICES: usize = 64;

/// Seeds that are the same in every run: what is counted must not depend on them.
pub fn keys() -> Keys {
    Keys::from_seed([1, 2, 3, 4, 5, 6])
}

/// A client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    core: CoreId,
    id: ConnectionId,
}

/// Shards, and the mail between them.
#[derive(Debug)]
pub struct World {
    shards: Vec<Shard>,
    buffer: Vec<u8>,
    /// From, to, and what is under way.
    mail: VecDeque<(CoreId, CoreId, Batch)>,
    now: Time,
    n_names: usize,
}

impl World {
    pub fn new(n_cores: usize) -> Self {
        let settings = Arc::new(settings(n_cores));
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys()));
        let shard = |core| Shard::new(CoreId(core as u16), settings.clone(), &keys(), retained.clone(), 7);
        Self {
            shards: (0..n_cores).map(shard).collect(),
            buffer: vec![0; KEPT_BYTES + READ_BYTES],
            mail: VecDeque::new(),
            now: Time::from_micros(1),
            n_names: 0,
        }
    }

    /// A NATS client that has sent CONNECT and then `ops`.
    pub fn nats(&mut self, core: u16, ops: &str) -> Client {
        let client = self.accept(core, Listener::Nats);
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";
        self.say(client, &[connect, ops].concat().into_bytes());
        client
    }

    /// An MQTT client, subscribed to `filter` if there is one.
    pub fn mqtt(&mut self, name: &str, version: Version, filter: Option<(&str, Qos)>) -> Client {
        let client = self.accept(0, Listener::Mqtt);
        let mut packets = Vec::new();
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: name.as_bytes(),
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
        };
        encode::connect(&mut packets, &connect).expect("a short name");
        if let Some((filter, qos)) = filter {
            let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
            let filters = [(filter.as_bytes(), options)];
            let filters = Filters::from_list(&filters);
            let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
            encode::subscribe(&mut packets, version, &subscribe).expect("a short filter");
        }
        self.say(client, &packets);
        client
    }

    /// The same, of a name that begins so and that no other client has, whose home is where it comes in.
    pub fn mqtt_at_home(&mut self, prefix: &str, version: Version, filter: Option<(&str, Qos)>) -> Client {
        let n_cores = self.shards.len();
        loop {
            self.n_names += 1;
            let name = format!("{prefix}{}", self.n_names);
            if keys().home(name.as_bytes(), n_cores) == CoreId(0) {
                return self.mqtt(&name, version, filter);
            }
        }
    }

    fn accept(&mut self, core: u16, listener: Listener) -> Client {
        let core = CoreId(core);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
        let id = self.shards[core.idx()].accept(Door::first(listener), peer, 0, self.now);
        self.finish_turn(core);
        Client { core, id }
    }

    /// A client sends `bytes`; all that follows is done.
    fn say(&mut self, client: Client, bytes: &[u8]) {
        self.read(client, &mut Stream::once(bytes), bytes.len(), &mut Meter::off());
        self.finish(client, &mut Meter::off());
        assert!(!self.shards[client.core.idx()].is_closing(client.id), "a client was closed");
    }

    /// Reads `n` bytes from a client and lets its shard take them.
    pub fn read(&mut self, client: Client, stream: &mut Stream, n: usize, meter: &mut Meter) {
        let Self { shards, buffer, now, .. } = self;
        let shard = &mut shards[client.core.idx()];
        let n_kept = meter.measure(|| {
            assert!(shard.wants_input(client.id) && shard.large_frame(client.id).is_none());
            shard.begin_read(client.id, buffer)
        });
        stream.read(&mut buffer[n_kept..n_kept + n]);
        meter.measure(|| shard.receive(client.id, &buffer[..n_kept + n], *now));
    }

    /// Sees to what the last read asks for, and to the mail that follows.
    pub fn finish(&mut self, client: Client, meter: &mut Meter) {
        meter.measure(|| {
            self.finish_turn(client.core);
            while let Some((from, to, batch)) = self.mail.pop_front() {
                self.shards[to.idx()].mail(from, &batch, self.now);
                self.finish_turn(to);
            }
        });
    }

    /// What waits to be written to a client.
    pub fn queue(&self, client: Client) -> &WriteQueue {
        self.shards[client.core.idx()].queue(client.id).expect("the client is connected")
    }

    /// Deliveries so far.
    pub fn n_delivered(&self) -> u64 {
        self.shards.iter().flat_map(|shard| shard.counters().delivered).sum()
    }

    fn finish_turn(&mut self, core: CoreId) {
        loop {
            let effects = std::mem::take(self.shards[core.idx()].effects());
            if effects.is_empty() {
                break;
            }
            assert!(effects.close.is_empty() && effects.cut.is_empty() && effects.depart.is_empty());
            for id in effects.flush {
                self.flush(core, id);
            }
            self.post(core);
        }
        self.post(core);
    }

    fn flush(&mut self, core: CoreId, id: ConnectionId) {
        let shard = &mut self.shards[core.idx()];
        loop {
            let Some(queue) = shard.queue(id) else { return };
            if queue.is_empty() {
                shard.flushed(id, 0, self.now);
                return;
            }
            let mut slices = [IoSlice::new(&[]); N_SLICES];
            let n_slices = queue.gather(&mut slices);
            let n_written = slices[..n_slices].iter().map(|slice| slice.len()).sum();
            shard.flushed(id, n_written, self.now);
        }
    }

    fn post(&mut self, from: CoreId) {
        for to in (0..self.shards.len() as u16).map(CoreId).filter(|to| *to != from) {
            let shard = &mut self.shards[from.idx()];
            while shard.has_mail_for(to)
                && let Some(batch) = shard.take_batch(to, self.now)
            {
                self.mail.push_back((from, to, batch));
            }
        }
    }
}

/// What a client sends: the same bytes again and again.
#[derive(Debug)]
pub struct Stream {
    bytes: Vec<u8>,
    at: usize,
}

impl Stream {
    pub fn new(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { bytes: frames.into_iter().flatten().collect(), at: 0 }
    }

    fn once(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    /// The next bytes; the kernel's part of a read.
    fn read(&mut self, mut room: &mut [u8]) {
        while !room.is_empty() {
            let n = room.len().min(self.bytes.len() - self.at);
            let (now, later) = room.split_at_mut(n);
            now.copy_from_slice(&self.bytes[self.at..self.at + n]);
            self.at = (self.at + n) % self.bytes.len();
            room = later;
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The settings of a gateway with the default configuration.
pub fn settings(n_cores: usize) -> Settings {
    let Config { mqtt, nats, limits, .. } = Config::default();
    Settings {
        n_cores,
        nats: NatsSettings {
            parse: nats::parse::Limits {
                control_line_bytes_max: nats.control_line_bytes_max,
                payload_bytes_max: nats.payload_bytes_max,
                header_bytes_max: usize::MAX,
            },
            server: ServerInfo {
                server_id: "BENCH".into(),
                server_name: "bench".into(),
                payload_bytes_max: nats.payload_bytes_max,
                ..ServerInfo::default()
            },
            ping_interval: Span::from_secs(u64::from(nats.ping_interval_secs)),
            pings_outstanding_max: nats.ping_outstanding_max,
            pong_timeout: Span::from_secs(u64::from(nats.pong_timeout_secs)),
            subscriptions_max: nats.subscriptions_max,
            subscription_tokens_max: nats.subscription_tokens_max,
            mountpoints: Vec::new(),
            mappings: Vec::new(),
            qualities: Qualities::default(),
            replayed: Vec::new(),
            identifies_publishers: false,
        },
        mqtt: mqtt_settings(&mqtt, n_cores),
        listener_names: [vec!["default".into()], vec!["default".into()]],
        limits: strait::shard::limits::Limits::NONE,
        write_queue_bytes_max: limits.write_queue_bytes_max,
        core_queue_bytes_max: limits.core_queue_bytes_max,
        outbox_bytes_max: limits.outbox_bytes_max,
        batch_bytes_max: limits.mail_batch_bytes_max,
        route_cache_bytes_max: limits.route_cache_bytes_max,
        interest_slice: 512,
        lame_duck_grace: Span::from_secs(u64::from(limits.lame_duck_grace_secs)),
        lame_duck_duration: Span::from_secs(u64::from(limits.lame_duck_duration_secs)),
        drain_timeout: Span::from_secs(u64::from(limits.drain_timeout_secs)),
        write_timeout: Span::from_secs(u64::from(limits.write_timeout_secs)),
        statistics_every: Span::default(),
        presence: true,
        started_at_unix_millis: 0,
    }
}

fn mqtt_settings(mqtt: &strait::config::schema::Mqtt, n_cores: usize) -> MqttSettings {
    MqttSettings {
        decode: mqtt::decode::Limits { packet_bytes_max: 2 << 20, connect_bytes_max: 256 << 10 },
        connect_timeout: Span::from_secs(u64::from(mqtt.connect_timeout_secs)),
        topic_levels_max: mqtt.topic_levels_max,
        offer: mqtt::connection::Offer {
            packet_bytes_max: 2 << 20,
            keep_alive_secs_max: mqtt.keep_alive_secs_max,
            inflight_max: mqtt.inflight_max,
            receive_maximum: mqtt.receive_maximum,
            session_expiry_secs_max: mqtt.session_expiry_secs_max,
            session_expiry_secs: mqtt.session_expiry_secs,
            retain: true,
            aliases: strait::mqtt::alias::Limits {
                topics_max: mqtt.topic_aliases_max,
                bytes_max: mqtt.topic_alias_bytes_max,
            },
        },
        named_connections_max: Vec::new(),
        subscriptions_max: mqtt.subscriptions_max,
        session_queue_messages_max: mqtt.session_queue_messages_max,
        session_queue_bytes_max: mqtt.session_queue_bytes_max,
        session_queue_drops_oldest: mqtt.session_queue_drops_oldest,
        left_behind: mqtt::inflight::Limits {
            messages_max: mqtt.left_behind_messages_max,
            bytes_max: mqtt.left_behind_bytes_max,
            drops_oldest: true,
        },
        sessions_max: mqtt.sessions_max.div_ceil(n_cores),
        responders: Vec::new(),
        requests: request_limits(mqtt),
        retained: retained::Limits {
            messages_max: mqtt.retained_messages_max,
            bytes_max: mqtt.retained_bytes_max,
            payload_bytes_max: mqtt.retained_payload_bytes_max,
        },
        identifies_publishers: false,
    }
}

fn request_limits(mqtt: &strait::config::schema::Mqtt) -> requests::Limits {
    requests::Limits {
        timeout: Span::from_secs(mqtt.request_timeout_secs.into()),
        per_client_max: mqtt.requests_max,
        bytes_max: mqtt.requests_bytes_max,
    }
}
