//! What the clients of both protocols share: the view that a client has of its world when it acts, and the
//! payloads by which deliveries are known again.

use super::chance::Chance;
use super::faults::{Check, Kind, Lie, broken};
use super::mqtt_client::MqttClient;
use super::nats_client::NatsClient;
use super::oracle::Oracle;
use super::record::Publication;
use super::scenario::{PAYLOAD_BYTES_MAX, SUBJECTS, Scenario, TOPICS};
use crate::message::{ProtocolKind, Quality};
use crate::subject::mapping;

/// A client's end of a connection.
#[derive(Debug)]
pub enum Client {
    Nats(NatsClient),
    Mqtt(MqttClient),
}

/// What a client can see and change when it acts.
pub struct Scene<'w> {
    /// The client's connection, by the world's number.
    pub connection: usize,
    pub oracle: &'w mut Oracle,
    pub chance: &'w mut Chance,
    pub scenario: &'w Scenario,
    /// How the client is deceived about what it is told.
    pub lie: Lie,
    /// What it sends.
    pub out: &'w mut Vec<u8>,
    /// The world comes to rest: answer everything at once.
    pub is_calm: bool,
    /// The gateway comes to its end.
    pub is_leaving: bool,
    /// So much time has passed that the gateway may take a silent client for lost.
    pub may_be_lost: bool,
}

impl Client {
    pub fn protocol(&self) -> ProtocolKind {
        match self {
            Self::Nats(_) => ProtocolKind::Nats,
            Self::Mqtt(_) => ProtocolKind::Mqtt,
        }
    }

    /// Sends the first op or packet.
    pub fn connect(&mut self, scene: &mut Scene<'_>) {
        match self {
            Self::Nats(nats) => nats.connect(scene),
            Self::Mqtt(mqtt) => mqtt.connect(scene),
        }
    }

    /// Sends one more op or packet; what it did, for the trace.
    pub fn act(&mut self, scene: &mut Scene<'_>) -> &'static str {
        match self {
            Self::Nats(nats) => nats.act(scene),
            Self::Mqtt(mqtt) => mqtt.act(scene),
        }
    }

    /// Asks for an answer that follows all others, and sends what it still owes.
    pub fn come_to_rest(&mut self, scene: &mut Scene<'_>) {
        match self {
            Self::Nats(nats) => nats.ping(scene),
            Self::Mqtt(mqtt) => mqtt.come_to_rest(scene),
        }
    }

    /// Takes what the gateway sent.
    pub fn hear(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Check {
        match self {
            Self::Nats(nats) => nats.hear(bytes, scene),
            Self::Mqtt(mqtt) => mqtt.hear(bytes, scene),
        }
    }

    /// What it still waits for, if anything.
    pub fn waits_for(&self) -> Option<String> {
        match self {
            Self::Nats(nats) => nats.waits_for(),
            Self::Mqtt(mqtt) => mqtt.waits_for(),
        }
    }
}

impl Scene<'_> {
    /// A publication of this client on a subject of the small alphabet, or on one that has a topic.
    pub fn publication(&mut self, quality: Quality, needs_topic: bool) -> Publication {
        let mut subject = Vec::new();
        if needs_topic {
            mapping::topic_to_subject(self.chance.pick(&TOPICS).as_bytes(), &mut subject);
        } else {
            subject.extend_from_slice(self.chance.pick(&SUBJECTS).as_bytes());
        }
        let number = self.oracle.publications.len();
        let payload = self.payload(number);
        Publication { subject, payload, ..Publication::new(self.connection, quality) }
    }

    fn payload(&mut self, number: usize) -> Vec<u8> {
        let mut payload = format!("{number}:").into_bytes();
        let chance = self.chance.below(100);
        let len = if chance < self.scenario.n_large_in_hundred {
            PAYLOAD_BYTES_MAX - 100 - self.chance.below(5_000)
        } else if chance < self.scenario.n_large_in_hundred + self.scenario.n_shared_in_hundred {
            1_500 + self.chance.below(1_000)
        } else {
            self.chance.below(60)
        };
        payload.resize(payload.len().max(len), b'a' + (number % 26) as u8);
        payload
    }

    /// The publication that a payload names, after comparing all of it.
    pub fn recognise(&self, payload: &[u8]) -> Result<usize, super::faults::Violation> {
        let n_digits = payload.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&payload[..n_digits]).ok().and_then(|text| text.parse().ok());
        let known = number.filter(|number: &usize| {
            self.oracle.publications.get(*number).is_some_and(|publication| publication.payload == payload)
        });
        let begin = String::from_utf8_lossy(&payload[..payload.len().min(20)]).into_owned();
        known.ok_or_else(|| super::faults::Violation {
            kind: Kind::Content,
            what: format!(
                "{} heard {} bytes from {begin:?}, which nobody sent",
                self.connection,
                payload.len()
            ),
        })
    }

    /// Whether the gateway may end it before it has heard who it is.
    pub fn may_give_way(&self) -> bool {
        let limits = &self.scenario.settings.limits;
        limits.unconnected_max.min(limits.unconnected_bytes_max) != usize::MAX
    }

    /// Whether a message without payload on such a subject can be one that clears what was retained.
    pub fn is_clear(&self, is_it: impl Fn(&[u8]) -> bool) -> bool {
        let publications = &self.oracle.publications;
        publications.iter().any(|it| it.retain && it.payload.is_empty() && is_it(&it.subject))
    }

    /// Complains of bytes that this client can't read or did not ask for.
    pub fn unexpected(&self, what: &str) -> Check {
        broken(Kind::Wire, format!("{}: {what}", self.connection))
    }
}
