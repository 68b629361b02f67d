//! A non-blocking socket with what it has not written yet and what it has read only in part. Not a protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// A longer unfinished frame is read into its own buffer, not copied in front of each read.
const TAIL_COPIED_MAX: usize = 4096;
const READ_BYTES: usize = 256 * 1024;

pub struct Link {
    pub fd: OwnedFd,
    /// As the last event or the last call said.
    pub is_writable: bool,
    out: Vec<u8>,
    out_at: usize,
    tail: Vec<u8>,
}

/// What came of a read.
pub enum Read {
    /// Everything there was; an event will tell of more.
    Drained,
    /// The buffer was full: there may be more now.
    More,
    Closed,
}

impl Link {
    /// To an address, and from one where the system shall not choose it.
    pub fn connect(address: SocketAddr, from: Option<IpAddr>) -> io::Result<Link> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        if let Some(from) = from {
            rustix::net::bind(&fd, &SocketAddr::new(from, 0)).map_err(|error| {
                let error = io::Error::from(error);
                io::Error::new(error.kind(), format!("cannot connect from {from}: {error}"))
            })?;
        }
        match rustix::net::connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Link::of(fd)),
            Err(error) => Err(error.into()),
        }
    }

    /// Of a socket that is connected and does not block.
    pub fn of(fd: OwnedFd) -> Link {
        Link { fd, is_writable: false, out: Vec::new(), out_at: 0, tail: Vec::new() }
    }

    /// How a connect that was in progress ended.
    pub fn connected(&self) -> io::Result<()> {
        sockopt::socket_error(&self.fd)?.map_err(io::Error::from)
    }

    /// Words to be written in their order by `flush`.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub fn has_out(&self) -> bool {
        self.out_at < self.out.len()
    }

    /// True once nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.out_at < self.out.len() {
            if !self.is_writable {
                return Ok(false);
            }
            self.out_at += write_some(&self.fd, &self.out[self.out_at..], &mut self.is_writable)?;
        }
        self.out.clear();
        self.out_at = 0;
        Ok(true)
    }

    /// How many bytes the socket took; less than all means that it will tell when it takes more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while at < bytes.len() && self.is_writable {
            at += write_some(&self.fd, &bytes[at..], &mut self.is_writable)?;
        }
        Ok(at)
    }

    /// Reads once and hands over what there is; `take` says how much of it is done with.
    pub fn read<E: From<io::Error>>(
        &mut self,
        scratch: &mut Vec<u8>,
        take: impl FnOnce(&mut Vec<u8>, &[u8]) -> Result<usize, E>,
    ) -> Result<Read, E> {
        let is_long = self.tail.len() > TAIL_COPIED_MAX;
        let mut buffer = if is_long { std::mem::take(&mut self.tail) } else { std::mem::take(scratch) };
        if !is_long {
            buffer.clear();
            buffer.extend_from_slice(&self.tail);
            self.tail.clear();
        }
        buffer.reserve(READ_BYTES);
        let result = rustix::io::read(&self.fd, spare_capacity(&mut buffer));
        let outcome = match result {
            Ok(0) => Ok(Read::Closed),
            Ok(n) if n >= READ_BYTES => Ok(Read::More),
            Ok(_) | Err(Errno::AGAIN) => Ok(Read::Drained),
            Err(Errno::INTR) => Ok(Read::More),
            Err(error) => Err(E::from(error.into())),
        };
        let taken = if matches!(result, Ok(n) if n > 0) { take(&mut self.out, &buffer)? } else { 0 };
        if is_long {
            buffer.drain(..taken);
            self.tail = buffer;
        } else {
            self.tail.extend_from_slice(&buffer[taken..]);
            *scratch = buffer;
        }
        outcome
    }
}

fn write_some(fd: &OwnedFd, bytes: &[u8], is_writable: &mut bool) -> io::Result<usize> {
    match rustix::net::send(fd, bytes, rustix::net::SendFlags::NOSIGNAL) {
        Ok(n) => Ok(n),
        Err(Errno::AGAIN) => {
            *is_writable = false;
            Ok(0)
        }
        Err(Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
        ours.set_nonblocking(true).expect("it is a socket");
        (Link::of(ours.into()), theirs)
    }

    /// Takes whole groups of `size` bytes.
    fn read(link: &mut Link, size: usize, taken: &mut Vec<u8>) -> Read {
        let outcome = link.read(&mut Vec::new(), |_, bytes| {
            let whole = bytes.len() / size * size;
            taken.extend_from_slice(&bytes[..whole]);
            Ok::<_, io::Error>(whole)
        });
        outcome.expect("the other end is there")
    }

    #[test]
    fn what_is_not_whole_is_kept_for_the_next_read() {
        let (mut link, mut other) = pair();
        let mut taken = Vec::new();
        for part in [b"abc".as_slice(), b"de", b"f", b"gh"] {
            other.write_all(part).expect("there is room");
            assert!(matches!(read(&mut link, 4, &mut taken), Read::Drained));
        }
        assert_eq!(taken, b"abcdefgh");
    }

    #[test]
    fn a_long_frame_comes_together_over_many_reads() {
        let (mut link, mut other) = pair();
        let frame: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut taken = Vec::new();
        for part in frame.chunks(7000) {
            other.write_all(part).expect("there is room");
            read(&mut link, frame.len(), &mut taken);
        }
        assert_eq!(taken, frame);
    }

    #[test]
    fn the_end_and_an_empty_socket_are_told_apart() {
        let (mut link, other) = pair();
        let mut taken = Vec::new();
        assert!(matches!(read(&mut link, 1, &mut taken), Read::Drained));
        drop(other);
        assert!(matches!(read(&mut link, 1, &mut taken), Read::Closed));
        link.is_writable = true;
        link.out().extend_from_slice(b"x");
        assert!(link.flush().is_err(), "nobody is there to hear it");
    }

    #[test]
    fn words_wait_until_the_socket_takes_them() {
        let (mut link, other) = pair();
        link.out().extend_from_slice(b"PING");
        assert!(link.has_out() && !link.flush().expect("it waits"), "it was not said to be writable");
        link.is_writable = true;
        assert!(link.flush().expect("there is room") && !link.has_out());
        let many = vec![0; 8 << 20];
        let n = link.write(&many).expect("the other end is there");
        assert!(n < many.len() && !link.is_writable, "a full socket is not writable");
        drop(other);
    }
}
