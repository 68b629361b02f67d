//! What an MQTT client's packets do: here which is taken when, and the short ones.

mod connect;
mod publish;
mod subscribe;

pub(super) use subscribe::subscription_to;

use super::Shard;
use super::closed::{Closed, Refused};
use super::connection::Protocol;
use super::id::ConnectionId;
use super::input::Served;
use super::limits::Limit;
use super::stranger;
use crate::message::ProtocolKind;
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::decode::{Decoded, decode};
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::inflight::Acknowledged;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{Ack, Disconnect, Packet};
use crate::mqtt::reason::Reason;
use crate::mqtt::session::Expiry;
use crate::time::Time;

/// The first byte of such a packet.
const PUBACK: u8 = 4 << 4;

fn is_connect(input: &[u8]) -> bool {
    input.first().is_some_and(|first| first >> 4 == 1)
}

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
        if !is_connected && !input.is_empty() && !is_connect(input) {
            return self.end_stranger(id, Closed::NotConnect, input, now);
        }
        if is_connected && !is_fenced {
            let (n_taken, acknowledged) = self.take_pubacks(id, input);
            if n_taken > 0 {
                return self.after_acknowledged(id, acknowledged, n_taken, now);
            }
        }
        let Some(connection) = self.clients.slots.get(id) else { return Served::Ended };
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return Served::Ended };
        let (packet, n_taken) = match decode(input, mqtt.version(), &self.settings.mqtt.decode) {
            Ok(Decoded::Packet(packet, n_taken)) => (packet, n_taken),
            Ok(Decoded::Incomplete { .. }) | Err(_) if is_connected && is_connect(input) && !is_fenced => {
                return self.end_for_second_connect(id, now);
            }
            Ok(Decoded::Incomplete { need }) => return Served::Incomplete { need },
            Err(_) if is_fenced => return Served::Waiting,
            Err(malformed) => {
                let closed = self.closed_for(malformed, is_connected);
                if is_connected {
                    return self.end(id, closed, now);
                }
                self.refuse_malformed_connect(id, input, malformed);
                return self.end_stranger(id, closed, input, now);
            }
        };
        if is_fenced && !matches!(packet, Packet::Subscribe(_) | Packet::Unsubscribe(_)) {
            return Served::Waiting;
        }
        if let Err(limit) = self.settings.limits.judge(&packet) {
            return self.mqtt_limited(id, &packet, limit, now);
        }
        match packet {
            Packet::Connect(_) if is_connected => self.end_for_second_connect(id, now),
            Packet::Connect(connect) => self.mqtt_connect(id, &connect, n_taken, now),
            Packet::Publish(publish) => self.mqtt_publish(id, &publish, input, n_taken, now),
            packet => {
                // Answers keep their order.
                self.send_owed_receipts();
                self.mqtt_other(id, packet, n_taken, now)
            }
        }
    }

    /// Refuses a packet beyond a limit.
    #[cold]
    fn mqtt_limited(&mut self, id: ConnectionId, packet: &Packet<'_>, limit: Limit, now: Time) -> Served {
        let refused = Refused::beyond(limit, &self.settings);
        match packet {
            Packet::Connect(connect) if self.mqtt(id).is_some_and(|it| !it.is_connected()) => {
                self.refuse_connect(id, connect, refused, now)
            }
            _ => self.end(id, Closed::MqttRefused(refused), now),
        }
    }

    /// Takes the bare PUBACKs at the front of `input`, as a client sends them one after another.
    #[inline]
    fn take_pubacks(&mut self, id: ConnectionId, input: &[u8]) -> (usize, Acknowledged) {
        const LEN: usize = 4;
        let mut n_taken = 0;
        if input.first() != Some(&PUBACK) {
            return (n_taken, Acknowledged::Done);
        }
        let ids = input.chunks_exact(LEN).map_while(|packet| match *packet {
            [PUBACK, 2, high, low] => Some(u16::from_be_bytes([high, low])).filter(|id| *id != 0),
            _ => None,
        });
        let acknowledged = self.clients.acknowledge(id, |inflight| {
            let n_oldest = inflight.pubacks(ids.clone());
            n_taken = n_oldest * LEN;
            for packet_id in ids.skip(n_oldest) {
                n_taken += LEN;
                if inflight.puback(packet_id) == Acknowledged::Mismatched {
                    return Acknowledged::Mismatched;
                }
            }
            Acknowledged::Done
        });
        (n_taken, acknowledged)
    }

    fn mqtt_other(&mut self, id: ConnectionId, packet: Packet<'_>, n_taken: usize, now: Time) -> Served {
        match packet {
            Packet::Puback(ack) => {
                let acknowledged = self.clients.acknowledge(id, |it| it.puback(ack.packet_id));
                return self.after_acknowledged(id, acknowledged, n_taken, now);
            }
            Packet::Pubrec(ack) => return self.mqtt_pubrec(id, &ack, n_taken, now),
            Packet::Pubcomp(ack) => {
                let acknowledged = self.clients.acknowledge(id, |it| it.pubcomp(ack.packet_id));
                return self.after_acknowledged(id, acknowledged, n_taken, now);
            }
            Packet::Pubrel(ack) => self.with_mqtt(id, |mqtt, out| mqtt.release(ack.packet_id, out)),
            Packet::Subscribe(subscribe) => return self.mqtt_subscribe(id, &subscribe, n_taken, now),
            Packet::Unsubscribe(unsubscribe) => return self.mqtt_unsubscribe(id, &unsubscribe, n_taken, now),
            Packet::Pingreq => self.with_mqtt(id, |_, out| encode::pingresp(out)),
            Packet::Disconnect(disconnect) => return self.mqtt_disconnect(id, &disconnect, now),
            // Enhanced authentication, which is refused in CONNECT. [MQTT-4.12.0-7]
            Packet::Auth(_) => {
                return self.end_for_error(id, "AUTH without an authentication method in CONNECT", now);
            }
            // [MQTT-4.8.0-1]
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp => return self.end_for_error(id, "a packet that clients don't send", now),
        }
        Served::Taken(n_taken)
    }

    /// Why a connection ends whose packet can't be read, or is more than may be read.
    fn closed_for(&self, malformed: Malformed, is_connected: bool) -> Closed {
        match malformed {
            Malformed::PacketTooLarge if is_connected => {
                Closed::MqttRefused(Refused::beyond(Limit::MqttPayload, &self.settings))
            }
            Malformed::PacketTooLarge => Closed::MqttConnect(Refused::beyond(Limit::Connect, &self.settings)),
            malformed => Closed::Mqtt(malformed),
        }
    }

    /// Whatever it says, and before all of it is here. [MQTT-3.1.0-2]
    #[cold]
    fn end_for_second_connect(&mut self, id: ConnectionId, now: Time) -> Served {
        self.end_for_error(id, "a second CONNECT", now)
    }

    /// Ends a connection whose client sent what it must not there, which `rule` says.
    #[cold]
    fn end_for_error(&mut self, id: ConnectionId, rule: &'static str, now: Time) -> Served {
        self.end(id, Closed::MqttRefused(Refused::against(Reason::ProtocolError, rule)), now)
    }

    /// Ends a connection whose first bytes, `input`, are no CONNECT.
    #[cold]
    fn end_stranger(&mut self, id: ConnectionId, closed: Closed, input: &[u8], now: Time) -> Served {
        self.close_stranger(id, closed, stranger::guess(input, ProtocolKind::Mqtt), now);
        Served::Ended
    }

    fn end(&mut self, id: ConnectionId, closed: Closed, now: Time) -> Served {
        self.close(id, closed, now);
        Served::Ended
    }

    /// Ends a connection whose client takes no answer as long as this one's. [MQTT-3.1.2-24]
    fn end_for_answer(&mut self, id: ConnectionId, now: Time) -> Served {
        let max = self.mqtt(id).map_or(0, Mqtt::packet_bytes_max);
        self.end(id, Closed::MqttRefused(Refused::larger_than_client_takes(max)), now)
    }

    fn with_mqtt(&mut self, id: ConnectionId, answer: impl FnOnce(&mut Mqtt, &mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.answer);
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Protocol::Mqtt(mqtt) = &mut connection.protocol
        {
            answer(mqtt, &mut out);
        }
        self.clients.write_down(id);
        self.send_answer(id, out);
    }

    /// What follows an acknowledgement. One of the wrong kind is no answer to what was sent.
    fn after_acknowledged(
        &mut self,
        id: ConnectionId,
        acknowledged: Acknowledged,
        n_taken: usize,
        now: Time,
    ) -> Served {
        if acknowledged == Acknowledged::Mismatched {
            return self.end_for_error(id, "an acknowledgement of another kind than is due", now);
        }
        self.clients.send_waiting(id, &self.settings, now);
        self.resume_replays(id);
        self.end_stalls_of_pressed(id, now);
        Served::Taken(n_taken)
    }

    fn mqtt_pubrec(&mut self, id: ConnectionId, ack: &Ack<'_>, n_taken: usize, now: Time) -> Served {
        let packet_id = ack.packet_id;
        let acknowledged = self.clients.acknowledge(id, |it| it.pubrec(packet_id, ack.reason.is_failure()));
        let reason = match acknowledged {
            // [MQTT-4.3.3-4]
            Acknowledged::Release => Some(Reason::Success),
            // Left over from a session that is gone: the handshake ends.
            Acknowledged::Unknown if !ack.reason.is_failure() => Some(Reason::PacketIdentifierNotFound),
            Acknowledged::Unknown | Acknowledged::Done | Acknowledged::Mismatched => None,
        };
        if let Some(reason) = reason {
            self.with_mqtt(id, |mqtt, out| {
                encode::bare_ack(out, mqtt.version(), AckKind::Pubrel, packet_id, reason);
            });
        }
        self.after_acknowledged(id, acknowledged, n_taken, now)
    }

    fn mqtt_disconnect(&mut self, id: ConnectionId, disconnect: &Disconnect<'_>, now: Time) -> Served {
        let expiry_secs = disconnect.properties.session_expiry_interval();
        // A session that was to end with its connection can't be kept by its last word (section 3.14.2.2.2).
        // What is refused ends the connection as a fault does: with its will.
        if expiry_secs.is_some_and(|secs| secs > 0) && self.mqtt(id).is_some_and(|it| !it.wants_session()) {
            let rule = "DISCONNECT raises a session expiry interval that was 0";
            return self.end_for_error(id, rule, now);
        }
        let secs_max = self.settings.mqtt.offer.session_expiry_secs_max;
        self.with_mqtt(id, |mqtt, _| {
            if disconnect.reason == Reason::Success {
                // [MQTT-3.14.4-3], and [MQTT-3.1.2-10]
                drop(mqtt.session.take_will());
            }
            if let Some(secs) = expiry_secs {
                mqtt.session.set_expiry(Expiry::from_secs(secs.min(secs_max)));
            }
        });
        self.end(id, Closed::Disconnect(disconnect.reason), now)
    }
}
