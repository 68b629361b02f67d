//! The 16 bytes with which every payload begins: run, flow, sequence number and time. Not the filler after
//! them, which is only there to be carried.
//!
//! ```text
//! u64 LE   run 16 bits · time 48 bits (ns, wraps every 78 hours)
//! u64 LE   flow 24 bits · sequence number 40 bits
//! ```

/// The smallest payload.
pub const LENGTH: usize = 16;
/// Publishers times destinations at most.
pub const FLOWS_MAX: u64 = 1 << 24;

const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const FLOW_MASK: u64 = FLOWS_MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tells the messages of one run from those that an earlier run left in the broker.
    pub run: u16,
    pub flow: u32,
    pub sequence: u64,
    /// Nanoseconds as `Clock::stamp` gives them, modulo 2^48.
    pub time: u64,
}

impl Header {
    #[inline]
    pub fn words(self) -> (u64, u64) {
        let first = u64::from(self.run) | (self.time & TIME_MASK) << 16;
        let second = u64::from(self.flow) & FLOW_MASK | self.sequence << 24;
        (first, second)
    }

    /// Nothing if the payload is too short to be one of ours.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Header> {
        let (first, rest) = payload.split_first_chunk::<8>()?;
        let second = rest.first_chunk::<8>()?;
        let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
        Some(Header {
            run: first as u16,
            time: first >> 16,
            flow: (second & FLOW_MASK) as u32,
            sequence: second >> 24,
        })
    }
}

/// Nanoseconds from a header's time to now. A sender's clock a little ahead of ours gives zero.
#[inline]
pub fn elapsed(from: u64, now: u64) -> u64 {
    let forward = now.wrapping_sub(from) & TIME_MASK;
    if forward > TIME_MASK / 2 { 0 } else { forward }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(run: u16, flow in 0..FLOWS_MAX as u32, sequence in 0..1_u64 << 40, time in 0..1_u64 << 48) {
            let header = Header { run, flow, sequence, time };
            let (first, second) = header.words();
            let mut bytes = first.to_le_bytes().to_vec();
            bytes.extend_from_slice(&second.to_le_bytes());
            prop_assert_eq!(Header::read(&bytes), Some(header));
        }
    }

    #[test]
    fn a_short_payload_has_no_header() {
        assert_eq!(Header::read(&[0; 15]), None);
    }

    #[test]
    fn time_goes_on_over_the_wrap_and_never_back() {
        assert_eq!(elapsed(TIME_MASK, 4), 5);
        assert_eq!(elapsed(10, 10), 0);
        assert_eq!(elapsed(10, 7), 0);
    }
}
