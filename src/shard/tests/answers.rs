//! What the gateway answers to NATS publishers: all of it comes, whatever else there is to say, and to whoever
//! subscribes to the reply subject.

use super::storm::Two;
use super::*;
use crate::message::{ProtocolKind, Quality};
use crate::subject::SubjectFilter;
use id::CoreId;

const N: usize = 20_000;
const PUBLISH: &str = "HPUB bu.x acks.1 25 26\r\nNATS/1.0\r\nMqtt-QoS: 1\r\n\r\nx\r\n";
/// What the driver reads at once.
const READ: usize = 32 << 10;

/// An HPUB of `payload` whose block says `lines`.
pub fn hpub(subject: &str, reply: &str, lines: &str, payload: &str) -> String {
    let block = format!("NATS/1.0\r\n{lines}\r\n\r\n");
    let reply = if reply.is_empty() { String::new() } else { format!("{reply} ") };
    let n = block.len();
    format!("HPUB {subject} {reply}{n} {}\r\n{block}{payload}\r\n", n + payload.len())
}

#[test]
fn of_very_many_acknowledgements_none_is_lost_and_no_presence_waits_for_them() {
    let mut alone = Alone::new(settings());
    let [reader, watcher] =
        ["SUB bu.> 1\r\nSUB acks.> 2\r\n", "SUB $STRAIT.CLIENT.> 1\r\n"].map(|it| alone.nats(it));
    let publisher = alone.nats("");
    alone.sent(watcher);
    let input = PUBLISH.repeat(N);
    let (mut rest, mut said, mut n_most) = (input.as_bytes(), String::new(), 0);
    while !rest.is_empty() {
        if alone.shard.wants_input(publisher) {
            let (now, after) = rest.split_at(rest.len().min(READ));
            alone.receive(publisher, now);
            rest = after;
            if alone.shard.counters().published[ProtocolKind::Nats as usize] > N as u64 / 2 {
                alone.nats("");
                assert!(alone.sent(watcher).contains("CONNECTED"));
            }
        } else {
            alone.shard.tick(alone.now);
        }
        n_most = n_most.max(alone.shard.n_answers());
        said += &alone.sent(reader);
    }
    // What it sent before it left is answered as well.
    alone.shard.end_of_input(publisher, false, alone.now);
    while alone.shard.goes_on() {
        alone.shard.tick(alone.now);
        said += &alone.sent(reader);
    }
    let counts = ["HMSG bu.x", "MSG acks.1"].map(|it| said.matches(it).count());
    assert_eq!((counts, alone.shard.counters().notices_dropped), ([N; 2], 0));
    assert!(n_most <= 1_024, "{n_most} waited");
}

#[test]
fn acknowledgements_that_other_cores_owe_come_as_well_however_small_the_outbox_is() {
    let mut two = Two::new(4_000);
    two.nats(1, "SUB bu.> 1\r\nSUB acks.> 2\r\n");
    let publisher = two.nats(0, "");
    two.come_to_rest();
    let before = two.shards[1].counters().delivered.iter().sum::<u64>();
    let (input, n) = (PUBLISH.repeat(5_000), 5_000);
    let mut rest = input.as_bytes();
    while !rest.is_empty() {
        if two.shards[0].wants_input(publisher) {
            let (now, after) = rest.split_at(rest.len().min(READ));
            two.receive(0, publisher, now);
            rest = after;
        }
        two.come_to_rest();
    }
    two.shards[0].end_of_input(publisher, false, Time::START);
    two.come_to_rest();
    let counters = two.shards[1].counters();
    assert_eq!(counters.delivered.iter().sum::<u64>() - before, 2 * n);
    assert_eq!((two.shards[0].counters().notices_dropped, two.shards[0].n_tickets()), (0, 0));
    assert!(!two.shards[0].has_mail_for(CoreId(1)));
}

#[test]
fn an_answer_comes_to_a_reply_subscription_that_begins_with_a_wildcard() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("SUB *.r.> 1\r\nSUB a 2\r\n");
    alone.receive(id, hpub("a", "me.r.1", "Mqtt-QoS: 1\r\nMqtt-Retain: 1", "x").as_bytes());
    alone.receive(
        id,
        b"PUB $STRAIT.RETAINED.GET.a me.r.2 0\r\n\r\nPUB $STRAIT.RETAINED.LIST.> me.r.3 0\r\n\r\n",
    );
    alone.shard.tick(alone.now);
    let said = alone.sent(id);
    for reply in ["MSG me.r.1 1 ", "HMSG me.r.2 1 ", "HMSG me.r.3 1 "] {
        assert!(said.contains(reply), "{reply} in {said}");
    }
    assert!(said.contains("NATS/1.0 204"));
    // What the gateway says under its own names is still for those who name it.
    let [all, named] = ["SUB > 1\r\nSUB *.CLIENT.> 2\r\n", "SUB $STRAIT.> 1\r\n"].map(|it| alone.nats(it));
    alone.sent(all);
    alone.sent(named);
    alone.nats("");
    assert_eq!(alone.sent(all), "");
    assert!(alone.sent(named).contains("CONNECTED"));
}

#[test]
fn what_is_retained_is_acknowledged_though_nobody_subscribes_to_it() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("SUB r 1\r\n");
    alone.receive(id, hpub("a", "r", "Mqtt-QoS: 1\r\nMqtt-Retain: 1", "x").as_bytes());
    assert!(alone.sent(id).contains("{\"seq\":1,\"stream\":\"strait\"}"));
    alone.receive(id, hpub("a", "r", "Mqtt-QoS: 1", "x").as_bytes());
    assert!(alone.sent(id).contains("\"code\":503"));
    let too_large = "x".repeat((1 << 16) + 1);
    alone.receive_whole(id, hpub("a", "r", "Mqtt-QoS: 1\r\nMqtt-Retain: 1", &too_large).as_bytes());
    let said = alone.sent(id);
    assert!(said.contains("\"code\":507") && said.contains("at most 65536 bytes of payload"), "{said}");
}

#[test]
fn what_is_not_retained_is_not_acknowledged_though_others_subscribe_to_it() {
    let retained = retained::Limits { messages_max: 0, ..RETAINED };
    let not_offered = Settings { mqtt: MqttSettings { retained, ..settings().mqtt }, ..settings() };
    for (settings, subject, refused, n_counted) in [
        (settings(), "a.b/c", "{\"code\":400,\"description\":\"no topic can spell", (3, 0)),
        (not_offered, "a.b", "{\"code\":507,\"description\":\"retained messages are not offered\"", (0, 3)),
    ] {
        let mut alone = Alone::new(settings);
        let id = alone.nats_at_nth(0, "", "SUB r 1\r\nSUB a.> 2\r\n");
        alone.receive(id, hpub(subject, "r", "Mqtt-QoS: 1\r\nMqtt-Retain: 1", "x").as_bytes());
        let said = alone.sent(id);
        assert!(said.starts_with("MSG r 1 ") && said.contains(refused), "{said}");
        assert_eq!(said.matches("MSG").count(), 1, "nobody else gets it: {said}");
        // Who can't be told so has it delivered.
        for asks in ["", "Mqtt-QoS: 1\r\n"] {
            let reply = if asks.is_empty() { "r" } else { "" };
            alone.receive(id, hpub(subject, reply, &format!("{asks}Mqtt-Retain: 1"), "x").as_bytes());
            assert!(alone.sent(id).starts_with(&format!("HMSG {subject} 2 ")));
        }
        alone.receive(id, format!("PUB $STRAIT.RETAINED.GET.{subject} r 0\r\n\r\n").as_bytes());
        assert!(alone.sent(id).contains("NATS/1.0 404"));
        let counters = alone.shard.counters();
        assert_eq!(counters.n_retained, 0);
        assert_eq!((counters.unmappable, counters.retained_refused), n_counted);
    }
}

#[test]
fn what_is_retained_is_read_and_replayed_as_it_was_said_with_what_is_left_of_its_time() {
    let mut settings = settings();
    settings.nats.replayed = vec![SubjectFilter::parse(b"a.>").unwrap()];
    let mut alone = Alone::new(settings);
    let id = alone.nats("SUB r 1\r\n");
    let odd = "foo:bar\r\nmqtt-message-expiry:  10 \r\nMqtt-Message-Expiry: 10\r\nMqtt-Retain: 1\r\nno line";
    alone.receive(id, hpub("a.b", "", odd, "x").as_bytes());
    alone.now = alone.now + Span::from_secs(4);
    alone.receive(id, b"PUB $STRAIT.RETAINED.GET.a.b r 0\r\n\r\n");
    let left = odd.replace(":  10 ", ":  6 ");
    let block = format!("NATS/1.0\r\n{left}\r\n\r\nx\r\n");
    let said = alone.sent(id);
    assert!(said.ends_with(&block), "{said}");
    let late = alone.connect(Listener::Nats);
    alone.receive(late, b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB a.b 1\r\n");
    let said = alone.sent(late);
    assert!(said.ends_with(&block), "{said}");
}

#[test]
fn what_is_retained_says_its_quality_when_it_is_read_whoever_gave_it_that() {
    let mut settings = settings();
    settings.nats.qualities =
        qualities::Qualities(vec![(SubjectFilter::parse(b"cmd.>").unwrap(), Quality::AtLeastOnce)]);
    let mut alone = Alone::new(settings);
    let id = alone.nats("SUB r 1\r\n");
    for (subject, lines, told) in [
        ("cmd.a", "A: b\r\nMqtt-Retain: 1", "Mqtt-QoS: 1\r\nA: b\r\nMqtt-Retain: 1"),
        ("cmd.b", "Mqtt-QoS: 2\r\nMqtt-Retain: 1", "Mqtt-QoS: 2\r\nMqtt-Retain: 1"),
        ("cmd.c", "Mqtt-QoS: 0\r\nMqtt-Retain: 1", "Mqtt-QoS: 0\r\nMqtt-Retain: 1"),
        ("b", "Mqtt-Retain: 1", "Mqtt-Retain: 1"),
    ] {
        alone.receive(id, hpub(subject, "", lines, "x").as_bytes());
        alone.receive(id, format!("PUB $STRAIT.RETAINED.GET.{subject} r 0\r\n\r\n").as_bytes());
        let said = alone.sent(id);
        assert!(said.ends_with(&format!("\r\nNATS/1.0\r\n{told}\r\n\r\nx\r\n")), "{said}");
    }
}

#[test]
fn a_request_for_what_is_retained_that_names_nothing_is_refused_where_it_can_be_and_else_denied() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("SUB r 1\r\n");
    for verb in ["GET", "GET.", "GET.a.*", "GET.a..b", "LIST", "LIST.", "LIST.a..b"] {
        alone.receive(id, format!("PUB $STRAIT.RETAINED.{verb} r 0\r\n\r\n").as_bytes());
        assert_eq!(alone.sent(id), "HMSG r 1 16 16\r\nNATS/1.0 400\r\n\r\n\r\n", "{verb}");
    }
    for (verb, reply) in [("GET", ""), ("LIST", ""), ("GET.a", ""), ("GETTER", "r "), ("LISTED.a", "r ")] {
        alone.receive(id, format!("PUB $STRAIT.RETAINED.{verb} {reply}0\r\n\r\n").as_bytes());
        let denied = format!("-ERR 'Permissions Violation for Publish to \"$STRAIT.RETAINED.{verb}\"'\r\n");
        assert_eq!(alone.sent(id), denied);
    }
}

#[test]
fn headers_that_ask_for_what_the_gateway_does_not_know_are_counted_once_and_reach_both_worlds() {
    let mut several = several::Several::new(2, settings());
    let readers: Vec<_> = (0..2).map(|core| several.nats(core, "SUB a 1\r\n")).collect();
    let devices: Vec<_> = (0..2).map(|core| several.connect(core, Listener::Mqtt)).collect();
    for (device, name) in devices.iter().zip(["a", "b"]) {
        several.receive(*device, format!("\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01{name}").as_bytes());
        several.receive(*device, b"\x82\x07\0\x01\0\0\x01a\x01");
        several.sent(*device);
    }
    let publisher = several.nats(0, "");
    let block = "NATS/1.0\r\nMqtt-QoS: 7\r\nMqtt-Retain: true\r\n\r\n";
    let n = block.len();
    several.receive(publisher, format!("HPUB a x.# {n} {}\r\n{block}x\r\n", n + 1).as_bytes());
    for reader in readers {
        let said = format!("HMSG a 1 x.# {n} {}\r\n{block}x\r\n", n + 1);
        assert_eq!(String::from_utf8_lossy(&several.sent(reader)), said);
    }
    for device in devices {
        // QoS 0, not retained, and two user properties.
        let properties = b"\x26\0\x08Mqtt-QoS\0\x017\x26\0\x0bMqtt-Retain\0\x04true";
        let said = [&[0x30, 4 + 34 + 1, 0, 1, b'a', 34], &properties[..], b"x"].concat();
        assert_eq!(several.sent(device), said);
    }
    let sum =
        |of: fn(&counters::Counters) -> u64| several.shards.iter().map(|it| of(&it.counters())).sum::<u64>();
    assert_eq!((sum(|it| it.headers_unknown), sum(|it| it.headers_unmappable)), (2, 0));
    // At each of the two devices.
    assert_eq!(sum(|it| it.replies_hidden), 2);
    assert_eq!(sum(|it| it.n_retained), 0);
}
