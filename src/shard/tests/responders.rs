//! Requests to clients that are asked by topics alone, and what is none.

use super::*;
use crate::message::Quality;
use crate::subject::SubjectFilter;
use crate::subject::responder::Responder;

fn gateway() -> Alone {
    let mut settings = settings();
    let responders = ["a/+/${id} -> r/+/${id}", "b/${id}/c -> r/${id}/x"];
    settings.mqtt.responders = responders.map(|it| Responder::parse(it).unwrap()).to_vec();
    settings.nats.qualities.0 = vec![
        (SubjectFilter::parse(b"a.b").unwrap(), Quality::AtLeastOnce),
        (SubjectFilter::parse(b"a.>").unwrap(), Quality::AtMostOnce),
    ];
    Alone::new(settings)
}

#[test]
fn what_wants_to_be_acknowledged_asks_nobody() {
    let mut alone = gateway();
    let subscriber = alone.nats("SUB a.b 1\r\nSUB a.b.* 2\r\n");
    let publisher = alone.nats("SUB in 9\r\n");
    let block = "NATS/1.0\r\nMqtt-QoS: 1\r\n\r\n";
    let n = block.len();
    alone.receive(publisher, format!("HPUB a.b in {n} {n}\r\n{block}\r\n").as_bytes());
    assert_eq!(alone.sent(subscriber), format!("HMSG a.b 1 {n} {n}\r\n{block}\r\n"));
    assert!(alone.sent(publisher).contains("\"stream\":\"strait\""));
    alone.receive(publisher, b"PUB a.b in 0\r\n\r\n");
    assert!(alone.sent(subscriber).starts_with("MSG a.b.0-"));
}

#[test]
fn a_request_has_the_quality_of_the_subject_that_was_asked() {
    let mut alone = gateway();
    let responder = alone.connect(Listener::Mqtt);
    alone.receive(responder, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01r\x82\x0a\0\x01\0\x05a/b/+\x01");
    alone.sent_bytes(responder);
    let requester = alone.nats("SUB in 9\r\n");
    alone.receive(requester, b"PUB a.b in 0\r\n\r\n");
    // PUBLISH with QoS 1.
    assert_eq!(alone.sent_bytes(responder).first(), Some(&0x32));
}

#[test]
fn an_answer_is_known_whichever_pair_of_topics_it_looks_like() {
    let mut alone = gateway();
    let responder = alone.nats("SUB b.*.c 1\r\nSUB r.> 2\r\n");
    let requester = alone.nats("SUB in 9\r\n");
    alone.receive(requester, b"PUB b.c in 0\r\n\r\n");
    let asked = alone.sent(responder);
    let id = asked.split('.').nth(1).unwrap().to_owned();
    let device = alone.connect(Listener::Mqtt);
    alone.receive(device, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01d");
    let topic = format!("r/{id}/x");
    let packet = [&[0x30, topic.len() as u8 + 4, 0, topic.len() as u8], topic.as_bytes(), b"ok"].concat();
    alone.receive(device, &packet);
    assert_eq!(alone.sent(requester), "MSG in 9 2\r\nok\r\n");
    assert_eq!(alone.sent(responder), "");
}

#[test]
fn nobody_is_asked_for_a_subscription_to_one_id() {
    let mut alone = gateway();
    let service = alone.nats("SUB a.b 1\r\nSUB a.b.0 2\r\n");
    let requester = alone.nats("SUB in 9\r\n");
    alone.receive(requester, b"PUB a.b in 0\r\n\r\n");
    assert_eq!(alone.sent(service), "MSG a.b 1 in 0\r\n\r\n");
}

#[test]
fn a_503_says_what_was_asked() {
    let mut alone = gateway();
    // It subscribes to where its request goes, and is not sent what it publishes itself.
    let more = ",\"echo\":false,\"no_responders\":true";
    let requester = alone.nats_at_nth(0, more, "SUB in 9\r\nSUB a.b.* 1\r\n");
    alone.receive(requester, b"PUB a.b in 0\r\n\r\n");
    assert!(alone.sent(requester).contains("NATS/1.0 503\r\nNats-Subject: a.b\r\n"));
}

#[test]
fn what_is_retained_stays_where_others_look_for_it() {
    let mut alone = gateway();
    let subscriber = alone.nats("SUB a.b 1\r\nSUB a.b.* 2\r\n");
    let publisher = alone.nats("SUB in 9\r\n");
    let block = "NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n";
    let n = block.len();
    alone.receive(publisher, format!("HPUB a.b in {n} {}\r\n{block}x\r\n", n + 1).as_bytes());
    assert!(alone.sent(subscriber).starts_with("HMSG a.b 1 in "));
    // PUBLISH with the retain flag and a response topic.
    let device = alone.connect(Listener::Mqtt);
    alone.receive(device, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01d\x31\x0c\0\x03a/b\x05\x08\0\x02ryx");
    assert!(alone.sent(subscriber).starts_with("HMSG a.b 1 _INBOX.strait."));
}
