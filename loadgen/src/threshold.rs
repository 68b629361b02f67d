//! Rules that a result must keep: `p99<2ms`, `loss==0`.

use std::str::FromStr;

use serde_json::Value;

use crate::units;

#[derive(Clone, Debug)]
pub struct Threshold {
    pub text: String,
    measure: &'static Measure,
    comparison: &'static str,
    limit: f64,
}

#[derive(Debug)]
struct Measure {
    name: &'static str,
    /// Where the result has it.
    pointer: &'static str,
    is_time: bool,
}

const MEASURES: &[Measure] = &[
    Measure { name: "min", pointer: "/latency_us/min", is_time: true },
    Measure { name: "mean", pointer: "/latency_us/mean", is_time: true },
    Measure { name: "p50", pointer: "/latency_us/p50", is_time: true },
    Measure { name: "p90", pointer: "/latency_us/p90", is_time: true },
    Measure { name: "p99", pointer: "/latency_us/p99", is_time: true },
    Measure { name: "p99.9", pointer: "/latency_us/p99.9", is_time: true },
    Measure { name: "p99.99", pointer: "/latency_us/p99.99", is_time: true },
    Measure { name: "max", pointer: "/latency_us/max", is_time: true },
    Measure { name: "loss", pointer: "/lost", is_time: false },
    Measure { name: "lost", pointer: "/lost", is_time: false },
    Measure { name: "duplicates", pointer: "/duplicates", is_time: false },
    Measure { name: "reordered", pointer: "/reordered", is_time: false },
    Measure { name: "received", pointer: "/received", is_time: false },
    Measure { name: "sent_per_s", pointer: "/rates/sent_per_s", is_time: false },
    Measure { name: "received_per_s", pointer: "/rates/received_per_s", is_time: false },
    Measure { name: "cpu_us_per_message", pointer: "/server/cpu_us_per_message", is_time: false },
    Measure { name: "rss_bytes", pointer: "/server/rss_bytes", is_time: false },
    Measure { name: "late_sends", pointer: "/generator/late_sends", is_time: false },
];

/// Longer ones first: `<=` is not `<`.
const COMPARISONS: [&str; 6] = ["<=", ">=", "==", "!=", "<", ">"];

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Threshold, String> {
        let wrong =
            || format!("'{text}' is not a rule; write it like p99<2ms, loss==0 or received_per_s>=1m");
        let begin = text.find(['<', '>', '=', '!']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(begin);
        let comparison = COMPARISONS.into_iter().find(|sign| rest.starts_with(sign)).ok_or_else(wrong)?;
        let limit = rest[comparison.len()..].trim();
        let name = name.trim();
        let measure = MEASURES.iter().find(|measure| measure.name == name).ok_or_else(|| {
            let names: Vec<_> = MEASURES.iter().map(|measure| measure.name).collect();
            format!("'{name}' is not measured; there are {}", names.join(", "))
        })?;
        let limit = if measure.is_time {
            units::duration(limit)?.as_secs_f64() * 1e6
        } else {
            limit.parse().or_else(|_| units::count(limit).map(|count| count as f64)).map_err(|_| wrong())?
        };
        Ok(Threshold { text: text.to_owned(), measure, comparison, limit })
    }
}

impl Threshold {
    /// What values are in, where they have a unit.
    pub fn unit(&self) -> &'static str {
        if self.measure.is_time { "µs" } else { "" }
    }

    /// The value and whether it is as it must be. What was not measured keeps no rule.
    pub fn check(&self, result: &Value) -> (Option<f64>, bool) {
        let Some(value) = result.pointer(self.measure.pointer).and_then(Value::as_f64) else {
            return (None, false);
        };
        let limit = self.limit;
        let is_kept = match self.comparison {
            "<=" => value <= limit,
            ">=" => value >= limit,
            "<" => value < limit,
            ">" => value > limit,
            "==" => (value - limit).abs() < f64::EPSILON,
            _ => (value - limit).abs() >= f64::EPSILON,
        };
        (Some(value), is_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_checked() {
        let result = serde_json::json!({ "latency_us": { "p99": 1500.0, "p99.9": 2500.0 }, "lost": 0 });
        let check = |rule: &str| rule.parse::<Threshold>().expect("it is a rule").check(&result).1;
        assert!(check("p99<2ms") && check("p99 <= 1500us") && check("loss==0") && check("p99.9>2ms"));
        assert!(!check("p99>2ms") && !check("loss!=0"));
        assert!(!check("cpu_us_per_message<1"), "what was not measured keeps no rule");
        for wrong in ["", "p99", "p99<", "p98<2ms", "loss=0", "p99<fast"] {
            assert!(wrong.parse::<Threshold>().is_err(), "{wrong}");
        }
    }
}
