//! What a core does with a connection that its ring has told of, or its shard: it writes where that was
//! blocked, reads once, and makes a turn of what came.

use super::core::{Core, READ_BYTES, finish_turn};
use crate::shard::id::ConnectionId;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;

/// What a look at a connection came to.
enum Step {
    /// The ring, or the shard, says when there is more to do.
    Wait,
    /// There may be more at once, but others first.
    More,
    /// As `More`, after a read that filled the buffer.
    MoreAfterFull,
}

/// One turn; whether it took as much as one read can bring.
pub fn serve(core: &mut Core, id: ConnectionId) -> bool {
    let step = step(core, id);
    if !matches!(step, Step::Wait) {
        core.look_at(id);
    }
    finish_turn(core);
    matches!(step, Step::MoreAfterFull)
}

fn step(core: &mut Core, id: ConnectionId) -> Step {
    let Some(socket) = core.socket_mut(id) else { return Step::Wait };
    if std::mem::take(&mut socket.has_room) {
        socket.is_blocked = false;
        core.flush(id);
    }
    if core.shard.is_closing(id) {
        return close(core, id);
    }
    if core.shard.wants_input(id) { read(core, id) } else { Step::Wait }
}

/// Reads once and makes a turn of it.
fn read(core: &mut Core, id: ConnectionId) -> Step {
    let Some(socket) = core.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) else {
        return Step::Wait;
    };
    let is_at_end = socket.is_at_end;
    if let Some((frame, filled)) = core.shard.large_frame(id) {
        let room = frame.len() - filled;
        return match (&socket.socket).read(&mut frame[filled..]) {
            Ok(n_read) if n_read > 0 => {
                core.shard.receive_large(id, filled, n_read, core.clock.now());
                after(n_read, room, is_at_end)
            }
            other => {
                core.shard.leave_large(id, filled);
                end_or_wait(core, id, other)
            }
        };
    }
    let n_kept = core.shard.begin_read(id, &mut core.buffer);
    match (&socket.socket).read(&mut core.buffer[n_kept..n_kept + READ_BYTES]) {
        Ok(n_read) if n_read > 0 => {
            let now = core.clock.now();
            core.shard.receive(id, &core.buffer[..n_kept + n_read], now);
            after(n_read, READ_BYTES, is_at_end)
        }
        other => end_or_wait(core, id, other),
    }
}

/// A read that was not filled has emptied the socket, and what comes next is told; but the end was told
/// already.
fn after(n_read: usize, room: usize, is_at_end: bool) -> Step {
    if n_read == room {
        Step::MoreAfterFull
    } else if is_at_end {
        Step::More
    } else {
        Step::Wait
    }
}

fn end_or_wait(core: &mut Core, id: ConnectionId, read: io::Result<usize>) -> Step {
    match read {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Wait,
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        read => core.shard.end_of_input(id, read.is_err(), core.clock.now()),
    }
    Step::More
}

/// Ends a connection in order: what is queued is written, our end closes, and the peer's bytes are thrown
/// away until it closes its own, since a close with unread bytes would take back what was written.
fn close(core: &mut Core, id: ConnectionId) -> Step {
    core.flush(id);
    if core.shard.queue(id).is_some_and(|queue| !queue.is_empty()) {
        // The ring tells when there is room, or the deadline comes.
        return Step::Wait;
    }
    let Some(socket) = core.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) else {
        return Step::Wait;
    };
    if !std::mem::replace(&mut socket.is_shut, true) {
        let _ = socket.socket.shutdown(Shutdown::Write);
    }
    match (&socket.socket).read(&mut core.buffer) {
        Ok(n_read) if n_read > 0 => Step::More,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Wait,
        Err(error) if error.kind() == ErrorKind::Interrupted => Step::More,
        _ => {
            core.release(id);
            Step::Wait
        }
    }
}
