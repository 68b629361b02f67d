//! The tables of MQTT 5, packet by packet: which properties and which reasons each may carry. The code keeps
//! them the other way round, by property and by reason, as section 2 does; so neither is a copy.

use crate::mqtt::encode::Unencodable;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{PacketKind, Version};
use crate::mqtt::property::{Pair, Property, PropertyBlock, PropertyId};
use crate::mqtt::reason::{ConnectReturnCode, Reason};
use crate::mqtt::tests::{decoded, frame};
use crate::mqtt::wire::put_varint;
use proptest::prelude::*;

/// A packet around a property block, and the identifiers its section lists.
struct Carrier {
    name: &'static str,
    first: u8,
    before: &'static [u8],
    after: &'static [u8],
    legal: &'static [u8],
}

const CARRIERS: &[Carrier] = &[
    Carrier {
        name: "CONNECT (3.1.2.11)",
        first: 0x10,
        before: b"\x00\x04MQTT\x05\x02\x00\x00",
        after: b"\x00\x00",
        legal: &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
    },
    Carrier {
        name: "will (3.1.3.2)",
        first: 0x10,
        before: b"\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00",
        after: b"\x00\x01t\x00\x00",
        legal: &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
    },
    Carrier {
        name: "CONNACK (3.2.2.3)",
        first: 0x20,
        before: b"\x00\x00",
        after: b"",
        legal: &[
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
            0x2A,
        ],
    },
    Carrier {
        name: "PUBLISH (3.3.2.3)",
        first: 0x30,
        before: b"\x00\x01t",
        after: b"payload",
        legal: &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
    },
    Carrier {
        name: "PUBACK (3.4.2.2)",
        first: 0x40,
        before: b"\x00\x01\x00",
        after: b"",
        legal: &[0x1F, 0x26],
    },
    Carrier {
        name: "PUBREC (3.5.2.2)",
        first: 0x50,
        before: b"\x00\x01\x00",
        after: b"",
        legal: &[0x1F, 0x26],
    },
    Carrier {
        name: "PUBREL (3.6.2.2)",
        first: 0x62,
        before: b"\x00\x01\x00",
        after: b"",
        legal: &[0x1F, 0x26],
    },
    Carrier {
        name: "PUBCOMP (3.7.2.2)",
        first: 0x70,
        before: b"\x00\x01\x00",
        after: b"",
        legal: &[0x1F, 0x26],
    },
    Carrier {
        name: "SUBSCRIBE (3.8.2.1)",
        first: 0x82,
        before: b"\x00\x01",
        after: b"\x00\x01a\x00",
        legal: &[0x0B, 0x26],
    },
    Carrier {
        name: "SUBACK (3.9.2.1)",
        first: 0x90,
        before: b"\x00\x01",
        after: b"\x00",
        legal: &[0x1F, 0x26],
    },
    Carrier {
        name: "UNSUBSCRIBE (3.10.2.1)",
        first: 0xA2,
        before: b"\x00\x01",
        after: b"\x00\x01a",
        legal: &[0x26],
    },
    Carrier {
        name: "UNSUBACK (3.11.2.1)",
        first: 0xB0,
        before: b"\x00\x01",
        after: b"\x00",
        legal: &[0x1F, 0x26],
    },
    Carrier {
        name: "DISCONNECT (3.14.2.2)",
        first: 0xE0,
        before: b"\x00",
        after: b"",
        legal: &[0x11, 0x1C, 0x1F, 0x26],
    },
    Carrier {
        name: "AUTH (3.15.2.2)",
        first: 0xF0,
        before: b"\x18",
        after: b"",
        legal: &[0x15, 0x16, 0x1F, 0x26],
    },
];

impl Carrier {
    fn carry(&self, raw: &[u8]) -> Result<(), Malformed> {
        let mut body = self.before.to_vec();
        put_varint(&mut body, u32::try_from(raw.len()).unwrap());
        body.extend_from_slice(raw);
        body.extend_from_slice(self.after);
        decoded(&frame(self.first, &body), Version::V5).map(|_| ())
    }

    /// What must stand beside a property for the packet to be whole.
    fn company(&self, raw: &[u8]) -> &'static [u8] {
        let is_data = raw.first() == Some(&0x16);
        let is_method = raw.first() == Some(&0x15);
        if (is_data && self.legal.contains(&0x16)) || (self.first == 0xF0 && !is_method) {
            b"\x15\x00\x01m"
        } else {
            b""
        }
    }
}

/// A property with a value all packets that may have it accept.
fn example(id: PropertyId) -> &'static [u8] {
    match id {
        PropertyId::PayloadFormatIndicator => b"\x01\x01",
        PropertyId::MessageExpiryInterval => b"\x02\x00\x00\x00\x00",
        PropertyId::ContentType => b"\x03\x00\x01c",
        PropertyId::ResponseTopic => b"\x08\x00\x01r",
        PropertyId::CorrelationData => b"\x09\x00\x01\x00",
        PropertyId::SubscriptionIdentifier => b"\x0B\xFF\xFF\xFF\x7F",
        PropertyId::SessionExpiryInterval => b"\x11\xFF\xFF\xFF\xFF",
        PropertyId::AssignedClientIdentifier => b"\x12\x00\x01i",
        PropertyId::ServerKeepAlive => b"\x13\x00\x00",
        PropertyId::AuthenticationMethod => b"\x15\x00\x01m",
        PropertyId::AuthenticationData => b"\x16\x00\x01\x00",
        PropertyId::RequestProblemInformation => b"\x17\x00",
        PropertyId::WillDelayInterval => b"\x18\x00\x00\x00\x00",
        PropertyId::RequestResponseInformation => b"\x19\x01",
        PropertyId::ResponseInformation => b"\x1A\x00\x01i",
        PropertyId::ServerReference => b"\x1C\x00\x01s",
        PropertyId::ReasonString => b"\x1F\x00\x01r",
        PropertyId::ReceiveMaximum => b"\x21\x00\x01",
        PropertyId::TopicAliasMaximum => b"\x22\x00\x00",
        PropertyId::TopicAlias => b"\x23\xFF\xFF",
        PropertyId::MaximumQos => b"\x24\x01",
        PropertyId::RetainAvailable => b"\x25\x00",
        PropertyId::UserProperty => b"\x26\x00\x01k\x00\x00",
        PropertyId::MaximumPacketSize => b"\x27\x00\x00\x00\x01",
        PropertyId::WildcardSubscriptionAvailable => b"\x28\x00",
        PropertyId::SubscriptionIdentifierAvailable => b"\x29\x01",
        PropertyId::SharedSubscriptionAvailable => b"\x2A\x00",
    }
}

#[test]
fn every_property_is_legal_in_its_packets_and_illegal_in_every_other() {
    for carrier in CARRIERS {
        for &id in PropertyId::ALL {
            let raw = example(id);
            let answer = carrier.carry(&[raw, carrier.company(raw)].concat());
            let expected = if carrier.legal.contains(&(id as u8)) {
                Ok(())
            } else {
                Err(Malformed::PropertyNotAllowed(id))
            };
            assert_eq!(answer, expected, "{id:?} in {}", carrier.name);
        }
    }
}

#[test]
fn a_property_is_given_once_unless_it_may_repeat() {
    for carrier in CARRIERS {
        for &id in PropertyId::ALL.iter().filter(|&&id| carrier.legal.contains(&(id as u8))) {
            let raw = example(id);
            let answer = carrier.carry(&[raw, carrier.company(raw), raw].concat());
            let repeats = id == PropertyId::UserProperty
                || (id == PropertyId::SubscriptionIdentifier && carrier.first == 0x30);
            let expected = if repeats { Ok(()) } else { Err(Malformed::PropertyTwice(id)) };
            assert_eq!(answer, expected, "{id:?} in {}", carrier.name);
        }
    }
}

#[test]
fn a_property_cut_short_is_refused_in_every_packet() {
    for carrier in CARRIERS {
        for &id in PropertyId::ALL {
            let raw = example(id);
            for n in 1..raw.len() {
                assert_eq!(carrier.carry(&raw[..n]), Err(Malformed::Truncated), "{id:?} in {}", carrier.name);
            }
        }
    }
}

#[test]
fn an_identifier_nobody_defined_is_refused() {
    for carrier in CARRIERS {
        for byte in (0..=u8::MAX).filter(|&byte| PropertyId::from_u8(byte).is_none()) {
            assert_eq!(carrier.carry(&[byte, 0, 0]), Err(Malformed::PropertyUnknown(byte)));
        }
    }
}

// [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19]
#[test]
fn values_out_of_range_are_refused_on_the_way_in_and_on_the_way_out() {
    use PropertyId::*;
    let cases: &[(&[u8], Malformed)] = &[
        (b"\x01\x02", Malformed::PropertyValue(PayloadFormatIndicator)),
        (b"\x0B\x00", Malformed::PropertyValue(SubscriptionIdentifier)),
        (b"\x0B\xFF\xFF\xFF\xFF\x01", Malformed::LengthTooLong),
        (b"\x17\x02", Malformed::PropertyValue(RequestProblemInformation)),
        (b"\x19\xFF", Malformed::PropertyValue(RequestResponseInformation)),
        (b"\x21\x00\x00", Malformed::PropertyValue(ReceiveMaximum)),
        (b"\x23\x00\x00", Malformed::PropertyValue(TopicAlias)),
        (b"\x24\x02", Malformed::PropertyValue(MaximumQos)),
        (b"\x25\x02", Malformed::PropertyValue(RetainAvailable)),
        (b"\x27\x00\x00\x00\x00", Malformed::PropertyValue(MaximumPacketSize)),
        (b"\x28\x02", Malformed::PropertyValue(WildcardSubscriptionAvailable)),
        (b"\x29\x02", Malformed::PropertyValue(SubscriptionIdentifierAvailable)),
        (b"\x2A\x02", Malformed::PropertyValue(SharedSubscriptionAvailable)),
        (b"\x08\x00\x00", Malformed::PropertyValue(ResponseTopic)),
        (b"\x08\x00\x03a/#", Malformed::PropertyValue(ResponseTopic)),
        (b"\x03\x00\x01\x00", Malformed::PropertyNotUtf8(ContentType)),
        (b"\x26\x00\x01\xFF\x00\x00", Malformed::PropertyNotUtf8(UserProperty)),
        (b"\x26\x00\x00\x00\x01\x00", Malformed::PropertyNotUtf8(UserProperty)),
        (b"\x16\x00\x00", Malformed::PropertyMissing(AuthenticationMethod)),
    ];
    for &(raw, malformed) in cases {
        let id = raw[0];
        for carrier in CARRIERS.iter().filter(|it| it.legal.contains(&id) && it.first != 0xF0) {
            assert_eq!(carrier.carry(raw), Err(malformed), "{raw:02X?} in {}", carrier.name);
        }
    }
    let long = vec![b'a'; 65_536];
    let mut block = PropertyBlock::new();
    for property in [
        Property::TopicAlias(0),
        Property::ReceiveMaximum(0),
        Property::MaximumQos(crate::mqtt::packet::Qos::ExactlyOnce),
        Property::SubscriptionIdentifier(0),
        Property::SubscriptionIdentifier(268_435_456),
        Property::ContentType(&long),
        Property::ReasonString(b"\0"),
        Property::ResponseTopic(b"+"),
        Property::UserProperty(Pair { name: b"x-header", value: b"\xFF" }),
        Property::UserProperty(Pair { name: b"", value: &long }),
    ] {
        assert_eq!(block.push(property), Err(Unencodable), "{:?}", property.id());
    }
    assert!(block.properties().raw().is_empty());
}

// [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
// [MQTT-3.14.2-1] [MQTT-3.15.2-1]
#[test]
fn every_packet_accepts_the_reasons_of_its_section_and_no_other() {
    // Sections 3.2.2.2 to 3.15.2.1.
    let connack = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
        0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
    ];
    // 0x8C is in table 2-6 only.
    let disconnect = [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
        0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    let received = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let suback = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    let unsuback = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    accepts(PacketKind::Connack, 0x20, b"\x00", b"\x00", &connack);
    accepts(PacketKind::Puback, 0x40, b"\x00\x01", b"", &received);
    accepts(PacketKind::Pubrec, 0x50, b"\x00\x01", b"", &received);
    accepts(PacketKind::Pubrel, 0x62, b"\x00\x01", b"", &[0x00, 0x92]);
    accepts(PacketKind::Pubcomp, 0x70, b"\x00\x01", b"", &[0x00, 0x92]);
    accepts(PacketKind::Suback, 0x90, b"\x00\x01\x00", b"", &suback);
    accepts(PacketKind::Unsuback, 0xB0, b"\x00\x01\x00", b"", &unsuback);
    accepts(PacketKind::Disconnect, 0xE0, b"", b"", &disconnect);
    accepts(PacketKind::Auth, 0xF0, b"", b"\x04\x15\x00\x01m", &[0x00, 0x18, 0x19]);
}

fn accepts(kind: PacketKind, first: u8, before: &[u8], after: &[u8], legal: &[u8]) {
    for code in 0..=u8::MAX {
        let bytes = frame(first, &[before, &[code], after].concat());
        let expected =
            if legal.contains(&code) { Ok(()) } else { Err(Malformed::ReasonNotAllowed(kind, code)) };
        assert_eq!(decoded(&bytes, Version::V5).map(|_| ()), expected, "0x{code:02X} in {}", kind.name());
    }
}

#[test]
fn a_return_code_of_mqtt_3_survives_being_a_reason() {
    for code in (0..6).filter_map(ConnectReturnCode::from_u8) {
        assert_eq!(code.reason().connect_return_code(), code);
    }
    assert_eq!(ConnectReturnCode::from_u8(6), None);
    assert_eq!(Reason::QuotaExceeded.connect_return_code(), ConnectReturnCode::ServerUnavailable);
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let long = Just(vec![b'x'; 65_536]);
    prop_oneof![9 => proptest::collection::vec(prop_oneof![0x61u8..0x7B, Just(0), Just(0xC3), Just(0xA9)], 0..6), 1 => long]
}

proptest! {
    #[test]
    fn a_user_property_is_appended_as_any_property_is(texts in proptest::collection::vec((text(), text()), 0..4)) {
        let (mut block, mut expected) = (PropertyBlock::new(), PropertyBlock::new());
        for (name, value) in &texts {
            let pair = Pair { name, value };
            prop_assert_eq!(block.push_user(pair), expected.push(Property::UserProperty(pair)));
        }
        prop_assert_eq!(block, expected);
    }

    #[test]
    fn a_property_is_found_between_user_properties(numbers in proptest::collection::vec(0..3u8, 0..6)) {
        let mut block = PropertyBlock::new();
        for number in numbers {
            let property = match number {
                0 => Property::UserProperty(Pair { name: b"#", value: b"\x23\x26" }),
                1 => Property::SubscriptionIdentifier(7),
                _ => Property::TopicAlias(5),
            };
            block.push(property).unwrap();
        }
        let properties = block.properties();
        let found = |id: PropertyId| properties.iter().any(|property| property.id() == id);
        prop_assert_eq!(properties.topic_alias().is_some(), found(PropertyId::TopicAlias));
        prop_assert_eq!(properties.subscription_identifier().is_some(), found(PropertyId::SubscriptionIdentifier));
        prop_assert_eq!(properties.response_topic(), None);
    }
}
