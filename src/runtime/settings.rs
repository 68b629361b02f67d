//! The configuration as shards take it.

use super::{admission, host};
use crate::admin::About;
use crate::config::listener::{EMQX, FIRST, Listener};
use crate::config::schema::{Config, Limits, Nats};
use crate::config::subjects;
use crate::message::Quality;
use crate::mqtt;
use crate::nats;
use crate::nats::handshake::Reached;
use crate::shard::qualities::Qualities;
use crate::shard::rates::Rate;
use crate::shard::settings::{MqttSettings, NatsSettings, Settings};
use crate::shard::{limits, requests, retained};
use crate::subject::mount::Mountpoint;
use crate::subject::responder::Responder;
use crate::subject::view::Mapping;
use crate::time::Span;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What an MQTT packet with the largest payload may carry besides, in bytes: the longest topic, or a shorter one
/// and properties.
const MQTT_HEAD_BYTES_MAX: usize = 65 << 10;

/// Changes of other cores' interest that are applied at once: some hundred microseconds.
const INTEREST_SLICE: usize = 512;

/// What may be under way between two cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    pub n_credits: usize,
    pub batch_bytes_max: usize,
    pub outbox_bytes_max: usize,
}

impl Lanes {
    /// As configured, but all that other cores have under way to one fits the last quarter of a write
    /// queue: when publishers hear at three quarters that their subscriber falls behind, there is room for
    /// what has left already.
    pub fn new(limits: &Limits, n_cores: usize) -> Self {
        let lane_bytes = limits.write_queue_bytes_max / 4 / n_cores.saturating_sub(1).max(1);
        let batch_bytes_max = limits.mail_batch_bytes_max.min(lane_bytes / 4).max(1);
        Self {
            n_credits: limits.mail_credits.min(lane_bytes / 2 / batch_bytes_max).max(1),
            batch_bytes_max,
            outbox_bytes_max: limits.outbox_bytes_max.min(lane_bytes / 4).max(1),
        }
    }
}

pub fn shard_settings(
    config: &Config,
    n_cores: usize,
    server_id: String,
    nats: &[Option<SocketAddr>],
) -> Settings {
    let limits = &config.limits;
    let lanes = Lanes::new(limits, n_cores);
    Settings {
        n_cores,
        nats: NatsSettings {
            parse: nats::parse::Limits {
                control_line_bytes_max: config.nats.control_line_bytes_max,
                payload_bytes_max: config.nats.payload_bytes_max,
                header_bytes_max: or_none(config.nats.header_bytes_max),
            },
            server: nats::handshake::ServerInfo {
                server_id,
                server_name: config.nats.server_name.clone(),
                payload_bytes_max: config.nats.payload_bytes_max,
                reached: reached(config, nats),
                is_lame_duck: false,
            },
            ping_interval: Span::from_secs(config.nats.ping_interval_secs.into()),
            pings_outstanding_max: config.nats.ping_outstanding_max,
            pong_timeout: Span::from_secs(config.nats.pong_timeout_secs.into()),
            subscriptions_max: config.nats.subscriptions_max,
            subscription_tokens_max: config.nats.subscription_tokens_max,
            mountpoints: mountpoints(config),
            mappings: mappings(config),
            qualities: qualities(&config.nats.publish_qos),
            replayed: config.nats.replay_retained.iter().filter_map(|it| subjects::filter(it)).collect(),
            identifies_publishers: config.nats.identify_publishers,
        },
        mqtt: MqttSettings {
            named_connections_max: named_connections_max(config),
            ..mqtt_settings(&config.mqtt, n_cores)
        },
        limits: client_limits(config, n_cores),
        listener_names: ["mqtt", "nats"].map(|section| listener_names(config, section)),
        write_queue_bytes_max: limits.write_queue_bytes_max,
        core_queue_bytes_max: limits.core_queue_bytes_max,
        outbox_bytes_max: lanes.outbox_bytes_max,
        batch_bytes_max: lanes.batch_bytes_max,
        route_cache_bytes_max: limits.route_cache_bytes_max,
        interest_slice: INTEREST_SLICE,
        write_timeout: Span::from_secs(limits.write_timeout_secs.into()),
        statistics_every: Span::from_secs(config.sys.interval_secs.into()),
        presence: config.sys.presence,
        started_at_unix_millis: unix_millis(),
        lame_duck_grace: Span::from_secs(limits.lame_duck_grace_secs.into()),
        lame_duck_duration: Span::from_secs(limits.lame_duck_duration_secs.into()),
        drain_timeout: Span::from_secs(limits.drain_timeout_secs.into()),
    }
}

/// Who is let in.
pub fn admission(limits: &Limits) -> admission::Limits {
    admission::Limits {
        per_address_max: or_none(limits.connections_per_address_max),
        rate_per_address_max: limits.connection_rate_per_address_max,
    }
}

fn client_limits(config: &Config, n_cores: usize) -> limits::Limits {
    let Config { mqtt, nats, .. } = config;
    let percent = config.limits.unconnected_percent_max;
    let n_connections = config.limits.connections_max.min(host::open_files_max());
    let n_unconnected = n_connections.saturating_mul(percent as usize) / 100;
    limits::Limits {
        client_id_bytes_max: mqtt.client_id_bytes_max,
        topic_bytes_max: mqtt.topic_bytes_max,
        user_properties_max: or_none(mqtt.user_properties_max),
        user_property_bytes_max: or_none(mqtt.user_property_bytes_max),
        filters_max: or_none(mqtt.filters_max),
        connections: [
            config.limits.connections_max as u64,
            or_none(mqtt.max_connections) as u64,
            or_none(config.limits.connections_per_address_max) as u64,
            config.limits.connection_rate_per_address_max.into(),
        ],
        rates: [
            Rate {
                messages_per_sec: mqtt.publish_rate_max as u64,
                bytes_per_sec: mqtt.publish_bytes_rate_max as u64,
            },
            Rate {
                messages_per_sec: nats.publish_rate_max as u64,
                bytes_per_sec: nats.publish_bytes_rate_max as u64,
            },
        ],
        unconnected_percent_max: percent,
        unconnected_max: if percent == 100 { usize::MAX } else { n_unconnected.div_ceil(n_cores).max(1) },
        unconnected_bytes_max: config.limits.unconnected_bytes_max,
    }
}

/// 0 stands for no limit.
fn or_none(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

fn mqtt_settings(config: &crate::config::schema::Mqtt, n_cores: usize) -> MqttSettings {
    let packet_bytes_max = u32::try_from(config.payload_bytes_max + MQTT_HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    MqttSettings {
        decode: mqtt::decode::Limits {
            packet_bytes_max,
            connect_bytes_max: u32::try_from(config.connect_bytes_max).unwrap_or(u32::MAX),
        },
        connect_timeout: Span::from_secs(config.connect_timeout_secs.into()),
        topic_levels_max: config.topic_levels_max,
        named_connections_max: Vec::new(),
        offer: mqtt::connection::Offer {
            packet_bytes_max,
            keep_alive_secs_max: config.keep_alive_secs_max,
            inflight_max: config.inflight_max,
            receive_maximum: config.receive_maximum,
            session_expiry_secs_max: config.session_expiry_secs_max,
            session_expiry_secs: config.session_expiry_secs,
            retain: config.retained_messages_max > 0,
            aliases: mqtt::alias::Limits {
                topics_max: config.topic_aliases_max,
                bytes_max: config.topic_alias_bytes_max,
            },
        },
        subscriptions_max: config.subscriptions_max,
        session_queue_messages_max: config.session_queue_messages_max,
        session_queue_bytes_max: config.session_queue_bytes_max,
        session_queue_drops_oldest: config.session_queue_drops_oldest,
        left_behind: mqtt::inflight::Limits {
            messages_max: config.left_behind_messages_max,
            bytes_max: config.left_behind_bytes_max,
            drops_oldest: true,
        },
        sessions_max: config.sessions_max.div_ceil(n_cores),
        retained: retained::Limits {
            messages_max: config.retained_messages_max,
            bytes_max: config.retained_bytes_max,
            payload_bytes_max: config.retained_payload_bytes_max,
        },
        responders: config.responders.iter().filter_map(|it| Responder::parse(it).ok()).collect(),
        requests: requests::Limits {
            timeout: Span::from_secs(config.request_timeout_secs.into()),
            per_client_max: config.requests_max,
            bytes_max: config.requests_bytes_max,
        },
        identifies_publishers: config.identify_publishers,
    }
}

/// The first one's name, then the others' by their places.
fn listener_names(config: &Config, section: &str) -> Vec<Box<str>> {
    let others = config.listeners.iter().filter(|it| it.section == section);
    std::iter::once(FIRST).chain(others.map(|it| it.name.as_str())).map(Into::into).collect()
}

/// The keys live for as long as the process, as those of the sections do: why a connection ends names one.
fn named_connections_max(config: &Config) -> Vec<(&'static str, u64)> {
    let named = config.listeners.iter().filter(|it| it.section == "mqtt");
    let told = named.map(|it| (format!("{}.max_connections", it.path()), it.max_connections));
    told.map(|(key, max)| (&*key.leak(), or_none(max) as u64)).collect()
}

fn qualities(rules: &[String]) -> Qualities {
    let rule = |text: &String| {
        let (filter, qos) = subjects::filter_and_qos(text).expect("the configuration took it for a rule");
        let quality = match qos {
            0 => Quality::AtMostOnce,
            1 => Quality::AtLeastOnce,
            _ => Quality::ExactlyOnce,
        };
        (filter, quality)
    };
    Qualities(rules.iter().map(rule).collect())
}

/// What precedes the names of each listener's clients, by their places: the first one's is the section's.
fn mountpoints(config: &Config) -> Vec<Option<Arc<Mountpoint>>> {
    let first = config.nats.mountpoint.as_str();
    let named = config.listeners.iter().filter(|it| it.section == "nats");
    let texts = named.map(|it| it.mountpoint.as_deref().unwrap_or(first));
    let mountpoint = |text| {
        let read = Mountpoint::parse(text, '.');
        read.expect("the configuration took it for one").map(Arc::new)
    };
    std::iter::once(first).chain(texts).map(mountpoint).collect()
}

/// How each listener's clients spell topics, by their places.
fn mappings(config: &Config) -> Vec<Mapping> {
    let first = config.nats.mapping.as_str();
    let named = config.listeners.iter().filter(|it| it.section == "nats");
    let words = named.map(|it| it.mapping.as_deref().unwrap_or(first));
    let mapping = |word: &str| if word == EMQX { Mapping::Emqx } else { Mapping::Exact };
    std::iter::once(first).chain(words).map(mapping).collect()
}

/// What the monitoring tells of the process. The addresses are those for NATS, MQTT and the admin.
pub fn about(
    config: &Config,
    settings: &Settings,
    started_at: SystemTime,
    [nats, mqtt, admin]: [Option<SocketAddr>; 3],
    n_processors: usize,
) -> About {
    About {
        started_at,
        server_id: settings.nats.server.server_id.clone(),
        server_name: settings.nats.server.server_name.clone(),
        nats_version: nats::handshake::COMPATIBLE_VERSION,
        nats,
        mqtt,
        admin,
        n_processors,
        n_cores: settings.n_cores,
        connections_max: config.limits.connections_max,
        subscriptions_max: settings.nats.subscriptions_max,
        ping_interval: settings.nats.ping_interval,
        pings_outstanding_max: settings.nats.pings_outstanding_max,
        control_line_bytes_max: settings.nats.parse.control_line_bytes_max,
        payload_bytes_max: settings.nats.parse.payload_bytes_max,
        write_queue_bytes_max: settings.write_queue_bytes_max,
        write_timeout: settings.write_timeout,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one look at the calendar: all else is counted from it")]
fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where clients of each listener reach the gateway, by their places. `bound` is where each listens, by the same.
fn reached(config: &Config, bound: &[Option<SocketAddr>]) -> Vec<Reached> {
    let Nats { advertise, connect_urls, .. } = &config.nats;
    let named = config.listeners.iter().filter(|it| it.section == "nats");
    let told = std::iter::once((advertise, connect_urls))
        .chain(named.map(|Listener { advertise, connect_urls, .. }| (advertise, connect_urls)));
    let listen = bound.iter().copied().chain(std::iter::repeat(None));
    let reached = |((advertise, connect_urls), listen): ((&String, &Vec<String>), _)| {
        let (host, port) = advertised(advertise, listen);
        Reached { host, port, connect_urls: connect_urls.clone() }
    };
    told.zip(listen).map(reached).collect()
}

/// The host, without brackets, and the port that INFO gives as a listener's own.
fn advertised(advertise: &str, listen: Option<SocketAddr>) -> (String, u16) {
    let listen = listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
    match advertise.rsplit_once(':') {
        Some((host, port)) => {
            (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(listen.port()))
        }
        None => (listen.ip().to_string(), listen.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised_stands_for_the_address_that_is_listened_on() {
        let listen = "10.0.0.1:4222".parse().ok();
        assert_eq!(advertised("", listen), ("10.0.0.1".into(), 4222));
        assert_eq!(advertised("gateway.example:99", listen), ("gateway.example".into(), 99));
        assert_eq!(advertised("[::1]:99", listen), ("::1".into(), 99));
    }

    #[test]
    fn a_listener_tells_of_itself_and_of_nothing_that_the_section_s_is_told() {
        let mut config = Config::default();
        config.nats.advertise = "gateway.example:99".into();
        config.nats.connect_urls = vec!["gateway.example:99".into()];
        let mut told = Listener::new("nats", "b");
        told.advertise = "b.example:1".into();
        told.connect_urls = vec!["c.example:1".into()];
        config.listeners = vec![Listener::new("mqtt", "x"), Listener::new("nats", "a"), told];
        let bound = ["127.0.0.1:4222", "10.0.0.1:4223", "10.0.0.1:4224"].map(|it| it.parse().ok());
        let reached = reached(&config, &bound);
        let reached: Vec<_> =
            reached.iter().map(|it| (it.host.as_str(), it.port, it.connect_urls.join(" "))).collect();
        let expected = [
            ("gateway.example", 99, "gateway.example:99".to_owned()),
            ("10.0.0.1", 4223, String::new()),
            ("b.example", 1, "c.example:1".to_owned()),
        ];
        assert_eq!(reached, expected);
    }

    #[test]
    fn what_is_under_way_fits_the_last_quarter_of_a_write_queue() {
        for n_cores in [2, 3, 4, 16, 64, 256] {
            for write_queue_bytes_max in [64 << 10, 1 << 20, 64 << 20, 1 << 30] {
                let limits = Limits { write_queue_bytes_max, ..Config::default().limits };
                let lanes = Lanes::new(&limits, n_cores);
                let a_lane = lanes.n_credits * lanes.batch_bytes_max + lanes.outbox_bytes_max;
                assert!(a_lane * (n_cores - 1) <= write_queue_bytes_max / 4, "{n_cores} {lanes:?}");
            }
        }
    }
}
