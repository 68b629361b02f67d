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

/// One line for each interval; of a scenario, each behind the name of its run.
pub fn csv(result: &Value) -> String {
    let columns = ["t_s", "sent", "received", "p50_us", "p99_us", "max_us"];
    let runs = runs(result);
    let is_scenario = result["runs"].is_array();
    let mut text = format!("{}{}\n", if is_scenario { "run," } else { "" }, columns.join(","));
    for (name, run) in runs {
        for interval in run["intervals"].as_array().into_iter().flatten() {
            let name = is_scenario.then(|| format!("\"{}\"", name.replace('"', "\"\"")));
            let cells = columns.iter().map(|column| interval[*column].to_string());
            text += &(name.into_iter().chain(cells).collect::<Vec<_>>().join(",") + "\n");
        }
    }
    text
}

/// The runs of a result with their names; an only one has none.
fn runs(result: &Value) -> Vec<(&str, &Value)> {
    match result["runs"].as_array() {
        Some(runs) => runs.iter().map(|run| (run["name"].as_str().unwrap_or_default(), run)).collect(),
        None => vec![("", result)],
    }
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

/// Two results of `--json`, and what of the second is more or less than the first. Of scenarios, the runs of
/// one name.
pub fn compare(first: &Path, second: &Path) -> Result<String, String> {
    let (first, second) = (read(first)?, read(second)?);
    let (ours, theirs) = (runs(&first), runs(&second));
    let mut text = String::new();
    let mut n_pairs = 0;
    for (name, run) in &ours {
        let Some((_, other)) = theirs.iter().find(|(other, _)| other == name) else {
            writeln!(text, "── {name}: only in the first\n").expect("a String takes all");
            continue;
        };
        n_pairs += 1;
        if !name.is_empty() {
            writeln!(text, "── {name}").expect("a String takes all");
        }
        text += &side_by_side(run, other);
        if !name.is_empty() {
            text.push('\n');
        }
    }
    for (name, _) in theirs.iter().filter(|(name, _)| ours.iter().all(|(other, _)| other != name)) {
        writeln!(text, "── {name}: only in the second\n").expect("a String takes all");
    }
    if n_pairs == 0 {
        return Err("the two have no run of the same name".into());
    }
    Ok(text)
}

fn side_by_side(first: &Value, second: &Value) -> String {
    let mut text = format!("{:<14} {:>16} {:>16} {:>10}\n", "", "first", "second", "change");
    for (name, pointer) in COMPARED {
        let value = |result: &Value| result.pointer(pointer).and_then(Value::as_f64);
        let (a, b) = (value(first), value(second));
        if a.is_none() && b.is_none() {
            continue;
        }
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
    text
}

fn read(path: &Path) -> Result<Value, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let result: Value =
        serde_json::from_str(&text).map_err(|error| format!("{name} is not JSON: {error}"))?;
    let is_ours = result["rates"].is_object() || result["runs"].is_array();
    if is_ours { Ok(result) } else { Err(format!("{name} is not a result of --json")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result(received_per_s: f64, p99: f64) -> Value {
        json!({
            "rates": { "received_per_s": received_per_s },
            "latency_us": { "p99": p99 },
            "scenario": { "size": 16 },
            "intervals": [
                { "t_s": 1.0, "sent": 10, "received": 20, "p50_us": 1.5, "p99_us": 2.5, "max_us": 3.5 },
                { "t_s": 2.0, "sent": 11, "received": 22, "p50_us": 1.5, "p99_us": 2.5, "max_us": 3.5 },
            ],
        })
    }

    fn named(name: &str, mut result: Value) -> Value {
        result["name"] = name.into();
        result
    }

    /// A file of this test process that goes when it is done with.
    struct Written(std::path::PathBuf);

    impl Written {
        fn new(name: &str, text: &str) -> Written {
            let path = std::env::temp_dir().join(format!("loadgen-{}-{name}", std::process::id()));
            std::fs::write(&path, text).expect("a temporary file can be written");
            Written(path)
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn intervals_are_lines_of_csv() {
        let csv = csv(&result(20.0, 2.5));
        assert_eq!(
            csv,
            "t_s,sent,received,p50_us,p99_us,max_us\n1.0,10,20,1.5,2.5,3.5\n2.0,11,22,1.5,2.5,3.5\n"
        );
    }

    #[test]
    fn intervals_of_a_scenario_have_the_names_of_their_runs() {
        let csv = csv(&json!({ "runs": [named("a \"b\"", result(1.0, 1.0)), named("c", result(1.0, 1.0))] }));
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines[0], "run,t_s,sent,received,p50_us,p99_us,max_us");
        assert!(
            lines[1].starts_with("\"a \"\"b\"\"\",1.0,10,") && lines[3].starts_with("\"c\",1.0,"),
            "{csv}"
        );
    }

    #[test]
    fn a_distribution_ends_at_its_maximum_with_all_counted() {
        let mut latency = crate::shared::histogram();
        latency.record_n(100_000, 98).expect("it is in the bounds");
        latency.record_n(2_000_000, 2).expect("it is in the bounds");
        let text = hgrm(&latency);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().expect("it is a number")).collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 4));
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]), "{text}");
        let (first, last) = (&rows[0], &rows[rows.len() - 1]);
        assert!((first[0] - 100.0).abs() < 0.1 && (last[0] - 2000.0).abs() < 2.0, "{text}");
        assert!((last[1] - 1.0).abs() < 1e-9 && (last[2] - 100.0).abs() < 1e-9 && last[3].is_infinite());
        let foot: Vec<_> = text.lines().rev().take(2).collect();
        assert!(
            foot[0].starts_with("#[Max     =     20") && foot[0].ends_with("Total count    =          100]"),
            "{text}"
        );
        assert!(foot[1].starts_with("#[Mean    =      138."), "{text}");
    }

    #[test]
    fn an_empty_distribution_is_written_too() {
        let text = hgrm(&crate::shared::histogram());
        assert!(text.ends_with("Total count    =            0]\n"), "{text}");
    }

    #[test]
    fn two_results_stand_side_by_side() {
        let first = Written::new("first", &result(1000.0, 200.0).to_string());
        let second = Written::new("second", &result(1500.0, 100.0).to_string());
        let text = compare(&first.0, &second.0).expect("both are results");
        assert!(text.contains("1000.000         1500.000    +50.0 %") && text.contains("-50.0 %"), "{text}");
        assert!(!text.contains("NOTE") && !text.contains("server CPU"), "what neither has is left out");
    }

    #[test]
    fn runs_of_scenarios_are_compared_by_name() {
        let runs = |names: [&str; 2]| {
            json!({ "runs": names.map(|name| named(name, result(10.0, 1.0))) }).to_string()
        };
        let (first, second) = (Written::new("ab", &runs(["a", "b"])), Written::new("bc", &runs(["b", "c"])));
        let text = compare(&first.0, &second.0).expect("both have a run b");
        assert!(
            text.contains("── a: only in the first") && text.contains("── c: only in the second"),
            "{text}"
        );
        assert_eq!(text.matches("+0.0 %").count(), 2);
        let other = Written::new("d", &runs(["d", "e"]));
        assert!(compare(&first.0, &other.0).is_err());
    }

    #[test]
    fn what_is_no_result_is_named() {
        let (wrong, other) = (Written::new("wrong", "{"), Written::new("other", "{}"));
        let error = |path: &Path| compare(path, path).expect_err("it is no result");
        assert!(error(&wrong.0).contains("is not JSON"));
        assert!(error(&other.0).contains("is not a result of --json"));
        assert!(error(Path::new("/nowhere/at/all")).contains("/nowhere/at/all: "));
    }
}
