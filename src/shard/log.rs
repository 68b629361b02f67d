//! What the log says of clients, at a limited rate: what one sends can't fill it. Not what the process says
//! of itself.

use super::Shard;
use super::closed::Closed;
use super::connection::Protocol;
use super::counters::Counters;
use super::fanout::Clients;
use super::id::{ConnectionId, CoreId};
use super::limits::Limit;
use super::mail::Item;
use crate::message::ProtocolKind;
use crate::time::often::{AtMost, Rarely, if_any};
use crate::time::{Span, Time};
use std::net::SocketAddr;
use tracing::field::{DisplayValue, display};

/// Lines about what clients are refused; the rest is counted.
const COMPLAINTS: AtMost = AtMost { n: 10, each: Span::from_secs(1) };

/// Lines about subjects that subscribers go without for one reason, and about what is lost by one limit.
const LOSSES: AtMost = AtMost { n: 1, each: Span::from_secs(5) };

/// Lines about clients that share a mount, which somebody has to configure otherwise.
const NAMELESS: AtMost = AtMost { n: 1, each: Span::from_secs(3_600) };

/// Of a subject or a name so much is shown, in bytes as it came.
const SHOWN_MAX: usize = 128;

/// A client as the log names it: of NATS by the number that INFO gave it, and what it calls itself.
struct Who {
    protocol: &'static str,
    /// `None` of a session whose client is away.
    peer: Option<DisplayValue<SocketAddr>>,
    id: String,
    name: String,
}

/// What an MQTT client names in vain.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    Filter(&'a [u8]),
    Topic(&'a [u8]),
}

/// Lines about what clients are refused.
#[derive(Debug, Default)]
pub struct Complaints(Rarely);

impl Complaints {
    /// Whether the next line may be told.
    pub fn have_room(&self, now: Time) -> bool {
        self.0.is_due(COMPLAINTS, now)
    }

    /// Counts one more line; whether it may be told now.
    pub fn may_be_told(&mut self, now: Time) -> bool {
        self.tell_untold(now);
        self.0.tell(COMPLAINTS, 1, now).is_some()
    }

    /// Says how many were passed over, once their time is over.
    pub fn tell_untold(&mut self, now: Time) {
        if let Some(n_untold) = self.0.take_untold(COMPLAINTS, now) {
            tracing::warn!("{n_untold} more lines about refusals, bad input and clients that wait");
        }
    }

    /// When that is due.
    pub fn wake_at(&self) -> Option<Time> {
        self.0.untold_due(COMPLAINTS)
    }
}

/// What is lost of clients' messages, by the limit that was reached.
#[derive(Debug)]
pub struct Losses {
    told: [Rarely; Limit::COUNT],
    /// How many messages had been lost when a line said so last, by `Queues`.
    n_messages_told: [u64; Queues::COUNT],
    /// No later than when it is time to tell what was passed over, if anything was.
    due: Option<Time>,
}

impl Default for Losses {
    fn default() -> Self {
        Self { told: [Rarely::default(); Limit::COUNT], n_messages_told: [0; Queues::COUNT], due: None }
    }
}

impl Losses {
    /// Counts one more; where it is to be told, how many were passed over before it.
    fn tell(&mut self, limit: Limit, now: Time) -> Option<u64> {
        let told = &mut self.told[limit as usize];
        let n_before = told.tell(LOSSES, 1, now);
        if n_before.is_none() {
            self.due = [self.due, told.untold_due(LOSSES)].into_iter().flatten().min();
        }
        n_before
    }

    /// How many messages the queues that have this limit have lost since a line said so last. They go on losing
    /// while there is no other line: for one client there is one until it has caught up.
    fn n_messages(&mut self, limit: Limit, counters: &Counters) -> Option<u64> {
        let queues = Queues::with(limit)?;
        let n_lost = match queues {
            Queues::Write => counters.dropped_queue_full,
            Queues::Sessions => counters.dropped_session_full,
            Queues::LeftBehind => counters.dropped_left_behind,
        };
        Some(n_lost - std::mem::replace(&mut self.n_messages_told[queues as usize], n_lost))
    }

    /// When it is time to tell what was passed over.
    pub fn wake_at(&self) -> Option<Time> {
        self.due
    }
}

/// Queues whose lost messages are counted together, whichever of their limits it was.
#[derive(Clone, Copy)]
enum Queues {
    Write,
    Sessions,
    LeftBehind,
}

impl Queues {
    const COUNT: usize = 3;

    fn with(limit: Limit) -> Option<Self> {
        match limit {
            Limit::WriteQueue => Some(Self::Write),
            Limit::SessionQueueMessages | Limit::SessionQueueBytes => Some(Self::Sessions),
            Limit::LeftBehindMessages | Limit::LeftBehindBytes => Some(Self::LeftBehind),
            _ => None,
        }
    }
}

/// Why subscribers of one kind go without a message because of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// To MQTT: no topic can spell it.
    NoTopic,
    /// To NATS: its line would be longer than `nats.control_line_bytes_max`.
    LineTooLong,
}

/// Deliveries that were not made because of their subjects, as far as the log has not told of them.
#[derive(Debug, Default)]
pub struct UnseenSubjects {
    /// By `Unseen`.
    told: [Rarely; 2],
    /// Those to be told of whose publisher is another core's client.
    pub afar: Vec<Sighting>,
}

/// A subject that subscribers went without, and what else of the kind there was before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sighting {
    pub why: Unseen,
    pub subject: Box<[u8]>,
    pub n_passed_over: u64,
}

impl UnseenSubjects {
    /// When it is time to tell what was passed over.
    pub fn wake_at(&self) -> Option<Time> {
        self.told.iter().filter_map(|told| told.untold_due(LOSSES)).min()
    }

    /// Says how much was passed over, once that is due.
    fn tell_untold(&mut self, now: Time) {
        for why in [Unseen::NoTopic, Unseen::LineTooLong] {
            if let Some(n_more) = self.told[why as usize].take_untold(LOSSES, now) {
                tracing::warn!("{n_more} more: {}", why.text());
            }
        }
    }

    /// Counts `n` deliveries of a subject; one of them is to be told of where the last is long enough ago.
    fn sight(&mut self, why: Unseen, subject: &[u8], n: u64, now: Time) -> Option<Sighting> {
        let n_before = self.told[why as usize].tell(LOSSES, n, now)?;
        Some(Sighting { why, subject: cut(subject).into(), n_passed_over: n_before + n - 1 })
    }
}

/// What becomes of the messages that are beyond a limit.
fn lost(limit: Limit) -> &'static str {
    match limit {
        Limit::WriteQueue => "a slow consumer goes without messages of QoS 0",
        Limit::SessionQueueMessages | Limit::SessionQueueBytes => {
            "messages are lost that waited for a client"
        }
        Limit::RetainedMessages | Limit::RetainedBytes | Limit::RetainedPayload => {
            "a message is not retained"
        }
        Limit::LeftBehindMessages | Limit::LeftBehindBytes => {
            "messages are lost that members of groups have left to others"
        }
        Limit::CoreQueue => "the most that waits in a core without room is lost",
        Limit::Requests | Limit::RequestBytes => "the oldest request is forgotten for another",
        // Of the others a client hears, and loses nothing.
        _ => "it is more than may be",
    }
}

/// The front of a name; a byte more than is shown tells that there is more.
pub(super) fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(SHOWN_MAX + 1)]
}

/// So much of a name as is shown, and a sign that there is more.
fn front(name: &[u8]) -> (&[u8], &'static str) {
    match name.split_at_checked(SHOWN_MAX) {
        Some((front, [_, ..])) => (front, "…"),
        _ => (name, ""),
    }
}

/// What a client calls itself, as the log shows it.
fn shown_name(name: &[u8]) -> String {
    let (front, more) = front(name);
    String::from_utf8_lossy(front).into_owned() + more
}

/// A subject as the log shows it.
fn shown(subject: &[u8]) -> String {
    let (front, more) = front(subject);
    format!("{}{more}", on_one_line(front))
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
    /// Counts, and tells the log at times, that subscribers go without `n` messages of a subject. `publisher` is
    /// none where another core knows it.
    #[cold]
    pub(super) fn note_unseen(
        &mut self,
        why: Unseen,
        subject: &[u8],
        n: u64,
        publisher: Option<ConnectionId>,
        now: Time,
    ) {
        let counters = &mut self.counters;
        let counter = match why {
            Unseen::NoTopic => &mut counters.unmappable,
            Unseen::LineTooLong => &mut counters.subject_too_long,
        };
        *counter += n;
        self.sight(why, subject, n, publisher, now);
    }

    fn sight(&mut self, why: Unseen, subject: &[u8], n: u64, publisher: Option<ConnectionId>, now: Time) {
        let Some(sighting) = self.unseen.sight(why, subject, n, now) else { return };
        let Some(publisher) = publisher else {
            self.unseen.afar.push(sighting);
            return;
        };
        let Sighting { why, subject, n_passed_over } = sighting;
        let (subject, why, n_passed_over) = (shown(&subject), why.text(), if_any(n_passed_over));
        match self.who(publisher) {
            Some(Who { protocol, peer, id, name }) => {
                tracing::warn!(protocol, peer, id, name, %subject, n_passed_over, "{why}");
            }
            // It has left meanwhile.
            None => tracing::warn!(%subject, n_passed_over, "{why}"),
        }
    }

    fn who(&self, id: ConnectionId) -> Option<Who> {
        let Some(connection) = self.slots.get(id) else {
            let (protocol, name) = (ProtocolKind::Mqtt.name(), String::new());
            let id = shown_name(self.slots.session(id)?.client_id());
            return Some(Who { protocol, peer: None, id, name });
        };
        let (id, name) = match &connection.protocol {
            Protocol::Nats(nats) => {
                (nats.client_id().to_string(), shown_name(nats.name().unwrap_or_default().as_bytes()))
            }
            Protocol::Mqtt(mqtt) => (shown_name(mqtt.client_id()), String::new()),
        };
        let peer = Some(display(connection.peer));
        Some(Who { protocol: connection.protocol_kind().name(), peer, id, name })
    }
}

impl Unseen {
    fn text(self) -> &'static str {
        match self {
            Self::NoTopic => "no topic can spell this subject, MQTT subscribers go without",
            Self::LineTooLong => {
                "the line of this subject is over nats.control_line_bytes_max, NATS subscribers go without"
            }
        }
    }
}

impl Shard {
    /// Tells a publisher's core of a subject that subscribers here went without: who that is only it can say.
    #[cold]
    pub(super) fn post_unseen(&mut self, origin: CoreId, publisher: ConnectionId) {
        for sighting in std::mem::take(&mut self.clients.unseen.afar) {
            if origin != self.core {
                let sighting = Box::new(sighting);
                self.peers[origin.idx()].outbox.push(Item::Unseen { publisher, sighting });
            }
        }
    }

    /// Hears of one from a core where it was to be delivered.
    pub(super) fn hear_unseen(&mut self, publisher: ConnectionId, sighting: &Sighting) {
        let Sighting { why, subject, n_passed_over } = sighting;
        self.clients.sight(*why, subject, n_passed_over + 1, Some(publisher), self.now);
    }

    pub(super) fn log_close(
        &mut self,
        id: ConnectionId,
        n_pending_bytes: usize,
        closed: Closed,
        speaks: Option<&'static str>,
        now: Time,
    ) {
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
            tracing::warn!(
                protocol,
                peer,
                id,
                name,
                pending_bytes = n_pending_bytes,
                "closed: {closed}{limit}"
            );
        } else if is_complaint {
            let speaks = speaks.map_or_else(String::new, |it| format!("; it looks like {it}"));
            tracing::warn!(protocol, peer, id, name, "closed: {closed}{limit}{speaks}");
        } else {
            tracing::debug!(protocol, peer, id, name, "closed: {closed}");
        }
    }

    /// Says at times that a client whose mount is to be its user's names none.
    #[cold]
    pub(super) fn log_shared_mount(&mut self, id: ConnectionId) {
        let Some(n_before) = self.nameless.tell(NAMELESS, 1, self.now) else { return };
        let Some(Who { protocol, peer, id: number, name }) = self.clients.who(id) else { return };
        let mount = self.view(id).map(|view| display(shown(&view.canonical(b">"))));
        tracing::warn!(
            protocol,
            peer,
            id = number,
            name,
            mount,
            n_before = if_any(n_before),
            "no user name in CONNECT: all such clients of this mountpoint have one mount"
        );
    }

    /// As `log_refusal`, of one filter or one publish of an MQTT client's: version 3 has no word for the latter.
    pub(super) fn log_refused(&mut self, id: ConnectionId, refused: Name<'_>, why: &str, now: Time) {
        if !self.complaints.may_be_told(now) {
            return;
        }
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        let (what, filter, topic) = match refused {
            Name::Filter(it) => ("subscription", Some(display(shown(it))), None),
            Name::Topic(it) => ("publish", None, Some(display(shown(it)))),
        };
        tracing::warn!(protocol, peer, id, name, filter, topic, "{what} refused: {why}");
    }

    /// Counts that messages of a client, or for it, are lost by a limit, and tells the log at times.
    #[cold]
    pub(super) fn note_loss(&mut self, id: ConnectionId, limit: Limit) {
        self.note_loss_of(Some(id), limit, None);
    }

    /// As `note_loss`, of what was many clients' together.
    #[cold]
    pub(super) fn note_shared_loss(&mut self, limit: Limit) {
        self.note_loss_of(None, limit, None);
    }

    /// As `note_loss`, of one message that is known by its subject.
    #[cold]
    pub(super) fn note_loss_at(&mut self, id: ConnectionId, limit: Limit, subject: &[u8]) {
        self.note_loss_of(Some(id), limit, Some(subject));
    }

    fn note_loss_of(&mut self, id: Option<ConnectionId>, limit: Limit, subject: Option<&[u8]>) {
        self.clients.counters.n_limited[limit as usize] += 1;
        let Some(n_before) = self.losses.tell(limit, self.now) else { return };
        let (what, key, value, n_before) =
            (lost(limit), limit.key(), limit.value(&self.settings), if_any(n_before));
        let n_messages = self.losses.n_messages(limit, &self.clients.counters);
        let subject = subject.map(|it| tracing::field::display(shown(it)));
        match id.and_then(|id| self.clients.who(id)) {
            Some(Who { protocol, peer, id, name }) => {
                tracing::warn!(
                    protocol,
                    peer,
                    id,
                    name,
                    subject,
                    n_messages,
                    n_before,
                    "{what}: {key} is {value}"
                );
            }
            // It has left meanwhile, or it is nobody's alone.
            None => tracing::warn!(subject, n_messages, n_before, "{what}: {key} is {value}"),
        }
    }

    /// Says of the losses that were passed over how many they were, where nothing follows them.
    pub(super) fn tell_untold_losses(&mut self, now: Time) {
        self.clients.unseen.tell_untold(now);
        if self.losses.due.is_none_or(|due| due > now) {
            return;
        }
        for limit in Limit::ALL {
            if let Some(n_more) = self.losses.told[*limit as usize].take_untold(LOSSES, now) {
                let (what, key, value) = (lost(*limit), limit.key(), limit.value(&self.settings));
                let n_messages = self.losses.n_messages(*limit, &self.clients.counters);
                tracing::warn!(n_messages, "{n_more} more: {what}: {key} is {value}");
            }
        }
        self.losses.due = self.losses.told.iter().filter_map(|told| told.untold_due(LOSSES)).min();
    }

    /// Names the limit that a client has to wait for.
    pub(super) fn log_wait(&mut self, id: ConnectionId, limit: Limit) {
        let (limit, value) = (limit.key(), limit.value(&self.settings));
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        tracing::warn!(
            protocol,
            peer,
            id,
            name,
            "it publishes more than it may, and waits: {limit} is {value}"
        );
    }

    /// Notes in the log, at a limited rate, what a client was refused though its connection stays.
    pub(super) fn log_refusal(&mut self, id: ConnectionId, what: &[u8], in_the_way: &str, now: Time) {
        if !self.complaints.may_be_told(now) {
            return;
        }
        let Some(Who { protocol, peer, id, name }) = self.clients.who(id) else { return };
        let what = on_one_line(what.trim_ascii_end());
        let comma = if in_the_way.is_empty() { "" } else { ", " };
        tracing::warn!(protocol, peer, id, name, "refused: {what}{comma}{in_the_way}");
    }
}
