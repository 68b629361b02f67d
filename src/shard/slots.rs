//! Who is in which slot of a core: a connection, or the session that one has left behind. A session whose
//! client is gone keeps its slot, since its subscriptions' places in the table name that; nothing else of the
//! connection stays, so that it costs what it is.

use super::connection::{Connection, Life, Protocol, Subscriptions};
use super::id::{self, ConnectionId};
use super::replay::DueReplays;
use crate::mqtt::session::Session;
use crate::time::Time;

/// A session that waits for its client.
#[derive(Debug)]
pub struct Offline {
    pub session: Session,
    pub subscriptions: Subscriptions,
    pub replays: Option<Box<DueReplays>>,
    /// As a connection's.
    pub check_at: Time,
}

/// Both are behind a pointer: what a slot takes beside is lost a second time whenever the list of them grows.
#[derive(Debug)]
enum Occupant {
    Connected(Box<Connection>),
    Offline(Box<Offline>),
}

impl Occupant {
    /// Bytes that are kept for it in all.
    fn n_queued_bytes(&self) -> usize {
        match self {
            Self::Connected(connection) => connection.n_queued_bytes(),
            Self::Offline(offline) => offline.session.inflight.n_bytes(),
        }
    }
}

/// What takes messages for a client of MQTT, be it there or not.
#[derive(Debug)]
pub struct Recipient<'s> {
    pub session: &'s mut Session,
    pub subscriptions: &'s Subscriptions,
    /// Its client is there, and has yet to be told so.
    pub awaits_connack: bool,
}

/// A core's connections and its sessions without one. What asks for a connection is not given the latter.
#[derive(Debug, Default)]
pub struct Slots {
    occupants: id::Slots<Occupant>,
    /// How often all queues were looked through.
    #[cfg(test)]
    pub n_looks_at_queues: std::cell::Cell<u64>,
}

impl Slots {
    pub fn insert(&mut self, connection: Connection) -> ConnectionId {
        self.occupants.insert(Occupant::Connected(Box::new(connection)))
    }

    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        match self.occupants.get(id)? {
            Occupant::Connected(connection) => Some(connection),
            Occupant::Offline(_) => None,
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        match self.occupants.get_mut(id)? {
            Occupant::Connected(connection) => Some(connection),
            Occupant::Offline(_) => None,
        }
    }

    /// Takes a connection out that leaves nothing behind.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.get(id)?;
        match self.occupants.remove(id)? {
            Occupant::Connected(connection) => Some(connection),
            Occupant::Offline(_) => None,
        }
    }

    /// Leaves nothing of a connection but its session; false where there is none to leave.
    pub fn go_offline(&mut self, id: ConnectionId) -> bool {
        let is_mqtt = self.get(id).is_some_and(|it| matches!(it.protocol, Protocol::Mqtt(_)));
        is_mqtt && self.occupants.replace_with(id, left_behind)
    }

    pub fn is_offline(&self, id: ConnectionId) -> bool {
        self.offline(id).is_some()
    }

    pub fn offline(&self, id: ConnectionId) -> Option<&Offline> {
        match self.occupants.get(id)? {
            Occupant::Connected(_) => None,
            Occupant::Offline(offline) => Some(offline),
        }
    }

    /// Takes out a session without a connection.
    pub fn remove_offline(&mut self, id: ConnectionId) -> Option<Box<Offline>> {
        self.offline(id)?;
        match self.occupants.remove(id)? {
            Occupant::Connected(_) => None,
            Occupant::Offline(offline) => Some(offline),
        }
    }

    /// The session of an MQTT client, be it there or not.
    pub fn session(&self, id: ConnectionId) -> Option<&Session> {
        match self.occupants.get(id)? {
            Occupant::Connected(connection) => connection.session(),
            Occupant::Offline(offline) => Some(&offline.session),
        }
    }

    pub fn session_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.recipient(id).map(|recipient| recipient.session)
    }

    pub fn recipient(&mut self, id: ConnectionId) -> Option<Recipient<'_>> {
        match self.occupants.get_mut(id)? {
            Occupant::Connected(connection) => {
                let Connection { protocol, subscriptions, awaits_connack, .. } = &mut **connection;
                let Protocol::Mqtt(mqtt) = protocol else { return None };
                let awaits_connack = *awaits_connack;
                Some(Recipient { session: &mut mqtt.session, subscriptions, awaits_connack })
            }
            Occupant::Offline(offline) => {
                let Offline { session, subscriptions, .. } = &mut **offline;
                Some(Recipient { session, subscriptions, awaits_connack: false })
            }
        }
    }

    /// The subscriptions of whoever is there.
    pub fn subscriptions(&self, id: ConnectionId) -> Option<&Subscriptions> {
        match self.occupants.get(id)? {
            Occupant::Connected(connection) => Some(&connection.subscriptions),
            Occupant::Offline(offline) => Some(&offline.subscriptions),
        }
    }

    /// What whoever is there is still due of what is retained.
    pub fn replays(&self, id: ConnectionId) -> Option<&DueReplays> {
        match self.occupants.get(id) {
            None => None,
            Some(Occupant::Connected(connection)) => connection.replays.as_deref(),
            Some(Occupant::Offline(offline)) => offline.replays.as_deref(),
        }
    }

    /// Takes what a client or its session has subscribed to, and what it is still due of that.
    pub fn take_subscriptions(&mut self, id: ConnectionId) -> (Subscriptions, Option<Box<DueReplays>>) {
        let (subscriptions, replays) = match self.occupants.get_mut(id) {
            None => return Default::default(),
            Some(Occupant::Connected(connection)) => (&mut connection.subscriptions, &mut connection.replays),
            Some(Occupant::Offline(offline)) => (&mut offline.subscriptions, &mut offline.replays),
        };
        (std::mem::take(subscriptions), std::mem::take(replays))
    }

    /// When deadlines are looked at next.
    pub fn check_at(&mut self, id: ConnectionId) -> Option<&mut Time> {
        Some(match self.occupants.get_mut(id)? {
            Occupant::Connected(connection) => &mut connection.check_at,
            Occupant::Offline(offline) => &mut offline.check_at,
        })
    }

    /// Whether there is no connection that goes on.
    pub fn is_over(&self, id: ConnectionId) -> bool {
        self.get(id).is_none_or(|connection| matches!(connection.life, Life::Closing(_)))
    }

    /// Connections and sessions without one.
    pub fn len(&self) -> usize {
        self.occupants.len()
    }

    pub fn is_empty(&self) -> bool {
        self.occupants.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.range(0, self.occupants.n_places())
    }

    /// The connections in `n_max` slots from `from` on.
    pub fn range(&self, from: usize, n_max: usize) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.occupants.range(from, n_max).filter_map(|(id, occupant)| match occupant {
            Occupant::Connected(connection) => Some((id, &**connection)),
            Occupant::Offline(_) => None,
        })
    }

    /// Bytes that are kept for everybody, by slot.
    pub fn queued_bytes(&self) -> impl Iterator<Item = (ConnectionId, usize)> {
        #[cfg(test)]
        self.n_looks_at_queues.set(self.n_looks_at_queues.get() + 1);
        let all = self.occupants.range(0, self.occupants.n_places());
        all.map(|(id, occupant)| (id, occupant.n_queued_bytes()))
    }

    /// Bytes that are kept for who is in a slot.
    pub fn queued_bytes_of(&self, id: ConnectionId) -> usize {
        self.occupants.get(id).map_or(0, Occupant::n_queued_bytes)
    }

    /// Slots, the free ones among them.
    pub fn n_places(&self) -> usize {
        self.occupants.n_places()
    }

    /// Connections, and sessions without one.
    pub fn everybody(&self) -> impl Iterator<Item = ConnectionId> {
        self.occupants.range(0, self.occupants.n_places()).map(|(id, _)| id)
    }

    /// Messages that wait in a session: for its client's window, or, of who is away, for its return.
    pub fn n_session_messages(&self, id: ConnectionId) -> u64 {
        let Some(inflight) = self.session(id).map(|session| &session.inflight) else { return 0 };
        let n = if self.is_offline(id) { inflight.n_unanswered() } else { inflight.n_waiting() };
        n as u64
    }

    pub fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(|(id, _)| id).collect()
    }
}

fn left_behind(occupant: Occupant) -> Occupant {
    let Occupant::Connected(connection) = occupant else { return occupant };
    let connection = *connection;
    debug_assert!(connection.queue.is_empty());
    match connection.protocol {
        Protocol::Mqtt(mqtt) => Occupant::Offline(Box::new(Offline {
            session: mqtt.session,
            subscriptions: connection.subscriptions,
            replays: connection.replays,
            check_at: Time::NEVER,
        })),
        protocol @ Protocol::Nats(_) => Occupant::Connected(Box::new(Connection { protocol, ..connection })),
    }
}
