//! How connections come in, and those that have not yet said who they are: of MQTT until CONNECT is taken, of NATS
//! until the first op. They are many at times, and cheap to open, so that they may have a part of all places and so
//! many bytes, and those who have waited longest give way.

use super::closed::Closed;
use super::id::ConnectionId;
use super::limits::{Limit, NoRoom};
use super::{Door, Shard};
use crate::time::{Span, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A shard's.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    /// In the order in which they came; some have left it by now.
    queue: VecDeque<ConnectionId>,
    n: usize,
    /// What all of them have sent that is not taken.
    n_bytes: usize,
}

/// How long nobody gives way: a client whose CONNECT is on its way needs less.
const GRACE: Span = Span::from_secs(1);

/// The queue is not looked through while it is so short.
const QUEUE_LEN_MIN: usize = 64;

impl Shard {
    /// Takes in a new connection; the driver keeps its socket under the id. `nth` is its place in the order
    /// in which the process accepted all of them.
    pub fn accept(&mut self, door: Door, peer: SocketAddr, nth: u64, now: Time) -> ConnectionId {
        let id = self.enter(door, peer, nth, now);
        if let Some(connection) = self.clients.slots.get(id) {
            self.clients.counters.n_accepted[connection.protocol_kind() as usize] += 1;
        }
        self.enter_newcomer(id, now);
        id
    }

    /// Takes in a connection that there is no room for, to tell it so when its CONNECT comes; it has little time
    /// for that.
    pub fn accept_to_refuse(
        &mut self,
        door: Door,
        peer: SocketAddr,
        nth: u64,
        no_room: NoRoom,
        now: Time,
    ) -> ConnectionId {
        let id = self.enter(door, peer, nth, now);
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.no_room = Some(no_room);
        }
        self.check_deadlines(id, now);
        id
    }

    /// Enters a connection that was just accepted. Where there are too many the oldest ends.
    fn enter_newcomer(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        connection.newcomer_bytes = Some(0);
        let newcomers = &mut self.newcomers;
        newcomers.n += 1;
        newcomers.queue.push_back(id);
        let slots = &self.clients.slots;
        if newcomers.queue.len() > (newcomers.n * 2).max(QUEUE_LEN_MIN) {
            newcomers.queue.retain(|id| slots.get(*id).is_some_and(|it| it.newcomer_bytes.is_some()));
        }
        self.let_newcomers_go(now);
    }

    /// Ends the oldest while there are too many: when one more comes, and when the first of them has had its time,
    /// since none comes where there is no place.
    pub(super) fn let_newcomers_go(&mut self, now: Time) {
        while self.newcomers.n > self.settings.limits.newcomers_max {
            let Some(&oldest) = self.newcomers.queue.front() else { return };
            match self.clients.slots.get(oldest) {
                Some(it) if it.newcomer_bytes.is_none() => {}
                Some(it) if now.since(it.accepted_at) < GRACE => return,
                Some(_) => self.close(oldest, Closed::Newcomer(Limit::Newcomers), now),
                None => {}
            }
            self.newcomers.queue.pop_front();
        }
    }

    /// When the oldest gives way, if there are too many.
    pub(super) fn newcomers_wake_at(&self) -> Option<Time> {
        let oldest = *self
            .newcomers
            .queue
            .front()
            .filter(|_| self.newcomers.n > self.settings.limits.newcomers_max)?;
        let still = self.clients.slots.get(oldest).filter(|it| it.newcomer_bytes.is_some());
        Some(still.map_or(self.now, |it| it.accepted_at + GRACE))
    }

    /// Counts what of a newcomer's input waits to be whole. Where it is more than all may have, the oldest ends that
    /// has had its time, and otherwise the one that brings it: those who say all at once are not in the way of each
    /// other.
    pub(super) fn count_newcomer(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let n_kept = connection.kept.len();
        let Some(n_counted) = &mut connection.newcomer_bytes else { return };
        let n_bytes = &mut self.newcomers.n_bytes;
        *n_bytes = *n_bytes + n_kept - *n_counted as usize;
        *n_counted = n_kept as u32;
        if *n_bytes > self.settings.limits.newcomer_bytes_max && n_kept > 0 {
            let slots = &self.clients.slots;
            let has_had_its_time = |id: &ConnectionId| {
                let newcomer = slots.get(*id).filter(|it| now.since(it.accepted_at) >= GRACE);
                newcomer.is_some_and(|it| it.newcomer_bytes.is_some_and(|n| n > 0))
            };
            let oldest = self.newcomers.queue.iter().copied().find(has_had_its_time);
            self.close(oldest.unwrap_or(id), Closed::Newcomer(Limit::NewcomerBytes), now);
        }
    }

    /// It has said who it is, or leaves.
    pub(super) fn forget_newcomer(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if let Some(n_counted) = connection.newcomer_bytes.take() {
            self.newcomers.n -= 1;
            self.newcomers.n_bytes -= n_counted as usize;
        }
    }
}

#[cfg(test)]
impl Shard {
    /// How long the queue of newcomers is.
    pub(super) fn n_queued_newcomers(&self) -> usize {
        self.newcomers.queue.len()
    }
}
