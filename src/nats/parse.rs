//! Bytes → ops, with nats-server's leniency: any letter case, any blanks between arguments, a bare LF
//! after a control line but CR LF after a payload. Keeps nothing between calls; an incomplete op says how
//! many bytes would help.

use super::op::{Op, Publish};
use crate::message::Digits;
use memchr::memchr;

/// What a peer may make us keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of arguments in a control line.
    pub control_line_bytes_max: usize,
    /// Bytes of header block and payload together.
    pub payload_bytes_max: usize,
    /// Bytes of the header block.
    pub header_bytes_max: usize,
}

/// What the input begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An op, and the bytes it took.
    Op(Op<'a>, usize),
    /// Nothing whole yet; `need > input.len()` bytes in all are worth another look.
    Incomplete { need: usize },
}

/// What the peer did wrong. Every kind ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    UnknownOperation,
    ControlLineTooLong,
    PayloadTooLarge,
    HeaderTooLarge,
    /// A wrong count of arguments, or a size that is no number.
    Arguments,
    /// HPUB before a CONNECT with `headers: true`.
    HeadersNotAnnounced,
    /// A client that sends `-ERR` is told nothing.
    ErrFromPeer,
}

impl Malformed {
    /// The text that nats-server gives, or `None` where it closes without a word.
    pub fn error_text(self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation => Some("Unknown Protocol Operation"),
            Self::ControlLineTooLong => Some("maximum control line exceeded"),
            Self::PayloadTooLarge | Self::HeaderTooLarge => Some("Maximum Payload Violation"),
            Self::Arguments | Self::HeadersNotAnnounced | Self::ErrFromPeer => None,
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownOperation => "unknown protocol operation",
            Self::ControlLineTooLong => "control line over its limit",
            Self::PayloadTooLarge => "payload over its limit",
            Self::HeaderTooLarge => "header block over its limit",
            Self::Arguments => "wrong arguments",
            Self::HeadersNotAnnounced => "HPUB without headers in CONNECT",
            Self::ErrFromPeer => "-ERR from a client",
        })
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Connect,
    Ping,
    Pong,
    Info,
    Ignored,
    Err,
}

/// Every verb, and whether a blank must follow it.
const VERBS: [(&[u8], Verb, bool); 10] = [
    (b"PUB", Verb::Pub, true),
    (b"HPUB", Verb::Hpub, true),
    (b"SUB", Verb::Sub, true),
    (b"UNSUB", Verb::Unsub, true),
    (b"CONNECT", Verb::Connect, false),
    (b"PING", Verb::Ping, false),
    (b"PONG", Verb::Pong, false),
    (b"INFO", Verb::Info, false),
    (b"+OK", Verb::Ignored, false),
    (b"-ERR", Verb::Err, true),
];

/// Reads the first op of `input`. `headers` says whether the client announced them.
#[inline]
pub fn parse<'a>(input: &'a [u8], headers: bool, limits: &Limits) -> Result<Parsed<'a>, Malformed> {
    if let Some((sizes, taken)) = usual_pub(input, limits) {
        return publish(input, taken, sizes, limits);
    }
    if headers && let Some((sizes, taken)) = usual_hpub(input, limits) {
        return publish(input, taken, sizes, limits);
    }
    parse_any(input, headers, limits)
}

/// Reads the line that clients send most: `PUB`, a subject and a size, one blank between them, CR LF. What is
/// spelt in any other way, or not whole, is `None` and left to [`parse_any`], which reads this one alike.
#[inline]
fn usual_pub<'a>(input: &'a [u8], limits: &Limits) -> Option<(Sizes<'a>, usize)> {
    let arguments = input.strip_prefix(b"PUB ")?;
    let subject_len = arguments.iter().position(|&byte| byte <= b' ')?;
    let (subject, rest) = arguments.split_at_checked(subject_len)?;
    let size = rest.strip_prefix(b" ")?;
    let (total_len, n_digits) = usual_size(size);
    let is_line = size.get(n_digits..)?.starts_with(b"\r\n");
    let arguments_len = subject_len + 1 + n_digits;
    let is_usual =
        is_line && subject_len > 0 && n_digits > 0 && arguments_len < limits.control_line_bytes_max;
    let digits = Digits { header: 0, total: n_digits as u8 };
    let sizes = Sizes { subject, reply: b"", header_len: 0, total_len, digits };
    is_usual.then_some((sizes, 4 + arguments_len + 2))
}

/// The number that some bytes begin with, and its digits: at most nine, and none where it is not one.
#[inline]
fn usual_size(bytes: &[u8]) -> (usize, usize) {
    let (mut size, mut n_digits) = (0, 0);
    for &byte in bytes {
        match byte {
            b'0'..=b'9' if n_digits < 9 => size = size * 10 + usize::from(byte - b'0'),
            _ => break,
        }
        n_digits += 1;
    }
    (size, n_digits)
}

/// The same of `HPUB`, a subject and two sizes.
fn usual_hpub<'a>(input: &'a [u8], limits: &Limits) -> Option<(Sizes<'a>, usize)> {
    let arguments = input.strip_prefix(b"HPUB ")?;
    let subject_len = arguments.iter().position(|&byte| byte <= b' ')?;
    let (subject, rest) = arguments.split_at_checked(subject_len)?;
    let header = rest.strip_prefix(b" ")?;
    let (header_len, n_header) = usual_size(header);
    let total = header.get(n_header..)?.strip_prefix(b" ")?;
    let (total_len, n_total) = usual_size(total);
    let is_line = total.get(n_total..)?.starts_with(b"\r\n");
    let arguments_len = subject_len + 1 + n_header + 1 + n_total;
    let is_usual = is_line
        && subject_len > 0
        && n_header > 0
        && n_total > 0
        && header_len <= total_len.min(limits.header_bytes_max)
        && arguments_len < limits.control_line_bytes_max;
    let digits = Digits { header: n_header as u8, total: n_total as u8 };
    is_usual.then_some((Sizes { subject, reply: b"", header_len, total_len, digits }, 5 + arguments_len + 2))
}

/// The subject of the publish at the start of `input` and the length of its frame, where it is spelt as most
/// are. Nothing is checked: for those who want to know what is likely to come.
#[inline]
pub fn glance<'a>(input: &'a [u8], limits: &Limits) -> Option<(&'a [u8], usize)> {
    let (sizes, taken) = usual_pub(input, limits).or_else(|| usual_hpub(input, limits))?;
    Some((sizes.subject, taken + sizes.total_len + 2))
}

fn parse_any<'a>(input: &'a [u8], headers: bool, limits: &Limits) -> Result<Parsed<'a>, Malformed> {
    let Some((verb, name_len)) = verb(input)? else {
        return Ok(Parsed::Incomplete { need: input.len() + 1 });
    };
    let after_verb = input.get(name_len..).unwrap_or_default();
    // Blanks before the arguments don't count, as in nats-server, but here they are kept until the line
    // ends, so they have the same limit for themselves.
    let n_blanks = after_verb.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if n_blanks > limits.control_line_bytes_max {
        return Err(Malformed::ControlLineTooLong);
    }
    let Some(line_len) = memchr(b'\n', after_verb) else {
        // One more for a CR that does not count.
        return if after_verb.len() - n_blanks > limits.control_line_bytes_max + 1 {
            Err(Malformed::ControlLineTooLong)
        } else {
            Ok(Parsed::Incomplete { need: input.len() + 1 })
        };
    };
    let line = after_verb.get(..line_len).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len().saturating_sub(n_blanks) > limits.control_line_bytes_max {
        return Err(Malformed::ControlLineTooLong);
    }
    let arguments = trim_blanks(line);
    let taken = name_len + line_len + 1;
    let op = match verb {
        Verb::Pub => return publish(input, taken, pub_arguments(arguments)?, limits),
        Verb::Hpub if headers => {
            let sizes = hpub_arguments(arguments)?;
            if sizes.header_len > limits.header_bytes_max && sizes.total_len <= limits.payload_bytes_max {
                return Err(Malformed::HeaderTooLarge);
            }
            return publish(input, taken, sizes, limits);
        }
        Verb::Hpub => return Err(Malformed::HeadersNotAnnounced),
        Verb::Sub => sub(arguments)?,
        Verb::Unsub => unsub(arguments)?,
        Verb::Connect => Op::Connect(arguments),
        Verb::Ping => Op::Ping,
        Verb::Pong => Op::Pong,
        Verb::Info if is_object(arguments) => Op::Ignored,
        Verb::Info => return Err(Malformed::Arguments),
        Verb::Ignored => Op::Ignored,
        Verb::Err => return Err(Malformed::ErrFromPeer),
    };
    Ok(Parsed::Op(op, taken))
}

/// The verb and its length; `None` while the input is the beginning of one. A wrong byte is told at once,
/// so that a foreign protocol need not send a whole line first.
fn verb(input: &[u8]) -> Result<Option<(Verb, usize)>, Malformed> {
    if let Some(b"PUB ") = input.first_chunk::<4>() {
        return Ok(Some((Verb::Pub, 3)));
    }
    for (name, verb, needs_blank) in VERBS {
        let n_common = name.len().min(input.len());
        let matches = input
            .get(..n_common)
            .zip(name.get(..n_common))
            .is_some_and(|(have, want)| have.eq_ignore_ascii_case(want));
        if !matches {
            continue;
        }
        return match input.get(name.len()) {
            None => Ok(None),
            Some(b' ' | b'\t') => Ok(Some((verb, name.len()))),
            Some(_) if !needs_blank => Ok(Some((verb, name.len()))),
            Some(_) => Err(Malformed::UnknownOperation),
        };
    }
    Err(Malformed::UnknownOperation)
}

/// Whether it is what INFO may have as its argument, though nobody reads it.
fn is_object(json: &[u8]) -> bool {
    matches!(json.first(), Some(b'{' | b'n')) && serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// The arguments, at most four of them.
struct Arguments<'a> {
    list: [&'a [u8]; 4],
    n: usize,
}

impl<'a> Arguments<'a> {
    fn split(line: &'a [u8]) -> Result<Self, Malformed> {
        let mut arguments = Self { list: [b""; 4], n: 0 };
        let mut rest = line;
        while !rest.is_empty() {
            let len = rest.iter().position(|&byte| is_blank(byte)).unwrap_or(rest.len());
            let (argument, after) = rest.split_at(len);
            *arguments.list.get_mut(arguments.n).ok_or(Malformed::Arguments)? = argument;
            arguments.n += 1;
            rest = trim_blanks(after);
        }
        Ok(arguments)
    }
}

#[derive(Clone, Copy)]
struct Sizes<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    header_len: usize,
    total_len: usize,
    digits: Digits,
}

fn pub_arguments(line: &[u8]) -> Result<Sizes<'_>, Malformed> {
    let arguments = Arguments::split(line)?;
    let [a, b, c, _] = arguments.list;
    let (reply, size): (&[u8], _) = match arguments.n {
        2 => (b"", b),
        3 => (b, c),
        _ => return Err(Malformed::Arguments),
    };
    let (total_len, total) = size_of(size)?;
    Ok(Sizes { subject: a, reply, header_len: 0, total_len, digits: Digits { header: 0, total } })
}

fn hpub_arguments(line: &[u8]) -> Result<Sizes<'_>, Malformed> {
    let arguments = Arguments::split(line)?;
    let [a, b, c, d] = arguments.list;
    let (reply, header, total): (&[u8], _, _) = match arguments.n {
        3 => (b"", b, c),
        4 => (b, c, d),
        _ => return Err(Malformed::Arguments),
    };
    let (header_len, header) = size_of(header)?;
    let (total_len, total) = size_of(total)?;
    if header_len > total_len {
        return Err(Malformed::Arguments);
    }
    Ok(Sizes { subject: a, reply, header_len, total_len, digits: Digits { header, total } })
}

/// A size of one to nine decimal digits, which can't overflow, and how many they were.
fn size_of(text: &[u8]) -> Result<(usize, u8), Malformed> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Arguments);
    }
    let size = text.iter().fold(0, |size, digit| size * 10 + usize::from(digit - b'0'));
    Ok((size, text.len() as u8))
}

#[inline]
fn publish<'a>(
    input: &'a [u8],
    line_len: usize,
    sizes: Sizes<'a>,
    limits: &Limits,
) -> Result<Parsed<'a>, Malformed> {
    if sizes.total_len > limits.payload_bytes_max {
        return Err(Malformed::PayloadTooLarge);
    }
    let end = line_len + sizes.total_len;
    match (input.get(end), input.get(end + 1)) {
        (None | Some(b'\r'), None) => return Ok(Parsed::Incomplete { need: end + 2 }),
        (Some(b'\r'), Some(b'\n')) => {}
        _ => return Err(Malformed::UnknownOperation),
    }
    let body = input.get(line_len..end).unwrap_or_default();
    let (header, payload) = body.split_at_checked(sizes.header_len).unwrap_or((b"", body));
    let Sizes { subject, reply, digits, .. } = sizes;
    Ok(Parsed::Op(Op::Publish(Publish { subject, reply, header, payload, digits }), end + 2))
}

fn sub(line: &[u8]) -> Result<Op<'_>, Malformed> {
    let arguments = Arguments::split(line)?;
    let [subject, b, c, _] = arguments.list;
    match arguments.n {
        2 => Ok(Op::Subscribe { subject, queue: None, sid: b }),
        3 => Ok(Op::Subscribe { subject, queue: Some(b), sid: c }),
        _ => Err(Malformed::Arguments),
    }
}

fn unsub(line: &[u8]) -> Result<Op<'_>, Malformed> {
    let arguments = Arguments::split(line)?;
    let [sid, max, ..] = arguments.list;
    match arguments.n {
        1 => Ok(Op::Unsubscribe { sid, max: None }),
        2 => {
            let max = size_of(max).ok().map(|(max, _)| max as u64).filter(|&max| max > 0);
            Ok(Op::Unsubscribe { sid, max })
        }
        _ => Err(Malformed::Arguments),
    }
}

#[cfg(test)]
mod tests;
