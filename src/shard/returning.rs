//! A client that comes back under its id while its rate keeps its old connection from being read. Its pings went
//! unanswered, so it has given that one up; what it had sent there is taken before its session goes on, and is not
//! lost.

use super::Shard;
use super::connection::Connection;
use super::id::ConnectionId;
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::session::Expiry;
use crate::time::{Span, Time};

/// A connection is read without a pause, and where its client has closed it to its end, before its successor takes
/// its session over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hurry {
    /// At the latest then.
    pub until: Time,
    /// Of several the one that came last.
    pub successor: ConnectionId,
}

/// Of a connection that its client has closed all that it sent is there already.
pub(super) const HURRY: Span = Span::from_secs(1);

impl Shard {
    /// Whether a client's new connection waits for its old one.
    pub(super) fn waits_for_predecessor(&mut self, id: ConnectionId, old: ConnectionId, now: Time) -> bool {
        // Then nobody is read any more.
        if self.is_draining() {
            return false;
        }
        let hurry = self.clients.slots.get(old).and_then(|it| it.published.as_ref()?.hurry);
        let is_open =
            hurry.is_some_and(|it| self.clients.slots.get(it.successor).is_some_and(Connection::is_open));
        let Some(connection) = self.clients.slots.get_mut(old) else { return false };
        let Some(published) = connection.published.as_mut() else { return false };
        let until = match published.hurry {
            None if connection.is_paused || published.is_behind(now) => now + HURRY,
            Some(Hurry { until, .. }) if until > now => until,
            // The one for which it was has had its time, unless it is gone.
            Some(Hurry { successor, .. }) if successor != id && !is_open => now + HURRY,
            _ => return false,
        };
        let overtaken = published.hurry.replace(Hurry { until, successor: id }).map(|it| it.successor);
        self.end_pause_of(old, now);
        if let Some(overtaken) = overtaken.filter(|it| *it != id) {
            self.end_pause_of(overtaken, now);
        }
        // It has said who it is.
        self.forget_unconnected(id);
        self.pause(id, until);
        true
    }

    /// Lets the successor in that has waited for a connection's end.
    pub(super) fn let_successor_in(&mut self, old: ConnectionId, now: Time) {
        let published = self.clients.slots.get_mut(old).and_then(|connection| connection.published.as_mut());
        if let Some(Hurry { successor, .. }) = published.and_then(|it| it.hurry.take()) {
            self.end_pause_of(successor, now);
        }
    }

    /// Of a connection whose successor came home before it: whether that one has found the client's session, or will.
    /// It has the client id already or waits for it, and its CONNECT came later: those of two that were accepted on
    /// different cores may come home in either order, and the client waits on its last one. Two that were read in the
    /// same moment are in the order in which their connections were accepted.
    pub(super) fn found_by_successor(&self, id: ConnectionId, client_id: &[u8]) -> Option<bool> {
        let slots = &self.clients.slots;
        let claim = |connection: &Connection| (connection.claimed_at, connection.nth);
        let own = slots.get(id).map(claim);
        let is_later = |it: &ConnectionId| {
            slots.get(*it).is_some_and(|connection| connection.is_open() && Some(claim(connection)) > own)
        };
        let holder_id = self.directory.get(client_id)?;
        if is_later(&holder_id) {
            return Some(self.mqtt(holder_id).is_some_and(Mqtt::found_session));
        }
        let hurry = slots.get(holder_id)?.published.as_ref()?.hurry?;
        let stays = slots.session(holder_id).is_some_and(|session| session.expiry != Expiry::WithConnection);
        is_later(&hurry.successor).then_some(stays)
    }
}
