//! What an MQTT server may say. Topics are not looked into: a subscriber knows its messages by their header.

use super::Version;

/// Beyond what the protocol can say only by a broken length.
const LENGTH_BYTES_MAX: usize = 4;

#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck { id: u16, code: u8 },
    PubRec { id: u16, code: u8 },
    PubRel { id: u16 },
    PubComp { id: u16 },
    SubAck { id: u16, codes: &'a [u8] },
    UnsubAck { id: u16 },
    PingResp,
    Disconnect { code: u8, text: &'a [u8] },
}

#[derive(Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    pub code: u8,
    pub receive_max: u16,
    pub qos_max: u8,
    pub packet_max: usize,
    pub text: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub qos: u8,
    pub dup: bool,
    /// 0 with QoS 0.
    pub id: u16,
    pub response_topic: &'a [u8],
    pub correlation: &'a [u8],
    pub payload: &'a [u8],
}

/// The server broke the protocol; the text says how.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The first packet and its length, or nothing as long as it has not all arrived.
#[inline]
pub fn parse(input: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((first, rest)) = input.split_first() else { return Ok(None) };
    let Some((length, length_bytes)) = varint(rest)? else { return Ok(None) };
    let end = 1 + length_bytes + length;
    let Some(body) = input.get(1 + length_bytes..end) else { return Ok(None) };
    let packet = match first >> 4 {
        3 => publish(*first, body, version)?,
        4 => acknowledged(body, version).map(|(id, code)| Packet::PubAck { id, code })?,
        5 => acknowledged(body, version).map(|(id, code)| Packet::PubRec { id, code })?,
        6 => acknowledged(body, version).map(|(id, _)| Packet::PubRel { id })?,
        7 => acknowledged(body, version).map(|(id, _)| Packet::PubComp { id })?,
        2 => connack(body, version)?,
        9 => suback(body, version)?,
        11 => Packet::UnsubAck { id: Cursor(body).u16()? },
        13 => Packet::PingResp,
        14 => disconnect(body, version)?,
        _ => return Err(Malformed("a packet that no server sends")),
    };
    Ok(Some((packet, end)))
}

#[inline]
fn publish(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let qos = first >> 1 & 3;
    if qos == 3 {
        return Err(Malformed("a PUBLISH of QoS 3"));
    }
    let mut cursor = Cursor(body);
    cursor.string()?;
    let id = if qos > 0 { cursor.u16()? } else { 0 };
    let (mut response_topic, mut correlation) = (&b""[..], &b""[..]);
    if version == Version::V5 {
        properties(&mut cursor, |property, value| match property {
            8 => response_topic = value,
            9 => correlation = value,
            _ => {}
        })?;
    }
    let dup = first & 8 != 0;
    Ok(Packet::Publish(Publish { qos, dup, id, response_topic, correlation, payload: cursor.0 }))
}

fn acknowledged(body: &[u8], version: Version) -> Result<(u16, u8), Malformed> {
    let mut cursor = Cursor(body);
    let id = cursor.u16()?;
    let code = if version == Version::V5 && !cursor.0.is_empty() { cursor.u8()? } else { 0 };
    Ok((id, code))
}

fn connack(body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let mut cursor = Cursor(body);
    cursor.u8()?;
    let mut ack =
        ConnAck { code: cursor.u8()?, receive_max: u16::MAX, qos_max: 2, packet_max: usize::MAX, text: b"" };
    // A server that refuses version 5 may answer in the words of version 3.
    if version == Version::V5 && !cursor.0.is_empty() {
        properties(&mut cursor, |property, value| {
            let number = value.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
            match property {
                0x21 => ack.receive_max = number as u16,
                0x24 => ack.qos_max = number as u8,
                0x27 => ack.packet_max = number,
                0x1f => ack.text = value,
                _ => {}
            }
        })?;
    }
    Ok(Packet::ConnAck(ack))
}

fn suback(body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let mut cursor = Cursor(body);
    let id = cursor.u16()?;
    if version == Version::V5 {
        properties(&mut cursor, |_, _| {})?;
    }
    Ok(Packet::SubAck { id, codes: cursor.0 })
}

fn disconnect(body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let mut cursor = Cursor(body);
    let (mut code, mut text) = (0, &b""[..]);
    if version == Version::V5 && !cursor.0.is_empty() {
        code = cursor.u8()?;
        if !cursor.0.is_empty() {
            properties(&mut cursor, |property, value| {
                if property == 0x1f {
                    text = value;
                }
            })?;
        }
    }
    Ok(Packet::Disconnect { code, text })
}

/// Calls with each property's number and bytes; strings come without their length.
#[inline]
fn properties<'a>(cursor: &mut Cursor<'a>, mut each: impl FnMut(u8, &'a [u8])) -> Result<(), Malformed> {
    let length = cursor.varint()?;
    let mut inside = Cursor(cursor.take(length)?);
    while !inside.0.is_empty() {
        let property = inside.u8()?;
        let value = match property {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => inside.take(1)?,
            0x13 | 0x21 | 0x22 | 0x23 => inside.take(2)?,
            0x02 | 0x11 | 0x18 | 0x27 => inside.take(4)?,
            0x0b => {
                inside.varint()?;
                &[]
            }
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => inside.string()?,
            0x26 => {
                inside.string()?;
                inside.string()?
            }
            _ => return Err(Malformed("a property that does not exist")),
        };
        each(property, value);
    }
    Ok(())
}

#[inline]
pub fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= LENGTH_BYTES_MAX {
        Err(Malformed("a length of more than four bytes"))
    } else {
        Ok(None)
    }
}

pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Malformed("a packet shorter than it says"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed("a packet shorter than it says"))
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed("a packet shorter than it says"))?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    #[inline]
    pub fn varint(&mut self) -> Result<usize, Malformed> {
        let (value, length) = varint(self.0)?.ok_or(Malformed("a packet shorter than it says"))?;
        self.take(length)?;
        Ok(value)
    }
}
