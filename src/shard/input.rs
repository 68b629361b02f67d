//! Bytes from a client: taken op by op and packet by packet, kept where they are not whole or must wait.
//!
//! Invariant: a frame is taken whole or not at all. What waits is what was read once, at most one read and
//! one large frame; nothing more is read for a connection that waits.

use super::Shard;
use super::closed::Closed;
use super::connection::{Life, Protocol};
use super::id::{ConnectionId, CoreId};
use super::mail::Item;
use super::rates::Taken;
use crate::time::{Span, Time};

/// What became of the first op or packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It was done and took this many bytes.
    Taken(usize),
    /// It is not whole; this many bytes in all are worth another look.
    Incomplete { need: usize },
    /// It stays where it is until the connection has waited.
    Waiting,
    /// The connection ends; what follows is not looked at.
    Ended,
}

/// How long a publisher is not read when a subscriber falls behind.
const STALL: Span = Span::from_millis(10);

/// A frame longer than this, in bytes, is read directly into its own buffer once this much of it is there.
/// What is kept of others fits the front of the core's read buffer.
const LARGE_FRAME: usize = 32 << 10;

/// The most that is read of a large frame at once, in bytes.
const LARGE_READ_MAX: usize = 256 << 10;

/// What keeps a client alive are packets [MQTT-3.1.2-22], not bytes: one that never ends a packet is not there.
/// Of one that is long, and whose link is slow, each part of so many bytes counts as well.
const PART: usize = 1 << 10;

/// Whether an unfinished packet has grown by one more part.
fn is_further_part(n_before: usize, n_now: usize) -> bool {
    n_before / PART < n_now / PART
}

impl Shard {
    /// Whether the driver should read from this connection now.
    pub fn wants_input(&self, id: ConnectionId) -> bool {
        self.clients.slots.get(id).is_some_and(|connection| {
            let is_read = match connection.life {
                Life::Open => !self.is_draining() || self.is_awaited(connection),
                Life::Closing(_) => true,
                Life::Leaving(_) => false,
            };
            is_read && !connection.is_waiting() && !connection.is_at_end
        })
    }

    /// Copies what is kept of this connection's input to the beginning of the core's read buffer, so that
    /// what is read next follows it. Returns how much it was.
    pub fn begin_read(&self, id: ConnectionId, buffer: &mut [u8]) -> usize {
        let kept = self.clients.slots.get(id).map_or(&[][..], |connection| &connection.kept);
        buffer[..kept.len()].copy_from_slice(kept);
        kept.len()
    }

    /// The buffer of an unfinished large frame, with room for as much again as was received: what a peer
    /// announces costs nothing until it sends it. The driver reads into `[filled..]` and says how much that
    /// was.
    pub fn large_frame(&mut self, id: ConnectionId) -> Option<(&mut Vec<u8>, usize)> {
        let connection = self.clients.slots.get_mut(id)?;
        let filled = connection.kept.len();
        if connection.need <= LARGE_FRAME || filled < LARGE_FRAME || !connection.is_open() {
            return None;
        }
        // `need` is the least that is worth a look: of a long control line it is one byte more than is here.
        // What a read clears is bounded, and so is its work, whatever the frame's size.
        let room = (connection.need - filled).clamp(LARGE_FRAME, LARGE_READ_MAX).min(filled);
        connection.kept.resize(filled + room, 0);
        Some((&mut connection.kept, filled))
    }

    /// Notes that `n_read` bytes were just read into the large frame's buffer, behind the `filled` before.
    pub fn receive_large(&mut self, id: ConnectionId, filled: usize, n_read: usize, now: Time) {
        self.now = now;
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let n_before = filled;
        let filled = filled + n_read;
        connection.kept.truncate(filled);
        if is_further_part(n_before, filled) {
            connection.heard_at = now;
        }
        self.clients.counters.count_read(connection.note_read(now), n_read);
        let (is_whole, is_unconnected) = (filled >= connection.need, connection.unconnected_bytes.is_some());
        if is_whole {
            self.take_kept(id, now);
        }
        if is_unconnected {
            self.count_unconnected(id, now);
        }
        self.settle(now);
    }

    /// Gives the large frame's buffer back with nothing read.
    pub fn leave_large(&mut self, id: ConnectionId, filled: usize) {
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.kept.truncate(filled);
        }
    }

    /// Takes `input`: everything kept of this connection's, and what was just read.
    pub fn receive(&mut self, id: ConnectionId, input: &[u8], now: Time) {
        self.now = now;
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let n_before = connection.kept.len();
        let n_read = input.len() - n_before;
        connection.kept = Vec::new();
        if is_further_part(n_before, input.len()) {
            connection.heard_at = now;
        }
        self.clients.counters.count_read(connection.note_read(now), n_read);
        let n_taken = self.take(id, input, now);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && matches!(connection.life, Life::Open | Life::Leaving(_))
        {
            connection.kept.extend_from_slice(&input[n_taken..]);
            if connection.unconnected_bytes.is_some() {
                self.count_unconnected(id, now);
            }
        }
        self.settle(now);
    }

    /// Notes that the peer will send nothing more. What it sent before is still taken.
    pub fn end_of_input(&mut self, id: ConnectionId, was_lost: bool, now: Time) {
        self.now = now;
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        connection.is_at_end = true;
        if connection.is_open() && !connection.is_waiting() {
            self.close(id, if was_lost { Closed::Lost } else { Closed::ByPeer }, now);
        }
        self.settle(now);
    }

    /// Lets those go on whose wait has ended, and those whom that lets go on, until nobody can or enough is
    /// done: the rest is the next tick's, which follows at once.
    pub(super) fn settle(&mut self, now: Time) {
        self.budget.renew_if_old(now);
        self.settle_further(now);
    }

    /// As `settle`, after what the driver does for a turn: that has what the turn has left of its budget.
    pub(super) fn settle_further(&mut self, now: Time) {
        self.keep_core_total();
        self.end_fences(now);
        loop {
            while self.budget.pieces > 0
                && let Some(id) = self.runnable.pop_front()
            {
                self.budget.pieces -= 1;
                self.go_on(id, now);
            }
            if self.wills.is_empty() || !self.publish_wills(now) {
                break;
            }
        }
        self.send_first_slices(now);
        if !self.redelivery.is_empty() {
            self.redeliver(now);
        }
        if !self.answers.is_empty() {
            self.publish_answers();
        }
        self.publish_notices();
        for core in self.others() {
            if let Some(owed) = self.peers[core.idx()].take_owed() {
                self.say_taken(core, Item::Acknowledged(owed));
            }
        }
        if self.is_draining() {
            self.go_on_draining(now);
        }
    }

    fn go_on(&mut self, id: ConnectionId, now: Time) {
        self.take_kept(id, now);
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if connection.is_waiting() || !connection.is_open() {
            return;
        }
        if connection.is_at_end {
            self.close(id, Closed::ByPeer, now);
        } else {
            self.clients.effects.resume.push(id);
        }
    }

    /// Whether a turn has left something that needs nothing but another turn.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.runnable.is_empty()
            || self.fences.front().is_some_and(|(stamp, _)| *stamp <= self.n_applied_everywhere)
            || (!self.wills.is_empty() && !self.are_wills_blocked)
            || (!self.notices.is_empty() && !self.are_notices_blocked)
            || self.answers.goes_on()
            || self.goes_on_closing()
    }

    /// Takes what is kept, as far as it goes.
    fn take_kept(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if connection.is_waiting() || !connection.is_open() {
            return;
        }
        let mut kept = std::mem::take(&mut connection.kept);
        let n_taken = self.take(id, &kept, now);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && matches!(connection.life, Life::Open | Life::Leaving(_))
            && n_taken < kept.len()
        {
            kept.drain(..n_taken);
            connection.kept = kept;
        }
    }

    /// Takes whole frames from the front of `input` and returns how many bytes they were.
    fn take(&mut self, id: ConnectionId, input: &[u8], now: Time) -> usize {
        let mut n_taken = 0;
        self.must_stall = false;
        self.must_stop = false;
        let is_mqtt = match self.clients.slots.get(id) {
            Some(connection) if connection.is_open() => {
                self.clients.origin = connection.origin();
                matches!(connection.protocol, Protocol::Mqtt(_))
            }
            _ => return input.len(),
        };
        let n_published = self.n_published(id);
        let rate = self.rate_of(is_mqtt);
        let mut taken = Taken { n_before: n_published[0], n_bytes: 0 };
        let is_awaited = self.has_closed();
        let mut glanced_to = if self.is_worth_a_glance() { 0 } else { usize::MAX };
        let need = loop {
            if n_taken == input.len() || self.must_stop {
                break 0;
            }
            let rest = &input[n_taken..];
            if n_taken >= glanced_to {
                glanced_to = n_taken + self.glance(rest, is_mqtt);
            }
            let served = self.guarded(id, now, |shard| {
                #[cfg(test)]
                assert!(shard.breaks_when_served != Some(id), "a turn panics on purpose");
                match is_mqtt {
                    true if is_awaited => shard.serve_awaited(id, rest, now),
                    true => shard.serve_mqtt(id, rest, now),
                    false => shard.serve_nats(id, rest, now),
                }
            });
            match served.unwrap_or(Served::Ended) {
                Served::Taken(n) => {
                    (n_taken, taken.n_bytes) = (n_taken + n, n);
                    if let Some(rate) = &rate
                        && self.spend(id, rate, &mut taken, now)
                    {
                        break 0;
                    }
                }
                Served::Incomplete { need } => break need,
                Served::Waiting => break 0,
                Served::Ended => return input.len(),
            }
        };
        self.count_taken(id, n_published);
        self.send_owed_receipts();
        let Some(connection) = self.clients.slots.get_mut(id) else { return input.len() };
        connection.need = need;
        if n_taken > 0 {
            connection.heard_at = now;
            if connection.unconnected_bytes.is_some() {
                self.forget_unconnected(id);
            }
        }
        if self.must_stall {
            self.stall(id, now);
        }
        n_taken
    }

    /// Leaves a publish where it is until `core`'s outbox has room.
    pub(super) fn wait_for_outbox(&mut self, id: ConnectionId, core: CoreId) -> Served {
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.full_outbox = Some(core);
            self.peers[core.idx()].waiting.push(id);
        }
        Served::Waiting
    }

    /// Lets the publishers go on that waited for `core`'s outbox.
    pub(super) fn outbox_has_room(&mut self, core: CoreId, now: Time) {
        for id in std::mem::take(&mut self.peers[core.idx()].waiting) {
            if let Some(connection) = self.clients.slots.get_mut(id)
                && connection.full_outbox == Some(core)
            {
                connection.full_outbox = None;
                connection.heard_at = now;
                self.runnable.push_back(id);
            }
        }
    }

    /// Stops reading from a publisher for a moment.
    pub(super) fn stall(&mut self, id: ConnectionId, now: Time) {
        if let Some(connection) = self.clients.slots.get_mut(id)
            && connection.is_open()
            && !std::mem::replace(&mut connection.is_stalled, true)
        {
            self.stalled.push_back((now + STALL, id));
            self.clients.counters.n_stalls += 1;
        }
    }

    /// Lets stalled publishers go on: all of them, or those whose moment has passed.
    pub(super) fn end_stalls(&mut self, all: bool, now: Time) {
        while let Some(&(until, id)) = self.stalled.front()
            && (all || until <= now)
        {
            self.stalled.pop_front();
            if let Some(connection) = self.clients.slots.get_mut(id)
                && std::mem::replace(&mut connection.is_stalled, false)
            {
                connection.heard_at = now;
                self.runnable.push_back(id);
            }
        }
    }

    /// Asks the publisher's core not to read from it for a moment.
    pub(super) fn slow_down(&mut self, core: CoreId, publisher: ConnectionId) {
        if core == self.core {
            self.to_stall.push(publisher);
        } else if !self.slowed.contains(&(core, publisher)) {
            self.slowed.push((core, publisher));
        }
    }
}
