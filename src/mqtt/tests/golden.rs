//! Bytes written by hand from the specification, figure by figure. Not generated: they are the anchor for
//! everything that is.

use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::*;
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::tests::decoded;

/// The bytes decode to the packet, and the packet encodes to the bytes.
fn same(bytes: &[u8], version: Version, packet: Packet<'_>) {
    assert_eq!(decoded(bytes, version), Ok(packet));
    let mut out = Vec::new();
    encode::packet(&mut out, version, &packet).unwrap();
    assert_eq!(out, bytes, "{packet:?}");
}

fn block(properties: &[Property<'_>]) -> PropertyBlock {
    let mut block = PropertyBlock::new();
    for &property in properties {
        block.push(property).unwrap();
    }
    block
}

#[test]
fn connect_of_3_1_1_with_every_field() {
    let bytes =
        b"\x10\x24\x00\x04MQTT\x04\xCE\x00\x0A\x00\x03dev\x00\x04w/is\x00\x04gone\x00\x02me\x00\x03\xFF\x00x";
    let connect = Connect {
        version: Version::V3_1_1,
        clean_start: true,
        keep_alive_secs: 10,
        client_id: b"dev",
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: b"w/is",
            payload: b"gone",
            properties: Properties::EMPTY,
        }),
        username: Some(b"me"),
        password: Some(b"\xFF\0x"),
        properties: Properties::EMPTY,
    };
    same(bytes, Version::V3_1_1, Packet::Connect(connect));
}

#[test]
fn connect_of_3_1_has_its_own_protocol_name() {
    let connect = Connect {
        version: Version::V3_1,
        clean_start: false,
        keep_alive_secs: 60,
        client_id: b"c",
        will: None,
        username: None,
        password: None,
        properties: Properties::EMPTY,
    };
    // The version argument does not matter: a CONNECT says its own.
    same(b"\x10\x0F\x00\x06MQIsdp\x03\x00\x00\x3C\x00\x01c", Version::V5, Packet::Connect(connect));
}

#[test]
fn connect_of_5_with_session_expiry_as_in_the_specification() {
    // Section 3.1.2.12, figure 3-6: the variable header up to the client identifier.
    let bytes = b"\x10\x16\x00\x04MQTT\x05\xC2\x00\x0A\x05\x11\x00\x00\x00\x0A\x00\x00\x00\x00\x00\x00";
    let block = block(&[Property::SessionExpiryInterval(10)]);
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 10,
        client_id: b"",
        will: None,
        username: Some(b""),
        password: Some(b""),
        properties: block.properties(),
    };
    same(bytes, Version::V5, Packet::Connect(connect));
}

#[test]
fn connect_of_5_with_a_will_that_has_properties() {
    let bytes =
        b"\x10\x1B\x00\x04MQTT\x05\x36\x00\x00\x00\x00\x01i\x05\x18\x00\x00\x00\x05\x00\x01t\x00\x02\x01\x02";
    let will_block = block(&[Property::WillDelayInterval(5)]);
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: b"i",
        will: Some(Will {
            qos: Qos::ExactlyOnce,
            retain: true,
            topic: b"t",
            payload: &[1, 2],
            properties: will_block.properties(),
        }),
        username: None,
        password: None,
        properties: Properties::EMPTY,
    };
    same(bytes, Version::V5, Packet::Connect(connect));
}

// [MQTT-2.2.2-1] [MQTT-3.2.2-1] [MQTT-3.2.2-6]
#[test]
fn connack_in_each_version() {
    let present = Connack { session_present: true, reason: Reason::Success, properties: Properties::EMPTY };
    same(b"\x20\x02\x01\x00", Version::V3_1_1, Packet::Connack(present));
    same(b"\x20\x03\x01\x00\x00", Version::V5, Packet::Connack(present));
    let refused =
        Connack { session_present: false, reason: Reason::NotAuthorized, properties: Properties::EMPTY };
    same(b"\x20\x02\x00\x05", Version::V3_1, Packet::Connack(refused));
    same(b"\x20\x02\x00\x05", Version::V3_1_1, Packet::Connack(refused));
    same(b"\x20\x03\x00\x87\x00", Version::V5, Packet::Connack(refused));
}

// [MQTT-2.2.1-2] [MQTT-4.3.1-1]
// 3.1.1: [MQTT-2.3.1-1] [MQTT-2.3.1-5] [MQTT-4.3.1-1]
#[test]
fn publish_as_in_the_specification() {
    // Section 3.3.2.3.1, figure 3-9: topic a/b, packet identifier 10.
    let publish = Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: b"a/b",
        packet_id: 10,
        properties: Properties::EMPTY,
        payload: b"!",
    };
    same(b"\x32\x08\x00\x03a/b\x00\x0A!", Version::V3_1_1, Packet::Publish(publish));
    same(b"\x32\x09\x00\x03a/b\x00\x0A\x00!", Version::V5, Packet::Publish(publish));
    let again = Publish { dup: true, qos: Qos::ExactlyOnce, retain: true, ..publish };
    same(b"\x3D\x08\x00\x03a/b\x00\x0A!", Version::V3_1, Packet::Publish(again));
    let light = Publish { qos: Qos::AtMostOnce, packet_id: 0, payload: b"", ..publish };
    same(b"\x30\x05\x00\x03a/b", Version::V3_1_1, Packet::Publish(light));
}

#[test]
fn publish_of_5_by_alias_with_a_user_property() {
    let pair = Pair { name: b"k", value: "é".as_bytes() };
    let block = block(&[Property::TopicAlias(3), Property::UserProperty(pair)]);
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: b"",
        packet_id: 0,
        properties: block.properties(),
        payload: b"xy",
    };
    same(
        b"\x30\x10\x00\x00\x0B\x23\x00\x03\x26\x00\x01k\x00\x02\xC3\xA9xy",
        Version::V5,
        Packet::Publish(publish),
    );
    assert_eq!(publish.properties.topic_alias(), Some(3));
    assert_eq!(publish.properties.user_properties().collect::<Vec<_>>(), [pair]);
    assert_eq!(publish.properties.content_type(), None);
}

#[test]
fn acknowledgements_leave_out_what_goes_without_saying() {
    let success = Ack { packet_id: 0x0102, reason: Reason::Success, properties: Properties::EMPTY };
    let failed = Ack { reason: Reason::PacketIdentifierNotFound, ..success };
    same(b"\x40\x02\x01\x02", Version::V5, Packet::Puback(success));
    same(b"\x50\x02\x01\x02", Version::V3_1_1, Packet::Pubrec(success));
    same(b"\x62\x02\x01\x02", Version::V3_1, Packet::Pubrel(success));
    same(b"\x62\x03\x01\x02\x92", Version::V5, Packet::Pubrel(failed));
    let block = block(&[Property::ReasonString(b"no")]);
    let told = Ack { properties: block.properties(), ..failed };
    same(b"\x70\x09\x01\x02\x92\x05\x1F\x00\x02no", Version::V5, Packet::Pubcomp(told));
    // The long form of a success says the same.
    assert_eq!(decoded(b"\x40\x04\x01\x02\x00\x00", Version::V5), Ok(Packet::Puback(success)));
    assert_eq!(decoded(b"\x40\x03\x01\x02\x00", Version::V5), Ok(Packet::Puback(success)));
}

#[test]
fn subscribe_as_in_the_specification() {
    // Section 3.8.3.1, figure 3-22: a/b at QoS 1 and c/d at QoS 2.
    let quality = |qos| SubscribeOptions { qos, ..Default::default() };
    let list: [(&[u8], _); 2] = [(b"a/b", quality(Qos::AtLeastOnce)), (b"c/d", quality(Qos::ExactlyOnce))];
    let subscribe =
        Subscribe { packet_id: 10, properties: Properties::EMPTY, filters: Filters::from_list(&list) };
    let bytes = b"\x82\x0E\x00\x0A\x00\x03a/b\x01\x00\x03c/d\x02";
    same(bytes, Version::V3_1_1, Packet::Subscribe(subscribe));
    same(bytes, Version::V3_1, Packet::Subscribe(subscribe));
    let options = SubscribeOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let list: [(&[u8], _); 1] = [(b"#", options)];
    let block = block(&[Property::SubscriptionIdentifier(200)]);
    let subscribe =
        Subscribe { packet_id: 10, properties: block.properties(), filters: Filters::from_list(&list) };
    same(b"\x82\x0A\x00\x0A\x03\x0B\xC8\x01\x00\x01#\x2D", Version::V5, Packet::Subscribe(subscribe));
    assert_eq!(subscribe.properties.subscription_identifier(), Some(200));
}

// [MQTT-2.2.2-1]
#[test]
fn suback_and_unsuback_in_each_version() {
    let suback = Suback { packet_id: 10, properties: Properties::EMPTY, codes: &[0, 2, 0x80] };
    same(b"\x90\x05\x00\x0A\x00\x02\x80", Version::V3_1_1, Packet::Suback(suback));
    same(b"\x90\x06\x00\x0A\x00\x00\x02\x80", Version::V5, Packet::Suback(suback));
    let nuanced = Suback { codes: &[1, 0x8F], ..suback };
    let mut out = Vec::new();
    encode::suback(&mut out, Version::V3_1_1, &nuanced).unwrap();
    assert_eq!(out, b"\x90\x04\x00\x0A\x01\x80");
    let unsuback = Suback { codes: &[0, 0x11], ..suback };
    same(b"\xB0\x05\x00\x0A\x00\x00\x11", Version::V5, Packet::Unsuback(unsuback));
    same(b"\xB0\x02\x00\x0A", Version::V3_1_1, Packet::Unsuback(Suback { codes: &[], ..suback }));
}

// 3.1.1: [MQTT-2.3.1-7]
#[test]
fn unsubscribe_in_each_version() {
    let list: [&[u8]; 2] = [b"a/b", b"c"];
    let filters = UnsubscribeFilters::from_list(&list);
    let unsubscribe = Unsubscribe { packet_id: 9, properties: Properties::EMPTY, filters };
    same(b"\xA2\x0A\x00\x09\x00\x03a/b\x00\x01c", Version::V3_1_1, Packet::Unsubscribe(unsubscribe));
    same(b"\xA2\x0B\x00\x09\x00\x00\x03a/b\x00\x01c", Version::V5, Packet::Unsubscribe(unsubscribe));
}

#[test]
fn pings_disconnects_and_authentication() {
    for version in Version::ALL {
        same(b"\xC0\x00", version, Packet::Pingreq);
        same(b"\xD0\x00", version, Packet::Pingresp);
        let normal = Disconnect { reason: Reason::Success, properties: Properties::EMPTY };
        same(b"\xE0\x00", version, Packet::Disconnect(normal));
    }
    let with_will = Disconnect { reason: Reason::DisconnectWithWill, properties: Properties::EMPTY };
    same(b"\xE0\x01\x04", Version::V5, Packet::Disconnect(with_will));
    let bare = Auth { reason: Reason::Success, properties: Properties::EMPTY };
    same(b"\xF0\x00", Version::V5, Packet::Auth(bare));
    let block = block(&[Property::AuthenticationMethod(b"M"), Property::AuthenticationData(&[0])]);
    let next = Auth { reason: Reason::ContinueAuthentication, properties: block.properties() };
    same(b"\xF0\x0A\x18\x08\x15\x00\x01M\x16\x00\x01\x00", Version::V5, Packet::Auth(next));
}

// [MQTT-1.5.5-1]
#[test]
fn the_lengths_of_table_2_4() {
    for (len, n_bytes) in [
        (0, 1),
        (127, 1),
        (128, 2),
        (16_383, 2),
        (16_384, 3),
        (2_097_151, 3),
        (2_097_152, 4),
        (268_435_455, 4),
    ] {
        let mut bytes = vec![0x30];
        crate::mqtt::wire::put_varint(&mut bytes, len);
        assert_eq!(bytes.len(), 1 + n_bytes);
        if len > 0 {
            let need = bytes.len() + len as usize;
            let decoded = decode(&bytes, Version::V3_1_1, &Limits::NONE);
            assert_eq!(decoded, Ok(Decoded::Incomplete { need }));
        }
    }
}
