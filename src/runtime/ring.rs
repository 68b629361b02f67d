//! The core's own ring: it polls all of the core's sockets, each with one request for as long as the socket
//! lives, and says which are ready. glommio's streams would cost an idle connection some 700 bytes and each
//! wake-up a request of its own.
//!
//! It also polls the core's bell, by which other threads wake it.
//!
//! Readiness is told once, when it begins (edge-triggered, as epoll's EPOLLET): whoever was told reads until
//! less comes than there was room for, and writes until there is no room.

#![expect(
    unsafe_code,
    reason = "entering a request is unsafe, since requests may point at memory; polls don't"
)]

use crate::shard::id::ConnectionId;
use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use socket2::Socket;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Requests that wait to be handed to the kernel; more are handed over at once.
const N_ENTRIES: u32 = 256;

/// Events that wait to be read. Beyond, the kernel keeps them in memory of its own and ends their polls,
/// which are begun again.
const N_EVENTS: u32 = 4_096;

/// Events that are of no connection: the end of a poll that was taken back, and the bell.
const NOBODY: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

/// What a socket is ready for, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub can_write: bool,
    /// The peer has closed its end, or the connection is broken: reading comes to an end.
    pub is_at_end: bool,
    /// It will not be told again without another `watch`.
    pub is_last: bool,
}

pub struct Ring {
    ring: IoUring,
    /// What other threads ring. Its count only grows: each ring is told, read or not.
    bell: OwnedFd,
    /// Those that the kernel has not been handed.
    requests: VecDeque<squeue::Entry>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("n_requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl Ring {
    /// # Errors
    ///
    /// Where the kernel refuses one more ring, for want of locked memory or of descriptors.
    pub fn new(bell: OwnedFd) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(N_EVENTS);
        // Events come in when the core enters the kernel anyway, and don't interrupt it: since Linux 5.19.
        let ring = match builder.clone().setup_coop_taskrun().build(N_ENTRIES) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => builder.build(N_ENTRIES),
            made => made,
        };
        let mut ring = Self { ring: ring?, bell, requests: VecDeque::new() };
        ring.watch_bell();
        Ok(ring)
    }

    fn watch_bell(&mut self) {
        let poll = opcode::PollAdd::new(types::Fd(self.bell.as_raw_fd()), libc::POLLIN as u32);
        self.requests.push_back(poll.multi(true).build().user_data(BELL));
    }

    /// Begins to tell what `socket` is ready for, what it is ready for already included. Whoever drops the
    /// socket says `forget`.
    pub fn watch(&mut self, socket: &Socket, id: ConnectionId) {
        let events = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        let poll = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), events as u32).multi(true).build();
        self.requests.push_back(poll.user_data(token(id)));
    }

    /// Ends what `watch` began: until then the poll holds the socket open.
    pub fn forget(&mut self, id: ConnectionId) {
        self.requests.push_back(opcode::PollRemove::new(token(id)).build().user_data(NOBODY));
    }

    /// Hands the kernel what `watch` and `forget` ask for, as far as it takes it.
    pub fn submit(&mut self) {
        while self.has_requests() {
            while let Some(request) = self.requests.front() {
                // SAFETY: the requests of `watch`, `watch_bell` and `forget` point at no memory. A descriptor that is closed
                // before the kernel sees it makes the request fail, or polls its successor under a name that
                // nobody has.
                if unsafe { self.ring.submission().push(request) }.is_err() {
                    break;
                }
                self.requests.pop_front();
            }
            match self.ring.submit() {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Short of memory for a moment, or its events must be read first: whoever serves the ring does
                // that and comes back, since `has_requests`.
                Err(_) => return,
            }
        }
        self.requests.shrink_to(N_ENTRIES as usize);
    }

    /// Whether `submit` has left something.
    pub fn has_requests(&mut self) -> bool {
        !self.requests.is_empty() || !self.ring.submission().is_empty()
    }

    /// Waits until there are events; whether there are.
    pub fn wait(&mut self, at_most: Duration) -> bool {
        let at_most = types::Timespec::from(at_most);
        // It fails where the time is up, where a signal came, and where events must be read first.
        let _ = self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&at_most));
        !self.ring.completion().is_empty()
    }

    /// Tells who has become ready for what, since the last time.
    pub fn for_each_ready(&mut self, mut tell: impl FnMut(ConnectionId, Ready)) {
        let mut has_bell = true;
        if self.ring.submission().cq_overflow() {
            // Has the kernel bring what it kept.
            let _ = self.ring.submit();
        }
        for event in self.ring.completion() {
            match event.user_data() {
                NOBODY => {}
                BELL => has_bell &= cqueue::more(event.flags()),
                _ if event.result() == -libc::ECANCELED => {}
                of => tell(connection(of), ready(&event)),
            }
        }
        if !has_bell {
            self.watch_bell();
        }
    }
}

fn ready(event: &cqueue::Entry) -> Ready {
    let is_last = !cqueue::more(event.flags());
    // A poll that fails leaves it to reading to find out why.
    let Ok(events) = u32::try_from(event.result()) else {
        return Ready { can_write: true, is_at_end: true, is_last };
    };
    let has = |wanted: i16| events & wanted as u32 != 0;
    Ready {
        can_write: has(libc::POLLOUT | libc::POLLERR | libc::POLLHUP),
        is_at_end: has(libc::POLLRDHUP | libc::POLLERR | libc::POLLHUP),
        is_last,
    }
}

fn token(id: ConnectionId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.slot)
}

fn connection(token: u64) -> ConnectionId {
    ConnectionId { slot: token as u32, generation: (token >> 32) as u32 }
}

/// Waits for a ring's events among glommio's. It awaits no descriptor but that of a stream, by polling it and
/// then trying to read; on a ring the poll is what is wanted, and the read fails.
#[derive(Debug, Default)]
pub struct Waiting {
    armed: Option<TcpStream>,
    /// The next one's descriptor, taken where the last one's was given back: there may be no other.
    spare: Option<OwnedFd>,
}

impl Waiting {
    /// Whether there are events, or may be.
    pub fn poll(&mut self, ring: &Ring, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed.is_none() {
            // Without any it is looked at again at once, which is dear but loses nobody.
            let Some(descriptor) = self.spare.take().or_else(|| descriptor(ring)) else {
                return Poll::Ready(());
            };
            self.armed = Some(TcpStream::from(Socket::from(UnixStream::from(descriptor))));
        }
        let Some(armed) = &mut self.armed else { return Poll::Ready(()) };
        match Pin::new(armed).poll_read(cx, &mut [0]) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.armed = None;
                self.spare = descriptor(ring);
                Poll::Ready(())
            }
        }
    }
}

/// What can be rung from other threads: a count that the kernel tells of whenever it grows.
///
/// # Errors
///
/// For want of descriptors.
pub fn bell() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn descriptor(ring: &Ring) -> Option<OwnedFd> {
    ring.ring.as_fd().try_clone_to_owned().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::io::{ErrorKind, Read, Write};

    /// Sockets that are served by what the ring tells alone, as a core serves them.
    struct Served {
        ring: Ring,
        sockets: Vec<(Socket, UnixStream)>,
        n_read: HashMap<u32, usize>,
        n_unwritten: HashMap<u32, usize>,
        has_ended: HashMap<u32, bool>,
    }

    impl Served {
        fn new(n_sockets: u32) -> Self {
            let mut ring = Ring::new(bell().unwrap()).expect("this host has io_uring");
            let pair = |slot| {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let ours = Socket::from(ours);
                ours.set_nonblocking(true).unwrap();
                theirs.set_nonblocking(true).unwrap();
                ring.watch(&ours, ConnectionId { slot, generation: 7 });
                (ours, theirs)
            };
            let sockets = (0..n_sockets).map(pair).collect();
            ring.submit();
            let (n_read, n_unwritten, has_ended) = Default::default();
            Self { ring, sockets, n_read, n_unwritten, has_ended }
        }

        fn serve(&mut self) {
            let mut ready = Vec::new();
            self.ring.for_each_ready(|id, what| ready.push((id, what)));
            for (id, what) in ready {
                assert_eq!(id.generation, 7);
                if what.is_last {
                    self.ring.watch(&self.sockets[id.slot as usize].0, id);
                    self.ring.submit();
                }
                self.read(id.slot, what.is_at_end);
                if what.can_write {
                    self.write(id.slot);
                }
            }
        }

        fn read(&mut self, slot: u32, is_at_end: bool) {
            let mut buffer = [0; 100];
            loop {
                match (&self.sockets[slot as usize].0).read(&mut buffer) {
                    Ok(0) => break self.end(slot),
                    Ok(n) => {
                        *self.n_read.entry(slot).or_default() += n;
                        if n < buffer.len() && !is_at_end {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => break self.end(slot),
                }
            }
        }

        fn end(&mut self, slot: u32) {
            self.has_ended.insert(slot, true);
        }

        /// Writes what is to be written, as far as there is room.
        fn write(&mut self, slot: u32) {
            let left = self.n_unwritten.entry(slot).or_default();
            while *left > 0 {
                match (&self.sockets[slot as usize].0).write(&vec![b'x'; (*left).min(5_000)]) {
                    Ok(n) => *left -= n,
                    Err(_) => break,
                }
            }
        }
    }

    /// The naive twin: it knows what was sent, and asks nobody.
    #[test]
    fn whoever_reads_when_told_reads_everything() {
        let mut chance = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move |n: usize| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            (chance >> 33) as usize % n
        };
        const N: u32 = 40;
        let mut served = Served::new(N);
        let mut n_sent = HashMap::<u32, usize>::new();
        let mut is_closed = HashMap::<u32, bool>::new();
        for _ in 0..4_000 {
            let slot = next(N as usize) as u32;
            match next(20) {
                0 if next(10) == 0 => {
                    served.sockets[slot as usize].1.shutdown(std::net::Shutdown::Write).unwrap();
                    is_closed.insert(slot, true);
                }
                1..=9 if !is_closed.contains_key(&slot) => {
                    let n = served.sockets[slot as usize].1.write(&vec![b'y'; 1 + next(350)]).unwrap_or(0);
                    *n_sent.entry(slot).or_default() += n;
                }
                _ => served.serve(),
            }
        }
        served.serve();
        for slot in 0..N {
            assert_eq!(served.n_read.get(&slot), n_sent.get(&slot), "socket {slot}");
            assert_eq!(served.has_ended.get(&slot), is_closed.get(&slot), "socket {slot}");
        }
    }

    #[test]
    fn whoever_writes_when_told_writes_everything() {
        let mut served = Served::new(1);
        served.serve();
        served.n_unwritten.insert(0, 3_000_000);
        served.write(0);
        let mut n_taken = 0;
        let mut buffer = vec![0; 70_000];
        while n_taken < 3_000_000 {
            assert!(served.n_unwritten[&0] < 3_000_000, "the first write takes some");
            n_taken += served.sockets[0].1.read(&mut buffer).expect("more was written when there was room");
            served.serve();
        }
    }

    #[test]
    fn more_events_than_fit_are_told_all_the_same() {
        let mut served = Served::new(1_000);
        for round in 1..=8 {
            for (_, theirs) in &mut served.sockets {
                theirs.write_all(b"z").unwrap();
            }
            // Nobody looks at the events of most rounds.
            if round % 8 == 0 {
                (0..4).for_each(|_| served.serve());
            }
        }
        assert!(served.n_read.values().all(|n| *n == 8) && served.n_read.len() == 1_000);
    }

    #[test]
    fn every_stroke_of_the_bell_ends_a_wait() {
        let stroke = bell().unwrap();
        let mut ring = Ring::new(stroke.try_clone().unwrap()).unwrap();
        ring.submit();
        for _ in 0..3 * N_EVENTS {
            rustix::io::write(&stroke, &1_u64.to_ne_bytes()).unwrap();
            assert!(ring.wait(Duration::from_secs(60)), "the ring heard it");
            ring.for_each_ready(|id, _| panic!("{id:?} is told of"));
            assert!(!ring.wait(Duration::ZERO), "it is heard once");
        }
    }

    #[test]
    fn a_socket_that_is_forgotten_is_free() {
        let mut served = Served::new(1);
        served.serve();
        let (ours, mut theirs) = served.sockets.pop().unwrap();
        served.ring.forget(ConnectionId { slot: 0, generation: 7 });
        served.ring.submit();
        drop(ours);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "nothing holds it open");
        served.ring.for_each_ready(|id, _| panic!("{id:?} is told though forgotten"));
    }
}
