//! MQTT topics ⇄ subjects, and topic filters → subject filters: nats-server's escape, completed to a
//! bijection. A level becomes exactly one token, so `+` and `*`, `#` and `>` keep agreeing. Not the codec's
//! judgement of a topic: what comes in here is UTF-8 without NUL.

use super::{SubjectFilter, tokens};
use std::fmt;

/// The longest topic that an MQTT packet can carry, in bytes.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Appends the one subject of `topic`.
#[inline]
pub fn topic_to_subject(topic: &[u8], out: &mut Vec<u8>) {
    if is_plain(topic, b'/') {
        out.extend(topic.iter().map(|&byte| if byte == b'/' { b'.' } else { byte }));
    } else {
        escape_topic(topic, true, out);
    }
}

/// Whether a subject and its topic differ in their separators alone.
#[inline]
pub(super) fn is_plain_subject(subject: &[u8]) -> bool {
    subject.len() <= TOPIC_BYTES_MAX && is_plain(subject, b'.')
}

/// Whether a topic, its levels parted by `separator`, or a subject needs no escape in either direction:
/// ASCII without blanks, controls, wildcards and the other world's separator, no empty level, no `$` first.
#[inline]
fn is_plain(text: &[u8], separator: u8) -> bool {
    // One pass without branches: nearly every topic passes.
    let (mut before, mut seen) = (SEPARATORS, 0);
    let own = if separator == b'/' { SLASH } else { DOT };
    let mut has_empty = 0;
    for &byte in text {
        let class = CLASS[usize::from(byte)];
        has_empty |= class & before & own;
        seen |= class;
        before = class;
    }
    let is_special = seen & !own != 0 || has_empty != 0 || matches!(text, [b'$', ..]);
    !is_special && before & own == 0
}

const SLASH: u8 = 1;
const DOT: u8 = 2;
const SEPARATORS: u8 = SLASH | DOT;
const SPECIAL: u8 = 4;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'/' => SLASH,
            b'.' => DOT,
            b'+' | b'#' | b'*' | b'>' | 0x00..=0x20 | 0x7f..=0xff => SPECIAL,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// As `topic_to_subject`, of a topic or of what follows a mount, in which no level is the first.
pub(super) fn escape_topic(topic: &[u8], is_whole: bool, out: &mut Vec<u8>) {
    out.reserve(topic.len());
    for (level_idx, level) in topic.split(|&byte| byte == b'/').enumerate() {
        if level_idx > 0 {
            out.push(b'.');
        }
        level_to_token(level, is_whole && level_idx == 0, out);
    }
}

fn level_to_token(level: &[u8], is_first: bool, out: &mut Vec<u8>) {
    let rest = match level {
        b"" => return out.push(b'/'),
        b"*" => return out.extend_from_slice(b"/2a"),
        b">" => return out.extend_from_slice(b"/3e"),
        // MQTT's `$` topics and NATS's `$` subjects are separate worlds.
        [b'$', rest @ ..] if is_first => {
            out.extend_from_slice(b"/24");
            rest
        }
        _ => level,
    };
    for &byte in rest {
        match byte {
            b'.' => out.extend_from_slice(b"//"),
            0x01..=0x20 | 0x7f => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[b'/', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

/// Appends the topic whose subject is `subject` and says true, or leaves `out` as it was and says false:
/// a subject has a topic if and only if encoding that topic gives the subject again.
#[inline]
pub fn subject_to_topic(subject: &[u8], out: &mut Vec<u8>) -> bool {
    find_topic(subject, out).is_ok()
}

/// As `subject_to_topic`, with the reason where there is none.
#[inline]
pub fn find_topic(subject: &[u8], out: &mut Vec<u8>) -> Result<(), NoTopic> {
    if is_plain_subject(subject) {
        out.extend(subject.iter().map(|&byte| if byte == b'.' { b'/' } else { byte }));
        Ok(())
    } else {
        unescape_subject(subject, true, out)
    }
}

/// Why no topic has a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTopic {
    /// It has an empty token, or is empty.
    EmptyToken,
    /// A token is a wildcard of NATS.
    IsWildcard,
    /// `$` is in front, which in a topic's subject is `/24`.
    Dollar,
    /// This byte, `+` or `#`, is MQTT's wildcard and in no topic.
    HasWildcard(u8),
    /// A blank or control byte, which in a topic's subject is escaped.
    Blank(u8),
    /// A `/` that begins no escape, or the escape of a byte that is never escaped.
    Slash,
    /// `/` alone would be the empty topic, which is none. [MQTT-4.7.3-1]
    EmptyTopic,
    /// It is no UTF-8 text.
    NotUtf8,
    /// It, or its topic, has more bytes than an MQTT packet can say.
    TooLong,
    /// By EMQX's mapping it would be a name of the protocols' own.
    Own,
}

impl fmt::Display for NoTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyToken => f.write_str("it has an empty token"),
            Self::IsWildcard => f.write_str("one of its tokens is a wildcard"),
            Self::Dollar => f.write_str("it begins with `$`, which the subject of a topic spells `/24`"),
            Self::HasWildcard(byte) => write!(f, "`{}` can be in no topic", char::from(*byte)),
            Self::Blank(byte) => {
                write!(f, "it has the byte 0x{byte:02x}, which the subject of a topic spells `/{byte:02x}`")
            }
            Self::Slash => f.write_str(
                "a `/` in it is no escape: in the subject of a topic it is a token of its own (an empty level), \
                 `//` (a dot), or in front of the two hex digits of a blank or control byte",
            ),
            Self::EmptyTopic => f.write_str("`/` alone would be the empty topic, which MQTT does not have"),
            Self::NotUtf8 => f.write_str("it is not UTF-8 text"),
            Self::TooLong => write!(f, "a topic has at most {TOPIC_BYTES_MAX} bytes"),
            Self::Own => f.write_str("its topic's subject would be one of NATS's or the gateway's own"),
        }
    }
}

/// As `find_topic`, of a subject or of what follows a mount, in which no token is the first.
pub(super) fn unescape_subject(subject: &[u8], is_whole: bool, out: &mut Vec<u8>) -> Result<(), NoTopic> {
    let start = out.len();
    let mut is_ascii = true;
    let levels = tokens(subject).enumerate().try_for_each(|(token_idx, token)| {
        if token_idx > 0 {
            out.push(b'/');
        }
        token_to_level(token, is_whole && token_idx == 0, out, &mut is_ascii)
    });
    let found = levels.and_then(|()| check_topic(&out[start..], is_ascii));
    if found.is_err() {
        out.truncate(start);
    }
    found
}

fn check_topic(topic: &[u8], is_ascii: bool) -> Result<(), NoTopic> {
    if topic.is_empty() {
        Err(NoTopic::EmptyTopic)
    } else if topic.len() > TOPIC_BYTES_MAX {
        Err(NoTopic::TooLong)
    } else if !is_ascii && std::str::from_utf8(topic).is_err() {
        Err(NoTopic::NotUtf8)
    } else {
        Ok(())
    }
}

fn token_to_level(
    token: &[u8],
    is_first: bool,
    out: &mut Vec<u8>,
    is_ascii: &mut bool,
) -> Result<(), NoTopic> {
    let mut rest = match token {
        b"" => return Err(NoTopic::EmptyToken),
        // A bare wildcard is the escape's, not a level's.
        b"*" | b">" => return Err(NoTopic::IsWildcard),
        b"/" => return Ok(()),
        b"/2a" => return push(out, b'*'),
        b"/3e" => return push(out, b'>'),
        [b'$', ..] if is_first => return Err(NoTopic::Dollar),
        [b'/', b'2', b'4', rest @ ..] if is_first => {
            out.push(b'$');
            rest
        }
        _ => token,
    };
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'/', [b'/', after @ ..]) => {
                out.push(b'.');
                after
            }
            (b'/', [high, low, after @ ..]) => {
                out.push(control_byte(*high, *low).ok_or(NoTopic::Slash)?);
                after
            }
            (b'/', _) => return Err(NoTopic::Slash),
            // Wildcards are no part of a topic name, and raw controls would have been escaped.
            (b'+' | b'#', _) => return Err(NoTopic::HasWildcard(*byte)),
            (0x00..=0x20 | 0x7f, _) => return Err(NoTopic::Blank(*byte)),
            (byte, after) => {
                *is_ascii &= byte.is_ascii();
                out.push(*byte);
                after
            }
        };
    }
    Ok(())
}

fn push(out: &mut Vec<u8>, byte: u8) -> Result<(), NoTopic> {
    out.push(byte);
    Ok(())
}

fn control_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |hex: u8| match hex {
        b'0'..=b'9' => Some(hex - b'0'),
        b'a'..=b'f' => Some(hex - b'a' + 10),
        _ => None,
    };
    let byte = digit(high)? << 4 | digit(low)?;
    matches!(byte, 0x01..=0x20 | 0x7f).then_some(byte)
}

/// What a topic filter asks for in subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFilter {
    /// The filter with `+` as `*` and `#` as `>`.
    pub filter: SubjectFilter,
    /// `a/#` also matches `a`, which `a.>` does not.
    pub parent: Option<SubjectFilter>,
    /// [MQTT-4.7.2-1]: a filter that begins with a wildcard sees neither `$` topics nor, here, inboxes.
    pub begins_with_wildcard: bool,
}

impl MappedFilter {
    /// One that was a filter of NATS already.
    pub fn of_subjects(filter: SubjectFilter) -> Self {
        Self { filter, parent: None, begins_with_wildcard: false }
    }
}

/// The filter has a wildcard that is not a whole level, a `#` that is not last, or no byte at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTopicFilter;

/// Maps a topic filter, refusing what MQTT 4.7.1 refuses.
pub fn map_topic_filter(filter: &[u8]) -> Result<MappedFilter, InvalidTopicFilter> {
    map_levels(filter, true)
}

/// The same of a filter, or of what follows a mount, in which no level is the first.
pub(super) fn map_levels(filter: &[u8], is_whole: bool) -> Result<MappedFilter, InvalidTopicFilter> {
    if filter.is_empty() {
        return Err(InvalidTopicFilter);
    }
    let mut text = Vec::with_capacity(filter.len() + 8);
    let mut parent = None;
    let mut ended = false;
    for (level_idx, level) in filter.split(|&byte| byte == b'/').enumerate() {
        if ended {
            return Err(InvalidTopicFilter);
        }
        match level {
            b"#" => {
                ended = true;
                parent = (level_idx > 0).then(|| text.clone());
            }
            b"+" => {}
            _ if level.iter().any(|byte| matches!(byte, b'+' | b'#')) => return Err(InvalidTopicFilter),
            _ => {}
        }
        if level_idx > 0 {
            text.push(b'.');
        }
        match level {
            b"#" => text.push(b'>'),
            b"+" => text.push(b'*'),
            _ => level_to_token(level, is_whole && level_idx == 0, &mut text),
        }
    }
    let parse = |text: &[u8]| SubjectFilter::parse(text).map_err(|_| InvalidTopicFilter);
    Ok(MappedFilter {
        filter: parse(&text)?,
        parent: parent.as_deref().map(parse).transpose()?,
        begins_with_wildcard: matches!(filter, [b'+' | b'#', ..]),
    })
}

/// The topic filter that sees of topics what a filter of NATS sees: `a.>` is `a/+/#`, for it does not match `a`.
pub fn find_topic_filter(filter: &SubjectFilter) -> Result<Vec<u8>, NoTopic> {
    let mut out = Vec::new();
    let mut is_ascii = true;
    for (token_idx, token) in tokens(filter.as_bytes()).enumerate() {
        if token_idx > 0 {
            out.push(b'/');
        }
        match token {
            b"*" => out.push(b'+'),
            b">" => out.extend_from_slice(b"+/#"),
            _ => token_to_level(token, token_idx == 0, &mut out, &mut is_ascii)?,
        }
    }
    check_topic(&out, is_ascii)?;
    Ok(out)
}

/// Whether a filter of an MQTT client that begins with a wildcard must not see this subject.
pub fn is_hidden_from_wildcards(subject: &[u8]) -> bool {
    is_dollar_topic(subject) || is_inbox(subject)
}

/// Whether it is one of the subjects at which NATS clients await answers, as long as they call them as they mostly do.
pub fn is_inbox(subject: &[u8]) -> bool {
    subject.strip_prefix(b"_INBOX").is_some_and(|rest| matches!(rest, [] | [b'.', ..]))
}

/// Whether it is the subject of a topic that begins with `$`.
pub fn is_dollar_topic(subject: &[u8]) -> bool {
    matches!(subject, [b'/', b'2', b'4', ..])
}

/// The names that belong to the gateway: a client may publish to neither spelling of them.
pub fn is_reserved_for_gateway(subject: &[u8]) -> bool {
    [b"/24SYS".as_slice(), b"/24share", b"$STRAIT"]
        .into_iter()
        .any(|name| subject.strip_prefix(name).is_some_and(|rest| matches!(rest, [] | [b'.', ..])))
}

#[cfg(test)]
mod tests;
