//! What clients may publish in a second, and how many may be there that have not said who they are. Whoever is read
//! has room for one more message, by the gateway's count of what it took; who has waited longest without a word gives
//! way; and nothing of what is read late is lost, as everywhere.

use super::chance::Chance;
use super::faults::{Check, Kind, broken};
use super::link::{Link, Place};
use super::world::World;
use crate::shard::Shard;
use crate::shard::limits::{Limit, Limits};
use crate::shard::rates::Rate;
use crate::time::{Span, Time};

/// How long a client's old connection is read without a pause when it has come back.
const HURRY: Span = Span::from_secs(1);

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
    /// Another connection has its client's name, or had it a moment ago: one of them is read to its end.
    hurries_until: Time,
    /// Messages taken when that was last so: it goes without a pause until the next.
    n_hurried: Option<u64>,
    /// Messages, and bytes of payloads.
    rooms: [Room; 2],
}

/// What may be taken of a client at one moment, in millionths.
#[derive(Clone, Copy, Debug)]
struct Room {
    left: i128,
    n_taken: u64,
    at: Time,
}

const ONE: i128 = 1_000_000;

impl Seen {
    pub fn new(since: Time) -> Self {
        let room = Room { left: i128::MAX, n_taken: 0, at: since };
        Self { since, has_been_read: false, hurries_until: Time::START, n_hurried: None, rooms: [room; 2] }
    }

    fn is_silent(&self, now: Time) -> bool {
        !self.has_been_read && now > self.since + GRACE
    }

    fn is_hurried(&self, now: Time) -> bool {
        now <= self.hurries_until
    }

    fn may_have_no_pause(&self, now: Time) -> bool {
        self.is_hurried(now) || self.n_hurried == Some(self.rooms[0].n_taken)
    }
}

impl Room {
    /// A second's worth is there at most, and what was taken is gone.
    fn note(&mut self, per_second: u64, n_taken: u64, now: Time, is_free: bool) {
        let micros = i128::from(now.since(self.at).as_micros());
        let most = i128::from(per_second) * ONE;
        self.left = self.left.saturating_add(micros * i128::from(per_second)).min(most);
        if !is_free {
            self.left -= i128::from(n_taken - self.n_taken) * ONE;
        }
        (self.n_taken, self.at) = (n_taken, now);
    }
}

impl World {
    /// Notes what was taken of a client by now, for one that may not publish as much as it will.
    pub(super) fn note_taken(&mut self, link_idx: usize) {
        let rate = self.scenario.settings.limits.rates[self.links[link_idx].client.protocol() as usize];
        if !rate.is_any() {
            return;
        }
        let now = self.now;
        let is_followed = self.is_followed(link_idx);
        let link = &mut self.links[link_idx];
        let Place::At(core, id) = link.place else { return };
        if is_followed {
            link.seen.hurries_until = now + HURRY;
        }
        let taken = self.shards[core.idx()].n_taken_of(id);
        let is_free = link.seen.is_hurried(now);
        if is_free {
            link.seen.n_hurried = Some(taken[0]);
        }
        let rates = [rate.messages_per_sec, rate.bytes_per_sec];
        for ((room, per_second), n) in link.seen.rooms.iter_mut().zip(rates).zip(taken) {
            room.note(per_second, n, now, is_free);
        }
    }

    /// Notes what was taken of those who have a client's name: it may be gone again before time passes.
    pub(super) fn note_namesakes(&mut self, link_idx: usize) {
        let Some(client_id) = self.links[link_idx].client_id().map(str::to_owned) else { return };
        for other in 0..self.links.len() {
            if self.links[other].client_id() == Some(&client_id) {
                self.note_taken(other);
            }
        }
    }

    /// Whether a client may have come again. Of two that open at about the same time either may be the one.
    pub(super) fn is_followed(&self, link_idx: usize) -> bool {
        let client_id = self.links[link_idx].client_id();
        let has_name =
            |it: &Link| it.place != Place::Gone && it.client_id() == client_id && it.seen.has_been_read;
        let mut others = self.links.iter().enumerate().filter(|(idx, _)| *idx != link_idx);
        client_id.is_some() && others.any(|(_, it)| has_name(it))
    }

    /// A client is about to be read: it has published less than it may.
    pub(super) fn check_rate(&mut self, link_idx: usize) -> Check {
        self.note_taken(link_idx);
        let link = &self.links[link_idx];
        let settings = &self.scenario.settings;
        let rate = settings.limits.rates[link.client.protocol() as usize];
        let rates = [rate.messages_per_sec, rate.bytes_per_sec];
        let is_over = |(room, per_second): (&Room, u64)| per_second > 0 && room.left < -ONE;
        // In a drain the rest is read, and of one that ends all, to no effect.
        let is_exempt = self.is_draining || link.is_ending || link.seen.may_have_no_pause(self.now);
        if !is_exempt && link.seen.rooms.iter().zip(rates).any(is_over) {
            return broken(Kind::Bound, format!("{link_idx} has published too much: {:?}", link.seen.rooms));
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

    /// What a core keeps of those who have not said who they are is no more than it may be.
    pub(super) fn check_unconnected_bytes(&self, shard: &Shard) -> Check {
        let (n_max, n) = (self.scenario.settings.limits.unconnected_bytes_max, shard.n_unconnected_bytes());
        if n > n_max {
            let core = shard.core();
            return broken(Kind::Bound, format!("{n} bytes of those who are nobody yet wait at {core:?}"));
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
