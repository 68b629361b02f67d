//! The memory that very many clients give back in one moment. glibc keeps small pieces apart until it is asked for
//! a larger one, and then puts all of them together within that one call: what a hundred thousand sessions have left
//! took tens of milliseconds, in whatever turn came to ask. So it is asked now and then, while they are few.

use std::hint::black_box;

/// Owners of such pieces, a connection, a session or a subscription, between two times.
const OWNERS_MAX: usize = 256;

/// What glibc calls large is a KiB, and what it keeps for its thread apart is no larger.
const LARGE_BYTES: usize = 4 << 10;

#[derive(Debug, Default)]
pub struct Freed {
    n_owners: usize,
}

impl Freed {
    /// Notes that one more has given back what it had, or soon does.
    #[inline]
    pub fn note(&mut self) {
        self.n_owners += 1;
        if self.n_owners == OWNERS_MAX {
            self.n_owners = 0;
            // Nothing is written to it, and the kernel is not asked.
            drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
        }
    }
}
