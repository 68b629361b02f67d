//! After each turn: what a shard asked for is done, its queues are written as far as sockets take them, and
//! its batches leave as far as they have credit. What `runtime` does with sockets and channels.

use super::faults::{Check, Kind, broken};
use super::link::Place;
use super::presence::Presence;
use super::world::World;
use crate::shard::id::{ConnectionId, CoreId};
use crate::shard::interest::Change;
use crate::shard::mail::{Batch, Item};
use std::io::IoSlice;

impl World {
    /// Does what a core asks for, until it asks for nothing.
    pub fn see_to(&mut self, core: CoreId) -> Check {
        loop {
            let effects = std::mem::take(self.shards[core.idx()].effects());
            let mut is_done = effects.is_empty();
            for id in effects.flush {
                self.flush_id(core, id)?;
            }
            for id in effects.close {
                self.ended(core, id)?;
            }
            for id in effects.cut {
                if let Some(&link_idx) = self.by_id.get(&(core, id)) {
                    self.links[link_idx].is_shut = true;
                    self.listen_or_release(link_idx)?;
                }
            }
            for (id, home) in effects.depart {
                let link_idx = self.by_id.remove(&(core, id));
                if let (Some(link_idx), Some(moved)) = (link_idx, self.shards[core.idx()].depart(id)) {
                    self.links[link_idx].place = Place::Moving;
                    self.moving.push((moved, home, link_idx));
                }
            }
            for request in effects.requests {
                let told = format!("{:?}", request.asked);
                self.shards[core.idx()].answer(&request, told.as_bytes(), self.now);
            }
            is_done &= !self.post(core) & !self.keep(core);
            if is_done {
                return self.check_bounds(core);
            }
        }
    }

    /// Hands over the batches that have credit; whether there were any.
    fn post(&mut self, from: CoreId) -> bool {
        let mut has_posted = false;
        for to in (0..self.shards.len()).filter(|to| *to != from.idx()) {
            let lane = &mut self.lanes[from.idx()][to];
            while lane.n_credits > 0
                && let Some(batch) = self.shards[from.idx()].take_batch(CoreId(to as u16), self.now)
            {
                lane.n_credits -= 1;
                lane.batches.push_back(batch);
                has_posted = true;
            }
        }
        has_posted
    }

    fn flush_id(&mut self, core: CoreId, id: ConnectionId) -> Check {
        match self.by_id.get(&(core, id)) {
            Some(&link_idx) => self.flush(link_idx),
            None => Ok(()),
        }
    }

    /// Writes as much as the socket takes.
    pub fn flush(&mut self, link_idx: usize) -> Check {
        let link = &mut self.links[link_idx];
        let Place::At(core, id) = link.place else { return Ok(()) };
        let shard = &mut self.shards[core.idx()];
        let Some(queue) = shard.queue(id) else { return Ok(()) };
        if !link.listens() && !queue.is_empty() {
            shard.write_failed(id, self.now);
        } else {
            let mut slices = [IoSlice::new(&[]); 4];
            let n_filled = queue.gather(&mut slices);
            // At rest sockets are roomy, or megabytes would leave in sips.
            let kernel_bytes_max =
                self.scenario.kernel_bytes_max.max(if self.is_calm { 64 << 10 } else { 0 });
            let room = kernel_bytes_max.saturating_sub(link.to_client.len());
            let len_before = link.to_client.len();
            link.to_client.extend(slices[..n_filled].iter().flat_map(|slice| slice.iter()).take(room));
            shard.flushed(id, link.to_client.len() - len_before, self.now);
        }
        let link = &mut self.links[link_idx];
        link.has_unwritten = self.shards[core.idx()].queue(id).is_some_and(|queue| !queue.is_empty());
        link.is_shut |= link.is_ending && !link.has_unwritten;
        Ok(())
    }

    /// The shard ends a connection.
    fn ended(&mut self, core: CoreId, id: ConnectionId) -> Check {
        let Some(&link_idx) = self.by_id.get(&(core, id)) else { return Ok(()) };
        self.links[link_idx].is_ending = true;
        let is_followed = self.is_followed(link_idx);
        let listener = &mut self.oracle.listeners[link_idx];
        // A drain ends a connection only when all has come for it, but for one that is taken over meanwhile.
        if !self.is_draining || is_followed {
            listener.is_alive = false;
            listener.ended = Some(self.oracle.now);
        }
        self.oracle.expect_told(Presence { link: link_idx, is_connected: false });
        let n_ended = self.oracle.subscriptions.iter().filter(|it| it.ear.0 == link_idx).count();
        self.n_change_bytes += n_ended * 2 * size_of::<Item>();
        self.note(|| format!("{core:?} ends {link_idx}"));
        self.flush(link_idx)
    }

    fn listen_or_release(&mut self, link_idx: usize) -> Check {
        if !self.links[link_idx].may_end {
            self.n_unexplained += 1;
        }
        self.release(link_idx)
    }

    pub fn release(&mut self, link_idx: usize) -> Check {
        let Place::At(core, id) = self.links[link_idx].place else { return Ok(()) };
        self.links[link_idx].place = Place::Gone;
        self.by_id.remove(&(core, id));
        self.shards[core.idx()].release(id, self.now);
        self.see_to(core)
    }
}

/// Control is coalesced: of one filter a batch has one change, and fences in a row are one.
pub fn check_coalesced(batch: &Batch) -> Check {
    let changes = batch.items.iter().filter_map(|item| match item {
        Item::Interest(change) => Some(change),
        _ => None,
    });
    let changes: Vec<_> = changes.collect();
    let has_other =
        |(nth, change): (usize, &&Change)| changes[..nth].iter().any(|it| it.is_of_the_same(change));
    let has_fences = batch.items.windows(2).any(|pair| matches!(pair, [Item::Fence(_), Item::Fence(_)]));
    if has_fences || changes.iter().enumerate().any(has_other) {
        return broken(Kind::Interest, format!("not coalesced: {:?}", batch.items));
    }
    Ok(())
}
