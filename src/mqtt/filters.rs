//! The topic filters of one session, by text. Most sessions have a few: those are looked through one by one,
//! and no table is made for them.

use ahash::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// More filters than this are kept in a table.
const FEW_MAX: usize = 8;

type Table = HashMap<Box<[u8]>, u32, RandomState>;

/// Topic filter → the shard's key of the subscription.
#[derive(Debug)]
pub struct Filters {
    few: Vec<(Box<[u8]>, u32)>,
    /// All of them, once they were more than a few.
    many: Option<Box<Table>>,
    hasher: Arc<RandomState>,
}

impl Filters {
    /// None yet. `hasher` is for the table.
    pub fn new(hasher: Arc<RandomState>) -> Self {
        Self { few: Vec::new(), many: None, hasher }
    }

    /// For other tables that have to do with this session.
    pub fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    pub fn get(&self, filter: &[u8]) -> Option<u32> {
        match &self.many {
            Some(many) => many.get(filter).copied(),
            None => self.few.iter().find(|(text, _)| **text == *filter).map(|(_, key)| *key),
        }
    }

    pub fn n(&self) -> usize {
        self.many.as_ref().map_or(self.few.len(), |many| many.len())
    }

    /// All of them, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let many = self.many.iter().flat_map(|many| many.iter()).map(|(text, key)| (&**text, *key));
        self.few.iter().map(|(text, key)| (&**text, *key)).chain(many)
    }

    /// Enters `filter`, or gives it another key.
    pub fn insert(&mut self, filter: &[u8], key: u32) {
        if let Some(many) = &mut self.many {
            many.insert(filter.into(), key);
        } else if let Some((_, known)) = self.few.iter_mut().find(|(text, _)| **text == *filter) {
            *known = key;
        } else if self.few.len() < FEW_MAX {
            self.few.reserve_exact(1);
            self.few.push((filter.into(), key));
        } else {
            let mut many = Table::with_capacity_and_hasher(2 * FEW_MAX, (*self.hasher).clone());
            many.extend(std::mem::take(&mut self.few));
            many.insert(filter.into(), key);
            self.many = Some(Box::new(many));
        }
    }

    /// Takes `filter` out if it has this key; whether it had.
    pub fn remove(&mut self, filter: &[u8], key: u32) -> bool {
        if self.get(filter) != Some(key) {
            return false;
        }
        match &mut self.many {
            Some(many) => drop(many.remove(filter)),
            None => self.few.retain(|(text, _)| **text != *filter),
        }
        if self.n() == 0 {
            self.few = Vec::new();
            self.many = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn filters_are_kept_as_in_a_map(steps in proptest::collection::vec((0u8..3, 0u8..20, 0u32..4), 0..120)) {
            let mut filters = Filters::new(Arc::new(RandomState::with_seeds(1, 2, 3, 4)));
            let mut map = HashMap::new();
            for (what, filter, key) in steps {
                let filter = [b'f', filter];
                if what > 0 {
                    filters.insert(&filter, key);
                    map.insert(filter, key);
                } else {
                    filters.remove(&filter, key);
                    if map.get(&filter) == Some(&key) {
                        map.remove(&filter);
                    }
                }
                prop_assert_eq!(filters.get(&filter), map.get(&filter).copied());
                prop_assert_eq!(filters.n(), map.len());
            }
        }
    }
}
