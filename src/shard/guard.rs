//! A defect of ours costs one connection: a panic in a client's turn ends that client, a panic in a delivery
//! ends the subscriber, and the fan-out goes on with the next. A panic while shared tables change is not
//! caught here: what others rely on may be half done, and the driver ends the process.

use super::Shard;
use super::closed::Closed;
use super::fanout::{Clients, Fanout};
use super::id::ConnectionId;
use super::settings::Settings;
use super::table::Target;
use crate::time::Time;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

impl Shard {
    /// Does a piece of a connection's turn; `None` where it panicked and the connection was given up.
    pub(super) fn guarded<T>(
        &mut self,
        id: ConnectionId,
        now: Time,
        work: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(done) => Some(done),
            Err(panic) if self.is_changing_tables => resume_unwind(panic),
            Err(_) => {
                self.clients.counters.panics += 1;
                self.clients.recount(id);
                self.close(id, Closed::Panicked, now);
                None
            }
        }
    }

    /// A turn of this connection that panics, without a word on the terminal.
    #[cfg(test)]
    pub fn abandon(&mut self, id: ConnectionId, now: Time) {
        self.now = now;
        let _: Option<()> = self.guarded(id, now, |_| resume_unwind(Box::new("a turn panics on purpose")));
        self.settle(now);
    }

    /// Ends the subscribers whose delivery panicked.
    pub(super) fn end_broken(&mut self) {
        while let Some(id) = self.clients.broken.pop() {
            self.clients.counters.panics += 1;
            self.close(id, Closed::Panicked, self.now);
        }
    }
}

impl Clients {
    /// Gives a message to every one of `targets`. Guarded as a whole, so that one delivery costs nothing.
    pub fn deliver_to_all(&mut self, targets: &[Target], fanout: &mut Fanout<'_>, settings: &Settings) {
        let mut n_done = 0;
        while n_done < targets.len() {
            let all = catch_unwind(AssertUnwindSafe(|| {
                while let Some(target) = targets.get(n_done) {
                    n_done += 1;
                    self.deliver(*target, fanout, settings);
                }
            }));
            if all.is_err() {
                self.give_up(targets[n_done - 1].connection);
            }
        }
    }

    /// Gives a message to one of `targets`, in their order; false where none is eligible.
    pub fn deliver_to_first<'t>(
        &mut self,
        targets: impl IntoIterator<Item = &'t Target>,
        fanout: &mut Fanout<'_>,
        settings: &Settings,
    ) -> bool {
        targets.into_iter().any(|target| {
            let one = catch_unwind(AssertUnwindSafe(|| self.deliver(*target, fanout, settings)));
            one.unwrap_or_else(|_| {
                self.give_up(target.connection);
                false
            })
        })
    }

    /// The messages that wait in sessions, counted one session after another.
    pub fn n_session_messages_anew(&self) -> u64 {
        self.slots.everybody().map(|id| self.slots.n_session_messages(id)).sum()
    }

    /// Counts anew what waits, after a panic may have come between the bytes and their count.
    fn recount(&mut self, id: ConnectionId) {
        if let Some(connection) = self.slots.get_mut(id) {
            connection.queue.recount();
        }
        self.n_queued_bytes = self.slots.queued_bytes().map(|(_, n_bytes)| n_bytes).sum();
        self.counters.n_session_messages = self.n_session_messages_anew();
    }

    /// What the client was sent may be half a frame: it gets nothing more.
    fn give_up(&mut self, id: ConnectionId) {
        self.recount(id);
        if let Some(connection) = self.slots.get_mut(id)
            && !std::mem::replace(&mut connection.is_overflowed, true)
        {
            self.broken.push(id);
        }
    }
}
