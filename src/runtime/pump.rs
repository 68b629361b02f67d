//! The task that takes in what other threads send to a core: mail, moved connections, accepted ones, and
//! the word to stop. It never ends.

use super::core::{Core, SharedCore, accept, arrive, see_to, turn};
use super::mesh::Content;
use futures_lite::AsyncRead;
use futures_lite::future::poll_fn;
use glommio::net::TcpStream;
use socket2::Socket;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// Accepted connections taken in one turn: an accept costs more than a mail.
const ACCEPTED_PER_TURN: usize = 32;

/// Starts the task. `bell` is what the mesh rings for this core.
pub fn spawn(shared: &SharedCore, bell: Socket) {
    let shared = shared.clone();
    // Of any stream socket.
    let mut bell = TcpStream::from(bell);
    glommio::spawn_local(async move { poll_fn(|cx| turn(&shared, |core| poll(core, &mut bell, cx))).await })
        .detach();
}

fn poll(core: &mut Core, bell: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    while let Poll::Ready(Ok(1..)) = Pin::new(&mut *bell).poll_read(cx, &mut [0; 64]) {
        core.passed_ring();
    }
    let mesh = core.mesh.clone();
    mesh.begin_look(core.id);
    if mesh.is_leaving.load(Ordering::SeqCst) && !std::mem::replace(&mut core.is_leaving, true) {
        core.shard.begin_lame_duck(core.clock.now());
    }
    if mesh.is_stopping.load(Ordering::SeqCst) && !std::mem::replace(&mut core.is_stopping, true) {
        core.shard.begin_drain(core.clock.now());
    }
    let mut has_found = false;
    // What was there at the start, always and however full our own outboxes are: two cores that each
    // waited for room at the other would wait for ever.
    for _ in 0..mesh.n_parcels(core.id) {
        let Some(parcel) = mesh.next_parcel(core.id) else { break };
        has_found = true;
        match parcel.content {
            Content::Mail(batch) => core.shard.mail(parcel.from, &batch, core.clock.now()),
            Content::Moved(socket, moved) => arrive(core, socket, moved),
        }
        mesh.return_credit(parcel.from, core.id);
        // Each by itself: a subscriber is written to, and its publishers hear that it falls behind, before
        // the next batch comes on top.
        see_to(core);
    }
    has_found |= take_accepted(core);
    if has_found {
        // Where there was something there is more to come, and it need not ring.
        mesh.will_look_again(core.id);
        core.go_on(cx.waker());
    }
    Poll::Pending
}

fn take_accepted(core: &mut Core) -> bool {
    for n_taken in 0..ACCEPTED_PER_TURN {
        let Some(accepted) = core.mesh.next_accepted(core.id) else { return n_taken > 0 };
        if core.is_leaving || core.is_stopping {
            core.mesh.discharge(accepted.door);
            continue;
        }
        accept(core, accepted);
    }
    true
}
