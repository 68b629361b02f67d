//! What an operator may see of this core's connections and subscriptions, in slices: a look at any number of
//! them is many short turns. Not the counters: those are `counters`.

use super::Shard;
use super::closed::Closed;
use super::connection::{Connection, Protocol, Subscription, SubscriptionKind};
use super::id::ConnectionId;
use super::table::Table;
use crate::message::ProtocolKind;
use crate::subject::overlap;
use crate::time::{Span, Time};
use std::net::SocketAddr;

/// The most connections or subscriptions that one turn looks at.
pub const SLICE: usize = 256;

/// Connections that have ended and are remembered for those who ask; the oldest go first.
pub const ENDED_MAX: usize = 1_024;

/// What is asked, each answered by one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The connections in the slots from this one on.
    Connections { from: usize },
    /// Those that have ended, the oldest first; `from` counts all that ever ended here.
    Ended { from: u64 },
    /// One connection's subscriptions from this key on.
    Subscriptions { of: ConnectionId, from: usize },
}

#[derive(Clone, Debug)]
pub enum Answer {
    Connections { found: Vec<Seen>, next: Option<usize> },
    Ended { found: Vec<Seen>, next: Option<u64> },
    Subscriptions { found: Vec<SeenSubscription>, next: Option<usize> },
}

/// A connection as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: ConnectionId,
    /// Its number in the process: `client_id` in INFO.
    pub cid: u64,
    pub protocol: ProtocolKind,
    pub peer: SocketAddr,
    pub accepted_at: Time,
    pub active_at: Time,
    pub n_pending_bytes: usize,
    pub traffic: Traffic,
    pub n_subscriptions: usize,
    /// How long a NATS client's last PONG took, or its CONNECT.
    pub round_trip: Option<Span>,
    pub name: Option<Box<str>>,
    pub lang: Option<Box<str>>,
    pub version: Option<Box<str>>,
    pub user: Option<Box<str>>,
    /// An MQTT client's id.
    pub mqtt_client: Option<Box<str>>,
    pub end: Option<(Time, Closed)>,
}

#[derive(Clone, Debug)]
pub struct SeenSubscription {
    pub subject: String,
    pub group: Option<String>,
    /// An MQTT client's is its filter.
    pub sid: String,
    /// `None` of an MQTT client's: nobody counts them one by one.
    pub n_delivered: Option<u64>,
    pub max: Option<u64>,
}

impl SeenSubscription {
    /// Whether some subject matches both it and `filter`.
    pub fn overlaps(&self, filter: &str) -> bool {
        overlap(self.subject.as_bytes(), filter.as_bytes())
    }
}

/// What a connection has moved: payloads and header blocks, as nats-server counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages taken from it.
    pub n_in: u64,
    pub in_bytes: u64,
    /// Messages taken into its queue.
    pub n_out: u64,
    pub out_bytes: u64,
}

impl Traffic {
    #[inline]
    pub fn count_out(&mut self, n: u64, n_bytes: u64) {
        self.n_out += n;
        self.out_bytes += n_bytes;
    }
}

/// The connections that ended last.
#[derive(Debug, Default)]
pub struct Ended {
    last: std::collections::VecDeque<Seen>,
    /// All that ever ended here.
    n: u64,
}

impl Ended {
    pub fn note(&mut self, seen: Seen) {
        if self.last.len() == ENDED_MAX {
            self.last.pop_front();
        }
        self.last.push_back(seen);
        self.n += 1;
    }

    fn slice(&self, from: u64) -> Answer {
        let oldest = self.n - self.last.len() as u64;
        let start = from.max(oldest);
        let found: Vec<_> = self.last.iter().skip((start - oldest) as usize).take(SLICE).cloned().collect();
        let after = start + found.len() as u64;
        Answer::Ended { found, next: (after < self.n).then_some(after) }
    }
}

impl Shard {
    /// One slice of an answer; where it has a `next`, the question goes on there.
    pub fn look(&self, question: Question) -> Answer {
        match question {
            Question::Connections { from } => {
                let slots = &self.clients.slots;
                let open = slots.range(from, SLICE).filter(|(_, connection)| connection.is_open());
                let found = open.map(|(id, connection)| seen(id, connection)).collect();
                let after = from.saturating_add(SLICE);
                Answer::Connections { found, next: (after < slots.n_places()).then_some(after) }
            }
            Question::Ended { from } => self.clients.ended.slice(from),
            Question::Subscriptions { of, from } => {
                let Some(connection) = self.clients.slots.get(of) else {
                    return Answer::Subscriptions { found: Vec::new(), next: None };
                };
                let subscriptions = &connection.subscriptions;
                let found =
                    subscriptions.range(from, SLICE).map(|it| seen_subscription(it, &self.table)).collect();
                let after = from.saturating_add(SLICE);
                Answer::Subscriptions { found, next: (after < subscriptions.n_places()).then_some(after) }
            }
        }
    }

    /// Remembers a connection that ends.
    pub(super) fn note_end(&mut self, id: ConnectionId, closed: Closed, now: Time) {
        if let Some(connection) = self.clients.slots.get(id) {
            let end = Some((now, closed));
            self.clients.ended.note(Seen { end, ..seen(id, connection) });
        }
    }

    /// Counts what a read brought for its connection: the shard's own counts before it and now.
    pub(super) fn count_taken(&mut self, id: ConnectionId, before: [u64; 2]) {
        let after = self.n_published(id);
        if after != before
            && let Some(connection) = self.clients.slots.get_mut(id)
        {
            connection.traffic.n_in += after[0] - before[0];
            connection.traffic.in_bytes += after[1] - before[1];
        }
    }

    /// Messages taken from clients of this one's protocol, and their bytes; of all header blocks, which only
    /// one read adds to at a time.
    pub(super) fn n_published(&self, id: ConnectionId) -> [u64; 2] {
        let counters = &self.clients.counters;
        let kind = self.clients.slots.get(id).map_or(0, |connection| connection.protocol_kind() as usize);
        let n_bytes = counters.published_bytes[kind] + counters.published_header_bytes;
        [counters.published[kind], n_bytes]
    }
}

/// A connection as it is now.
pub fn seen(id: ConnectionId, connection: &Connection) -> Seen {
    let mut seen = Seen {
        id,
        cid: cid(connection.nth),
        protocol: connection.protocol_kind(),
        peer: connection.peer,
        accepted_at: connection.accepted_at,
        active_at: connection.read_at.max(connection.written_at),
        n_pending_bytes: connection.n_queued_bytes(),
        traffic: connection.traffic,
        n_subscriptions: connection.subscriptions.len(),
        round_trip: connection.round_trip.map(|nanos| Span::from_nanos(nanos.get())),
        name: None,
        lang: None,
        version: None,
        user: None,
        mqtt_client: None,
        end: None,
    };
    match &connection.protocol {
        Protocol::Nats(nats) => {
            let options = nats.options();
            seen.name.clone_from(&options.name);
            seen.lang.clone_from(&options.lang);
            seen.version.clone_from(&options.version);
            seen.user.clone_from(&options.user);
        }
        Protocol::Mqtt(mqtt) => {
            let client_id = String::from_utf8_lossy(mqtt.client_id());
            seen.mqtt_client = (!client_id.is_empty()).then(|| client_id.into_owned().into());
        }
    }
    seen
}

/// A connection's number, from 1 in the order in which the process accepted them.
pub fn cid(nth: u64) -> u64 {
    nth + 1
}

fn seen_subscription(subscription: &Subscription, table: &Table) -> SeenSubscription {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let subject = text(table.text(subscription.filter));
    match &subscription.kind {
        SubscriptionKind::Nats { sid, n_delivered, special } => SeenSubscription {
            subject,
            group: subscription.group().map(|group| text(group.name)),
            sid: text(sid.as_bytes()),
            n_delivered: Some(*n_delivered),
            max: special.as_ref().and_then(|special| special.max),
        },
        SubscriptionKind::Mqtt { topic_filter, .. } => SeenSubscription {
            subject,
            group: subscription.group().map(|group| text(group.name)),
            sid: text(topic_filter),
            n_delivered: None,
            max: None,
        },
    }
}
