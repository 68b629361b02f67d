//! Bytes looked at eight at a time: where text ends that is printable ASCII and nothing else, as nearly all
//! names and values are. Not for text of any other kind: whoever finds other bytes looks at them one by one.

/// Text of printable ASCII (0x20 to 0x7E): UTF-8 without NUL, and without an end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a>(&'a [u8]);

impl<'a> Plain<'a> {
    /// As much of the front of `bytes` as is plain.
    #[inline]
    pub fn front(bytes: &'a [u8]) -> Self {
        let mut at = 0;
        while let Some(word) = bytes[at..].first_chunk() {
            let odd = odd_bytes(*word);
            if odd != 0 {
                return Self(&bytes[..at + (odd.trailing_zeros() / 8) as usize]);
            }
            at += word.len();
        }
        let n_left = bytes[at..].iter().take_while(|byte| matches!(byte, 0x20..=0x7E)).count();
        Self(&bytes[..at + n_left])
    }

    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Whether all of it is printable ASCII.
#[inline]
pub fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk() {
        let (words, _) = bytes.as_chunks();
        // The last eight overlap those before: no byte is looked at alone.
        return words.iter().fold(odd_bytes(*last), |odd, word| odd | odd_bytes(*word)) == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let [a, b, c, d] = *first;
        let [e, f, g, h] = *last;
        return odd_bytes([a, b, c, d, e, f, g, h]) == 0;
    }
    bytes.iter().all(|byte| matches!(byte, 0x20..=0x7E))
}

/// The top bit of each byte that is not printable ASCII, the first one lowest. Where there is one, those above
/// it may be set as well.
#[inline]
const fn odd_bytes(word: [u8; 8]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(word);
    // Below 0x20, a byte borrows; of 0x7F, one more has the top bit. Either spoils bytes above it alone.
    (word | word.wrapping_sub(0x20 * EACH) | word.wrapping_add(EACH)) & (0x80 * EACH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_is_judged_alike_at_every_place() {
        for len in 1..=20 {
            for (at, byte) in (0..len).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut text = vec![b'~'; len];
                text[at] = byte;
                let is_printable = byte == b' ' || byte.is_ascii_graphic();
                assert_eq!(is_plain(&text), is_printable, "{text:?}");
                let n = if is_printable { len } else { at };
                assert_eq!(Plain::front(&text).as_bytes(), &text[..n]);
            }
        }
        assert!(is_plain(b"") && Plain::front(b"").as_bytes().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_one_by_one(bytes in proptest::collection::vec(
            prop_oneof![9 => 0x20u8..0x7f, 1 => any::<u8>()], 0..40,
        )) {
            let is_printable = |byte: &u8| *byte == b' ' || byte.is_ascii_graphic();
            let n = bytes.iter().take_while(|byte| is_printable(byte)).count();
            prop_assert_eq!(Plain::front(&bytes).as_bytes(), &bytes[..n]);
            prop_assert_eq!(is_plain(&bytes), n == bytes.len());
        }
    }
}
