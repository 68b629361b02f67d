//! SUBSCRIBE and UNSUBSCRIBE, filter by filter.

use crate::mqtt::encode;
use crate::mqtt::packet::{Qos, Suback, Subscribe, SubscribeOptions, Unsubscribe, Version};
use crate::mqtt::property::Properties;
use crate::mqtt::reason::Reason;
use crate::shard::Shard;
use crate::shard::closed::Closed;
use crate::shard::connection::{Connection, Protocol, Subscription, SubscriptionKind};
use crate::shard::id::ConnectionId;
use crate::shard::input::Served;
use crate::subject::mapping::map_topic_filter;
use crate::time::Time;

impl Shard {
    pub(super) fn mqtt_subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        n_taken: usize,
        now: Time,
    ) -> Served {
        if subscribe.properties.subscription_identifiers().next().is_some() {
            return self.end(id, Closed::MqttRefused(Reason::SubscriptionIdentifiersNotSupported), now);
        }
        let mut codes = Vec::new();
        for (filter, options) in subscribe.filters.iter() {
            let reason = self.mqtt_subscribe_one(id, filter, options);
            codes.push(reason);
        }
        self.stamp(id);
        self.with_mqtt(id, |mqtt, out| {
            let version = mqtt.version();
            let codes: Vec<u8> = codes.iter().map(|reason| suback_code(version, *reason)).collect();
            let suback =
                Suback { packet_id: subscribe.packet_id, properties: Properties::EMPTY, codes: &codes };
            encode::suback(out, version, &suback).expect("as many codes as filters came fit a packet");
        });
        Served::Taken(n_taken)
    }

    fn mqtt_subscribe_one(&mut self, id: ConnectionId, filter: &[u8], options: SubscribeOptions) -> Reason {
        if filter.strip_prefix(b"$share").is_some_and(|rest| matches!(rest, [] | [b'/', ..])) {
            return Reason::SharedSubscriptionsNotSupported;
        }
        let n_levels = 1 + memchr::memchr_iter(b'/', filter).count();
        let Ok(mapped) = map_topic_filter(filter) else { return Reason::TopicFilterInvalid };
        if n_levels > self.settings.mqtt.topic_levels_max {
            return Reason::TopicFilterInvalid;
        }
        let quality = options.qos.quality();
        let granted = match options.qos {
            Qos::AtMostOnce => Reason::Success,
            Qos::AtLeastOnce => Reason::GrantedQos1,
            Qos::ExactlyOnce => Reason::GrantedQos2,
        };
        let kind = SubscriptionKind::Mqtt {
            topic_filter: filter.into(),
            quality,
            no_local: options.no_local,
            begins_with_wildcard: mapped.begins_with_wildcard,
        };
        let Some(connection) = self.clients.slots.get_mut(id) else { return Reason::UnspecifiedError };
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return Reason::UnspecifiedError };
        let known = mqtt.session.subscription(filter).or_else(|| given_up_with_filter(connection, filter));
        // [MQTT-3.8.4-3]: the same filter again replaces its subscription.
        if let Some(key) = known {
            if let Some(subscription) = connection.subscriptions.get_mut(key) {
                subscription.kind = kind;
                if subscription.is_given_up {
                    self.take_back_subscription(id, key);
                }
            }
            self.with_mqtt(id, |mqtt, _| mqtt.session.subscribed(filter, key));
            return granted;
        }
        let subscriptions_max = self.settings.mqtt.subscriptions_max;
        if subscriptions_max > 0 && mqtt.session.n_subscriptions() >= subscriptions_max {
            return Reason::QuotaExceeded;
        }
        let subscription =
            Subscription { filter: mapped.filter, parent: mapped.parent, kind, is_given_up: false };
        let key = self.begin_subscription(id, subscription);
        self.with_mqtt(id, |mqtt, _| key.into_iter().for_each(|key| mqtt.session.subscribed(filter, key)));
        granted
    }

    pub(super) fn mqtt_unsubscribe(&mut self, id: ConnectionId, unsubscribe: &Unsubscribe<'_>) {
        let mut codes = Vec::new();
        for filter in unsubscribe.filters.iter() {
            let mut key = None;
            self.with_mqtt(id, |mqtt, _| {
                key = mqtt.session.subscription(filter);
                key.into_iter().for_each(|key| mqtt.session.unsubscribed(filter, key));
            });
            codes.push(match key {
                Some(key) => {
                    self.give_up_subscription(id, key);
                    Reason::Success.code()
                }
                None => Reason::NoSubscriptionExisted.code(),
            });
        }
        self.stamp(id);
        self.with_mqtt(id, |mqtt, out| {
            let codes: &[u8] = if mqtt.version().is_v5() { &codes } else { &[] };
            let unsuback = Suback { packet_id: unsubscribe.packet_id, properties: Properties::EMPTY, codes };
            encode::unsuback(out, mqtt.version(), &unsuback)
                .expect("as many codes as filters came fit a packet");
        });
    }
}

/// A subscription to `filter` that ends with the fence.
fn given_up_with_filter(connection: &Connection, filter: &[u8]) -> Option<u32> {
    let has_filter = |key: &&u32| {
        connection.subscriptions.get(**key).is_some_and(|subscription| {
            matches!(&subscription.kind, SubscriptionKind::Mqtt { topic_filter, .. } if **topic_filter == *filter)
        })
    };
    connection.given_up.iter().find(has_filter).copied()
}

/// MQTT 3 has one word for every failure. [MQTT-3.9.3-2]
fn suback_code(version: Version, reason: Reason) -> u8 {
    if version.is_v5() || !reason.is_failure() { reason.code() } else { Reason::UnspecifiedError.code() }
}
