//! What can be wrong with the bytes of a peer. Not what it then gets to hear, except for the one function
//! that names the reason code.

use crate::mqtt::packet::PacketKind;
use crate::mqtt::property::PropertyId;
use crate::mqtt::reason::Reason;

/// What the peer did wrong. After any of these the position of the next packet is not known, or not worth
/// knowing: the connection ends. [MQTT-4.13.1-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The remaining length, or a length inside, goes on after four bytes.
    LengthTooLong,
    /// A length in more bytes than it needs.
    LengthNotMinimal,
    /// The frame is longer than the limit for it.
    PacketTooLarge,
    /// A packet type this version does not have: 0 always, 15 before MQTT 5.
    ReservedKind(u8),
    /// Bits that must be 0 (or 1) and are not, in the first byte or in CONNACK's flags.
    ReservedBits(PacketKind),
    /// A field ends after the packet does.
    Truncated,
    /// The packet ends after its last field does.
    TrailingBytes,
    /// The protocol name is neither `MQTT` nor `MQIsdp`.
    UnknownProtocol,
    /// The protocol is MQTT at a level we do not speak.
    UnsupportedVersion(u8),
    /// Bit 0 of CONNECT's flags is set.
    ConnectFlagReserved,
    /// QoS or retain of a will that is not there, or a will of QoS 3.
    WillFlags,
    /// A password without a username, before MQTT 5.
    UsernameFlag,
    /// The client identifier is not UTF-8, or has a NUL.
    ClientIdNotUtf8,
    /// The username is not UTF-8, or has a NUL.
    UsernameNotUtf8,
    /// Both QoS bits are set.
    Qos3,
    /// A repetition of what is never repeated.
    DupAtQos0,
    /// A packet identifier of 0.
    PacketIdZero,
    /// A topic name is not UTF-8, or has a NUL.
    TopicNotUtf8,
    /// A topic name with `+` or `#`.
    TopicHasWildcard,
    /// An empty topic name and no alias that could stand for it.
    TopicEmpty,
    /// A topic filter is not UTF-8, or has a NUL.
    FilterNotUtf8,
    /// A SUBSCRIBE or UNSUBSCRIBE that names no filter.
    NoFilters,
    /// A SUBACK, or an UNSUBACK of MQTT 5, without a code.
    NoReasons,
    /// Reserved bits or values in the options of a subscription.
    SubscribeOptions,
    /// No Local on a shared subscription.
    NoLocalOnShared,
    /// A session present although the connection is refused.
    SessionPresentRefused,
    /// A reason code that does not exist or not in this packet.
    ReasonNotAllowed(PacketKind, u8),
    /// A property identifier nobody has defined.
    PropertyUnknown(u8),
    /// A property in a packet it does not belong to.
    PropertyNotAllowed(PropertyId),
    /// A property that may appear once, twice.
    PropertyTwice(PropertyId),
    /// A property with a value out of its range.
    PropertyValue(PropertyId),
    /// A property whose text is not UTF-8, or has a NUL.
    PropertyNotUtf8(PropertyId),
    /// A property that another one, or the packet, demands.
    PropertyMissing(PropertyId),
}

impl Malformed {
    /// The reason code MQTT 5 wants the peer to hear, in CONNACK or DISCONNECT. The only place that knows.
    pub const fn reason(self) -> Reason {
        match self {
            // "cannot be parsed according to this specification" (section 1.2, Malformed Packet)
            Malformed::LengthTooLong
            | Malformed::LengthNotMinimal
            | Malformed::ReservedKind(_)
            | Malformed::ReservedBits(_)
            | Malformed::Truncated
            | Malformed::TrailingBytes
            | Malformed::ConnectFlagReserved
            | Malformed::WillFlags
            | Malformed::UsernameFlag
            | Malformed::ClientIdNotUtf8
            | Malformed::UsernameNotUtf8
            | Malformed::Qos3
            | Malformed::DupAtQos0
            | Malformed::TopicNotUtf8
            | Malformed::FilterNotUtf8
            | Malformed::SubscribeOptions
            | Malformed::PropertyUnknown(_)
            | Malformed::PropertyNotAllowed(_)
            | Malformed::PropertyNotUtf8(_) => Reason::MalformedPacket,
            // "contains data that is not permitted by the protocol" (section 1.2, Protocol Error)
            Malformed::PacketIdZero
            | Malformed::TopicEmpty
            | Malformed::NoFilters
            | Malformed::NoReasons
            | Malformed::NoLocalOnShared
            | Malformed::SessionPresentRefused
            | Malformed::ReasonNotAllowed(..)
            | Malformed::PropertyTwice(_)
            | Malformed::PropertyMissing(_) => Reason::ProtocolError,
            Malformed::PropertyValue(PropertyId::TopicAlias) => Reason::TopicAliasInvalid,
            Malformed::PropertyValue(_) => Reason::ProtocolError,
            Malformed::UnknownProtocol | Malformed::UnsupportedVersion(_) => {
                Reason::UnsupportedProtocolVersion
            }
            Malformed::TopicHasWildcard => Reason::TopicNameInvalid,
            Malformed::PacketTooLarge => Reason::PacketTooLarge,
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match *self {
            Malformed::LengthTooLong => "a length goes on after four bytes",
            Malformed::LengthNotMinimal => "a length takes more bytes than it needs",
            Malformed::PacketTooLarge => "the packet is larger than allowed",
            Malformed::ReservedKind(kind) => return write!(f, "packet type {kind} is reserved"),
            Malformed::ReservedBits(kind) => return write!(f, "{} has reserved bits set", kind.name()),
            Malformed::Truncated => "the packet ends inside a field",
            Malformed::TrailingBytes => "the packet goes on after its last field",
            Malformed::UnknownProtocol => "the protocol name is not MQTT's",
            Malformed::UnsupportedVersion(level) => return write!(f, "MQTT level {level} is not supported"),
            Malformed::ConnectFlagReserved => "CONNECT has its reserved flag set",
            Malformed::WillFlags => "the will flags contradict each other",
            Malformed::UsernameFlag => "a password came without a username",
            Malformed::ClientIdNotUtf8 => "the client identifier is not UTF-8 without NUL",
            Malformed::UsernameNotUtf8 => "the username is not UTF-8 without NUL",
            Malformed::Qos3 => "QoS 3 does not exist",
            Malformed::DupAtQos0 => "a PUBLISH of QoS 0 has DUP set",
            Malformed::PacketIdZero => "the packet identifier is 0",
            Malformed::TopicNotUtf8 => "the topic name is not UTF-8 without NUL",
            Malformed::TopicHasWildcard => "the topic name contains a wildcard",
            Malformed::TopicEmpty => "the topic name is empty",
            Malformed::FilterNotUtf8 => "a topic filter is not UTF-8 without NUL",
            Malformed::NoFilters => "the packet names no topic filter",
            Malformed::NoReasons => "the answer carries no reason code",
            Malformed::SubscribeOptions => "the subscription options use reserved values",
            Malformed::NoLocalOnShared => "No Local is set on a shared subscription",
            Malformed::SessionPresentRefused => "a refusal claims that a session is present",
            Malformed::ReasonNotAllowed(kind, code) => {
                return write!(f, "{} may not carry the code 0x{code:02X}", kind.name());
            }
            Malformed::PropertyUnknown(id) => return write!(f, "property 0x{id:02X} does not exist"),
            Malformed::PropertyNotAllowed(id) => return write!(f, "{id:?} does not belong in the packet"),
            Malformed::PropertyTwice(id) => return write!(f, "{id:?} is given twice"),
            Malformed::PropertyValue(id) => return write!(f, "{id:?} is out of its range"),
            Malformed::PropertyNotUtf8(id) => return write!(f, "{id:?} is not UTF-8 without NUL"),
            Malformed::PropertyMissing(id) => return write!(f, "{id:?} is missing"),
        };
        f.write_str(text)
    }
}

impl std::error::Error for Malformed {}
