//! Thousands of seeds, and the proof that each kind of broken promise is found.

use super::persistence::{Persistence, Plan};
use super::{Failure, Kind, Lie, Part, run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of a default run; `STRAIT_SIM_SEEDS` asks for more.
const N_SEEDS: u64 = 4_000;

// [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-3.3.1-8] [MQTT-3.3.1-9]
// [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.3.2-3] [MQTT-3.8.4-3] [MQTT-3.8.4-4] [MQTT-3.14.4-1]
// [MQTT-3.14.4-2] [MQTT-4.6.0-5] [MQTT-4.6.0-6]
// 3.1.1: [MQTT-3.1.4-4] [MQTT-3.2.0-1] [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-3.3.1-12] [MQTT-4.6.0-5]
// 3.1.1: [MQTT-4.6.0-6]
#[test]
fn every_promise_holds_in_every_world() {
    if let Some(seed) = number("STRAIT_SIM_SEED") {
        return run(seed, Lie::None).unwrap_or_else(|failure| report(&failure));
    }
    let once_failing = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    for seed in once_failing.filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        run(seed, Lie::None).unwrap_or_else(|failure| report(&failure));
    }
    let first = number("STRAIT_SIM_FIRST").unwrap_or(1);
    let end = first + number("STRAIT_SIM_SEEDS").unwrap_or(N_SEEDS);
    if let Some(failure) = first_failure(first, end, Lie::None) {
        report(&failure);
    }
}

#[test]
fn a_batch_that_overtakes_another_is_found() {
    assert_found(Lie::Reordered, &[Kind::Order]);
}

#[test]
fn a_lost_batch_is_found() {
    assert_found(Lie::Dropped, &[Kind::Missing, Kind::Stuck]);
}

#[test]
fn a_batch_that_comes_twice_is_found() {
    assert_found(Lie::Doubled, &[Kind::NotDue]);
}

#[test]
fn interest_that_is_acknowledged_before_it_is_applied_is_found() {
    assert_found(Lie::InterestLate, &[Kind::Missing]);
}

#[test]
fn a_barrier_that_does_not_wait_is_found() {
    assert_found(Lie::AcknowledgedAhead, &[Kind::Missing, Kind::NotDue]);
}

#[test]
fn a_drain_that_does_not_wait_for_the_other_cores_is_found() {
    assert_found(Lie::DrainedAhead, &[Kind::Missing]);
}

#[test]
fn an_acknowledgement_before_all_have_taken_the_message_is_found() {
    assert_found(Lie::TakenAhead, &[Kind::NotDue, Kind::Receipt]);
}

#[test]
fn an_acknowledgement_that_never_comes_or_comes_twice_is_found() {
    assert_found(Lie::Unheard(Part::Acknowledgement), &[Kind::Missing]);
    assert_found(Lie::HeardTwice(Part::Acknowledgement), &[Kind::NotDue]);
}

#[test]
fn a_retained_message_that_is_read_late_or_not_or_twice_is_found() {
    assert_found(Lie::Unheard(Part::Reading), &[Kind::Missing]);
    assert_found(Lie::HeardTwice(Part::Reading), &[Kind::NotDue]);
    assert_found(Lie::Stale(Part::Reading), &[Kind::Content]);
}

#[test]
fn a_replay_to_nats_that_never_comes_or_comes_twice_is_found() {
    assert_found(Lie::Unheard(Part::Replay), &[Kind::Missing]);
    assert_found(Lie::HeardTwice(Part::Replay), &[Kind::NotDue]);
}

#[test]
fn an_answer_of_mqtt_to_a_request_of_nats_that_never_comes_or_comes_twice_is_found() {
    assert_found(Lie::Unheard(Part::Answer), &[Kind::Missing]);
    assert_found(Lie::HeardTwice(Part::Answer), &[Kind::NotDue]);
}

#[test]
fn an_answer_by_topic_that_never_comes_or_comes_twice_is_found() {
    assert_found(Lie::Unheard(Part::AnswerByTopic), &[Kind::Missing]);
    assert_found(Lie::HeardTwice(Part::AnswerByTopic), &[Kind::NotDue]);
}

#[test]
fn a_client_that_is_not_asked_by_topics_or_whose_answers_are_no_answers_is_found() {
    assert_found(Lie::NobodyAskedByTopic, &[Kind::Content]);
    assert_found(Lie::AnswersByTopicUnknown, &[Kind::Missing]);
    assert_found(Lie::AnswersByTopicUnknown, &[Kind::Content]);
}

#[test]
fn a_rule_that_gives_way_to_a_later_one_or_holds_before_a_header_is_found() {
    assert_found(Lie::RulesReversed, &[Kind::NotDue]);
    assert_found(Lie::RuleBeforeHeader, &[Kind::NotDue]);
}

#[test]
fn a_client_that_comes_or_goes_unseen_or_twice_is_found() {
    assert_found(Lie::Unheard(Part::Presence), &[Kind::Missing]);
    assert_found(Lie::HeardTwice(Part::Presence), &[Kind::NotDue]);
}

#[test]
fn names_that_are_not_exchanged_as_emqx_does_are_found() {
    assert_found(Lie::MappedExactly, &[Kind::Missing, Kind::NotDue]);
}

#[test]
fn what_no_rate_and_no_limit_of_the_unconnected_keeps_back_is_found() {
    assert_found(Lie::AnyRate, &[Kind::Bound]);
    assert_found(Lie::AnyByteRate, &[Kind::Bound]);
    assert_found(Lie::AnyUnconnected, &[Kind::Bound]);
    assert_found(Lie::AnyUnconnectedBytes, &[Kind::Bound]);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The first failure that any of as many threads as there are processors comes upon.
fn first_failure(first: u64, end: u64, lie: Lie) -> Option<Failure> {
    let next = AtomicU64::new(first);
    let n_threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return None;
            }
            if let Err(failure) = run(seed, lie) {
                next.store(end, Ordering::Relaxed);
                return Some(failure);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("a panic of a shard is caught")).next()
    })
}

fn report(failure: &Failure) {
    let Failure { seed, violation, trace } = failure;
    let trace = trace.join("\n");
    panic!(
        "{trace}\n\n{:?}: {}\nreplay: STRAIT_SIM_SEED={seed} cargo test --lib sim::tests::every_promise",
        violation.kind, violation.what
    );
}

/// Within some thousand seeds, mostly within some ten, the lie breaks the promise that it is about.
fn assert_found(lie: Lie, kinds: &[Kind]) {
    let found = (1..=5_000)
        .find_map(|seed| run(seed, lie).err().filter(|failure| kinds.contains(&failure.violation.kind)));
    assert!(found.is_some(), "{lie:?} was never found out as one of {kinds:?}");
}

/// What a world of sessions came to.
fn persistence(seed: u64, plan: Plan, n_returns: usize) -> Result<(), String> {
    let run = || Persistence::new(seed, plan).run(plan, n_returns);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(violation)) => Err(format!("seed {seed}: {:?}: {}", violation.kind, violation.what)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("seed {seed} panics: {}", text.unwrap_or_default()))
        }
    }
}

/// Clients that come and go while messages are under way.
const COMING_AND_GOING: Plan = Plan {
    n_subscribers: 3,
    n_publishers: 2,
    n_without_session: 1,
    n_messages: 30,
    n_returns_in_thousand: 20,
    n_crashes: 0,
    store_lies: false,
    is_shared: false,
};

// [MQTT-4.4.0-1] [MQTT-4.3.2-5] [MQTT-4.3.3-13] [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-3.1.2-5]
// [MQTT-4.3.3-8] [MQTT-4.3.3-10]
#[test]
fn sessions_lose_and_double_nothing_however_their_clients_come_back() {
    for seed in 1..=number("STRAIT_SIM_SESSION_SEEDS").unwrap_or(600) {
        persistence(seed, COMING_AND_GOING, 30).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

// [MQTT-4.8.2-4]
#[test]
fn sessions_that_share_lose_nothing_and_have_qos_2_once_among_them() {
    let plan = Plan { is_shared: true, ..COMING_AND_GOING };
    for seed in 1..=number("STRAIT_SIM_SESSION_SEEDS").unwrap_or(400) {
        persistence(seed, plan, 30).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

// [MQTT-4.4.0-1] [MQTT-4.1.0-2]
#[test]
fn what_was_acknowledged_outlives_a_crash_of_the_gateway() {
    for seed in 1..=number("STRAIT_SIM_SESSION_SEEDS").unwrap_or(600) {
        let plan = Plan { n_crashes: 8, ..COMING_AND_GOING };
        persistence(seed, plan, 30).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_store_that_says_too_early_that_it_keeps_something_is_found() {
    let plan = Plan { n_crashes: 8, store_lies: true, ..COMING_AND_GOING };
    assert!((1..=600).any(|seed| persistence(seed, plan, 30).is_err()));
}

#[test]
fn what_nats_was_told_to_be_kept_too_early_is_found() {
    let plan = Plan { n_publishers: 0, n_without_session: 2, ..COMING_AND_GOING };
    let plan = Plan { n_crashes: 8, store_lies: true, ..plan };
    assert!((1..=600).any(|seed| persistence(seed, plan, 30).is_err()));
}

// [MQTT-3.1.4-3]
#[test]
fn ten_thousand_take_overs_from_all_cores_leave_one_connection_each_and_lose_nothing() {
    let plan = Plan {
        n_subscribers: 4,
        n_publishers: 4,
        n_without_session: 0,
        n_messages: 100,
        n_returns_in_thousand: 150,
        ..COMING_AND_GOING
    };
    for seed in 1..=4 {
        persistence(seed, plan, 2_500).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
