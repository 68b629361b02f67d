//! The tables of listeners: `[nats.listeners.NAME]`.

use toml::Spanned;
use toml::de::DeValue;

use super::{Layers, Origin};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::listener::{self, Listener, ListenerKey};
use crate::config::reading::Mistake;
use crate::config::spelling;
use crate::config::value::Value;

impl Layers {
    pub(super) fn read_listeners(
        &mut self,
        section: &'static str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let DeValue::Table(listeners) = value.get_ref() else {
            let title = format!("`{section}.listeners` has listeners by their names");
            return self.found.push(no_table(section, "NAME", &title, name));
        };
        for (name, value) in listeners {
            let listener: &str = name.get_ref();
            if let Some(mistake) = listener::name_mistake(listener) {
                let title = format!("`{}` can't be a listener's name", listener.escape_debug());
                self.found.push(Diagnostic::new(Place::File(name.span()), title, mistake));
                continue;
            }
            let DeValue::Table(keys) = value.get_ref() else {
                let title = format!("`{}` is a listener, not a key", listener::path(section, listener));
                self.found.push(no_table(section, listener, &title, name));
                continue;
            };
            for (name, value) in keys {
                match listener::keys(section).find(|key| key.name == name.get_ref()) {
                    Some(key) => {
                        let origin = Origin::File(value.span());
                        self.read_listener_key(section, listener, key, value.get_ref(), origin);
                    }
                    None => self.found.push(unknown(section, listener, name)),
                }
            }
            if !keys.iter().any(|(name, _)| name.get_ref() == listener::KEYS[0].name) {
                let title = format!("`{}` does not say where it listens", listener::path(section, listener));
                let mut wrong = Diagnostic::new(Place::File(name.span()), title, "its `bind` is missing");
                wrong.help = Some("add `bind = \"127.0.0.1:PORT\"`, or \"off\"".into());
                self.found.push(wrong);
            }
        }
    }

    pub(super) fn read_listener_key(
        &mut self,
        section: &'static str,
        name: &str,
        key: &ListenerKey,
        raw: &DeValue<'_>,
        origin: Origin,
    ) {
        let path = format!("{}.{}", listener::path(section, name), key.name);
        self.set_listener_key(section, name, key, key.kind.read(&path, raw), origin);
    }

    /// Takes what was read for a listener's key, or notes why it is none.
    pub(super) fn set_listener_key(
        &mut self,
        section: &'static str,
        name: &str,
        key: &ListenerKey,
        read: Result<Value, Mistake>,
        origin: Origin,
    ) {
        let path = format!("{}.{}", listener::path(section, name), key.name);
        let listeners = &mut self.resolved.config.listeners;
        let is_it = |it: &Listener| (it.section, it.name.as_str()).cmp(&(section, name));
        let place = listeners.binary_search_by(is_it).unwrap_or_else(|place| {
            listeners.insert(place, Listener::new(section, name));
            place
        });
        let origins = &mut self.resolved.listener_origins;
        match read {
            Ok(value) => {
                (key.set)(&mut listeners[place], value);
                // A wrong value below is not mended by a right one above it.
                if origins.get(&path) != Some(&Origin::Refused) {
                    origins.insert(path, origin);
                }
            }
            Err(mistake) => {
                origins.insert(path, Origin::Refused);
                self.found.push(Diagnostic::of_value(origin.place(), mistake));
            }
        }
    }
}

fn no_table(section: &str, listener: &str, title: &str, at: &Spanned<impl AsRef<str>>) -> Diagnostic {
    let mut wrong = Diagnostic::new(Place::File(at.span()), title.into(), "a table, in brackets");
    wrong.help = Some(format!("write [{section}.listeners.{listener}] and its keys on the lines below"));
    wrong
}

fn unknown(section: &str, listener: &str, name: &Spanned<impl AsRef<str>>) -> Diagnostic {
    let unknown = name.get_ref().as_ref();
    let names: Vec<_> = listener::keys(section).map(|key| key.name).collect();
    let meant = spelling::nearest(unknown, names.iter().copied());
    let label = meant.map_or("not known".into(), |meant| format!("did you mean `{meant}`?"));
    let title = format!("unknown key `{unknown}` in [{}]", listener::path(section, listener));
    let mut wrong = Diagnostic::new(Place::File(name.span()), title, label);
    wrong.replacement = meant.map(Into::into);
    if meant.is_none() {
        wrong.help = Some(format!("a listener has {}", names.join(", ")));
    }
    wrong
}
