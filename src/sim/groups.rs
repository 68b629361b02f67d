//! What groups are due: a name is a group of NATS clients and of MQTT clients at once. Each filter of it that
//! MQTT clients share is due one copy, and the NATS clients join in one of those, or have one for themselves.
//! From the oracle's plain lists, like all that it says.
//!
//! An MQTT client can't tell by which of its subscriptions a message came. What it heard beyond what its plain
//! ones may give came by a group; what it must have heard by the plain ones did not.

use super::faults::{Check, Kind, broken};
use super::oracle::Oracle;
use super::record::{Ear, Publication, Subscription};
use crate::message::Quality;
use std::collections::BTreeSet;

impl Oracle {
    /// Whether one more delivery to `ear` is one more than all groups are due. What a client had that is gone
    /// may come again to another.
    pub(super) fn check_copies(&self, publication: &Publication, ear: Ear) -> Result<(), String> {
        if !self.subscriptions.iter().any(|it| it.ear == ear && it.group.is_some()) {
            return Ok(());
        }
        let own_name = self.subscriptions.iter().find(|it| it.ear == ear).and_then(|it| it.group);
        let is_nats_peer = |other: &Ear| {
            let of_other = self.subscriptions.iter().find(|it| it.ear == *other);
            of_other.is_some_and(|it| {
                it.group == own_name && !self.listeners[it.ear.0].is_mqtt && self.is_alive(it)
            })
        };
        if !self.listeners[ear.0].is_mqtt && publication.heard.iter().any(|(other, _)| is_nats_peer(other)) {
            return Err("another member had it".into());
        }
        let mut heard: Vec<Ear> = publication.heard.iter().map(|(ear, _)| *ear).collect();
        heard.push(ear);
        let n_copies: usize = self
            .ears_in_groups()
            .into_iter()
            .filter(|ear| self.listeners[ear.0].is_alive)
            .map(|ear| {
                let of_ear = self.subscriptions.iter().filter(|it| it.ear == ear && it.group.is_none());
                let n_plain = of_ear.filter(|it| self.may(it, publication)).count();
                heard.iter().filter(|other| **other == ear).count().saturating_sub(n_plain)
            })
            .sum();
        let names: BTreeSet<&str> = self.subscriptions.iter().filter_map(|it| it.group).collect();
        // A member's end is known to its core first: others may still plan a copy for its filter.
        let may_count = |it: &Subscription| {
            let ended = self.listeners[it.ear.0].ended;
            let is_new = ended.is_some_and(|ended| ended >= self.quiet_since);
            self.may(it, publication) || (is_new && self.concerns(it, publication))
        };
        let n_due: usize = names.into_iter().map(|name| self.n_copies(name, may_count)).sum();
        if n_copies > n_due { Err(format!("{n_copies} copies, {n_due} due")) } else { Ok(()) }
    }

    /// Whether a member that is gone may have left this one the message, even if it joined later.
    pub(super) fn may_inherit(
        &self,
        subscription: &Subscription,
        publication: &Publication,
        quality: Quality,
    ) -> bool {
        let left_it = |other: &Subscription| {
            other.group == subscription.group
                && self.listeners[other.ear.0].is_mqtt
                && !self.is_alive(other)
                && self.may(other, publication)
        };
        subscription.group.is_some()
            && publication.quality != Quality::AtMostOnce
            && self.concerns(subscription, publication)
            // One that has ended since may have had it while it stood.
            && !subscription.end.is_some_and(|end| end.is_before(publication.began))
            && subscription.terms.iter().any(|terms| terms.quality.min(publication.quality) == quality)
            && self.subscriptions.iter().any(left_it)
    }

    /// All is quiet: as many copies were heard as were due for certain.
    pub(super) fn check_groups(&mut self, publication_idx: usize, groups: &[&str]) -> Check {
        let publication = &self.publications[publication_idx];
        let mut n_due = 0;
        for name in groups {
            let mut members = self.subscriptions.iter().filter(|it| it.group == Some(*name));
            // A member that may have had it, and of whom nobody can know any more.
            if !members.any(|it| !self.is_alive(it) && self.may(it, publication)) {
                n_due += self.n_copies(name, |it| self.is_alive(it) && self.must(it, publication));
            }
        }
        let n_heard: usize = self
            .ears_in_groups()
            .into_iter()
            .map(|ear| {
                let of_ear = self.subscriptions.iter().filter(|it| it.ear == ear && it.group.is_none());
                let n_plain = of_ear.filter(|it| self.is_alive(it) && self.must(it, publication)).count();
                // One that kept its flag may have been taken for a replay.
                let flagged = publication.replayed.iter().filter(|_| self.leaves_flag(ear));
                let n_heard = publication.heard.iter().chain(flagged).filter(|heard| heard.0 == ear).count();
                n_heard.saturating_sub(n_plain)
            })
            .sum();
        let n_missing = n_due.saturating_sub(n_heard);
        if n_missing > 0 && self.is_roomy {
            let (heard, what) = (&publication.heard, self.describe(publication_idx));
            let what = format!("{n_missing} of {n_due} groups miss {what}, which {heard:?} heard");
            return broken(Kind::Missing, what);
        }
        self.lost.by_groups += n_missing as u64;
        Ok(())
    }

    /// The copies that a group is due if those members count for whom `counts` says so.
    fn n_copies(&self, name: &str, counts: impl Fn(&Subscription) -> bool) -> usize {
        let counted = || self.subscriptions.iter().filter(|it| it.group == Some(name) && counts(it));
        let is_mqtt = |it: &&Subscription| self.listeners[it.ear.0].is_mqtt;
        let units: BTreeSet<_> = counted().filter(is_mqtt).map(|it| &it.filters[0]).collect();
        units.len().max(usize::from(counted().next().is_some()))
    }

    fn ears_in_groups(&self) -> BTreeSet<Ear> {
        self.subscriptions.iter().filter(|it| it.group.is_some()).map(|it| it.ear).collect()
    }
}
