//! How a core comes to its end. In lame-duck mode its NATS clients hear that they should go elsewhere and all
//! clients are closed one by one; a drain closes those that are left, once every message that was taken has
//! come as far as its subscribers' queues, and of MQTT once they have acknowledged it. Not when: the driver says
//! so, on every core.
//!
//! Invariant: a core closes its clients in a drain only when no client's publication can come from another
//! core any more, unless time is up. Wills and notices of those that are closed still go to those that are not.
//! Of those who are awaited after that nothing is taken but what makes room in their windows.

use super::Shard;
use super::closed::Closed;
use super::connection::{Connection, Protocol};
use super::id::ConnectionId;
use super::input::Served;
use super::mail::Item;
use crate::mqtt::decode::{Decoded, decode};
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet::Packet;
use crate::mqtt::session::Expiry;
use crate::nats::handshake::ServerInfo;
use crate::time::{Span, Time};
use std::collections::VecDeque;
use std::sync::Arc;

/// The most that passes between two closes of lame-duck mode: few clients need not take all of its time.
const GAP_MAX: Span = Span::from_secs(1);

/// A group's message that finds no member goes on from core to core, twice round at most, and each round of
/// the drain's barrier lets it go one further. More cores than half of this have it lost, in a drain alone.
const ROUNDS_MAX: u32 = 32;

/// Clients closed in one turn.
const CLOSES_PER_TURN: usize = 128;

/// Lame-duck mode.
#[derive(Debug)]
pub struct LameDuck {
    /// When the next client is closed; the first when the grace period is over.
    next_at: Time,
    /// Between two closes at most.
    gap: Span,
    /// Who is closed, in order; found out when the grace period is over.
    order: Option<VecDeque<ConnectionId>>,
}

/// A drain.
#[derive(Debug)]
pub struct Drain {
    /// At the latest then clients are closed, and no acknowledgement is awaited any more.
    close_at: Time,
    /// At the latest then they are cut off.
    cut_at: Time,
    /// Rounds of the barrier that this core has begun.
    n_rounds: u32,
    has_closed: bool,
    /// Those who are still to be closed then, the first to be last here.
    open: Vec<ConnectionId>,
    /// Those who had messages to acknowledge then, or to be sent when they do.
    awaited: Vec<ConnectionId>,
    forgotten: Forgotten,
}

/// What goes with sessions when the process ends: what they never sent, and what was not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub sessions: u64,
    /// Of QoS 1 and 2.
    pub messages: u64,
}

impl Shard {
    /// Enters lame-duck mode. The driver accepts no one any more.
    pub fn begin_lame_duck(&mut self, now: Time) {
        self.now = now;
        if self.lame_duck.is_some() || self.drain.is_some() {
            return;
        }
        self.change_server(self.server.as_lame_duck());
        let next_at = now + self.settings.lame_duck_grace;
        self.lame_duck = Some(LameDuck { next_at, gap: Span::default(), order: None });
        self.settle(now);
    }

    /// Tells the NATS clients that may hear of it what INFO says from now on.
    pub fn change_server(&mut self, server: ServerInfo) {
        self.server = Arc::new(server);
        for id in self.clients.slots.ids() {
            self.tell_server(id);
        }
    }

    /// Closes those whose time has come. Whoever has come home meanwhile is last.
    pub(super) fn go_on_leaving(&mut self, now: Time) {
        self.close_some(now);
        if self.drain.as_ref().is_some_and(|drain| drain.close_at <= now) {
            self.close_for_drain(now);
            self.give_up_awaited(now);
        }
        for _ in 0..CLOSES_PER_TURN {
            let Some(lame_duck) = self.lame_duck.as_mut().filter(|lame_duck| lame_duck.next_at <= now) else {
                return;
            };
            if self.drain.is_some() {
                return;
            }
            let order = lame_duck.order.get_or_insert_default();
            if order.is_empty() {
                let open = self.clients.slots.iter().filter(|(_, connection)| connection.is_open());
                order.extend(open.map(|(id, _)| id));
                let n_left = order.len().max(1) as u64;
                let even = self.settings.lame_duck_duration.as_nanos() / n_left;
                lame_duck.gap = Span::from_nanos(even).min(GAP_MAX);
            }
            let Some(id) = order.pop_front() else {
                // Nobody is left; another look shows whether somebody has come home.
                lame_duck.next_at = now + GAP_MAX;
                return;
            };
            let gap = self.chance.next().checked_rem(lame_duck.gap.as_nanos()).unwrap_or(0);
            lame_duck.next_at = lame_duck.next_at + Span::from_nanos(gap);
            self.close(id, Closed::ShuttingDown, now);
        }
    }

    /// Whether lame-duck mode has come to its end: nobody is left.
    pub fn has_left(&self) -> bool {
        self.lame_duck.is_some() && self.n_connections() == 0
    }

    /// Begins to drain: nothing more is read from clients, and when no message is under way any more they
    /// are closed.
    pub fn begin_drain(&mut self, now: Time) {
        self.now = now;
        if self.drain.is_none() {
            let timeout = self.settings.drain_timeout;
            let close_at = now + Span::from_nanos(timeout.as_nanos() / 2);
            self.end_pauses(true, now);
            self.drain = Some(Drain {
                close_at,
                cut_at: now + timeout,
                n_rounds: 0,
                has_closed: false,
                open: Vec::new(),
                awaited: Vec::new(),
                forgotten: Forgotten::default(),
            });
        }
        self.settle(now);
    }

    /// Whether the drain is over and nobody is left.
    pub fn is_drained(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.has_closed) && self.n_connections() == 0
    }

    /// Whether what a client acknowledges is still taken, though nothing else of it is.
    pub(super) fn is_awaited(&self, connection: &Connection) -> bool {
        self.has_closed() && matches!(&connection.protocol, Protocol::Mqtt(mqtt) if mqtt.is_connected())
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether the clients are closed already: one that comes home now comes too late.
    pub(super) fn has_closed(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.has_closed)
    }

    /// Whether some are still to be closed, in the turns that follow at once.
    pub(super) fn goes_on_closing(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| !drain.open.is_empty())
    }

    /// When time alone changes something.
    pub(super) fn leave_at(&self) -> Option<Time> {
        match (&self.drain, &self.lame_duck) {
            (Some(drain), _) => (!drain.has_closed || !drain.awaited.is_empty()).then_some(drain.close_at),
            (None, lame_duck) => lame_duck.as_ref().map(|lame_duck| lame_duck.next_at),
        }
    }

    /// Whether the gateway comes to its end, in one way or the other.
    pub(super) fn is_ending(&self) -> bool {
        self.drain.is_some() || self.lame_duck.is_some()
    }

    /// When a connection that ends now is cut off, if it has not read by then what waits for it.
    pub(super) fn linger_until(&self, now: Time) -> Time {
        self.drain.as_ref().map_or(now + self.settings.drain_timeout, |drain| drain.cut_at)
    }

    /// The barrier. A core begins its first round when all that it had read is taken, and each further one
    /// when all others have begun the one before: what they had posted until then is here.
    pub(super) fn go_on_draining(&mut self, now: Time) {
        let n_rounds_max = (2 * self.settings.n_cores as u32).clamp(2, ROUNDS_MAX);
        while let Some(drain) = &mut self.drain
            && !drain.has_closed
        {
            let takes_input = !self.fences.is_empty()
                || !self.stalled.is_empty()
                || !self.redelivery.is_empty()
                || !self.runnable.is_empty()
                || !self.wills.is_empty()
                || self.peers.iter().any(|peer| !peer.waiting.is_empty());
            let mut others = self.peers.iter().enumerate().filter(|(idx, _)| *idx != self.core.idx());
            let heard_all = others.all(|(_, peer)| peer.n_rounds >= drain.n_rounds);
            if (drain.n_rounds == 0 && takes_input) || !heard_all {
                return;
            }
            if drain.n_rounds == n_rounds_max {
                if self.tickets.is_empty() {
                    self.close_for_drain(now);
                }
                return;
            }
            drain.n_rounds += 1;
            for core in self.others() {
                self.peers[core.idx()].outbox.push(Item::DrainRound);
            }
        }
    }

    /// Closes everybody but those who are awaited.
    fn close_for_drain(&mut self, now: Time) {
        if self.has_closed() {
            return;
        }
        let ids = self.clients.slots.ids();
        let (awaited, mut open): (Vec<_>, Vec<_>) = ids.into_iter().partition(|&id| self.owes_or_waits(id));
        open.reverse();
        self.clients.effects.resume.extend_from_slice(&awaited);
        if let Some(drain) = &mut self.drain {
            (drain.has_closed, drain.open, drain.awaited) = (true, open, awaited);
        }
        self.close_some(now);
    }

    /// Whether a client has messages of QoS 1 and 2 that it has not acknowledged, or that wait until it does.
    fn owes_or_waits(&self, id: ConnectionId) -> bool {
        let slots = &self.clients.slots;
        slots.get(id).is_some_and(Connection::is_open)
            && slots.session(id).is_some_and(|session| session.inflight.has_unanswered())
    }

    /// Takes the first packet of a client after everybody else was closed. One that asks for something comes too
    /// late, and is not answered: no answer to a later one may come before its own.
    pub(super) fn serve_awaited(&mut self, id: ConnectionId, input: &[u8], now: Time) -> Served {
        let Some(mqtt) = self.mqtt(id).filter(|mqtt| mqtt.is_connected()) else { return Served::Waiting };
        let served = match decode(input, mqtt.version(), &self.settings.mqtt.decode) {
            Ok(Decoded::Packet(
                Packet::Publish(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::Pingreq,
                n_taken,
            )) => Served::Taken(n_taken),
            _ => self.serve_mqtt(id, input, now),
        };
        if matches!(served, Served::Taken(_)) && !self.owes_or_waits(id) {
            self.close(id, Closed::ShuttingDown, now);
            return Served::Ended;
        }
        served
    }

    /// Closes those who have not acknowledged everything in time.
    fn give_up_awaited(&mut self, now: Time) {
        let Some(drain) = &mut self.drain else { return };
        let awaited = std::mem::take(&mut drain.awaited);
        for &id in &awaited {
            // The others are still here when it ends.
            if let Some(session) = self.clients.slots.session(id)
                && session.expiry == Expiry::WithConnection
            {
                drain.forgotten.add(&session.inflight);
            }
        }
        drain.open.extend(awaited.into_iter().rev());
        self.close_some(now);
    }

    /// What clients of this core did not acknowledge, at the end of a drain; the driver tells it.
    pub fn forgotten(&self) -> Forgotten {
        let slots = &self.clients.slots;
        let mut forgotten = self.drain.as_ref().map(|drain| drain.forgotten).unwrap_or_default();
        for session in slots.everybody().filter_map(|id| slots.session(id)) {
            forgotten.add(&session.inflight);
        }
        forgotten
    }

    /// Closes some of those who are left.
    fn close_some(&mut self, now: Time) {
        for _ in 0..CLOSES_PER_TURN {
            let Some(id) = self.drain.as_mut().and_then(|drain| drain.open.pop()) else { return };
            self.close(id, Closed::ShuttingDown, now);
        }
    }
}

impl Forgotten {
    fn add(&mut self, inflight: &Inflight) {
        let n = inflight.n_unanswered() as u64;
        self.messages += n;
        self.sessions += u64::from(n > 0);
    }
}
