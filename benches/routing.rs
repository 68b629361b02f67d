//! Who gets a subject, with few and many filters, from the cache and past it.

#[expect(dead_code, reason = "every bench plays a part of the scenarios")]
mod scenarios;
mod timed;

use criterion::{Criterion, criterion_group, criterion_main};
use scenarios::routes::{Filters, Lookup};

fn bench(criterion: &mut Criterion) {
    for (spelled, filters) in [("exact", Filters::Exact), ("wildcard", Filters::Wildcard)] {
        for (many, n_filters) in [("10", 10), ("1k", 1_000), ("100k", 100_000), ("1M", 1_000_000)] {
            // A million filters take seconds to enter: too long for a look at whether it works.
            if n_filters > 100_000 && !std::env::args().any(|arg| arg == "--bench") {
                continue;
            }
            timed::one(criterion, &format!("routes/hit/{spelled}/{many}"), || {
                Box::new(Lookup::hits(filters, n_filters))
            });
            timed::one(criterion, &format!("routes/miss/{spelled}/{many}"), || {
                Box::new(Lookup::misses(filters, n_filters))
            });
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
