//! The bodies of SUBSCRIBE, UNSUBSCRIBE and their answers. Each list is read once here, so that iterating it
//! later cannot fail.

use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{
    Filters, PacketKind, Suback, Subscribe, SubscribeOptions, Unsubscribe, UnsubscribeFilters, Version,
};
use crate::mqtt::property::{Place, Properties};
use crate::mqtt::reason::Reason;
use crate::mqtt::wire::Reader;

pub(super) fn subscribe<'a>(body: &mut Reader<'a>, version: Version) -> Result<Subscribe<'a>, Malformed> {
    let packet_id = super::packet_id(body)?;
    let properties = super::properties(body, version, Place::of(PacketKind::Subscribe))?;
    let payload = body.rest();
    let mut reader = Reader::new(payload);
    // [MQTT-3.8.3-2], and [MQTT-3.8.3-3] of 3.1.1
    if reader.is_empty() {
        return Err(Malformed::NoFilters);
    }
    while !reader.is_empty() {
        // [MQTT-3.8.3-1]
        let filter = reader.string(Malformed::FilterNotUtf8)?;
        let options = options(reader.u8()?, version)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.starts_with(b"$share/") {
            return Err(Malformed::NoLocalOnShared);
        }
    }
    Ok(Subscribe { packet_id, properties, filters: Filters::from_checked_wire(payload) })
}

// [MQTT-3.8.3-5], and [MQTT-3-8.3-4] of 3.1.1
fn options(byte: u8, version: Version) -> Result<SubscribeOptions, Malformed> {
    if byte & 0b11 == 0b11 {
        return Err(Malformed::Qos3);
    }
    let legal = version.is_v5() || byte <= 2;
    SubscribeOptions::from_byte(byte).filter(|_| legal).ok_or(Malformed::SubscribeOptions)
}

pub(super) fn unsubscribe<'a>(body: &mut Reader<'a>, version: Version) -> Result<Unsubscribe<'a>, Malformed> {
    let packet_id = super::packet_id(body)?;
    let properties = super::properties(body, version, Place::of(PacketKind::Unsubscribe))?;
    let payload = body.rest();
    let mut reader = Reader::new(payload);
    // [MQTT-3.10.3-2]
    if reader.is_empty() {
        return Err(Malformed::NoFilters);
    }
    while !reader.is_empty() {
        // [MQTT-3.10.3-1]
        reader.string(Malformed::FilterNotUtf8)?;
    }
    Ok(Unsubscribe { packet_id, properties, filters: UnsubscribeFilters::from_checked_wire(payload) })
}

pub(super) fn suback<'a>(body: &mut Reader<'a>, version: Version) -> Result<Suback<'a>, Malformed> {
    answer(body, PacketKind::Suback, version, |code| {
        if version.is_v5() {
            Reason::from_u8(code).is_some_and(|reason| reason.allowed_in(PacketKind::Suback))
        } else {
            // [MQTT-3.9.3-2] of 3.1.1
            code <= 2 || code == Reason::UnspecifiedError.code()
        }
    })
}

pub(super) fn unsuback<'a>(body: &mut Reader<'a>, version: Version) -> Result<Suback<'a>, Malformed> {
    if !version.is_v5() {
        let packet_id = super::packet_id(body)?;
        return Ok(Suback { packet_id, properties: Properties::EMPTY, codes: &[] });
    }
    answer(body, PacketKind::Unsuback, version, |code| {
        Reason::from_u8(code).is_some_and(|reason| reason.allowed_in(PacketKind::Unsuback))
    })
}

fn answer<'a>(
    body: &mut Reader<'a>,
    kind: PacketKind,
    version: Version,
    is_legal: impl Fn(u8) -> bool,
) -> Result<Suback<'a>, Malformed> {
    let packet_id = super::packet_id(body)?;
    let properties = super::properties(body, version, Place::of(kind))?;
    let codes = body.rest();
    if codes.is_empty() {
        return Err(Malformed::NoReasons);
    }
    match codes.iter().find(|&&code| !is_legal(code)) {
        Some(&code) => Err(Malformed::ReasonNotAllowed(kind, code)),
        None => Ok(Suback { packet_id, properties, codes }),
    }
}
