//! The process's secret hash keys: one set for all cores, since they must agree on an exact filter's hash
//! and on a client id's home. Keyed, so that a peer can't choose collisions.

use super::id::CoreId;
use ahash::RandomState;

/// Hash keys, made once when the process starts (or from a simulation's seed).
#[derive(Clone, Debug)]
pub struct Keys {
    hasher: RandomState,
    home: RandomState,
}

impl Keys {
    pub fn from_seed(seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        Self { hasher: RandomState::with_seeds(a, b, c, d), home: RandomState::with_seeds(d, c, b, !a) }
    }

    /// For tables that one core keeps for itself.
    pub fn hasher(&self) -> RandomState {
        self.hasher.clone()
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
