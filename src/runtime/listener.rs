//! Listening sockets, and the thread of each that accepts. A thread and not an executor: it deals
//! connections out in turn, so that cores get the same number whatever their load, and where accepting
//! fails it can simply sleep.

use super::clock::Clock;
use super::mesh::{Accepted, Mesh};
use super::{StartError, core};
use crate::admin::desk::Shared;
use crate::nats::encode;
use crate::nats::handshake::{self, Greeted, ServerInfo};
use crate::shard::id::CoreId;
use crate::shard::limits::NoRoom;
use crate::shard::{Door, Listener};
use crate::time::Span;
use crate::time::often::{AtMost, Pace, Rarely, if_any};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Connections that the kernel keeps for us until they are accepted, as far as `somaxconn` lets it.
const BACKLOG: i32 = 4_096;

/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound socket. Other processes can't have the port as well, and we can't have theirs.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A listener and its socket.
#[derive(Clone, Debug)]
pub struct Bound {
    pub door: Door,
    /// As the log calls it.
    pub name: String,
    pub socket: Arc<Socket>,
    pub address: SocketAddr,
    /// Connections that it may have, and what the configuration calls that.
    pub connections_max: usize,
    pub limit: String,
}

impl Bound {
    /// Binds a listener; `name` is what the configuration calls it, unless it is its protocol's first.
    pub fn new(
        door: Door,
        name: Option<&str>,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Self, StartError> {
        let protocol = core::name(door.listener);
        let section = protocol.to_ascii_lowercase();
        let (name, limit) = match name {
            Some(name) => {
                (format!("{protocol} ({name})"), format!("{section}.listeners.{name}.max_connections"))
            }
            None => (protocol.to_owned(), format!("{section}.max_connections")),
        };
        let (socket, address) = bind_named(&name, address)?;
        Ok(Self { door, name, socket: Arc::new(socket), address, connections_max, limit })
    }
}

/// A bound socket and its address.
pub fn bind_named(name: &str, address: SocketAddr) -> Result<(Socket, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { listener: name.to_owned(), address, error };
    let socket = bind(address).map_err(failed)?;
    // Port 0 is any free port; which one is only known now.
    let bound = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
    Ok((socket, bound))
}

/// What an accepting thread needs.
#[derive(Debug)]
pub struct Acceptor {
    pub bound: Bound,
    pub mesh: Arc<Mesh>,
    pub n_cores: usize,
    /// The next core's turn, shared by all listeners: each deals on where the other has stopped.
    pub turn: Arc<AtomicUsize>,
    pub connections_max: usize,
    /// How many may come in a second, of all listeners together; 0 for any number. Those beyond it wait.
    pub rate_max: u64,
    pub pace: Arc<Mutex<Pace>>,
    pub clock: Clock,
    pub server: ServerInfo,
    pub shared: Arc<Shared>,
}

impl Acceptor {
    /// Accepts until the socket is shut down.
    pub fn run(&self) {
        // Given up and taken again to close a connection that there is no descriptor for.
        let mut reserve = File::open("/dev/null").ok();
        let mut is_exhausted = false;
        let mut told = Told::default();
        while self.mesh.accepts() {
            self.keep_pace(&mut told.delayed);
            match self.bound.socket.accept() {
                Ok((socket, peer)) => {
                    is_exhausted = false;
                    if let Some(peer) = peer.as_socket() {
                        self.take_in(socket, peer, &mut told);
                    }
                }
                Err(error) if is_out_of_descriptors(&error) => {
                    if !std::mem::replace(&mut is_exhausted, true) {
                        tracing::warn!("{} connections are turned away: {error}", self.bound.name);
                    }
                    drop(reserve.take());
                    if self.bound.socket.accept_without_waiting().is_some() {
                        self.shared.n_turned_away[NoRoom::COUNT].fetch_add(1, Ordering::Relaxed);
                    }
                    reserve = File::open("/dev/null").ok();
                    std::thread::sleep(PAUSE);
                }
                // The peer was gone before we came to it, or a signal came.
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    if !self.mesh.accepts() {
                        return;
                    }
                    tracing::warn!("accepting {} connections: {error}", self.bound.name);
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits until one more may come. The kernel keeps those who wait with us.
    fn keep_pace(&self, told: &mut Rarely) {
        for nth in 0.. {
            let now = self.clock.now();
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = pace.take(self.rate_max, now);
            drop(pace);
            if wait == Span::default() || !self.mesh.accepts() {
                return;
            }
            if nth == 0 {
                self.shared.n_delayed.fetch_add(1, Ordering::Relaxed);
                if let Some(n_before) = told.tell(LINES, 1, now) {
                    let n_before = if_any(n_before);
                    let (name, limit) = (&self.bound.name, "limits.connection_rate_per_core_max");
                    let value = self.rate_max / self.n_cores as u64;
                    tracing::warn!(n_before, "{name} connections wait: {limit} is {value}");
                }
            }
            std::thread::sleep(Duration::from_nanos(wait.as_nanos()));
        }
    }

    fn take_in(&self, socket: Socket, peer: SocketAddr, told: &mut Told) {
        // A peer that is gone already makes these fail; its bytes may still be worth reading.
        let _ = socket.set_nodelay(true);
        let _ = socket.set_nonblocking(true);
        // Otherwise a read would end at an urgent byte, and look like one that has emptied the socket.
        let _ = socket.set_out_of_band_inline(true);
        let door = self.bound.door;
        let now = self.clock.now();
        let maxima = (self.connections_max, self.bound.connections_max);
        match self.mesh.admit(door, peer, maxima.0, maxima.1, now) {
            Ok(()) => self.hand_over(socket, peer, None),
            Err(no_room) => {
                self.shared.n_turned_away[no_room as usize].fetch_add(1, Ordering::Relaxed);
                if door.listener == Listener::Mqtt && self.mesh.may_turn_away() {
                    // The core knows its client by then, and tells the log.
                    return self.hand_over(socket, peer, Some(no_room));
                }
                if let Some(n_before) = told.turned_away[no_room as usize].tell(LINES, 1, now) {
                    let n_before = if_any(n_before);
                    let name = &self.bound.name;
                    let limit = no_room.key().unwrap_or(&self.bound.limit);
                    let value = self.value(no_room);
                    tracing::warn!(%peer, n_before, "{name} connections are turned away: {limit} is {value}");
                }
                self.turn_away(&socket, peer);
            }
        }
    }

    fn hand_over(&self, socket: Socket, peer: SocketAddr, no_room: Option<NoRoom>) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let accepted = Accepted { socket, door: self.bound.door, peer, nth: turn as u64, no_room };
        self.mesh.hand_over(CoreId((turn % self.n_cores) as u16), accepted);
    }

    /// How much a limit lets through.
    fn value(&self, no_room: NoRoom) -> u64 {
        let of_addresses = self.mesh.admission.limits();
        match no_room {
            NoRoom::Full => self.connections_max as u64,
            NoRoom::ListenerFull => self.bound.connections_max as u64,
            NoRoom::AddressFull => of_addresses.per_address_max as u64,
            NoRoom::AddressRate => of_addresses.rate_per_address_max.into(),
        }
    }

    /// Says at once that there is no room, in NATS; of MQTT clients too many are being told.
    fn turn_away(&self, socket: &Socket, peer: SocketAddr) {
        match self.bound.door.listener {
            Listener::Mqtt => {}
            Listener::Nats => {
                let mut out = Vec::new();
                let client = Greeted { nth: self.bound.door.nth, peer };
                handshake::info(&mut out, &self.server, 0, client, false);
                encode::error(&mut out, "maximum connections exceeded");
                let _ = socket.send_with_flags(&out, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
            }
        }
        let _ = socket.shutdown(Shutdown::Write);
    }
}

/// What the log was told of a listener's connections.
#[derive(Debug, Default)]
struct Told {
    /// By `NoRoom`.
    turned_away: [Rarely; NoRoom::COUNT],
    delayed: Rarely,
}

/// Lines of one kind about a listener.
const LINES: AtMost = AtMost { n: 1, each: Span::from_secs(5) };

/// A second look at the queue of connections that must not wait for the next one.
trait AcceptNow {
    fn accept_without_waiting(&self) -> Option<Socket>;
}

impl AcceptNow for Socket {
    fn accept_without_waiting(&self) -> Option<Socket> {
        self.set_nonblocking(true).ok()?;
        let accepted = self.accept().ok().map(|(socket, _)| socket);
        // Failing here would make accepting a busy loop, which the pause above bounds.
        let _ = self.set_nonblocking(false);
        accepted
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}
