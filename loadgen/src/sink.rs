//! A trivial server that counts what publishers send and throws it away: what the generator itself can do is
//! measured against it. Not a broker: a subscription is granted and gets nothing.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use serde_json::{Value, json};

use crate::cli::Sink;
use crate::clock::{Clock, process_cpu};
use crate::link::{Link, Read};
use crate::report::grouped;
use crate::sink_mqtt::MqttTalk;
use crate::sink_nats::{self, NatsTalk};

const EVENTS: usize = 256;
const NATS: u64 = 0;
const MQTT: u64 = 1;
/// Tokens below are the listeners'.
const FIRST_PEER: u64 = 2;
const SECOND: u64 = 1_000_000_000;
const TICK_NS: i64 = 100_000_000;

/// What has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub messages: u64,
    /// Of whole frames with a message.
    pub bytes: u64,
}

/// Why a client is of no more use.
#[derive(Debug)]
pub enum Leave {
    /// It said so, or its connection broke.
    Gone,
    Wrong(&'static str),
}

impl From<io::Error> for Leave {
    fn from(_: io::Error) -> Leave {
        Leave::Gone
    }
}

enum Talk {
    Nats(NatsTalk),
    Mqtt(MqttTalk),
}

struct Peer {
    link: Link,
    talk: Talk,
}

struct Server {
    epoll: OwnedFd,
    nats: TcpListener,
    mqtt: TcpListener,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    scratch: Vec<u8>,
    counted: Counted,
    n_connections: u64,
    /// When the first and the last message came.
    span: Option<(u64, u64)>,
}

/// Until the time is over or a signal comes; gives the result.
pub fn run(options: &Sink, interrupted: &AtomicBool) -> Result<Value, String> {
    if let Some(core) = options.core {
        crate::run::pin(core)?;
    }
    let clock = Clock::start();
    let mut server = Server::new(options)?;
    let name = |listener: &TcpListener| listener.local_addr().map_err(|error| error.to_string());
    println!("sink: NATS on {}, MQTT on {}", name(&server.nats)?, name(&server.mqtt)?);
    let until = options.duration.map_or(u64::MAX, |duration| duration.as_nanos() as u64);
    let (mut next_line, mut before) = (SECOND, 0);
    while !interrupted.load(Ordering::Relaxed) && clock.now() < until {
        server.turn(&clock).map_err(|error| error.to_string())?;
        if clock.now() >= next_line {
            let messages = server.counted.messages;
            if !options.no_progress && messages > before {
                eprintln!("{:>14}   {:>12}/s", grouped(messages), grouped(messages - before));
            }
            (next_line, before) = (clock.now() + SECOND, messages);
        }
    }
    Ok(server.result())
}

impl Server {
    fn new(options: &Sink) -> Result<Server, String> {
        let listen = |address: &str| {
            let bound = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            bound.map_err(|error| format!("cannot listen on {address}: {error}"))
        };
        let (nats, mqtt) = (listen(&options.nats)?, listen(&options.mqtt)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        for (listener, token) in [(&nats, NATS), (&mqtt, MQTT)] {
            epoll::add(&epoll, listener, EventData::new_u64(token), EventFlags::IN)
                .map_err(|error| error.to_string())?;
        }
        Ok(Server {
            epoll,
            nats,
            mqtt,
            peers: Vec::new(),
            free: Vec::new(),
            scratch: Vec::new(),
            counted: Counted::default(),
            n_connections: 0,
            span: None,
        })
    }

    fn turn(&mut self, clock: &Clock) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let timeout = Timespec { tv_sec: 0, tv_nsec: TICK_NS };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let before = self.counted.messages;
        for event in events {
            match event.data.u64() {
                token @ (NATS | MQTT) => self.accept(token)?,
                token => self.serve((token - FIRST_PEER) as usize)?,
            }
        }
        if self.counted.messages > before {
            let now = clock.now();
            let first = self.span.map_or(now, |(first, _)| first);
            self.span = Some((first, now));
        }
        Ok(())
    }

    fn accept(&mut self, token: u64) -> io::Result<()> {
        let listener = if token == NATS { &self.nats } else { &self.mqtt };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                let is_gone = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                );
                return if is_gone { Ok(()) } else { Err(error) };
            }
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut link = Link::of(stream.into());
        link.is_writable = true;
        let talk = if token == NATS {
            link.out().extend_from_slice(sink_nats::INFO);
            Talk::Nats(NatsTalk::default())
        } else {
            Talk::Mqtt(MqttTalk::default())
        };
        let at = self.free.pop().unwrap_or(self.peers.len());
        if at == self.peers.len() {
            self.peers.push(None);
        }
        let data = EventData::new_u64(at as u64 + FIRST_PEER);
        epoll::add(&self.epoll, link.fd.as_fd(), data, EventFlags::IN)?;
        self.peers[at] = Some(Peer { link, talk });
        self.n_connections += 1;
        self.serve(at)
    }

    /// Reads once and answers. As long as a client does not take its answers, nothing more is read from it.
    fn serve(&mut self, at: usize) -> io::Result<()> {
        let Some(Peer { link, talk }) = &mut self.peers[at] else { return Ok(()) };
        let had_out = link.has_out();
        link.is_writable = true;
        let counted = &mut self.counted;
        let is_flushed = link.flush();
        let served = match is_flushed {
            Ok(false) => Ok(Read::Drained),
            Err(_) => Err(Leave::Gone),
            Ok(true) => link.read(&mut self.scratch, |out, bytes| match talk {
                Talk::Nats(talk) => talk.take(out, bytes, counted),
                Talk::Mqtt(talk) => talk.take(out, bytes, counted),
            }),
        };
        let served = served.and_then(|read| Ok(link.flush().map(|_| read)?));
        match served {
            Ok(Read::Drained | Read::More) => {
                if had_out || link.has_out() {
                    let flags = if link.has_out() { EventFlags::OUT } else { EventFlags::IN };
                    let data = EventData::new_u64(at as u64 + FIRST_PEER);
                    epoll::modify(&self.epoll, link.fd.as_fd(), data, flags)?;
                }
            }
            Ok(Read::Closed) | Err(Leave::Gone) => self.release(at),
            Err(Leave::Wrong(why)) => {
                eprintln!("loadgen: a client is dropped: {why}");
                self.release(at);
            }
        }
        Ok(())
    }

    fn release(&mut self, at: usize) {
        self.peers[at] = None;
        self.free.push(at);
    }

    fn result(&self) -> Value {
        let seconds = self.span.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9);
        let per_second = if seconds > 0.0 { self.counted.messages as f64 / seconds } else { 0.0 };
        let cpu_s = process_cpu() as f64 / 1e9;
        json!({
            "loadgen": env!("CARGO_PKG_VERSION"),
            "verb": "sink",
            "command": std::env::args().collect::<Vec<_>>(),
            "duration_s": seconds,
            "received": self.counted.messages,
            "bytes": self.counted.bytes,
            "rates": { "received_per_s": per_second },
            "connections": { "opened": self.n_connections },
            "generator": { "cpu_s": cpu_s },
        })
    }
}
