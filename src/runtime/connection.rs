//! The task of one connection: it waits until its socket can be read, or written where that was blocked,
//! and makes a turn of what came.

use super::core::{Core, READ_BYTES, SharedCore, turn};
use crate::shard::id::ConnectionId;
use futures_lite::future::poll_fn;
use futures_lite::{AsyncRead, AsyncWrite};
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Starts the task.
pub fn spawn(shared: &SharedCore, id: ConnectionId) {
    let shared = shared.clone();
    glommio::spawn_local(async move { poll_fn(|cx| turn(&shared, |core| poll(core, id, cx))).await })
        .detach();
}

/// What a look at a connection came to.
enum Step {
    /// A task of its own wakes it.
    Wait,
    /// What there was to read is read: the socket is to be waited for.
    Drained,
    /// There may be more at once, but others first.
    More,
    Gone,
}

fn poll(core: &mut Core, id: ConnectionId, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        match step(core, id, cx) {
            Step::Drained => {}
            Step::Wait => return Poll::Pending,
            Step::More => {
                core.go_on(cx.waker());
                return Poll::Pending;
            }
            Step::Gone => return Poll::Ready(()),
        }
    }
}

fn step(core: &mut Core, id: ConnectionId, cx: &mut Context<'_>) -> Step {
    let Some(socket) = core.socket_mut(id) else { return Step::Gone };
    if !socket.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
        socket.task = Some(cx.waker().clone());
    }
    if socket.is_blocked {
        let _ = poll_write(core, id, cx);
    }
    if core.shard.is_closing(id) {
        return close(core, id, cx);
    }
    if core.shard.wants_input(id) { read(core, id, cx) } else { Step::Wait }
}

/// Goes on writing where the socket had no room.
fn poll_write(core: &mut Core, id: ConnectionId, cx: &mut Context<'_>) -> Poll<()> {
    let Some(socket) = core.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) else {
        return Poll::Ready(());
    };
    let front = core.shard.queue(id).map_or(&[][..], |queue| queue.front());
    if front.is_empty() {
        socket.is_blocked = false;
        return Poll::Ready(());
    }
    let written = Pin::new(&mut socket.stream).poll_write(cx, front);
    let now = core.clock.now();
    match written {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Ok(n_written)) => {
            socket.is_blocked = false;
            core.shard.flushed(id, n_written, now);
            core.flush(id);
        }
        Poll::Ready(Err(_)) => {
            socket.is_blocked = false;
            core.shard.write_failed(id, now);
        }
    }
    Poll::Ready(())
}

/// Reads once and makes a turn of it.
fn read(core: &mut Core, id: ConnectionId, cx: &mut Context<'_>) -> Step {
    let Some(socket) = core.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) else {
        return Step::Gone;
    };
    let stream = Pin::new(&mut socket.stream);
    if let Some((frame, filled)) = core.shard.large_frame(id) {
        let room = frame.len() - filled;
        return match stream.poll_read(cx, &mut frame[filled..]) {
            Poll::Ready(Ok(n_read)) if n_read > 0 => {
                core.shard.receive_large(id, filled, n_read, core.clock.now());
                after(n_read, room)
            }
            other => {
                core.shard.leave_large(id, filled);
                end_or_wait(core, id, other)
            }
        };
    }
    let n_kept = core.shard.begin_read(id, &mut core.buffer);
    match stream.poll_read(cx, &mut core.buffer[n_kept..n_kept + READ_BYTES]) {
        Poll::Ready(Ok(n_read)) if n_read > 0 => {
            let now = core.clock.now();
            core.shard.receive(id, &core.buffer[..n_kept + n_read], now);
            after(n_read, READ_BYTES)
        }
        other => end_or_wait(core, id, other),
    }
}

/// After a read that was not filled glommio polls the socket, and the next read waits for that.
fn after(n_read: usize, room: usize) -> Step {
    if n_read < room { Step::Drained } else { Step::More }
}

fn end_or_wait(core: &mut Core, id: ConnectionId, read: Poll<io::Result<usize>>) -> Step {
    match read {
        Poll::Pending => return Step::Wait,
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
        Poll::Ready(read) => core.shard.end_of_input(id, read.is_err(), core.clock.now()),
    }
    Step::More
}

/// Ends a connection in order: what is queued is written, our end closes, and the peer's bytes are thrown
/// away until it closes its own, since a close with unread bytes would take back what was written.
fn close(core: &mut Core, id: ConnectionId, cx: &mut Context<'_>) -> Step {
    core.flush(id);
    let has_unwritten = core.shard.queue(id).is_some_and(|queue| !queue.is_empty());
    let Some(socket) = core.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) else {
        return Step::Gone;
    };
    if has_unwritten {
        // The task has been woken for the blocked write, or is by the deadline.
        return if socket.is_blocked && poll_write(core, id, cx).is_ready() {
            Step::More
        } else {
            Step::Wait
        };
    }
    if !std::mem::replace(&mut socket.is_shut, true) {
        let _ = SockRef::from(&socket.stream).shutdown(Shutdown::Write);
    }
    match Pin::new(&mut socket.stream).poll_read(cx, &mut core.buffer) {
        Poll::Pending => Step::Wait,
        Poll::Ready(Ok(n_read)) if n_read > 0 => Step::More,
        Poll::Ready(_) => {
            core.release(id);
            Step::Gone
        }
    }
}
