//! What clients may publish in a second, and how many may be there that have not said who they are. Whoever is read
//! has room for one more message, counted from the outside; who has waited longest without a word gives way; and
//! nothing of what is read late is lost, as everywhere.

use super::chance::Chance;
use super::faults::{Check, Kind, broken};
use super::link::{Link, Place};
use super::world::World;
use crate::shard::id::{ConnectionId, CoreId};
use crate::shard::limits::{Limit, Limits};
use crate::shard::rates::Rate;
use crate::time::{Span, Time};

/// How long nobody has to give way.
const GRACE: Span = Span::from_secs(1);

/// The limits of one world, mostly none.
pub fn limits(more: &mut Chance) -> Limits {
    let mut limits = Limits::NONE;
    if more.one_in(4) {
        let mut rate =
            || Rate { messages_per_sec: *more.pick(&[0, 5, 40]), bytes_per_sec: *more.pick(&[0, 0, 1_000]) };
        limits.rates = [rate(), rate()];
    }
    if more.one_in(5) {
        limits.unconnected_max = *more.pick(&[1, 3, usize::MAX]);
        limits.unconnected_bytes_max = *more.pick(&[30, 300, usize::MAX]);
    }
    limits
}

/// What the world has seen of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    since: Time,
    pub has_been_read: bool,
}

impl Seen {
    pub fn new(since: Time) -> Self {
        Self { since, has_been_read: false }
    }

    fn is_silent(&self, now: Time) -> bool {
        !self.has_been_read && now > self.since + GRACE
    }
}

impl World {
    /// A client is about to be read: it has published less than it may.
    pub(super) fn check_rate(&self, link_idx: usize, core: CoreId, id: ConnectionId) -> Check {
        let link = &self.links[link_idx];
        let n_max = self.scenario.settings.limits.rates[link.client.protocol() as usize].messages_per_sec;
        let micros = self.now.since(link.seen.since).as_micros();
        let n = self.shards[core.idx()].n_taken_of(id);
        // A second's messages at once, and the one that is too much. One whose client has come back is read to its
        // end.
        if n_max > 0 && !link.may_end && n > n_max + 1 + n_max * micros / 1_000_000 {
            return broken(Kind::Bound, format!("{link_idx} has published {n} in {micros} us"));
        }
        Ok(())
    }

    /// No core keeps more clients than it may of whom it has not heard a byte.
    pub(super) fn check_silent(&self) -> Check {
        let n_max = self.scenario.settings.limits.unconnected_max;
        if n_max == usize::MAX {
            return Ok(());
        }
        for shard in &self.shards {
            let is_here = |link: &&Link| {
                let is_here = matches!(link.place, Place::At(core, _) if core == shard.core());
                is_here && !link.is_ending && link.seen.is_silent(self.now)
            };
            let n = self.links.iter().filter(is_here).count();
            if n > n_max {
                return broken(Kind::Bound, format!("{n} at {:?} have not said a word", shard.core()));
            }
        }
        Ok(())
    }

    /// Whether somebody waits until it may publish more.
    pub(super) fn is_anybody_paused(&self) -> bool {
        self.shards.iter().any(|shard| shard.n_paused() > 0)
    }

    /// Connections that had to give way before they said who they are.
    pub(super) fn n_gave_way(&self) -> u64 {
        let of = |limit: Limit| -> u64 {
            self.shards.iter().map(|shard| shard.counters().n_limited[limit as usize]).sum()
        };
        of(Limit::Unconnected) + of(Limit::UnconnectedBytes)
    }
}
