//! Requests to clients that are asked by topics alone. Where somebody subscribes to the topic that carries the way
//! back a request goes there, and nowhere else; what is published to the topic that answers it goes to whoever
//! asked, and to nobody else. The two pairs of topics of this world are written down by hand.
//!
//! Who asks can't always know whether somebody is there: then it may be either, and is for all what the first heard.

use super::crossing::CORRELATION;
use super::oracle::Oracle;
use super::record::{Publication, Subscription};
use crate::message::GATEWAY_INBOX;
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::subject::mapping;

/// What a client does that answers so.
pub const ANSWER_BY_TOPIC: &str = "PUBLISH of an answer by topic";

/// An id like those of requests, of one that nobody made.
const FORGED_ID: &str = "0-000102030405060708090a0b0c0d0e0f";

/// The way of a request that is one of such clients', if any is there.
#[derive(Clone, Debug)]
pub struct Way {
    /// What is before the id in its topic and after it, and in that of its answers.
    request: [String; 2],
    answer: [String; 2],
    /// Its subject, with another id.
    subject: Vec<u8>,
    /// What somebody heard: its id, or that it went as others do.
    heard: Option<Option<String>>,
}

impl Way {
    /// Of a publication that has just begun.
    pub fn of(publication: &Publication) -> Option<Self> {
        // What is retained stays where others look for it.
        if publication.retain || (publication.asks.is_none() && publication.reply.is_empty()) {
            return None;
        }
        let subject = std::str::from_utf8(&publication.subject).ok()?;
        let tokens: Vec<&str> = subject.split('.').collect();
        let (request, answer) = match tokens[..] {
            ["a", any] => ([format!("a/{any}/"), String::new()], [format!("r/{any}/"), String::new()]),
            ["b", "b"] => (["b/".into(), "/b".into()], ["r/".into(), "/q".into()]),
            _ => return None,
        };
        let subject = format!("{}0-0{}", request[0], request[1]).replace('/', ".").into_bytes();
        Some(Self { request, answer, subject, heard: None })
    }

    /// The id in a topic of its request.
    fn id_in<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let id = topic.strip_prefix(&self.request[0])?.strip_suffix(&self.request[1])?;
        let (core, token) = id.split_once('-')?;
        let is_id = core.len() == 1 && token.len() == 32 && token.bytes().all(|it| it.is_ascii_hexdigit());
        is_id.then_some(id)
    }
}

impl Publication {
    /// Whether somebody heard it at a topic that carries the way back.
    pub fn was_asked_by_topic(&self) -> bool {
        self.way.as_ref().is_some_and(|way| matches!(way.heard, Some(Some(_))))
    }

    /// An answer to a request of NATS that goes by way of the core that made the request's id.
    pub fn is_passed_on(&self) -> bool {
        self.is_by_topic && self.answers.is_none()
    }

    /// Makes an answer to this request of `answer`, and says at which topic.
    pub fn answered_by_topic(&self, answer: Publication, is_forged: bool) -> (Vec<u8>, Publication) {
        let way = self.way.as_ref().expect("it was asked so");
        let id = way.heard.clone().flatten().filter(|_| !is_forged).unwrap_or(FORGED_ID.into());
        let topic = format!("{}{id}{}", way.answer[0], way.answer[1]).into_bytes();
        let mut subject = self.reply.clone();
        let mut answers = is_forged.then_some((usize::MAX, Vec::new()));
        if let Some(response_topic) = self.asks {
            mapping::topic_to_subject(response_topic.as_bytes(), &mut subject);
            let mut told = PropertyBlock::new();
            told.push(Property::CorrelationData(CORRELATION)).expect("it is legal");
            let said = answer.properties_told(true);
            told.push_without(Properties::from_checked(&said), |_| false);
            answers = answers.or(Some((self.by, told.properties().raw().to_vec())));
        }
        (topic, Publication { subject, answers, is_by_topic: true, ..answer })
    }
}

impl Oracle {
    /// The subjects of which a publication may have gone to one.
    pub(super) fn names<'p>(&self, publication: &'p Publication) -> impl Iterator<Item = &'p [u8]> {
        let is_by_topic =
            publication.way.as_ref().map_or(Some(false), |way| self.goes_by_topic(publication, way));
        let plain = (is_by_topic != Some(true)).then_some(&*publication.subject);
        let by_topic =
            publication.way.as_ref().filter(|_| is_by_topic != Some(false)).map(|way| &*way.subject);
        plain.into_iter().chain(by_topic)
    }

    /// Whether a request goes to clients that are asked by topics alone, where that is certain.
    fn goes_by_topic(&self, publication: &Publication, way: &Way) -> Option<bool> {
        if let Some(heard) = &way.heard {
            return Some(heard.is_some());
        }
        // Who was there then is not known any more.
        if publication.is_final {
            return None;
        }
        let is_for = |it: &&Subscription| it.filters.iter().any(|filter| filter.matches(&way.subject));
        let concerned = || self.subscriptions.iter().filter(is_for);
        if concerned().any(|it| self.is_there(it, publication)) {
            return Some(true);
        }
        if concerned().any(|it| self.may_be_there(it, publication)) { None } else { Some(false) }
    }

    /// Whether a core may take a subscription for one that is there, when the message is published.
    fn may_be_there(&self, subscription: &Subscription, publication: &Publication) -> bool {
        let ended = self.listeners[subscription.ear.0].ended;
        let is_later = publication.kept.is_some_and(|kept| kept < subscription.terms[0].known.sent);
        // Of one whose client has ended the other cores hear later.
        !is_later
            && !subscription.end.is_some_and(|end| end.is_before(publication.began))
            && ended.is_none_or(|ended| ended >= self.quiet_since)
    }

    /// Whether every core knows that it is there.
    fn is_there(&self, subscription: &Subscription, publication: &Publication) -> bool {
        let may_be_over = subscription.end.is_some_and(|end| {
            subscription.is_superseded || publication.handled.is_none_or(|handled| handled > end.sent)
        });
        self.is_alive(subscription)
            && subscription.max.is_none()
            && !may_be_over
            && subscription.terms[0].known.is_before(publication.began)
    }

    /// Whether an answer's publisher may hear that somebody took it who had gone.
    pub(super) fn may_seem_heard(&self, publication: &Publication) -> bool {
        let is_for = |it: &Subscription| it.filters.iter().any(|filter| filter.matches(&publication.subject));
        publication.is_passed_on()
            && self.subscriptions.iter().any(|it| is_for(it) && self.may_be_there(it, publication))
    }

    /// Whether nothing is known of the order and the time in which it comes: it takes another way than what its
    /// publisher sends to the same ones.
    pub(super) fn takes_two_ways(&self, publication: &Publication) -> bool {
        publication.is_passed_on() && !self.is_one_core
    }

    /// A publication came under a name: whether it may have that, with this reply subject if any.
    pub fn may_be_named(&mut self, publication_idx: usize, subject: &[u8], reply: &[u8]) -> bool {
        let publication = &self.publications[publication_idx];
        let Some(way) = &publication.way else { return subject == publication.subject };
        let is_by_topic = self.goes_by_topic(publication, way);
        let id = if subject == publication.subject {
            None
        } else {
            let topic = String::from_utf8_lossy(subject).replace('.', "/");
            let Some(id) = way.id_in(&topic) else { return false };
            // One request has one id, whichever way its answer takes.
            let inbox = [GATEWAY_INBOX, id.replace('-', ".").as_bytes()].concat();
            if reply.starts_with(GATEWAY_INBOX) && reply != inbox {
                return false;
            }
            Some(id.to_owned())
        };
        let is_right = is_by_topic.is_none_or(|it| it == id.is_some())
            && way.heard.as_ref().is_none_or(|heard| *heard == id);
        if let Some(way) = &mut self.publications[publication_idx].way {
            way.heard = Some(id);
        }
        is_right
    }
}
