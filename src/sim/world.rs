//! Several shards, their clients and the mail between them in one thread: every step is chosen by the seed,
//! and after each the shard's effects are seen to, as `runtime` sees to them.

use super::by_topic::ANSWER_BY_TOPIC;
use super::chance::Chance;
use super::client::{Client, Scene};
use super::driver::check_coalesced;
use super::faults::{Check, Kind, Lie, Withheld, broken};
use super::link::{End, Link, Place};
use super::mqtt_client::MqttClient;
use super::nats_client::NatsClient;
use super::oracle::Oracle;
use super::presence::FIRST_PORT;
use super::record;
use super::scenario::{MOUNTS, Scenario};
use super::store::Store;
use crate::shard::id::{ConnectionId, CoreId};
use crate::shard::keys::Keys;
use crate::shard::limits::Limits;
use crate::shard::mail::{Batch, Item};
use crate::shard::moving::Moved;
use crate::shard::retained::Retained;
use crate::shard::{Door, Listener, Shard};
use crate::time::{Span, Time};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// The world of one seed.
pub struct World {
    pub scenario: Scenario,
    pub chance: Chance,
    pub now: Time,
    pub keys: Keys,
    pub shards: Vec<Shard>,
    pub links: Vec<Link>,
    pub oracle: Oracle,
    /// By sender, then by receiver.
    pub lanes: Vec<Vec<Lane>>,
    pub moving: Vec<(Moved, CoreId, usize)>,
    /// Connections that the gateway ended without a reason the world knows.
    pub n_unexplained: u64,
    pub is_calm: bool,
    /// The gateway is told to end, and what ends a connection is its drain.
    pub is_leaving: bool,
    pub is_draining: bool,
    /// What may be in outboxes without having asked for room: changes of interest since the last rest, and
    /// by core, since its outboxes were empty, what answers or passes on the others' mail.
    pub n_change_bytes: usize,
    pub n_answer_bytes: Vec<usize>,
    pub steps_taken: Vec<String>,
    pub is_traced: bool,
    pub by_id: BTreeMap<(CoreId, ConnectionId), usize>,
    /// By core; none where nothing is kept. Late, as this chance has it.
    pub stores: Vec<Store>,
    pub keeps: Chance,
    pub retained: Arc<Retained>,
    lie: Lie,
    buffer: Vec<u8>,
    n_ops_left: usize,
}

/// The batches under way from one core to another.
#[derive(Debug, Default)]
pub struct Lane {
    pub batches: VecDeque<Batch>,
    pub n_credits: usize,
    /// What a lie keeps back.
    pub withheld: Withheld,
}

impl World {
    pub fn new(seed: u64, lie: Lie, is_traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::new(&mut chance, &mut Chance::new(!seed));
        let keys = Keys::from_seed(std::array::from_fn(|_| chance.next()));
        let mut settings = scenario.settings.clone();
        lie.misconfigure(&mut settings);
        let settings = Arc::new(settings);
        let n = settings.n_cores;
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
        let mut shards: Vec<Shard> = (0..n)
            .map(|core| {
                Shard::new(CoreId(core as u16), settings.clone(), &keys, retained.clone(), chance.next())
            })
            .collect();
        let is_kept = seed.is_multiple_of(2);
        if is_kept {
            shards.iter_mut().for_each(Shard::keep_journal);
        }
        let lane = |_| Lane { n_credits: scenario.credits, ..Lane::default() };
        Self {
            lanes: (0..n).map(|_| (0..n).map(lane).collect()).collect(),
            n_ops_left: scenario.n_ops,
            oracle: Oracle::new(&scenario),
            scenario,
            chance,
            now: Time::from_micros(1),
            keys,
            shards,
            links: Vec::new(),
            moving: Vec::new(),
            n_unexplained: 0,
            is_calm: false,
            is_leaving: false,
            is_draining: false,
            n_change_bytes: 0,
            n_answer_bytes: vec![0; n],
            steps_taken: Vec::new(),
            is_traced,
            by_id: BTreeMap::new(),
            stores: (0..if is_kept { n } else { 0 }).map(|_| Store::default()).collect(),
            keeps: Chance::new(seed),
            retained,
            lie,
            buffer: vec![0; 192 << 10],
        }
    }

    /// Lives until the clients have sent what they will, and comes to rest now and then.
    pub fn run(&mut self) -> Check {
        for step in 1..40_000 {
            if self.n_ops_left == 0 {
                break;
            }
            self.oracle.now += 1;
            self.step()?;
            if step % (self.scenario.n_ops_between_quiet * 40) == 0 {
                self.come_to_rest()?;
            }
        }
        if self.scenario.leaves && !self.links.is_empty() {
            return self.leave();
        }
        self.come_to_rest()?;
        if self.scenario.settings.limits != Limits::NONE {
            // The first took longer than silence may.
            self.come_to_rest()?;
        }
        self.fall_silent()
    }

    /// Writes a line of the trace; `what` is made only where somebody will read it.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>6} {:>12} {}", self.oracle.now, self.now.as_micros(), what());
            self.steps_taken.push(line);
        }
    }

    fn step(&mut self) -> Check {
        let link = self.chance.below(self.links.len());
        let step = self.chance.weighted(&self.scenario.steps);
        self.step_of(step, link)
    }

    /// One step of a kind, by its place among the scenario's weights.
    pub(super) fn step_of(&mut self, step: usize, link: usize) -> Check {
        match step {
            0 => self.open(),
            1 => self.act(link),
            2 => {
                let n_max = self.scenario.read_bytes_max;
                self.read(link, n_max).map(drop)
            }
            3 => {
                let (from, to) = (self.any_core(), self.any_core());
                self.deliver(from, to).map(drop)
            }
            4 => self.listen(link, self.scenario.client_read_bytes_max).map(drop),
            5 => self.arrive().map(drop),
            6 => self.write_more(link).map(drop),
            7 => self.let_time_pass(),
            8 => self.drop_one(link),
            _ => {
                if let Some(link) = self.links.get_mut(link) {
                    link.is_paused = !link.is_paused;
                }
                Ok(())
            }
        }
    }

    fn any_core(&mut self) -> CoreId {
        CoreId(self.chance.below(self.shards.len()) as u16)
    }

    /// A new client connects to any core.
    fn open(&mut self) -> Check {
        let n_open = self.links.iter().filter(|link| link.place != Place::Gone).count();
        if n_open >= self.scenario.n_connections_max {
            return Ok(());
        }
        let core = self.any_core();
        let (door, client) = if self.chance.below(10) < self.scenario.n_mqtt_in_ten {
            let client = MqttClient::new(&mut self.chance, self.scenario.n_client_ids);
            (Door::first(Listener::Mqtt), Client::Mqtt(client))
        } else {
            let is_mounted = self.chance.below(10) < self.scenario.n_mounted_in_ten;
            let nth = if is_mounted { self.chance.between(1, MOUNTS.len() - 1) } else { 0 };
            let door = Door { listener: Listener::Nats, nth: nth as u16 };
            (door, Client::Nats(NatsClient::new(nth)))
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + self.links.len() as u16));
        let new = self.links.len();
        let id = self.shards[core.idx()].accept(door, peer, new as u64, self.now);
        self.by_id.insert((core, id), new);
        let mut link = Link::new(client, core, id, self.now);
        // Of two with one name the one whose CONNECT is read later stays, whichever comes home first.
        for other in self.links.iter_mut().filter(|other| other.place != Place::Gone) {
            if link.client_id().is_some() && other.client_id() == link.client_id() {
                link.may_end |= other.may_claim();
                other.may_end = true;
            }
        }
        self.note(|| format!("open {new} at {core:?}: {:?}", link.client));
        self.links.push(link);
        self.oracle.listeners.push(record::Listener { is_alive: true, ..record::Listener::default() });
        self.expect_presence(new);
        self.with_client(new, |client, scene| {
            client.connect(scene);
            Ok(())
        })?;
        self.see_to(core)
    }

    /// Lets a client act or hear; what it sends follows what it sent before.
    pub fn with_client(
        &mut self,
        link_idx: usize,
        action: impl FnOnce(&mut Client, &mut Scene<'_>) -> Check,
    ) -> Check {
        let mut out = Vec::new();
        let may_be_lost = self.may_be_lost();
        let link = &mut self.links[link_idx];
        let mut scene = Scene {
            connection: link_idx,
            oracle: &mut self.oracle,
            chance: &mut self.chance,
            scenario: &self.scenario,
            lie: self.lie,
            out: &mut out,
            is_calm: self.is_calm,
            is_leaving: self.is_leaving,
            may_be_lost,
        };
        action(&mut link.client, &mut scene)?;
        if link.end == End::Open {
            link.to_shard.extend(out);
        }
        Ok(())
    }

    fn act(&mut self, link_idx: usize) -> Check {
        if self.links.get(link_idx).is_none_or(|link| !link.is_open()) {
            return Ok(());
        }
        // One that asks and asks, and may not read the answers.
        if self.chance.one_in(80) {
            self.note(|| format!("{link_idx} floods"));
            return self.with_client(link_idx, |client, scene| {
                (0..400).for_each(|_| client.come_to_rest(scene));
                Ok(())
            });
        }
        // Pipelines: several ops leave together.
        let n_ops = if self.chance.one_in(4) { self.chance.between(2, 8) } else { 1 };
        for _ in 0..n_ops {
            self.n_ops_left = self.n_ops_left.saturating_sub(1);
            let mut what = "";
            self.with_client(link_idx, |client, scene| {
                what = client.act(scene);
                Ok(())
            })?;
            // What another core passes on has asked for no room there.
            if what == ANSWER_BY_TOPIC {
                self.n_change_bytes += self.scenario.frame_bytes_max() + 3 * size_of::<Item>();
            }
            // A SUBSCRIBE has three filters at most, and each may have a parent.
            if what.contains("SUB") {
                self.n_change_bytes += 6 * size_of::<Item>();
            }
            self.note(|| format!("{link_idx} sends {what}"));
        }
        if !self.links[link_idx].is_open() {
            self.links[link_idx].may_end = true;
            self.oracle.listeners[link_idx].is_alive = false;
        }
        Ok(())
    }

    /// The shard reads from a client; whether there was something.
    pub fn read(&mut self, link_idx: usize, n_max: usize) -> Result<bool, super::faults::Violation> {
        let Some(link) = self.links.get_mut(link_idx) else { return Ok(false) };
        let Place::At(core, id) = link.place else { return Ok(false) };
        let shard = &mut self.shards[core.idx()];
        if !shard.wants_input(id)
            || (link.to_shard.is_empty() && (link.end == End::Open || link.end_was_told))
        {
            return Ok(false);
        }
        self.check_rate(link_idx)?;
        let (link, shard, now) = (&mut self.links[link_idx], &mut self.shards[core.idx()], self.now);
        link.seen.has_been_read |= !link.to_shard.is_empty();
        if link.to_shard.is_empty() {
            link.end_was_told = true;
            let was_serving = !shard.is_closing(id);
            shard.end_of_input(id, link.end == End::Reset, now);
            // It ended at once, so nothing that it had sent was left.
            self.oracle.listeners[link_idx].is_complete =
                was_serving && shard.is_closing(id) && link.end != End::Reset;
            self.note(|| format!("{link_idx} is at its end"));
        } else if let Some((frame, filled)) = shard.large_frame(id) {
            let n = (frame.len() - filled).min(n_max).min(link.to_shard.len());
            frame[filled..filled + n]
                .iter_mut()
                .zip(link.to_shard.drain(..n))
                .for_each(|(to, from)| *to = from);
            shard.receive_large(id, filled, n, now);
            self.note(|| format!("{core:?} reads {n} of a large frame from {link_idx}"));
        } else {
            let n_kept = shard.begin_read(id, &mut self.buffer);
            let n = n_max.min(link.to_shard.len()).min(self.buffer.len() - n_kept);
            let end = n_kept + n;
            let room = &mut self.buffer[n_kept..end];
            room.iter_mut().zip(link.to_shard.drain(..n)).for_each(|(to, from)| *to = from);
            shard.receive(id, &self.buffer[..end], now);
            self.note(|| format!("{core:?} reads {n} after {n_kept} from {link_idx}"));
        }
        self.note_taken(link_idx);
        self.note_namesakes(link_idx);
        self.see_to(core)?;
        Ok(true)
    }

    /// A batch reaches its core; whether there was one.
    pub fn deliver(&mut self, from: CoreId, to: CoreId) -> Result<bool, super::faults::Violation> {
        let lane = &mut self.lanes[from.idx()][to.idx()];
        let mut place = 0;
        if self.lie == Lie::Reordered && lane.batches.len() > 1 {
            place = 1;
        }
        let Some(mut batch) = lane.batches.remove(place) else { return Ok(false) };
        lane.n_credits += 1;
        self.n_answer_bytes[to.idx()] +=
            batch.items.iter().map(|item| n_answer_bytes(item, batch.n_bytes())).sum::<usize>();
        check_coalesced(&batch)?;
        self.lie.falsify(&mut batch, &mut lane.withheld, &mut self.chance);
        let is_lost = self.lie == Lie::Dropped && self.chance.one_in(10);
        let is_doubled = self.lie == Lie::Doubled && self.chance.one_in(4);
        let now = self.now;
        self.note(|| format!("{to:?} gets from {from:?}: {:?}", batch.items));
        let shard = &mut self.shards[to.idx()];
        if !is_lost {
            shard.mail(from, &batch, now);
        }
        if is_doubled {
            shard.mail(from, &batch, now);
        }
        self.see_to(to)?;
        self.see_to(from)?;
        Ok(true)
    }

    /// A client reads; whether there was something.
    pub fn listen(&mut self, link_idx: usize, n_max: usize) -> Result<bool, super::faults::Violation> {
        let Some(link) = self.links.get_mut(link_idx) else { return Ok(false) };
        if link.place == Place::Gone || (link.is_paused && !self.is_calm) {
            return Ok(false);
        }
        if link.listens() && !link.to_client.is_empty() {
            let n = n_max.min(link.to_client.len());
            let bytes: Vec<u8> = link.to_client.drain(..n).collect();
            self.note(|| format!("{link_idx} hears {:?}", String::from_utf8_lossy(&bytes[..n.min(60)])));
            self.with_client(link_idx, |client, scene| client.hear(&bytes, scene))?;
            return Ok(true);
        }
        if !link.is_shut {
            return Ok(false);
        }
        if !link.may_end {
            self.n_unexplained += 1;
        }
        self.note(|| format!("{link_idx} sees its end"));
        self.release(link_idx)?;
        Ok(true)
    }

    /// A connection that moves reaches its home core; whether there was one.
    pub fn arrive(&mut self) -> Result<bool, super::faults::Violation> {
        if self.moving.is_empty() {
            return Ok(false);
        }
        let (moved, core, link_idx) = self.moving.swap_remove(self.chance.below(self.moving.len()));
        let id = self.shards[core.idx()].arrive(moved, self.now);
        self.note(|| format!("{link_idx} arrives at {core:?}"));
        self.by_id.insert((core, id), link_idx);
        self.links[link_idx].place = Place::At(core, id);
        self.note_namesakes(link_idx);
        self.see_to(core)?;
        Ok(true)
    }

    /// The socket may have room again; whether something was written.
    pub fn write_more(&mut self, link_idx: usize) -> Result<bool, super::faults::Violation> {
        let Some(link) = self.links.get(link_idx).filter(|link| link.has_unwritten) else { return Ok(false) };
        let Place::At(core, _) = link.place else { return Ok(false) };
        let is_full = link.to_client.len() >= self.scenario.kernel_bytes_max;
        if is_full && link.listens() {
            return Ok(false);
        }
        self.flush(link_idx)?;
        self.see_to(core)?;
        Ok(true)
    }

    fn let_time_pass(&mut self) -> Check {
        let span = if self.scenario.has_long_jumps && self.chance.one_in(6) {
            Span::from_millis(self.chance.between(500, 6_000) as u64)
        } else {
            Span::from_millis(self.chance.between(0, 6) as u64)
        };
        self.advance(span)
    }

    /// Moves the clock, and lets every shard see to what is due.
    pub fn advance(&mut self, span: Span) -> Check {
        // What was taken was taken by now.
        (0..self.links.len()).for_each(|link_idx| self.note_taken(link_idx));
        self.now = self.now + span;
        for core in 0..self.shards.len() {
            if self.shards[core].wake_at().is_some_and(|at| at <= self.now) {
                self.shards[core].tick(self.now);
                self.see_to(CoreId(core as u16))?;
            }
        }
        self.check_silent()
    }

    fn drop_one(&mut self, link_idx: usize) -> Check {
        let Some(link) = self.links.get_mut(link_idx).filter(|link| link.end == End::Open) else {
            return Ok(());
        };
        if link.place == Place::Gone {
            return Ok(());
        }
        link.may_end = true;
        self.oracle.listeners[link_idx].is_alive = false;
        if let Place::At(core, id) = link.place
            && self.chance.one_in(6)
        {
            self.note(|| format!("the turn of {link_idx} panics"));
            self.shards[core.idx()].abandon(id, self.now);
            return self.see_to(core);
        }
        link.end = *self.chance.pick(&[End::HalfClosed, End::Closed, End::Reset]);
        if link.end == End::Reset {
            link.to_shard.clear();
        }
        if link.end != End::HalfClosed {
            link.to_client.clear();
        }
        let end = link.end;
        self.note(|| format!("{link_idx} drops: {end:?}"));
        Ok(())
    }

    /// Whether a silent client's time may be over: no keep-alive is shorter.
    fn may_be_lost(&self) -> bool {
        self.now >= Time::START + Span::from_secs(7)
    }

    /// Complains of a connection that can't be explained by what slow consumers the shards counted.
    pub fn check_ends(&self) -> Check {
        let n_slow: u64 = self.shards.iter().map(|shard| shard.counters().slow_consumers).sum();
        let n_unexplained = if self.may_be_lost() { 0 } else { self.n_unexplained };
        let n_gave_way = self.n_gave_way();
        if n_unexplained > n_slow + n_gave_way || (self.scenario.is_roomy && n_slow > 0) {
            let what = format!(
                "{n_unexplained} connections ended without reason, {n_slow} were slow, {n_gave_way} gave way"
            );
            return broken(Kind::Closed, what);
        }
        Ok(())
    }
}

/// What the receiver of an item may post because of it: an answer, or a group's message passed on.
fn n_answer_bytes(item: &Item, batch_bytes: usize) -> usize {
    let passed_on = match item {
        // For each of its groups by itself: they may go on to different cores, or to one.
        Item::Publication(posted) => batch_bytes * posted.address.groups.len(),
        Item::Interest(_)
        | Item::Fence(_)
        | Item::Acknowledged(_)
        | Item::Settled { .. }
        | Item::Slow { .. }
        | Item::Unseen { .. }
        | Item::DrainRound
        | Item::Counters(_) => 0,
    };
    3 * size_of::<Item>() + passed_on
}
