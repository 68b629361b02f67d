//! Any bytes, read as MQTT of every version. Nothing panics, no answer claims more bytes than there are, and
//! what is accepted survives being written and read again, and an independent codec thinks the same of it.
//! Not a session: one packet at a time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::mqtt;
use strait::mqtt::decode::{Decoded, Limits, decode};
use strait::mqtt::encode;
use strait::mqtt::packet::{Packet, PacketKind, Version};

#[path = "../../src/mqtt/tests/other_codec.rs"]
mod other_codec;

fuzz_target!(|input: &[u8]| {
    let small = Limits { packet_bytes_max: 1024, connect_bytes_max: 64 };
    for version in Version::ALL {
        let decoded = decode(input, version, &Limits::NONE);
        match decode(input, version, &small) {
            Err(malformed) => drop(malformed.to_string()),
            within => assert_eq!(within, decoded, "a limit refuses or does nothing"),
        }
        if let Some(frame) = first_frame(input).filter(|_| version != Version::V3_1)
            && let Err(difference) = other_codec::compare(&frame, version)
        {
            panic!("{difference}");
        }
        match decoded {
            Ok(Decoded::Packet(packet, taken)) => {
                assert!(taken <= input.len());
                assert_cut_is_incomplete(input, version, taken);
                assert_survives(version, &packet);
            }
            Ok(Decoded::Incomplete { need }) => assert!(need > input.len()),
            Err(malformed) => assert!(malformed.reason().is_failure()),
        }
    }
});

/// The frame at the front, if it is whole, with the flags that its kind must have: the other codec leaves
/// those to its connections.
fn first_frame(input: &[u8]) -> Option<Vec<u8>> {
    let n_length = 1 + input.get(1..)?.iter().take(4).take_while(|byte| **byte & 0x80 != 0).count();
    let digits = input.get(1..1 + n_length).filter(|_| n_length <= 4)?;
    let remaining = digits.iter().rev().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7F));
    let mut frame = input.get(..1 + n_length + remaining)?.to_vec();
    match PacketKind::from_u8(frame[0] >> 4)? {
        PacketKind::Publish => {}
        PacketKind::Pubrel | PacketKind::Subscribe | PacketKind::Unsubscribe => frame[0] = frame[0] & 0xF0 | 0b10,
        _ => frame[0] &= 0xF0,
    }
    Some(frame)
}

fn assert_cut_is_incomplete(input: &[u8], version: Version, taken: usize) {
    for cut in [0, 1, taken / 2, taken - 1] {
        match decode(&input[..cut], version, &Limits::NONE) {
            Ok(Decoded::Incomplete { need }) => assert!(need > cut && need <= taken),
            other => panic!("cut at {cut} of {taken}: {other:?}"),
        }
    }
}

fn assert_survives(version: Version, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    encode::packet(&mut bytes, version, packet).expect("what was read can be written");
    let again = decode(&bytes, version, &Limits::NONE);
    assert_eq!(again, Ok(Decoded::Packet(*packet, bytes.len())));
    if let Packet::Publish(publish) = packet {
        assert_eq!(encode::publish_frame_len(version, publish), Ok(bytes.len()));
    }
}
