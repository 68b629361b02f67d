//! The frames that are made of a run: in the queue of one client, or once for the queues of many. What a frame
//! begins with, and who gets it: `shapes` and `fanout`.

use super::write_queue::{BLOCK_BYTES_MIN, BufferPool, WriteQueue};
use crate::message::Run;
use std::ops::Range;
use std::sync::Arc;

/// What one append to a queue adds at most, in bytes, so that its buffers keep to the pool's size.
pub const PART_BYTES: usize = 32 << 10;

/// What one block has at most, in bytes, for the same reason.
const BLOCK_BYTES_MAX: usize = 96 << 10;

/// The frames of one run as all have them that get them in one shape. Each queue has only a count of them, and a
/// send to one client finds in the cache what it sent to the one before.
#[derive(Debug, Default)]
pub struct SharedFrames {
    blocks: Vec<Arc<Vec<u8>>>,
    /// Of so many messages, whose frames came at this address, which holds for one fan-out: a run may be split.
    made_of: Option<(usize, usize)>,
}

impl SharedFrames {
    /// Whether frames of the first `n` messages of `run` may be shared: all of them, and enough bytes for what a
    /// block costs, which has a buffer of its own.
    #[inline]
    pub fn suits(run: &Run<'_>, n: usize, frame_len: usize) -> bool {
        n == run.n() && n * frame_len >= BLOCK_BYTES_MIN
    }

    /// Queues the frames of `run`, of `frame_len` bytes each, which `build` appends where they are not made yet.
    pub fn queue(
        &mut self,
        run: &Run<'_>,
        frame_len: usize,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        build: impl Fn(&mut Vec<u8>, Range<usize>),
    ) {
        let n = run.n();
        let made_of = Some((n, run.frames(0..n).as_ptr().addr()));
        if self.made_of != made_of {
            self.give_back(pool);
            self.blocks.extend(parts(n, frame_len, BLOCK_BYTES_MAX).map(|range| {
                let n_bytes = range.len() * frame_len;
                let mut block = pool.take_for(n_bytes);
                block.reserve_exact(n_bytes);
                build(&mut block, range);
                Arc::new(block)
            }));
            // Not before: one that panics leaves fewer.
            self.made_of = made_of;
        }
        self.blocks.iter().for_each(|block| queue.append_block(block.clone()));
    }

    /// Forgets them: those whose queues they are in give the buffers back.
    pub fn forget(&mut self) {
        self.blocks.clear();
        self.made_of = None;
    }

    /// As `forget`; what is in no queue any more goes back from here.
    pub fn give_back(&mut self, pool: &mut BufferPool) {
        self.blocks.drain(..).for_each(|block| pool.give_block(block));
        self.made_of = None;
    }
}

/// `0..n` in parts of at most `bytes_max`, of one item at least.
pub fn parts(n: usize, item_bytes: usize, bytes_max: usize) -> impl Iterator<Item = Range<usize>> {
    let n_at_once = (bytes_max / item_bytes).max(1);
    (0..n).step_by(n_at_once).map(move |start| start..n.min(start + n_at_once))
}

/// Queues the first `n` of a run's messages as `head`, payload and `tail`.
pub fn queue_frames(
    head: &[u8],
    run: &Run<'_>,
    n: usize,
    tail: &[u8],
    queue: &mut WriteQueue,
    pool: &mut BufferPool,
) {
    let frame_len = head.len() + run.payload().len() + tail.len();
    for range in parts(n, frame_len, PART_BYTES) {
        queue.append(pool, |buffer| append_frames(buffer, head, run, range, tail));
    }
}

/// Up to this size, in bytes, the first frame is copied again and again, and only payloads are written over:
/// copies of many frames at once cost less than three of parts of one.
const REPEATED_FRAME_MAX: usize = 256;

/// Appends a frame for each of these messages: `head`, its payload, `tail`.
pub fn append_frames(out: &mut Vec<u8>, head: &[u8], run: &Run<'_>, range: Range<usize>, tail: &[u8]) {
    let payload = run.payload();
    let payload_end = head.len() + payload.len();
    let frame_len = payload_end + tail.len();
    let n = range.len();
    let mut came = run.frames(range).chunks_exact(run.stride());
    if frame_len > REPEATED_FRAME_MAX {
        for came in came {
            out.extend_from_slice(head);
            out.extend_from_slice(&came[payload.clone()]);
            out.extend_from_slice(tail);
        }
        return;
    }
    let start = out.len();
    let end = start + n * frame_len;
    let Some(first) = came.next() else { return };
    out.extend_from_slice(head);
    out.extend_from_slice(&first[payload.clone()]);
    out.extend_from_slice(tail);
    while out.len() < end {
        let n_bytes = (out.len() - start).min(end - out.len());
        out.extend_from_within(start..start + n_bytes);
    }
    for (frame, came) in out[start..].chunks_exact_mut(frame_len).skip(1).zip(came) {
        frame[head.len()..payload_end].copy_from_slice(&came[payload.clone()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::write_queue::contents;
    use proptest::prelude::*;

    const HEAD: &[u8] = b"PUB a 5\r\n";

    fn input(n: usize, payload_len: usize) -> Vec<u8> {
        let frame = |nth: usize| [HEAD, &vec![nth as u8; payload_len], b"\r\n"].concat();
        (0..n).flat_map(frame).collect()
    }

    fn run(input: &[u8], payload_len: usize) -> Run<'_> {
        let stride = HEAD.len() + payload_len + 2;
        Run::at_front(input, stride, HEAD.len(), b"\r\n").expect("more than one")
    }

    proptest! {
        #[test]
        fn frames_are_head_payload_and_tail(
            n in 2usize..200,
            payload_len in prop_oneof![Just(0usize), 1usize..400],
            head_len in 0usize..300,
            (from, to) in (0usize..200, 0usize..200),
        ) {
            let input = input(n, payload_len);
            let run = run(&input, payload_len);
            let (head, range) = (vec![b'h'; head_len], from.min(n)..to.clamp(from.min(n), n.max(from)).min(n));
            let mut out = b"before".to_vec();
            append_frames(&mut out, &head, &run, range.clone(), b"tt");
            let payloads = run.payloads().skip(range.start).take(range.len());
            let frames: Vec<u8> = payloads.flat_map(|it| [&head, it, b"tt"].concat()).collect();
            prop_assert_eq!(out, [&b"before"[..], &frames].concat());
        }
    }

    #[test]
    fn many_queues_share_what_is_made_once_and_the_last_gives_it_back() {
        let (n, payload_len) = (3_000, 40);
        let input = input(n, payload_len);
        let run = run(&input, payload_len);
        let frame_len = 1 + payload_len;
        assert!(SharedFrames::suits(&run, n, frame_len) && !SharedFrames::suits(&run, n - 1, frame_len));
        let (mut shared, mut pool) = (SharedFrames::default(), BufferPool::default());
        let mut queues = [(); 3].map(|()| WriteQueue::default());
        for queue in &mut queues {
            shared.queue(&run, frame_len, queue, &mut pool, |out, range| {
                append_frames(out, b"h", &run, range, b"");
            });
        }
        shared.give_back(&mut pool);
        let all: Vec<u8> = run.payloads().flat_map(|it| [b"h", it].concat()).collect();
        assert!(queues.iter().all(|queue| contents(queue) == all && queue.len() == all.len()));
        let first_piece = queues[0].front().as_ptr();
        assert!(queues.iter().all(|queue| std::ptr::eq(queue.front().as_ptr(), first_piece)));
        queues[0].advance(all.len(), &mut pool);
        queues[1].clear(&mut pool);
        assert_eq!(pool.take().capacity(), 0, "somebody has it still");
        queues[2].advance(all.len() - 1, &mut pool);
        queues[2].advance(1, &mut pool);
        assert!(pool.take().capacity() > 0 && pool.take().capacity() > 0, "two blocks");
    }

    #[test]
    fn parts_of_one_run_share_no_frames() {
        let (n, payload_len) = (3_000, 40);
        let input = input(2 * n, payload_len);
        let whole = run(&input, payload_len);
        let (mut shared, mut pool) = (SharedFrames::default(), BufferPool::default());
        for range in [0..n, n..2 * n] {
            let part = whole.of_some(whole.frames(range));
            let mut queue = WriteQueue::default();
            shared.queue(&part, 1 + payload_len, &mut queue, &mut pool, |out, range| {
                append_frames(out, b"h", &part, range, b"");
            });
            let all: Vec<u8> = part.payloads().flat_map(|it| [b"h", it].concat()).collect();
            assert!(contents(&queue) == all, "these are another part's");
        }
    }
}
