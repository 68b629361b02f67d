//! Strait: a thread-per-core gateway between MQTT and NATS.

pub mod cli;

pub mod config;

pub mod host;

pub mod runtime;

pub mod subject;
