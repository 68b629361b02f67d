//! Who is let in: how many connections of one address, and how often. Not a socket: listeners ask, and say when
//! one has ended. Time is an argument.

use crate::shard::limits::NoRoom;
use crate::time::often::Pace;
use crate::time::{Span, Time};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

/// What connections of one address may be. `usize::MAX` and 0 a second are no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub per_address_max: usize,
    /// New ones in one second.
    pub rate_per_address_max: u32,
}

impl Limits {
    fn is_any(&self) -> bool {
        self.per_address_max < usize::MAX || self.rate_per_address_max > 0
    }
}

/// Whom a connection counts for: an address of IPv4, or the 64 bits of one of IPv6 that say whose network it is,
/// as one host has all addresses below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(NonZeroU64);

impl AddressKey {
    pub fn of(peer: SocketAddr) -> Self {
        match peer.ip().to_canonical() {
            // No network is told by these bits.
            IpAddr::V4(address) => Self::new(0xffff << 32 | u64::from(u32::from(address))),
            IpAddr::V6(address) => Self::new((u128::from(address) >> 64) as u64),
        }
    }

    fn new(bits: u64) -> Self {
        // Loopback's is all zero, and nobody's is one.
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

/// The addresses that have connections, or had some a moment ago.
#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<AddressKey, Known>,
    /// Those that count for nothing are forgotten when there are so many.
    n_at_sweep: usize,
}

#[derive(Debug, Default)]
struct Known {
    n: usize,
    pace: Pace,
}

/// Addresses below which nobody looks for those to forget.
const N_AT_SWEEP_MIN: usize = 1_024;

impl Addresses {
    fn enter(&mut self, key: AddressKey, limits: &Limits, now: Time) -> Result<(), NoRoom> {
        if self.known.len() >= self.n_at_sweep.max(N_AT_SWEEP_MIN) {
            self.known.retain(|_, known| known.n > 0 || !known.pace.is_whole(now));
            self.n_at_sweep = self.known.len() * 2;
        }
        let known = self.known.entry(key).or_default();
        if known.n >= limits.per_address_max {
            Err(NoRoom::AddressFull)
        } else if known.pace.take(limits.rate_per_address_max.into(), now) > Span::default() {
            Err(NoRoom::AddressRate)
        } else {
            known.n += 1;
            Ok(())
        }
    }

    fn leave(&mut self, key: AddressKey) {
        if let Some(known) = self.known.get_mut(&key) {
            known.n = known.n.saturating_sub(1);
        }
    }
}

const N_STRIPES: usize = 16;

/// All addresses, in stripes that are locked for one look each: at accept, and at the end of a connection.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    stripes: [Mutex<Addresses>; N_STRIPES],
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self { limits, stripes: Default::default() }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a connection in.
    pub fn enter(&self, key: AddressKey, now: Time) -> Result<(), NoRoom> {
        if !self.limits.is_any() {
            return Ok(());
        }
        self.with(key, |addresses| addresses.enter(key, &self.limits, now))
    }

    /// Counts one out that was counted in.
    pub fn leave(&self, key: AddressKey) {
        if self.limits.is_any() {
            self.with(key, |addresses| addresses.leave(key));
        }
    }

    fn with<T>(&self, key: AddressKey, act: impl FnOnce(&mut Addresses) -> T) -> T {
        let bits = key.0.get();
        let stripe = (bits ^ bits >> 32) as usize % N_STRIPES;
        // What a look changes is whole at every step.
        act(&mut self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: &str) -> AddressKey {
        AddressKey::of(SocketAddr::new(peer.parse().unwrap(), 9))
    }

    fn at(millis: u64) -> Time {
        Time::START + Span::from_millis(millis)
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_network_and_a_mapped_one_for_that_of_ipv4() {
        assert_eq!(key("2001:db8:1:2::3"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::3"), key("2001:db8:1:3::3"));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_ne!(key("10.0.0.1"), key("::10.0.0.1"));
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_have_theirs() {
        let admission = Admission::new(Limits { per_address_max: 2, rate_per_address_max: 0 });
        let [one, other] = [key("10.0.0.1"), key("2001:db8::1")];
        let entered = [(); 3].map(|()| admission.enter(one, at(0)));
        assert_eq!(entered, [Ok(()), Ok(()), Err(NoRoom::AddressFull)]);
        assert_eq!(admission.enter(other, at(0)), Ok(()));
        admission.leave(one);
        assert_eq!(admission.enter(one, at(0)), Ok(()));
        assert_eq!(admission.enter(one, at(0)), Err(NoRoom::AddressFull));
    }

    #[test]
    fn an_address_has_a_seconds_connections_at_once_and_more_as_time_passes() {
        let admission = Admission::new(Limits { per_address_max: usize::MAX, rate_per_address_max: 10 });
        let n_at = |millis| {
            let enter = |_: &i32| admission.enter(key("10.0.0.1"), at(millis)).is_ok();
            (0..100).filter(enter).count()
        };
        assert_eq!([n_at(0), n_at(99), n_at(100), n_at(1_100), n_at(60_000)], [10, 0, 1, 10, 10]);
        assert_eq!(admission.enter(key("10.0.0.1"), at(60_000)), Err(NoRoom::AddressRate));
        assert_eq!(admission.enter(key("10.0.0.2"), at(60_000)), Ok(()));
    }

    #[test]
    fn without_limits_nothing_is_kept_and_addresses_that_count_for_nothing_are_forgotten() {
        let none = Limits { per_address_max: usize::MAX, rate_per_address_max: 0 };
        let free = Admission::new(none);
        assert!((0..1_000).all(|_| free.enter(key("10.0.0.1"), at(0)).is_ok()));
        assert!(free.stripes.iter().all(|it| it.lock().unwrap().known.is_empty()));
        let mut addresses = Addresses::default();
        let limits = Limits { per_address_max: 1, rate_per_address_max: 10 };
        for n in 0..100_000 {
            addresses.enter(AddressKey::new(n), &limits, at(n)).unwrap();
            addresses.leave(AddressKey::new(n));
        }
        assert!(addresses.known.len() <= N_AT_SWEEP_MIN, "{}", addresses.known.len());
    }
}
