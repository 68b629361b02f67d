//! Bytes to publishes, without a shard.

use super::turns::{pub_op, publish_packet};
use super::world::{READ_BYTES, settings};
use super::{Meter, Named, Scenario};
use std::hint::black_box;
use strait::mqtt::decode::{Decoded, decode};
use strait::mqtt::encode;
use strait::mqtt::packet::{Packet, Publish, Qos, Version};
use strait::mqtt::property::{Pair, Properties, Property, PropertyBlock};
use strait::nats::op::Op;
use strait::nats::parse::{Parsed, parse};

pub const ALL: &[Named] = &[
    Named { name: "codec/nats/pub/16B", make: || Box::new(NatsParse::new(16)) },
    Named { name: "codec/mqtt/publish-3.1.1/16B", make: || Box::new(MqttDecode::v3(16)) },
    Named { name: "codec/mqtt/publish-5.0/16B", make: || Box::new(MqttDecode::v5(16, false)) },
    Named { name: "codec/mqtt/publish-5.0-properties/16B", make: || Box::new(MqttDecode::v5(16, true)) },
];

/// Whole frames, as many as one read brings.
fn read_of(frame: &[u8]) -> Vec<u8> {
    frame.repeat(READ_BYTES / frame.len())
}

#[derive(Debug)]
struct NatsParse {
    input: Vec<u8>,
}

impl NatsParse {
    fn new(payload_len: usize) -> Self {
        Self { input: read_of(&pub_op("sensor.data.temp", payload_len)) }
    }
}

impl Scenario for NatsParse {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        let limits = settings(1).nats.parse;
        let (n_publishes, n_left) = meter.measure(|| {
            let (mut rest, mut n_publishes) = (&self.input[..], 0);
            while let Ok(Parsed::Op(Op::Publish(publish), len)) = parse(rest, true, &limits) {
                black_box(&publish);
                n_publishes += 1;
                rest = &rest[len..];
            }
            (n_publishes, rest.len())
        });
        assert_eq!(n_left, 0, "every op is a publish");
        n_publishes
    }
}

#[derive(Debug)]
struct MqttDecode {
    version: Version,
    input: Vec<u8>,
}

impl MqttDecode {
    fn v3(payload_len: usize) -> Self {
        let input = read_of(&publish_packet("sensor/data/temp", 0, payload_len));
        Self { version: Version::V3_1_1, input }
    }

    fn v5(payload_len: usize, with_properties: bool) -> Self {
        let mut block = PropertyBlock::new();
        if with_properties {
            for property in [
                Property::PayloadFormatIndicator(true),
                Property::MessageExpiryInterval(60),
                Property::ContentType(b"text/plain"),
                Property::UserProperty(Pair { name: b"unit", value: b"celsius" }),
            ] {
                block.push(property).expect("every value is within MQTT's range");
            }
        }
        let payload = vec![b'x'; payload_len];
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: b"sensor/data/temp",
            packet_id: 0,
            properties: if with_properties { block.properties() } else { Properties::EMPTY },
            payload: &payload,
        };
        let mut packet = Vec::new();
        encode::publish(&mut packet, Version::V5, &publish).expect("a short topic and payload");
        Self { version: Version::V5, input: read_of(&packet) }
    }
}

impl Scenario for MqttDecode {
    fn play(&mut self, meter: &mut Meter) -> u64 {
        let limits = settings(1).mqtt.decode;
        let (n_publishes, n_left) = meter.measure(|| {
            let (mut rest, mut n_publishes) = (&self.input[..], 0);
            while let Ok(Decoded::Packet(Packet::Publish(publish), len)) = decode(rest, self.version, &limits)
            {
                black_box(&publish);
                n_publishes += 1;
                rest = &rest[len..];
            }
            (n_publishes, rest.len())
        });
        assert_eq!(n_left, 0, "every packet is a publish");
        n_publishes
    }
}
