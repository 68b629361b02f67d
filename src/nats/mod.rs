//! The NATS client protocol as a server speaks it: bytes ⇄ ops, and one connection's state. It knows
//! neither the shard nor a socket: what an op asks for comes out as a value.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

pub mod op;
pub mod parse;
pub mod encode;
pub mod connect;
pub mod sid;
pub mod handshake;
pub mod connection;
