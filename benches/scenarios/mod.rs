//! What the benches play, once for all of them: `instructions` counts it and Criterion times it. Not a
//! measurement: a scenario marks the part of itself that counts, and says how many messages that was.

pub mod world;
pub mod turns;
pub mod codecs;
pub mod mapping;
pub mod routes;

use std::time::{Duration, Instant};

/// Something that can be played again and again.
pub trait Scenario {
    /// Plays once, measures what counts of it, and returns how many messages that was.
    fn play(&mut self, meter: &mut Meter) -> u64;
}

/// A scenario as the benches and the budget call it.
pub struct Named {
    pub name: &'static str,
    pub make: fn() -> Box<dyn Scenario>,
}

/// Every scenario whose instructions have a budget.
pub fn all() -> impl Iterator<Item = &'static Named> {
    [turns::ALL, codecs::ALL, mapping::ALL, routes::ALL].into_iter().flatten()
}

/// The parts that count, and their time. Under callgrind only the mark matters.
#[derive(Debug, Default)]
pub struct Meter {
    is_running: bool,
    pub elapsed: Duration,
}

impl Meter {
    /// A meter for what prepares and warms up: it measures nothing.
    pub fn off() -> Self {
        Self::default()
    }

    pub fn on() -> Self {
        Self { is_running: true, ..Self::default() }
    }

    #[inline(always)]
    #[expect(clippy::disallowed_methods, reason = "a bench reads the clock; what it measures does not")]
    pub fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if !self.is_running {
            return work();
        }
        let begun = Instant::now();
        let made = marked(work);
        self.elapsed += begun.elapsed();
        made
    }
}

/// The mark: callgrind collects while a function of this name runs. Never inlined, never within itself.
#[inline(never)]
fn marked<T>(work: impl FnOnce() -> T) -> T {
    work()
}
