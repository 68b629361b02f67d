//! Which messages of a flow have come: what is new, twice, or out of order. Not what is missing in the end;
//! that is what was sent less what is new.

use std::collections::VecDeque;

/// How far behind the latest a message may come and still be told from one that came before: 2^20.
const WORDS_MAX: usize = 1 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    New,
    Duplicate,
}

/// In order it costs one comparison; out of order a bitmap from the first gap on, until no gap is left.
#[derive(Debug, Default)]
pub struct Seen {
    /// Everything below has come or is given up; with gaps, where the bitmap begins (a multiple of 64).
    next: u64,
    gaps: Option<VecDeque<u64>>,
}

impl Seen {
    /// Of a flow that is joined while it runs.
    pub fn starting_at(sequence: u64) -> Seen {
        Seen { next: sequence, gaps: None }
    }

    #[inline]
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next && self.gaps.is_none() {
            self.next += 1;
            return Arrival::New;
        }
        self.arrive_out_of_order(sequence)
    }

    #[cold]
    fn arrive_out_of_order(&mut self, sequence: u64) -> Arrival {
        if self.gaps.is_none() {
            if sequence < self.next {
                return Arrival::Duplicate;
            }
            self.open();
        }
        let Some(gaps) = self.gaps.as_mut() else { return Arrival::Duplicate };
        let Some(offset) = sequence.checked_sub(self.next) else { return Arrival::Duplicate };
        let (word, bit) = ((offset / 64) as usize, offset % 64);
        if word >= gaps.len() {
            // A jump beyond the bitmap gives up what is too far behind it.
            let excess = (word + 1).saturating_sub(WORDS_MAX);
            gaps.drain(..excess.min(gaps.len()));
            self.next += excess as u64 * 64;
            gaps.resize(word + 1 - excess, 0);
        }
        let offset = ((sequence - self.next) / 64) as usize;
        let is_new = gaps[offset] & 1 << bit == 0;
        gaps[offset] |= 1 << bit;
        self.close();
        if is_new { Arrival::New } else { Arrival::Duplicate }
    }

    fn open(&mut self) {
        let came = self.next % 64;
        self.next -= came;
        self.gaps = Some(VecDeque::from([(1 << came) - 1]));
    }

    /// Full words leave at the front; a bitmap without a gap leaves altogether.
    fn close(&mut self) {
        let Some(gaps) = self.gaps.as_mut() else { return };
        while gaps.front() == Some(&u64::MAX) {
            gaps.pop_front();
            self.next += 64;
        }
        let last = gaps.front().copied().unwrap_or(0);
        if gaps.len() <= 1 && last & last.wrapping_add(1) == 0 {
            self.next += u64::from(last.trailing_ones());
            self.gaps = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn in_order_all_are_new_and_nothing_is_kept() {
        let mut seen = Seen::default();
        for sequence in 0..1000 {
            assert_eq!(seen.arrive(sequence), Arrival::New);
        }
        assert!(seen.gaps.is_none());
        assert_eq!(seen.arrive(999), Arrival::Duplicate);
        assert_eq!(seen.arrive(0), Arrival::Duplicate);
    }

    #[test]
    fn a_gap_is_filled_once() {
        let mut seen = Seen::default();
        seen.arrive(0);
        assert_eq!(seen.arrive(2), Arrival::New);
        assert_eq!(seen.arrive(2), Arrival::Duplicate);
        assert_eq!(seen.arrive(1), Arrival::New);
        assert_eq!(seen.arrive(1), Arrival::Duplicate);
        assert!(seen.gaps.is_none());
        assert_eq!(seen.arrive(3), Arrival::New);
    }

    #[test]
    fn a_wild_number_costs_bounded_memory() {
        let mut seen = Seen::default();
        for sequence in [(1 << 40) - 1, 1 << 30, 5, 1 << 39, u64::MAX >> 24] {
            seen.arrive(sequence);
            assert!(seen.gaps.as_ref().is_none_or(|gaps| gaps.len() <= WORDS_MAX));
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(sequences in proptest::collection::vec(0_u64..300, 0..600)) {
            let (mut seen, mut set) = (Seen::default(), HashSet::new());
            for sequence in sequences {
                let expected = if set.insert(sequence) { Arrival::New } else { Arrival::Duplicate };
                prop_assert_eq!(seen.arrive(sequence), expected);
            }
        }

        #[test]
        fn joined_late_it_agrees_too(start in 0_u64..200, shuffled in Just((0_u64..200).collect::<Vec<_>>()).prop_shuffle()) {
            let mut seen = Seen::starting_at(start);
            for offset in shuffled {
                prop_assert_eq!(seen.arrive(start + offset), Arrival::New);
            }
            prop_assert!(seen.gaps.is_none());
        }
    }
}
