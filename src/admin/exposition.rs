//! The two texts in which metrics are shown: OpenMetrics 1.0, and Prometheus 0.0.4 made from it. Not the
//! metrics themselves.

use std::fmt::Write;

/// A format, as the scraper may choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that an Accept header prefers; Prometheus text where it is all the same.
    pub fn accepted(accept: &str) -> Self {
        let mut best = [0.0; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or("").to_ascii_lowercase();
            let mut quality = 1.0_f32;
            let mut version = None;
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q", text)) => quality = text.trim().parse().unwrap_or(0.0),
                    Some(("version", text)) => version = Some(text.trim().trim_matches('"')),
                    Some(_) | None => {}
                }
            }
            let format = match (name.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => Self::OpenMetrics,
                ("text/plain", None | Some("0.0.4")) => Self::Prometheus,
                _ => continue,
            };
            let best = &mut best[format as usize];
            *best = quality.max(*best);
        }
        if best[Self::OpenMetrics as usize] > best[Self::Prometheus as usize] {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// Prometheus text from OpenMetrics: counters are named with their `_total`, units are part of names alone,
/// and no line marks the end.
pub fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 4_096);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_and_plain_text_is_for_everybody_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                          q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (prometheus, Format::OpenMetrics),
            ("text/plain; version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; q=0.2, text/plain;q=0.3", Format::Prometheus),
            ("application/openmetrics-text; version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("", Format::Prometheus),
            ("text/html", Format::Prometheus),
            (";;q=,=;,", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn counters_are_named_with_their_total_and_nothing_marks_the_end() {
        let open = "# HELP a_bytes Help.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total 1\n\
                    # HELP b Help.\n# TYPE b gauge\nb{c=\"# d\"} 2\n# EOF\n";
        let text = "# HELP a_bytes_total Help.\n# TYPE a_bytes_total counter\na_bytes_total 1\n\
                    # HELP b Help.\n# TYPE b gauge\nb{c=\"# d\"} 2\n";
        assert_eq!(to_prometheus(open), text);
    }
}
