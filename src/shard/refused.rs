//! Why a subscription is refused though its connection stays: counted and logged under one name, and told to
//! the client in its protocol's own word.

use super::Shard;
use super::limits::Limit;
use crate::message::ProtocolKind;
use crate::mqtt::reason::Reason as MqttReason;

/// The kinds of refusals: a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSubscribed {
    /// There is no such filter.
    Invalid,
    TooLong,
    /// Levels of MQTT, tokens of NATS.
    TooManyLevels,
    /// It is the gateway's own, or somebody else's.
    Reserved,
    /// The client has as many as it may.
    TooMany,
    /// Its packet has.
    TooManyAtOnce,
}

impl Shard {
    /// Counts a subscription that is refused alone, and says what was in the way, for the log.
    pub(super) fn count_refused(&mut self, why: NotSubscribed, of: ProtocolKind) -> String {
        let counters = &mut self.clients.counters;
        counters.subscriptions_refused[why.idx()] += 1;
        match (why.limit(of), why) {
            (Some(limit), _) => {
                counters.n_limited[limit as usize] += 1;
                format!("{} is {}", limit.name(), limit.value(&self.settings))
            }
            (None, NotSubscribed::Reserved) => "not open to clients".into(),
            (None, _) => "no such filter".into(),
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
            Self::TooManyLevels => 1,
            Self::Reserved => 2,
            Self::TooMany => 3,
            Self::TooLong => 4,
            Self::TooManyAtOnce => 5,
        }
    }

    /// The limit in the way, if one was.
    pub fn limit(self, of: ProtocolKind) -> Option<Limit> {
        match (self, of) {
            (Self::TooManyLevels, ProtocolKind::Mqtt) => Some(Limit::TopicLevels),
            (Self::TooManyLevels, ProtocolKind::Nats) => Some(Limit::SubscriptionTokens),
            (Self::TooMany, ProtocolKind::Mqtt) => Some(Limit::MqttSubscriptions),
            (Self::TooMany, ProtocolKind::Nats) => Some(Limit::NatsSubscriptions),
            (Self::TooLong, _) => Some(Limit::Topic),
            (Self::TooManyAtOnce, _) => Some(Limit::Filters),
            (Self::Invalid | Self::Reserved, _) => None,
        }
    }

    /// The code in SUBACK (section 3.9.3).
    pub fn mqtt_reason(self) -> MqttReason {
        match self {
            Self::Invalid | Self::TooLong | Self::TooManyLevels => MqttReason::TopicFilterInvalid,
            Self::Reserved => MqttReason::NotAuthorized,
            Self::TooMany | Self::TooManyAtOnce => MqttReason::QuotaExceeded,
        }
    }
}
