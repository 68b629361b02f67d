//! Whole turns of a shard: a read full of small publishes, the fan-out, and the write queues emptied.

use super::world::{Client, READ_BYTES, Stream, World};
use super::{Meter, Named, Scenario};
use std::io::IoSlice;
use strait::mqtt::decode::{Decoded, Limits, decode};
use strait::mqtt::encode::{self, AckKind};
use strait::mqtt::packet::{Packet, Publish, Qos, Version};
use strait::mqtt::property::{Pair, Properties, Property, PropertyBlock};
use strait::mqtt::reason::Reason;

/// From, to, subscribers, and bytes of payload.
pub const ALL: &[Named] = &[
    Named { name: "turn/nats-nats/1:1/16B", make: || fan(Speaks::Nats, Speaks::Nats, 1, 16) },
    Named { name: "turn/nats-nats/1:1/128B", make: || fan(Speaks::Nats, Speaks::Nats, 1, 128) },
    Named { name: "turn/nats-nats/1:1/1KiB", make: || fan(Speaks::Nats, Speaks::Nats, 1, 1_024) },
    Named { name: "turn/nats-nats/1:8/16B", make: || fan(Speaks::Nats, Speaks::Nats, 8, 16) },
    Named { name: "turn/nats-nats/subjects/16B", make: || Box::new(subjects(64, 16)) },
    Named { name: "turn/nats-nats/group-of-4/16B", make: || Box::new(group(4, 16)) },
    Named { name: "turn/nats-nats/other-core/16B", make: || Box::new(other_core(16)) },
    Named { name: "turn/mqtt-mqtt/1:1/16B", make: || fan(Speaks::Mqtt, Speaks::Mqtt, 1, 16) },
    Named { name: "turn/mqtt-mqtt/1:1/128B", make: || fan(Speaks::Mqtt, Speaks::Mqtt, 1, 128) },
    Named { name: "turn/mqtt-mqtt/1:8/16B", make: || fan(Speaks::Mqtt, Speaks::Mqtt, 8, 16) },
    Named { name: "turn/mqtt-mqtt/qos1/128B", make: || Box::new(AtLeastOnce::new(128)) },
    Named { name: "turn/mqtt-mqtt/subjects/16B", make: || Box::new(topics(64, 16)) },
    Named { name: "turn/mqtt-nats/1:1/16B", make: || fan(Speaks::Mqtt, Speaks::Nats, 1, 16) },
    Named { name: "turn/mqtt-nats/1:8/16B", make: || fan(Speaks::Mqtt, Speaks::Nats, 8, 16) },
    Named { name: "turn/nats-mqtt/1:1/16B", make: || fan(Speaks::Nats, Speaks::Mqtt, 1, 16) },
    Named { name: "turn/mqtt5-nats/alike/16B", make: || told(Speaks::Mqtt, &ALIKE, 0, 16) },
    Named { name: "turn/mqtt5-nats/alike-properties/16B", make: || told(Speaks::Mqtt, &ALIKE, 3, 16) },
    Named { name: "turn/mqtt5-nats/alike-1:8/16B", make: || told(Speaks::Mqtt, &ALIKE_WIDE, 0, 16) },
    Named {
        name: "turn/mqtt5-nats/alike-1:8-properties/16B",
        make: || told(Speaks::Mqtt, &ALIKE_WIDE, 3, 16),
    },
    Named { name: "turn/mqtt5-nats/alike/128B", make: || told(Speaks::Mqtt, &ALIKE, 0, 128) },
    Named { name: "turn/mqtt5-nats/alike-properties/128B", make: || told(Speaks::Mqtt, &ALIKE, 3, 128) },
    Named { name: "turn/mqtt5-nats/subjects/16B", make: || told(Speaks::Mqtt, &SUBJECTS, 0, 16) },
    Named { name: "turn/mqtt5-nats/subjects-properties/16B", make: || told(Speaks::Mqtt, &SUBJECTS, 3, 16) },
    Named { name: "turn/mqtt5-nats/subjects-1:8/16B", make: || told(Speaks::Mqtt, &WIDE, 0, 16) },
    Named { name: "turn/mqtt5-nats/subjects-1:8-properties/16B", make: || told(Speaks::Mqtt, &WIDE, 3, 16) },
    Named { name: "turn/mqtt5-nats/other-core/16B", make: || told(Speaks::Mqtt, &AFAR, 0, 16) },
    Named { name: "turn/mqtt5-nats/other-core-properties/16B", make: || told(Speaks::Mqtt, &AFAR, 3, 16) },
    Named { name: "turn/nats-mqtt5/alike/16B", make: || told(Speaks::Nats, &ALIKE, 0, 16) },
    Named { name: "turn/nats-mqtt5/alike-headers/16B", make: || told(Speaks::Nats, &ALIKE, 3, 16) },
    Named { name: "turn/nats-mqtt5/alike/128B", make: || told(Speaks::Nats, &ALIKE, 0, 128) },
    Named { name: "turn/nats-mqtt5/alike-headers/128B", make: || told(Speaks::Nats, &ALIKE, 3, 128) },
    Named { name: "turn/nats-mqtt5/subjects/16B", make: || told(Speaks::Nats, &SUBJECTS, 0, 16) },
    Named { name: "turn/nats-mqtt5/subjects-headers/16B", make: || told(Speaks::Nats, &SUBJECTS, 3, 16) },
    Named { name: "turn/nats-mqtt5/subjects-1:8/16B", make: || told(Speaks::Nats, &WIDE, 0, 16) },
    Named { name: "turn/nats-mqtt5/subjects-1:8-headers/16B", make: || told(Speaks::Nats, &WIDE, 3, 16) },
    Named { name: "turn/nats-mqtt5/other-core/16B", make: || told(Speaks::Nats, &AFAR, 0, 16) },
    Named { name: "turn/nats-mqtt5/other-core-headers/16B", make: || told(Speaks::Nats, &AFAR, 3, 16) },
    Named { name: "turn/nats-mqtt/1:8/16B", make: || fan(Speaks::Nats, Speaks::Mqtt, 8, 16) },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Nats,
    Mqtt,
}

/// One publisher whose reads are full of publishes.
#[derive(Debug)]
pub struct Turn {
    world: World,
    publisher: Client,
    stream: Stream,
    read_bytes: usize,
}

impl Turn {
    /// One publisher and `n_subscribers` to its one subject; a read brings `read_bytes`.
    pub fn new(
        from: Speaks,
        to: Speaks,
        n_subscribers: usize,
        payload_len: usize,
        read_bytes: usize,
    ) -> Self {
        let mut world = World::new(1);
        for n in 0..n_subscribers {
            match to {
                Speaks::Nats => world.nats(0, "SUB sensor.data.temp 1\r\n"),
                Speaks::Mqtt => {
                    let filter = Some(("sensor/data/temp", Qos::AtMostOnce));
                    world.mqtt(&format!("s{n}"), Version::V3_1_1, filter)
                }
            };
        }
        let (publisher, frame) = match from {
            Speaks::Nats => (world.nats(0, ""), pub_op("sensor.data.temp", payload_len)),
            Speaks::Mqtt => {
                let packet = publish_packet("sensor/data/temp", 0, payload_len);
                (world.mqtt("p", Version::V3_1_1, None), packet)
            }
        };
        Self { world, publisher, stream: Stream::new([frame]), read_bytes }
    }

    /// A publisher in a world with its subscribers, which sends `frames` again and again.
    fn of(world: World, publisher: Client, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { world, publisher, stream: Stream::new(frames), read_bytes: READ_BYTES }
    }
}

fn fan(from: Speaks, to: Speaks, n_subscribers: usize, payload_len: usize) -> Box<dyn Scenario> {
    Box::new(Turn::new(from, to, n_subscribers, payload_len, READ_BYTES))
}

/// A queue group, whose members share the messages.
fn group(n_members: usize, payload_len: usize) -> Turn {
    let mut world = World::new(1);
    for _ in 0..n_members {
        world.nats(0, "SUB sensor.data.temp workers 1\r\n");
    }
    let publisher = world.nats(0, "");
    Turn::of(world, publisher, [pub_op("sensor.data.temp", payload_len)])
}

/// One publisher that goes round many subjects, with one subscriber each: no two messages in a row are alike.
fn subjects(n_subjects: usize, payload_len: usize) -> Turn {
    let mut world = World::new(1);
    let subject = |n: usize| format!("sensor.{n}.temp");
    for n in 0..n_subjects {
        world.nats(0, &format!("SUB {} 1\r\n", subject(n)));
    }
    let publisher = world.nats(0, "");
    let ops = (0..n_subjects).map(|n| pub_op(&subject(n), payload_len));
    Turn::of(world, publisher, ops)
}

/// The same between MQTT clients.
fn topics(n_topics: usize, payload_len: usize) -> Turn {
    let mut world = World::new(1);
    let topic = |n: usize| format!("sensor/{n}/temp");
    for n in 0..n_topics {
        world.mqtt(&format!("s{n}"), Version::V3_1_1, Some((&topic(n), Qos::AtMostOnce)));
    }
    let publisher = world.mqtt("p", Version::V3_1_1, None);
    let packets = (0..n_topics).map(|n| publish_packet(&topic(n), 0, payload_len));
    Turn::of(world, publisher, packets)
}

/// What the messages say beside their payload, in either world.
const TOLD: [(&str, &str); 3] = [("device", "press-7"), ("unit", "celsius"), ("trace-id", "5c1f0a9e")];

/// To whom such messages go.
struct Audience {
    n_subjects: usize,
    /// To each subject.
    n_subscribers: usize,
    is_afar: bool,
}

const ALIKE: Audience = Audience { n_subjects: 1, n_subscribers: 1, is_afar: false };
const ALIKE_WIDE: Audience = Audience { n_subscribers: 8, ..ALIKE };
const SUBJECTS: Audience = Audience { n_subjects: 64, ..ALIKE };
const WIDE: Audience = Audience { n_subscribers: 8, ..SUBJECTS };
const AFAR: Audience = Audience { is_afar: true, ..ALIKE };

/// From MQTT 5 to NATS, or back, with so many user properties or headers.
fn told(from: Speaks, to: &Audience, n_told: usize, payload_len: usize) -> Box<dyn Scenario> {
    let n_cores = if to.is_afar { 2 } else { 1 };
    let mut world = World::new(n_cores);
    let topic = |n: usize| format!("sensor/{n}/temp");
    let subject = |n: usize| format!("sensor.{n}.temp");
    let afar = n_cores as u16 - 1;
    for n in (0..to.n_subjects).flat_map(|n| std::iter::repeat_n(n, to.n_subscribers)) {
        match from {
            Speaks::Mqtt => world.nats(afar, &format!("SUB {} 1\r\n", subject(n))),
            Speaks::Nats => world.mqtt_at_home("s", Version::V5, Some((&topic(n), Qos::AtMostOnce))),
        };
    }
    let frame = |n: usize| match from {
        Speaks::Mqtt => told_packet(&topic(n), &TOLD[..n_told], payload_len),
        Speaks::Nats => told_op(&subject(n), &TOLD[..n_told], payload_len),
    };
    let publisher = match from {
        Speaks::Mqtt => world.mqtt_at_home("p", Version::V5, None),
        Speaks::Nats => world.nats(afar, ""),
    };
    Box::new(Turn::of(world, publisher, (0..to.n_subjects).map(frame)))
}

fn told_op(subject: &str, told: &[(&str, &str)], payload_len: usize) -> Vec<u8> {
    if told.is_empty() {
        return pub_op(subject, payload_len);
    }
    let lines: String = told.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let block = format!("NATS/1.0\r\n{lines}\r\n");
    let (n, n_all) = (block.len(), block.len() + payload_len);
    format!("HPUB {subject} {n} {n_all}\r\n{block}{}\r\n", "x".repeat(payload_len)).into_bytes()
}

fn told_packet(topic: &str, told: &[(&str, &str)], payload_len: usize) -> Vec<u8> {
    let mut block = PropertyBlock::new();
    for (name, value) in told {
        let pair = Pair { name: name.as_bytes(), value: value.as_bytes() };
        block.push(Property::UserProperty(pair)).expect("it is legal");
    }
    let payload = vec![b'x'; payload_len];
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: topic.as_bytes(),
        packet_id: 0,
        properties: block.properties(),
        payload: &payload,
    };
    let mut packet = Vec::new();
    encode::publish(&mut packet, Version::V5, &publish).expect("a short topic and payload");
    packet
}

/// A subscriber on another core than the publisher.
fn other_core(payload_len: usize) -> Turn {
    let mut world = World::new(2);
    world.nats(1, "SUB sensor.data.temp 1\r\n");
    let publisher = world.nats(0, "");
    Turn::of(world, publisher, [pub_op("sensor.data.temp", payload_len)])
}

impl Scenario for Turn {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        let n_before = self.world.n_delivered();
        self.world.read(self.publisher, &mut self.stream, self.read_bytes, meter);
        self.world.finish(self.publisher, meter);
        let n_delivered = self.world.n_delivered() - n_before;
        assert!(n_delivered > 0, "nothing was delivered");
        n_delivered
    }
}

/// Publishes of QoS 1 with a window, acknowledged on both sides.
#[derive(Debug)]
pub struct AtLeastOnce {
    world: World,
    publisher: Client,
    subscriber: Client,
    stream: Stream,
}

impl AtLeastOnce {
    /// Messages under way at once.
    const WINDOW: u16 = 100;

    pub fn new(payload_len: usize) -> Self {
        let mut world = World::new(1);
        let filter = Some(("sensor/data/temp", Qos::AtLeastOnce));
        let subscriber = world.mqtt("s", Version::V3_1_1, filter);
        let publisher = world.mqtt("p", Version::V3_1_1, None);
        let packets = (1..=Self::WINDOW).map(|id| publish_packet("sensor/data/temp", id, payload_len));
        Self { world, publisher, subscriber, stream: Stream::new(packets) }
    }

    /// The PUBACKs for what waits to be written to the subscriber.
    fn acknowledgements(&self) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let n_slices = self.world.queue(self.subscriber).gather(&mut slices);
        let sent: Vec<u8> = slices[..n_slices].iter().flat_map(|slice| slice.iter().copied()).collect();
        let mut rest = &sent[..];
        let mut acks = Vec::new();
        while let Ok(Decoded::Packet(Packet::Publish(publish), len)) =
            decode(rest, Version::V3_1_1, &Limits::NONE)
        {
            encode::bare_ack(&mut acks, Version::V3_1_1, AckKind::Puback, publish.packet_id, Reason::Success);
            rest = &rest[len..];
        }
        assert!(rest.is_empty(), "a subscriber is sent publishes and nothing else");
        acks
    }
}

impl Scenario for AtLeastOnce {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        let n_before = self.world.n_delivered();
        let n_bytes = self.stream.len();
        self.world.read(self.publisher, &mut self.stream, n_bytes, meter);
        let acks = self.acknowledgements();
        self.world.finish(self.publisher, meter);
        let n_acks = acks.len();
        self.world.read(self.subscriber, &mut Stream::new([acks]), n_acks, meter);
        self.world.finish(self.subscriber, meter);
        let n_delivered = self.world.n_delivered() - n_before;
        assert_eq!(n_delivered, u64::from(Self::WINDOW), "the whole window is delivered");
        n_delivered
    }
}

/// A PUB op.
pub fn pub_op(subject: &str, payload_len: usize) -> Vec<u8> {
    format!("PUB {subject} {payload_len}\r\n{}\r\n", "x".repeat(payload_len)).into_bytes()
}

/// A PUBLISH packet of MQTT 3.1.1; of QoS 1 where it has a packet id.
pub fn publish_packet(topic: &str, packet_id: u16, payload_len: usize) -> Vec<u8> {
    let payload = vec![b'x'; payload_len];
    let publish = Publish {
        dup: false,
        qos: if packet_id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain: false,
        topic: topic.as_bytes(),
        packet_id,
        properties: Properties::EMPTY,
        payload: &payload,
    };
    let mut packet = Vec::new();
    encode::publish(&mut packet, Version::V3_1_1, &publish).expect("a short topic and payload");
    packet
}
