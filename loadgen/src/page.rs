//! A result as one HTML page that needs nothing else: figures, charts as inline SVG, light and dark by the
//! reader's choice. Not how charts are drawn; that is `chart`.

use serde_json::Value;

use crate::chart::{self, Axis, Bar, Series, TONES};
use crate::report::{self, QUANTILES, grouped};

const STYLE: &str = include_str!("page.css");
/// Lossy flows that have a bar of their own.
const BARS_MAX: usize = 20;
/// An axis of times that lie so far apart is logarithmic.
const FAR_APART: f64 = 20.0;

/// Of one run, or of all the runs of a scenario.
pub fn html(result: &Value) -> String {
    let (heading, body) = match result["runs"].as_array() {
        Some(runs) => scenario(result, runs),
        None => {
            let heading = escaped(&title(result));
            let body = [header(result, &heading), section(result), foot(result)].concat();
            (heading, body)
        }
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{heading}</title>\
         <style>{STYLE}{}</style></head>\n<body><main>\n{body}</main></body></html>\n",
        chart::style()
    )
}

/// A table of the runs, and then each of them.
fn scenario(document: &Value, runs: &[Value]) -> (String, String) {
    let heading = escaped(document["scenario_file"].as_str().unwrap_or_default());
    let mut body = header(document, &heading);
    let row = |(idx, run): (usize, &Value)| {
        let outcome = report::outcome(run);
        let class = if outcome == "ok" { "good" } else { "bad" };
        let latency = |quantile: &str| match figure(run, &format!("/latency_us/{quantile}")) {
            us if us > 0.0 => time(us),
            _ => "–".into(),
        };
        format!(
            "<tr><td><a href=\"#run-{idx}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td><span class=\"badge {class}\">{}</span></td></tr>",
            escaped(run["name"].as_str().unwrap_or_default()),
            short(figure(run, "/rates/sent_per_s")),
            short(figure(run, "/rates/received_per_s")),
            latency("p50"),
            latency("p99"),
            grouped(figure(run, "/lost") as u64),
            escaped(&outcome)
        )
    };
    let rows: String = runs.iter().enumerate().map(row).collect();
    body += &format!(
        "<div class=\"scroll\"><table><tr><th>run<th>sent a second<th>received a second<th>p50<th>p99<th>lost<th>\
         outcome</tr>{rows}</table></div>\n"
    );
    if figure(document, "/left_out") > 0.0 {
        body += &format!("<p class=\"alert\">Left out after that: {} runs</p>\n", document["left_out"]);
    }
    for (idx, run) in runs.iter().enumerate() {
        let name = escaped(run["name"].as_str().unwrap_or_default());
        // What could not even begin has only its reason.
        let has_begun = run["scenario"].is_object();
        let what = if has_begun { escaped(&title(run)) } else { String::new() };
        let heading = format!("{name} <span class=\"soft\">{what}</span>");
        body += &format!("<h2 class=\"run\" id=\"run-{idx}\">{heading}</h2>\n");
        body += &if has_begun { section(run) + &settings(run) } else { alerts(run) };
    }
    body += &command(document);
    (heading, body)
}

/// What was run, in a line.
fn title(result: &Value) -> String {
    let scenario = &result["scenario"];
    let word = |key: &str| scenario[key].as_str().unwrap_or_default().to_owned();
    let spelled = |name: String| if name == "nats" { "NATS".into() } else { name.to_uppercase() };
    let (from, to) = (spelled(word("from")), spelled(word("to")));
    let n = |key: &str| scenario[key].as_u64().unwrap_or(0);
    match result["verb"].as_str().unwrap_or_default() {
        "pub" => format!("Publishing over {from}, {} B", n("size")),
        "sub" => format!("Receiving over {to}"),
        "conn" => format!("{} connections over {to}", grouped(n("subscribers"))),
        "request" => format!("Round trips {from} → {to}, {} connections", grouped(n("publishers"))),
        _ => format!(
            "{from} → {to}, {} to {} ({}), {} B",
            n("publishers"),
            n("subscribers"),
            word("shape"),
            n("size")
        ),
    }
}

fn header(result: &Value, heading: &str) -> String {
    let started = result["started"].as_str().unwrap_or_default().replace('T', " ").replace('Z', " UTC");
    let seconds = result["duration_s"].as_f64();
    let measured = seconds.map_or_else(String::new, |seconds| format!(" · {seconds:.1} s measured"));
    format!(
        "<h1>{heading}</h1>\n<p class=\"soft\">{started}{measured} · loadgen {}</p>\n",
        result["loadgen"].as_str().unwrap_or_default()
    )
}

/// All that is said of one run.
fn section(result: &Value) -> String {
    let mut parts = vec![alerts(result), tiles(result)];
    let charts = [rates(result), latencies(result), curve(result), handshakes(result), losses(result)];
    let cards: String = charts.into_iter().flatten().collect();
    if !cards.is_empty() {
        parts.push(format!("<div class=\"cards\">{cards}</div>\n"));
    }
    parts.extend([thresholds(result), table(result), intervals(result)]);
    parts.concat()
}

/// What must not be overlooked.
fn alerts(result: &Value) -> String {
    let mut text = String::new();
    if let Some(error) = result["error"].as_str() {
        text += &format!("<p class=\"alert\"><b>The run failed:</b> {}</p>\n", escaped(error));
    }
    if result["interrupted"] == true {
        text += "<p class=\"alert\">The run was interrupted.</p>\n";
    }
    if result["generator"]["bottleneck"] == true {
        let why = escaped(result["generator"]["why"].as_str().unwrap_or_default());
        text += &format!("<p class=\"alert\"><b>The generator was the bottleneck:</b> {why}</p>\n");
    }
    text
}

fn tiles(result: &Value) -> String {
    let has = |pointer: &str| figure(result, pointer) > 0.0;
    let mut tiles = Vec::new();
    if has("/rates/received_per_s") {
        tiles.push((short(figure(result, "/rates/received_per_s")), "received a second".to_owned()));
    } else if has("/rates/sent_per_s") {
        tiles.push((short(figure(result, "/rates/sent_per_s")), "sent a second".to_owned()));
    }
    if has("/latency_us/count") {
        for quantile in ["p50", "p99"] {
            let us = figure(result, &format!("/latency_us/{quantile}"));
            tiles.push((time(us), format!("latency, {quantile}")));
        }
    }
    if result["verb"] == "conn" {
        tiles.push((grouped(figure(result, "/connections/opened") as u64), "connections".into()));
        tiles.push((time(figure(result, "/connections/handshake_us/p99")), "handshake, p99".into()));
    } else {
        tiles.push((grouped(figure(result, "/lost") as u64), "lost".into()));
    }
    if has("/server/cpu_us_per_message") {
        tiles.push((time(figure(result, "/server/cpu_us_per_message")), "server CPU a message".into()));
    }
    let tiles = tiles.iter().map(|(big, small)| format!("<div class=\"tile\"><b>{big}</b>{small}</div>"));
    format!("<div class=\"tiles\">{}</div>\n", tiles.collect::<String>())
}

fn rates(result: &Value) -> Option<String> {
    let (mut before, mut sent, mut received) = (0.0, Vec::new(), Vec::new());
    for interval in list(&result["intervals"]) {
        let end = figure(interval, "/t_s");
        let seconds = (end - before).max(1e-9);
        sent.push((end, figure(interval, "/sent") / seconds));
        received.push((end, figure(interval, "/received") / seconds));
        before = end;
    }
    let max = sent.iter().chain(&received).map(|point| point.1).fold(0.0, f64::max);
    if max <= 0.0 {
        return None;
    }
    // They often coincide: what was sent lies broad under what was received.
    let series = [("sent", true, sent), ("received", false, received)]
        .into_iter()
        .filter(|(_, _, points)| points.iter().any(|point| point.1 > 0.0));
    let (mut names, mut drawn) = (Vec::new(), Vec::new());
    for (idx, (name, is_broad, points)) in series.enumerate() {
        names.push(name);
        drawn.push(Series { tone: TONES[1 - idx], is_broad, points });
    }
    let svg = chart::lines(chart::WIDTH, &seconds_axis(before), &Axis::from_zero(max, 4, short), &drawn);
    Some(card("Messages a second", &legend(&names, &drawn), &svg))
}

fn latencies(result: &Value) -> Option<String> {
    let intervals = list(&result["intervals"]);
    let names = ["max", "p99", "p50"];
    let points = |name: &str| {
        let y = |interval: &Value| figure(interval, &format!("/{name}_us"));
        let points = intervals.iter().map(|interval| (figure(interval, "/t_s"), y(interval)));
        points.filter(|(_, us)| *us > 0.0).collect::<Vec<_>>()
    };
    let mut series: Vec<Series> = names
        .iter()
        .zip([TONES[2], TONES[1], TONES[0]])
        .map(|(name, tone)| Series { tone, is_broad: false, points: points(name) })
        .collect();
    let y = scaled(&mut series)?;
    let end = figure(intervals.last()?, "/t_s");
    let svg = chart::lines(chart::WIDTH, &seconds_axis(end), &y, &series);
    Some(card("Latency over time", &legend(&names, &series), &svg))
}

fn curve(result: &Value) -> Option<String> {
    let svg = percentiles(&result["latency_curve"])?;
    Some(card("Latency by percentile", "", &svg))
}

fn handshakes(result: &Value) -> Option<String> {
    if result["verb"] != "conn" {
        return None;
    }
    let svg = percentiles(&result["connections"]["handshake_curve"])?;
    Some(card("Handshakes by percentile", "from TCP connect to the last SUBACK or PONG", &svg))
}

/// Each nine takes as much room as the one before.
fn percentiles(curve: &Value) -> Option<String> {
    let points = list(curve).iter().filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?)));
    let points: Vec<(f64, f64)> = points.map(|(quantile, us)| (nines(quantile), us)).collect();
    // The last one stands at 100 %, which is endlessly far; it is shown where the curve ends.
    let end = points.iter().map(|point| point.0).filter(|x| x.is_finite()).fold(0.5, f64::max);
    let points = points.into_iter().map(|(x, us)| (x.min(end), us)).collect();
    let mut series = [Series { tone: TONES[0], is_broad: false, points }];
    let y = scaled(&mut series)?;
    let ticks = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.99999];
    let ticks = ticks.map(|percent| (nines(percent / 100.0), format!("{percent} %")));
    let x = Axis { from: 0.0, to: end, ticks: ticks.into_iter().filter(|tick| tick.0 <= end).collect() };
    Some(chart::lines(chart::WIDE, &x, &y, &series))
}

fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The axis for times in microseconds. If they lie far apart, points are moved onto a logarithmic one.
fn scaled(series: &mut [Series]) -> Option<Axis> {
    let values = || series.iter().flat_map(|one| &one.points).map(|point| point.1);
    let (min, max) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    if max <= 0.0 {
        return None;
    }
    if max / min.max(1e-3) < FAR_APART {
        return Some(Axis::from_zero(max, 4, time));
    }
    let (from, to) = (min.max(1e-3).log10().floor() as i32, max.log10().ceil() as i32);
    for point in series.iter_mut().flat_map(|one| &mut one.points) {
        point.1 = point.1.max(1e-3).log10();
    }
    let ticks = (from..=to).map(|power| (f64::from(power), time(10_f64.powi(power)))).collect();
    Some(Axis { from: f64::from(from), to: f64::from(to), ticks })
}

fn losses(result: &Value) -> Option<String> {
    let flows = list(&result["lossy_flows"]);
    if flows.is_empty() {
        return None;
    }
    let bars: Vec<Bar> = flows
        .iter()
        .take(BARS_MAX)
        .map(|flow| {
            let (sent, received) = (figure(flow, "/sent"), figure(flow, "/received"));
            let label = match flow["subscriber"].as_u64() {
                Some(subscriber) => format!("publisher {} → subscriber {subscriber}", flow["publisher"]),
                None => format!("publisher {}", flow["publisher"]),
            };
            let lost = sent - received;
            let text = format!("{} ({:.2} %)", grouped(lost as u64), lost / sent.max(1.0) * 100.0);
            Bar { label, value: lost, text }
        })
        .collect();
    let note = format!("the worst {} of {} flows with losses", bars.len(), flows.len());
    Some(card("Lost messages by flow", &note, &chart::bars(TONES[3], &bars)))
}

fn thresholds(result: &Value) -> String {
    let checks = list(&result["thresholds"]);
    if checks.is_empty() {
        return String::new();
    }
    let row = |check: &Value| {
        let (class, word) = if check["ok"] == true { ("good", "kept") } else { ("bad", "missed") };
        let rule = escaped(check["text"].as_str().unwrap_or_default());
        let is_time = check["unit"] == "µs";
        let shown = |value: f64| if is_time { time(value) } else { plain(value) };
        let value = check["value"].as_f64().map_or_else(|| "not measured".into(), shown);
        format!(
            "<tr><td><code>{rule}</code></td><td>{value}</td>\
             <td><span class=\"badge {class}\">{word}</span></td></tr>"
        )
    };
    let rows: String = checks.iter().map(row).collect();
    format!("<h2>Thresholds</h2><table><tr><th>rule<th>value<th></tr>{rows}</table>\n")
}

/// The table that ends a run, and its latencies as one of their own.
fn table(result: &Value) -> String {
    let rows: String = report::rows(result)
        .iter()
        .filter(|(name, _)| !matches!(*name, "latency µs" | "threshold" | "NOTE"))
        .map(|(name, value)| {
            format!("<tr><td>{name}</td><td class=\"cells\">{}</td></tr>", escaped(value.trim_start()))
        })
        .collect();
    let mut text = format!("<h2>Figures</h2><div class=\"scroll\"><table>{rows}</table></div>\n");
    if figure(result, "/latency_us/count") > 0.0 {
        let names: Vec<&str> =
            ["min", "mean"].into_iter().chain(QUANTILES.map(|(name, _)| name)).chain(["max"]).collect();
        let head: String = names.iter().map(|name| format!("<th>{name}")).collect();
        let cell = |name: &&str| format!("<td>{}</td>", time(figure(result, &format!("/latency_us/{name}"))));
        let cells: String = names.iter().map(cell).collect();
        text += &format!(
            "<div class=\"scroll\"><table><tr><th>latency{head}</tr><tr><td>end to end</td>{cells}</tr></table></div>\n"
        );
    }
    text
}

fn intervals(result: &Value) -> String {
    let intervals = list(&result["intervals"]);
    if intervals.is_empty() {
        return String::new();
    }
    let row = |interval: &Value| {
        let count = |key: &str| grouped(figure(interval, key) as u64);
        let us = |key: &str| time(figure(interval, key));
        format!(
            "<tr><td>{:.1} s</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            figure(interval, "/t_s"),
            count("/sent"),
            count("/received"),
            us("/p50_us"),
            us("/p99_us"),
            us("/max_us")
        )
    };
    let rows: String = intervals.iter().map(row).collect();
    format!(
        "<details><summary>Intervals</summary><div class=\"scroll\"><table>\
         <tr><th>until<th>sent<th>received<th>p50<th>p99<th>max</tr>{rows}</table></div></details>\n"
    )
}

/// How to do it again.
fn foot(result: &Value) -> String {
    settings(result) + &command(result)
}

fn settings(result: &Value) -> String {
    let scenario = serde_json::to_string_pretty(&result["scenario"]).unwrap_or_default();
    format!("<details><summary>Settings</summary><pre>{}</pre></details>\n", escaped(&scenario))
}

fn command(result: &Value) -> String {
    let words = list(&result["command"]).iter().filter_map(Value::as_str);
    let command: Vec<String> = words.map(quoted).collect();
    format!("<details><summary>Command</summary><pre>{}</pre></details>\n", escaped(&command.join(" ")))
}

fn card(title: &str, note: &str, svg: &str) -> String {
    let is_wide = svg.contains(&format!("width=\"{}\"", chart::WIDE));
    let class = if is_wide { "card wide" } else { "card" };
    let label = escaped(title);
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1);
    format!(
        "<section class=\"{class}\"><header><b>{label}</b><span class=\"soft\">{note}</span></header>{svg}</section>\n"
    )
}

fn legend(names: &[&str], series: &[Series]) -> String {
    let entry = |(name, one): (&&str, &Series)| {
        format!("<i class=\"swatch\" style=\"background:{}\"></i>{name} ", one.tone.css())
    };
    names.iter().zip(series).map(entry).collect()
}

fn seconds_axis(end: f64) -> Axis {
    let round = Axis::from_zero(end, 8, |value| format!("{value:.4} s"));
    let tidy = |value: f64| format!("{} s", (value * 1000.0).round() / 1000.0);
    let ticks = round.ticks.into_iter().filter(|tick| tick.0 <= end * 1.0001);
    Axis { from: 0.0, to: end.max(1e-3), ticks: ticks.map(|(value, _)| (value, tidy(value))).collect() }
}

/// A time in microseconds with the unit that suits it.
fn time(us: f64) -> String {
    let (value, unit) = match us {
        _ if us >= 1e6 => (us / 1e6, "s"),
        _ if us >= 1e3 => (us / 1e3, "ms"),
        _ if us >= 1.0 => (us, "µs"),
        _ if us <= 0.0 => return "0".into(),
        _ => (us * 1e3, "ns"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A count with the suffix that suits it.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        _ if value >= 1e9 => (value / 1e9, " G"),
        _ if value >= 1e6 => (value / 1e6, " M"),
        _ if value >= 1e3 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    format!("{}{unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let places = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn plain(value: f64) -> String {
    if value.fract() == 0.0 { grouped(value as u64) } else { format!("{value:.3}") }
}

fn figure(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=%,+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result() -> Value {
        json!({
            "verb": "pubsub", "loadgen": "0.1.0", "started": "2026-11-26T14:05:00Z", "duration_s": 2.0,
            "command": ["loadgen", "pubsub", "--threshold", "p99<2ms"],
            "scenario": { "from": "nats", "to": "mqtt", "publishers": 2, "subscribers": 3, "shape": "all", "size": 16 },
            "sent": 3000, "expected": 9000, "received": 8990, "lost": 10, "rates": { "received_per_s": 4495.0 },
            "latency_us": { "min": 10.0, "p50": 20.0, "p99": 900.0, "max": 1500.0, "count": 8990 },
            "latency_curve": [[0.0, 10.0], [0.5, 20.0], [0.9, 100.0], [0.99, 900.0], [1.0, 1500.0]],
            "intervals": [
                { "t_s": 1.0, "sent": 1500, "received": 4500, "p50_us": 20.0, "p99_us": 800.0, "max_us": 1000.0 },
                { "t_s": 2.0, "sent": 1500, "received": 4490, "p50_us": 21.0, "p99_us": 900.0, "max_us": 1500.0 },
            ],
            "lossy_flows": [{ "publisher": 1, "subscriber": 2, "sent": 1500, "received": 1490 }],
            "thresholds": [{ "text": "p99<2ms", "value": 900.0, "ok": true }],
            "generator": { "bottleneck": false }, "error": null, "interrupted": false,
        })
    }

    #[test]
    fn a_page_has_all_charts_and_asks_the_network_for_nothing() {
        let page = html(&result());
        assert!(page.contains("NATS → MQTT, 2 to 3 (all), 16 B") && page.contains("2026-11-26 14:05:00 UTC"));
        assert_eq!(page.matches("<svg ").count(), 4);
        assert!(page.contains("publisher 1 → subscriber 2") && page.contains("10 (0.67 %)"));
        assert!(page.contains("loadgen pubsub --threshold 'p99&lt;2ms'"));
        for outside in ["src=", "href=\"http", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_scenario_has_a_table_of_its_runs_and_each_of_them() {
        let (mut first, mut second) = (result(), result());
        (first["name"], second["name"]) = ("calm".into(), "storm <1>".into());
        second["thresholds"][0]["ok"] = false.into();
        let third = json!({ "name": "void", "error": "nobody there" });
        let document = json!({ "scenario_file": "day.toml", "left_out": 2, "runs": [first, second, third] });
        let page = html(&document);
        assert!(page.contains("<h1>day.toml</h1>") && page.contains("Left out after that: 2 runs"));
        assert!(page.contains("href=\"#run-1\">storm &lt;1&gt;</a>") && page.contains("id=\"run-1\""));
        assert!(page.contains("badge bad\">MISSED p99&lt;2ms<"));
        assert_eq!(page.matches("<svg ").count(), 8);
        assert!(
            page.contains("<b>The run failed:</b> nobody there") && page.matches("<h2>Figures").count() == 2
        );
    }

    #[test]
    fn what_is_not_there_has_no_chart_and_what_went_wrong_is_said() {
        let mut result = result();
        for key in ["intervals", "latency_curve", "lossy_flows"] {
            result[key] = json!([]);
        }
        result["error"] = "a <b> of &".into();
        let page = html(&result);
        assert!(!page.contains("<svg "));
        assert!(page.contains("<b>The run failed:</b> a &lt;b&gt; of &amp;"));
    }

    #[test]
    fn times_and_counts_have_a_unit_that_suits_them() {
        assert_eq!(
            [0.0, 0.25, 15.94, 253.2, 16_990.0, 2.5e6].map(time),
            ["0", "250 ns", "15.9 µs", "253 µs", "17 ms", "2.5 s"]
        );
        assert_eq!([0.0, 999.0, 20_014.0, 4.5e6, 1.25e9].map(short), ["0", "999", "20 k", "4.5 M", "1.25 G"]);
    }

    #[test]
    fn times_far_apart_share_a_logarithmic_axis() {
        let series = |points: &[f64]| {
            [Series { tone: TONES[0], is_broad: false, points: points.iter().map(|us| (0.0, *us)).collect() }]
        };
        let near = scaled(&mut series(&[10.0, 20.0])).expect("there is something");
        assert_eq!((near.from, near.to), (0.0, 20.0));
        let far = scaled(&mut series(&[10.0, 20_000.0])).expect("there is something");
        let labels: Vec<_> = far.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(labels, ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]);
        assert!(scaled(&mut series(&[])).is_none());
    }

    #[test]
    fn every_nine_takes_the_same_room() {
        assert!((nines(0.9) - 1.0).abs() < 1e-9 && (nines(0.999) - 3.0).abs() < 1e-9);
    }
}
