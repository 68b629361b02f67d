//! Vectors and properties of what crosses. Not the fan-out around it: the simulation plays that.

mod readers;

use super::*;
use crate::payload::Payload;
use proptest::prelude::*;

fn message<'a>(properties: &'a PropertyBlock, header: &'a [u8], reply: &'a [u8]) -> Message<'a> {
    Message {
        reply,
        header,
        properties: properties.properties().raw(),
        ..Message::plain(b"a.b", Payload::Copied(b""))
    }
}

fn block(properties: &[Property<'_>]) -> PropertyBlock {
    let mut block = PropertyBlock::new();
    properties.iter().for_each(|property| block.push(*property).unwrap());
    block
}

fn user<'a>(name: &'a str, value: &'a str) -> Property<'a> {
    Property::UserProperty(Pair { name: name.as_bytes(), value: value.as_bytes() })
}

fn to_header(properties: &[Property<'_>]) -> String {
    let block = block(properties);
    let mut out = Vec::new();
    write_header(&message(&block, b"", b""), &mut out);
    String::from_utf8(out).unwrap()
}

fn to_properties(header: &str, reply: &str) -> (PropertyBlock, Unmappable) {
    let mut out = PropertyBlock::new();
    let none = PropertyBlock::new();
    let n_unmappable = write_properties(&message(&none, header.as_bytes(), reply.as_bytes()), &mut out);
    (out, n_unmappable)
}

#[test]
fn each_property_has_its_header_and_comes_back() {
    let cases: &[(&[Property<'_>], &str)] = &[
        (&[user("room", "7"), user("tag", "a"), user("tag", "b")], "room: 7\r\ntag: a\r\ntag: b\r\n"),
        (&[Property::ContentType(b"text/plain")], "Content-Type: text/plain\r\n"),
        (&[Property::ContentType(b" x\r\n")], "Mqtt-Content-Type: %20x%0D%0A\r\n"),
        (&[Property::PayloadFormatIndicator(true)], "Mqtt-Payload-Format: utf8\r\n"),
        (&[Property::MessageExpiryInterval(60)], "Mqtt-Message-Expiry: 60\r\n"),
        (&[Property::CorrelationData(b"\0\xff!")], "Mqtt-Correlation-Data: AP8h\r\n"),
        (&[Property::ResponseTopic(b"re/ply")], "Mqtt-Response-Topic: re/ply\r\n"),
        (&[user("a b", "c")], "Mqtt-User-a%20b: c\r\n"),
        (&[user("", "100 %")], "Mqtt-User-: 100 %25\r\n"),
        (&[user("x", "1\r\nNats-Msg-Id: 2")], "Mqtt-User-x: 1%0D%0ANats-Msg-Id: 2\r\n"),
        (&[user("nats-msg-id", "9")], "Mqtt-User-nats-msg-id: 9\r\n"),
        (&[user("Status", "503")], "Mqtt-User-Status: 503\r\n"),
        (&[user("content-type", "x")], "Mqtt-User-content-type: x\r\n"),
        // The gateway's own: clients' are taken out before.
        (&[user("Mqtt-Client-Id", "ro\not")], "Mqtt-Client-Id: ro%0Aot\r\n"),
        (&[user("Mqtt-Users", "root")], "Mqtt-User-Mqtt-Users: root\r\n"),
        (&[user("naïve", "é")], "Mqtt-User-na%C3%AFve: é\r\n"),
        // Of blanks that some client trims, those at the ends.
        (&[user("x", "\u{a0}v")], "Mqtt-User-x: %C2%A0v\r\n"),
        (&[user("x", "v\u{3000}\u{feff}")], "Mqtt-User-x: v\u{3000}%EF%BB%BF\r\n"),
        (&[user("x", "\u{85}")], "Mqtt-User-x: %C2%85\r\n"),
        (&[user("x", "a\u{a0}b\u{200b}")], "x: a\u{a0}b\u{200b}\r\n"),
        (&[Property::ContentType("\u{2028}".as_bytes())], "Mqtt-Content-Type: %E2%80%A8\r\n"),
    ];
    for (properties, lines) in cases {
        let header = format!("NATS/1.0\r\n{lines}\r\n");
        assert_eq!(to_header(properties), header);
        assert_eq!(to_properties(&header, ""), (block(properties), 0), "{header}");
    }
    assert_eq!(to_header(&[]), "");
    assert_eq!(to_header(&[Property::PayloadFormatIndicator(false)]), "");
}

#[test]
fn what_the_gateway_does_not_know_reaches_the_application() {
    let cases: &[(&str, &[Property<'_>])] = &[
        ("NATS/1.0 503\r\n\r\n", &[user("Status", "503")]),
        ("NATS/1.0 404 No Messages\r\n\r\n", &[user("Status", "404"), user("Description", "No Messages")]),
        ("NATS/1.0\r\nNats-Msg-Id:5\r\n\r\n", &[user("Nats-Msg-Id", "5")]),
        ("NATS/1.0\r\nMqtt-Message-Expiry: soon\r\n\r\n", &[user("Mqtt-Message-Expiry", "soon")]),
        ("NATS/1.0\r\nMqtt-Response-Topic: a/#\r\n\r\n", &[user("Mqtt-Response-Topic", "a/#")]),
        ("NATS/1.0\r\nMqtt-User-x: %zz\r\n\r\n", &[user("Mqtt-User-x", "%zz")]),
        // Nobody says by a detour what only the gateway says.
        ("NATS/1.0\r\nMqtt-User-mqtt-user: x\r\n\r\n", &[user("Mqtt-User-mqtt-user", "x")]),
        ("NATS/1.0\r\nMqtt-User-%4Dqtt-User: x\r\n\r\n", &[user("Mqtt-User-%4Dqtt-User", "x")]),
        (
            "NATS/1.0\r\nContent-Type: a\r\ncontent-type: b\r\n\r\n",
            &[Property::ContentType(b"a"), user("content-type", "b")],
        ),
        ("NATS/1.0\r\nmqtt-qos: 1\r\nMQTT-RETAIN: 1\r\n\r\n", &[]),
        ("NATS/1.0\r\nmqtt-qos: 7\r\nMqtt-QoS: 1\r\n\r\n", &[user("mqtt-qos", "7")]),
        (
            "NATS/1.0\r\nMqtt-Retain: true\r\nMqtt-Retain:\r\n\r\n",
            &[user("Mqtt-Retain", "true"), user("Mqtt-Retain", "")],
        ),
        ("NATS/1.0\r\nMqtt-Correlation-Data: !\r\n\r\n", &[user("Mqtt-Correlation-Data", "!")]),
        ("NATS/1.0\r\nMqtt-Payload-Format: x\r\n\r\n", &[user("Mqtt-Payload-Format", "x")]),
    ];
    for (header, properties) in cases {
        assert_eq!(to_properties(header, ""), (block(properties), 0), "{header}");
    }
    for (header, n_unmappable) in [
        ("NATS/1.0\r\nx: a\0b\r\n\r\n", 1),
        ("NATS/1.0\r\nno colon\r\n: no name\n \r\n\r\n", 2),
        ("NATS/1.0\r\nx: \0\r\n folded\r\n\r\n", 2),
        ("no header\r\n\r\n", 1),
    ] {
        assert_eq!(to_properties(header, ""), (block(&[]), n_unmappable), "{header}");
    }
}

#[test]
fn a_reply_subject_is_a_response_topic_and_a_header_may_name_another() {
    let topic = |topic: &'static str| block(&[Property::ResponseTopic(topic.as_bytes())]);
    assert_eq!(to_properties("", "_INBOX.a.1"), (topic("_INBOX/a/1"), 0));
    let elsewhere = "NATS/1.0\r\nMqtt-Response-Topic: x/y\r\n\r\n";
    assert_eq!(to_properties(elsewhere, ""), (topic("x/y"), 0));
    // Where there is a reply subject, the answer goes there.
    let both = block(&[Property::ResponseTopic(b"r"), user("Mqtt-Response-Topic", "x/y")]);
    assert_eq!(to_properties(elsewhere, "r"), (both, 0));
    assert_eq!(to_properties("", "no/topic"), (block(&[]), 0));
    let properties = topic("x/y");
    let mut header = vec![b'?'];
    write_header(&message(&properties, b"", b"x.y"), &mut header);
    assert_eq!(header, b"", "the reply subject says it already");
}

#[test]
fn quality_and_retain_are_said_and_asked_for() {
    let none = PropertyBlock::new();
    let mut header = Vec::new();
    let said = Message { quality: Quality::ExactlyOnce, retain: true, ..message(&none, b"", b"") };
    assert!(has_header_to_make(&said));
    write_header(&said, &mut header);
    assert_eq!(header, b"NATS/1.0\r\nMqtt-QoS: 2\r\nMqtt-Retain: 1\r\n\r\n");
    let back = Asked { quality: Some(Quality::ExactlyOnce), retain: true, ..Asked::NOTHING };
    assert_eq!(asked(&header), Some(back));
    assert_eq!(asked(b"NATS/1.0\r\nmany: m\r\nM: mqt\r\n\r\n"), None);
    let other = asked(b"NATS/1.0\r\nmqtt-qos: 3\r\nMqtt-Retain: yes\r\n\r\n").unwrap();
    assert_eq!((other.quality, other.retain, other.n_unknown), (None, false, 2));
}

#[test]
fn a_header_of_the_gateways_has_a_value_that_it_knows_or_is_counted_and_a_user_property() {
    for (name, known, unknown) in [
        ("Mqtt-QoS", &["0", "1", "2"][..], &["", "3", "-1", "01", "1 1"][..]),
        ("Mqtt-Retain", &["0", "1"], &["", "true", "2"]),
        ("Mqtt-Payload-Format", &["utf8"], &["", "UTF-8", "1"]),
        ("Mqtt-Message-Expiry", &["0", "4294967295"], &["", "soon", "4294967296", "-1", "+5"]),
        ("Mqtt-Correlation-Data", &["", "AP8h"], &["AP8", "!"]),
        ("Mqtt-Response-Topic", &["re/ply", "a%2Fb"], &["", "a/+", "#", "%zz"]),
    ] {
        let header = |value: &str| format!("NATS/1.0\r\n{name}: {value}\r\n\r\n");
        for value in known {
            let (told, n_unmappable) = to_properties(&header(value), "");
            let n_users =
                told.properties().iter().filter(|it| matches!(it, Property::UserProperty(_))).count();
            assert_eq!((n_users, n_unmappable), (0, 0), "{name}: {value}");
            assert_eq!(asked(header(value).as_bytes()).unwrap().n_unknown, 0, "{name}: {value}");
        }
        for value in unknown {
            assert_eq!(to_properties(&header(value), ""), (block(&[user(name, value)]), 0));
            assert_eq!(asked(header(value).as_bytes()).unwrap().n_unknown, 1, "{name}: {value}");
        }
    }
}

#[test]
fn what_only_the_gateway_says_is_taken_out() {
    let header = b"NATS/1.0\r\nMQTT-client-id: x\r\na: b\r\n Mqtt-User : y\r\nMqtt-User-z: 1\r\n\r\n";
    assert!(asked(header).unwrap().has_forbidden);
    assert_eq!(without_forbidden(header, false), b"NATS/1.0\r\na: b\r\nMqtt-User-z: 1\r\n\r\n");
    // As clients read it that end a line at a bare LF.
    // And at a bare CR, or that read a block whose version is another.
    for hidden in [
        "NATS/1.0\r\nx: y\nMqtt-User: z\r\n\r\n",
        "NATS/1.0\nMqtt-User: z\nx: y\n\n",
        "NATS/1.0\r\nx: y\rMqtt-User: z\r\n\r\n",
        "NATS/1.0\r\nx: y\r\rMqtt-User: z\n\r\n",
        "nats/1.1\r\nx: y\r\nMqtt-User: z\r\n\r\n",
        // And that strip more from a name than blanks.
        "NATS/1.0\r\n\u{b}Mqtt-User: z\r\nx: y\r\n\r\n",
        "NATS/1.0\r\nMqtt-User\u{c}\u{1c}\u{1f}: z\r\nx: y\r\n\r\n",
        "NATS/1.0\r\n\u{a0}\u{2003}\u{85}Mqtt-User\0: z\r\nx: y\r\n\r\n",
    ] {
        assert!(asked(hidden.as_bytes()).unwrap().has_forbidden, "{hidden:?}");
        let rest = String::from_utf8(without_forbidden(hidden.as_bytes(), false)).unwrap();
        assert!(!rest.contains("Mqtt-User") && rest.contains("x: y"), "{rest:?}");
    }
    let outside = b"NATS/1.0\r\nMqtt-Response-Topic: x\r\na: b\r\n\r\n";
    assert_eq!(without_forbidden(outside, true), b"NATS/1.0\r\na: b\r\n\r\n");
    let outside = b"NATS/1.0\r\n\x0bMqtt-Response-Topic\xa0: x\r\na: b\r\n\r\n";
    assert_eq!(without_forbidden(outside, true), b"NATS/1.0\r\na: b\r\n\r\n");
    let said = block(&[user("\u{b}Mqtt-Client-Id", "x"), user("\u{a0}mqtt-user\u{85}", "y"), user("a", "b")]);
    assert!(has_forbidden_property(said.properties()));
    let mut left = PropertyBlock::new();
    identified(said.properties(), None, &mut left);
    assert_eq!(left.properties(), block(&[user("a", "b")]).properties());
}

#[test]
fn who_publishes_is_said_once_and_by_the_gateway() {
    let identity =
        Identity { client_id: b"press/7\n", user: "zoë".as_bytes(), protocol: ProtocolKind::Mqtt };
    let said = |header: &[u8]| String::from_utf8(identity.write_before(header)).unwrap();
    let lines = "Mqtt-Client-Id: press/7%0A\r\nMqtt-User: zoë\r\nMqtt-Client-Protocol: mqtt\r\n";
    assert_eq!(said(b""), format!("NATS/1.0\r\n{lines}\r\n"));
    assert_eq!(said(b"NATS/1.0 503 No\r\na: b\r\n\r\n"), format!("NATS/1.0 503 No\r\n{lines}a: b\r\n\r\n"));
    assert_eq!(said(b"no header\r\n\r\n"), "no header\r\n\r\n");
    let own =
        [user("a", "b"), user("mqtt-client-id", "root"), user("Mqtt-User", "root"), user("Mqtt-Us", "x")];
    let own = block(&own);
    assert!(has_forbidden_property(own.properties()));
    let mut out = PropertyBlock::new();
    identified(own.properties(), None, &mut out);
    assert_eq!(out, block(&[user("a", "b"), user("Mqtt-Us", "x")]));
    assert!(!has_forbidden_property(out.properties()));
    out.clear();
    identified(own.properties(), Some(&identity), &mut out);
    let told = [
        ("a", "b"),
        ("Mqtt-Us", "x"),
        ("Mqtt-Client-Id", "press/7\n"),
        ("Mqtt-User", "zoë"),
        ("Mqtt-Client-Protocol", "mqtt"),
    ];
    let told = told.map(|(name, value)| user(name, value));
    assert_eq!(out, block(&told));
    // The same is read by clients of either kind.
    assert_eq!(to_properties(&to_header(&told), ""), (block(&told), 0));
}

proptest! {
    #[test]
    fn user_properties_come_back_in_order(pairs in proptest::collection::vec((name(), value()), 0..6)) {
        let properties: Vec<_> = pairs.iter().map(|(name, value)| user(name, value)).collect();
        let header = to_header(&properties);
        prop_assert_eq!(to_properties(&header, ""), (block(&properties), 0), "{}", header);
        // No client trims what an application said.
        let blank = |it: char| it.is_whitespace() || it == '\u{feff}';
        for (_, value) in header.split("\r\n").filter_map(|line| line.split_once(": ")) {
            prop_assert_eq!(value, value.trim_matches(blank));
        }
        // One line each, whatever they hold, and no name that means something elsewhere.
        let lines: Vec<_> = header.split("\r\n").skip(1).filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(lines.len(), pairs.len());
        for line in lines {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            prop_assert!(!name.starts_with("nats-") && name != "status" && name != "description");
            prop_assert!(!name.starts_with("mqtt-") || name.starts_with("mqtt-user-"));
        }
    }

    #[test]
    fn the_usual_line_is_read_as_any_other(lines in proptest::collection::vec(
        (line_name(), proptest::sample::select(vec![":", ": ", ":  ", " : ", ""]), value()), 0..6,
    )) {
        let block = |end: &str| {
            let line = |(name, colon, value): &(String, &str, String)| format!("{name}{colon}{value}{end}");
            let lines: String = lines.iter().map(line).collect();
            to_properties(&format!("NATS/1.0\r\n{lines}\r\n"), "")
        };
        // A line that a bare LF ends is none of the usual ones.
        prop_assert_eq!(block("\r\n"), block("\n"));
    }

    #[test]
    fn no_client_reads_in_a_header_what_was_taken_out(lines in proptest::collection::vec(
        (proptest::sample::select(vec!["Mqtt-User", "mqtt-client-ID ", " MQTT-USER", "x", "", "Mqtt-QoS"]),
         proptest::sample::select(vec![":", ": 1", "", "::"]),
         proptest::sample::select(vec!["\r\n", "\n", "\r", "\r\r", "\n\n", "", "\t"])), 0..8,
    )) {
        let lines: String = lines.iter().map(|(name, value, end)| format!("{name}{value}{end}")).collect();
        let header = format!("NATS/1.0\r\n{lines}\r\n\r\n");
        let cleaned = String::from_utf8(without_forbidden(header.as_bytes(), false)).unwrap();
        for line in cleaned.split(['\r', '\n']) {
            let name = line.split(':').next().unwrap().trim_ascii().to_ascii_lowercase();
            prop_assert!(name != "mqtt-user" && name != "mqtt-client-id", "{:?}", cleaned);
        }
        let says_it = asked(header.as_bytes()).is_some_and(|asked| asked.has_forbidden);
        prop_assert_eq!(says_it, cleaned != header);
    }

    #[test]
    fn any_bytes_can_be_read_as_a_header(header in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..9) {
        let mut framed = b"NATS/1.0"[..cut.min(8)].to_vec();
        framed.extend(header);
        let none = PropertyBlock::new();
        let mut out = PropertyBlock::new();
        write_properties(&message(&none, &framed, b""), &mut out);
        // What was written can be read by a client.
        prop_assert!(out.properties().iter().count() <= framed.len());
        let _ = asked(&framed);
        prop_assert!(without_forbidden(&framed, true).len() <= framed.len());
    }
}

/// Names as people choose them, and such as break things.
fn name() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(vec![
        "",
        "a",
        "Status",
        "nats-x",
        "Mqtt-QoS",
        "mqtt-user-",
        "Content-type",
        "a:b",
        "%41",
        "\r\n",
        "é",
    ]);
    prop_oneof![known.prop_map(str::to_owned), value()]
}

/// Names that mean something, or nothing, or can't be one.
fn line_name() -> impl Strategy<Value = String> {
    let known =
        ["content-TYPE", "Mqtt-QoS", "Mqtt-Message-Expiry", "Mqtt-User-a", "Mqtt-User", "unit", "c", "m"];
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), name()]
}

fn value() -> impl Strategy<Value = String> {
    let letters = proptest::sample::select(vec![
        'a', 'Z', '0', ' ', ':', '%', '\r', '\n', '\t', '-', 'é', '\u{1}', '\u{7f}', '\u{85}', '\u{a0}',
        '\u{2003}', '\u{feff}', '\u{3000}',
    ]);
    proptest::collection::vec(letters, 0..8).prop_map(|letters| letters.into_iter().collect())
}

#[test]
fn a_listed_message_has_its_own_subject_however_its_header_ends() {
    let wanted = "NATS/1.0\r\nMqtt-Retain: 1\r\nNats-Subject: a.b\r\n\r\n";
    for header in [
        "NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n",
        "NATS/1.0\r\nMqtt-Retain: 1",
        "NATS/1.0\r\nMqtt-Retain: 1\n\n",
        "NATS/1.0\r\nnats-subject: forged\r\nMqtt-Retain: 1\r\n\r\n",
    ] {
        assert_eq!(String::from_utf8_lossy(&with_subject(header.as_bytes(), b"a.b")), wanted, "{header:?}");
    }
}
