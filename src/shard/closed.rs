//! Why a connection ended: logged, counted, and told to the peer under one name.

use crate::mqtt::malformed::Malformed as MqttMalformed;
use crate::mqtt::reason::Reason;
use crate::nats::connection::ConnectRefused;
use crate::nats::parse::Malformed as NatsMalformed;
use std::fmt;

/// The reasons, by whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed its end, or said DISCONNECT.
    ByPeer,
    /// The peer vanished: reads fail.
    Lost,
    Nats(NatsMalformed),
    NatsConnect(ConnectRefused),
    Mqtt(MqttMalformed),
    /// MQTT: refused in CONNACK.
    MqttConnect(Reason),
    /// MQTT: a packet that this gateway does not take, with the reason it gives.
    MqttRefused(Reason),
    /// MQTT: the first packet was another one than CONNECT.
    NotConnect,
    /// Nothing useful came in the time for it.
    ConnectTimeout,
    /// Silence beyond the keep-alive or the unanswered pings.
    KeepAlive,
    SlowConsumer,
    TakenOver,
    ShuttingDown,
    /// A defect of ours; only this connection pays.
    Panicked,
}

impl Closed {
    /// Whether the peer sent what it must not: worth a line in the log, at a limited rate.
    pub fn is_peers_fault(self) -> bool {
        match self {
            Self::Nats(_)
            | Self::NatsConnect(_)
            | Self::Mqtt(_)
            | Self::MqttConnect(_)
            | Self::MqttRefused(_)
            | Self::NotConnect
            | Self::ConnectTimeout => true,
            Self::ByPeer
            | Self::Lost
            | Self::KeepAlive
            | Self::SlowConsumer
            | Self::TakenOver
            | Self::ShuttingDown
            | Self::Panicked => false,
        }
    }

    /// The text of the `-ERR` that a NATS client gets, if any.
    pub fn nats_error(self) -> Option<&'static str> {
        match self {
            Self::Nats(malformed) => malformed.error_text(),
            Self::NatsConnect(refused) => refused.error_text(),
            Self::KeepAlive => Some("Stale Connection"),
            // A slow consumer reads nothing, and clients end for good on a text they don't know.
            _ => None,
        }
    }

    /// The reason in the DISCONNECT that an MQTT 5 client gets, if any.
    pub fn mqtt_reason(self) -> Option<Reason> {
        match self {
            Self::Mqtt(malformed) => Some(malformed.reason()),
            Self::MqttRefused(reason) => Some(reason),
            Self::KeepAlive => Some(Reason::KeepAliveTimeout),
            Self::TakenOver => Some(Reason::SessionTakenOver),
            Self::ShuttingDown => Some(Reason::ServerShuttingDown),
            // What a slow consumer or a broken one was sent may end in the middle of a packet.
            _ => None,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer => f.write_str("closed by the client"),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Nats(malformed) => write!(f, "bad input: {malformed}"),
            Self::NatsConnect(refused) => write!(f, "CONNECT refused: {refused:?}"),
            Self::Mqtt(malformed) => write!(f, "bad input: {malformed}"),
            Self::MqttConnect(reason) => write!(f, "CONNECT refused: {reason}"),
            Self::MqttRefused(reason) => write!(f, "packet refused: {reason}"),
            Self::NotConnect => f.write_str("bad input: the first packet is not CONNECT"),
            Self::ConnectTimeout => f.write_str("no CONNECT in time"),
            Self::KeepAlive => f.write_str("silent for longer than its keep-alive"),
            Self::SlowConsumer => f.write_str("slow consumer"),
            Self::TakenOver => f.write_str("taken over by a new connection of the same client id"),
            Self::ShuttingDown => f.write_str("the gateway stops"),
            Self::Panicked => f.write_str("an error of the gateway"),
        }
    }
}
