//! One message to 1, 8 and 1,000 subscribers of each protocol; the time is a delivery's.

#[expect(dead_code, reason = "every bench plays a part of the scenarios")]
mod scenarios;
mod timed;

use criterion::{Criterion, criterion_group, criterion_main};
use scenarios::turns::{Speaks, Turn};

/// Bytes of publishes read in a turn: enough of them for a thousand subscribers each.
const READ_BYTES: usize = 4 << 10;

fn bench(criterion: &mut Criterion) {
    for (name, to) in [("nats", Speaks::Nats), ("mqtt", Speaks::Mqtt)] {
        for n_subscribers in [1, 8, 1_000] {
            for payload_len in [16, 1_024] {
                let name = format!("fanout/{name}/{n_subscribers}/{payload_len}B");
                timed::one(criterion, &name, || {
                    Box::new(Turn::new(Speaks::Nats, to, n_subscribers, payload_len, READ_BYTES))
                });
            }
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
