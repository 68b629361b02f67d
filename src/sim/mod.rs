//! Several shards in one thread, with clients, mail and a clock that one seed moves: split reads, late mail,
//! drops, slow readers, take-overs. An oracle that knows nothing of tries, caches or cores says what is due.
//! Not the sockets, the channels or the scheduler: `runtime` has those, and its own tests.
//!
//! One seed is one world and repeats exactly; a failing one prints the command that replays it.

mod world;

mod link;

mod driver;

mod client;
mod mqtt_client;
mod nats_client;
mod wire;

mod persistence;
mod session_client;
mod store;

mod record;
mod names;
mod oracle;
mod own;
mod groups;
mod crossing;
mod by_topic;
mod limiting;
mod retained;
mod reading;
mod presence;
mod quiet;
mod leave;

mod faults;
mod scenario;

mod chance;

pub use faults::{Kind, Lie, Part, Violation};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a seed came to, if it broke a promise.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub violation: Violation,
    /// The last steps before it.
    pub trace: Vec<String>,
}

/// How many steps a failure shows.
const N_TRACED: usize = 80;

/// Lives through the world of `seed`, with a driver that tells `lie`.
pub fn run(seed: u64, lie: Lie) -> Result<(), Failure> {
    let Err(_) = attempt(seed, lie, false).0 else { return Ok(()) };
    // Once more with a trace, which costs too much to write for seeds that hold.
    let (result, mut trace) = attempt(seed, lie, true);
    trace.drain(..trace.len().saturating_sub(N_TRACED));
    let missed =
        Violation { kind: Kind::Panic, what: "it does not fail again: the world does not repeat".into() };
    Err(Failure { seed, violation: result.err().unwrap_or(missed), trace })
}

fn attempt(seed: u64, lie: Lie, is_traced: bool) -> (faults::Check, Vec<String>) {
    let mut world = world::World::new(seed, lie, is_traced);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let trace = std::mem::take(&mut world.steps_taken);
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { kind: Kind::Panic, what: text.unwrap_or_default() })
    });
    (result, trace)
}

#[cfg(test)]
mod tests;
