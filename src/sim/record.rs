//! What the oracle notes of clients, subscriptions and publications.

use super::by_topic::Way;
use super::names::Names;
use super::own::Cause;
use crate::message::Quality;
use crate::mqtt::reason::Reason;
use crate::subject::SubjectFilter;

/// A moment: the number of a step of the world.
pub type At = u64;

/// A connection, by the world's number, and the sid where the protocol names the subscription.
pub type Ear = (usize, Option<u32>);

/// What a client knows of a request of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub sent: At,
    pub acknowledged: Option<At>,
}

impl Known {
    pub fn sent(at: At) -> Self {
        Self { sent: at, acknowledged: None }
    }

    pub fn is_before(&self, at: At) -> bool {
        self.acknowledged.is_some_and(|acknowledged| acknowledged < at)
    }
}

/// What a subscription asks for; MQTT may change it while it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub known: Known,
    pub quality: Quality,
    pub hears_itself: bool,
    /// Deliveries have the retain flag of their publishers.
    pub retain_as_published: bool,
}

#[derive(Debug)]
pub struct Subscription {
    pub ear: Ear,
    pub filters: Vec<SubjectFilter>,
    pub group: Option<&'static str>,
    /// An MQTT filter that begins with a wildcard.
    pub begins_with_wildcard: bool,
    /// Never empty; the last is what the client wants now.
    pub terms: Vec<Terms>,
    pub end: Option<Known>,
    /// The limit of UNSUB, and how many had come when it was acknowledged.
    pub max: Option<(u64, Option<u64>)>,
    pub n_heard: u64,
    /// Its sid began anew before its end was acknowledged: what was under way to it is lost.
    pub is_superseded: bool,
}

#[derive(Debug)]
pub struct Publication {
    pub by: usize,
    pub subject: Vec<u8>,
    /// The same as its publisher spells it, where that is one of NATS.
    pub spelled: Vec<u8>,
    pub topic: Option<Vec<u8>>,
    pub reply: Vec<u8>,
    pub header: Vec<u8>,
    pub properties: Vec<u8>,
    /// Where its publisher wants to hear what becomes of it.
    pub acknowledged_at: Vec<u8>,
    /// Who published it, as the gateway tells it: the name and value of each line.
    pub identity: Vec<(&'static str, String)>,
    pub payload: Vec<u8>,
    pub quality: Quality,
    /// To be kept; with an empty payload, to be kept no longer.
    pub retain: bool,
    /// MQTT: the response topic of a request.
    pub asks: Option<&'static str>,
    /// An answer of MQTT to a request of NATS.
    pub is_answer: bool,
    /// The way of a request, where it may have gone to clients that are asked by topics alone.
    pub way: Option<Way>,
    /// An answer at the topic that such a request came with.
    pub is_by_topic: bool,
    /// The answer to a request of MQTT: for the connection that asked alone, and with these properties.
    pub answers: Option<(usize, Vec<u8>)>,
    /// What the gateway says itself has a cause.
    pub cause: Option<Cause>,
    /// Sent with a wish for a 503.
    pub is_request: bool,
    pub began: At,
    /// When its client learned that its core had handled it, and that all had.
    pub handled: Option<At>,
    pub kept: Option<At>,
    /// All that was due has come: nothing more may.
    pub is_final: bool,
    pub receipt: Option<Reason>,
    pub n_no_responders: u32,
    pub heard: Vec<(Ear, Quality)>,
    /// Deliveries of it as a retained message.
    pub replayed: Vec<(Ear, Quality)>,
}

impl Publication {
    pub fn new(by: usize, quality: Quality) -> Self {
        Self {
            by,
            subject: Vec::new(),
            spelled: Vec::new(),
            topic: None,
            reply: Vec::new(),
            header: Vec::new(),
            properties: Vec::new(),
            acknowledged_at: Vec::new(),
            identity: Vec::new(),
            payload: Vec::new(),
            quality,
            retain: false,
            asks: None,
            is_answer: false,
            way: None,
            is_by_topic: false,
            answers: None,
            cause: None,
            is_request: false,
            began: 0,
            handled: None,
            kept: None,
            is_final: false,
            receipt: None,
            n_no_responders: 0,
            heard: Vec::new(),
            replayed: Vec::new(),
        }
    }
}

/// One client connection, as far as deliveries go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listener {
    pub is_mqtt: bool,
    /// Of MQTT: the number of the client id.
    pub name: Option<usize>,
    /// NATS with headers, or MQTT 5.
    pub takes_header: bool,
    /// How it spells what everybody has.
    pub names: Names,
    /// Whether the gateway still serves it, as far as the world can see.
    pub is_alive: bool,
    /// It had an answer that only clients have which are there.
    pub is_served: bool,
    /// All that it sent was taken in.
    pub is_complete: bool,
    /// When the gateway stopped serving it.
    pub ended: Option<At>,
}
