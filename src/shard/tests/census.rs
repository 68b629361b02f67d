//! What an operator sees of connections, and what clients ask of the server itself.

use super::super::census::{Answer, ENDED_MAX, Question, SLICE, Seen, Traffic};
use super::super::closed::Closed;
use super::*;

/// All that a question has for an answer, and in how many slices.
fn connections(shard: &Shard) -> (Vec<Seen>, usize) {
    let (mut all, mut from, mut n_slices) = (Vec::new(), Some(0), 0);
    while let Some(place) = from {
        let Answer::Connections { found, next } = shard.look(Question::Connections { from: place }) else {
            panic!("another question was answered");
        };
        assert!(found.len() <= SLICE);
        all.extend(found);
        (from, n_slices) = (next, n_slices + 1);
    }
    (all, n_slices)
}

fn ended(shard: &Shard) -> Vec<Seen> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let Answer::Ended { found, next } = shard.look(Question::Ended { from: place }) else {
            panic!("another question was answered");
        };
        assert!(found.len() <= SLICE);
        all.extend(found);
        from = next;
    }
    all
}

#[test]
fn any_number_of_connections_is_seen_in_slices_without_those_that_have_gone() {
    let mut alone = Alone::new(settings());
    let ids: Vec<_> = (0..3 * SLICE).map(|_| alone.connect(Listener::Nats)).collect();
    for id in ids.iter().step_by(2) {
        alone.shard.release(*id, alone.now);
    }
    let (seen, n_slices) = connections(&alone.shard);
    assert_eq!(seen.len(), 3 * SLICE / 2);
    assert_eq!(n_slices, 3);
    assert_eq!(ended(&alone.shard).len(), 3 * SLICE / 2);
}

#[test]
fn a_connection_is_seen_with_what_it_told_and_what_it_moved() {
    let mut alone = Alone::new(settings());
    let subscriber = alone.nats("SUB a.* 1\r\nSUB b q 2\r\nUNSUB 2 9\r\n");
    let publisher = alone.connect(Listener::Nats);
    alone.receive(publisher, b"CONNECT {\"verbose\":false,\"name\":\"n\",\"lang\":\"l\",\"user\":\"u\"}\r\n");
    alone.receive_whole(publisher, b"PUB a.b 5\r\nhello\r\nPUB a.c 1\r\nx\r\nPUB nobody 0\r\n\r\n");
    let (seen, _) = connections(&alone.shard);
    let [of_subscriber, of_publisher] = [&seen[0], &seen[1]];
    assert_eq!((of_publisher.name.as_deref(), of_publisher.user.as_deref()), (Some("n"), Some("u")));
    assert_eq!((of_publisher.traffic.n_in, of_publisher.traffic.in_bytes), (3, 6));
    let traffic = of_subscriber.traffic;
    assert_eq!((traffic.n_out, traffic.out_bytes, of_subscriber.n_subscriptions), (2, 6, 2));
    let question = Question::Subscriptions { of: subscriber, from: 0 };
    let Answer::Subscriptions { found, next: None } = alone.shard.look(question) else {
        panic!("two subscriptions are one slice");
    };
    let told: Vec<_> = found.iter().map(|one| (one.subject.as_str(), one.n_delivered, one.max)).collect();
    assert_eq!(told, [("a.*", Some(2), None), ("b", Some(0), Some(9))]);
    assert_eq!((found[1].group.as_deref(), found[1].sid.as_str()), (Some("q"), "2"));
}

#[test]
fn a_header_block_counts_where_it_is_sent() {
    let mut alone = Alone::new(settings());
    let [without, both] = [false, true].map(|headers| {
        let id = alone.connect(Listener::Nats);
        let connect = format!("CONNECT {{\"verbose\":false,\"headers\":{headers}}}\r\nSUB a 1\r\n");
        alone.receive(id, connect.as_bytes());
        id
    });
    alone.receive_whole(both, b"HPUB a 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    let (seen, _) = connections(&alone.shard);
    let traffic = |id| seen.iter().find(|seen| seen.id == id).unwrap().traffic;
    assert_eq!(traffic(without), Traffic { n_in: 0, in_bytes: 0, n_out: 1, out_bytes: 2 });
    assert_eq!(traffic(both), Traffic { n_in: 1, in_bytes: 20, n_out: 1, out_bytes: 20 });
    let counters = alone.shard.counters();
    assert_eq!((counters.published_header_bytes, counters.delivered_header_bytes), (18, 18));
}

#[test]
fn a_round_trip_is_that_of_connect_until_a_ping_is_answered_that_was_asked_for() {
    let mut alone = Alone::new(settings());
    let id = alone.connect(Listener::Nats);
    let round_trip = |alone: &Alone| connections(&alone.shard).0[0].round_trip;
    assert_eq!(round_trip(&alone), None);
    alone.now = alone.now + Span::from_millis(3);
    alone.receive(id, b"CONNECT {}\r\n");
    alone.receive(id, b"PONG\r\n");
    assert_eq!(round_trip(&alone), Some(Span::from_millis(3)));
    alone.now = alone.now + Span::from_secs(5);
    alone.shard.tick(alone.now);
    assert!(alone.sent(id).contains("PING"));
    alone.now = alone.now + Span::from_millis(7);
    alone.receive(id, b"PONG\r\n");
    alone.now = alone.now + Span::from_millis(7);
    alone.receive(id, b"PONG\r\n");
    assert_eq!(round_trip(&alone), Some(Span::from_millis(7)));
}

#[test]
fn the_last_that_ended_are_remembered_with_their_reason_and_no_more_of_them() {
    let mut alone = Alone::new(settings());
    for _ in 0..ENDED_MAX + 5 {
        let id = alone.connect(Listener::Nats);
        alone.receive(id, b"NONSENSE\r\n");
    }
    let ended = ended(&alone.shard);
    assert_eq!(ended.len(), ENDED_MAX);
    assert!(ended.iter().all(|one| matches!(one.end, Some((_, Closed::Nats(_))))));
    // A question that comes late goes on with the oldest there is.
    let late = alone.shard.look(Question::Ended { from: 3 });
    assert!(matches!(late, Answer::Ended { found, .. } if found.len() == SLICE));
}

#[test]
fn a_request_to_the_server_is_answered_by_the_driver_and_goes_to_nobody_else() {
    let mut alone = Alone::new(settings());
    let listener = alone.nats("SUB $SYS.REQ.> 1\r\nSUB inbox 2\r\n");
    let client = alone.nats("");
    alone.receive(client, b"PUB $SYS.REQ.USER.INFO inbox 0\r\n\r\n");
    let requests = std::mem::take(&mut alone.shard.effects().requests);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].asked, nats::connection::ServerRequest::UserInfo);
    assert_eq!(alone.sent(listener), "");
    alone.shard.answer(&requests[0], b"{}", alone.now);
    assert_eq!(alone.sent(listener), "MSG inbox 2 2\r\n{}\r\n");
    // Without a reply subject there is nobody to answer.
    alone.receive(client, b"PUB $SYS.REQ.USER.INFO 0\r\n\r\n");
    assert!(alone.shard.effects().requests.is_empty());
    assert_eq!(alone.sent(listener), "MSG $SYS.REQ.USER.INFO 1 0\r\n\r\n");
}
