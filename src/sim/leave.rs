//! The gateway's end while its clients go on: lame-duck mode and the drain come to each core at another
//! moment, and what the gateway had answered for arrives all the same.

use super::faults::{Check, Kind, broken};
use super::link::Place;
use super::scenario::GROUPS;
use super::world::World;
use crate::shard::id::CoreId;
use crate::shard::mail::Item;
use crate::time::Span;

impl World {
    /// Ends the gateway.
    pub(super) fn leave(&mut self) -> Check {
        self.note(|| "the gateway is told to end".into());
        self.is_leaving = true;
        self.oracle.is_stopping = true;
        self.links.iter_mut().for_each(|link| link.may_end = true);
        // The rounds of the barrier, to each other core.
        self.n_change_bytes += 64 * size_of::<Item>();
        if self.scenario.is_lame_duck {
            for core in self.cores_in_any_order() {
                self.shards[core.idx()].begin_lame_duck(self.now);
                self.see_to(core)?;
                self.go_on(20, true)?;
            }
            self.go_on(100, true)?;
        }
        self.is_draining = true;
        for core in self.cores_in_any_order() {
            self.note(|| format!("{core:?} drains"));
            self.shards[core.idx()].begin_drain(self.now);
            self.see_to(core)?;
            // Not by the clock: until the last core drains, those in lame-duck mode go on closing.
            self.go_on(20, false)?;
        }
        self.go_on(100, true)?;
        self.come_to_an_end()?;
        // Whoever is slow, lost, or closed as a lame duck hears less.
        if self.scenario.is_roomy && !self.scenario.has_long_jumps {
            self.oracle.check_left(&GROUPS)?;
        }
        Ok(())
    }

    fn cores_in_any_order(&mut self) -> Vec<CoreId> {
        let mut left: Vec<CoreId> = (0..self.shards.len() as u16).map(CoreId).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            order.push(left.swap_remove(self.chance.below(left.len())));
        }
        order
    }

    /// Some steps in which nobody new comes and nobody drops.
    fn go_on(&mut self, n_max: usize, with_time: bool) -> Check {
        for _ in 0..self.chance.below(n_max) {
            self.oracle.now += 1;
            let link = self.chance.below(self.links.len());
            let mut weights = self.scenario.steps;
            weights[0] = 0;
            weights[7] = 0;
            weights[8..].fill(0);
            let step = self.chance.weighted(&weights);
            self.step_of(step, link)?;
            if with_time && self.chance.one_in(8) {
                let millis = self.chance.between(0, 6) as u64;
                self.advance(Span::from_millis(millis))?;
            }
        }
        Ok(())
    }

    fn come_to_an_end(&mut self) -> Check {
        self.is_calm = true;
        self.let_clients_rest()?;
        for _ in 0..20_000 {
            self.oracle.now += 1;
            let has_moved = self.calm_step()?;
            let is_over = self.shards.iter().all(crate::shard::Shard::is_drained);
            if !has_moved && is_over {
                return Ok(());
            }
            if !has_moved {
                self.advance(Span::from_millis(11))?;
            }
        }
        let left: Vec<usize> =
            (0..self.links.len()).filter(|&link| self.links[link].place != Place::Gone).collect();
        broken(Kind::Stuck, format!("the drain does not end: {left:?} are left"))
    }
}
