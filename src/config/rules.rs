//! What values must hold together, each of them being right by itself.

use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::load::{Origin, Resolved};

/// Reports every rule that does not hold. A rule about a value that was refused is not looked at.
pub(crate) fn check(resolved: &Resolved, found: &mut Vec<Diagnostic>) {
    found.extend(open_to_everybody(resolved, "mqtt"));
    found.extend(open_to_everybody(resolved, "nats"));
    found.extend(open_to_everybody(resolved, "admin"));
    for (one, other) in [("mqtt", "nats"), ("mqtt", "admin"), ("nats", "admin")] {
        found.extend(one_address_twice(resolved, one, other));
    }
    found.extend(nothing_to_listen_on(resolved));
    found.extend(payload_beyond_the_queue(resolved, "mqtt"));
    found.extend(payload_beyond_the_queue(resolved, "nats"));
}

/// Anybody could publish and subscribe: whoever wants that says so.
fn open_to_everybody(resolved: &Resolved, section: &str) -> Option<Diagnostic> {
    let config = &resolved.config;
    let (listen, allowed) = match section {
        "mqtt" => (config.mqtt.listen, config.mqtt.allow_anonymous),
        "nats" => (config.nats.listen, config.nats.allow_anonymous),
        _ => (config.admin.listen, config.admin.allow_anonymous),
    };
    let listen = listen.filter(|&listen| !allowed && !address::is_loopback(listen))?;
    let origin = origin(resolved, &format!("{section}.listen"))?;
    origin_is_known(resolved, &format!("{section}.allow_anonymous"))?;
    let title = format!("`{section}.listen` would let anybody in: {listen} can be reached from other hosts");
    let mut wrong = Diagnostic::new(origin.place(), title, "clients need no credentials here");
    let allow = match origin {
        Origin::Variable(_) => {
            format!("set STRAIT__{}__ALLOW_ANONYMOUS=true", section.to_ascii_uppercase())
        }
        Origin::Flag(_) => "add --allow-anonymous".into(),
        Origin::Default | Origin::File(_) | Origin::Refused => {
            format!("add `allow_anonymous = true` to [{section}]")
        }
    };
    wrong.help = Some(format!(
        "listen on loopback (127.0.0.1:{}), or {allow} if that is what you want",
        listen.port()
    ));
    Some(wrong)
}

fn one_address_twice(resolved: &Resolved, first: &str, second: &str) -> Option<Diagnostic> {
    let config = &resolved.config;
    let listen = |section: &str| match section {
        "mqtt" => config.mqtt.listen,
        "nats" => config.nats.listen,
        _ => config.admin.listen,
    };
    let (one, two) = (listen(first)?, listen(second)?);
    let (from_one, from_two) =
        (origin(resolved, &format!("{first}.listen"))?, origin(resolved, &format!("{second}.listen"))?);
    if !address::collide(one, two) {
        return None;
    }
    // The default cannot be wrong: the value to point at is the one that somebody gave.
    let (at, other) =
        if from_two == Origin::Default { (&from_one, &from_two) } else { (&from_two, &from_one) };
    let title = if one == two {
        format!("`{first}.listen` and `{second}.listen` are both {one}")
    } else {
        format!("`{first}.listen` ({one}) and `{second}.listen` ({two}) overlap")
    };
    let mut wrong = Diagnostic::new(at.place(), title, "each listener needs an address of its own");
    wrong.help = Some("give one of them another port, or \"off\"".into());
    if let (Place::File(_), Place::File(span)) = (at.place(), other.place()) {
        wrong.related = Some((span, "taken here".into()));
    }
    Some(wrong)
}

fn nothing_to_listen_on(resolved: &Resolved) -> Option<Diagnostic> {
    if resolved.config.mqtt.listen.is_some() || resolved.config.nats.listen.is_some() {
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
