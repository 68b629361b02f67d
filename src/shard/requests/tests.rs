//! What is remembered of requests, for how long, and how their reply subjects are spelled.

use super::*;

fn requests(per_client_max: usize, bytes_max: usize) -> Requests {
    let limits = Limits { timeout: Span::from_secs(60), per_client_max, bytes_max };
    Requests::new(limits, &Keys::from_seed([1, 2, 3, 4, 5, 6]))
}

fn topic(len: usize) -> Way {
    Way::Topic { topic: vec![b't'; len].into(), correlation: Some([0; 10].into()) }
}

fn at(secs: u64) -> Time {
    Time::START + Span::from_secs(secs)
}

#[test]
fn a_reply_subject_says_its_core_and_its_request() {
    for (core, token) in [(0, 0), (3, 7), (1_023, u128::MAX)] {
        let mut subject = Vec::new();
        write_subject(CoreId(core), token, &mut subject);
        assert_eq!(read_subject(&subject), Some((CoreId(core), token)));
        assert!(subject.len() <= GATEWAY_INBOX.len() + 38);
    }
    let token = "0123456789abcdef0123456789abcdef";
    for wrong in [
        "_INBOX.strait.".into(),
        "_INBOX.strait.0.".into(),
        format!("_INBOX.strait.{token}"),
        format!("_INBOX.strait..{token}"),
        format!("_INBOX.strait.+1.{token}"),
        format!("_INBOX.strait.70000.{token}"),
        format!("_INBOX.strait.0.{token}0"),
        format!("_INBOX.strait.0.{token}.x"),
        format!("_INBOX.strait.0.+{}", &token[1..]),
        format!("_INBOX.strait.0.{}", token.to_uppercase()),
    ] {
        assert_eq!(read_subject(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn a_request_is_forgotten_when_its_time_is_up() {
    let mut requests = requests(10, 1 << 20);
    requests.enter(1, b"c", topic(1), at(0));
    requests.enter(2, b"c", topic(1), at(5));
    assert_eq!(requests.wake_at(), Some(at(60)));
    assert!(requests.get(1, at(59)).is_some());
    assert!(requests.get(1, at(60)).is_none(), "also where nobody has looked at the time");
    requests.expire(at(60));
    assert_eq!((requests.n_open(), requests.wake_at()), (1, Some(at(65))));
    requests.expire(at(65));
    assert_eq!((requests.n_open(), requests.n_bytes(), requests.of_asker.len()), (0, 0, 0));
}

#[test]
fn a_clients_oldest_goes_for_one_too_many_and_others_keep_theirs() {
    let mut requests = requests(2, 1 << 20);
    requests.enter(1, b"other", topic(1), at(0));
    assert_eq!(requests.enter(2, b"c", topic(1), at(1)), Gone::default());
    assert_eq!(requests.enter(3, b"c", topic(1), at(2)), Gone::default());
    assert_eq!(requests.enter(4, b"c", topic(1), at(3)), Gone { n_own: 1, n_oldest: 0 });
    let is_there = |token| requests.get(token, at(4)).is_some();
    assert_eq!([1, 2, 3, 4].map(is_there), [true, false, true, true]);
}

#[test]
fn both_limits_may_be_in_the_way_of_one_request() {
    let mut requests = requests(2, 3 * REQUEST_BYTES + 40);
    requests.enter(1, b"other", topic(1), at(0));
    (2..4).for_each(|token| assert_eq!(requests.enter(token, b"c", topic(1), at(1)), Gone::default()));
    assert_eq!(requests.enter(4, b"c", topic(100), at(2)), Gone { n_own: 1, n_oldest: 1 });
}

#[test]
fn the_memory_of_requests_is_bounded_and_what_is_gone_leaves_nothing() {
    let mut requests = requests(1_000_000, 100 * (REQUEST_BYTES + 1_000));
    let mut n_gone = 0;
    for token in 0..10_000 {
        n_gone += requests.enter(token, b"c", topic(990), at(token as u64 / 1_000)).n_oldest;
        assert!(requests.n_open() <= 100 && requests.ages.len() <= 2 * requests.n_open() + 65);
    }
    assert_eq!((n_gone, requests.n_open()), (9_900, 100));
    requests.forget_client(b"c");
    assert_eq!((requests.n_open(), requests.n_bytes(), requests.of_asker.len()), (0, 0, 0));
    requests.enter(1, b"c", topic(1), at(11));
    assert!(requests.ages.len() <= 70);
}
