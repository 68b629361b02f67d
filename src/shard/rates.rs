//! How much one client may publish in a second. Who publishes more is not read for a while: nothing of it is lost,
//! and it may have a second's messages at once.

use super::Shard;
use super::id::ConnectionId;
use super::limits::Limit;
use crate::message::ProtocolKind;
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
    /// When all that it may publish at once has come back, in messages and in bytes.
    messages_whole_at: Time,
    bytes_whole_at: Time,
    told_at: Option<Time>,
}

/// What was taken of a client's input.
pub(super) struct Taken {
    /// How many messages there were of it and its like before.
    pub n_before: u64,
    /// Whole packets or ops, with all that is in them.
    pub n_bytes: usize,
}

const SECOND: Span = Span::from_secs(1);

/// No pause is shorter: many messages share it.
const PAUSE_MIN: Span = Span::from_millis(10);

/// No two lines about one client are closer.
const TOLD_EVERY: Span = Span::from_secs(60);

impl Published {
    /// Takes down what was published; by which limit it was too much, and until when the client is to wait.
    fn take_down(&mut self, rate: &Rate, n: u64, n_bytes: u64, now: Time) -> Option<(Time, bool)> {
        let messages_until = spend(&mut self.messages_whole_at, rate.messages_per_sec, n, now);
        let bytes_until = spend(&mut self.bytes_whole_at, rate.bytes_per_sec, n_bytes, now);
        let until = messages_until.max(bytes_until);
        (until > now).then(|| (until.max(now + PAUSE_MIN), messages_until >= bytes_until))
    }
}

/// Spends `n` of what comes back by `per_second`; when more may be spent.
fn spend(whole_at: &mut Time, per_second: u64, n: u64, now: Time) -> Time {
    if per_second == 0 {
        return now;
    }
    let nanos = u128::from(n) * u128::from(SECOND.as_nanos()) / u128::from(per_second);
    *whole_at = (*whole_at).max(now) + Span::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
    now + Span::from_nanos(whole_at.since(now).as_nanos().saturating_sub(SECOND.as_nanos()))
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
        let Some((until, is_by_messages)) = published.take_down(rate, n, taken.n_bytes as u64, now) else {
            return false;
        };
        let is_told = published.told_at.is_some_and(|told_at| now.since(told_at) < TOLD_EVERY);
        if !is_told {
            published.told_at = Some(now);
        }
        let limit = match (kind, is_by_messages) {
            (ProtocolKind::Mqtt, true) => Limit::MqttMessageRate,
            (ProtocolKind::Mqtt, false) => Limit::MqttByteRate,
            (ProtocolKind::Nats, true) => Limit::NatsMessageRate,
            (ProtocolKind::Nats, false) => Limit::NatsByteRate,
        };
        connection.is_paused = true;
        self.paused.insert((until, id));
        self.clients.counters.n_limited[limit as usize] += 1;
        if !is_told {
            self.log_wait(id, limit, now);
        }
        true
    }

    /// Lets those go on who have waited for long enough, or all.
    pub(super) fn end_pauses(&mut self, all: bool, now: Time) {
        while let Some(&(until, id)) = self.paused.first()
            && (all || until <= now)
        {
            self.paused.pop_first();
            if let Some(connection) = self.clients.slots.get_mut(id)
                && std::mem::replace(&mut connection.is_paused, false)
            {
                connection.heard_at = now;
                self.runnable.push_back(id);
            }
        }
    }
}
