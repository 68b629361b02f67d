//! One connection as its shard keeps it: the protocol's state, the bytes in both directions, its
//! subscriptions, and what it waits for. Not a socket: `runtime` has that under the same id.

use super::Door;
use super::census::Traffic;
use super::id::CoreId;
use super::interest::Role;
use super::latency::Marks;
use super::limits::NoRoom;
use super::rates::Published;
use super::replay::DueReplays;
use super::settings::Settings;
use super::table::{FilterRef, Group, Place};
use super::write_queue::WriteQueue;
use crate::message::{Origin, ProtocolKind, Quality};
use crate::mqtt::change::Change;
use crate::mqtt::session::Session;
use crate::mqtt::share::Share;
use crate::nats::handshake::Greeted;
use crate::nats::sid::Sid;
use crate::subject::view::View;
use crate::time::{Span, Time};
use crate::{mqtt, nats};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;

/// What a connection speaks. A closed set: whoever acts on it matches.
#[derive(Debug)]
pub enum Protocol {
    Mqtt(Box<mqtt::connection::Connection>),
    Nats(Box<nats::connection::Connection>),
}

#[derive(Debug)]
pub struct Connection {
    pub protocol: Protocol,
    pub door: Door,
    pub peer: SocketAddr,
    pub queue: WriteQueue,
    /// The deliveries in the queue, for as long as they wait there.
    pub marks: Marks,
    /// Bytes read and not taken: an unfinished frame, or what waits with the connection. Empty when idle.
    pub kept: Vec<u8>,
    /// How many bytes `kept` must have before another look is worth it.
    pub need: usize,
    pub life: Life,
    /// Answers that must not leave before the fence ends.
    pub held: Vec<u8>,
    /// The log position that all cores must have applied before further input is taken.
    pub fence: Option<u64>,
    /// The core whose outbox has no room for this connection's next publish.
    pub full_outbox: Option<CoreId>,
    /// Its next publish asks for an answer, and too many wait to leave.
    pub awaits_answers: bool,
    /// A subscriber falls behind: this publisher is not read for a moment.
    pub is_stalled: bool,
    /// It has published more than it may, or comes back from one that has: it is not read for a while.
    pub is_paused: bool,
    /// What it has published of late, where that is limited.
    pub published: Option<Box<Published>>,
    /// It does not read the answers to what it sends: no more of that is taken until it has read some.
    pub is_choked: bool,
    /// The peer will send nothing more; what it sent is still taken.
    pub is_at_end: bool,
    /// Writes fail; what the peer had sent is still taken.
    pub is_write_dead: bool,
    /// In the effects' list of those to be flushed.
    pub is_dirty: bool,
    /// Since when what waits for it has been at three quarters of its limit.
    pub pressed_since: Option<Time>,
    /// Its queue overflowed; it ends when the fan-out does.
    pub is_overflowed: bool,
    /// MQTT: it has gone without messages of QoS 0 since its queue was last empty.
    pub is_losing: bool,
    /// Its CONNACK waits for the fence, and nothing may come before it. [MQTT-3.2.0-1]
    pub awaits_connack: bool,
    /// Already on the core where its session lives.
    pub is_home: bool,
    /// There is no room for it, and this is what its CONNECT is answered with.
    pub no_room: Option<NoRoom>,
    /// While it has not said who it is: the bytes it has sent that are counted.
    pub unconnected_bytes: Option<u32>,
    pub subscriptions: Subscriptions,
    /// Keys of subscriptions that end with the fence, by the hashes of their clients' names for them.
    pub given_up: BTreeSet<(u64, u32)>,
    /// Retained messages that subscriptions are still due.
    pub replays: Option<Box<DueReplays>>,
    /// Among the shard's connections whose replays go on.
    pub is_replaying: bool,
    /// Its place in the order in which the process accepted connections.
    pub nth: u64,
    pub accepted_at: Time,
    /// When an MQTT client's CONNECT was read, on whichever core that was.
    pub claimed_at: Time,
    /// When those who watch clients were told of this one.
    pub connected_at: Option<Time>,
    /// When an MQTT client was last heard of: by a packet, or by a good part of one.
    pub heard_at: Time,
    /// When its socket last brought something; what is kept was there by then.
    pub read_at: Time,
    /// When its socket last took something.
    pub written_at: Time,
    pub traffic: Traffic,
    /// Since when its socket takes nothing of what waits; `None` while it takes all.
    pub stuck_since: Option<Time>,
    /// When a NATS client is asked next whether it is there.
    pub ping_at: Option<Time>,
    /// When the oldest PING was sent that it has not answered; `NEVER` where it has answered all.
    pub asked_at: Time,
    /// When its socket last brought a PONG.
    pub ponged_at: Time,
    /// How long its last PONG took, in nanoseconds, or its CONNECT; `None` before that.
    pub round_trip: Option<NonZeroU64>,
    /// When its deadlines are looked at next; the one entry of it in the wheel that counts.
    pub check_at: Time,
}

/// How old a NATS client's last PONG may be while it is otherwise heard of.
const ROUND_TRIP_EVERY: Span = Span::from_secs(3_600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Open,
    /// On its way to the core where its session lives; takes no input here.
    Leaving(CoreId),
    /// Flushes what is queued and then ends, at the latest then.
    Closing(Time),
}

impl Connection {
    pub fn new(protocol: Protocol, door: Door, peer: SocketAddr, nth: u64, now: Time) -> Self {
        Self {
            protocol,
            door,
            peer,
            queue: WriteQueue::default(),
            marks: Marks::default(),
            kept: Vec::new(),
            need: 0,
            life: Life::Open,
            held: Vec::new(),
            fence: None,
            full_outbox: None,
            awaits_answers: false,
            is_stalled: false,
            is_paused: false,
            published: None,
            is_choked: false,
            is_at_end: false,
            is_write_dead: false,
            is_dirty: false,
            pressed_since: None,
            is_overflowed: false,
            is_losing: false,
            awaits_connack: false,
            is_home: false,
            no_room: None,
            unconnected_bytes: None,
            subscriptions: Subscriptions::default(),
            given_up: BTreeSet::new(),
            replays: None,
            is_replaying: false,
            nth,
            accepted_at: now,
            claimed_at: now,
            connected_at: None,
            heard_at: now,
            read_at: now,
            written_at: now,
            traffic: Traffic::default(),
            stuck_since: None,
            ping_at: None,
            asked_at: Time::NEVER,
            ponged_at: Time::START,
            round_trip: None,
            check_at: Time::NEVER,
        }
    }

    #[inline]
    pub fn protocol_kind(&self) -> ProtocolKind {
        match &self.protocol {
            Protocol::Mqtt(_) => ProtocolKind::Mqtt,
            Protocol::Nats(_) => ProtocolKind::Nats,
        }
    }

    /// As an INFO is made out to it.
    pub fn greeted(&self) -> Greeted {
        Greeted { nth: self.door.nth, peer: self.peer }
    }

    /// Where what it publishes came in.
    #[inline]
    pub fn origin(&self) -> Origin {
        Origin { protocol: self.protocol_kind(), read_at: self.read_at }
    }

    /// Notes that its socket brought something, and says what it speaks.
    #[inline]
    pub fn note_read(&mut self, now: Time) -> ProtocolKind {
        self.read_at = now;
        self.protocol_kind()
    }

    /// Notes that its client answered a PING.
    pub fn note_pong(&mut self) {
        // One that was not asked for says nothing of the way.
        if self.asked_at != Time::NEVER {
            self.round_trip = NonZeroU64::new(self.read_at.since(self.asked_at).as_nanos());
        }
        self.asked_at = Time::NEVER;
        self.ponged_at = self.read_at;
    }

    /// Takes the way from its INFO to its CONNECT for a round trip, as nats-server does, until a PONG says more.
    pub fn estimate_round_trip(&mut self) {
        self.round_trip = NonZeroU64::new(self.read_at.since(self.accepted_at).as_nanos().max(1));
    }

    /// Whether a PING is worth it. Whoever has sent anything else of late is there, but once an hour the
    /// round trip is measured all the same.
    pub fn needs_ping(&self, interval: Span, now: Time) -> bool {
        let has_spoken = self.read_at > self.ponged_at && now.since(self.read_at) < interval;
        !has_spoken || self.ponged_at == Time::START || now.since(self.ponged_at) > ROUND_TRIP_EVERY
    }

    pub fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// Whether deliveries go into its queue. Others wait in its session, if it has one that stays.
    #[inline]
    pub fn is_reachable(&self) -> bool {
        self.is_open() && !self.is_write_dead && !self.is_overflowed && !self.awaits_connack
    }

    /// That of its MQTT client.
    pub fn session(&self) -> Option<&Session> {
        match &self.protocol {
            Protocol::Mqtt(mqtt) => Some(&mqtt.session),
            Protocol::Nats(_) => None,
        }
    }

    /// Whether its input is not taken for now.
    pub fn is_waiting(&self) -> bool {
        self.is_kept_waiting() || self.is_choked
    }

    /// Whether its input is not taken for a reason that is not its own. Its keep-alive is suspended meanwhile.
    pub fn is_kept_waiting(&self) -> bool {
        self.fence.is_some()
            || self.full_outbox.is_some()
            || self.is_stalled
            || self.is_paused
            || self.awaits_answers
    }

    /// Looks whether it reads so little that no more of its input may be taken.
    #[inline]
    pub fn chokes(&mut self, queue_bytes_max: usize) -> bool {
        self.is_choked = self.queue.len() + self.held.len() > queue_bytes_max;
        self.is_choked
    }

    /// Whether its queue has room for so many bytes more. What is larger than all of it goes into an empty one.
    pub fn fits(&self, n_bytes: usize, settings: &Settings) -> bool {
        self.queue.is_empty() || self.queue.len() + n_bytes <= settings.write_queue_bytes_max
    }

    /// Whether what waits for this client is short of three quarters of its limits.
    pub fn is_relieved(&self, settings: &Settings) -> bool {
        self.queue.len() < settings.write_queue_bytes_max / 4 * 3 && !self.is_session_pressed(settings)
    }

    /// Whether the queue of its session is at three quarters: the one that drops what was acknowledged.
    pub fn is_session_pressed(&self, settings: &Settings) -> bool {
        let Protocol::Mqtt(mqtt) = &self.protocol else { return false };
        let limits = &settings.mqtt;
        mqtt.session.inflight.n_waiting() >= limits.session_queue_messages_max.div_ceil(4) * 3
            || mqtt.session.inflight.n_waiting_bytes() >= limits.session_queue_bytes_max / 4 * 3
    }

    /// Writes down what a subscription is still due of what is retained.
    pub fn note_replay(&mut self, key: u32, is_due: bool) {
        let Some(subscription) = self.subscriptions.get(key) else { return };
        if let SubscriptionKind::Mqtt { topic_filter, .. } = &subscription.kind
            && let Protocol::Mqtt(mqtt) = &mut self.protocol
            && !subscription.is_given_up
        {
            mqtt.session.inflight.diary().note(&Change::Replay { filter: topic_filter, is_due });
        }
    }

    /// Bytes that are kept for this client in all.
    pub fn n_queued_bytes(&self) -> usize {
        match &self.protocol {
            Protocol::Mqtt(mqtt) => self.queue.len() + mqtt.session.inflight.n_bytes(),
            Protocol::Nats(_) => self.queue.len(),
        }
    }
}

/// One subscription of a connection. There may be a million: what few of them need is behind a pointer.
#[derive(Debug)]
pub struct Subscription {
    pub filter: FilterRef,
    /// `a/#` is also `a`.
    pub parent: Option<FilterRef>,
    pub kind: SubscriptionKind,
    /// Ended by its client, but other cores may not know: it still takes mail.
    pub is_given_up: bool,
    /// Of a group: its client is not connected.
    pub is_offline: bool,
}

#[derive(Debug)]
pub enum SubscriptionKind {
    Nats { sid: Sid, n_delivered: u64, special: Option<Box<Special>> },
    Mqtt { topic_filter: Box<[u8]>, quality: Quality, traits: Traits, share: Option<Rc<Share>> },
}

/// What makes a NATS subscription differ from most.
#[derive(Debug, Default)]
pub struct Special {
    pub group: Option<Rc<[u8]>>,
    /// Deliveries after which it ends, counted from SUB.
    pub max: Option<u64>,
    /// How its client sees names, where that is not as everybody does.
    pub view: Option<Rc<View>>,
    /// Its client's names are topics, and it begins with a wildcard, which sees no `$` topics.
    pub begins_with_wildcard: bool,
    /// What is retained and no younger comes by replay, as to `Traits`.
    pub replayed_until: u64,
}

impl SubscriptionKind {
    /// The group in which it is under its own filter.
    pub fn group(&self) -> Option<Group<'_>> {
        match self {
            Self::Nats { special, .. } => {
                let name = special.as_ref()?.group.as_ref()?;
                Some(Group { name, role: Role::Nats })
            }
            Self::Mqtt { share, .. } => Some(Group { name: &share.as_ref()?.name, role: Role::Shared }),
        }
    }

    /// The same under the filter's parent.
    pub fn parent_group(&self) -> Option<Group<'_>> {
        let group = self.group()?;
        Some(Group { role: group.role.of_parent(), ..group })
    }
}

/// What makes an MQTT subscription differ from most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    pub no_local: bool,
    /// Deliveries have the retain flag that their publishers set.
    pub retain_as_published: bool,
    pub begins_with_wildcard: bool,
    /// What its deliveries name it by; 0 for nothing.
    pub identifier: u32,
    /// Versions up to this come to it by its replay, and not live.
    pub replayed_until: u64,
}

impl Traits {
    /// Whether there is nothing to look at, as is most often so.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let Self { no_local, retain_as_published, begins_with_wildcard, identifier, replayed_until } = *self;
        let flags = u8::from(no_local) | u8::from(retain_as_published) | u8::from(begins_with_wildcard);
        u64::from(flags) | u64::from(identifier) | replayed_until == 0
    }
}

impl Subscription {
    /// What its client calls it.
    pub fn name(&self) -> &[u8] {
        match &self.kind {
            SubscriptionKind::Nats { sid, .. } => sid.as_bytes(),
            SubscriptionKind::Mqtt { topic_filter, .. } => topic_filter,
        }
    }

    pub fn group(&self) -> Option<Group<'_>> {
        self.kind.group()
    }

    #[inline]
    pub fn share(&self) -> Option<&Rc<Share>> {
        match &self.kind {
            SubscriptionKind::Mqtt { share, .. } => share.as_ref(),
            SubscriptionKind::Nats { .. } => None,
        }
    }

    /// Where it stands in the table.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let is_offline = self.is_offline;
        let place = move |filter, group| Place { filter, group, is_offline };
        let parent = self.parent.map(|parent| place(parent, self.kind.parent_group()));
        std::iter::once(place(self.filter, self.kind.group())).chain(parent)
    }

    pub fn filters(&self) -> impl Iterator<Item = FilterRef> + use<> {
        std::iter::once(self.filter).chain(self.parent)
    }
}

/// Subscriptions by key.
#[derive(Debug, Default)]
pub struct Subscriptions {
    list: Vec<Option<Subscription>>,
    free: Vec<u32>,
}

impl Subscriptions {
    /// The key of the next one.
    pub fn next_key(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.list.len() as u32)
    }

    pub fn insert(&mut self, subscription: Subscription) -> u32 {
        if let Some(key) = self.free.pop() {
            self.list[key as usize] = Some(subscription);
            return key;
        }
        // Most clients have one or two, and a vector's first guess is four.
        if self.list.len() < 4 {
            self.list.reserve_exact(1);
        }
        self.list.push(Some(subscription));
        (self.list.len() - 1) as u32
    }

    #[inline]
    pub fn get(&self, key: u32) -> Option<&Subscription> {
        self.list.get(key as usize)?.as_ref()
    }

    #[inline]
    pub fn get_mut(&mut self, key: u32) -> Option<&mut Subscription> {
        self.list.get_mut(key as usize)?.as_mut()
    }

    pub fn remove(&mut self, key: u32) -> Option<Subscription> {
        let removed = self.list.get_mut(key as usize)?.take()?;
        self.free.push(key);
        if self.free.len() == self.list.len() {
            *self = Self::default();
        }
        Some(removed)
    }

    /// Takes the last one out, with its key: for those that nobody has any more.
    pub fn pop(&mut self) -> Option<(u32, Subscription)> {
        while let Some(place) = self.list.pop() {
            if let Some(subscription) = place {
                return Some((self.list.len() as u32, subscription));
            }
        }
        *self = Self::default();
        None
    }

    /// All of them, with their keys.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Subscription)> {
        (0..).zip(&mut self.list).filter_map(|(key, place)| Some((key, place.as_mut()?)))
    }

    pub fn len(&self) -> usize {
        self.list.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those with `n_max` keys from `from` on.
    pub fn range(&self, from: usize, n_max: usize) -> impl Iterator<Item = &Subscription> {
        self.list.iter().skip(from).take(n_max).flatten()
    }

    /// Keys, the free ones among them.
    pub fn n_places(&self) -> usize {
        self.list.len()
    }

    pub fn keys(&self) -> Vec<u32> {
        (0..self.list.len() as u32).filter(|&key| self.get(key).is_some()).collect()
    }
}
