//! What an MQTT client publishes.

use super::{MqttClient, Sent};
use crate::message::Quality;
use crate::mqtt::encode;
use crate::mqtt::packet::{Publish, Qos};
use crate::mqtt::property::{Pair, Property, PropertyBlock};
use crate::sim::by_topic::ANSWER_BY_TOPIC;
use crate::sim::client::Scene;
use crate::sim::crossing::{CORRELATION, correlating};
use crate::sim::record::Publication;
use crate::sim::scenario::TOPICS;
use crate::subject::mapping;

impl MqttClient {
    pub(super) fn publish(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let quality = if scene.chance.one_in(2) { Quality::AtLeastOnce } else { Quality::AtMostOnce };
        let mut block = PropertyBlock::new();
        let mut asks = None;
        if self.version.is_v5() && scene.chance.one_in(5) {
            let topic = *scene.chance.pick(&TOPICS);
            asks = Some(topic);
            let properties =
                [Property::ResponseTopic(topic.as_bytes()), Property::CorrelationData(CORRELATION)];
            properties.into_iter().for_each(|it| block.push(it).expect("it is legal"));
        } else if self.version.is_v5() && scene.chance.one_in(3) {
            described(&mut block);
        }
        let mut publication = scene.publication(quality, true);
        publication.properties = block.properties().raw().to_vec();
        publication.asks = asks;
        publication.identity = self.identity(scene);
        // What it says of that itself nobody hears.
        if self.version.is_v5() && scene.chance.one_in(4) {
            let forged = Property::UserProperty(Pair { name: b"mqtt-client-id", value: b"root" });
            block.push(forged).expect("it is legal");
        }
        publication.retain = scene.chance.below(10) < scene.scenario.n_retained_in_ten;
        if publication.retain && scene.chance.one_in(4) {
            publication.payload.clear();
        }
        self.send(publication, &block, scene);
        "PUBLISH"
    }

    /// Answers a request of NATS: whoever asked hears it at its inbox.
    pub(super) fn answer(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let (topic, is_correlated) = self.asked.remove(0);
        let quality = if scene.chance.one_in(2) { Quality::AtLeastOnce } else { Quality::AtMostOnce };
        let block = if is_correlated { correlating() } else { PropertyBlock::new() };
        let mut publication = scene.publication(quality, true);
        publication.subject.clear();
        mapping::topic_to_subject(&topic, &mut publication.subject);
        publication.properties = block.properties().raw().to_vec();
        publication.identity = self.identity(scene);
        publication.is_answer = true;
        self.send(publication, &block, scene);
        "PUBLISH of an answer to NATS"
    }

    /// Answers a request that came by topic alone, at the topic that goes with it; now and then twice, or with an
    /// id that nobody waits for.
    pub(super) fn answer_by_topic(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let request =
            if scene.chance.one_in(4) { self.asked_by_topic[0] } else { self.asked_by_topic.remove(0) };
        let is_forged = scene.chance.one_in(8);
        let quality = if scene.chance.one_in(2) { Quality::AtLeastOnce } else { Quality::AtMostOnce };
        let mut block = PropertyBlock::new();
        if self.version.is_v5() && scene.chance.one_in(3) {
            described(&mut block);
        }
        let mut publication = scene.publication(quality, true);
        publication.properties = block.properties().raw().to_vec();
        publication.identity = self.identity(scene);
        let (topic, publication) =
            scene.oracle.publications[request].answered_by_topic(publication, is_forged);
        self.send_to(&topic, publication, &block, scene);
        ANSWER_BY_TOPIC
    }

    /// Who it is, where the gateway tells that.
    fn identity(&self, scene: &Scene<'_>) -> Vec<(&'static str, String)> {
        let is_told = scene.scenario.settings.mqtt.identifies_publishers;
        let told = [("Mqtt-Client-Id", self.client_id.clone()), ("Mqtt-Client-Protocol", "mqtt".into())];
        is_told.then_some(told).into_iter().flatten().collect()
    }

    /// Publishes with these properties, of which others may hear less.
    fn send(&mut self, publication: Publication, block: &PropertyBlock, scene: &mut Scene<'_>) {
        let mut topic = Vec::new();
        assert!(mapping::subject_to_topic(&publication.subject, &mut topic), "it was made from a topic");
        self.send_to(&topic, publication, block, scene);
    }

    fn send_to(
        &mut self,
        topic: &[u8],
        publication: Publication,
        block: &PropertyBlock,
        scene: &mut Scene<'_>,
    ) {
        let (payload, retain, quality) =
            (publication.payload.clone(), publication.retain, publication.quality);
        let number = scene.oracle.publish(publication);
        let (qos, packet_id) = match quality {
            Quality::AtMostOnce => (Qos::AtMostOnce, 0),
            Quality::AtLeastOnce | Quality::ExactlyOnce => (Qos::of(quality), self.packet_id()),
        };
        let properties = block.properties();
        let publish = Publish { dup: false, qos, retain, topic, packet_id, properties, payload: &payload };
        encode::publish(scene.out, self.version, &publish).expect("all of it is short");
        match quality {
            Quality::AtMostOnce => self.sent.push_back(Sent::Publish(number)),
            Quality::AtLeastOnce | Quality::ExactlyOnce => self.receipts.push_back((packet_id, number)),
        }
    }
}

fn described(block: &mut PropertyBlock) {
    let pair = Pair { name: b"name", value: b"a value" };
    let properties = [Property::ContentType(b"text"), Property::UserProperty(pair)];
    properties.into_iter().for_each(|it| block.push(it).expect("it is legal"));
}
