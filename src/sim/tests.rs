//! Thousands of worlds, each from its seed; and lying drivers, to prove that the oracle bites.

use super::*;
use std::panic::catch_unwind;
use std::thread::ScopedJoinHandle;

/// Steps of one world.
const N_STEPS: usize = 1_200;

/// How many worlds a test run plays; `STRAIT_SIM_SEEDS` asks for more.
const N_SEEDS: u64 = 3_000;

/// Seeds that failed once.
const ONCE_FAILED: &str = include_str!("seeds.txt");

fn hold(seed: u64) {
    let violations = catch_unwind(|| play(seed, N_STEPS, Lie::Nothing));
    let wrong = match violations {
        Ok(violations) if violations.is_empty() => return,
        Ok(violations) => violations.iter().take(5).map(|wrong| format!("  {wrong}\n")).collect(),
        Err(_) => "  a panic, see above\n".to_owned(),
    };
    panic!("seed {seed}:\n{wrong}replay: STRAIT_SIM_SEED={seed} cargo test --lib sim::tests::worlds\n");
}

#[test]
fn worlds_hold_what_the_oracle_expects() {
    if let Ok(seed) = std::env::var("STRAIT_SIM_SEED") {
        return hold(seed.parse().expect("a seed is a number"));
    }
    ONCE_FAILED.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).for_each(hold);
    let n_seeds =
        std::env::var("STRAIT_SIM_SEEDS").map_or(N_SEEDS, |n| n.parse().expect("a number of seeds"));
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let failed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads)
            .map(|first| scope.spawn(move || (first..n_seeds).step_by(n_threads as usize).for_each(hold)))
            .collect();
        threads.into_iter().map(ScopedJoinHandle::join).filter(Result::is_err).count()
    });
    assert_eq!(failed, 0, "a world failed, see above");
}

/// Plays worlds until one shows a violation of the wanted kind.
fn is_caught(lie: Lie, is_wanted: impl Fn(&Violation) -> bool) -> bool {
    (0..400).any(|seed| play(seed, N_STEPS, lie).iter().any(&is_wanted))
}

#[test]
fn mail_that_overtakes_mail_is_noticed() {
    assert!(is_caught(Lie::Overtaking, |wrong| matches!(wrong, Violation::Order(_))));
}

#[test]
fn a_subscription_that_a_core_only_claims_to_know_is_noticed() {
    assert!(is_caught(Lie::ForgedFence, |wrong| matches!(wrong, Violation::Missing(_))));
}

#[test]
fn a_lost_batch_is_noticed() {
    assert!(is_caught(Lie::LostBatch, |wrong| matches!(wrong, Violation::Missing(_) | Violation::Stuck(_))));
}

#[test]
fn a_batch_that_comes_twice_is_noticed() {
    assert!(is_caught(Lie::DoubledBatch, |wrong| matches!(wrong, Violation::NotDue(_))));
}
