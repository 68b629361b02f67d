//! What an MQTT client has beyond its connection: its name, its subscriptions' keys, what is under way to it
//! and from it, and what waits for it. Not its subscriptions' place in the tables, and not when it ends: the
//! shard keeps both.
//!
//! It is kept in memory. A store on disk needs of a session what is here, and the order of its changes: a
//! message enters with [`Inflight::begin`] or [`Inflight::wait`] and leaves when it is acknowledged.

use crate::message::Quality;
use crate::mqtt::filters::Filters;
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet;
use crate::mqtt::property::{Property, PropertyBlock};
use crate::mqtt::receipts::Unreleased;
use crate::time::{Span, Time};
use ahash::RandomState;
use bytes::Bytes;
use std::sync::Arc;

/// How long a session outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It ends with it.
    WithConnection,
    AfterSecs(u32),
    Never,
}

impl Expiry {
    /// As MQTT 5 says it, in seconds: 0 and the largest number are special (section 3.1.2.11.2).
    pub const fn from_secs(secs: u32) -> Self {
        match secs {
            0 => Self::WithConnection,
            u32::MAX => Self::Never,
            secs => Self::AfterSecs(secs),
        }
    }

    pub const fn as_secs(self) -> u32 {
        match self {
            Self::WithConnection => 0,
            Self::AfterSecs(secs) => secs,
            Self::Never => u32::MAX,
        }
    }
}

/// The message that a client leaves for the case of its death.
#[derive(Debug)]
pub struct Will {
    pub topic: Box<[u8]>,
    /// Those that its subscribers get.
    pub properties: Box<[u8]>,
    pub payload: Bytes,
    pub quality: Quality,
    pub retain: bool,
    /// How long the client may be gone before it counts as dead.
    pub delay: Span,
}

impl Will {
    pub fn new(will: &packet::Will<'_>) -> Self {
        let mut block = PropertyBlock::new();
        block.push_without(will.properties, |it| matches!(it, Property::WillDelayInterval(_)));
        let delay_secs = will.properties.will_delay_interval().unwrap_or(0);
        Self {
            topic: will.topic.into(),
            properties: block.properties().raw().into(),
            payload: Bytes::copy_from_slice(will.payload),
            quality: will.qos.quality(),
            retain: will.retain,
            delay: Span::from_secs(delay_secs.into()),
        }
    }
}

#[derive(Debug)]
pub struct Session {
    client_id: Box<[u8]>,
    pub expiry: Expiry,
    /// When a connection took it up last: what had waited until then is not late before.
    pub resumed_at: Time,
    /// When it ends, if its client stays away.
    pub ends_at: Time,
    /// Published if the connection ends without a DISCONNECT that takes it back.
    pub will: Option<Box<Will>>,
    /// When it is, once the connection has ended.
    pub will_due: Time,
    /// Towards the client.
    pub inflight: Inflight,
    /// From the client.
    pub unreleased: Unreleased,
    filters: Filters,
}

impl Session {
    pub fn new(client_id: &[u8], expiry: Expiry, inflight: Inflight, hasher: Arc<RandomState>) -> Self {
        Self {
            client_id: client_id.into(),
            expiry,
            resumed_at: Time::START,
            ends_at: Time::NEVER,
            will: None,
            will_due: Time::NEVER,
            inflight,
            unreleased: Unreleased::default(),
            filters: Filters::new(hasher),
        }
    }

    pub fn client_id(&self) -> &[u8] {
        &self.client_id
    }

    /// For tables that have to do with this client.
    pub fn hasher(&self) -> &RandomState {
        self.filters.hasher()
    }

    /// The key of the subscription to `filter`.
    pub fn subscription(&self, filter: &[u8]) -> Option<u32> {
        self.filters.get(filter)
    }

    pub fn n_subscriptions(&self) -> usize {
        self.filters.n()
    }

    /// Notes that `filter` now names the subscription `key`.
    pub fn subscribed(&mut self, filter: &[u8], key: u32) {
        self.filters.insert(filter, key);
    }

    /// Frees `filter` if it still names `key`.
    pub fn unsubscribed(&mut self, filter: &[u8], key: u32) {
        self.filters.remove(filter, key);
    }
}
