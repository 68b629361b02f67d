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
pub(super) struct Unconnected {
    /// In the order in which they came; some have left it by now.
    queue: VecDeque<ConnectionId>,
    n: usize,
    /// What all of them have sent that is not taken.
    n_bytes: usize,
}

/// How long nobody gives way: a client whose CONNECT is on its way needs less.
const GRACE: Span = Span::from_secs(1);

/// Those that give way to what one read brings: they may have a byte each, and others wait for the end of the turn.
const CLOSES_PER_READ: usize = 16;

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
        self.enter_unconnected(id, now);
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
    fn enter_unconnected(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        connection.unconnected_bytes = Some(0);
        let unconnected = &mut self.unconnected;
        unconnected.n += 1;
        unconnected.queue.push_back(id);
        let slots = &self.clients.slots;
        if unconnected.queue.len() > (unconnected.n * 2).max(QUEUE_LEN_MIN) {
            unconnected.queue.retain(|id| slots.get(*id).is_some_and(|it| it.unconnected_bytes.is_some()));
        }
        self.let_unconnected_go(now);
    }

    /// Ends the oldest while there are too many: when one more comes, and when the first of them has had its time,
    /// since none comes where there is no place.
    pub(super) fn let_unconnected_go(&mut self, now: Time) {
        while self.unconnected.n > self.settings.limits.unconnected_max {
            let Some(&oldest) = self.unconnected.queue.front() else { return };
            match self.clients.slots.get(oldest) {
                Some(it) if it.unconnected_bytes.is_none() => {}
                Some(it) if now.since(it.accepted_at) < GRACE => return,
                Some(_) => self.close(oldest, Closed::Unconnected(Limit::Unconnected), now),
                None => {}
            }
            self.unconnected.queue.pop_front();
        }
    }

    /// When the oldest gives way, if there are too many.
    pub(super) fn unconnected_wake_at(&self) -> Option<Time> {
        let oldest = *self
            .unconnected
            .queue
            .front()
            .filter(|_| self.unconnected.n > self.settings.limits.unconnected_max)?;
        let still = self.clients.slots.get(oldest).filter(|it| it.unconnected_bytes.is_some());
        Some(still.map_or(self.now, |it| it.accepted_at + GRACE))
    }

    /// Counts what of an unconnected one's input waits to be whole. Where it is more than all may have, the oldest
    /// end that have had their time, some at most, and where that is not enough the one that brings it: those who say
    /// all at once are not in the way of each other.
    pub(super) fn count_unconnected(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let n_kept = connection.kept.len();
        let Some(n_counted) = &mut connection.unconnected_bytes else { return };
        let n_bytes = &mut self.unconnected.n_bytes;
        *n_bytes = *n_bytes + n_kept - *n_counted as usize;
        *n_counted = n_kept as u32;
        let bytes_max = self.settings.limits.unconnected_bytes_max;
        if *n_bytes > bytes_max && n_kept > 0 {
            let slots = &self.clients.slots;
            let has_had_its_time = |id: &ConnectionId| {
                let unconnected = slots.get(*id).filter(|it| now.since(it.accepted_at) >= GRACE);
                unconnected.is_some_and(|it| it.unconnected_bytes.is_some_and(|n| n > 0))
            };
            let oldest =
                self.unconnected.queue.iter().copied().filter(has_had_its_time).take(CLOSES_PER_READ);
            for one in oldest.chain([id]).collect::<Vec<_>>() {
                if self.unconnected.n_bytes > bytes_max {
                    self.close(one, Closed::Unconnected(Limit::UnconnectedBytes), now);
                }
            }
        }
    }

    /// It has said who it is, or leaves.
    pub(super) fn forget_unconnected(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if let Some(n_counted) = connection.unconnected_bytes.take() {
            self.unconnected.n -= 1;
            self.unconnected.n_bytes -= n_counted as usize;
        }
    }
}

#[cfg(test)]
impl Shard {
    /// Entries in the queue of unconnected, of which some have left it.
    pub(super) fn n_queued_unconnected(&self) -> usize {
        self.unconnected.queue.len()
    }

    /// What those who are in it have sent that is not taken, by a look at each of them.
    pub fn n_unconnected_bytes(&self) -> usize {
        let unconnected = self.clients.slots.iter().filter(|(_, it)| it.unconnected_bytes.is_some());
        unconnected.map(|(_, it)| it.kept.len()).sum()
    }
}
