//! Why a subscription is refused though its connection stays: counted and logged under one name, and told to
//! the client in its protocol's own word.

use crate::mqtt::reason::Reason as MqttReason;
use std::fmt;

/// The kinds of refusals: a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSubscribed {
    /// There is no such filter.
    Invalid,
    /// It has more levels (MQTT) or tokens (NATS) than the setting allows, which is this.
    TooManyLevels(usize),
    /// It is the gateway's own, or somebody else's.
    Reserved,
    /// The client has as many subscriptions as the setting allows, which is this.
    TooMany(usize),
}

impl NotSubscribed {
    pub const COUNT: usize = 4;
    /// What each is counted as, in the order of their numbers.
    pub const NAMES: [&str; Self::COUNT] = ["invalid", "too_many_levels", "reserved", "too_many"];

    /// Its place among the names.
    pub fn idx(self) -> usize {
        match self {
            Self::Invalid => 0,
            Self::TooManyLevels(_) => 1,
            Self::Reserved => 2,
            Self::TooMany(_) => 3,
        }
    }

    /// The code in SUBACK (section 3.9.3).
    pub fn mqtt_reason(self) -> MqttReason {
        match self {
            Self::Invalid | Self::TooManyLevels(_) => MqttReason::TopicFilterInvalid,
            Self::Reserved => MqttReason::NotAuthorized,
            Self::TooMany(_) => MqttReason::QuotaExceeded,
        }
    }
}

/// As the log says it of an MQTT client.
impl fmt::Display for NotSubscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("no topic filter"),
            Self::TooManyLevels(max) => write!(f, "mqtt.topic_levels_max is {max}"),
            Self::Reserved => f.write_str("not open to clients"),
            Self::TooMany(max) => write!(f, "mqtt.subscriptions_max is {max}"),
        }
    }
}
