//! Subscriptions begin and end: the local table, the interest that other cores must hear of, and the fence
//! after which a client may count on it.
//!
//! Invariant: a client's answer to SUB, UNSUB or a subscriber's PING, and everything after it, leaves only
//! when every core has applied the log up to the head it was stamped with.

use super::Shard;
use super::connection::{Connection, Subscription, SubscriptionKind};
use super::id::ConnectionId;
use super::interest::Change;
use super::mail::Outbox;
use super::replay::DueReplays;
use super::table::{FilterRef, Group, Target};
use crate::message::ProtocolKind;
use crate::subject::SubjectFilter;
use crate::time::Time;

impl Shard {
    /// Enters a subscription and returns its connection's key for it.
    pub(super) fn begin_subscription(
        &mut self,
        id: ConnectionId,
        filter: &SubjectFilter,
        parent: Option<&SubjectFilter>,
        kind: SubscriptionKind,
    ) -> Option<u32> {
        let connection = self.clients.slots.get_mut(id)?;
        let target = Target { connection: id, subscription: connection.subscriptions.next_key() };
        self.clients.counters.n_subscriptions[connection.protocol_kind() as usize] += 1;
        self.clients.counters.n_subscribed += 1;
        self.is_changing_tables = true;
        let filter = self.enter_filter(filter, kind.group(), target);
        let parent = parent.map(|parent| self.enter_filter(parent, kind.parent_group(), target));
        let subscription = Subscription { filter, parent, kind, is_given_up: false, is_offline: false };
        let key = self.clients.slots.get_mut(id)?.subscriptions.insert(subscription);
        debug_assert_eq!(key, target.subscription);
        self.is_changing_tables = false;
        Some(key)
    }

    fn enter_filter(
        &mut self,
        filter: &SubjectFilter,
        group: Option<Group<'_>>,
        target: Target,
    ) -> FilterRef {
        let (place, change) = self.table.add(filter, group, target);
        self.routes.filter_changed(filter.as_bytes(), filter.has_wildcard());
        self.announce(change);
        place
    }

    /// Ends a subscription for its client. It still takes mail until the fence ends, so that nothing that
    /// was published before is lost.
    pub(super) fn give_up_subscription(&mut self, id: ConnectionId, key: u32) {
        self.withdraw(id, key, true);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Some(subscription) = connection.subscriptions.get(key)
        {
            connection.given_up.insert((self.keys.subject_hash(subscription.name()), key));
        }
    }

    /// The subscription of that name which ends with the fence.
    pub(super) fn given_up_as(&self, id: ConnectionId, name: &[u8]) -> Option<u32> {
        let Connection { given_up, subscriptions, .. } = self.clients.slots.get(id)?;
        if given_up.is_empty() {
            return None;
        }
        let hash = self.keys.subject_hash(name);
        let mut keys = given_up.range((hash, 0)..=(hash, u32::MAX)).map(|(_, key)| *key);
        keys.find(|key| subscriptions.get(*key).is_some_and(|it| it.name() == name))
    }

    /// Begins a given-up subscription again, before its fence has ended.
    pub(super) fn take_back_subscription(&mut self, id: ConnectionId, key: u32) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let Some(subscription) = connection.subscriptions.get_mut(key) else { return };
        connection.given_up.remove(&(self.keys.subject_hash(subscription.name()), key));
        subscription.is_given_up = false;
        self.is_changing_tables = true;
        let changes: Vec<_> = subscription.places().map(|place| self.table.take_back(place)).collect();
        changes.into_iter().for_each(|change| self.announce(change));
        self.is_changing_tables = false;
    }

    /// Ends a subscription and takes it out of the tables at once.
    pub(super) fn end_subscription(&mut self, id: ConnectionId, key: u32) {
        self.withdraw(id, key, false);
        self.take_out(id, key);
    }

    /// Tells the other cores, and where `with_fence` makes sure that they will answer.
    fn withdraw(&mut self, id: ConnectionId, key: u32, with_fence: bool) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let Some(subscription) = connection.subscriptions.get_mut(key) else { return };
        if std::mem::replace(&mut subscription.is_given_up, true) {
            return;
        }
        // Whoever has its key next is due none of it.
        DueReplays::forget(&mut connection.replays, key);
        self.is_changing_tables = true;
        let changes: Vec<_> = subscription.places().map(|place| self.table.give_up(place)).collect();
        let is_silent = changes.iter().all(Option::is_none);
        changes.into_iter().for_each(|change| self.announce(change));
        if is_silent && with_fence {
            self.post_fence();
        }
        self.is_changing_tables = false;
    }

    fn take_out(&mut self, id: ConnectionId, key: u32) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let Some(subscription) = connection.subscriptions.remove(key) else { return };
        if !connection.given_up.is_empty() {
            connection.given_up.remove(&(self.keys.subject_hash(subscription.name()), key));
        }
        let protocol = connection.protocol_kind();
        self.leave_tables(Target { connection: id, subscription: key }, protocol, &subscription);
    }

    /// Takes a given-up subscription out of the table.
    pub(super) fn leave_tables(
        &mut self,
        target: Target,
        protocol: ProtocolKind,
        subscription: &Subscription,
    ) {
        self.clients.counters.n_subscriptions[protocol as usize] -= 1;
        self.is_changing_tables = true;
        for place in subscription.places() {
            self.routes.filter_changed(self.table.text(place.filter), place.filter.has_wildcard());
            self.table.remove(place, target);
        }
        self.is_changing_tables = false;
    }

    /// Notes that the client of a session has gone or come back: who is gone gets what a group is due only
    /// where nobody else is there.
    pub(super) fn turn_members(&mut self, id: ConnectionId, is_offline: bool) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let mut changes = Vec::new();
        self.is_changing_tables = true;
        for (key, subscription) in connection.subscriptions.iter_mut() {
            if subscription.group().is_none() || subscription.is_offline == is_offline {
                continue;
            }
            subscription.is_offline = is_offline;
            let target = Target { connection: id, subscription: key };
            for place in subscription.places() {
                self.routes.filter_changed(self.table.text(place.filter), place.filter.has_wildcard());
                changes.extend(self.table.move_member(place, target));
            }
        }
        changes.into_iter().for_each(|change| self.announce(Some(change)));
        self.is_changing_tables = false;
    }

    /// Ends the NATS subscriptions that have had their last message.
    pub(super) fn end_finished_subscriptions(&mut self) {
        while let Some(Target { connection: id, subscription: key }) = self.clients.finished.pop() {
            let Some(connection) = self.clients.slots.get_mut(id) else { continue };
            if let Some(subscription) = connection.subscriptions.get(key)
                && let SubscriptionKind::Nats { sid, .. } = &subscription.kind
                && let super::connection::Protocol::Nats(nats) = &mut connection.protocol
            {
                nats.unsubscribed(sid.as_bytes(), key);
            }
            self.end_subscription(id, key);
        }
    }

    /// Stamps a connection with the head of the log. Where all cores are there already, what it gave up ends
    /// at once; else its further input waits.
    pub(super) fn stamp(&mut self, id: ConnectionId) {
        if self.n_applied_everywhere >= self.log_head {
            self.end_given_up(id);
            self.begin_replays(id);
            return;
        }
        if let Some(connection) = self.clients.slots.get_mut(id)
            && connection.fence.replace(self.log_head) != Some(self.log_head)
        {
            match self.fences.back_mut() {
                // Of a run of SUB and UNSUB the last stamp is the one that counts.
                Some((stamp, last)) if *last == id => *stamp = self.log_head,
                _ => self.fences.push_back((self.log_head, id)),
            }
        }
    }

    /// Sees how far all cores have come in this one's log.
    pub(super) fn note_applied(&mut self) {
        let applied = self.others().map(|core| self.peers[core.idx()].n_applied).min();
        self.n_applied_everywhere = applied.unwrap_or(self.log_head);
    }

    /// Lets go connections whose stamp every core has applied.
    pub(super) fn end_fences(&mut self, now: Time) {
        while self.budget.fences > 0 {
            let Some(&(stamp, id)) = self.fences.front() else { return };
            if stamp > self.n_applied_everywhere {
                return;
            }
            self.budget.fences -= 1;
            self.fences.pop_front();
            // A later change of the same run has another entry further back.
            let is_last =
                self.clients.slots.get(id).is_some_and(|connection| connection.fence == Some(stamp));
            if is_last {
                self.end_fence(id, now);
            }
        }
    }

    fn end_fence(&mut self, id: ConnectionId, now: Time) {
        self.end_given_up(id);
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        connection.fence = None;
        // What was held counted; whether it still chokes shows when its next op is looked at.
        connection.is_choked = false;
        connection.heard_at = now;
        let held = std::mem::take(&mut connection.held);
        let has_session = std::mem::take(&mut connection.awaits_connack);
        self.clients.write(id, &held);
        if has_session {
            self.clients.send_waiting(id, &self.settings, now);
        }
        self.runnable.push_back(id);
        self.begin_replays(id);
    }

    pub(super) fn end_given_up(&mut self, id: ConnectionId) {
        let given_up =
            self.clients.slots.get_mut(id).map(|connection| std::mem::take(&mut connection.given_up));
        for (_, key) in given_up.into_iter().flatten() {
            self.take_out(id, key);
        }
    }

    /// Appends a position to the log at which nothing changes, so that the other cores will answer.
    pub(super) fn post_fence(&mut self) {
        if std::mem::replace(&mut self.is_fence_fresh, true) {
            return;
        }
        self.log_head += 1;
        self.tell_all_peers(Outbox::push_fence);
    }

    pub(super) fn announce(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        self.log_head += 1;
        self.is_fence_fresh = false;
        // Its own plain subscriptions a core has in its table: a million of them need no second place.
        if !matches!(change, Change::Plain { .. }) {
            self.interest.apply(self.core, &change);
        }
        self.routes.changed(change.key());
        let hash = change.hash(&self.keys);
        self.tell_all_peers(|outbox| outbox.push_change(&change, hash));
    }

    fn tell_all_peers(&mut self, tell: impl Fn(&mut Outbox)) {
        for core in self.others() {
            tell(&mut self.peers[core.idx()].outbox);
        }
        if self.settings.n_cores == 1 {
            self.n_applied_everywhere = self.log_head;
        }
    }
}
