//! Latencies as JSON: quantiles in nanoseconds, and the whole histogram in HdrHistogram's own encoding.

use super::collect::Snapshot;
use crate::shard::latency::{Direction, Latency, SIGNIFICANT_DIGITS};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Map, Value, json};

/// By their names in the answer.
const QUANTILES: [(&str, f64); 7] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

pub fn to_json(snapshot: &Snapshot) -> Value {
    let deliveries: Map<String, Value> = Direction::ALL
        .iter()
        .map(|direction| (direction.name().into(), latency(snapshot.latencies.of(*direction))))
        .collect();
    json!({
        "unit": "nanoseconds",
        "significant_digits": SIGNIFICANT_DIGITS,
        "deliveries": deliveries,
        "mail": latency(&snapshot.latencies.mail),
    })
}

fn latency(latency: &Latency) -> Value {
    let histogram = latency.histogram();
    let quantiles: Map<String, Value> = QUANTILES
        .iter()
        .map(|(name, quantile)| ((*name).into(), histogram.value_at_quantile(*quantile).into()))
        .collect();
    json!({
        "count": histogram.len(),
        "sum": latency.sum_nanos(),
        "min": histogram.min(),
        "mean": histogram.mean(),
        "max": histogram.max(),
        "quantiles": quantiles,
        "hdr": encoded(latency),
    })
}

/// The compressed V2 encoding in base64, as in HdrHistogram's logs.
fn encoded(latency: &Latency) -> String {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(latency.histogram(), &mut bytes);
    written.expect("a buffer in memory takes all that is written to it");
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;

    #[test]
    fn quantiles_are_those_of_what_was_recorded_and_the_encoding_reads_back() {
        let mut recorded = Latency::default();
        recorded.record(Span::from_millis(1), 98);
        recorded.record(Span::from_millis(100), 2);
        let shown = latency(&recorded);
        assert_eq!((shown["count"].as_u64(), shown["sum"].as_u64()), (Some(100), Some(298_000_000)));
        for (name, millis) in [("p50", 1.0), ("p95", 1.0), ("p99", 100.0), ("p99.99", 100.0)] {
            let nanos = shown["quantiles"][name].as_f64().unwrap();
            assert!((nanos / 1e6 / millis - 1.0).abs() < 0.01, "{name}: {nanos}");
        }
        let bytes = STANDARD.decode(shown["hdr"].as_str().unwrap()).unwrap();
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(&read, recorded.histogram());
    }
}
