//! The one timer of a core: it fires when the shard's earliest deadline is due.

use super::core::{SharedCore, turn};
use crate::time::Time;
use glommio::timer::Timer;
use std::time::Duration;

/// Fires at `at`. A later one that is armed already fires as well and finds nothing due.
pub fn arm(shared: &SharedCore, at: Time) {
    let wait = Duration::from_nanos(at.since(shared.borrow().clock.now()).as_nanos());
    let shared = shared.clone();
    glommio::spawn_local(async move {
        Timer::new(wait).await;
        turn(&shared, |core| {
            if core.armed_until == at {
                core.armed_until = Time::NEVER;
            }
            core.shard.tick(core.clock.now());
        });
    })
    .detach();
}
