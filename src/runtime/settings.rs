//! The configuration as shards take it.

use crate::config::schema::Config;
use crate::mqtt;
use crate::nats;
use crate::shard::settings::{MqttSettings, NatsSettings, Settings};
use crate::time::Span;
use std::net::{Ipv4Addr, SocketAddr};

/// What an MQTT packet may carry besides its payload, in bytes: the longest topic, or a shorter one and
/// properties.
const MQTT_HEAD_BYTES_MAX: usize = 65 << 10;

pub fn shard_settings(
    config: &Config,
    n_cores: usize,
    server_id: String,
    nats: Option<SocketAddr>,
) -> Settings {
    let limits = &config.limits;
    let packet_bytes_max =
        u32::try_from(config.mqtt.payload_bytes_max + MQTT_HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    Settings {
        n_cores,
        nats: NatsSettings {
            parse: nats::parse::Limits {
                control_line_bytes_max: config.nats.control_line_bytes_max,
                payload_bytes_max: config.nats.payload_bytes_max,
            },
            server: nats::handshake::ServerInfo {
                server_id,
                server_name: config.nats.server_name.clone(),
                listen: nats.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
                payload_bytes_max: config.nats.payload_bytes_max,
            },
            ping_interval: Span::from_secs(config.nats.ping_interval_secs.into()),
            pings_outstanding_max: config.nats.ping_outstanding_max,
            subscriptions_max: config.nats.subscriptions_max,
        },
        mqtt: MqttSettings {
            decode: mqtt::decode::Limits {
                packet_bytes_max,
                connect_bytes_max: u32::try_from(config.mqtt.connect_bytes_max).unwrap_or(u32::MAX),
            },
            payload_bytes_max: config.mqtt.payload_bytes_max,
            connect_timeout: Span::from_secs(config.mqtt.connect_timeout_secs.into()),
            topic_levels_max: config.mqtt.topic_levels_max,
            offer: mqtt::connection::Offer {
                packet_bytes_max,
                keep_alive_secs_max: config.mqtt.keep_alive_secs_max,
                inflight_max: config.mqtt.inflight_max,
            },
            subscriptions_max: config.mqtt.subscriptions_max,
            session_queue_messages_max: config.mqtt.session_queue_messages_max,
            session_queue_bytes_max: config.mqtt.session_queue_bytes_max,
        },
        write_queue_bytes_max: limits.write_queue_bytes_max,
        core_queue_bytes_max: limits.core_queue_bytes_max,
        outbox_bytes_max: limits.outbox_bytes_max,
        batch_bytes_max: limits.mail_batch_bytes_max,
        route_cache_bytes_max: limits.route_cache_bytes_max,
        write_timeout: Span::from_secs(limits.write_timeout_secs.into()),
    }
}
