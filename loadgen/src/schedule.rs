//! When messages are meant to be sent in an open loop. Pure: time is an argument, in nanoseconds from the start.

#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    per_ns: f64,
    /// The rate grows from nothing to full over this long.
    ramp_ns: f64,
}

impl Schedule {
    pub fn new(per_second: f64, ramp_ns: u64) -> Schedule {
        Schedule { per_ns: per_second / 1e9, ramp_ns: ramp_ns as f64 }
    }

    /// How many messages are meant to have been sent by then; the first one at the start.
    pub fn due(&self, elapsed_ns: u64) -> u64 {
        let elapsed = elapsed_ns as f64;
        let in_ramp = self.per_ns * self.ramp_ns / 2.0;
        let amount = if elapsed < self.ramp_ns {
            self.per_ns * elapsed * elapsed / (2.0 * self.ramp_ns)
        } else {
            in_ramp + self.per_ns * (elapsed - self.ramp_ns)
        };
        amount as u64 + 1
    }

    /// When message `n` (from 0) is meant to be sent.
    pub fn time_of(&self, n: u64) -> u64 {
        let in_ramp = self.per_ns * self.ramp_ns / 2.0;
        let n = n as f64;
        let time = if n < in_ramp {
            (2.0 * n * self.ramp_ns / self.per_ns).sqrt()
        } else {
            self.ramp_ns + (n - in_ramp) / self.per_ns
        };
        time as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_steady_rate_is_steady() {
        let schedule = Schedule::new(1000.0, 0);
        assert_eq!(schedule.due(0), 1);
        assert_eq!(schedule.due(1_000_000_000), 1001);
        assert_eq!(schedule.time_of(0), 0);
        assert_eq!(schedule.time_of(500), 500_000_000);
    }

    #[test]
    fn a_ramp_sends_half_of_what_the_full_rate_would() {
        let schedule = Schedule::new(1000.0, 2_000_000_000);
        assert_eq!(schedule.due(2_000_000_000), 1001);
        assert_eq!(schedule.due(1_000_000_000), 251);
        assert_eq!(schedule.due(3_000_000_000), 2001);
    }

    proptest! {
        #[test]
        fn a_message_is_due_when_its_time_has_come(rate in 1.0..1e7_f64, ramp in 0_u64..5_000_000_000, n in 0_u64..10_000_000) {
            let schedule = Schedule::new(rate, ramp);
            let time = schedule.time_of(n);
            // Rounding to nanoseconds and a float's last digits are worth one message here or there.
            prop_assert!(schedule.due(time + 2_000) >= n);
            prop_assert!(schedule.time_of(n + 1) >= time);
        }
    }
}
