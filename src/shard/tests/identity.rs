//! Who published a message, as its subscribers are told: by the gateway alone, and where that is wanted.

use super::*;
use crate::mqtt::encode;
use crate::mqtt::packet::{Connect, Filters, Publish, Qos, Subscribe, SubscribeOptions, Version};
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock};

fn telling(mqtt: bool, nats: bool) -> Alone {
    let mut settings = settings();
    settings.mqtt.identifies_publishers = mqtt;
    settings.nats.identifies_publishers = nats;
    Alone::new(settings)
}

impl Alone {
    fn device(&mut self, client_id: &str, filters: &[&str]) -> ConnectionId {
        let id = self.connect(Listener::Mqtt);
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: client_id.as_bytes(),
            will: None,
            username: Some("zoë".as_bytes()),
            password: None,
            properties: Properties::EMPTY,
        };
        let mut out = Vec::new();
        encode::connect(&mut out, &connect).unwrap();
        self.receive(id, &out);
        for filter in filters {
            let filters = [(filter.as_bytes(), SubscribeOptions::default())];
            let filters = Filters::from_list(&filters);
            out.clear();
            let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
            encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
            self.receive(id, &out);
        }
        self.sent(id);
        id
    }

    fn say(&mut self, id: ConnectionId, pairs: &[(&str, &str)], n: usize) {
        let mut block = PropertyBlock::new();
        for (name, value) in pairs {
            let pair = Pair { name: name.as_bytes(), value: value.as_bytes() };
            block.push(Property::UserProperty(pair)).unwrap();
        }
        let properties = block.properties();
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: b"a",
            packet_id: 0,
            properties,
            payload: b"x",
        };
        let mut out = Vec::new();
        (0..n).for_each(|_| encode::publish(&mut out, Version::V5, &publish).unwrap());
        self.receive_whole(id, &out);
    }
}

/// Header lines as they come in a message to sid 1.
fn told(lines: &str) -> String {
    let n = format!("NATS/1.0\r\n{lines}\r\n").len();
    format!("HMSG a 1 {n} {}\r\nNATS/1.0\r\n{lines}\r\nx\r\n", n + 1)
}

#[test]
fn an_mqtt_client_is_told_of_in_both_worlds_and_can_say_nothing_of_that_itself() {
    for is_told in [false, true] {
        let mut alone = telling(is_told, false);
        let service = alone.nats("SUB a 1\r\n");
        let bare = alone.connect(Listener::Nats);
        alone.receive(bare, b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\n");
        alone.sent(bare);
        let reader = alone.device("reader", &["a"]);
        let device = alone.device("press/7", &[]);
        let who = if is_told {
            "Mqtt-Client-Id: press/7\r\nMqtt-User: zoë\r\nMqtt-Client-Protocol: mqtt\r\n"
        } else {
            ""
        };
        for (n, pairs, lines) in [(1, &[("k", "v")][..], "k: v\r\n"), (3, &[][..], "")] {
            alone.say(device, pairs, n);
            let expected = if lines.is_empty() && !is_told {
                "MSG a 1 1\r\nx\r\n".into()
            } else {
                told(&format!("{lines}{who}"))
            };
            assert_eq!(alone.sent(service), expected.repeat(n));
            assert_eq!(alone.sent(bare), "MSG a 1 1\r\nx\r\n".repeat(n));
            let heard = alone.sent(reader);
            assert_eq!(heard.matches("Mqtt-Client-Id").count(), if is_told { n } else { 0 }, "{heard:?}");
        }
        alone.say(
            device,
            &[
                ("mqtt-client-id", "root"),
                ("k", "v"),
                ("Mqtt-User", "root"),
                ("Mqtt-Client-Protocol", "root"),
            ],
            2,
        );
        assert_eq!(alone.sent(service), told(&format!("k: v\r\n{who}")).repeat(2));
        let heard = alone.sent(reader);
        assert!(!heard.contains("root") && heard.contains("zoë") == is_told, "{heard:?}");
    }
}

#[test]
fn a_nats_client_is_told_of_in_both_worlds_and_can_say_nothing_of_that_itself() {
    for is_told in [false, true] {
        let mut alone = telling(false, is_told);
        let service = alone.nats("SUB a 1\r\n");
        let reader = alone.device("reader", &["a"]);
        let publisher = alone.connect(Listener::Nats);
        alone.receive(publisher, b"CONNECT {\"verbose\":false,\"headers\":true,\"user\":\"b\\r\\nd\"}\r\n");
        let who = if is_told {
            "Mqtt-Client-Id: 1\r\nMqtt-User: b%0D%0Ad\r\nMqtt-Client-Protocol: nats\r\n"
        } else {
            ""
        };
        let plain = if is_told { told(who) } else { "MSG a 1 1\r\nx\r\n".into() };
        // Alike, back to back.
        alone.receive_whole(publisher, b"PUB a 1\r\nx\r\nPUB a 1\r\nx\r\nPUB a 1\r\nx\r\n");
        assert_eq!(alone.sent(service), plain.repeat(3));
        assert_eq!(alone.sent(reader).contains("Mqtt-Client-Id"), is_told);
        for forged in
            ["mqtt-user: root\r\nk: v\r\n", "k: v\r\nMqtt-Client-Id : root\r\n", "Mqtt-User: root\rk: v\r\n"]
        {
            let header = format!("NATS/1.0\r\n{forged}\r\n");
            let op = format!("HPUB a {} {}\r\n{header}x\r\n", header.len(), header.len() + 1);
            alone.receive_whole(publisher, op.as_bytes());
            assert_eq!(alone.sent(service), told(&format!("{who}k: v\r\n")), "{forged:?}");
            let heard = alone.sent(reader);
            assert!(!heard.contains("root") && heard.contains("b\r\nd") == is_told, "{heard:?}");
        }
        // It asks for a quality and for a reader's user property of that name.
        let header = "NATS/1.0\r\nMqtt-QoS: 1\r\nMqtt-User-Mqtt-User: root\r\n\r\n";
        let op = format!("HPUB a {} {}\r\n{header}x\r\n", header.len(), header.len() + 1);
        alone.receive_whole(publisher, op.as_bytes());
        assert!(alone.sent(service).contains(who));
        let heard = alone.sent(reader);
        assert!(heard.contains("Mqtt-User-Mqtt-User"), "{heard:?}");
    }
}

#[test]
fn a_nats_client_counts_for_what_it_sent_and_not_for_what_the_gateway_says_of_it() {
    for is_told in [false, true] {
        let mut alone = telling(false, is_told);
        let asker = alone.device("asker", &["r"]);
        let client = alone.nats("SUB a 1\r\n");
        alone.receive(asker, b"\x30\x08\0\x01a\x04\x08\0\x01r");
        let inbox = alone.sent(client).split(' ').nth(3).unwrap().to_owned();
        // Nothing is taken of the second's block and everything of the third's; the last is an answer.
        let blocks = ["", "NATS/1.0\r\nk: v\r\n\r\n", "NATS/1.0\r\nMqtt-User: root\r\n\r\n"];
        let (mut n_bytes, mut n_header_bytes) = (0, 0);
        for subject in ["b", &inbox] {
            for block in blocks {
                let op = match block.len() {
                    0 => format!("PUB {subject} 1\r\nx\r\n"),
                    n => format!("HPUB {subject} {n} {}\r\n{block}x\r\n", n + 1),
                };
                alone.receive_whole(client, op.as_bytes());
                n_header_bytes += block.len() as u64;
                n_bytes += block.len() as u64 + 1;
                assert_eq!(alone.shard.n_taken_of(client)[1], n_bytes, "{is_told} {op}");
            }
        }
        assert_eq!(alone.shard.counters().published_header_bytes, n_header_bytes);
        assert_eq!(alone.sent(asker).contains("Mqtt-Client-Id"), is_told);
    }
}
