//! A hash table in parts, each of which grows alone: where a table of a million grows as one, every entry of it
//! is moved within a turn, and its core serves nobody for tens of milliseconds.

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, OccupiedEntry};

/// So many that a part of a million entries moves in less than a millisecond; 8 KiB while all are empty.
const N_PARTS: usize = 256;

/// Entries by hash; what they are told apart by is the caller's.
#[derive(Debug)]
pub struct SplitTable<T> {
    parts: Box<[HashTable<T>; N_PARTS]>,
}

impl<T> Default for SplitTable<T> {
    fn default() -> Self {
        Self { parts: Box::new(std::array::from_fn(|_| HashTable::new())) }
    }
}

impl<T> SplitTable<T> {
    /// Bits that a part of its own does not look at before it is very large.
    #[inline]
    fn part_idx(hash: u64) -> usize {
        usize::from((hash >> 40) as u8)
    }

    #[inline]
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts[Self::part_idx(hash)].find(hash, is_it)
    }

    /// The place of an entry, there or not. `rehash` gives the hash of others, for the case that its part grows.
    pub fn entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        rehash: impl Fn(&T) -> u64,
    ) -> Entry<'_, T> {
        self.parts[Self::part_idx(hash)].entry(hash, is_it, rehash)
    }

    /// Takes an entry out. With its last one a part gives its memory back.
    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let part = &mut self.parts[Self::part_idx(hash)];
        let (removed, _) = part.find_entry(hash, is_it).ok().map(OccupiedEntry::remove)?;
        if part.is_empty() {
            *part = HashTable::new();
        }
        Some(removed)
    }

    /// Entries that may have this hash.
    pub fn iter_hash(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.parts[Self::part_idx(hash)].iter_hash(hash)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn hash(key: u32) -> u64 {
        ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(key)
    }

    proptest! {
        #[test]
        fn entries_are_found_as_in_a_map(steps in proptest::collection::vec((any::<bool>(), 0u32..2_000), 0..3_000)) {
            let mut table = SplitTable::default();
            let mut map = BTreeMap::new();
            for (nth, (enters, key)) in steps.into_iter().enumerate() {
                if enters {
                    let entry = table.entry(hash(key), |it: &(u32, usize)| it.0 == key, |it| hash(it.0));
                    entry.insert((key, nth));
                    map.insert(key, nth);
                } else {
                    prop_assert_eq!(table.remove(hash(key), |it| it.0 == key).map(|it| it.1), map.remove(&key));
                }
                prop_assert_eq!(table.find(hash(key), |it| it.0 == key).map(|it| it.1), map.get(&key).copied());
            }
            let mut all: Vec<_> = table.iter().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_table_of_very_many_grows_in_small_parts() {
        let mut table = SplitTable::default();
        for key in 0..300_000 {
            // What one more moves at once.
            let n_moved_max = table.parts.iter().map(HashTable::len).max().unwrap();
            assert!(n_moved_max <= 300_000 / N_PARTS * 3 / 2, "{n_moved_max}");
            table.entry(hash(key), |it: &u32| *it == key, |it| hash(*it)).insert(key);
        }
    }
}
