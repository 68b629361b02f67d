//! From a job to its exit code: runs it, prints its table, writes its files; and a scenario's jobs one after
//! another or at once. Not the runs themselves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::cli::Load;
use crate::clock::Clock;
use crate::job::Job;
use crate::progress::Screen;
use crate::publisher::Pace;
use crate::run::Outcome;
use crate::scenario::{Phase, Scenario, Step};
use crate::{FAILED, INTERRUPTED, THRESHOLD_MISSED, USAGE};
use crate::{complain, export, page, report};

/// What came of one job.
struct Done {
    result: Value,
    latency: Option<Histogram<u64>>,
    code: u8,
    complaint: Option<String>,
}

/// A run of its own.
pub fn carry_out(verb: &'static str, load: &Load, interrupted: &Arc<AtomicBool>) -> u8 {
    let job = match Job::new(verb, load, run_id()) {
        Ok(job) => job,
        Err(error) => return complain(&error, USAGE),
    };
    let done = run("", &job, load, &Screen::new(), interrupted);
    conclude("", done, load).code
}

/// Phase after phase, until one fails.
pub fn carry_out_scenario(file: &Path, scenario: &Scenario, interrupted: &Arc<AtomicBool>) -> u8 {
    let screen = Screen::new();
    let started = Clock::start().day();
    let mut all: Vec<Done> = Vec::new();
    for phase in &scenario.phases {
        let done = play(phase, &screen, interrupted);
        let goes_on = done.iter().all(|done| matches!(done.code, 0 | THRESHOLD_MISSED));
        all.extend(done);
        if !goes_on {
            break;
        }
    }
    let n_left_out = scenario.phases.iter().map(|phase| phase.steps.len()).sum::<usize>() - all.len();
    let code = worst(all.iter().map(|done| done.code));
    let document = json!({
        "loadgen": env!("CARGO_PKG_VERSION"),
        "command": std::env::args().collect::<Vec<_>>(),
        "scenario_file": file.display().to_string(),
        "started": started,
        "left_out": n_left_out,
        "runs": all.into_iter().map(|done| done.result).collect::<Vec<_>>(),
    });
    print!("{}", report::overview(&document));
    let whole = &scenario.whole;
    match written(whole, &document, None) {
        Ok(()) => code,
        Err(error) => complain(&error, FAILED),
    }
}

/// The jobs of a phase at once.
fn play(phase: &Phase, screen: &Screen, interrupted: &Arc<AtomicBool>) -> Vec<Done> {
    let first = run_id();
    let one = |idx: usize, step: &Step| match Job::new(step.verb, &step.load, first.wrapping_add(idx as u16))
    {
        Ok(job) => run(&step.name, &job, &step.load, screen, interrupted),
        Err(error) => failed(&step.name, error, FAILED),
    };
    let done: Vec<Done> = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> =
            phase.steps.iter().enumerate().map(|(idx, step)| scope.spawn(move || one(idx, step))).collect();
        let joined = threads.into_iter().zip(&phase.steps);
        joined
            .map(|(thread, step)| {
                thread.join().unwrap_or_else(|_| failed(&step.name, "it panicked".into(), FAILED))
            })
            .collect()
    });
    done.into_iter().zip(&phase.steps).map(|(done, step)| conclude(&step.name, done, &step.load)).collect()
}

fn run(name: &str, job: &Job, load: &Load, screen: &Screen, interrupted: &Arc<AtomicBool>) -> Done {
    let progress = screen.progress(name, job.shows_progress);
    let outcome = job.run(&progress, interrupted);
    progress.ends();
    match outcome {
        Ok(outcome) => {
            let mut result = report::json(job, &outcome, &load.threshold);
            if !name.is_empty() {
                result["name"] = name.into();
            }
            let (code, complaint) = verdict(job, &outcome, &result);
            if let Some(complaint) = &complaint {
                result["error"] = complaint.as_str().into();
            }
            Done { result, latency: Some(outcome.latency), code, complaint }
        }
        Err(error) => failed(name, error, FAILED),
    }
}

fn failed(name: &str, error: String, code: u8) -> Done {
    Done { result: json!({ "name": name, "error": error }), latency: None, code, complaint: Some(error) }
}

/// Its table, its files, and what there is to complain of.
fn conclude(name: &str, mut done: Done, load: &Load) -> Done {
    let result = &done.result;
    if !name.is_empty() {
        println!("── {name}");
    }
    if result["error"].is_null() || result["sent"].as_u64() > Some(0) || result["received"].as_u64() > Some(0)
    {
        print!("{}", report::table(result));
    }
    if !name.is_empty() {
        println!();
    }
    if let Some(latency) = &done.latency
        && let Err(error) = written(load, result, Some(latency))
    {
        done.code = complain(&error, FAILED);
        return done;
    }
    if let Some(complaint) = &done.complaint {
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        complain(&format!("{name}{complaint}"), done.code);
    }
    done
}

fn written(load: &Load, result: &Value, latency: Option<&Histogram<u64>>) -> Result<(), String> {
    write(load.json.as_deref(), || format!("{result:#}\n"))?;
    write(load.csv.as_deref(), || export::csv(result))?;
    write(load.html.as_deref(), || page::html(result))?;
    match latency {
        Some(latency) => write(load.hgrm.as_deref(), || export::hgrm(latency)),
        None => Ok(()),
    }
}

pub fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|error| format!("{}: {error}", path.display()))
}

fn verdict(job: &Job, outcome: &Outcome, result: &Value) -> (u8, Option<String>) {
    if let Some(failure) = &outcome.failure {
        return (FAILED, Some(failure.clone()));
    }
    if outcome.is_interrupted {
        return (INTERRUPTED, None);
    }
    let is_closed = matches!(job.pace, Pace::Lag(_));
    let broken = outcome.lost() + outcome.reordered + if job.plan.qos == 1 { 0 } else { outcome.duplicates };
    if is_closed && broken > 0 {
        let text = "messages were lost, doubled or out of order, which a closed loop rules out";
        return (FAILED, Some(text.into()));
    }
    if outcome.expected > 0 && outcome.received == 0 {
        return (FAILED, Some("no subscriber has received anything".into()));
    }
    let missed = result["thresholds"].as_array().into_iter().flatten().any(|check| check["ok"] != true);
    (if missed { THRESHOLD_MISSED } else { 0 }, None)
}

/// A failure weighs more than an interrupt, and that more than a threshold.
fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let weight = |code: &u8| match *code {
        0 => 0,
        THRESHOLD_MISSED => 1,
        INTERRUPTED => 2,
        _ => 3,
    };
    codes.max_by_key(weight).unwrap_or(0)
}

/// Sixteen bits that differ from run to run.
fn run_id() -> u16 {
    (Clock::start().day_ms() ^ u64::from(std::process::id()) << 5) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_is_a_scenarios() {
        assert_eq!(worst([].into_iter()), 0);
        assert_eq!(worst([0, THRESHOLD_MISSED, 0].into_iter()), THRESHOLD_MISSED);
        assert_eq!(worst([INTERRUPTED, THRESHOLD_MISSED].into_iter()), INTERRUPTED);
        assert_eq!(worst([FAILED, INTERRUPTED, 0].into_iter()), FAILED);
    }
}
