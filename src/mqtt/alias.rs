//! Topic aliases of one connection: the numbers that its client gives to topics, and those that the gateway
//! gives. They end with the connection (section 3.3.2.3.4). Not when an alias pays: the fan-out decides.

use crate::mqtt::reason::Reason;
use ahash::RandomState;
use std::collections::HashMap;

/// How many topics may have an alias in one direction, and how many bytes they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub topics_max: u16,
    pub bytes_max: usize,
}

/// The topics that a client has given numbers.
#[derive(Debug, Default)]
pub struct Inbound {
    topics: Vec<Box<[u8]>>,
    n_bytes: usize,
}

impl Inbound {
    /// The topic that a PUBLISH with an alias is for; one that names both ties them together.
    pub fn resolve(&mut self, alias: u16, topic: &[u8], limits: &Limits) -> Result<&[u8], Reason> {
        // [MQTT-3.3.2-9]; an alias of 0 is none of a decoded packet. [MQTT-3.3.2-8]
        if alias > limits.topics_max {
            return Err(Reason::TopicAliasInvalid);
        }
        let place = usize::from(alias).saturating_sub(1);
        if !topic.is_empty() {
            if self.topics.len() <= place {
                self.topics.resize_with(place + 1, Box::default);
            }
            let Some(known) = self.topics.get_mut(place) else { return Err(Reason::TopicAliasInvalid) };
            let n_bytes = self.n_bytes - known.len() + topic.len();
            if n_bytes > limits.bytes_max {
                return Err(Reason::QuotaExceeded);
            }
            if **known != *topic {
                *known = topic.into();
                self.n_bytes = n_bytes;
            }
        }
        match self.topics.get(place) {
            Some(known) if !known.is_empty() => Ok(known),
            // Section 3.3.4: an alias that stands for nothing.
            _ => Err(Reason::ProtocolError),
        }
    }

    /// Memory of the topics, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// The topics that the gateway has given numbers to towards one client.
#[derive(Debug)]
pub struct Outbound {
    by_topic: HashMap<Box<[u8]>, u16, RandomState>,
    n_bytes: usize,
    limits: Limits,
}

/// What a PUBLISH carries of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    pub number: u16,
    /// The client knows it: the topic is left out.
    pub is_known: bool,
}

/// What is given is this server's own choice, kept anew for each client: topics that save more than others have
/// room in it.
const GIVEN_BYTES_MAX: usize = 256 << 10;

impl Outbound {
    /// For a client that takes some aliases; `None` for one that takes none. [MQTT-3.1.2-26] [MQTT-3.1.2-27]
    pub fn new(accepted: u16, limits: &Limits, hasher: RandomState) -> Option<Box<Self>> {
        let bytes_max = limits.bytes_max.min(GIVEN_BYTES_MAX);
        let limits = Limits { topics_max: limits.topics_max.min(accepted), bytes_max };
        let aliases = Self { by_topic: HashMap::with_hasher(hasher), n_bytes: 0, limits };
        (limits.topics_max > 0).then(|| Box::new(aliases))
    }

    /// The alias of `topic`, or the one that it may be given.
    pub fn find(&self, topic: &[u8]) -> Option<Alias> {
        if let Some(&number) = self.by_topic.get(topic) {
            return Some(Alias { number, is_known: true });
        }
        let n_given = self.by_topic.len() as u16;
        let has_room =
            n_given < self.limits.topics_max && self.n_bytes + topic.len() <= self.limits.bytes_max;
        has_room.then_some(Alias { number: n_given + 1, is_known: false })
    }

    /// A PUBLISH with both is on its way.
    pub fn give(&mut self, topic: &[u8], alias: Alias) {
        debug_assert!(!alias.is_known);
        self.by_topic.insert(topic.into(), alias.number);
        self.n_bytes += topic.len();
    }

    /// Memory of the topics, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { topics_max: 3, bytes_max: 10 };

    #[test]
    fn an_alias_stands_for_the_topic_that_it_was_last_given_with() {
        // [MQTT-3.3.2-12]
        let mut aliases = Inbound::default();
        assert_eq!(aliases.resolve(1, b"", &LIMITS), Err(Reason::ProtocolError));
        assert_eq!(aliases.resolve(3, b"abc", &LIMITS), Ok(&b"abc"[..]));
        assert_eq!(aliases.resolve(3, b"", &LIMITS), Ok(&b"abc"[..]));
        assert_eq!(aliases.resolve(2, b"", &LIMITS), Err(Reason::ProtocolError));
        assert_eq!(aliases.resolve(3, b"xy", &LIMITS), Ok(&b"xy"[..]));
        assert_eq!(aliases.n_bytes(), 2);
        assert_eq!(aliases.resolve(4, b"abc", &LIMITS), Err(Reason::TopicAliasInvalid));
        assert_eq!(aliases.resolve(1, b"123456789", &LIMITS), Err(Reason::QuotaExceeded));
        assert_eq!(aliases.resolve(3, b"1234567890", &LIMITS), Ok(&b"1234567890"[..]));
    }

    #[test]
    fn no_more_aliases_are_given_than_the_client_takes_and_there_is_room_for() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        assert!(Outbound::new(0, &LIMITS, hasher.clone()).is_none());
        let mut aliases = Outbound::new(2, &LIMITS, hasher).unwrap();
        let first = aliases.find(b"abc").unwrap();
        assert_eq!(first, Alias { number: 1, is_known: false });
        aliases.give(b"abc", first);
        assert_eq!(aliases.find(b"abc"), Some(Alias { number: 1, is_known: true }));
        assert_eq!(aliases.find(b"12345678"), None);
        let second = aliases.find(b"x").unwrap();
        aliases.give(b"x", second);
        assert_eq!((second.number, aliases.find(b"y"), aliases.n_bytes()), (2, None, 4));
    }
}
