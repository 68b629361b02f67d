//! Strait: a thread-per-core gateway between MQTT and NATS.

pub mod mqtt;
pub mod subject;
