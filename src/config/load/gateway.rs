//! The table `[gateway.nats]`: keys by the names that they have in EMQX's NATS gateway, with its spellings of
//! durations and sizes, for whoever comes from there. Each is a key of `[nats]` or of one of its listeners under
//! another name, so that giving both is a mistake.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Layers, Origin, find};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::listener::{self, FIRST, Listener};
use crate::config::reading::Mistake;
use crate::config::schema::KEYS;
use crate::config::spelling;
use crate::config::value::Value;

/// How a value is written there.
#[derive(Clone, Copy)]
enum Spelling {
    AsHere,
    /// Where `infinity` is 0 of here.
    Number,
    Duration,
    Size,
    /// With slashes between its tokens.
    Mountpoint,
    /// Whether clients must say who they are, the opposite of `allow_anonymous`. True promises what there is not.
    EnableAuthn,
}

/// Its name there, the key of `[nats]` that it is, and how it is written.
type Alias = (&'static str, &'static str, Spelling);

const KEYS_OF_GATEWAY: [Alias; 8] = [
    ("mountpoint", "mountpoint", Spelling::Mountpoint),
    // EMQX knows no other.
    ("mapping", "mapping", Spelling::AsHere),
    ("default_heartbeat_interval", "ping_interval_secs", Spelling::Duration),
    ("heartbeat_wait_timeout", "pong_timeout_secs", Spelling::Duration),
    ("max_payload_size", "payload_bytes_max", Spelling::Size),
    ("protocol.max_payload_size", "payload_bytes_max", Spelling::Size),
    ("server_id", "server_id", Spelling::AsHere),
    ("server_name", "server_name", Spelling::AsHere),
];

/// Of the listener that is called `default` there, and is `listen` here.
const KEYS_OF_FIRST: [Alias; 7] = [
    ("bind", "listen", Spelling::AsHere),
    ("max_connections", "max_connections", Spelling::Number),
    OWN_OF_FIRST[0],
    OWN_OF_FIRST[1],
    ("enable_authn", "allow_anonymous", Spelling::EnableAuthn),
    // EMQX knows neither.
    ("advertise", "advertise", Spelling::AsHere),
    ("connect_urls", "connect_urls", Spelling::AsHere),
];

/// Of these what that one has is its own: it takes the place of the section's for its clients alone.
const OWN_OF_FIRST: [Alias; 2] =
    [("mountpoint", "mountpoint", Spelling::Mountpoint), ("mapping", "mapping", Spelling::AsHere)];

/// Of every other listener.
const KEYS_OF_LISTENER: [Alias; 7] = [
    ("bind", "bind", Spelling::AsHere),
    ("max_connections", "max_connections", Spelling::Number),
    ("mountpoint", "mountpoint", Spelling::Mountpoint),
    ("mapping", "mapping", Spelling::AsHere),
    ("enable_authn", "allow_anonymous", Spelling::EnableAuthn),
    // EMQX knows neither.
    ("advertise", "advertise", Spelling::AsHere),
    ("connect_urls", "connect_urls", Spelling::AsHere),
];

/// What a key has there that nobody sets, where that is another value than here.
const DEFAULTS: [(&str, u64); 2] = [("ping_interval_secs", 30), ("pong_timeout_secs", 5)];

const GATEWAY: &str = "gateway.nats";

impl Layers {
    /// Reads `[gateway]`, after all else, so that a key that stands under both its names is seen.
    pub(super) fn read_gateway(&mut self, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let Some(gateways) = self.table("gateway", name, value) else { return };
        for (name, value) in gateways {
            if name.get_ref() != "nats" {
                self.not_known("gateway", name, &["nats"]);
                continue;
            }
            let Some(keys) = self.table(GATEWAY, name, value) else { continue };
            self.read_gateway_keys(GATEWAY, "", keys);
            self.read_own_of_first(keys);
            for (key, default) in DEFAULTS {
                let key_idx = find("nats", key).expect("it is one of the schema's");
                if *self.resolved.origin(key_idx) == Origin::Default {
                    self.set(key_idx, Value::Integer(default), Origin::File(name.span()));
                }
            }
        }
    }

    fn read_gateway_keys(&mut self, path: &str, prefix: &str, keys: &DeTable<'_>) {
        for (name, value) in keys {
            let known = format!("{prefix}{}", name.get_ref());
            match known.as_str() {
                "protocol" => {
                    let path = format!("{path}.protocol");
                    if let Some(keys) = self.table(&path, name, value) {
                        self.read_gateway_keys(&path, "protocol.", keys);
                    }
                }
                "listeners" => self.read_gateway_listeners(name, value),
                known => match KEYS_OF_GATEWAY.iter().find(|(alias, ..)| *alias == known) {
                    Some((_, key, spelling)) => {
                        let path = format!("{path}.{}", name.get_ref());
                        self.read_alias(&path, key, *spelling, value);
                    }
                    None if self.is_foreign(path, name, value) => {}
                    None => {
                        let names =
                            KEYS_OF_GATEWAY.iter().filter_map(|(alias, ..)| alias.strip_prefix(prefix));
                        self.not_known(path, name, &names.collect::<Vec<_>>());
                    }
                },
            }
        }
    }

    fn read_gateway_listeners(&mut self, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let path = format!("{GATEWAY}.listeners");
        let Some(kinds) = self.table(&path, name, value) else { return };
        let mut has_first = false;
        for (kind, value) in kinds {
            if kind.get_ref() != "tcp" {
                // TLS and WebSocket have listeners of their own there.
                if !self.is_foreign(&path, kind, value) {
                    self.not_known(&path, kind, &["tcp"]);
                }
                continue;
            }
            let path = format!("{path}.tcp");
            let Some(listeners) = self.table(&path, kind, value) else { continue };
            for (name, value) in listeners {
                let path = format!("{path}.{}", name.get_ref());
                let Some(keys) = self.table(&path, name, value) else { continue };
                has_first |= name.get_ref() == FIRST;
                self.read_gateway_listener(&path, name, keys);
            }
        }
        // There nothing listens that is not in this table.
        let listen = find("nats", "listen").expect("it is one of the schema's");
        if !has_first && *self.resolved.origin(listen) == Origin::Default {
            self.set(listen, Value::Address(None), Origin::File(name.span()));
        }
    }

    fn read_gateway_listener(&mut self, path: &str, name: &Spanned<impl AsRef<str>>, keys: &DeTable<'_>) {
        let listener = name.get_ref().as_ref();
        let is_first = listener == FIRST;
        if let (false, Some(mistake)) = (is_first, listener::name_mistake(listener)) {
            let title = format!("`{}` can't be a listener's name", listener.escape_debug());
            return self.found.push(Diagnostic::new(Place::File(name.span()), title, mistake));
        }
        let aliases = if is_first { &KEYS_OF_FIRST } else { &KEYS_OF_LISTENER };
        for (name, value) in keys {
            let Some((alias, key, spelling)) = aliases.iter().find(|(alias, ..)| *alias == name.get_ref())
            else {
                if !self.is_foreign(path, name, value) {
                    self.not_known(path, name, &aliases.map(|(alias, ..)| alias));
                }
                continue;
            };
            let path = format!("{path}.{alias}");
            if is_first && OWN_OF_FIRST.iter().any(|(own, ..)| own == alias) {
                // When all else is read, that of the section among it.
            } else if is_first {
                self.read_alias(&path, key, *spelling, value);
            } else {
                self.read_listener_alias(&path, listener, key, *spelling, value);
            }
        }
        if !keys.iter().any(|(name, _)| name.get_ref() == "bind") {
            let title = format!("`{path}` does not say where it listens");
            let mut wrong = Diagnostic::new(Place::File(name.span()), title, "its `bind` is missing");
            wrong.help = Some("add `bind = \"127.0.0.1:PORT\"`".into());
            self.found.push(wrong);
        }
    }

    /// Reads what the listener `default` has in the section's place. Here that place is the section's key, so the
    /// other listeners are given what the section had there.
    fn read_own_of_first(&mut self, keys: &DeTable<'_>) {
        let first = ["listeners", "tcp", FIRST].into_iter().try_fold(keys, |table, name| {
            if let DeValue::Table(table) = table.get(name)?.get_ref() { Some(table) } else { None }
        });
        for (alias, key, spelling) in OWN_OF_FIRST {
            let Some(value) = first.and_then(|keys| keys.get(alias)) else { continue };
            let key_idx = find("nats", key).expect("it is one of the schema's");
            let is_ours = !self.resolved.spellings.contains_key(&format!("nats.{key}"));
            // Given in `[nats]` it is that listener's own there, and twice is too much.
            if !is_ours || *self.resolved.origin(key_idx) == Origin::Default {
                self.hand_down(key_idx);
            }
            self.read_alias(&format!("{GATEWAY}.listeners.tcp.{FIRST}.{alias}"), key, spelling, value);
        }
    }

    /// Gives the section's value of a key to the listeners that have none of their own, and takes it from the section.
    fn hand_down(&mut self, key_idx: usize) {
        let key = &KEYS[key_idx];
        let value = (key.get)(&self.resolved.config);
        let origin = self.resolved.origins[key_idx].clone();
        let own = listener::keys("nats").find(|own| own.name == key.name).expect("it is a listener's");
        let without = |it: &&Listener| it.section == "nats" && (own.get)(it).is_none();
        let listeners = &self.resolved.config.listeners;
        let names: Vec<_> = listeners.iter().filter(without).map(|it| it.name.clone()).collect();
        let spelling = self.resolved.spellings.remove(&key.path());
        for name in names {
            let path = format!("{}.{}", listener::path("nats", &name), key.name);
            self.resolved.spellings.extend(spelling.clone().map(|spelling| (path, spelling)));
            self.set_listener_key("nats", &name, own, Ok(value.clone()), origin.clone());
        }
        if origin != Origin::Refused {
            self.resolved.origins[key_idx] = Origin::Default;
        }
    }

    fn read_alias(&mut self, path: &str, key: &str, spelling: Spelling, value: &Spanned<DeValue<'_>>) {
        let key_idx = find("nats", key).expect("it is one of the schema's");
        let origin = self.resolved.origin(key_idx).clone();
        if self.is_given_twice(path, &format!("nats.{key}"), &origin, value) {
            return;
        }
        let origin = Origin::File(value.span());
        self.resolved.spellings.insert(format!("nats.{key}"), path.into());
        match here(path, spelling, value.get_ref(), |raw| KEYS[key_idx].kind.read(path, raw)) {
            Ok(read) => self.set(key_idx, read, origin),
            Err(mistake) => {
                self.resolved.origins[key_idx] = Origin::Refused;
                self.found.push(Diagnostic::of_value(origin.place(), mistake));
            }
        }
    }

    fn read_listener_alias(
        &mut self,
        path: &str,
        listener: &str,
        key: &str,
        spelling: Spelling,
        value: &Spanned<DeValue<'_>>,
    ) {
        let own = format!("{}.{key}", listener::path("nats", listener));
        let origin = self.resolved.origin_of(&own).clone();
        if self.is_given_twice(path, &own, &origin, value) {
            return;
        }
        self.resolved.spellings.insert(own, path.into());
        let key = listener::keys("nats").find(|it| it.name == key).expect("it is a listener's");
        let read = here(path, spelling, value.get_ref(), |raw| key.kind.read(path, raw));
        self.set_listener_key("nats", listener, key, read, Origin::File(value.span()));
    }

    /// Whether `own`, which is the same key, is set by the file as well, and both are named.
    fn is_given_twice(
        &mut self,
        path: &str,
        own: &str,
        origin: &Origin,
        value: &Spanned<DeValue<'_>>,
    ) -> bool {
        let Origin::File(span) = origin else { return false };
        // As it is written there, which may be another of EMQX's names for it.
        let own = self.resolved.spellings.get(own).map_or(own, String::as_str);
        let title = format!("`{path}` and `{own}` are one key, and both are given");
        let mut wrong = Diagnostic::new(Place::File(value.span()), title, "leave one of them out");
        wrong.related = Some((span.clone(), "given here".into()));
        self.found.push(wrong);
        true
    }

    fn table<'v, 't>(
        &mut self,
        path: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &'v Spanned<DeValue<'t>>,
    ) -> Option<&'v DeTable<'t>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        let title = format!("`{path}` is a section, not a key");
        let mut wrong = Diagnostic::new(Place::File(name.span()), title, "a table, in brackets");
        wrong.help = Some(format!("write [{path}] and its keys on the lines below"));
        self.found.push(wrong);
        None
    }

    /// Whether it is a key of EMQX's that is nothing here, which is then said, unless its value changes nothing.
    fn is_foreign(
        &mut self,
        path: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> bool {
        let Some(key) = foreign::find(name.get_ref().as_ref()) else { return false };
        if !key.takes(value.get_ref()) {
            let title = format!("`{path}.{}` of EMQX's is not supported", name.get_ref().as_ref());
            let mut wrong = Diagnostic::new(Place::File(name.span()), title, "this would have no effect");
            wrong.help = Some(key.why.into());
            self.found.push(wrong);
        }
        true
    }

    fn not_known(&mut self, path: &str, name: &Spanned<impl AsRef<str>>, known: &[&str]) {
        let unknown = name.get_ref().as_ref();
        let meant = spelling::nearest(unknown, known.iter().copied());
        let label = meant.map_or("not known".into(), |meant| format!("did you mean `{meant}`?"));
        let title = format!("unknown key `{unknown}` in [{path}]");
        let mut wrong = Diagnostic::new(Place::File(name.span()), title, label);
        wrong.replacement = meant.map(Into::into);
        if meant.is_none() {
            wrong.help = Some(format!("of EMQX's keys there is here {}", known.join(", ")));
        }
        self.found.push(wrong);
    }
}

/// Reads a value in the words of here.
fn here(
    path: &str,
    spelling: Spelling,
    raw: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<Value, Mistake>,
) -> Result<Value, Mistake> {
    let number = |number: u64| {
        let digits = number.to_string();
        read(DeValue::parse(&digits).expect("digits are an integer").get_ref())
    };
    let wrong = |what: &str, label: &str| {
        let title = format!("`{path}` takes {what}");
        Err(Mistake { title, label: label.into(), ..Mistake::default() })
    };
    match (spelling, raw) {
        (Spelling::Duration, raw) => {
            let secs = if let DeValue::String(text) = raw { seconds(text) } else { None };
            match secs {
                Some(secs) => number(secs),
                None => wrong(
                    "a duration of whole seconds",
                    "a number and its unit (s, m, h, d), such as \"30s\"",
                ),
            }
        }
        (Spelling::Number, DeValue::String(text)) if text == "infinity" => number(0),
        (Spelling::Size, DeValue::String(text)) => match bytes(text) {
            Some(n) => number(n),
            None => wrong("a size", "a number of bytes, or of KB, MB or GB, such as \"1MB\""),
        },
        (Spelling::Mountpoint, DeValue::String(text)) => {
            read(&DeValue::String(text.replace('/', ".").into()))
        }
        (Spelling::EnableAuthn, DeValue::Boolean(false)) => read(&DeValue::Boolean(true)),
        (Spelling::EnableAuthn, DeValue::Boolean(true)) => Err(Mistake {
            title: format!("`{path}` can't be true: there is no authentication yet"),
            label: "clients would come in without a check of who they are".into(),
            help: Some(
                "leave it out and listen on loopback, or write `enable_authn = false` to let anybody in"
                    .into(),
            ),
            ..Mistake::default()
        }),
        (
            Spelling::AsHere
            | Spelling::Number
            | Spelling::Size
            | Spelling::Mountpoint
            | Spelling::EnableAuthn,
            raw,
        ) => read(raw),
    }
}

/// `1h30m` in seconds; a unit for each number.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let unit_len = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(factor)?)?;
        rest = after;
    }
    let is_whole = !text.trim().is_empty() && millis.is_multiple_of(1_000);
    is_whole.then_some(millis / 1_000)
}

/// `1MB` in bytes; units are powers of 1,024, as in EMQX.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    let factor = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The number at the front, and what follows.
fn number(text: &str) -> Option<(u64, &str)> {
    let n_digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(n_digits);
    Some((digits.parse().ok()?, rest))
}

mod foreign;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{File, load};
    use crate::config::schema::Config;

    fn read(text: &str) -> Result<Config, String> {
        let file = File { name: "strait.toml".into(), text: text.into() };
        load(Some(&file), [], &[]).map_err(|wrong| wrong.render(false))
    }

    fn expect_refused(text: &str, said: &[&str]) {
        let wrong = read(text).unwrap_err();
        for said in said {
            assert!(wrong.contains(said), "{said} is not in\n{wrong}");
        }
    }

    #[test]
    fn the_keys_of_emqx_are_keys_of_ours() {
        let text = "[gateway.nats]\nmountpoint = \"plant/${username}/\"\ndefault_heartbeat_interval = \"1m30s\"\n\
                    heartbeat_wait_timeout = \"7s\"\nprotocol.max_payload_size = \"2MB\"\nserver_id = \"one\"\n\
                    server_name = \"two\"\n[gateway.nats.listeners.tcp.default]\nbind = \"127.0.0.1:4222\"\n\
                    max_connections = 9\n[gateway.nats.listeners.tcp.edge]\nbind = \"0.0.0.0:4223\"\n\
                    enable_authn = false\nmountpoint = \"e/\"\nmapping = \"emqx\"\nmax_connections = 8\n\
                    advertise = \"edge.example:1\"\nconnect_urls = [\"b.example:1\"]\n";
        let config = read(text).unwrap();
        let nats = &config.nats;
        assert_eq!((nats.mountpoint.as_str(), nats.payload_bytes_max), ("plant.${username}.", 2 << 20));
        assert_eq!((nats.ping_interval_secs, nats.pong_timeout_secs), (90, 7));
        assert_eq!((nats.server_id.as_str(), nats.server_name.as_str()), ("one", "two"));
        assert_eq!((nats.listen, nats.max_connections), ("127.0.0.1:4222".parse().ok(), 9));
        let [edge] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
        assert_eq!((edge.name.as_str(), edge.bind), ("edge", "0.0.0.0:4223".parse().ok()));
        assert_eq!((edge.allow_anonymous, edge.max_connections), (true, 8));
        assert_eq!((edge.mountpoint.as_deref(), edge.mapping.as_deref()), (Some("e."), Some("emqx")));
        assert_eq!(
            (edge.advertise.as_str(), edge.connect_urls.join(" ")),
            ("edge.example:1", "b.example:1".into())
        );
        assert_eq!(
            (nats.mapping.as_str(), nats.advertise.as_str(), nats.connect_urls.len()),
            ("exact", "", 0)
        );
    }

    #[test]
    fn the_first_listener_s_own_mountpoint_and_mapping_are_its_alone() {
        let listeners = "[gateway.nats.listeners.tcp.default]\nbind = 1\nmountpoint = \"own/\"\nmapping = \"exact\"\n\
                         [gateway.nats.listeners.tcp.a]\nbind = 2\n\
                         [gateway.nats.listeners.tcp.b]\nbind = 3\nmountpoint = \"b/\"\nmapping = \"exact\"\n";
        for (section, of_section) in [
            ("[gateway.nats]\nmountpoint = \"plant/\"\nmapping = \"emqx\"\n", ("plant.", "emqx")),
            ("[gateway.nats]\nmapping = \"emqx\"\n", ("", "emqx")),
            ("", ("", "exact")),
        ] {
            let config = read(&format!("{section}{listeners}")).unwrap();
            assert_eq!((config.nats.mountpoint.as_str(), config.nats.mapping.as_str()), ("own.", "exact"));
            let others = config.listeners.iter().map(|it| (it.mountpoint.as_deref(), it.mapping.as_deref()));
            let of_section = (Some(of_section.0), Some(of_section.1));
            assert_eq!(others.collect::<Vec<_>>(), [of_section, (Some("b."), Some("exact"))], "{section}");
        }
        // What it does not have itself it has of the section, and so have they.
        let text = "[gateway.nats]\nmountpoint = \"plant/\"\n[gateway.nats.listeners.tcp.default]\nbind = 1\n\
                    [gateway.nats.listeners.tcp.a]\nbind = 2\n";
        let config = read(text).unwrap();
        assert_eq!((config.nats.mountpoint.as_str(), &config.listeners[0].mountpoint), ("plant.", &None));
    }

    #[test]
    fn what_promises_more_than_there_is_is_refused_with_what_there_is() {
        for (text, said) in [
            (
                "[gateway.nats.listeners.ssl.a]\nbind = 1\n",
                &["`gateway.nats.listeners.ssl` of EMQX's is not supported", "no TLS yet"][..],
            ),
            ("[gateway.nats.listeners.udp.a]\nbind = 1\n", &["unknown key `udp`", "tcp"]),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\nenable_authn = true\n",
                &["`gateway.nats.listeners.tcp.a.enable_authn` can't be true", "strait.toml:3:16"],
            ),
            (
                "[gateway.nats.listeners.tcp.default]\nbind = 1\nenable_authn = true\n",
                &["`gateway.nats.listeners.tcp.default.enable_authn` can't be true", "no authentication yet"],
            ),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\nenable_authn = 1\n",
                &["`gateway.nats.listeners.tcp.a.enable_authn` takes true or false"],
            ),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = \"0.0.0.0:1\"\n",
                &[
                    "`gateway.nats.listeners.tcp.a.bind` would let anybody in",
                    "add `enable_authn = false` to [gateway.nats.listeners.tcp.a]",
                ],
            ),
            (
                "[gateway.nats.listeners.tcp.default]\nbind = \"0.0.0.0:1\"\n",
                &["add `enable_authn = false` to [gateway.nats.listeners.tcp.default]"],
            ),
            (
                "[gateway.nats.listeners.tcp.default]\nbind = 1883\n",
                &["`mqtt.listen` and `gateway.nats.listeners.tcp.default.bind` are both 127.0.0.1:1883"],
            ),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\naccess_rules = [\"deny all\"]\n",
                &["`gateway.nats.listeners.tcp.a.access_rules` of EMQX's", "no address is denied"],
            ),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\nproxy_protocol = true\n",
                &["proxy_protocol` of EMQX's is not supported"],
            ),
            ("[gateway.nats]\nenable = false\n", &["`gateway.nats.enable` of EMQX's", "leave it out"]),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\nmax_conn_rate = \"1000/s\"\n",
                &["max_conn_rate` of EMQX's is not supported", "limits.connection_rate_per_core_max"],
            ),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\nmessages_rate = \"10/s\"\nbytes_rate = \"1MB/s\"\n",
                &["nats.publish_rate_max", "nats.publish_bytes_rate_max"],
            ),
            (
                "[gateway.nats.listeners.tcp.a]\nbind = 1\nmax_connections = \"many\"\n",
                &["`gateway.nats.listeners.tcp.a.max_connections` takes an integer"],
            ),
            ("[gateway.nats.authentication]\nmechanism = \"jwt\"\n", &["there is no authentication yet"]),
        ] {
            expect_refused(text, said);
        }
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        let text = "[gateway.nats]\nenable = true\nenable_stats = true\n[gateway.nats.listeners.tcp.default]\n\
                    bind = 1\nenable = true\nacceptors = 16\nproxy_protocol = false\n\
                    proxy_protocol_timeout = \"3s\"\naccess_rules = [\"allow all\"]\nmax_conn_rate = \"infinity\"\n";
        let mut expected = read("[gateway.nats.listeners.tcp.default]\nbind = 1\n").unwrap();
        assert_eq!(read(text).unwrap(), expected);
        // On loopback nobody need be asked for more.
        expected.nats.allow_anonymous = true;
        let text = "[gateway.nats.listeners.tcp.default]\nbind = 1\nenable_authn = false\n";
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn as_many_connections_as_there_may_be_are_no_limit_of_a_listener() {
        for name in [FIRST, "edge"] {
            let listener =
                |max| format!("[gateway.nats.listeners.tcp.{name}]\nbind = 1\nmax_connections = {max}\n");
            assert_eq!(read(&listener("\"infinity\"")).unwrap(), read(&listener("0")).unwrap());
            assert_ne!(read(&listener("\"infinity\"")).unwrap(), read(&listener("1")).unwrap());
        }
    }

    #[test]
    fn an_empty_table_has_the_defaults_of_emqx() {
        let config = read("[gateway.nats]\n").unwrap();
        assert_eq!((config.nats.ping_interval_secs, config.nats.pong_timeout_secs), (30, 5));
        assert_eq!(config.nats.listen, Config::default().nats.listen);
        let config =
            read("[nats]\nping_interval_secs = 9\n[gateway.nats]\nmax_payload_size = 4096\n").unwrap();
        assert_eq!((config.nats.ping_interval_secs, config.nats.payload_bytes_max), (9, 4_096));
        let config = read("[gateway.nats.listeners.tcp.a]\nbind = \"127.0.0.1:20243\"\n").unwrap();
        assert_eq!((config.nats.listen, config.listeners.len()), (None, 1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_would_be_right() {
        for (text, said) in [
            (
                "[nats]\nserver_name = \"a\"\n[gateway.nats]\nserver_name = \"b\"\n",
                &[
                    "`gateway.nats.server_name` and `nats.server_name` are one key",
                    "strait.toml:4:15",
                    "given here",
                ][..],
            ),
            (
                "[nats.listeners.a]\nbind = 1\n[gateway.nats.listeners.tcp.a]\nbind = 2\n",
                &["`gateway.nats.listeners.tcp.a.bind` and `nats.listeners.a.bind` are one key"],
            ),
            (
                "[gateway.nats]\nmax_payload_size = 4096\nprotocol.max_payload_size = 4096\n",
                &["`gateway.nats.protocol.max_payload_size` and `gateway.nats.max_payload_size` are one key"],
            ),
            (
                "[nats]\nmountpoint = \"a\"\n[gateway.nats.listeners.tcp.default]\nbind = 1\nmountpoint = \"b\"\n",
                &[
                    "`gateway.nats.listeners.tcp.default.mountpoint` and `nats.mountpoint` are one key",
                    "strait.toml:5:14",
                    "given here",
                ],
            ),
            (
                "[gateway.nats]\nmountpoint = \"a b\"\n[gateway.nats.listeners.tcp.default]\nbind = 1\nmountpoint = \"b\"\n",
                &["strait.toml:2:14"],
            ),
            ("[gateway.nats]\nheartbeat_wait_timeot = \"5s\"\n", &["did you mean `heartbeat_wait_timeout`?"]),
            (
                "[gateway.nats]\nidle_timeout = \"5s\"\n",
                &[
                    "`gateway.nats.idle_timeout` of EMQX's is not supported",
                    "would have no effect",
                    "CONNECT",
                ],
            ),
            ("[gateway.nats]\nzzz = 1\n", &["unknown key `zzz` in [gateway.nats]", "EMQX's keys"]),
            (
                "[gateway.nats]\nheartbeat_wait_timeout = \"500ms\"\n",
                &["takes a duration of whole seconds", "\"30s\""],
            ),
            ("[gateway.nats]\nheartbeat_wait_timeout = 5000\n", &["takes a duration of whole seconds"]),
            (
                "[gateway.nats]\ndefault_heartbeat_interval = \"2d\"\n",
                &["is out of range: 172800", "seconds"],
            ),
            ("[gateway.nats]\nmax_payload_size = \"1XB\"\n", &["takes a size"]),
            ("[gateway.nats]\nmax_payload_size = \"1GB\"\n", &["is out of range: 1073741824"]),
            ("[gateway.stomp]\n", &["unknown key `stomp` in [gateway]"]),
            ("[gateway.nats.listeners.tcp.a]\nmax_connections = 1\n", &["its `bind` is missing"]),
            ("gateway = 1\n", &["`gateway` is a section"]),
        ] {
            expect_refused(text, said);
        }
    }

    #[test]
    fn durations_and_sizes_are_read_as_emqx_reads_them() {
        assert_eq!(["30s", "1m", "1h30m", "1d", "1000ms"].map(seconds), [30, 60, 5_400, 86_400, 1].map(Some));
        assert_eq!(["", "30", "s", "1w", "1ms", "-1s", "99999999999999999999s"].map(seconds), [None; 7]);
        assert_eq!(["1", "1b", "2KB", "1MB", "1gb"].map(bytes), [1, 1, 2_048, 1 << 20, 1 << 30].map(Some));
        assert_eq!(["", "MB", "1 MB", "1TB", "1.5MB"].map(bytes), [None; 5]);
    }
}
