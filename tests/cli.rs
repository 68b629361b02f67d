//! The binary as a user meets it: what it prints, and the code it ends with.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Listeners on ports that are free for certain, so that only what a test is about can be wrong.
const FREE: &str = "[mqtt]\nlisten = 0\n[nats]\nlisten = 0\n[admin]\nlisten = 0\n";

#[test]
fn an_unknown_key_ends_with_78_its_position_and_the_key_that_was_meant() {
    let dir = Dir::new("unknown_key");
    dir.write("strait.toml", "[mqtt]\npayload_byte_max = 1\n");
    let output = dir.strait(&["check"]);
    assert_eq!(output.code, 78);
    output.says("unknown key `payload_byte_max` in [mqtt]");
    output.says("--> strait.toml:2:1");
    output.says("did you mean `payload_bytes_max`?");
}

#[test]
fn a_wrong_type_a_range_and_an_address_are_refused_together() {
    let dir = Dir::new("wrong_values");
    dir.write(
        "strait.toml",
        "cores = \"four\"\n[mqtt]\ninflight_max = 65536\n[nats]\nlisten = \"nats:4222\"\n",
    );
    let output = dir.strait(&[]);
    assert_eq!(output.code, 78);
    output.says("--> strait.toml:1:9");
    output.says("`cores` takes an integer, not the string \"four\"");
    output.says("--> strait.toml:3:16");
    output.says("`mqtt.inflight_max` is out of range: 65536");
    output.says("expected 1 to 65535 (messages)");
    output.says("--> strait.toml:5:10");
    output.says("`nats.listen` is not an address to listen on: `nats:4222`");
}

#[test]
fn a_public_address_without_allow_anonymous_is_refused() {
    let dir = Dir::new("public_address");
    dir.write("strait.toml", "[mqtt]\nlisten = \"0.0.0.0:0\"\n[nats]\nlisten = 0\n");
    let output = dir.strait(&["check"]);
    assert_eq!(output.code, 78);
    output.says("add `allow_anonymous = true` to [mqtt]");
    assert_eq!(dir.strait(&["check", "--allow-anonymous"]).code, 0);
}

#[test]
fn a_bad_variable_is_named_and_a_good_one_taken() {
    let dir = Dir::new("variable");
    let output = dir.run(&["check"], &[("STRAIT__MQTT__CONNECT_TIMEOUT_SECS", "soon")]);
    assert_eq!(output.code, 78);
    output.says("environment variable STRAIT__MQTT__CONNECT_TIMEOUT_SECS");
    output.says("expected an integer from 1 to 3600 (seconds)");
    let output = dir.run(&["check"], &[("STRAIT_MQTT__LISTEN", "1884")]);
    assert_eq!(output.code, 78);
    output.says("did you mean STRAIT__MQTT__LISTEN?");
    let output = dir.run(&["config", "show"], &[("STRAIT__MQTT__LISTEN", "127.0.0.1:1884")]);
    assert_eq!(output.code, 0);
    output.says("listen = \"127.0.0.1:1884\"  # STRAIT__MQTT__LISTEN");
}

#[test]
fn a_bad_flag_is_wrong_usage_and_named() {
    let dir = Dir::new("flag");
    for (args, said) in [
        (&["--cores", "5000"][..], "--cores: `cores` is out of range: 5000"),
        (&["--cores", "-1"], "--cores: `cores` is out of range: -1"),
        (
            &["check", "--mqtt", "nowhere:1"],
            "--mqtt: `mqtt.listen` is not an address to listen on: `nowhere:1`",
        ),
        (&["--log", "inof"], "did you mean `info`?"),
        (&["--mqtt", "0.0.0.0:1883"], "add --allow-anonymous"),
        (&["--mqt", "1"], "'--mqtt'"),
        (&["serve"], "unrecognized subcommand 'serve'"),
    ] {
        let output = dir.strait(args);
        assert_eq!(output.code, 64, "{args:?}: {output:?}");
        output.says(said);
    }
}

#[test]
fn the_printed_default_is_a_configuration() {
    let dir = Dir::new("default");
    let printed = dir.strait(&["config", "default"]);
    assert_eq!(printed.code, 0);
    dir.write("default.toml", &printed.out);
    let output =
        dir.strait(&["--config", "default.toml", "check", "--mqtt", "0", "--nats", "0", "--admin", "0"]);
    assert_eq!(output.code, 0, "{output:?}");
    output.says("default.toml");
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let dir = Dir::new("show");
    dir.write("strait.toml", FREE);
    let first = dir.strait(&["config", "show", "--cores", "3"]);
    dir.write("shown.toml", &first.out);
    let second = dir.strait(&["config", "show", "--config", "shown.toml"]);
    let values = |text: &str| -> toml::Table { text.parse().unwrap() };
    assert_eq!(values(&first.out), values(&second.out));
    assert_eq!(values(&first.out)["cores"].as_integer(), Some(3));
}

#[test]
fn a_port_in_use_ends_with_71_its_address_and_its_holder() {
    let dir = Dir::new("port_in_use");
    dir.write("strait.toml", FREE);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    for args in [&["check", "--nats", &address][..], &["--nats", &address]] {
        let output = dir.strait(args);
        assert_eq!(output.code, 71, "{args:?}: {output:?}");
        output.says(&format!("{address} is in use by "));
        output.says(&format!("(process {})", std::process::id()));
    }
}

#[test]
fn a_file_that_is_asked_for_must_be_there_and_others_need_not() {
    let dir = Dir::new("no_file");
    let output = dir.strait(&["--config", "nowhere.toml", "check"]);
    assert_eq!(output.code, 78);
    output.says("cannot read the configuration file nowhere.toml");
    assert_eq!(dir.strait(&["config", "show"]).code, 0);
}

#[test]
fn help_and_version_end_with_0() {
    let dir = Dir::new("help");
    let help = dir.strait(&["--help"]);
    assert_eq!(help.code, 0);
    help.says("Examples:");
    help.says("--allow-anonymous");
    let version = dir.strait(&["--version"]);
    assert_eq!((version.code, version.out.trim()), (0, concat!("strait ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn names_are_mapped_both_ways_and_1_says_that_one_has_no_counterpart() {
    let dir = Dir::new("map");
    // A configuration that would not do is not asked.
    dir.write("strait.toml", "nonsense = 1\n");
    let output = dir.strait(&["map", "spBv1.0/plant/7", "a/#", "-s"]);
    assert_eq!((output.code, output.out.as_str()), (1, "\n\n"), "{output:?}");
    let output = dir.strait(&["map", "spBv1.0/plant/7", "a/#", "$share/g/+"]);
    assert_eq!((output.code, output.out.as_str()), (0, "spBv1//0.plant.7\na.>\ta\n* g\n"));
    let output = dir.strait(&["map", "--subject", "a.b", "$JS.API.INFO"]);
    assert_eq!((output.code, output.out.as_str()), (1, "a/b\n\n"));
    output.says("error: `$JS.API.INFO`: no topic has this subject: it begins with `$`");
    assert_eq!(dir.strait(&["map"]).code, 64);
}

#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn says(&self, part: &str) {
        assert!(
            self.out.contains(part) || self.err.contains(part),
            "no {part:?} in\n{}{}",
            self.out,
            self.err
        );
    }
}

/// A working directory of one test's own.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli_{name}_{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn strait(&self, args: &[&str]) -> Ended {
        self.run(args, &[])
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        // Variables of whoever runs the tests are not the test's.
        let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
        command.args(args).current_dir(&self.0).env_clear().envs(variables.iter().copied());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: status.code().expect("it was not killed"), out: text(stdout), err: text(stderr) }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What cannot be removed goes with the target directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
