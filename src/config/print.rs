//! A configuration as TOML: the defaults with the whole documentation, or the effective values with who gave
//! them.

use std::fmt::Write;

use crate::config::key::Kind;
use crate::config::listener::{self, Listener};
use crate::config::load::{File, Origin, Resolved};
use crate::config::schema::{Config, KEYS, SECTIONS};
use crate::config::value::Value;

const ABOUT: &str = "\
# Strait's configuration: every key, at its default.
#
# A value is taken from a flag (strait --help), else from the environment variable STRAIT__SECTION__KEY (such as
# STRAIT__MQTT__LISTEN=127.0.0.1:1884 or STRAIT__CORES=4), else from this file, else it has its default. A line that
# is left out keeps its default.
";

const LISTENERS: &str = "
# Listeners beside the one that `listen` is, by names of your choice, as [mqtt.listeners.NAME] and
# [nats.listeners.NAME]; variables such as STRAIT__NATS__LISTENERS__NAME__BIND set the same.
#
#   [nats.listeners.NAME]
";

/// Every key at its default, with its documentation, unit and range.
#[must_use]
pub fn default_toml() -> String {
    let mut text = ABOUT.to_owned();
    let config = Config::default();
    each_key(
        &mut text,
        |text, doc| {
            for line in doc {
                push(text, format_args!("#{line}\n"));
            }
        },
        |text, key_idx| {
            let key = &KEYS[key_idx];
            push(text, "\n");
            for line in key.doc {
                push(text, format_args!("#{line}\n"));
            }
            let value = (key.get)(&config).to_toml();
            let note = match key.kind {
                Kind::Integer { min, max, unit, .. } => format!("# {min} to {max} {unit}; default {value}."),
                Kind::Boolean { .. }
                | Kind::Address { .. }
                | Kind::LogFilter { .. }
                | Kind::Name { .. }
                | Kind::HostPort
                | Kind::HostPorts
                | Kind::Subjects { .. }
                | Kind::Responders
                | Kind::Choice { .. }
                | Kind::Mountpoint { .. } => {
                    format!("# {}; default {value}.", key.kind.expects())
                }
            };
            push(text, format_args!("{note}\n{} = {value}\n", key.name));
        },
    );
    push_listeners_doc(&mut text);
    text
}

/// What a listener has, as comments: there is none by default.
fn push_listeners_doc(text: &mut String) {
    push(text, LISTENERS);
    let unset = Listener::new("nats", "NAME");
    for key in &listener::KEYS {
        push(text, "#\n");
        for line in key.doc {
            push(text, format_args!("#   # {line}\n"));
        }
        let value = (key.get)(&unset).unwrap_or_else(|| key.kind.default()).to_toml();
        push(text, format_args!("#   # {}.\n#   {} = {value}\n", key.kind.expects(), key.name));
    }
}

/// The values in force; behind each that is not a default, who gave it.
#[must_use]
pub fn effective_toml(resolved: &Resolved, file: Option<&File>) -> String {
    let mut text = String::new();
    each_key(
        &mut text,
        |_, _| {},
        |text, key_idx| {
            let key = &KEYS[key_idx];
            let origin = note_of(resolved.origin(key_idx), file);
            push(text, format_args!("{} = {}{origin}\n", key.name, (key.get)(&resolved.config).to_toml()));
        },
    );
    for listener in &resolved.config.listeners {
        push(&mut text, format_args!("\n[{}]\n", listener.path()));
        for key in listener::keys(listener.section) {
            let (value, origin) = match (key.get)(listener) {
                Some(value) => {
                    let origin = resolved.origin_of(&format!("{}.{}", listener.path(), key.name));
                    (value, note_of(origin, file))
                }
                None => inherited(resolved, listener.section, key.name),
            };
            push(&mut text, format_args!("{} = {}{origin}\n", key.name, value.to_toml()));
        }
    }
    text
}

/// The section's value of a key, which counts where a listener has none of its own.
fn inherited(resolved: &Resolved, section: &str, name: &str) -> (Value, String) {
    let key = KEYS.iter().find(|key| key.section == section && key.name == name);
    let key = key.expect("a listener inherits what its section has");
    ((key.get)(&resolved.config), format!("  # {}", key.path()))
}

/// Who gave a value, as a comment behind it.
fn note_of(origin: &Origin, file: Option<&File>) -> String {
    match (origin, file) {
        (Origin::File(span), Some(file)) => {
            let line = file.text[..span.start].matches('\n').count() + 1;
            format!("  # {}:{line}", file.name)
        }
        (Origin::Variable(name), _) => format!("  # {name}"),
        (Origin::Flag(name), _) => format!("  # {name}"),
        (Origin::Default | Origin::Refused | Origin::File(_), _) => String::new(),
    }
}

fn each_key(
    text: &mut String,
    section_doc: impl Fn(&mut String, &[&str]),
    print_key: impl Fn(&mut String, usize),
) {
    let mut section = "";
    for (key_idx, key) in KEYS.iter().enumerate() {
        if key.section != section {
            section = key.section;
            push(text, "\n");
            let doc = SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, doc)| doc);
            section_doc(text, doc);
            push(text, format_args!("[{section}]\n"));
        }
        print_key(text, key_idx);
    }
}

fn push(text: &mut String, more: impl std::fmt::Display) {
    write!(text, "{more}").expect("a string takes whatever is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Flag, load, resolve};

    fn file(text: String) -> File {
        File { name: "strait.toml".into(), text }
    }

    #[test]
    fn the_printed_default_is_the_default_and_has_every_key() {
        let printed = default_toml();
        let parsed: toml::Table = printed.parse().unwrap();
        for key in KEYS {
            let table =
                if key.section.is_empty() { &parsed } else { parsed[key.section].as_table().unwrap() };
            assert!(table.contains_key(key.name), "{}", key.path());
        }
        assert_eq!(load(Some(&file(printed)), [], &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_effective_values_read_back_and_say_who_gave_them() {
        let given = file("cores = 3\n[mqtt]\n\nlisten = 1884\n[nats.listeners.Edge-1]\nbind = 4222\n".into());
        let variables = [
            ("STRAIT__NATS__SERVER_NAME".to_owned(), "a\"b\\c".to_owned()),
            ("STRAIT__MQTT__LISTENERS__B__BIND".to_owned(), "off".to_owned()),
        ];
        let flags = [Flag { name: "--nats", key: "nats.listen", value: "off".into() }];
        let resolved = resolve(Some(&given), variables, &flags).unwrap();
        let printed = effective_toml(&resolved, Some(&given));
        for line in [
            "cores = 3  # strait.toml:1\n",
            "listen = \"127.0.0.1:1884\"  # strait.toml:4\n",
            "  # STRAIT__NATS__SERVER_NAME\n",
            "listen = \"off\"  # --nats\n",
            "log = \"info\"\n",
            "[nats.listeners.Edge-1]\nbind = \"127.0.0.1:4222\"  # strait.toml:6\nallow_anonymous = false\n",
            "[mqtt.listeners.b]\nbind = \"off\"  # STRAIT__MQTT__LISTENERS__B__BIND\n",
        ] {
            assert!(printed.contains(line), "{line} is not in\n{printed}");
        }
        let again = resolve(Some(&file(printed.clone())), [], &[]).unwrap();
        let values = |text: &str| text.parse::<toml::Table>().unwrap();
        assert_eq!(values(&effective_toml(&again, None)), values(&printed));
    }

    #[test]
    fn what_a_listener_has_from_its_section_is_in_force_and_shown() {
        let given =
            file("[nats]\nmountpoint = \"plant\"\n[nats.listeners.a]\nbind = 1\nmapping = \"emqx\"\n".into());
        let printed = effective_toml(&resolve(Some(&given), [], &[]).unwrap(), Some(&given));
        let (_, listener) = printed.split_once("[nats.listeners.a]\n").unwrap();
        assert!(listener.contains("mountpoint = \"plant\"  # nats.mountpoint\n"), "{listener}");
        assert!(listener.contains("mapping = \"emqx\"  # strait.toml:5\n"), "{listener}");
    }
}
