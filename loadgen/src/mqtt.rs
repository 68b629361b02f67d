//! The client's side of MQTT 3.1, 3.1.1 and 5.0. Not the state of a connection.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

pub mod decode;
pub mod encode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V3 = 3,
    V4 = 4,
    V5 = 5,
}

impl Version {
    pub fn from_level(level: u8) -> Option<Version> {
        [Version::V3, Version::V4, Version::V5].into_iter().find(|version| *version as u8 == level)
    }
}

/// A refusing reason code in words, of CONNACK, SUBACK, PUBACK and DISCONNECT alike.
pub fn reason(version: Version, code: u8) -> String {
    let words = match (version, code) {
        (Version::V3 | Version::V4, 1) => "unacceptable protocol version",
        (Version::V3 | Version::V4, 2) => "identifier rejected",
        (Version::V3 | Version::V4, 3) => "server unavailable",
        (Version::V3 | Version::V4, 4) => "bad user name or password",
        (Version::V3 | Version::V4, 5) => "not authorized",
        (_, 0x80) => "unspecified error",
        (_, 0x81) => "malformed packet",
        (_, 0x82) => "protocol error",
        (_, 0x83) => "implementation specific error",
        (_, 0x84) => "unsupported protocol version",
        (_, 0x85) => "client identifier not valid",
        (_, 0x86) => "bad user name or password",
        (_, 0x87) => "not authorized",
        (_, 0x88) => "server unavailable",
        (_, 0x89) => "server busy",
        (_, 0x8a) => "banned",
        (_, 0x8b) => "server shutting down",
        (_, 0x8c) => "bad authentication method",
        (_, 0x8d) => "keep alive timeout",
        (_, 0x8e) => "session taken over",
        (_, 0x8f) => "topic filter invalid",
        (_, 0x90) => "topic name invalid",
        (_, 0x91) => "packet identifier in use",
        (_, 0x92) => "packet identifier not found",
        (_, 0x93) => "receive maximum exceeded",
        (_, 0x95) => "packet too large",
        (_, 0x96) => "message rate too high",
        (_, 0x97) => "quota exceeded",
        (_, 0x98) => "administrative action",
        (_, 0x99) => "payload format invalid",
        (_, 0x9a) => "retain not supported",
        (_, 0x9b) => "QoS not supported",
        (_, 0x9c) => "use another server",
        (_, 0x9d) => "server moved",
        (_, 0x9e) => "shared subscriptions not supported",
        (_, 0x9f) => "connection rate exceeded",
        (_, 0xa2) => "wildcard subscriptions not supported",
        _ => "a code of no known meaning",
    };
    format!("{words} (0x{code:02x})")
}

#[cfg(test)]
mod tests;
