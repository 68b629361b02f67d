//! A simulated gateway: one to five shards with MQTT and NATS clients in one thread, from one seed, held
//! against an oracle. The second driver of a shard, beside `runtime`; no socket, no clock, no thread.
//!
//! What is checked: every delivery due arrives once per subscription and none that isn't; order per pair of
//! connections; that a subscription counts from its answer on, whatever the cores; queue groups; 503s;
//! PUBACKs in order; queues below their bounds; and that all replicas agree when all is quiet.

mod chance;
mod client;
mod oracle;
mod world;
mod verdict;

pub use oracle::Violation;
pub use world::Lie;

use crate::mqtt;
use crate::nats;
use crate::shard::settings::{MqttSettings, NatsSettings, Settings};
use crate::time::Span;
use chance::Chance;
use world::World;

/// Plays one world and returns what the oracle found wrong.
pub fn play(seed: u64, n_steps: usize, lie: Lie) -> Vec<Violation> {
    let mut world = World::new(seed, lie, settings);
    world.run(n_steps);
    world.oracle.violations
}

/// Limits so small that they are met, differently in each world.
fn settings(chance: &mut Chance, n_cores: usize) -> Settings {
    Settings {
        n_cores,
        nats: NatsSettings {
            parse: nats::parse::Limits { control_line_bytes_max: 512, payload_bytes_max: 8_000 },
            server: nats::handshake::ServerInfo {
                server_id: "ID".into(),
                server_name: "name".into(),
                listen: "127.0.0.1:4222".parse().expect("an address"),
                payload_bytes_max: 8_000,
            },
            ping_interval: Span::from_secs(60),
            pings_outstanding_max: 2,
            subscriptions_max: 0,
        },
        mqtt: MqttSettings {
            decode: mqtt::decode::Limits { packet_bytes_max: 16_000, connect_bytes_max: 4_000 },
            payload_bytes_max: 8_000,
            connect_timeout: Span::from_secs(30),
            topic_levels_max: 16,
            offer: mqtt::connection::Offer {
                packet_bytes_max: 16_000,
                keep_alive_secs_max: 0,
                inflight_max: *chance.pick(&[1, 2, 5, 100]),
            },
            subscriptions_max: 0,
            session_queue_messages_max: *chance.pick(&[5, 100, 10_000]),
            session_queue_bytes_max: 1 << 20,
        },
        write_queue_bytes_max: *chance.pick(&[4_000, 20_000, 1 << 20]),
        core_queue_bytes_max: *chance.pick(&[60_000, 1 << 24]),
        outbox_bytes_max: *chance.pick(&[1_000, 10_000, 1 << 20]),
        batch_bytes_max: *chance.pick(&[1, 1_000, 100_000]),
        route_cache_bytes_max: *chance.pick(&[0, 4_000, 1 << 20]),
        write_timeout: Span::from_secs(10),
    }
}

#[cfg(test)]
mod tests;
