//! Bytes meant to hurt, or written by somebody who misread the specification. Each is refused for its own
//! reason, and as early as it can be known.

use proptest::prelude::*;

use crate::mqtt::decode::{Decoded, Limits, decode, glance};
use crate::mqtt::encode;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{Packet, PacketKind, Version};
use crate::mqtt::property::{Pair, Property, PropertyBlock, PropertyId};
use crate::mqtt::reason::Reason;
use crate::mqtt::tests::generate::{Kitchen, ingredients, kinds_and_versions};
use crate::mqtt::tests::{decoded, frame};

const V3: Version = Version::V3_1_1;
const V5: Version = Version::V5;

#[test]
fn a_length_of_five_bytes_is_refused_at_its_fourth() {
    let bytes = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    for version in Version::ALL {
        for n in 1..=4 {
            assert_eq!(
                decode(&bytes[..n], version, &Limits::NONE),
                Ok(Decoded::Incomplete { need: (n + 1).max(2) })
            );
        }
        for n in 5..=6 {
            assert_eq!(decode(&bytes[..n], version, &Limits::NONE), Err(Malformed::LengthTooLong));
        }
    }
}

// [MQTT-1.5.5-1]
#[test]
fn a_padded_length_is_refused_from_mqtt_5_on() {
    assert_eq!(decoded(b"\xC0\x80\x00", V5), Err(Malformed::LengthNotMinimal));
    assert_eq!(decoded(b"\xC0\x80\x80\x80\x00", V3), Ok(Packet::Pingreq));
    let connect_5 = b"\x10\x8D\x00\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
    assert_eq!(decoded(connect_5, V3), Err(Malformed::LengthNotMinimal));
    let connect_3 = b"\x10\x8C\x00\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
    assert!(decoded(connect_3, V5).is_ok());
    // A property length, too.
    assert_eq!(decoded(b"\x30\x05\x00\x01t\x80\x00", V5), Err(Malformed::LengthNotMinimal));
}

#[test]
fn an_announced_length_over_the_limit_is_refused_before_it_arrives() {
    let limits = Limits { packet_bytes_max: 130, connect_bytes_max: 64 };
    let fits = decode(b"\x30\x7F", V3, &limits);
    assert_eq!(fits, Ok(Decoded::Incomplete { need: 129 }));
    assert_eq!(decode(b"\x30\x80\x01", V3, &limits), Err(Malformed::PacketTooLarge));
    assert_eq!(decode(b"\x10\x3E", V3, &limits), Ok(Decoded::Incomplete { need: 64 }));
    assert_eq!(decode(b"\x10\x3F", V3, &limits), Err(Malformed::PacketTooLarge));
    assert_eq!(decode(b"\x10\xFF\xFF\xFF\x7F", V3, &limits), Err(Malformed::PacketTooLarge));
}

// [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
// 3.1.1: [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
#[test]
fn a_first_byte_that_no_packet_has_is_refused_alone() {
    for version in Version::ALL {
        for first in 0..=u8::MAX {
            let legal = match first {
                0x30..=0x3F => ![0x36, 0x37, 0x38, 0x39, 0x3E, 0x3F].contains(&first),
                0x62 | 0x82 | 0xA2 => true,
                0x6A | 0x8A | 0xAA => version == Version::V3_1,
                0xF0 => version == V5,
                0x60 | 0x80 | 0xA0 | 0x00 => false,
                _ => first & 0x0F == 0,
            };
            let bytes = [first];
            let answer = decode(&bytes, version, &Limits::NONE);
            assert_eq!(answer.is_ok(), legal, "{first:02X} in {version:?}: {answer:?}");
        }
    }
    assert_eq!(decode(b"\x36", V3, &Limits::NONE), Err(Malformed::Qos3));
    assert_eq!(decode(b"\x38", V3, &Limits::NONE), Err(Malformed::DupAtQos0));
    assert_eq!(decode(b"\x61", V3, &Limits::NONE), Err(Malformed::ReservedBits(PacketKind::Pubrel)));
    assert_eq!(decode(b"\xF0", V3, &Limits::NONE), Err(Malformed::ReservedKind(15)));
    assert_eq!(decode(b"\x00", V5, &Limits::NONE), Err(Malformed::ReservedKind(0)));
}

// [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-16]
// [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4]
// [MQTT-3.1.3-11] [MQTT-3.1.3-12]
// 3.1.1: [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
// 3.1.1: [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21] [MQTT-3.1.2-22] [MQTT-3.1.3-1]
// 3.1.1: [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11]
#[test]
fn connects_that_contradict_themselves_are_refused() {
    let after = |name: &[u8], rest: &[u8]| {
        let mut body = vec![0, u8::try_from(name.len()).unwrap()];
        body.extend_from_slice(name);
        body.extend_from_slice(rest);
        decoded(&frame(0x10, &body), V3).map(|_| ())
    };
    let cases: &[(&[u8], &[u8], Malformed)] = &[
        (b"MQTX", b"\x04\x02\0\0\0\0", Malformed::UnknownProtocol),
        (b"mqtt", b"\x04\x02\0\0\0\0", Malformed::UnknownProtocol),
        (b"", b"\x04\x02\0\0\0\0", Malformed::UnknownProtocol),
        (b"MQTT", b"\x03\x02\0\0\0\0", Malformed::UnsupportedVersion(3)),
        (b"MQTT", b"\x06", Malformed::UnsupportedVersion(6)),
        (b"MQTT", b"\x84\x02\0\0\0\0", Malformed::UnsupportedVersion(0x84)),
        (b"MQIsdp", b"\x04\x02\0\0\0\0", Malformed::UnsupportedVersion(4)),
        (b"MQTT", b"\x04\x03\0\0\0\0", Malformed::ConnectFlagReserved),
        (b"MQTT", b"\x04\x0A\0\0\0\0", Malformed::WillFlags),
        (b"MQTT", b"\x04\x22\0\0\0\0", Malformed::WillFlags),
        (b"MQTT", b"\x04\x1E\0\0\0\0\0\x01t\0\0", Malformed::WillFlags),
        (b"MQTT", b"\x04\x42\0\0\0\0\0\0", Malformed::UsernameFlag),
        (b"MQTT", b"\x04\x06\0\0\0\0\0\0\0\0", Malformed::TopicEmpty),
        (b"MQTT", b"\x04\x06\0\0\0\0\0\x01#\0\0", Malformed::TopicHasWildcard),
        (b"MQTT", b"\x04\x02\0\0\0\x01\0", Malformed::ClientIdNotUtf8),
        (b"MQTT", b"\x04\x82\0\0\0\0\0\x01\xFF", Malformed::UsernameNotUtf8),
        (b"MQTT", b"\x04\x82\0\0\0\0", Malformed::Truncated),
        (b"MQTT", b"\x04\x02\0\0\0\0\0", Malformed::TrailingBytes),
        (b"MQTT", b"\x05\x02\0\0\0\0", Malformed::Truncated),
    ];
    for &(name, rest, malformed) in cases {
        assert_eq!(after(name, rest), Err(malformed), "{name:?} {rest:02X?}");
    }
    // MQTT 5 takes a password alone: a token needs no name.
    assert_eq!(after(b"MQTT", b"\x05\x42\0\0\0\0\0\0\0"), Ok(()));
}

#[test]
fn a_connect_of_3_1_may_end_before_the_username_it_announced() {
    let bytes = b"\x10\x0F\x00\x06MQIsdp\x03\xC2\x00\x3C\x00\x01c";
    let Packet::Connect(connect) = decoded(bytes, V3).unwrap() else { panic!("a connect") };
    assert_eq!((connect.username, connect.password), (None, None));
    let half = b"\x10\x10\x00\x06MQIsdp\x03\xC2\x00\x3C\x00\x01c\x00";
    assert_eq!(decoded(half, V3), Err(Malformed::Truncated));
}

// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-2.1.3-1] [MQTT-2.2.1-3] [MQTT-3.2.2-1] [MQTT-3.2.2-6]
// [MQTT-3.3.1-4] [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.8.3-4] [MQTT-3.8.3-5]
// [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT-4.7.0-1] [MQTT-4.7.3-2]
// 3.1.1: [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-2.3.1-1] [MQTT-2.3.1-5] [MQTT-3.3.1-4] [MQTT-3.3.2-1]
// 3.1.1: [MQTT-3.3.2-2] [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.8.3-3] [MQTT-3-8.3-4] [MQTT-3.10.3-1]
// 3.1.1: [MQTT-3.10.3-2] [MQTT-4.7.3-2]
#[test]
fn packets_that_break_one_rule_are_refused_for_that_rule() {
    let cases: &[(Version, u8, &[u8], Malformed)] = &[
        (V3, 0x30, b"\x00\x00", Malformed::TopicEmpty),
        (V5, 0x30, b"\x00\x00\x00", Malformed::TopicEmpty),
        (V3, 0x30, b"\x00\x03a/+", Malformed::TopicHasWildcard),
        (V3, 0x30, b"\x00\x01#", Malformed::TopicHasWildcard),
        (V3, 0x30, b"\x00\x03a\x00b", Malformed::TopicNotUtf8),
        // Overlong, a surrogate, past the last code point, cut short.
        (V3, 0x30, b"\x00\x02\xC0\x80", Malformed::TopicNotUtf8),
        (V5, 0x30, b"\x00\x03\xED\xA0\x80\x00", Malformed::TopicNotUtf8),
        (V3, 0x30, b"\x00\x04\xF4\x90\x80\x80", Malformed::TopicNotUtf8),
        (V3, 0x30, b"\x00\x01\xC3\xA9", Malformed::TopicNotUtf8),
        (V3, 0x30, b"", Malformed::Truncated),
        (V3, 0x30, b"\x00", Malformed::Truncated),
        (V3, 0x30, b"\xFF\xFFa", Malformed::Truncated),
        (V3, 0x32, b"\x00\x01a\x00", Malformed::Truncated),
        (V3, 0x32, b"\x00\x01a\x00\x00", Malformed::PacketIdZero),
        (V5, 0x30, b"\x00\x01a", Malformed::Truncated),
        (V5, 0x30, b"\x00\x01a\x05\x23\x00\x01", Malformed::Truncated),
        (V5, 0x30, b"\x00\x01a\x02\x23\x00\x01", Malformed::Truncated),
        (V5, 0x30, b"\x00\x01a\xFF\xFF\xFF\xFF\x7F", Malformed::LengthTooLong),
        (V3, 0x40, b"\x00\x00", Malformed::PacketIdZero),
        (V3, 0x40, b"\x00", Malformed::Truncated),
        (V3, 0x40, b"\x00\x01\x00", Malformed::TrailingBytes),
        (V5, 0x40, b"\x00\x01\x00\x00\x00", Malformed::TrailingBytes),
        (V5, 0x62, b"\x00\x01\x10", Malformed::ReasonNotAllowed(PacketKind::Pubrel, 0x10)),
        (V3, 0x82, b"\x00\x01", Malformed::NoFilters),
        (V5, 0x82, b"\x00\x01\x00", Malformed::NoFilters),
        (V3, 0x82, b"\x00\x00\x00\x01a\x00", Malformed::PacketIdZero),
        (V3, 0x82, b"\x00\x01\x00\x01a", Malformed::Truncated),
        (V3, 0x82, b"\x00\x01\x00\x01a\x03", Malformed::Qos3),
        (V3, 0x82, b"\x00\x01\x00\x01a\x04", Malformed::SubscribeOptions),
        (V5, 0x82, b"\x00\x01\x00\x00\x01a\x30", Malformed::SubscribeOptions),
        (V5, 0x82, b"\x00\x01\x00\x00\x01a\x40", Malformed::SubscribeOptions),
        (V5, 0x82, b"\x00\x01\x00\x00\x0A$share/g/a\x04", Malformed::NoLocalOnShared),
        (V3, 0x82, b"\x00\x01\x00\x01\xFF\x00", Malformed::FilterNotUtf8),
        (V3, 0xA2, b"\x00\x01", Malformed::NoFilters),
        (V3, 0xA2, b"\x00\x01\x00\x01\x00", Malformed::FilterNotUtf8),
        (V3, 0xA2, b"\x00\x01\x00\x02a", Malformed::Truncated),
        (V3, 0x90, b"\x00\x01", Malformed::NoReasons),
        (V3, 0x90, b"\x00\x01\x03", Malformed::ReasonNotAllowed(PacketKind::Suback, 3)),
        (V5, 0xB0, b"\x00\x01\x00", Malformed::NoReasons),
        (V3, 0xB0, b"\x00\x01\x00", Malformed::TrailingBytes),
        (V3, 0x20, b"\x02\x00", Malformed::ReservedBits(PacketKind::Connack)),
        (V3, 0x20, b"\x01\x05", Malformed::SessionPresentRefused),
        (V3, 0x20, b"\x00\x06", Malformed::ReasonNotAllowed(PacketKind::Connack, 6)),
        (V3, 0x20, b"\x00", Malformed::Truncated),
        (V3, 0xC0, b"\x00", Malformed::TrailingBytes),
        (V3, 0xD0, b"\x00", Malformed::TrailingBytes),
        (V3, 0xE0, b"\x00", Malformed::TrailingBytes),
        (V5, 0xF0, b"\x18\x00", Malformed::PropertyMissing(PropertyId::AuthenticationMethod)),
        (V5, 0xF0, b"\x18", Malformed::PropertyMissing(PropertyId::AuthenticationMethod)),
    ];
    for &(version, first, body, malformed) in cases {
        assert_eq!(decoded(&frame(first, body), version), Err(malformed), "{first:02X} {body:02X?}");
        assert!(malformed.reason().is_failure() && !malformed.to_string().is_empty());
    }
}

// [MQTT-4.13.1-1]
#[test]
fn every_fault_has_the_reason_the_specification_gives_it() {
    for (malformed, reason) in [
        (Malformed::LengthTooLong, Reason::MalformedPacket),
        (Malformed::TopicNotUtf8, Reason::MalformedPacket),
        (Malformed::PacketTooLarge, Reason::PacketTooLarge),
        (Malformed::UnknownProtocol, Reason::UnsupportedProtocolVersion),
        (Malformed::UnsupportedVersion(6), Reason::UnsupportedProtocolVersion),
        (Malformed::TopicHasWildcard, Reason::TopicNameInvalid),
        (Malformed::NoFilters, Reason::ProtocolError),
        (Malformed::PropertyTwice(PropertyId::ContentType), Reason::ProtocolError),
        (Malformed::PropertyValue(PropertyId::ReceiveMaximum), Reason::ProtocolError),
        (Malformed::PropertyValue(PropertyId::TopicAlias), Reason::TopicAliasInvalid),
    ] {
        assert_eq!(malformed.reason(), reason, "{malformed}");
    }
}

#[test]
fn as_many_user_properties_as_fit_are_read_in_one_pass() {
    let mut block = PropertyBlock::new();
    for _ in 0..65_535 {
        block.push(Property::UserProperty(Pair { name: b"", value: b"" })).unwrap();
    }
    // At the end, so that a getter that scanned again for each property would be noticed.
    block.push(Property::TopicAlias(9)).unwrap();
    let mut body = b"\x00\x01t".to_vec();
    let raw = block.properties().raw();
    crate::mqtt::wire::put_varint(&mut body, u32::try_from(raw.len()).unwrap());
    body.extend_from_slice(raw);
    let bytes = frame(0x30, &body);
    let Packet::Publish(publish) = decoded(&bytes, V5).unwrap() else { panic!("a publish") };
    assert_eq!(publish.properties.user_properties().count(), 65_535);
    assert_eq!(publish.properties.topic_alias(), Some(9));
}

// [MQTT-4.7.3-3]
// 3.1.1: [MQTT-4.7.3-3]
#[test]
fn a_topic_of_65_535_slashes_is_a_topic() {
    let mut body = vec![0xFF, 0xFF];
    body.resize(2 + 65_535, b'/');
    assert!(decoded(&frame(0x30, &body), V3).is_ok());
    assert!(crate::mqtt::topic::valid_topic_filter(&body[2..]));
}

proptest! {
    #[test]
    fn a_frame_that_ends_before_its_fields_is_never_the_packet(it in ingredients()) {
        for (kind, version) in kinds_and_versions() {
            let kitchen = Kitchen::new(&it, kind, version);
            let packet = kitchen.packet();
            let mut bytes = Vec::new();
            encode::packet(&mut bytes, version, &packet).unwrap();
            let n_header = 2 + bytes[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
            for end in n_header..bytes.len() {
                let shorter = frame(bytes[0], &bytes[n_header..end]);
                prop_assert_ne!(decoded(&shorter, version), Ok(packet));
            }
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for version in Version::ALL {
            match decode(&bytes, version, &Limits::NONE) {
                Ok(Decoded::Packet(_, taken)) => prop_assert!(taken <= bytes.len()),
                Ok(Decoded::Incomplete { need }) => prop_assert!(need > bytes.len()),
                Err(malformed) => prop_assert!(malformed.reason().is_failure()),
            }
        }
        if let Some((topic, _)) = glance(&bytes) {
            prop_assert!(topic.len() < bytes.len());
        }
    }
}

// Section 2.4.
#[test]
fn where_a_packet_has_no_such_reason_it_says_the_nearest_and_a_failure_stays_one() {
    for kind in PacketKind::ALL {
        if !Reason::Success.allowed_in(kind) {
            continue;
        }
        for &reason in Reason::ALL {
            let nearest = reason.nearest_in(kind);
            assert!(nearest.allowed_in(kind), "{reason} in {}", kind.name());
            assert!(!reason.allowed_in(kind) || nearest == reason);
            assert!(kind == PacketKind::Auth || nearest.is_failure() == reason.is_failure());
        }
    }
    let in_disconnect = |reason: Reason| reason.nearest_in(PacketKind::Disconnect);
    assert_eq!(in_disconnect(Reason::UnsupportedProtocolVersion), Reason::ProtocolError);
    assert_eq!(Reason::TopicAliasInvalid.nearest_in(PacketKind::Connack), Reason::ProtocolError);
    assert_eq!(Reason::ServerShuttingDown.nearest_in(PacketKind::Connack), Reason::ServerUnavailable);
}
