//! Header blocks as the clients of others read them, each in its own way; and that none of them reads there what
//! only the gateway says. Models of what they make of any bytes, not of what they do with it.

use super::super::*;
use proptest::prelude::*;

type Read = Vec<(String, String)>;

type Reader = (&'static str, fn(&[u8]) -> Read);

/// Each by the name of its client.
const READERS: [Reader; 8] = [
    ("nats-py", nats_py),
    ("nats-py with the parser of Python's email", nats_py_email),
    ("nats-py with fast-mail-parser", nats_py_fast_mail),
    ("nats.js", nats_js),
    ("nats.go", nats_go),
    ("async-nats", async_nats),
    ("nats.c", nats_c),
    ("NATS.Client of .NET", nats_net),
];

/// What nats-py takes for the version line, unseen, and the gateway writes as one.
const VERSION_LINE_LEN: usize = 10;

fn nats_py(block: &[u8]) -> Read {
    let lines = |text: &[u8]| -> Read {
        let pair = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let (name, value) = (name.trim_matches(PY_BLANKS), value.trim_matches(PY_BLANKS));
            let is_name = name.is_ascii() && !name.contains(char::is_whitespace);
            is_name.then(|| (name.to_owned(), value.to_owned()))
        };
        latin(text).split("\r\n").filter_map(pair).collect()
    };
    let mut read = described(block).map_or_else(Read::new, lines);
    read.extend(block.get(VERSION_LINE_LEN..).map_or_else(Read::new, lines));
    last_of_each(read)
}

/// What is read later stands in the place of what was read before.
fn last_of_each(mut read: Read) -> Read {
    let mut at = 0;
    while at < read.len() {
        if read[at + 1..].iter().any(|(name, _)| *name == read[at].0) {
            read.remove(at);
        } else {
            at += 1;
        }
    }
    read
}

const PY_BLANKS: &[char] = &[' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

/// What nats-py reads as well where a blank follows the version: all after the line of the status.
fn described(block: &[u8]) -> Option<&[u8]> {
    let text = block.get(13..block.len().checked_sub(4)?).filter(|_| block[8] == b' ')?;
    let end = text.windows(2).position(|it| it == b"\r\n")?;
    (end > 0).then(|| &text[end + 2..])
}

fn nats_py_email(block: &[u8]) -> Read {
    let lines = |text: &[u8]| -> Read {
        let text = latin(text).replace("\r\n", "\n").replace('\r', "\n");
        let mut read = Read::new();
        for line in text.split('\n') {
            if line.starts_with([' ', '\t']) {
                read.iter_mut().last().into_iter().for_each(|(_, value)| value.push_str(line));
                continue;
            }
            match line.split_once(':') {
                Some((name, value)) if name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    read.push((name.to_owned(), value.trim().to_owned()));
                }
                _ => break,
            }
        }
        read
    };
    let mut read = described(block).map_or_else(Read::new, lines);
    read.extend(block.get(VERSION_LINE_LEN..).map_or_else(Read::new, lines));
    last_of_each(read)
}

fn nats_py_fast_mail(block: &[u8]) -> Read {
    let mut read = Read::new();
    for line in latin(block.get(VERSION_LINE_LEN..).unwrap_or_default()).split('\n') {
        if line.starts_with([' ', '\t']) {
            read.iter_mut().last().into_iter().for_each(|(_, value)| value.push_str(line));
        } else if line.is_empty() || line == "\r" {
            break;
        } else {
            // A name may be without a colon.
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            read.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    read.retain(|(name, _)| !name.contains(char::is_whitespace));
    read
}

fn nats_js(block: &[u8]) -> Read {
    let text = String::from_utf8_lossy(block);
    let pairs = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn nats_go(block: &[u8]) -> Read {
    let text = latin(block);
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    if !lines.next().is_some_and(|first| first.starts_with("NATS/1.0")) {
        return Read::new();
    }
    let mut read = Read::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { return Read::new() };
        read.push((name.to_owned(), value.trim_start_matches([' ', '\t']).to_owned()));
    }
    read
}

fn async_nats(block: &[u8]) -> Read {
    let Ok(text) = str::from_utf8(block) else { return Read::new() };
    let mut lines = text.lines().peekable();
    if !lines.next().is_some_and(|first| first.starts_with("NATS/1.0")) {
        return Read::new();
    }
    let mut read = Read::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return Read::new() };
        let mut value = value.to_owned();
        while let Some(folded) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(folded);
        }
        read.push((name.to_owned(), value.trim().to_owned()));
    }
    read
}

/// It reads on over the end of a line to the next colon, and to the next text for a value.
fn nats_c(block: &[u8]) -> Read {
    let text = latin(block);
    let Some((_, mut rest)) = text.strip_prefix("NATS/1.0").and_then(|rest| rest.split_once("\r\n")) else {
        return Read::new();
    };
    let mut read = Read::new();
    while !rest.is_empty() && rest != "\r\n" {
        let is_folded = rest.starts_with(C_BLANKS);
        let named = if is_folded { Some(("", rest)) } else { rest.split_once(':') };
        let Some((name, after)) = named else { return Read::new() };
        let Some((value, after)) = after.trim_start_matches(C_BLANKS).split_once("\r\n") else {
            return Read::new();
        };
        match read.last_mut() {
            Some((_, before)) if is_folded => *before += &format!(" {value}"),
            None if is_folded => return Read::new(),
            _ => read.push((name.to_owned(), value.trim_end_matches(C_BLANKS).to_owned())),
        }
        rest = after;
    }
    read
}

const C_BLANKS: &[char] = &[' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

/// The line of a status ends for it with two bytes of which either is an end.
fn nats_net(block: &[u8]) -> Read {
    let begin = match block.iter().zip(b"NATS/1.0\r\n").position(|(is, wanted)| is != wanted) {
        None => VERSION_LINE_LEN,
        Some(at) if block[at] == b' ' => {
            let ends = |two: &[u8]| two[0] == b'\r' || two[1] == b'\n';
            let Some(end) = block[at + 1..].windows(2).position(ends) else { return Read::new() };
            at + 1 + end + 2
        }
        Some(_) => return Read::new(),
    };
    let text = latin(block.get(begin..).unwrap_or_default());
    let pairs = text.split("\r\n").map_while(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim_end().to_owned(), value.trim().to_owned())).collect()
}

const BOB: Identity<'static> = Identity { client_id: b"2", user: b"bob", protocol: ProtocolKind::Nats };

const SAID_OF_BOB: [(&str, &str); 3] =
    [("mqtt-client-id", "2"), ("mqtt-user", "bob"), ("mqtt-client-protocol", "nats")];

/// A character for each byte.
fn latin(text: &[u8]) -> String {
    text.iter().copied().map(char::from).collect()
}

/// What a client takes for the gateway's word.
fn believed(read: &[(String, String)]) -> Vec<(String, &str)> {
    let is_forbidden = |name: &str| FORBIDDEN.iter().any(|it| it.eq_ignore_ascii_case(name));
    let said = read.iter().map(|(name, value)| (name.trim().to_ascii_lowercase(), value.as_str()));
    said.filter(|(name, _)| is_forbidden(name)).collect()
}

#[test]
fn no_client_reads_a_forged_name_in_what_goes_on() {
    for (block, left) in [
        // One drops as much as a version line has.
        ("NATS/1.0ZZMqtt-User: root\r\n\r\n", "NATS/1.0ZZ\r\n\r\n"),
        ("NATS/1.0ZZMqtt-User: root", "NATS/1.0ZZ"),
        ("NATS/1.0\u{b}\u{b}Mqtt-User: root\r\nx: y\r\n\r\n", "NATS/1.0\u{b}\u{b}\r\nx: y\r\n\r\n"),
        ("NATS/1.0  Mqtt-User: root\r\nMqtt-Client-Id: me\r\n\r\n", "NATS/1.0  \r\n\r\n"),
        ("NATS/1.0 5 Mqtt-User: root\r\n\r\n", "NATS/1.0 5\r\n\r\n"),
        ("NATS/1.0:ZMqtt-User: root\r\n\r\n", "NATS/1.0:Z\r\n\r\n"),
        ("NATS/1.0ZZMqtt-User\n root\r\n\r\n", "NATS/1.0ZZ\n root\r\n\r\n"),
        ("a\r\nb\nc\rdefMqtt-User: root\r\nx: y\r\n\r\n", "a\r\nb\nc\rdef\r\nx: y\r\n\r\n"),
        // Another goes on two bytes after the end of a status that is one byte.
        ("NATS/1.0 200\rXMqtt-User: root\r\n\r\n", "NATS/1.0 200\rX\r\n\r\n"),
    ] {
        let is_read = |block: &[u8]| READERS.iter().any(|(_, read)| !believed(&read(block)).is_empty());
        assert!(is_read(block.as_bytes()), "{block:?} forges nothing");
        assert!(asked(block.as_bytes()).unwrap().has_forbidden, "{block:?}");
        let cleaned = String::from_utf8(without_forbidden(block.as_bytes(), false)).unwrap();
        assert_eq!(cleaned, left, "{block:?}");
        assert!(!is_read(cleaned.as_bytes()), "{cleaned:?}");
    }
    // What stood before such a name may be taken out itself.
    let shifted = without_forbidden(b"Mqtt-User: a\r\nNATS/1.0ZZMqtt-User: root\r\n\r\n", false);
    assert_eq!(shifted, b"NATS/1.0ZZ\r\n\r\n");
    // What none of them reads goes on as it came.
    for block in ["NATS/1.0 503 No Mqtt-User: x\r\na: b\r\n\r\n", "NATS/1.0ZMqtt-User: x\r\n\r\n"] {
        assert!(!asked(block.as_bytes()).unwrap().has_forbidden, "{block:?}");
        assert_eq!(without_forbidden(block.as_bytes(), false), block.as_bytes());
    }
}

#[test]
fn no_line_of_a_publisher_goes_on_after_who_it_is() {
    for block in [
        "NATS/1.0\r\n root\r\n\r\n",
        "NATS/1.0\r\n\troot\r\nx: y\r\n\r\n",
        "NATS/1.0\r\n\n root\r\n\r\n",
        "NATS/1.0\r\n\u{b}root\r\n\r\n",
        "NATS/1.0\r\n\u{a0}root\r\n\r\n",
        "NATS/1.0\r\n\u{2003}: root\r\n root\r\nx: y\r\n\r\n",
        "NATS/1.0\n root\r\n\r\n",
        "NATS/1.0\r\n\r\nroot\r\n",
        "NATS/1.0\r\n root\r\n\r\nroot\r\n\r\n",
    ] {
        let told = BOB.write_before(block.as_bytes());
        let lines = "NATS/1.0\r\nMqtt-Client-Id: 2\r\nMqtt-User: bob\r\nMqtt-Client-Protocol: nats\r\n";
        assert!(told.starts_with(lines.as_bytes()) && told.ends_with(b"\r\n\r\n"), "{}", latin(&told));
        let rest = if block.contains("x: y") { vec![("x".to_owned(), "y".to_owned())] } else { vec![] };
        let said = [("Mqtt-Client-Id", "2"), ("Mqtt-User", "bob"), ("Mqtt-Client-Protocol", "nats")];
        let said = said.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
        let wanted: Read = said.chain(rest).collect();
        for (client, read) in READERS {
            assert_eq!(read(&told), wanted, "{client}: {}", latin(&told));
        }
    }
}

#[test]
fn no_client_reads_a_status_in_what_is_kept() {
    for (block, left) in [
        ("NATS/1.0 204\r\nx: y\r\n\r\n", "NATS/1.0\r\nx: y\r\n\r\n"),
        ("NATS/1.0 404 Not Found\r\nx: y\r\n\r\n", "NATS/1.0\r\nx: y\r\n\r\n"),
        ("NATS/1.0503\nx: y\r\n\r\n", "NATS/1.0\r\nx: y\r\n\r\n"),
        ("NATS/1.0\r\nStatus: 503\r\nx: y\r\n\r\n", "NATS/1.0\r\nx: y\r\n\r\n"),
        ("NATS/1.0\r\nx: y\n\u{b}STATUS : 503\r\n\r\n", "NATS/1.0\r\nx: y\n\r\n"),
        ("NATS/1.0ZZStatus: 503\r\nx: y\r\n\r\n", "NATS/1.0\r\nx: y\r\n\r\n"),
        // All else is its publisher's.
        (
            "NATS/1.0\r\nDescription: x\r\nStatuses: 503\r\n\r\n",
            "NATS/1.0\r\nDescription: x\r\nStatuses: 503\r\n\r\n",
        ),
    ] {
        assert_eq!(latin(&without_status(block.as_bytes().to_vec())), left, "{block:?}");
    }
}

proptest! {
    #[test]
    fn no_client_reads_what_was_taken_out_of_any_block(block in block()) {
        let cleaned = without_forbidden(&block, false);
        let says_it = asked(&block).is_some_and(|asked| asked.has_forbidden);
        prop_assert_eq!(says_it, cleaned != block);
        prop_assert_eq!(&without_forbidden(&cleaned, false), &cleaned);
        let told = BOB.write_before(&cleaned);
        for (client, read) in READERS {
            let read_before = read(&cleaned);
            prop_assert!(believed(&read_before).is_empty(), "{} reads {:?} in {:?}", client, read_before, latin(&cleaned));
            let read_told = read(&told);
            for said in believed(&read_told) {
                let is_told = SAID_OF_BOB.contains(&(&said.0, said.1));
                prop_assert!(is_told, "{} reads {:?} in {:?}", client, read_told, latin(&told));
            }
        }
    }
}

/// Blocks of what ends lines, begins names or looks like a version, in any order.
fn block() -> impl Strategy<Value = Vec<u8>> {
    let part = proptest::sample::select(vec![
        &b"NATS/1.0"[..],
        b"NATS/1.0\r\n",
        b"NATS/1.0 ",
        b" 503",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b": ",
        b" ",
        b"Mqtt-User",
        b"mqtt-client-id",
        b"Mqtt-Client-Protocol",
        b"Mqtt-User: root\r\n",
        b"Z",
        b"ZZ",
        b"\x0b",
        b"\t",
        b"x: y\r\n",
        b"\xc2\xa0",
        b"\xff",
        b"x",
        b"root",
    ]);
    proptest::collection::vec(part, 0..9).prop_map(|parts| parts.concat())
}
