//! Sessions begin, wait for their client, move to its next connection, and end. One lives in the slot of the
//! connection that has it or had it last, so that its subscriptions' places in the table stay; what changes
//! hands is the slot.

use super::Shard;
use super::connection::{Connection, Protocol, Subscription};
use super::crossing::{self, Identity};
use super::fanout::Publisher;
use super::id::ConnectionId;
use super::publish::Ask;
use super::table::Target;
use crate::message::{Message, Origin, ProtocolKind};
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet::{self, Connect};
use crate::mqtt::property::PropertyBlock;
use crate::mqtt::session::{Expiry, Session, Will};
use crate::payload::{Payload, SHARED_BYTES_MIN};
use crate::store::journal::Entry;
use crate::subject::mapping;
use crate::time::Time;

impl Shard {
    /// Whether this slot has its client's session.
    pub(super) fn has_session(&self, id: ConnectionId) -> bool {
        let session = self.clients.slots.session(id);
        session.is_some_and(|session| self.directory.get(session.client_id()) == Some(id))
    }

    pub(super) fn mqtt(&self, id: ConnectionId) -> Option<&Mqtt> {
        match &self.clients.slots.get(id)?.protocol {
            Protocol::Mqtt(mqtt) => Some(mqtt),
            Protocol::Nats(_) => None,
        }
    }

    pub(super) fn mqtt_mut(&mut self, id: ConnectionId) -> Option<&mut Mqtt> {
        match &mut self.clients.slots.get_mut(id)?.protocol {
            Protocol::Mqtt(mqtt) => Some(mqtt),
            Protocol::Nats(_) => None,
        }
    }

    /// A connection ends: its session does too, or waits for the client from now on.
    pub(super) fn suspend_session(&mut self, id: ConnectionId, now: Time) {
        let stays = self.has_session(id)
            && self.clients.slots.session(id).is_some_and(|it| it.expiry != Expiry::WithConnection);
        if !stays {
            return self.end_session(id);
        }
        self.end_given_up(id);
        self.turn_members(id, true);
        if let Some(mqtt) = self.mqtt_mut(id) {
            mqtt.suspend();
            mqtt.session.leave(now);
        }
        self.clients.write_down(id);
        self.redelivery.note_gone(id);
        self.check_will(id, now);
    }

    /// Publishes the will of a client that has been gone for too long, or says when that will be.
    pub(super) fn check_will(&mut self, id: ConnectionId, now: Time) -> Time {
        let Some(session) = self.clients.slots.session_mut(id) else { return Time::NEVER };
        if session.will_due > now {
            return session.will_due;
        }
        let will = session.take_will();
        self.wills.extend(will.map(|will| (id, will)));
        self.clients.write_down(id);
        Time::NEVER
    }

    /// Publishes the wills whose time has come, as if their clients had; false where some are left, for the
    /// next tick or since they must wait for a full outbox.
    pub(super) fn publish_wills(&mut self, now: Time) -> bool {
        let mut subject = Vec::new();
        self.are_wills_blocked = false;
        while self.budget.pieces > 0
            && let Some((id, will)) = self.wills.pop_front()
        {
            self.budget.pieces -= 1;
            subject.clear();
            mapping::topic_to_subject(&will.topic, &mut subject);
            let Ok(plan) = self.plan(&subject) else {
                self.wills.push_front((id, will));
                self.are_wills_blocked = true;
                return false;
            };
            let is_large = will.payload.len() >= SHARED_BYTES_MIN;
            let mut message = Message {
                topic: &will.topic,
                properties: &will.properties,
                quality: will.quality,
                retain: will.retain,
                ..Message::plain(
                    &subject,
                    if is_large { Payload::Shared(&will.payload) } else { Payload::Copied(&will.payload) },
                )
            };
            self.clients.origin = Origin { protocol: ProtocolKind::Mqtt, read_at: now };
            if will.retain {
                // Where there is no room it is one like others, and counted. [MQTT-3.1.2-15]
                let _ = self.retain(id, &mut message);
            }
            self.clients.counters.wills_published += 1;
            self.carry_out(Publisher::new(id, true), &message, plan, Ask::Nothing);
        }
        self.wills.is_empty()
    }

    /// A connection's socket is gone, and its session stays.
    pub(super) fn go_offline(&mut self, id: ConnectionId, now: Time) {
        let slots = &mut self.clients.slots;
        let n_before = slots.n_session_messages(id);
        if slots.go_offline(id) {
            self.clients.counters.n_offline_sessions += 1;
            self.clients.counters.n_session_messages += slots.n_session_messages(id) - n_before;
        }
        self.check_offline(id, now);
    }

    /// Ends a session whose client stayed away for too long.
    pub(super) fn check_offline(&mut self, id: ConnectionId, now: Time) {
        let will_due = self.check_will(id, now);
        let Some(ends_at) = self.clients.slots.session(id).map(|session| session.ends_at) else { return };
        if ends_at > now {
            return self.schedule(id, ends_at.min(will_due));
        }
        self.clients.counters.sessions_expired += 1;
        self.end_session(id);
    }

    /// Ends a session for the room that it takes.
    pub(super) fn discard_session(&mut self, id: ConnectionId) {
        self.clients.counters.sessions_discarded += 1;
        self.end_session(id);
    }

    /// Ends a connection's session, or that of one that is gone: its subscriptions, and what was kept for it.
    pub(super) fn end_session(&mut self, id: ConnectionId) {
        self.end_all_subscriptions(id);
        let is_listed = self.has_session(id);
        self.clients.counters.n_session_messages -= self.clients.slots.n_session_messages(id);
        let Some(session) = self.clients.slots.session_mut(id) else { return };
        self.clients.n_queued_bytes -= session.inflight.n_bytes();
        // The end of the session is the latest time for it (section 3.1.3.2.2).
        self.wills.extend(session.take_will().map(|will| (id, will)));
        if session.inflight.diary().is_open() {
            self.clients.journal.write(&Entry::Ends { client_id: session.client_id() });
        }
        let (leftovers, n_unsent) = session.inflight.end();
        self.clients.counters.discarded += n_unsent as u64;
        if is_listed {
            self.directory.remove(session.client_id());
            self.requests.forget_client(session.client_id());
        }
        if self.clients.slots.remove_offline(id).is_some() {
            self.clients.counters.n_offline_sessions -= 1;
        }
        if let Some(leftovers) = leftovers {
            self.leave_to_others(leftovers);
        }
        self.freed.note();
    }

    /// Gives a client that is let in its session: the one it had, if it wants that, or a new one. Whether it
    /// had one.
    pub(super) fn begin_session(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        client_id: &[u8],
        now: Time,
    ) -> bool {
        // Of a connection that was taken over only the session is left, if it stays.
        let before = self.directory.get(client_id).filter(|before| *before != id);
        let is_present = match before {
            Some(before) if !connect.clean_start => {
                self.move_session(before, id);
                true
            }
            // [MQTT-3.1.4-4]
            Some(before) => {
                self.end_session(before);
                false
            }
            None => false,
        };
        let session = (!is_present).then(|| self.new_session(client_id));
        self.directory.insert(client_id, id);
        let offer = self.settings.mqtt.offer;
        let user = connect.username.unwrap_or_default();
        let identity = Identity { client_id, user, protocol: ProtocolKind::Mqtt };
        let identity = self.settings.mqtt.identifies_publishers.then_some(&identity);
        let keeps_journal = self.clients.journal.is_on();
        if let Some(Connection { protocol: Protocol::Mqtt(mqtt), .. }) = self.clients.slots.get_mut(id) {
            let expiry = Mqtt::expiry(connect, &offer);
            if let Some(session) = session {
                mqtt.session = session;
                if keeps_journal && expiry != Expiry::WithConnection {
                    self.clients.journal.write(&Entry::Begins { client_id });
                    mqtt.session.open_diary();
                }
            }
            mqtt.session.set_expiry(expiry);
            mqtt.session.inflight.resume(Mqtt::window(connect, &offer));
            mqtt.session.come(connect.will.as_ref().map(|will| will_of(will, identity)), now);
        }
        self.clients.write_down(id);
        self.clients.counters.sessions_resumed += u64::from(is_present);
        is_present
    }

    pub(super) fn new_session(&self, client_id: &[u8]) -> Session {
        let inflight = Inflight::new(1, self.settings.mqtt.session_queue_bytes_max);
        Session::new(client_id, Expiry::WithConnection, inflight, self.keys.shared_hasher())
    }

    /// Moves a session from the slot of a connection that is over to that of the next one. Other cores know
    /// its core alone, and that stays.
    fn move_session(&mut self, from: ConnectionId, to: ConnectionId) {
        let nobodys = self.new_session(b"");
        self.clients.counters.n_session_messages -= self.clients.slots.n_session_messages(from);
        let Some(session) = self.clients.slots.session_mut(from) else { return };
        let session = std::mem::replace(session, nobodys);
        let (subscriptions, replays) = self.clients.slots.take_subscriptions(from);
        self.is_changing_tables = true;
        for key in subscriptions.keys() {
            let place = |connection| Target { connection, subscription: key };
            for at in subscriptions.get(key).into_iter().flat_map(Subscription::places) {
                self.table.retarget(at, place(from), place(to));
                self.routes.filter_changed(self.table.text(at.filter), at.filter.has_wildcard());
            }
        }
        self.is_changing_tables = false;
        if self.clients.slots.remove_offline(from).is_some() {
            self.clients.counters.n_offline_sessions -= 1;
        }
        if let Some(connection) = self.clients.slots.get_mut(to)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            mqtt.session = session;
            connection.subscriptions = subscriptions;
            connection.replays = replays;
        }
        self.clients.counters.n_session_messages += self.clients.slots.n_session_messages(to);
        self.turn_members(to, false);
        self.freed.note();
    }
}

/// A will as its subscribers get it: with who its client is, where that is told.
fn will_of(will: &packet::Will<'_>, identity: Option<&Identity<'_>>) -> Box<Will> {
    let mut block = PropertyBlock::new();
    crossing::identified(will.properties, identity, &mut block);
    Box::new(Will::new(&packet::Will { properties: block.properties(), ..*will }))
}
