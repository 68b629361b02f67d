//! The client's side of NATS: what a server may say, and what we say to it. Not the state of a connection.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::Write as _;

use memchr::memchr;

/// INFO is a line of its own size; nothing else comes near.
const LINE_MAX: usize = 256 * 1024;
const PAYLOAD_MAX: usize = 256 * 1024 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum Op<'a> {
    Info(&'a [u8]),
    Message(Message<'a>),
    Ping,
    Pong,
    Ok,
    Error(&'a [u8]),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub reply: Option<&'a [u8]>,
    /// The control line with its end, to recognise the next of the same shape by.
    pub line: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// The server broke the protocol; the text says how.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// The first op and its length, or nothing as long as it has not all arrived.
pub fn parse(input: &[u8]) -> Result<Option<(Op<'_>, usize)>, Malformed> {
    let Some(newline) = memchr(b'\n', input.get(..input.len().min(LINE_MAX)).unwrap_or_default()) else {
        if input.len() >= LINE_MAX {
            return Err(Malformed(format!("a line of more than {LINE_MAX} bytes")));
        }
        return Ok(None);
    };
    let (line, rest) = input.split_at(newline + 1);
    let text = line.strip_suffix(b"\r\n").unwrap_or(line.strip_suffix(b"\n").unwrap_or(line));
    let name_end = text.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'{')).unwrap_or(text.len());
    let (name, arguments) = text.split_at(name_end);
    let op = match name {
        b"MSG" => return message(line, arguments, rest, false),
        b"HMSG" => return message(line, arguments, rest, true),
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        b"+OK" => Op::Ok,
        b"-ERR" => Op::Error(arguments.trim_ascii()),
        b"INFO" => Op::Info(arguments.trim_ascii()),
        _ => return Err(Malformed(format!("an unknown operation: {}", printable(text)))),
    };
    Ok(Some((op, line.len())))
}

fn message<'a>(
    line: &'a [u8],
    arguments: &'a [u8],
    rest: &'a [u8],
    with_headers: bool,
) -> Result<Option<(Op<'a>, usize)>, Malformed> {
    let wrong = || Malformed(format!("a message line that is none: {}", printable(line)));
    let mut fields = [&b""[..]; 6];
    let mut n_fields = 0;
    for field in arguments.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty()) {
        *fields.get_mut(n_fields).ok_or_else(wrong)? = field;
        n_fields += 1;
    }
    let (reply, header_size, size) = match (with_headers, n_fields, fields) {
        (false, 3, [_, _, size, ..]) => (None, &b"0"[..], size),
        (false, 4, [_, _, reply, size, ..]) => (Some(reply), &b"0"[..], size),
        (true, 4, [_, _, header, size, ..]) => (None, header, size),
        (true, 5, [_, _, reply, header, size, _]) => (Some(reply), header, size),
        _ => return Err(wrong()),
    };
    let size = number(size).ok_or_else(wrong)?;
    let header_size = number(header_size).filter(|header| *header <= size).ok_or_else(wrong)?;
    let (Some(body), Some(end)) = (rest.get(..size), rest.get(size..size + 2)) else {
        return Ok(None);
    };
    if end != b"\r\n" {
        return Err(Malformed("a payload that does not end where it was said to".into()));
    }
    let (headers, payload) = body.split_at(header_size);
    Ok(Some((Op::Message(Message { reply, line, headers, payload }), line.len() + size + 2)))
}

pub fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        value = value * 10 + usize::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    (value <= PAYLOAD_MAX).then_some(value)
}

/// What a server said, fit for a terminal.
pub fn printable(bytes: &[u8]) -> String {
    let shown = bytes.get(..120).unwrap_or(bytes);
    let mut text: String = String::from_utf8_lossy(shown).trim().chars().map(plain).collect();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

fn plain(c: char) -> char {
    if c.is_control() { '·' } else { c }
}

/// Who we say we are.
pub struct Login<'a> {
    pub name: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub token: Option<&'a str>,
}

/// CONNECT, and a PING whose PONG says that it was taken.
pub fn connect(out: &mut Vec<u8>, login: &Login<'_>) {
    let mut options = serde_json::json!({
        "verbose": false, "pedantic": false, "tls_required": false, "lang": "rust",
        "name": login.name, "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "echo": true,
        "headers": true, "no_responders": true,
    });
    if let Some(fields) = options.as_object_mut() {
        for (key, value) in [("user", login.user), ("pass", login.password), ("auth_token", login.token)] {
            if let Some(value) = value {
                fields.insert(key.into(), value.into());
            }
        }
    }
    out.extend_from_slice(format!("CONNECT {options}\r\nPING\r\n").as_bytes());
}

pub fn subscribe(out: &mut Vec<u8>, filter: &str, queue: Option<&str>, sid: u64) {
    let written = match queue {
        Some(queue) => write!(out, "SUB {filter} {queue} {sid}\r\n"),
        None => write!(out, "SUB {filter} {sid}\r\n"),
    };
    written.expect("a Vec takes all");
}

/// A message's line up to its payload.
pub fn publish_line(out: &mut Vec<u8>, subject: &str, reply: Option<&str>, size: usize) {
    let written = match reply {
        Some(reply) => write!(out, "PUB {subject} {reply} {size}\r\n"),
        None => write!(out, "PUB {subject} {size}\r\n"),
    };
    written.expect("a Vec takes all");
}

#[cfg(test)]
mod tests;
