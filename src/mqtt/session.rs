//! What an MQTT client has beyond its connection: its name, its subscriptions' keys, what is under way to it
//! and from it, and what waits for it. Not its subscriptions' place in the tables, and not when it ends: the
//! shard keeps both.
//!
//! It is kept in memory. For a store it writes down its changes as well, from [`Session::open_diary`] on.

use crate::message::Quality;
use crate::mqtt::change::{Change, Corrupt};
use crate::mqtt::filters::Filters;
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet::{self, SubscribeOptions};
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
#[derive(Clone, Debug)]
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

    /// Its topic filters, with the keys of their subscriptions.
    pub fn filters(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.filters.iter()
    }

    pub fn n_subscriptions(&self) -> usize {
        self.filters.n()
    }

    /// Notes that `filter` now names the subscription `key`, and what its client wants of it.
    pub fn subscribed(&mut self, filter: &[u8], key: u32, options: SubscribeOptions, identifier: u32) {
        self.inflight.diary().note(&Change::Subscribed { filter, options, identifier });
        self.filters.insert(filter, key);
    }

    /// Frees `filter` if it still names `key`.
    pub fn unsubscribed(&mut self, filter: &[u8], key: u32) {
        if self.filters.remove(filter, key) {
            self.inflight.diary().note(&Change::Unsubscribed { filter });
        }
    }

    /// From now on its changes are written down.
    pub fn open_diary(&mut self) {
        self.inflight.diary().open();
    }

    pub fn set_expiry(&mut self, expiry: Expiry) {
        self.expiry = expiry;
        self.inflight.diary().note(&Change::Expires(expiry));
    }

    /// A connection has taken it up, with this will.
    pub fn come(&mut self, will: Option<Box<Will>>, now: Time) {
        self.resumed_at = now;
        self.ends_at = Time::NEVER;
        // In time: the last one's is not published. [MQTT-3.1.3-9]
        self.will_due = Time::NEVER;
        self.inflight.diary().note(&Change::Came);
        match &will {
            Some(will) => self.inflight.diary().note(&Change::Will(will)),
            None => self.inflight.diary().note(&Change::NoWill),
        }
        self.will = will;
    }

    /// Its connection is gone, and it waits for the next one.
    pub fn leave(&mut self, now: Time) {
        self.ends_at = match self.expiry {
            Expiry::AfterSecs(secs) => now + Span::from_secs(secs.into()),
            Expiry::Never | Expiry::WithConnection => Time::NEVER,
        };
        self.will_due = self.will.as_ref().map_or(Time::NEVER, |will| now + will.delay);
        let (ends_at, will_due) = (self.ends_at, self.will_due);
        self.inflight.diary().note(&Change::Left { ends_at, will_due });
    }

    /// Takes the will: to publish it, or to forget it.
    pub fn take_will(&mut self) -> Option<Box<Will>> {
        self.will_due = Time::NEVER;
        let will = self.will.take()?;
        self.inflight.diary().note(&Change::NoWill);
        Some(will)
    }

    /// Says the session whole but for its subscriptions: the changes that make it anew.
    pub fn write(&self, out: &mut Vec<u8>) {
        Change::Expires(self.expiry).write(out);
        match &self.will {
            Some(will) => Change::Will(will).write(out),
            None => Change::NoWill.write(out),
        }
        self.inflight.write(out);
        self.unreleased.write(out);
    }

    /// Applies a change that was written down before.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), Corrupt> {
        match change {
            Change::Expires(expiry) => self.expiry = *expiry,
            Change::Came => {
                self.ends_at = Time::NEVER;
                self.will_due = Time::NEVER;
            }
            Change::Left { ends_at, will_due } => {
                self.ends_at = *ends_at;
                self.will_due = *will_due;
            }
            Change::Will(will) => self.will = Some(Box::new((*will).clone())),
            Change::NoWill => {
                self.will = None;
                self.will_due = Time::NEVER;
            }
            Change::Received(packet_id) => self.unreleased.restore(*packet_id),
            Change::Completed(packet_id) => drop(self.unreleased.release(*packet_id).ok_or(Corrupt)?),
            // Whoever keeps it knows its subscriptions.
            Change::Subscribed { .. } | Change::Replay { .. } | Change::Unsubscribed { .. } => {}
            change => return self.inflight.apply(change),
        }
        Ok(())
    }
}
