//! What clients were due, as plain lists: every subscription, every publication, every delivery, each with
//! the moments at which its client sent it and heard of it. Nothing here knows tables, caches or cores.
//!
//! A publication is **due** to a subscription that its client knew to be in force before the publisher began
//! to send, and knew of no end to before the publisher knew it handled. It **may** reach one whose beginning
//! or end was under way meanwhile. Anything else must not arrive. A PONG says that the publisher's own core has
//! handled it, and mail may still be under way; only a PUBACK says that every core has taken it.

use crate::message::Quality;
use crate::subject::mapping::is_hidden_from_wildcards;
use crate::subject::{SubjectFilter, mapping};
use std::collections::BTreeMap;
use std::fmt;

/// A step of the world, as clients can tell them apart.
pub type Moment = u64;

/// A later moment than any.
const NEVER: Moment = u64::MAX;

#[derive(Clone, Debug)]
pub struct Subscription {
    pub connection: usize,
    /// The sid; empty for MQTT, whose deliveries don't say which subscription they are for.
    pub sid: String,
    pub filters: Vec<SubjectFilter>,
    pub group: Option<String>,
    pub is_mqtt: bool,
    pub begins_with_wildcard: bool,
    /// Its own connection's messages are not for it.
    pub is_deaf_to_own: bool,
    pub quality: Quality,
    pub max: Option<u64>,
    pub sent_at: Moment,
    pub known_at: Moment,
    pub end_sent_at: Moment,
    pub end_known_at: Moment,
}

#[derive(Clone, Debug)]
pub struct Publication {
    pub connection: usize,
    pub subject: Vec<u8>,
    pub quality: Quality,
    /// The publisher wants to hear when nobody took it, at this sid of its own.
    pub inbox_sid: Option<String>,
    pub sent_at: Moment,
    /// When the publisher knew that its core had handled it.
    pub handled_at: Moment,
    /// When the publisher knew that every core had taken it.
    pub taken_at: Moment,
    pub n_no_responders: u32,
}

/// A violation, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    Missing(String),
    NotDue(String),
    Order(String),
    NoResponders(String),
    Bound(String),
    Interest(String),
    Protocol(String),
    Stuck(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How often a publication arrived: by connection, sid, and quality.
type Arrivals = BTreeMap<(usize, String, bool), u32>;

#[derive(Debug, Default)]
pub struct Oracle {
    pub subscriptions: Vec<Subscription>,
    pub publications: Vec<Publication>,
    arrivals: Vec<Arrivals>,
    /// The last publication that came from one connection to another, by sid and quality.
    last: BTreeMap<(usize, usize, String, bool), usize>,
    /// Connections that have ended, of whatever side.
    pub ended: Vec<bool>,
    /// Connections that were cut with bytes under way.
    pub lost: Vec<bool>,
    pub violations: Vec<Violation>,
}

impl Oracle {
    pub fn subscribe(&mut self, subscription: Subscription) -> usize {
        self.subscriptions.push(subscription);
        self.subscriptions.len() - 1
    }

    pub fn publish(&mut self, publication: Publication) -> usize {
        self.publications.push(publication);
        self.arrivals.push(Arrivals::new());
        self.publications.len() - 1
    }

    /// A message came to a client.
    pub fn arrived(&mut self, connection: usize, sid: &str, number: usize, quality: Quality, now: Moment) {
        let Some(publication) = self.publications.get(number) else {
            self.violations.push(Violation::Protocol(format!("a message that nobody sent: {number}")));
            return;
        };
        let is_acknowledged = quality == Quality::AtLeastOnce;
        *self.arrivals[number].entry((connection, sid.to_owned(), is_acknowledged)).or_default() += 1;
        // Two publishes of one quality from one connection arrive in their order; copies of one message for
        // several subscriptions of an MQTT client have no order among themselves.
        let is_one_lane = publication.quality == Quality::AtLeastOnce;
        let lane = (publication.connection, connection, sid.to_owned(), is_acknowledged && is_one_lane);
        let is_group = self.subscriptions.iter().any(|subscription| {
            subscription.connection == connection && subscription.sid == sid && subscription.group.is_some()
        });
        let by_quality = self
            .publications
            .iter()
            .any(|other| other.connection == publication.connection && other.quality != publication.quality);
        if !is_group
            && !by_quality
            && let Some(last) = self.last.insert(lane, number)
            && last > number
        {
            self.violations
                .push(Violation::Order(format!("{number} after {last} at connection {connection} at {now}")));
        }
    }

    /// A subscriber's PING, sent at `asked_at`, is answered now: what its publisher knew to be handled before
    /// has come. Only the latest publications are looked at.
    pub fn pong(&mut self, connection: usize, asked_at: Moment) {
        let n_skipped = self.publications.len().saturating_sub(40);
        let mut found = Vec::new();
        for (number, publication) in self.publications.iter().enumerate().skip(n_skipped) {
            let due = self.subscriptions.iter().filter(|subscription| {
                subscription.connection == connection
                    && subscription.group.is_none()
                    && subscription.end_sent_at == NEVER
                    && publication.handled_at < asked_at
                    && self.must(subscription, publication)
            });
            for subscription in due {
                if self.n_arrived(number, connection, &subscription.sid, false) == 0 {
                    let sid = &subscription.sid;
                    found.push(Violation::Missing(format!(
                        "{number} at connection {connection}, sid {sid:?}, before a PONG"
                    )));
                }
            }
        }
        self.violations.extend(found);
    }

    /// Whether the subscription matches at all, whatever the times.
    fn concerns(&self, subscription: &Subscription, publication: &Publication) -> bool {
        if subscription.is_deaf_to_own && subscription.connection == publication.connection {
            return false;
        }
        let subject = &publication.subject;
        let has_topic = || mapping::subject_to_topic(subject, &mut Vec::new());
        let is_visible = !subscription.is_mqtt
            || (has_topic() && !(subscription.begins_with_wildcard && is_hidden_from_wildcards(subject)));
        is_visible && subscription.filters.iter().any(|filter| filter.matches(subject))
    }

    fn may(&self, subscription: &Subscription, publication: &Publication) -> bool {
        self.concerns(subscription, publication)
            && subscription.sent_at < publication.taken_at
            && subscription.end_known_at > publication.sent_at
    }

    fn must(&self, subscription: &Subscription, publication: &Publication) -> bool {
        let is_handled = publication.handled_at != NEVER || !self.lost[publication.connection];
        self.concerns(subscription, publication)
            && is_handled
            && subscription.max.is_none()
            && subscription.known_at < publication.sent_at
            && (subscription.end_sent_at == NEVER || subscription.end_sent_at > publication.handled_at)
            && !self.ended[subscription.connection]
    }

    /// Holds everything that arrived against everything that was due, when all is quiet. `n_dropped` is
    /// what the shards counted as dropped: QoS 0 for full queues, QoS 1 for full sessions.
    pub fn judge(&mut self, n_dropped: [u64; 2]) {
        let mut n_missing = [0; 2];
        let mut found = Vec::new();
        for (number, publication) in self.publications.iter().enumerate() {
            self.judge_plain(number, publication, &mut n_missing, &mut found);
            self.judge_groups(number, publication, &mut found);
            self.judge_no_responders(number, publication, &mut found);
        }
        for (kind, (n_missing, n_dropped)) in n_missing.into_iter().zip(n_dropped).enumerate() {
            if n_missing > n_dropped {
                found.push(Violation::Missing(format!(
                    "{n_missing} deliveries of QoS {kind} to MQTT, where {n_dropped} were counted as dropped"
                )));
            }
        }
        self.violations.extend(found);
    }

    fn n_arrived(&self, number: usize, connection: usize, sid: &str, is_acknowledged: bool) -> u32 {
        self.arrivals[number].get(&(connection, sid.to_owned(), is_acknowledged)).copied().unwrap_or(0)
    }

    fn judge_plain(
        &self,
        number: usize,
        publication: &Publication,
        n_missing: &mut [u64; 2],
        found: &mut Vec<Violation>,
    ) {
        let mut due: BTreeMap<(usize, String, bool), (u32, u32)> = BTreeMap::new();
        for subscription in self.subscriptions.iter().filter(|subscription| subscription.group.is_none()) {
            let quality = publication.quality.min(subscription.quality);
            let key = (subscription.connection, subscription.sid.clone(), quality == Quality::AtLeastOnce);
            let (n_must, n_may) = due.entry(key).or_default();
            *n_must += u32::from(self.must(subscription, publication));
            *n_may += u32::from(self.may(subscription, publication));
        }
        for ((connection, sid, is_acknowledged), (n_must, n_may)) in &due {
            let n = self.n_arrived(number, *connection, sid, *is_acknowledged);
            let what = || {
                let (ended, lost) = (self.ended[publication.connection], self.lost[publication.connection]);
                format!(
                    "{number} at connection {connection}, sid {sid:?}: {n} of {n_must} to {n_may}; \
                     {publication:?}, ended: {ended}, lost: {lost}"
                )
            };
            if n > *n_may {
                found.push(Violation::NotDue(what()));
            } else if n < *n_must && sid.is_empty() {
                n_missing[usize::from(*is_acknowledged)] += u64::from(n_must - n);
            } else if n < *n_must {
                found.push(Violation::Missing(what()));
            }
        }
        for (connection, sid, is_acknowledged) in self.arrivals[number].keys() {
            let is_known = due.contains_key(&(*connection, sid.clone(), *is_acknowledged))
                || self
                    .subscriptions
                    .iter()
                    .any(|s| s.connection == *connection && s.sid == *sid && s.group.is_some());
            if !is_known {
                found.push(Violation::NotDue(format!("{number} at connection {connection}, sid {sid:?}")));
            }
        }
    }

    /// A queue group gets a message once, whatever its members' filters; and it does get it where no member
    /// was coming or going.
    fn judge_groups(&self, number: usize, publication: &Publication, found: &mut Vec<Violation>) {
        let mut groups: BTreeMap<&str, Vec<&Subscription>> = BTreeMap::new();
        for subscription in &self.subscriptions {
            if let Some(group) = &subscription.group {
                groups.entry(group).or_default().push(subscription);
            }
        }
        for (group, members) in groups {
            let sids: std::collections::BTreeSet<_> =
                members.iter().map(|member| (member.connection, member.sid.as_str())).collect();
            let n: u32 =
                sids.iter().map(|(connection, sid)| self.n_arrived(number, *connection, sid, false)).sum();
            let possible: Vec<_> = members.iter().filter(|member| self.may(member, publication)).collect();
            let is_stable =
                !possible.is_empty() && possible.iter().all(|member| self.must(member, publication));
            let what = || format!("{number} at group {group}: {n} times, {} members", possible.len());
            if n > 1 || (n == 1 && possible.is_empty()) {
                found.push(Violation::NotDue(what()));
            } else if n == 0 && is_stable {
                found.push(Violation::Missing(what()));
            }
        }
    }

    fn judge_no_responders(&self, number: usize, publication: &Publication, found: &mut Vec<Violation>) {
        let Some(inbox_sid) = &publication.inbox_sid else { return };
        let takers = |judge: &dyn Fn(&Subscription) -> bool| self.subscriptions.iter().any(judge);
        let n = publication.n_no_responders;
        let is_surely_taken = takers(&|subscription| {
            subscription.group.is_none() && !subscription.is_mqtt && self.must(subscription, publication)
        });
        let is_surely_not = !takers(&|subscription| self.may(subscription, publication));
        let can_hear = !self.ended[publication.connection]
            && self.subscriptions.iter().any(|subscription| {
                subscription.connection == publication.connection
                    && subscription.sid == *inbox_sid
                    && subscription.known_at < publication.sent_at
                    && subscription.end_sent_at == NEVER
            });
        if (is_surely_taken && n > 0) || (is_surely_not && can_hear && n != 1) || n > 1 {
            found.push(Violation::NoResponders(format!("{number}: {n} times a 503")));
        }
    }
}

impl Subscription {
    /// A subscription whose client has just asked for it.
    pub fn asked(connection: usize, sid: &str, filters: Vec<SubjectFilter>, now: Moment) -> Self {
        Self {
            connection,
            sid: sid.to_owned(),
            filters,
            group: None,
            is_mqtt: false,
            begins_with_wildcard: false,
            is_deaf_to_own: false,
            quality: Quality::AtMostOnce,
            max: None,
            sent_at: now,
            known_at: NEVER,
            end_sent_at: NEVER,
            end_known_at: NEVER,
        }
    }
}

impl Publication {
    pub fn sent(connection: usize, subject: &[u8], quality: Quality, now: Moment) -> Self {
        Self {
            connection,
            subject: subject.to_vec(),
            quality,
            inbox_sid: None,
            sent_at: now,
            handled_at: NEVER,
            taken_at: NEVER,
            n_no_responders: 0,
        }
    }
}
