//! What must hold at every step, and what must hold when all is quiet.

use super::client::Client;
use super::faults::{Check, Kind, Violation, broken};
use super::link::{Link, Place};
use super::scenario::GROUPS;
use super::world::World;
use crate::shard::Shard;
use crate::shard::counters::Counters;
use crate::shard::id::CoreId;
use crate::shard::interest::{FilterKey, MemberCounts, Role};
use crate::shard::mail::Item;
use crate::shard::write_queue::WriteQueue;
use crate::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What a client's own ops are answered goes into its queue whatever its limit; but beyond the limit its
/// input waits, so this is what one op, one run of SUB and UNSUB, and the receipts under way can add.
const ANSWER_BYTES_MAX: usize = 800;

/// A filter between cores, its group, and a core's members.
type Interest = BTreeMap<(FilterKey, Option<(Vec<u8>, Role)>, u16), MemberCounts>;

impl World {
    /// Queues keep their bounds, whatever happens.
    pub(super) fn check_bounds(&mut self, core: CoreId) -> Check {
        let shard = &self.shards[core.idx()];
        let settings = &self.scenario.settings;
        for (link_idx, link) in self.links.iter().enumerate() {
            let Place::At(at, id) = link.place else { continue };
            let n_bytes = shard.queue(id).map_or(0, WriteQueue::len);
            if at == core
                && n_bytes
                    > settings.write_queue_bytes_max + self.scenario.frame_bytes_max() + ANSWER_BYTES_MAX
            {
                return broken(Kind::Bound, format!("{n_bytes} bytes wait for {link_idx}"));
            }
        }
        check_session_messages(shard)?;
        self.check_unconnected_bytes(shard)?;
        let (n_for_clients, n_for_a_core) = shard.n_waiting_bytes();
        // The last publication that found room may be as long as any, and carries its address; statistics and a
        // fence may follow it.
        let last = self.scenario.frame_bytes_max() + 3 * size_of::<Item>();
        let n_control_bytes = self.n_change_bytes + self.n_answer_bytes[core.idx()];
        if n_for_a_core > settings.outbox_bytes_max + last + n_control_bytes {
            return broken(Kind::Bound, format!("{n_for_a_core} bytes wait at {core:?} for another core"));
        }
        let n_links =
            self.links.iter().filter(|link| matches!(link.place, Place::At(at, _) if at == core)).count();
        if n_for_clients
            > settings.core_queue_bytes_max + self.scenario.frame_bytes_max() + ANSWER_BYTES_MAX * n_links
        {
            return broken(Kind::Bound, format!("{n_for_clients} bytes wait for clients of {core:?}"));
        }
        if n_for_a_core == 0 {
            self.n_answer_bytes[core.idx()] = 0;
        }
        Ok(())
    }

    /// Lets everything under way arrive, without anything new, and compares the world with the oracle.
    pub(super) fn come_to_rest(&mut self) -> Check {
        self.note(|| "the world comes to rest".into());
        self.is_calm = true;
        self.oracle.now += 1;
        self.let_clients_rest()?;
        let mut n_idle = 0;
        for _ in 0..200_000 {
            if n_idle == 4 {
                break;
            }
            self.oracle.now += 1;
            if self.calm_step()? {
                n_idle = 0;
            } else if self.is_anybody_paused() {
                self.advance(Span::from_millis(100))?;
            } else {
                // Whom a stall keeps waiting goes on by the clock alone.
                n_idle += 1;
                self.advance(Span::from_millis(11))?;
            }
        }
        // Statistics may have left with the last of the clock's steps.
        while self.calm_step()? {}
        self.is_calm = false;
        self.n_change_bytes = 0;
        self.check_rest()?;
        self.oracle.check_all(&GROUPS)?;
        self.oracle.check_replays(self.scenario.is_roomy)?;
        self.check_lost()?;
        self.check_ends()?;
        self.check_journals()?;
        self.check_latencies()?;
        self.check_interest()
    }

    /// Clients acknowledge what they have, and then only answer.
    pub(super) fn let_clients_rest(&mut self) -> Check {
        for link_idx in 0..self.links.len() {
            if self.links[link_idx].is_open() {
                self.with_client(link_idx, |client, scene| {
                    client.come_to_rest(scene);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// One round of everything that can go on; whether anything did.
    pub(super) fn calm_step(&mut self) -> Result<bool, Violation> {
        let mut has_moved = self.arrive()?;
        for link_idx in 0..self.links.len() {
            has_moved |= self.read(link_idx, usize::MAX)?;
            has_moved |= self.write_more(link_idx)?;
            has_moved |= self.listen(link_idx, usize::MAX)?;
        }
        // What goes on by itself.
        for core in 0..self.shards.len() {
            let is_due = self.shards[core].goes_on();
            if is_due {
                self.shards[core].tick(self.now);
            }
            // A store comes to its end whether its core does anything or not.
            let has_kept = self.keep(CoreId(core as u16));
            if is_due || has_kept {
                self.see_to(CoreId(core as u16))?;
                has_moved = true;
            }
        }
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                has_moved |= self.deliver(CoreId(from as u16), CoreId(to as u16))?;
            }
        }
        Ok(has_moved)
    }

    /// Nothing waits for anything.
    fn check_rest(&self) -> Check {
        for (link_idx, link) in self.links.iter().enumerate() {
            if !link.is_open() {
                continue;
            }
            if let Some(what) = link.client.waits_for() {
                return broken(Kind::Stuck, format!("{link_idx} waits for {what}"));
            }
            if let Place::At(core, id) = link.place
                && !self.shards[core.idx()].wants_input(id)
            {
                return broken(Kind::Stuck, format!("{link_idx} is never read again"));
            }
            if !link.to_shard.is_empty() || link.has_unwritten || link.place == Place::Moving {
                return broken(Kind::Stuck, format!("{link_idx} does not come to rest: {:?}", link.place));
            }
        }
        let mut client_ids = BTreeSet::new();
        for link in self.links.iter().filter(|link| link.is_open()) {
            if let Some(client_id) = link.client_id()
                && !client_ids.insert(client_id)
            {
                return broken(Kind::Closed, format!("two connections are {client_id}"));
            }
        }
        for shard in &self.shards {
            let (n_for_clients, n_for_cores) = shard.n_waiting_bytes();
            let (n_tickets, n_waiting) = (shard.n_tickets(), shard.n_waiting_connections());
            if n_for_clients + n_for_cores + n_tickets + n_waiting > 0 {
                let core = shard.core();
                let what = format!(
                    "{core:?}: {n_for_clients} and {n_for_cores} bytes, {n_tickets} tickets, {n_waiting} wait"
                );
                return broken(Kind::Stuck, what);
            }
            let n_links =
                self.links.iter().filter(|it| matches!(it.place, Place::At(at, _) if at == shard.core()));
            if n_links.count() != shard.n_connections() {
                return broken(Kind::Stuck, format!("{:?} keeps a connection that is gone", shard.core()));
            }
        }
        Ok(())
    }

    /// What never came is what the shards say they dropped.
    fn check_lost(&self) -> Check {
        let sum = |count: fn(&Counters) -> u64| -> u64 {
            self.shards.iter().map(|shard| count(&shard.counters())).sum()
        };
        let n_dropped = sum(|counters| counters.dropped_queue_full);
        let n_dropped_by_session = sum(|counters| counters.dropped_session_full);
        let n_dropped_by_groups = sum(|it| it.dropped_no_member + it.dropped_left_behind);
        let lost = self.oracle.lost;
        let n_lost = lost.at_most_once + lost.at_least_once + lost.either + lost.by_groups;
        if lost.at_most_once > n_dropped
            || lost.at_least_once > n_dropped_by_session
            || n_lost > n_dropped + n_dropped_by_session + n_dropped_by_groups
        {
            let what = format!(
                "{lost:?}, but {n_dropped}, {n_dropped_by_session} and {n_dropped_by_groups} are counted as dropped"
            );
            return broken(Kind::Missing, what);
        }
        if self.scenario.is_roomy && n_dropped + n_dropped_by_session + lost.by_groups > 0 {
            return broken(Kind::Missing, "drops though there was room");
        }
        Ok(())
    }

    /// Every delivery was recorded when it was written: none is forgotten, none counts twice, and none that
    /// a client has heard is missing.
    fn check_latencies(&self) -> Check {
        let (mut n_recorded_in_all, mut n_discarded_in_all) = (0, 0);
        for shard in &self.shards {
            let counters = shard.counters();
            let n_delivered: u64 = counters.delivered.iter().sum();
            let n_recorded: u64 = shard.latencies().deliveries.iter().map(|it| it.histogram().len()).sum();
            if n_delivered != n_recorded + counters.discarded {
                let what = format!(
                    "{:?} delivered {n_delivered}, recorded {n_recorded}, discarded {}",
                    shard.core(),
                    counters.discarded
                );
                return broken(Kind::Counted, what);
            }
            n_recorded_in_all += n_recorded;
            n_discarded_in_all += counters.discarded;
        }
        let n_heard = self.oracle.n_heard();
        let all_heard_all = self.links.iter().all(Link::is_open);
        // Of what one read brought and a connection's end cut in two, the share is only about right.
        if n_heard > n_recorded_in_all + n_discarded_in_all || (all_heard_all && n_heard != n_recorded_in_all)
        {
            let what = format!("{n_heard} deliveries were heard, {n_recorded_in_all} recorded");
            return broken(Kind::Counted, what);
        }
        let sum = |count: fn(&Counters) -> u64| -> u64 {
            self.shards.iter().map(|shard| count(&shard.counters())).sum()
        };
        let (n_sent, n_taken) = (sum(|it| it.mail_sent), sum(|it| it.mail_taken));
        let n_mail: u64 = self.shards.iter().map(|shard| shard.latencies().mail.histogram().len()).sum();
        if n_sent != n_taken || n_taken != n_mail {
            let what = format!("{n_sent} batches were sent, {n_taken} taken, {n_mail} recorded");
            return broken(Kind::Counted, what);
        }
        Ok(())
    }

    /// Every replica is the union of what the cores announced, and that is what the clients asked for.
    fn check_interest(&self) -> Check {
        let mut announced = Interest::new();
        for shard in &self.shards {
            shard.announced(|key, group, counts| {
                let group = group.map(|(name, role)| (name.to_vec(), role));
                let one = MemberCounts { n_online: 1, n_offline: 0 };
                let counts = if group.is_some() { counts } else { one };
                announced.insert((key, group, shard.core().0), counts);
            });
        }
        let mut wanted = Interest::new();
        for (filter, group, link_idx) in self.oracle.standing() {
            let Place::At(core, _) = self.links[link_idx].place else { continue };
            let key = match filter.has_wildcard() {
                true => FilterKey::Wildcard(filter.clone()),
                false => FilterKey::Exact(self.keys.subject_hash(filter.as_bytes())),
            };
            let place = (key, group.map(|(name, role)| (name.as_bytes().to_vec(), role)), core.0);
            let counts: &mut MemberCounts = wanted.entry(place).or_default();
            counts.n_online = if group.is_some() { counts.n_online + 1 } else { 1 };
        }
        if announced != wanted {
            return broken(Kind::Interest, format!("announced {announced:?}, wanted {wanted:?}"));
        }
        for shard in &self.shards {
            let mut replica = Interest::new();
            shard.replica().for_each(|key, group, core, counts| {
                let group = group.map(|(name, role)| (name.to_vec(), role));
                replica.insert((key, group, core.0), counts);
            });
            // A core looks for its own plain subscriptions in its table.
            let is_expected = |(_, group, core): &(FilterKey, Option<(Vec<u8>, Role)>, u16)| {
                *core != shard.core().0 || group.is_some()
            };
            let expected: Interest = announced
                .iter()
                .filter(|(place, _)| is_expected(place))
                .map(|(place, n)| (place.clone(), *n))
                .collect();
            if replica != expected {
                let core = shard.core();
                return broken(Kind::Interest, format!("{core:?} has {replica:?}, announced {expected:?}"));
            }
        }
        Ok(())
    }

    /// Clients that say nothing for long are lost, nobody is lost too early, and the rest stay.
    pub(super) fn fall_silent(&mut self) -> Check {
        self.note(|| "all clients fall silent".into());
        let open: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].is_open()).collect();
        // No keep-alive ends before seven seconds, and none of the short ones later than twenty.
        for (n_halves, is_over) in [(14, false), (40, true)] {
            for _ in 0..n_halves {
                self.oracle.now += 1;
                self.advance(Span::from_millis(500))?;
            }
            // Who hears of those who are lost may have less room than that takes.
            let is_told_too_much = is_over && self.scenario.watches_presence && !self.scenario.is_roomy;
            for &link_idx in &open {
                let is_due = is_over && self.is_watched(link_idx);
                let is_ending = self.links[link_idx].is_ending;
                if is_ending != is_due && !(is_ending && is_told_too_much) {
                    let what = format!("{link_idx} is silent, ends {}, due {is_due}", !is_due);
                    return broken(Kind::Closed, what);
                }
            }
        }
        self.come_to_rest()
    }

    /// Whether the gateway misses the client before long.
    fn is_watched(&self, link_idx: usize) -> bool {
        let settings = &self.scenario.settings;
        match &self.links[link_idx].client {
            Client::Nats(_) => settings.nats.ping_interval <= Span::from_secs(4),
            Client::Mqtt(mqtt) => mqtt.is_watched(settings.mqtt.offer.keep_alive_secs_max),
        }
    }
}

/// A core's gauge of what waits in its sessions is what a look at each of them finds.
pub fn check_session_messages(shard: &Shard) -> Check {
    let (n_counted, n_waiting) = (shard.counters().n_session_messages, shard.n_session_messages_anew());
    if n_counted == n_waiting {
        return Ok(());
    }
    let core = shard.core();
    broken(
        Kind::Counted,
        format!("{n_waiting} messages wait in sessions of {core:?}, and {n_counted} are counted"),
    )
}
