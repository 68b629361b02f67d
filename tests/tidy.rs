//! The house's rules as a test: which module may know which, how long a chapter may be, and what no file
//! says. A new arrow, a long file or an unexplained exception fails here and not in somebody's review.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sources;

use sources::files;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who may name whom. One direction: nothing here leads back. `runtime` and `sim` drive the shard; neither
/// is known to anybody but the binary and the tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli", "config", "host", "runtime"]),
    ("lib", &[]),
    ("cli", &["config", "mqtt", "subject"]),
    ("config", &["subject"]),
    ("host", &["config"]),
    ("runtime", &["config", "host", "admin", "shard", "mqtt", "nats", "subject", "message", "time"]),
    // Counters and recorded latencies, and nothing else of a shard.
    ("admin", &["shard", "message", "time"]),
    ("sim", &["shard", "store", "mqtt", "nats", "subject", "message", "payload", "time"]),
    ("shard", &["mqtt", "nats", "store", "subject", "message", "payload", "scan", "time"]),
    ("store", &["mqtt", "message", "time"]),
    ("mqtt", &["subject", "message", "payload", "scan", "time"]),
    ("nats", &["subject", "message", "payload"]),
    ("subject", &[]),
    ("message", &["payload", "time"]),
    ("payload", &[]),
    ("scan", &[]),
    ("time", &[]),
];

/// Words that belong to one module, and the only one that may say them.
const OWNED_WORDS: &[(&str, &str)] = &[
    ("glommio::", "runtime"),
    ("socket2::", "runtime"),
    ("signal_hook::", "runtime"),
    ("std::thread", "runtime"),
    ("axum::", "admin"),
    ("tokio::", "admin"),
    ("hyper::", "admin"),
    ("prometheus_client::", "admin"),
];

/// Lines of a file without its tests.
const LINES_MAX: usize = 500;

/// Longer files, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// What no file says.
const BANNED: &[(&str, &str)] = &[
    ("#[allow(", "use #[expect(…, reason = \"…\")]"),
    ("todo!(", "do it or leave it out"),
    ("unimplemented!(", "do it or leave it out"),
    ("#[ignore", "a test that does not run proves nothing"),
    ("dbg!(", "use tracing"),
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

impl Source {
    /// The part before the inline tests, without comments.
    fn code(&self) -> Vec<&str> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect()
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests") || self.path.ends_with("tests.rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = |(path, text): (PathBuf, String)| {
        let below = path.strip_prefix(&root).unwrap();
        let first = Path::new(below.components().next().unwrap().as_os_str());
        let module = first.file_stem().unwrap().to_str().unwrap().to_owned();
        Source { path: below.to_owned(), module, text }
    };
    let found: Vec<_> = files(&["src"], &["rs"]).into_iter().map(source).collect();
    assert!(found.len() > 40, "the sources are not where they were");
    found
}

/// The modules of this crate that a line names; the binary calls it by its name.
fn named_modules<'l>(line: &'l str, module: &str) -> BTreeSet<&'l str> {
    let mut named = BTreeSet::new();
    let marker = if module == "main" { "strait::" } else { "crate::" };
    for (at, _) in line.match_indices(marker) {
        let rest = &line[at + marker.len()..];
        let list = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap());
        let n_names = if rest.starts_with('{') { usize::MAX } else { 1 };
        for item in list.split(',').take(n_names) {
            let name = item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            named.insert(name);
        }
    }
    named
}

#[test]
fn modules_know_only_those_the_table_allows() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = ARROWS.iter().find(|(module, _)| *module == source.module) else {
            wrong.push(format!("{} is in no line of the table", source.module));
            continue;
        };
        for line in source.text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for named in named_modules(line, &source.module) {
                let is_module = ARROWS.iter().any(|(module, _)| *module == named);
                if is_module && named != source.module && !allowed.contains(&named) {
                    wrong.push(format!(
                        "{}: {} must not know {named}: {line}",
                        source.path.display(),
                        source.module
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_arrows_has_no_cycle() {
    let mut left: Vec<_> = ARROWS.to_vec();
    while !left.is_empty() {
        let names: Vec<_> = left.iter().map(|(module, _)| *module).collect();
        let n_before = left.len();
        left.retain(|(_, allowed)| allowed.iter().any(|known| names.contains(known)));
        assert!(left.len() < n_before, "a cycle among {names:?}");
    }
}

#[test]
fn only_the_runtime_names_the_executor_sockets_and_signals() {
    for source in sources() {
        for (word, owner) in OWNED_WORDS {
            if source.is_test() {
                continue;
            }
            let said = source.code().into_iter().find(|line| line.contains(word));
            assert!(source.module == *owner || said.is_none(), "{}: {said:?}", source.path.display());
        }
    }
}

#[test]
fn a_file_is_a_chapter_and_says_what_it_is() {
    for source in sources() {
        let path = source.path.display().to_string();
        assert!(source.text.starts_with("//!"), "{path} does not say what it is and what it is not");
        let n_lines = source.code().len();
        let is_excepted = LONG_FILES.iter().any(|(long, _)| *long == path);
        assert!(n_lines <= LINES_MAX || is_excepted || source.is_test(), "{path} has {n_lines} lines");
    }
}

#[test]
fn nothing_banned_is_said() {
    for source in sources() {
        for (word, instead) in BANNED {
            assert!(!source.text.contains(word), "{}: {word} … {instead}", source.path.display());
        }
    }
}
