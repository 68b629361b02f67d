//! The one source of chance of a simulated world: whoever has its seed has the whole run.

/// A small generator of its own, so that a seed means the same with every version of every library.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x5eed_0f57_7a17_0001)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `n`, and 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.next().checked_rem(n as u64).unwrap_or(0) as usize
    }

    /// Uniform from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// An index with the probability of its weight; 0 where all weights are 0.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut nth = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|&weight| {
                let is_here = nth < weight;
                nth = nth.wrapping_sub(weight);
                is_here
            })
            .unwrap_or(0)
    }
}
