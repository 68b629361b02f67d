//! What an MQTT client hears where it asks for what it can't have, and what its limits keep from it.

use super::log::lines;
use super::sessions::V5;
use super::*;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{Filters, Packet, Subscribe, SubscribeOptions, Version};
use crate::mqtt::property::Properties;

impl Alone {
    /// Sends a SUBSCRIBE of MQTT 5 with these filters.
    fn ask_for(&mut self, id: ConnectionId, filters: &[&[u8]]) {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, SubscribeOptions::default())).collect();
        let filters = Filters::from_list(&filters);
        let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
        let mut out = Vec::new();
        encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
        self.shard.receive(id, &out, self.now);
    }

    /// The packets of MQTT 5 that a client was sent since the last look, each with its length.
    fn heard(&mut self, id: ConnectionId, mut each: impl FnMut(&Packet<'_>, usize)) {
        let bytes = self.sent_bytes(id);
        let mut rest = &bytes[..];
        while let Ok(Decoded::Packet(packet, n)) = decode(rest, Version::V5, &Limits::NONE) {
            rest = &rest[n..];
            each(&packet, n);
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn a_filter_that_is_refused_is_counted_by_why_and_the_log_names_the_setting() {
    let mut limited = settings();
    (limited.mqtt.topic_levels_max, limited.mqtt.subscriptions_max) = (3, 2);
    let mut alone = Alone::new(limited);
    let (id, _) = alone.mqtt(V5);
    let filters: [&[u8]; 6] = [b"a/#/b", b"a/b/c/d", b"_INBOX/#", b"a", b"b", b"c"];
    let told = lines(|| alone.ask_for(id, &filters));
    let mut codes = Vec::new();
    alone.heard(id, |packet, _| match packet {
        Packet::Suback(it) => codes.extend_from_slice(it.codes),
        other => panic!("{other:?}"),
    });
    assert_eq!(codes, [0x8F, 0x8F, 0x87, 0, 0, 0x97]);
    assert_eq!(alone.shard.counters().subscriptions_refused, [1, 1, 1, 1]);
    let whys = ["no topic filter", "mqtt.topic_levels_max is 3", "not open", "mqtt.subscriptions_max is 2"];
    assert_eq!(told.len(), whys.len(), "{told:#?}");
    for (line, why) in told.iter().zip(whys) {
        assert!(line.contains(why) && line.contains("127.0.0.1:9") && line.contains("filter="), "{line}");
    }
}
