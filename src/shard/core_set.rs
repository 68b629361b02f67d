//! A set of cores: one word for a host of up to 64, and as many as it takes beyond.

use super::id::CoreId;

/// Cores, in order. Sixteen bytes, so that an exact filter's interest stays within 24.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreSet {
    Small(u64),
    /// Words of 64 cores each; behind a thin pointer. Only sets that hold a core of 64 or more use it.
    Large(Box<Vec<u64>>),
}

impl Default for CoreSet {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl CoreSet {
    pub const EMPTY: Self = Self::Small(0);

    fn words(&self) -> &[u64] {
        match self {
            Self::Small(word) => std::slice::from_ref(word),
            Self::Large(words) => words,
        }
    }

    pub fn contains(&self, core: CoreId) -> bool {
        self.words().get(core.idx() / 64).is_some_and(|word| word & (1 << (core.idx() % 64)) != 0)
    }

    pub fn insert(&mut self, core: CoreId) {
        let bit = 1 << (core.idx() % 64);
        match self {
            Self::Small(word) if core.idx() < 64 => *word |= bit,
            Self::Small(word) => {
                let mut words = vec![0; core.idx() / 64 + 1];
                words[0] = *word;
                words[core.idx() / 64] |= bit;
                *self = Self::Large(Box::new(words));
            }
            Self::Large(words) => {
                if words.len() <= core.idx() / 64 {
                    words.resize(core.idx() / 64 + 1, 0);
                }
                words[core.idx() / 64] |= bit;
            }
        }
    }

    pub fn remove(&mut self, core: CoreId) {
        let bit = 1 << (core.idx() % 64);
        match self {
            Self::Small(word) if core.idx() < 64 => *word &= !bit,
            Self::Small(_) => {}
            Self::Large(words) => {
                if let Some(word) = words.get_mut(core.idx() / 64) {
                    *word &= !bit;
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    pub fn extend(&mut self, other: &Self) {
        match (self, other) {
            (Self::Small(word), Self::Small(more)) => *word |= more,
            (this, other) => other.iter().for_each(|core| this.insert(core)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = CoreId> {
        self.words().iter().enumerate().flat_map(|(word_idx, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    CoreId((word_idx * 64 + bit) as u16)
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_takes_sixteen_bytes() {
        assert_eq!(size_of::<CoreSet>(), 16);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(changes in proptest::collection::vec((0u16..300, any::<bool>()), 0..60)) {
            let mut set = CoreSet::EMPTY;
            let mut plain = BTreeSet::new();
            for (core, insert) in changes {
                if insert {
                    set.insert(CoreId(core));
                    plain.insert(core);
                } else {
                    set.remove(CoreId(core));
                    plain.remove(&core);
                }
                prop_assert_eq!(set.is_empty(), plain.is_empty());
                prop_assert_eq!(set.contains(CoreId(core)), insert);
            }
            prop_assert_eq!(set.iter().map(|core| core.0).collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            let mut union = CoreSet::Small(5);
            union.extend(&set);
            prop_assert!(union.contains(CoreId(0)) && union.contains(CoreId(2)));
            prop_assert!(set.iter().all(|core| union.contains(core)));
        }
    }
}
