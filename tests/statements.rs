//! The table of what each statement of the MQTT specifications is held to by: every number stands in it, and
//! every test that it names exists and names it. Not the tests themselves, and not a judgement of how well they hold.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sources;

use sources::files;
use toml::{Table, Value};

/// Statements of both specifications; a line that goes missing is found out.
const N_STATEMENTS: [(&str, usize); 2] = [("5.0", 251), ("3.1.1", 142)];

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

/// Every test in the table, with the version and the number of a statement that it holds.
fn for_each_test(mut visit: impl FnMut(&str, &str, &str)) {
    for (version, _) in N_STATEMENTS {
        for (number, held_by) in table()[version].as_table().unwrap() {
            for test in held_by.as_array().into_iter().flatten() {
                visit(version, number, test.as_str().unwrap());
            }
        }
    }
}

/// A test's own lines and those of the comment over it; none where there is no such test.
fn lines_of<'s>(lines: &[&'s str], test: &str) -> Option<Vec<&'s str>> {
    let heads = [format!("fn {test}("), format!("def {test}(")];
    let head_idx = lines.iter().position(|line| heads.iter().any(|head| line.contains(head)))?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_comment = |line: &str| line.trim_start().starts_with("//") || line.trim_start().starts_with('#');
    let above = lines[..head_idx].iter().rev().take_while(|line| !line.trim().is_empty());
    // What is indented no further is the next thing, or the end of a long list of arguments.
    let is_own = |line: &str| {
        line.trim().is_empty()
            || indent(line) > indent(lines[head_idx])
            || line.trim_start().starts_with(')')
            || line.trim() == "{"
    };
    let body = lines[head_idx + 1..].iter().take_while(|line| is_own(line));
    Some(above.filter(|line| is_comment(line)).chain(body).copied().collect())
}

/// Whether a line names a statement. The numbers of 3.1.1 follow "3.1.1:", for many are also of 5.0.
fn names(line: &str, version: &str, number: &str) -> bool {
    line.contains(&format!("[MQTT-{number}]")) && line.contains("3.1.1: ") == (version == "3.1.1")
}

#[test]
fn every_test_in_the_table_exists_and_names_the_statement_that_it_holds() {
    let sources: String = files(&["src", "tests"], &["rs", "py"]).into_iter().map(|it| it.1).collect();
    let lines: Vec<&str> = sources.lines().collect();
    let mut wrong = Vec::new();
    for_each_test(|version, number, test| match lines_of(&lines, test) {
        None => wrong.push(format!("[MQTT-{number}] of {version} names {test}, which is nowhere")),
        Some(own) if !own.iter().any(|line| names(line, version, number)) => {
            wrong.push(format!("{test} does not name [MQTT-{number}] of {version}"));
        }
        Some(_) => {}
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_statement_is_named_over_a_test_or_in_it_and_nowhere_else() {
    let text =
        "// [MQTT-1-1]\n#[test]\nfn one() {\n    // 3.1.1: [MQTT-1-2]\n}\n\n// [MQTT-1-3]\nfn other() {}\n";
    let lines: Vec<&str> = text.lines().collect();
    let own = lines_of(&lines, "one").unwrap();
    let is_named = |version, number| own.iter().any(|line| names(line, version, number));
    assert!(is_named("5.0", "1-1") && is_named("3.1.1", "1-2"));
    assert!(!is_named("3.1.1", "1-1") && !is_named("5.0", "1-2") && !is_named("5.0", "1-3"));
    assert_eq!(lines_of(&lines, "on"), None);
}
