//! What must hold in a world: bounds at every step, and when all is quiet the oracle's verdict and equal
//! replicas. Not how the world moves: `world`.

use super::oracle::Violation;
use super::world::World;
use crate::shard::Shard;
use crate::shard::interest::FilterKey;
use crate::shard::write_queue::WriteQueue;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// Queues and outboxes stay below their bounds.
    pub(super) fn check_bounds(&mut self) {
        let mut found = Vec::new();
        let settings = &self.settings;
        for link in &self.links {
            let Some(id) = link.id else { continue };
            let len = self.shards[link.core].queue(id).map_or(0, WriteQueue::len);
            // One frame may find the queue empty, and one fit beside it; answers are bounded by input.
            if len > settings.write_queue_bytes_max + 8_000 {
                found.push(Violation::Bound(format!("{len} bytes in a write queue")));
            }
        }
        for shard in &self.shards {
            let (_, outbox) = shard.n_waiting_bytes();
            // A plan looks before one frame is posted; re-routes and control go in regardless.
            if outbox > settings.outbox_bytes_max + 40_000 {
                found.push(Violation::Bound(format!("{outbox} bytes in an outbox")));
            }
        }
        self.oracle.violations.extend(found);
    }

    /// Holds the world at rest against what it should be.
    pub(super) fn judge(&mut self) {
        let sum = |count: fn(&Shard) -> u64| self.shards.iter().map(count).sum();
        let n_dropped = [
            sum(|shard| shard.counters().dropped_queue_full),
            sum(|shard| shard.counters().dropped_session_full),
        ];
        self.oracle.judge(n_dropped);
        let n_waiting: usize = self.shards.iter().map(|shard| shard.n_waiting_bytes().0).sum();
        if n_waiting > 0 {
            self.oracle.violations.push(Violation::Stuck(format!("{n_waiting} bytes wait for clients")));
        }
        let n_tickets: usize = self.shards.iter().map(Shard::n_tickets).sum();
        if n_tickets > 0 {
            self.oracle.violations.push(Violation::Stuck(format!("{n_tickets} tickets are open")));
        }
        self.judge_interest();
    }

    /// All replicas are equal, and are what the clients still want.
    fn judge_interest(&mut self) {
        let mut wanted: BTreeMap<(FilterKey, Option<String>, u16), u32> = BTreeMap::new();
        for link in self.links.iter().filter(|link| link.id.is_some()) {
            for number in link.client.live() {
                let subscription = &self.oracle.subscriptions[number];
                for filter in &subscription.filters {
                    let key = if filter.has_wildcard() {
                        FilterKey::Wildcard(filter.clone())
                    } else {
                        FilterKey::Exact(self.keys.subject_hash(filter.as_bytes()))
                    };
                    *wanted.entry((key, subscription.group.clone(), link.core as u16)).or_default() += 1;
                }
            }
        }
        // A subscription with a maximum may have had it: its filters are compared among replicas only.
        let limited: BTreeSet<_> = self
            .oracle
            .subscriptions
            .iter()
            .filter(|subscription| subscription.max.is_some())
            .flat_map(|subscription| subscription.filters.iter().map(|filter| filter.as_bytes().to_vec()))
            .collect();
        let is_limited = |key: &FilterKey| match key {
            FilterKey::Wildcard(filter) => limited.contains(filter.as_bytes()),
            FilterKey::Exact(hash) => limited.iter().any(|text| self.keys.subject_hash(text) == *hash),
        };
        let first = replica(&self.shards[0]);
        let seen: BTreeMap<_, _> = first.iter().filter(|((key, ..), _)| !is_limited(key)).collect();
        wanted.iter_mut().filter(|((_, group, _), _)| group.is_none()).for_each(|(_, n)| *n = 1);
        let wanted: BTreeMap<_, _> = wanted.iter().filter(|((key, ..), _)| !is_limited(key)).collect();
        if seen != wanted {
            self.oracle.violations.push(Violation::Interest(format!("seen {seen:?}, wanted {wanted:?}")));
        }
        for shard in &self.shards {
            let own = replica(shard);
            let differing: Vec<_> = own
                .iter()
                .filter(|(key, n)| first.get(*key) != Some(*n))
                .chain(first.iter().filter(|(key, _)| !own.contains_key(*key)))
                .collect();
            if !differing.is_empty() {
                let core = shard.core().0;
                self.oracle
                    .violations
                    .push(Violation::Interest(format!("core {core} differs in {differing:?}")));
            }
        }
    }
}

fn replica(shard: &Shard) -> BTreeMap<(FilterKey, Option<String>, u16), u32> {
    let mut all = BTreeMap::new();
    shard.replica().for_each(|key, group, core, n_members| {
        let group = group.map(|group| String::from_utf8_lossy(group).into_owned());
        all.insert((key, group, core.0), n_members);
    });
    all
}
