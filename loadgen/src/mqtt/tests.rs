//! What a server says, whole, split anywhere, and from one that means harm.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::Version::{V3, V4, V5};
use super::decode::{ConnAck, Packet, Publish, parse};
use super::{encode, reason};

fn one(bytes: &[u8], version: super::Version) -> Packet<'_> {
    let (packet, length) = parse(bytes, version).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    packet
}

#[test]
fn a_server_s_words_are_understood() {
    assert_eq!(
        one(&[0x20, 2, 0, 5], V4),
        Packet::ConnAck(ConnAck {
            code: 5,
            receive_max: 65535,
            qos_max: 2,
            packet_max: usize::MAX,
            text: b""
        })
    );
    let limited = [0x20, 13, 0, 0, 10, 0x21, 0, 20, 0x24, 1, 0x27, 0, 0, 1, 0];
    assert_eq!(
        one(&limited, V5),
        Packet::ConnAck(ConnAck { code: 0, receive_max: 20, qos_max: 1, packet_max: 256, text: b"" })
    );
    assert_eq!(one(&[0x90, 4, 0, 7, 0, 0x80], V4), Packet::SubAck { id: 7, codes: &[0, 0x80] });
    assert_eq!(one(&[0x40, 2, 1, 0], V4), Packet::PubAck { id: 256, code: 0 });
    assert_eq!(one(&[0x40, 3, 1, 0, 0x10], V5), Packet::PubAck { id: 256, code: 0x10 });
    assert_eq!(one(&[0xd0, 0], V4), Packet::PingResp);
    assert_eq!(one(&[0xe0, 1, 0x8e], V5), Packet::Disconnect { code: 0x8e, text: b"" });
}

#[test]
fn what_we_publish_we_can_read() {
    for (version, qos) in [(V3, 0), (V4, 1), (V5, 2)] {
        let mut bytes = Vec::new();
        let id_at = encode::publish_head(&mut bytes, version, qos, b"a/b", 2, None);
        if qos > 0 {
            bytes[id_at..id_at + 2].copy_from_slice(&[1, 2]);
        }
        bytes.extend_from_slice(b"hi");
        let id = if qos > 0 { 258 } else { 0 };
        assert_eq!(
            one(&bytes, version),
            Packet::Publish(Publish {
                qos,
                dup: false,
                id,
                response_topic: b"",
                correlation: b"",
                payload: b"hi"
            })
        );
    }
}

#[test]
fn a_response_topic_goes_there_and_comes_back() {
    let mut bytes = Vec::new();
    let correlated = encode::Correlated { response_topic: b"back", correlation: b"7" };
    encode::publish_head(&mut bytes, V5, 0, b"t", 0, Some(&correlated));
    let Packet::Publish(publish) = one(&bytes, V5) else { panic!("no PUBLISH") };
    assert_eq!((publish.response_topic, publish.correlation), (&b"back"[..], &b"7"[..]));
}

#[test]
fn a_connect_says_who_and_how() {
    let login = encode::Login { client_id: "c", user: Some("u"), password: Some("p"), keep_alive_secs: 60 };
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, V4, &login);
    assert_eq!(bytes, b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\x00\x01u\x00\x01p");
}

#[test]
fn reasons_have_words_and_numbers() {
    assert_eq!(reason(V4, 5), "not authorized (0x05)");
    assert_eq!(reason(V5, 0x87), "not authorized (0x87)");
    assert_eq!(reason(V5, 0x33), "a code of no known meaning (0x33)");
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_apart() {
    let wrong: [&[u8]; 6] = [
        &[0x10, 0],
        &[0x36, 2, 0, 0],
        &[0x30, 3, 0, 9, b'x'],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 1],
        &[0x20, 1, 0],
        &[0x30, 5, 0, 1, b'x', 1, 0x7f],
    ];
    for bytes in wrong {
        assert!(parse(bytes, V5).is_err(), "{bytes:?}");
    }
}

#[test]
fn nothing_is_taken_before_all_of_it_is_there() {
    let mut bytes = Vec::new();
    encode::publish_head(&mut bytes, V5, 1, b"topic", 200, None);
    bytes.extend([7; 200]);
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut], V5), Ok(None), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100), level in 3_u8..6) {
        let version = super::Version::from_level(level).unwrap();
        if let Ok(Some((_, length))) = parse(&bytes, version) {
            prop_assert!(length > 0 && length <= bytes.len());
        }
    }

    #[test]
    fn any_body_is_survived(first: u8, body in proptest::collection::vec(any::<u8>(), 0..60), level in 3_u8..6) {
        let version = super::Version::from_level(level).unwrap();
        let mut bytes = vec![first, body.len() as u8];
        bytes.extend(body);
        if let Ok(whole) = parse(&bytes, version) {
            prop_assert_eq!(whole.unwrap().1, bytes.len());
        }
    }
}
