//! How much one client may publish in a second. Who publishes more is not read for a while: nothing of it is lost,
//! and it may have a second's messages at once.

use super::Shard;
use super::id::ConnectionId;
use super::limits::Limit;
use super::returning::Hurry;
use crate::message::ProtocolKind;
use crate::time::often::{AtMost, Pace, Rarely};
use crate::time::{Span, Time};

/// Messages and their bytes; 0 is any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    pub messages_per_sec: u64,
    pub bytes_per_sec: u64,
}

impl Rate {
    #[inline]
    pub fn is_any(&self) -> bool {
        (self.messages_per_sec | self.bytes_per_sec) != 0
    }
}

/// What a client has published of late.
#[derive(Debug, Default)]
pub struct Published {
    messages: Pace,
    bytes: Pace,
    /// It has had to wait since it had last published nothing for long enough.
    has_waited: bool,
    told: Rarely,
    pub(super) paused_until: Time,
    /// Its client has come back, and waits until all of this is read.
    pub(super) hurry: Option<Hurry>,
}

/// What was taken of a client's input.
pub(super) struct Taken {
    /// How many messages there were of it and its like before.
    pub n_before: u64,
    /// Whole packets or ops, with all that is in them.
    pub n_bytes: usize,
}

/// No pause is shorter: many messages share it.
const PAUSE_MIN: Span = Span::from_millis(10);

/// Lines about one client that waits.
const LINES: AtMost = AtMost { n: 1, each: Span::from_secs(60) };

/// A client has published more than it may.
struct Excess {
    until: Time,
    /// Messages, and not their bytes, were too many.
    is_of_messages: bool,
    /// It has not had to wait already, for what it has published before.
    is_first: bool,
}

impl Published {
    /// Whether it may have sent what waits to be read: it has had to wait, and not all has come back since.
    pub(super) fn is_behind(&self, now: Time) -> bool {
        self.has_waited && !self.is_whole(now)
    }

    fn is_whole(&self, now: Time) -> bool {
        self.messages.is_whole(now) && self.bytes.is_whole(now)
    }

    /// Takes down what was published; whether it was too much.
    fn take_down(&mut self, rate: &Rate, n: u64, n_bytes: u64, now: Time) -> Option<Excess> {
        self.has_waited &= !self.is_whole(now);
        let for_messages = self.messages.spend(rate.messages_per_sec, n, now);
        let for_bytes = self.bytes.spend(rate.bytes_per_sec, n_bytes, now);
        let wait = for_messages.max(for_bytes);
        (wait > Span::default()).then(|| Excess {
            until: now + wait.max(PAUSE_MIN),
            is_of_messages: for_messages >= for_bytes,
            is_first: !std::mem::replace(&mut self.has_waited, true),
        })
    }
}

impl Shard {
    /// What a client may publish, if that is limited.
    #[inline]
    pub(super) fn rate_of(&self, is_mqtt: bool) -> Option<Rate> {
        let kind = if is_mqtt { ProtocolKind::Mqtt } else { ProtocolKind::Nats };
        let rate = self.settings.limits.rates[kind as usize];
        rate.is_any().then_some(rate)
    }

    /// Takes down what a client has published with these bytes; whether it has to wait now.
    pub(super) fn spend(&mut self, id: ConnectionId, rate: &Rate, taken: &mut Taken, now: Time) -> bool {
        let [n_after, _] = self.n_published(id);
        let n = n_after - std::mem::replace(&mut taken.n_before, n_after);
        if n == 0 || self.is_draining() {
            return false;
        }
        let Some(connection) = self.clients.slots.get_mut(id) else { return false };
        if !connection.is_open() {
            return false;
        }
        let kind = connection.protocol_kind();
        let published = connection.published.get_or_insert_default();
        if published.hurry.is_some_and(|hurry| hurry.until > now) {
            return false;
        }
        let Some(excess) = published.take_down(rate, n, taken.n_bytes as u64, now) else {
            return false;
        };
        // Where the log has no room for it the next pause tries again.
        let is_told = published.told.is_due(LINES, now) && self.complaints.have_room(now);
        if is_told {
            published.told.tell(LINES, 1, now);
            self.complaints.may_be_told(now);
        }
        let limit = match (kind, excess.is_of_messages) {
            (ProtocolKind::Mqtt, true) => Limit::MqttMessageRate,
            (ProtocolKind::Mqtt, false) => Limit::MqttByteRate,
            (ProtocolKind::Nats, true) => Limit::NatsMessageRate,
            (ProtocolKind::Nats, false) => Limit::NatsByteRate,
        };
        self.pause(id, excess.until);
        self.clients.counters.n_limited[limit as usize] += u64::from(excess.is_first);
        if is_told {
            self.log_wait(id, limit);
        }
        true
    }

    /// Has a connection wait until then.
    pub(super) fn pause(&mut self, id: ConnectionId, until: Time) {
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.is_paused = true;
            connection.published.get_or_insert_default().paused_until = until;
            self.paused.insert((until, id));
        }
    }

    /// Lets it go on at once.
    pub(super) fn end_pause_of(&mut self, id: ConnectionId, now: Time) {
        if let Some(connection) = self.clients.slots.get_mut(id)
            && std::mem::replace(&mut connection.is_paused, false)
        {
            let until = connection.published.as_ref().map_or(now, |published| published.paused_until);
            self.paused.remove(&(until, id));
            connection.heard_at = now;
            self.runnable.push_back(id);
        }
    }

    /// Lets those go on who have waited for long enough, or all.
    pub(super) fn end_pauses(&mut self, all: bool, now: Time) {
        while let Some(&(until, id)) = self.paused.first()
            && (all || until <= now)
        {
            self.paused.pop_first();
            self.end_pause_of(id, now);
        }
    }
}
