//! All that one core knows, as a plain value: bytes, mail and time go in, effects come out. It has no
//! socket, no clock, no channel and no lock, so that a simulation can drive it as well as `runtime` does.
//!
//! A turn is one call: [`Shard::receive`], [`Shard::mail`], [`Shard::tick`] and their like. After it the
//! driver sees to [`Shard::effects`] and takes the outboxes' batches.

pub mod id;
pub mod core_set;
pub mod keys;
mod split_table;
mod chunked;
mod directory;
pub mod settings;
pub mod limits;
pub mod rates;
pub mod closed;
mod stranger;
pub mod refused;
pub mod latency;
pub mod counters;
pub mod connection;
pub mod slots;
pub mod write_queue;
pub mod replay;
pub mod effects;
pub mod table;
pub mod retained;
pub mod interest;
pub mod routes;
pub mod groups;
pub mod mail;
pub mod tickets;
pub mod deadlines;
pub mod crossing;
pub mod requests;
pub mod qualities;
mod frames;
pub mod shapes;
pub mod fanout;
mod to_nats;
mod to_mqtt;
pub mod census;
pub mod system;
mod budget;
mod input;
mod ahead;
mod serve_mqtt;
mod serve_nats;
mod publish;
mod members;
mod subscribe;
mod hear;
mod departed;
pub mod moving;
mod freed;
mod sessions;
mod waiting;
mod reading;
mod redelivery;
mod returning;
mod upkeep;
mod unconnected;
mod log;
mod own;
mod statistics;
pub mod leave;
mod guard;
mod keeping;
mod chance;

use crate::mqtt::property::PropertyBlock;
use crate::nats::handshake::ServerInfo;
use crate::subject::view::Mapping;
use crate::time::Time;
use crate::time::often::Rarely;
use crate::{mqtt, nats};
use budget::Budget;
use chance::Chance;
use connection::{Connection, Protocol};
use counters::Counters;
use deadlines::Deadlines;
use directory::Directory;
use effects::Effects;
use fanout::Clients;
use id::{ConnectionId, CoreId};
use interest::{FilterKey, Interest, MemberCounts, Role};
use keys::Keys;
use latency::Latencies;
use leave::{Drain, LameDuck};
use mail::{Acknowledgement, Batch, Item, Peer};
use own::Notice;
use requests::Requests;
use retained::Retained;
use routes::Routes;
use settings::Settings;
use statistics::Statistics;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use table::Table;
use tickets::Tickets;
use write_queue::WriteQueue;

/// One core's connections, its table, its replica of everyone's interest, and its mail.
#[derive(Debug)]
pub struct Shard {
    core: CoreId,
    settings: Arc<Settings>,
    keys: Keys,
    chance: Chance,
    clients: Clients,
    unconnected: unconnected::Unconnected,
    /// Client ids given away.
    n_names: u64,
    directory: Directory,
    table: Table,
    interest: Interest,
    routes: Routes,
    /// The process's, and how far this core has come in dropping what expires of it.
    retained: Arc<Retained>,
    replays: replay::Replays,
    /// What NATS clients read of it.
    listings: reading::Listings,
    statistics: Statistics,
    /// What the gateway is to publish itself before the turn ends.
    notices: VecDeque<Notice>,
    answers: own::Answers,
    redelivery: redelivery::Redelivery,
    unsaid: keeping::Unsaid,
    /// Publishes of NATS that were acknowledged.
    n_acknowledged: u64,
    /// Of MQTT clients to NATS services.
    requests: Requests,
    /// By core; this core's own place is unused.
    peers: Vec<Peer>,
    tickets: Tickets,
    /// Interest changes and fences of this core so far.
    log_head: u64,
    /// How much of its log every other core has applied. `n_applied_everywhere <= log_head`.
    n_applied_everywhere: u64,
    /// The head of the log is a fence that has not left for any core: it does for whoever else needs one.
    is_fence_fresh: bool,
    /// Connections that wait for a log position, oldest first.
    fences: VecDeque<(u64, ConnectionId)>,
    /// What other cores announce.
    slice: hear::Slice,
    departed: departed::Departed,
    freed: freed::Freed,
    stalled: VecDeque<(Time, ConnectionId)>,
    /// Publishers that have published more than they may, and until when they are not read.
    paused: BTreeSet<(Time, ConnectionId)>,
    /// Connections whose wait has ended, to be taken up by this turn or those that follow it.
    runnable: VecDeque<ConnectionId>,
    /// Publishers on other cores to be slowed, each once a turn.
    slowed: Vec<(CoreId, ConnectionId)>,
    /// Publishers on this core to be slowed, whose message came back from another.
    to_stall: Vec<ConnectionId>,
    /// The publisher of this turn fills a queue that is nearly full.
    must_stall: bool,
    /// What the publisher of this turn sends next would be acknowledged and might be lost.
    must_stop: bool,
    /// The publisher of this turn that is owed acknowledgements.
    owing: Option<ConnectionId>,
    /// Wills whose time has come, for the end of the turn.
    wills: VecDeque<(ConnectionId, Box<mqtt::session::Will>)>,
    /// The first of them must wait for a full outbox; and the first of the notices.
    are_wills_blocked: bool,
    are_notices_blocked: bool,
    /// What this turn may still do of what has waited.
    budget: Budget,
    deadlines: Deadlines,
    due: Vec<(ConnectionId, Time)>,
    /// What INFO says.
    server: Arc<ServerInfo>,
    lame_duck: Option<LameDuck>,
    drain: Option<Drain>,
    now: Time,
    complaints: log::Complaints,
    losses: log::Losses,
    /// Clients that share a mount since they name no user.
    nameless: Rarely,
    /// Tables that other connections share are being changed: a panic now ends the process.
    is_changing_tables: bool,
    /// Makes this client's next turn panic.
    #[cfg(test)]
    breaks_when_served: Option<ConnectionId>,
    /// Buffers kept from turn to turn.
    answer: Vec<u8>,
    subject: Vec<u8>,
    /// The subject of a response topic, kept from one PUBLISH to the next.
    reply: Vec<u8>,
    properties: PropertyBlock,
    picks: Vec<groups::Pick>,
    posts: Vec<publish::Post>,
    shares: Vec<Vec<u8>>,
}

/// What an accepted connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Mqtt,
    Nats,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// What is spoken there.
    pub listener: Listener,
    /// Its place among those where that is spoken.
    pub nth: u16,
}

impl Door {
    pub const fn first(listener: Listener) -> Self {
        Self { listener, nth: 0 }
    }
}

impl Shard {
    /// A shard without connections. `seed` feeds every choice it leaves to chance.
    pub fn new(
        core: CoreId,
        settings: Arc<Settings>,
        keys: &Keys,
        retained: Arc<Retained>,
        seed: u64,
    ) -> Self {
        let peer = |_| Peer::new(settings.batch_bytes_max, settings.outbox_bytes_max);
        Self {
            core,
            keys: keys.clone(),
            chance: Chance(seed),
            clients: Clients::default(),
            unconnected: unconnected::Unconnected::default(),
            n_names: 0,
            directory: Directory::new(keys.hasher()),
            table: Table::new(keys),
            interest: Interest::new(keys),
            routes: Routes::new(core, keys, settings.route_cache_bytes_max),
            retained,
            replays: replay::Replays::default(),
            listings: reading::Listings::default(),
            statistics: Statistics::default(),
            notices: VecDeque::new(),
            answers: own::Answers::default(),
            redelivery: redelivery::Redelivery::default(),
            unsaid: keeping::Unsaid::default(),
            n_acknowledged: 0,
            requests: Requests::new(settings.mqtt.requests, keys),
            peers: (0..settings.n_cores).map(peer).collect(),
            tickets: Tickets::default(),
            log_head: 0,
            n_applied_everywhere: 0,
            is_fence_fresh: false,
            fences: VecDeque::new(),
            slice: hear::Slice::default(),
            departed: departed::Departed::default(),
            freed: freed::Freed::default(),
            stalled: VecDeque::new(),
            paused: BTreeSet::new(),
            runnable: VecDeque::new(),
            slowed: Vec::new(),
            to_stall: Vec::new(),
            must_stall: false,
            must_stop: false,
            owing: None,
            wills: VecDeque::new(),
            are_wills_blocked: false,
            are_notices_blocked: false,
            budget: Budget::new(Time::START),
            deadlines: Deadlines::default(),
            due: Vec::new(),
            server: Arc::new(settings.nats.server.clone()),
            lame_duck: None,
            drain: None,
            now: Time::START,
            complaints: log::Complaints::default(),
            losses: log::Losses::default(),
            nameless: Rarely::default(),
            is_changing_tables: false,
            #[cfg(test)]
            breaks_when_served: None,
            answer: Vec::new(),
            subject: Vec::new(),
            reply: Vec::new(),
            properties: PropertyBlock::new(),
            picks: Vec::new(),
            posts: Vec::new(),
            shares: Vec::new(),
            settings,
        }
    }

    fn enter(&mut self, door: Door, peer: SocketAddr, nth: u64, now: Time) -> ConnectionId {
        self.now = now;
        let protocol = match door.listener {
            Listener::Mqtt => {
                Protocol::Mqtt(Box::new(mqtt::connection::Connection::new(self.keys.shared_hasher())))
            }
            Listener::Nats => {
                let mut nats = nats::connection::Connection::new(census::cid(nth), self.keys.hasher());
                let (mountpoint, mapping) = self.settings.nats.names_at(door.nth);
                if mountpoint.is_some() || mapping != Mapping::Exact {
                    nats.set_apart(mountpoint, mapping, peer.ip());
                }
                if self.settings.nats.identifies_publishers {
                    nats.identify();
                }
                Protocol::Nats(Box::new(nats))
            }
        };
        let connection = Connection::new(protocol, door, peer, nth, now);
        self.clients.counters.n_connections[connection.protocol_kind() as usize] += 1;
        let id = self.clients.slots.insert(connection);
        let mut greeting = Vec::new();
        if let Some(connection) = self.clients.slots.get(id)
            && let Protocol::Nats(nats) = &connection.protocol
        {
            nats.greet(&self.server, connection.greeted(), &mut greeting);
        }
        self.clients.write(id, &greeting);
        self.check_deadlines(id, now);
        id
    }

    /// Handles another core's batch: publications, interest, acknowledgements.
    pub fn mail(&mut self, from: CoreId, batch: &Batch, now: Time) {
        self.now = now;
        self.clients.counters.mail_taken += 1;
        self.clients.latencies.mail.record(now.since(batch.posted_at), 1);
        let mut origins = batch.origins.iter().peekable();
        for (item_idx, item) in batch.items.iter().enumerate() {
            if let Some((_, origin)) = origins.next_if(|(first_idx, _)| *first_idx == item_idx) {
                self.clients.origin = *origin;
            }
            match item {
                Item::Publication(posted) => self.deliver_posted(from, batch, posted),
                Item::Interest(change) => self.hear_log(from, Some(change), 1),
                Item::Fence(n) => self.hear_log(from, None, *n),
                Item::Acknowledged(acknowledgement) => self.acknowledged(from, acknowledgement),
                Item::Settled { ticket, was_taken } => {
                    let closed = self.tickets.settled(*ticket, *was_taken);
                    self.conclude_ticket(*ticket, closed);
                }
                Item::Slow { publisher } => self.stall(*publisher, now),
                Item::Unseen { publisher, sighting } => self.hear_unseen(*publisher, sighting),
                Item::Counters(counters) => self.hear_counters(from, counters),
                Item::DrainRound => self.peers[from.idx()].n_rounds += 1,
            }
        }
        for (core, publisher) in std::mem::take(&mut self.slowed) {
            self.peers[core.idx()].outbox.push(Item::Slow { publisher });
        }
        for publisher in std::mem::take(&mut self.to_stall) {
            self.stall(publisher, now);
        }
        self.note_applied();
        self.settle(now);
    }

    fn acknowledged(&mut self, from: CoreId, acknowledgement: &Acknowledgement) {
        let Acknowledgement { n_applied, n_handled, untaken, forwarded } = acknowledgement;
        self.peers[from.idx()].n_applied = *n_applied;
        forwarded.iter().for_each(|ticket| self.tickets.expect_forwarded(*ticket));
        // The untaken are in lane order, as the tickets are.
        let mut untaken = untaken.iter().copied().peekable();
        for _ in 0..*n_handled {
            let Some(ticket) = self.peers[from.idx()].tickets.pop_front() else { break };
            let was_taken = untaken.next_if_eq(&ticket).is_none();
            let closed = self.tickets.answered(ticket, was_taken);
            self.conclude_ticket(ticket, closed);
        }
    }

    /// The next batch for another core, and room for those who wait for it.
    pub fn take_batch(&mut self, to: CoreId, now: Time) -> Option<Batch> {
        self.now = now;
        let peer = &mut self.peers[to.idx()];
        let batch = peer.outbox.take(now)?;
        self.clients.counters.mail_sent += 1;
        self.clients.counters.mail_sent_bytes += batch.n_bytes() as u64;
        self.is_fence_fresh = false;
        let is_awaited = !(peer.waiting.is_empty() && self.wills.is_empty() && self.redelivery.is_empty());
        if is_awaited && peer.outbox.has_room() {
            self.outbox_has_room(to, now);
            self.settle_further(now);
        } else if !(self.notices.is_empty() && self.answers.is_empty()) {
            self.settle_further(now);
        }
        Some(batch)
    }

    pub fn core(&self) -> CoreId {
        self.core
    }

    pub fn has_mail_for(&self, core: CoreId) -> bool {
        !self.peers[core.idx()].outbox.is_empty()
    }

    /// What the driver has to see to, for it to empty.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.clients.effects
    }

    /// What waits to be written to a connection.
    pub fn queue(&self, id: ConnectionId) -> Option<&WriteQueue> {
        self.clients.slots.get(id).map(|connection| &connection.queue)
    }

    /// Whether a connection ends when its queue is written.
    pub fn is_closing(&self, id: ConnectionId) -> bool {
        self.clients.slots.is_over(id)
    }

    /// What was counted so far, and what there is now.
    pub fn counters(&self) -> Counters {
        let counts_for_all = u64::from(self.core.0 == 0);
        Counters {
            route_cache_entries: self.routes.n_entries() as u64,
            replies_hidden: self.clients.counters.replies_hidden + self.clients.n_replies_hidden(),
            retained_expired: counts_for_all * self.retained.n_expired(),
            n_retained: counts_for_all * self.retained.len() as u64,
            retained_bytes: counts_for_all * self.retained.n_bytes() as u64,
            route_cache_bytes: self.routes.n_bytes() as u64,
            route_hits: self.routes.n_hits,
            route_misses: self.routes.n_misses,
            queued_bytes: self.n_bytes_for_clients() as u64,
            outbox_bytes: self.peers.iter().map(|peer| peer.outbox.n_bytes() as u64).sum(),
            n_tickets: self.tickets.len() as u64,
            n_requests: self.requests.n_open() as u64,
            request_bytes: self.requests.n_bytes() as u64,
            n_sessions: self.directory.len() as u64,
            ..self.clients.counters
        }
    }

    /// Hands over what was recorded, for an empty one to record in from now on: an exchange of two pointers,
    /// however much it is.
    pub fn swap_latencies(&mut self, empty: &mut Box<Latencies>) {
        std::mem::swap(&mut self.clients.latencies, empty);
    }

    pub fn latencies(&self) -> &Latencies {
        &self.clients.latencies
    }

    /// As `counters` has it, by a look at every session.
    #[cfg(test)]
    pub fn n_session_messages_anew(&self) -> u64 {
        self.clients.n_session_messages_anew()
    }

    /// The time of the last call.
    pub fn now(&self) -> Time {
        self.now
    }

    pub fn n_connections(&self) -> usize {
        self.clients.slots.len() - self.clients.counters.n_offline_sessions as usize
    }

    /// Bytes that wait for this core's clients, and the most that wait for one other core.
    pub fn n_waiting_bytes(&self) -> (usize, usize) {
        let outbox = self.peers.iter().map(|peer| peer.outbox.n_bytes()).max();
        (self.n_bytes_for_clients(), outbox.unwrap_or(0))
    }

    /// Bytes that wait for this core's clients, or for any members of their groups.
    #[inline]
    fn n_bytes_for_clients(&self) -> usize {
        self.clients.n_queued_bytes + self.redelivery.n_bytes()
    }

    /// Publications whose publisher waits to hear who took them.
    pub fn n_tickets(&self) -> usize {
        self.tickets.len()
    }

    /// Connections whose input is not taken for now.
    pub fn n_waiting_connections(&self) -> usize {
        self.clients.slots.iter().filter(|(_, connection)| connection.is_waiting()).count()
    }

    /// Connections that wait until a moment in time: their clients have published more than they may, or come back
    /// while their old one did.
    pub fn n_paused(&self) -> usize {
        self.paused.len()
    }

    /// Messages that were taken of a connection, and the bytes of their payloads.
    pub fn n_taken_of(&self, id: ConnectionId) -> [u64; 2] {
        self.clients.slots.get(id).map_or([0; 2], |it| [it.traffic.n_in, it.traffic.in_bytes])
    }

    /// What this core has announced: key, group and role, and members.
    pub fn announced(&self, visit: impl FnMut(FilterKey, Option<(&[u8], Role)>, MemberCounts)) {
        self.table.announced(visit);
    }

    /// This core's replica of everyone's interest; its own plain exact filters are in its table alone.
    pub fn replica(&self) -> &Interest {
        &self.interest
    }

    fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let own = self.core;
        (0..self.settings.n_cores as u16).map(CoreId).filter(move |core| *core != own)
    }

    /// Where a client id's session lives. One without a name gets one that lives where it is.
    fn home(&self, client_id: &[u8]) -> CoreId {
        if client_id.is_empty() { self.core } else { self.keys.home(client_id, self.settings.n_cores) }
    }

    /// A name that nobody has and nobody can guess, at home on this core.
    fn new_client_id(&mut self) -> Box<[u8]> {
        loop {
            let name = format!("strait-{:032x}", self.keys.name(self.core, self.n_names));
            self.n_names += 1;
            let is_free = self.directory.get(name.as_bytes()).is_none();
            if is_free && self.home(name.as_bytes()) == self.core {
                return name.into_bytes().into();
            }
        }
    }

    /// Sends an answer, or holds it back while a fence is up, and keeps the buffer for the next.
    fn send_answer(&mut self, id: ConnectionId, mut out: Vec<u8>) {
        match self.clients.slots.get_mut(id) {
            Some(connection) if connection.fence.is_some() => connection.held.extend_from_slice(&out),
            _ => self.clients.write(id, &out),
        }
        out.clear();
        self.answer = out;
    }
}

#[cfg(test)]
mod tests;
