//! Bytes into packets: the frame, then its body. Not a buffer: the caller keeps the bytes and calls again
//! when there are more.
//!
//! What the first bytes already prove wrong is an error at once; what merely has not arrived is
//! [`Decoded::Incomplete`]. Which end may send a packet is for the session to judge: both ends decode here.

pub mod connect;
mod subscribe;

use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{Ack, Auth, Connack, Disconnect, Packet, PacketKind, Publish, Qos, Version};
use crate::mqtt::property::{Place, Properties, PropertyId};
use crate::mqtt::reason::{ConnectReturnCode, Reason};
use crate::mqtt::topic::check_topic_name;
use crate::mqtt::wire::{Reader, varint};

/// The largest frames believed, counted whole: first byte, length and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Any packet but CONNECT.
    pub packet_bytes_max: u32,
    /// CONNECT, which strangers send.
    pub connect_bytes_max: u32,
}

impl Limits {
    /// As much as the protocol can express.
    pub const NONE: Limits = Limits { packet_bytes_max: u32::MAX, connect_bytes_max: u32::MAX };
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A packet, and how many bytes it took.
    Packet(Packet<'a>, usize),
    /// The packet has not arrived in full.
    Incomplete {
        /// How many bytes there must be, counted from the packet's first: all of the frame once its length
        /// is known, until then the least that could bring us further. More than there are now.
        need: usize,
    },
}

/// The first bytes of a packet, or how many there must be to see more of them.
enum Header {
    Whole(WholeHeader),
    Needs(usize),
}

struct WholeHeader {
    kind: PacketKind,
    flags: u8,
    /// Bytes of type, flags and remaining length.
    n_bytes: usize,
    /// Bytes of the whole frame.
    frame_len: usize,
    /// The remaining length is as short as it could be.
    minimal: bool,
}

/// Decodes the packet at the start of `input`. A CONNECT says its own version, `version` is for all others.
#[inline]
pub fn decode<'a>(input: &'a [u8], version: Version, limits: &Limits) -> Result<Decoded<'a>, Malformed> {
    let header = match header(input, version, limits)? {
        Header::Whole(header) => header,
        Header::Needs(need) => return Ok(Decoded::Incomplete { need }),
    };
    let Some(body) = input.get(header.n_bytes..header.frame_len) else {
        return Ok(Decoded::Incomplete { need: header.frame_len });
    };
    let packet = if header.kind == PacketKind::Publish {
        Packet::Publish(publish(Reader::new(body), header.flags, version)?)
    } else {
        other(Reader::new(body), &header, version)?
    };
    Ok(Decoded::Packet(packet, header.frame_len))
}

/// The topic name of the PUBLISH at the start of `input` and the length of its frame. Nothing is checked: for
/// those who want to know what is likely to come.
#[inline]
pub fn glance(input: &[u8]) -> Option<(&[u8], usize)> {
    let (&first, rest) = input.split_first()?;
    if first >> 4 != PacketKind::Publish as u8 {
        return None;
    }
    let length = varint(rest).ok()??;
    let (topic_len, rest) = rest.get(length.n_bytes..)?.split_first_chunk()?;
    let topic = rest.get(..usize::from(u16::from_be_bytes(*topic_len)))?;
    Some((topic, 1 + length.n_bytes + length.value as usize))
}

#[inline]
fn header(input: &[u8], version: Version, limits: &Limits) -> Result<Header, Malformed> {
    let Some((&first, rest)) = input.split_first() else { return Ok(Header::Needs(2)) };
    let (number, flags) = (first >> 4, first & 0x0F);
    let kind = PacketKind::from_u8(number).ok_or(Malformed::ReservedKind(number))?;
    check_flags(kind, flags, version)?;
    let Some(length) = varint(rest)? else { return Ok(Header::Needs(input.len() + 1)) };
    // [MQTT-1.5.5-1] is a rule of MQTT 5; before, some clients pad their lengths. A CONNECT must say its
    // version first.
    if version.is_v5() && !length.minimal && kind != PacketKind::Connect {
        return Err(Malformed::LengthNotMinimal);
    }
    let n_bytes = 1 + length.n_bytes;
    // At most 5 + 268,435,455: fits everywhere.
    let frame_len = n_bytes + length.value as usize;
    let limit = if kind == PacketKind::Connect { limits.connect_bytes_max } else { limits.packet_bytes_max };
    if frame_len > limit as usize {
        return Err(Malformed::PacketTooLarge);
    }
    Ok(Header::Whole(WholeHeader { kind, flags, n_bytes, frame_len, minimal: length.minimal }))
}

// [MQTT-2.1.3-1] and, in 3.1.1, [MQTT-2.2.2-1] [MQTT-2.2.2-2]
#[inline]
fn check_flags(kind: PacketKind, flags: u8, version: Version) -> Result<(), Malformed> {
    let legal = match kind {
        PacketKind::Publish => {
            return match flags & 0b0110 {
                // [MQTT-3.3.1-4]
                0b0110 => Err(Malformed::Qos3),
                // [MQTT-3.3.1-2]
                0 if flags & 0b1000 != 0 => Err(Malformed::DupAtQos0),
                _ => Ok(()),
            };
        }
        // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]. MQTT 3.1 sends these at QoS 1, and sets DUP when it
        // repeats them.
        PacketKind::Pubrel | PacketKind::Subscribe | PacketKind::Unsubscribe => {
            flags == 0b0010 || (version == Version::V3_1 && flags == 0b1010)
        }
        PacketKind::Auth if !version.is_v5() => return Err(Malformed::ReservedKind(kind as u8)),
        PacketKind::Connect
        | PacketKind::Connack
        | PacketKind::Puback
        | PacketKind::Pubrec
        | PacketKind::Pubcomp
        | PacketKind::Suback
        | PacketKind::Unsuback
        | PacketKind::Pingreq
        | PacketKind::Pingresp
        | PacketKind::Disconnect
        | PacketKind::Auth => flags == 0,
    };
    if legal { Ok(()) } else { Err(Malformed::ReservedBits(kind)) }
}

#[inline]
fn publish(mut body: Reader<'_>, flags: u8, version: Version) -> Result<Publish<'_>, Malformed> {
    let qos = Qos::from_u8((flags >> 1) & 0b11).ok_or(Malformed::Qos3)?;
    let topic = body.binary()?;
    check_topic_name(topic)?;
    // [MQTT-2.2.1-2]
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { packet_id(&mut body)? };
    let properties = properties(&mut body, version, Place::Publish)?;
    // [MQTT-4.7.3-1], and section 3.3.2.1 for the alias.
    if topic.is_empty() && properties.topic_alias().is_none() {
        return Err(Malformed::TopicEmpty);
    }
    let (dup, retain) = (flags & 0b1000 != 0, flags & 0b0001 != 0);
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: body.rest() })
}

/// Every packet but PUBLISH.
fn other<'a>(mut body: Reader<'a>, header: &WholeHeader, version: Version) -> Result<Packet<'a>, Malformed> {
    let packet = match header.kind {
        PacketKind::Connect => Packet::Connect(connect::connect(&mut body, header.minimal)?),
        PacketKind::Connack => Packet::Connack(connack(&mut body, version)?),
        PacketKind::Publish => Packet::Publish(publish(Reader::new(body.rest()), header.flags, version)?),
        PacketKind::Puback => Packet::Puback(ack(&mut body, header.kind, version)?),
        PacketKind::Pubrec => Packet::Pubrec(ack(&mut body, header.kind, version)?),
        PacketKind::Pubrel => Packet::Pubrel(ack(&mut body, header.kind, version)?),
        PacketKind::Pubcomp => Packet::Pubcomp(ack(&mut body, header.kind, version)?),
        PacketKind::Subscribe => Packet::Subscribe(subscribe::subscribe(&mut body, version)?),
        PacketKind::Suback => Packet::Suback(subscribe::suback(&mut body, version)?),
        PacketKind::Unsubscribe => Packet::Unsubscribe(subscribe::unsubscribe(&mut body, version)?),
        PacketKind::Unsuback => Packet::Unsuback(subscribe::unsuback(&mut body, version)?),
        PacketKind::Pingreq => Packet::Pingreq,
        PacketKind::Pingresp => Packet::Pingresp,
        PacketKind::Disconnect => Packet::Disconnect(disconnect(&mut body, version)?),
        PacketKind::Auth => Packet::Auth(auth(&mut body)?),
    };
    body.finish()?;
    Ok(packet)
}

fn connack<'a>(body: &mut Reader<'a>, version: Version) -> Result<Connack<'a>, Malformed> {
    let flags = body.u8()?;
    let code = body.u8()?;
    // [MQTT-3.2.2-1]. The byte has no meaning at all in MQTT 3.1.
    let flags = if version == Version::V3_1 { 0 } else { flags };
    if flags > 1 {
        return Err(Malformed::ReservedBits(PacketKind::Connack));
    }
    let session_present = flags == 1;
    let reason = if version.is_v5() {
        reason(code, PacketKind::Connack)?
    } else {
        // [MQTT-3.2.2-6] of 3.1.1
        ConnectReturnCode::from_u8(code)
            .ok_or(Malformed::ReasonNotAllowed(PacketKind::Connack, code))?
            .reason()
    };
    // [MQTT-3.2.2-6], and [MQTT-3.2.2-4] of 3.1.1
    if session_present && reason != Reason::Success {
        return Err(Malformed::SessionPresentRefused);
    }
    let properties = properties(body, version, Place::of(PacketKind::Connack))?;
    Ok(Connack { session_present, reason, properties })
}

#[inline]
fn ack<'a>(body: &mut Reader<'a>, kind: PacketKind, version: Version) -> Result<Ack<'a>, Malformed> {
    let packet_id = packet_id(body)?;
    let (reason, properties) = reason_and_properties(body, kind, version)?;
    Ok(Ack { packet_id, reason, properties })
}

fn disconnect<'a>(body: &mut Reader<'a>, version: Version) -> Result<Disconnect<'a>, Malformed> {
    let (reason, properties) = reason_and_properties(body, PacketKind::Disconnect, version)?;
    Ok(Disconnect { reason, properties })
}

fn auth<'a>(body: &mut Reader<'a>) -> Result<Auth<'a>, Malformed> {
    let is_bare = body.is_empty();
    let (reason, properties) = reason_and_properties(body, PacketKind::Auth, Version::V5)?;
    // Section 3.15.2.2.2 demands the method; section 3.15.2.1 permits a success of two bytes.
    if !is_bare && properties.authentication_method().is_none() {
        return Err(Malformed::PropertyMissing(PropertyId::AuthenticationMethod));
    }
    Ok(Auth { reason, properties })
}

/// The end of most answers in MQTT 5, where a success may leave out both and a failure the properties.
fn reason_and_properties<'a>(
    body: &mut Reader<'a>,
    kind: PacketKind,
    version: Version,
) -> Result<(Reason, Properties<'a>), Malformed> {
    if !version.is_v5() || body.is_empty() {
        return Ok((Reason::Success, Properties::EMPTY));
    }
    let reason = reason(body.u8()?, kind)?;
    if body.is_empty() {
        return Ok((reason, Properties::EMPTY));
    }
    Ok((reason, Properties::read(body, Place::of(kind))?))
}

// Section 2.4.
fn reason(code: u8, kind: PacketKind) -> Result<Reason, Malformed> {
    Reason::from_u8(code)
        .filter(|reason| reason.allowed_in(kind))
        .ok_or(Malformed::ReasonNotAllowed(kind, code))
}

// [MQTT-2.2.1-3]
#[inline]
fn packet_id(body: &mut Reader<'_>) -> Result<u16, Malformed> {
    match body.u16()? {
        0 => Err(Malformed::PacketIdZero),
        id => Ok(id),
    }
}

/// The property block of a packet that has one in MQTT 5.
#[inline]
fn properties<'a>(
    body: &mut Reader<'a>,
    version: Version,
    place: Place,
) -> Result<Properties<'a>, Malformed> {
    if version.is_v5() { Properties::read(body, place) } else { Ok(Properties::EMPTY) }
}
