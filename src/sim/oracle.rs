//! What is due, from plain lists: every subscription and every publication that any client ever sent, with
//! the moments at which its client could know something about it. No trie, no cache, no core: matching is
//! [`SubjectFilter::matches`], filter by filter.
//!
//! A delivery must come where the subscription was acknowledged before the publish began; it must not where
//! the end was acknowledged before that, or where the subscription began after the publish was handled
//! everywhere. Between the two it may.

use super::by_topic::Way;
use super::faults::{Check, Kind, broken};
use super::own::{self, Cause, GATEWAY};
use super::presence::Profile;
use super::reading::Reading;
use super::record::{At, Ear, Listener, Publication, Subscription};
use super::retained::Request;
use super::scenario::Scenario;
use crate::message::Quality;
use crate::mqtt::reason::Reason;
use crate::shard::interest::Role;
use crate::subject::{SubjectFilter, mapping};
use std::collections::{BTreeMap, BTreeSet};

/// Deliveries that never came although they were due, by quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub at_most_once: u64,
    pub at_least_once: u64,
    /// Nobody can tell with which of two terms they would have come.
    pub either: u64,
    /// Copies that were due to some member of a group.
    pub by_groups: u64,
}

#[derive(Debug, Default)]
pub struct Oracle {
    pub now: At,
    pub(super) is_one_core: bool,
    /// No limit is ever reached.
    pub is_roomy: bool,
    /// Some clients are asked by topics alone.
    pub has_responders: bool,
    /// The gateway comes to its end: only what it has answered for is certain.
    pub is_stopping: bool,
    pub listeners: Vec<Listener>,
    pub subscriptions: Vec<Subscription>,
    pub publications: Vec<Publication>,
    pub requests: Vec<Request>,
    /// Deliveries without payload that came.
    pub n_clears: u64,
    pub readings: Vec<Reading>,
    /// By connection.
    pub profiles: BTreeMap<usize, Profile>,
    /// Messages of lists that came.
    pub n_listed: u64,
    pub lost: Lost,
    n_final: usize,
    /// When all was quiet last: what had ended by then was known to every core.
    pub(super) quiet_since: At,
    /// The newest publication of each publisher, by ear and quality.
    newest: BTreeMap<(Ear, usize, bool), usize>,
    /// What the gateway may say, by subject.
    pub(super) own: BTreeMap<Vec<u8>, usize>,
    /// The numbers of its acknowledgements, and the last by ear and publisher.
    pub(super) seqs: BTreeSet<u64>,
    pub(super) last_seqs: BTreeMap<(Ear, usize), u64>,
}

impl Oracle {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            is_one_core: scenario.settings.n_cores == 1,
            is_roomy: scenario.is_roomy,
            has_responders: scenario.has_responders(),
            ..Self::default()
        }
    }

    /// Notes a publish in the moment in which its first byte may leave.
    pub fn publish(&mut self, publication: Publication) -> usize {
        let acknowledged_at = publication.acknowledged_at.clone();
        let number = self.enter(publication);
        if !acknowledged_at.is_empty() {
            let own = self.expect_own(acknowledged_at.clone(), Cause::Wish(number));
            self.own.insert(acknowledged_at, own);
        }
        number
    }

    pub(super) fn enter(&mut self, mut publication: Publication) -> usize {
        let mut topic = Vec::new();
        publication.topic = mapping::subject_to_topic(&publication.subject, &mut topic).then_some(topic);
        publication.began = self.now;
        publication.way = if self.has_responders { Way::of(&publication) } else { None };
        self.publications.push(publication);
        self.publications.len() - 1
    }

    /// The publisher learned that its own core has done all it does for a publication.
    pub fn handled(&mut self, publication: usize) {
        let (now, is_one_core) = (self.now, self.is_one_core);
        let publication = &mut self.publications[publication];
        publication.handled.get_or_insert(now);
        if is_one_core {
            publication.kept.get_or_insert(now);
        }
    }

    /// The publisher got its PUBACK.
    pub fn kept(&mut self, publication: usize, reason: Reason) {
        self.handled(publication);
        let now = self.now;
        let publication = &mut self.publications[publication];
        // Who passes it on says so before the others have it.
        if !publication.is_passed_on() {
            publication.kept.get_or_insert(now);
        }
        publication.receipt = Some(reason);
    }

    /// Whether the subscription's filters and its connection's world let it have the message at all.
    pub fn concerns(&self, subscription: &Subscription, publication: &Publication) -> bool {
        self.names(publication).any(|name| self.concerns_at(subscription, publication, name))
    }

    /// The same of a publication that goes to `subject`.
    pub(super) fn concerns_at(
        &self,
        subscription: &Subscription,
        publication: &Publication,
        subject: &[u8],
    ) -> bool {
        let is_mqtt = self.listeners[subscription.ear.0].is_mqtt;
        if let Some((asker, _)) = publication.answers
            && (subscription.ear.0 != asker || subscription.group.is_some())
        {
            return false;
        }
        // What the gateway says itself is not for those that ask for everything, if they don't share it.
        let is_kept_back = match subscription.group {
            None => publication.by == GATEWAY,
            Some(_) => own::is_gateways(&publication.subject),
        };
        let is_asked_for =
            |filter: &SubjectFilter| !is_kept_back || !matches!(filter.as_bytes().first(), Some(b'*' | b'>'));
        // To NATS inboxes are subjects like others, also where its wildcards are topics'.
        let is_hidden = if is_mqtt { mapping::is_hidden_from_wildcards } else { mapping::is_dollar_topic };
        let mut filters = subscription.filters.iter();
        filters.any(|filter| filter.matches(subject) && is_asked_for(filter))
            && !(is_mqtt && publication.topic.is_none())
            && !(subscription.begins_with_wildcard && is_hidden(subject))
            && self.has_name(subscription, subject)
    }

    /// Whether a subject has a name where the subscriber is.
    fn has_name(&self, subscription: &Subscription, subject: &[u8]) -> bool {
        let names = self.listeners[subscription.ear.0].names;
        !names.is_emqx || names.seen(subject).is_some()
    }

    /// The terms that may hold for a publication, and whether it may then be heard.
    fn terms<'a>(
        subscription: &'a Subscription,
        publication: &'a Publication,
    ) -> impl Iterator<Item = (Quality, bool)> + 'a {
        let is_own = publication.by == subscription.ear.0 && !publication.is_by_topic;
        let n = subscription.terms.len();
        let holds = move |idx: &usize| {
            let replaced = subscription.terms.get(idx + 1);
            let is_over = replaced.is_some_and(|next| next.known.is_before(publication.began));
            let is_later = publication.kept.is_some_and(|kept| kept < subscription.terms[*idx].known.sent);
            !is_over && !is_later
        };
        (0..n).filter(holds).map(move |idx| {
            let terms = &subscription.terms[idx];
            (terms.quality.min(publication.quality), !is_own || terms.hears_itself)
        })
    }

    /// Whether the message may come to the subscription.
    pub(super) fn may(&self, subscription: &Subscription, publication: &Publication) -> bool {
        let ended = self.listeners[subscription.ear.0].ended;
        self.concerns(subscription, publication)
            && !subscription.end.is_some_and(|end| end.is_before(publication.began))
            && ended.is_none_or(|ended| ended >= publication.began)
            && Self::terms(subscription, publication).any(|(_, may)| may)
    }

    /// Whether the gateway surely takes it, or says it.
    pub(super) fn is_certain(&self, publication: &Publication) -> bool {
        if let Some(cause) = publication.cause {
            return self.is_caused(cause);
        }
        let by = &self.listeners[publication.by];
        publication.handled.is_some() || (!self.is_stopping && (by.is_alive || by.is_complete))
    }

    /// Whether the message must come, if the connection lasts.
    pub(super) fn must(&self, subscription: &Subscription, publication: &Publication) -> bool {
        let is_over = subscription.end.is_some_and(|end| {
            subscription.is_superseded
                || self.takes_two_ways(publication)
                || publication.handled.is_none_or(|handled| handled > end.sent)
        });
        let is_used_up = subscription.max.is_some_and(|(max, _)| subscription.n_heard >= max);
        // What has no payload can't be told from another like it.
        self.is_certain(publication)
            && !publication.payload.is_empty()
            && !is_over
            && !is_used_up
            && subscription.terms[0].known.is_before(publication.began)
            && self.names(publication).all(|name| self.concerns_at(subscription, publication, name))
            && Self::terms(subscription, publication).all(|(_, may)| may)
    }

    /// A delivery came: was it due, once, and in order?
    pub fn heard(&mut self, ear: Ear, publication_idx: usize, quality: Quality) -> Check {
        let Some(publication) = self.publications.get(publication_idx) else {
            return broken(
                Kind::Content,
                format!("{ear:?} heard of {publication_idx}, which nobody published"),
            );
        };
        let complain = |kind, why: &str| {
            broken(kind, format!("{ear:?} heard {} at {quality:?}: {why}", self.describe(publication_idx)))
        };
        if publication.is_final {
            return complain(Kind::NotDue, "all was quiet since");
        }
        let n_heard = publication.heard.iter().filter(|heard| **heard == (ear, quality)).count();
        let of_ear = || self.subscriptions.iter().filter(|subscription| subscription.ear == ear);
        let n_due = of_ear()
            .filter(|subscription| {
                let mut terms = Self::terms(subscription, publication);
                (self.may(subscription, publication) && terms.any(|(other, may)| may && other == quality))
                    || self.may_inherit(subscription, publication, quality)
            })
            .count();
        if n_heard >= n_due {
            let subscriptions: Vec<_> = of_ear().collect();
            let why = format!("{n_heard} times before, due {n_due} times by {subscriptions:?}");
            return complain(Kind::NotDue, &why);
        }
        if let Err(why) = self.check_copies(publication, ear) {
            return complain(Kind::NotDue, &why);
        }
        let is_in_group = of_ear().any(|subscription| subscription.group.is_some());
        let place = (ear, publication.by, quality == Quality::AtLeastOnce);
        let newest = self.newest.get(&place).copied().unwrap_or(0);
        // A group's messages may take another way each.
        let keeps_order = !is_in_group && publication.by != GATEWAY && !self.takes_two_ways(publication);
        if keeps_order && newest > publication_idx {
            return complain(Kind::Order, &format!("after {newest}"));
        }
        if keeps_order {
            self.newest.insert(place, publication_idx);
        }
        self.publications[publication_idx].heard.push((ear, quality));
        self.count(ear)
    }

    /// Nobody can tell in which order the next comes, seen from what came before.
    pub fn forget_order(&mut self, ear: Ear, by: usize) {
        self.newest.remove(&(ear, by, false));
        self.newest.remove(&(ear, by, true));
    }

    /// Whether some subscription leaves its messages their retain flag.
    pub(super) fn leaves_flag(&self, ear: Ear) -> bool {
        let flags = |it: &Subscription| it.terms.iter().any(|terms| terms.retain_as_published);
        self.subscriptions.iter().any(|it| it.ear == ear && flags(it))
    }

    /// Counts a delivery for those subscriptions that end after some.
    pub fn count(&mut self, ear: Ear) -> Check {
        for subscription in self.subscriptions.iter_mut().filter(|it| it.ear == ear) {
            subscription.n_heard += 1;
            if let Some((max, Some(n_before))) = subscription.max
                && subscription.n_heard > max.max(n_before)
            {
                return broken(
                    Kind::NotDue,
                    format!("{ear:?} heard {} of at most {max} after {n_before}", subscription.n_heard),
                );
            }
        }
        Ok(())
    }

    /// A NATS subscriber's PING, sent at `asked`, is answered: what its publisher knew to be handled by then
    /// has come. The latest publications show it as well as all of them.
    pub fn pong(&self, connection: usize, asked: At) -> Check {
        let first = self.publications.len().saturating_sub(40);
        for publication_idx in first..self.publications.len() {
            let publication = &self.publications[publication_idx];
            let due = self.subscriptions.iter().filter(|it| {
                it.ear.0 == connection && it.group.is_none() && it.end.is_none() && self.is_alive(it)
            });
            for subscription in
                due.filter(|it| !self.takes_two_ways(publication) && self.must(it, publication))
            {
                let was_before = publication.handled.is_some_and(|handled| handled < asked);
                if was_before && !publication.heard.iter().any(|(ear, _)| *ear == subscription.ear) {
                    let what = self.describe(publication_idx);
                    return broken(Kind::Missing, format!("{:?} got PONG before {what}", subscription.ear));
                }
            }
        }
        Ok(())
    }

    /// Everything is quiet: what was due has come. `groups` are all names in use.
    pub fn check_all(&mut self, groups: &[&str]) -> Check {
        self.listeners.iter_mut().for_each(|it| it.is_served |= it.is_alive);
        for publication_idx in self.n_final..self.publications.len() {
            self.check_plain(publication_idx)?;
            self.check_groups(publication_idx, groups)?;
            self.check_answer(publication_idx)?;
        }
        let now = self.now;
        for publication in &mut self.publications[self.n_final..] {
            publication.is_final = true;
            publication.kept.get_or_insert(now);
        }
        self.n_final = self.publications.len();
        self.quiet_since = now;
        Ok(())
    }

    /// The gateway has ended: what was due has come, and what waited for MQTT clients' windows as well.
    pub fn check_left(&mut self, groups: &[&'static str]) -> Check {
        let is_nats_alone = |group: &&&'static str| {
            let mut members = self.subscriptions.iter().filter(|it| it.group == Some(**group));
            members.all(|it| !self.listeners[it.ear.0].is_mqtt)
        };
        let groups: Vec<&str> = groups.iter().filter(is_nats_alone).copied().collect();
        let lost_before = self.lost;
        for publication_idx in self.n_final..self.publications.len() {
            self.check_plain(publication_idx)?;
            self.check_groups(publication_idx, &groups)?;
            if self.lost != lost_before {
                let what = format!("an MQTT client never heard {}", self.describe(publication_idx));
                return broken(Kind::Missing, what);
            }
        }
        Ok(())
    }

    fn check_plain(&mut self, publication_idx: usize) -> Check {
        let publication = &self.publications[publication_idx];
        let mut due: BTreeMap<Ear, (usize, [bool; 2])> = BTreeMap::new();
        let stable = self.subscriptions.iter().filter(|it| it.group.is_none() && self.is_alive(it));
        for subscription in stable.filter(|it| self.must(it, publication)) {
            let (n_due, qualities) = due.entry(subscription.ear).or_default();
            *n_due += 1;
            for (quality, _) in Self::terms(subscription, publication) {
                qualities[usize::from(quality == Quality::AtLeastOnce)] = true;
            }
        }
        let mut lost = self.lost;
        for (ear, (n_due, qualities)) in due {
            // A live one that kept its flag may have been taken for a replay.
            let flagged = publication.replayed.iter().filter(|_| self.leaves_flag(ear));
            let n_heard = publication.heard.iter().chain(flagged).filter(|heard| heard.0 == ear).count();
            let n_missing = n_due.saturating_sub(n_heard) as u64;
            if n_missing > 0 && !self.listeners[ear.0].is_mqtt {
                let what = format!("{ear:?} never heard {}", self.describe(publication_idx));
                return broken(Kind::Missing, what);
            }
            match qualities {
                [true, false] => lost.at_most_once += n_missing,
                [false, _] => lost.at_least_once += n_missing,
                [true, true] => lost.either += n_missing,
            }
        }
        self.lost = lost;
        Ok(())
    }

    /// PUBACK's reason and the 503 say whether anybody could take it.
    fn check_answer(&self, publication_idx: usize) -> Check {
        let publication = &self.publications[publication_idx];
        if publication.by == GATEWAY {
            return Ok(());
        }
        // A group's message is taken by nobody where all are full, and so is a request.
        let is_request = publication.is_request || publication.asks.is_some();
        let takes_surely = |it: &Subscription| (it.group.is_none() && !is_request) || self.is_roomy;
        let is_taken = self
            .subscriptions
            .iter()
            .any(|it| self.is_alive(it) && takes_surely(it) && self.must(it, publication));
        let may_be_taken =
            self.subscriptions.iter().any(|it| self.may(it, publication)) || self.may_seem_heard(publication);
        let (is_v5, is_mqtt) =
            (self.listeners[publication.by].takes_header, self.listeners[publication.by].is_mqtt);
        match publication.receipt {
            Some(Reason::NoMatchingSubscribers) if is_taken => {
                return broken(Kind::Receipt, format!("0x10 for {}", self.describe(publication_idx)));
            }
            // What a NATS client has kept is taken by the gateway itself.
            Some(Reason::Success) if is_v5 && !may_be_taken && (is_mqtt || !publication.retain) => {
                let what = format!("0x00 for {}, which nobody could take", self.describe(publication_idx));
                return broken(Kind::Receipt, what);
            }
            _ => {}
        }
        if !publication.is_request {
            return Ok(());
        }
        let can_hear = |it: &&Subscription| {
            it.ear.0 == publication.by
                && it.group.is_none()
                && it.end.is_none()
                && it.max.is_none()
                && it.terms[0].known.is_before(publication.began)
                && it.filters.iter().any(|filter| filter.matches(&publication.reply))
        };
        let is_due = !may_be_taken
            && self.listeners[publication.by].is_alive
            && self.subscriptions.iter().any(|it| can_hear(&it));
        if is_taken && publication.n_no_responders > 0 || publication.n_no_responders > 1 {
            let what =
                format!("{} × 503 for {}", publication.n_no_responders, self.describe(publication_idx));
            return broken(Kind::Receipt, what);
        }
        if is_due && publication.n_no_responders == 0 {
            return broken(Kind::Receipt, format!("no 503 for {}", self.describe(publication_idx)));
        }
        Ok(())
    }

    /// Whether what comes there may come as to the member of a group.
    pub fn is_in_group(&self, ear: Ear) -> bool {
        self.subscriptions.iter().any(|it| it.ear == ear && it.group.is_some())
    }

    pub(super) fn is_alive(&self, subscription: &Subscription) -> bool {
        self.listeners[subscription.ear.0].is_alive
    }

    /// Deliveries that came, of all that was ever published.
    pub fn n_heard(&self) -> u64 {
        let of = |it: &Publication| (it.heard.len() + it.replayed.len()) as u64;
        self.publications.iter().map(of).sum::<u64>() + self.n_clears + self.n_listed
    }

    /// Subscriptions that stand when all is quiet: filter, group and role, and connection.
    pub fn standing(&self) -> impl Iterator<Item = (&SubjectFilter, Option<(&'static str, Role)>, usize)> {
        self.subscriptions
            .iter()
            .filter(|it| {
                let is_used_up = it.max.is_some_and(|(max, _)| it.n_heard >= max);
                self.is_alive(it) && it.end.is_none() && !is_used_up
            })
            .flat_map(|it| {
                let is_mqtt = self.listeners[it.ear.0].is_mqtt;
                let roles =
                    if is_mqtt { [Role::Shared, Role::SharedParent] } else { [Role::Nats, Role::Nats] };
                it.filters
                    .iter()
                    .zip(roles)
                    .map(move |(filter, role)| (filter, it.group.map(|group| (group, role)), it.ear.0))
            })
    }

    /// One publication, for a complaint.
    pub fn describe(&self, publication_idx: usize) -> String {
        let it = &self.publications[publication_idx];
        format!(
            "#{publication_idx} by {} on {:?} at {:?} (began {}, handled {:?}, kept {:?})",
            it.by,
            String::from_utf8_lossy(&it.subject),
            it.quality,
            it.began,
            it.handled,
            it.kept,
        )
    }
}
