//! The types a property's value can have, each with the values the specification allows. Not which property
//! has which: that is the table in `property`.

use crate::mqtt::encode::Unencodable;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::Qos;
use crate::mqtt::property::{Pair, PropertyId};
use crate::mqtt::wire::{Reader, VARINT_MAX, put_binary, put_varint};

/// A value the bytes could hold and the specification may forbid.
fn only<T>(value: T, allowed: bool, id: PropertyId) -> Result<T, Malformed> {
    if allowed { Ok(value) } else { Err(Malformed::PropertyValue(id)) }
}

/// A byte, 0 or 1.
pub(super) struct Flag;

impl Flag {
    pub(super) fn read(reader: &mut Reader<'_>, id: PropertyId) -> Result<bool, Malformed> {
        reader.u8().and_then(|byte| only(byte == 1, byte <= 1, id))
    }

    pub(super) fn write(out: &mut Vec<u8>, value: bool) -> Result<(), Unencodable> {
        out.push(u8::from(value));
        Ok(())
    }
}

/// The maximum QoS: there is no byte for 2, which goes without saying.
pub(super) struct ZeroOrOne;

impl ZeroOrOne {
    pub(super) fn read(reader: &mut Reader<'_>, id: PropertyId) -> Result<Qos, Malformed> {
        Flag::read(reader, id).map(|one| if one { Qos::AtLeastOnce } else { Qos::AtMostOnce })
    }

    pub(super) fn write(out: &mut Vec<u8>, value: Qos) -> Result<(), Unencodable> {
        out.push(value as u8);
        Ok(())
    }
}

/// An integer.
pub(super) struct TwoBytes;

impl TwoBytes {
    pub(super) fn read(reader: &mut Reader<'_>, _: PropertyId) -> Result<u16, Malformed> {
        reader.u16()
    }

    pub(super) fn write(out: &mut Vec<u8>, value: u16) -> Result<(), Unencodable> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }
}

/// An integer for which 0 is a protocol error.
pub(super) struct TwoBytesNotZero;

impl TwoBytesNotZero {
    pub(super) fn read(reader: &mut Reader<'_>, id: PropertyId) -> Result<u16, Malformed> {
        reader.u16().and_then(|value| only(value, value != 0, id))
    }

    pub(super) fn write(out: &mut Vec<u8>, value: u16) -> Result<(), Unencodable> {
        TwoBytes::write(out, value)
    }
}

/// An integer.
pub(super) struct FourBytes;

impl FourBytes {
    pub(super) fn read(reader: &mut Reader<'_>, _: PropertyId) -> Result<u32, Malformed> {
        reader.u32()
    }

    pub(super) fn write(out: &mut Vec<u8>, value: u32) -> Result<(), Unencodable> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }
}

/// An integer for which 0 is a protocol error.
pub(super) struct FourBytesNotZero;

impl FourBytesNotZero {
    pub(super) fn read(reader: &mut Reader<'_>, id: PropertyId) -> Result<u32, Malformed> {
        reader.u32().and_then(|value| only(value, value != 0, id))
    }

    pub(super) fn write(out: &mut Vec<u8>, value: u32) -> Result<(), Unencodable> {
        FourBytes::write(out, value)
    }
}

/// A variable byte integer for which 0 is a protocol error.
pub(super) struct VarintNotZero;

impl VarintNotZero {
    pub(super) fn read(reader: &mut Reader<'_>, id: PropertyId) -> Result<u32, Malformed> {
        reader.varint().and_then(|value| only(value, value != 0, id))
    }

    pub(super) fn write(out: &mut Vec<u8>, value: u32) -> Result<(), Unencodable> {
        if value > VARINT_MAX {
            return Err(Unencodable);
        }
        put_varint(out, value);
        Ok(())
    }
}

/// Any bytes.
pub(super) struct Binary;

impl Binary {
    pub(super) fn read<'a>(reader: &mut Reader<'a>, _: PropertyId) -> Result<&'a [u8], Malformed> {
        reader.binary()
    }

    pub(super) fn write(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Unencodable> {
        put_binary(out, value)
    }
}

/// UTF-8 without NUL.
pub(super) struct Text;

impl Text {
    #[inline]
    pub(super) fn read<'a>(reader: &mut Reader<'a>, id: PropertyId) -> Result<&'a [u8], Malformed> {
        reader.string(Malformed::PropertyNotUtf8(id))
    }

    pub(super) fn write(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Unencodable> {
        put_binary(out, value)
    }
}

/// A topic name: text, not empty, without wildcards.
pub(super) struct Topic;

impl Topic {
    // [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-4.7.3-1]
    pub(super) fn read<'a>(reader: &mut Reader<'a>, id: PropertyId) -> Result<&'a [u8], Malformed> {
        let topic = Text::read(reader, id)?;
        only(topic, !topic.is_empty() && !topic.iter().any(|&byte| byte == b'+' || byte == b'#'), id)
    }

    pub(super) fn write(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Unencodable> {
        put_binary(out, value)
    }
}

/// A user property's name and value.
pub(super) struct TwoTexts;

impl TwoTexts {
    #[inline]
    pub(super) fn read<'a>(reader: &mut Reader<'a>, id: PropertyId) -> Result<Pair<'a>, Malformed> {
        Ok(Pair { name: Text::read(reader, id)?, value: Text::read(reader, id)? })
    }

    pub(super) fn write(out: &mut Vec<u8>, value: Pair<'_>) -> Result<(), Unencodable> {
        put_binary(out, value.name)?;
        put_binary(out, value.value)
    }
}
