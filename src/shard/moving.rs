//! A connection that was accepted on one core and moves to the home core of its client's session, once its CONNECT
//! says whose it is. Not the take-over that its coming may be: `serve_mqtt/connect`.

use super::closed::Closed;
use super::connection::{Connection, Life};
use super::id::ConnectionId;
use super::{Door, Shard};
use crate::mqtt::decode::{Decoded, decode};
use crate::mqtt::packet::{Packet, Version};
use crate::time::Time;
use std::net::SocketAddr;

/// A connection on its way to its session's home core, with all that it has sent.
#[derive(Debug)]
pub struct Moved {
    pub door: Door,
    pub peer: SocketAddr,
    kept: Vec<u8>,
    nth: u64,
    accepted_at: Time,
    claimed_at: Time,
    read_at: Time,
}

impl Shard {
    /// Takes a connection out that leaves for its home core; its socket follows it.
    pub fn depart(&mut self, id: ConnectionId) -> Option<Moved> {
        let connection = self.clients.slots.get(id)?;
        if !matches!(connection.life, Life::Leaving(_)) {
            return None;
        }
        self.forget_unconnected(id);
        let connection = self.clients.slots.remove(id)?;
        self.clients.counters.n_connections[connection.protocol_kind() as usize] -= 1;
        self.clients.counters.n_departed += 1;
        self.freed.note();
        // Nothing was written yet: whatever is said to it, refusals included, is said by its home core.
        debug_assert!(connection.queue.is_empty() && connection.subscriptions.keys().is_empty());
        let Connection { door, peer, kept, nth, accepted_at, claimed_at, read_at, .. } = *connection;
        Some(Moved { door, peer, kept, nth, accepted_at, claimed_at, read_at })
    }

    /// Takes in a connection whose session lives here.
    pub fn arrive(&mut self, moved: Moved, now: Time) -> ConnectionId {
        self.now = now;
        let id = self.enter(moved.door, moved.peer, moved.nth, now);
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.is_home = true;
            connection.accepted_at = moved.accepted_at;
            connection.claimed_at = moved.claimed_at;
            connection.read_at = moved.read_at;
            connection.kept = moved.kept;
        }
        if self.has_closed() {
            self.close(id, Closed::ShuttingDown, now);
        }
        self.runnable.push_back(id);
        self.settle(now);
        id
    }

    /// The connection that one on its way takes its client id over from. Its driver reads that one first: what
    /// the client sent before it came anew may be a DISCONNECT, which takes its will away. [MQTT-3.14.4-3]
    pub fn predecessor(&self, moved: &Moved) -> Option<ConnectionId> {
        let Ok(Decoded::Packet(Packet::Connect(connect), _)) =
            decode(&moved.kept, Version::V5, &self.settings.mqtt.decode)
        else {
            return None;
        };
        self.directory.get(connect.client_id)
    }
}
