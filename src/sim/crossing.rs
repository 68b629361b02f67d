//! What a message says in the other protocol's words: the few that this world's clients send, written down by
//! hand.

use super::names::Names;
use super::record::Publication;
use crate::message::{GATEWAY_INBOX, Quality};
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock};

/// Header blocks that NATS clients send, each with what MQTT clients read, and the quality that it asks for, if any.
pub const HEADERS: [(&str, Told, Option<Quality>); 9] = [
    (KEEPING_HEADER, Told::User(&[]), None),
    // What is forged is the first line of either.
    ("NATS/1.0\r\nMQTT-Client-ID: root\r\nA: b\r\n\r\n", Told::User(&[("A", "b")]), None),
    ("NATS/1.0\r\nMqtt-User:root\rA: b\r\n\r\n", Told::User(&[("A", "b")]), None),
    ("NATS/1.0\r\nA: b\r\n\r\n", Told::User(&[("A", "b")]), None),
    ("NATS/1.0\r\nx:1\r\nx: 2\r\n\r\n", Told::User(&[("x", "1"), ("x", "2")]), None),
    (ASKING_HEADER, Told::User(&[("Status", "5%")]), Some(Quality::AtLeastOnce)),
    ("NATS/1.0\r\nContent-Type: text\r\n\r\n", Told::ContentType("text"), None),
    ("NATS/1.0\r\nMqtt-QoS: 0\r\nA: b\r\n\r\n", Told::User(&[("A", "b")]), Some(Quality::AtMostOnce)),
    (CORRELATING_HEADER, Told::Correlation, None),
];

/// One that asks for its message to be kept.
pub const KEEPING_HEADER: &str = "NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n";

/// One that asks for a quality, and with a reply subject for an acknowledgement.
pub const ASKING_HEADER: &str = "NATS/1.0\r\nMqtt-QoS: 1\r\nMqtt-User-Status: 5%25\r\n\r\n";

/// One of a request that wants to know its answer again.
pub const CORRELATING_HEADER: &str = "NATS/1.0\r\nMqtt-Correlation-Data: AA0KYw==\r\n\r\n";

/// The correlation data of requests, and how a header has it.
pub const CORRELATION: &[u8] = b"\0\r\nc";
const CORRELATION_BASE64: &str = "AA0KYw==";

#[derive(Clone, Copy, Debug)]
pub enum Told {
    User(&'static [(&'static str, &'static str)]),
    ContentType(&'static str),
    Correlation,
}

impl Publication {
    /// Whether a NATS client may get it with this header block.
    pub fn is_told_by(&self, header: &[u8], takes_header: bool, is_from_mqtt: bool) -> bool {
        if !takes_header {
            return header.is_empty();
        }
        // What a member of its group leaves behind comes as the member had it, which may have asked for the flag.
        let may_be_left = self.retain && self.quality != Quality::AtMostOnce;
        header == self.header_told(is_from_mqtt, self.retain)
            || (may_be_left && header == self.header_told(is_from_mqtt, false))
            || (self.quality != Quality::AtMostOnce && header == self.header_left(is_from_mqtt, false))
            || (may_be_left && header == self.header_left(is_from_mqtt, true))
    }

    /// The header block of what a member of MQTT left behind, where it differs: a NATS client's message, made of
    /// what that member had, and a request, whose reply subject is the response topic's.
    fn header_left(&self, is_from_mqtt: bool, retain: bool) -> Vec<u8> {
        if is_from_mqtt {
            return self.header_told(true, retain);
        }
        let told = HEADERS.iter().find(|(header, ..)| header.as_bytes() == self.header);
        let lines = match told.map(|(_, told, _)| told) {
            // Of what is to be kept that member had nothing more to say either.
            None | Some(Told::User([])) if !retain && self.reply.is_empty() && self.identity.is_empty() => {
                return Vec::new();
            }
            None => String::new(),
            Some(Told::ContentType(text)) => format!("Content-Type: {text}\r\n"),
            Some(Told::Correlation) => format!("Mqtt-Correlation-Data: {CORRELATION_BASE64}\r\n"),
            // The one name that means something to client libraries.
            Some(Told::User([("Status", _)])) => "Mqtt-User-Status: 5%25\r\n".into(),
            Some(Told::User(pairs)) => {
                pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
            }
        };
        let flag = if retain { "Mqtt-Retain: 1\r\n" } else { "" };
        format!("NATS/1.0\r\nMqtt-QoS: 1\r\n{flag}{}{lines}\r\n", self.identity_lines()).into_bytes()
    }

    /// The header block with which it comes to a NATS client that takes headers.
    pub(super) fn header_told(&self, is_from_mqtt: bool, retain: bool) -> Vec<u8> {
        if is_from_mqtt {
            let mut lines = String::new();
            match self.quality {
                Quality::AtMostOnce => {}
                Quality::AtLeastOnce => lines += "Mqtt-QoS: 1\r\n",
                Quality::ExactlyOnce => lines += "Mqtt-QoS: 2\r\n",
            }
            if retain {
                lines += "Mqtt-Retain: 1\r\n";
            }
            if let Some(topic) = self.asks {
                lines += &format!(
                    "Mqtt-Response-Topic: {topic}\r\nMqtt-Correlation-Data: {CORRELATION_BASE64}\r\n"
                );
            } else if self.properties == correlating().properties().raw() {
                lines += &format!("Mqtt-Correlation-Data: {CORRELATION_BASE64}\r\n");
            } else if !self.properties.is_empty() {
                lines += "Content-Type: text\r\nname: a value\r\n";
            }
            lines += &self.identity_lines();
            let is_bare = lines.is_empty();
            return if is_bare { Vec::new() } else { format!("NATS/1.0\r\n{lines}\r\n").into_bytes() };
        }
        let header = String::from_utf8_lossy(&self.header);
        let header = header.replace("MQTT-Client-ID: root\r\n", "").replace("Mqtt-User:root\r", "");
        match (self.identity_lines(), header.strip_prefix("NATS/1.0\r\n")) {
            (lines, _) if lines.is_empty() => header.into_bytes(),
            (lines, rest) => format!("NATS/1.0\r\n{lines}{}", rest.unwrap_or("\r\n")).into_bytes(),
        }
    }

    /// The header block with which it is read where it is kept: it says its quality, whoever gave it that.
    pub(super) fn header_read(&self, is_from_mqtt: bool) -> Vec<u8> {
        let told = self.header_told(is_from_mqtt, true);
        let text = String::from_utf8_lossy(&told);
        match text.strip_prefix("NATS/1.0\r\n") {
            Some(lines) if self.quality == Quality::AtLeastOnce && !text.contains("Mqtt-QoS: ") => {
                format!("NATS/1.0\r\nMqtt-QoS: 1\r\n{lines}").into_bytes()
            }
            _ => told,
        }
    }

    fn identity_lines(&self) -> String {
        self.identity.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }

    fn push_identity(&self, block: &mut PropertyBlock) {
        for (name, value) in &self.identity {
            let pair = Pair { name: name.as_bytes(), value: value.as_bytes() };
            block.push(Property::UserProperty(pair)).expect("it is legal");
        }
    }

    /// Whether a reply subject can be the one with which this comes to a NATS client with such names.
    pub fn may_have_reply(&self, reply: &[u8], names: Names) -> bool {
        if self.asks.is_none() {
            // One that it could not address is not shown to it.
            return reply == names.seen_reply(&self.reply);
        }
        // What is replayed asks nobody anew.
        reply.starts_with(GATEWAY_INBOX) || (self.retain && reply.is_empty())
    }

    /// The properties with which it comes to a client of MQTT 5.
    pub fn properties_told(&self, is_from_mqtt: bool) -> Vec<u8> {
        if let Some((_, told)) = &self.answers {
            return told.clone();
        }
        let mut block = PropertyBlock::new();
        if is_from_mqtt {
            block.push_without(Properties::from_checked(&self.properties), |_| false);
            self.push_identity(&mut block);
            return block.properties().raw().to_vec();
        }
        if !self.reply.is_empty() {
            // Replies of this world have nothing in them that must be escaped.
            let topic: Vec<u8> =
                self.reply.iter().map(|byte| if *byte == b'.' { b'/' } else { *byte }).collect();
            block.push(Property::ResponseTopic(&topic)).expect("it is legal");
        }
        self.push_identity(&mut block);
        let mut push = |property: Property<'_>| block.push(property).expect("it is legal");
        let told = HEADERS.iter().find(|(header, ..)| header.as_bytes() == self.header);
        match told.map(|(_, told, _)| told) {
            None => assert!(self.header.is_empty(), "a header block that is not in the list"),
            Some(Told::ContentType(text)) => push(Property::ContentType(text.as_bytes())),
            Some(Told::Correlation) => push(Property::CorrelationData(CORRELATION)),
            Some(Told::User(pairs)) => {
                for (name, value) in *pairs {
                    push(Property::UserProperty(Pair { name: name.as_bytes(), value: value.as_bytes() }));
                }
            }
        }
        block.properties().raw().to_vec()
    }
}

/// The properties of an answer to a request with correlation data.
pub fn correlating() -> PropertyBlock {
    let mut block = PropertyBlock::new();
    block.push(Property::CorrelationData(CORRELATION)).expect("it is legal");
    block
}

/// The header block of a message in a list, which says its subject.
pub fn with_subject(header: &[u8], subject: &[u8]) -> Vec<u8> {
    let lines = header.strip_suffix(b"\r\n").unwrap_or(header);
    [lines, b"Nats-Subject: ", subject, b"\r\n\r\n"].concat()
}
