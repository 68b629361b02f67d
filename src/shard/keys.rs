//! The process's secret hash keys: one set for all cores, since they must agree on an exact filter's hash
//! and on a client id's home. Keyed, so that a peer can't choose collisions.

use super::id::CoreId;
use ahash::RandomState;
#[expect(deprecated, reason = "SipHash-2-4 with given keys, which its successor in std does not take")]
use std::hash::{Hasher, SipHasher};
use std::sync::Arc;

/// Hash keys, made once when the process starts (or from a simulation's seed).
#[derive(Clone, Debug)]
pub struct Keys {
    hasher: RandomState,
    /// The same, for tables of which there are very many.
    shared: Arc<RandomState>,
    home: RandomState,
    /// For nothing but names: whoever knew these could tell the next one.
    names: [u64; 2],
}

impl Keys {
    pub fn from_seed(seed: [u64; 6]) -> Self {
        let [a, b, c, d, names @ ..] = seed;
        Self {
            hasher: RandomState::with_seeds(a, b, c, d),
            shared: Arc::new(RandomState::with_seeds(a, b, c, d)),
            home: RandomState::with_seeds(d, c, b, !a),
            names,
        }
    }

    /// The `nth` name that `core` gives away, as 128 bits that tell nothing of the others.
    pub fn name(&self, core: CoreId, nth: u64) -> u128 {
        self.secret([0, 1], core, nth)
    }

    /// The `nth` token of a reply subject that `core` makes, likewise.
    pub fn token(&self, core: CoreId, nth: u64) -> u128 {
        self.secret([2, 3], core, nth)
    }

    #[expect(deprecated, reason = "as above")]
    fn secret(&self, halves: [u8; 2], core: CoreId, nth: u64) -> u128 {
        let half = |which: u8| {
            let [key_0, key_1] = self.names;
            let mut prf = SipHasher::new_with_keys(key_0, key_1);
            prf.write(&[which]);
            prf.write(&core.0.to_le_bytes());
            prf.write(&nth.to_le_bytes());
            u128::from(prf.finish())
        };
        half(halves[0]) << 64 | half(halves[1])
    }

    /// For tables that one core keeps for itself.
    pub fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// For tables of one client.
    pub fn shared_hasher(&self) -> Arc<RandomState> {
        self.shared.clone()
    }

    /// The name of an exact filter, and of a subject, between cores.
    #[inline]
    pub fn subject_hash(&self, subject: &[u8]) -> u64 {
        self.hasher.hash_one(subject)
    }

    /// The core on which a client id's session lives.
    pub fn home(&self, client_id: &[u8], n_cores: usize) -> CoreId {
        CoreId((self.home.hash_one(client_id) % n_cores as u64) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_depend_on_both_of_their_own_keys_alone() {
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let name = keys.name(CoreId(0), 0);
        assert_eq!(name, Keys::from_seed([9, 9, 9, 9, 5, 6]).name(CoreId(0), 0));
        let others = [
            keys.name(CoreId(0), 1),
            keys.name(CoreId(1), 0),
            keys.token(CoreId(0), 0),
            Keys::from_seed([1, 2, 3, 4, 6, 6]).name(CoreId(0), 0),
            Keys::from_seed([1, 2, 3, 4, 5, 5]).name(CoreId(0), 0),
        ];
        for other in others {
            assert_ne!(name >> 64, other >> 64);
            assert_ne!(name as u64, other as u64);
        }
        assert_ne!((name >> 64) as u64, name as u64);
    }
}
