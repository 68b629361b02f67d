//! Sessions that outlive their connections, in a small world of their own: clients that come back on any
//! core, before or after the gateway knows that they were gone, publish again what was not acknowledged, and
//! must hear everything: QoS 1 at least once, QoS 2 exactly once, both in order. Every step is the seed's.

mod compare;
mod nats_publisher;
mod restart;

use self::nats_publisher::NatsPublisher;
use super::chance::Chance;
use super::faults::{Check, Kind, broken};
use super::quiet::check_session_messages;
use super::scenario;
use super::session_client::SessionClient;
use super::store::Store;
use crate::shard::id::{ConnectionId, CoreId};
use crate::shard::keys::Keys;
use crate::shard::mail::Batch;
use crate::shard::moving::Moved;
use crate::shard::settings::Settings;
use crate::shard::{Door, Listener, Shard};
use crate::time::{Span, Time};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

/// A world of so many subscribers and publishers.
#[derive(Debug)]
pub struct Persistence {
    chance: Chance,
    now: Time,
    shards: Vec<Shard>,
    lanes: Vec<Vec<VecDeque<Batch>>>,
    moving: Vec<(Moved, CoreId, usize)>,
    links: Vec<Link>,
    /// Links at one end of which something can still happen.
    active: Vec<usize>,
    by_id: BTreeMap<(CoreId, ConnectionId), usize>,
    clients: Vec<SessionClient>,
    /// They follow those with sessions in the numbers of all clients.
    without_session: Vec<NatsPublisher>,
    /// The connection that each client has.
    held: Vec<Option<usize>>,
    read_bytes_max: usize,
    buffer: Vec<u8>,
    keys: Keys,
    settings: Arc<Settings>,
    /// A store has what the shards write down.
    is_kept: bool,
    /// By core.
    stores: Vec<Store>,
    /// The store says of what it keeps that it does.
    is_honest: bool,
}

#[derive(Debug)]
struct Link {
    client: usize,
    place: Option<(CoreId, ConnectionId)>,
    to_shard: VecDeque<u8>,
    /// Bytes of its CONNECT that the shard has not read.
    connect_left: usize,
    to_client: VecDeque<u8>,
    /// The client has gone; whether the shard was told.
    is_dropped: bool,
    was_told: bool,
    is_ending: bool,
    was_released: bool,
}

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub n_subscribers: usize,
    pub n_publishers: usize,
    /// Publishers of NATS.
    pub n_without_session: usize,
    pub n_messages: u32,
    /// Of a thousand steps so many are a client that comes back.
    pub n_returns_in_thousand: usize,
    /// Of ten thousand, so many are a crash of the gateway, which begins again with what a store has kept.
    pub n_crashes: usize,
    pub store_lies: bool,
    /// The subscribers share everything.
    pub is_shared: bool,
}

impl Persistence {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut chance = Chance::new(seed);
        let n_cores = chance.between(1, 4);
        let mut settings = scenario::settings(&mut chance, n_cores, true);
        settings.statistics_every = Span::default();
        let settings = Arc::new(settings);
        let keys = Keys::from_seed(std::array::from_fn(|_| chance.next()));
        let clients = (0..plan.n_subscribers + plan.n_publishers)
            .map(|nth| {
                let n_messages = if nth < plan.n_subscribers { 0 } else { plan.n_messages };
                SessionClient::new(nth, n_messages, plan.is_shared, &mut chance)
            })
            .collect();
        let n_with_session = plan.n_subscribers + plan.n_publishers;
        let n_clients = n_with_session + plan.n_without_session;
        let mut world = Self {
            now: Time::from_micros(1),
            shards: Vec::new(),
            lanes: Vec::new(),
            moving: Vec::new(),
            links: Vec::new(),
            active: Vec::new(),
            by_id: BTreeMap::new(),
            clients,
            without_session: (n_with_session..n_clients)
                .map(|nth| NatsPublisher::new(nth, plan.n_messages))
                .collect(),
            held: vec![None; n_clients],
            read_bytes_max: *chance.pick(&[100, 400, 65_536]),
            buffer: vec![0; 192 << 10],
            keys,
            settings,
            stores: Vec::new(),
            is_kept: plan.n_crashes > 0 || chance.one_in(2),
            is_honest: !plan.store_lies,
            chance,
        };
        world.begin(n_cores);
        world
    }

    /// Lives until all is published, or `n_returns` clients have come back, and then compares.
    pub fn run(&mut self, plan: Plan, n_returns: usize) -> Check {
        for client in 0..self.held.len() {
            self.come_back(client)?;
        }
        self.come_to_rest()?;
        let mut n_returned = 0;
        let mut n_steps = 0;
        while n_returned < n_returns || self.have_more() {
            n_steps += 1;
            if n_steps > 400_000 {
                return broken(Kind::Stuck, "the clients never come to publish all");
            }
            let client = self.chance.below(self.held.len());
            let link = *self.chance.pick(&self.active);
            // Once they have come back often enough, they stay long enough to say what they have to say.
            let rate = if n_returned < n_returns { plan.n_returns_in_thousand } else { 4 };
            if self.chance.below(1_000) < rate {
                n_returned += 1;
                self.come_back(client)?;
                continue;
            }
            if self.chance.below(10_000) < plan.n_crashes {
                self.crash()?;
                continue;
            }
            match self.chance.below(9) {
                0 => self.publish(client),
                1 | 2 => drop(self.read(link, self.read_bytes_max)?),
                3 => {
                    let n = self.shards.len();
                    let (from, to) = (self.chance.below(n), self.chance.below(n));
                    // Who shares comes back behind a fence, which takes more mail.
                    for _ in 0..if plan.is_shared { 20 } else { 1 } {
                        self.deliver(from, to)?;
                    }
                }
                4 => drop(self.listen(link, self.read_bytes_max)?),
                5 => drop(self.arrive()?),
                6 => {
                    let millis = self.chance.between(0, 3) as u64;
                    self.advance(Span::from_millis(millis))?;
                }
                7 => {
                    let core = CoreId(self.chance.below(self.shards.len()) as u16);
                    let n_turns = self.chance.between(1, 9);
                    self.keep(core, n_turns)?;
                }
                _ => self.drop_link(link),
            }
        }
        // Once more, all of them: what is still under way is settled now.
        for client in 0..self.held.len() {
            self.come_back(client)?;
        }
        self.come_to_rest()?;
        if plan.is_shared { self.compare_shared(plan) } else { self.compare(plan) }
    }

    /// A client connects anew, on any core. The gateway may not know yet that it was gone.
    fn come_back(&mut self, client: usize) -> Check {
        // Its CONNECTs are read in the order in which it sent them, and come home in any.
        for link in self.active.clone() {
            if self.links[link].client == client {
                self.read(link, self.links[link].connect_left)?;
            }
        }
        let core = self.chance.below(self.shards.len());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1_024));
        let nth = self.links.len();
        let has_session = client < self.clients.len();
        if let Some(before) = self.held[client].replace(nth) {
            // It goes, now or when the gateway ends it, which takes over nobody but sessions.
            if self.chance.one_in(2) || !has_session {
                self.drop_link_for_good(before);
            }
        }
        let listener = if has_session { Listener::Mqtt } else { Listener::Nats };
        let id = self.shards[core].accept(Door::first(listener), peer, nth as u64, self.now);
        let core = CoreId(core as u16);
        self.by_id.insert((core, id), nth);
        let mut out = Vec::new();
        match self.clients.get_mut(client) {
            Some(with_session) => with_session.connect(&mut self.chance, &mut out),
            None => self.without_session[client - self.clients.len()].connect(&mut out),
        }
        let links = &self.links;
        let is_over = |link: &Link| link.place.is_none() && link.was_released;
        self.active.retain(|&link| !is_over(&links[link]));
        self.active.push(nth);
        self.links.push(Link {
            was_released: false,
            client,
            place: Some((core, id)),
            connect_left: out.len(),
            to_shard: out.into(),
            to_client: VecDeque::new(),
            is_dropped: false,
            was_told: false,
            is_ending: false,
        });
        self.see_to(core)
    }

    fn drop_link(&mut self, link: usize) {
        // A client that has its connection still drops it now and then, and comes back later.
        if self.held[self.links[link].client] == Some(link) && !self.chance.one_in(40) {
            return;
        }
        self.drop_link_for_good(link);
    }

    fn drop_link_for_good(&mut self, link_idx: usize) {
        let link = &mut self.links[link_idx];
        link.is_dropped = true;
        // What it had sent may be lost with it, from some byte on.
        if self.chance.one_in(2) {
            link.to_shard.truncate(self.chance.below(link.to_shard.len() + 1));
        }
        link.to_client.clear();
        let client = link.client;
        if self.held[client] == Some(link_idx) {
            self.lose(client);
        }
    }

    /// A client has no connection any more.
    fn lose(&mut self, client: usize) {
        self.held[client] = None;
        match self.clients.get_mut(client) {
            Some(with_session) => with_session.lose(),
            None => self.without_session[client - self.clients.len()].lose(),
        }
    }

    fn have_more(&self) -> bool {
        self.clients.iter().any(SessionClient::has_more)
            || self.without_session.iter().any(NatsPublisher::has_more)
    }

    fn publish(&mut self, client: usize) {
        let Some(link) = self.held[client] else { return };
        let mut out = Vec::new();
        match self.clients.get_mut(client) {
            Some(with_session) => with_session.publish(&mut self.chance, &mut out),
            None => self.without_session[client - self.clients.len()].publish(&mut out),
        }
        self.links[link].to_shard.extend(out);
    }

    fn read(&mut self, link_idx: usize, n_max: usize) -> Result<bool, super::faults::Violation> {
        let link = &mut self.links[link_idx];
        let Some((core, id)) = link.place.filter(|_| n_max > 0) else { return Ok(false) };
        let shard = &mut self.shards[core.idx()];
        if !shard.wants_input(id) || (link.to_shard.is_empty() && (!link.is_dropped || link.was_told)) {
            return Ok(false);
        }
        if link.to_shard.is_empty() {
            link.was_told = true;
            shard.end_of_input(id, self.chance.one_in(2), self.now);
        } else {
            let n_kept = shard.begin_read(id, &mut self.buffer);
            let n = n_max.min(link.to_shard.len());
            link.connect_left = link.connect_left.saturating_sub(n);
            let room = &mut self.buffer[n_kept..n_kept + n];
            room.iter_mut().zip(link.to_shard.drain(..n)).for_each(|(to, from)| *to = from);
            shard.receive(id, &self.buffer[..n_kept + n], self.now);
        }
        self.see_to(core)?;
        Ok(true)
    }

    fn deliver(&mut self, from: usize, to: usize) -> Result<bool, super::faults::Violation> {
        let Some(batch) = self.lanes[from][to].pop_front() else { return Ok(false) };
        self.shards[to].mail(CoreId(from as u16), &batch, self.now);
        self.see_to(CoreId(to as u16))?;
        Ok(true)
    }

    fn listen(&mut self, link_idx: usize, n_max: usize) -> Result<bool, super::faults::Violation> {
        let link = &mut self.links[link_idx];
        let n = n_max.min(link.to_client.len());
        if n == 0 {
            if link.is_ending && link.place.is_some() {
                self.release(link_idx)?;
                return Ok(true);
            }
            return Ok(false);
        }
        let bytes: Vec<u8> = link.to_client.drain(..n).collect();
        if self.held[link.client] != Some(link_idx) {
            // It listens to its new connection only.
            return Ok(true);
        }
        let mut out = Vec::new();
        match self.clients.get_mut(link.client) {
            Some(with_session) => with_session.hear(&bytes, &mut self.chance, &mut out)?,
            None => self.without_session[link.client - self.clients.len()].hear(&bytes, &mut out)?,
        }
        link.to_shard.extend(out);
        Ok(true)
    }

    fn release(&mut self, link_idx: usize) -> Check {
        let Some((core, id)) = self.links[link_idx].place.take() else { return Ok(()) };
        self.links[link_idx].was_released = true;
        self.by_id.remove(&(core, id));
        self.shards[core.idx()].release(id, self.now);
        self.see_to(core)
    }

    fn arrive(&mut self) -> Result<bool, super::faults::Violation> {
        if self.moving.is_empty() {
            return Ok(false);
        }
        let (moved, core, link_idx) = self.moving.swap_remove(self.chance.below(self.moving.len()));
        let id = self.shards[core.idx()].arrive(moved, self.now);
        self.by_id.insert((core, id), link_idx);
        self.links[link_idx].place = Some((core, id));
        self.see_to(core)?;
        Ok(true)
    }

    fn advance(&mut self, span: Span) -> Check {
        self.now = self.now + span;
        for core in 0..self.shards.len() {
            if self.shards[core].wake_at().is_some_and(|at| at <= self.now) {
                self.shards[core].tick(self.now);
                self.see_to(CoreId(core as u16))?;
            }
        }
        Ok(())
    }

    /// Does what a core asks for, as a driver does.
    fn see_to(&mut self, core: CoreId) -> Check {
        loop {
            let effects = std::mem::take(self.shards[core.idx()].effects());
            let mut is_done = effects.is_empty();
            for id in effects.flush.into_iter().chain(effects.close.iter().copied()) {
                self.flush(core, id);
            }
            for id in effects.close {
                if let Some(&link_idx) = self.by_id.get(&(core, id)) {
                    self.links[link_idx].is_ending = true;
                }
            }
            for id in effects.cut {
                if let Some(&link_idx) = self.by_id.get(&(core, id)) {
                    self.release(link_idx)?;
                }
            }
            for (id, home) in effects.depart {
                let link_idx = self.by_id.remove(&(core, id));
                if let (Some(link_idx), Some(moved)) = (link_idx, self.shards[core.idx()].depart(id)) {
                    self.links[link_idx].place = None;
                    self.moving.push((moved, home, link_idx));
                }
            }
            for to in (0..self.shards.len()).filter(|to| *to != core.idx()) {
                while let Some(batch) = self.shards[core.idx()].take_batch(CoreId(to as u16), self.now) {
                    self.lanes[core.idx()][to].push_back(batch);
                    is_done = false;
                }
            }
            if is_done {
                self.stores[core.idx()].take(&mut self.shards[core.idx()]);
                return check_session_messages(&self.shards[core.idx()]);
            }
        }
    }

    fn flush(&mut self, core: CoreId, id: ConnectionId) {
        let Some(&link_idx) = self.by_id.get(&(core, id)) else { return };
        let link = &mut self.links[link_idx];
        let shard = &mut self.shards[core.idx()];
        if shard.queue(id).is_some_and(|queue| queue.n_free() == 0) {
            return shard.flushed(id, 0, self.now);
        }
        while let Some(queue) = shard.queue(id).filter(|queue| queue.n_free() > 0) {
            if link.is_dropped {
                return shard.write_failed(id, self.now);
            }
            let mut slices = [IoSlice::new(&[]); 8];
            let n_filled = queue.gather(&mut slices);
            let n_before = link.to_client.len();
            link.to_client.extend(slices[..n_filled].iter().flat_map(|slice| slice.iter()));
            shard.flushed(id, link.to_client.len() - n_before, self.now);
        }
    }

    fn come_to_rest(&mut self) -> Check {
        let mut n_idle = 0;
        for _ in 0..100_000 {
            if n_idle == 4 {
                self.check_rest()?;
                return self.check_journals();
            }
            let mut has_moved = self.arrive()? | self.keep_all()?;
            for link in self.active.clone() {
                has_moved |= self.read(link, usize::MAX)? | self.listen(link, usize::MAX)?;
            }
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    has_moved |= self.deliver(from, to)?;
                }
            }
            n_idle = if has_moved { 0 } else { n_idle + 1 };
            if !has_moved {
                self.advance(Span::from_millis(11))?;
            }
        }
        broken(Kind::Stuck, "the world does not come to rest")
    }

    /// One live connection for each client, and nobody waits for anything.
    fn check_rest(&self) -> Check {
        let with_session = self.clients.iter().map(SessionClient::waits_for);
        let mut waiting = with_session.chain(self.without_session.iter().map(NatsPublisher::waits_for));
        if let Some(what) = waiting.find_map(|it| it) {
            return broken(Kind::Stuck, what);
        }
        let n_connections: usize = self.shards.iter().map(Shard::n_connections).sum();
        let n_sessions: u64 = self.shards.iter().map(|shard| shard.counters().n_sessions).sum();
        let n_offline: u64 = self.shards.iter().map(|shard| shard.counters().n_offline_sessions).sum();
        let n_linked = self.links.iter().filter(|link| link.place.is_some()).count();
        if n_sessions != self.clients.len() as u64
            || n_offline != 0
            || n_connections != self.held.len()
            || n_linked != n_connections
        {
            let what = format!(
                "{n_connections} connections on {n_linked} links, {n_sessions} sessions, {n_offline} offline"
            );
            return broken(Kind::Closed, what);
        }
        for shard in &self.shards {
            let (n_for_clients, n_for_cores) = shard.n_waiting_bytes();
            let (n_tickets, n_waiting) = (shard.n_tickets(), shard.n_waiting_connections());
            if n_for_clients + n_for_cores + n_tickets + n_waiting > 0 {
                let what = format!("{n_for_clients} + {n_for_cores} bytes, {n_tickets} tickets, {n_waiting}");
                return broken(Kind::Stuck, what);
            }
            let counters = shard.counters();
            if counters.dropped_session_full
                + counters.dropped_no_member
                + counters.dropped_left_behind
                + counters.sessions_discarded
                + counters.panics
                > 0
            {
                return broken(Kind::Missing, "drops though there was room");
            }
        }
        Ok(())
    }
}
