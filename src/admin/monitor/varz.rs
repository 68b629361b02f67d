//! `/varz`: the server as a whole.

use super::super::about::{About, uptime};
use super::super::collect::Snapshot;
use crate::shard::closed::Reason;
use crate::shard::counters::Counters;
use crate::time::Time;
use serde_json::{Map, Value, json};

/// What `/varz` shows besides counters.
#[derive(Debug)]
pub struct Usage {
    pub resident_bytes: u64,
    pub processor_percent: f64,
    /// How often each path was asked for.
    pub requests: Vec<(&'static str, u64)>,
}

/// Messages and bytes in and out, of both protocols.
pub struct Flow {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
}

impl Flow {
    pub fn of(counters: &Counters) -> Self {
        Self {
            in_msgs: counters.published.iter().sum(),
            in_bytes: counters.published_bytes.iter().sum::<u64>() + counters.published_header_bytes,
            out_msgs: counters.delivered.iter().sum(),
            out_bytes: counters.delivered_bytes.iter().sum::<u64>() + counters.delivered_header_bytes,
        }
    }
}

pub fn to_json(about: &About, snapshot: &Snapshot, usage: &Usage, now: Time) -> Value {
    let mut object = Map::new();
    identity(about, &mut object);
    limits(about, &mut object);
    state(about, snapshot, usage, now, &mut object);
    Value::Object(object)
}

fn extend(object: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        object.extend(more);
    }
}

fn identity(about: &About, object: &mut Map<String, Value>) {
    let (host, port) = host_and_port(about.nats);
    extend(
        object,
        json!({
            "server_id": about.server_id,
            "server_name": about.server_name,
            "version": about.nats_version,
            "proto": 1,
            "git_commit": concat!("strait-", env!("CARGO_PKG_VERSION")),
            "go": "none",
            "host": host,
            "port": port,
        }),
    );
}

fn limits(about: &About, object: &mut Map<String, Value>) {
    let (http_host, http_port) = host_and_port(about.admin);
    if about.subscriptions_max > 0 {
        extend(object, json!({"max_subscriptions": about.subscriptions_max}));
    }
    let mqtt = about.mqtt.map_or(json!({}), |at| json!({"host": at.ip().to_string(), "port": at.port()}));
    extend(
        object,
        json!({
            "max_connections": about.connections_max,
            "ping_interval": about.ping_interval.as_nanos(),
            "ping_max": about.pings_outstanding_max,
            "http_host": http_host,
            "http_port": http_port,
            "http_base_path": "",
            "https_port": 0,
            // Nobody is asked who he is, so nobody can be late with it.
            "auth_timeout": 0,
            "max_control_line": about.control_line_bytes_max,
            "max_payload": about.payload_bytes_max,
            "max_pending": about.write_queue_bytes_max,
            "cluster": {},
            "gateway": {},
            "leaf": {},
            "mqtt": mqtt,
            "websocket": {},
            "jetstream": {},
            "tls_timeout": 0,
            "write_deadline": about.write_timeout.as_nanos(),
        }),
    );
}

fn state(about: &About, snapshot: &Snapshot, usage: &Usage, now: Time, object: &mut Map<String, Value>) {
    let total = snapshot.total();
    let Flow { in_msgs, in_bytes, out_msgs, out_bytes } = Flow::of(&total);
    let n_stale = total.n_closed[Reason::KeepAlive as usize];
    let n_slow = total.slow_consumers;
    let requests: Map<_, _> = usage.requests.iter().map(|(path, n)| ((*path).into(), json!(n))).collect();
    let by_kind = |n: u64| json!({"clients": n, "routes": 0, "gateways": 0, "leafs": 0});
    extend(
        object,
        json!({
            "start": about.date(Time::START),
            "now": about.date(now),
            "uptime": uptime(now.since(Time::START)),
            "mem": usage.resident_bytes,
            "cores": about.n_processors,
            "gomaxprocs": about.n_cores,
            "cpu": usage.processor_percent,
            "connections": total.n_connections.iter().sum::<u64>(),
            "total_connections": total.n_accepted.iter().sum::<u64>(),
            "routes": 0,
            "remotes": 0,
            "leafnodes": 0,
            "in_msgs": in_msgs,
            "in_bytes": in_bytes,
            "in_client_msgs": in_msgs,
            "in_client_bytes": in_bytes,
            "out_msgs": out_msgs,
            "out_bytes": out_bytes,
            "out_client_msgs": out_msgs,
            "out_client_bytes": out_bytes,
            "slow_consumers": n_slow,
            "stale_connections": n_stale,
            "stalled_clients": total.n_stalls,
            "subscriptions": total.n_subscriptions.iter().sum::<u64>(),
            "http_req_stats": requests,
            "config_load_time": about.date(Time::START),
            "slow_consumer_stats": by_kind(n_slow),
            "stale_connection_stats": by_kind(n_stale),
        }),
    );
}

fn host_and_port(address: Option<std::net::SocketAddr>) -> (String, u16) {
    address.map_or((String::new(), 0), |at| (at.ip().to_string(), at.port()))
}
