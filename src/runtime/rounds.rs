//! What a core does, round after round: it looks into its inbox, at the time, and at the connections that its
//! ring tells of; where nothing is left it waits.
//!
//! While there is traffic it waits in its own ring, which takes one system call; going to sleep in the
//! executor and waking there takes ten. An idle core sleeps in the executor.

use super::connection::serve;
use super::core::{Core, finish_turn};
use super::inbox::take_in;
use super::ring::Waiting;
use crate::time::Time;
use futures_lite::future::{or, poll_fn};
use glommio::timer::Timer;
use std::time::Duration;

/// Connections that are served in a round, so that mail and time are looked at in between, and full reads
/// among them, which take much longer.
const SERVED_MAX: usize = 32;
const FULL_READS_MAX: usize = 4;

/// How long a core waits in its own ring before it goes to sleep: longer than the gaps in any traffic whose
/// cost can be seen.
const LINGER: Duration = Duration::from_millis(20);

/// Never ends.
pub async fn run(mut core: Core) {
    let mut waiting = Waiting::default();
    loop {
        while round(&mut core) {}
        // Who sends from now on rings, and what was sent before is found by one more round.
        core.mesh.begin_look(core.id);
        if !round(&mut core) && !wait(&mut core, LINGER) {
            sleep(&core, &mut waiting).await;
        }
        core.mesh.will_look_again(core.id);
    }
}

/// Whether there was anything to do, so that there may be more.
fn round(core: &mut Core) -> bool {
    let mut has_found = take_in(core);
    let now = core.clock.now();
    if core.shard.wake_at().is_some_and(|at| at <= now) {
        core.shard.tick(now);
        finish_turn(core);
        has_found = true;
    }
    core.hear_ring();
    let (mut n_served, mut n_full_reads) = (0, 0);
    while n_served < SERVED_MAX
        && n_full_reads < FULL_READS_MAX
        && let Some(id) = core.next_ready()
    {
        n_full_reads += usize::from(serve(core, id));
        n_served += 1;
    }
    core.report();
    has_found || n_served > 0 || core.ring.has_requests()
}

/// Waits for the ring; whether it had something to tell, or something is due, before `at_most` was over.
fn wait(core: &mut Core, at_most: Duration) -> bool {
    let until_due = until_due(core);
    core.ring.wait(until_due.unwrap_or(at_most).min(at_most)) || until_due.is_some_and(|due| due <= at_most)
}

/// How long until the shard wants to be told the time.
fn until_due(core: &Core) -> Option<Duration> {
    let at = core.shard.wake_at().filter(|at| *at < Time::NEVER)?;
    Some(Duration::from_nanos(at.since(core.clock.now()).as_nanos()))
}

/// Sleeps in the executor until the ring has something to tell, or something is due.
async fn sleep(core: &Core, waiting: &mut Waiting) {
    let told = poll_fn(|cx| waiting.poll(&core.ring, cx));
    let Some(until_due) = until_due(core) else { return told.await };
    let due = async {
        Timer::new(until_due).await;
    };
    or(told, due).await;
}
