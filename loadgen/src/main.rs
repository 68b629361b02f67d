//! loadgen: load for NATS and MQTT servers, end to end. In reading order: what there is to do (`cli`, `plan`),
//! how it is done (`run`, `worker`, `client`), and what came of it (`report`).

mod chart;
mod cli;
mod client;
mod client_mqtt;
mod client_nats;
mod clock;
mod export;
mod frame;
mod job;
mod link;
mod mqtt;
mod nats;
mod page;
mod payload;
mod plan;
mod process;
mod publisher;
mod report;
mod run;
mod schedule;
mod seen;
mod shared;
mod sink;
mod sink_mqtt;
mod sink_nats;
mod subscriber;
mod threshold;
mod units;
mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser as _;

use crate::cli::{Cli, Load, Verb};
use crate::job::Job;

const FAILED: u8 = 1;
const USAGE: u8 = 64;
const THRESHOLD_MISSED: u8 = 99;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    ExitCode::from(start(&arguments))
}

fn start(arguments: &[String]) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    match &cli.verb {
        Verb::Pubsub(load) => carry_out("pubsub", load),
        Verb::Pub(load) => carry_out("pub", load),
        Verb::Sub(load) => carry_out("sub", load),
        Verb::Conn(load) => carry_out("conn", load),
        Verb::Request(load) => carry_out("request", load),
        Verb::Sink(options) => serve(options),
        Verb::Compare { first, second } => match export::compare(first, second) {
            Ok(text) => {
                print!("{text}");
                0
            }
            Err(error) => complain(&error, FAILED),
        },
    }
}

fn carry_out(verb: &'static str, load: &Load) -> u8 {
    // Sixteen bits that differ from run to run.
    let run = (clock::Clock::start().day_ms() ^ u64::from(std::process::id()) << 5) as u16;
    let job = match Job::new(verb, load, run) {
        Ok(job) => job,
        Err(error) => return complain(&error, USAGE),
    };
    let interrupted = interruptible();
    let outcome = match job.run(&interrupted) {
        Ok(outcome) => outcome,
        Err(error) => return complain(&error, FAILED),
    };
    let result = report::json(&job, &outcome, &load.threshold);
    if outcome.failure.is_none() || outcome.sent + outcome.received > 0 {
        print!("{}", report::table(&result));
    }
    let written = write(load.json.as_deref(), || format!("{result:#}\n"))
        .and_then(|()| write(load.csv.as_deref(), || export::csv(&result)))
        .and_then(|()| write(load.hgrm.as_deref(), || export::hgrm(&outcome.latency)))
        .and_then(|()| write(load.html.as_deref(), || page::html(&result)));
    if let Err(error) = written {
        return complain(&error, FAILED);
    }
    verdict(&job, &outcome, &result)
}

/// Set by the first SIGINT or SIGTERM; the second ends the process at once.
fn interruptible() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let _ = signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(INTERRUPTED),
            interrupted.clone(),
        );
        let _ = signal_hook::flag::register(signal, interrupted.clone());
    }
    interrupted
}

/// A signal is how a sink is meant to end.
fn serve(options: &cli::Sink) -> u8 {
    let result = match sink::run(options, &interruptible()) {
        Ok(result) => result,
        Err(error) => return complain(&error, FAILED),
    };
    print!("{}", report::sink_table(&result));
    match write(options.json.as_deref(), || format!("{result:#}\n")) {
        Ok(()) => 0,
        Err(error) => complain(&error, FAILED),
    }
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|error| format!("{}: {error}", path.display()))
}

fn verdict(job: &Job, outcome: &run::Outcome, result: &serde_json::Value) -> u8 {
    if let Some(failure) = &outcome.failure {
        return complain(failure, FAILED);
    }
    if outcome.is_interrupted {
        return INTERRUPTED;
    }
    let is_closed = matches!(job.pace, publisher::Pace::Lag(_));
    let broken = outcome.lost() + outcome.reordered + if job.plan.qos == 1 { 0 } else { outcome.duplicates };
    if is_closed && broken > 0 {
        return complain(
            "messages were lost, doubled or out of order, which a closed loop rules out",
            FAILED,
        );
    }
    if outcome.expected > 0 && outcome.received == 0 {
        return complain("no subscriber has received anything", FAILED);
    }
    let missed = result["thresholds"].as_array().into_iter().flatten().any(|check| check["ok"] != true);
    if missed { THRESHOLD_MISSED } else { 0 }
}

fn complain(text: &str, code: u8) -> u8 {
    eprintln!("loadgen: {text}");
    code
}
