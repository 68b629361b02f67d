//! Several shards, their mail and their clients in one thread. Chance decides what happens next: whose bytes
//! arrive and where they are split, which mail is late, who reads slowly, who is cut off, how time passes.
//! The driver's contract with a shard is the one that `runtime` keeps.

use super::chance::Chance;
use super::client::Client;
use super::oracle::{Moment, Oracle, Violation};
use crate::shard::id::{ConnectionId, CoreId};
use crate::shard::keys::Keys;
use crate::shard::mail::{Batch, Item};
use crate::shard::settings::Settings;
use crate::shard::write_queue::WriteQueue;
use crate::shard::{Listener, Moved, Shard};
use crate::time::{Span, Time};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A way in which the driver may break its contract, to prove that the oracle notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Nothing,
    /// Mail overtakes mail in its lane.
    Overtaking,
    /// A core claims to have applied interest that it never heard of.
    ForgedFence,
    /// A batch vanishes.
    LostBatch,
    /// A batch comes twice.
    DoubledBatch,
}

pub struct World {
    pub chance: Chance,
    lie: Lie,
    pub(super) keys: Keys,
    pub(super) settings: Arc<Settings>,
    n_credits: usize,
    moment: Moment,
    now: Time,
    pub(super) shards: Vec<Shard>,
    /// By sender and receiver.
    lanes: BTreeMap<(usize, usize), VecDeque<Parcel>>,
    /// Connections that leave, before credits let them.
    departing: BTreeMap<(usize, usize), VecDeque<Parcel>>,
    pub(super) links: Vec<Link>,
    pub oracle: Oracle,
    /// How slow the slowest readers are: one in this many never reads for long.
    slow_readers: usize,
}

#[derive(Debug)]
enum Parcel {
    Mail(Batch),
    Moved(usize, Moved),
}

/// A socket between a client and the shard that has its other end.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) core: usize,
    /// `None` while it moves, and when it has ended.
    pub(super) id: Option<ConnectionId>,
    to_server: VecDeque<u8>,
    /// Bytes that the client's side takes before it has read.
    window: usize,
    is_slow: bool,
    /// The client has sent its last byte.
    is_at_end: bool,
    has_told_end: bool,
    /// The shard has taken all that the client sent, and knows that it was all.
    is_taken_whole: bool,
    is_closing: bool,
    has_ended: bool,
}

const CONNECTIONS_MAX: usize = 14;

impl World {
    pub fn new(seed: u64, lie: Lie, settings: impl FnOnce(&mut Chance, usize) -> Settings) -> Self {
        let mut chance = Chance::new(seed);
        let n_cores = 1 + chance.below(5);
        let settings = Arc::new(settings(&mut chance, n_cores));
        let keys = Keys::from_seed([seed, 2, 3, 4]);
        let shard =
            |core| Shard::new(CoreId(core as u16), settings.clone(), &keys, seed ^ (core as u64) << 32);
        Self {
            shards: (0..n_cores).map(shard).collect(),
            n_credits: 1 + chance.below(3),
            slow_readers: 1 + chance.below(6),
            chance,
            lie,
            keys,
            settings,
            moment: 0,
            now: Time::START,
            lanes: BTreeMap::new(),
            departing: BTreeMap::new(),
            links: Vec::new(),
            oracle: Oracle::default(),
        }
    }

    /// Lets chance play for `n_steps`, then brings everything to rest and judges it.
    pub fn run(&mut self, n_steps: usize) {
        for _ in 0..n_steps {
            self.step();
            self.check_bounds();
            if !self.oracle.violations.is_empty() {
                return;
            }
        }
        self.come_to_rest();
        if self.oracle.violations.is_empty() {
            self.judge();
        }
    }

    fn step(&mut self) {
        self.moment += 1;
        match self.chance.below(100) {
            0..=3 => self.connect(),
            4..=33 => self.act(),
            34..=58 => self.carry_bytes(),
            59..=83 => self.carry_mail(),
            84..=93 => self.read(),
            94 => self.cut(),
            _ => self.pass_time(),
        }
    }

    fn connect(&mut self) {
        if self.links.iter().filter(|link| !link.has_ended).count() >= CONNECTIONS_MAX {
            return;
        }
        let connection = self.links.len();
        self.oracle.ended.push(false);
        self.oracle.lost.push(false);
        let is_mqtt = self.chance.one_in(2);
        let (client, hello) = if is_mqtt {
            Client::mqtt(connection, &mut self.chance)
        } else {
            Client::nats(connection, &mut self.chance, &mut self.oracle, self.moment)
        };
        let core = self.chance.below(self.shards.len());
        let listener = if is_mqtt { Listener::Mqtt } else { Listener::Nats };
        let id = self.shards[core].accept(listener, "127.0.0.1:9".parse().expect("an address"), self.now);
        let is_slow = self.chance.one_in(self.slow_readers);
        self.links.push(Link {
            client,
            core,
            id: Some(id),
            to_server: hello.into(),
            window: if is_slow { 300 } else { usize::MAX },
            is_slow,
            is_at_end: false,
            has_told_end: false,
            is_taken_whole: false,
            is_closing: false,
            has_ended: false,
        });
        self.see_to(core);
    }

    fn some_link(&mut self) -> Option<usize> {
        let live: Vec<_> = (0..self.links.len()).filter(|&link| !self.links[link].has_ended).collect();
        (!live.is_empty()).then(|| *self.chance.pick(&live))
    }

    fn act(&mut self) {
        let Some(link) = self.some_link() else { return };
        let link = &mut self.links[link];
        if link.is_at_end || link.to_server.len() > 20_000 {
            return;
        }
        let said = link.client.act(&mut self.chance, &mut self.oracle, self.moment);
        link.to_server.extend(said);
    }

    /// Some of a client's bytes arrive, split anywhere.
    fn carry_bytes(&mut self) {
        let Some(link) = self.some_link() else { return };
        let n = if self.chance.one_in(3) { 1 + self.chance.below(8) } else { 1 + self.chance.below(6_000) };
        self.carry(link, n);
    }

    /// Whether anything happened.
    fn carry(&mut self, link_idx: usize, n: usize) -> bool {
        let link = &mut self.links[link_idx];
        let Some(id) = link.id else { return false };
        let shard = &mut self.shards[link.core];
        if !shard.wants_input(id) {
            return false;
        }
        let core = link.core;
        let was_closing = shard.is_closing(id);
        let n_slow = shard.counters().slow_consumers;
        let bytes: Vec<u8> = link.to_server.drain(..n.min(link.to_server.len())).collect();
        if bytes.is_empty() {
            if !link.is_at_end || std::mem::replace(&mut link.has_told_end, true) {
                return false;
            }
            shard.end_of_input(id, false, self.now);
        } else if let Some((frame, filled)) = shard.large_frame(id) {
            let n = bytes.len().min(frame.len() - filled);
            frame[filled..filled + n].copy_from_slice(&bytes[..n]);
            for &byte in bytes[n..].iter().rev() {
                link.to_server.push_front(byte);
            }
            shard.receive_large(id, filled + n, self.now);
        } else {
            let mut input = vec![0; (1 << 16) + bytes.len()];
            let n_kept = shard.begin_read(id, &mut input);
            input[n_kept..n_kept + bytes.len()].copy_from_slice(&bytes);
            shard.receive(id, &input[..n_kept + bytes.len()], self.now);
        }
        // Its own turn closes a connection after all that it sent, by DISCONNECT or at the end of input; or
        // in the middle, when it does not read what it is sent itself.
        let ends_now = !was_closing && shard.is_closing(id) && shard.counters().slow_consumers == n_slow;
        link.is_taken_whole |= link.to_server.is_empty() && link.is_at_end && ends_now;
        self.see_to(core);
        true
    }

    fn carry_mail(&mut self) {
        let waiting: Vec<_> =
            self.lanes.iter().filter(|(_, lane)| !lane.is_empty()).map(|(lane, _)| *lane).collect();
        if !waiting.is_empty() {
            let lane = *self.chance.pick(&waiting);
            self.deliver_mail(lane);
        }
    }

    fn deliver_mail(&mut self, (from, to): (usize, usize)) {
        let may_lie = self.chance.one_in(8);
        let lane = self.lanes.entry((from, to)).or_default();
        if self.lie == Lie::Overtaking && may_lie && lane.len() > 1 {
            lane.swap(0, 1);
        }
        let Some(parcel) = lane.pop_front() else { return };
        match parcel {
            Parcel::Mail(mut batch) => {
                if self.lie == Lie::ForgedFence {
                    let interest = |item: &&mut Item| matches!(item, Item::Interest(_));
                    batch.items.iter_mut().filter(interest).for_each(|item| *item = Item::Fence);
                }
                let n_times = match self.lie {
                    Lie::LostBatch if may_lie => 0,
                    Lie::DoubledBatch if may_lie => 2,
                    _ => 1,
                };
                for _ in 0..n_times {
                    self.shards[to].mail(CoreId(from as u16), &batch, self.now);
                }
            }
            Parcel::Moved(link, moved) => {
                let id = self.shards[to].arrive(moved, self.now);
                let link = &mut self.links[link];
                (link.core, link.id) = (to, Some(id));
            }
        }
        self.see_to(to);
        // A credit came back.
        self.see_to(from);
    }

    /// A client reads, or stops to.
    fn read(&mut self) {
        let Some(link_idx) = self.some_link() else { return };
        let link = &mut self.links[link_idx];
        if link.is_slow {
            link.window = link.window.saturating_add(self.chance.below(4_000));
        }
        let core = link.core;
        self.flush(link_idx);
        self.see_to(core);
    }

    fn cut(&mut self) {
        let Some(link_idx) = self.some_link() else { return };
        let was_reset = self.chance.one_in(2);
        let link = &mut self.links[link_idx];
        if !was_reset {
            let farewell = link.client.leave();
            link.to_server.extend(farewell);
            link.is_at_end = true;
            return;
        }
        let Some(id) = link.id else { return };
        let core = link.core;
        self.oracle.lost[link_idx] = true;
        self.oracle.ended[link_idx] = true;
        link.to_server.clear();
        link.is_at_end = true;
        link.has_told_end = true;
        link.window = 0;
        self.shards[core].write_failed(id, self.now);
        self.see_to(core);
        if let Some(id) = self.links[link_idx].id {
            self.shards[core].end_of_input(id, true, self.now);
        }
        self.see_to(core);
    }

    fn pass_time(&mut self) {
        let span = match self.chance.below(20) {
            0 => Span::from_millis(self.chance.below(4_000) as u64),
            1..=5 => Span::from_millis(self.chance.below(30) as u64),
            _ => Span::from_millis(1),
        };
        self.now = self.now + span;
        self.tick();
    }

    fn tick(&mut self) {
        for core in 0..self.shards.len() {
            if self.shards[core].wake_at().is_some_and(|at| at <= self.now) {
                self.shards[core].tick(self.now);
                self.see_to(core);
            }
        }
    }

    /// Does what a shard's last turn asks for.
    fn see_to(&mut self, core: usize) {
        loop {
            let effects = std::mem::take(self.shards[core].effects());
            if effects.is_empty() {
                break;
            }
            for id in effects.flush {
                match self.link_of(core, id) {
                    Some(link) => self.flush(link),
                    None => self.shards[core].flushed(id, 0, self.now),
                }
            }
            for id in effects.close {
                if let Some(link) = self.link_of(core, id) {
                    self.links[link].is_closing = true;
                    self.flush(link);
                }
            }
            for id in effects.cut {
                if let Some(link) = self.link_of(core, id) {
                    self.release(link);
                }
            }
            for (id, to) in effects.depart {
                let link = self.link_of(core, id);
                if let (Some(link), Some(moved)) = (link, self.shards[core].depart(id)) {
                    self.links[link].id = None;
                    self.departing.entry((core, to.idx())).or_default().push_back(Parcel::Moved(link, moved));
                }
            }
        }
        self.post(core);
    }

    fn post(&mut self, core: usize) {
        for to in (0..self.shards.len()).filter(|to| *to != core) {
            while self.lanes.entry((core, to)).or_default().len() < self.n_credits {
                let departing = self.departing.entry((core, to)).or_default().pop_front();
                let parcel = departing
                    .or_else(|| self.shards[core].take_batch(CoreId(to as u16), self.now).map(Parcel::Mail));
                let Some(parcel) = parcel else { break };
                self.lanes.entry((core, to)).or_default().push_back(parcel);
            }
        }
        if !self.shards[core].effects().is_empty() {
            self.see_to(core);
        }
    }

    fn link_of(&self, core: usize, id: ConnectionId) -> Option<usize> {
        self.links.iter().position(|link| link.core == core && link.id == Some(id))
    }

    /// Writes what the client's side takes, and ends the link when a closing one has nothing left.
    fn flush(&mut self, link_idx: usize) {
        let Some(id) = self.links[link_idx].id else { return };
        let core = self.links[link_idx].core;
        loop {
            let link = &mut self.links[link_idx];
            let front = self.shards[core].queue(id).map_or(&[][..], |queue| queue.front());
            let n = front.len().min(link.window);
            let bytes = front[..n].to_vec();
            if link.window != usize::MAX {
                link.window -= n;
            }
            self.shards[core].flushed(id, n, self.now);
            let answer = link.client.receive(&bytes, &mut self.oracle, self.moment);
            if !link.is_at_end {
                link.to_server.extend(answer);
            }
            if n == 0 {
                break;
            }
        }
        let is_written = self.shards[core].queue(id).is_none_or(WriteQueue::is_empty);
        if self.links[link_idx].is_closing && is_written {
            self.release(link_idx);
        }
    }

    fn release(&mut self, link_idx: usize) {
        let link = &mut self.links[link_idx];
        let Some(id) = link.id.take() else { return };
        link.has_ended = true;
        self.oracle.ended[link_idx] = true;
        // What the client had sent and nobody had taken is gone with the connection.
        self.oracle.lost[link_idx] |= !link.is_taken_whole;
        self.shards[link.core].release(id, self.now);
    }

    /// No new deeds: everybody reads, everything under way arrives, and last questions are answered.
    fn come_to_rest(&mut self) {
        for link in &mut self.links {
            link.window = usize::MAX;
        }
        let mut n_quiet = 0;
        for round in 0..3_000 {
            self.moment += 1;
            let mut is_busy = false;
            for link in 0..self.links.len() {
                if self.links[link].has_ended {
                    continue;
                }
                if !self.links[link].is_at_end {
                    let mut out = Vec::new();
                    self.links[link].client.conclude(self.moment, &mut out);
                    self.links[link].to_server.extend(out);
                }
                let core = self.links[link].core;
                self.flush(link);
                self.see_to(core);
                is_busy |= self.carry(link, 50_000) || !self.links[link].to_server.is_empty();
            }
            let lanes: Vec<_> = self.lanes.keys().copied().collect();
            for lane in lanes {
                is_busy |= !self.lanes[&lane].is_empty();
                self.deliver_mail(lane);
            }
            // Past every stall, not past a keep-alive.
            if round % 8 == 7 {
                self.now = self.now + Span::from_millis(11);
                self.tick();
            }
            // What a quiet round set off shows in the next; past a tick, so that stalls have ended.
            n_quiet = if is_busy { 0 } else { n_quiet + 1 };
            if n_quiet > 20 {
                return;
            }
        }
        self.oracle.violations.push(Violation::Stuck("it does not come to rest".into()));
    }
}
