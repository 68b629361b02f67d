//! Why a connection ended: logged, counted, and told to the peer under one name.

use super::Door;
use super::limits::{Limit, NoRoom};
use super::settings::Settings;
use crate::mqtt::malformed::Malformed as MqttMalformed;
use crate::mqtt::reason::Reason as MqttReason;
use crate::nats::connection::ConnectRefused;
use crate::nats::parse::Malformed as NatsMalformed;
use std::fmt;

/// The reasons, by whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// MQTT: the client said DISCONNECT, with this reason.
    Disconnect(MqttReason),
    /// The peer closed its end, which in MQTT is without a word.
    ByPeer,
    /// The peer vanished: reads fail.
    Lost,
    Nats(NatsMalformed),
    NatsConnect(ConnectRefused),
    Mqtt(MqttMalformed),
    /// MQTT: refused in CONNACK.
    MqttConnect(Refused),
    /// MQTT: a packet that this gateway does not take, with the reason it gives.
    MqttRefused(Refused),
    /// MQTT: the first packet was another one than CONNECT.
    NotConnect,
    /// Too many, or too much of them, had not yet said who they are.
    Unconnected(Limit),
    /// Nothing useful came in the time for it.
    ConnectTimeout,
    /// Silence beyond the keep-alive or the unanswered pings.
    KeepAlive,
    SlowConsumer(Slow),
    TakenOver,
    ShuttingDown,
    /// A defect of ours; only this connection pays.
    Panicked,
}

/// Why an MQTT packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: MqttReason,
    /// What was in the way, where the reason alone does not say it.
    pub bound: Option<Bound>,
}

/// Why a publish is refused that no limit refuses, and its number beside those of the limits.
pub const NOT_OPEN: &str = "the topic is not open to clients";
pub const BY_RULE: u8 = u8::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A setting, and what it is set to.
    Setting(Limit, u64),
    /// The same, of one by which connections are turned away: its key.
    Connections(&'static str, u64),
    /// The client's own Maximum Packet Size.
    ClientTakes(usize),
    /// Not a matter of how much.
    Rule(&'static str),
}

impl From<MqttReason> for Refused {
    fn from(reason: MqttReason) -> Self {
        Self { reason, bound: None }
    }
}

impl Refused {
    /// The client would have more than it may.
    pub fn beyond(limit: Limit, settings: &Settings) -> Self {
        Self { reason: limit.reason(), bound: Some(Bound::Setting(limit, limit.value(settings))) }
    }

    /// There is no room for its connection, which came in at `door`, one of MQTT.
    pub fn no_room(no_room: NoRoom, door: Door, settings: &Settings) -> Self {
        let value = settings.limits.connections[no_room as usize];
        let at_first = ("mqtt.max_connections", value);
        let at_door = || {
            let nth_named = usize::from(door.nth).checked_sub(1);
            nth_named.and_then(|nth| settings.mqtt.named_connections_max.get(nth)).copied()
        };
        let (key, value) = match no_room.key() {
            Some(key) => (key, value),
            None => at_door().unwrap_or(at_first),
        };
        Self { reason: no_room.reason(), bound: Some(Bound::Connections(key, value)) }
    }

    /// What a receipt that refuses a publish has to say by its number: a limit's, or `BY_RULE`.
    pub fn of_publish(why: u8, settings: &Settings) -> Self {
        match Limit::ALL.get(usize::from(why)) {
            Some(limit) => Self::beyond(*limit, settings),
            None => Self::against(MqttReason::NotAuthorized, NOT_OPEN),
        }
    }

    /// The same in words.
    #[cold]
    pub fn words_of_publish(why: u8, settings: &Settings) -> String {
        Self::of_publish(why, settings).to_string()
    }

    /// The client did what it must not, which `rule` says.
    pub fn against(reason: MqttReason, rule: &'static str) -> Self {
        Self { reason, bound: Some(Bound::Rule(rule)) }
    }

    /// Something is to be retained where nothing is.
    pub fn no_retain() -> Self {
        Self::against(MqttReason::RetainNotSupported, "mqtt.retained_messages_max is 0")
    }

    /// The answer would be larger than the client takes.
    pub fn larger_than_client_takes(packet_bytes_max: usize) -> Self {
        Self { reason: MqttReason::PacketTooLarge, bound: Some(Bound::ClientTakes(packet_bytes_max)) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.bound {
            Some(Bound::Setting(limit, value)) => write!(f, ", {} is {value}", limit.name()),
            Some(Bound::Connections(key, value)) => write!(f, ", {key} is {value}"),
            Some(Bound::ClientTakes(max)) => write!(f, ", the client's Maximum Packet Size is {max}"),
            Some(Bound::Rule(rule)) => write!(f, ", {rule}"),
            None => Ok(()),
        }
    }
}

/// What a slow consumer was too slow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// More waits for it than may.
    Pending,
    /// It took nothing for as long as it may.
    WriteTimeout,
    /// Of all clients of a core that has no more room it had the most waiting.
    CoreTotal,
}

/// The kinds of them that are counted apart: a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Normal,
    DisconnectWithWill,
    ByPeer,
    Lost,
    BadInput,
    ConnectRefused,
    PacketRefused,
    ConnectTimeout,
    Unconnected,
    KeepAlive,
    SlowConsumer,
    TakenOver,
    ShuttingDown,
    Panicked,
}

impl Reason {
    pub const COUNT: usize = 14;
    /// In the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Normal,
        Self::DisconnectWithWill,
        Self::ByPeer,
        Self::Lost,
        Self::BadInput,
        Self::ConnectRefused,
        Self::PacketRefused,
        Self::ConnectTimeout,
        Self::Unconnected,
        Self::KeepAlive,
        Self::SlowConsumer,
        Self::TakenOver,
        Self::ShuttingDown,
        Self::Panicked,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::DisconnectWithWill => "disconnect_with_will",
            Self::ByPeer => "by_peer",
            Self::Lost => "lost",
            Self::BadInput => "bad_input",
            Self::ConnectRefused => "connect_refused",
            Self::PacketRefused => "packet_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unconnected => "unconnected",
            Self::KeepAlive => "keep_alive",
            Self::SlowConsumer => "slow_consumer",
            Self::TakenOver => "taken_over",
            Self::ShuttingDown => "shutting_down",
            Self::Panicked => "panicked",
        }
    }
}

impl Closed {
    /// What it is counted as.
    pub fn reason(self) -> Reason {
        match self {
            Self::Disconnect(MqttReason::Success) => Reason::Normal,
            Self::Disconnect(_) => Reason::DisconnectWithWill,
            Self::ByPeer => Reason::ByPeer,
            Self::Lost => Reason::Lost,
            Self::Nats(_) | Self::Mqtt(_) | Self::NotConnect => Reason::BadInput,
            Self::NatsConnect(_) | Self::MqttConnect(_) => Reason::ConnectRefused,
            Self::MqttRefused(_) => Reason::PacketRefused,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::Unconnected(_) => Reason::Unconnected,
            Self::KeepAlive => Reason::KeepAlive,
            Self::SlowConsumer(_) => Reason::SlowConsumer,
            Self::TakenOver => Reason::TakenOver,
            Self::ShuttingDown => Reason::ShuttingDown,
            Self::Panicked => Reason::Panicked,
        }
    }

    /// Whether the peer sent what it must not: worth a line in the log, at a limited rate.
    pub fn is_peers_fault(self) -> bool {
        match self {
            Self::Nats(_)
            | Self::NatsConnect(_)
            | Self::Mqtt(_)
            | Self::MqttConnect(_)
            | Self::MqttRefused(_)
            | Self::NotConnect
            | Self::Unconnected(_)
            | Self::ConnectTimeout => true,
            Self::Disconnect(_)
            | Self::ByPeer
            | Self::Lost
            | Self::KeepAlive
            | Self::SlowConsumer(_)
            | Self::TakenOver
            | Self::ShuttingDown
            | Self::Panicked => false,
        }
    }

    /// The limit that ended it, if one did.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::MqttConnect(refused) | Self::MqttRefused(refused) => match refused.bound {
                Some(Bound::Setting(limit, _)) => Some(limit),
                Some(Bound::Connections(..) | Bound::ClientTakes(_) | Bound::Rule(_)) | None => None,
            },
            Self::Unconnected(limit) => Some(limit),
            Self::Nats(NatsMalformed::ControlLineTooLong) => Some(Limit::ControlLine),
            Self::Nats(NatsMalformed::PayloadTooLarge) => Some(Limit::NatsPayload),
            Self::Nats(NatsMalformed::HeaderTooLarge) => Some(Limit::Header),
            Self::ConnectTimeout => Some(Limit::ConnectTime),
            Self::SlowConsumer(Slow::Pending) => Some(Limit::WriteQueue),
            Self::SlowConsumer(Slow::WriteTimeout) => Some(Limit::WriteTime),
            Self::SlowConsumer(Slow::CoreTotal) => Some(Limit::CoreQueue),
            _ => None,
        }
    }

    /// What an MQTT client was refused, if that ended it.
    pub fn mqtt_refused(self) -> Option<Refused> {
        match self {
            Self::MqttConnect(refused) | Self::MqttRefused(refused) => Some(refused),
            _ => None,
        }
    }

    /// The text of the `-ERR` that a NATS client gets, if any.
    pub fn nats_error(self) -> Option<&'static str> {
        match self {
            Self::Nats(malformed) => malformed.error_text(),
            Self::NatsConnect(refused) => refused.error_text(),
            Self::KeepAlive => Some("Stale Connection"),
            Self::Unconnected(_) => Some("Authentication Timeout"),
            // A slow consumer reads nothing, and clients end for good on a text they don't know.
            _ => None,
        }
    }

    /// The reason in the DISCONNECT that an MQTT 5 client gets, if any.
    pub fn mqtt_reason(self) -> Option<MqttReason> {
        match self {
            Self::Mqtt(malformed) => Some(malformed.reason()),
            Self::MqttRefused(refused) => Some(refused.reason),
            Self::KeepAlive => Some(MqttReason::KeepAliveTimeout),
            Self::TakenOver => Some(MqttReason::SessionTakenOver),
            Self::ShuttingDown => Some(MqttReason::ServerShuttingDown),
            // What a slow consumer or a broken one was sent may end in the middle of a packet.
            _ => None,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnect(reason) => write!(f, "DISCONNECT of the client: {reason}"),
            Self::ByPeer => f.write_str("closed by the client"),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Nats(malformed) => write!(f, "bad input: {malformed}"),
            Self::NatsConnect(refused) => write!(f, "CONNECT refused: {refused}"),
            Self::Mqtt(malformed) => write!(f, "bad input: {malformed}"),
            Self::MqttConnect(refused) => write!(f, "CONNECT refused: {refused}"),
            Self::MqttRefused(refused) => write!(f, "packet refused: {refused}"),
            Self::NotConnect => f.write_str("bad input: the first packet is not CONNECT"),
            Self::Unconnected(_) => f.write_str("too much is connected that has not said who it is"),
            Self::ConnectTimeout => f.write_str("no CONNECT in time"),
            Self::KeepAlive => f.write_str("silent for longer than its keep-alive"),
            Self::SlowConsumer(Slow::Pending) => f.write_str("slow consumer: more waits for it than may"),
            Self::SlowConsumer(Slow::WriteTimeout) => {
                f.write_str("slow consumer: it took nothing within the write timeout")
            }
            Self::SlowConsumer(Slow::CoreTotal) => {
                f.write_str("slow consumer: it had the most waiting when its core had no more room")
            }
            Self::TakenOver => f.write_str("taken over by a new connection of the same client id"),
            Self::ShuttingDown => f.write_str("the gateway stops"),
            Self::Panicked => f.write_str("an error of the gateway"),
        }
    }
}
