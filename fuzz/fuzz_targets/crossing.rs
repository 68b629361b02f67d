//! Any bytes, as a NATS header block and as the properties of a PUBLISH. Nothing panics; what crosses is whole
//! lines of legal names, comes back as it went, and says nothing that only the gateway may say. Not the way of
//! a message around it: the simulation plays that.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::message::{Message, ProtocolKind};
use strait::mqtt::decode::{Decoded, Limits, decode};
use strait::mqtt::packet::{Packet, Version};
use strait::mqtt::property::{Pair, Properties, Property, PropertyBlock};
use strait::payload::Payload;
use strait::shard::crossing::{self, Identity};

const ROOT: Identity<'static> = Identity { client_id: b"ro\r\not", user: b" %", protocol: ProtocolKind::Mqtt };

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    // Two of three inputs are near enough to a block to be read as one.
    match mode % 3 {
        0 => from_header(rest),
        1 => from_header(&[b"NATS/1.0\r\n".as_slice(), rest, b"\r\n\r\n"].concat()),
        _ => from_properties(rest),
    }
});

fn from_header(header: &[u8]) {
    let asked = crossing::asked(header);
    assert!(asked.is_some_and(|it| it.has_forbidden) || !says_who(header), "{}", header.escape_ascii());
    for is_mounted in [false, true] {
        let cleaned = crossing::without_forbidden(header, is_mounted);
        assert!(!says_who(&cleaned), "{}", cleaned.escape_ascii());
        let again = crossing::without_forbidden(&cleaned, is_mounted);
        assert!(again == cleaned, "{}", cleaned.escape_ascii());
        let made = properties_of(&cleaned, b"re.ply");
        assert!(!made.properties().iter().any(|it| is_forbidden(&it)), "{}", cleaned.escape_ascii());
        comes_back(made.properties(), b"re.ply");
        // Whoever is the publisher is said once, and read so.
        let told = ROOT.write_before(&cleaned);
        if told != cleaned {
            let made = properties_of(&told, b"");
            let said: Vec<_> = made.properties().iter().filter(is_forbidden).collect();
            assert!(said == who(), "{} {said:?}", told.escape_ascii());
        }
    }
}

fn from_properties(raw: &[u8]) {
    let Ok(n_raw) = u8::try_from(raw.len()) else { return };
    if n_raw > 120 {
        return;
    }
    let packet = [&[0x30, n_raw + 4, 0, 1, b'a', n_raw], raw].concat();
    let Ok(Decoded::Packet(Packet::Publish(publish), _)) = decode(&packet, Version::V5, &Limits::NONE) else {
        return;
    };
    let mut block = PropertyBlock::new();
    crossing::identified(publish.properties, None, &mut block);
    assert!(!block.properties().iter().any(|it| is_forbidden(&it)));
    assert!(crossing::has_forbidden_property(publish.properties) == (block.properties() != publish.properties));
    comes_back(block.properties(), b"");
    block.clear();
    crossing::identified(publish.properties, Some(&ROOT), &mut block);
    comes_back(block.properties(), b"");
}

/// What properties say as a header is lines that nobody can take for others, and says the same again.
fn comes_back(properties: Properties<'_>, reply: &[u8]) {
    let mut header = Vec::new();
    crossing::write_header(&message(properties.raw(), b"", reply), &mut header);
    let crosses = |it: &Property<'_>| match it {
        // These are their connection's, or say nothing.
        Property::TopicAlias(_) | Property::SubscriptionIdentifier(_) => false,
        Property::PayloadFormatIndicator(is_text) => *is_text,
        // The reply subject says it.
        Property::ResponseTopic(topic) => *topic != b"re/ply" || reply.is_empty(),
        _ => true,
    };
    let expected: Vec<_> = properties.iter().filter(crosses).collect();
    let n_lines = header.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty()).count();
    let is_none = expected.is_empty();
    assert!(n_lines == if is_none { 0 } else { 1 + expected.len() }, "{}", header.escape_ascii());
    if is_none {
        return;
    }
    let lines = header.strip_prefix(b"NATS/1.0\r\n").and_then(|rest| rest.strip_suffix(b"\r\n\r\n"));
    for line in lines.expect("a whole block").split(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().expect("a split has a first").to_ascii_lowercase();
        assert!(name.iter().all(u8::is_ascii_graphic), "{}", header.escape_ascii());
        assert!(!name.starts_with(b"nats-") && name != b"status" && name != b"description");
    }
    let back = properties_of(&header, b"");
    let back: Vec<_> = back.properties().iter().collect();
    assert!(back == expected, "{} {back:?} {expected:?}", header.escape_ascii());
}

fn properties_of(header: &[u8], reply: &[u8]) -> PropertyBlock {
    let mut made = PropertyBlock::new();
    crossing::write_properties(&message(b"", header, reply), &mut made);
    made
}

/// Whether some client may read a line of it as who the publisher is: also one that drops the length of a version
/// line unseen, and one that goes on a byte after a bare CR.
fn says_who(header: &[u8]) -> bool {
    let parts = |text: &[u8]| {
        text.split(|byte| matches!(byte, b'\r' | b'\n')).any(|line| {
            let name = line.split(|byte| *byte == b':').next().expect("a split has a first");
            names_who(name)
        })
    };
    let is_after_cr = |at: usize| header[at] == b'\r' && header.get(at + 1).is_some_and(|it| *it != b'\n');
    parts(header)
        || header.get(10..).is_some_and(parts)
        || (0..header.len()).any(|at| is_after_cr(at) && header.get(at + 2..).is_some_and(parts))
}

/// Whatever is stripped from the ends that can't be in a name.
fn names_who(name: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let Some(first) = name.iter().position(is_part) else { return false };
    let name = &name[first..=name.iter().rposition(is_part).expect("there is a first")];
    [b"Mqtt-Client-Id".as_slice(), b"Mqtt-User", b"Mqtt-Client-Protocol"].iter().any(|it| name.eq_ignore_ascii_case(it))
}

fn is_forbidden(property: &Property<'_>) -> bool {
    matches!(property, Property::UserProperty(Pair { name, .. }) if names_who(name))
}

fn who() -> Vec<Property<'static>> {
    [(b"Mqtt-Client-Id".as_slice(), ROOT.client_id), (b"Mqtt-User", ROOT.user), (b"Mqtt-Client-Protocol", b"mqtt")]
        .map(|(name, value)| Property::UserProperty(Pair { name, value }))
        .to_vec()
}

fn message<'a>(properties: &'a [u8], header: &'a [u8], reply: &'a [u8]) -> Message<'a> {
    Message { reply, header, properties, ..Message::plain(b"a", Payload::Copied(b"")) }
}
