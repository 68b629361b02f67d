//! What a server sends, appended to a buffer. A delivery's parts that all subscribers share are made once
//! by the fan-out; here are the pieces.

use crate::message::Digits;

pub const PING: &[u8] = b"PING\r\n";
pub const PONG: &[u8] = b"PONG\r\n";
pub const OK: &[u8] = b"+OK\r\n";

/// `-ERR 'text'`: clients match on the quotes.
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR '");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"'\r\n");
}

/// A permissions violation about `name`, whose bytes the peer chose.
pub fn permissions_violation(out: &mut Vec<u8>, what: &str, name: &[u8], queue: Option<&[u8]>) {
    out.extend_from_slice(b"-ERR 'Permissions Violation for ");
    out.extend_from_slice(what.as_bytes());
    out.extend_from_slice(b" \"");
    out.extend_from_slice(name);
    out.push(b'"');
    if let Some(queue) = queue {
        out.extend_from_slice(b" using queue \"");
        out.extend_from_slice(queue);
        out.push(b'"');
    }
    out.extend_from_slice(b"'\r\n");
}

/// A SUB whose subject has more tokens than are allowed.
pub fn too_many_tokens(out: &mut Vec<u8>, subject: &[u8]) {
    out.extend_from_slice(b"-ERR 'Permissions Violation for Subscription to \"");
    out.extend_from_slice(subject);
    out.extend_from_slice(b"\", too many tokens'\r\n");
}

/// `MSG subject ` or `HMSG subject `: what precedes the sid.
pub fn delivery_before_sid(out: &mut Vec<u8>, subject: &[u8], has_header: bool) {
    out.extend_from_slice(if has_header { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(subject);
    out.push(b' ');
}

/// Bytes of [`delivery_before_sid`].
pub fn before_sid_len(subject: &[u8], has_header: bool) -> usize {
    subject.len() + if has_header { 6 } else { 5 }
}

/// What follows the sid up to the body: ` [reply] [header size] size CR LF`.
pub fn delivery_after_sid(
    out: &mut Vec<u8>,
    reply: &[u8],
    header_len: usize,
    payload_len: usize,
    digits: Digits,
) {
    out.push(b' ');
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    if header_len > 0 {
        size(out, header_len, digits.header);
        out.push(b' ');
    }
    size(out, header_len + payload_len, digits.total);
    out.extend_from_slice(b"\r\n");
}

/// Bytes of [`delivery_after_sid`].
#[inline]
pub fn after_sid_len(reply: &[u8], header_len: usize, payload_len: usize, digits: Digits) -> usize {
    let of_reply = if reply.is_empty() { 0 } else { reply.len() + 1 };
    let of_header = if header_len == 0 { 0 } else { size_len(header_len, digits.header) + 1 };
    1 + of_reply + of_header + size_len(header_len + payload_len, digits.total) + 2
}

fn size(out: &mut Vec<u8>, size: usize, n_digits: u8) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(size);
    if text.len() < usize::from(n_digits) {
        out.extend(std::iter::repeat_n(b'0', usize::from(n_digits) - text.len()));
    }
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn size_len(size: usize, n_digits: u8) -> usize {
    let n_needed = size.checked_ilog10().unwrap_or(0) as usize + 1;
    n_needed.max(usize::from(n_digits))
}

/// Nobody took a request: an empty message with a status line, to the requester's own subscription.
pub fn no_responders(out: &mut Vec<u8>, inbox: &[u8], sid: &[u8], subject: &[u8]) {
    let header_len = b"NATS/1.0 503\r\nNats-Subject: \r\n\r\n".len() + subject.len();
    delivery_before_sid(out, inbox, true);
    out.extend_from_slice(sid);
    delivery_after_sid(out, b"", header_len, 0, Digits::default());
    out.extend_from_slice(b"NATS/1.0 503\r\nNats-Subject: ");
    out.extend_from_slice(subject);
    out.extend_from_slice(b"\r\n\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_length_of_what_follows_the_sid_is_known_beforehand(
            reply in proptest::collection::vec(b'a'..=b'z', 0..9),
            header_len in prop_oneof![Just(0usize), 1usize..3_000],
            payload_len in prop_oneof![0usize..12, Just(99), Just(100), 900usize..2_000_000],
            digits in (0u8..10, 0u8..10),
        ) {
            let digits = Digits { header: digits.0, total: digits.1 };
            let mut out = Vec::new();
            delivery_after_sid(&mut out, &reply, header_len, payload_len, digits);
            prop_assert_eq!(after_sid_len(&reply, header_len, payload_len, digits), out.len());
        }
    }
}
