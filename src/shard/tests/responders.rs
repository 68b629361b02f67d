//! Requests to clients that are asked by topics alone, and what is none.

use super::several::Several;
use super::storm::Two;
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

/// The first of two cores, where a device is asked on behalf of who reads the answers on the second; the device,
/// the topic of its answers, and the reader.
fn asked_for_another_core() -> (Two, ConnectionId, String, ConnectionId) {
    let mut two = Two::new(400);
    for shard in &mut two.shards {
        let settings = Arc::make_mut(&mut shard.settings);
        settings.mqtt.responders = vec![Responder::parse("a/+/${id} -> r/+/${id}").unwrap()];
    }
    let nats = |shard: &mut Shard, then: &str| {
        let id = shard.accept(Door::first(Listener::Nats), "127.0.0.1:9".parse().unwrap(), 0, Time::START);
        shard.receive(id, format!("CONNECT {{}}\r\n{then}").as_bytes(), Time::START);
        id
    };
    let reader = nats(&mut two.shards[1], "SUB in 9\r\n");
    let service = nats(&mut two.shards[0], "SUB a.b.* 1\r\n");
    let device = two.connect("k0", None, b"");
    two.come_to_rest();
    nats(&mut two.shards[0], "PUB a.b in 0\r\n\r\n");
    let asked = String::from_utf8(two.shards[0].queue(service).unwrap().front().to_vec()).unwrap();
    let id = asked.split([' ', '.']).nth(3).unwrap().to_owned();
    two.come_to_rest();
    (two, device, format!("r/b/{id}"), reader)
}

#[test]
fn an_answer_by_topic_is_acknowledged_once_its_readers_core_has_it() {
    let (mut two, device, topic, reader) = asked_for_another_core();
    let packet =
        [&[0x32, topic.len() as u8 + 7, 0, topic.len() as u8], topic.as_bytes(), b"\0\x07\0ok"].concat();
    two.shards[0].receive(device, &packet, Time::START);
    assert!(two.shards[0].queue(device).is_none_or(WriteQueue::is_empty));
    two.mail(0);
    assert_eq!(two.shards[1].queue(reader).unwrap().front(), b"MSG in 9 2\r\nok\r\n");
    two.mail(1);
    assert_eq!(two.shards[0].queue(device).unwrap().front(), b"\x40\x02\0\x07");
}

#[test]
fn answers_by_topic_wait_for_room_on_their_way() {
    let (mut two, device, topic, _) = asked_for_another_core();
    let packet = [&[0x30, topic.len() as u8 + 5, 0, topic.len() as u8], topic.as_bytes(), b"\0ok"].concat();
    let delivered = |two: &Two| two.shards[1].counters().delivered.iter().sum::<u64>();
    let before = delivered(&two);
    two.shards[0].receive(device, &packet.repeat(100), Time::START);
    // Full, and one more.
    let waiting = two.shards[0].peers[1].outbox.n_bytes();
    assert!((400..800).contains(&waiting), "{waiting}");
    two.come_to_rest();
    assert_eq!(delivered(&two) - before, 100);
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

#[test]
fn no_local_does_not_keep_an_answer_from_who_gave_it() {
    let mut alone = gateway();
    let requester = alone.nats("SUB in.x 9\r\n");
    let device = alone.connect(Listener::Mqtt);
    alone.receive(device, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01d");
    alone.receive(device, b"\x82\x12\0\x01\0\0\x05a/b/+\0\0\x04in/x\x04");
    alone.sent_bytes(device);
    alone.receive(requester, b"PUB a.b in.x 0\r\n\r\n");
    let asked = String::from_utf8_lossy(&alone.sent_bytes(device)).into_owned();
    let id = asked.split_once("a/b/").unwrap().1.get(..34).unwrap().to_owned();
    let topic = format!("r/b/{id}");
    let packet = [&[0x30, topic.len() as u8 + 5, 0, topic.len() as u8], topic.as_bytes(), b"\0ok"].concat();
    alone.receive(device, &packet);
    assert_eq!(alone.sent(requester), "MSG in.x 9 2\r\nok\r\n");
    assert_eq!(alone.sent_bytes(device), b"\x30\x09\0\x04in/x\0ok");
}

// A member on another core has no room for it, so that its copy may come back.
#[test]
fn a_copy_for_a_group_that_went_round_the_cores_is_not_its_answerers_own() {
    let mut settings = settings();
    settings.mqtt.responders = vec![Responder::parse("a/+/${id} -> r/+/${id}").unwrap()];
    let mut several = Several::new(2, settings);
    let requester = several.nats(0, "");
    let answerer = several.connect(0, Listener::Nats);
    several.receive(answerer, b"CONNECT {\"verbose\":false,\"echo\":false}\r\n");
    several.receive(answerer, b"SUB a.b.* 1\r\nSUB in q 9\r\n");
    let keys = &several.shards[0].keys;
    let name = (b'a'..).map(char::from).find(|name| keys.home(name.to_string().as_bytes(), 2).idx() == 1);
    let small = several.connect(1, Listener::Mqtt);
    let connect = format!("\x10\x13\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\x14\0\x01{}", name.unwrap());
    several.receive(small, connect.as_bytes());
    several.receive(small, b"\x82\x11\0\x01\0\0\x0b$share/q/in\0");
    several.receive(requester, b"PUB a.b in 0\r\n\r\n");
    let asked = String::from_utf8(several.sent(answerer)).unwrap();
    let (_, asked) = asked.rsplit_once("MSG a.b.").unwrap();
    // A NATS client answers at the reply subject that the id stands for.
    let id = asked.split(' ').next().unwrap().replace('-', ".");
    let answer = format!("PUB _INBOX.strait.{id} 30\r\n{}\r\n", "x".repeat(30));
    (0..20).for_each(|_| several.receive(answerer, answer.as_bytes()));
    let heard = String::from_utf8(several.sent(answerer)).unwrap();
    assert_eq!(heard.matches("MSG in 9 30\r\n").count(), 20);
    assert!(several.shards[1].counters().mail_publications > 0);
}
