//! One connection as the world sees it: a client at one end, a shard at the other, and a socket between them
//! with little room.

use super::client::Client;
use super::limiting::Seen;
use super::mqtt_client::Sent;
use crate::shard::id::{ConnectionId, CoreId};
use crate::time::Time;
use std::collections::VecDeque;

#[derive(Debug)]
pub struct Link {
    pub client: Client,
    pub place: Place,
    pub end: End,
    /// The shard knows that the client's end is over.
    pub end_was_told: bool,
    /// Sent and not read by the shard.
    pub to_shard: VecDeque<u8>,
    /// Written and not read by the client.
    pub to_client: VecDeque<u8>,
    /// The shard's queue did not fit.
    pub has_unwritten: bool,
    /// The shard ends it.
    pub is_ending: bool,
    /// All was written, and the shard's end is shut.
    pub is_shut: bool,
    /// The client does not read.
    pub is_paused: bool,
    /// There is a reason why the gateway may end it.
    pub may_end: bool,
    pub seen: Seen,
}

/// Where the shard's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    At(CoreId, ConnectionId),
    Moving,
    Gone,
}

/// The client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// It sends nothing more, and reads on.
    HalfClosed,
    /// It sends and reads nothing more; what it had sent can be read.
    Closed,
    /// As closed, and what it had sent is lost.
    Reset,
}

impl Link {
    pub fn new(client: Client, core: CoreId, id: ConnectionId, now: Time) -> Self {
        Self {
            client,
            place: Place::At(core, id),
            end: End::Open,
            end_was_told: false,
            to_shard: VecDeque::new(),
            to_client: VecDeque::new(),
            has_unwritten: false,
            is_ending: false,
            is_shut: false,
            is_paused: false,
            may_end: false,
            seen: Seen::new(now),
        }
    }

    /// Whether its client still reads.
    pub fn listens(&self) -> bool {
        matches!(self.end, End::Open | End::HalfClosed) && self.place != Place::Gone
    }

    /// Whether its client still sends.
    pub fn is_open(&self) -> bool {
        self.end == End::Open && self.place != Place::Gone && !self.has_left()
    }

    fn has_left(&self) -> bool {
        match &self.client {
            Client::Nats(_) => false,
            Client::Mqtt(mqtt) => mqtt.has_left(),
        }
    }

    /// Whether its CONNECT may yet be read.
    pub fn may_claim(&self) -> bool {
        match &self.client {
            Client::Nats(_) => false,
            Client::Mqtt(mqtt) => mqtt.sent.front() == Some(&Sent::Connect) && !self.to_shard.is_empty(),
        }
    }

    /// The MQTT client id.
    pub fn client_id(&self) -> Option<&str> {
        match &self.client {
            Client::Nats(_) => None,
            Client::Mqtt(mqtt) => Some(&mqtt.client_id),
        }
    }
}
