//! Any packet, from random ingredients. Not any bytes: every packet built here is legal.

use proptest::prelude::*;

use crate::mqtt::packet::*;
use crate::mqtt::property::{Pair, Properties, Property, PropertyBlock, PropertyId};
use crate::mqtt::reason::{ConnectReturnCode, Reason};

/// What packets are made of. One set makes a packet of each kind in each version.
#[derive(Clone, Debug)]
pub struct Ingredients {
    pub flags: [bool; 6],
    pub qos: Qos,
    pub small: u16,
    pub large: u32,
    pub topic: String,
    pub text: String,
    pub other_text: String,
    pub bytes: Vec<u8>,
    pub filters: Vec<(String, SubscribeOptions)>,
    pub reason_idx: usize,
    pub properties: u64,
    pub n_user_properties: usize,
}

pub fn ingredients() -> impl Strategy<Value = Ingredients> {
    let qos = (0..3u8).prop_map(|n| Qos::from_u8(n).unwrap());
    // Two bits of QoS, two flags, two bits of retain handling.
    let options = (0..3u8, 0..4u8, 0..3u8).prop_map(|(qos, flags, retain_handling)| {
        SubscribeOptions::from_byte(qos | flags << 2 | retain_handling << 4).unwrap()
    });
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    (
        (any::<[bool; 6]>(), qos, 1..=u16::MAX, 1..=268_435_455u32, 0..1000usize, any::<u64>(), 0..4usize),
        ("[^+#\0]{1,60}", "[^\0]{0,30}", "[^\0]{0,10}", bytes()),
        proptest::collection::vec(("[^\0$]{0,20}", options), 1..6),
    )
        .prop_map(|(numbers, (topic, text, other_text, bytes), filters)| {
            let (flags, qos, small, large, reason_idx, properties, n_user_properties) = numbers;
            Ingredients {
                flags,
                qos,
                small,
                large,
                topic,
                text,
                other_text,
                bytes,
                filters,
                reason_idx,
                properties,
                n_user_properties,
            }
        })
}

impl Ingredients {
    pub fn property(&self, id: PropertyId) -> Property<'_> {
        let (text, flag) = (self.text.as_bytes(), self.flags[0]);
        match id {
            PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag),
            PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(self.large),
            PropertyId::ContentType => Property::ContentType(text),
            PropertyId::ResponseTopic => Property::ResponseTopic(self.topic.as_bytes()),
            PropertyId::CorrelationData => Property::CorrelationData(&self.bytes),
            PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(self.large),
            PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(self.large),
            PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(text),
            PropertyId::ServerKeepAlive => Property::ServerKeepAlive(self.small),
            PropertyId::AuthenticationMethod => Property::AuthenticationMethod(text),
            PropertyId::AuthenticationData => Property::AuthenticationData(&self.bytes),
            PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag),
            PropertyId::WillDelayInterval => Property::WillDelayInterval(self.large),
            PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag),
            PropertyId::ResponseInformation => Property::ResponseInformation(text),
            PropertyId::ServerReference => Property::ServerReference(text),
            PropertyId::ReasonString => Property::ReasonString(text),
            PropertyId::ReceiveMaximum => Property::ReceiveMaximum(self.small),
            PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(self.small),
            PropertyId::TopicAlias => Property::TopicAlias(self.small),
            PropertyId::MaximumQos => Property::MaximumQos(self.qos.min(Qos::AtLeastOnce)),
            PropertyId::RetainAvailable => Property::RetainAvailable(flag),
            PropertyId::UserProperty => {
                Property::UserProperty(Pair { name: text, value: self.other_text.as_bytes() })
            }
            PropertyId::MaximumPacketSize => Property::MaximumPacketSize(self.large),
            PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag),
            PropertyId::SubscriptionIdentifierAvailable => Property::SubscriptionIdentifierAvailable(flag),
            PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag),
        }
    }

    fn block(&self, allowed: impl Fn(PropertyId) -> bool, demanded: &[PropertyId]) -> PropertyBlock {
        let mut block = PropertyBlock::new();
        let wanted = |id: PropertyId| {
            self.properties >> (id as u8) & 1 == 1
                || demanded.contains(&id)
                // Authentication data brings its method.
                || (id == PropertyId::AuthenticationMethod
                    && self.properties >> (PropertyId::AuthenticationData as u8) & 1 == 1)
        };
        for &id in PropertyId::ALL.iter().filter(|&&id| allowed(id) && wanted(id)) {
            let n = if id == PropertyId::UserProperty { self.n_user_properties } else { 1 };
            for _ in 0..n {
                block.push(self.property(id)).unwrap();
            }
        }
        block
    }
}

/// What a packet made of [`Ingredients`] borrows.
pub struct Kitchen<'a> {
    it: &'a Ingredients,
    kind: PacketKind,
    version: Version,
    block: PropertyBlock,
    will_block: PropertyBlock,
    filters: Vec<(&'a [u8], SubscribeOptions)>,
    names: Vec<&'a [u8]>,
    codes: Vec<u8>,
}

impl<'a> Kitchen<'a> {
    pub fn new(it: &'a Ingredients, kind: PacketKind, version: Version) -> Self {
        let alias = [PropertyId::TopicAlias];
        let method = [PropertyId::AuthenticationMethod];
        let demanded: &[PropertyId] = if kind == PacketKind::Auth {
            &method
        } else if kind == PacketKind::Publish && it.flags[3] {
            &alias
        } else {
            &[]
        };
        let plain = |options: SubscribeOptions| SubscribeOptions { qos: options.qos, ..Default::default() };
        let filters = it.filters.iter();
        Kitchen {
            it,
            kind,
            version,
            block: it.block(|id| id.allowed_in(kind), demanded),
            will_block: it.block(PropertyId::allowed_in_will, &[]),
            filters: filters
                .clone()
                .map(|(filter, options)| {
                    (filter.as_bytes(), if version.is_v5() { *options } else { plain(*options) })
                })
                .collect(),
            names: filters.map(|(filter, _)| filter.as_bytes()).collect(),
            codes: codes(it, kind, version),
        }
    }

    fn properties<'k>(&'k self, block: &'k PropertyBlock) -> Properties<'k> {
        if self.version.is_v5() { block.properties() } else { Properties::EMPTY }
    }

    fn reason(&self) -> Reason {
        if self.version.is_v5() {
            let legal: Vec<Reason> =
                Reason::ALL.iter().copied().filter(|reason| reason.allowed_in(self.kind)).collect();
            // No reason is legal in a packet that carries none.
            if legal.is_empty() { Reason::Success } else { legal[self.it.reason_idx % legal.len()] }
        } else if self.kind == PacketKind::Connack {
            ConnectReturnCode::from_u8((self.it.reason_idx % 6) as u8).unwrap().reason()
        } else {
            Reason::Success
        }
    }

    fn connect(&self) -> Connect<'_> {
        let it = self.it;
        let will = Will {
            qos: it.qos,
            retain: it.flags[1],
            topic: it.topic.as_bytes(),
            payload: &it.bytes,
            properties: self.properties(&self.will_block),
        };
        let has_username = it.flags[2];
        let has_password = it.flags[3] && (has_username || self.version.is_v5());
        Connect {
            version: self.version,
            clean_start: it.flags[4],
            keep_alive_secs: it.small,
            client_id: it.text.as_bytes(),
            will: it.flags[5].then_some(will),
            username: has_username.then_some(it.other_text.as_bytes()),
            password: has_password.then_some(&it.bytes),
            properties: self.properties(&self.block),
        }
    }

    fn publish(&self) -> Publish<'_> {
        let it = self.it;
        let is_acknowledged = it.qos != Qos::AtMostOnce;
        let is_alias = it.flags[3] && self.version.is_v5();
        Publish {
            dup: it.flags[1] && is_acknowledged,
            qos: it.qos,
            retain: it.flags[2],
            topic: if is_alias { b"" } else { it.topic.as_bytes() },
            packet_id: if is_acknowledged { it.small } else { 0 },
            properties: self.properties(&self.block),
            payload: &it.bytes,
        }
    }

    pub fn packet(&self) -> Packet<'_> {
        let (packet_id, properties, reason) = (self.it.small, self.properties(&self.block), self.reason());
        let ack = Ack { packet_id, reason, properties };
        let suback = Suback { packet_id, properties, codes: &self.codes };
        match self.kind {
            PacketKind::Connect => Packet::Connect(self.connect()),
            PacketKind::Connack => {
                let session_present =
                    self.it.flags[1] && reason == Reason::Success && self.version != Version::V3_1;
                Packet::Connack(Connack { session_present, reason, properties })
            }
            PacketKind::Publish => Packet::Publish(self.publish()),
            PacketKind::Puback => Packet::Puback(ack),
            PacketKind::Pubrec => Packet::Pubrec(ack),
            PacketKind::Pubrel => Packet::Pubrel(ack),
            PacketKind::Pubcomp => Packet::Pubcomp(ack),
            PacketKind::Subscribe => Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters: Filters::from_list(&self.filters),
            }),
            PacketKind::Suback => Packet::Suback(suback),
            PacketKind::Unsubscribe => {
                let filters = UnsubscribeFilters::from_list(&self.names);
                Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
            }
            PacketKind::Unsuback => Packet::Unsuback(suback),
            PacketKind::Pingreq => Packet::Pingreq,
            PacketKind::Pingresp => Packet::Pingresp,
            PacketKind::Disconnect => Packet::Disconnect(Disconnect { reason, properties }),
            PacketKind::Auth => Packet::Auth(Auth { reason, properties }),
        }
    }
}

fn codes(it: &Ingredients, kind: PacketKind, version: Version) -> Vec<u8> {
    let legal: Vec<u8> = match (version, kind) {
        (Version::V5, _) => {
            Reason::ALL.iter().filter(|reason| reason.allowed_in(kind)).map(|reason| reason.code()).collect()
        }
        (_, PacketKind::Unsuback) => return Vec::new(),
        _ => vec![0, 1, 2, 0x80],
    };
    if legal.is_empty() {
        return legal;
    }
    it.bytes.iter().chain([&0]).map(|&byte| legal[usize::from(byte) % legal.len()]).collect()
}

/// Every kind in every version that has it.
pub fn kinds_and_versions() -> impl Iterator<Item = (PacketKind, Version)> {
    Version::ALL
        .into_iter()
        .flat_map(|version| PacketKind::ALL.map(|kind| (kind, version)))
        .filter(|&(kind, version)| kind != PacketKind::Auth || version.is_v5())
}
