//! Listening sockets, and the thread of each that accepts. A thread and not an executor: it deals
//! connections out in turn, so that cores get the same number whatever their load, and where accepting
//! fails it can simply sleep.

use super::core::name;
use super::mesh::{Accepted, Mesh};
use crate::admin::desk::Shared;
use crate::nats::encode;
use crate::nats::handshake::{self, ServerInfo};
use crate::shard::Listener;
use crate::shard::id::CoreId;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Connections that the kernel keeps for us until they are accepted, as far as `somaxconn` lets it.
const BACKLOG: i32 = 4_096;

/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound socket. Other processes can't have the port as well, and we can't have theirs.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// What an accepting thread needs.
#[derive(Debug)]
pub struct Acceptor {
    pub listener: Listener,
    pub socket: Arc<Socket>,
    pub mesh: Arc<Mesh>,
    pub n_cores: usize,
    /// The next core's turn, shared by all listeners: each deals on where the other has stopped.
    pub turn: Arc<AtomicUsize>,
    pub connections_max: usize,
    pub server: ServerInfo,
    pub shared: Arc<Shared>,
}

impl Acceptor {
    /// Accepts until the socket is shut down.
    pub fn run(&self) {
        // Given up and taken again to close a connection that there is no descriptor for.
        let mut reserve = File::open("/dev/null").ok();
        let mut is_exhausted = false;
        while self.mesh.accepts() {
            match self.socket.accept() {
                Ok((socket, peer)) => {
                    is_exhausted = false;
                    if let Some(peer) = peer.as_socket() {
                        self.take_in(socket, peer);
                    }
                }
                Err(error) if is_out_of_descriptors(&error) => {
                    if !std::mem::replace(&mut is_exhausted, true) {
                        tracing::warn!("{} connections are turned away: {error}", name(self.listener));
                    }
                    drop(reserve.take());
                    if self.socket.accept_without_waiting().is_some() {
                        self.shared.n_turned_away[1].fetch_add(1, Ordering::Relaxed);
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
                    tracing::warn!("accepting {} connections: {error}", name(self.listener));
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    fn take_in(&self, socket: Socket, peer: SocketAddr) {
        // A peer that is gone already makes these fail; its bytes may still be worth reading.
        let _ = socket.set_nodelay(true);
        let _ = socket.set_nonblocking(true);
        if self.mesh.n_connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.mesh.n_connections.fetch_sub(1, Ordering::Relaxed);
            self.shared.n_turned_away[0].fetch_add(1, Ordering::Relaxed);
            self.turn_away(&socket, peer);
            return;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (listener, nth) = (self.listener, turn as u64);
        self.mesh.hand_over(CoreId((turn % self.n_cores) as u16), Accepted { socket, listener, peer, nth });
    }

    fn turn_away(&self, socket: &Socket, peer: SocketAddr) {
        if self.listener == Listener::Nats {
            let mut out = Vec::new();
            handshake::info(&mut out, &self.server, 0, peer, false);
            encode::error(&mut out, "maximum connections exceeded");
            let _ = socket.send_with_flags(&out, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        }
        let _ = socket.shutdown(Shutdown::Write);
    }
}

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
