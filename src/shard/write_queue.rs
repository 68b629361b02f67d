//! Bytes on their way to one client, in order. Small pieces gather in buffers that come from the core's
//! pool and go back when written, so that an idle connection holds none; large payloads are shared.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// A buffer that has grown to this, in bytes, is closed and the next one begun: pooled memory stays in
/// pieces that one send can take.
const CHUNK_BYTES: usize = 64 << 10;

/// Buffers that no connection holds.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
}

impl BufferPool {
    /// At most this many buffers wait for use; 64 × 64 KiB a core.
    const FREE_MAX: usize = 64;

    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < Self::FREE_MAX && buffer.capacity() <= 2 * CHUNK_BYTES {
            buffer.clear();
            self.free.push(buffer);
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
}

#[derive(Debug)]
enum Chunk {
    Built(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Built(buffer) => buffer,
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
            self.chunks.push_back(Chunk::Built(pool.take()));
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

    /// The first pieces, for one send; how many of `slices` they fill.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut n_filled = 0;
        let mut skip = self.n_front_written;
        for (chunk, slice) in self.chunks.iter().zip(slices) {
            *slice = IoSlice::new(&chunk.as_slice()[skip..]);
            skip = 0;
            n_filled += 1;
        }
        n_filled
    }

    /// The first piece; empty where nothing waits.
    pub fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk.as_slice()[self.n_front_written..])
    }

    /// Notes that the first `n_written` bytes have left.
    pub fn advance(&mut self, n_written: usize, pool: &mut BufferPool) {
        debug_assert!(n_written <= self.n_bytes);
        self.n_bytes -= n_written;
        self.n_front_written += n_written;
        while let Some(front) = self.chunks.front()
            && self.n_front_written >= front.as_slice().len()
        {
            self.n_front_written -= front.as_slice().len();
            if let Some(Chunk::Built(buffer)) = self.chunks.pop_front() {
                pool.give(buffer);
            }
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
            if let Chunk::Built(buffer) = chunk {
                pool.give(buffer);
            }
        }
        self.n_bytes = 0;
        self.drop_if_empty(pool);
    }

    /// An idle connection holds no buffer.
    fn drop_if_empty(&mut self, pool: &mut BufferPool) {
        if self.n_bytes == 0 {
            while let Some(Chunk::Built(buffer)) = self.chunks.pop_front() {
                pool.give(buffer);
            }
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(queue: &WriteQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let n_filled = queue.gather(&mut slices);
        slices[..n_filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(steps in proptest::collection::vec((0usize..4, 0usize..90_000), 0..30)) {
            let mut queue = WriteQueue::default();
            let mut pool = BufferPool::default();
            let mut expected: Vec<u8> = Vec::new();
            for (step_idx, (kind, n)) in steps.into_iter().enumerate() {
                let bytes = vec![step_idx as u8; n];
                match kind {
                    0 => queue.append(&mut pool, |buffer| buffer.extend_from_slice(&bytes)),
                    1 => queue.append_shared(Bytes::from(bytes.clone())),
                    _ => {
                        let n_written = n.min(queue.len());
                        queue.advance(n_written, &mut pool);
                        expected.drain(..n_written);
                    }
                }
                if kind < 2 {
                    expected.extend_from_slice(&bytes);
                }
                prop_assert_eq!(queue.len(), expected.len());
                prop_assert_eq!(queue.is_empty(), queue.front().is_empty());
                prop_assert_eq!(contents(&queue), expected.clone());
            }
            queue.clear(&mut pool);
            prop_assert_eq!(queue.chunks.capacity(), 0);
        }
    }
}
