//! Names and filters with as many levels as 65,535 bytes may have: they are taken like others, and cost what
//! their bytes cost. By counted work and by the memory of the process, not by the clock; a walk that went into
//! a call frame for each level would not come back.

use super::memory::resident_bytes;
use super::sessions::{V5, Wish};
use super::*;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{Filters, Packet, Publish, Qos, Subscribe, SubscribeOptions, Version};
use crate::mqtt::property::Properties;

/// Of a name and of a filter.
const BYTES_MAX: usize = 65_535;

impl Alone {
    /// Subscribes in one packet, and forgets what comes of it.
    fn subscribe_to_all(&mut self, id: ConnectionId, filters: &[Vec<u8>]) {
        let filters: Vec<_> = filters.iter().map(|it| (&it[..], SubscribeOptions::default())).collect();
        let filters = Filters::from_list(&filters);
        let subscribe = Subscribe { packet_id: 1, properties: Properties::EMPTY, filters };
        let mut out = Vec::new();
        encode::subscribe(&mut out, Version::V5, &subscribe).unwrap();
        self.shard.receive(id, &out, self.now);
    }

    fn publish_to(&mut self, id: ConnectionId, topic: &[u8], retain: bool) {
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain,
            topic,
            packet_id: 0,
            properties: Properties::EMPTY,
            payload: b"x",
        };
        let mut out = Vec::new();
        encode::publish(&mut out, Version::V5, &publish).unwrap();
        self.shard.receive(id, &out, self.now);
    }

    /// The topics of what a client was sent since the last look.
    fn topics(&mut self, id: ConnectionId) -> Vec<Vec<u8>> {
        let bytes = self.sent_bytes(id);
        let mut rest = &bytes[..];
        let mut topics = Vec::new();
        while let Ok(Decoded::Packet(packet, n)) = decode(rest, Version::V5, &Limits::NONE) {
            rest = &rest[n..];
            if let Packet::Publish(it) = packet {
                topics.push(it.topic.to_vec());
            }
        }
        assert!(rest.is_empty());
        topics
    }
}

fn roomy() -> Settings {
    let mut settings = settings();
    settings.mqtt.decode.packet_bytes_max = u32::MAX;
    settings.write_queue_bytes_max = 1 << 28;
    settings.core_queue_bytes_max = 1 << 30;
    settings
}

// [MQTT-4.7.3-3]
// 3.1.1: [MQTT-4.7.3-3]
#[test]
fn a_name_of_65_535_slashes_goes_through_every_kind_of_filter_live_and_retained() {
    let slashes = vec![b'/'; BYTES_MAX];
    let below = |front: &[u8], n: usize, last: &[u8]| [&front.repeat(n)[..], last].concat();
    let filters = [
        slashes.clone(),
        b"#".to_vec(),
        below(b"+/", BYTES_MAX / 2, b"#"),
        below(b"/", BYTES_MAX - 1, b"#"),
        below(b"/", BYTES_MAX - 1, b"+"),
        [b"$share/g/", &below(b"/", BYTES_MAX - 20, b"#")[..]].concat(),
    ];
    for filter in filters {
        let mut alone = Alone::new(roomy());
        let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
        let [(live, _), (late, _)] = ["live", "late"].map(|client_id| alone.mqtt(Wish { client_id, ..V5 }));
        // What `+` of the next to last level stands for may differ.
        let topic = if filter.ends_with(b"/+") { slashes[1..].to_vec() } else { slashes.clone() };
        alone.subscribe_to_all(live, std::slice::from_ref(&filter));
        assert_eq!(alone.topics(live), Vec::<Vec<u8>>::new());
        for _ in 0..3 {
            // The third comes from the cache.
            alone.publish_to(publisher, &topic, true);
        }
        let is_shared = filter.starts_with(b"$share");
        assert_eq!(alone.topics(live), vec![topic.clone(); 3]);
        alone.subscribe_to_all(late, std::slice::from_ref(&filter));
        alone.pass(1);
        assert_eq!(alone.topics(late), vec![topic.clone(); usize::from(!is_shared)]);
        alone.let_go_of(live, &[&filter]);
        alone.let_go_of(late, &[&filter]);
        assert_eq!(alone.shard.counters().n_subscriptions, [0, 0]);
    }
}

/// Filters that share nearly all of their levels.
#[test]
fn a_thousand_of_the_deepest_filters_cost_their_bytes_and_a_publish_looks_at_each_level_once() {
    let mut alone = Alone::new(roomy());
    // An image of it at each look would be most of the work: there is one in the end.
    alone.is_keeping = false;
    let (hostile, _) = alone.mqtt(Wish { client_id: "hostile", ..V5 });
    let (bystander, _) = alone.mqtt(Wish { client_id: "bystander", ..V5 });
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.subscribe_to_all(bystander, &[b"ordinary".to_vec()]);
    let deep = |last: String| [&b"+/".repeat(BYTES_MAX / 2 - 4)[..], last.as_bytes()].concat();
    let before = resident_bytes();
    for nth in 0..100 {
        let filters: Vec<_> = (0..10).map(|of_ten| deep(format!("{nth}-{of_ten}"))).collect();
        alone.subscribe_to_all(hostile, &filters);
    }
    alone.topics(hostile);
    let n_bytes = 1_000 * BYTES_MAX;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 * n_bytes, "{grown} bytes for filters of {n_bytes}");
    let misses_before = alone.shard.counters().route_misses;
    for nth in 0..20 {
        alone.publish_to(
            publisher,
            &[&b"a/".repeat(BYTES_MAX / 2 - 4)[..], format!("{nth}-0").as_bytes()].concat(),
            false,
        );
        alone.publish_to(publisher, b"ordinary", false);
    }
    assert_eq!(alone.shard.counters().route_misses - misses_before, 22);
    alone.is_keeping = true;
    assert_eq!((alone.topics(hostile).len(), alone.topics(bystander).len()), (20, 20));
    // The nodes and the texts go with their client.
    alone.lose(hostile);
    alone.pass(200);
    assert_eq!(alone.shard.counters().n_subscriptions, [1, 0]);
}
