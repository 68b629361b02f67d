//! One core: its shard, its sockets, and what a turn's effects do to them. What makes its turns is in
//! `rounds`: sockets in `connection`, what other threads send in `inbox`.

use super::Event;
use super::admission::AddressKey;
use super::clock::Clock;
use super::mesh::{Accepted, Content, Mesh};
use super::ring::{Ready, Ring};
use crate::admin::monitor::system::Teller;
use crate::admin::{Ask, CoreDesk};
use crate::shard::id::{ConnectionId, CoreId};
use crate::shard::moving::Moved;
use crate::shard::{Door, Listener, Shard};
use socket2::Socket;
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What one read may bring, in bytes.
pub const READ_BYTES: usize = 64 << 10;

/// The longest unfinished frame that goes back to the front of the read buffer, in bytes; longer ones have
/// a buffer of their own.
const KEPT_BYTES: usize = 40 << 10;

/// Pieces that one send gathers.
const N_SLICES: usize = 64;

#[derive(Debug)]
pub struct Core {
    pub id: CoreId,
    pub shard: Shard,
    pub mesh: Arc<Mesh>,
    pub clock: Clock,
    pub sockets: Vec<Option<OpenSocket>>,
    /// Says which of them are ready.
    pub ring: Ring,
    /// Connections to be looked at, each once.
    ready: VecDeque<ConnectionId>,
    /// The one large read buffer.
    pub buffer: Vec<u8>,
    /// Connections that leave, by core, before credits let them.
    departing: Vec<VecDeque<Content>>,
    pub is_leaving: bool,
    pub is_stopping: bool,
    /// Where the admin thread asks for what was counted.
    pub desk: CoreDesk,
    teller: Teller,
    events: Sender<Event>,
    has_left: bool,
    has_stopped: bool,
}

/// The socket of a connection.
#[derive(Debug)]
pub struct OpenSocket {
    pub id: ConnectionId,
    /// Where it came in.
    pub door: Door,
    /// For whom it counts; `None` where there was no room for it.
    pub entry: Option<AddressKey>,
    pub socket: Socket,
    /// Among those to be looked at.
    is_ready: bool,
    /// The last write found no room; the ring says when there is some.
    pub is_blocked: bool,
    /// There is room again.
    pub has_room: bool,
    /// Reading comes to an end, and goes on until it has.
    pub is_at_end: bool,
    /// Our end is closed; what still comes is thrown away until the peer has closed its own.
    pub is_shut: bool,
}

impl Core {
    pub fn new(
        shard: Shard,
        ring: Ring,
        mesh: Arc<Mesh>,
        clock: Clock,
        desk: CoreDesk,
        events: Sender<Event>,
    ) -> Self {
        Self {
            id: shard.core(),
            shard,
            clock,
            sockets: Vec::new(),
            ring,
            ready: VecDeque::new(),
            buffer: vec![0; KEPT_BYTES + READ_BYTES],
            departing: (0..mesh.n_cores()).map(|_| VecDeque::new()).collect(),
            is_leaving: false,
            is_stopping: false,
            desk,
            teller: Teller::default(),
            mesh,
            events,
            has_left: false,
            has_stopped: false,
        }
    }

    pub fn socket_mut(&mut self, id: ConnectionId) -> Option<&mut OpenSocket> {
        self.sockets.get_mut(id.slot as usize)?.as_mut().filter(|socket| socket.id == id)
    }

    fn enter(&mut self, id: ConnectionId, door: Door, entry: Option<AddressKey>, socket: Socket) {
        let slot = id.slot as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
        }
        self.ring.watch(&socket, id);
        self.sockets[slot] = Some(OpenSocket {
            id,
            door,
            entry,
            socket,
            is_ready: false,
            is_blocked: false,
            has_room: false,
            is_at_end: false,
            is_shut: false,
        });
    }

    /// Forgets a socket. The descriptor closes here.
    fn forget(&mut self, id: ConnectionId) -> Option<OpenSocket> {
        let socket = self.sockets.get_mut(id.slot as usize)?.take_if(|socket| socket.id == id)?;
        self.ring.forget(id);
        Some(socket)
    }

    /// Has a connection looked at soon.
    pub fn look_at(&mut self, id: ConnectionId) {
        let Some(socket) = self.socket_mut(id) else { return };
        if !std::mem::replace(&mut socket.is_ready, true) {
            self.ready.push_back(id);
        }
    }

    /// The next one to be looked at.
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        loop {
            let id = self.ready.pop_front()?;
            if let Some(socket) = self.socket_mut(id) {
                socket.is_ready = false;
                return Some(id);
            }
        }
    }

    /// Takes down what the ring says.
    pub fn hear_ring(&mut self) {
        let Self { ring, sockets, ready, .. } = self;
        let mut ended = Vec::new();
        ring.for_each_ready(|id, Ready { can_write, is_at_end, is_last }| {
            let socket = sockets.get_mut(id.slot as usize).and_then(Option::as_mut);
            let Some(socket) = socket.filter(|socket| socket.id == id) else { return };
            socket.has_room |= can_write && socket.is_blocked;
            socket.is_at_end |= is_at_end;
            if is_last {
                ended.push(id);
            }
            if !std::mem::replace(&mut socket.is_ready, true) {
                ready.push_back(id);
            }
        });
        for id in ended {
            if let Some(socket) = self.sockets.get(id.slot as usize).and_then(Option::as_ref) {
                self.ring.watch(&socket.socket, id);
            }
        }
    }

    /// Publishes what was counted, now and then; and where the admin thread asks, hands over what was
    /// recorded.
    pub fn report(&mut self) {
        let now = self.shard.now();
        match self.desk.asked() {
            Some(Ask::Latencies(mut latencies)) => {
                self.shard.swap_latencies(&mut latencies);
                self.desk.publish(&self.shard.counters(), now);
                self.desk.answer(latencies);
            }
            Some(Ask::Look(question, answer)) => drop(answer.send(self.shard.look(question))),
            None if self.desk.is_due(now) => self.desk.publish(&self.shard.counters(), now),
            None => {}
        }
    }

    /// Ends a connection whose socket has nothing more to say.
    pub fn release(&mut self, id: ConnectionId) {
        if let Some(socket) = self.forget(id) {
            // The poll holds the socket until it is taken back: without this the peer would see no end.
            let _ = socket.socket.shutdown(Shutdown::Both);
            self.mesh.discharge(socket.door, socket.entry);
        }
        self.shard.release(id, self.clock.now());
    }

    /// Writes what is queued for a connection, as far as the socket takes it.
    pub fn flush(&mut self, id: ConnectionId) {
        loop {
            let Some(queue) = self.shard.queue(id) else { return };
            let is_empty = queue.n_free() == 0;
            let Some(socket) = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) else {
                return;
            };
            if is_empty || socket.is_blocked || socket.id != id {
                self.shard.flushed(id, 0, self.shard.now());
                return;
            }
            let mut slices = [IoSlice::new(&[]); N_SLICES];
            let n_slices = queue.gather(&mut slices);
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let sent = socket.socket.send_vectored_with_flags(&slices[..n_slices], flags);
            // The time of the write, for the latency of what it took.
            let now = self.clock.now();
            match sent {
                Ok(n_written) => self.shard.flushed(id, n_written, now),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.is_blocked = true;
                    self.shard.flushed(id, 0, now);
                    return;
                }
                Err(_) => {
                    self.shard.write_failed(id, now);
                    return;
                }
            }
        }
    }
}

/// Does what the last turn asks for, until nothing more follows from it.
pub fn finish_turn(core: &mut Core) {
    see_to(core);
    if core.is_leaving && core.shard.has_left() && !std::mem::replace(&mut core.has_left, true) {
        let _ = core.events.send(Event::Left);
    }
    if core.is_stopping && core.shard.is_drained() && !std::mem::replace(&mut core.has_stopped, true) {
        let _ = core.events.send(Event::Stopped(core.shard.forgotten()));
    }
    core.ring.submit();
}

/// Does what the shard asks for and posts its mail, until it asks for nothing and nothing more can leave:
/// mail that leaves makes room, and whoever waited for that asks for more.
pub fn see_to(core: &mut Core) {
    loop {
        let effects = std::mem::take(core.shard.effects());
        let asks_nothing = effects.is_empty();
        for id in effects.flush {
            core.flush(id);
        }
        for id in effects.resume.into_iter().chain(effects.close) {
            core.look_at(id);
        }
        for id in effects.cut {
            core.release(id);
        }
        for (id, to) in effects.depart {
            depart(core, id, to);
        }
        for request in effects.requests {
            let now = core.clock.now();
            core.desk.publish(&core.shard.counters(), now);
            let told = core.teller.tell(&request, &core.desk, now);
            core.shard.answer(&request, &told, now);
        }
        if !post(core) && asks_nothing {
            return;
        }
    }
}

/// Takes a connection's socket out and sends it to its home core.
fn depart(core: &mut Core, id: ConnectionId, to: CoreId) {
    let Some(OpenSocket { door, entry, socket, .. }) = core.forget(id) else { return };
    match core.shard.depart(id) {
        Some(moved) => core.departing[to.idx()].push_back(Content::Moved(socket, moved)),
        None => {
            let _ = socket.shutdown(Shutdown::Both);
            core.mesh.discharge(door, entry);
            core.shard.release(id, core.clock.now());
        }
    }
}

/// Sends what is in the outboxes, as far as credits go; whether that was anything.
fn post(core: &mut Core) -> bool {
    let Core { id, shard, mesh, clock, departing, .. } = core;
    let mut has_sent = false;
    for (to, departing) in (0..).map(CoreId).zip(departing) {
        if to == *id || (departing.is_empty() && !shard.has_mail_for(to)) {
            continue;
        }
        let now = clock.now();
        has_sent |= mesh.send_all(*id, to, || {
            departing.pop_front().or_else(|| shard.take_batch(to, now).map(Content::Mail))
        });
    }
    has_sent
}

/// Takes in a connection that a listener accepted.
pub fn accept(core: &mut Core, accepted: Accepted) {
    let entry = accepted.entry();
    let Accepted { socket, door, peer, nth, no_room } = accepted;
    let now = core.clock.now();
    let id = match no_room {
        None => core.shard.accept(door, peer, nth, now),
        Some(no_room) => core.shard.accept_to_refuse(door, peer, nth, no_room, now),
    };
    core.enter(id, door, entry, socket);
}

/// Takes in a connection that comes home.
pub fn arrive(core: &mut Core, socket: Socket, moved: Moved) {
    // The turn of the arrival may already write, so the socket is entered before its effects are seen to.
    let (door, entry) = (moved.door, Some(AddressKey::of(moved.peer)));
    let id = core.shard.arrive(moved, core.clock.now());
    core.enter(id, door, entry, socket);
}

/// What listeners speak, for the log.
pub const fn name(listener: Listener) -> &'static str {
    match listener {
        Listener::Mqtt => "MQTT",
        Listener::Nats => "NATS",
    }
}
