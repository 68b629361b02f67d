//! `strait map`: what a name of one world is called in the other, or why it has no name there. The mapping
//! itself is `subject`'s; here are the words of whoever asks.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;

use crate::cli::Map;
use crate::mqtt::share::Wanted;
use crate::subject::mapping::{
    NoTopic, TOPIC_BYTES_MAX, find_topic, find_topic_filter, map_topic_filter, topic_to_subject,
};
use crate::subject::view::{Mapping, Unseen, View};
use crate::subject::{SubjectFilter, emqx};

/// What is said of the first such line.
const RETURN: &str =
    "the line ends with a carriage return, which is part of the name here (tr -d '\\r' takes it off)";

/// Why a name has no counterpart.
type Reason = String;

/// Answers each name that is asked for; says whether all have a counterpart.
pub fn answer(
    asked: &Map,
    input: &mut impl BufRead,
    out: &mut impl Write,
    complaints: &mut impl Write,
) -> io::Result<bool> {
    let end = if asked.null { 0 } else { b'\n' };
    let translate = |name: &[u8]| {
        if asked.subject { topic_of(name, asked.emqx) } else { subject_of(name, asked.emqx) }
    };
    let (mut all_have_one, mut has_returns) = (true, false);
    let mut tell = |name: &[u8], is_line: bool| {
        // It may belong to the name, and is never taken off: a file of Windows' is more likely.
        if is_line && name.ends_with(b"\r") && !std::mem::replace(&mut has_returns, true) {
            writeln!(complaints, "warning: `{}`: {RETURN}", shown(name))?;
        }
        let mut line = match translate(name) {
            Ok(found) => found,
            Err(reason) => {
                all_have_one = false;
                writeln!(complaints, "error: `{}`: {reason}", shown(name))?;
                Vec::new()
            }
        };
        line.push(end);
        out.write_all(&line)
    };
    for name in &asked.names {
        if name == "-" {
            let mut line = Vec::new();
            while input.read_until(end, &mut line)? > 0 {
                tell(line.strip_suffix(&[end]).unwrap_or(&line), !asked.null)?;
                line.clear();
            }
        } else {
            tell(name.as_bytes(), false)?;
        }
    }
    out.flush()?;
    Ok(all_have_one)
}

/// A name on one line, whatever is in it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// The subject of a topic, or the filters of a topic filter.
fn subject_of(topic: &[u8], is_emqx: bool) -> Result<Vec<u8>, Reason> {
    if topic.is_empty() {
        return Err("MQTT has no empty topic".into());
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(format!("a topic has at most {TOPIC_BYTES_MAX} bytes, this has {}", topic.len()));
    }
    if std::str::from_utf8(topic).is_err() {
        return Err("a topic is UTF-8 text".into());
    }
    if topic.contains(&0) {
        return Err("a topic has no NUL".into());
    }
    let shared = || "a shared subscription is `$share/NAME/FILTER`, with no wildcard in NAME".to_owned();
    let wanted = Wanted::parse(topic).map_err(|_| shared())?;
    let is_filter = wanted.group.is_some() || topic.iter().any(|byte| matches!(byte, b'+' | b'#'));
    let mut out = Vec::new();
    if !is_filter {
        topic_to_subject(topic, &mut out);
        return if is_emqx { emqx_subject_of(&out) } else { Ok(out) };
    }
    if wanted.group.is_some_and(|name| name.iter().any(is_blank)) {
        return Err("no queue group of NATS has a blank in its name".into());
    }
    let mapped = map_topic_filter(wanted.filter)
        .map_err(|_| "`+` and `#` are whole levels, and `#` is the last".to_owned())?;
    if is_emqx {
        out = emqx_filter_of(wanted.filter)?;
        out.extend(wanted.group.iter().flat_map(|name| [b" ", *name].concat()));
        return Ok(out);
    }
    for (idx, filter) in [Some(mapped.filter), mapped.parent].iter().flatten().enumerate() {
        if idx > 0 {
            out.push(b'\t');
        }
        out.extend_from_slice(filter.as_bytes());
        if let Some(name) = wanted.group {
            out.push(b' ');
            out.extend_from_slice(name);
        }
    }
    Ok(out)
}

/// The topic of a subject, or the topic filter of a subject filter.
fn topic_of(subject: &[u8], is_emqx: bool) -> Result<Vec<u8>, Reason> {
    let (subject, queue) = match subject.iter().position(|byte| *byte == b' ') {
        Some(at) => (&subject[..at], Some(&subject[at + 1..])),
        None => (subject, None),
    };
    let no_topic = |reason| format!("no topic has this subject: {reason}");
    let filter = SubjectFilter::parse(subject).map_err(|_| {
        let says_more = subject.split(|byte| *byte == b'.').any(|token| token == b">");
        if says_more {
            "`>` is the last token of a filter, and no token is empty"
        } else {
            "it has an empty token"
        }
        .to_owned()
    })?;
    let mut out = Vec::new();
    if queue.is_none() && !filter.has_wildcard() {
        if is_emqx && emqx_view().is_for_own(subject) {
            return Err(no_topic(NoTopic::Own.to_string()));
        }
        let subject = if is_emqx { emqx_view().canonical(subject) } else { subject.into() };
        find_topic(&subject, &mut out).map_err(|reason| no_topic(reason.to_string()))?;
        return Ok(out);
    }
    if let Some(queue) = queue {
        let is_name = !queue.is_empty()
            && !queue.iter().any(|byte| is_blank(byte) || matches!(byte, b'/' | b'+' | b'#'))
            && std::str::from_utf8(queue).is_ok();
        if !is_name {
            return Err(format!("no shared subscription can have the name `{}`", shown(queue)));
        }
        out.extend_from_slice(&[b"$share/", queue, b"/"].concat());
    }
    let topic_filter = if is_emqx {
        emqx::topic_filter_of(subject).map_err(|_| "MQTT has only text without NUL".to_owned())?
    } else {
        find_topic_filter(&filter).map_err(|reason| format!("no topic filter sees what it sees: {reason}"))?
    };
    out.extend_from_slice(&topic_filter);
    Ok(out)
}

/// How a listener with EMQX's mapping has names.
fn emqx_view() -> View {
    View::new(Box::default(), Mapping::Emqx)
}

fn emqx_subject_of(subject: &[u8]) -> Result<Vec<u8>, Reason> {
    let seen = emqx_view().seen(subject).map(Cow::into_owned);
    seen.map_err(|why| match why {
        Unseen::NoName(why) => format!("it has no subject by EMQX's mapping: {why}"),
        Unseen::Elsewhere => unreachable!("nothing is mounted"),
    })
}

fn emqx_filter_of(filter: &[u8]) -> Result<Vec<u8>, Reason> {
    let token = |level: &[u8]| match level {
        b"+" => Ok(b"*".to_vec()),
        b"#" => Ok(b">".to_vec()),
        _ => emqx::name_of(level).map_err(|why| format!("it has no subject by EMQX's mapping: {why}")),
    };
    let tokens: Result<Vec<_>, _> = filter.split(|byte| *byte == b'/').map(token).collect();
    let written = tokens?.join(&b'.');
    // With a dot in a level, or a name of the gateway's, it would ask for something else.
    if emqx_view().filter(&written).ok() == map_topic_filter(filter).ok() {
        Ok(written)
    } else {
        Err(format!("by EMQX's mapping `{}` is another filter", shown(&written)))
    }
}

fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(subject: bool, names: &[&str], input: &str) -> (bool, String, String) {
        let asked = Map { subject, emqx: false, null: false, names: names.iter().map(Into::into).collect() };
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let all = answer(&asked, &mut input.as_bytes(), &mut out, &mut complaints).unwrap();
        (all, String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap())
    }

    #[test]
    fn topics_and_filters_are_said_as_nats_says_them() {
        for (topic, subject) in [
            ("a/b", "a.b"),
            ("spBv1.0//x y", "spBv1//0./.x/20y"),
            ("$SYS/broker", "/24SYS.broker"),
            ("a/+/b", "a.*.b"),
            ("#", ">"),
            ("a/#", "a.>\ta"),
            ("$share/jobs/a/+", "a.* jobs"),
            ("$share/jobs/a/#", "a.> jobs\ta jobs"),
            ("$share/jobs/a", "a jobs"),
        ] {
            assert_eq!(ask(false, &[topic], ""), (true, format!("{subject}\n"), String::new()), "{topic}");
        }
    }

    #[test]
    fn subjects_and_filters_are_said_as_mqtt_says_them() {
        for (subject, topic) in [
            ("a.b", "a/b"),
            ("/24SYS./.x/20y", "$SYS//x y"),
            ("a.*", "a/+"),
            ("a.>", "a/+/#"),
            (">", "+/#"),
            ("a.* jobs", "$share/jobs/a/+"),
            ("a jobs", "$share/jobs/a"),
        ] {
            assert_eq!(ask(true, &[subject], ""), (true, format!("{topic}\n"), String::new()), "{subject}");
        }
    }

    #[test]
    fn a_name_without_a_counterpart_is_told_why_and_the_others_are_answered() {
        let (all, out, complaints) = ask(true, &["a.b", "-", "c.d"], "x.#\n$JS.API\ne\n");
        assert_eq!((all, out.as_str()), (false, "a/b\n\n\ne\nc/d\n"));
        assert!(complaints.contains("`x.#`: no topic has this subject: `#` can be in no topic"));
        assert!(complaints.contains("`$JS.API`: no topic has this subject: it begins with `$`"));
        for (is_subject, name, why) in [
            (true, "", "empty token"),
            (true, "a..b", "empty token"),
            (true, "a.>.b", "`>` is the last token"),
            (true, "a/b", "is no escape"),
            (true, "a/41", "is no escape"),
            (true, "/", "empty topic"),
            (true, "a\tb", "the byte 0x09, which the subject of a topic spells `/09`"),
            (true, "a.*.b+", "no topic filter sees what it sees: `+` can be in no topic"),
            (true, "a jobs/x", "no shared subscription can have the name `jobs/x`"),
            (true, "a ", "no shared subscription can have the name ``"),
            (false, "", "no empty topic"),
            (false, "a/b+", "whole levels"),
            (false, "#/a", "whole levels"),
            (false, "$share/g", "`$share/NAME/FILTER`"),
            (false, "$share/a b/c", "blank"),
            (false, "a\0", "no NUL"),
        ] {
            let (all, out, complaints) = ask(is_subject, &[name], "");
            assert!(!all && out == "\n" && complaints.contains(why), "{name:?}: {complaints}");
        }
        let long = "a".repeat(65_536);
        assert!(ask(false, &[&long], "").2.contains("at most 65535 bytes"));
        assert!(ask(true, &[&long], "").2.contains("at most 65535 bytes"));
    }

    #[test]
    fn emqx_exchanges_what_it_can() {
        let ask = |subject, name: &str| {
            let asked = Map { subject, emqx: true, null: false, names: vec![name.into()] };
            let (mut out, mut complaints) = (Vec::new(), Vec::new());
            answer(&asked, &mut [].as_slice(), &mut out, &mut complaints).unwrap();
            String::from_utf8(out).unwrap() + &String::from_utf8(complaints).unwrap()
        };
        assert_eq!(ask(false, "spBv1.0/x"), "spBv1.0.x\n");
        assert_eq!(ask(false, "a/+/#"), "a.*.>\n");
        assert_eq!(ask(false, "$share/g/a/#"), "a.> g\n");
        assert_eq!(ask(true, "$SYS.a/b"), "$SYS/a/b\n");
        assert_eq!(ask(true, "a.*.> g"), "$share/g/a/+/#\n");
        assert!(ask(false, "a//b").contains("empty level") && ask(false, "a b").contains("0x20"));
        assert!(ask(false, "spBv1.0/#").contains("another filter"));
        assert!(ask(true, "_INBOX//x.y").contains("own"));
        assert!(ask(false, "a//+").contains("empty level") && ask(true, "a.b+").contains("`+`"));
    }

    #[test]
    fn lines_that_end_with_a_carriage_return_are_taken_as_they_are_and_told_of_once() {
        let (all, out, complaints) = ask(false, &["-", "x\r"], "a\r\nb\nc/d\r\n");
        assert_eq!((all, out.as_str()), (true, "a/0d\nb\nc.d/0d\nx/0d\n"));
        let (line, end) = complaints.split_once('\n').unwrap();
        assert!(line.starts_with("warning: `a\\r`: the line ends with a carriage return"), "{complaints}");
        assert_eq!(end, "");
        assert_eq!(ask(false, &["x\r"], "").2, "");
    }

    #[test]
    fn names_that_hold_newlines_are_told_apart_by_nul() {
        let asked = Map { subject: false, emqx: false, null: true, names: vec!["-".into()] };
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        assert!(answer(&asked, &mut b"a\nb\0c/d".as_slice(), &mut out, &mut complaints).unwrap());
        assert_eq!(out, b"a/0ab\0c.d\0");
    }
}
