//! One key: what kind of value it takes and how a value is read. Not the list of keys, which is `schema`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use toml::de::{DeInteger, DeValue};

use crate::config::schema::Config;
use crate::config::{address, log_filter, spelling, subjects};
use crate::subject::mount::Mountpoint;
use crate::subject::responder::Responder;

/// One line of the schema.
pub struct Key {
    /// The section it stands in, empty at the top.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// Its documentation, line by line, each with the blank that follows `///`.
    pub doc: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// Reads its value.
    pub get: fn(&Config) -> Value,
    /// Replaces its value, which must be one that `kind` has read.
    pub set: fn(&mut Config, Value),
}

impl Key {
    /// `section.name`, or the name alone at the top.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.into() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("STRAIT__{}", self.path().replace('.', "__").to_ascii_uppercase())
    }

    /// Reads a value as it stands in the file, or says what would be right.
    pub fn read(&self, raw: &DeValue<'_>) -> Result<Value, Mistake> {
        self.kind.read(&self.path(), raw)
    }
}

/// What values a key takes, and which one it has when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// The least value.
        min: u64,
        /// The greatest value.
        max: u64,
        /// The value when nobody sets it.
        default: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// `true` or `false`.
    Boolean {
        /// The value when nobody sets it.
        default: bool,
    },
    /// Where to listen, or `off`.
    Address {
        /// The value when nobody sets it.
        default: &'static str,
    },
    /// A level, or levels per module.
    LogFilter {
        /// The value when nobody sets it.
        default: &'static str,
    },
    /// A name shown to clients.
    Name {
        /// The value when nobody sets it.
        default: &'static str,
    },
    /// A host and a port that clients are told, not resolved here; empty by default.
    HostPort,
    /// A list of them, empty by default.
    HostPorts,
    /// A list of subject filters, each with a QoS after it or without one; empty by default.
    Subjects {
        /// Whether each has a QoS.
        with_qos: bool,
    },
    /// A list of pairs of topics that carry the way back; empty by default.
    Responders,
    /// One of some words.
    Choice {
        /// The words.
        of: &'static [&'static str],
        /// The one when nobody sets it.
        default: &'static str,
    },
    /// What precedes clients' names; empty by default.
    Mountpoint {
        /// What parts its tokens.
        separator: char,
    },
}

impl Kind {
    /// A whole number within `range`, counting `unit`.
    #[must_use]
    pub const fn integer(default: u64, range: RangeInclusive<u64>, unit: &'static str) -> Self {
        Self::Integer { min: *range.start(), max: *range.end(), default, unit }
    }

    /// The value when nobody sets it.
    #[must_use]
    pub fn default(&self) -> Value {
        match *self {
            Self::Integer { default, .. } => Value::Integer(default),
            Self::Boolean { default } => Value::Boolean(default),
            Self::Address { default } => {
                Value::Address(address::parse(default).expect("the schema's own addresses are well formed"))
            }
            Self::LogFilter { default } | Self::Name { default } | Self::Choice { default, .. } => {
                Value::Text(default.into())
            }
            Self::HostPort | Self::Mountpoint { .. } => Value::Text(String::new()),
            Self::HostPorts | Self::Subjects { .. } | Self::Responders => Value::List(Vec::new()),
        }
    }

    /// The type, for "takes an integer".
    fn noun(&self) -> &'static str {
        match self {
            Self::Integer { .. } => "an integer",
            Self::Boolean { .. } => "true or false",
            Self::Address { .. } => "an address",
            Self::LogFilter { .. }
            | Self::Name { .. }
            | Self::HostPort
            | Self::Choice { .. }
            | Self::Mountpoint { .. } => "a string",
            Self::HostPorts | Self::Subjects { .. } | Self::Responders => "a list of strings",
        }
    }

    /// What would be right, with unit and range.
    #[must_use]
    pub fn expects(&self) -> String {
        match self {
            Self::Integer { min, max, unit, .. } => format!("an integer from {min} to {max} ({unit})"),
            Self::Boolean { .. } => "true or false".into(),
            Self::Address { .. } => r#""ip:port", "localhost:port", a port on loopback, or "off""#.into(),
            Self::LogFilter { .. } => {
                r#""error", "warn", "info", "debug", "trace", "off", or a list such as "info,strait::mqtt=debug""#
                    .into()
            }
            Self::Name { default: "" } => "up to 256 printable characters without blanks".into(),
            Self::Name { .. } => "1 to 256 printable characters without blanks".into(),
            Self::HostPort => r#""host:port", or "" for none"#.into(),
            Self::HostPorts => r#"["host:port", …]"#.into(),
            Self::Subjects { with_qos: true } => r#"["subject.filter.> 1", …]"#.into(),
            Self::Subjects { with_qos: false } => r#"["subject.filter.>", …]"#.into(),
            Self::Responders => r#"["request/topic/${id} -> response/topic/${id}", …]"#.into(),
            Self::Choice { of, .. } => {
                of.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Self::Mountpoint { separator } => {
                format!("tokens with a `{separator}` between them, such as \"plant{separator}${{username}}\", or \"\"")
            }
        }
    }

    /// Reads the value of the key at `path` as it stands in the file, or says what would be right.
    pub fn read(&self, path: &str, raw: &DeValue<'_>) -> Result<Value, Mistake> {
        match *self {
            Self::Integer { min, max, .. } => self.read_integer(path, raw, min..=max),
            Self::Boolean { .. } => {
                let DeValue::Boolean(flag) = raw else { return Err(self.wrong_type(path, raw)) };
                Ok(Value::Boolean(*flag))
            }
            Self::Address { .. } => {
                if let DeValue::Integer(port) = raw {
                    return self.read_address(path, &integer(port).unwrap_or(i128::MAX).to_string());
                }
                let DeValue::String(text) = raw else { return Err(self.wrong_type(path, raw)) };
                self.read_address(path, text)
            }
            Self::LogFilter { .. } => self.read_text(path, raw, log_filter::check),
            Self::Name { default } => self.read_text(path, raw, |text| {
                if text.is_empty() && default.is_empty() { Ok(()) } else { check_name(text) }
            }),
            Self::Choice { of, .. } => self.read_text(path, raw, |text| check_choice(text, of)),
            Self::Mountpoint { separator } => {
                self.read_text(path, raw, |text| check_mountpoint(text, separator))
            }
            Self::HostPorts | Self::HostPort => self.read_list(path, raw, |text| {
                let label = "a host and a port, such as \"gateway.example:4222\" or \"[::1]:4222\"";
                if address::is_host_port(text) { Ok(()) } else { Err(label.into()) }
            }),
            Self::Responders => self.read_list(path, raw, |text| {
                Responder::parse(text).map(drop).map_err(|wrong| wrong.to_string())
            }),
            Self::Subjects { with_qos } => {
                self.read_list(path, raw, |text| subjects::check(text, with_qos).map_err(str::to_owned))
            }
        }
    }

    /// A list of texts, or of one text those between its commas: a variable has no brackets.
    fn read_list(
        &self,
        path: &str,
        raw: &DeValue<'_>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Value, Mistake> {
        let is_one = matches!(self, Self::HostPort);
        let mut list = Vec::new();
        match raw {
            DeValue::String(text) if is_one && text.is_empty() => {}
            DeValue::String(text) if is_one => list.push(text.clone().into_owned()),
            DeValue::String(text) => {
                list.extend(text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned));
            }
            DeValue::Array(items) if !is_one => {
                for item in items {
                    let DeValue::String(text) = item.get_ref() else {
                        return Err(self.wrong_type(path, raw));
                    };
                    list.push(text.clone().into_owned());
                }
            }
            _ => return Err(self.wrong_type(path, raw)),
        }
        match list.iter().find_map(|text| Some((text, check(text).err()?))) {
            None if is_one => Ok(Value::Text(list.pop().unwrap_or_default())),
            None => Ok(Value::List(list)),
            Some((wrong, label)) => Err(Mistake {
                title: format!("`{}` does not take `{}`", path, wrong.escape_debug()),
                label,
                ..Mistake::default()
            }),
        }
    }

    fn read_integer(
        &self,
        path: &str,
        raw: &DeValue<'_>,
        range: RangeInclusive<u64>,
    ) -> Result<Value, Mistake> {
        let DeValue::Integer(digits) = raw else { return Err(self.wrong_type(path, raw)) };
        match integer(digits)
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| range.contains(number))
        {
            Some(number) => Ok(Value::Integer(number)),
            None => Err(Mistake {
                title: format!("`{path}` is out of range: {digits}"),
                label: format!("expected {} to {} ({})", range.start(), range.end(), self.unit()),
                ..Mistake::default()
            }),
        }
    }

    fn read_address(&self, path: &str, text: &str) -> Result<Value, Mistake> {
        address::parse(text).map(Value::Address).map_err(|wrong| Mistake {
            title: format!("`{path}` is not an address to listen on: `{text}`"),
            label: wrong.label(),
            help: Some(format!("write {}", self.expects())),
            replacement: wrong.replacement().map(|right| format!("\"{right}\"")),
        })
    }

    fn read_text(
        &self,
        path: &str,
        raw: &DeValue<'_>,
        check: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<Value, Mistake> {
        let DeValue::String(text) = raw else { return Err(self.wrong_type(path, raw)) };
        match check(text) {
            Ok(()) => Ok(Value::Text(text.clone().into_owned())),
            Err(refusal) => Err(Mistake {
                title: format!("`{}` does not take `{}`", path, text.escape_debug()),
                label: refusal.label,
                help: Some(format!("write {}", self.expects())),
                replacement: refusal.replacement.map(|right| format!("\"{right}\"")),
            }),
        }
    }

    fn wrong_type(&self, path: &str, raw: &DeValue<'_>) -> Mistake {
        // The frequent slip is a quoted number or truth value: offer it without its quotes.
        let bare = if let DeValue::String(text) = raw {
            let value = DeValue::parse(text).ok().filter(|bare| self.read(path, bare.get_ref()).is_ok());
            value.map(|_| text.to_string())
        } else {
            None
        };
        Mistake {
            title: format!("`{}` takes {}, not {}", path, self.noun(), describe(raw)),
            label: format!("expected {}", self.expects()),
            help: None,
            replacement: bare,
        }
    }

    fn unit(&self) -> &'static str {
        match self {
            Self::Integer { unit, .. } => unit,
            Self::Boolean { .. }
            | Self::Address { .. }
            | Self::LogFilter { .. }
            | Self::Name { .. }
            | Self::HostPort
            | Self::HostPorts
            | Self::Subjects { .. }
            | Self::Responders
            | Self::Choice { .. }
            | Self::Mountpoint { .. } => "",
        }
    }

    /// Whether any word is a value, so that `42` in a variable is the text "42" and not a number.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(
            self,
            Self::LogFilter { .. }
                | Self::Name { .. }
                | Self::HostPort
                | Self::Choice { .. }
                | Self::Mountpoint { .. }
        )
    }
}

/// A value that its key has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of an integer key.
    Integer(u64),
    /// Of a boolean key.
    Boolean(bool),
    /// Of an address key. `None` is "off".
    Address(Option<SocketAddr>),
    /// Of a text key.
    Text(String),
    /// Of a list key.
    List(Vec<String>),
}

impl Value {
    /// As it is written in the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Address(Some(address)) => format!("\"{address}\""),
            Self::Address(None) => "\"off\"".into(),
            Self::Text(text) => toml::Value::String(text.clone()).to_string(),
            Self::List(list) => {
                toml::Value::Array(list.iter().cloned().map(toml::Value::String).collect()).to_string()
            }
        }
    }
}

/// A field's type. `from_value` is only given what the field's own key has read, so that a mismatch is a
/// slip in the schema, which its tests find.
pub trait Setting {
    /// The field of a value.
    fn from_value(value: Value) -> Self;
    /// The value of a field.
    fn to_value(&self) -> Value;
}

macro_rules! integer_setting {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn from_value(value: Value) -> Self {
                let Value::Integer(number) = value else { unreachable!("an integer key reads integers") };
                Self::try_from(number).expect("the key's range fits the field")
            }

            fn to_value(&self) -> Value {
                Value::Integer(u64::try_from(*self).expect("no field is wider than 64 bits"))
            }
        }
    )+};
}

integer_setting!(u16, u32, usize);

impl Setting for bool {
    fn from_value(value: Value) -> Self {
        let Value::Boolean(flag) = value else { unreachable!("a boolean key reads booleans") };
        flag
    }

    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for Option<SocketAddr> {
    fn from_value(value: Value) -> Self {
        let Value::Address(address) = value else { unreachable!("an address key reads addresses") };
        address
    }

    fn to_value(&self) -> Value {
        Value::Address(*self)
    }
}

impl Setting for String {
    fn from_value(value: Value) -> Self {
        let Value::Text(text) = value else { unreachable!("a text key reads text") };
        text
    }

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl Setting for Vec<String> {
    fn from_value(value: Value) -> Self {
        let Value::List(list) = value else { unreachable!("a list key reads lists") };
        list
    }

    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }
}

/// What is wrong with a value, before it is known where the value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistake {
    /// The whole mistake in a line.
    pub title: String,
    /// What stands under the value: what was expected there.
    pub label: String,
    /// How to mend it, where the label does not say so already.
    pub help: Option<String>,
    /// What could stand in the value's place, as TOML.
    pub replacement: Option<String>,
}

/// Why a text is not a value of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What stands under the value.
    pub label: String,
    /// What was probably meant.
    pub replacement: Option<String>,
}

fn check_choice(text: &str, of: &[&str]) -> Result<(), Refusal> {
    if of.contains(&text) {
        return Ok(());
    }
    let meant = spelling::nearest(text, of.iter().copied());
    let label = meant.map_or("none of its words".into(), |meant| format!("did you mean `{meant}`?"));
    Err(Refusal { label, replacement: meant.map(Into::into) })
}

fn check_mountpoint(text: &str, separator: char) -> Result<(), Refusal> {
    Mountpoint::parse(text, separator)
        .map(drop)
        .map_err(|wrong| Refusal { label: wrong.label(), replacement: wrong.replacement() })
}

/// nats-server refuses blanks in its name as well: tools print names in columns.
fn check_name(text: &str) -> Result<(), Refusal> {
    let label = if text.is_empty() {
        "a name may not be empty"
    } else if text.chars().count() > 256 {
        "a name has at most 256 characters"
    } else if text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        "a name has no blanks and no control characters"
    } else {
        return Ok(());
    };
    Err(Refusal { label: label.into(), replacement: None })
}

/// `None` is a number beyond every range.
fn integer(digits: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(digits.as_str(), digits.radix()).ok()
}

fn describe(raw: &DeValue<'_>) -> String {
    match raw {
        DeValue::String(text) => format!("the string \"{}\"", text.escape_debug()),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the fraction {number}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a section".into(),
    }
}
