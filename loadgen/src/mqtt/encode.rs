//! What we say to an MQTT server.

use super::Version;

pub struct Login<'a> {
    pub client_id: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub keep_alive_secs: u16,
}

pub fn connect(out: &mut Vec<u8>, version: Version, login: &Login<'_>) {
    let mut body = Vec::new();
    string(&mut body, if version == Version::V3 { b"MQIsdp" } else { b"MQTT" });
    body.push(version as u8);
    let has = |option: Option<&str>, bit: u8| if option.is_some() { bit } else { 0 };
    // A session of its own for each run: clean.
    body.push(0x02 | has(login.user, 0x80) | has(login.password, 0x40));
    body.extend_from_slice(&login.keep_alive_secs.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    string(&mut body, login.client_id.as_bytes());
    for text in [login.user, login.password].into_iter().flatten() {
        string(&mut body, text.as_bytes());
    }
    packet(out, 0x10, &body);
}

pub fn subscribe(out: &mut Vec<u8>, version: Version, id: u16, filters: &[String], qos: u8) {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter.as_bytes());
        body.push(qos);
    }
    packet(out, 0x82, &body);
}

/// A message that answers another one.
pub struct Correlated<'a> {
    pub response_topic: &'a [u8],
    pub correlation: &'a [u8],
}

/// A PUBLISH up to its payload; gives where the packet id stands (past the end with QoS 0).
pub fn publish_head(
    out: &mut Vec<u8>,
    version: Version,
    qos: u8,
    topic: &[u8],
    size: usize,
    correlated: Option<&Correlated<'_>>,
) -> usize {
    let mut properties = Vec::new();
    if let Some(Correlated { response_topic, correlation }) = correlated {
        for (property, value) in [(8, response_topic), (9, correlation)] {
            if !value.is_empty() {
                properties.push(property);
                string(&mut properties, value);
            }
        }
    }
    let mut property_length = Vec::new();
    if version == Version::V5 {
        varint(&mut property_length, properties.len());
    }
    let id_bytes = if qos > 0 { 2 } else { 0 };
    out.push(0x30 | qos << 1);
    varint(out, 2 + topic.len() + id_bytes + property_length.len() + properties.len() + size);
    string(out, topic);
    let id_at = out.len();
    out.extend(std::iter::repeat_n(0, id_bytes));
    out.extend_from_slice(&property_length);
    out.extend_from_slice(&properties);
    id_at
}

pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;

pub fn acknowledge(out: &mut Vec<u8>, kind: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[kind, 2, high, low]);
}

pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

pub fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xe0, 0]);
}

pub fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    varint(out, body.len());
    out.extend_from_slice(body);
}

/// Nobody gets here with a text longer than 65,535 bytes: the command line refuses it.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("the command line allows no longer text");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text);
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
