//! How often something happens or is told. Not a timer: whoever asks says what time it is.

use super::{Span, Time};

/// So much in one second: that at once, and from then on as it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// When all of it has come back.
    whole_at: Time,
}

const SECOND_NANOS: u64 = 1_000_000_000;

impl Pace {
    /// Spends `n` of what comes back `per_second`, be it there or not; how long until no more is spent than there
    /// was. 0 a second is any number. Time is in whole nanoseconds: of more than 10^9 a second one at a time costs
    /// nothing, and has no limit.
    pub fn spend(&mut self, per_second: u64, n: u64, now: Time) -> Span {
        if per_second == 0 {
            return Span::default();
        }
        let nanos = u128::from(n) * u128::from(SECOND_NANOS) / u128::from(per_second);
        self.whole_at =
            self.whole_at.max(now) + Span::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
        Span::from_nanos(self.whole_at.since(now).as_nanos().saturating_sub(SECOND_NANOS))
    }

    /// How long until it may happen once more; where that is at once, it has happened. `per_second` is as in `spend`.
    pub fn take(&mut self, per_second: u64, now: Time) -> Span {
        let before = *self;
        let too_early = self.spend(per_second, 1, now);
        if too_early > Span::default() {
            *self = before;
        }
        too_early
    }

    /// Whether all of it has come back by `now`: it is as one that nothing was spent of.
    pub fn is_whole(&self, now: Time) -> bool {
        self.whole_at <= now
    }
}

/// At most so many in each span.
#[derive(Clone, Copy, Debug)]
pub struct AtMost {
    /// How many, from 1 on; 0 is as 1.
    pub n: u32,
    /// How long a span is, from the first one told in it; a span of nothing is no limit.
    pub each: Span,
}

/// Something that the log tells so often, and how much it has passed over since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rarely {
    since: Option<Time>,
    n_told: u32,
    n_untold: u64,
}

impl Rarely {
    /// Whether one more may be told.
    pub fn is_due(&self, at_most: AtMost, now: Time) -> bool {
        self.n_told < at_most.n || self.is_over(at_most, now)
    }

    /// Counts `n` that are told as one; where they are to be, how many were passed over before them.
    pub fn tell(&mut self, at_most: AtMost, n: u64, now: Time) -> Option<u64> {
        if !self.is_due(at_most, now) {
            self.n_untold += n;
            return None;
        }
        if self.is_over(at_most, now) {
            (self.since, self.n_told) = (Some(now), 0);
        }
        self.n_told += 1;
        Some(std::mem::take(&mut self.n_untold))
    }

    /// When it is time to tell how many were passed over, whether another comes or not.
    pub fn untold_due(&self, at_most: AtMost) -> Option<Time> {
        self.since.filter(|_| self.n_untold > 0).map(|since| since + at_most.each)
    }

    /// How many were passed over, once that is due.
    pub fn take_untold(&mut self, at_most: AtMost, now: Time) -> Option<u64> {
        self.untold_due(at_most).filter(|due| *due <= now)?;
        Some(std::mem::take(&mut self.n_untold))
    }

    fn is_over(&self, at_most: AtMost, now: Time) -> bool {
        self.since.is_none_or(|since| now.since(since) >= at_most.each)
    }
}

/// What was passed over, for a line in which none of it is not worth a word.
pub fn if_any(n: u64) -> Option<u64> {
    (n > 0).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::START + Span::from_millis(millis)
    }

    #[test]
    fn a_pace_says_how_long_to_wait() {
        let mut pace = Pace::default();
        assert_eq!((0..3).map(|_| pace.take(2, at(0)).as_micros()).collect::<Vec<_>>(), [0, 0, 500_000]);
        assert_eq!(pace.take(2, at(500)), Span::default());
        // Less than one a second is told by nothing smaller than one.
        let mut slow = Pace::default();
        assert_eq!([slow.take(1, at(0)), slow.take(1, at(250))], [Span::default(), Span::from_millis(750)]);
        // What is spent is spent, and is owed for as long as it takes.
        assert_eq!(slow.spend(1, 3, at(1_000)), Span::from_secs(2));
        assert!(!slow.is_whole(at(3_999)) && slow.is_whole(at(4_000)));
    }

    #[test]
    fn what_happens_often_is_told_rarely_and_the_rest_is_counted() {
        let once = AtMost { n: 1, each: Span::from_secs(5) };
        let mut rarely = Rarely::default();
        let told = [0, 1, 4_999, 5_000].map(|millis| rarely.tell(once, 1, at(millis)));
        assert_eq!(told, [Some(0), None, None, Some(2)]);
        let twice = AtMost { n: 2, each: Span::from_secs(1) };
        let mut rarely = Rarely::default();
        let told = [0, 1, 2, 3].map(|millis| rarely.tell(twice, 10, at(millis)));
        assert_eq!(told, [Some(0), Some(0), None, None]);
        assert_eq!((rarely.take_untold(twice, at(999)), rarely.untold_due(twice)), (None, Some(at(1_000))));
        assert_eq!([1_000, 1_001].map(|millis| rarely.take_untold(twice, at(millis))), [Some(20), None]);
    }
}
