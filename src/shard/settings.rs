//! What a shard was told when it began: limits and timers, with their units. Not the configuration file:
//! `runtime` makes one of these from it.

use super::limits;
use super::qualities::Qualities;
use super::requests;
use super::retained::Limits;
use crate::mqtt;
use crate::nats;
use crate::subject::SubjectFilter;
use crate::subject::mount::Mountpoint;
use crate::subject::responder::Responder;
use crate::subject::view::Mapping;
use crate::time::Span;
use std::sync::Arc;

/// The same for every shard of a process.
#[derive(Clone, Debug)]
pub struct Settings {
    pub n_cores: usize,
    pub nats: NatsSettings,
    pub mqtt: MqttSettings,
    pub limits: limits::Limits,
    /// What the configuration calls each listener, by its place among those of MQTT, of NATS.
    pub listener_names: [Vec<Box<str>>; 2],
    /// Bytes waiting for one client.
    pub write_queue_bytes_max: usize,
    /// Bytes waiting for all clients of a core.
    pub core_queue_bytes_max: usize,
    /// Bytes waiting for one other core, after which publishers to it wait.
    pub outbox_bytes_max: usize,
    /// Bytes after which a batch is closed.
    pub batch_bytes_max: usize,
    pub route_cache_bytes_max: usize,
    /// Changes of other cores' interest that are applied at once, and subscriptions of those who have ended
    /// that are taken out at once; others' turns come between.
    pub interest_slice: usize,
    /// How long a NATS client may take nothing of what waits for it.
    pub write_timeout: Span,
    /// How often statistics are published; never where it is nothing.
    pub statistics_every: Span,
    /// Whether the coming and going of clients is published.
    pub presence: bool,
    /// When the process began, in milliseconds of Unix time.
    pub started_at_unix_millis: u64,
    /// In lame-duck mode: how long clients may go by themselves, and over how long the rest are closed.
    pub lame_duck_grace: Span,
    pub lame_duck_duration: Span,
    /// How long a drain may take; what can't be delivered by half of it is given up.
    pub drain_timeout: Span,
}

#[derive(Clone, Debug)]
pub struct NatsSettings {
    pub parse: nats::parse::Limits,
    pub server: nats::handshake::ServerInfo,
    pub ping_interval: Span,
    pub pings_outstanding_max: u32,
    /// How long a PONG may take; 0 for as long as unanswered PINGs are few.
    pub pong_timeout: Span,
    /// Subscriptions of one connection; 0 for any number.
    pub subscriptions_max: usize,
    /// Tokens of one subscription's subject; 0 for any number.
    pub subscription_tokens_max: usize,
    /// By the place of a listener; a client of one without is not mounted.
    pub mountpoints: Vec<Option<Arc<Mountpoint>>>,
    /// The same; a client of one without has the exact one.
    pub mappings: Vec<Mapping>,
    pub qualities: Qualities,
    /// Subscriptions that these cover are sent what was retained before them.
    pub replayed: Vec<SubjectFilter>,
    /// Whether every message says which client published it.
    pub identifies_publishers: bool,
}

impl NatsSettings {
    /// What precedes the names of a listener's clients, and how they spell them.
    pub fn names_at(&self, nth: u16) -> (Option<&Arc<Mountpoint>>, Mapping) {
        let nth = usize::from(nth);
        let mountpoint = self.mountpoints.get(nth).and_then(Option::as_ref);
        (mountpoint, self.mappings.get(nth).copied().unwrap_or_default())
    }

    /// Whether a subscription is sent what was retained before it.
    pub fn replays(&self, filter: &SubjectFilter) -> bool {
        self.replayed.iter().any(|replayed| replayed.covers(filter))
    }
}

impl MqttSettings {
    pub fn session_queue(&self) -> mqtt::inflight::Limits {
        mqtt::inflight::Limits {
            messages_max: self.session_queue_messages_max,
            bytes_max: self.session_queue_bytes_max,
            drops_oldest: self.session_queue_drops_oldest,
        }
    }
}

#[derive(Clone, Debug)]
pub struct MqttSettings {
    pub decode: mqtt::decode::Limits,
    /// How long a connection may take to say CONNECT.
    pub connect_timeout: Span,
    pub topic_levels_max: usize,
    pub offer: mqtt::connection::Offer,
    /// Of each listener with a name, by its place after the first: what the configuration calls the connections that
    /// it may have, and how many that is.
    pub named_connections_max: Vec<(&'static str, u64)>,
    /// Subscriptions of one connection; 0 for any number.
    pub subscriptions_max: usize,
    /// Sessions whose home is one core, connected or not.
    pub sessions_max: usize,
    /// Messages of QoS 1 and 2 that wait for one client, and for its window.
    pub session_queue_messages_max: usize,
    pub session_queue_bytes_max: usize,
    /// Whether the oldest gives way where they are too many, and not the one that comes.
    pub session_queue_drops_oldest: bool,
    /// Messages of a core that members of groups have left to others, and that wait for them.
    pub left_behind: mqtt::inflight::Limits,
    pub retained: Limits,
    pub requests: requests::Limits,
    /// Clients that are asked and answer by topics alone.
    pub responders: Vec<Responder>,
    /// Whether every message says which client published it.
    pub identifies_publishers: bool,
}
