//! What is shown while a run goes on: a live line on a terminal, a line a second in a pipe, or nothing. All of it
//! goes to stderr, so that the table on stdout stays alone.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::grouped;
use crate::run::Interval;

/// Thousandths that a full bar has.
const FULL: u64 = 1000;
/// Times a second that the line is drawn.
const DRAWS_PER_S: u8 = 10;
/// A run's name before its line has this much room.
const NAME_WIDTH: usize = 14;

/// The terminal, on which the lines of jobs at once stand below each other.
#[derive(Clone)]
pub struct Screen {
    lines: Option<MultiProgress>,
}

impl Screen {
    pub fn new() -> Screen {
        let lines = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S)));
        Screen { lines }
    }

    /// For a run; an only one needs no name.
    pub fn progress(&self, name: &str, is_shown: bool) -> Progress {
        let name = if name.is_empty() { String::new() } else { format!("{name:<NAME_WIDTH$} ") };
        let kind = match &self.lines {
            _ if !is_shown => Kind::Silent,
            None => Kind::Lines,
            Some(lines) => Kind::Live(lines.add(bar(&name))),
        };
        Progress { name, kind }
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(FULL), ProgressDrawTarget::hidden());
    bar.set_style(style("{prefix}{spinner} {msg}"));
    bar.set_prefix(name.to_owned());
    bar
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is right");
    style.progress_chars("━╸·")
}

pub struct Progress {
    name: String,
    kind: Kind,
}

enum Kind {
    Silent,
    Lines,
    Live(ProgressBar),
}

impl Progress {
    /// Connections are being opened.
    pub fn opened(&self, n_ready: u64, n: u64) {
        if let Kind::Live(bar) = &self.kind {
            bar.set_message(format!("{} of {} connections", grouped(n_ready), grouped(n)));
            bar.tick();
        }
    }

    /// The load begins, and after `warm` the measuring.
    pub fn warms_up(&self, n: u64, warm: Duration) {
        let text = format!("{} connections are ready; measuring begins in {warm:?}", grouped(n));
        match &self.kind {
            Kind::Silent => {}
            Kind::Lines => eprintln!("{}{text}", self.name),
            Kind::Live(bar) => bar.set_message(text),
        }
    }

    /// Measuring has begun; without an end in sight there is no bar.
    pub fn begins(&self, has_end: bool) {
        if let Kind::Live(bar) = &self.kind {
            let end = if has_end { "{bar:24} {percent:>3} %" } else { "{spinner}" };
            bar.set_style(style(&format!("{{prefix}}{end}  {{elapsed}}  {{wide_msg}}")));
            bar.set_message("");
            bar.reset_elapsed();
        }
    }

    /// Keeps a live line alive between intervals.
    pub fn moves(&self, share: Option<f64>) {
        if let Kind::Live(bar) = &self.kind {
            if let Some(share) = share {
                bar.set_position((share.clamp(0.0, 1.0) * FULL as f64) as u64);
            }
            bar.tick();
        }
    }

    /// An interval has ended; `before` is when it began.
    pub fn interval(&self, interval: &Interval, before: f64) {
        let seconds = (interval.t_s - before).max(1e-9);
        let rate = |count: u64| grouped((count as f64 / seconds) as u64);
        let (sent, received) = (rate(interval.sent), rate(interval.received));
        let (p50, p99) = (interval.p50_us, interval.p99_us);
        match &self.kind {
            Kind::Silent => {}
            Kind::Lines => eprintln!(
                "{}{:>6.1} s   sent {sent:>12}/s   received {received:>12}/s   p50 {p50:>9.1} µs   p99 {p99:>9.1} µs",
                self.name, interval.t_s
            ),
            Kind::Live(bar) => {
                bar.set_message(format!("↑ {sent}/s  ↓ {received}/s  p50 {p50:.0} µs  p99 {p99:.0} µs"));
            }
        }
    }

    /// The line goes; the table says it all.
    pub fn ends(&self) {
        if let Kind::Live(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn live(columns: u16) -> (Progress, InMemoryTerm) {
        let terminal = InMemoryTerm::new(4, columns);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let screen = Screen { lines: Some(MultiProgress::with_draw_target(target)) };
        (screen.progress("load/a", true), terminal)
    }

    #[test]
    fn a_live_line_tells_how_far_the_run_is_and_goes_with_it() {
        let (progress, terminal) = live(110);
        progress.opened(3, 1200);
        assert!(terminal.contents().contains("3 of 1,200 connections"), "{}", terminal.contents());
        progress.begins(true);
        let interval =
            Interval { t_s: 1.0, sent: 2000, received: 4000, p50_us: 51.4, p99_us: 99.0, max_us: 120.0 };
        progress.interval(&interval, 0.0);
        progress.moves(Some(0.5));
        let line = terminal.contents();
        assert!(line.starts_with("load/a ") && line.contains(" 50 %"), "{line}");
        assert!(line.contains("↑ 2,000/s  ↓ 4,000/s  p50 51 µs  p99 99 µs"), "{line}");
        progress.ends();
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_line() {
        let (progress, terminal) = live(40);
        progress.begins(false);
        let interval =
            Interval { t_s: 1.0, sent: 2000, received: 4000, p50_us: 51.4, p99_us: 99.0, max_us: 120.0 };
        progress.interval(&interval, 0.0);
        progress.moves(None);
        assert_eq!(terminal.contents().lines().count(), 1, "{}", terminal.contents());
    }
}
