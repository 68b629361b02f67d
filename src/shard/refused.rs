//! Why a subscription is refused though its connection stays: counted and logged under one name, and told to
//! the client in its protocol's own word.

use super::Shard;
use super::limits::Limit;
use crate::message::ProtocolKind;
use crate::mqtt::reason::Reason as MqttReason;
use std::fmt;

/// The kinds of refusals: a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSubscribed {
    /// There is no such filter.
    Invalid,
    /// It is longer than the setting allows, which is this.
    TooLong(usize),
    /// It has more levels (MQTT) or tokens (NATS) than the setting allows, which is this.
    TooManyLevels(usize),
    /// It is the gateway's own, or somebody else's.
    Reserved,
    /// The client has as many subscriptions as the setting allows, which is this.
    TooMany(usize),
    /// Its packet has as many as the setting allows, which is this.
    TooManyAtOnce(usize),
}

impl Shard {
    /// Counts a subscription that is refused alone.
    pub(super) fn count_refused(&mut self, why: NotSubscribed, of: ProtocolKind) {
        let counters = &mut self.clients.counters;
        counters.subscriptions_refused[why.idx()] += 1;
        if let Some(limit) = why.limit(of) {
            counters.n_limited[limit as usize] += 1;
        }
    }
}

impl NotSubscribed {
    pub const COUNT: usize = 6;
    /// What each is counted as, in the order of their numbers.
    pub const NAMES: [&str; Self::COUNT] =
        ["invalid", "too_many_levels", "reserved", "too_many", "too_long", "too_many_at_once"];

    /// Its place among the names.
    pub fn idx(self) -> usize {
        match self {
            Self::Invalid => 0,
            Self::TooManyLevels(_) => 1,
            Self::Reserved => 2,
            Self::TooMany(_) => 3,
            Self::TooLong(_) => 4,
            Self::TooManyAtOnce(_) => 5,
        }
    }

    /// The limit in the way, if one was.
    pub fn limit(self, of: ProtocolKind) -> Option<Limit> {
        match (self, of) {
            (Self::TooManyLevels(_), ProtocolKind::Mqtt) => Some(Limit::TopicLevels),
            (Self::TooManyLevels(_), ProtocolKind::Nats) => Some(Limit::SubscriptionTokens),
            (Self::TooMany(_), ProtocolKind::Mqtt) => Some(Limit::MqttSubscriptions),
            (Self::TooMany(_), ProtocolKind::Nats) => Some(Limit::NatsSubscriptions),
            (Self::TooLong(_), _) => Some(Limit::Topic),
            (Self::TooManyAtOnce(_), _) => Some(Limit::Filters),
            (Self::Invalid | Self::Reserved, _) => None,
        }
    }

    /// The code in SUBACK (section 3.9.3).
    pub fn mqtt_reason(self) -> MqttReason {
        match self {
            Self::Invalid | Self::TooLong(_) | Self::TooManyLevels(_) => MqttReason::TopicFilterInvalid,
            Self::Reserved => MqttReason::NotAuthorized,
            Self::TooMany(_) | Self::TooManyAtOnce(_) => MqttReason::QuotaExceeded,
        }
    }
}

/// As the log says it of an MQTT client.
impl fmt::Display for NotSubscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("no topic filter"),
            Self::TooManyLevels(max) => write!(f, "mqtt.topic_levels_max is {max}"),
            Self::TooLong(max) => write!(f, "mqtt.topic_bytes_max is {max}"),
            Self::TooManyAtOnce(max) => write!(f, "mqtt.filters_max is {max}"),
            Self::Reserved => f.write_str("not open to clients"),
            Self::TooMany(max) => write!(f, "mqtt.subscriptions_max is {max}"),
        }
    }
}
