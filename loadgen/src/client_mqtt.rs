//! A client's talk with an MQTT server.

use crate::client::{Client, Lost, Role, Stage};
use crate::mqtt::decode::{self, ConnAck, Packet, Publish};
use crate::mqtt::{self, Version, encode};
use crate::nats::printable;
use crate::subscriber::Tally;

/// From here on a reason code refuses.
const REFUSALS: u8 = 0x80;
/// The packet type that every talk begins with.
const CONNACK: u8 = 2;

impl Client {
    pub fn take_mqtt(
        &mut self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        version: Version,
        tally: &mut Tally<'_>,
    ) -> Result<usize, Lost> {
        // Text may look like a long packet of another kind, whose end would be waited for in vain.
        if self.stage == Stage::Greeting && bytes.first().is_some_and(|first| first >> 4 != CONNACK) {
            return Err(broken(&decode::Malformed("no CONNACK first")));
        }
        let mut at = 0;
        while let Some((packet, length)) =
            decode::parse(&bytes[at..], version).map_err(|malformed| broken(&malformed))?
        {
            at += length;
            if let (Packet::Publish(Publish { qos: 0, payload, .. }), Role::Subscriber(subscriber)) =
                (&packet, &mut self.role)
            {
                subscriber.message(payload, tally);
            } else {
                self.hear_packet(out, &packet, version, tally)?;
            }
        }
        Ok(at)
    }

    fn hear_packet(
        &mut self,
        out: &mut Vec<u8>,
        packet: &Packet<'_>,
        version: Version,
        tally: &mut Tally<'_>,
    ) -> Result<(), Lost> {
        match packet {
            Packet::Publish(publish) => self.publication(out, publish, tally),
            Packet::PubAck { id, code } => self.acknowledged(*id, *code, version, tally)?,
            Packet::PubRec { id, code } if *code >= REFUSALS => {
                self.acknowledged(*id, *code, version, tally)?;
            }
            Packet::PubRec { id, .. } => encode::acknowledge(out, encode::PUBREL, *id),
            Packet::PubComp { id } => self.acknowledged(*id, 0, version, tally)?,
            Packet::PubRel { id } => {
                if let Role::Subscriber(subscriber) = &mut self.role {
                    subscriber.released(*id);
                }
                encode::acknowledge(out, encode::PUBCOMP, *id);
            }
            Packet::ConnAck(ack) => self.welcomed(out, ack, version, tally)?,
            Packet::SubAck { codes, .. } => self.subscribed(codes, version)?,
            Packet::UnsubAck { .. } => {}
            Packet::PingResp => self.confirmed(),
            Packet::Disconnect { code, text } => {
                let said = format!("DISCONNECT {} {}", mqtt::reason(version, *code), printable(text));
                let said = said.trim_end();
                tally.shared.heard(said);
                return Err(Lost(format!("the server ends the connection: {said}")));
            }
        }
        Ok(())
    }

    fn publication(&mut self, out: &mut Vec<u8>, publish: &Publish<'_>, tally: &mut Tally<'_>) {
        let Role::Subscriber(subscriber) = &mut self.role else { return };
        match publish.qos {
            1 => encode::acknowledge(out, encode::PUBACK, publish.id),
            2 => {
                encode::acknowledge(out, encode::PUBREC, publish.id);
                if !subscriber.takes_qos2(publish.id) {
                    return;
                }
            }
            _ => {}
        }
        subscriber.message(publish.payload, tally);
    }

    fn acknowledged(&mut self, id: u16, code: u8, version: Version, tally: &Tally<'_>) -> Result<(), Lost> {
        if code >= REFUSALS {
            let text = format!("the server refuses a message: {}", mqtt::reason(version, code));
            tally.shared.heard(&text);
            return Err(Lost(text));
        }
        if let Role::Publisher(publisher) = &mut self.role {
            publisher.acknowledged(id);
        }
        Ok(())
    }

    fn welcomed(
        &mut self,
        out: &mut Vec<u8>,
        ack: &ConnAck<'_>,
        version: Version,
        tally: &Tally<'_>,
    ) -> Result<(), Lost> {
        if ack.code != 0 {
            let said = format!("{} {}", mqtt::reason(version, ack.code), printable(ack.text));
            let text = format!("the server refuses the login: {}", said.trim_end());
            tally.shared.heard(&text);
            return Err(Lost(text));
        }
        let plan = tally.plan;
        if let Role::Publisher(publisher) = &mut self.role {
            if ack.qos_max < plan.qos {
                return Err(Lost(format!("the server takes QoS {} at most, not {}", ack.qos_max, plan.qos)));
            }
            if ack.packet_max < plan.size {
                return Err(Lost(format!("the server takes packets of at most {} bytes", ack.packet_max)));
            }
            publisher.window(ack.receive_max);
        }
        self.subscribe(out, plan);
        Ok(())
    }

    fn subscribed(&mut self, codes: &[u8], version: Version) -> Result<(), Lost> {
        if let Some(code) = codes.iter().find(|code| **code >= REFUSALS) {
            let why = if version == Version::V5 { mqtt::reason(version, *code) } else { "0x80".into() };
            return Err(Lost(format!("the server refuses a subscription: {why}")));
        }
        if let Stage::Subscribing(n) = self.stage {
            self.stage = if n > 1 { Stage::Subscribing(n - 1) } else { Stage::Ready };
        }
        Ok(())
    }
}

fn broken(malformed: &decode::Malformed) -> Lost {
    Lost(format!("the server does not speak MQTT: it sent {}", malformed.0))
}
