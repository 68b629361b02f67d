//! What hostile clients choose, on its way into the other world: whatever it is, the other side reads one message
//! of it and nothing more. Read here by the plainest reading of either protocol, beside the decoder.

use super::*;
use crate::message::GATEWAY_INBOX;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{Connect, Filters, Packet, Publish, Qos, Subscribe, SubscribeOptions, Version};
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock};
use crate::subject::mapping;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Texts of what means something to somebody.
fn text() -> impl Strategy<Value = String> {
    let parts = [
        "a",
        "\r\n",
        "\r",
        "\n",
        "\u{7f}",
        " ",
        "\t",
        ":",
        "NATS/1.0 503",
        "\r\nPUB x 0\r\n\r\n",
        "MSG a 1 0\r\n\r\n",
        "Nats-Msg-Id",
        "Mqtt-User",
        "Mqtt-Client-Id",
        "Status",
        "%0D%0A",
        "ü",
        "$SYS",
        "$share",
        "$STRAIT",
        "_INBOX/strait/0",
        "/",
        ".",
        "*",
        ">",
        "\u{1}",
    ];
    vec(proptest::sample::select(parts.to_vec()), 0..6).prop_map(|parts| parts.concat())
}

fn connect(alone: &mut Alone, client_id: &str, user: &str) -> ConnectionId {
    let id = alone.connect(Listener::Mqtt);
    let mut out = Vec::new();
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: client_id.as_bytes(),
        will: None,
        username: Some(user.as_bytes()),
        password: None,
        properties: Properties::EMPTY,
    };
    encode::connect(&mut out, &connect).unwrap();
    alone.receive(id, &out);
    alone.sent_bytes(id);
    id
}

/// Subject, reply, header block and payload of each message that is all of these bytes.
fn nats_messages(mut bytes: &[u8]) -> Vec<[Vec<u8>; 4]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a line ends");
        let line: Vec<&[u8]> = bytes[..end].split(|byte| *byte == b' ').collect();
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<usize>().unwrap();
        let (reply, n_header, n_all) = match line.as_slice() {
            [b"MSG", _, _, n] => (&b""[..], 0, number(n)),
            [b"MSG", _, _, reply, n] => (*reply, 0, number(n)),
            [b"HMSG", _, _, n, all] => (&b""[..], number(n), number(all)),
            [b"HMSG", _, _, reply, n, all] => (*reply, number(n), number(all)),
            _ => panic!("no message: {}", bytes[..end].escape_ascii()),
        };
        let body = &bytes[end + 2..];
        assert_eq!(&body[n_all..n_all + 2], b"\r\n");
        let (header, payload) = body[..n_all].split_at(n_header);
        messages.push([line[1], reply, header, payload].map(<[u8]>::to_vec));
        bytes = &body[n_all + 2..];
    }
    messages
}

/// Whether the gateway alone says it.
fn is_forbidden(name: &str) -> bool {
    ["mqtt-client-id", "mqtt-user"].contains(&name.trim_ascii().to_ascii_lowercase().as_str())
}

proptest! {
    #[test]
    fn nothing_that_an_mqtt_client_says_becomes_a_second_message_or_line_in_nats(
        topic in text().prop_filter("a topic", |text| !text.is_empty()),
        pairs in vec((text(), text()), 0..4),
        content_type in option::of(text()),
        response_topic in option::of(text().prop_filter("a topic", |text| !text.is_empty())),
        correlation in option::of(vec(any::<u8>(), 0..9)),
        client_id in text(),
        user in text(),
        payload in text(),
    ) {
        let mut settings = settings();
        settings.mqtt.identifies_publishers = true;
        let mut alone = Alone::new(settings);
        let reader = alone.nats("SUB > 1\r\n");
        let publisher = connect(&mut alone, &client_id, &user);
        prop_assert!(!alone.shard.is_closing(publisher));
        let mut block = PropertyBlock::new();
        let mut n_lines = 2 + usize::from(!user.is_empty());
        let mut push = |property| block.push(property).unwrap();
        for (name, value) in &pairs {
            push(Property::UserProperty(Pair { name: name.as_bytes(), value: value.as_bytes() }));
            n_lines += usize::from(!is_forbidden(name));
        }
        content_type.iter().for_each(|text| push(Property::ContentType(text.as_bytes())));
        response_topic.iter().for_each(|topic| push(Property::ResponseTopic(topic.as_bytes())));
        correlation.iter().for_each(|data| push(Property::CorrelationData(data)));
        n_lines += [content_type.is_some(), response_topic.is_some(), correlation.is_some()].map(usize::from).iter().sum::<usize>();
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: topic.as_bytes(),
            packet_id: 0,
            properties: block.properties(),
            payload: payload.as_bytes(),
        };
        let mut out = Vec::new();
        encode::publish(&mut out, Version::V5, &publish).unwrap();
        alone.receive(publisher, &out);
        let messages = nats_messages(&alone.sent_bytes(reader));
        let mut subject = Vec::new();
        mapping::topic_to_subject(topic.as_bytes(), &mut subject);
        let is_internal = mapping::is_reserved_for_gateway(&subject) || subject.starts_with(GATEWAY_INBOX);
        prop_assert_eq!(messages.len(), usize::from(!is_internal));
        for [seen, reply, header, body] in messages {
            prop_assert_eq!((&seen, body.as_slice()), (&subject, payload.as_bytes()));
            prop_assert!(!seen.starts_with(b"$"));
            prop_assert!(reply.is_empty() || reply.starts_with(GATEWAY_INBOX));
            let lines: Vec<_> = header.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|it| !it.is_empty()).collect();
            prop_assert_eq!((lines[0], lines.len()), (&b"NATS/1.0"[..], n_lines));
            for line in &lines[1..] {
                let name = line.split(|byte| *byte == b':').next().unwrap().to_ascii_lowercase();
                prop_assert!(name.iter().all(u8::is_ascii_graphic));
                prop_assert!(!name.starts_with(b"nats-") && name != b"status");
            }
        }
    }

    #[test]
    fn nothing_that_a_nats_client_says_becomes_a_second_packet_in_mqtt(
        subject in text(),
        reply in text(),
        lines in vec(prop_oneof![text().prop_map(String::into_bytes), vec(any::<u8>(), 0..5)], 0..5),
        payload in text(),
    ) {
        let name = |text: &str| text.replace([' ', '\t', '\r', '\n'], "");
        let (subject, reply) = (name(&subject), name(&reply));
        prop_assume!(!subject.is_empty());
        let mut alone = Alone::new(settings());
        let reader = connect(&mut alone, "reader", "");
        let mut out = Vec::new();
        let filters = [(&b"#"[..], SubscribeOptions::default()), (b"$SYS/#", SubscribeOptions::default())];
        let filters = Filters::from_list(&filters);
        encode::subscribe(&mut out, Version::V5, &Subscribe { packet_id: 1, properties: Properties::EMPTY, filters }).unwrap();
        alone.receive(reader, &out);
        alone.sent_bytes(reader);
        let publisher = alone.nats("");
        // That it has come is told.
        alone.sent_bytes(reader);
        let header = [b"NATS/1.0\r\n", lines.concat().as_slice(), b"\r\n\r\n"].concat();
        let (n, n_all) = (header.len(), header.len() + payload.len());
        let op = [format!("HPUB {subject} {reply} {n} {n_all}\r\n").into_bytes(), header, payload.clone().into_bytes(), b"\r\n".to_vec()].concat();
        alone.receive(publisher, &op);
        let sent = alone.sent_bytes(reader);
        if sent.is_empty() {
            return Ok(());
        }
        // A fixed header, its length, and all that follows is one packet.
        let n_length = sent[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let length = sent[1..=n_length].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        prop_assert_eq!((sent[0] & 0xf6, sent.len()), (0x30, 1 + n_length + length));
        let Ok(Decoded::Packet(Packet::Publish(publish), n)) = decode(&sent, Version::V5, &Limits::NONE) else {
            panic!("no PUBLISH: {}", sent.escape_ascii());
        };
        let mut topic = Vec::new();
        prop_assert!(mapping::subject_to_topic(subject.as_bytes(), &mut topic));
        prop_assert_eq!((n, publish.topic, publish.payload), (sent.len(), topic.as_slice(), payload.as_bytes()));
        prop_assert!(!topic.starts_with(b"$") && !topic.iter().any(|byte| matches!(byte, 0 | b'+' | b'#')));
        for property in publish.properties.iter() {
            let is_said = matches!(property, Property::UserProperty(Pair { name, .. }) if is_forbidden(&String::from_utf8_lossy(name)));
            prop_assert!(!is_said, "{property:?}");
        }
        if let Some(answers) = publish.properties.response_topic() {
            let mut back = Vec::new();
            mapping::topic_to_subject(answers, &mut back);
            prop_assert!(back == reply.as_bytes() || reply.is_empty() || !mapping::subject_to_topic(reply.as_bytes(), &mut Vec::new()));
        }
    }
}
