//! The store against a plain map.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ROOMY: Limits = Limits { messages_max: 1_000, bytes_max: 1 << 20, payload_bytes_max: 1 << 16 };

fn keys() -> Keys {
    Keys::from_seed([1, 2, 3, 4, 5, 6])
}

pub fn message<'a>(subject: &'a [u8], properties: &'a [u8], payload: &'a [u8]) -> Message<'a> {
    Message {
        properties,
        quality: Quality::AtLeastOnce,
        retain: true,
        ..Message::plain(subject, Payload::Copied(payload))
    }
}

fn secs(n: u64) -> Time {
    Time::START + Span::from_secs(n)
}

/// A Message Expiry Interval.
fn expiring(n_secs: u8) -> Vec<u8> {
    vec![2, 0, 0, 0, n_secs]
}

/// All that a walk in slices of `n_looks` finds.
fn walk(store: &Retained, filter: &str, until: u64, now: Time, n_looks: usize) -> Vec<(Vec<u8>, u64)> {
    let filter = SubjectFilter::parse(filter.as_bytes()).unwrap();
    let mut cursor = Cursor::default();
    let mut all = Vec::new();
    loop {
        let mut found = Vec::new();
        let mut budget = Budget { n_looks, n_found: 2 };
        let is_done = store.walk(&mut cursor, &filter, until, now, &mut budget, &mut found);
        // One that there was no room for is come upon again.
        if !is_done && found.len() == 2 {
            found.pop();
            cursor = found[0].cursor();
        }
        all.extend(found.iter().map(|it| (it.kept.subject().to_vec(), it.kept.version())));
        if is_done {
            all.sort();
            return all;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(&'static str, Option<u8>),
    Clear(&'static str),
    Walk(&'static str),
    Pass(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let subject = || prop::sample::select(vec!["a", "a.b", "a.b.c", "a-b", "b.a.c", "/24x.a", "a.b-.c", "b"]);
    let filter = prop::sample::select(vec!["a", "a.b", "a.*", "a.>", ">", "*", "*.*.c", "a.*.c", "b.*.*"]);
    prop_oneof![
        6 => (subject(), proptest::option::weighted(0.3, 0u8..20)).prop_map(|(at, life)| Step::Set(at, life)),
        2 => subject().prop_map(Step::Clear),
        4 => filter.prop_map(Step::Walk),
        2 => (0u64..6).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #[test]
    fn it_keeps_what_a_plain_map_would(
        steps in proptest::collection::vec(step(), 1..80),
        n_looks in 1usize..5,
        messages_max in 1usize..8,
    ) {
        let store = Retained::new(Limits { messages_max, ..ROOMY }, &keys());
        let mut map: BTreeMap<&str, (u64, Time)> = BTreeMap::new();
        let (mut now, mut newest) = (Time::START, 0);
        for step in steps {
            match step {
                Step::Set(subject, life) => {
                    let properties = life.map_or(Vec::new(), expiring);
                    let set = store.set(&message(subject.as_bytes(), &properties, b"x"), 7, ProtocolKind::Mqtt, now);
                    let has_room = map.contains_key(subject) || map.len() < messages_max;
                    prop_assert_eq!(set.is_ok(), has_room);
                    if let Ok(version) = set {
                        prop_assert!(version > newest);
                        newest = version;
                        let expires_at = life.map_or(Time::NEVER, |life| now + Span::from_secs(life.into()));
                        map.insert(subject, (version, expires_at));
                    }
                }
                Step::Clear(subject) => {
                    newest = store.set(&message(subject.as_bytes(), b"", b""), 7, ProtocolKind::Mqtt, now).unwrap();
                    map.remove(subject);
                }
                Step::Walk(filter) => {
                    let parsed = SubjectFilter::parse(filter.as_bytes()).unwrap();
                    for until in [newest / 2, newest] {
                        let expected: Vec<_> = map
                            .iter()
                            .filter(|(at, it)| parsed.matches(at.as_bytes()) && it.0 <= until && it.1 > now)
                            .map(|(at, it)| (at.as_bytes().to_vec(), it.0))
                            .collect();
                        prop_assert_eq!(walk(&store, filter, until, now, n_looks), expected);
                    }
                    // What a walk over a whole stripe comes upon and has expired is gone.
                    if parsed.has_wildcard() {
                        map.retain(|at, it| it.1 > now || !at.starts_with(std::str::from_utf8(literal_prefix(&parsed)).unwrap()));
                    }
                }
                Step::Pass(n) => now = now + Span::from_secs(n),
                Step::Sweep => {
                    let mut budget = Budget { n_looks: 1_000, n_found: 1 };
                    prop_assert!(store.sweep(&mut Cursor::default(), now, &mut budget));
                    map.retain(|_, it| it.1 > now);
                }
            }
            prop_assert_eq!(store.len(), map.len());
            prop_assert_eq!(store.version(), newest);
            prop_assert_eq!(store.n_bytes() == 0, map.is_empty());
        }
    }
}

#[test]
fn what_comes_back_is_what_was_set_with_the_seconds_that_are_left() {
    let store = Retained::new(ROOMY, &keys());
    let large = vec![7; 2_000];
    for payload in [b"small".as_slice(), &large] {
        let set = message(b"a.b", &[2, 0, 0, 0, 10], payload);
        let version = store.set(&set, 7, ProtocolKind::Mqtt, secs(1)).unwrap();
        let mut found = Vec::new();
        let filter = SubjectFilter::parse(b"a.b").unwrap();
        let mut budget = Budget { n_looks: 1, n_found: 1 };
        assert!(store.walk(&mut Cursor::default(), &filter, version, secs(4), &mut budget, &mut found));
        let kept = &found[0].kept;
        let back = kept.message();
        assert_eq!((back.subject, back.properties), (&b"a.b"[..], set.properties));
        assert_eq!((back.payload.as_slice(), back.quality), (payload, Quality::AtLeastOnce));
        assert_eq!((kept.secs_left(secs(4)), kept.secs_left(secs(40))), (Some(7), Some(0)));
    }
}

#[test]
fn limits_hold_and_what_is_kept_stays_when_its_successor_is_refused() {
    let limits = Limits { messages_max: 10, bytes_max: 400, payload_bytes_max: 150 };
    let store = Retained::new(limits, &keys());
    let set = |subject: &[u8], len: usize| {
        store.set(&message(subject, b"", &vec![1; len]), 7, ProtocolKind::Mqtt, secs(0))
    };
    assert_eq!(set(b"a", 151), Err(Full(Limit::RetainedPayload)));
    assert_eq!(set(b"a", 100), Ok(1));
    assert_eq!(set(b"b", 100), Err(Full(Limit::RetainedBytes)));
    assert_eq!(set(b"a", 150), Ok(2));
    assert_eq!(set(b"a", 151), Err(Full(Limit::RetainedPayload)));
    assert_eq!(walk(&store, "a", 2, secs(0), 1), [(b"a".to_vec(), 2)]);
    assert_eq!((store.len(), store.n_bytes()), (1, 1 + 150 + OVERHEAD_BYTES));
    assert_eq!(set(b"a", 0), Ok(3));
    assert_eq!((store.len(), store.n_bytes()), (0, 0));
}

#[test]
fn a_slice_of_a_walk_looks_at_no_more_than_it_may() {
    let store = Retained::new(Limits { messages_max: 100_000, bytes_max: 1 << 30, ..ROOMY }, &keys());
    for n in 0..20_000 {
        store
            .set(&message(format!("dev.{n}").as_bytes(), b"", b"x"), 7, ProtocolKind::Mqtt, secs(0))
            .unwrap();
    }
    let filter = SubjectFilter::parse(b"dev.*.none").unwrap();
    let (mut cursor, mut n_slices) = (Cursor::default(), 1);
    let slice = || Budget { n_looks: 100, n_found: 10 };
    while !store.walk(&mut cursor, &filter, u64::MAX, secs(0), &mut slice(), &mut Vec::new()) {
        n_slices += 1;
    }
    assert!((200..=201).contains(&n_slices), "{n_slices}");
    // A literal prefix that nothing has costs nothing.
    let filter = SubjectFilter::parse(b"other.>").unwrap();
    assert!(store.walk(&mut Cursor::default(), &filter, u64::MAX, secs(0), &mut slice(), &mut Vec::new()));
}

#[test]
fn a_look_at_a_long_subject_counts_as_many() {
    let store = Retained::new(Limits { messages_max: 1_000, bytes_max: 1 << 30, ..ROOMY }, &keys());
    for n in 0..100 {
        let subject = format!("{}{n}", "a.".repeat(BYTES_PER_LOOK * 10 / 2));
        store.set(&message(subject.as_bytes(), b"", b"x"), 7, ProtocolKind::Mqtt, secs(0)).unwrap();
    }
    let filter = SubjectFilter::parse(b"a.>").unwrap();
    let (mut cursor, mut n_found, mut n_slices) = (Cursor::default(), 0, 0);
    loop {
        let (mut found, mut budget) = (Vec::new(), Budget { n_looks: 50, n_found: 100 });
        let is_done = store.walk(&mut cursor, &filter, u64::MAX, secs(0), &mut budget, &mut found);
        n_found += found.len();
        n_slices += 1;
        if is_done {
            break;
        }
        // Eleven each, and the last is looked at however little is left.
        assert_eq!(found.len(), 5);
    }
    assert_eq!((n_found, n_slices), (100, 21));
}
