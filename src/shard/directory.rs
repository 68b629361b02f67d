//! MQTT clients whose home a core is, connected or not, by client id.

use super::id::ConnectionId;
use super::split_table::SplitTable;
use ahash::RandomState;

/// Client id → the slot that has its session.
#[derive(Debug)]
pub struct Directory {
    table: SplitTable<(Box<[u8]>, ConnectionId)>,
    hasher: RandomState,
    n: usize,
}

impl Directory {
    pub fn new(hasher: RandomState) -> Self {
        Self { table: SplitTable::default(), hasher, n: 0 }
    }

    pub fn get(&self, client_id: &[u8]) -> Option<ConnectionId> {
        let hash = self.hasher.hash_one(client_id);
        self.table.find(hash, |(name, _)| **name == *client_id).map(|(_, id)| *id)
    }

    /// Enters a client id, or gives it another slot.
    pub fn insert(&mut self, client_id: &[u8], id: ConnectionId) {
        let hash = self.hasher.hash_one(client_id);
        let rehash = |(name, _): &(Box<[u8]>, ConnectionId)| self.hasher.hash_one(&**name);
        let mut is_new = false;
        let entry = self.table.entry(hash, |(name, _)| **name == *client_id, rehash);
        let mut entry = entry.or_insert_with(|| {
            is_new = true;
            (client_id.into(), id)
        });
        entry.get_mut().1 = id;
        self.n += usize::from(is_new);
    }

    pub fn remove(&mut self, client_id: &[u8]) {
        let hash = self.hasher.hash_one(client_id);
        let removed = self.table.remove(hash, |(name, _)| **name == *client_id);
        self.n -= usize::from(removed.is_some());
    }

    pub fn len(&self) -> usize {
        self.n
    }
}
