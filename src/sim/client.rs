//! The clients of a simulated world. They say what chance tells them, read strictly what they are sent, and
//! tell the oracle both. Not sockets: `world` carries their bytes.

use super::chance::Chance;
use super::oracle::{Moment, Oracle, Publication, Subscription, Violation};
use crate::message::Quality;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::encode;
use crate::mqtt::packet::{
    Ack, Connect, Disconnect, Packet, Publish, Qos, Subscribe, SubscribeOptions, Unsubscribe,
    UnsubscribeFilters, Version,
};
use crate::mqtt::property::Properties;
use crate::mqtt::reason::Reason;
use crate::subject::SubjectFilter;
use crate::subject::mapping::{map_topic_filter, topic_to_subject};
use std::collections::{BTreeMap, VecDeque};

/// What an answer tells the client.
#[derive(Clone, Debug)]
enum Mark {
    Begun(usize),
    Ended(usize),
    Handled(usize),
}

/// One connection's client.
#[derive(Debug)]
pub struct Client {
    /// Its number in the oracle.
    pub connection: usize,
    speech: Speech,
    received: Vec<u8>,
    /// What the client has said since its last PING, and what each unanswered PING is preceded by.
    unasked: Vec<Mark>,
    asked: VecDeque<(Moment, Vec<Mark>)>,
    /// Live subscriptions: sid or topic filter → number in the oracle.
    live: BTreeMap<String, usize>,
    n_said: u32,
}

#[derive(Debug)]
enum Speech {
    Nats { echo: bool },
    Mqtt(Mqtt),
}

#[derive(Debug)]
struct Mqtt {
    version: Version,
    is_connected: bool,
    /// By packet identifier: what its SUBACK or UNSUBACK tells.
    requests: BTreeMap<u16, Vec<Mark>>,
    /// QoS 1 publishes without their PUBACK, oldest first.
    unacknowledged: VecDeque<(u16, usize)>,
    next_packet_id: u16,
    /// QoS 1 messages that it has not acknowledged yet.
    owed: VecDeque<u16>,
    no_local: bool,
}

/// Few enough that filters and subjects meet often.
const SUBJECTS: &[&str] =
    &["a", "a.b", "a.c", "b.a", "b", "a.b.c", "$x.y", "_INBOX.q", "a.b/c", "/24x.y", "a./"];
const FILTERS: &[&str] = &["a", "a.b", "a.*", "a.>", ">", "*.b", "*", "b.a", "a.b.c", "a.*.c", "$x.>", "b"];
const TOPICS: &[&str] = &["a", "a/b", "a/c", "b/a", "b", "a/b/c", "$x/y", "a/", "a b"];
const TOPIC_FILTERS: &[&str] =
    &["a", "a/b", "a/+", "a/#", "#", "+/b", "+", "b/a", "$x/#", "+/#", "a/b/c", "a b"];

impl Client {
    /// A NATS client, and the first bytes it says.
    pub fn nats(connection: usize, chance: &mut Chance, oracle: &mut Oracle, now: Moment) -> (Self, Vec<u8>) {
        let echo = !chance.one_in(4);
        let mut client = Self::new(connection, Speech::Nats { echo });
        let mut out = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":{echo},\"headers\":true,\"no_responders\":true,\"protocol\":1}}\r\n"
        )
        .into_bytes();
        let inbox = format!("_INBOX.{connection}.*");
        client.subscribe_nats("inbox", &inbox, None, oracle, now, &mut out);
        (client, out)
    }

    /// An MQTT client with one of a few client ids, so that take-overs happen.
    pub fn mqtt(connection: usize, chance: &mut Chance) -> (Self, Vec<u8>) {
        let version = *chance.pick(&[Version::V3_1_1, Version::V5]);
        let client_id = format!("client-{}", chance.below(6));
        let mqtt = Mqtt {
            version,
            is_connected: false,
            requests: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            next_packet_id: 1,
            owed: VecDeque::new(),
            no_local: version.is_v5() && chance.one_in(4),
        };
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_secs: if chance.one_in(4) { 5 } else { 0 },
            client_id: client_id.as_bytes(),
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
        };
        let mut out = Vec::new();
        encode::connect(&mut out, &connect).expect("it fits");
        (Self::new(connection, Speech::Mqtt(mqtt)), out)
    }

    fn new(connection: usize, speech: Speech) -> Self {
        Self {
            connection,
            speech,
            received: Vec::new(),
            unasked: Vec::new(),
            asked: VecDeque::new(),
            live: BTreeMap::new(),
            n_said: 0,
        }
    }

    /// Live subscriptions, as the oracle numbers them.
    pub fn live(&self) -> impl Iterator<Item = usize> {
        self.live.values().copied()
    }

    /// Something to say, as chance has it.
    pub fn act(&mut self, chance: &mut Chance, oracle: &mut Oracle, now: Moment) -> Vec<u8> {
        self.n_said += 1;
        let mut out = Vec::new();
        match (&self.speech, chance.below(10)) {
            (Speech::Nats { .. }, 0 | 1) => {
                // A sid that was given up is used again at times, though never for another group.
                let group = chance.one_in(3).then(|| *chance.pick(&["g", "h"]));
                let sid = format!("{}{}", group.unwrap_or("p"), chance.below(4));
                if !self.live.contains_key(&sid) {
                    let filter = *chance.pick(FILTERS);
                    self.subscribe_nats(&sid, filter, group, oracle, now, &mut out);
                }
            }
            (Speech::Nats { .. }, 2) => self.unsubscribe_nats(chance, oracle, now, &mut out),
            (Speech::Nats { .. }, 3) => self.ask(now, &mut out),
            (Speech::Nats { .. }, _) => self.publish_nats(chance, oracle, now, &mut out),
            (Speech::Mqtt(mqtt), _) if !mqtt.is_connected && !chance.one_in(8) => {}
            (Speech::Mqtt(_), 0 | 1) => self.subscribe_mqtt(chance, oracle, now, &mut out),
            (Speech::Mqtt(_), 2) => self.unsubscribe_mqtt(chance, oracle, now, &mut out),
            (Speech::Mqtt(_), 3) => self.ask(now, &mut out),
            (Speech::Mqtt(_), 4) => self.acknowledge(chance.one_in(2), &mut out),
            (Speech::Mqtt(_), _) => self.publish_mqtt(chance, oracle, now, &mut out),
        }
        out
    }

    /// Says the last things: all acknowledgements, and a PING for what was said since the last.
    pub fn conclude(&mut self, now: Moment, out: &mut Vec<u8>) {
        self.acknowledge(true, out);
        if !self.unasked.is_empty() {
            self.ask(now, out);
        }
    }

    /// The orderly end of an MQTT client.
    pub fn leave(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Speech::Mqtt(mqtt) = &self.speech {
            let disconnect = Disconnect { reason: Reason::Success, properties: Properties::EMPTY };
            encode::disconnect(&mut out, mqtt.version, &disconnect).expect("it fits");
        }
        out
    }

    /// A PING is answered after everything before it.
    fn ask(&mut self, now: Moment, out: &mut Vec<u8>) {
        match &self.speech {
            Speech::Nats { .. } => out.extend_from_slice(b"PING\r\n"),
            Speech::Mqtt(_) => encode::pingreq(out),
        }
        self.asked.push_back((now, std::mem::take(&mut self.unasked)));
    }

    fn subscribe_nats(
        &mut self,
        sid: &str,
        filter: &str,
        group: Option<&str>,
        oracle: &mut Oracle,
        now: Moment,
        out: &mut Vec<u8>,
    ) {
        let Speech::Nats { echo } = self.speech else { return };
        let parsed = SubjectFilter::parse(filter.as_bytes()).expect("the alphabet has valid filters");
        let mut subscription = Subscription::asked(self.connection, sid, vec![parsed], now);
        subscription.group = group.map(str::to_owned);
        subscription.is_deaf_to_own = !echo;
        let number = oracle.subscribe(subscription);
        out.extend_from_slice(format!("SUB {filter} {} {sid}\r\n", group.unwrap_or("")).as_bytes());
        self.live.insert(sid.to_owned(), number);
        self.unasked.push(Mark::Begun(number));
        self.ask(now, out);
    }

    fn unsubscribe_nats(&mut self, chance: &mut Chance, oracle: &mut Oracle, now: Moment, out: &mut Vec<u8>) {
        let sids: Vec<_> = self.live.keys().filter(|sid| *sid != "inbox").cloned().collect();
        if sids.is_empty() {
            return;
        }
        let sid = chance.pick(&sids).clone();
        let number = self.live[&sid];
        if chance.one_in(4) {
            let max = 1 + chance.below(20) as u64;
            oracle.subscriptions[number].max = Some(max);
            out.extend_from_slice(format!("UNSUB {sid} {max}\r\n").as_bytes());
            return;
        }
        self.live.remove(&sid);
        oracle.subscriptions[number].end_sent_at = now;
        out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
        self.unasked.push(Mark::Ended(number));
        self.ask(now, out);
    }

    fn publish_nats(&mut self, chance: &mut Chance, oracle: &mut Oracle, now: Moment, out: &mut Vec<u8>) {
        let subject = *chance.pick(SUBJECTS);
        let is_request = chance.one_in(4);
        let mut publication =
            Publication::sent(self.connection, subject.as_bytes(), Quality::AtMostOnce, now);
        publication.inbox_sid = is_request.then(|| "inbox".to_owned());
        let number = oracle.publish(publication);
        let reply = if is_request { format!("_INBOX.{}.{number}", self.connection) } else { String::new() };
        let payload = payload(number, chance);
        if chance.one_in(3) {
            let header = "NATS/1.0\r\nA: b\r\n\r\n";
            let total = header.len() + payload.len();
            out.extend_from_slice(
                format!("HPUB {subject} {reply} {} {total}\r\n{header}", header.len()).as_bytes(),
            );
        } else {
            out.extend_from_slice(format!("PUB {subject} {reply} {}\r\n", payload.len()).as_bytes());
        }
        out.extend_from_slice(&payload);
        out.extend_from_slice(b"\r\n");
        self.unasked.push(Mark::Handled(number));
    }

    fn subscribe_mqtt(&mut self, chance: &mut Chance, oracle: &mut Oracle, now: Moment, out: &mut Vec<u8>) {
        let Speech::Mqtt(mqtt) = &mut self.speech else { return };
        let packet_id = mqtt.new_packet_id();
        let mut filters = Vec::new();
        let mut marks = Vec::new();
        for _ in 0..1 + chance.below(2) {
            let filter = *chance.pick(TOPIC_FILTERS);
            if filters.iter().any(|(other, _)| *other == filter.as_bytes()) {
                continue;
            }
            let is_acknowledged = chance.one_in(2);
            let mapped = map_topic_filter(filter.as_bytes()).expect("the alphabet has valid filters");
            let both = std::iter::once(mapped.filter).chain(mapped.parent).collect();
            let mut subscription = Subscription::asked(self.connection, "", both, now);
            subscription.is_mqtt = true;
            subscription.begins_with_wildcard = mapped.begins_with_wildcard;
            subscription.is_deaf_to_own = mqtt.no_local;
            let qos = if is_acknowledged { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            subscription.quality = quality(qos);
            let number = oracle.subscribe(subscription);
            marks.push(Mark::Begun(number));
            // The same filter again replaces its subscription.
            if let Some(replaced) = self.live.insert(filter.to_owned(), number) {
                oracle.subscriptions[replaced].end_sent_at = now;
                marks.push(Mark::Ended(replaced));
            }
            filters.push((
                filter.as_bytes(),
                SubscribeOptions { qos, no_local: mqtt.no_local, ..Default::default() },
            ));
        }
        let filters = crate::mqtt::packet::Filters::from_list(&filters);
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
        encode::subscribe(out, mqtt.version, &subscribe).expect("it fits");
        mqtt.requests.insert(packet_id, marks);
    }

    fn unsubscribe_mqtt(&mut self, chance: &mut Chance, oracle: &mut Oracle, now: Moment, out: &mut Vec<u8>) {
        let Speech::Mqtt(mqtt) = &mut self.speech else { return };
        let filters: Vec<_> = self.live.keys().cloned().collect();
        if filters.is_empty() {
            return;
        }
        let filter = chance.pick(&filters).clone();
        let packet_id = mqtt.new_packet_id();
        let number = self.live.remove(&filter).expect("it was just listed");
        oracle.subscriptions[number].end_sent_at = now;
        mqtt.requests.insert(packet_id, vec![Mark::Ended(number)]);
        let list = [filter.as_bytes()];
        let filters = UnsubscribeFilters::from_list(&list);
        let unsubscribe = Unsubscribe { packet_id, properties: Properties::EMPTY, filters };
        encode::unsubscribe(out, mqtt.version, &unsubscribe).expect("it fits");
    }

    fn publish_mqtt(&mut self, chance: &mut Chance, oracle: &mut Oracle, now: Moment, out: &mut Vec<u8>) {
        let Speech::Mqtt(mqtt) = &mut self.speech else { return };
        let topic = *chance.pick(TOPICS);
        let qos = if chance.one_in(2) { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let mut subject = Vec::new();
        topic_to_subject(topic.as_bytes(), &mut subject);
        let number = oracle.publish(Publication::sent(self.connection, &subject, quality(qos), now));
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { mqtt.new_packet_id() };
        let payload = payload(number, chance);
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: topic.as_bytes(),
            packet_id,
            properties: Properties::EMPTY,
            payload: &payload,
        };
        encode::publish(out, mqtt.version, &publish).expect("it fits");
        if qos == Qos::AtLeastOnce {
            mqtt.unacknowledged.push_back((packet_id, number));
        } else {
            self.unasked.push(Mark::Handled(number));
        }
    }

    fn acknowledge(&mut self, all: bool, out: &mut Vec<u8>) {
        let Speech::Mqtt(mqtt) = &mut self.speech else { return };
        // The newest first, at times: identifiers come back in any order.
        while let Some(packet_id) = if all { mqtt.owed.pop_front() } else { mqtt.owed.pop_back() } {
            let ack = Ack { packet_id, reason: Reason::Success, properties: Properties::EMPTY };
            encode::puback(out, mqtt.version, &ack).expect("it fits");
            if !all {
                return;
            }
        }
    }

    /// Reads what came, and returns what must be said to it at once.
    pub fn receive(&mut self, bytes: &[u8], oracle: &mut Oracle, now: Moment) -> Vec<u8> {
        self.received.extend_from_slice(bytes);
        let mut received = std::mem::take(&mut self.received);
        let mut out = Vec::new();
        let mut n_taken = 0;
        loop {
            let rest = &received[n_taken..];
            let taken = match &self.speech {
                Speech::Nats { .. } => self.receive_nats(rest, oracle, now, &mut out),
                Speech::Mqtt(_) => self.receive_mqtt(rest, oracle, now),
            };
            match taken {
                Ok(0) => break,
                Ok(n) => n_taken += n,
                Err(why) => {
                    let shown = String::from_utf8_lossy(&rest[..rest.len().min(60)]).into_owned();
                    oracle.violations.push(Violation::Protocol(format!("{why}: {shown:?}")));
                    n_taken = received.len();
                    break;
                }
            }
        }
        received.drain(..n_taken);
        self.received = received;
        out
    }

    fn learn(marks: Vec<Mark>, oracle: &mut Oracle, now: Moment) {
        for mark in marks {
            match mark {
                Mark::Begun(number) => oracle.subscriptions[number].known_at = now,
                Mark::Ended(number) => oracle.subscriptions[number].end_known_at = now,
                Mark::Handled(number) => {
                    let publication = &mut oracle.publications[number];
                    publication.handled_at = now;
                    if publication.quality == Quality::AtLeastOnce {
                        publication.taken_at = now;
                    }
                }
            }
        }
    }

    fn answered(&mut self, oracle: &mut Oracle, now: Moment) -> Result<(), &'static str> {
        let (asked_at, marks) = self.asked.pop_front().ok_or("an answer to no PING")?;
        Self::learn(marks, oracle, now);
        if matches!(self.speech, Speech::Nats { .. }) {
            oracle.pong(self.connection, asked_at);
        }
        Ok(())
    }

    fn receive_nats(
        &mut self,
        input: &[u8],
        oracle: &mut Oracle,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<usize, &'static str> {
        let Some(end) = memchr::memmem::find(input, b"\r\n") else { return Ok(0) };
        let line = std::str::from_utf8(&input[..end]).map_err(|_| "a line that is no text")?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["INFO", ..] => {}
            ["PONG"] => self.answered(oracle, now)?,
            ["PING"] => out.extend_from_slice(b"PONG\r\n"),
            [kind @ ("MSG" | "HMSG"), subject, sid, sizes @ ..] => {
                let n_sizes = if *kind == "HMSG" { 2 } else { 1 };
                let sizes = &sizes[sizes.len().checked_sub(n_sizes).ok_or("too few words")?..];
                let size = |at: usize| sizes[at].parse::<usize>().map_err(|_| "a size that is no number");
                let (total, header) = (size(n_sizes - 1)?, if n_sizes == 2 { size(0)? } else { 0 });
                let body = end + 2;
                if input.len() < body + total + 2 {
                    return Ok(0);
                }
                if &input[body + total..body + total + 2] != b"\r\n" {
                    return Err("no CR LF after a payload");
                }
                self.message_nats(subject, sid, &input[body..body + total], header, oracle, now)?;
                return Ok(body + total + 2);
            }
            _ => return Err("an unexpected line"),
        }
        Ok(end + 2)
    }

    fn message_nats(
        &self,
        subject: &str,
        sid: &str,
        body: &[u8],
        header_len: usize,
        oracle: &mut Oracle,
        now: Moment,
    ) -> Result<(), &'static str> {
        let (header, payload) = body.split_at(header_len);
        if header.starts_with(b"NATS/1.0 503\r\n") {
            let number: usize =
                subject.rsplit('.').next().and_then(|n| n.parse().ok()).ok_or("a 503 for nothing")?;
            let publication = oracle.publications.get_mut(number).ok_or("a 503 for nothing")?;
            publication.n_no_responders += 1;
            return Ok(());
        }
        if !header.is_empty() && header != b"NATS/1.0\r\nA: b\r\n\r\n" {
            return Err("a header that was not sent");
        }
        let number = number_of(payload)?;
        if oracle.publications.get(number).is_none_or(|sent| sent.subject != subject.as_bytes()) {
            return Err("a message under another subject");
        }
        oracle.arrived(self.connection, sid, number, Quality::AtMostOnce, now);
        Ok(())
    }

    fn receive_mqtt(
        &mut self,
        input: &[u8],
        oracle: &mut Oracle,
        now: Moment,
    ) -> Result<usize, &'static str> {
        let Speech::Mqtt(mqtt) = &mut self.speech else { return Ok(0) };
        let decoded = decode(input, mqtt.version, &Limits::NONE).map_err(|_| "a malformed packet")?;
        let Decoded::Packet(packet, n_taken) = decoded else { return Ok(0) };
        match packet {
            Packet::Connack(connack) if connack.reason == Reason::Success => mqtt.is_connected = true,
            Packet::Pingresp => self.answered(oracle, now)?,
            Packet::Suback(answer) | Packet::Unsuback(answer) => {
                if answer.codes.iter().any(|code| *code >= 0x80) {
                    return Err("a refused filter");
                }
                let marks = mqtt.requests.remove(&answer.packet_id).ok_or("an answer to no request")?;
                Self::learn(marks, oracle, now);
            }
            Packet::Puback(ack) => {
                let (packet_id, number) = mqtt.unacknowledged.pop_front().ok_or("a PUBACK for nothing")?;
                if packet_id != ack.packet_id {
                    return Err("a PUBACK out of order");
                }
                Self::learn(vec![Mark::Handled(number)], oracle, now);
            }
            Packet::Publish(publish) => {
                let number = number_of(publish.payload)?;
                let mut subject = Vec::new();
                topic_to_subject(publish.topic, &mut subject);
                if oracle.publications.get(number).is_none_or(|sent| sent.subject != subject) {
                    return Err("a message under another topic");
                }
                if publish.qos == Qos::AtLeastOnce {
                    if mqtt.owed.contains(&publish.packet_id) {
                        return Err("an identifier in use");
                    }
                    mqtt.owed.push_back(publish.packet_id);
                }
                oracle.arrived(self.connection, "", number, quality(publish.qos), now);
            }
            Packet::Disconnect(_) => {}
            _ => return Err("an unexpected packet"),
        }
        Ok(n_taken)
    }
}

impl Mqtt {
    fn new_packet_id(&mut self) -> u16 {
        let packet_id = self.next_packet_id;
        self.next_packet_id = packet_id.checked_add(1).unwrap_or(1);
        packet_id
    }
}

fn quality(qos: Qos) -> Quality {
    if qos == Qos::AtMostOnce { Quality::AtMostOnce } else { Quality::AtLeastOnce }
}

/// A payload that names its publication, mostly small, at times beyond the border of sharing.
fn payload(number: usize, chance: &mut Chance) -> Vec<u8> {
    let mut payload = format!("{number};").into_bytes();
    let n_more = if chance.one_in(8) { chance.below(3_000) } else { chance.below(40) };
    payload.resize(payload.len() + n_more, b'x');
    payload
}

fn number_of(payload: &[u8]) -> Result<usize, &'static str> {
    let end = memchr::memchr(b';', payload).ok_or("a payload that nobody sent")?;
    let text = std::str::from_utf8(&payload[..end]).map_err(|_| "a payload that nobody sent")?;
    text.parse().map_err(|_| "a payload that nobody sent")
}
