//! Requests to clients that are asked by topics alone, and what is none.

use super::*;
use crate::message::Quality;
use crate::subject::SubjectFilter;
use crate::subject::responder::Responder;

fn gateway() -> Alone {
    let mut settings = settings();
    settings.mqtt.responders = vec![Responder::parse("a/+/${id} -> r/+/${id}").unwrap()];
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
