//! The plain exchange of names, as EMQX's NATS gateway has it: `.` for `/`, `*` for `+`, `>` for `#`, and no
//! escapes. Not a bijection: topics that differ in a dot and a slash share a name, and some have none.
//!
//! Names that are the protocols' own, inboxes and what the gateway itself is asked by, are exchanged in neither
//! direction, and no other name is exchanged for one of them.

use super::mapping::{NoTopic, TOPIC_BYTES_MAX};
use super::{InvalidFilter, SubjectFilter, has_wildcard, is_well_formed, tokens};
use std::fmt;

/// What names of the protocols' own begin with.
const OWN: [&[u8]; 5] = [b"_INBOX", b"_R_", b"_GR_", b"$STRAIT", b"$NRG"];

/// Whether a name is never exchanged.
#[inline]
pub fn is_own(name: &[u8]) -> bool {
    matches!(name, [b'_' | b'$', ..]) && tokens(name).next().is_some_and(|first| OWN.contains(&first))
}

/// Why a topic has no name in NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoName {
    /// No topic has the subject, so there is nothing to exchange.
    NoTopic(NoTopic),
    /// A level is empty, or would be once its dots part it.
    EmptyToken,
    /// A level is a wildcard of NATS.
    IsWildcard,
    /// A blank or a control byte.
    Blank(u8),
    /// It would be taken for a name of the protocols' own.
    Own,
}

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTopic(why) => why.fmt(f),
            Self::EmptyToken => f.write_str("it has an empty level, or would have an empty token"),
            Self::IsWildcard => f.write_str("`*` or `>` as a level would be a wildcard"),
            Self::Blank(byte) => write!(f, "it has the byte 0x{byte:02x}, which no subject has"),
            Self::Own => f.write_str("it would be one of NATS's or the gateway's own"),
        }
    }
}

/// The topic that a client means by a subject.
pub fn topic_of(name: &[u8]) -> Result<Vec<u8>, NoTopic> {
    if !is_well_formed(name) {
        return Err(NoTopic::EmptyToken);
    }
    if let Some(byte) = name.iter().find(|byte| matches!(byte, b'+' | b'#')) {
        return Err(NoTopic::HasWildcard(*byte));
    }
    check_text(name)?;
    Ok(exchanged(name, b'.', b'/'))
}

/// The subject by which a client knows a topic.
pub fn name_of(topic: &[u8]) -> Result<Vec<u8>, NoName> {
    if let Some(byte) = topic.iter().find(|byte| matches!(byte, 0x00..=0x20 | 0x7f)) {
        return Err(NoName::Blank(*byte));
    }
    let name = exchanged(topic, b'/', b'.');
    if !is_well_formed(&name) {
        return Err(NoName::EmptyToken);
    }
    if has_wildcard(&name) { Err(NoName::IsWildcard) } else { Ok(name) }
}

/// The topic filter that a client means by a subject filter.
pub fn topic_filter_of(filter: &[u8]) -> Result<Vec<u8>, InvalidFilter> {
    SubjectFilter::parse(filter)?;
    check_text(filter).map_err(|_| InvalidFilter)?;
    let mut out = Vec::with_capacity(filter.len());
    for (token_idx, token) in tokens(filter).enumerate() {
        if token_idx > 0 {
            out.push(b'/');
        }
        match token {
            b"*" => out.push(b'+'),
            b">" => out.push(b'#'),
            _ => out.extend_from_slice(token),
        }
    }
    Ok(out)
}

/// What MQTT has of a text, whatever it names.
fn check_text(text: &[u8]) -> Result<(), NoTopic> {
    if text.contains(&0) {
        Err(NoTopic::Blank(0))
    } else if text.len() > TOPIC_BYTES_MAX {
        Err(NoTopic::TooLong)
    } else if std::str::from_utf8(text).is_err() {
        Err(NoTopic::NotUtf8)
    } else {
        Ok(())
    }
}

fn exchanged(text: &[u8], from: u8, to: u8) -> Vec<u8> {
    text.iter().map(|&byte| if byte == from { to } else { byte }).collect()
}
