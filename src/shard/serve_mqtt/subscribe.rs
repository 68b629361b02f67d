//! SUBSCRIBE and UNSUBSCRIBE, filter by filter.

use crate::message::{ProtocolKind, is_gateway_inbox};
use crate::mqtt::connection::PACKET_ID_LEN;
use crate::mqtt::encode;
use crate::mqtt::packet::{Qos, RetainHandling, Suback, Subscribe, SubscribeOptions, Unsubscribe, Version};
use crate::mqtt::property::{Properties, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::share::{Share, Wanted};
use crate::shard::Shard;
use crate::shard::connection::{Protocol, SubscriptionKind, Traits};
use crate::shard::id::ConnectionId;
use crate::shard::input::Served;
use crate::shard::log::Name;
use crate::shard::refused::NotSubscribed;
use crate::shard::replay::Stands;
use crate::subject::mapping::{MappedFilter, map_topic_filter};
use crate::time::Time;
use std::rc::Rc;

impl Shard {
    pub(super) fn mqtt_subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        n_taken: usize,
        now: Time,
    ) -> Served {
        // Nothing of it begins that its client would not hear of.
        if !self.mqtt(id).is_some_and(|mqtt| mqtt.takes_codes(subscribe.filters.iter().count())) {
            return self.end_for_answer(id, now);
        }
        let identifier = subscribe.properties.subscription_identifier().unwrap_or(0);
        let (mut codes, mut told) = (Vec::new(), None);
        let filters_max = self.settings.limits.filters_max;
        for (filter, options) in subscribe.filters.iter() {
            let subscribed = match codes.len() < filters_max {
                true => self.mqtt_subscribe_one(id, filter, options, identifier),
                false => Err(NotSubscribed::TooManyAtOnce),
            };
            codes.push(subscribed.unwrap_or_else(|why| self.refuse_filter(id, filter, why, &mut told)));
        }
        self.stamp(id);
        self.with_mqtt(id, |mqtt, out| {
            let version = mqtt.version();
            let n_other = PACKET_ID_LEN + codes.len();
            let block = told.map_or(PropertyBlock::new(), |it| mqtt.reason_string(&it, n_other));
            let codes: Vec<u8> = codes.iter().map(|reason| suback_code(version, *reason)).collect();
            let suback =
                Suback { packet_id: subscribe.packet_id, properties: block.properties(), codes: &codes };
            encode::suback(out, version, &suback).expect("as many codes as filters came fit a packet");
        });
        Served::Taken(n_taken)
    }

    fn mqtt_subscribe_one(
        &mut self,
        id: ConnectionId,
        filter: &[u8],
        options: SubscribeOptions,
        identifier: u32,
    ) -> Result<Reason, NotSubscribed> {
        let Some((mapped, mut kind)) = subscription_to(filter, options, identifier) else {
            return Err(NotSubscribed::Invalid);
        };
        let wanted = Wanted::parse(filter).unwrap_or(Wanted { group: None, filter });
        let n_levels = 1 + memchr::memchr_iter(b'/', wanted.filter).count();
        if wanted.filter.len() > self.settings.limits.topic_bytes_max {
            return Err(NotSubscribed::TooLong);
        }
        if n_levels > self.settings.mqtt.topic_levels_max {
            return Err(NotSubscribed::TooManyLevels);
        }
        let inboxes = mapped.filter.as_bytes().starts_with(b"_INBOX.") && mapped.filter.has_wildcard();
        if inboxes || is_gateway_inbox(mapped.filter.as_bytes()) {
            // Answers are for those who asked.
            return Err(NotSubscribed::Reserved);
        }
        // A shared subscription is sent nothing of what was retained before it (section 3.8.4).
        let wants_retained = |is_new| wanted.group.is_none() && wants_retained(options, is_new);
        let Some(connection) = self.clients.slots.get(id) else { return Ok(Reason::UnspecifiedError) };
        let Protocol::Mqtt(mqtt) = &connection.protocol else { return Ok(Reason::UnspecifiedError) };
        let known = mqtt.session.subscription(filter).or_else(|| self.given_up_as(id, filter));
        // [MQTT-3.8.4-3]: the same filter again replaces its subscription.
        if let Some(key) = known {
            let (mut was_given_up, mut stands) = (false, Stands::Everywhere);
            let connection = self.clients.slots.get_mut(id);
            if let Some(subscription) = connection.and_then(|it| it.subscriptions.get_mut(key)) {
                was_given_up = subscription.is_given_up;
                if let SubscriptionKind::Mqtt { traits: known, .. } = &subscription.kind
                    && let SubscriptionKind::Mqtt { traits, .. } = &mut kind
                {
                    // Given up before its replay began it has had nothing of what is kept, live or not.
                    let has_had_nothing = was_given_up && known.replayed_until == u64::MAX;
                    traits.replayed_until = if has_had_nothing { 0 } else { known.replayed_until };
                    if was_given_up {
                        stands = if has_had_nothing { Stands::Nowhere } else { Stands::AnewOrAgain };
                    }
                }
                subscription.kind = kind;
            }
            if was_given_up {
                self.take_back_subscription(id, key);
            }
            self.with_mqtt(id, |mqtt, _| mqtt.session.subscribed(filter, key, options, identifier));
            if wants_retained(was_given_up) {
                self.expect_replay(id, key, stands);
            } else if was_given_up && wanted.group.is_none() {
                self.expect_no_replay(id, key);
            }
            return Ok(granted(options.qos));
        }
        let subscriptions_max = self.settings.mqtt.subscriptions_max;
        if subscriptions_max > 0 && mqtt.session.n_subscriptions() >= subscriptions_max {
            return Err(NotSubscribed::TooMany);
        }
        let key = self.begin_subscription(id, &mapped.filter, mapped.parent.as_ref(), kind);
        let Some(key) = key else { return Ok(Reason::UnspecifiedError) };
        self.with_mqtt(id, |mqtt, _| mqtt.session.subscribed(filter, key, options, identifier));
        if wants_retained(true) {
            self.expect_replay(id, key, Stands::Nowhere);
        } else if wanted.group.is_none() {
            self.expect_no_replay(id, key);
        }
        Ok(granted(options.qos))
    }

    /// Counts a filter that is refused alone, and names it in the log; of the first in a packet its client is
    /// `told` what was in the way.
    #[cold]
    fn refuse_filter(
        &mut self,
        id: ConnectionId,
        filter: &[u8],
        why: NotSubscribed,
        told: &mut Option<String>,
    ) -> Reason {
        let in_the_way = self.count_refused(why, ProtocolKind::Mqtt);
        self.log_refused(id, Name::Filter(filter), &in_the_way, self.now);
        let reason = why.mqtt_reason();
        told.get_or_insert_with(|| format!("{reason}, {in_the_way}"));
        reason
    }

    pub(super) fn mqtt_unsubscribe(
        &mut self,
        id: ConnectionId,
        unsubscribe: &Unsubscribe<'_>,
        n_taken: usize,
        now: Time,
    ) -> Served {
        if !self.mqtt(id).is_some_and(|mqtt| mqtt.takes_codes(unsubscribe.filters.iter().count())) {
            return self.end_for_answer(id, now);
        }
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
        Served::Taken(n_taken)
    }
}

/// A subscription as it is kept, and where it stands; `None` where there is no such filter.
pub(in crate::shard) fn subscription_to(
    filter: &[u8],
    options: SubscribeOptions,
    identifier: u32,
) -> Option<(MappedFilter, SubscriptionKind)> {
    let wanted = Wanted::parse(filter).ok()?;
    let mapped = map_topic_filter(wanted.filter).ok()?;
    let share = wanted.group.map(|name| Rc::new(Share { name: name.into(), filter: mapped.filter.clone() }));
    let traits = Traits {
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        begins_with_wildcard: mapped.begins_with_wildcard,
        identifier,
        replayed_until: 0,
    };
    let quality = options.qos.quality();
    Some((mapped, SubscriptionKind::Mqtt { topic_filter: filter.into(), quality, traits, share }))
}

fn granted(qos: Qos) -> Reason {
    match qos {
        Qos::AtMostOnce => Reason::Success,
        Qos::AtLeastOnce => Reason::GrantedQos1,
        Qos::ExactlyOnce => Reason::GrantedQos2,
    }
}

/// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
fn wants_retained(options: SubscribeOptions, is_new: bool) -> bool {
    match options.retain_handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => is_new,
        RetainHandling::DoNotSend => false,
    }
}

/// MQTT 3 has one word for every failure. [MQTT-3.9.3-2]
fn suback_code(version: Version, reason: Reason) -> u8 {
    if version.is_v5() || !reason.is_failure() { reason.code() } else { Reason::UnspecifiedError.code() }
}
