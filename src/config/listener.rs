//! Listeners beside the one that each protocol's `listen` is: `[nats.listeners.NAME]`. Their keys, once, with
//! name, type, default and documentation, as `schema` has those of everything else.

use std::net::SocketAddr;

use crate::config::key::Kind;
use crate::config::value::{Setting, Value};

/// The sections that may have listeners.
pub const SECTIONS: [&str; 2] = ["mqtt", "nats"];

/// How NATS clients spell topics.
pub const MAPPING: Kind = Kind::Choice { of: &["exact", EMQX], default: "exact" };

/// By EMQX's plain exchange.
pub const EMQX: &str = "emqx";

/// The name of the listener that `listen` is.
pub const FIRST: &str = "default";

/// One listener more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The protocol's section.
    pub section: &'static str,
    /// What the configuration calls it.
    pub name: String,
    /// Where clients connect. `None` is "off".
    pub bind: Option<SocketAddr>,
    /// Lets clients connect without credentials from other hosts.
    pub allow_anonymous: bool,
    /// The prefix of its clients' names; `None` where the section's counts.
    pub mountpoint: Option<String>,
    /// How its clients spell topics; `None` where the section's counts.
    pub mapping: Option<String>,
    /// What INFO gives as its address; empty for the one it listens on.
    pub advertise: String,
    /// Where its clients may go as well.
    pub connect_urls: Vec<String>,
    /// Connections of this listener; 0 for as many as all may have.
    pub max_connections: usize,
}

/// A key of every listener.
pub struct ListenerKey {
    /// Its name.
    pub name: &'static str,
    /// Its documentation, line by line.
    pub doc: &'static [&'static str],
    /// The one section whose listeners have it; `None` where all have.
    pub of: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// Reads its value; `None` where it has none of its own.
    pub get: fn(&Listener) -> Option<Value>,
    /// Replaces its value, which must be one that `kind` has read.
    pub set: fn(&mut Listener, Value),
}

/// All keys of a listener, in the order in which they are printed. Its address comes first.
pub static KEYS: [ListenerKey; 7] = [
    ListenerKey {
        name: "bind",
        doc: &["Where its clients connect. It must be given; \"off\" is nowhere."],
        of: None,
        kind: Kind::Address { default: "off" },
        get: |it| Some(it.bind.to_value()),
        set: |it, value| it.bind = Setting::from_value(value),
    },
    ListenerKey {
        name: "allow_anonymous",
        doc: &[
            "Lets clients connect without credentials from other hosts. Needed to listen anywhere but on",
            "loopback.",
        ],
        of: None,
        kind: Kind::Boolean { default: false },
        get: |it| Some(it.allow_anonymous.to_value()),
        set: |it, value| it.allow_anonymous = Setting::from_value(value),
    },
    ListenerKey {
        name: "mountpoint",
        doc: &["Of NATS alone. As the section's, whose place it takes for clients of this listener."],
        of: Some("nats"),
        kind: Kind::Mountpoint { separator: '.' },
        get: |it| it.mountpoint.clone().map(Value::Text),
        set: |it, value| it.mountpoint = Some(Setting::from_value(value)),
    },
    ListenerKey {
        name: "mapping",
        doc: &["Of NATS alone. As the section's, whose place it takes for clients of this listener."],
        of: Some("nats"),
        kind: MAPPING,
        get: |it| it.mapping.clone().map(Value::Text),
        set: |it, value| it.mapping = Some(Setting::from_value(value)),
    },
    ListenerKey {
        name: "advertise",
        doc: &[
            "Of NATS alone. The address that INFO gives its clients as this listener's. Empty: the one it listens",
            "on. The section's is for the listener that `listen` is.",
        ],
        of: Some("nats"),
        kind: Kind::HostPort,
        get: |it| Some(it.advertise.to_value()),
        set: |it, value| it.advertise = Setting::from_value(value),
    },
    ListenerKey {
        name: "connect_urls",
        doc: &[
            "Of NATS alone. The addresses that its clients may use as well: connect_urls in INFO. They go on there,",
            "so what listens there should have the same mountpoint. The section's are for the listener that `listen`",
            "is, and are not told to others.",
        ],
        of: Some("nats"),
        kind: Kind::HostPorts,
        get: |it| Some(it.connect_urls.to_value()),
        set: |it, value| it.connect_urls = Setting::from_value(value),
    },
    ListenerKey {
        name: "max_connections",
        doc: &["Connections of this listener. 0: as many as limits.connections_max lets in."],
        of: None,
        kind: Kind::integer(0, 0..=100_000_000, "connections"),
        get: |it| Some(it.max_connections.to_value()),
        set: |it, value| it.max_connections = Setting::from_value(value),
    },
];

/// The keys of a section's listeners.
pub fn keys(section: &str) -> impl Iterator<Item = &'static ListenerKey> {
    KEYS.iter().filter(move |key| key.of.is_none_or(|of| of == section))
}

impl Listener {
    /// One at which nothing is set.
    #[must_use]
    pub fn new(section: &'static str, name: &str) -> Self {
        Self {
            section,
            name: name.into(),
            bind: None,
            allow_anonymous: false,
            mountpoint: None,
            mapping: None,
            advertise: String::new(),
            connect_urls: Vec::new(),
            max_connections: 0,
        }
    }

    /// `section.listeners.name`.
    #[must_use]
    pub fn path(&self) -> String {
        path(self.section, &self.name)
    }
}

/// `section.listeners.name`.
#[must_use]
pub fn path(section: &str, name: &str) -> String {
    format!("{section}.listeners.{name}")
}

/// What is wrong with a listener's name, if anything.
#[must_use]
pub fn name_mistake(name: &str) -> Option<&'static str> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if name == FIRST {
        Some("that is the listener which `listen` of the section is: its keys stand in the section")
    } else if name.len() > 64 {
        Some("a listener's name has at most 64 characters")
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.chars().all(is_letter) {
        Some("a listener's name is letters, digits, `_` and `-`, a letter first")
    } else {
        None
    }
}
