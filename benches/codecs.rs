//! The codecs: bytes to publishes.

#[expect(dead_code, reason = "every bench plays a part of the scenarios")]
mod scenarios;
mod timed;

use criterion::{Criterion, criterion_group, criterion_main};
use scenarios::codecs;

fn bench(criterion: &mut Criterion) {
    for scenario in codecs::ALL {
        timed::one(criterion, scenario.name, scenario.make);
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
