//! The table of limits: each that the configuration has stands in it, the metrics it names are shown, and the tests
//! it names exist. Not the tests themselves.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sources;

use sources::files;
use std::collections::BTreeSet;
use strait::config::schema::KEYS;
use strait::shard::limits::Limit;
use toml::Table;

fn table() -> Table {
    include_str!("limits.toml").parse().unwrap()
}

fn is_limit(name: &str) -> bool {
    name.ends_with("_max") || matches!(name, "max_connections" | "receive_maximum")
}

#[test]
fn every_limit_of_the_configuration_is_in_the_table_and_nothing_else() {
    let table = table();
    let mut keys: BTreeSet<String> =
        KEYS.iter().filter(|key| is_limit(key.name)).map(strait::config::key::Key::path).collect();
    keys.extend(Limit::ALL.iter().map(|limit| limit.key().to_owned()));
    let known: BTreeSet<String> = KEYS.iter().map(strait::config::key::Key::path).collect();
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), keys);
    assert!(keys.is_subset(&known), "{:?}", keys.difference(&known));
}

#[test]
fn every_limit_has_a_metric_an_answer_and_tests_or_a_reason_to_have_none() {
    let text_of = |folders| files(folders, &["rs", "py"]).into_iter().map(|it| it.1).collect::<String>();
    let (metrics, tests) = (text_of(&["src/admin"]), text_of(&["src", "tests"]));
    for (key, row) in table() {
        let row = row.as_table().unwrap();
        if let Some(why) = row.get("why") {
            assert!(row.len() == 1 && !why.as_str().unwrap().is_empty(), "{key}");
            continue;
        }
        let metric = row["metric"].as_str().unwrap();
        for metric in std::iter::once(metric).chain(row.get("also").map(|it| it.as_str().unwrap())) {
            assert!(metrics.contains(&format!("\"{metric}\"")), "{key}: {metric}");
        }
        let is_counted_by_name = Limit::ALL.iter().any(|limit| limit.key() == key);
        assert_eq!(metric == "strait_limits_reached", is_counted_by_name, "{key}");
        assert!(!row["hears"].as_str().unwrap().is_empty(), "{key}");
        let named = row["tests"].as_array().unwrap();
        assert!(!named.is_empty(), "{key}");
        for name in named {
            let name = name.as_str().unwrap();
            let exists = tests.contains(&format!("fn {name}(")) || tests.contains(&format!("def {name}("));
            assert!(exists, "{key}: no test is called {name}");
        }
    }
}
