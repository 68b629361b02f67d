//! What other cores announce of their interest: applied to the replica in slices, so that a hundred thousand
//! subscriptions that begin or end at once stop nobody.
//!
//! What waits keeps its order, and is acknowledged when it is applied and not before: the fences of the
//! core that announced it stand on that. Messages of the same lane don't wait for it: whom they are for, a
//! core sees in its own table.
//!
//! What waits has no limit of its own. It is bounded by those who announce: a connection with a fence is not
//! read, so it adds the changes of one read at most, and what those who have ended leave comes in slices.

use super::Shard;
use super::id::CoreId;
use super::interest::{Change, FilterKey};
use super::mail::Heard;
use crate::time::{Span, Time};

/// How long a slice is one: what comes later has another.
const SLICE: Span = Span::from_millis(1);

/// A change counts as one more for each so many bytes of its filter, which may have as many tokens.
pub(super) const BYTES_PER_CHANGE: usize = 256;

/// How much of other cores' logs this core has applied of late, and what waits.
#[derive(Debug, Default)]
pub struct Slice {
    began_at: Time,
    n_applied: usize,
    /// Changes and fences of all cores together.
    n_waiting: usize,
    /// The core whose turn it is.
    next_core: usize,
    /// The most that one slice applied.
    pub longest: usize,
}

impl Shard {
    /// Takes the next `n` positions of another core's log: a change, or fences.
    pub(super) fn hear_log(&mut self, from: CoreId, change: Option<&Change>, n: u64) {
        if self.now.since(self.slice.began_at) >= SLICE {
            self.begin_slice();
        }
        let waiting = &mut self.peers[from.idx()].unapplied;
        if waiting.is_empty() && self.slice.n_applied < self.settings.interest_slice {
            self.apply_log(from, change, n);
        } else {
            waiting.push_back(change.map_or(Heard::Fence(n), |change| Heard::Change(change.clone())));
            self.slice.n_waiting += 1;
        }
    }

    /// Applies a slice of what waits, core by core.
    pub(super) fn tick_hearing(&mut self) {
        if self.slice.n_waiting == 0 {
            return;
        }
        self.begin_slice();
        for nth in 0..self.peers.len() {
            let core = (self.slice.next_core + nth) % self.peers.len();
            while self.slice.n_applied < self.settings.interest_slice
                && let Some(heard) = self.peers[core].unapplied.pop_front()
            {
                self.slice.n_waiting -= 1;
                let from = CoreId(core as u16);
                match heard {
                    Heard::Change(change) => self.apply_log(from, Some(&change), 1),
                    Heard::Fence(n) => self.apply_log(from, None, n),
                }
            }
            if self.peers[core].unapplied.is_empty() {
                self.peers[core].unapplied = std::collections::VecDeque::new();
            }
        }
        self.slice.next_core = (self.slice.next_core + 1) % self.peers.len();
    }

    /// When the next slice is due, if any.
    pub(super) fn hearing_wakes_at(&self) -> Option<Time> {
        (self.slice.n_waiting > 0).then_some(self.now)
    }

    fn begin_slice(&mut self) {
        self.slice.began_at = self.now;
        self.slice.n_applied = 0;
    }

    fn apply_log(&mut self, from: CoreId, change: Option<&Change>, n: u64) {
        let text_len = match change.map(Change::key) {
            Some(FilterKey::Wildcard(filter)) => filter.as_bytes().len(),
            Some(FilterKey::Exact(_)) | None => 0,
        };
        self.slice.n_applied += 1 + text_len / BYTES_PER_CHANGE;
        self.slice.longest = self.slice.longest.max(self.slice.n_applied);
        if let Some(change) = change {
            self.is_changing_tables = true;
            self.interest.apply(from, change);
            self.routes.changed(change.key());
            self.is_changing_tables = false;
            self.freed.note();
        }
        let peer = &mut self.peers[from.idx()];
        peer.owed.n_applied += n;
        peer.owes = true;
    }
}
