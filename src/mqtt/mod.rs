//! MQTT 3.1, 3.1.1 and 5.0 on the wire: bytes in, values out, and back. Both directions of every packet,
//! because the load generator and the simulator are clients; and what one client's connection and session
//! remember. Not the shard: what a packet asks for comes out as a value.
//!
//! A decoded [`packet::Packet`] borrows from the bytes it was read from; nothing is allocated. Whatever a
//! type promises (a topic without wildcards, a property block legal for its packet) is checked once, in
//! [`decode`], and relied upon ever after.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

pub mod packet;
pub mod property;
pub mod reason;
pub mod topic;

pub mod decode;
pub mod malformed;

pub mod encode;

pub mod connection;
pub mod session;
pub mod share;
pub mod filters;
pub mod alias;
pub mod inflight;
pub mod kept;
pub mod receipts;
pub mod change;

mod value;
mod wire;

#[cfg(test)]
pub(crate) mod tests;
