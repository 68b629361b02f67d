//! Packets into bytes, appended to a buffer. Not a judge: what the peer may be sent, and at which version,
//! the caller knows. What a version has no words for (properties, most reasons) is left out or translated
//! to the nearest.
//!
//! An error leaves the buffer as it was.

use crate::mqtt::packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketKind, Publish, Qos, Suback, Subscribe,
    Unsubscribe, Version,
};
use crate::mqtt::property::Properties;
use crate::mqtt::reason::Reason;
use crate::mqtt::wire::{VARINT_MAX, put_binary, put_varint, varint_len};

/// MQTT cannot express it: a string above 65,535 bytes, a packet above 268,435,455, or a property with a
/// value out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unencodable;

impl std::fmt::Display for Unencodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MQTT has no encoding for the value")
    }
}

impl std::error::Error for Unencodable {}

/// Appends any packet.
pub fn packet(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) -> Result<(), Unencodable> {
    match packet {
        Packet::Connect(it) => connect(out, it),
        Packet::Connack(it) => connack(out, version, it),
        Packet::Publish(it) => publish(out, version, it),
        Packet::Puback(it) => puback(out, version, it),
        Packet::Pubrec(it) => pubrec(out, version, it),
        Packet::Pubrel(it) => pubrel(out, version, it),
        Packet::Pubcomp(it) => pubcomp(out, version, it),
        Packet::Subscribe(it) => subscribe(out, version, it),
        Packet::Suback(it) => suback(out, version, it),
        Packet::Unsubscribe(it) => unsubscribe(out, version, it),
        Packet::Unsuback(it) => unsuback(out, version, it),
        Packet::Pingreq => {
            pingreq(out);
            Ok(())
        }
        Packet::Pingresp => {
            pingresp(out);
            Ok(())
        }
        Packet::Disconnect(it) => disconnect(out, version, it),
        Packet::Auth(it) => auth(out, it),
    }
}

/// Where things are in a PUBLISH frame, counted from its first byte: a fan-out encodes the head once and
/// patches it for each subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead {
    /// The two bytes of the packet identifier; `None` at QoS 0.
    pub packet_id_at: Option<usize>,
    /// Bytes before the payload.
    pub len: usize,
}

/// The first byte of a PUBLISH, to be patched where subscribers differ in it.
pub const fn publish_first_byte(dup: bool, qos: Qos, retain: bool) -> u8 {
    PacketKind::Publish.first_byte((dup as u8) << 3 | (qos as u8) << 1 | retain as u8)
}

/// Bytes of the whole frame [`publish`] would append. What a peer's maximum packet size is compared with.
#[inline]
pub fn publish_frame_len(version: Version, publish: &Publish<'_>) -> Result<usize, Unencodable> {
    let remaining = publish_remaining_len(version, publish)?;
    Ok(1 + varint_len(remaining as usize) + remaining as usize)
}

/// Appends all of a PUBLISH but its payload, whose length it announces. A packet identifier of 0 is written
/// as it is, for the caller to patch.
#[inline]
pub fn publish_head(
    out: &mut Vec<u8>,
    version: Version,
    publish: &Publish<'_>,
) -> Result<PublishHead, Unencodable> {
    let remaining = publish_remaining_len(version, publish)?;
    let start = out.len();
    out.push(publish_first_byte(publish.dup, publish.qos, publish.retain));
    put_varint(out, remaining);
    put_binary(out, publish.topic)?;
    let packet_id_at = (publish.qos != Qos::AtMostOnce).then(|| {
        let at = out.len() - start;
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
        at
    });
    put_properties(out, version, publish.properties)?;
    Ok(PublishHead { packet_id_at, len: out.len() - start })
}

/// Appends a PUBLISH.
#[inline]
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) -> Result<(), Unencodable> {
    publish_head(out, version, publish)?;
    out.extend_from_slice(publish.payload);
    Ok(())
}

/// Also proves that nothing in [`publish_head`] can fail after its first byte.
#[inline]
fn publish_remaining_len(version: Version, publish: &Publish<'_>) -> Result<u32, Unencodable> {
    if publish.topic.len() > usize::from(u16::MAX) {
        return Err(Unencodable);
    }
    let packet_id_len = if publish.qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties_len = properties_len(version, publish.properties);
    let head_len = 2 + publish.topic.len() + packet_id_len + properties_len;
    remaining_len(head_len.checked_add(publish.payload.len()).ok_or(Unencodable)?)
}

/// Bytes of a frame with these properties and `n_other` more behind its length.
pub fn frame_len(version: Version, n_other: usize, properties: Properties<'_>) -> usize {
    let remaining = n_other + properties_len(version, properties);
    1 + varint_len(remaining) + remaining
}

fn properties_len(version: Version, properties: Properties<'_>) -> usize {
    let n = properties.raw().len();
    if version.is_v5() { varint_len(n) + n } else { 0 }
}

fn remaining_len(n: usize) -> Result<u32, Unencodable> {
    u32::try_from(n).ok().filter(|&n| n <= VARINT_MAX).ok_or(Unencodable)
}

/// The packets that acknowledge one identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

impl AckKind {
    const fn first_byte(self) -> u8 {
        match self {
            AckKind::Puback => PacketKind::Puback.first_byte(0),
            AckKind::Pubrec => PacketKind::Pubrec.first_byte(0),
            // [MQTT-3.6.1-1]
            AckKind::Pubrel => PacketKind::Pubrel.first_byte(0b0010),
            AckKind::Pubcomp => PacketKind::Pubcomp.first_byte(0),
        }
    }
}

/// Appends an acknowledgement without properties, which always fits.
#[inline]
pub fn bare_ack(out: &mut Vec<u8>, version: Version, kind: AckKind, packet_id: u16, reason: Reason) {
    let [high, low] = packet_id.to_be_bytes();
    if version.is_v5() && reason != Reason::Success {
        out.extend_from_slice(&[kind.first_byte(), 3, high, low, reason.code()]);
    } else {
        out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
    }
}

/// Appends a PUBACK.
pub fn puback(out: &mut Vec<u8>, version: Version, it: &Ack<'_>) -> Result<(), Unencodable> {
    ack(out, version, AckKind::Puback, it)
}

/// Appends a PUBREC.
pub fn pubrec(out: &mut Vec<u8>, version: Version, it: &Ack<'_>) -> Result<(), Unencodable> {
    ack(out, version, AckKind::Pubrec, it)
}

/// Appends a PUBREL.
pub fn pubrel(out: &mut Vec<u8>, version: Version, it: &Ack<'_>) -> Result<(), Unencodable> {
    ack(out, version, AckKind::Pubrel, it)
}

/// Appends a PUBCOMP.
pub fn pubcomp(out: &mut Vec<u8>, version: Version, it: &Ack<'_>) -> Result<(), Unencodable> {
    ack(out, version, AckKind::Pubcomp, it)
}

/// Appends any of them.
pub fn ack(out: &mut Vec<u8>, version: Version, kind: AckKind, it: &Ack<'_>) -> Result<(), Unencodable> {
    if !version.is_v5() || it.properties.raw().is_empty() {
        bare_ack(out, version, kind, it.packet_id, it.reason);
        return Ok(());
    }
    frame(out, kind.first_byte(), |out| {
        out.extend_from_slice(&it.packet_id.to_be_bytes());
        out.push(it.reason.code());
        put_properties(out, version, it.properties)
    })
}

/// Appends a CONNECT, in the version it names. One that MQTT 3 could not read (a password without a
/// username) is written as it is.
pub fn connect(out: &mut Vec<u8>, it: &Connect<'_>) -> Result<(), Unencodable> {
    frame(out, PacketKind::Connect.first_byte(0), |out| {
        let name: &[u8] = if it.version == Version::V3_1 { b"MQIsdp" } else { b"MQTT" };
        put_binary(out, name)?;
        out.push(it.version.level());
        out.push(connect_flags(it));
        out.extend_from_slice(&it.keep_alive_secs.to_be_bytes());
        put_properties(out, it.version, it.properties)?;
        put_binary(out, it.client_id)?;
        if let Some(will) = &it.will {
            put_properties(out, it.version, will.properties)?;
            put_binary(out, will.topic)?;
            put_binary(out, will.payload)?;
        }
        for field in [it.username, it.password].into_iter().flatten() {
            put_binary(out, field)?;
        }
        Ok(())
    })
}

fn connect_flags(it: &Connect<'_>) -> u8 {
    let will = it.will.map_or(0, |will| u8::from(will.retain) << 5 | (will.qos as u8) << 3 | 1 << 2);
    u8::from(it.username.is_some()) << 7
        | u8::from(it.password.is_some()) << 6
        | will
        | u8::from(it.clean_start) << 1
}

/// Appends a CONNACK.
pub fn connack(out: &mut Vec<u8>, version: Version, it: &Connack<'_>) -> Result<(), Unencodable> {
    frame(out, PacketKind::Connack.first_byte(0), |out| {
        let (session_present, code) = match version {
            Version::V3_1 => (false, it.reason.connect_return_code() as u8),
            Version::V3_1_1 => (it.session_present, it.reason.connect_return_code() as u8),
            Version::V5 => (it.session_present, it.reason.code()),
        };
        out.extend_from_slice(&[u8::from(session_present), code]);
        put_properties(out, version, it.properties)
    })
}

/// Appends a SUBSCRIBE.
pub fn subscribe(out: &mut Vec<u8>, version: Version, it: &Subscribe<'_>) -> Result<(), Unencodable> {
    // [MQTT-3.8.1-1]
    frame(out, PacketKind::Subscribe.first_byte(0b0010), |out| {
        out.extend_from_slice(&it.packet_id.to_be_bytes());
        put_properties(out, version, it.properties)?;
        for (filter, options) in it.filters.iter() {
            put_binary(out, filter)?;
            out.push(if version.is_v5() { options.to_byte() } else { options.qos as u8 });
        }
        Ok(())
    })
}

/// Appends a SUBACK. Any failure is 0x80 in MQTT 3, which knows no other.
pub fn suback(out: &mut Vec<u8>, version: Version, it: &Suback<'_>) -> Result<(), Unencodable> {
    frame(out, PacketKind::Suback.first_byte(0), |out| {
        out.extend_from_slice(&it.packet_id.to_be_bytes());
        put_properties(out, version, it.properties)?;
        if version.is_v5() {
            out.extend_from_slice(it.codes);
        } else {
            let failure = Reason::UnspecifiedError.code();
            out.extend(it.codes.iter().map(|&code| if code > 2 { failure } else { code }));
        }
        Ok(())
    })
}

/// Appends an UNSUBSCRIBE.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, it: &Unsubscribe<'_>) -> Result<(), Unencodable> {
    // [MQTT-3.10.1-1]
    frame(out, PacketKind::Unsubscribe.first_byte(0b0010), |out| {
        out.extend_from_slice(&it.packet_id.to_be_bytes());
        put_properties(out, version, it.properties)?;
        for filter in it.filters.iter() {
            put_binary(out, filter)?;
        }
        Ok(())
    })
}

/// Appends an UNSUBACK, which has no codes before MQTT 5.
pub fn unsuback(out: &mut Vec<u8>, version: Version, it: &Suback<'_>) -> Result<(), Unencodable> {
    frame(out, PacketKind::Unsuback.first_byte(0), |out| {
        out.extend_from_slice(&it.packet_id.to_be_bytes());
        if version.is_v5() {
            put_properties(out, version, it.properties)?;
            out.extend_from_slice(it.codes);
        }
        Ok(())
    })
}

/// Appends a PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketKind::Pingreq.first_byte(0), 0]);
}

/// Appends a PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketKind::Pingresp.first_byte(0), 0]);
}

/// Appends a DISCONNECT, which says nothing before MQTT 5.
pub fn disconnect(out: &mut Vec<u8>, version: Version, it: &Disconnect<'_>) -> Result<(), Unencodable> {
    frame(out, PacketKind::Disconnect.first_byte(0), |out| {
        let has_properties = !it.properties.raw().is_empty();
        if version.is_v5() && (has_properties || it.reason != Reason::Success) {
            out.push(it.reason.code());
            if has_properties {
                put_properties(out, version, it.properties)?;
            }
        }
        Ok(())
    })
}

/// Appends an AUTH, which exists in MQTT 5 only.
pub fn auth(out: &mut Vec<u8>, it: &Auth<'_>) -> Result<(), Unencodable> {
    frame(out, PacketKind::Auth.first_byte(0), |out| {
        if it.reason == Reason::Success && it.properties.raw().is_empty() {
            return Ok(());
        }
        out.push(it.reason.code());
        put_properties(out, Version::V5, it.properties)
    })
}

/// Appends a first byte, the length of what `body` appends, and that. The length is known last, so it is
/// written last and rotated into its place; these bodies are short.
fn frame(
    out: &mut Vec<u8>,
    first_byte: u8,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), Unencodable>,
) -> Result<(), Unencodable> {
    let start = out.len();
    out.push(first_byte);
    let Ok(remaining) = body(out).and_then(|()| remaining_len(out.len() - start - 1)) else {
        out.truncate(start);
        return Err(Unencodable);
    };
    put_varint(out, remaining);
    if let Some(after_first) = out.get_mut(start + 1..) {
        after_first.rotate_right(varint_len(remaining as usize));
    }
    Ok(())
}

#[inline]
fn put_properties(
    out: &mut Vec<u8>,
    version: Version,
    properties: Properties<'_>,
) -> Result<(), Unencodable> {
    if version.is_v5() {
        put_varint(out, remaining_len(properties.raw().len())?);
        out.extend_from_slice(properties.raw());
    }
    Ok(())
}
