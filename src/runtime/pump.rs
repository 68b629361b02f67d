//! The task that takes in what other threads send to a core: mail, moved connections, accepted ones, and
//! the word to stop. It never ends.

use super::core::{Core, SharedCore, accept, arrive, see_to, turn};
use super::mesh::Content;
use futures_lite::future::poll_fn;
use glommio::timer::Timer;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// Accepted connections taken in one turn: an accept costs more than a mail.
const ACCEPTED_PER_TURN: usize = 32;

/// How long a wake-up that the executor loses goes unnoticed.
const NUDGE: Duration = Duration::from_millis(200);

pub fn spawn(shared: &SharedCore) {
    let (core, mesh) = (shared.borrow().id, shared.borrow().mesh.clone());
    // Foreign wake-ups have been seen to get lost while a core falls asleep; its own timers are not.
    glommio::spawn_local(async move {
        loop {
            Timer::new(NUDGE).await;
            mesh.nudge(core);
        }
    })
    .detach();
    let shared = shared.clone();
    glommio::spawn_local(async move { poll_fn(|cx| turn(&shared, |core| poll(core, cx))).await }).detach();
}

fn poll(core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
    let mesh = core.mesh.clone();
    mesh.begin_look(core.id, cx.waker());
    if mesh.is_stopping.load(Ordering::SeqCst) && !std::mem::replace(&mut core.is_stopping, true) {
        core.shard.shut_down(core.clock.now());
    }
    // What was there at the start, always and however full our own outboxes are: two cores that each
    // waited for room at the other would wait for ever.
    for _ in 0..mesh.n_parcels(core.id) {
        let Some(parcel) = mesh.next_parcel(core.id) else { break };
        match parcel.content {
            Content::Mail(batch) => core.shard.mail(parcel.from, &batch, core.clock.now()),
            Content::Moved(socket, moved) => arrive(core, socket, moved),
        }
        mesh.return_credit(parcel.from, core.id);
        // Each by itself: a subscriber is written to, and its publishers hear that it falls behind, before
        // the next batch comes on top.
        see_to(core);
    }
    take_accepted(core);
    if mesh.n_parcels(core.id) > 0 || mesh.n_accepted(core.id) > 0 {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}

fn take_accepted(core: &mut Core) {
    for _ in 0..ACCEPTED_PER_TURN {
        let Some(accepted) = core.mesh.next_accepted(core.id) else { return };
        if core.is_stopping {
            core.mesh.n_connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        accept(core, accepted);
    }
}
