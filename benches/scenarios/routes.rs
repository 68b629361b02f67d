//! Who gets a subject: found in the cache, or built from the table and the replica.

use super::world::{keys, settings};
use super::{Meter, Named, Scenario};
use std::hint::black_box;
use strait::shard::id::{ConnectionId, CoreId};
use strait::shard::interest::Interest;
use strait::shard::routes::Routes;
use strait::shard::table::{Table, Target};
use strait::subject::SubjectFilter;

pub const ALL: &[Named] = &[
    Named { name: "routes/hit/1k", make: || Box::new(Lookup::hits(Filters::Exact, 1_000)) },
    Named { name: "routes/miss/exact/100k", make: || Box::new(Lookup::misses(Filters::Exact, 100_000)) },
    Named {
        name: "routes/miss/wildcard/100k",
        make: || Box::new(Lookup::misses(Filters::Wildcard, 100_000)),
    },
];

/// How the subscriptions are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filters {
    Exact,
    Wildcard,
}

/// Subjects looked up in one play.
const N: usize = 1_000;

/// One subscription to each of many filters, and subjects that each match one of them.
#[derive(Debug)]
pub struct Lookup {
    table: Table,
    interest: Interest,
    routes: Routes,
    n_filters: usize,
    is_miss: bool,
    next: usize,
}

impl Lookup {
    fn new(filters: Filters, n_filters: usize, is_miss: bool) -> Self {
        let mut table = Table::new(&keys());
        let interest = Interest::new(&keys());
        for n in 0..n_filters {
            let text = match filters {
                Filters::Exact => subject(n),
                Filters::Wildcard => format!("fleet.car{n}.*"),
            };
            let filter = SubjectFilter::parse(text.as_bytes()).expect("it has no empty token");
            let connection = ConnectionId { slot: n as u32, generation: 0 };
            // As in a shard: its own plain subscriptions are in its table alone.
            table.add(&filter, None, Target { connection, subscription: 0 });
        }
        // Room for every result where a play is to hit; for none where it is to miss.
        let cache_bytes_max = if is_miss { 0 } else { settings(1).route_cache_bytes_max };
        let routes = Routes::new(CoreId(0), &keys(), cache_bytes_max);
        Self { table, interest, routes, n_filters, is_miss, next: 0 }
    }

    /// Every subject is in the cache.
    pub fn hits(filters: Filters, n_filters: usize) -> Self {
        let mut lookup = Self::new(filters, n_filters, false);
        // A subject is cached at second sight.
        for n in (0..N.min(n_filters)).flat_map(|n| [n, n]) {
            lookup.routes.find(subject(n).as_bytes(), &lookup.table, &lookup.interest);
        }
        lookup
    }

    /// No subject is in the cache.
    pub fn misses(filters: Filters, n_filters: usize) -> Self {
        Self::new(filters, n_filters, true)
    }
}

fn subject(n: usize) -> String {
    format!("fleet.car{n}.speed")
}

impl Scenario for Lookup {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        // Strides over all filters, so that neighbours in the tables are no neighbours in time.
        let stride = if self.is_miss { 7_919 } else { 1 };
        let n_subjects = if self.is_miss { self.n_filters } else { self.n_filters.min(N) };
        let first = self.next;
        self.next = (first + N * stride) % n_subjects;
        let subjects: Vec<_> = (0..N).map(|n| subject((first + n * stride) % n_subjects)).collect();
        let n_found = meter.measure(|| {
            let find = |subject: &String| {
                let route = self.routes.find(black_box(subject.as_bytes()), &self.table, &self.interest);
                black_box(route).local().len()
            };
            subjects.iter().map(find).sum::<usize>()
        });
        assert_eq!(n_found, N, "every subject has one subscriber");
        N as u64
    }
}
