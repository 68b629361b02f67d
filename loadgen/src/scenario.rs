//! A scenario file: named phases one after another, the jobs of a phase at once, every flag a key. What is said
//! at the top holds for all phases, what is said in a phase for its jobs, unless they say otherwise. Reads text
//! and carries nothing out; that is `play`.

mod fault;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, Parser as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::{Cli, Load, Verb};
use crate::job::Job;
use crate::scenario::fault::Fault;

const VERBS: [&str; 5] = ["pubsub", "pub", "sub", "conn", "request"];
/// Files that are written; whoever is asked for one writes it, so these are not handed down.
const OUTPUTS: [&str; 4] = ["json", "csv", "hgrm", "html"];
/// Keys that stand for no flag, by where they may be.
const AT_TOP: &[&str] = &["phase", "verb"];
const IN_PHASE: &[&str] = &["job", "name", "verb"];
const IN_JOB: &[&str] = &["name", "verb"];

#[derive(Debug)]
pub struct Scenario {
    /// Its `json`, `csv` and `html` are for all jobs together.
    pub whole: Load,
    pub phases: Vec<Phase>,
}

#[derive(Debug)]
pub struct Phase {
    pub steps: Vec<Step>,
}

/// One job with all of its flags.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub verb: &'static str,
    pub load: Load,
}

/// What is given at one level: by flag, the words of a command line, and where they stand in the file.
type Layer = BTreeMap<String, Setting>;

#[derive(Clone, Debug)]
struct Setting {
    words: Vec<String>,
    span: Option<Range<usize>>,
}

/// Reads a scenario; what the command line says wins over the file. The error is for the user to read.
pub fn read(file: &str, text: &str, flags: &ArgMatches, is_coloured: bool) -> Result<Scenario, String> {
    let mut reader = Reader { command: flags_command(), faults: Vec::new(), names: BTreeSet::new() };
    let scenario = match DeTable::parse(text) {
        Ok(table) => reader.scenario(table.get_ref(), &typed(flags, &reader.command)),
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            reader.faults.push(Fault::new(span, message, "not TOML from here on"));
            None
        }
    };
    match scenario {
        Some(scenario) if reader.faults.is_empty() => Ok(scenario),
        _ => Err(fault::render(&mut reader.faults, file, text, is_coloured)),
    }
}

fn flags_command() -> Command {
    let mut all = Cli::command();
    all.build();
    all.find_subcommand("pubsub").expect("it is a verb").clone()
}

/// What was typed behind `run FILE`.
fn typed(flags: &ArgMatches, command: &Command) -> Layer {
    let given = command.get_arguments().filter(|arg| {
        let id = arg.get_id().as_str();
        flags.try_contains_id(id).is_ok() && flags.value_source(id) == Some(ValueSource::CommandLine)
    });
    let setting = |arg: &Arg| {
        let id = arg.get_id().as_str();
        let words = if matches!(arg.get_action(), ArgAction::SetTrue) {
            vec![long(arg)]
        } else {
            let raw = flags.get_raw(id).into_iter().flatten();
            raw.map(|value| format!("{}={}", long(arg), value.to_string_lossy())).collect()
        };
        (id.to_owned(), Setting { words, span: None })
    };
    given.map(setting).collect()
}

struct Reader {
    /// Knows all flags.
    command: Command,
    faults: Vec<Fault>,
    /// Of the jobs so far.
    names: BTreeSet<String>,
}

impl Reader {
    fn scenario(&mut self, table: &DeTable<'_>, typed: &Layer) -> Option<Scenario> {
        let mut top = self.layer(table, AT_TOP, "");
        let mut own = Layer::new();
        for (id, setting) in top.iter().chain(typed).filter(|(id, _)| OUTPUTS.contains(&id.as_str())) {
            own.insert(id.clone(), setting.clone());
        }
        if let Some(span) = own.get("hgrm").and_then(|setting| setting.span.clone()) {
            let title = "`hgrm` is one distribution, and a scenario has one for each job".into();
            self.faults.push(Fault::new(span, title, "belongs to a phase or a job"));
        }
        top.retain(|id, _| !OUTPUTS.contains(&id.as_str()));
        let typed: Layer =
            typed.iter().filter(|(id, _)| !OUTPUTS.contains(&id.as_str())).map(copied).collect();
        let mut phases = Vec::new();
        for (idx, phase) in self.tables(table, "phase").into_iter().enumerate() {
            phases.push(self.phase(idx, phase, &top, &typed)?);
        }
        if phases.is_empty() {
            let step = self.step("run".into(), 0..0, &self.over(&top, &typed))?;
            phases.push(Phase { steps: vec![step] });
        }
        Some(Scenario { whole: self.load("pubsub", &own, 0..0)?.1, phases })
    }

    fn phase(&mut self, idx: usize, phase: Item<'_>, top: &Layer, typed: &Layer) -> Option<Phase> {
        let (table, span) = phase;
        let mine = self.layer(table, IN_PHASE, " in a phase");
        let name = self.name(table).unwrap_or_else(|| format!("phase {}", idx + 1));
        let jobs = self.tables(table, "job");
        let base = self.over(top, &mine);
        if jobs.is_empty() {
            let step = self.step(name, span, &self.over(&base, typed))?;
            return Some(Phase { steps: vec![step] });
        }
        for output in OUTPUTS {
            if let Some(Setting { span: Some(span), .. }) = mine.get(output) {
                let title = format!("`{output}` of a phase with jobs: each of them would write it");
                self.faults.push(Fault::new(span.clone(), title, "belongs to a job, or to the top"));
            }
        }
        let (mut steps, n_jobs) = (Vec::new(), jobs.len());
        for (idx, (table, span)) in jobs.into_iter().enumerate() {
            let job = self.layer(table, IN_JOB, " in a job");
            let mut all = self.over(&self.over(&base, &job), typed);
            // Jobs at once must not hear each other.
            if n_jobs > 1 && !all.contains_key("prefix") {
                let words = vec![format!("--prefix=bench-{}", idx + 1)];
                all.insert("prefix".into(), Setting { words, span: None });
            }
            let job_name = self.name(table).unwrap_or_else(|| format!("job {}", idx + 1));
            steps.push(self.step(format!("{name}/{job_name}"), span, &all)?);
        }
        Some(Phase { steps })
    }

    fn step(&mut self, name: String, span: Range<usize>, layer: &Layer) -> Option<Step> {
        if !self.names.insert(name.clone()) {
            let title = format!("there is a `{name}` already");
            self.faults.push(Fault::new(span, title, "figures are told apart by their names"));
            return None;
        }
        let verb = layer.get("verb").map_or("pubsub", |setting| setting.words[0].as_str());
        let verb = VERBS.into_iter().find(|known| *known == verb)?;
        let (verb, load) = self.load(verb, layer, span.clone())?;
        // What flags say together is checked as for a run of its own.
        if let Err(error) = Job::new(verb, &load, 0) {
            self.faults.push(Fault::new(span, error.trim_start_matches("--").to_owned(), "of this job"));
            return None;
        }
        Some(Step { name, verb, load })
    }

    /// The words as a command line.
    fn load(
        &mut self,
        verb: &'static str,
        layer: &Layer,
        span: Range<usize>,
    ) -> Option<(&'static str, Load)> {
        for (one, other) in layer.keys().flat_map(|one| layer.keys().map(move |other| (one, other))) {
            if one < other && self.exclude(one, other) {
                let (one, other) = (one.replace('_', "-"), other.replace('_', "-"));
                let title = format!("`{one}` and `{other}` exclude each other");
                self.faults.push(Fault::new(span, title, "both are given for this job"));
                return None;
            }
        }
        let words = layer.iter().filter(|(id, _)| *id != "verb").flat_map(|(_, setting)| &setting.words);
        let line = ["loadgen", verb].into_iter().chain(words.map(String::as_str));
        match Cli::try_parse_from(line).map(|cli| cli.verb) {
            Ok(Verb::Pubsub(load) | Verb::Pub(load) | Verb::Sub(load)) => Some((verb, *load)),
            Ok(Verb::Conn(load) | Verb::Request(load)) => Some((verb, *load)),
            // Each word has been looked at alone; the fault is reported there.
            Ok(_) | Err(_) => None,
        }
    }

    /// `upper` wins, also over what it excludes.
    fn over(&self, lower: &Layer, upper: &Layer) -> Layer {
        let kept = lower.iter().filter(|(id, _)| !upper.keys().any(|over| self.exclude(over, id)));
        kept.chain(upper).map(copied).collect()
    }

    fn exclude(&self, one: &str, other: &str) -> bool {
        let says = |one: &str, other: &str| {
            let arg = self.command.get_arguments().find(|arg| arg.get_id() == one);
            let excluded = arg.map(|arg| self.command.get_arg_conflicts_with(arg)).unwrap_or_default();
            excluded.iter().any(|arg| arg.get_id() == other)
        };
        says(one, other) || says(other, one)
    }

    /// The flags among a table's keys; every other key must be one of `structure`.
    fn layer(&mut self, table: &DeTable<'_>, structure: &[&str], here: &str) -> Layer {
        let mut layer = Layer::new();
        for (key, value) in table {
            let name = key.get_ref().replace('_', "-");
            if name == "verb" {
                let verb = value.get_ref().as_str().unwrap_or_default();
                if VERBS.contains(&verb) {
                    let words = vec![verb.to_owned()];
                    layer.insert("verb".into(), Setting { words, span: Some(value.span()) });
                } else {
                    let title = format!("a verb is one of {}", VERBS.join(", "));
                    self.faults.push(Fault::unknown(value.span(), title, verb, VERBS.into_iter()));
                }
                continue;
            }
            if structure.contains(&name.as_str()) {
                continue;
            }
            let arg = self.command.get_arguments().find(|arg| is_called(arg, &name)).cloned();
            match arg {
                Some(arg) => {
                    let words = self.words(&arg, key.get_ref(), value);
                    let setting = Setting { words, span: Some(value.span()) };
                    layer.insert(arg.get_id().to_string(), setting);
                }
                None => {
                    let longs = self.command.get_arguments().filter_map(Arg::get_long);
                    let known = longs.chain(structure.iter().copied());
                    let title = format!("unknown key `{}`{here}", key.get_ref());
                    self.faults.push(Fault::unknown(key.span(), title, &name, known));
                }
            }
        }
        layer
    }

    /// A value as words of a command line, each of which is good by itself.
    fn words(&mut self, arg: &Arg, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        match value.get_ref() {
            DeValue::Boolean(true) if is_flag => return vec![long(arg)],
            DeValue::Boolean(false) if is_flag => return Vec::new(),
            DeValue::Array(list) if matches!(arg.get_action(), ArgAction::Append) => {
                return list.iter().filter_map(|one| self.word(arg, key, one)).collect();
            }
            _ if is_flag => {
                let title = format!("`{key}` is true or false");
                self.faults.push(Fault::new(value.span(), title, "neither true nor false"));
                return Vec::new();
            }
            _ => {}
        }
        self.word(arg, key, value).into_iter().collect()
    }

    fn word(&mut self, arg: &Arg, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => {
                let title = format!("`{key}` is a text or a number");
                self.faults.push(Fault::new(value.span(), title, "neither"));
                return None;
            }
        };
        let word = format!("{}={text}", long(arg));
        match Cli::try_parse_from(["loadgen", "pubsub", &word]) {
            Ok(_) => Some(word),
            Err(error) => {
                self.faults.push(Fault::new(value.span(), why(&error, key, &text), "not a value of it"));
                None
            }
        }
    }

    /// The tables of `[[name]]`.
    fn tables<'t>(&mut self, table: &'t DeTable<'_>, name: &str) -> Vec<Item<'t>> {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
            return Vec::new();
        };
        let items: Option<Vec<Item<'t>>> = match value.get_ref() {
            DeValue::Array(list) => list.iter().map(section).collect(),
            _ => None,
        };
        items.unwrap_or_else(|| {
            let title = format!("`{name}` is a list of sections");
            self.faults.push(Fault::new(key.span(), title, format!("write [[{name}]] for each of them")));
            Vec::new()
        })
    }

    fn name(&mut self, table: &DeTable<'_>) -> Option<String> {
        let (_, value) = table.iter().find(|(key, _)| key.get_ref() == "name")?;
        let name = value.get_ref().as_str().unwrap_or_default().trim();
        if name.is_empty() {
            let fault = Fault::new(value.span(), "a name is a text".into(), "not a text, or empty");
            self.faults.push(fault);
        }
        (!name.is_empty()).then(|| name.to_owned())
    }
}

type Item<'t> = (&'t DeTable<'t>, Range<usize>);

fn section<'t>(value: &'t Spanned<DeValue<'_>>) -> Option<Item<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Some((table, value.span())),
        _ => None,
    }
}

fn copied((id, setting): (&String, &Setting)) -> (String, Setting) {
    (id.clone(), setting.clone())
}

fn long(arg: &Arg) -> String {
    format!("--{}", arg.get_long().unwrap_or_default())
}

fn is_called(arg: &Arg, name: &str) -> bool {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_id() != "help" && (arg.get_long() == Some(name) || aliases.contains(&name))
}

/// clap's own reason, without the command line that it believes to be at.
fn why(error: &clap::Error, key: &str, text: &str) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return format!("`{key}`: {source}");
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!("`{key}` is one of {}, not '{text}'", valid.join(", "))
        }
        _ => format!("`{key}` cannot be '{text}'"),
    }
}
