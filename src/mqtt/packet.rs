//! The fifteen packets of MQTT as borrowed values. Not their bytes (`decode`, `encode`), and not what is
//! done about them.
//!
//! One shape serves all versions: what a version lacks is empty or has its default. Fields are what the
//! peer said, in MQTT 5 words.

use crate::message::Quality;
use crate::mqtt::property::Properties;
use crate::mqtt::reason::Reason;
use crate::mqtt::wire::Reader;

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1, `MQIsdp`.
    V3_1,
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

    /// The protocol level in CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Version::V3_1 => 3,
            Version::V3_1_1 => 4,
            Version::V5 => 5,
        }
    }

    /// Whether packets carry properties and reasons.
    pub const fn is_v5(self) -> bool {
        matches!(self, Version::V5)
    }
}

/// How hard a message is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// Sent once and forgotten.
    #[default]
    AtMostOnce = 0,
    /// Repeated until acknowledged.
    AtLeastOnce = 1,
    /// Handed over in two steps.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level with this number; 3 is reserved.
    pub const fn from_u8(level: u8) -> Option<Qos> {
        match level {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }

    /// The level of a neutral message's quality.
    #[inline]
    pub const fn of(quality: Quality) -> Qos {
        match quality {
            Quality::AtMostOnce => Qos::AtMostOnce,
            Quality::AtLeastOnce => Qos::AtLeastOnce,
            Quality::ExactlyOnce => Qos::ExactlyOnce,
        }
    }

    /// What the level is called across protocols.
    #[inline]
    pub const fn quality(self) -> Quality {
        match self {
            Qos::AtMostOnce => Quality::AtMostOnce,
            Qos::AtLeastOnce => Quality::AtLeastOnce,
            Qos::ExactlyOnce => Quality::ExactlyOnce,
        }
    }
}

/// The type of a packet: the high four bits of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's, section 2.1.2")]
pub enum PacketKind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [PacketKind; 15] = [
        PacketKind::Connect,
        PacketKind::Connack,
        PacketKind::Publish,
        PacketKind::Puback,
        PacketKind::Pubrec,
        PacketKind::Pubrel,
        PacketKind::Pubcomp,
        PacketKind::Subscribe,
        PacketKind::Suback,
        PacketKind::Unsubscribe,
        PacketKind::Unsuback,
        PacketKind::Pingreq,
        PacketKind::Pingresp,
        PacketKind::Disconnect,
        PacketKind::Auth,
    ];

    /// The kind with this number; 0 is forbidden.
    pub const fn from_u8(number: u8) -> Option<PacketKind> {
        match number {
            1 => Some(PacketKind::Connect),
            2 => Some(PacketKind::Connack),
            3 => Some(PacketKind::Publish),
            4 => Some(PacketKind::Puback),
            5 => Some(PacketKind::Pubrec),
            6 => Some(PacketKind::Pubrel),
            7 => Some(PacketKind::Pubcomp),
            8 => Some(PacketKind::Subscribe),
            9 => Some(PacketKind::Suback),
            10 => Some(PacketKind::Unsubscribe),
            11 => Some(PacketKind::Unsuback),
            12 => Some(PacketKind::Pingreq),
            13 => Some(PacketKind::Pingresp),
            14 => Some(PacketKind::Disconnect),
            15 => Some(PacketKind::Auth),
            _ => None,
        }
    }

    /// The name in capitals, as the specification and everybody's logs write it.
    pub const fn name(self) -> &'static str {
        match self {
            PacketKind::Connect => "CONNECT",
            PacketKind::Connack => "CONNACK",
            PacketKind::Publish => "PUBLISH",
            PacketKind::Puback => "PUBACK",
            PacketKind::Pubrec => "PUBREC",
            PacketKind::Pubrel => "PUBREL",
            PacketKind::Pubcomp => "PUBCOMP",
            PacketKind::Subscribe => "SUBSCRIBE",
            PacketKind::Suback => "SUBACK",
            PacketKind::Unsubscribe => "UNSUBSCRIBE",
            PacketKind::Unsuback => "UNSUBACK",
            PacketKind::Pingreq => "PINGREQ",
            PacketKind::Pingresp => "PINGRESP",
            PacketKind::Disconnect => "DISCONNECT",
            PacketKind::Auth => "AUTH",
        }
    }

    /// The first byte of such a packet with these flags.
    pub(super) const fn first_byte(self, flags: u8) -> u8 {
        (self as u8) << 4 | flags
    }

    /// Its place in a set of kinds. Bit 0 is free, as no kind has the number 0.
    pub(super) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A packet, borrowing the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's, and each payload is documented")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Suback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Which of the fifteen it is.
    pub const fn kind(&self) -> PacketKind {
        match self {
            Packet::Connect(_) => PacketKind::Connect,
            Packet::Connack(_) => PacketKind::Connack,
            Packet::Publish(_) => PacketKind::Publish,
            Packet::Puback(_) => PacketKind::Puback,
            Packet::Pubrec(_) => PacketKind::Pubrec,
            Packet::Pubrel(_) => PacketKind::Pubrel,
            Packet::Pubcomp(_) => PacketKind::Pubcomp,
            Packet::Subscribe(_) => PacketKind::Subscribe,
            Packet::Suback(_) => PacketKind::Suback,
            Packet::Unsubscribe(_) => PacketKind::Unsubscribe,
            Packet::Unsuback(_) => PacketKind::Unsuback,
            Packet::Pingreq => PacketKind::Pingreq,
            Packet::Pingresp => PacketKind::Pingresp,
            Packet::Disconnect(_) => PacketKind::Disconnect,
            Packet::Auth(_) => PacketKind::Auth,
        }
    }
}

/// A client introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What every later packet of this connection is written in.
    pub version: Version,
    /// Forget the session of this client id; `clean session` in MQTT 3.
    pub clean_start: bool,
    /// The longest silence the client plans, 0 for any.
    pub keep_alive_secs: u16,
    /// UTF-8; empty asks the server to choose one. Whether that is allowed is the session's to judge.
    pub client_id: &'a [u8],
    /// Published when the client is lost.
    pub will: Option<Will<'a>>,
    /// UTF-8.
    pub username: Option<&'a [u8]>,
    /// Any bytes. Without a username only in MQTT 5.
    pub password: Option<&'a [u8]>,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// The message a client leaves for the case of its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The quality it is published at.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// A topic name under the rules of [`Publish::topic`], never empty.
    pub topic: &'a [u8],
    /// Any bytes.
    pub payload: &'a [u8],
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// The server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// The server remembers the client. Never with a refusal; always false in MQTT 3.1, which has no such bit.
    pub session_present: bool,
    /// For MQTT 3 one of the six that [`crate::mqtt::reason::ConnectReturnCode`] can say.
    pub reason: Reason,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// A message under way, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// A repetition; never at QoS 0.
    pub dup: bool,
    /// How it is acknowledged.
    pub qos: Qos,
    /// To be kept for later subscribers, or kept by the server until now.
    pub retain: bool,
    /// UTF-8 without NUL and without `+` and `#`. Empty only in MQTT 5, where a topic alias stands for it.
    pub topic: &'a [u8],
    /// 0 at QoS 0 and only there.
    pub packet_id: u16,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
    /// Any bytes.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// Always `Success` before MQTT 5.
    pub reason: Reason,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// A client asks for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
    /// What it wants, at least one.
    pub filters: Filters<'a>,
}

/// The answer to SUBSCRIBE or to UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// That of the request.
    pub packet_id: u16,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
    /// One byte for each filter of the request, in its order: a reason legal in this packet. In MQTT 3 a
    /// granted QoS or 0x80, and none at all in an UNSUBACK.
    pub codes: &'a [u8],
}

impl<'a> Suback<'a> {
    /// The codes as reasons.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> + use<'a> {
        self.codes.iter().map(|&code| Reason::from_u8(code).unwrap_or(Reason::UnspecifiedError))
    }
}

/// A client has had enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
    /// What it no longer wants, at least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// The last packet of an orderly connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `Success` is the normal disconnection, and the only one before MQTT 5.
    pub reason: Reason,
    /// Empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// A step of enhanced authentication, MQTT 5 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Whether the exchange goes on, is done, or starts again.
    pub reason: Reason,
    /// With the authentication method, unless the packet is the bare two-byte success.
    pub properties: Properties<'a>,
}

/// What a subscriber wants of one filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscribeOptions {
    /// The most the server may use.
    pub qos: Qos,
    /// Do not send the client its own messages. MQTT 5.
    pub no_local: bool,
    /// Leave the retain flag as the publisher set it. MQTT 5.
    pub retain_as_published: bool,
    /// Whether retained messages are wanted now. MQTT 5.
    pub retain_handling: RetainHandling,
}

/// When a subscription is answered with retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; the only way before MQTT 5.
    #[default]
    Send = 0,
    /// If the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscribeOptions {
    /// The options byte of MQTT 5; in MQTT 3 only its two low bits exist.
    pub const fn to_byte(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// The options in a byte; `None` if it uses a reserved bit or value.
    pub const fn from_byte(byte: u8) -> Option<SubscribeOptions> {
        let Some(qos) = Qos::from_u8(byte & 0b11) else { return None };
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        let (no_local, retain_as_published) = (byte & 0b100 != 0, byte & 0b1000 != 0);
        Some(SubscribeOptions { qos, no_local, retain_as_published, retain_handling })
    }
}

/// The filters of a SUBSCRIBE, at least one if decoded. Each is UTF-8 without NUL; whether it is a legal
/// filter is for [`crate::mqtt::topic::valid_topic_filter`], so that a bad one can be refused alone.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a>(FilterSource<'a>);

#[derive(Clone, Copy, Debug)]
enum FilterSource<'a> {
    /// The payload of a packet, checked to its end.
    Wire(&'a [u8]),
    /// A packet in the making.
    List(&'a [(&'a [u8], SubscribeOptions)]),
}

impl<'a> Filters<'a> {
    /// Filters to be sent.
    pub const fn from_list(list: &'a [(&'a [u8], SubscribeOptions)]) -> Self {
        Filters(FilterSource::List(list))
    }

    pub(super) const fn from_checked_wire(payload: &'a [u8]) -> Self {
        Filters(FilterSource::Wire(payload))
    }

    /// The filters in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], SubscribeOptions)> + use<'a> {
        let (wire, list) = match self.0 {
            FilterSource::Wire(payload) => (payload, [].as_slice()),
            FilterSource::List(list) => ([].as_slice(), list),
        };
        let mut reader = Reader::new(wire);
        let from_wire = std::iter::from_fn(move || {
            let filter = reader.binary().ok()?;
            Some((filter, SubscribeOptions::from_byte(reader.u8().ok()?)?))
        });
        from_wire.chain(list.iter().copied())
    }
}

impl PartialEq for Filters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Filters<'_> {}

/// The filters of an UNSUBSCRIBE, under the promises of [`Filters`].
#[derive(Clone, Copy, Debug)]
pub struct UnsubscribeFilters<'a>(UnsubscribeFilterSource<'a>);

#[derive(Clone, Copy, Debug)]
enum UnsubscribeFilterSource<'a> {
    Wire(&'a [u8]),
    List(&'a [&'a [u8]]),
}

impl<'a> UnsubscribeFilters<'a> {
    /// Filters to be sent.
    pub const fn from_list(list: &'a [&'a [u8]]) -> Self {
        UnsubscribeFilters(UnsubscribeFilterSource::List(list))
    }

    pub(super) const fn from_checked_wire(payload: &'a [u8]) -> Self {
        UnsubscribeFilters(UnsubscribeFilterSource::Wire(payload))
    }

    /// The filters in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (wire, list) = match self.0 {
            UnsubscribeFilterSource::Wire(payload) => (payload, [].as_slice()),
            UnsubscribeFilterSource::List(list) => ([].as_slice(), list),
        };
        let mut reader = Reader::new(wire);
        std::iter::from_fn(move || reader.binary().ok()).chain(list.iter().copied())
    }
}

impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UnsubscribeFilters<'_> {}
