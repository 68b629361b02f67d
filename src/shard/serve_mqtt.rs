//! What an MQTT client's packets do: here which is taken when, and the short ones.

mod connect;
mod publish;
mod subscribe;

use super::Shard;
use super::closed::Closed;
use super::connection::Protocol;
use super::id::ConnectionId;
use super::input::Served;
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::decode::{Decoded, decode};
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::packet::Packet;
use crate::mqtt::reason::Reason;
use crate::time::Time;

impl Shard {
    /// Takes the first packet of `input`, if it is whole and may be taken now.
    pub(super) fn serve_mqtt(&mut self, id: ConnectionId, input: &[u8], now: Time) -> Served {
        let Some(connection) = self.clients.slots.get_mut(id) else { return Served::Ended };
        // The packet before may have ended it: by what it delivered to its own client.
        if !connection.is_open() {
            return Served::Ended;
        }
        if connection.chokes(self.settings.write_queue_bytes_max) {
            return Served::Waiting;
        }
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return Served::Ended };
        let is_fenced = connection.fence.is_some();
        let is_connected = mqtt.is_connected();
        // The first byte tells a stranger, before anything is kept for it.
        if !is_connected && input.first().is_some_and(|first| first >> 4 != 1) {
            return self.end(id, Closed::NotConnect, now);
        }
        let (packet, n_taken) = match decode(input, mqtt.version(), &self.settings.mqtt.decode) {
            Ok(Decoded::Packet(packet, n_taken)) => (packet, n_taken),
            Ok(Decoded::Incomplete { need }) => return Served::Incomplete { need },
            Err(_) if is_fenced => return Served::Waiting,
            Err(malformed) => {
                if !is_connected {
                    self.refuse_malformed_connect(id, input, malformed);
                }
                return self.end(id, Closed::Mqtt(malformed), now);
            }
        };
        if is_fenced && !matches!(packet, Packet::Subscribe(_) | Packet::Unsubscribe(_)) {
            return Served::Waiting;
        }
        match packet {
            Packet::Connect(_) if is_connected => {
                self.end(id, Closed::MqttRefused(Reason::ProtocolError), now)
            }
            Packet::Connect(connect) => self.mqtt_connect(id, &connect, n_taken, now),
            Packet::Publish(publish) => self.mqtt_publish(id, &publish, input, n_taken, now),
            packet => self.mqtt_other(id, packet, n_taken, now),
        }
    }

    fn mqtt_other(&mut self, id: ConnectionId, packet: Packet<'_>, n_taken: usize, now: Time) -> Served {
        match packet {
            Packet::Puback(ack) => {
                self.with_mqtt(id, |mqtt, _| {
                    mqtt.inflight.acknowledge(ack.packet_id);
                });
                self.clients.send_waiting(id, &self.settings);
                self.end_stalls_of_pressed(id, now);
            }
            Packet::Subscribe(subscribe) => return self.mqtt_subscribe(id, &subscribe, n_taken, now),
            Packet::Unsubscribe(unsubscribe) => self.mqtt_unsubscribe(id, &unsubscribe),
            Packet::Pingreq => self.with_mqtt(id, |_, out| encode::pingresp(out)),
            // Left over from a session elsewhere: nothing of QoS 2 is under way here. The handshake ends.
            Packet::Pubrel(ack) => {
                self.answer_stray(id, AckKind::Pubcomp, ack.packet_id);
            }
            Packet::Pubrec(ack) => {
                self.answer_stray(id, AckKind::Pubrel, ack.packet_id);
            }
            Packet::Pubcomp(_) => {}
            Packet::Disconnect(_) => return self.end(id, Closed::ByPeer, now),
            // [MQTT-4.8.0-1] and enhanced authentication, which is refused in CONNECT.
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::Auth(_) => return self.end(id, Closed::MqttRefused(Reason::ProtocolError), now),
        }
        Served::Taken(n_taken)
    }

    fn end(&mut self, id: ConnectionId, closed: Closed, now: Time) -> Served {
        self.close(id, closed, now);
        Served::Ended
    }

    fn with_mqtt(&mut self, id: ConnectionId, answer: impl FnOnce(&mut Mqtt, &mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.answer);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            answer(mqtt, &mut out);
        }
        self.send_answer(id, out);
    }

    fn answer_stray(&mut self, id: ConnectionId, kind: AckKind, packet_id: u16) {
        self.with_mqtt(id, |mqtt, out| {
            encode::bare_ack(out, mqtt.version(), kind, packet_id, Reason::PacketIdentifierNotFound);
        });
    }
}
