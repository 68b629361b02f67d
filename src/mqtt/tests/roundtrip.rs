//! What is encoded decodes to itself, whole or in pieces. Not that the bytes are the specification's: both
//! sides could agree on a mistake (see `golden`).

use proptest::prelude::*;

use crate::mqtt::decode::{Decoded, Limits, decode, glance};
use crate::mqtt::encode;
use crate::mqtt::packet::{Ack, Packet, PacketKind, Publish, Qos, Unsubscribe, UnsubscribeFilters, Version};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::tests::decoded;
use crate::mqtt::tests::generate::{Kitchen, ingredients, kinds_and_versions};

proptest! {
    // [MQTT-1.5.4-3] [MQTT-2.2.1-2] [MQTT-3.1.3-10]
    // 3.1.1: [MQTT-1.5.3-3]
    #[test]
    fn every_packet_in_every_version_decodes_to_what_was_encoded(it in ingredients()) {
        for (kind, version) in kinds_and_versions() {
            let kitchen = Kitchen::new(&it, kind, version);
            let packet = kitchen.packet();
            let mut bytes = b"before".to_vec();
            encode::packet(&mut bytes, version, &packet).unwrap();
            let decoded = decoded(&bytes[6..], version);
            prop_assert_eq!(decoded, Ok(packet), "{:?} {:?}", kind, version);
        }
    }

    #[test]
    fn a_packet_cut_anywhere_asks_for_what_is_missing(it in ingredients()) {
        for (kind, version) in kinds_and_versions() {
            let kitchen = Kitchen::new(&it, kind, version);
            let mut bytes = Vec::new();
            encode::packet(&mut bytes, version, &kitchen.packet()).unwrap();
            let n_header = 2 + bytes[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
            for cut in 0..bytes.len() {
                let need = match decode(&bytes[..cut], version, &Limits::NONE) {
                    Ok(Decoded::Incomplete { need }) => need,
                    other => panic!("{kind:?} cut at {cut}: {other:?}"),
                };
                let expected = if cut >= n_header { bytes.len() } else { (cut + 1).max(2) };
                prop_assert_eq!(need, expected, "{:?} cut at {} of {}", kind, cut, bytes.len());
            }
        }
    }

    #[test]
    fn a_glance_sees_a_publish_and_nothing_else(it in ingredients()) {
        for (kind, version) in kinds_and_versions() {
            let kitchen = Kitchen::new(&it, kind, version);
            let mut bytes = Vec::new();
            encode::packet(&mut bytes, version, &kitchen.packet()).unwrap();
            let expected = match kitchen.packet() {
                Packet::Publish(publish) => Some((publish.topic, bytes.len())),
                _ => None,
            };
            prop_assert_eq!(glance(&bytes), expected);
        }
    }

    #[test]
    fn bytes_after_a_packet_are_left_alone(it in ingredients(), after in any::<u8>()) {
        for (kind, version) in kinds_and_versions() {
            let kitchen = Kitchen::new(&it, kind, version);
            let mut bytes = Vec::new();
            encode::packet(&mut bytes, version, &kitchen.packet()).unwrap();
            let n = bytes.len();
            bytes.push(after);
            prop_assert_eq!(
                decode(&bytes, version, &Limits::NONE),
                Ok(Decoded::Packet(kitchen.packet(), n))
            );
        }
    }

    #[test]
    fn a_publish_head_is_the_publish_without_its_payload(it in ingredients()) {
        for version in Version::ALL {
            let kitchen = Kitchen::new(&it, PacketKind::Publish, version);
            let Packet::Publish(publish) = kitchen.packet() else { unreachable!() };
            let (mut whole, mut head) = (Vec::new(), Vec::new());
            encode::publish(&mut whole, version, &publish).unwrap();
            let at = encode::publish_head(&mut head, version, &publish).unwrap();
            prop_assert_eq!(encode::publish_frame_len(version, &publish), Ok(whole.len()));
            prop_assert_eq!(&whole[..at.len], &head[..]);
            prop_assert_eq!(&whole[at.len..], publish.payload);
            prop_assert_eq!(at.packet_id_at.is_some(), publish.qos != Qos::AtMostOnce);
            if let Some(id) = at.packet_id_at {
                whole[id..id + 2].copy_from_slice(&[0x12, 0x34]);
            }
            whole[0] = encode::publish_first_byte(false, publish.qos, true);
            let patched = Publish {
                dup: false,
                retain: true,
                packet_id: at.packet_id_at.map_or(0, |_| 0x1234),
                ..publish
            };
            prop_assert_eq!(decoded(&whole, version), Ok(Packet::Publish(patched)));
        }
    }

    #[test]
    fn a_forwarded_publish_loses_the_properties_of_its_connection_alone(it in ingredients()) {
        let kitchen = Kitchen::new(&it, PacketKind::Publish, Version::V5);
        let Packet::Publish(publish) = kitchen.packet() else { unreachable!() };
        let unwanted = |it: &Property<'_>| {
            matches!(it, Property::TopicAlias(_) | Property::SubscriptionIdentifier(_))
        };
        let mut block = PropertyBlock::new();
        block.push_without(publish.properties, unwanted);
        let expected: Vec<_> = publish.properties.iter().filter(|it| !unwanted(it)).collect();
        prop_assert_eq!(block.properties().iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_bare_acknowledgement_is_the_acknowledgement_without_properties() {
    for (kind, reason, expected) in [
        (encode::AckKind::Puback, Reason::NoMatchingSubscribers, Reason::NoMatchingSubscribers),
        (encode::AckKind::Pubcomp, Reason::Success, Reason::Success),
    ] {
        for version in Version::ALL {
            let reason_kept = if version.is_v5() { expected } else { Reason::Success };
            let mut bytes = Vec::new();
            encode::bare_ack(&mut bytes, version, kind, 7, reason);
            let ack = Ack { packet_id: 7, reason: reason_kept, properties: Properties::EMPTY };
            let packet = match kind {
                encode::AckKind::Puback => Packet::Puback(ack),
                encode::AckKind::Pubrec => Packet::Pubrec(ack),
                encode::AckKind::Pubrel => Packet::Pubrel(ack),
                encode::AckKind::Pubcomp => Packet::Pubcomp(ack),
            };
            assert_eq!(decoded(&bytes, version), Ok(packet));
        }
    }
}

// [MQTT-4.7.3-3]
#[test]
fn what_mqtt_cannot_express_leaves_the_buffer_as_it_was() {
    let topic = vec![b'a'; 65_536];
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: &topic,
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: b"",
    };
    let mut bytes = b"before".to_vec();
    assert_eq!(encode::publish(&mut bytes, Version::V5, &publish), Err(encode::Unencodable));
    let filters: [&[u8]; 1] = [&topic];
    let unsubscribe = Unsubscribe {
        packet_id: 1,
        properties: Properties::EMPTY,
        filters: UnsubscribeFilters::from_list(&filters),
    };
    assert_eq!(encode::unsubscribe(&mut bytes, Version::V5, &unsubscribe), Err(encode::Unencodable));
    assert_eq!(bytes, b"before");
}
