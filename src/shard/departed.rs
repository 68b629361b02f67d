//! The subscriptions of connections and sessions that have ended: taken out of the tables in slices, so that a
//! client that leaves a hundred thousand of them stops nobody.
//!
//! Invariant: nothing is delivered to them. Their targets name a connection that has them no more, and its
//! slot, when it is another's, another generation.

use super::Shard;
use super::connection::{Subscription, Subscriptions};
use super::hear::BYTES_PER_CHANGE;
use super::id::ConnectionId;
use super::table::Target;
use crate::message::ProtocolKind;
use crate::time::{Span, Time};
use std::collections::VecDeque;

/// How long a slice is one: what comes later has another.
const SLICE: Span = Span::from_millis(1);

/// What is left of those who have ended, the earliest first.
#[derive(Debug, Default)]
pub struct Departed {
    waiting: VecDeque<Left>,
    began_at: Time,
    n_taken_out: usize,
    /// The most that one slice took out.
    pub longest: usize,
}

#[derive(Debug)]
struct Left {
    id: ConnectionId,
    protocol: ProtocolKind,
    subscriptions: Subscriptions,
}

impl Shard {
    /// Ends what a connection or a session still has, when it ends itself: for its client at once, in the
    /// tables in slices, of which the first is now.
    pub(super) fn end_all_subscriptions(&mut self, id: ConnectionId) {
        let (subscriptions, _) = self.clients.slots.take_subscriptions(id);
        let connection = self.clients.slots.get_mut(id);
        // Only a client of MQTT leaves a session.
        let protocol = connection.map_or(ProtocolKind::Mqtt, |connection| {
            connection.given_up.clear();
            connection.protocol_kind()
        });
        if subscriptions.is_empty() {
            return;
        }
        self.departed.waiting.push_back(Left { id, protocol, subscriptions });
        if self.now.since(self.departed.began_at) >= SLICE {
            self.begin_departing();
        }
        self.take_out_slice();
    }

    /// Takes out a slice of what waits.
    pub(super) fn tick_departed(&mut self) {
        if !self.departed.waiting.is_empty() {
            self.begin_departing();
            self.take_out_slice();
        }
    }

    /// When the next slice is due, if any.
    pub(super) fn departed_wake_at(&self) -> Option<Time> {
        (!self.departed.waiting.is_empty()).then_some(self.now)
    }

    fn begin_departing(&mut self) {
        self.departed.began_at = self.now;
        self.departed.n_taken_out = 0;
    }

    fn take_out_slice(&mut self) {
        while self.departed.n_taken_out < self.settings.interest_slice
            && let Some(left) = self.departed.waiting.front_mut()
        {
            let (id, protocol) = (left.id, left.protocol);
            let Some((key, subscription)) = left.subscriptions.pop() else {
                self.departed.waiting.pop_front();
                continue;
            };
            let text_len = subscription.filters().map(|filter| self.table.text(filter).len()).max();
            self.departed.n_taken_out += 1 + text_len.unwrap_or(0) / BYTES_PER_CHANGE;
            self.departed.longest = self.departed.longest.max(self.departed.n_taken_out);
            self.take_out_departed(Target { connection: id, subscription: key }, protocol, &subscription);
        }
    }

    fn take_out_departed(&mut self, target: Target, protocol: ProtocolKind, subscription: &Subscription) {
        if !subscription.is_given_up {
            self.is_changing_tables = true;
            for place in subscription.places() {
                let change = self.table.give_up(place);
                self.announce(change);
            }
        }
        self.leave_tables(target, protocol, subscription);
        self.freed.note();
    }
}
