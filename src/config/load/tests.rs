//! What a configuration file, variables and flags come to together, and what is said about wrong ones.

use super::*;

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(load(None, [], &[]).unwrap(), Config::default());
    assert_eq!(loaded("", &[], &[]), Config::default());
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let text = "cores = 1\nlog = \"warn\"\n[mqtt]\nlisten = 1001\n[nats]\nlisten = \"127.0.0.1:1002\"\n";
    let config = loaded(
        text,
        &[("STRAIT__CORES", "2"), ("STRAIT__MQTT__LISTEN", "127.0.0.1:2001"), ("PATH", "/bin")],
        &[("--cores", "cores", "3")],
    );
    assert_eq!((config.cores, config.log.as_str()), (3, "warn"));
    assert_eq!(config.mqtt.listen, "127.0.0.1:2001".parse().ok());
    assert_eq!(config.nats.listen, "127.0.0.1:1002".parse().ok());
}

#[test]
fn a_variable_needs_no_quotes_but_may_have_them() {
    for (text, name) in [("42", "42"), ("east", "east"), ("\"east\"", "east"), ("true", "true")] {
        assert_eq!(loaded("", &[("STRAIT__NATS__SERVER_NAME", text)], &[]).nats.server_name, name);
    }
    assert!(loaded("", &[("STRAIT__MQTT__ALLOW_ANONYMOUS", "true")], &[]).mqtt.allow_anonymous);
    assert_eq!(loaded("", &[("STRAIT__MQTT__LISTEN", "off")], &[]).mqtt.listen, None);
}

#[test]
fn a_list_is_one_in_the_file_and_comma_separated_in_a_variable() {
    let expected = vec!["a.example:4222".to_owned(), "[::1]:4222".to_owned()];
    let text = "[nats]\nconnect_urls = [\"a.example:4222\", \"[::1]:4222\"]\n";
    assert_eq!(loaded(text, &[], &[]).nats.connect_urls, expected);
    let variable = ("STRAIT__NATS__CONNECT_URLS", "a.example:4222, [::1]:4222");
    assert_eq!(loaded("", &[variable], &[]).nats.connect_urls, expected);
    expect_in(
        "[nats]\nconnect_urls = [\"nats://a:4222\"]\n",
        &["`nats.connect_urls` does not take `nats://a:4222`", "a host and a port"],
    );
    expect_in("[nats]\nconnect_urls = [1]\n", &["`nats.connect_urls` takes a list of strings, not a list"]);
    expect_in("[nats]\nadvertise = \"a\"\n", &["`nats.advertise` does not take `a`"]);
}

#[test]
fn listeners_have_names_and_keys_of_their_own() {
    let text = "[nats]\nmountpoint = \"all\"\n[nats.listeners.edge]\nbind = 4222\nmountpoint = \"edge.${username}.\"\n\
                max_connections = 9\n[nats.listeners.Away_2]\nbind = \"0.0.0.0:4223\"\nallow_anonymous = true\n";
    let config = loaded(text, &[("STRAIT__NATS__LISTENERS__EDGE__MAX_CONNECTIONS", "7")], &[]);
    assert_eq!(config.nats.mountpoint, "all");
    let [away, edge] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((away.path().as_str(), &away.mountpoint), ("nats.listeners.Away_2", &None));
    assert_eq!((edge.bind, edge.max_connections), ("127.0.0.1:4222".parse().ok(), 7));
    assert_eq!(edge.mountpoint.as_deref(), Some("edge.${username}."));
    let without_first = "[mqtt]\nlisten = \"off\"\n[nats]\nlisten = \"off\"\n[nats.listeners.a]\nbind = 1\n";
    assert_eq!(loaded(without_first, &[], &[]).listeners.len(), 1);
}

#[test]
fn what_is_wrong_about_a_listener_is_shown_where_it_stands() {
    expect_in(
        "[nats.listeners.a]\nbnid = 1\n",
        &["unknown key `bnid` in [nats.listeners.a]", "strait.toml:2:1", "did you mean `bind`?", "bind = 1"],
    );
    expect_in("[nats.listeners.a]\nbind = 1\nzzz = 1\n", &["a listener has bind, allow_anonymous"]);
    expect_in(
        "[nats.listeners.a]\n",
        &["`nats.listeners.a` does not say where it listens", "its `bind` is missing"],
    );
    expect_in(
        "[nats.listeners]\na = 1\n",
        &["`nats.listeners.a` is a listener, not a key", "write [nats.listeners.a]"],
    );
    expect_in("[nats]\nlisteners = 1\n", &["`nats.listeners` has listeners by their names"]);
    expect_in("[nats.listeners.2]\nbind = 1\n", &["`2` can't be a listener's name", "a letter first"]);
    expect_in("[nats.listeners.default]\nbind = 1\n", &["the listener which `listen` of the section is"]);
    expect_in(
        "[mqtt.listeners.a]\nbind = 1\nmountpoint = \"a/\"\n",
        &["unknown key `mountpoint` in [mqtt.listeners.a]"],
    );
    expect_in("[admin.listeners.a]\nbind = 1\n", &["unknown key `listeners` in [admin]"]);
    expect_in(
        "[nats.listeners.a]\nbind = \"0.0.0.0:1\"\n",
        &[
            "`nats.listeners.a.bind` would let anybody in",
            "add `allow_anonymous = true` to [nats.listeners.a]",
        ],
    );
    expect_in(
        "[nats.listeners.a]\nbind = 1883\n",
        &["`mqtt.listen` and `nats.listeners.a.bind` are both 127.0.0.1:1883", "strait.toml:2:8"],
    );
    expect_in(
        "[nats.listeners.a]\nbind = 1\nmax_connections = -1\n",
        &["`nats.listeners.a.max_connections` is out"],
    );
}

#[test]
fn a_mountpoint_is_told_what_would_be_one() {
    expect_in(
        "[nats]\nmountpoint = \"plant/a/\"\n",
        &[
            "`nats.mountpoint` does not take `plant/a/`",
            "the separator of the other",
            "mountpoint = \"plant.a.\"",
        ],
    );
    expect_in(
        "[nats.listeners.a]\nbind = 1\nmountpoint = \"a.${user}\"\n",
        &[
            "`nats.listeners.a.mountpoint` does not take `a.${user}`",
            "is none of ${clientid}, ${username} and",
        ],
    );
    expect_in("[nats]\nmapping = \"emq\"\n", &["`nats.mapping` does not take `emq`", "did you mean `emqx`?"]);
    expect_in("[nats]\nmountpoint = \"a.>\"\n", &["`>` can't be in a mountpoint"]);
    expect_in("[nats]\nmountpoint = \"$SYS\"\n", &["the protocols' own"]);
}

#[test]
fn a_file_that_is_no_text_is_shown_where_it_ceases_to_be_one() {
    let told = File::read("strait.toml".into(), b"log = \"info\"\n# caf\xe9\n".to_vec()).unwrap_err();
    let text = told.render(false);
    for part in ["is not UTF-8", "strait.toml:2:6", "the byte 0xE9", "iconv"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let cut_short = File::read("strait.toml".into(), b"\xc3".to_vec()).unwrap_err();
    assert!(cut_short.render(false).contains("strait.toml:1:1"));
}

#[test]
fn an_unknown_key_is_shown_where_it_stands_with_the_nearest_one() {
    expect(
        "[mqtt]\n  lisetn = \"127.0.0.1:1883\"\n",
        "error: unknown key `lisetn` in [mqtt]
 --> strait.toml:2:3
  |
2 |   lisetn = \"127.0.0.1:1883\"
  |   ^^^^^^ did you mean `listen`?
  |
help: write
  |
2 -   lisetn = \"127.0.0.1:1883\"
2 +   listen = \"127.0.0.1:1883\"
  |
",
    );
}

#[test]
fn an_unknown_section_and_a_key_of_another_section_are_named() {
    expect_in("[mqt]\nlisten = 1\n", &["unknown key `mqt`", "strait.toml:1:2", "did you mean `mqtt`?"]);
    expect_in("server_name = \"a\"\n", &["unknown key `server_name`", "there is nats.server_name"]);
    expect_in("zzz = 1\n", &["unknown key `zzz`", "`strait config default` prints every key"]);
    expect_in("[nats]\nmax_payload = 1\n", &["did you mean `payload_bytes_max`?"]);
}

#[test]
fn a_wrong_type_is_refused_and_a_quoted_number_offered_without_quotes() {
    expect(
        "cores = \"4\"\n",
        "error: `cores` takes an integer, not the string \"4\"
 --> strait.toml:1:9
  |
1 | cores = \"4\"
  |         ^^^ expected an integer from 0 to 1024 (shards)
  |
help: write
  |
1 - cores = \"4\"
1 + cores = 4
  |
",
    );
    expect_in("cores = [1]\n", &["`cores` takes an integer, not a list"]);
    expect_in(
        "[mqtt]\nallow_anonymous = 1\n",
        &["`mqtt.allow_anonymous` takes true or false, not the integer 1"],
    );
    expect_in("mqtt = 1883\n", &["`mqtt` is a section, not a key", "write [mqtt]"]);
    expect_in("[[mqtt]]\nlisten = 1\n", &["`mqtt` is a section, not a key"]);
    expect_in("[cores]\n", &["`cores` takes an integer, not a section"]);
}

#[test]
fn a_value_out_of_range_is_shown_with_the_range() {
    expect(
        "[mqtt]\ninflight_max = 70_000\n",
        "error: `mqtt.inflight_max` is out of range: 70000
 --> strait.toml:2:16
  |
2 | inflight_max = 70_000
  |                ^^^^^^ expected 1 to 65535 (messages)
",
    );
    expect_in("cores = -1\n", &["`cores` is out of range: -1"]);
    expect_in("cores = 99999999999999999999999999999999999999999999\n", &["`cores` is out of range: 9999"]);
    assert_eq!(loaded("[mqtt]\npayload_bytes_max = 0x1000\n", &[], &[]).mqtt.payload_bytes_max, 4096);
}

#[test]
fn a_bad_address_says_why_and_what_would_be_one() {
    expect(
        "[nats]\nlisten = \"gateway.example:4222\"\n",
        "error: `nats.listen` is not an address to listen on: `gateway.example:4222`
 --> strait.toml:2:10
  |
2 | listen = \"gateway.example:4222\"
  |          ^^^^^^^^^^^^^^^^^^^^^^ neither an IP address nor `localhost`; names are not resolved
  |
  = help: write \"ip:port\", \"localhost:port\", a port on loopback, or \"off\"
",
    );
    assert_eq!(loaded("[mqtt]\nlisten = 0x75b\n", &[], &[]), Config::default());
    expect_in("[nats]\nlisten = 70000\n", &["the port is not a number from 0 to 65535"]);
    expect_in("[nats]\nlisten = \"::1:4222\"\n", &["stands in brackets"]);
}

#[test]
fn a_misspelt_log_level_is_refused() {
    expect_in("log = \"inof\"\n", &["`log` does not take `inof`", "did you mean `info`?"]);
}

#[test]
fn a_public_address_needs_anonymous_clients_to_be_allowed_beside_it() {
    expect(
        "[mqtt]\nlisten = \"0.0.0.0:1883\"\n",
        "error: `mqtt.listen` would let anybody in: 0.0.0.0:1883 can be reached from other hosts
 --> strait.toml:2:10
  |
2 | listen = \"0.0.0.0:1883\"
  |          ^^^^^^^^^^^^^^ clients need no credentials here
  |
  = help: listen on loopback (127.0.0.1:1883), or add `allow_anonymous = true` to [mqtt] if that is what you want
",
    );
    expect_in(
        "[mqtt]\nlisten = \"[::]:1\"\n[nats]\nallow_anonymous = true\n",
        &["`mqtt.listen` would let anybody in"],
    );
    let allowed = loaded("[mqtt]\nlisten = \"0.0.0.0:1883\"\nallow_anonymous = true\n", &[], &[]);
    assert_eq!(allowed.mqtt.listen, "0.0.0.0:1883".parse().ok());
    let text =
        refused("", &[("STRAIT__NATS__LISTEN", "0.0.0.0:4222")], &[("--mqtt", "mqtt.listen", "0.0.0.0:1")]);
    for part in ["STRAIT__NATS__ALLOW_ANONYMOUS=true", "--mqtt: `mqtt.listen`", "add --allow-anonymous"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn two_listeners_on_one_address_are_refused_and_both_shown() {
    expect(
        "[mqtt]\nlisten = 1883\n[nats]\nlisten = \"127.0.0.1:1883\"\n",
        "error: `mqtt.listen` and `nats.listen` are both 127.0.0.1:1883
 --> strait.toml:4:10
  |
2 | listen = 1883
  |          ---- taken here
3 | [nats]
4 | listen = \"127.0.0.1:1883\"
  |          ^^^^^^^^^^^^^^^^ each listener needs an address of its own
  |
  = help: give one of them another port, or \"off\"
",
    );
    // The default of the other listener is taken as well.
    expect_in("[mqtt]\nlisten = 20243\n", &["strait.toml:2:10", "are both 127.0.0.1:20243"]);
    expect_in("[mqtt]\nlisten = \"off\"\n[nats]\nlisten = \"off\"\n", &["are both off"]);
}

#[test]
fn a_payload_that_fits_no_write_queue_is_refused() {
    let text = "[nats]\npayload_bytes_max = 1_048_576\n[limits]\nwrite_queue_bytes_max = 65_536\n";
    expect_in(text, &["strait.toml:4:25", "is more than `limits.write_queue_bytes_max` (65536)"]);
}

#[test]
fn a_wrong_variable_or_flag_is_named() {
    let text = refused(
        "",
        &[("STRAIT__MQTT__INFLIGHT_MAX", "many"), ("STRAIT__MQTT__LISEN", "1"), ("STRAIT__NONSENSE", "1")],
        &[("--cores", "cores", "5000")],
    );
    for part in [
        "environment variable STRAIT__MQTT__INFLIGHT_MAX: `mqtt.inflight_max` takes an integer, not the string \"many\"",
        "expected an integer from 1 to 65535 (messages)",
        "did you mean STRAIT__MQTT__LISTEN?",
        "environment variable STRAIT__NONSENSE: stands for no key",
        "variables are STRAIT__KEY or STRAIT__SECTION__KEY",
        "--cores: `cores` is out of range: 5000",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_variable_that_lacks_underscores_is_named_and_one_of_others_is_not_looked_at() {
    for (variable, said) in [
        ("STRAIT_MQTT__LISTEN", "did you mean STRAIT__MQTT__LISTEN?"),
        ("STRAIT_MQTT__LISTN", "did you mean STRAIT__MQTT__LISTEN?"),
        ("STRAIT_NATS_PAYLOAD_BYTES_MAX", "did you mean STRAIT__NATS__PAYLOAD_BYTES_MAX?"),
        ("STRAIT_NATS__LISTENERS__PLANT__BIND", "variables are STRAIT__KEY or STRAIT__SECTION__KEY"),
        ("STRAIT_NATS_LISTENERS_PLANT_BIND", "variables are STRAIT__KEY or STRAIT__SECTION__KEY"),
        ("STRAIT__MQTT_LISTEN", "did you mean STRAIT__MQTT__LISTEN?"),
    ] {
        let text = refused("", &[(variable, "1")], &[]);
        assert!(text.contains(&format!("environment variable {variable}: stands for no key")), "{text}");
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let others = [
        "STRAIT_MQTT_PORT",
        "STRAIT_MQTT_SERVICE_HOST",
        "STRAIT_NATS_PORT_4222_TCP_ADDR",
        "STRAIT_CORES",
        "STRAIT_SIM_SEED",
        "STRAIT_ACCEPTANCE",
        "STRAITS__MQTT__LISTEN",
    ];
    assert_eq!(loaded("", &others.map(|name| (name, "x")), &[]), Config::default());
}

#[test]
fn all_mistakes_are_reported_at_once_from_top_to_bottom() {
    let text = "log = 1\ncores = -1\n[nats]\nlisten = \"x\"\n[mqtt]\nlisten = \"0.0.0.0:1\"\nzzz = 1\n";
    let wrong = load(Some(&file(text)), [], &[]).unwrap_err();
    let starts: Vec<_> = wrong
        .list()
        .iter()
        .map(|diagnostic| match &diagnostic.place {
            Place::File(span) => text[..span.start].matches('\n').count() + 1,
            Place::Variable(_) | Place::Flag(_) | Place::Nowhere => {
                panic!("{diagnostic:?} is not in the file")
            }
        })
        .collect();
    assert_eq!(starts, [1, 2, 4, 6, 7]);
}

#[test]
fn a_refused_value_does_not_lead_to_mistakes_that_are_none() {
    // With the default in its place, nats.listen would seem to be taken twice.
    let wrong = load(Some(&file("[mqtt]\nlisten = 20243\n[nats]\nlisten = \"x\"\n")), [], &[]).unwrap_err();
    assert_eq!(wrong.list().len(), 1);
}

#[test]
fn what_is_not_toml_is_shown_where_it_ends() {
    expect_in("cores = \n", &["strait.toml:1:9", "`cores` has no value"]);
    expect_in("[mqtt\nlisten = 1\n", &["strait.toml:1:6"]);
    expect_in("cores = 1\ncores = 2\n", &["strait.toml:2:1", "duplicate key"]);
    for text in
        ["cores", "\u{feff}= 1", "a = \"ü", "[", "=", "\"", "cores = \u{1F600}", "[mqtt]\r\nlisten = \r"]
    {
        assert!(!refused(text, &[], &[]).is_empty());
    }
}

#[test]
fn only_flags_are_a_mistake_of_usage() {
    let flag = [Flag { name: "--cores", key: "cores", value: "x".into() }];
    assert!(load(None, [], &flag).unwrap_err().only_flags());
    assert!(!load(Some(&file("cores = -1\n")), [], &flag).unwrap_err().only_flags());
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_loading_nor_the_telling(
        cut in 0..8000_usize,
        word in "[ -~\n\r\t=\\[\\]\"'.ü\u{1F600}\u{feff}]{0,12}",
        skip in 0..40_usize,
    ) {
        let printed = crate::config::print::default_toml();
        let cut = printed.floor_char_boundary(cut);
        let rest = &printed[printed.floor_char_boundary(cut + skip)..];
        for text in [format!("{}{word}{rest}", &printed[..cut]), word.clone(), format!("{}{word}", &printed[..cut])] {
            if let Err(wrong) = load(Some(&file(&text)), [("STRAIT__CORES".to_owned(), word.clone())], &[]) {
                assert!(!wrong.render(true).is_empty());
            }
        }
    }
}

fn file(text: &str) -> File {
    File { name: "strait.toml".into(), text: text.into() }
}

fn result(
    text: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Result<Config, Diagnostics> {
    let flags: Vec<_> =
        flags.iter().map(|&(name, key, value)| Flag { name, key, value: value.into() }).collect();
    let variables = variables.iter().map(|&(name, value)| (name.into(), value.into()));
    load(Some(&file(text)), variables, &flags)
}

fn loaded(text: &str, variables: &[(&str, &str)], flags: &[(&'static str, &'static str, &str)]) -> Config {
    result(text, variables, flags).unwrap_or_else(|wrong| panic!("{}", wrong.render(false)))
}

fn refused(text: &str, variables: &[(&str, &str)], flags: &[(&'static str, &'static str, &str)]) -> String {
    result(text, variables, flags).unwrap_err().render(false)
}

#[track_caller]
fn expect(text: &str, message: &str) {
    assert_eq!(refused(text, &[], &[]).trim_end(), message.trim_end());
}

#[track_caller]
fn expect_in(text: &str, parts: &[&str]) {
    let message = refused(text, &[], &[]);
    for part in parts {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
}
