//! The window, the identifiers, and what is sent again.

use super::*;
use crate::message::{Origin, ProtocolKind};
use crate::mqtt::change;
use crate::mqtt::share::Share;
use crate::payload::Payload;
use crate::subject::SubjectFilter;
use crate::time::Span;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::rc::Rc;

const LIMITS: Limits = Limits { messages_max: 3, bytes_max: 1_000, drops_oldest: false };

fn kept(payload: &[u8], quality: Quality) -> Kept<'_> {
    let origin = Origin { protocol: ProtocolKind::Nats, read_at: Time::START };
    let payload = Payload::Copied(payload);
    Kept {
        topic: b"t",
        properties: b"",
        payload,
        quality,
        retain: false,
        expires_at: Time::NEVER,
        origin,
        share: None,
        with_queue: false,
    }
}

/// What would be written: the identifier, whether again, and the payload or nothing for PUBREL.
fn next(inflight: &mut Inflight) -> Option<(u16, bool, Option<Vec<u8>>)> {
    match inflight.next(Time::START, &mut 0)? {
        Next::Publish { packet_id, dup, kept } => {
            Some((packet_id, dup, Some(kept.payload.as_slice().to_vec())))
        }
        Next::Pubrel { packet_id } => Some((packet_id, false, None)),
    }
}

proptest! {
    // [MQTT-2.2.1-4] [MQTT-3.3.4-9] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]
    // [MQTT-4.9.0-1] [MQTT-4.9.0-2]
    // 3.1.1: [MQTT-2.3.1-4]
    #[test]
    fn identifiers_under_way_are_distinct_and_within_the_window(
        steps in proptest::collection::vec((any::<bool>(), 0usize..8), 0..300),
        window in 1u16..10,
        first_id in prop_oneof![Just(1u16), Just(65_530)],
    ) {
        let mut inflight = Inflight { first_id, ..Inflight::new(window, 1 << 20) };
        let mut under_way = BTreeSet::new();
        for (begin, nth) in steps {
            if begin && inflight.is_open() {
                let id = inflight.begin(&kept(b"x", Quality::AtLeastOnce));
                prop_assert!(id != 0 && under_way.insert(id));
            } else if let Some(&id) = under_way.iter().nth(nth) {
                under_way.remove(&id);
                prop_assert_eq!(inflight.puback(id), Acknowledged::Done);
                prop_assert_eq!(inflight.puback(id), Acknowledged::Unknown);
            }
            prop_assert!(under_way.len() <= usize::from(window));
            prop_assert_eq!(inflight.puback(0), Acknowledged::Unknown);
        }
    }
}

proptest! {
    /// The naive twin is told of each by itself.
    #[test]
    fn acknowledgements_in_a_row_do_what_each_of_them_does(
        steps in proptest::collection::vec((0u16..30, proptest::collection::vec(0u16..12, 0..12)), 1..30),
        window in 1u16..20,
        first_id in prop_oneof![Just(1u16), Just(65_530)],
        sent_bytes_max in prop_oneof![Just(40usize), Just(1 << 20)],
    ) {
        let new = || {
            let mut inflight = Inflight { first_id, ..Inflight::new(window, sent_bytes_max) };
            inflight.diary().open();
            inflight
        };
        let (mut together, mut apart) = (new(), new());
        for (n, acked) in steps {
            let quality = if n % 7 == 6 { Quality::ExactlyOnce } else { Quality::AtLeastOnce };
            let message = kept(b"xyz", quality);
            let n_open = together.n_open(message.n_bytes());
            let mut n_begun = 0;
            together.reserve(n_open, message.n_bytes());
            while n_begun < usize::from(n) && apart.is_open() {
                prop_assert_eq!(together.begin(&message), apart.begin(&message));
                n_begun += 1;
            }
            prop_assert_eq!(n_begun, n_open.min(n.into()));
            // Mostly the oldest in their order; then any.
            let in_order = (0..).take(acked.len()).map(|nth| nth_id_after(apart.first_id, nth));
            let acked: Vec<_> = in_order.zip(&acked).map(|(id, other)| match other {
                0..9 => id,
                _ => nth_id_after(id, usize::from(*other)),
            }).collect();
            let n_oldest = together.pubacks(acked.iter().copied());
            let (oldest, others) = acked.split_at(n_oldest);
            for id in oldest {
                prop_assert_eq!(apart.puback(*id), Acknowledged::Done);
            }
            for id in others {
                prop_assert_eq!(together.puback(*id), apart.puback(*id));
            }
            let (mut here, mut there) = (Vec::new(), Vec::new());
            together.write(&mut here);
            apart.write(&mut there);
            prop_assert_eq!(here, there);
            prop_assert_eq!((together.n_under_way, together.n_current), (apart.n_under_way, apart.n_current));
            prop_assert_eq!(together.n_bytes(), apart.n_bytes());
            prop_assert_eq!(together.diary().take(), apart.diary().take());
        }
    }
}

// [MQTT-4.4.0-1] [MQTT-4.3.3-3] [MQTT-4.3.3-6]
// [MQTT-4.3.2-3] [MQTT-4.3.3-5] [MQTT-4.6.0-1]
// 3.1.1: [MQTT-2.3.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.4.0-1] [MQTT-4.6.0-1]
#[test]
fn what_was_not_acknowledged_is_sent_again_first_in_order_and_under_its_identifiers() {
    let mut inflight = Inflight::new(10, 1 << 20);
    for (payload, quality) in [
        (b"a", Quality::AtLeastOnce),
        (b"b", Quality::ExactlyOnce),
        (b"c", Quality::AtLeastOnce),
        (b"d", Quality::ExactlyOnce),
    ] {
        inflight.begin(&kept(payload, quality));
    }
    assert_eq!(inflight.puback(3), Acknowledged::Done);
    assert_eq!(inflight.pubrec(2, false), Acknowledged::Release);
    inflight.suspend();
    assert!(inflight.wait(&kept(b"e", Quality::AtLeastOnce), &LIMITS, Time::START).is_kept);
    inflight.resume(10);
    assert!(!inflight.is_open());
    assert_eq!(next(&mut inflight), Some((1, true, Some(b"a".to_vec()))));
    assert_eq!(next(&mut inflight), Some((2, false, None)));
    assert_eq!(next(&mut inflight), Some((4, true, Some(b"d".to_vec()))));
    assert_eq!(next(&mut inflight), Some((5, false, Some(b"e".to_vec()))));
    assert_eq!(next(&mut inflight), None);
}

// [MQTT-3.3.4-9]: the new connection's Receive Maximum holds for what is sent again.
#[test]
fn a_repetition_waits_for_the_new_window() {
    let mut inflight = Inflight::new(10, 1 << 20);
    for _ in 0..3 {
        inflight.begin(&kept(b"x", Quality::AtLeastOnce));
    }
    inflight.suspend();
    inflight.resume(1);
    assert_eq!(next(&mut inflight).map(|it| it.0), Some(1));
    assert_eq!(next(&mut inflight), None);
    assert_eq!(inflight.puback(1), Acknowledged::Done);
    assert_eq!(next(&mut inflight).map(|it| it.0), Some(2));
}

// [MQTT-4.4.0-2]
#[test]
fn a_refusing_pubrec_and_a_pubcomp_end_the_flow() {
    let mut inflight = Inflight::new(2, 1 << 20);
    for _ in 0..2 {
        inflight.begin(&kept(b"x", Quality::ExactlyOnce));
    }
    assert_eq!(inflight.puback(1), Acknowledged::Mismatched);
    assert_eq!(inflight.pubcomp(1), Acknowledged::Mismatched);
    assert_eq!(inflight.pubrec(1, true), Acknowledged::Done);
    assert_eq!(inflight.pubrec(1, false), Acknowledged::Unknown);
    assert!(inflight.is_open());
    assert_eq!(inflight.pubrec(2, false), Acknowledged::Release);
    assert_eq!(inflight.pubrec(2, false), Acknowledged::Release);
    assert_eq!(inflight.pubcomp(2), Acknowledged::Done);
    assert_eq!((inflight.has_unanswered(), inflight.n_bytes()), (false, 0));
}

// [MQTT-4.3.3-7] [MQTT-4.3.3-13]
#[test]
fn a_full_queue_drops_the_newest_or_the_oldest_and_the_expired_first() {
    let at = Time::START + Span::from_secs(5);
    for drops_oldest in [false, true] {
        let limits = Limits { drops_oldest, ..LIMITS };
        let mut inflight = Inflight::new(1, 1 << 20);
        let mut wait = |payload: &[u8], expires_at| {
            let kept = Kept { expires_at, ..kept(payload, Quality::AtLeastOnce) };
            inflight.wait(&kept, &limits, at)
        };
        assert!(wait(b"a", Time::START + Span::from_secs(1)).is_kept);
        assert!(wait(b"b", Time::NEVER).is_kept && wait(b"c", Time::NEVER).is_kept);
        assert_eq!(wait(b"d", Time::NEVER), Waited { is_kept: true, n_expired: 1, ..Waited::default() });
        let waited = wait(b"e", Time::NEVER);
        let n_dropped = usize::from(drops_oldest);
        assert_eq!(waited, Waited { is_kept: drops_oldest, n_dropped, ..Waited::default() });
        let first = next(&mut inflight).and_then(|it| it.2);
        assert_eq!(first.as_deref(), Some(if drops_oldest { &b"c"[..] } else { b"b" }));
    }
}

#[test]
fn a_full_queue_says_whether_bytes_were_in_the_way() {
    for drops_oldest in [false, true] {
        let wait = |inflight: &mut Inflight, payload: &[u8], limits: &Limits| {
            inflight.wait(&kept(payload, Quality::AtLeastOnce), limits, Time::START).lacks_bytes
        };
        let mut inflight = Inflight::new(1, 1 << 20);
        let limits = Limits { messages_max: 2, drops_oldest, ..LIMITS };
        let found = [b"a", b"b", b"c"].map(|payload| wait(&mut inflight, payload, &limits));
        assert_eq!(found, [false; 3]);
        let tight = Limits { messages_max: 9, bytes_max: inflight.n_bytes(), ..limits };
        assert!(wait(&mut inflight, b"d", &tight));
    }
}

#[test]
fn one_that_is_never_acknowledged_holds_no_more_than_the_limit() {
    let mut inflight = Inflight::new(100, 1_000);
    let mut n_sent = 0;
    while inflight.is_open() {
        let id = inflight.begin(&kept(&[0; 100], Quality::AtLeastOnce));
        if id > 1 {
            inflight.puback(id);
        }
        n_sent += 1;
    }
    assert_eq!(n_sent, 10);
    assert_eq!(inflight.puback(1), Acknowledged::Done);
    assert!(inflight.is_open() && inflight.n_bytes() == 0);
}

/// One step of a session's life, with a number to choose by.
fn step(inflight: &mut Inflight, what: u8, n: u8, now: &mut Time) {
    let quality = if n.is_multiple_of(2) { Quality::AtLeastOnce } else { Quality::ExactlyOnce };
    let share =
        Rc::new(Share { name: b"g"[..].into(), filter: SubjectFilter::parse(b"t.>").expect("it is one") });
    let payload = vec![n; usize::from(n) * 16];
    let expires_at = if n.is_multiple_of(3) { *now + Span::from_millis(u64::from(n)) } else { Time::NEVER };
    let share = (n.is_multiple_of(5)).then_some(&share);
    let kept = Kept { expires_at, share, retain: n.is_multiple_of(7), ..kept(&payload, quality) };
    let id = nth_id_after(inflight.first_id, usize::from(n % 4));
    match what {
        0 if inflight.is_open() => drop(inflight.begin(&kept)),
        0 | 1 => drop(inflight.wait(&kept, &Limits { drops_oldest: n.is_multiple_of(2), ..LIMITS }, *now)),
        2 => drop(inflight.next(*now, &mut 0)),
        3 => drop(inflight.puback(id)),
        4 => drop(inflight.pubrec(id, n.is_multiple_of(8))),
        5 => drop(inflight.pubcomp(id)),
        6 => inflight.give_up(id),
        7 => inflight.suspend(),
        8 => drop(inflight.take_unsent_shared()),
        _ => *now = *now + Span::from_millis(u64::from(n)),
    }
}

proptest! {
    #[test]
    fn what_is_written_down_is_what_there_is(
        steps in proptest::collection::vec((0u8..10, any::<u8>()), 0..200),
        shift in prop_oneof![Just(0i64), Just(-5_000_000), Just(5_000_000)],
    ) {
        let mut inflight = Inflight { first_id: 65_533, ..Inflight::new(4, 1 << 20) };
        let mut whole = Vec::new();
        inflight.write(&mut whole);
        inflight.diary().open();
        let mut again = Inflight::new(1, usize::MAX);
        let mut now = Time::START + Span::from_millis(100);
        for (what, n) in steps {
            step(&mut inflight, what, n, &mut now);
            whole.extend(inflight.diary().take());
        }
        change::read(&whole, shift, |change| again.apply(change)).expect("it was written");
        let (mut here, mut there) = (Vec::new(), Vec::new());
        inflight.write(&mut here);
        again.write(&mut there);
        if shift == 0 {
            prop_assert_eq!(&here, &there);
        }
        // And said whole it is the same once more.
        let mut third = Inflight::new(1, usize::MAX);
        change::read(&here, shift, |change| third.apply(change)).expect("it was written");
        here.clear();
        third.write(&mut here);
        prop_assert_eq!(here, there);
        again.settle_down(1 << 20);
        again.resume(5);
        while next(&mut again).is_some() {}
    }

    #[test]
    fn changes_that_nobody_wrote_are_refused_and_nothing_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kinds in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..20), 0..20),
    ) {
        for (at, kind) in kinds.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            *at.get_mut(&mut bytes) = *kind;
        }
        let mut inflight = Inflight::new(4, 1 << 20);
        let _ = change::read(&bytes, i64::MIN, |change| inflight.apply(change));
        inflight.resume(5);
        inflight.suspend();
        while next(&mut inflight).is_some() {}
    }
}
