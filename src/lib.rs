//! Strait: a thread-per-core gateway between MQTT and NATS.

pub mod subject;

pub mod config;
