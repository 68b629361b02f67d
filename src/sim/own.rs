//! What the gateway says of itself: to the oracle it is one more publisher, of messages that nobody sent and
//! that have a cause each. When they are due, to whom and how often follows from that as for all others; here is
//! what they say.

use super::client::Scene;
use super::faults::{Check, Kind, Part, broken};
use super::oracle::Oracle;
use super::presence::Presence;
use super::reading::Step;
use super::record::{Ear, Publication};
use crate::message::Quality;
use crate::mqtt::reason::Reason;
use crate::subject::mapping;
use serde_json::Value;

/// The gateway as a publisher: no connection has this number.
pub const GATEWAY: usize = usize::MAX;

/// Why the gateway says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This publication's publisher wants to hear what becomes of it.
    Wish(usize),
    /// Somebody reads what is retained.
    Reading(usize),
    /// A client has come or gone.
    Presence(Presence),
}

/// What becomes of a publication whose publisher wants to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Taken(u64),
    /// By nobody.
    Refused,
}

/// What stands for a payload that is not known yet.
pub const UNKNOWN: &[u8] = b"?";

/// A message as a client has it.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    pub ear: Ear,
    pub payload: &'a [u8],
    /// Where it can see one.
    pub header: Option<&'a [u8]>,
    /// It has a reply subject, a flag or a quality.
    pub is_marked: bool,
}

impl Oracle {
    /// Notes that the gateway will say something at a subject, now or later.
    pub fn expect_own(&mut self, subject: Vec<u8>, cause: Cause) -> usize {
        let publication = Publication {
            subject,
            payload: UNKNOWN.to_vec(),
            cause: Some(cause),
            ..Publication::new(GATEWAY, Quality::AtMostOnce)
        };
        self.enter(publication)
    }

    /// Whether what causes it is certain.
    pub(super) fn is_caused(&self, cause: Cause) -> bool {
        match cause {
            // An acknowledgement may come later than the drain.
            Cause::Wish(publication) => !self.is_stopping && self.is_certain(&self.publications[publication]),
            // Whoever is gone reads no more.
            Cause::Reading(reading) => {
                !self.is_stopping && self.listeners[self.readings[reading].by].is_alive
            }
            Cause::Presence(presence) => self.is_told(presence),
        }
    }

    /// What the gateway may say at a subject, or has said there.
    pub fn own_at(&self, subject: &[u8], payload: &[u8]) -> Option<usize> {
        self.own.get(subject).copied().or_else(|| self.told_at(subject, payload))
    }

    /// A publisher hears what became of a message: once, and the same whoever hears it.
    fn acknowledged(&mut self, number: usize, publication: usize, came: &Came<'_>) -> Check {
        let what = || {
            let payload = String::from_utf8_lossy(came.payload);
            format!("{:?} heard {payload} of {}", came.ear, self.describe(publication))
        };
        let Some(outcome) = outcome(came.payload).filter(|_| came.header.is_none_or(<[u8]>::is_empty)) else {
            return broken(Kind::Content, what());
        };
        let known = &self.publications[number].payload;
        if known != UNKNOWN && known != came.payload {
            return broken(Kind::Receipt, format!("{} after {}", what(), String::from_utf8_lossy(known)));
        }
        let reason = match outcome {
            Outcome::Taken(_) => Reason::Success,
            Outcome::Refused => Reason::NoMatchingSubscribers,
        };
        if let Outcome::Taken(seq) = outcome {
            if known == UNKNOWN && self.seqs.contains(&seq) {
                return broken(Kind::Receipt, format!("{}: another has that number", what()));
            }
            // One publisher's are numbered in the order in which they are told.
            let place = (came.ear, self.publications[publication].by);
            let last = self.last_seqs.get(&place).copied().unwrap_or(0);
            if seq < last && !self.is_in_group(came.ear) {
                return broken(Kind::Order, format!("{}: {last} came before", what()));
            }
            self.seqs.insert(seq);
            self.last_seqs.insert(place, seq);
        }
        self.publications[number].payload = came.payload.to_vec();
        self.kept(publication, reason);
        Ok(())
    }
}

impl Scene<'_> {
    /// What the gateway may say at a topic.
    pub fn own_at_topic(&self, topic: &[u8], payload: &[u8]) -> Option<usize> {
        let mut subject = Vec::new();
        mapping::topic_to_subject(topic, &mut subject);
        self.oracle.own_at(&subject, payload)
    }

    /// The client hears something that the gateway says itself.
    pub fn hear_own(&mut self, number: usize, came: &Came<'_>) -> Check {
        let Some(cause) = self.oracle.publications[number].cause else {
            return self.unexpected("a client's message for the gateway's");
        };
        let part = match cause {
            Cause::Wish(_) => Part::Acknowledgement,
            Cause::Reading(_) => Part::Reading,
            Cause::Presence(_) => Part::Presence,
        };
        if came.is_marked {
            return self.unexpected(&format!("{came:?} for {cause:?}"));
        }
        for _ in 0..self.lie.n_heard(part, self.chance) {
            match cause {
                Cause::Wish(publication) => self.oracle.acknowledged(number, publication, came)?,
                Cause::Presence(presence) => self.oracle.hear_told(number, presence, came)?,
                Cause::Reading(reading) => {
                    if self.read(number, reading, came)? == Step::One {
                        continue;
                    }
                }
            }
            self.oracle.heard(came.ear, number, Quality::AtMostOnce)?;
        }
        Ok(())
    }
}

/// Whether a subject is one of the gateway's own.
pub fn is_gateways(subject: &[u8]) -> bool {
    subject.starts_with(b"$STRAIT.") || subject.starts_with(b"/24SYS.")
}

/// What an acknowledgement says, if it is one.
fn outcome(payload: &[u8]) -> Option<Outcome> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let fields = value.as_object()?;
    if let Some(error) = fields.get("error") {
        let is_told = error["description"].is_string() && error["code"] == 503;
        return (is_told && fields.len() == 1).then_some(Outcome::Refused);
    }
    let seq = fields.get("seq")?.as_u64()?;
    (fields.get("stream")? == "strait" && fields.len() == 2).then_some(Outcome::Taken(seq))
}
