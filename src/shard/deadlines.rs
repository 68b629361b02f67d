//! One coarse wheel for every deadline of a core: keep-alives, handshakes, pings, lingering closes. A timer
//! each would cost more than the messages; here a connection has one entry, re-armed only when it comes up.

use super::id::ConnectionId;
use crate::time::{Span, Time};

/// How coarse deadlines are: none is early, and none is later than this.
const SLOT: Span = Span::from_millis(100);
const N_SLOTS: usize = 1_024;

/// No slot is taken up while so many wait.
const DUE_MAX: usize = 1_024;

/// The wheel. What lies beyond its horizon waits in one of the last slots and is entered again from there.
#[derive(Debug)]
pub struct Deadlines {
    slots: Vec<Vec<(ConnectionId, Time)>>,
    /// Slots before this one are empty.
    next_slot: u64,
    n_entries: usize,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { slots: vec![Vec::new(); N_SLOTS], next_slot: 0, n_entries: 0 }
    }
}

impl Deadlines {
    /// Enters a deadline.
    pub fn schedule(&mut self, id: ConnectionId, due: Time) {
        let horizon = self.next_slot + N_SLOTS as u64 - 1;
        let mut slot = slot_of(due).max(self.next_slot);
        if slot > horizon {
            // Spread, so that a hundred thousand sessions that end next week don't come up as one until then.
            slot = horizon - u64::from(id.slot) % (N_SLOTS as u64 / 2);
        }
        self.slots[slot as usize % N_SLOTS].push((id, due));
        self.n_entries += 1;
    }

    /// Moves what is due by `now` into `due`. Where that is very much the rest comes with the next call.
    pub fn advance(&mut self, now: Time, due: &mut Vec<(ConnectionId, Time)>) {
        let until = now.as_nanos() / SLOT.as_nanos();
        let mut again = Vec::new();
        while self.next_slot < until && self.n_entries > 0 && due.len() < DUE_MAX {
            let slot = &mut self.slots[self.next_slot as usize % N_SLOTS];
            self.n_entries -= slot.len();
            for (id, at) in slot.drain(..) {
                if at <= now { due.push((id, at)) } else { again.push((id, at)) }
            }
            self.next_slot += 1;
        }
        if due.len() < DUE_MAX {
            self.next_slot = self.next_slot.max(until);
        }
        again.into_iter().for_each(|(id, at)| self.schedule(id, at));
    }

    /// When the next entry comes up, if any.
    pub fn next(&self) -> Option<Time> {
        if self.n_entries == 0 {
            return None;
        }
        let n_ahead =
            (0..N_SLOTS as u64).find(|n| !self.slots[(self.next_slot + n) as usize % N_SLOTS].is_empty())?;
        Some(Time::from_nanos((self.next_slot + n_ahead + 1) * SLOT.as_nanos()))
    }
}

/// The slot whose end is the first at or after `due`.
fn slot_of(due: Time) -> u64 {
    due.as_nanos().div_ceil(SLOT.as_nanos()).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_deadline_comes_up_once_and_never_early(
            dues in proptest::collection::vec(0u64..400_000, 1..40),
            steps in proptest::collection::vec(1u64..30_000, 1..80),
        ) {
            let mut wheel = Deadlines::default();
            for (due_idx, due) in dues.iter().enumerate() {
                wheel.schedule(ConnectionId { slot: due_idx as u32, generation: 0 }, Time::START + Span::from_millis(*due));
            }
            let mut now = Time::START;
            let mut came = vec![false; dues.len()];
            for step in steps {
                let next = wheel.next();
                now = now + Span::from_millis(step);
                let mut due = Vec::new();
                wheel.advance(now, &mut due);
                if next.is_some_and(|next| next > now) {
                    prop_assert!(due.is_empty());
                }
                for (id, at) in due {
                    prop_assert!(at <= now);
                    prop_assert!(!std::mem::replace(&mut came[id.slot as usize], true));
                }
                for (due_idx, due) in dues.iter().enumerate() {
                    let at = Time::START + Span::from_millis(*due);
                    if at + SLOT + SLOT <= now {
                        prop_assert!(came[due_idx], "{due} has not come up by {now:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn of_very_many_deadlines_that_are_over_some_come_up_at_a_time_and_all_at_once_after_another() {
        let mut wheel = Deadlines::default();
        let n = 100 * DUE_MAX;
        for slot in 0..n as u32 {
            let id = ConnectionId { slot, generation: 0 };
            wheel.schedule(id, Time::START + Span::from_millis(u64::from(slot)));
        }
        let now = Time::START + Span::from_secs(1_000);
        let mut n_came = 0;
        while let Some(next) = wheel.next() {
            assert!(next <= now);
            let mut due = Vec::new();
            wheel.advance(now, &mut due);
            // Of a slot all come up, and those beyond the horizon wait in many.
            assert!(due.len() <= 2 * DUE_MAX, "{}", due.len());
            n_came += due.len();
        }
        assert_eq!(n_came, n);
    }
}
