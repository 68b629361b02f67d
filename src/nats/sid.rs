//! A subscription's name, as its client gave it: short ones, as nearly all are, without memory of their own.
//! Not what it names: `connection` and the shard know that.

/// At most this many bytes are kept in place.
const SHORT_LEN_MAX: usize = 14;

/// The bytes of a sid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sid(Bytes);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bytes {
    Short {
        len: u8,
        bytes: [u8; SHORT_LEN_MAX],
    },
    /// A pointer to a pointer and a length, so that this is no larger than the short ones.
    Long(Box<Box<[u8]>>),
}

impl Sid {
    pub fn new(sid: &[u8]) -> Self {
        let mut bytes = [0; SHORT_LEN_MAX];
        match bytes.get_mut(..sid.len()) {
            Some(place) => {
                place.copy_from_slice(sid);
                Self(Bytes::Short { len: sid.len() as u8, bytes })
            }
            None => Self(Bytes::Long(Box::new(sid.into()))),
        }
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Long(bytes) => bytes,
        }
    }

    /// The number that a sid is, if it is spelt as that number would be: official clients count.
    pub fn number(sid: &[u8]) -> Option<u64> {
        let is_canonical = match sid {
            [] => false,
            [b'0'] => true,
            [first, ..] => *first != b'0' && sid.len() <= 19 && sid.iter().all(u8::is_ascii_digit),
        };
        is_canonical.then(|| sid.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_comes_back_as_it_was_and_takes_sixteen_bytes() {
        for len in 0..40 {
            let sid = vec![b'x'; len];
            assert_eq!(Sid::new(&sid).as_bytes(), sid);
        }
        assert_eq!(size_of::<Sid>(), 16);
    }

    #[test]
    fn only_the_usual_spelling_of_a_number_is_one() {
        for (sid, number) in
            [("0", Some(0)), ("17", Some(17)), ("9999999999999999999", Some(9_999_999_999_999_999_999))]
        {
            assert_eq!(Sid::number(sid.as_bytes()), number);
        }
        for sid in ["", "00", "01", "+1", "1a", "99999999999999999999", "18446744073709551616"] {
            assert_eq!(Sid::number(sid.as_bytes()), None, "{sid}");
        }
    }
}
