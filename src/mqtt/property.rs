//! Properties, the extensible part of MQTT 5 packets (section 2.2.2), as a borrowed block checked once. Not
//! what they mean for a session.
//!
//! A block is kept as the bytes it arrived in: forwarding copies it, asking for a property scans it. A scan
//! costs the length of the block, so whoever needs many properties of a packet iterates once.

use crate::mqtt::encode::Unencodable;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{PacketKind, Qos};
use crate::mqtt::value::{
    Binary, Flag, FourBytes, FourBytesNotZero, Text, Topic, TwoBytes, TwoBytesNotZero, TwoTexts,
    VarintNotZero, ZeroOrOne,
};
use crate::mqtt::wire::{Reader, is_utf8_without_nul, put_binary};
use crate::scan::Plain;

/// A user property: anything the applications agreed on. Names may repeat, and order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair<'a> {
    /// UTF-8.
    pub name: &'a [u8],
    /// UTF-8.
    pub value: &'a [u8],
}

macro_rules! properties {
    ($($name:ident($value:ty) = $id:literal $codec:ident in $($place:ident)|+;)+) => {
        /// The name of a property.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "the names are the specification's, section 2.2.2.2")]
        pub enum PropertyId {
            $($name = $id,)+
        }

        impl PropertyId {
            /// Every property, in the order of their identifiers.
            pub const ALL: &[PropertyId] = &[$(PropertyId::$name),+];

            /// The property with this identifier, if MQTT 5 defines one.
            pub const fn from_u8(id: u8) -> Option<PropertyId> {
                match id {
                    $($id => Some(PropertyId::$name),)+
                    _ => None,
                }
            }

            const fn places(self) -> u16 {
                match self { $(PropertyId::$name => $(Place::$place.0)|+,)+ }
            }
        }

        /// A property and its value. Text is UTF-8 without NUL.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the specification's, section 2.2.2.2")]
        pub enum Property<'a> {
            $($name($value),)+
        }

        impl<'a> Property<'a> {
            /// Its name.
            pub const fn id(&self) -> PropertyId {
                match self { $(Property::$name(_) => PropertyId::$name,)+ }
            }

            fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
                let byte = reader.u8()?;
                let id = PropertyId::from_u8(byte).ok_or(Malformed::PropertyUnknown(byte))?;
                match id { $(PropertyId::$name => $codec::read(reader, id).map(Property::$name),)+ }
            }

            fn write(self, out: &mut Vec<u8>) -> Result<(), Unencodable> {
                out.push(self.id() as u8);
                match self { $(Property::$name(value) => $codec::write(out, value),)+ }
            }
        }
    };
}

// Section 2.2.2.2, table 2-4: identifier, type, and the packets it may stand in.
properties! {
    PayloadFormatIndicator(bool) = 0x01 Flag in Publish | Will;
    MessageExpiryInterval(u32) = 0x02 FourBytes in Publish | Will;
    ContentType(&'a [u8]) = 0x03 Text in Publish | Will;
    ResponseTopic(&'a [u8]) = 0x08 Topic in Publish | Will;
    CorrelationData(&'a [u8]) = 0x09 Binary in Publish | Will;
    SubscriptionIdentifier(u32) = 0x0B VarintNotZero in Publish | Subscribe;
    SessionExpiryInterval(u32) = 0x11 FourBytes in Connect | Connack | Disconnect;
    AssignedClientIdentifier(&'a [u8]) = 0x12 Text in Connack;
    ServerKeepAlive(u16) = 0x13 TwoBytes in Connack;
    AuthenticationMethod(&'a [u8]) = 0x15 Text in Connect | Connack | Auth;
    AuthenticationData(&'a [u8]) = 0x16 Binary in Connect | Connack | Auth;
    RequestProblemInformation(bool) = 0x17 Flag in Connect;
    WillDelayInterval(u32) = 0x18 FourBytes in Will;
    RequestResponseInformation(bool) = 0x19 Flag in Connect;
    ResponseInformation(&'a [u8]) = 0x1A Text in Connack;
    ServerReference(&'a [u8]) = 0x1C Text in Connack | Disconnect;
    ReasonString(&'a [u8]) = 0x1F Text in Connack | Acks | Suback | Unsuback | Disconnect | Auth;
    ReceiveMaximum(u16) = 0x21 TwoBytesNotZero in Connect | Connack;
    TopicAliasMaximum(u16) = 0x22 TwoBytes in Connect | Connack;
    TopicAlias(u16) = 0x23 TwoBytesNotZero in Publish;
    MaximumQos(Qos) = 0x24 ZeroOrOne in Connack;
    RetainAvailable(bool) = 0x25 Flag in Connack;
    UserProperty(Pair<'a>) = 0x26 TwoTexts in Anywhere;
    MaximumPacketSize(u32) = 0x27 FourBytesNotZero in Connect | Connack;
    WildcardSubscriptionAvailable(bool) = 0x28 Flag in Connack;
    SubscriptionIdentifierAvailable(bool) = 0x29 Flag in Connack;
    SharedSubscriptionAvailable(bool) = 0x2A Flag in Connack;
}

/// Where a property block stands: in a packet, or before the will of a CONNECT. A set of them, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

#[expect(non_upper_case_globals, reason = "read beside the names of packets in the table above")]
impl Place {
    pub(super) const Will: Place = Place(1);
    pub(super) const Connect: Place = Place::of(PacketKind::Connect);
    const Connack: Place = Place::of(PacketKind::Connack);
    pub(super) const Publish: Place = Place::of(PacketKind::Publish);
    const Acks: Place = Place(
        PacketKind::Puback.bit()
            | PacketKind::Pubrec.bit()
            | PacketKind::Pubrel.bit()
            | PacketKind::Pubcomp.bit(),
    );
    const Subscribe: Place = Place::of(PacketKind::Subscribe);
    const Suback: Place = Place::of(PacketKind::Suback);
    const Unsuback: Place = Place::of(PacketKind::Unsuback);
    const Disconnect: Place = Place::of(PacketKind::Disconnect);
    const Auth: Place = Place::of(PacketKind::Auth);
    const Anywhere: Place = Place(u16::MAX);

    pub(super) const fn of(kind: PacketKind) -> Place {
        Place(kind.bit())
    }
}

impl PropertyId {
    /// Whether MQTT 5 lets this packet carry it. A will's properties are not those of its CONNECT.
    pub const fn allowed_in(self, kind: PacketKind) -> bool {
        self.places() & kind.bit() != 0
    }

    /// Whether MQTT 5 lets a will carry it.
    pub const fn allowed_in_will(self) -> bool {
        self.places() & Place::Will.0 != 0
    }

    fn may_repeat_in(self, place: Place) -> bool {
        // A message that matched several subscriptions carries the identifier of each (section 3.3.4).
        self == PropertyId::UserProperty
            || (self == PropertyId::SubscriptionIdentifier && place == Place::Publish)
    }
}

/// A property block known to be legal for the packet it came in. Empty before MQTT 5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a> {
    /// Whole properties, without the length before them.
    raw: &'a [u8],
    /// Those that it may hold: exactly what it does where it was read from a packet, so that nobody scans it
    /// for what is not there.
    may_hold: IdSet,
}

impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Properties<'_> {}

/// A set of properties, one bit each: identifiers end at 0x2A.
#[derive(Clone, Copy, Debug, Default)]
struct IdSet(u64);

impl IdSet {
    const ALL: IdSet = IdSet(u64::MAX);

    const fn has(self, id: PropertyId) -> bool {
        self.0 & (1 << id as u8) != 0
    }

    const fn with(self, id: PropertyId) -> Self {
        IdSet(self.0 | (1 << id as u8))
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $getter:ident -> $value:ty = $name:ident;)+) => {
        $($(#[$doc])* pub fn $getter(self) -> Option<$value> {
            if let Property::$name(value) = self.first(PropertyId::$name)? { Some(value) } else { None }
        })+
    };
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { raw: &[], may_hold: IdSet(0) };

    /// A block that was one when it came in, of a PUBLISH that was decoded before.
    pub(crate) const fn from_checked(raw: &'a [u8]) -> Self {
        Properties { raw, may_hold: IdSet::ALL }
    }

    /// The block without its length, fit to be copied into another packet of the kind.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The properties in the order sent.
    pub const fn iter(&self) -> PropertyIter<'a> {
        PropertyIter { reader: Reader::of_checked(self.raw) }
    }

    /// Reads a length and the block it announces.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>, place: Place) -> Result<Self, Malformed> {
        let n = reader.varint()?;
        let raw = reader.take(n as usize)?;
        let may_hold = if raw.is_empty() { IdSet::default() } else { check(raw, place)? };
        Ok(Properties { raw, may_hold })
    }

    /// The first of its kind, which is another than user property: of those there may be many, and they are
    /// stepped over unread.
    #[inline]
    fn first(self, id: PropertyId) -> Option<Property<'a>> {
        if self.may_hold.has(id) { self.scan_for(id) } else { None }
    }

    fn scan_for(self, id: PropertyId) -> Option<Property<'a>> {
        let mut iter = self.iter();
        loop {
            if iter.next_pair().is_some() {
                continue;
            }
            let property = iter.next()?;
            if property.id() == id {
                return Some(property);
            }
        }
    }

    /// Whether there may be a user property.
    #[inline]
    pub(crate) const fn may_have_pairs(self) -> bool {
        self.may_hold.has(PropertyId::UserProperty)
    }

    /// User properties, in the order sent.
    pub fn user_properties(self) -> impl Iterator<Item = Pair<'a>> {
        self.iter().filter_map(|it| if let Property::UserProperty(pair) = it { Some(pair) } else { None })
    }

    /// In a SUBSCRIBE at most one; in a PUBLISH from a server one for each subscription it matched.
    #[inline]
    pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> {
        let scanned = if self.may_hold.has(PropertyId::SubscriptionIdentifier) { self } else { Self::EMPTY };
        scanned
            .iter()
            .filter_map(|it| if let Property::SubscriptionIdentifier(id) = it { Some(id) } else { None })
    }

    getters! {
        /// The payload is UTF-8, says the publisher. Nobody has checked.
        payload_format_indicator -> bool = PayloadFormatIndicator;
        /// Seconds the message may wait for its subscribers.
        message_expiry_interval -> u32 = MessageExpiryInterval;
        /// UTF-8.
        content_type -> &'a [u8] = ContentType;
        /// A topic name: not empty, no wildcards.
        response_topic -> &'a [u8] = ResponseTopic;
        /// Any bytes.
        correlation_data -> &'a [u8] = CorrelationData;
        /// The only one in a SUBSCRIBE, the first in a PUBLISH. Never 0.
        subscription_identifier -> u32 = SubscriptionIdentifier;
        /// Seconds; `u32::MAX` for ever.
        session_expiry_interval -> u32 = SessionExpiryInterval;
        /// UTF-8.
        assigned_client_identifier -> &'a [u8] = AssignedClientIdentifier;
        /// Seconds.
        server_keep_alive -> u16 = ServerKeepAlive;
        /// UTF-8.
        authentication_method -> &'a [u8] = AuthenticationMethod;
        /// Any bytes.
        authentication_data -> &'a [u8] = AuthenticationData;
        /// Whether reason strings are welcome; true if absent.
        request_problem_information -> bool = RequestProblemInformation;
        /// Seconds between the death and the will.
        will_delay_interval -> u32 = WillDelayInterval;
        /// Whether response information is welcome; false if absent.
        request_response_information -> bool = RequestResponseInformation;
        /// UTF-8.
        response_information -> &'a [u8] = ResponseInformation;
        /// UTF-8.
        server_reference -> &'a [u8] = ServerReference;
        /// UTF-8.
        reason_string -> &'a [u8] = ReasonString;
        /// Never 0.
        receive_maximum -> u16 = ReceiveMaximum;
        /// 0 for no aliases, as if absent.
        topic_alias_maximum -> u16 = TopicAliasMaximum;
        /// Never 0.
        topic_alias -> u16 = TopicAlias;
        /// QoS 0 or 1; absent for 2.
        maximum_qos -> Qos = MaximumQos;
        /// True if absent.
        retain_available -> bool = RetainAvailable;
        /// Never 0.
        maximum_packet_size -> u32 = MaximumPacketSize;
        /// True if absent.
        wildcard_subscription_available -> bool = WildcardSubscriptionAvailable;
        /// True if absent.
        subscription_identifier_available -> bool = SubscriptionIdentifierAvailable;
        /// True if absent.
        shared_subscription_available -> bool = SharedSubscriptionAvailable;
    }
}

/// One pass, whatever the block holds: 65,535 user properties cost what their bytes cost. Says which it holds.
fn check(raw: &[u8], place: Place) -> Result<IdSet, Malformed> {
    let mut reader = Reader::new(raw);
    let mut seen = IdSet::default();
    while let Some(&first) = reader.peek().first() {
        // Most are user properties, which are allowed anywhere and may repeat.
        if first == PropertyId::UserProperty as u8 {
            reader.u8()?;
            TwoTexts::read(&mut reader, PropertyId::UserProperty)?;
            seen = seen.with(PropertyId::UserProperty);
            continue;
        }
        let id = Property::read(&mut reader)?.id();
        // [MQTT-2.2.2-1] and the table above.
        if id.places() & place.0 == 0 {
            return Err(Malformed::PropertyNotAllowed(id));
        }
        if seen.has(id) && !id.may_repeat_in(place) {
            return Err(Malformed::PropertyTwice(id));
        }
        seen = seen.with(id);
    }
    // Section 3.1.2.11.10: data makes no sense without a method.
    if seen.has(PropertyId::AuthenticationData) && !seen.has(PropertyId::AuthenticationMethod) {
        return Err(Malformed::PropertyMissing(PropertyId::AuthenticationMethod));
    }
    Ok(seen)
}

/// Iterates a block.
#[derive(Clone, Copy, Debug)]
pub struct PropertyIter<'a> {
    reader: Reader<'a>,
}

/// A user property as a block holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WirePair<'a> {
    /// The name, the two bytes of the value's length, and the value.
    bytes: &'a [u8],
    name_len: usize,
}

impl<'a> WirePair<'a> {
    /// Name and value with two bytes between them, for whoever writes the same elsewhere; and where those are.
    #[inline]
    pub(crate) const fn joined(self) -> (&'a [u8], usize) {
        (self.bytes, self.name_len)
    }

    #[inline]
    pub(crate) fn pair(self) -> Pair<'a> {
        let (name, rest) = self.bytes.split_at_checked(self.name_len).unwrap_or_default();
        Pair { name, value: rest.get(2..).unwrap_or_default() }
    }
}

impl<'a> PropertyIter<'a> {
    /// The next property, where that is a user property: for those who are to see many.
    #[inline]
    pub(crate) fn next_pair(&mut self) -> Option<WirePair<'a>> {
        let rest = self.reader.peek().strip_prefix(&[PropertyId::UserProperty as u8])?;
        let mut reader = Reader::of_checked(rest);
        let name_len = reader.binary().ok()?.len();
        reader.binary().ok()?;
        self.reader = reader;
        Some(WirePair { bytes: rest.get(2..rest.len() - reader.len())?, name_len })
    }
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        // Only the end can fail: the block has been read once.
        Property::read(&mut self.reader).ok()
    }
}

/// A property block in the making, reusable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyBlock {
    /// Whole properties with values MQTT allows.
    raw: Vec<u8>,
}

impl PropertyBlock {
    /// An empty block.
    pub const fn new() -> Self {
        PropertyBlock { raw: Vec::new() }
    }

    /// Appends a property, or nothing if its value is not one MQTT allows. That it is legal in the packet it
    /// goes into, and there only once, is the caller's care.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), Unencodable> {
        let start = self.raw.len();
        let written = property.write(&mut self.raw);
        // Reading it back is what keeps a value out that no peer would accept, such as text with a NUL.
        let tail = self.raw.get(start..).unwrap_or_default();
        if written.is_ok() && Property::read(&mut Reader::new(tail)).is_ok() {
            return Ok(());
        }
        self.raw.truncate(start);
        Err(Unencodable)
    }

    /// As [`Self::push`], unless the block with it does not satisfy `fits`.
    pub(super) fn push_if(&mut self, property: Property<'_>, fits: impl FnOnce(&Self) -> bool) {
        let start = self.raw.len();
        if self.push(property).is_ok() && !fits(self) {
            self.raw.truncate(start);
        }
    }

    /// As [`Self::push`], for a user property: a message may have many, and none is read back.
    pub fn push_user(&mut self, pair: Pair<'_>) -> Result<(), Unencodable> {
        let Pair { name, value } = pair;
        let is_text = |text: &[u8]| u16::try_from(text.len()).is_ok() && is_utf8_without_nul(text);
        if !is_text(name) || !is_text(value) {
            return Err(Unencodable);
        }
        self.raw.push(PropertyId::UserProperty as u8);
        put_binary(&mut self.raw, name)?;
        put_binary(&mut self.raw, value)
    }

    /// As [`Self::push_user`], of a text that is a name of `name_len` bytes, two of any kind, and a value.
    #[inline]
    pub(crate) fn push_joined(&mut self, text: Plain<'_>, name_len: usize) -> Result<(), Unencodable> {
        let text = text.as_bytes();
        let value_len = text.len().checked_sub(name_len + 2).ok_or(Unencodable)?;
        let (Ok(name), Ok(value)) = (u16::try_from(name_len), u16::try_from(value_len)) else {
            return Err(Unencodable);
        };
        let [high, low] = name.to_be_bytes();
        self.raw.extend_from_slice(&[PropertyId::UserProperty as u8, high, low]);
        let at = self.raw.len() + name_len;
        self.raw.extend_from_slice(text);
        if let Some(between) = self.raw.get_mut(at..at + 2) {
            between.copy_from_slice(&value.to_be_bytes());
        }
        Ok(())
    }

    /// Appends the properties that `unwanted` does not name. A server forwards a message without its topic
    /// alias and subscription identifiers, which belong to the connection it came on. [MQTT-3.3.2-7]
    pub fn push_without(&mut self, properties: Properties<'_>, unwanted: impl Fn(&Property<'_>) -> bool) {
        let mut iter = properties.iter();
        loop {
            let before = iter.reader.peek();
            let Some(property) = iter.next() else { return };
            let n = before.len() - iter.reader.len();
            if let Some((bytes, _)) = before.split_at_checked(n)
                && !unwanted(&property)
            {
                self.raw.extend_from_slice(bytes);
            }
        }
    }

    /// Empties the block and keeps its memory.
    pub fn clear(&mut self) {
        self.raw.clear();
    }

    /// The block as a packet holds it.
    pub fn properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw, may_hold: IdSet::ALL }
    }
}
