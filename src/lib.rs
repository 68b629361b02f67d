//! Strait: a thread-per-core gateway between MQTT and NATS. Read the modules in this order.
//!
//! A [`shard::Shard`] is all that one core knows, as a plain value: bytes, mail and time go in, effects come out.
//! [`runtime`] drives one per core with real sockets; a simulation drives several in one thread. The protocols,
//! [`mqtt`] and [`nats`], turn bytes into values and know neither; the shard is the one place where they meet,
//! on a canonical [`subject`] and a neutral [`message`].
//!
//! What outlives the process a shard writes down for a [`store`], and can begin with.
//!
//! [`admin`] shows operators what is counted; it meets the cores at a desk each.
//!
//! **Invariant:** only `runtime` knows the executor, sockets, clocks and signals. Everything that decides takes
//! bytes, time and chance as arguments.

pub mod cli;
pub mod config;
pub mod host;
pub mod runtime;
pub mod admin;

pub mod time;
mod scan;
pub mod payload;
pub mod message;
pub mod subject;
pub mod mqtt;
pub mod nats;
pub mod store;
pub mod shard;
#[cfg(test)]
mod sim;
