//! One MQTT client from its first byte on: what CONNECT said, what may come next, and the answers that need
//! nothing else. Not its subscriptions' place in the tables: the shard keeps that and gives each a key.

use crate::mqtt::encode;
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet::{Connack, Connect, Disconnect, Version};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use crate::mqtt::receipts::Receipts;
use ahash::RandomState;
use std::collections::HashMap;

/// What this gateway offers, as CONNACK says it.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Whole packets that a client may send, in bytes.
    pub packet_bytes_max: u32,
    /// The longest silence allowed to a client, in seconds; 0 leaves it to the client.
    pub keep_alive_secs_max: u16,
    /// Unacknowledged messages sent to one client at once, whatever more it accepts.
    pub inflight_max: u16,
}

/// A client and its session, which end together.
#[derive(Debug)]
pub struct Connection {
    /// What packets are written in; until CONNECT says it, the oldest.
    version: Version,
    client_id: Box<[u8]>,
    is_connected: bool,
    keep_alive_secs: u16,
    /// Packets that the client takes, in bytes.
    packet_bytes_max: u32,
    pub inflight: Inflight,
    pub receipts: Receipts,
    /// Topic filter → the shard's key of the subscription.
    filters: HashMap<Box<[u8]>, u32, RandomState>,
}

impl Connection {
    pub fn new(hasher: RandomState) -> Self {
        Self {
            version: Version::V3_1_1,
            client_id: Box::default(),
            is_connected: false,
            keep_alive_secs: 0,
            packet_bytes_max: u32::MAX,
            inflight: Inflight::new(1),
            receipts: Receipts::default(),
            filters: HashMap::with_hasher(hasher),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn client_id(&self) -> &[u8] {
        &self.client_id
    }

    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The silence after which the client counts as lost, in seconds; 0 for never. One and a half times
    /// what it promised. [MQTT-3.1.2-22]
    pub fn silence_millis_max(&self) -> u64 {
        u64::from(self.keep_alive_secs) * 1_500
    }

    /// The largest packet the client takes. [MQTT-3.1.2-24]
    pub fn packet_bytes_max(&self) -> usize {
        self.packet_bytes_max as usize
    }

    /// What this gateway can't do for a client, before anything is decided about it.
    pub fn judge_connect(connect: &Connect<'_>) -> Result<(), Reason> {
        if connect.properties.authentication_method().is_some() {
            return Err(Reason::BadAuthenticationMethod);
        }
        if connect.will.is_some() {
            // A will that would be forgotten is refused. MQTT 3 has no nearer word than "server unavailable".
            return Err(Reason::ImplementationSpecificError);
        }
        // [MQTT-3.1.3-8]; MQTT 3.1 has no empty identifier at all.
        let may_be_empty = match connect.version {
            Version::V3_1 => false,
            Version::V3_1_1 => connect.clean_start,
            Version::V5 => true,
        };
        if connect.client_id.is_empty() && !may_be_empty {
            return Err(Reason::ClientIdentifierNotValid);
        }
        Ok(())
    }

    /// Takes the client in under `client_id`, which is its own or the one assigned to it, and answers.
    pub fn accept(&mut self, connect: &Connect<'_>, client_id: &[u8], offer: &Offer, out: &mut Vec<u8>) {
        let properties = connect.properties;
        self.version = connect.version;
        self.client_id = client_id.into();
        self.is_connected = true;
        self.packet_bytes_max = properties.maximum_packet_size().unwrap_or(u32::MAX);
        let window = properties.receive_maximum().unwrap_or(u16::MAX);
        self.inflight = Inflight::new(window.min(offer.inflight_max));
        let wanted = connect.keep_alive_secs;
        let limit = offer.keep_alive_secs_max;
        // Only MQTT 5 lets a server shorten the client's promise.
        let is_shortened = self.version.is_v5() && limit != 0 && (wanted == 0 || wanted > limit);
        self.keep_alive_secs = if is_shortened { limit } else { wanted };
        let block =
            connack_properties(offer, connect.client_id.is_empty().then_some(client_id), is_shortened);
        let connack =
            Connack { session_present: false, reason: Reason::Success, properties: block.properties() };
        encode::connack(out, self.version, &connack).expect("every value of it is within MQTT's range");
    }

    /// Answers a CONNECT that is not taken. `version` is the client's.
    pub fn refuse(version: Version, reason: Reason, out: &mut Vec<u8>) {
        let connack = Connack { session_present: false, reason, properties: Properties::EMPTY };
        encode::connack(out, version, &connack).expect("a bare CONNACK always fits");
    }

    /// Says why the server closes. MQTT 3 has no such packet towards clients.
    pub fn bid_farewell(&self, reason: Reason, out: &mut Vec<u8>) {
        if self.version.is_v5() && self.is_connected {
            let disconnect = Disconnect { reason, properties: Properties::EMPTY };
            encode::disconnect(out, self.version, &disconnect).expect("a bare DISCONNECT always fits");
        }
    }

    /// Sends the PUBACKs whose turn has come.
    pub fn send_receipts(&mut self, out: &mut Vec<u8>) {
        while let Some((packet_id, reason)) = self.receipts.next_ready() {
            encode::bare_ack(out, self.version, encode::AckKind::Puback, packet_id, reason);
        }
    }

    /// The key of the subscription to `filter`.
    pub fn subscription(&self, filter: &[u8]) -> Option<u32> {
        self.filters.get(filter).copied()
    }

    pub fn n_subscriptions(&self) -> usize {
        self.filters.len()
    }

    /// Notes that `filter` now names the subscription `key`.
    pub fn subscribed(&mut self, filter: &[u8], key: u32) {
        self.filters.insert(filter.into(), key);
    }

    /// Frees `filter` if it still names `key`.
    pub fn unsubscribed(&mut self, filter: &[u8], key: u32) {
        if self.filters.get(filter) == Some(&key) {
            self.filters.remove(filter);
        }
        if self.filters.is_empty() {
            self.filters.shrink_to_fit();
        }
    }
}

fn connack_properties(
    offer: &Offer,
    assigned: Option<&[u8]>,
    is_keep_alive_shortened: bool,
) -> PropertyBlock {
    let mut block = PropertyBlock::new();
    let fixed = [
        Property::SessionExpiryInterval(0),
        Property::MaximumQos(crate::mqtt::packet::Qos::AtLeastOnce),
        Property::RetainAvailable(false),
        Property::MaximumPacketSize(offer.packet_bytes_max),
        Property::SubscriptionIdentifierAvailable(false),
        Property::SharedSubscriptionAvailable(false),
    ];
    let assigned = assigned.map(Property::AssignedClientIdentifier);
    let keep_alive = is_keep_alive_shortened.then_some(Property::ServerKeepAlive(offer.keep_alive_secs_max));
    for property in fixed.into_iter().chain(assigned).chain(keep_alive) {
        block.push(property).expect("every value of it is within MQTT's range");
    }
    block
}
