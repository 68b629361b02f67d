//! loadgen: load for NATS and MQTT servers, end to end. In reading order: what there is to do (`cli`, `plan`),
//! how it is done (`play`, `run`, `worker`, `client`), and what came of it (`report`, `page`, `export`).

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
mod play;
mod process;
mod progress;
mod publisher;
mod report;
mod run;
mod scenario;
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

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Verb};

const FAILED: u8 = 1;
const USAGE: u8 = 64;
const SCENARIO_WRONG: u8 = 78;
const THRESHOLD_MISSED: u8 = 99;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    ExitCode::from(start(&arguments))
}

fn start(arguments: &[String]) -> u8 {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    match &cli.verb {
        Verb::Pubsub(load) => play::carry_out("pubsub", load, &interruptible()),
        Verb::Pub(load) => play::carry_out("pub", load, &interruptible()),
        Verb::Sub(load) => play::carry_out("sub", load, &interruptible()),
        Verb::Conn(load) => play::carry_out("conn", load, &interruptible()),
        Verb::Request(load) => play::carry_out("request", load, &interruptible()),
        Verb::Run(options) => {
            let (_, flags) = matches.subcommand().expect("it is the verb that was matched");
            run_scenario(&options.file, flags, options.check)
        }
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

fn run_scenario(file: &Path, flags: &ArgMatches, is_check: bool) -> u8 {
    let name = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return complain(&format!("{name}: {error}"), SCENARIO_WRONG),
    };
    match scenario::read(&name, &text, flags, std::io::stderr().is_terminal()) {
        Ok(scenario) if is_check => {
            let n_jobs: usize = scenario.phases.iter().map(|phase| phase.steps.len()).sum();
            println!("{name} is right: {} phases, {n_jobs} jobs", scenario.phases.len());
            0
        }
        Ok(scenario) => play::carry_out_scenario(file, &scenario, &interruptible()),
        Err(faults) => {
            eprint!("{faults}");
            SCENARIO_WRONG
        }
    }
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
    match play::write(options.json.as_deref(), || format!("{result:#}\n")) {
        Ok(()) => 0,
        Err(error) => complain(&error, FAILED),
    }
}

fn complain(text: &str, code: u8) -> u8 {
    eprintln!("loadgen: {text}");
    code
}
