//! A fan-out's way to one MQTT subscription: what it is due the message with, and what its client can take.

use super::connection::{Subscription, SubscriptionKind, Traits};
use super::crossing;
use super::fanout::{End, Fanout, Outcome, Room};
use super::shapes::{Copied, Own};
use super::waiting::{deliver_kept, deliver_run, kept};
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{Message, Quality};
use crate::mqtt;
use crate::mqtt::kept::Kept;
use crate::subject::mapping;

/// An alias pays for topics from this length on, in bytes: it takes three itself. Messages that may be sent
/// again on another connection have none.
const ALIASED_BYTES_MIN: usize = 8;

/// What a PUBLISH with an alias has at most besides topic, payload and what properties came with it, in bytes: its
/// first byte and lengths, an alias, a subscription identifier, and what is left of its time.
const ALIASED_HEAD_BYTES_MAX: usize = 32;

impl Fanout<'_> {
    pub(super) fn deliver_mqtt(
        &mut self,
        mqtt: &mut mqtt::connection::Connection,
        subscription: &Subscription,
        is_own: bool,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let message = self.message;
        // To a client of MQTT 3 nothing of it is visible, but what is kept may be sent on a later connection.
        let is_told = mqtt.version().is_v5() || message.quality != Quality::AtMostOnce;
        if !(crossing::has_properties_to_make(message) && is_told) {
            return self.deliver_mqtt_as(message, mqtt, subscription, is_own, queue, pool, room);
        }
        let block = self.shapes.crossed.take_properties(message);
        let hides_reply = !message.reply.is_empty() && block.properties().response_topic().is_none();
        self.shapes.n_replies_hidden += u64::from(hides_reply);
        let message = Message { properties: block.properties().raw(), ..*message };
        let outcome = self.deliver_mqtt_as(&message, mqtt, subscription, is_own, queue, pool, room);
        self.shapes.crossed.give_properties_back(block);
        outcome
    }

    /// As `deliver_mqtt`, of the message as MQTT clients get it.
    #[expect(clippy::too_many_arguments, reason = "a connection's parts are lent one by one")]
    #[inline]
    fn deliver_mqtt_as(
        &mut self,
        message: &Message<'_>,
        mqtt: &mut mqtt::connection::Connection,
        subscription: &Subscription,
        is_own: bool,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let (quality, mut own) = match self.terms_for(subscription, is_own) {
            Ok(terms) => terms,
            Err(end) => return Outcome::none(end),
        };
        if let Some(aliases) = &mqtt.aliases
            && quality == Quality::AtMostOnce
            && self.shapes.topic().len() >= ALIASED_BYTES_MIN
        {
            // One that the client does not know yet makes the packet longer, which must not be what is too much.
            let topic = self.shapes.topic();
            let n_bytes = topic.len() + message.properties.len() + message.payload.len();
            let has_room = n_bytes + ALIASED_HEAD_BYTES_MAX <= mqtt.packet_bytes_max();
            own.alias = aliases.find(topic).filter(|alias| alias.is_known || has_room);
        }
        // The first of a run says what the alias stands for, and the others need not.
        if own.alias.is_some_and(|alias| !alias.is_known)
            && let Some(run) = &message.run
            && run.n() > 1
        {
            let part = |range| Message { run: Some(run.of_some(run.frames(range))), ..*message };
            let mut all = self.deliver_mqtt_as(&part(0..1), mqtt, subscription, is_own, queue, pool, room);
            if all.end == End::Delivered {
                let rest = part(1..run.n());
                all.add(self.deliver_mqtt_as(&rest, mqtt, subscription, is_own, queue, pool, room));
            }
            return all;
        }
        let Copied { shape, topic, properties } = if own == Own::default() {
            let (shape, topic) = self.shapes.mqtt(message, mqtt.version(), quality);
            Copied { shape, topic, properties: message.properties }
        } else {
            self.shapes.mqtt_own(message, mqtt.version(), quality, &own)
        };
        let n_bytes = shape.packet_len(&message.payload);
        if n_bytes > mqtt.packet_bytes_max() {
            return Outcome::none(End::DroppedPacketTooLarge);
        }
        if quality == Quality::AtMostOnce {
            let n = room.n_fitting(queue, n_bytes, message.n());
            if n > 0 {
                shape.queue(message, n, queue, pool);
                if let (Some(aliases), Some(alias)) = (&mut mqtt.aliases, own.alias)
                    && !alias.is_known
                {
                    self.n_alias_bytes += topic.len() as u64;
                    aliases.give(topic, alias);
                }
            }
            let end = if n < message.n() { End::DroppedQueueFull } else { End::Delivered };
            return Outcome::queued(n as u64, end);
        }
        let copied = Message { properties, ..*message };
        let kept = kept(&copied, topic, quality, room.origin, subscription);
        let kept = Kept { retain: own.retain, with_queue: self.with_queue, ..kept };
        let Some(run) = &message.run else {
            return deliver_kept(mqtt, &kept, shape, queue, pool, room, self.now);
        };
        deliver_run(mqtt, &kept, run, shape, queue, pool, room, self.now)
    }

    /// How an MQTT subscription is due the message, or why it is not.
    pub(super) fn terms_for(
        &mut self,
        subscription: &Subscription,
        is_own: bool,
    ) -> Result<(Quality, Own), End> {
        let SubscriptionKind::Mqtt { quality, traits, .. } = &subscription.kind else {
            return Err(End::NotEligible);
        };
        let message = self.message;
        let own = if traits.is_empty() && self.replay.is_none() {
            Own::default()
        } else {
            self.own(traits, is_own).ok_or(End::NotEligible)?
        };
        if !self.shapes.has_topic(message) {
            return Err(End::Unmappable);
        }
        Ok((message.quality.min(*quality), own))
    }

    /// What a subscription of these traits has of its own in its copy; `None` where it gets none.
    fn own(&self, traits: &Traits, is_own: bool) -> Option<Own> {
        let message = self.message;
        let is_hidden = traits.begins_with_wildcard && mapping::is_hidden_from_wildcards(message.subject);
        // [MQTT-3.8.3-3]
        let is_unwanted = traits.no_local && (is_own || self.replay.is_some_and(|replay| replay.is_own));
        // A replay comes once, and so does what is live: which of the two it is, the version tells.
        let comes_by_replay =
            self.replay.is_none() && message.version != 0 && message.version <= traits.replayed_until;
        if is_hidden || is_unwanted || comes_by_replay {
            return None;
        }
        Some(Own {
            // [MQTT-3.3.1-8] [MQTT-3.3.1-9] of 3.1.1; [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            retain: self.replay.is_some() || (traits.retain_as_published && message.retain),
            identifier: traits.identifier,
            secs_left: self.replay.and_then(|replay| replay.secs_left),
            alias: None,
        })
    }
}
