//! What a message says beside subject and payload, in the words of the other protocol: MQTT 5 properties as a
//! NATS header block, and back. Made once per message, when the first client that wants it is due it.
//!
//! Neither side can forge the other's internals: names that mean something to NATS clients or to the gateway
//! never come from a user property as they are, but under `Mqtt-User-`, percent-encoded, and come back from
//! there as they were. Who published a message only the gateway says: what a client says of that itself is
//! taken out before the message goes on, so that wherever it stands afterwards the gateway has said it.

mod lines;
mod text;

use crate::message::{Message, ProtocolKind, Quality};
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock, PropertyId, WirePair};
use crate::scan::Plain;
use crate::subject::mapping;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lines::without;
use text::{bare, escaped, is_plain_value, is_token, number, strip_prefix, unescaped};

const VERSION: &[u8] = b"NATS/1.0";
const USER: &str = "Mqtt-User-";
const CONTENT_TYPE: &str = "Content-Type";
/// A content type that a header value can't be as it is.
const ESCAPED_CONTENT_TYPE: &str = "Mqtt-Content-Type";
const PAYLOAD_FORMAT: &str = "Mqtt-Payload-Format";
const EXPIRY: &str = "Mqtt-Message-Expiry";
const CORRELATION: &str = "Mqtt-Correlation-Data";
const RESPONSE_TOPIC: &str = "Mqtt-Response-Topic";
const QOS: &str = "Mqtt-QoS";
const RETAIN: &str = "Mqtt-Retain";
/// NATS's own name for the subject that a message is about.
const NATS_SUBJECT: &str = "Nats-Subject";
/// Only the gateway says these.
const FORBIDDEN: [&str; 3] = ["Mqtt-Client-Id", "Mqtt-User", "Mqtt-Client-Protocol"];
/// Client libraries take these for the status of a message that has no line for it.
const STATUS: &str = "Status";
const DESCRIPTION: &str = "Description";

/// Whether NATS clients are to be told more than came: of a message from MQTT.
#[inline]
pub fn has_header_to_make(message: &Message<'_>) -> bool {
    message.header.is_empty()
        && (!message.properties.is_empty() || message.quality != Quality::AtMostOnce || message.retain)
}

/// Whether MQTT 5 clients are to be told more than came: of a message from NATS.
#[inline]
pub fn has_properties_to_make(message: &Message<'_>) -> bool {
    message.properties.is_empty() && !(message.header.is_empty() && message.reply.is_empty())
}

/// The header block of a message from MQTT, whole, in `out`; empty where there is nothing to tell.
pub fn write_header(message: &Message<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(VERSION);
    out.extend_from_slice(b"\r\n");
    let n_empty = out.len();
    match message.quality {
        Quality::AtMostOnce => {}
        Quality::AtLeastOnce => line(out, QOS, b"1"),
        Quality::ExactlyOnce => line(out, QOS, b"2"),
    }
    if message.retain {
        line(out, RETAIN, b"1");
    }
    // Room for all of them: a user property as it is takes a byte less.
    out.reserve(message.properties.len() + 2);
    let mut properties = Properties::from_checked(message.properties).iter();
    loop {
        if let Some(pair) = properties.next_pair() {
            write_pair(pair, out);
        } else if let Some(property) = properties.next() {
            write_property(property, message.reply, out);
        } else {
            break;
        }
    }
    if out.len() == n_empty {
        out.clear();
    } else {
        out.extend_from_slice(b"\r\n");
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other property is one of a PUBLISH that goes on")]
fn write_property(property: Property<'_>, reply: &[u8], out: &mut Vec<u8>) {
    match property {
        Property::PayloadFormatIndicator(true) => line(out, PAYLOAD_FORMAT, b"utf8"),
        Property::MessageExpiryInterval(secs) => line(out, EXPIRY, secs.to_string().as_bytes()),
        Property::ContentType(text) if is_plain_value(text) => line(out, CONTENT_TYPE, text),
        Property::ContentType(text) => line(out, ESCAPED_CONTENT_TYPE, &escaped(text, false)),
        Property::CorrelationData(data) => line(out, CORRELATION, BASE64.encode(data).as_bytes()),
        Property::ResponseTopic(topic) => {
            let mut subject = Vec::new();
            mapping::topic_to_subject(topic, &mut subject);
            if subject != reply {
                line(out, RESPONSE_TOPIC, &escaped(topic, false));
            }
        }
        _ => {}
    }
}

#[inline]
fn write_pair(pair: WirePair<'_>, out: &mut Vec<u8>) {
    let Pair { name, value } = pair.pair();
    if !is_plain_name(name) || !is_plain_value(value) {
        return write_unusual_pair(name, value, out);
    }
    // What stands between them has the size of the value's length.
    let (joined, name_len) = pair.joined();
    let at = out.len() + name_len;
    out.extend_from_slice(joined);
    out[at..at + 2].copy_from_slice(b": ");
    out.extend_from_slice(b"\r\n");
}

#[inline(never)]
fn write_unusual_pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    // One of the gateway's is its own, since no client's comes this far.
    if is_forbidden(name) {
        out.extend_from_slice(name);
    } else {
        out.extend_from_slice(USER.as_bytes());
        out.extend_from_slice(&escaped(name, true));
    }
    line(out, "", &escaped(value, false));
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// How much of a header block no MQTT property can hold: text that is not UTF-8, or too long, and lines that are
/// no headers.
pub type Unmappable = u64;

/// The properties of a message from NATS, in `out`.
pub fn write_properties(message: &Message<'_>, out: &mut PropertyBlock) -> Unmappable {
    out.clear();
    let mut maker = Maker { out, has: Vec::new(), n_unmappable: 0 };
    // First: no header may send the answer elsewhere.
    let mut topic = Vec::new();
    if !message.reply.is_empty() && mapping::subject_to_topic(message.reply, &mut topic) {
        maker.once(Property::ResponseTopic(&topic));
    }
    if let Some(block) = Block::parse(message.header) {
        if !block.status.is_empty() {
            maker.user(STATUS.as_bytes(), block.status);
        }
        if !block.description.is_empty() {
            maker.user(DESCRIPTION.as_bytes(), block.description);
        }
        maker.lines(block.rest);
    } else {
        maker.n_unmappable += u64::from(!message.header.is_empty());
    }
    maker.n_unmappable
}

struct Maker<'o> {
    out: &'o mut PropertyBlock,
    /// The properties that there may be one of and is.
    has: Vec<PropertyId>,
    n_unmappable: u64,
}

impl Maker<'_> {
    fn lines(&mut self, block: &[u8]) {
        let mut rest = block;
        while !rest.is_empty() {
            if let Some((text, name_len)) = usual_line(rest)
                && self.out.push_joined(text, name_len).is_ok()
            {
                rest = &rest[text.as_bytes().len() + 2..];
                continue;
            }
            let (line, after) = rest.split_at(memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1));
            if let Some((name, value)) = name_and_value(line) {
                self.header(name, value);
            } else {
                self.n_unmappable += u64::from(!line.trim_ascii().is_empty());
            }
            rest = after;
        }
    }

    fn header(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let made = if is(CONTENT_TYPE) {
            self.once(Property::ContentType(value))
        } else if is(ESCAPED_CONTENT_TYPE) {
            unescaped(value).is_some_and(|text| self.once(Property::ContentType(&text)))
        } else if is(PAYLOAD_FORMAT) {
            value == b"utf8" && self.once(Property::PayloadFormatIndicator(true))
        } else if is(EXPIRY) {
            number(value).is_some_and(|secs| self.once(Property::MessageExpiryInterval(secs)))
        } else if is(CORRELATION) {
            BASE64.decode(value).is_ok_and(|data| self.once(Property::CorrelationData(&data)))
        } else if is(RESPONSE_TOPIC) {
            unescaped(value).is_some_and(|topic| self.once(Property::ResponseTopic(&topic)))
        } else if is(QOS) || is(RETAIN) {
            is_understood(name, value) == Some(true)
        } else if is_forbidden(name) {
            unescaped(value).is_some_and(|value| self.push_user(name, &value))
        } else if let Some(name) = strip_prefix(name, USER)
            && let (Some(name), Some(value)) = (unescaped(name), unescaped(value))
            && !is_forbidden(&name)
        {
            return self.user(&name, &value);
        } else {
            false
        };
        // What means nothing to the gateway, or not what it should, may mean something to the application.
        if !made {
            self.user(name, value);
        }
    }

    /// Whether it is made: there is none yet, and MQTT allows the value.
    fn once(&mut self, property: Property<'_>) -> bool {
        let id = property.id();
        let is_made = !self.has.contains(&id) && self.out.push(property).is_ok();
        if is_made {
            self.has.push(id);
        }
        is_made
    }

    fn user(&mut self, name: &[u8], value: &[u8]) {
        let is_made = self.push_user(name, value);
        self.n_unmappable += u64::from(!is_made);
    }

    fn push_user(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.out.push_user(Pair { name, value }).is_ok()
    }
}

/// What a NATS publisher asks for in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it is said.
    pub quality: Option<Quality>,
    pub retain: bool,
    /// Some lines are the gateway's alone to say.
    pub has_forbidden: bool,
    /// Headers of the gateway's whose values mean nothing to it.
    pub n_unknown: u64,
}

/// Reads what a header block asks for. Most ask for nothing, which costs one look for `mqtt-`.
#[inline]
pub fn asked(header: &[u8]) -> Option<Asked> {
    if mentions(header) { Some(read_asked(header)) } else { None }
}

/// Whether a name of the gateway's may be in it.
#[inline]
fn mentions(block: &[u8]) -> bool {
    // Of its letters the rarest.
    let mut places = memchr::memchr2_iter(b'Q', b'q', block).filter(|at| *at > 0);
    places.any(|at| block[at - 1..].get(..5).is_some_and(|it| it.eq_ignore_ascii_case(b"mqtt-")))
}

#[cold]
fn read_asked(header: &[u8]) -> Asked {
    // Whatever the block is, some client may read it as headers.
    let has_forbidden = lines::has(header, is_forbidden);
    let mut asked = Asked { has_forbidden, ..Asked::NOTHING };
    let Some(block) = Block::parse(header) else { return asked };
    for (name, value) in block.lines() {
        if name.eq_ignore_ascii_case(QOS.as_bytes()) {
            asked.quality = match value {
                b"0" => Some(Quality::AtMostOnce),
                b"1" => Some(Quality::AtLeastOnce),
                b"2" => Some(Quality::ExactlyOnce),
                _ => asked.quality,
            };
        }
        asked.retain |= name.eq_ignore_ascii_case(RETAIN.as_bytes()) && value == b"1";
        asked.n_unknown += u64::from(is_understood(name, value) == Some(false));
    }
    asked
}

impl Asked {
    pub const NOTHING: Self = Self { quality: None, retain: false, has_forbidden: false, n_unknown: 0 };
}

/// Whether a header that stands for something of MQTT's has a value that the gateway knows; `None` where it is
/// not one.
fn is_understood(name: &[u8], value: &[u8]) -> Option<bool> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    Some(if is(QOS) {
        matches!(value, b"0" | b"1" | b"2")
    } else if is(RETAIN) {
        matches!(value, b"0" | b"1")
    } else if is(PAYLOAD_FORMAT) {
        value == b"utf8"
    } else if is(EXPIRY) {
        number(value).is_some()
    } else if is(CORRELATION) {
        BASE64.decode(value).is_ok()
    } else if is(RESPONSE_TOPIC) {
        let is_topic = |topic: &[u8]| PropertyBlock::new().push(Property::ResponseTopic(topic)).is_ok();
        unescaped(value).is_some_and(|topic| is_topic(&topic))
    } else {
        return None;
    })
}

/// The block without the lines that only the gateway may say, and of a mounted client without a response
/// topic, which would be outside of its mount.
pub fn without_forbidden(header: &[u8], is_mounted: bool) -> Vec<u8> {
    without(header, |name| {
        is_forbidden(name) || (is_mounted && bare(name).eq_ignore_ascii_case(RESPONSE_TOPIC.as_bytes()))
    })
}

/// The block of a message that is kept, in an answer to who asks the gateway for it: without a status, which
/// would be the gateway's own there.
pub fn without_status(header: Vec<u8>) -> Vec<u8> {
    let says_status = |name: &[u8]| bare(name).eq_ignore_ascii_case(STATUS.as_bytes());
    match Block::parse(&header) {
        Some(Block { status: b"", description: b"", .. }) if !lines::has(&header, says_status) => header,
        Some(block) => without(&[VERSION, b"\r\n", block.rest].concat(), says_status),
        None => header,
    }
}

/// The block with the subject of a message that comes under another one. What its publisher said of that is
/// not for those who asked the gateway.
pub fn with_subject(header: &[u8], subject: &[u8]) -> Vec<u8> {
    let mut out = without(header, |name| bare(name).eq_ignore_ascii_case(NATS_SUBJECT.as_bytes()));
    // However its publisher ended it.
    while out.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
    out.extend_from_slice(b"\r\n");
    line(&mut out, NATS_SUBJECT, subject);
    out.extend_from_slice(b"\r\n");
    out
}

/// The block with what is left of its message's time, where it says that; all else as it is.
pub fn with_expiry(header: &[u8], secs: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len());
    let mut is_said = false;
    // In the lines that `Block` reads.
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let (name, value) = line.split_at(memchr::memchr(b':', line).map_or(line.len(), |colon| colon + 1));
        let is_expiry = name.strip_suffix(b":").is_some_and(|name| {
            name.trim_ascii().eq_ignore_ascii_case(EXPIRY.as_bytes()) && number(value.trim_ascii()).is_some()
        });
        if is_expiry && !std::mem::replace(&mut is_said, true) {
            let (n_before, n_after) =
                (value.len() - value.trim_ascii_start().len(), value.trim_ascii_end().len());
            out.extend_from_slice(name);
            out.extend_from_slice(&value[..n_before]);
            out.extend_from_slice(itoa::Buffer::new().format(secs).as_bytes());
            out.extend_from_slice(&value[n_after..]);
        } else {
            out.extend_from_slice(line);
        }
    }
    out
}

/// The block with the quality of its message, where it was given that otherwise than by its header.
pub fn with_quality(header: Vec<u8>, quality: Quality) -> Vec<u8> {
    let digit = match quality {
        Quality::AtMostOnce => return header,
        Quality::AtLeastOnce => b"1",
        Quality::ExactlyOnce => b"2",
    };
    let Some(first_end) = memchr::memchr(b'\n', &header) else { return header };
    if asked(&header).is_some_and(|asked| asked.quality.is_some()) {
        return header;
    }
    let (first, rest) = header.split_at(first_end + 1);
    let mut out = first.to_vec();
    line(&mut out, QOS, digit);
    out.extend_from_slice(rest);
    out
}

/// Who published a message.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub client_id: &'a [u8],
    /// Empty where it gave none.
    pub user: &'a [u8],
    /// Clients of either kind may have one id.
    pub protocol: ProtocolKind,
}

impl Identity<'_> {
    fn lines(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let values = [self.client_id, self.user, self.protocol.name().as_bytes()];
        FORBIDDEN.into_iter().zip(values).filter(|(_, value)| !value.is_empty())
    }

    /// The header block, which has nothing forbidden, with who sent it. One that no client could read as one
    /// stays as it is.
    pub fn write_before(&self, header: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(header.len() + 64);
        let rest = match Block::parse(header) {
            Some(block) => {
                let first = header.strip_suffix(block.rest).unwrap_or(header);
                out.extend_from_slice(first.trim_ascii_end());
                // What folds onto the line before it would be said by the gateway.
                lines::without_folded_front(block.rest)
            }
            None if header.is_empty() => {
                out.extend_from_slice(VERSION);
                header
            }
            None => return header.to_vec(),
        };
        out.extend_from_slice(b"\r\n");
        self.lines().for_each(|(name, value)| line(&mut out, name, &escaped(value, false)));
        out.extend_from_slice(rest);
        // One that drops the last four bytes would not read the end of a line.
        if !out.ends_with(b"\r\n\r\n") {
            out.extend_from_slice(if out.ends_with(b"\r\n") { b"\r\n" } else { b"\r\n\r\n" });
        }
        out
    }
}

/// Whether a client says among its properties what only the gateway may say.
#[inline]
pub fn has_forbidden_property(properties: Properties<'_>) -> bool {
    properties.may_have_pairs()
        && mentions(properties.raw())
        && properties.iter().any(|it| is_forbidden_property(&it))
}

fn is_forbidden_property(property: &Property<'_>) -> bool {
    matches!(property, Property::UserProperty(Pair { name, .. }) if is_forbidden(name))
}

/// A client's properties without what only the gateway may say, and with what it says.
pub fn identified(properties: Properties<'_>, identity: Option<&Identity<'_>>, out: &mut PropertyBlock) {
    out.push_without(properties, is_forbidden_property);
    for (name, value) in identity.iter().flat_map(|identity| identity.lines()) {
        let pair = Pair { name: name.as_bytes(), value };
        out.push(Property::UserProperty(pair)).expect("CONNECT took it for text without NUL");
    }
}

fn is_forbidden(name: &[u8]) -> bool {
    // Most names are shorter or have no `mqtt` in them, which costs nothing to see.
    name.len() >= FORBIDDEN[1].len() && mentions(name) && says_forbidden(name)
}

fn says_forbidden(name: &[u8]) -> bool {
    FORBIDDEN.iter().any(|forbidden| bare(name).eq_ignore_ascii_case(forbidden.as_bytes()))
}

/// A header block, as NATS clients read it.
struct Block<'a> {
    status: &'a [u8],
    description: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Block<'a> {
    /// `None` where it is no header block.
    #[inline]
    fn parse(header: &'a [u8]) -> Option<Self> {
        // As nearly all begin.
        if let Some(rest) = header.strip_prefix(b"NATS/1.0\r\n") {
            return Some(Self { status: b"", description: b"", rest });
        }
        let end = memchr::memchr(b'\n', header)?;
        let (first, rest) = (header[..end].trim_ascii_end(), &header[end + 1..]);
        let said = first.strip_prefix(VERSION)?.trim_ascii();
        let status_len = said.iter().position(|byte| *byte == b' ').unwrap_or(said.len());
        let (status, description) = said.split_at(status_len);
        Some(Self { status, description: description.trim_ascii(), rest })
    }

    /// Names and values.
    fn lines(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        // Some clients end a line at a bare LF, and none may see a line that the gateway did not.
        self.rest.split(|byte| *byte == b'\n').filter_map(name_and_value)
    }
}

/// What a line says, where it is one of a header.
fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
    (!name.is_empty()).then_some((name, value))
}

/// The line that clients write most, which the block begins with: a name of letters, a colon, a blank, a plain
/// value, CR LF. Its name, of the length given, means nothing to MQTT or to the gateway. What is spelt in any
/// other way is left to [`name_and_value`], which reads this one alike.
#[inline]
fn usual_line(block: &[u8]) -> Option<(Plain<'_>, usize)> {
    let plain = Plain::front(block);
    let text = plain.as_bytes();
    let name_len = text.iter().position(|byte| !is_token(*byte))?;
    let value = text[name_len..].strip_prefix(b": ")?;
    let is_trimmed = value.first().is_some_and(|byte| *byte != b' ') && !value.ends_with(b" ");
    // `Content-Type`, `Mqtt-…`: all that `Maker::header` makes something else of.
    let may_be_known = matches!(text[0].to_ascii_lowercase(), b'c' | b'm');
    (name_len > 0 && !may_be_known && is_trimmed && block[text.len()..].starts_with(b"\r\n"))
        .then_some((plain, name_len))
}

/// Whether a user property's name can be a header's, and means nothing to anybody but applications.
fn is_plain_name(name: &[u8]) -> bool {
    // In one pass without branches, since nearly every name is one.
    !name.is_empty() && name.iter().fold(true, |is, byte| is & is_token(*byte)) && !is_known(name)
}

/// Whether a name means something to NATS clients or to the gateway.
fn is_known(name: &[u8]) -> bool {
    // By its first letter most are not looked at further.
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'n') => strip_prefix(name, "Nats-").is_some(),
        Some(b'm') => strip_prefix(name, "Mqtt-").is_some(),
        Some(b'c') => name.eq_ignore_ascii_case(CONTENT_TYPE.as_bytes()),
        Some(b's') => name.eq_ignore_ascii_case(STATUS.as_bytes()),
        Some(b'd') => name.eq_ignore_ascii_case(DESCRIPTION.as_bytes()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
