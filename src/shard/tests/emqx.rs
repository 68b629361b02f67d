//! Clients of a listener with EMQX's mapping: what they reach and what reaches them, and what can't.

use super::*;
use crate::subject::mount::Mountpoint;
use crate::subject::view::Mapping;

/// A gateway whose second listener for NATS exchanges names plainly, and whose third does that in a mount.
fn gateway() -> Alone {
    let mut settings = settings();
    settings.nats.mappings = vec![Mapping::Exact, Mapping::Emqx, Mapping::Emqx];
    let mountpoint = Mountpoint::parse("plant", '.').unwrap().unwrap();
    settings.nats.mountpoints = vec![None, None, Some(Arc::new(mountpoint))];
    Alone::new(settings)
}

#[test]
fn names_are_exchanged_on_their_way_in_and_out() {
    let mut alone = gateway();
    let plain = alone.nats_at_nth(1, "", "SUB a.b.c 1\r\nSUB d.> 2\r\nSUB $x.* 3\r\nSUB ü.* 4\r\n");
    let exact = alone.nats_at_nth(0, "", "SUB > 9\r\n");
    alone.receive(plain, b"PUB a/b.c 1\r\nx\r\nPUB d 1\r\ny\r\nPUB $x.y 1\r\nz\r\n");
    assert_eq!(alone.sent(plain), "MSG a.b.c 1 1\r\nx\r\nMSG d 2 1\r\ny\r\nMSG $x.y 3 1\r\nz\r\n");
    assert_eq!(alone.sent(exact), "MSG a.b.c 9 1\r\nx\r\nMSG d 9 1\r\ny\r\nMSG /24x.y 9 1\r\nz\r\n");
    alone.receive(exact, "PUB ü.d//e 1\r\nx\r\n".as_bytes());
    assert_eq!(alone.sent(plain), "MSG ü.d.e 4 1\r\nx\r\n");
}

#[test]
fn what_has_no_name_there_is_not_delivered_and_counted() {
    let mut alone = gateway();
    let plain = alone.nats_at_nth(1, "", "SUB a.> 1\r\nSUB *.* 2\r\n");
    let exact = alone.nats_at_nth(0, "", "");
    for subject in ["a.b/20c", "a./", "a./2a", "a.x+", "/.z"] {
        alone.receive(exact, format!("PUB {subject} 0\r\n\r\n").as_bytes());
        assert_eq!(alone.sent(plain), "", "{subject}");
    }
    assert_eq!(alone.shard.counters().no_emqx_subject, 9);
    // A wildcard in front sees no `$` topics.
    alone.receive(exact, b"PUB /24q.z 0\r\n\r\nPUB a.b 0\r\n\r\n");
    let sent = alone.sent(plain);
    assert!([1, 2].iter().all(|sid| sent.contains(&format!("MSG a.b {sid} 0\r\n\r\n"))));
    assert_eq!(sent.matches("MSG").count(), 2);
    assert_eq!(alone.shard.counters().no_emqx_subject, 9);
}

#[test]
fn what_has_no_topic_stays_as_it_is_and_a_pedantic_client_hears_of_it() {
    let mut alone = gateway();
    let plain = alone.nats_at_nth(1, ",\"pedantic\":true", "");
    let exact = alone.nats_at_nth(0, "", "SUB > 9\r\n");
    alone.receive(plain, b"PUB a.b+ 0\r\n\r\nPUB a/b 0\r\n\r\n");
    assert_eq!(alone.sent(plain), "-ERR 'Invalid Publish Subject'\r\n");
    assert_eq!(alone.sent(exact), "MSG a.b+ 9 0\r\n\r\nMSG a.b 9 0\r\n\r\n");
}

#[test]
fn the_gateways_names_and_inboxes_can_be_spelled_in_no_other_way() {
    let mut alone = gateway();
    let plain = alone.nats_at_nth(1, "", "");
    for (subject, is_denied) in [
        ("$SYS.x", true),
        ("$SYS/x", true),
        ("$share.g.t", true),
        ("$STRAIT.x", true),
        ("$STRAIT/x.y", false),
        ("_INBOX//x.y", true),
        ("/24SYS.x", false),
        ("_INBOX/strait.0.x", true),
    ] {
        alone.receive(plain, format!("PUB {subject} 0\r\n\r\n").as_bytes());
        let violation = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
        assert_eq!(alone.sent(plain), if is_denied { violation } else { String::new() });
    }
    alone.receive(plain, b"SUB _INBOX/strait.> 1\r\n");
    assert_eq!(alone.sent(plain), "-ERR 'Invalid Subject'\r\n");
    let spy = alone.nats_at_nth(
        0,
        "",
        "SUB _INBOX.> 1\r\nSUB /24SYS.> 2\r\nSUB $STRAIT.> 3\r\nSUB _INBOX//x.> 4\r\n",
    );
    alone.receive(plain, b"PUB _INBOX/a.b 0\r\n\r\nPUB /24SYS.a 0\r\n\r\nPUB $STRAIT/a.b 0\r\n\r\n");
    alone.receive(plain, b"PUB _INBOX//x.y 0\r\n\r\n");
    assert_eq!(alone.sent(spy), "");
}

#[test]
fn no_answer_of_the_gateway_goes_to_a_name_of_its_own() {
    let mut alone = gateway();
    let spy = alone.nats_at_nth(0, "", "SUB /24SYS.> 1\r\nSUB $STRAIT.> 2\r\n");
    let block = "NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n";
    let n = block.len();
    for (nth, replies) in [
        (0, ["/24SYS.broker.version", "/24share.g.t", "$STRAIT.CLIENT.x.CONNECTED"].as_slice()),
        (1, &["$SYS.broker.version", "$share/g.t", "$STRAIT.CLIENT.x.CONNECTED"]),
    ] {
        let client = alone.nats_at_nth(nth, "", "");
        alone.receive(client, format!("HPUB mine {n} {}\r\n{block}forged\r\n", n + 6).as_bytes());
        for reply in replies {
            let asking = "NATS/1.0\r\nMqtt-QoS: 1\r\n\r\n";
            for op in [
                format!("PUB $STRAIT.RETAINED.GET.mine {reply} 0\r\n\r\n"),
                format!("PUB $STRAIT.RETAINED.LIST.> {reply} 0\r\n\r\n"),
                format!("PUB $SYS.REQ.USER.INFO {reply} 0\r\n\r\n"),
                format!("PUB $SYS.REQ.SERVER.PING {reply} 0\r\n\r\n"),
                format!("HPUB x {reply} {0} {0}\r\n{asking}\r\n", asking.len()),
                format!("PUB x {reply} 0\r\n\r\n"),
            ] {
                alone.receive(client, op.as_bytes());
                alone.shard.tick(alone.now);
                let violation =
                    format!("-ERR 'Permissions Violation for Publish with Reply of \"{reply}\"'\r\n");
                assert_eq!(alone.sent(client), violation, "{op}");
            }
        }
    }
    let spied = alone.sent(spy);
    assert!(["broker.version", "share", "CLIENT.x"].iter().all(|name| !spied.contains(name)), "{spied}");
    assert!(alone.shard.effects().requests.is_empty());
    let client = alone.nats_at_nth(1, "", "");
    alone.receive(client, b"PUB $SYS.REQ.USER.INFO in 0\r\n\r\n");
    assert_eq!(alone.shard.effects().requests.len(), 1);
}

#[test]
fn a_group_of_both_kinds_of_client_loses_nothing_of_a_run() {
    let mut alone = gateway();
    let exact = alone.nats_at_nth(0, "", "SUB > q 1\r\n");
    let _plain = alone.nats_at_nth(1, "", "SUB > q 1\r\n");
    let publisher = alone.nats_at_nth(0, "", "");
    // Hidden from the one by its first wildcard, and without a name there.
    for subject in ["/24x.y", "a./"] {
        alone.receive(publisher, format!("PUB {subject} 1\r\na\r\n").repeat(10).as_bytes());
        assert_eq!(alone.sent(exact), format!("MSG {subject} 1 1\r\na\r\n").repeat(10));
    }
    assert_eq!(alone.shard.counters().no_emqx_subject, 0);
}

#[test]
fn a_filters_tokens_are_those_that_everybody_keeps() {
    let mut settings = settings();
    settings.nats.mappings = vec![Mapping::Exact, Mapping::Emqx];
    settings.nats.subscription_tokens_max = 3;
    let mut alone = Alone::new(settings);
    let plain = alone.nats_at_nth(1, "", "");
    alone.receive(plain, b"SUB a/b/c 1\r\nSUB _INBOX.a/b/c/d.x 3\r\n");
    assert_eq!(alone.sent(plain), "");
    alone.receive(plain, b"SUB a/b/c/d 2\r\n");
    assert!(alone.sent(plain).starts_with("-ERR"));
}

#[test]
fn requests_and_their_answers_pass_between_both_kinds_of_listener() {
    let mut alone = gateway();
    let service = alone.nats_at_nth(0, "", "SUB svc.v1//0 q 1\r\n");
    let asker = alone.nats_at_nth(1, ",\"no_responders\":true", "SUB _INBOX.x.* 7\r\n");
    alone.receive(asker, b"PUB svc _INBOX.x.1 0\r\n\r\n");
    // The mount is not shown, not even where the name has none here.
    let mounted = alone.nats_at_nth(2, ",\"no_responders\":true", "SUB _INBOX.x.* 7\r\n");
    alone.receive(mounted, b"PUB /svc _INBOX.x.1 0\r\n\r\n");
    let answer = alone.sent(mounted);
    assert!(answer.contains("503") && !answer.contains("plant"), "{answer}");
    let none = "HMSG _INBOX.x.1 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: svc\r\n\r\n\r\n";
    assert!(alone.sent(asker).contains("Nats-Subject: svc\r\n"), "{none}");
    let inner = alone.nats_at_nth(1, "", "SUB in.* q 1\r\n");
    alone.receive(asker, b"PUB in/x _INBOX.x.2 2\r\nhi\r\n");
    assert_eq!(alone.sent(inner), "MSG in.x 1 _INBOX.x.2 2\r\nhi\r\n");
    alone.receive(inner, b"PUB _INBOX.x.2 2\r\nho\r\n");
    assert_eq!(alone.sent(asker), "MSG _INBOX.x.2 7 2\r\nho\r\n");
    // The service's subject has a dot in a level, which nobody can write here.
    assert_eq!(alone.sent(service), "");
    // A reply that would lead elsewhere is not shown.
    let outside = alone.nats_at_nth(0, "", "");
    alone.receive(
        outside,
        b"PUB in.y re//ply 0\r\n\r\nPUB in.y re.ply 0\r\n\r\nPUB in.y /24JS.ACK.x 0\r\n\r\n",
    );
    assert_eq!(alone.sent(inner), "MSG in.y 1 0\r\n\r\nMSG in.y 1 re.ply 0\r\n\r\nMSG in.y 1 0\r\n\r\n");
    assert_eq!(alone.shard.counters().replies_hidden, 2);
}

#[test]
fn headers_runs_and_groups_come_as_they_do_elsewhere() {
    let mut alone = gateway();
    let plain = alone.nats_at_nth(1, "", "SUB a.> g 1\r\nSUB /a 2\r\n");
    let exact = alone.nats_at_nth(0, "", "");
    let block = "NATS/1.0\r\nA: b\r\n\r\n";
    let n = block.len();
    alone.receive(exact, format!("HPUB a.b {n} {n}\r\n{block}\r\n").as_bytes());
    assert_eq!(alone.sent(plain), format!("HMSG a.b 1 {n} {n}\r\n{block}\r\n"));
    alone.receive(exact, "PUB a 1\r\nx\r\n".repeat(4).as_bytes());
    assert_eq!(alone.sent(plain), "MSG a 1 1\r\nx\r\n".repeat(4));
    alone.receive(plain, "PUB a/b.c 1\r\ny\r\n".repeat(4).as_bytes());
    assert_eq!(alone.sent(plain), "MSG a.b.c 1 1\r\ny\r\n".repeat(4));
    // An empty level can be written and not read.
    alone.receive(plain, b"PUB /a 0\r\n\r\n");
    assert_eq!(alone.sent(plain), "");
    assert_eq!(alone.shard.counters().no_emqx_subject, 1);
}

#[test]
fn what_is_retained_is_read_by_its_name_there() {
    let mut alone = gateway();
    let exact = alone.nats_at_nth(0, "", "");
    let block = "NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n";
    let n = block.len();
    for subject in ["r.a//b", "r.c", "r./"] {
        alone.receive(exact, format!("HPUB {subject} {n} {}\r\n{block}x\r\n", n + 1).as_bytes());
    }
    let plain = alone.nats_at_nth(1, "", "SUB in 1\r\n");
    alone.receive(plain, b"PUB $STRAIT.RETAINED.GET.r/c in 0\r\n\r\n");
    assert!(alone.sent(plain).ends_with("Mqtt-Retain: 1\r\n\r\nx\r\n"));
    alone.receive(plain, b"PUB $STRAIT.RETAINED.LIST.r.* in 0\r\n\r\n");
    alone.shard.tick(alone.now);
    let sent = alone.sent(plain);
    let mut subjects: Vec<_> = sent.lines().filter_map(|line| line.strip_prefix("Nats-Subject: ")).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["r.a.b", "r.c"]);
    alone.receive(plain, b"PUB $STRAIT.RETAINED.GET._INBOX//x.y in 0\r\n\r\n");
    assert!(alone.sent(plain).contains("NATS/1.0 400"));
    // As of `SUB`: the level itself is part of it, and a wildcard in front sees no `$` topics.
    for subject in ["r", "/24q.z"] {
        alone.receive(exact, format!("HPUB {subject} {n} {}\r\n{block}x\r\n", n + 1).as_bytes());
    }
    for (filter, expected) in [("r.>", &["r", "r.a.b", "r.c"][..]), ("*.*", &["r.a.b", "r.c"])] {
        alone.receive(plain, format!("PUB $STRAIT.RETAINED.LIST.{filter} in 0\r\n\r\n").as_bytes());
        (0..4).for_each(|_| alone.shard.tick(alone.now));
        let sent = alone.sent(plain);
        let mut subjects: Vec<_> =
            sent.lines().filter_map(|line| line.strip_prefix("Nats-Subject: ")).collect();
        subjects.sort_unstable();
        assert_eq!(subjects, expected, "{sent}");
        assert_eq!(sent.matches("NATS/1.0 204").count(), 1);
    }
    assert!(sent.contains("NATS/1.0 204"));
    assert_eq!(alone.shard.counters().no_emqx_subject, 3);
}

#[test]
fn a_mount_may_have_that_mapping_as_well() {
    let mut alone = gateway();
    let inside = alone.nats_at_nth(2, "", "SUB > 1\r\n");
    let outside = alone.nats_at_nth(0, "", "SUB plant.> 9\r\n");
    alone.receive(inside, b"PUB a/b r/x 0\r\n\r\n");
    assert_eq!(alone.sent(outside), "MSG plant.a.b 9 plant.r.x 0\r\n\r\n");
    assert_eq!(alone.sent(inside), "MSG a.b 1 r.x 0\r\n\r\n");
}
