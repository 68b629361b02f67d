//! What a NATS client publishes, and has retained.

use super::*;

/// A line of a header block, or what is none.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let asked =
        ["Mqtt-QoS: 1\r\n", "Mqtt-QoS: 2\r\n", "mqtt-retain: 1\r\n", "Mqtt-Response-Topic: $SYS/a\r\n"];
    prop_oneof![
        text().prop_map(String::into_bytes),
        vec(any::<u8>(), 0..5),
        proptest::sample::select(asked.to_vec()).prop_map(|line| line.as_bytes().to_vec()),
    ]
}

/// Asserts that what came is one PUBLISH of this, or nothing; gives it. Without a `reply` nobody says where answers
/// go, or any header may.
fn check(bytes: &[u8], subject: &str, reply: &str, payload: &str) -> Option<Heard> {
    let heard = mqtt_messages(bytes);
    assert!(heard.len() < 2, "{} messages", heard.len());
    let heard = heard.into_iter().next()?;
    let mut topic = Vec::new();
    assert!(mapping::subject_to_topic(subject.as_bytes(), &mut topic));
    assert_eq!((&heard.topic, heard.payload.as_slice()), (&topic, payload.as_bytes()));
    assert!(!topic.starts_with(b"$"));
    if let Some(answers) = heard.response_topic.as_ref().filter(|_| !reply.is_empty()) {
        let mut back = Vec::new();
        mapping::topic_to_subject(answers, &mut back);
        let has_topic = || mapping::subject_to_topic(reply.as_bytes(), &mut Vec::new());
        assert!(back == reply.as_bytes() || !has_topic());
    }
    Some(heard)
}

proptest! {
    #[test]
    fn what_a_nats_client_publishes_is_at_most_one_packet_to_each_reader_in_mqtt(
        subject in text(),
        reply in text(),
        lines in vec(line(), 0..5),
        payload in text(),
        user in text(),
        is_identified: bool,
        n_cores in 1_usize..4,
    ) {
        let name = |text: &str| text.replace([' ', '\t', '\r', '\n'], "");
        let (subject, reply) = (name(&subject), name(&reply));
        prop_assume!(!subject.is_empty());
        let mut settings = settings();
        settings.nats.identifies_publishers = is_identified;
        let mut several = Several::new(n_cores, settings);
        let readers: Vec<Client> = a_name_for_each_core(&several).iter().map(|name| {
            let reader = connect(&mut several, name, "", None);
            subscribe(&mut several, reader, &["#", "$SYS/#"]);
            reader
        }).collect();
        let publisher = several.connect(n_cores - 1, Listener::Nats);
        let connect_op = serde_json::json!({ "verbose": false, "headers": true, "user": user });
        several.receive(publisher, format!("CONNECT {connect_op}\r\n").as_bytes());
        // That they have come is told.
        readers.iter().for_each(|reader| drop(several.sent(*reader)));
        let header = [b"NATS/1.0\r\n", lines.concat().as_slice(), b"\r\n\r\n"].concat();
        let (n, n_all) = (header.len(), header.len() + payload.len());
        let op = format!("HPUB {subject} {reply} {n} {n_all}\r\n").into_bytes();
        several.receive(publisher, &[op, header, payload.clone().into_bytes(), b"\r\n".to_vec()].concat());
        let told = |heard: &Heard| {
            let gateways: Vec<_> = heard.pairs.iter().filter(|(name, _)| is_forbidden(name)).collect();
            let is_user = |(name, value): &&(String, String)| name == "Mqtt-User" && *value == user;
            let wanted = if is_identified { 2 + usize::from(!user.is_empty()) } else { 0 };
            assert_eq!(gateways.len(), wanted, "{gateways:?}");
            assert!(wanted < 3 || gateways.into_iter().any(|it| is_user(&it)));
        };
        // A reply subject that is sent the acknowledgement is no response topic.
        let may_be_acknowledged = lines.iter().any(|line| line.starts_with(b"Mqtt-QoS"));
        let reply = if may_be_acknowledged { "" } else { &reply };
        for reader in readers {
            check(&several.sent(reader), &subject, reply, &payload).iter().for_each(told);
        }
        // What it had retained is that message, and nothing else is there.
        let late = connect(&mut several, "late", "", None);
        let kept = subscribe(&mut several, late, &["#"]);
        let heard = check(&kept, &subject, "", &payload);
        heard.iter().for_each(told);
    }
}
