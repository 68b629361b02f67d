//! A shard and a store that keeps what outlives the process: what is written down for it, and a shard that
//! begins with what an earlier process left. `store` says what is kept, and how.

use super::connection::{Protocol, SubscriptionKind};
use super::fanout::Clients;
use super::id::{ConnectionId, CoreId};
use super::mail::Item;
use super::own::Notice;
use super::replay::Stands;
use super::{Door, Listener, Shard, retained, serve_mqtt};
use crate::message::Message;
use crate::mqtt::change::Change;
use crate::mqtt::packet::{Qos, RetainHandling, SubscribeOptions};
use crate::mqtt::session::{Expiry, Session};
use crate::store::image::{self, Stored};
use crate::store::journal::{Entry, Retained};
use crate::time::Time;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

/// Where the connection of a session that was restored came from.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Clients {
    /// Hands over what a session has written of its changes.
    #[inline]
    pub fn write_down(&mut self, id: ConnectionId) {
        if self.journal.is_on() {
            self.write_down_changes(id);
        }
    }

    #[cold]
    fn write_down_changes(&mut self, id: ConnectionId) {
        let Some(session) = self.slots.session_mut(id) else { return };
        let changes = session.inflight.diary().take();
        if !changes.is_empty() {
            self.journal.write(&Entry::Changes { client_id: session.client_id(), changes: &changes });
            self.hold_back(id);
        }
    }

    /// Keeps what was queued for an MQTT client until all is kept that was written down so far.
    #[cold]
    pub(super) fn hold_back(&mut self, id: ConnectionId) {
        if self.journal.is_kept() {
            return;
        }
        let Some(connection) = self.slots.get_mut(id) else { return };
        if matches!(connection.protocol, Protocol::Mqtt(_)) {
            let position = self.journal.n_written();
            connection.queue.hold(position);
            if self.held_back.back() != Some(&(position, id)) {
                self.held_back.push_back((position, id));
            }
        }
    }

    fn let_go(&mut self) {
        let n_kept = self.journal.n_kept();
        while let Some(&(position, id)) = self.held_back.front() {
            if position > n_kept {
                return;
            }
            self.held_back.pop_front();
            let Some(connection) = self.slots.get_mut(id) else { continue };
            let mut has_freed = false;
            while connection.queue.let_go(n_kept) {
                has_freed = true;
            }
            if has_freed && !std::mem::replace(&mut connection.is_dirty, true) {
                self.effects.flush.push(id);
            }
            if has_freed && !connection.is_open() {
                // It ends when it is written.
                self.effects.close.push(id);
            }
        }
    }
}

/// What tells others that something was taken, and waits until it is kept.
#[derive(Debug, Default)]
pub struct Unsaid {
    mail: VecDeque<(u64, CoreId, Item)>,
    notices: VecDeque<(u64, Notice)>,
}

impl Unsaid {
    #[inline]
    pub fn n_notices(&self) -> usize {
        self.notices.len()
    }
}

impl Shard {
    /// From now on, before anything else has happened, what a store should keep is written down.
    pub fn keep_journal(&mut self) {
        self.clients.journal.turn_on();
    }

    /// Exchanges what was written down since the last time for an empty buffer, and says at which position of
    /// the journal it ends.
    pub fn take_journal(&mut self, empty: &mut Vec<u8>) -> u64 {
        self.clients.journal.take(empty);
        self.clients.journal.n_written()
    }

    /// Notes that everything before this position of the journal is kept.
    pub fn kept(&mut self, position: u64, now: Time) {
        self.now = now;
        self.clients.journal.note_kept(position);
        self.clients.let_go();
        while let Some((_, to, item)) = take_due(&mut self.unsaid.mail, |(at, ..)| *at <= position) {
            self.peers[to.idx()].outbox.push_answer(item);
        }
        while let Some((_, notice)) = take_due(&mut self.unsaid.notices, |(at, _)| *at <= position) {
            self.note(notice);
        }
        self.settle_further(now);
    }

    /// Posts a word on what was taken: when it is kept.
    pub(super) fn say_taken(&mut self, to: CoreId, item: Item) {
        if self.clients.journal.is_kept() && self.unsaid.mail.is_empty() {
            return self.peers[to.idx()].outbox.push_answer(item);
        }
        self.unsaid.mail.push_back((self.clients.journal.n_written(), to, item));
    }

    /// Publishes a word on what was taken: when it is kept.
    pub(super) fn note_taken(&mut self, notice: Notice) {
        if self.clients.journal.is_kept() && self.unsaid.notices.is_empty() {
            return self.note(notice);
        }
        self.unsaid.notices.push_back((self.clients.journal.n_written(), notice));
    }

    pub(super) fn write_down_retained(&mut self, message: &Message<'_>, source: u64) {
        if !self.clients.journal.is_on() {
            return;
        }
        let Message { version, subject, .. } = *message;
        if message.payload.is_empty() {
            return self.clients.journal.write(&Entry::Cleared { version, subject });
        }
        let protocol = self.clients.origin.protocol;
        self.clients.journal.write(&Entry::Retained(Retained {
            version,
            source,
            protocol,
            quality: message.quality,
            expires_at: retained::expires_at(message.properties, self.now),
            subject,
            properties: message.properties,
            header: message.header,
            payload: message.payload.as_slice(),
        }));
    }

    /// Takes in a retained message that an earlier process left, on any one core; whether there is room for it.
    /// All come before clients do.
    pub fn restore_retained(&mut self, retained: &Retained<'_>) -> bool {
        let is_kept = self.retained.restore(retained).is_ok();
        if is_kept && self.clients.journal.is_on() {
            self.clients.journal.write(&Entry::Retained(*retained));
        }
        is_kept
    }

    /// Takes in a session that an earlier process left, as if its client had just gone. It lives here, at its
    /// home core; whether it is taken: not if it was to end with its connection, or its client has one here.
    pub fn restore(&mut self, client_id: &[u8], stored: Stored, now: Time) -> bool {
        debug_assert_eq!(self.home(client_id), self.core);
        let Stored { mut session, filters, is_left } = stored;
        if session.expiry == Expiry::WithConnection || self.directory.get(client_id).is_some() {
            return false;
        }
        let id = self.enter(Door::first(Listener::Mqtt), NOWHERE, 0, now);
        session.inflight.settle_down(self.settings.mqtt.session_queue_bytes_max);
        let (ends_at, will_due) = (session.ends_at, session.will_due);
        self.clients.n_queued_bytes += session.inflight.n_bytes();
        if let Some(mqtt) = self.mqtt_mut(id) {
            mqtt.session = session;
        }
        self.clients.counters.n_session_messages += self.clients.slots.n_session_messages(id);
        self.directory.insert(client_id, id);
        for (filter, wanted) in &filters {
            self.restore_subscription(id, filter, wanted);
        }
        self.suspend_session(id, now);
        if let Some(connection) = self.clients.slots.get_mut(id) {
            self.clients.counters.n_connections[connection.protocol_kind() as usize] -= 1;
            if let Protocol::Mqtt(mqtt) = &mut connection.protocol
                && is_left
            {
                (mqtt.session.ends_at, mqtt.session.will_due) = (ends_at, will_due);
            }
        }
        if self.clients.journal.is_on() {
            self.write_down_whole(id);
        }
        self.discard_queue(id);
        self.go_offline(id, now);
        self.settle(now);
        true
    }

    /// Whether every core has heard of what this one's sessions subscribe to.
    pub fn is_heard(&self) -> bool {
        self.n_applied_everywhere >= self.log_head
    }

    fn restore_subscription(&mut self, id: ConnectionId, filter: &[u8], wanted: &image::Wanted) {
        let Some((mapped, kind)) = serve_mqtt::subscription_to(filter, wanted.options, wanted.identifier)
        else {
            return;
        };
        let key = self.begin_subscription(id, &mapped.filter, mapped.parent.as_ref(), kind);
        let (Some(key), Some(mqtt)) = (key, self.mqtt_mut(id)) else { return };
        mqtt.session.subscribed(filter, key, wanted.options, wanted.identifier);
        if wanted.is_due_retained {
            self.expect_replay(id, key, Stands::Nowhere);
        }
    }

    /// The journal begins with the session as it is.
    fn write_down_whole(&mut self, id: ConnectionId) {
        let mut changes = Vec::new();
        self.write_session(id, true, &mut changes);
        let Some(session) = self.clients.slots.session_mut(id) else { return };
        session.open_diary();
        let client_id = session.client_id();
        self.clients.journal.write(&Entry::Begins { client_id });
        self.clients.journal.write(&Entry::Changes { client_id, changes: &changes });
    }

    /// Says a client's session whole: the changes that make it anew.
    fn write_session(&self, id: ConnectionId, is_left: bool, out: &mut Vec<u8>) {
        let slots = &self.clients.slots;
        let (Some(session), Some(subscriptions)) = (slots.session(id), slots.subscriptions(id)) else {
            return;
        };
        session.write(out);
        let mut filters: Vec<_> = session.filters().collect();
        filters.sort_unstable();
        for (filter, key) in filters {
            let is_due_retained = slots.replays(id).is_some_and(|due| due.has(key));
            let kind = subscriptions.get(key).map(|subscription| &subscription.kind);
            if let Some(SubscriptionKind::Mqtt { quality, traits, .. }) = kind {
                let options = SubscribeOptions {
                    qos: Qos::of(*quality),
                    no_local: traits.no_local,
                    retain_as_published: traits.retain_as_published,
                    retain_handling: RetainHandling::default(),
                };
                let wanted = image::Wanted { options, identifier: traits.identifier, is_due_retained };
                wanted.write(filter, out);
            }
        }
        if is_left {
            let Session { ends_at, will_due, .. } = *session;
            Change::Left { ends_at, will_due }.write(out);
        }
    }

    /// The sessions that a store has by now, each said whole, by client id: for the oracle.
    #[cfg(test)]
    pub fn written_sessions(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let ids: Vec<_> = self.clients.slots.everybody().collect();
        let mut sessions = Vec::new();
        for id in ids {
            let is_written =
                self.clients.slots.session_mut(id).is_some_and(|it| it.inflight.diary().is_open());
            if is_written && self.has_session(id) {
                let mut changes = Vec::new();
                let is_left = self.clients.slots.get(id).is_none_or(|connection| !connection.is_open());
                self.write_session(id, is_left, &mut changes);
                let client_id = self.clients.slots.session(id).map(|it| it.client_id().to_vec());
                sessions.push((client_id.unwrap_or_default(), changes));
            }
        }
        sessions
    }
}

fn take_due<T>(waiting: &mut VecDeque<T>, is_due: impl Fn(&T) -> bool) -> Option<T> {
    waiting.front().is_some_and(is_due).then(|| waiting.pop_front()).flatten()
}
