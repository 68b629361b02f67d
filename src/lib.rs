//! Strait: a thread-per-core gateway between MQTT and NATS.

pub mod cli;
pub mod config;
pub mod host;
pub mod runtime;
pub mod time;
pub mod payload;
pub mod message;
pub mod subject;
pub mod mqtt;
pub mod nats;
pub mod shard;
