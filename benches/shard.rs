//! Whole turns of a shard: a read full of publishes, their fan-out, and the write queues emptied. Not
//! sockets, not the executor.

#[expect(dead_code, reason = "every bench plays a part of the scenarios")]
mod scenarios;
mod timed;

use criterion::{Criterion, criterion_group, criterion_main};
use scenarios::turns;

fn bench(criterion: &mut Criterion) {
    for scenario in turns::ALL {
        timed::one(criterion, scenario.name, scenario.make);
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
