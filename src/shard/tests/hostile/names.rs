//! What clients call themselves and their groups.

use super::*;
use serde_json::{Value, json};

/// A group's name as MQTT allows it.
fn group() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace('/', "")).prop_filter("a name", |name| !name.is_empty())
}

/// Whether a NATS client can write it as one word.
fn is_word(name: &str) -> bool {
    !name.contains([' ', '\t', '\r', '\n'])
}

/// The events that these bytes are, as NATS clients read them: the verb, and what it says.
fn events_in_nats(bytes: &[u8]) -> Vec<(String, Value)> {
    let event = |[subject, reply, header, body]: &[Vec<u8>; 4]| {
        let subject = std::str::from_utf8(subject).unwrap();
        let tokens: Vec<&str> = subject.split('.').collect();
        let [_, _, _, verb] = tokens.as_slice() else { panic!("{tokens:?}") };
        assert!(subject.starts_with("$STRAIT.CLIENT.") && reply.is_empty() && header.is_empty());
        (verb.to_lowercase(), serde_json::from_slice(body).unwrap())
    };
    nats_messages(bytes).iter().map(event).collect()
}

/// The same as MQTT clients read them.
fn events_in_mqtt(bytes: &[u8]) -> Vec<(String, Value)> {
    let event = |heard: &Heard| {
        let topic = std::str::from_utf8(&heard.topic).unwrap();
        let levels: Vec<&str> = topic.split('/').collect();
        let [_, _, _, verb] = levels.as_slice() else { panic!("{levels:?}") };
        assert!(topic.starts_with("$SYS/clients/") && heard.pairs.is_empty());
        ((*verb).to_owned(), serde_json::from_slice(&heard.payload).unwrap())
    };
    mqtt_messages(bytes).iter().map(event).collect()
}

proptest! {
    #[test]
    fn a_groups_name_is_its_name_and_nothing_else_in_either_world(
        name in group(),
        other in group(),
        payload in text(),
        n_cores in 1_usize..4,
    ) {
        prop_assume!(name != other);
        let mut several = Several::new(n_cores, settings());
        let places = a_name_for_each_core(&several);
        let mut members = [Vec::new(), Vec::new()];
        for (nth, group) in [&name, &other].into_iter().enumerate() {
            let filter = format!("$share/{group}/t/#");
            for place in &places {
                let member = connect(&mut several, &format!("{place}{nth}"), "", None);
                subscribe(&mut several, member, &[&filter]);
                members[nth].push((Listener::Mqtt, member));
            }
            if is_word(group) {
                let member = several.nats(n_cores - 1, &format!("SUB t.> {group} 7\r\n"));
                members[nth].push((Listener::Nats, member));
            }
        }
        let reader = several.nats(0, "SUB > 1\r\n");
        let device = connect(&mut several, "device", "", None);
        let service = several.nats(n_cores - 1, "");
        let publish = |topic: &str| {
            let (topic, payload, properties) = (topic.as_bytes(), payload.as_bytes(), Properties::EMPTY);
            let (dup, retain, qos, packet_id) = (false, false, Qos::AtMostOnce, 0);
            let mut out = Vec::new();
            let publish = Publish { dup, qos, retain, topic, packet_id, properties, payload };
            encode::publish(&mut out, Version::V5, &publish).unwrap();
            out
        };
        several.receive(device, &publish("t/of/mqtt"));
        several.receive(service, format!("PUB t.of.nats {}\r\n{payload}\r\n", payload.len()).as_bytes());
        // What is addressed to the group as if it were a topic.
        several.receive(device, &publish(&format!("$share/{name}/t/x")));
        let mut subject = Vec::new();
        mapping::topic_to_subject(format!("$share/{name}/t/x").as_bytes(), &mut subject);
        several.receive(service, &[b"PUB ", subject.as_slice(), b" 0\r\n\r\n"].concat());
        let wanted = [b"t.of.mqtt".to_vec(), b"t.of.nats".to_vec()];
        let heard = |several: &mut Several, members: &[(Listener, Client)]| {
            let mut heard = Vec::new();
            for (listener, member) in members {
                let sent = several.sent(*member);
                match listener {
                    Listener::Nats => heard.extend(nats_messages(&sent).into_iter().map(|[to, _, _, it]| (to, it))),
                    Listener::Mqtt => heard.extend(mqtt_messages(&sent).into_iter().map(|it| {
                        let mut subject = Vec::new();
                        mapping::topic_to_subject(&it.topic, &mut subject);
                        (subject, it.payload)
                    })),
                }
            }
            heard.sort();
            heard
        };
        let all = wanted.map(|subject| (subject, payload.clone().into_bytes()));
        for members in [&members[0], &members[1], &vec![(Listener::Nats, reader)]] {
            prop_assert_eq!(heard(&mut several, members), &all);
        }
    }

    #[test]
    fn a_clients_names_are_one_level_and_one_text_of_its_presence_in_either_world(
        client_id in text(),
        user in text(),
        reason in text(),
        nats_name in text(),
        n_cores in 1_usize..4,
    ) {
        let mut several = Several::new(n_cores, settings());
        let places = a_name_for_each_core(&several);
        let watch = "SUB $STRAIT.CLIENT.*.* 1\r\nSUB > 2\r\nSUB $STRAIT.CLIENT.*.*.> 3\r\n";
        let services: Vec<Client> = (0..n_cores).map(|core| several.nats(core, watch)).collect();
        let mut devices = Vec::new();
        for place in &places {
            let device = connect(&mut several, place, "", None);
            subscribe(&mut several, device, &["$SYS/clients/+/+", "#", "$SYS/clients/+/+/+/#"]);
            devices.push(device);
        }
        services.iter().chain(&devices).for_each(|client| drop(several.sent(*client)));
        let hostile = connect(&mut several, &client_id, &user, None);
        prop_assume!(!several.is_closing(hostile));
        let mut block = PropertyBlock::new();
        block.push(Property::ReasonString(reason.as_bytes())).unwrap();
        let mut out = Vec::new();
        let farewell = Disconnect { reason: Reason::Success, properties: block.properties() };
        encode::disconnect(&mut out, Version::V5, &farewell).unwrap();
        several.receive(hostile, &out);
        let service = several.connect(n_cores - 1, Listener::Nats);
        let options = json!({ "verbose": false, "name": nats_name, "user": user });
        several.receive(service, format!("CONNECT {options}\r\n").as_bytes());
        let text_or_none = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        let check = |events: Vec<(String, Value)>| {
            let verbs: Vec<&str> = events.iter().map(|(verb, _)| verb.as_str()).collect();
            assert_eq!(verbs, ["connected", "disconnected", "connected"]);
            for (_, said) in &events[..2] {
                assert!(client_id.is_empty() || said["client_id"] == *client_id, "{said}");
                assert!(said["user"] == *user && said["name"] == Value::Null, "{said}");
            }
            let (_, said) = &events[2];
            assert!(said["name"] == text_or_none(&nats_name) && said["user"] == text_or_none(&user), "{said}");
            let keys = |said: &Value| said.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&events[0].1), keys(said));
        };
        services.iter().for_each(|client| check(events_in_nats(&several.sent(*client))));
        devices.iter().for_each(|client| check(events_in_mqtt(&several.sent(*client))));
    }
}
