//! Requests that nobody could answer, who answers and wants an answer, and requests that go on to another.

use super::sessions::{KEPT, V5, Wish};
use super::*;
use crate::message::Quality;
use crate::mqtt::packet::Qos;
use crate::mqtt::property::Property;
use crate::mqtt::reason::Reason;
use crate::subject::SubjectFilter;

const ASKED: [Property<'_>; 2] = [Property::ResponseTopic(b"r"), Property::CorrelationData(b"c")];

fn asks_at_qos_1() -> Settings {
    let mut settings = settings();
    settings.nats.qualities.0 = vec![(SubjectFilter::parse(b"t").unwrap(), Quality::AtLeastOnce)];
    settings.mqtt.session_queue_messages_max = 1;
    settings
}

fn requester(alone: &mut Alone) -> ConnectionId {
    alone.nats_at_nth(0, ",\"no_responders\":true", "SUB in.* 9\r\n")
}

#[test]
fn a_request_that_found_no_room_has_its_503() {
    let mut alone = Alone::new(asks_at_qos_1());
    let (away, _) = alone.mqtt(V5);
    alone.subscribe(away, "t", Qos::AtLeastOnce);
    alone.lose(away);
    let id = requester(&mut alone);
    alone.sent(id);
    alone.receive(id, b"PUB t in.1 1\r\nx\r\n");
    assert_eq!(alone.sent(id), "");
    alone.receive(id, b"PUB t in.2 1\r\nx\r\n");
    assert!(alone.sent(id).starts_with("HMSG in.2 9 "), "its queue is full");
    assert_eq!(alone.shard.counters().dropped_session_full, 1);
    // What is no request is the declared exception.
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, "x", &[]);
    assert_eq!(alone.hears(publisher), ["PUBACK 1 00"]);
}

#[test]
fn a_request_too_large_for_whom_it_is_for_has_its_503() {
    let mut alone = Alone::new(settings());
    let small = [Property::MaximumPacketSize(30)];
    let (device, _) = alone.mqtt(Wish { properties: &small, ..V5 });
    alone.subscribe(device, "t", Qos::AtMostOnce);
    let id = requester(&mut alone);
    alone.sent(id);
    alone.receive(id, format!("PUB t in.1 60\r\n{}\r\n", "x".repeat(60)).as_bytes());
    assert!(alone.sent(id).starts_with("HMSG in.1 9 "));
    assert_eq!(alone.hears(device), [""; 0]);
}

#[test]
fn who_answers_hears_whether_somebody_takes_it() {
    let mut alone = Alone::new(settings());
    let service = alone.nats_at_nth(0, ",\"no_responders\":true", "SUB t 1\r\nSUB in.* 9\r\n");
    let (asker, _) = alone.mqtt(V5);
    alone.subscribe(asker, "r", Qos::AtLeastOnce);
    alone.publish(asker, 0, Qos::AtMostOnce, "?", &ASKED);
    let asked = alone.sent(service);
    let inbox = asked.split(' ').find(|it| it.starts_with("_INBOX.strait.")).unwrap().to_owned();
    let block = "NATS/1.0\r\nMqtt-QoS: 1\r\n\r\n";
    let n = block.len();
    alone.receive(service, format!("HPUB {inbox} in.1 {n} {}\r\n{block}!\r\n", n + 1).as_bytes());
    assert_eq!(alone.hears(asker), ["PUBLISH 1 1 !"]);
    let acknowledged = alone.sent(service);
    assert!(acknowledged.starts_with("MSG in.1 9 ") && acknowledged.contains("\"stream\":\"strait\""));
    alone.receive(service, format!("PUB {inbox} in.2 1\r\n?\r\n").as_bytes());
    assert_eq!((alone.hears(asker), alone.sent(service).as_str()), (vec!["PUBLISH 0 0 ?".to_owned()], ""));
    // Nobody has asked.
    let nobody = format!("{}{}", &inbox[..inbox.len() - 32], "0".repeat(32));
    alone.receive(service, format!("PUB {nobody} in.3 1\r\n?\r\n").as_bytes());
    assert!(alone.sent(service).starts_with("HMSG in.3 9 "));
    alone.receive(service, format!("HPUB {nobody} in.4 {n} {n}\r\n{block}\r\n").as_bytes());
    assert!(alone.sent(service).contains("\"code\":503"));
}

#[test]
fn a_request_that_a_member_leaves_to_nats_is_answered_with_its_correlation_data() {
    let mut alone = Alone::new(settings());
    let (member, _) = alone.mqtt(Wish { client_id: "m", ..V5 });
    alone.subscribe(member, "$share/g/t", Qos::AtLeastOnce);
    let (asker, _) = alone.mqtt(V5);
    alone.subscribe(asker, "r", Qos::AtLeastOnce);
    alone.publish(asker, 1, Qos::AtLeastOnce, "?", &ASKED);
    let service = alone.nats("SUB t g 1\r\n");
    alone.leave(member, Reason::Success, &[Property::SessionExpiryInterval(0)]);
    alone.shard.tick(alone.now);
    let asked = alone.sent(service);
    let inbox = asked.split(' ').nth(3).unwrap();
    assert!(inbox.starts_with("_INBOX.strait."), "{asked}");
    alone.hears(asker);
    alone.receive(service, format!("PUB {inbox} 1\r\n!\r\n").as_bytes());
    // Correlation data and the payload.
    assert_eq!(alone.sent_bytes(asker), b"\x30\x09\0\x01r\x04\x09\0\x01c!");
}

#[test]
fn a_request_on_a_subject_too_long_for_a_way_back_is_counted() {
    let mut limited = settings();
    limited.nats.parse.control_line_bytes_max = 200;
    let mut alone = Alone::new(limited);
    let service = alone.nats("SUB t 1\r\nSUB l.> 2\r\n");
    let (asker, _) = alone.mqtt(Wish { properties: &KEPT, ..V5 });
    alone.publish(asker, 0, Qos::AtMostOnce, "?", &ASKED);
    assert_eq!(alone.shard.counters().replies_hidden, 0);
    let topic = format!("l/{}", "x".repeat(100));
    let len = topic.len();
    let head = [0x30, (len + 2 + 5 + 1) as u8, 0, len as u8];
    alone.receive(asker, &[&head, topic.as_bytes(), b"\x04\x08\0\x01r?"].concat());
    let said = alone.sent(service);
    assert!(said.contains("l.xxx"), "{said} {:?}", alone.hears(asker));
    assert_eq!(alone.shard.counters().replies_hidden, 1);
}

#[test]
fn an_answer_to_an_inbox_is_not_retained() {
    let mut alone = Alone::new(settings());
    let id = requester(&mut alone);
    alone.receive(id, b"SUB _INBOX.a.* 1\r\n");
    alone.sent(id);
    let (device, _) = alone.mqtt(V5);
    alone.receive(device, b"\x31\x0e\0\x0a_INBOX/a/b\0!");
    assert_eq!(alone.sent(id), "MSG _INBOX.a.b 1 1\r\n!\r\n");
    assert_eq!(alone.shard.counters().n_retained, 0);
}

#[test]
fn a_request_of_nats_that_a_member_leaves_is_answered_to_its_requester_itself() {
    let mut alone = Alone::new(asks_at_qos_1());
    let (member, _) = alone.mqtt(Wish { client_id: "m", ..V5 });
    alone.subscribe(member, "$share/g/t", Qos::AtLeastOnce);
    let id = alone.nats("SUB in.* 9\r\n");
    let told = "NATS/1.0\r\nMqtt-Correlation-Data: Yw==\r\n\r\n";
    let n = told.len();
    alone.receive(id, format!("HPUB t in.1 {n} {}\r\n{told}?\r\n", n + 1).as_bytes());
    let service = alone.nats("SUB t g 1\r\n");
    alone.leave(member, Reason::Success, &[Property::SessionExpiryInterval(0)]);
    alone.shard.tick(alone.now);
    assert!(alone.sent(service).starts_with("HMSG t 1 in.1 "));
}
