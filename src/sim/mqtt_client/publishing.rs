//! What an MQTT client publishes.

use super::{MqttClient, Sent};
use crate::message::Quality;
use crate::mqtt::encode;
use crate::mqtt::packet::{Publish, Qos};
use crate::mqtt::property::{Pair, Property, PropertyBlock};
use crate::sim::client::Scene;
use crate::sim::crossing::CORRELATION;
use crate::sim::scenario::TOPICS;

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
            let pair = Pair { name: b"name", value: b"a value" };
            let properties = [Property::ContentType(b"text"), Property::UserProperty(pair)];
            properties.into_iter().for_each(|it| block.push(it).expect("it is legal"));
        }
        let mut publication = scene.publication(quality, true);
        publication.properties = block.properties().raw().to_vec();
        publication.asks = asks;
        if scene.scenario.settings.mqtt.identifies_publishers {
            publication.identity.push(("Mqtt-Client-Id", self.client_id.clone()));
        }
        // What it says of that itself nobody hears.
        if self.version.is_v5() && scene.chance.one_in(4) {
            let forged = Property::UserProperty(Pair { name: b"mqtt-client-id", value: b"root" });
            block.push(forged).expect("it is legal");
        }
        publication.retain = asks.is_none() && scene.chance.below(10) < scene.scenario.n_retained_in_ten;
        if publication.retain && scene.chance.one_in(4) {
            publication.payload.clear();
        }
        let (payload, retain) = (publication.payload.clone(), publication.retain);
        let number = scene.oracle.publish(publication);
        let topic = scene.oracle.publications[number].topic.clone().expect("it was made from a topic");
        let (qos, packet_id) = match quality {
            Quality::AtMostOnce => (Qos::AtMostOnce, 0),
            Quality::AtLeastOnce | Quality::ExactlyOnce => (Qos::of(quality), self.packet_id()),
        };
        let properties = block.properties();
        let publish =
            Publish { dup: false, qos, retain, topic: &topic, packet_id, properties, payload: &payload };
        encode::publish(scene.out, self.version, &publish).expect("all of it is short");
        match quality {
            Quality::AtMostOnce => self.sent.push_back(Sent::Publish(number)),
            Quality::AtLeastOnce | Quality::ExactlyOnce => self.receipts.push_back((packet_id, number)),
        }
        "PUBLISH"
    }
}
