//! Instructions per message, counted by callgrind: the same on every run, where wall time is noise. Run by
//! `scripts/instructions`; this program starts valgrind on itself, once for each scenario, and compares
//! what it counts with `budget.toml`. Not a time: a cache miss counts as much as an addition.
//!
//! Without `--count`, as `cargo bench` and `cargo test --benches` run it, it plays each scenario once.

mod scenarios;

use scenarios::{Meter, Named};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Plays before the counting begins, so that buffers have grown and routes are cached; then plays that count.
const N_WARM_UP: usize = 3;
const N_COUNTED: usize = 4;

/// What a count may differ from its budget, in percent: with the compiler and the library the budget was
/// made with, and with others, which inline and copy in other ways.
const TOLERANCE: f64 = 2.0;
const TOLERANCE_ELSEWHERE: f64 = 25.0;

/// A count so far below its budget, in percent, asks for a new budget.
const WORTH_AN_UPDATE: f64 = 5.0;

/// What a message with three user properties, or headers, may cost of one without that crosses alike.
const TIMES_MAX: f64 = 2.0;

const USAGE: &str = "usage: scripts/instructions [--update | --profile] [PART OF A SCENARIO'S NAME]...";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["--play", name] => play_for_valgrind(name),
        ["--count", args @ .., "--bench"] => measure(args),
        _ => play_all_once(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn play_all_once() -> Result<ExitCode, Box<dyn Error>> {
    for scenario in scenarios::all() {
        let n_messages = (scenario.make)().play(&mut Meter::off());
        println!("{}: {n_messages} messages", scenario.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs under valgrind. Says how many messages the marked part was.
fn play_for_valgrind(name: &str) -> Result<ExitCode, Box<dyn Error>> {
    let named = scenarios::all().find(|scenario| scenario.name == name).ok_or("no such scenario")?;
    let mut scenario = (named.make)();
    for _ in 0..N_WARM_UP {
        scenario.play(&mut Meter::off());
    }
    let mut meter = Meter::on();
    let n_messages: u64 = (0..N_COUNTED).map(|_| scenario.play(&mut meter)).sum();
    println!("{n_messages}");
    Ok(ExitCode::SUCCESS)
}

/// Counts, compares, and writes the table.
fn measure(args: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let is_known = |arg: &str| !arg.starts_with('-') || matches!(arg, "--update" | "--profile");
    if let Some(unknown) = args.iter().find(|arg| !is_known(arg)) {
        return Err(format!("unknown option {unknown}; {USAGE}").into());
    }
    let parts: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted: Vec<_> = scenarios::all()
        .filter(|scenario| parts.is_empty() || parts.iter().any(|part| scenario.name.contains(**part)))
        .collect();
    if wanted.is_empty() {
        return Err(format!("no scenario has such a name; {USAGE}").into());
    }
    if args.contains(&"--profile") {
        return profile(&wanted);
    }
    let counts = count_all(&wanted)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/budget.toml");
    let host = host()?;
    let mut budget = Budget::load(&path)?;
    let verdict = compare(&budget, &counts, &host);
    if args.contains(&"--update") {
        budget.made_with = host;
        budget.instructions.extend(counts);
        let known: Vec<_> = scenarios::all().map(|scenario| scenario.name).collect();
        budget.instructions.retain(|name, _| known.contains(&name.as_str()));
        budget.save(&path)?;
        println!("\nwritten to {}", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(verdict)
}

/// Instructions per message by scenario; several valgrinds at a time, since each uses one core.
fn count_all(wanted: &[&'static Named]) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(BTreeMap::new());
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while let Some(scenario) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match count(scenario.name, Path::new("/dev/null")) {
                        Ok(count) => {
                            counts.lock().expect("no holder panics").insert(scenario.name.to_owned(), count);
                        }
                        Err(error) => *failure.lock().expect("no holder panics") = Some(error),
                    }
                }
            });
        }
    });
    match failure.into_inner().expect("no holder panics") {
        Some(error) => Err(error.into()),
        None => Ok(counts.into_inner().expect("no holder panics")),
    }
}

/// Leaves each scenario's profile in a file for callgrind_annotate or KCachegrind.
fn profile(wanted: &[&'static Named]) -> Result<ExitCode, Box<dyn Error>> {
    for scenario in wanted {
        let file = format!("callgrind.{}.out", scenario.name.replace(['/', ':'], "-"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(file);
        let count = count(scenario.name, &path)?;
        println!("{:<40} {count:>12.1}   callgrind_annotate {}", scenario.name, path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Instructions per message of one scenario; where they went is written to `profile`.
fn count(name: &str, profile: &Path) -> Result<f64, String> {
    let valgrind = std::env::var_os("VALGRIND").unwrap_or_else(|| "valgrind".into());
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (Some(folder), Some(file)) = (program.parent(), program.file_name()) else {
        return Err(format!("{} is no program", program.display()));
    };
    // What the environment and the program's path are long shifts the stack and the heap, and with them
    // how copies and searches align: no variables but what valgrind needs, and a path of always one length.
    let output = Command::new(&valgrind)
        .args(["--tool=callgrind", "--toggle-collect=*scenarios::marked*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(Path::new(".").join(file))
        .args(["--play", name])
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os().filter(|(key, _)| key == "PATH" || key == "VALGRIND_LIB"))
        .output()
        .map_err(|error| format!("{}: {error}", valgrind.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let n_messages: Option<f64> = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    let n_instructions: Option<f64> = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok());
    match (output.status.success(), n_instructions, n_messages) {
        (true, Some(n_instructions), Some(n_messages)) if n_instructions > 0.0 => {
            Ok(n_instructions / n_messages)
        }
        _ => Err(format!("{name} could not be counted:\n{said}")),
    }
}

fn compare(budget: &Budget, counts: &BTreeMap<String, f64>, host: &str) -> ExitCode {
    let is_same_host = budget.made_with == host;
    let tolerance = if is_same_host { TOLERANCE } else { TOLERANCE_ELSEWHERE };
    let mut is_over = false;
    let mut is_under = false;
    println!("{:<40} {:>12} {:>9} {:>8}", "scenario", "instr/msg", "budget", "");
    for scenario in scenarios::all() {
        let Some(count) = counts.get(scenario.name) else { continue };
        let Some(granted) = budget.instructions.get(scenario.name) else {
            println!("{:<40} {count:>12.1} {:>9} {:>8} NO BUDGET", scenario.name, "", "");
            is_over = true;
            continue;
        };
        let percent = (count / granted - 1.0) * 100.0;
        let word = if percent > tolerance { "OVER" } else { "" };
        println!("{:<40} {count:>12.1} {granted:>9.1} {percent:>+7.1}% {word}", scenario.name);
        is_over |= percent > tolerance;
        is_under |= percent < -WORTH_AN_UPDATE;
    }
    let are_apart = compare_told(counts);
    if !budget.made_with.contains(std::env::consts::ARCH) {
        println!("\nThe budget is another architecture's: nothing to compare with.");
        return if are_apart { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if !is_same_host {
        println!("\nThe budget was made with {}\nand this is            {host}:", budget.made_with);
        println!("up to {TOLERANCE_ELSEWHERE} % more is let pass instead of {TOLERANCE} %.");
    }
    if is_over {
        println!("\nOver the budget by more than {tolerance} %, or without one. Where that is meant:");
        println!("scripts/instructions --update, and the commit says why.");
        return ExitCode::FAILURE;
    }
    if are_apart {
        println!("\nMore than {TIMES_MAX} times the cost of a message that says nothing beside its payload.");
        return ExitCode::FAILURE;
    }
    if is_under {
        println!("\nWell under the budget: scripts/instructions --update keeps it that way.");
    }
    ExitCode::SUCCESS
}

/// Shows what messages that say something beside their payload cost of those that don't, where both were
/// counted. Whether that is too much for one of them, on whatever host.
fn compare_told(counts: &BTreeMap<String, f64>) -> bool {
    let mut are_apart = false;
    println!("\n{:<40} {:>12}", "beside the same without", "times");
    for (name, count) in counts.iter().filter(|(name, _)| name.starts_with("turn/")) {
        let without = name.replace("-properties", "").replace("-headers", "");
        let Some(plain) = counts.get(&without).filter(|_| without != *name) else { continue };
        let times = count / plain;
        let word = if times > TIMES_MAX { "OVER" } else { "" };
        println!("{name:<40} {times:>12.2} {word}");
        are_apart |= times > TIMES_MAX;
    }
    are_apart
}

/// The committed counts, and what made them.
struct Budget {
    made_with: String,
    instructions: BTreeMap<String, f64>,
}

impl Budget {
    fn load(path: &PathBuf) -> Result<Self, Box<dyn Error>> {
        let table: toml::Table = std::fs::read_to_string(path).unwrap_or_default().parse()?;
        let made_with = table.get("made_with").and_then(toml::Value::as_str).unwrap_or("nothing").to_owned();
        let counts = table.get("instructions").and_then(toml::Value::as_table);
        let count = |(name, count): (&String, &toml::Value)| Some((name.clone(), count.as_float()?));
        Ok(Self { made_with, instructions: counts.into_iter().flatten().filter_map(count).collect() })
    }

    /// In the scenarios' own order.
    fn save(&self, path: &PathBuf) -> Result<(), Box<dyn Error>> {
        let mut text = String::from(
            "# Instructions per message, as scripts/instructions counts them. What a change may cost is seen here:\n\
             # over budget by more than 2 % the tests fail. Written by scripts/instructions --update.\n\n",
        );
        writeln!(text, "made_with = {:?}\n\n[instructions]", self.made_with)?;
        for scenario in scenarios::all() {
            if let Some(count) = self.instructions.get(scenario.name) {
                writeln!(text, "{:?} = {count:.1}", scenario.name)?;
            }
        }
        Ok(std::fs::write(path, text)?)
    }
}

/// What counts depend on besides the source: the compiler, the library's allocator and copies, and whether
/// these find AVX2.
fn host() -> Result<String, Box<dyn Error>> {
    let compiler = said_by("rustc", &["--version"])?;
    let library = said_by("getconf", &["GNU_LIBC_VERSION"])?;
    #[cfg(target_arch = "x86_64")]
    let avx2 = if std::is_x86_feature_detected!("avx2") { "with AVX2" } else { "without AVX2" };
    #[cfg(not(target_arch = "x86_64"))]
    let avx2 = "";
    Ok(format!("{compiler}, {library}, {} {avx2}", std::env::consts::ARCH))
}

fn said_by(program: &str, args: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
