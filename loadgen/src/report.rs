//! A result as JSON and as the table that ends a run. Not how it came about.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::job::Job;
use crate::plan::Protocol;
use crate::publisher::Pace;
use crate::run::Outcome;
use crate::threshold::Threshold;

/// Whose threads waited longer for a CPU measured the others' work as well.
const WAITED_MAX: f64 = 0.05;

/// A generator this busy may have been what was measured.
const BUSY_MAX: f64 = 0.95;

/// The worst flows are named, so many of them.
const LOSSY_FLOWS_MAX: usize = 1000;
/// Points of a percentile curve for each halving of what is left to 100 %.
const CURVE_STEPS: u32 = 5;

pub const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

pub fn json(job: &Job, outcome: &Outcome, thresholds: &[Threshold]) -> Value {
    let seconds = outcome.duration_s.max(1e-9);
    let mut result = json!({
        "loadgen": env!("CARGO_PKG_VERSION"),
        "verb": job.verb,
        "started": outcome.started,
        "command": std::env::args().collect::<Vec<_>>(),
        "scenario": scenario(job),
        "duration_s": outcome.duration_s,
        "sent": outcome.sent,
        "expected": outcome.expected,
        "received": outcome.received,
        "lost": outcome.lost(),
        "duplicates": outcome.duplicates,
        "reordered": outcome.reordered,
        "foreign": outcome.foreign,
        "lossy_flows": outcome.lossy_flows.iter().take(LOSSY_FLOWS_MAX).map(|flow| json!({
            "publisher": flow.publisher, "subscriber": flow.subscriber,
            "sent": flow.sent, "received": flow.received,
        })).collect::<Vec<_>>(),
        "measured": { "sent": outcome.window_sent, "received": outcome.window_received },
        "rates": {
            "sent_per_s": outcome.window_sent as f64 / seconds,
            "received_per_s": outcome.window_received as f64 / seconds,
        },
        "latency_us": latencies(&outcome.latency),
        "latency_curve": curve(&outcome.latency),
        "server": server(job, outcome),
        "generator": generator(job, outcome),
        "connections": {
            "opened": outcome.opened,
            "failed": u64::from(outcome.failure.is_some() && outcome.window_received + outcome.sent == 0),
            "handshake_us": latencies(&outcome.handshakes),
            "handshake_curve": curve(&outcome.handshakes),
        },
        "intervals": outcome.intervals.iter().map(|interval| json!({
            "t_s": interval.t_s, "sent": interval.sent, "received": interval.received,
            "p50_us": interval.p50_us, "p99_us": interval.p99_us, "max_us": interval.max_us,
        })).collect::<Vec<_>>(),
        "interrupted": outcome.is_interrupted,
        "error": outcome.failure,
    });
    if job.verb == "request" {
        result["round_trips"] = json!({
            "count": outcome.window_received,
            "per_s": outcome.window_received as f64 / seconds,
        });
    }
    let checks: Vec<Value> = thresholds
        .iter()
        .map(|threshold| {
            let (value, is_kept) = threshold.check(&result);
            json!({ "text": threshold.text, "value": value, "unit": threshold.unit(), "ok": is_kept })
        })
        .collect();
    result["thresholds"] = Value::Array(checks);
    result
}

fn scenario(job: &Job) -> Value {
    let plan = &job.plan;
    let name = |protocol| if protocol == Protocol::Nats { "nats" } else { "mqtt" };
    let version = [plan.from, plan.to].into_iter().find_map(|protocol| match protocol {
        Protocol::Mqtt(version) => Some(version as u8),
        Protocol::Nats => None,
    });
    let (rate, lag) = match job.pace {
        Pace::Rate { per_second, .. } => (Some(per_second), None),
        Pace::Lag(lag) => (None, Some(lag)),
        Pace::Flood => (None, None),
    };
    json!({
        "from": name(plan.from), "to": name(plan.to), "publishers": plan.publishers,
        "subscribers": plan.subscribers, "subjects": plan.subjects, "size": plan.size, "shape": plan.shape,
        "qos": plan.qos, "window": plan.window, "mqtt_version": version, "rate": rate, "lag": lag,
        "wildcards": plan.is_wild.then_some(plan.subjects),
    })
}

fn latencies(histogram: &Histogram<u64>) -> Value {
    let us = |ns: u64| ns as f64 / 1e3;
    let is_empty = histogram.is_empty();
    let mut values = json!({
        "min": if is_empty { 0.0 } else { us(histogram.min()) },
        "mean": histogram.mean() / 1e3,
        "max": us(histogram.max()),
        "count": histogram.len(),
    });
    for (name, quantile) in QUANTILES {
        values[name] = us(histogram.value_at_quantile(quantile)).into();
    }
    values
}

/// The percentile curve: pairs of a quantile and a latency in microseconds.
fn curve(histogram: &Histogram<u64>) -> Value {
    let steps = histogram.iter_quantiles(CURVE_STEPS);
    let us = |step: &hdrhistogram::iterators::IterationValue<u64>| step.value_iterated_to() as f64 / 1e3;
    steps.map(|step| json!([step.quantile_iterated_to(), us(&step)])).collect()
}

fn server(job: &Job, outcome: &Outcome) -> Value {
    let Some((begin, end)) = outcome.server else { return Value::Null };
    let cpu_s = end.cpu_s - begin.cpu_s;
    let waited = (end.waited_s - begin.waited_s).max(0.0) / outcome.duration_s.max(1e-9);
    // Without subscribers a message is one that was sent.
    let n = if job.plan.subscribers == 0 { outcome.window_sent } else { outcome.window_received };
    json!({
        "pid": job.server_pid,
        "cpu_s": cpu_s,
        "cpu_us_per_message": (n > 0).then(|| cpu_s * 1e6 / n as f64),
        "waited": waited,
        "cpu_user_s": end.user_s - begin.user_s,
        "cpu_system_s": end.system_s - begin.system_s,
        "rss_bytes": end.rss_bytes,
        "rss_peak_bytes": end.rss_peak_bytes,
        "memory_bytes_per_connection": outcome.memory_per_connection,
    })
}

fn generator(job: &Job, outcome: &Outcome) -> Value {
    let n = outcome.window_sent + outcome.window_received;
    let server_busy =
        outcome.server.map(|(begin, end)| (end.cpu_s - begin.cpu_s) / outcome.duration_s.max(1e-9));
    let is_paced = matches!(job.pace, Pace::Rate { .. });
    let why = if is_paced && outcome.late * 100 > outcome.sent {
        format!("{} sends were over 1 ms late", grouped(outcome.late))
    } else if outcome.busy > BUSY_MAX && server_busy.is_none_or(|busy| busy < 0.9) {
        format!("a thread was busy {:.0} % of the time", outcome.busy * 100.0)
    } else if outcome.waited > WAITED_MAX {
        format!("a thread waited for a CPU {:.0} % of the time", outcome.waited * 100.0)
    } else {
        String::new()
    };
    json!({
        "cpu_s": outcome.own_cpu_s,
        "cpu_us_per_message": (n > 0).then(|| outcome.own_cpu_s * 1e6 / n as f64),
        "busy": outcome.busy,
        "waited": outcome.waited,
        "late_sends": outcome.late,
        "bottleneck": !why.is_empty(),
        "why": why,
    })
}

/// The table.
pub fn table(result: &Value) -> String {
    rows(result).iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

pub fn rows(result: &Value) -> Vec<(&'static str, String)> {
    let mut rows = if result["verb"] == "conn" { held(result) } else { traffic(result) };
    rows.extend(resources(result));
    for check in result["thresholds"].as_array().into_iter().flatten() {
        let mark = if check["ok"] == true { "kept" } else { "MISSED" };
        let text = check["text"].as_str().unwrap_or_default();
        let value = match check["value"].as_f64() {
            Some(value) if check["unit"] == "µs" => format!("{value:.1} µs"),
            Some(value) => format!("{value}"),
            None => "none: it was not measured".into(),
        };
        rows.push(("threshold", format!("{mark}: {text} (value {value})")));
    }
    rows
}

fn number(result: &Value, pointer: &str) -> f64 {
    result.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

fn count(result: &Value, pointer: &str) -> String {
    grouped(number(result, pointer) as u64)
}

fn traffic(result: &Value) -> Vec<(&'static str, String)> {
    let number = |pointer: &str| number(result, pointer);
    let count = |pointer: &str| count(result, pointer);
    let (received, per_s) = (count("/received"), count("/rates/received_per_s"));
    let mut rows = vec![
        ("measured", format!("{:.3} s", number("/duration_s"))),
        ("sent", format!("{:>14}   {:>12}/s", count("/sent"), count("/rates/sent_per_s"))),
        ("received", format!("{received:>14}   {per_s:>12}/s   of {} expected", count("/expected"))),
        (
            "lost",
            format!(
                "{:>14}   duplicates {}   reordered {}",
                count("/lost"),
                count("/duplicates"),
                count("/reordered")
            ),
        ),
    ];
    if number("/latency_us/count") > 0.0 {
        let names = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
        let values = names.map(|name| format!("{name} {:.1}", number(&format!("/latency_us/{name}"))));
        rows.push(("latency µs", values.join("   ")));
    }
    rows
}

/// Connections carry nothing.
fn held(result: &Value) -> Vec<(&'static str, String)> {
    vec![("held", format!("{:.3} s", number(result, "/duration_s")))]
}

fn resources(result: &Value) -> Vec<(&'static str, String)> {
    let number = |pointer: &str| number(result, pointer);
    let mut rows = Vec::new();
    if number("/connections/opened") > 0.0 {
        let [p50, p99, max] =
            ["p50", "p99", "max"].map(|name| number(&format!("/connections/handshake_us/{name}")));
        let opened = count(result, "/connections/opened");
        rows.push((
            "connections",
            format!("{opened}   handshake µs p50 {p50:.0}   p99 {p99:.0}   max {max:.0}"),
        ));
    }
    if !result["server"].is_null() {
        let each = if result["verb"] == "conn" {
            format!("{} bytes a connection", count(result, "/server/memory_bytes_per_connection"))
        } else {
            format!("{:.4} µs a message", number("/server/cpu_us_per_message"))
        };
        let (cpu_s, memory) = (number("/server/cpu_s"), number("/server/rss_bytes") / 1048576.0);
        rows.push(("server", format!("{cpu_s:.3} s CPU   {each}   {memory:.1} MiB")));
        let waited = number("/server/waited");
        if waited > WAITED_MAX {
            let text = "ready to run, the server waited for a CPU";
            rows.push(("NOTE", format!("{text} {:.0} % of the time: others had it", waited * 100.0)));
        }
    }
    rows.push((
        "generator",
        format!(
            "{:.3} s CPU   {:.4} µs a message   {:.0} % busy",
            number("/generator/cpu_s"),
            number("/generator/cpu_us_per_message"),
            number("/generator/busy") * 100.0
        ),
    ));
    if result["generator"]["bottleneck"] == true {
        let why = result["generator"]["why"].as_str().unwrap_or_default();
        rows.push(("NOTE", format!("the generator was the bottleneck: {why}")));
    }
    rows
}

/// The runs of a scenario, a line each.
pub fn overview(document: &Value) -> String {
    let runs: Vec<&Value> = document["runs"].as_array().into_iter().flatten().collect();
    let name = |run: &Value| run["name"].as_str().unwrap_or_default().to_owned();
    let width = runs.iter().map(|run| name(run).chars().count()).max().unwrap_or(0).max("run".len());
    let mut text = format!(
        "{:<width$} {:>14} {:>14} {:>10} {:>10}   outcome\n",
        "run", "sent /s", "received /s", "p50 µs", "p99 µs"
    );
    for run in runs {
        let us = |quantile: &str| match number(run, &format!("/latency_us/{quantile}")) {
            us if us > 0.0 => format!("{us:.1}"),
            _ => "-".into(),
        };
        text += &format!(
            "{:<width$} {:>14} {:>14} {:>10} {:>10}   {}\n",
            name(run),
            count(run, "/rates/sent_per_s"),
            count(run, "/rates/received_per_s"),
            us("p50"),
            us("p99"),
            outcome(run)
        );
    }
    let n_left_out = number(document, "/left_out") as u64;
    if n_left_out > 0 {
        text += &format!("left out after that: {n_left_out}\n");
    }
    text
}

/// How a run ended, in a word or two.
pub fn outcome(run: &Value) -> String {
    if !run["error"].is_null() {
        return "FAILED".into();
    }
    if run["interrupted"] == true {
        return "interrupted".into();
    }
    let checks = run["thresholds"].as_array().into_iter().flatten();
    let missed: Vec<&str> =
        checks.filter(|check| check["ok"] != true).filter_map(|check| check["text"].as_str()).collect();
    if missed.is_empty() { "ok".into() } else { format!("MISSED {}", missed.join(", ")) }
}

/// What a sink has counted.
pub fn sink_table(result: &Value) -> String {
    let count = |pointer: &str| count(result, pointer);
    format!(
        "{:<14} {:>14}   {:>12}/s   {} bytes\n{:<14} {}\n{:<14} {:.3} s CPU\n",
        "received",
        count("/received"),
        count("/rates/received_per_s"),
        count("/bytes"),
        "connections",
        count("/connections/opened"),
        "sink",
        number(result, "/generator/cpu_s")
    )
}

/// With commas: 1,234,567.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> Value {
        json!({
            "duration_s": 2.0, "sent": 3000, "expected": 9000, "received": 8990, "lost": 10, "duplicates": 1, "reordered": 2,
            "rates": { "sent_per_s": 1_500_000.0, "received_per_s": 4495.0 },
            "latency_us": { "min": 10.0, "p50": 20.0, "p90": 30.0, "p99": 900.0, "p99.9": 901.0, "p99.99": 902.0, "max": 1500.0, "count": 8990 },
            "connections": { "opened": 4, "handshake_us": { "p50": 100.0, "p99": 200.0, "max": 300.0 } },
            "server": { "cpu_s": 1.5, "cpu_us_per_message": 0.25, "rss_bytes": 2_097_152 },
            "generator": { "cpu_s": 1.0, "cpu_us_per_message": 0.1, "busy": 0.5, "bottleneck": false, "why": "" },
            "thresholds": [{ "text": "p99<1ms", "value": 900.04, "unit": "µs", "ok": true }, { "text": "loss==0", "value": 10, "ok": false }],
            "error": null, "interrupted": false,
        })
    }

    #[test]
    fn the_table_says_it_all_in_lines_that_stand_below_each_other() {
        let table = table(&result());
        for line in [
            "measured       2.000 s",
            "sent                    3,000      1,500,000/s",
            "received                8,990          4,495/s   of 9,000 expected",
            "lost                       10   duplicates 1   reordered 2",
            "latency µs     min 10.0   p50 20.0   p90 30.0   p99 900.0   p99.9 901.0   p99.99 902.0   max 1500.0",
            "connections    4   handshake µs p50 100   p99 200   max 300",
            "server         1.500 s CPU   0.2500 µs a message   2.0 MiB",
            "generator      1.000 s CPU   0.1000 µs a message   50 % busy",
            "threshold      kept: p99<1ms (value 900.0 µs)",
            "threshold      MISSED: loss==0 (value 10)",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}\n{table}");
        }
        assert!(!table.contains("NOTE"));
    }

    #[test]
    fn a_server_that_had_no_cpu_is_noted() {
        let mut result = result();
        result["server"]["waited"] = 0.04.into();
        assert!(!table(&result).contains("NOTE"));
        result["server"]["waited"] = 0.31.into();
        let note = "NOTE           ready to run, the server waited for a CPU 31 % of the time: others had it";
        assert!(table(&result).contains(note));
    }

    #[test]
    fn a_bottleneck_is_noted_and_what_was_not_measured_has_no_line() {
        let mut result = result();
        result["generator"]["bottleneck"] = true.into();
        result["generator"]["why"] = "a thread was busy 99 % of the time".into();
        result["server"] = Value::Null;
        result["latency_us"]["count"] = 0.into();
        let table = table(&result);
        assert!(table.contains("NOTE           the generator was the bottleneck: a thread was busy 99 %"));
        assert!(!table.contains("latency") && !table.contains("server"));
    }

    #[test]
    fn held_connections_have_memory_and_no_messages() {
        let mut result = result();
        result["verb"] = "conn".into();
        result["server"]["memory_bytes_per_connection"] = 1536.4.into();
        let table = table(&result);
        assert!(table.starts_with("held           2.000 s\nconnections    4 "), "{table}");
        assert!(table.contains("1,536 bytes a connection") && !table.contains("sent"), "{table}");
    }

    #[test]
    fn an_overview_has_a_line_for_each_run_with_how_it_ended() {
        let (mut first, mut second, mut third) = (result(), result(), result());
        (first["name"], second["name"], third["name"]) =
            ("calm".into(), "storm/telemetry".into(), "end".into());
        second["error"] = "it dropped us".into();
        third["thresholds"] = json!([]);
        let text = overview(&json!({ "runs": [first, second, third], "left_out": 3 }));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("run             ") && lines[0].ends_with("outcome"));
        assert!(lines[1].starts_with("calm            ") && lines[1].ends_with("MISSED loss==0"), "{text}");
        assert!(lines[2].starts_with("storm/telemetry ") && lines[2].ends_with("FAILED"), "{text}");
        assert!(lines[3].ends_with("ok") && lines[4] == "left out after that: 3", "{text}");
    }

    #[test]
    fn big_numbers_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_percentile_curve_climbs_to_its_maximum() {
        let mut histogram = crate::shared::histogram();
        (1..=1000).for_each(|us| histogram.record(us * 1000).expect("it is in the bounds"));
        let curve = curve(&histogram);
        let points: Vec<(f64, f64)> = curve
            .as_array()
            .into_iter()
            .flatten()
            .map(|point| {
                (point[0].as_f64().expect("it is a number"), point[1].as_f64().expect("it is a number"))
            })
            .collect();
        assert!(
            points.len() > 20
                && points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        assert!(points.last().is_some_and(|last| last.0 >= 1.0 && (last.1 - 1000.0).abs() < 2.0));
    }
}
