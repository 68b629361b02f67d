use clap::CommandFactory as _;

use super::*;
use crate::publisher::Pace;

fn told(text: &str, flags: &[&str]) -> Result<Scenario, String> {
    let line = ["loadgen", "run", "day.toml"].iter().chain(flags);
    let matches = Cli::command().try_get_matches_from(line).expect("the flags are right");
    let (_, flags) = matches.subcommand().expect("there is a verb");
    read("day.toml", text, flags, false)
}

fn steps(scenario: &Scenario) -> Vec<&Step> {
    scenario.phases.iter().flat_map(|phase| &phase.steps).collect()
}

/// What is said of a wrong file; each must name file, line and column.
fn complaint(text: &str) -> String {
    told(text, &[]).expect_err("it is wrong")
}

#[test]
fn what_is_said_above_holds_below_unless_that_says_otherwise() {
    let text = "
        size = 64
        rate = '5k'
        threshold = ['loss==0', 'p99<1s']
        [[phase]]
        name = 'calm'
        [[phase]]
        name = 'storm'
        size = '1k'
        lag = 10
        threshold = 'loss==0'
        [[phase.job]]
        name = 'a'
        from = 'mqtt'
        [[phase.job]]
        verb = 'request'
        connections = 3
        ramp_up = '100ms'
        no-progress = true
    ";
    let scenario = told(text, &[]).expect("it is right");
    let names: Vec<_> = steps(&scenario).iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["calm", "storm/a", "storm/job 2"]);
    let [calm, a, request] = steps(&scenario)[..] else { panic!("there are three") };
    assert_eq!((calm.load.size, a.load.size, request.load.size), (64, 1024, 1024));
    assert_eq!((calm.load.rate, calm.load.lag), (Some(5000.0), None));
    assert_eq!((a.load.rate, a.load.lag), (None, Some(10)), "what is excluded from above gives way");
    assert_eq!((calm.load.threshold.len(), a.load.threshold.len()), (2, 1));
    assert_eq!((request.verb, request.load.connections), ("request", Some(3)));
    assert!(request.load.no_progress && request.load.ramp_up.as_millis() == 100);
    assert_ne!(a.load.prefix, request.load.prefix, "jobs at once do not hear each other");
    assert_eq!(calm.load.prefix, "bench");
}

#[test]
fn flags_win_over_the_file_and_over_what_they_exclude() {
    let text = "duration = '1h'\njson = 'file.json'\n[[phase]]\nrate = '1k'\n[[phase]]\nflood = true";
    let flags = ["--msgs", "10", "--lag", "5", "--json", "typed.json", "--threshold", "loss==0"];
    let scenario = told(text, &flags).expect("it is right");
    for step in steps(&scenario) {
        assert_eq!((step.load.msgs, step.load.duration), (Some(10), None));
        assert!(matches!(Job::new(step.verb, &step.load, 1).expect("it is a job").pace, Pace::Lag(5)));
        assert_eq!(step.load.threshold.len(), 1);
        assert!(step.load.json.is_none(), "the whole is written, not each");
    }
    assert_eq!(scenario.whole.json.as_deref(), Some(std::path::Path::new("typed.json")));
}

#[test]
fn a_file_without_phases_is_one_run() {
    let scenario = told("msgs = 10\nhtml = 'page.html'\nflood = false\n", &[]).expect("it is right");
    assert_eq!(steps(&scenario).len(), 1);
    assert!(scenario.whole.html.is_some());
}

#[test]
fn every_flag_is_a_key() {
    let mut command = flags_command();
    command.build();
    for arg in command.get_arguments().filter(|arg| arg.get_id() != "help") {
        let key = arg.get_long().expect("each has a long name");
        let text = format!("[[phase]]\n{key} = 'x'\n");
        let said = told(&text, &[]).err().unwrap_or_default();
        assert!(!said.contains("unknown key"), "{said}");
    }
}

#[test]
fn a_misspelt_key_is_shown_where_it_stands_with_the_right_one() {
    let said = complaint("size = 16\n[[phase]]\n  pubishers = 3\n");
    assert!(said.contains("unknown key `pubishers` in a phase") && said.contains("day.toml:3:3"), "{said}");
    assert!(said.contains("did you mean `publishers`?"), "{said}");
    let said = complaint("[[phases]]\n");
    assert!(said.contains("did you mean `phase`?") && said.contains("day.toml:1:3"), "{said}");
}

#[test]
fn all_that_is_wrong_is_said_at_once_from_top_to_bottom() {
    let said = complaint(
        "size = 'big'\nqos = 3\nshape = 'round'\n[[phase]]\nverb = 'pubsb'\nflood = 1\nlag = [1]\n",
    );
    let lines: Vec<_> = said.lines().filter(|line| line.contains("day.toml:")).collect();
    let lines: Vec<_> =
        lines.iter().map(|line| line.trim().trim_start_matches("--> ").trim_start_matches("╭▸ ")).collect();
    assert_eq!(lines.len(), said.matches("error: ").count(), "{said}");
    for (at, what) in [
        ("day.toml:1:8", "`size`: 'big' is not a size"),
        ("day.toml:2:7", "`qos`: 3 is not in 0..=2"),
        ("day.toml:3:9", "`shape` is one of all, pair, queue, not 'round'"),
        ("day.toml:5:8", "did you mean `pubsub`?"),
        ("day.toml:6:9", "`flood` is true or false"),
        ("day.toml:7:7", "`lag` is a text or a number"),
    ] {
        assert!(said.contains(at) && said.contains(what), "{at} {what}\n{said}");
    }
}

#[test]
fn what_contradicts_itself_is_said_of_its_job() {
    let said = complaint("[[phase]]\nrate = 5\nlag = 5\n");
    assert!(said.contains("`lag` and `rate` exclude each other") && said.contains("day.toml:1:"), "{said}");
    let said = complaint("[[phase]]\nname = 'a'\n[[phase]]\nshape = 'pair'\npublishers = 2\n");
    assert!(said.contains("must be equal") && said.contains("day.toml:3:"), "{said}");
    let said = complaint("[[phase]]\nname = 'a'\n[[phase]]\nname = 'a'\n");
    assert!(said.contains("there is a `a` already"), "{said}");
}

#[test]
fn a_file_that_two_jobs_would_write_is_refused() {
    let said = complaint("[[phase]]\njson = 'x'\n[[phase.job]]\n[[phase.job]]\n");
    assert!(said.contains("`json` of a phase with jobs") && said.contains("day.toml:2:8"), "{said}");
    let said = complaint("hgrm = 'x'\n[[phase]]\n");
    assert!(said.contains("belongs to a phase or a job"), "{said}");
}

#[test]
fn what_is_not_toml_is_shown_where_it_stops_to_be() {
    let said = complaint("size = 16\nrate = 5k\n");
    assert!(said.contains("day.toml:2:"), "{said}");
    let said = complaint("phase = 3\n");
    assert!(said.contains("`phase` is a list of sections"), "{said}");
}

#[test]
fn the_example_is_right() {
    let text = include_str!("../../scenarios/day.toml");
    assert!(steps(&told(text, &[]).unwrap_or_else(|said| panic!("{said}"))).len() > 3);
}
