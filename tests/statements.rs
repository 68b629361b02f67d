//! The table of what each statement of the MQTT specifications is held to by: every number stands in it, and
//! every test that it names exists. Not the tests themselves, and not a judgement of how well they hold.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Statements of both specifications; a line that goes missing is found out.
const N_STATEMENTS: [(&str, usize); 2] = [("5.0", 251), ("3.1.1", 142)];

/// Everything that may hold a test: Rust and Python.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<PathBuf> = vec![root.join("src"), root.join("tests")];
    let mut text = String::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
                text += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    text
}

fn table() -> Table {
    include_str!("mqtt_statements.toml").parse().unwrap()
}

#[test]
fn every_statement_is_in_the_table() {
    for (version, n) in N_STATEMENTS {
        let statements = table()[version].as_table().unwrap().clone();
        assert_eq!(statements.len(), n, "MQTT {version}");
        for (number, held_by) in statements {
            let is_said = match &held_by {
                Value::String(reason) => !reason.is_empty(),
                Value::Array(tests) => !tests.is_empty(),
                _ => false,
            };
            assert!(is_said, "[MQTT-{number}] of {version}: neither tests nor a reason");
        }
    }
}

#[test]
fn every_test_in_the_table_exists() {
    let sources = sources();
    for (version, _) in N_STATEMENTS {
        for (number, held_by) in table()[version].as_table().unwrap() {
            for test in held_by.as_array().into_iter().flatten() {
                let test = test.as_str().unwrap();
                let is_there =
                    sources.contains(&format!("fn {test}(")) || sources.contains(&format!("def {test}("));
                assert!(is_there, "[MQTT-{number}] of {version} names {test}, which is nowhere");
            }
        }
    }
}
