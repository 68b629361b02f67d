//! From a file's text, environment variables and flags to a `Config`, or to everything that is wrong with
//! them. Reads neither the file nor the environment: they are arguments.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::config::key::Key;
use crate::config::listener;
use crate::config::schema::{Config, KEYS, SECTIONS};
use crate::config::value::Value;
use crate::config::{rules, spelling, syntax};

/// What begins the name of every variable that is ours.
pub const VARIABLE_PREFIX: &str = "STRAIT__";

/// What such a name begins with where an underscore is missing.
const SHORT_PREFIX: &str = "STRAIT_";

/// Whether a variable is ours, or is meant to be. Others are not looked at, `STRAIT_MQTT_PORT` among them: names
/// like that are given to every container that is near a service `strait-mqtt`.
#[must_use]
pub fn is_ours(variable: &str) -> bool {
    variable.starts_with(VARIABLE_PREFIX) || lacks_underscores(variable)
}

/// A configuration file that has been read.
#[derive(Clone, Debug)]
pub struct File {
    /// As the user knows it, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// A file of these bytes, which must be UTF-8.
    pub fn read(name: String, bytes: Vec<u8>) -> Result<Self, Diagnostics> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                // What precedes it is as long in the text that is shown.
                let at = error.utf8_error().valid_up_to();
                let byte = error.as_bytes()[at];
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let place = Place::File(at..at + char::REPLACEMENT_CHARACTER.len_utf8());
                let mut wrong = Diagnostic::new(
                    place,
                    "the configuration file is not UTF-8".into(),
                    format!("the byte 0x{byte:02X} is no part of a character"),
                );
                wrong.help = Some(format!("save it as UTF-8: iconv -f ISO-8859-1 -t UTF-8 {name}"));
                Err(Diagnostics::new(Some(Self { name, text }), vec![wrong]))
            }
        }
    }
}

/// A flag of the command line that stands for a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// With its dashes, for messages.
    pub name: &'static str,
    /// The key's path.
    pub key: &'static str,
    /// As given.
    pub value: String,
}

/// Who gave a key its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it has its default.
    Default,
    /// These bytes of the file.
    File(Range<usize>),
    /// This environment variable.
    Variable(String),
    /// This flag.
    Flag(&'static str),
    /// Somebody whose value is wrong, so that nothing can be said about it together with others.
    Refused,
}

impl Origin {
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Default | Self::Refused => Place::Nowhere,
            Self::File(span) => Place::File(span.clone()),
            Self::Variable(name) => Place::Variable(name.clone()),
            Self::Flag(name) => Place::Flag(name),
        }
    }
}

/// A configuration that also knows who gave each key its value.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// In the order of `KEYS`.
    origins: Vec<Origin>,
    /// By path, of those keys of listeners that somebody gave.
    listener_origins: BTreeMap<String, Origin>,
    /// By path, what the file calls the keys to which it gives another program's names.
    spellings: BTreeMap<String, String>,
}

impl Resolved {
    /// Who gave the key at this place in `KEYS` its value.
    #[must_use]
    pub fn origin(&self, key_idx: usize) -> &Origin {
        &self.origins[key_idx]
    }

    /// Who gave a key its value, a listener's among them.
    pub(crate) fn origin_of(&self, path: &str) -> &Origin {
        if path.contains(".listeners.") {
            return self.listener_origins.get(path).unwrap_or(&Origin::Default);
        }
        let key_idx =
            KEYS.iter().position(|key| key.path() == path).expect("the path is one of the schema's");
        &self.origins[key_idx]
    }

    /// What whoever gave a key its value calls it.
    pub(crate) fn name_of<'p>(&'p self, path: &'p str) -> &'p str {
        match self.origin_of(path) {
            Origin::File(_) | Origin::Refused => self.spellings.get(path).map_or(path, String::as_str),
            Origin::Default | Origin::Variable(_) | Origin::Flag(_) => path,
        }
    }
}

/// The effective configuration: defaults, then the file, then the variables, then the flags.
pub fn load(
    file: Option<&File>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Config, Diagnostics> {
    resolve(file, variables, flags).map(|resolved| resolved.config)
}

/// `load`, with who gave each key its value.
pub fn resolve(
    file: Option<&File>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Resolved, Diagnostics> {
    let origins = vec![Origin::Default; KEYS.len()];
    let (listener_origins, spellings) = (BTreeMap::new(), BTreeMap::new());
    let resolved = Resolved { config: Config::default(), origins, listener_origins, spellings };
    let mut layers = Layers { resolved, found: Vec::new() };
    let readable = file.is_none_or(|file| layers.read_file(&file.text));
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| is_ours(name)).collect();
    // The environment has no order of its own; messages should.
    variables.sort();
    for (name, text) in &variables {
        layers.read_variable(name, text);
    }
    for flag in flags {
        layers.read_flag(flag);
    }
    // What a file says that is not even TOML is unknown, and so is what it says together.
    if readable {
        rules::check(&layers.resolved, &mut layers.found);
    }
    if layers.found.is_empty() {
        Ok(layers.resolved)
    } else {
        Err(Diagnostics::new(file.cloned(), layers.found))
    }
}

struct Layers {
    resolved: Resolved,
    found: Vec<Diagnostic>,
}

impl Layers {
    fn read_file(&mut self, text: &str) -> bool {
        let (table, errors) = DeTable::parse_recoverable(text);
        self.found.extend(syntax::diagnostics(text, &errors));
        if !errors.is_empty() {
            return false;
        }
        for (name, value) in table.get_ref() {
            if name.get_ref() == "gateway" {
                continue;
            }
            if is_section(name.get_ref()) {
                self.read_section(name, value);
            } else if let Some(key_idx) = find("", name.get_ref()) {
                self.read(key_idx, value.get_ref(), &Origin::File(value.span()));
            } else {
                self.found.push(unknown("", name.get_ref(), Place::File(name.span())));
            }
        }
        for (name, value) in table.get_ref().iter().filter(|(name, _)| name.get_ref() == "gateway") {
            self.read_gateway(name, value);
        }
        true
    }

    fn read_section(&mut self, section: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let section_name = section.get_ref().as_ref();
        let DeValue::Table(table) = value.get_ref() else {
            let title = format!("`{section_name}` is a section, not a key");
            let mut wrong =
                Diagnostic::new(Place::File(section.span()), title, "a section, once, in brackets");
            wrong.help = Some(format!("write [{section_name}] and its keys on the lines below"));
            self.found.push(wrong);
            return;
        };
        for (name, value) in table {
            if let Some(of) = listener::SECTIONS.into_iter().find(|of| *of == section_name)
                && name.get_ref() == "listeners"
            {
                self.read_listeners(of, name, value);
                continue;
            }
            match find(section_name, name.get_ref()) {
                Some(key_idx) => self.read(key_idx, value.get_ref(), &Origin::File(value.span())),
                None => self.found.push(unknown(section_name, name.get_ref(), Place::File(name.span()))),
            }
        }
    }

    fn read_variable(&mut self, variable: &str, text: &str) {
        let Some(path) = variable.strip_prefix(VARIABLE_PREFIX) else {
            return self.found.push(unknown_variable(variable));
        };
        let path = path.to_ascii_lowercase();
        let (section, name) = path.split_once("__").unwrap_or(("", &path));
        if let Some(of) = listener::SECTIONS.into_iter().find(|of| *of == section)
            && let Some((listener, name)) =
                name.strip_prefix("listeners__").and_then(|it| it.split_once("__"))
        {
            return self.read_listener_variable(variable, text, of, listener, name);
        }
        match find(section, name) {
            Some(key_idx) => self.read_text(key_idx, text, &Origin::Variable(variable.into())),
            None => self.found.push(unknown_variable(variable)),
        }
    }

    fn read_flag(&mut self, flag: &Flag) {
        let (section, name) = flag.key.split_once('.').unwrap_or(("", flag.key));
        let key_idx = find(section, name).expect("each flag stands for a key");
        self.read_text(key_idx, &flag.value, &Origin::Flag(flag.name));
    }

    fn read_listener_variable(
        &mut self,
        variable: &str,
        text: &str,
        section: &'static str,
        listener: &str,
        name: &str,
    ) {
        let Some(key) = listener::keys(section).find(|key| key.name == name) else {
            return self.found.push(unknown_variable(variable));
        };
        if let Some(mistake) = listener::name_mistake(listener) {
            let title = format!("`{listener}` can't be a listener's name");
            return self.found.push(Diagnostic::new(Place::Variable(variable.into()), title, mistake));
        }
        let value = value_of(text, key.kind.is_text());
        self.read_listener_key(section, listener, key, &value, Origin::Variable(variable.into()));
    }

    /// A text from outside the file is TOML if it reads as TOML and a string otherwise, so that neither
    /// `127.0.0.1:1883` nor `info` needs quotes within the shell's.
    fn read_text(&mut self, key_idx: usize, text: &str, origin: &Origin) {
        self.read(key_idx, &value_of(text, KEYS[key_idx].kind.is_text()), origin);
    }

    fn read(&mut self, key_idx: usize, raw: &DeValue<'_>, origin: &Origin) {
        let key = &KEYS[key_idx];
        match key.read(raw) {
            Ok(value) => self.set(key_idx, value, origin.clone()),
            Err(mistake) => {
                self.resolved.origins[key_idx] = Origin::Refused;
                self.found.push(Diagnostic::of_value(origin.place(), mistake));
            }
        }
    }

    fn set(&mut self, key_idx: usize, value: Value, origin: Origin) {
        (KEYS[key_idx].set)(&mut self.resolved.config, value);
        // A wrong value below is not mended by a right one above it.
        if self.resolved.origins[key_idx] != Origin::Refused {
            self.resolved.origins[key_idx] = origin;
        }
    }
}

fn value_of(text: &str, is_text: bool) -> DeValue<'_> {
    match DeValue::parse(text).ok().map(Spanned::into_inner) {
        Some(value @ DeValue::String(_)) => value,
        Some(value) if !is_text => value,
        Some(_) | None => DeValue::String(text.into()),
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
}

fn find(section: &str, name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.section == section && key.name == name)
}

fn unknown(section: &str, name: &str, place: Place) -> Diagnostic {
    let here = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
    let keys = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let sections = SECTIONS.iter().map(|(section, _)| *section).filter(|_| section.is_empty());
    let meant = spelling::nearest(name, keys.chain(sections));
    let label = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "not known".into(),
    };
    let mut wrong = Diagnostic::new(place, format!("unknown key `{name}`{here}"), label);
    wrong.replacement = meant.map(Into::into);
    if meant.is_none() {
        let elsewhere: Vec<_> = KEYS.iter().filter(|key| key.name == name).map(Key::path).collect();
        wrong.help = Some(if elsewhere.is_empty() {
            "`strait config default` prints every key".into()
        } else {
            format!("there is {}", elsewhere.join(" and "))
        });
    }
    wrong
}

/// Whether a variable is a key's or a listener's but for underscores that are missing.
fn lacks_underscores(variable: &str) -> bool {
    let Some(rest) = variable.strip_prefix(SHORT_PREFIX).filter(|rest| !rest.starts_with('_')) else {
        return false;
    };
    let path = rest.to_ascii_lowercase();
    let is_in = |section: &str| {
        path.strip_prefix(section).is_some_and(|it| it.starts_with("__") || it.starts_with("_listeners_"))
    };
    // Those outside a section are single words, which may be anybody's.
    let is_key = |key: &Key| !key.section.is_empty() && path == key.path().replace('.', "_");
    SECTIONS.iter().any(|(section, _)| is_in(section)) || KEYS.iter().any(is_key)
}

fn unknown_variable(variable: &str) -> Diagnostic {
    // The prefix, which all have, would make every name look near.
    let name = variable.strip_prefix(VARIABLE_PREFIX).or_else(|| variable.strip_prefix(SHORT_PREFIX));
    let known: Vec<_> = KEYS.iter().map(|key| key.path().replace('.', "__")).collect();
    let meant = spelling::nearest(name.unwrap_or(variable), known.iter().map(String::as_str));
    let title = "stands for no key".to_owned();
    let help = match meant {
        Some(meant) => format!("did you mean {VARIABLE_PREFIX}{}?", meant.to_ascii_uppercase()),
        None => "variables are STRAIT__KEY or STRAIT__SECTION__KEY; `strait config default` prints every key"
            .into(),
    };
    Diagnostic::new(Place::Variable(variable.into()), title, help)
}

mod listeners;

mod gateway;

#[cfg(test)]
mod tests;
