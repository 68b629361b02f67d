//! What an MQTT client publishes, leaves as its will, and has retained.

use super::*;

/// What a client says with a message.
#[derive(Debug)]
struct Said {
    topic: String,
    pairs: Vec<(String, String)>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation: Option<Vec<u8>>,
    payload: String,
    qos: Qos,
}

fn said() -> impl Strategy<Value = Said> {
    let topic = || text().prop_filter("a topic", |text| !text.is_empty());
    let qos = proptest::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
    let pairs = vec((text(), text()), 0..4);
    let correlation = option::of(vec(any::<u8>(), 0..9));
    let all = (topic(), pairs, option::of(text()), option::of(topic()), correlation, text(), qos);
    all.prop_map(|(topic, pairs, content_type, response_topic, correlation, payload, qos)| Said {
        topic,
        pairs,
        content_type,
        response_topic,
        correlation,
        payload,
        qos,
    })
}

impl Said {
    fn properties(&self) -> PropertyBlock {
        let mut block = PropertyBlock::new();
        let mut push = |property| block.push(property).unwrap();
        for (name, value) in &self.pairs {
            push(Property::UserProperty(Pair { name: name.as_bytes(), value: value.as_bytes() }));
        }
        self.content_type.iter().for_each(|text| push(Property::ContentType(text.as_bytes())));
        self.response_topic.iter().for_each(|topic| push(Property::ResponseTopic(topic.as_bytes())));
        self.correlation.iter().for_each(|data| push(Property::CorrelationData(data)));
        block
    }

    /// What the client sends; of QoS 2 twice before it is released.
    fn packets(&self, retain: bool) -> Vec<u8> {
        let block = self.properties();
        let packet_id = if self.qos == Qos::AtMostOnce { 0 } else { 7 };
        let publish = Publish {
            dup: false,
            qos: self.qos,
            retain,
            topic: self.topic.as_bytes(),
            packet_id,
            properties: block.properties(),
            payload: self.payload.as_bytes(),
        };
        let mut out = Vec::new();
        encode::publish(&mut out, Version::V5, &publish).unwrap();
        if self.qos == Qos::ExactlyOnce {
            encode::publish(&mut out, Version::V5, &Publish { dup: true, ..publish }).unwrap();
            let release = Ack { packet_id, reason: Reason::Success, properties: Properties::EMPTY };
            encode::pubrel(&mut out, Version::V5, &release).unwrap();
        }
        out
    }

    fn subject(&self) -> Vec<u8> {
        subject(&self.topic)
    }

    /// Whether its topic is one that no client may publish to.
    fn is_internal(&self) -> bool {
        let subject = self.subject();
        mapping::is_reserved_for_gateway(&subject) || subject.starts_with(GATEWAY_INBOX)
    }

    /// Asserts that these bytes are one message, which says what was said and what the gateway says: who it
    /// was, and that it is retained.
    fn check(&self, bytes: &[u8], to: &[u8], user: &str, n_more: usize) {
        let messages = nats_messages(bytes);
        let [[seen, reply, header, body]] = messages.as_slice() else {
            panic!("{} messages", messages.len())
        };
        assert_eq!((seen.as_slice(), body.as_slice()), (to, self.payload.as_bytes()));
        assert!(!seen.starts_with(b"$"));
        let answers = self.response_topic.as_deref().map(subject);
        let is_answered_there = answers.as_deref() == Some(reply);
        assert!(reply.is_empty() || reply.starts_with(GATEWAY_INBOX) || is_answered_there);
        let n_pairs = self.pairs.iter().filter(|(name, _)| !is_forbidden(name)).count();
        let n_others = [
            !user.is_empty(),
            self.content_type.is_some(),
            self.response_topic.is_some() && !is_answered_there,
            self.correlation.is_some(),
            self.qos != Qos::AtMostOnce,
        ];
        let n_others = n_others.into_iter().map(usize::from).sum::<usize>();
        // However a client parts lines.
        let lines = header.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|it| !it.is_empty());
        let lines: Vec<_> = lines.collect();
        // The first, who published it, and of which protocol.
        assert_eq!((lines[0], lines.len()), (&b"NATS/1.0"[..], 3 + n_pairs + n_others + n_more));
        for line in &lines[1..] {
            let name = line.split(|byte| *byte == b':').next().unwrap().to_ascii_lowercase();
            assert!(name.iter().all(u8::is_ascii_graphic));
            assert!(name == b"nats-subject" || !name.starts_with(b"nats-") && name != b"status");
        }
    }
}

fn subject(topic: &str) -> Vec<u8> {
    let mut subject = Vec::new();
    mapping::topic_to_subject(topic.as_bytes(), &mut subject);
    subject
}

fn a_reader_on_each_core(several: &mut Several) -> Vec<Client> {
    (0..several.shards.len()).map(|core| several.nats(core, "SUB > 1\r\n")).collect()
}

proptest! {
    #[test]
    fn what_an_mqtt_client_publishes_is_one_message_to_each_reader_in_nats(
        said in said(),
        retain: bool,
        client_id in text(),
        user in text(),
        n_cores in 1_usize..4,
    ) {
        let mut several = identifying(n_cores);
        let readers = a_reader_on_each_core(&mut several);
        let publisher = connect(&mut several, &client_id, &user, None);
        several.receive(publisher, &said.packets(retain));
        prop_assert!(!several.is_closing(publisher));
        for reader in readers {
            let sent = several.sent(reader);
            if said.is_internal() {
                prop_assert!(sent.is_empty(), "{}", sent.escape_ascii());
            } else {
                said.check(&sent, &said.subject(), &user, usize::from(retain));
            }
        }
    }

    #[test]
    fn a_will_is_one_message_to_each_reader_in_nats(
        said in said(),
        retain: bool,
        client_id in text(),
        user in text(),
        n_cores in 1_usize..4,
    ) {
        let mut several = identifying(n_cores);
        let readers = a_reader_on_each_core(&mut several);
        let block = said.properties();
        let (topic, payload) = (said.topic.as_bytes(), said.payload.as_bytes());
        let will = Will { qos: said.qos, retain, topic, payload, properties: block.properties() };
        let client = connect(&mut several, &client_id, &user, Some(will));
        several.lose(client);
        for reader in readers {
            let sent = several.sent(reader);
            if said.is_internal() {
                prop_assert!(sent.is_empty(), "{}", sent.escape_ascii());
            } else {
                said.check(&sent, &said.subject(), &user, usize::from(retain));
            }
        }
    }

    #[test]
    fn what_an_mqtt_client_has_retained_is_one_message_to_each_who_asks_for_it_in_nats(
        said in said(),
        client_id in text(),
        user in text(),
        n_cores in 1_usize..4,
    ) {
        let mut several = identifying(n_cores);
        let publisher = connect(&mut several, &client_id, &user, None);
        several.receive(publisher, &said.packets(true));
        let is_kept = !said.is_internal() && !said.payload.is_empty();
        for core in 0..n_cores {
            let reader = several.nats(core, "SUB back 1\r\n");
            let one = [b"PUB $STRAIT.RETAINED.GET.", said.subject().as_slice(), b" back 0\r\n\r\n"].concat();
            several.receive(reader, &one);
            let sent = several.sent(reader);
            if is_kept {
                said.check(&sent, b"back", &user, 1);
            } else {
                let [[_, _, header, _]] = &nats_messages(&sent)[..] else { panic!("{}", sent.escape_ascii()) };
                prop_assert_eq!(header.as_slice(), b"NATS/1.0 404\r\n\r\n");
            }
            several.receive(reader, b"PUB $STRAIT.RETAINED.LIST.> back 0\r\n\r\n");
            let sent = several.sent(reader);
            let end = b"HMSG back 1 16 16\r\nNATS/1.0 204\r\n\r\n\r\n";
            let listed = sent.strip_suffix(end).unwrap();
            if is_kept {
                // With the subject that it is retained under.
                said.check(listed, b"back", &user, 2);
            } else {
                prop_assert!(listed.is_empty(), "{}", listed.escape_ascii());
            }
        }
    }
}
