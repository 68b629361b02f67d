//! Clients whose names are mounted: what they see, what others see of them, and what stays apart.

use super::*;
use crate::subject::mount::Mountpoint;

/// The listeners of these tests, by their places: one that mounts nothing, and others.
const MOUNTPOINTS: [&str; 5] = ["", "east", "west", "t.${username}", "east.line"];

fn gateway() -> Alone {
    let mut settings = settings();
    let mountpoint = |text| Mountpoint::parse(text, '.').unwrap().map(Arc::new);
    settings.nats.mountpoints = MOUNTPOINTS.map(mountpoint).to_vec();
    Alone::new(settings)
}

impl Alone {
    fn nats_at(&mut self, mountpoint: &str, more: &str, ops: &str) -> ConnectionId {
        let nth = MOUNTPOINTS.iter().position(|it| *it == mountpoint).unwrap() as u16;
        self.nats_at_nth(nth, more, ops)
    }
}

#[test]
fn a_mount_is_seen_by_others_and_not_by_its_clients() {
    let mut alone = gateway();
    let east = alone.nats_at("east", "", "SUB > 1\r\nSUB a.* 2\r\n");
    let west = alone.nats_at("west", "", "SUB > 1\r\n");
    let all = alone.nats_at("", "", "SUB > 1\r\n");
    alone.receive(east, b"PUB a.b r.1 2\r\nhi\r\n");
    assert_eq!(alone.sent(east), "MSG a.b 1 r.1 2\r\nhi\r\nMSG a.b 2 r.1 2\r\nhi\r\n");
    assert_eq!(alone.sent(west), "");
    assert_eq!(alone.sent(all), "MSG east.a.b 1 east.r.1 2\r\nhi\r\n");
    alone.receive(all, b"PUB east.a.b 2\r\nho\r\nPUB a.b 2\r\nno\r\n");
    assert_eq!(alone.sent(east), "MSG a.b 1 2\r\nho\r\nMSG a.b 2 2\r\nho\r\n");
    assert_eq!(alone.sent(all), "MSG east.a.b 1 2\r\nho\r\nMSG a.b 1 2\r\nno\r\n");
}

#[test]
fn a_request_is_answered_within_its_mount_and_by_a_service_outside_of_all() {
    let mut alone = gateway();
    let service = alone.nats_at("", "", "SUB east.ask 1\r\n");
    let asker = alone.nats_at("east", ",\"no_responders\":true", "SUB _INBOX.x.* 7\r\n");
    let spy = alone.nats_at("west", "", "SUB _INBOX.> 1\r\nSUB > 2\r\n");
    alone.receive(asker, b"PUB ask _INBOX.x.1 0\r\n\r\n");
    assert_eq!(alone.sent(service), "MSG east.ask 1 east._INBOX.x.1 0\r\n\r\n");
    alone.receive(service, b"PUB east._INBOX.x.1 2\r\n42\r\n");
    assert_eq!(alone.sent(asker), "MSG _INBOX.x.1 7 2\r\n42\r\n");
    alone.receive(asker, b"PUB nobody _INBOX.x.2 0\r\n\r\n");
    let expected = "HMSG _INBOX.x.2 7 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n";
    assert_eq!(alone.sent(asker), expected);
    assert_eq!(alone.sent(spy), "");
}

#[test]
fn a_reply_that_its_reader_could_not_address_is_not_shown_and_counted() {
    let mut alone = gateway();
    let east = alone.nats_at("east", "", "SUB a 1\r\n");
    let outside = alone.nats_at("", "", "");
    alone.receive(outside, b"PUB east.a _INBOX.1 0\r\n\r\nPUB east.a east.r 0\r\n\r\n");
    assert_eq!(alone.sent(east), "MSG a 1 0\r\n\r\nMSG a 1 r 0\r\n\r\n");
    assert_eq!(alone.shard.counters().replies_hidden, 1);
}

#[test]
fn headers_large_payloads_runs_and_many_subscribers_come_as_without_a_mount() {
    let mut alone = gateway();
    let east = alone.nats_at("east", "", "SUB a 1\r\nSUB a 22\r\nSUB b 3\r\nSUB b q 4\r\n");
    let outside = alone.nats_at("", "", "SUB east.> 9\r\n");
    let block = "NATS/1.0\r\nA:b\r\n\r\n";
    let n = block.len();
    alone.receive(east, format!("HPUB a {n} {}\r\n{block}hi\r\n", n + 2).as_bytes());
    let of = |sid| format!("HMSG a {sid} {n} {}\r\n{block}hi\r\n", n + 2);
    assert_eq!(alone.sent(east), of(1) + &of(22));
    let _ = alone.sent(outside);
    alone.receive(east, "PUB b 1\r\nx\r\n".repeat(3).as_bytes());
    assert_eq!(alone.sent(outside), "MSG east.b 9 1\r\nx\r\n".repeat(3));
    let mut messages: Vec<_> = alone.sent(east).split_inclusive("x\r\n").map(str::to_owned).collect();
    messages.sort();
    let expected = ["MSG b 3 1\r\nx\r\n", "MSG b 4 1\r\nx\r\n"].map(|text| vec![text; 3]).concat();
    assert_eq!(messages, expected);
    let large = "y".repeat(10_000);
    alone.receive_whole(outside, format!("PUB east.b 10000\r\n{large}\r\n").as_bytes());
    let sent = alone.sent(east);
    assert_eq!(sent.matches(&format!("MSG b 3 10000\r\n{large}\r\n")).count(), 1);
    assert_eq!(sent.matches(&format!("MSG b 4 10000\r\n{large}\r\n")).count(), 1);
}

#[test]
fn a_mount_within_another_is_seen_from_there() {
    let mut alone = gateway();
    let line = alone.nats_at("east.line", "", "SUB a 1\r\n");
    let east = alone.nats_at("east", "", "SUB > 1\r\n");
    alone.receive(line, b"PUB a r 0\r\n\r\n");
    assert_eq!(alone.sent(line), "MSG a 1 r 0\r\n\r\n");
    assert_eq!(alone.sent(east), "MSG line.a 1 line.r 0\r\n\r\n");
}

#[test]
fn each_user_has_a_mount_and_none_can_spell_anothers() {
    let mut alone = gateway();
    let all = alone.nats_at("", "", "SUB t.> 1\r\n");
    for (user, mount) in
        [("ann", "ann"), ("a.b", "a%2Eb"), ("*", "%2A"), (">", "%3E"), (" ", "%20"), ("_INBOX", "%5FINBOX")]
    {
        let more = format!(",\"user\":\"{user}\"");
        let [id, twin] = [(); 2].map(|()| alone.nats_at("t.${username}", &more, "SUB > 1\r\n"));
        let other = alone.nats_at("t.${username}", ",\"user\":\"bob\"", "SUB > 1\r\nSUB t.*.* 2\r\n");
        alone.receive(id, b"PUB x.y 0\r\n\r\n");
        assert_eq!(alone.sent(twin), "MSG x.y 1 0\r\n\r\n");
        assert_eq!(alone.sent(other), "");
        assert_eq!(alone.sent(all), format!("MSG t.{mount}.x.y 1 0\r\n\r\n"));
        alone.shard.end_of_input(twin, false, alone.now);
    }
}

#[test]
fn a_client_is_at_the_mount_of_nobody_until_it_says_who_it_is() {
    let mut alone = gateway();
    let all = alone.nats_at("", "", "SUB t.> 1\r\n");
    let door = Door { listener: Listener::Nats, nth: 3 };
    let id = alone.shard.accept(door, "127.0.0.1:9".parse().unwrap(), 0, alone.now);
    alone.receive(id, b"SUB a 1\r\nPUB b 0\r\n\r\n");
    assert_eq!(alone.sent(all), "MSG t._.b 1 0\r\n\r\n");
    alone.receive(id, b"CONNECT {\"verbose\":false,\"user\":\"ann\"}\r\nPUB b 0\r\n\r\n");
    assert_eq!(alone.sent(all), "MSG t.ann.b 1 0\r\n\r\n");
    alone.sent(id);
    // What it had there is gone, as what precedes a second CONNECT is.
    alone.receive(all, b"PUB t._.a 0\r\n\r\nPUB t.ann.a 0\r\n\r\n");
    assert_eq!(alone.sent(id), "");
    alone.receive(id, b"SUB a 2\r\nCONNECT {\"user\":\"ann\"}\r\nSUB a 3\r\n");
    alone.receive(all, b"PUB t.ann.a 0\r\n\r\n");
    assert!(alone.sent(id).ends_with("MSG a 3 0\r\n\r\n"));
}

#[test]
fn a_user_name_that_a_mount_has_no_room_for_is_refused() {
    let mut alone = gateway();
    let more = format!(",\"user\":\"{}\"", "u".repeat(2_000));
    let door = Door { listener: Listener::Nats, nth: 3 };
    let id = alone.shard.accept(door, "127.0.0.1:9".parse().unwrap(), 0, alone.now);
    alone.sent(id);
    alone.receive(id, format!("CONNECT {{\"verbose\":false{more}}}\r\n").as_bytes());
    assert_eq!(alone.sent(id), "-ERR 'Authorization Violation'\r\n");
    assert!(alone.shard.is_closing(id));
}

#[test]
fn a_mounted_client_asks_the_server_who_it_is_and_nothing_more() {
    let mut alone = gateway();
    let id = alone.nats_at("east", ",\"no_responders\":true", "SUB r.* 1\r\n");
    alone.receive(id, b"PUB $SYS.REQ.USER.INFO r.1 0\r\n\r\nPUB $SYS.REQ.SERVER.PING r.2 0\r\n\r\n");
    let requests = std::mem::take(&mut alone.shard.effects().requests);
    assert_eq!(requests.len(), 1);
    alone.shard.answer(&requests[0], b"{}", alone.now);
    let sent = alone.sent(id);
    assert!(sent.contains("Nats-Subject: $SYS.REQ.SERVER.PING\r\n"), "{sent}");
    assert!(sent.ends_with("MSG r.1 1 2\r\n{}\r\n"), "{sent}");
}

#[test]
fn limits_and_errors_are_about_what_the_client_wrote() {
    let mut alone = gateway();
    let id = alone.nats_at("east", ",\"pedantic\":true", "SUB a..b 1\r\n");
    alone.receive(id, b"SUB a..b 1\r\n");
    assert_eq!(alone.sent(id), "-ERR 'Invalid Subject'\r\n");
    alone.receive(id, b"PUB /24SYS.x 0\r\n\r\n");
    assert_eq!(alone.sent(id), "-ERR 'Permissions Violation for Publish to \"/24SYS.x\"'\r\n");
    let long = "s".repeat(4_080);
    let reader = alone.nats_at("east", "", "SUB > 1\r\n");
    alone.receive(id, format!("PUB {long} 0\r\n\r\n").as_bytes());
    assert_eq!(alone.sent(reader), format!("MSG {long} 1 0\r\n\r\n"));
}

#[test]
fn clients_that_share_a_mount_for_want_of_a_user_name_are_told_of_once_an_hour() {
    let mut alone = gateway();
    let told = super::log::lines(|| {
        alone.nats_at("t.${username}", ",\"user\":\"ann\"", "");
        alone.nats_at("east", "", "");
        alone.nats_at("", "", "");
    });
    assert!(told.is_empty(), "{told:#?}");
    let told = super::log::lines(|| {
        for _ in 0..3 {
            alone.nats_at("t.${username}", ",\"name\":\"probe\"", "");
        }
        alone.now = alone.now + Span::from_secs(3_600);
        alone.nats_at("t.${username}", ",\"user\":\"\"", "");
    });
    assert_eq!(told.len(), 2, "{told:#?}");
    let parts = ["WARN", "name=\"probe\"", "127.0.0.1:9", "mount=t._.>"];
    assert!(parts.iter().all(|part| told[0].contains(part)), "{told:#?}");
    assert!(!told[0].contains("n_before") && told[1].contains("n_before=2"), "{told:#?}");
}
