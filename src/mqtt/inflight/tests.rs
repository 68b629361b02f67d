//! The window, the identifiers, and what is sent again.

use super::*;
use crate::message::{Origin, ProtocolKind};
use crate::payload::Payload;
use crate::time::Span;
use proptest::prelude::*;
use std::collections::BTreeSet;

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

// [MQTT-4.4.0-1] [MQTT-4.3.3-3] [MQTT-4.3.3-6]
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
    assert_eq!((inflight.n_sent(), inflight.n_bytes()), (0, 0));
}

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
        assert_eq!(wait(b"d", Time::NEVER), Waited { is_kept: true, n_dropped: 0, n_expired: 1 });
        let waited = wait(b"e", Time::NEVER);
        let n_dropped = usize::from(drops_oldest);
        assert_eq!(waited, Waited { is_kept: drops_oldest, n_dropped, n_expired: 0 });
        let first = next(&mut inflight).and_then(|it| it.2);
        assert_eq!(first.as_deref(), Some(if drops_oldest { &b"c"[..] } else { b"b" }));
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
