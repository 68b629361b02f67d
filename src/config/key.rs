//! One key: what kind of value it takes. Not how a value is read, which is `reading`, nor the list of keys, which
//! is `schema`.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use crate::config::address;
use crate::config::reading::Mistake;
use crate::config::schema::Config;
use crate::config::value::Value;

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
    pub(super) fn noun(&self) -> &'static str {
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

    pub(super) fn unit(&self) -> &'static str {
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
