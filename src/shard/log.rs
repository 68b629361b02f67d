//! What the log says of clients, at a limited rate: what one sends can't fill it. Not what the process says
//! of itself.

use super::Shard;
use super::closed::Closed;
use super::connection::Protocol;
use super::fanout::Clients;
use super::id::{ConnectionId, CoreId};
use super::limits::Limit;
use super::mail::Item;
use crate::time::{Span, Time};
use std::net::SocketAddr;

/// Lines about bad input in one second; the rest is counted.
const COMPLAINTS_PER_SECOND: u32 = 10;

/// No two lines about subjects without a topic are closer.
const NO_TOPIC_EVERY: Span = Span::from_secs(5);

/// Of a subject or a name so much is shown, in bytes as it came.
const SHOWN_MAX: usize = 128;

/// A client as the log names it: of NATS by the number that INFO gave it, and what it calls itself.
struct Who {
    protocol: &'static str,
    peer: SocketAddr,
    id: String,
    name: String,
}

/// Lines about bad input.
#[derive(Debug, Default)]
pub struct Complaints {
    since: Time,
    n: u32,
}

impl Complaints {
    /// Whether one more line fits this second.
    fn may_be_told(&mut self, now: Time) -> bool {
        if now.since(self.since) >= Span::from_secs(1) {
            let n_untold = self.n.saturating_sub(COMPLAINTS_PER_SECOND);
            if n_untold > 0 {
                tracing::warn!("{n_untold} more refusals and connections closed for bad input");
            }
            *self = Self { since: now, n: 0 };
        }
        self.n += 1;
        self.n <= COMPLAINTS_PER_SECOND
    }
}

/// Deliveries to MQTT of subjects that no topic can spell, as far as the log has not told of them.
#[derive(Debug, Default)]
pub struct NoTopic {
    told_at: Option<Time>,
    /// Since then.
    n_passed_over: u64,
    /// One to be told of whose publisher is another core's client.
    pub afar: Option<Box<Sighting>>,
}

/// A subject that no topic can spell, and what else of the kind there was before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sighting {
    pub subject: Box<[u8]>,
    pub n_passed_over: u64,
}

impl NoTopic {
    /// Counts `n` deliveries of a subject; one of them is to be told of where the last is long enough ago.
    fn sight(&mut self, subject: &[u8], n: u64, now: Time) -> Option<Sighting> {
        self.n_passed_over += n;
        if self.told_at.is_some_and(|told_at| now.since(told_at) < NO_TOPIC_EVERY) {
            return None;
        }
        self.told_at = Some(now);
        let n_passed_over = std::mem::take(&mut self.n_passed_over) - 1;
        Some(Sighting { subject: cut(subject).into(), n_passed_over })
    }
}

/// The front of a name; a byte more than is shown tells that there is more.
pub(super) fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(SHOWN_MAX + 1)]
}

/// What a client calls itself, as the log shows it.
fn shown_name(name: &[u8]) -> String {
    let more = if name.len() > SHOWN_MAX { "…" } else { "" };
    String::from_utf8_lossy(&name[..name.len().min(SHOWN_MAX)]).into_owned() + more
}

/// A subject as the log shows it.
fn shown(subject: &[u8]) -> String {
    let more = if subject.len() > SHOWN_MAX { "…" } else { "" };
    format!("{}{more}", on_one_line(&subject[..subject.len().min(SHOWN_MAX)]))
}

/// What a client sent as it reads in a line of the log: text as it is, quotes among it, and escapes for whatever
/// would end the line, steer a terminal, or is no text.
fn on_one_line(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\'' | '"' => line.push(letter),
                '\0'..='\x7f' => line.extend((letter as u8).escape_ascii().map(char::from)),
                _ => line.extend(letter.escape_debug()),
            }
        }
        line.extend(chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from));
    }
    line
}

impl Clients {
    /// Counts, and tells the log at times, that `n` messages of a subject have no topic. `publisher` is none
    /// where another core knows it.
    #[cold]
    pub(super) fn note_no_topic(
        &mut self,
        subject: &[u8],
        n: u64,
        publisher: Option<ConnectionId>,
        now: Time,
    ) {
        self.counters.unmappable += n;
        self.sight_no_topic(subject, n, publisher, now);
    }

    fn sight_no_topic(&mut self, subject: &[u8], n: u64, publisher: Option<ConnectionId>, now: Time) {
        let Some(sighting) = self.no_topic.sight(subject, n, now) else { return };
        let Some(publisher) = publisher else {
            self.no_topic.afar = Some(Box::new(sighting));
            return;
        };
        let Sighting { subject, n_passed_over } = sighting;
        let subject = shown(&subject);
        match self.who(publisher) {
            Some(Who { protocol, peer, id, name }) => {
                tracing::warn!(protocol, %peer, id, name, %subject, n_passed_over, "{NO_TOPIC}");
            }
            // It has left meanwhile.
            None => tracing::warn!(%subject, n_passed_over, "{NO_TOPIC}"),
        }
    }

    fn who(&self, id: ConnectionId) -> Option<Who> {
        let connection = self.slots.get(id)?;
        let (id, name) = match &connection.protocol {
            Protocol::Nats(nats) => {
                (nats.client_id().to_string(), shown_name(nats.name().unwrap_or_default().as_bytes()))
            }
            Protocol::Mqtt(mqtt) => (shown_name(mqtt.client_id()), String::new()),
        };
        Some(Who { protocol: connection.protocol_kind().name(), peer: connection.peer, id, name })
    }
}

const NO_TOPIC: &str = "no topic can spell this subject, MQTT subscribers go without";

impl Shard {
    /// Tells a publisher's core of a subject without a topic: who that is only it can say.
    #[cold]
    pub(super) fn post_no_topic(&mut self, origin: CoreId, publisher: ConnectionId) {
        let Some(sighting) = self.clients.no_topic.afar.take() else { return };
        if origin != self.core {
            self.peers[origin.idx()].outbox.push(Item::NoTopic { publisher, sighting });
        }
    }

    /// Hears of one from a core where it was to be delivered.
    pub(super) fn hear_no_topic(&mut self, publisher: ConnectionId, sighting: &Sighting) {
        let n = sighting.n_passed_over + 1;
        self.clients.sight_no_topic(&sighting.subject, n, Some(publisher), self.now);
    }

    pub(super) fn log_close(&mut self, id: ConnectionId, n_pending_bytes: usize, closed: Closed, now: Time) {
        let is_complaint = closed.is_peers_fault();
        if is_complaint && !self.complaints.may_be_told(now) {
            return;
        }
        let is_ours = matches!(closed, Closed::SlowConsumer(_) | Closed::Panicked);
        if !is_complaint && !is_ours && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        // What an MQTT client is refused says its limit itself.
        let limit = closed.limit().filter(|_| closed.mqtt_refused().is_none());
        let limit =
            limit.map_or_else(String::new, |it| format!(", {} is {}", it.key(), it.value(&self.settings)));
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        if is_ours {
            tracing::warn!(protocol, %peer, id, name, pending_bytes = n_pending_bytes, "closed: {closed}{limit}");
        } else if is_complaint {
            tracing::warn!(protocol, %peer, id, name, "closed: {closed}{limit}");
        } else {
            tracing::debug!(protocol, %peer, id, name, "closed: {closed}");
        }
    }

    /// As `log_refusal`, of one filter of an MQTT client's.
    pub(super) fn log_refused_filter(&mut self, id: ConnectionId, filter: &[u8], why: &str, now: Time) {
        if !self.complaints.may_be_told(now) {
            return;
        }
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        let filter = shown(filter);
        tracing::warn!(protocol, %peer, id, name, %filter, "subscription refused: {why}");
    }

    /// Names the limit that a client has to wait for, at a limited rate.
    pub(super) fn log_wait(&mut self, id: ConnectionId, limit: Limit, now: Time) {
        if !self.complaints.may_be_told(now) {
            return;
        }
        let (limit, value) = (limit.key(), limit.value(&self.settings));
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        tracing::warn!(protocol, %peer, id, name, "it publishes more than it may, and waits: {limit} is {value}");
    }

    /// Notes in the log, at a limited rate, what a client was refused though its connection stays.
    pub(super) fn log_refusal(&mut self, id: ConnectionId, what: &[u8], in_the_way: &str, now: Time) {
        if !self.complaints.may_be_told(now) {
            return;
        }
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        let what = on_one_line(what.trim_ascii_end());
        let comma = if in_the_way.is_empty() { "" } else { ", " };
        tracing::warn!(protocol, %peer, id, name, "refused: {what}{comma}{in_the_way}");
    }
}
