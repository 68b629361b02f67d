//! A NATS client that publishes numbered messages, wants each acknowledged, and publishes again whatever was not
//! before its connection broke: what was acknowledged must reach every session.

use crate::message::Quality;
use crate::sim::faults::{Check, Kind, broken};
use crate::sim::wire::{ServerOp, hear_ops};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub struct NatsPublisher {
    number: usize,
    n_messages: u32,
    is_connected: bool,
    unread: Vec<u8>,
    n_sent: u32,
    unacknowledged: BTreeSet<u32>,
    /// The messages of acknowledgements by their numbers, each of which the gateway gives once in its life. What
    /// one connection has heard its successor may hear as well.
    seqs: BTreeMap<u64, u32>,
}

/// Messages under way at once.
const WINDOW: usize = 8;

/// What asks for QoS 1.
const HEADER: &str = "NATS/1.0\r\nMqtt-QoS: 1\r\n\r\n";

impl NatsPublisher {
    pub fn new(number: usize, n_messages: u32) -> Self {
        Self {
            number,
            n_messages,
            is_connected: false,
            unread: Vec::new(),
            n_sent: 0,
            unacknowledged: BTreeSet::new(),
            seqs: BTreeMap::new(),
        }
    }

    pub fn has_more(&self) -> bool {
        self.n_sent < self.n_messages
    }

    pub fn published(&self, quality: Quality) -> impl Iterator<Item = u32> {
        0..if quality == Quality::AtLeastOnce { self.n_sent } else { 0 }
    }

    pub fn waits_for(&self) -> Option<String> {
        let Self { number, is_connected, unacknowledged, unread, .. } = self;
        let waits = !is_connected || !unacknowledged.is_empty() || !unread.is_empty();
        waits.then(|| format!("{number}: connected {is_connected}, not acknowledged {unacknowledged:?}"))
    }

    pub fn lose(&mut self) {
        self.is_connected = false;
        self.unread.clear();
    }

    /// The gateway has begun anew, and counts anew.
    pub fn begin_anew(&mut self) {
        self.seqs.clear();
    }

    pub fn connect(&mut self, out: &mut Vec<u8>) {
        self.lose();
        let number = self.number;
        let text = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}}\r\n\
             SUB _INBOX.p{number}.* 1\r\nPING\r\n"
        );
        out.extend_from_slice(text.as_bytes());
    }

    pub fn publish(&mut self, out: &mut Vec<u8>) {
        if self.is_connected && self.has_more() && self.unacknowledged.len() < WINDOW {
            self.unacknowledged.insert(self.n_sent);
            self.send(self.n_sent, out);
            self.n_sent += 1;
        }
    }

    fn send(&self, nth: u32, out: &mut Vec<u8>) {
        let number = self.number;
        let mut payload = format!("{number} {nth} {}", Quality::AtLeastOnce as u8);
        if nth % 9 == 8 {
            payload += &" ".repeat(2_000);
        }
        let (n_header, n) = (HEADER.len(), HEADER.len() + payload.len());
        let op = format!("HPUB all.of.it _INBOX.p{number}.{nth} {n_header} {n}\r\n{HEADER}{payload}\r\n");
        out.extend_from_slice(op.as_bytes());
    }

    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Check {
        let mut unread = std::mem::take(&mut self.unread);
        let heard = hear_ops(&mut unread, bytes, |op| match op {
            Ok(op) => self.take(&op, out),
            Err(what) => broken(Kind::Wire, what),
        });
        self.unread = unread;
        heard
    }

    fn take(&mut self, op: &ServerOp<'_>, out: &mut Vec<u8>) -> Check {
        match op {
            ServerOp::Info(_) => {}
            ServerOp::Ping => out.extend_from_slice(b"PONG\r\n"),
            ServerOp::Pong => {
                self.is_connected = true;
                self.unacknowledged.iter().for_each(|nth| self.send(*nth, out));
            }
            ServerOp::Message { subject, payload, .. } => return self.take_acknowledgement(subject, payload),
            ServerOp::Ok | ServerOp::Err(_) => {
                return broken(Kind::Wire, format!("{}: {op:?} for nothing", self.number));
            }
        }
        Ok(())
    }

    fn take_acknowledgement(&mut self, subject: &[u8], payload: &[u8]) -> Check {
        let text = String::from_utf8_lossy(subject);
        let nth = text.rsplit('.').next().and_then(|nth| nth.parse().ok()).filter(|nth| *nth < self.n_sent);
        let value: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
        let (Some(nth), Some(seq)) = (nth, value["seq"].as_u64()) else {
            let payload = String::from_utf8_lossy(payload);
            return broken(Kind::Receipt, format!("{}: {payload} for {text}", self.number));
        };
        self.unacknowledged.remove(&nth);
        if self.seqs.insert(seq, nth).is_some_and(|before| before != nth) {
            return broken(Kind::Receipt, format!("{}: {seq} is of two messages", self.number));
        }
        Ok(())
    }
}
