//! What a NATS client asks, and how it answers what it is asked.

use super::{NatsClient, Sent};
use crate::message::Quality;
use crate::mqtt::property::{Pair, Property, PropertyBlock};
use crate::sim::client::Scene;
use crate::sim::crossing::{ASKING_HEADER, CORRELATING_HEADER, CORRELATION};
use crate::sim::faults::Check;
use crate::sim::names::Names;
use crate::sim::record::Publication;
use crate::subject::mapping;

impl NatsClient {
    /// Answers a request of MQTT: the client that asked hears it at its response topic.
    pub(super) fn answer(&mut self, reply: &[u8], request: usize, scene: &mut Scene<'_>) {
        let asked = &scene.oracle.publications[request];
        let (asker, topic) = (asked.by, asked.asks.unwrap_or_default());
        let mut told = PropertyBlock::new();
        told.push(Property::CorrelationData(CORRELATION)).expect("it is legal");
        let identity = self.identity(scene);
        for (name, value) in &identity {
            let pair = Pair { name: name.as_bytes(), value: value.as_bytes() };
            told.push(Property::UserProperty(pair)).expect("it is legal");
        }
        let mut subject = Vec::new();
        mapping::topic_to_subject(topic.as_bytes(), &mut subject);
        let answers = Some((asker, told.properties().raw().to_vec()));
        // Whatever the client is: only a header asks for more.
        let publication = scene.publication(Quality::AtMostOnce, false);
        let spelled = reply.to_vec();
        self.publish(Publication { subject, spelled, answers, ..publication }, scene);
    }

    /// A publish with a reply subject of its own, so that a 503 can be told from others.
    pub(super) fn request(&mut self, scene: &mut Scene<'_>) -> &'static str {
        if self.inbox.is_none() {
            return self.open_inbox(scene);
        }
        let number = scene.oracle.publications.len();
        let inbox = self.names().canonical(format!("_INBOX.c{}.{number}", scene.connection).as_bytes());
        let publication = self.publication(scene);
        if self.headers && scene.scenario.wants_acknowledgements && scene.chance.one_in(2) {
            let (header, quality) = (ASKING_HEADER.as_bytes().to_vec(), Quality::AtLeastOnce);
            let publication = Publication { acknowledged_at: inbox, header, quality, ..publication };
            self.publish(publication, scene);
            return "HPUB with a wish for an acknowledgement";
        }
        let is_request = self.no_responders;
        let is_correlated = self.headers && scene.chance.one_in(2);
        let header = if is_correlated { CORRELATING_HEADER.as_bytes().to_vec() } else { Vec::new() };
        self.publish(Publication { reply: inbox, is_request, header, ..publication }, scene);
        "PUB of a request"
    }

    fn open_inbox(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let filter = format!("_INBOX.c{}.*", scene.connection);
        self.n_sids += 1;
        let number = self.enter(self.n_sids, &filter, None, scene);
        self.inbox = Some(number);
        "SUB of its inbox"
    }

    pub(super) fn read(&mut self, scene: &mut Scene<'_>) -> &'static str {
        if self.inbox.is_none() {
            return self.open_inbox(scene);
        }
        let reading = scene.start_reading(self.names().mount.as_bytes());
        self.sent.push_back(Sent::Read(reading));
        "PUB of a request for what is retained"
    }
}

pub fn hear_no_responders(
    subject: &[u8],
    names: Names,
    header: &[u8],
    payload: &[u8],
    sid: u32,
    scene: &mut Scene<'_>,
) -> Check {
    let last = subject.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    let number: Option<usize> = std::str::from_utf8(last).ok().and_then(|text| text.parse().ok());
    let request = number.and_then(|number| scene.oracle.publications.get(number)).filter(|publication| {
        let subject_asked = &publication.subject;
        // One that has no name there is told as it is, in its mount.
        let unnamed = || subject_asked.strip_prefix(names.mount.as_bytes()).unwrap_or_default().to_vec();
        let asked = names.seen(subject_asked).unwrap_or_else(unnamed);
        let expected = [&b"NATS/1.0 503\r\nNats-Subject: "[..], &asked, b"\r\n\r\n"].concat();
        publication.by == scene.connection
            && publication.is_request
            && publication.reply == subject
            && header == expected
            && payload.is_empty()
            && !publication.is_final
    });
    let ear = (scene.connection, Some(sid));
    let is_for_reply = scene.oracle.subscriptions.iter().any(|subscription| {
        subscription.ear == ear && subscription.filters.iter().any(|filter| filter.matches(subject))
    });
    match (number, request) {
        (Some(number), Some(_)) if is_for_reply => {
            scene.oracle.publications[number].n_no_responders += 1;
            Ok(())
        }
        _ => scene.unexpected(&format!("503 for {}", String::from_utf8_lossy(subject))),
    }
}
