//! CONNECT: whose it is, whether it is taken, and what a client hears that is not.

use crate::message::GATEWAY_INBOX;
use crate::mqtt::connection::Connection as Mqtt;
use crate::mqtt::decode::connect::front;
use crate::mqtt::encode;
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{Connect, Version, Will};
use crate::mqtt::reason::Reason;
use crate::shard::Shard;
use crate::shard::closed::{Closed, Refused};
use crate::shard::connection::{Connection, Life};
use crate::shard::id::ConnectionId;
use crate::shard::input::Served;
use crate::shard::limits::Limit;
use crate::shard::log::cut;
use crate::subject::mapping;
use crate::time::Time;

impl Shard {
    /// A CONNECT that can't be read is answered in the client's version, as far as it can be told.
    pub(super) fn refuse_malformed_connect(&mut self, id: ConnectionId, input: &[u8], malformed: Malformed) {
        let front = front(input);
        if let Some(client_id) = front.and_then(|front| front.client_id) {
            self.note_name(id, client_id);
        }
        let version = match malformed {
            // [MQTT-3.1.2-1] lets a server close on a name that is not MQTT's at all.
            Malformed::UnknownProtocol => return,
            Malformed::UnsupportedVersion(level) if level > Version::V5.level() => Version::V5,
            Malformed::UnsupportedVersion(_) => Version::V3_1_1,
            _ if front.is_some_and(|front| front.version.is_v5()) => Version::V5,
            // MQTT 3 has no word for it.
            _ => return,
        };
        let reason = malformed.reason();
        let text = self.closed_for(malformed, false).mqtt_refused();
        let text = text.map_or_else(|| malformed.to_string(), |refused| refused.to_string());
        self.with_mqtt(id, |_, out| match front.and_then(|front| front.properties) {
            Some(properties) => Mqtt::refuse_connect(version, properties, reason, &text, out),
            // How long an answer the client takes is not known.
            None => Mqtt::refuse(version, reason, out),
        });
    }

    /// Notes what a client calls itself that is not let in, for those who ask and for the log.
    fn note_name(&mut self, id: ConnectionId, client_id: &[u8]) {
        let session = self.new_session(cut(client_id));
        if let Some(mqtt) = self.mqtt_mut(id) {
            mqtt.session = session;
        }
    }

    pub(super) fn mqtt_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        n_taken: usize,
        now: Time,
    ) -> Served {
        if let Some((no_room, door)) = self.clients.slots.get(id).and_then(|it| Some((it.no_room?, it.door)))
        {
            return self.refuse_connect(id, connect, Refused::no_room(no_room, door, &self.settings), now);
        }
        let home = self.home(connect.client_id);
        let Some(connection) = self.clients.slots.get_mut(id) else { return Served::Ended };
        if !connection.is_home {
            connection.claimed_at = connection.read_at;
        }
        if home != self.core && !connection.is_home {
            connection.life = Life::Leaving(home);
            self.clients.effects.depart.push((id, home));
            return Served::Waiting;
        }
        connection.is_home = true;
        let judged = Mqtt::judge_connect(connect).map_err(Refused::from);
        let judged = judged.and_then(|()| self.judge_lengths(connect));
        if let Err(refused) = judged.and_then(|()| self.judge_will(connect)) {
            return self.refuse_connect(id, connect, refused, now);
        }
        let assigned = connect.client_id.is_empty().then(|| self.new_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let offer = self.settings.mqtt.offer;
        let Some(welcome) = Mqtt::welcome(connect, client_id, assigned.is_some(), &offer) else {
            let max = connect.properties.maximum_packet_size().unwrap_or(0);
            let refused = Refused::larger_than_client_takes(max as usize);
            return self.refuse_connect(id, connect, refused, now);
        };
        if let Some(found_session) = self.found_by_successor(id, client_id) {
            // As if it had come in time: it is let in, to the session that its successor found, and that one takes
            // over. Told of none, a client would forget what it has not had acknowledged. [MQTT-3.2.2-3]
            let session = self.new_session(client_id);
            self.with_mqtt(id, |mqtt, out| {
                mqtt.session = session;
                mqtt.accept(connect, found_session && !connect.clean_start, &offer, &welcome, out);
            });
            self.clients.counters.taken_over += 1;
            return self.end(id, Closed::TakenOver, now);
        }
        let holder = self.directory.get(client_id);
        if holder.is_none() && self.directory.len() >= self.settings.mqtt.sessions_max {
            self.clients.counters.sessions_refused += 1;
            let refused = Refused::beyond(Limit::Sessions, &self.settings);
            return self.refuse_connect(id, connect, refused, now);
        }
        // [MQTT-3.1.4-3]
        if let Some(holder) = holder
            && self.clients.slots.get(holder).is_some_and(Connection::is_open)
        {
            if self.waits_for_predecessor(id, holder, now) {
                return Served::Waiting;
            }
            self.clients.counters.taken_over += 1;
            self.close(holder, Closed::TakenOver, now);
        }
        let is_present = self.begin_session(id, connect, client_id, now);
        if is_present {
            // The session's subscriptions are what the client may count on, as after a SUBACK.
            self.stamp(id);
        }
        self.with_mqtt(id, |mqtt, out| {
            mqtt.accept(connect, is_present, &offer, &welcome, out);
        });
        if let Some(connection) = self.clients.slots.get_mut(id) {
            connection.awaits_connack = connection.fence.is_some();
        }
        self.note_connected(id);
        self.clients.send_waiting(id, &self.settings, now);
        self.resume_replays(id);
        self.check_deadlines(id, now);
        Served::Taken(n_taken)
    }

    pub(super) fn refuse_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        refused: Refused,
        now: Time,
    ) -> Served {
        self.note_name(id, connect.client_id);
        let Connect { version, properties, .. } = *connect;
        let text = refused.to_string();
        self.with_mqtt(id, |_, out| Mqtt::refuse_connect(version, properties, refused.reason, &text, out));
        self.end(id, Closed::MqttConnect(refused), now)
    }

    fn judge_lengths(&self, connect: &Connect<'_>) -> Result<(), Refused> {
        let limits = &self.settings.limits;
        if connect.client_id.len() > limits.client_id_bytes_max {
            Err(Refused::beyond(Limit::ClientId, &self.settings))
        } else if connect.will.is_some_and(|will| will.topic.len() > limits.topic_bytes_max) {
            Err(Refused::beyond(Limit::Topic, &self.settings))
        } else {
            Ok(())
        }
    }

    /// What of a will could not be published when its time comes.
    fn judge_will(&self, connect: &Connect<'_>) -> Result<(), Refused> {
        let Some(will) = &connect.will else { return Ok(()) };
        let settings = &self.settings.mqtt;
        let mut subject = Vec::new();
        mapping::topic_to_subject(will.topic, &mut subject);
        if will.retain && !self.retained.is_offered() {
            // [MQTT-3.2.2-13]
            Err(Refused::no_retain())
        } else if mapping::is_reserved_for_gateway(&subject) || subject.starts_with(GATEWAY_INBOX) {
            Err(Refused::against(Reason::NotAuthorized, "the will's topic is not open to clients"))
        } else if 1 + memchr::memchr_iter(b'/', will.topic).count() > settings.topic_levels_max {
            Err(Refused::beyond(Limit::TopicLevels, &self.settings))
        } else if will_bytes(will) > settings.offer.packet_bytes_max as usize {
            Err(Refused::beyond(Limit::MqttPayload, &self.settings))
        } else {
            Ok(())
        }
    }
}

/// How long a PUBLISH with this will would be.
fn will_bytes(will: &Will<'_>) -> usize {
    let n_other = 2 + will.topic.len() + 2 + will.payload.len();
    encode::frame_len(Version::V5, n_other, will.properties)
}
