//! The `strait` binary: reads the file, the environment and the command line, and ends with an exit code that
//! says whose fault it was. What they mean is decided in the library.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use strait::cli::{Cli, Command, Map, Show, map};
use strait::config::diagnostic::Diagnostics;
use strait::config::load::{File, Resolved, is_ours, resolve};
use strait::config::print;
use strait::config::schema::Config;
use strait::host::{self, Finding, Verdict};
use strait::runtime::{self, StartError};
use tracing_subscriber::filter::EnvFilter;

/// The codes of sysexits.h that apply, and an answer's.
#[derive(Clone, Copy)]
enum Exit {
    Ok = 0,
    NoCounterpart = 1,
    Usage = 64,
    NoIoUring = 69,
    Bug = 70,
    System = 71,
    Config = 78,
}

fn main() -> ExitCode {
    // A panic has already been reported by the hook; what is left is the code.
    let exit = panic::catch_unwind(start).unwrap_or(Exit::Bug);
    ExitCode::from(exit as u8)
}

fn start() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    match &cli.command {
        Some(Command::Config(Show::Default)) => print_out(&print::default_toml()),
        Some(Command::Map(asked)) => translate(asked),
        Some(Command::Config(Show::Show)) => {
            with_configuration(&cli, |resolved, file| print_out(&print::effective_toml(resolved, file)))
        }
        Some(Command::Check) => with_configuration(&cli, check),
        None => with_configuration(&cli, |resolved, _| run(resolved)),
    }
}

fn with_configuration(cli: &Cli, then: impl FnOnce(&Resolved, Option<&File>) -> Exit) -> Exit {
    let file = match read_file(cli.config.as_deref()) {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    match resolve(file.as_ref(), variables(), &cli.flags()) {
        Ok(resolved) => then(&resolved, file.as_ref()),
        Err(wrong) => report(&wrong),
    }
}

/// The file that was asked for, or the one in the working directory if it is there.
fn read_file(asked: Option<&Path>) -> Result<Option<File>, Exit> {
    let path = asked.unwrap_or(Path::new("strait.toml"));
    match fs::read(path) {
        Ok(bytes) => match File::read(path.display().to_string(), bytes) {
            Ok(file) => Ok(Some(file)),
            Err(wrong) => Err(report(&wrong)),
        },
        Err(error) if asked.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            eprintln!("error: cannot read the configuration file {}: {error}", path.display());
            Err(Exit::Config)
        }
    }
}

fn variables() -> impl Iterator<Item = (String, String)> {
    // One that is not UTF-8 shows what is wrong with it when its value is refused.
    env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| is_ours(name))
}

fn report(wrong: &Diagnostics) -> Exit {
    eprint!("{}", wrong.render(is_coloured()));
    if wrong.only_flags() { Exit::Usage } else { Exit::Config }
}

/// See no-color.org.
fn is_coloured() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn print_out(text: &str) -> Exit {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Exit::Ok,
        Err(error) => cannot_write(&error),
    }
}

fn cannot_write(error: &io::Error) -> Exit {
    // Whoever reads the first lines only has what it wants.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Ok;
    }
    eprintln!("error: cannot read or write: {error}");
    Exit::System
}

fn translate(asked: &Map) -> Exit {
    let (mut input, mut out) = (io::stdin().lock(), io::BufWriter::new(io::stdout().lock()));
    match map::answer(asked, &mut input, &mut out, &mut io::stderr()) {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::NoCounterpart,
        Err(error) => cannot_write(&error),
    }
}

fn check(resolved: &Resolved, file: Option<&File>) -> Exit {
    let source =
        file.map_or("no file, every key at its default unless a variable or flag sets it", |file| &file.name);
    let configuration = Finding::ok("configuration", source.to_string());
    let findings = probe(resolved).0;
    let text = host::in_columns(std::iter::once(&configuration).chain(&findings));
    match (print_out(&text), exit_of(&findings)) {
        (Exit::Ok, exit) | (exit, _) => exit,
    }
}

fn run(resolved: &Resolved) -> Exit {
    let config = &resolved.config;
    start_log(config);
    let (findings, shards) = probe(resolved);
    eprint!("{}", host::in_columns(findings.iter().filter(|it| it.is_failure())));
    for finding in &findings {
        if let (Verdict::Warning, Some(mend)) = (finding.verdict, &finding.mend) {
            tracing::warn!("{}: {}. Mend: {mend}", finding.subject, finding.text);
        }
    }
    if host::worst_failure(&findings).is_some() {
        return exit_of(&findings);
    }
    // The one place where the gateway starts.
    match runtime::run(config, shards) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("error: {error}");
            if matches!(error, StartError::CoreEnded) { Exit::Bug } else { Exit::System }
        }
    }
}

/// What this host offers for this configuration, and how many shards that makes.
fn probe(resolved: &Resolved) -> (Vec<Finding>, usize) {
    runtime::host::raise_limits();
    let facts = runtime::host::gather(resolved);
    (host::judge(&facts, &resolved.config), host::shards(&resolved.config, facts.cores))
}

fn exit_of(findings: &[Finding]) -> Exit {
    match host::worst_failure(findings) {
        Some(Verdict::NoIoUring) => Exit::NoIoUring,
        Some(Verdict::Refused) => Exit::System,
        Some(Verdict::Ok | Verdict::Warning) | None => Exit::Ok,
    }
}

fn start_log(config: &Config) {
    let filter = EnvFilter::builder().parse(&config.log).expect("the configuration takes no other filter");
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(is_coloured())
        .init();
}
