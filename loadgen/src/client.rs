//! One connection from its first byte to its last: logging in, subscribing, and what each role does with what
//! the server says. Not the sockets' events; those are the worker's.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

use crate::mqtt::encode;
use crate::nats;
use crate::plan::{Plan, Protocol};
use crate::publisher::Publisher;
use crate::subscriber::{Subscriber, Tally};

/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 128;
pub const KEEP_ALIVE_SECS: u16 = 120;

/// Whom to log in as.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub user: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TCP.
    Connecting,
    /// INFO or CONNACK is awaited.
    Greeting,
    /// The PONG after CONNECT is awaited.
    Confirming,
    /// The PONG after SUB, or so many SUBACKs.
    Subscribing(usize),
    Ready,
}

pub enum Role {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
}

pub struct Client {
    pub name: String,
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub stage: Stage,
    pub role: Role,
    /// When connecting began, and when something was last said to keep the connection alive.
    pub since: u64,
    pub spoken: u64,
    /// Answers to pings that the end of a run asks for.
    pub is_confirmed: bool,
    pub asked_to_confirm: bool,
}

/// Why a connection is of no more use, in words for the user.
#[derive(Debug)]
pub struct Lost(pub String);

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        Lost(match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "the server dropped the connection".into()
            }
            _ => error.to_string(),
        })
    }
}

impl Client {
    /// TCP stands: the protocol begins.
    pub fn connected(&mut self, out: &mut Vec<u8>, credentials: &Credentials) {
        self.stage = Stage::Greeting;
        if let Protocol::Mqtt(version) = self.protocol {
            let login = encode::Login {
                client_id: &self.name,
                user: credentials.user.as_deref(),
                password: credentials.password.as_deref(),
                keep_alive_secs: KEEP_ALIVE_SECS,
            };
            encode::connect(out, version, &login);
        }
    }

    /// What is being waited for, when it takes too long.
    pub fn awaited(&self) -> &'static str {
        match (self.stage, self.protocol) {
            (Stage::Connecting, _) => "the TCP connection",
            (Stage::Greeting, Protocol::Nats) => "the server's INFO",
            (Stage::Greeting, Protocol::Mqtt(_)) => "the server's CONNACK",
            (Stage::Confirming, _) => "the PONG after CONNECT",
            (Stage::Subscribing(_), Protocol::Nats) => "the PONG after SUB",
            (Stage::Subscribing(_), Protocol::Mqtt(_)) => "the server's SUBACK",
            (Stage::Ready, _) => "nothing",
        }
    }

    /// A question whose answer says that the server has read everything before it.
    pub fn ask_to_confirm(&mut self, out: &mut Vec<u8>) {
        self.asked_to_confirm = true;
        self.ping(out);
    }

    pub fn ping(&self, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::Nats => out.extend_from_slice(b"PING\r\n"),
            Protocol::Mqtt(_) => encode::ping(out),
        }
    }

    pub fn say_goodbye(&self, out: &mut Vec<u8>) {
        if matches!(self.protocol, Protocol::Mqtt(_)) && self.stage == Stage::Ready {
            encode::disconnect(out);
        }
    }

    pub fn subscribe(&mut self, out: &mut Vec<u8>, plan: &Plan) {
        let Role::Subscriber(subscriber) = &self.role else {
            self.stage = Stage::Ready;
            return;
        };
        let filters = plan.filters_of(subscriber.idx);
        match self.protocol {
            Protocol::Nats => {
                filters.enumerate().for_each(|(sid, idx)| {
                    nats::subscribe(out, &plan.filter(idx), plan.queue(), sid as u64 + 1);
                });
                out.extend_from_slice(b"PING\r\n");
                self.stage = Stage::Subscribing(1);
            }
            Protocol::Mqtt(version) => {
                let filters: Vec<String> = filters.map(|idx| plan.filter(idx)).collect();
                let packets = filters.chunks(FILTERS_PER_PACKET);
                self.stage = Stage::Subscribing(packets.len());
                for (n, packet) in packets.enumerate() {
                    encode::subscribe(out, version, (n % 65_000) as u16 + 1, packet, plan.qos);
                }
            }
        }
    }

    /// Takes what the server has said; gives how many bytes of it are done with.
    pub fn take(
        &mut self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        credentials: &Credentials,
        tally: &mut Tally<'_>,
    ) -> Result<usize, Lost> {
        match self.protocol {
            Protocol::Nats => self.take_nats(out, bytes, credentials, tally),
            Protocol::Mqtt(version) => self.take_mqtt(out, bytes, version, tally),
        }
    }

    pub fn confirmed(&mut self) {
        self.is_confirmed |= self.asked_to_confirm;
    }
}
