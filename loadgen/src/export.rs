//! A result in the forms of other tools: CSV of the intervals, and a percentile distribution (`.hgrm`) for HDR
//! plotters; and two results side by side. Not the table that ends a run.

use std::fmt::Write as _;
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::Value;

/// What is compared: where the result has it.
const COMPARED: [(&str, &str); 12] = [
    ("sent /s", "/rates/sent_per_s"),
    ("received /s", "/rates/received_per_s"),
    ("lost", "/lost"),
    ("duplicates", "/duplicates"),
    ("reordered", "/reordered"),
    ("p50 µs", "/latency_us/p50"),
    ("p90 µs", "/latency_us/p90"),
    ("p99 µs", "/latency_us/p99"),
    ("p99.9 µs", "/latency_us/p99.9"),
    ("max µs", "/latency_us/max"),
    ("server CPU µs", "/server/cpu_us_per_message"),
    ("server bytes", "/server/rss_bytes"),
];

/// One line for each interval.
pub fn csv(result: &Value) -> String {
    let columns = ["t_s", "sent", "received", "p50_us", "p99_us", "max_us"];
    let mut text = columns.join(",") + "\n";
    for interval in result["intervals"].as_array().into_iter().flatten() {
        let cells: Vec<String> = columns.iter().map(|column| interval[*column].to_string()).collect();
        text += &(cells.join(",") + "\n");
    }
    text
}

/// Latencies in microseconds, in the form that HDR histogram plotters read.
pub fn hgrm(latency: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in latency.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
        let rest = 1.0 - quantile;
        let inverse = if rest > 0.0 { format!("{:.2}", 1.0 / rest) } else { "inf".into() };
        writeln!(text, "{value:>12.3} {quantile:>14.12} {total:>10} {inverse:>14}")
            .expect("a String takes all");
    }
    let (mean, deviation) = (latency.mean() / 1e3, latency.stdev() / 1e3);
    writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")
        .expect("a String takes all");
    let (max, count) = (latency.max() as f64 / 1e3, latency.len());
    writeln!(text, "#[Max     = {max:>12.3}, Total count    = {count:>12}]").expect("a String takes all");
    text
}

/// Two results of `--json`, and what of the second is more or less than the first.
pub fn compare(first: &Path, second: &Path) -> Result<String, String> {
    let (first, second) = (read(first)?, read(second)?);
    let mut text = format!("{:<14} {:>16} {:>16} {:>10}\n", "", "first", "second", "change");
    for (name, pointer) in COMPARED {
        let value = |result: &Value| result.pointer(pointer).and_then(Value::as_f64);
        let (a, b) = (value(&first), value(&second));
        let shown = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
        let change = match (a, b) {
            (Some(a), Some(b)) if a > 0.0 => format!("{:+.1} %", (b / a - 1.0) * 100.0),
            _ => String::new(),
        };
        writeln!(text, "{name:<14} {:>16} {:>16} {change:>10}", shown(a), shown(b))
            .expect("a String takes all");
    }
    if first["scenario"] != second["scenario"] {
        text += "NOTE           the scenarios differ\n";
    }
    Ok(text)
}

fn read(path: &Path) -> Result<Value, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let result: Value =
        serde_json::from_str(&text).map_err(|error| format!("{name} is not JSON: {error}"))?;
    if result["rates"].is_object() { Ok(result) } else { Err(format!("{name} is not a result of --json")) }
}
