//! MQTT topics ⇄ subjects, and topic filters → subject filters: nats-server's escape, completed to a
//! bijection. A level becomes exactly one token, so `+` and `*`, `#` and `>` keep agreeing. Not the codec's
//! judgement of a topic: what comes in here is UTF-8 without NUL.

use super::{SubjectFilter, tokens};

/// The longest topic that an MQTT packet can carry, in bytes.
const TOPIC_BYTES_MAX: usize = 65_535;

/// Appends the one subject of `topic`.
#[inline]
pub fn topic_to_subject(topic: &[u8], out: &mut Vec<u8>) {
    if is_plain(topic, b'/') {
        out.extend(topic.iter().map(|&byte| if byte == b'/' { b'.' } else { byte }));
    } else {
        escape_topic(topic, out);
    }
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

fn escape_topic(topic: &[u8], out: &mut Vec<u8>) {
    out.reserve(topic.len());
    for (level_idx, level) in topic.split(|&byte| byte == b'/').enumerate() {
        if level_idx > 0 {
            out.push(b'.');
        }
        level_to_token(level, level_idx == 0, out);
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
    if subject.len() <= TOPIC_BYTES_MAX && is_plain(subject, b'.') {
        out.extend(subject.iter().map(|&byte| if byte == b'.' { b'/' } else { byte }));
        true
    } else {
        unescape_subject(subject, out)
    }
}

fn unescape_subject(subject: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut is_ascii = true;
    for (token_idx, token) in tokens(subject).enumerate() {
        if token_idx > 0 {
            out.push(b'/');
        }
        if !token_to_level(token, token_idx == 0, out, &mut is_ascii) {
            out.truncate(start);
            return false;
        }
    }
    let topic = &out[start..];
    // [MQTT-4.7.3-1]: the empty topic, which `/` alone would be, is none.
    let legal = !topic.is_empty()
        && topic.len() <= TOPIC_BYTES_MAX
        && (is_ascii || std::str::from_utf8(topic).is_ok());
    if !legal {
        out.truncate(start);
    }
    legal
}

fn token_to_level(token: &[u8], is_first: bool, out: &mut Vec<u8>, is_ascii: &mut bool) -> bool {
    let mut rest = match token {
        // An empty token is in no subject; a bare wildcard is the escape's, not a level's.
        b"" | b"*" | b">" => return false,
        b"/" => return true,
        b"/2a" => return push(out, b'*'),
        b"/3e" => return push(out, b'>'),
        [b'$', ..] if is_first => return false,
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
            (b'/', [high, low, after @ ..]) => match control_byte(*high, *low) {
                Some(control) => {
                    out.push(control);
                    after
                }
                None => return false,
            },
            // Wildcards are no part of a topic name, and raw controls would have been escaped.
            (b'/' | b'+' | b'#' | 0x00..=0x20 | 0x7f, _) => return false,
            (byte, after) => {
                *is_ascii &= byte.is_ascii();
                out.push(*byte);
                after
            }
        };
    }
    true
}

fn push(out: &mut Vec<u8>, byte: u8) -> bool {
    out.push(byte);
    true
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

/// The filter has a wildcard that is not a whole level, a `#` that is not last, or no byte at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTopicFilter;

/// Maps a topic filter, refusing what MQTT 4.7.1 refuses.
pub fn map_topic_filter(filter: &[u8]) -> Result<MappedFilter, InvalidTopicFilter> {
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
            _ => level_to_token(level, level_idx == 0, &mut text),
        }
    }
    let parse = |text: &[u8]| SubjectFilter::parse(text).map_err(|_| InvalidTopicFilter);
    Ok(MappedFilter {
        filter: parse(&text)?,
        parent: parent.as_deref().map(parse).transpose()?,
        begins_with_wildcard: matches!(filter, [b'+' | b'#', ..]),
    })
}

/// Whether a filter of an MQTT client that begins with a wildcard must not see this subject.
pub fn is_hidden_from_wildcards(subject: &[u8]) -> bool {
    matches!(subject, [b'/', b'2', b'4', ..])
        || subject.strip_prefix(b"_INBOX").is_some_and(|rest| matches!(rest, [] | [b'.', ..]))
}

/// The names that belong to the gateway: a client may publish to neither spelling of them.
pub fn is_reserved_for_gateway(subject: &[u8]) -> bool {
    [b"/24SYS".as_slice(), b"/24share", b"$STRAIT.CLIENT"]
        .into_iter()
        .any(|name| subject.strip_prefix(name).is_some_and(|rest| matches!(rest, [] | [b'.', ..])))
}

#[cfg(test)]
mod tests;
