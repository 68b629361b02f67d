//! What other threads send to a core: mail, moved connections, accepted ones, and the word to stop.

use super::connection::serve;
use super::core::{Core, accept, arrive, finish_turn, see_to};
use super::mesh::Content;
use std::sync::atomic::Ordering;

/// Accepted connections taken in one turn: an accept costs more than a mail.
const ACCEPTED_PER_TURN: usize = 32;

/// Takes in what is there, as one turn; whether that was anything.
pub fn take_in(core: &mut Core) -> bool {
    let mut has_found = false;
    if core.mesh.is_leaving.load(Ordering::SeqCst) && !std::mem::replace(&mut core.is_leaving, true) {
        core.shard.begin_lame_duck(core.clock.now());
        has_found = true;
    }
    if core.mesh.is_stopping.load(Ordering::SeqCst) && !std::mem::replace(&mut core.is_stopping, true) {
        core.shard.begin_drain(core.clock.now());
        has_found = true;
    }
    // What was there at the start, always and however full our own outboxes are: two cores that each
    // waited for room at the other would wait for ever.
    for _ in 0..core.mesh.n_parcels(core.id) {
        let Some(parcel) = core.mesh.next_parcel(core.id) else { break };
        has_found = true;
        match parcel.content {
            Content::Mail(batch) => core.shard.mail(parcel.from, &batch, core.clock.now()),
            Content::Moved(socket, moved) => {
                if let Some(id) = core.shard.predecessor(&moved) {
                    serve(core, id);
                }
                arrive(core, socket, moved);
            }
        }
        core.mesh.return_credit(parcel.from, core.id);
        // Each by itself: a subscriber is written to, and its publishers hear that it falls behind, before
        // the next batch comes on top.
        see_to(core);
    }
    has_found |= take_accepted(core);
    // Even where nothing came: a credit that came back is no parcel, and lets mail leave.
    finish_turn(core);
    has_found
}

fn take_accepted(core: &mut Core) -> bool {
    for n_taken in 0..ACCEPTED_PER_TURN {
        let Some(accepted) = core.mesh.next_accepted(core.id) else { return n_taken > 0 };
        if core.is_leaving || core.is_stopping {
            core.mesh.discharge(accepted.door, accepted.entry());
            continue;
        }
        accept(core, accepted);
    }
    true
}
