//! What clients may do at most, under the names that the configuration has for it, and what follows where one
//! reaches it: a count by name, and a line in the log with the name and the value. Not the memory of the
//! gateway's own tables, which their owners bound.

use super::rates::Rate;
use super::settings::Settings;
use crate::message::ProtocolKind;
use crate::mqtt::packet::Packet;
use crate::mqtt::property::Properties;
use crate::mqtt::reason::Reason;

/// Writes the enum, its names and its values from one list.
macro_rules! limits {
    ($settings:ident: $($name:ident = $key:literal, $value:expr;)+) => {
        /// A limit that a client has reached.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit { $(#[doc = $key] $name,)+ }

        impl Limit {
            pub const ALL: &[Self] = &[$(Self::$name,)+];
            pub const COUNT: usize = Self::ALL.len();

            /// What the configuration calls it.
            pub fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)+ }
            }

            /// How much it lets through, in the unit of its key.
            pub fn value(self, $settings: &Settings) -> u64 {
                match self { $(Self::$name => $value as u64,)+ }
            }
        }
    };
}

limits! { settings:
    ClientId = "mqtt.client_id_bytes_max", settings.limits.client_id_bytes_max;
    Connect = "mqtt.connect_bytes_max", settings.mqtt.decode.connect_bytes_max;
    ConnectTime = "mqtt.connect_timeout_secs", settings.mqtt.connect_timeout.as_micros() / 1_000_000;
    MqttPayload = "mqtt.payload_bytes_max", settings.mqtt.decode.packet_bytes_max;
    Topic = "mqtt.topic_bytes_max", settings.limits.topic_bytes_max;
    TopicLevels = "mqtt.topic_levels_max", settings.mqtt.topic_levels_max;
    UserProperties = "mqtt.user_properties_max", settings.limits.user_properties_max;
    UserPropertyBytes = "mqtt.user_property_bytes_max", settings.limits.user_property_bytes_max;
    Filters = "mqtt.filters_max", settings.limits.filters_max;
    MqttSubscriptions = "mqtt.subscriptions_max", settings.mqtt.subscriptions_max;
    ReceiveMaximum = "mqtt.receive_maximum", settings.mqtt.offer.receive_maximum;
    TopicAliases = "mqtt.topic_aliases_max", settings.mqtt.offer.aliases.topics_max;
    TopicAliasBytes = "mqtt.topic_alias_bytes_max", settings.mqtt.offer.aliases.bytes_max;
    Sessions = "mqtt.sessions_max", settings.mqtt.sessions_max * settings.n_cores;
    SessionQueueMessages = "mqtt.session_queue_messages_max", settings.mqtt.session_queue_messages_max;
    SessionQueueBytes = "mqtt.session_queue_bytes_max", settings.mqtt.session_queue_bytes_max;
    LeftBehindMessages = "mqtt.left_behind_messages_max", settings.mqtt.left_behind.messages_max;
    LeftBehindBytes = "mqtt.left_behind_bytes_max", settings.mqtt.left_behind.bytes_max;
    RetainedMessages = "mqtt.retained_messages_max", settings.mqtt.retained.messages_max;
    RetainedBytes = "mqtt.retained_bytes_max", settings.mqtt.retained.bytes_max;
    RetainedPayload = "mqtt.retained_payload_bytes_max", settings.mqtt.retained.payload_bytes_max;
    Requests = "mqtt.requests_max", settings.mqtt.requests.per_client_max;
    RequestBytes = "mqtt.requests_bytes_max", settings.mqtt.requests.bytes_max;
    MqttMessageRate = "mqtt.publish_rate_max", settings.limits.rates[0].messages_per_sec;
    MqttByteRate = "mqtt.publish_bytes_rate_max", settings.limits.rates[0].bytes_per_sec;
    NatsMessageRate = "nats.publish_rate_max", settings.limits.rates[1].messages_per_sec;
    NatsByteRate = "nats.publish_bytes_rate_max", settings.limits.rates[1].bytes_per_sec;
    ControlLine = "nats.control_line_bytes_max", settings.nats.parse.control_line_bytes_max;
    NatsPayload = "nats.payload_bytes_max", settings.nats.parse.payload_bytes_max;
    Header = "nats.header_bytes_max", settings.nats.parse.header_bytes_max;
    NatsSubscriptions = "nats.subscriptions_max", settings.nats.subscriptions_max;
    SubscriptionTokens = "nats.subscription_tokens_max", settings.nats.subscription_tokens_max;
    Unconnected = "limits.unconnected_percent_max", settings.limits.unconnected_percent_max;
    UnconnectedBytes = "limits.unconnected_bytes_max", settings.limits.unconnected_bytes_max;
    WriteQueue = "limits.write_queue_bytes_max", settings.write_queue_bytes_max;
    CoreQueue = "limits.core_queue_bytes_max", settings.core_queue_bytes_max;
    WriteTime = "limits.write_timeout_secs", settings.write_timeout.as_micros() / 1_000_000;
}

impl Limit {
    /// What the log calls it: its key, where what counts is not more than that.
    pub fn name(self) -> &'static str {
        match self {
            Self::MqttPayload => "mqtt.payload_bytes_max + 65 KiB",
            other => other.key(),
        }
    }

    /// The reason that an MQTT 5 client gets whose connection ends for it.
    pub fn reason(self) -> Reason {
        match self {
            Self::ClientId => Reason::ClientIdentifierNotValid,
            Self::Connect | Self::MqttPayload => Reason::PacketTooLarge,
            Self::Topic | Self::TopicLevels => Reason::TopicNameInvalid,
            Self::ReceiveMaximum => Reason::ReceiveMaximumExceeded,
            Self::TopicAliases => Reason::TopicAliasInvalid,
            _ => Reason::QuotaExceeded,
        }
    }
}

/// Why there is no room for a connection. The names are those of `strait_connections_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    Full,
    ListenerFull,
    AddressFull,
    AddressRate,
}

impl NoRoom {
    pub const COUNT: usize = 4;

    /// What the configuration calls the limit in the way; a listener's is called as the listener is.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Self::Full => Some("limits.connections_max"),
            Self::ListenerFull => None,
            Self::AddressFull => Some("limits.connections_per_address_max"),
            Self::AddressRate => Some("limits.connection_rate_per_address_max"),
        }
    }

    /// The reason that an MQTT client gets.
    pub fn reason(self) -> Reason {
        match self {
            Self::Full | Self::ListenerFull | Self::AddressFull => Reason::QuotaExceeded,
            Self::AddressRate => Reason::ConnectionRateExceeded,
        }
    }
}

/// Those of one client that stand nowhere else. `usize::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub client_id_bytes_max: usize,
    /// Of topic names and of filters, as they are written.
    pub topic_bytes_max: usize,
    /// User properties of one packet, and the bytes of their names and values.
    pub user_properties_max: usize,
    pub user_property_bytes_max: usize,
    /// Filters of one SUBSCRIBE.
    pub filters_max: usize,
    /// What an MQTT client hears of that there is no room for, by `NoRoom`; of listeners the first one's.
    pub connections: [u64; NoRoom::COUNT],
    /// What a client may publish, by `ProtocolKind`.
    pub rates: [Rate; ProtocolKind::COUNT],
    /// Connections of a shard that have not said who they are, and the share of all that they stand for.
    pub unconnected_max: usize,
    pub unconnected_percent_max: u32,
    /// Bytes of a shard that these have sent and that are not taken.
    pub unconnected_bytes_max: usize,
}

impl Limits {
    pub const NONE: Self = Self {
        client_id_bytes_max: usize::MAX,
        topic_bytes_max: usize::MAX,
        user_properties_max: usize::MAX,
        user_property_bytes_max: usize::MAX,
        filters_max: usize::MAX,
        connections: [u64::MAX; NoRoom::COUNT],
        rates: [Rate { messages_per_sec: 0, bytes_per_sec: 0 }; ProtocolKind::COUNT],
        unconnected_max: usize::MAX,
        unconnected_percent_max: 100,
        unconnected_bytes_max: usize::MAX,
    };

    /// Whether a packet has more user properties than it may.
    #[inline]
    pub fn judge(&self, packet: &Packet<'_>) -> Result<(), Limit> {
        let properties = match packet {
            Packet::Connect(connect) => {
                self.judge_properties(connect.will.map_or(Properties::EMPTY, |will| will.properties))?;
                connect.properties
            }
            Packet::Publish(publish) => publish.properties,
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
                ack.properties
            }
            Packet::Subscribe(subscribe) => subscribe.properties,
            Packet::Unsubscribe(unsubscribe) => unsubscribe.properties,
            Packet::Disconnect(disconnect) => disconnect.properties,
            Packet::Auth(auth) => auth.properties,
            // Of these a client sends none that is taken.
            Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Pingresp => return Ok(()),
        };
        self.judge_properties(properties)
    }

    #[inline]
    fn judge_properties(&self, properties: Properties<'_>) -> Result<(), Limit> {
        let n_bytes = properties.raw().len();
        // What can't be too much is not looked into.
        if n_bytes == 0
            || (n_bytes / USER_PROPERTY_LEN_MIN <= self.user_properties_max
                && n_bytes <= self.user_property_bytes_max)
        {
            Ok(())
        } else {
            self.judge_user_properties(properties)
        }
    }

    #[cold]
    fn judge_user_properties(&self, properties: Properties<'_>) -> Result<(), Limit> {
        let (mut n, mut n_bytes) = (0, 0);
        for pair in properties.user_properties() {
            n += 1;
            n_bytes += pair.name.len() + pair.value.len();
        }
        if n > self.user_properties_max {
            Err(Limit::UserProperties)
        } else if n_bytes > self.user_property_bytes_max {
            Err(Limit::UserPropertyBytes)
        } else {
            Ok(())
        }
    }
}

/// An identifier, and two empty texts.
const USER_PROPERTY_LEN_MIN: usize = 5;
