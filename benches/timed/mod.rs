//! Criterion's view of a scenario: time a message, of its marked parts alone. Not what decides on a shared
//! or virtual machine: there the counts of `instructions` are steadier.

use crate::scenarios::{Meter, Scenario};
use criterion::Criterion;
use std::time::Duration;

/// Times one scenario. It is made once Criterion's filter has let it pass.
pub fn one(criterion: &mut Criterion, name: &str, make: impl Fn() -> Box<dyn Scenario>) {
    let mut made = None;
    criterion.bench_function(name, |bencher| {
        let scenario = made.get_or_insert_with(|| {
            let mut scenario = make();
            scenario.play(&mut Meter::off());
            scenario
        });
        // An iteration is a message: a play is some thousand of them, and is played to its end.
        bencher.iter_custom(|n_wanted| {
            let mut meter = Meter::on();
            let mut n_played = 0;
            while n_played < n_wanted {
                n_played += scenario.play(&mut meter);
            }
            Duration::from_secs_f64(meter.elapsed.as_secs_f64() * n_wanted as f64 / n_played as f64)
        });
    });
}
