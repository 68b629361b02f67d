//! Spelling: what a header's name and value can be, and percent-encoding for what they can't. Not which names
//! mean something.

use crate::scan::is_plain;
use std::borrow::Cow;

/// What a header's name consists of (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    const IS_TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let (mut byte, others) = (0, b"!#$%&'*+-.^_`|~");
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut nth = 0;
        while nth < others.len() {
            table[others[nth] as usize] = true;
            nth += 1;
        }
        table
    };
    IS_TOKEN[usize::from(byte)]
}

/// Whether a header's value can be this text, and be read again as it was.
pub(super) fn is_plain_value(value: &[u8]) -> bool {
    (is_plain(value) || !value.iter().any(u8::is_ascii_control))
        && first_len_trimmed(value) == 0
        && last_len_trimmed(value) == 0
}

/// How many bytes the first character has, if some client trims it off; else 0.
fn first_len_trimmed(text: &[u8]) -> usize {
    match text.first() {
        None | Some(0x21..0x80) => 0,
        Some(_) => {
            let front = &text[..text.len().min(4)];
            let first = front.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
            first.filter(is_trimmed).map_or(0, char::len_utf8)
        }
    }
}

/// The same of the last character.
fn last_len_trimmed(text: &[u8]) -> usize {
    match text.last() {
        None | Some(0x21..0x80) => 0,
        Some(_) => {
            let is_begin = |byte: &u8| *byte & 0b1100_0000 != 0b1000_0000;
            let begin = text.iter().rposition(is_begin).unwrap_or_default();
            let last = str::from_utf8(&text[begin..]).ok().and_then(|it| it.chars().next());
            last.filter(is_trimmed).map_or(0, char::len_utf8)
        }
    }
}

/// What JavaScript's `trim` takes off, or Rust's.
fn is_trimmed(character: &char) -> bool {
    character.is_whitespace() || *character == '\u{feff}'
}

/// Percent-encoded: what would end a line or be trimmed, the percent sign, and in names all that is no token.
pub(super) fn escaped(text: &[u8], is_name: bool) -> Cow<'_, [u8]> {
    let (n_first, n_last) = (first_len_trimmed(text), last_len_trimmed(text));
    let is_at_end = |at: usize| at < n_first || at + n_last >= text.len();
    let must_be = |(at, byte): (usize, &u8)| {
        *byte == b'%' || byte.is_ascii_control() || is_at_end(at) || (is_name && !is_token(*byte))
    };
    if !text.iter().enumerate().any(must_be) {
        return Cow::Borrowed(text);
    }
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len() + 16);
    for (at, byte) in text.iter().enumerate() {
        if must_be((at, byte)) {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(*byte);
        }
    }
    Cow::Owned(out)
}

/// `None` where it was not percent-encoded.
pub(super) fn unescaped(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'%', text).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            let mut digit = || char::from(*bytes.next()?).to_digit(16);
            out.push((digit()? << 4 | digit()?) as u8);
        } else {
            out.push(*byte);
        }
    }
    Some(Cow::Owned(out))
}

pub(super) fn strip_prefix<'a>(name: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (front, rest) = name.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

pub(super) fn number(text: &[u8]) -> Option<u32> {
    let is_digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_digits)?.parse().ok()
}

/// A name without what can't be in one, at both its ends: some clients strip more there than blanks, as Python
/// does with vertical tabs, separators and the blanks of Unicode.
pub(super) fn bare(name: &[u8]) -> &[u8] {
    let first = name.iter().position(|byte| is_token(*byte)).unwrap_or(name.len());
    let end = name.iter().rposition(|byte| is_token(*byte)).map_or(first, |last| last + 1);
    &name[first..end]
}
