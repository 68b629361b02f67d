//! The body of CONNECT. Not its judgement: an empty client identifier or an unknown user is well-formed.

use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{Connect, Qos, Version, Will};
use crate::mqtt::property::{Place, Properties};
use crate::mqtt::topic::check_topic_name;
use crate::mqtt::wire::{Reader, varint};

const RESERVED: u8 = 1 << 0;
const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USERNAME: u8 = 1 << 7;

pub(super) fn connect<'a>(body: &mut Reader<'a>, length_is_minimal: bool) -> Result<Connect<'a>, Malformed> {
    let version = version(body)?;
    if version.is_v5() && !length_is_minimal {
        return Err(Malformed::LengthNotMinimal);
    }
    let flags = body.u8()?;
    check_flags(flags, version)?;
    let keep_alive_secs = body.u16()?;
    let properties = super::properties(body, version, Place::Connect)?;
    let client_id = body.string(Malformed::ClientIdNotUtf8)?;
    let will = if flags & WILL != 0 { Some(will(body, flags, version)?) } else { None };
    let username = if flags & USERNAME != 0 && !ends_early(body, version) {
        Some(body.string(Malformed::UsernameNotUtf8)?)
    } else {
        None
    };
    let password =
        if flags & PASSWORD != 0 && !ends_early(body, version) { Some(body.binary()?) } else { None };
    let clean_start = flags & CLEAN_START != 0;
    Ok(Connect { version, clean_start, keep_alive_secs, client_id, will, username, password, properties })
}

/// What the front of a CONNECT says that is longer than it may be, or broken further on.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    pub version: Version,
    /// `None` where they are not whole; MQTT 3 has none.
    pub properties: Option<Properties<'a>>,
    pub client_id: Option<&'a [u8]>,
}

/// Reads as much of a CONNECT as there is; `None` where that does not tell its version.
pub fn front(input: &[u8]) -> Option<Front<'_>> {
    let length = varint(input.get(1..)?).ok()??;
    let mut body = Reader::new(input.get(1 + length.n_bytes..)?);
    let version = version(&mut body).ok()?;
    // Flags and keep-alive.
    let has_fields = body.u8().is_ok() && body.u16().is_ok();
    let properties = has_fields.then(|| super::properties(&mut body, version, Place::Connect).ok()).flatten();
    let client_id = properties.and_then(|_| body.string(Malformed::ClientIdNotUtf8).ok());
    Some(Front { version, properties, client_id })
}

// [MQTT-3.1.2-1] [MQTT-3.1.2-2]
fn version(body: &mut Reader<'_>) -> Result<Version, Malformed> {
    let name = body.binary()?;
    let is_old = match name {
        b"MQTT" => false,
        b"MQIsdp" => true,
        _ => return Err(Malformed::UnknownProtocol),
    };
    match (is_old, body.u8()?) {
        (true, 3) => Ok(Version::V3_1),
        (false, 4) => Ok(Version::V3_1_1),
        (false, 5) => Ok(Version::V5),
        (_, level) => Err(Malformed::UnsupportedVersion(level)),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Malformed> {
    // [MQTT-3.1.2-3]
    if flags & RESERVED != 0 {
        return Err(Malformed::ConnectFlagReserved);
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]
    let will_qos = Qos::from_u8((flags >> WILL_QOS_SHIFT) & 0b11).ok_or(Malformed::WillFlags)?;
    if flags & WILL == 0 && (will_qos != Qos::AtMostOnce || flags & WILL_RETAIN != 0) {
        return Err(Malformed::WillFlags);
    }
    // [MQTT-3.1.2-22] of 3.1.1; MQTT 5 allows it (section 3.1.2.9).
    if flags & PASSWORD != 0 && flags & USERNAME == 0 && !version.is_v5() {
        return Err(Malformed::UsernameFlag);
    }
    Ok(())
}

fn will<'a>(body: &mut Reader<'a>, flags: u8, version: Version) -> Result<Will<'a>, Malformed> {
    let qos = Qos::from_u8((flags >> WILL_QOS_SHIFT) & 0b11).ok_or(Malformed::WillFlags)?;
    let properties = super::properties(body, version, Place::Will)?;
    let topic = body.binary()?;
    // [MQTT-4.7.3-1]: no alias stands for a will's topic.
    if topic.is_empty() {
        return Err(Malformed::TopicEmpty);
    }
    check_topic_name(topic)?;
    let payload = body.binary()?;
    Ok(Will { qos, retain: flags & WILL_RETAIN != 0, topic, payload, properties })
}

/// MQTT 3.1 must let a client announce a username or password and end the packet before it: the remaining
/// length has precedence (MQTT 3.1, section 3.1, "User name and password flags").
const fn ends_early(body: &Reader<'_>, version: Version) -> bool {
    matches!(version, Version::V3_1) && body.is_empty()
}
