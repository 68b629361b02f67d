//! What values must hold together, each of them being right by itself.

use std::net::SocketAddr;

use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::load::{Origin, Resolved};
use crate::config::schema::Config;

/// Reports every rule that does not hold. A rule about a value that was refused is not looked at.
pub(crate) fn check(resolved: &Resolved, found: &mut Vec<Diagnostic>) {
    let listeners = listeners(&resolved.config);
    found.extend(listeners.iter().filter_map(|one| open_to_everybody(resolved, one)));
    for (idx, two) in listeners.iter().enumerate() {
        found.extend(listeners[..idx].iter().filter_map(|one| one_address_twice(resolved, one, two)));
    }
    found.extend(nothing_to_listen_on(resolved, &listeners));
    found.extend(payload_beyond_the_queue(resolved, "mqtt"));
    found.extend(payload_beyond_the_queue(resolved, "nats"));
}

/// What is the same about all that listens.
struct Listening {
    /// Where its keys stand.
    table: String,
    /// The key with its address.
    path: String,
    address: Option<SocketAddr>,
    allows_anonymous: bool,
}

/// All that listens, each protocol's first listener and the admin's among them.
fn listeners(config: &Config) -> Vec<Listening> {
    let of_section = |section: &str, address, allows_anonymous| Listening {
        table: section.into(),
        path: format!("{section}.listen"),
        address,
        allows_anonymous,
    };
    let mut all = vec![
        of_section("mqtt", config.mqtt.listen, config.mqtt.allow_anonymous),
        of_section("nats", config.nats.listen, config.nats.allow_anonymous),
        of_section("admin", config.admin.listen, config.admin.allow_anonymous),
    ];
    all.extend(config.listeners.iter().map(|it| Listening {
        table: it.path(),
        path: format!("{}.bind", it.path()),
        address: it.bind,
        allows_anonymous: it.allow_anonymous,
    }));
    all
}

/// Anybody could publish and subscribe: whoever wants that says so.
fn open_to_everybody(resolved: &Resolved, listening: &Listening) -> Option<Diagnostic> {
    let Listening { table, path, address, allows_anonymous } = listening;
    let listen = address.filter(|&listen| !allows_anonymous && !address::is_loopback(listen))?;
    let origin = origin(resolved, path)?;
    origin_is_known(resolved, &format!("{table}.allow_anonymous"))?;
    let name = resolved.name_of(path);
    let title = format!("`{name}` would let anybody in: {listen} can be reached from other hosts");
    let mut wrong = Diagnostic::new(origin.place(), title, "clients need no credentials here");
    let allow = match origin {
        Origin::Variable(_) => {
            format!("set STRAIT__{}__ALLOW_ANONYMOUS=true", table.replace('.', "__").to_ascii_uppercase())
        }
        Origin::Flag(_) => "add --allow-anonymous".into(),
        Origin::Default | Origin::File(_) | Origin::Refused => match name.strip_suffix(".bind") {
            Some(foreign) if name != path => format!("add `enable_authn = false` to [{foreign}]"),
            Some(_) | None => format!("add `allow_anonymous = true` to [{table}]"),
        },
    };
    wrong.help = Some(format!(
        "listen on loopback (127.0.0.1:{}), or {allow} if that is what you want",
        listen.port()
    ));
    Some(wrong)
}

fn one_address_twice(resolved: &Resolved, first: &Listening, second: &Listening) -> Option<Diagnostic> {
    let (one, two) = (first.address?, second.address?);
    let (from_one, from_two) = (origin(resolved, &first.path)?, origin(resolved, &second.path)?);
    if !address::collide(one, two) {
        return None;
    }
    // The default cannot be wrong: the value to point at is the one that somebody gave.
    let (at, other) =
        if from_two == Origin::Default { (&from_one, &from_two) } else { (&from_two, &from_one) };
    let (first, second) = (resolved.name_of(&first.path), resolved.name_of(&second.path));
    let title = if one == two {
        format!("`{first}` and `{second}` are both {one}")
    } else {
        format!("`{first}` ({one}) and `{second}` ({two}) overlap")
    };
    let mut wrong = Diagnostic::new(at.place(), title, "each listener needs an address of its own");
    wrong.help = Some("give one of them another port, or \"off\"".into());
    if let (Place::File(_), Place::File(span)) = (at.place(), other.place()) {
        wrong.related = Some((span, "taken here".into()));
    }
    Some(wrong)
}

fn nothing_to_listen_on(resolved: &Resolved, listeners: &[Listening]) -> Option<Diagnostic> {
    if listeners.iter().any(|it| it.table != "admin" && it.address.is_some()) {
        return None;
    }
    let origin = origin(resolved, "mqtt.listen")?;
    let title = "`mqtt.listen` and `nats.listen` are both off".to_owned();
    Some(Diagnostic::new(origin.place(), title, "at least one listener is needed"))
}

/// Such a message would count every one of its subscribers as a slow consumer.
fn payload_beyond_the_queue(resolved: &Resolved, section: &str) -> Option<Diagnostic> {
    let config = &resolved.config;
    let payload =
        if section == "mqtt" { config.mqtt.payload_bytes_max } else { config.nats.payload_bytes_max };
    let queue = config.limits.write_queue_bytes_max;
    let path = format!("{section}.payload_bytes_max");
    let (of_payload, of_queue) =
        (origin(resolved, &path)?, origin(resolved, "limits.write_queue_bytes_max")?);
    if payload <= queue {
        return None;
    }
    let at = if of_queue == Origin::Default { of_payload } else { of_queue };
    let title = format!("`{path}` ({payload}) is more than `limits.write_queue_bytes_max` ({queue})");
    Some(Diagnostic::new(at.place(), title, "a message of that size could not be delivered to anybody"))
}

/// Who gave the value, if it is a right one.
fn origin(resolved: &Resolved, path: &str) -> Option<Origin> {
    Some(resolved.origin_of(path).clone()).filter(|origin| *origin != Origin::Refused)
}

fn origin_is_known(resolved: &Resolved, path: &str) -> Option<()> {
    origin(resolved, path).map(drop)
}
