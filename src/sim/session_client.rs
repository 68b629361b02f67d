//! An MQTT client with a session that it keeps as the specification wants: it publishes again what was not
//! acknowledged, with the same identifiers, and remembers the QoS 2 messages that it has and were not
//! released. It subscribes to everything, or publishes numbered messages.

use super::chance::Chance;
use super::faults::{Check, Kind, broken};
use crate::message::Quality;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode::{self, AckKind};
use crate::mqtt::packet::{Connect, Filters, Packet, Publish, Qos, Subscribe, SubscribeOptions, Version};
use crate::mqtt::property::{Properties, Property, PropertyBlock};
use crate::mqtt::reason::Reason;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
pub struct SessionClient {
    number: usize,
    version: Version,
    receive_maximum: u16,
    /// What its subscription asks for.
    pub quality: Quality,
    n_messages: u32,
    is_connected: bool,
    was_ever_connected: bool,
    is_subscribed: bool,
    /// It is one of those that share everything.
    shares: bool,
    unread: Vec<u8>,
    next_packet_id: u16,
    /// Its publishes, in order, and those that are not acknowledged.
    sent: Vec<Quality>,
    unacknowledged: VecDeque<Sent>,
    /// Those of QoS 2 that crashed on their way: some core may have kept that it has them, and another not.
    doubtful: BTreeSet<u32>,
    /// QoS 2 messages that it has and that are not released.
    unreleased: BTreeSet<u16>,
    /// What was last heard under an identifier.
    last: BTreeMap<u16, Told>,
    pub told: Vec<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    packet_id: u16,
    nth: u32,
    quality: Quality,
    is_received: bool,
}

/// A message that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub publisher: usize,
    pub nth: u32,
    pub published_at: Quality,
}

/// Messages under way from a client at once.
const WINDOW: usize = 8;

impl SessionClient {
    pub fn new(number: usize, n_messages: u32, shares: bool, chance: &mut Chance) -> Self {
        Self {
            number,
            version: *chance.pick(&[Version::V3_1_1, Version::V5]),
            receive_maximum: *chance.pick(&[1, 2, 5, 65_535]),
            quality: *chance.pick(&[Quality::AtLeastOnce, Quality::ExactlyOnce]),
            n_messages,
            is_connected: false,
            was_ever_connected: false,
            is_subscribed: n_messages > 0,
            shares,
            unread: Vec::new(),
            next_packet_id: 0,
            sent: Vec::new(),
            unacknowledged: VecDeque::new(),
            doubtful: BTreeSet::new(),
            unreleased: BTreeSet::new(),
            last: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    pub fn has_more(&self) -> bool {
        (self.sent.len() as u32) < self.n_messages
    }

    pub fn published(&self, quality: Quality) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.sent).filter(move |(_, other)| **other == quality).map(|(nth, _)| nth)
    }

    pub fn waits_for(&self) -> Option<String> {
        let Self { number, is_connected, is_subscribed, unacknowledged, unreleased, unread, .. } = self;
        let waits = !is_connected
            || !is_subscribed
            || !unacknowledged.is_empty()
            || !unreleased.is_empty()
            || !unread.is_empty();
        waits.then(|| {
            format!(
                "{number}: connected {is_connected}, subscribed {is_subscribed}, {unacknowledged:?}, {unreleased:?}"
            )
        })
    }

    /// Its connection is gone.
    pub fn lose(&mut self) {
        self.is_connected = false;
        self.unread.clear();
    }

    /// The gateway with its cores crashed.
    pub fn doubt(&mut self) {
        let under_way = self.unacknowledged.iter().filter(|sent| !sent.is_received);
        self.doubtful.extend(under_way.map(|sent| sent.nth));
    }

    /// Whether what it published may come twice, whatever its QoS.
    pub fn is_doubtful(&self, nth: u32) -> bool {
        self.doubtful.contains(&nth)
    }

    pub fn connect(&mut self, chance: &mut Chance, out: &mut Vec<u8>) {
        self.lose();
        // Now and then it comes back with another version: the session does not care.
        if chance.one_in(10) {
            self.version = *chance.pick(&[Version::V3_1_1, Version::V5]);
        }
        let mut block = PropertyBlock::new();
        if self.version.is_v5() {
            block.push(Property::ReceiveMaximum(self.receive_maximum)).expect("it is not 0");
            block.push(Property::SessionExpiryInterval(10_000)).expect("any number is legal");
        }
        let client_id = format!("s{}", self.number);
        let connect = Connect {
            version: self.version,
            clean_start: false,
            keep_alive_secs: 0,
            client_id: client_id.as_bytes(),
            will: None,
            username: None,
            password: None,
            properties: block.properties(),
        };
        encode::connect(out, &connect).expect("all of it is short");
    }

    pub fn publish(&mut self, chance: &mut Chance, out: &mut Vec<u8>) {
        if !self.is_connected || !self.has_more() || self.unacknowledged.len() >= WINDOW {
            return;
        }
        self.next_packet_id = self.next_packet_id % 60_000 + 1;
        let quality = *chance.pick(&[Quality::AtLeastOnce, Quality::ExactlyOnce]);
        let sent =
            Sent { packet_id: self.next_packet_id, nth: self.sent.len() as u32, quality, is_received: false };
        self.sent.push(quality);
        self.unacknowledged.push_back(sent);
        self.send(sent, false, out);
    }

    fn send(&self, sent: Sent, dup: bool, out: &mut Vec<u8>) {
        let Sent { packet_id, nth, quality, .. } = sent;
        if sent.is_received {
            return encode::bare_ack(out, self.version, AckKind::Pubrel, packet_id, Reason::Success);
        }
        let mut payload = format!("{} {nth} {}", self.number, quality as u8).into_bytes();
        // Every ninth is so long that it is shared, and not copied.
        payload.resize(if nth % 9 == 8 { 2_000 } else { payload.len() }, b' ');
        let publish = Publish {
            dup,
            qos: Qos::of(quality),
            retain: false,
            topic: b"all/of/it",
            packet_id,
            properties: Properties::EMPTY,
            payload: &payload,
        };
        encode::publish(out, self.version, &publish).expect("all of it is short");
    }

    pub fn hear(&mut self, bytes: &[u8], chance: &mut Chance, out: &mut Vec<u8>) -> Check {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut n_read = 0;
        loop {
            match decode(&unread[n_read..], self.version, &Limits::NONE) {
                Ok(Decoded::Packet(packet, n)) => {
                    self.take(&packet, chance, out)?;
                    n_read += n;
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(malformed) => return broken(Kind::Wire, format!("{malformed:?}")),
            }
        }
        unread.drain(..n_read);
        self.unread = unread;
        Ok(())
    }

    fn take(&mut self, packet: &Packet<'_>, chance: &mut Chance, out: &mut Vec<u8>) -> Check {
        let unexpected = |what: &str| broken(Kind::Wire, format!("{}: {what}: {packet:?}", self.number));
        if matches!(packet, Packet::Connack(_)) == self.is_connected {
            return unexpected("before CONNACK or twice");
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other packet may come")]
        match packet {
            Packet::Connack(connack) => {
                // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
                if connack.reason != Reason::Success || (self.was_ever_connected && !connack.session_present)
                {
                    return unexpected("the session is lost");
                }
                self.greeted(out);
                Ok(())
            }
            Packet::Suback(_) => {
                self.is_subscribed = true;
                Ok(())
            }
            Packet::Publish(publish) => self.take_publish(publish, chance, out),
            Packet::Pubrel(ack) => {
                self.unreleased.remove(&ack.packet_id);
                encode::bare_ack(out, self.version, AckKind::Pubcomp, ack.packet_id, Reason::Success);
                Ok(())
            }
            Packet::Puback(ack) => self.take_ack(ack.packet_id, Quality::AtLeastOnce),
            Packet::Pubrec(ack) => {
                let sent = self.unacknowledged.iter_mut().find(|it| it.packet_id == ack.packet_id);
                let Some(sent) = sent.filter(|it| it.quality == Quality::ExactlyOnce) else {
                    return unexpected("for nothing");
                };
                sent.is_received = true;
                encode::bare_ack(out, self.version, AckKind::Pubrel, ack.packet_id, Reason::Success);
                Ok(())
            }
            Packet::Pubcomp(ack) => self.take_ack(ack.packet_id, Quality::ExactlyOnce),
            _ => unexpected("not due"),
        }
    }

    /// CONNACK came: what was not acknowledged is sent again, in its order. [MQTT-4.4.0-1]
    fn greeted(&mut self, out: &mut Vec<u8>) {
        self.is_connected = true;
        self.was_ever_connected = true;
        if !self.is_subscribed {
            let options = SubscribeOptions { qos: Qos::of(self.quality), ..SubscribeOptions::default() };
            let filter: &[u8] = if self.shares { b"$share/g/all/#" } else { b"all/#" };
            let filters = [(filter, options)];
            let filters = Filters::from_list(&filters);
            let subscribe = Subscribe { packet_id: 60_001, properties: Properties::EMPTY, filters };
            encode::subscribe(out, self.version, &subscribe).expect("all of it is short");
        }
        self.unacknowledged.iter().for_each(|sent| self.send(*sent, true, out));
    }

    fn take_ack(&mut self, packet_id: u16, quality: Quality) -> Check {
        let place = self.unacknowledged.iter().position(|it| it.packet_id == packet_id);
        match place.and_then(|place| self.unacknowledged.remove(place)) {
            Some(sent) if sent.quality == quality => Ok(()),
            other => broken(Kind::Receipt, format!("{}: {packet_id} for {other:?}", self.number)),
        }
    }

    fn take_publish(&mut self, publish: &Publish<'_>, chance: &mut Chance, out: &mut Vec<u8>) -> Check {
        let text = String::from_utf8_lossy(publish.payload);
        let mut words = text.split_whitespace().map(str::parse);
        let (Some(Ok(publisher)), Some(Ok(nth)), Some(Ok(quality))) =
            (words.next(), words.next(), words.next())
        else {
            return broken(Kind::Content, format!("{publish:?}"));
        };
        let published_at = if quality == 2 { Quality::ExactlyOnce } else { Quality::AtLeastOnce };
        let told = Told { publisher: publisher as usize, nth, published_at };
        let packet_id = publish.packet_id;
        let due = Qos::of(published_at.min(self.quality));
        // What another left behind has no more than it was granted.
        let is_due = publish.qos == due || (self.shares && publish.qos == Qos::AtLeastOnce);
        if !is_due || publish.topic != b"all/of/it" {
            return broken(Kind::Content, format!("{publish:?}"));
        }
        // [MQTT-3.3.1-1] [MQTT-2.2.1-4]: the same message under the same identifier.
        let before = self.last.insert(packet_id, told);
        if !publish.dup && self.unreleased.contains(&packet_id) {
            return broken(Kind::Wire, format!("{}: {packet_id} is in use: {publish:?}", self.number));
        }
        if publish.dup && before.is_some_and(|before| before != told) && self.unreleased.contains(&packet_id)
        {
            return broken(
                Kind::Content,
                format!("{}: {packet_id} was {before:?}, is {told:?}", self.number),
            );
        }
        if publish.qos == Qos::AtLeastOnce {
            self.told.push(told);
            encode::bare_ack(out, self.version, AckKind::Puback, packet_id, Reason::Success);
            return Ok(());
        }
        if self.unreleased.insert(packet_id) {
            self.told.push(told);
        }
        // One that hesitates is sent nothing twice for that, on the same connection.
        let _ = chance;
        encode::bare_ack(out, self.version, AckKind::Pubrec, packet_id, Reason::Success);
        Ok(())
    }
}
