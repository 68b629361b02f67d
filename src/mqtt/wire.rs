//! The data types of MQTT (section 1.5): integers, strings, binary data. Not packets. Every read is checked
//! against what is left, so a length that lies is [`Malformed::Truncated`] and never a panic.

use crate::mqtt::encode::Unencodable;
use crate::mqtt::malformed::Malformed;
use crate::scan::is_plain;

/// The largest value a variable byte integer can hold, and so the largest remaining length.
pub(super) const VARINT_MAX: u32 = 268_435_455;

/// The bytes of one packet's body (or of a property block) not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Its strings were checked when they were read before.
    is_checked: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, is_checked: false }
    }

    /// For bytes that were read once and found right.
    pub(super) const fn of_checked(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, is_checked: true }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Everything that is left.
    #[inline]
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// What is left, without taking it.
    pub(super) const fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may follow the last field.
    pub(super) const fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes) }
    }

    #[inline]
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer inside an MQTT 5 packet, at most four bytes and as short as its value allows.
    // [MQTT-1.5.5-1]
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, Malformed> {
        match varint(self.rest)? {
            Some(Varint { value, n_bytes, minimal }) if minimal => {
                self.take(n_bytes)?;
                Ok(value)
            }
            Some(_) => Err(Malformed::LengthNotMinimal),
            None => Err(Malformed::Truncated),
        }
    }

    /// Binary data: a two-byte length, then that many bytes.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }

    /// A UTF-8 string, checked; `error` names the field at fault.
    #[inline]
    pub(super) fn string(&mut self, error: Malformed) -> Result<&'a [u8], Malformed> {
        let bytes = self.binary()?;
        if self.is_checked || is_utf8_without_nul(bytes) { Ok(bytes) } else { Err(error) }
    }
}

/// A variable byte integer at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Varint {
    pub(super) value: u32,
    pub(super) n_bytes: usize,
    /// No shorter encoding of the value exists.
    pub(super) minimal: bool,
}

/// Reads a variable byte integer; `None` if the bytes end inside it.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<Varint>, Malformed> {
    let mut value = 0;
    for (idx, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * idx);
        if byte & 0x80 == 0 {
            return Ok(Some(Varint { value, n_bytes: idx + 1, minimal: idx == 0 || byte != 0 }));
        }
    }
    // The fourth byte asked for a fifth: it would shift beyond the type if it were believed.
    if bytes.len() >= 4 { Err(Malformed::LengthTooLong) } else { Ok(None) }
}

/// How many bytes a variable byte integer takes; 5 for a value none can hold.
#[inline]
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        0x20_0000..=0xFFF_FFFF => 4,
        _ => 5,
    }
}

/// Appends a variable byte integer. `value <= VARINT_MAX`.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: u32) {
    debug_assert!(value <= VARINT_MAX);
    let mut rest = value;
    while rest > 0x7F {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

// [MQTT-1.5.4-1] [MQTT-1.5.4-2]: well-formed (so no surrogates) and without U+0000.
#[inline]
pub(super) fn is_utf8_without_nul(bytes: &[u8]) -> bool {
    // Nearly every string is plain.
    is_plain(bytes) || is_unusual_text(bytes)
}

fn is_unusual_text(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_none() && str::from_utf8(bytes).is_ok()
}

/// Appends a two-byte length and the bytes, if a length can say how many.
#[inline]
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Unencodable> {
    let n = u16::try_from(bytes.len()).map_err(|_| Unencodable)?;
    out.extend_from_slice(&n.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}
