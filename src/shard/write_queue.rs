//! Bytes on their way to one client, in order. Small pieces gather in buffers that come from the core's
//! pool and go back when written, so that an idle connection holds none; large payloads are shared.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// A buffer that has grown to this, in bytes, is closed and the next one begun: pooled memory stays in
/// pieces that one send can take.
const CHUNK_BYTES: usize = 64 << 10;

/// A buffer that has grown beyond this, in bytes, is not kept for another use.
const BUFFER_BYTES_MAX: usize = 2 * CHUNK_BYTES;

/// What a buffer begun after a block or a shared payload is begun for, in bytes: the next of them may follow a
/// single small message.
const BETWEEN_BYTES: usize = 1 << 10;

/// What a block has at least, in bytes: each holds a buffer of its own, and a client that does not read may have
/// a queue full of them.
pub const BLOCK_BYTES_MIN: usize = 48 << 10;

/// Buffers that no connection holds.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
}

impl BufferPool {
    /// At most this many buffers wait for use; 64 × 128 KiB a core.
    const FREE_MAX: usize = 64;

    /// For a buffer that takes what comes until it is full.
    pub fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// For a buffer that may stay as short as `n_bytes`: one with room for at most twice that, since what a queue
    /// counts is what is in its buffers.
    pub fn take_for(&mut self, n_bytes: usize) -> Vec<u8> {
        self.free.pop_if(|buffer| buffer.capacity() <= 2 * n_bytes).unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < Self::FREE_MAX && buffer.capacity() <= BUFFER_BYTES_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    /// Takes a block's buffer back where nobody else has it.
    pub fn give_block(&mut self, block: Arc<Vec<u8>>) {
        if let Some(buffer) = Arc::into_inner(block) {
            self.give(buffer);
        }
    }

    fn give_chunk(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Built(buffer) => self.give(buffer),
            Chunk::Block(block) => self.give_block(block),
            Chunk::Shared(_) => {}
        }
    }
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct WriteQueue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written already; less than its length.
    n_front_written: usize,
    /// Bytes in all chunks, less those written.
    n_bytes: usize,
    /// Not all of them may leave yet.
    held: Option<Box<Held>>,
}

/// Bytes that promise what a store has yet to keep: those before some position of the journal may leave when
/// it has kept that. What follows them has a position of its own, so that a queue that never ends leaves by
/// and by.
#[derive(Debug)]
struct Held {
    /// Bytes at the front that may leave.
    n_free: usize,
    /// Those after them wait for this position, and the rest for that one, which is no earlier.
    n_first: usize,
    first_at: u64,
    rest_at: u64,
}

#[derive(Debug)]
enum Chunk {
    Built(Vec<u8>),
    /// Built for several queues, in a buffer of the pool's.
    Block(Arc<Vec<u8>>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Built(buffer) => buffer,
            Self::Block(block) => block,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl WriteQueue {
    /// Bytes waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.n_bytes
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.n_bytes == 0
    }

    /// Appends what `build` appends to the buffer it is given.
    #[inline]
    pub fn append(&mut self, pool: &mut BufferPool, build: impl FnOnce(&mut Vec<u8>)) {
        let has_room = matches!(self.chunks.back(), Some(Chunk::Built(buffer)) if buffer.len() < CHUNK_BYTES);
        if !has_room {
            let buffer = match self.chunks.back() {
                None | Some(Chunk::Built(_)) => pool.take(),
                Some(Chunk::Block(_) | Chunk::Shared(_)) => pool.take_for(BETWEEN_BYTES),
            };
            self.chunks.push_back(Chunk::Built(buffer));
        }
        if let Some(Chunk::Built(buffer)) = self.chunks.back_mut() {
            let len_before = buffer.len();
            build(buffer);
            self.n_bytes += buffer.len() - len_before;
        }
        self.drop_if_empty(pool);
    }

    /// Appends bytes that others share.
    pub fn append_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.n_bytes += bytes.len();
            self.chunks.push_back(Chunk::Shared(bytes));
        }
    }

    /// Appends a block, of [`BLOCK_BYTES_MIN`] or the last of several, that other queues may have as well.
    pub fn append_block(&mut self, block: Arc<Vec<u8>>) {
        if !block.is_empty() {
            self.n_bytes += block.len();
            self.chunks.push_back(Chunk::Block(block));
        }
    }

    /// Bytes that may leave.
    #[inline]
    pub fn n_free(&self) -> usize {
        self.held.as_ref().map_or(self.n_bytes, |held| held.n_free)
    }

    /// Keeps what is in it, and what follows that, from leaving before the journal is kept up to `position`.
    pub fn hold(&mut self, position: u64) {
        if self.n_bytes == 0 {
            return;
        }
        match &mut self.held {
            None => {
                let (first_at, rest_at) = (position, position);
                self.held = Some(Box::new(Held { n_free: 0, n_first: self.n_bytes, first_at, rest_at }));
            }
            Some(held) if held.first_at == position => held.n_first = self.n_bytes - held.n_free,
            Some(held) => held.rest_at = position,
        }
    }

    /// Lets go what waited for the journal up to `n_kept`; whether that was anything.
    pub fn let_go(&mut self, n_kept: u64) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.first_at <= n_kept) else { return false };
        held.n_free += held.n_first;
        held.n_first = self.n_bytes - held.n_free;
        held.first_at = held.rest_at;
        if held.n_first == 0 || held.first_at <= n_kept {
            self.held = None;
        }
        true
    }

    /// The first pieces that may leave, for one send; how many of `slices` they fill.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut n_filled = 0;
        let mut skip = self.n_front_written;
        let mut n_left = self.n_free();
        for (chunk, slice) in self.chunks.iter().zip(slices) {
            if n_left == 0 {
                break;
            }
            let bytes = &chunk.as_slice()[skip..];
            let bytes = &bytes[..bytes.len().min(n_left)];
            *slice = IoSlice::new(bytes);
            n_left -= bytes.len();
            skip = 0;
            n_filled += 1;
        }
        n_filled
    }

    /// The first piece that may leave; empty where none may.
    pub fn front(&self) -> &[u8] {
        let piece = self.chunks.front().map_or(&[][..], |chunk| &chunk.as_slice()[self.n_front_written..]);
        &piece[..piece.len().min(self.n_free())]
    }

    /// Notes that the first `n_written` bytes have left.
    pub fn advance(&mut self, n_written: usize, pool: &mut BufferPool) {
        debug_assert!(n_written <= self.n_free());
        self.n_bytes -= n_written;
        if let Some(held) = &mut self.held {
            held.n_free -= n_written;
        }
        self.n_front_written += n_written;
        while let Some(front) = self.chunks.front()
            && self.n_front_written >= front.as_slice().len()
        {
            self.n_front_written -= front.as_slice().len();
            self.chunks.pop_front().into_iter().for_each(|chunk| pool.give_chunk(chunk));
        }
        self.drop_if_empty(pool);
    }

    /// Counts its bytes anew, where a panic has interrupted an append.
    pub fn recount(&mut self) {
        let n_held: usize = self.chunks.iter().map(|chunk| chunk.as_slice().len()).sum();
        self.n_bytes = n_held - self.n_front_written;
    }

    /// Forgets everything.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        while let Some(chunk) = self.chunks.pop_front() {
            pool.give_chunk(chunk);
        }
        self.n_bytes = 0;
        self.drop_if_empty(pool);
    }

    /// An idle connection holds no buffer.
    fn drop_if_empty(&mut self, pool: &mut BufferPool) {
        if self.n_bytes == 0 {
            while let Some(chunk) = self.chunks.pop_front() {
                pool.give_chunk(chunk);
            }
            *self = Self::default();
        }
    }
}

/// What may leave.
#[cfg(test)]
pub fn contents(queue: &WriteQueue) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let n_filled = queue.gather(&mut slices);
    slices[..n_filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::SHARED_BYTES_MIN;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(steps in proptest::collection::vec((0usize..5, 0usize..90_000), 0..30)) {
            let mut queue = WriteQueue::default();
            let mut pool = BufferPool::default();
            let mut expected: Vec<u8> = Vec::new();
            for (step_idx, (kind, n)) in steps.into_iter().enumerate() {
                let bytes = vec![step_idx as u8; n];
                match kind {
                    0 => queue.append(&mut pool, |buffer| buffer.extend_from_slice(&bytes)),
                    1 => queue.append_shared(Bytes::from(bytes.clone())),
                    2 => queue.append_block(Arc::new(bytes.clone())),
                    _ => {
                        let n_written = n.min(queue.len());
                        queue.advance(n_written, &mut pool);
                        expected.drain(..n_written);
                    }
                }
                if kind < 3 {
                    expected.extend_from_slice(&bytes);
                }
                prop_assert_eq!(queue.len(), expected.len());
                prop_assert_eq!(queue.is_empty(), queue.front().is_empty());
                prop_assert_eq!(contents(&queue), expected.clone());
            }
            queue.clear(&mut pool);
            prop_assert_eq!(queue.chunks.capacity(), 0);
        }

        #[test]
        fn bytes_leave_no_earlier_than_what_they_promise_is_kept(
            steps in proptest::collection::vec((0u8..5, 1usize..200), 0..60),
        ) {
            let (mut queue, mut pool) = (WriteQueue::default(), BufferPool::default());
            // The position that each byte in the queue waits for.
            let mut waits: VecDeque<u64> = VecDeque::new();
            let (mut n_written, mut n_kept) = (0, 0);
            for (kind, n) in steps {
                match kind {
                    0 => {
                        queue.append(&mut pool, |buffer| buffer.resize(buffer.len() + n, b'x'));
                        waits.extend(std::iter::repeat_n(waits.back().copied().unwrap_or(0), n));
                        n_written += 1;
                        queue.hold(n_written);
                        let n_new = waits.len() - n;
                        waits.range_mut(n_new..).for_each(|wait| *wait = n_written);
                    }
                    1 => {
                        queue.append(&mut pool, |buffer| buffer.resize(buffer.len() + n, b'y'));
                        waits.extend(std::iter::repeat_n(waits.back().copied().unwrap_or(0), n));
                    }
                    2 => {
                        queue.append_block(Arc::new(vec![b'z'; n]));
                        waits.extend(std::iter::repeat_n(waits.back().copied().unwrap_or(0), n));
                    }
                    3 => {
                        let n = n.min(queue.n_free());
                        queue.advance(n, &mut pool);
                        prop_assert!(waits.drain(..n).all(|wait| wait <= n_kept));
                    }
                    _ => {
                        n_kept = (n_kept + n as u64 % 3).min(n_written);
                        while queue.let_go(n_kept) {}
                    }
                }
                prop_assert_eq!(contents(&queue).len(), queue.n_free());
            }
            while queue.let_go(n_written) {}
            prop_assert_eq!(queue.n_free(), waits.len());
        }

        #[test]
        fn buffers_have_room_for_a_few_times_what_is_counted(
            steps in proptest::collection::vec((0u8..5, 1usize..200), 0..200),
        ) {
            let mut pool = BufferPool::default();
            (0..BufferPool::FREE_MAX).for_each(|_| pool.give(Vec::with_capacity(BUFFER_BYTES_MAX)));
            let mut queue = WriteQueue::default();
            for (kind, n) in steps {
                match kind {
                    0 => queue.append(&mut pool, |buffer| buffer.resize(buffer.len() + n, b'x')),
                    1 => queue.append(&mut pool, |buffer| buffer.resize(buffer.len() + n * 160, b'y')),
                    2 => {
                        let n_bytes = BLOCK_BYTES_MIN + n;
                        let mut block = pool.take_for(n_bytes);
                        block.resize(n_bytes, b'z');
                        queue.append_block(Arc::new(block));
                    }
                    3 => queue.append_shared(Bytes::from(vec![b's'; SHARED_BYTES_MIN])),
                    _ => queue.advance((n * 1_000).min(queue.len()), &mut pool),
                }
                // Twice what is in each, and behind one that is full another that is begun; the first is partly
                // written, and the last may be new.
                prop_assert!(queue.n_bytes_held() <= 4 * queue.len() + 3 * BUFFER_BYTES_MAX);
            }
        }
    }

    impl WriteQueue {
        fn n_bytes_held(&self) -> usize {
            let held = |chunk: &Chunk| match chunk {
                Chunk::Built(buffer) => buffer.capacity(),
                Chunk::Block(block) => block.capacity(),
                Chunk::Shared(bytes) => bytes.len(),
            };
            self.chunks.iter().map(held).sum()
        }
    }
}
