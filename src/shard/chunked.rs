//! A list in chunks, so that a long one grows without being copied within a turn.

use std::ops::{Index, IndexMut};

/// Elements of a chunk.
const CHUNK: usize = 1 << 10;

/// Values by index. All chunks but the last are full.
#[derive(Debug)]
pub struct Chunked<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunked<T> {
    pub fn push(&mut self, value: T) {
        if self.len.is_multiple_of(CHUNK) {
            // A short list has no more room than it needs.
            let n_at_once = if self.len == 0 { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(n_at_once));
        }
        self.chunks[self.len / CHUNK].push(value);
        self.len += 1;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<usize> for Chunked<T> {
    type Output = T;

    #[inline]
    fn index(&self, idx: usize) -> &T {
        &self.chunks[idx / CHUNK][idx % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunked<T> {
    #[inline]
    fn index_mut(&mut self, idx: usize) -> &mut T {
        &mut self.chunks[idx / CHUNK][idx % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_indices_and_their_places() {
        let mut list = Chunked::default();
        assert_eq!(list.len(), 0);
        let n = 3 * CHUNK + 1;
        list.push(0);
        (1..CHUNK).for_each(|value| list.push(value));
        let first: *const usize = &raw const list[0];
        (CHUNK..n).for_each(|value| list.push(value));
        list[n - 1] += 1;
        assert!(list.len() == n && (0..n - 1).all(|idx| list[idx] == idx) && list[n - 1] == n);
        assert_eq!(list.iter().count(), n);
        assert!(std::ptr::eq(first, &raw const list[0]));
    }
}
