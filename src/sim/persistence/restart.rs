//! The gateway crashes and begins again, with another number of cores and what the stores had kept by then.

use super::nats_publisher::NatsPublisher;
use super::{Link, Persistence};
use crate::shard::Shard;
use crate::shard::id::CoreId;
use crate::shard::retained::Retained;
use crate::sim::faults::{Check, Kind, broken};
use crate::sim::session_client::SessionClient;
use crate::sim::store::{Store, check_image, image};
use crate::time::Span;
use std::collections::VecDeque;
use std::sync::Arc;

impl Persistence {
    /// The store of a core keeps some more of what it was given.
    pub(super) fn keep(&mut self, core: CoreId, n_turns: usize) -> Check {
        let store = &mut self.stores[core.idx()];
        let kept = if self.is_honest { store.keep(n_turns) } else { store.pretend_to_keep(n_turns) };
        let Some(position) = kept else { return Ok(()) };
        self.shards[core.idx()].kept(position, self.now);
        self.see_to(core)
    }

    /// Everything is kept; whether that was anything.
    pub(super) fn keep_all(&mut self) -> Result<bool, crate::sim::faults::Violation> {
        let mut has_kept = false;
        for core in 0..self.shards.len() {
            has_kept |= self.stores[core].has_more();
            self.keep(CoreId(core as u16), usize::MAX)?;
        }
        Ok(has_kept)
    }

    pub(super) fn crash(&mut self) -> Check {
        if self.shards.len() > 1 {
            self.clients.iter_mut().for_each(SessionClient::doubt);
        }
        let mut image = image(self.stores.iter().map(Store::kept), &self.keys)?;
        let n_cores = self.chance.between(1, 4);
        let mut settings = (*self.settings).clone();
        settings.n_cores = n_cores;
        self.settings = Arc::new(settings);
        self.begin(n_cores);
        let mut lost = Vec::new();
        for link in &mut self.links {
            let Link { place, was_released, client, .. } = link;
            (*place, *was_released) = (None, true);
            lost.push(*client);
        }
        lost.into_iter().for_each(|client| self.lose(client));
        self.without_session.iter_mut().for_each(NatsPublisher::begin_anew);
        self.active.clear();
        for (client_id, stored) in image.take_sessions() {
            let home = self.keys.home(&client_id, n_cores);
            if !self.shards[home.idx()].restore(&client_id, stored, self.now) {
                return broken(Kind::Missing, format!("{} is not restored", client_id.escape_ascii()));
            }
            self.see_to(home)?;
        }
        // Nobody is let in before every core has heard of every subscription, and the new journals have all.
        while !self.shards.iter().all(Shard::is_heard) {
            for from in 0..n_cores {
                for to in 0..n_cores {
                    self.deliver(from, to)?;
                }
            }
            self.keep_all()?;
            // Long logs are heard in slices.
            self.advance(Span::from_millis(1))?;
        }
        let is_honest = std::mem::replace(&mut self.is_honest, true);
        self.keep_all()?;
        self.is_honest = is_honest;
        for client in 0..self.held.len() {
            self.come_back(client)?;
        }
        Ok(())
    }

    /// New shards, with nothing under way.
    pub(super) fn begin(&mut self, n_cores: usize) {
        let retained = Arc::new(Retained::new(self.settings.mqtt.retained, &self.keys));
        self.shards = (0..n_cores as u16)
            .map(|core| {
                let seed = self.chance.next();
                Shard::new(CoreId(core), self.settings.clone(), &self.keys, retained.clone(), seed)
            })
            .collect();
        self.lanes = (0..n_cores).map(|_| (0..n_cores).map(|_| VecDeque::new()).collect()).collect();
        self.stores = (0..n_cores).map(|_| Store::default()).collect();
        self.moving.clear();
        self.by_id.clear();
        if self.is_kept {
            self.shards.iter_mut().for_each(Shard::keep_journal);
        }
    }

    /// What was written down is what there is.
    pub(super) fn check_journals(&mut self) -> Check {
        if !self.is_kept {
            return Ok(());
        }
        let image = image(self.stores.iter().map(Store::written), &self.keys)?;
        check_image(&image, &mut self.shards)
    }
}
