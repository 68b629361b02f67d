//! What hostile clients choose, on its way into the other world: whatever it is, the other side reads one message
//! of it and nothing more, on whatever core it is. Read here by the plainest reading of either protocol, beside
//! the decoder.

use super::several::{Client, Several};
use super::*;
use crate::message::GATEWAY_INBOX;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{
    Ack, Connect, Disconnect, Filters, Packet, Publish, Qos, Subscribe, SubscribeOptions, Version, Will,
};
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::subject::mapping;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

mod to_nats;
mod to_mqtt;
mod names;

/// Texts of what means something to somebody.
fn text() -> impl Strategy<Value = String> {
    let parts = [
        "a",
        "\r\n",
        "\r",
        "\n",
        "\u{7f}",
        " ",
        "\t",
        ":",
        "NATS/1.0 503",
        "\r\nPUB x 0\r\n\r\n",
        "MSG a 1 0\r\n\r\n",
        "Nats-Msg-Id",
        "Mqtt-User",
        "Mqtt-Client-Id",
        "Mqtt-Client-Protocol",
        "Status",
        "%0D%0A",
        "ü",
        "$SYS",
        "$share",
        "$STRAIT",
        "_INBOX/strait/0",
        "/",
        ".",
        "*",
        ">",
        "\u{1}",
        "\u{b}",
        "\u{1c}",
        "\u{85}",
        "\u{a0}",
    ];
    vec(proptest::sample::select(parts.to_vec()), 0..6).prop_map(|parts| parts.concat())
}

fn identifying(n_cores: usize) -> Several {
    let mut settings = settings();
    settings.mqtt.identifies_publishers = true;
    settings.nats.identifies_publishers = true;
    Several::new(n_cores, settings)
}

/// A client of MQTT 5 whose CONNECT is taken, or refused.
fn connect(several: &mut Several, client_id: &str, user: &str, will: Option<Will<'_>>) -> Client {
    let client = several.connect(0, Listener::Mqtt);
    let mut out = Vec::new();
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: client_id.as_bytes(),
        will,
        username: Some(user.as_bytes()),
        password: None,
        properties: Properties::EMPTY,
    };
    encode::connect(&mut out, &connect).unwrap();
    several.receive(client, &out);
    several.sent(client);
    client
}

/// Forgets the SUBACK, and what comes with it, which it gives back.
fn subscribe(several: &mut Several, client: Client, filters: &[&str]) -> Vec<u8> {
    let options = SubscribeOptions { qos: Qos::ExactlyOnce, ..SubscribeOptions::default() };
    let filters: Vec<_> = filters.iter().map(|filter| (filter.as_bytes(), options)).collect();
    let (properties, filters) = (Properties::EMPTY, Filters::from_list(&filters));
    let mut out = Vec::new();
    encode::subscribe(&mut out, Version::V5, &Subscribe { packet_id: 1, properties, filters }).unwrap();
    several.receive(client, &out);
    let sent = several.sent(client);
    let suback_len = 2 + usize::from(sent[1]);
    assert_eq!(
        (sent[0], &sent[suback_len - filters.iter().count()..suback_len]),
        (0x90, &vec![2; filters.iter().count()][..])
    );
    sent[suback_len..].to_vec()
}

/// Client ids by which there is an MQTT client on each core.
fn a_name_for_each_core(several: &Several) -> Vec<String> {
    let n = several.shards.len();
    let home = |name: &String| several.shards[0].keys.home(name.as_bytes(), n).idx();
    (0..n)
        .map(|core| (0..).map(|nth| format!("reader-{nth}")).find(|name| home(name) == core).unwrap())
        .collect()
}

/// Subject, reply, header block and payload of each message that is all of these bytes.
fn nats_messages(mut bytes: &[u8]) -> Vec<[Vec<u8>; 4]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a line ends");
        let line: Vec<&[u8]> = bytes[..end].split(|byte| *byte == b' ').collect();
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<usize>().unwrap();
        let (reply, n_header, n_all) = match line.as_slice() {
            [b"MSG", _, _, n] => (&b""[..], 0, number(n)),
            [b"MSG", _, _, reply, n] => (*reply, 0, number(n)),
            [b"HMSG", _, _, n, all] => (&b""[..], number(n), number(all)),
            [b"HMSG", _, _, reply, n, all] => (*reply, number(n), number(all)),
            _ => panic!("no message: {}", bytes[..end].escape_ascii()),
        };
        let body = &bytes[end + 2..];
        assert_eq!(&body[n_all..n_all + 2], b"\r\n");
        let (header, payload) = body[..n_all].split_at(n_header);
        messages.push([line[1], reply, header, payload].map(<[u8]>::to_vec));
        bytes = &body[n_all + 2..];
    }
    messages
}

/// A PUBLISH as a client reads it.
struct Heard {
    topic: Vec<u8>,
    payload: Vec<u8>,
    pairs: Vec<(String, String)>,
    response_topic: Option<Vec<u8>>,
}

/// The PUBLISHes that are all of these bytes: a fixed header, its length, and so many bytes each.
fn mqtt_messages(mut bytes: &[u8]) -> Vec<Heard> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let n_length = bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let length =
            bytes[1..=n_length].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        let (packet, rest) = bytes.split_at(1 + n_length + length);
        let Ok(Decoded::Packet(Packet::Publish(publish), n)) = decode(packet, Version::V5, &Limits::NONE)
        else {
            panic!("no PUBLISH: {}", packet.escape_ascii());
        };
        assert_eq!(n, packet.len());
        assert!(!publish.topic.iter().any(|byte| matches!(byte, 0 | b'+' | b'#')));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pair = |property| match property {
            Property::UserProperty(Pair { name, value }) => Some((text(name), text(value))),
            _ => None,
        };
        all.push(Heard {
            topic: publish.topic.to_vec(),
            payload: publish.payload.to_vec(),
            pairs: publish.properties.iter().filter_map(pair).collect(),
            response_topic: publish.properties.response_topic().map(<[u8]>::to_vec),
        });
        bytes = rest;
    }
    all
}

/// Whether the gateway alone says it.
fn is_forbidden(name: &str) -> bool {
    let is_stripped = |it: char| !it.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(it);
    let name = name.trim_matches(is_stripped).to_ascii_lowercase();
    ["mqtt-client-id", "mqtt-user", "mqtt-client-protocol"].contains(&name.as_str())
}
