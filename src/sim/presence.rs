//! What is told of the clients' coming and going: of each once that it is there and once that it is gone, in the
//! words of both worlds, to whoever watches. To the oracle these are messages of the gateway's, two of each,
//! whose subjects other clients of the same name have as well: which client they mean their address says.

use super::client::Client;
use super::faults::{Check, Kind, broken};
use super::oracle::Oracle;
use super::own::{Came, Cause, UNKNOWN};
use super::scenario::MOUNTS;
use super::world::World;
use crate::mqtt::packet::Version;
use crate::shard::census::cid;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The port of the first connection's peer; every connection has another.
pub const FIRST_PORT: u16 = 1_024;

/// A client that came, or one that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub link: usize,
    pub is_connected: bool,
}

/// What can be told of one connection.
#[derive(Debug)]
pub struct Profile {
    client_id: String,
    /// What is told of it whatever happens.
    facts: Value,
    /// The oracle's numbers of its coming, then of its going, in MQTT's words and in NATS's.
    told: [Option<[usize; 2]>; 2],
    connected_at: Option<u64>,
}

/// What may end a connection of this world: bad input is nobody's.
const REASONS: [&str; 8] =
    ["normal", "by_peer", "lost", "keep_alive", "slow_consumer", "taken_over", "shutting_down", "panicked"];

impl World {
    /// A client may be told to be there from now on.
    pub(super) fn expect_presence(&mut self, link: usize) {
        if !self.scenario.watches_presence {
            return;
        }
        let (client_id, version, user, listener, protocol) = match &self.links[link].client {
            Client::Mqtt(mqtt) => {
                let version = if mqtt.version == Version::V5 { "5.0" } else { "3.1.1" };
                (mqtt.client_id.clone(), version, None, Some("default"), "mqtt")
            }
            Client::Nats(nats) => {
                let listener = (nats.nth_listener() == 0).then_some("default");
                (cid(link as u64).to_string(), "1", MOUNTS[nats.nth_listener()].1, listener, "nats")
            }
        };
        let facts = json!({
            "client_id": client_id,
            "name": null,
            "user": user,
            "protocol": protocol,
            "version": version,
            "listener": listener,
            "address": format!("127.0.0.1:{}", FIRST_PORT + link as u16),
        });
        let profile = Profile { client_id, facts, told: [None; 2], connected_at: None };
        self.oracle.profiles.insert(link, profile);
        self.oracle.expect_told(Presence { link, is_connected: true });
    }
}

impl Oracle {
    /// Notes that a client has come, or has gone, in this moment.
    pub(super) fn expect_told(&mut self, presence: Presence) {
        let Some(profile) = self.profiles.get(&presence.link) else { return };
        // The driver may be told of an end twice.
        if profile.told[usize::from(!presence.is_connected)].is_some() {
            return;
        }
        let [low, high] =
            if presence.is_connected { ["connected", "CONNECTED"] } else { ["disconnected", "DISCONNECTED"] };
        let id = &profile.client_id;
        let subjects = [format!("/24SYS.clients.{id}.{low}"), format!("$STRAIT.CLIENT.{id}.{high}")];
        let told = subjects.map(|subject| self.expect_own(subject.into_bytes(), Cause::Presence(presence)));
        if let Some(profile) = self.profiles.get_mut(&presence.link) {
            profile.told[usize::from(!presence.is_connected)] = Some(told);
        }
    }

    /// Which of these messages has come.
    pub(super) fn told_at(&self, subject: &[u8], payload: &[u8]) -> Option<usize> {
        if !subject.starts_with(b"$STRAIT.CLIENT.") && !subject.starts_with(b"/24SYS.clients.") {
            return None;
        }
        let event: Value = serde_json::from_slice(payload).ok()?;
        let port: u16 = event["address"].as_str()?.rsplit(':').next()?.parse().ok()?;
        let profile = self.profiles.get(&usize::from(port.checked_sub(FIRST_PORT)?))?;
        let mut told = profile.told.iter().flatten().flatten().copied();
        told.find(|number| self.publications[*number].subject == subject)
    }

    /// Whether somebody is surely told. Who was let in and had to go before it was served never came.
    pub(super) fn is_told(&self, presence: Presence) -> bool {
        let Some(profile) = self.profiles.get(&presence.link) else { return false };
        let came =
            profile.told[0].iter().flatten().any(|number| !self.publications[*number].heard.is_empty());
        !self.is_stopping && (self.listeners[presence.link].is_served || came)
    }

    /// What a watcher hears is so, and what all others hear.
    pub(super) fn hear_told(&mut self, number: usize, presence: Presence, came: &Came<'_>) -> Check {
        let what = |why: &str| {
            let payload = String::from_utf8_lossy(came.payload);
            format!("{:?} heard {payload} of {presence:?}: {why}", came.ear)
        };
        let Some(profile) = self.profiles.get_mut(&presence.link) else {
            return broken(Kind::Content, what("nobody is there"));
        };
        let event: BTreeMap<String, Value> = serde_json::from_slice(came.payload).unwrap_or_default();
        let is_told = |(name, value): (&String, &Value)| event.get(name) == Some(value);
        let facts = profile.facts.as_object().into_iter().flatten();
        let n_more = if presence.is_connected { 1 } else { 3 };
        let millis = |name: &str| event.get(name).and_then(Value::as_u64);
        let has_facts = facts.clone().all(is_told) && event.len() == facts.count() + n_more;
        let is_gone = millis("disconnected_at") >= millis("connected_at")
            && event.get("reason").and_then(Value::as_str).is_some_and(|it| REASONS.contains(&it));
        if !has_facts || !came.header.is_none_or(<[u8]>::is_empty) || !(presence.is_connected || is_gone) {
            return broken(Kind::Content, what("it is another"));
        }
        let connected_at = millis("connected_at");
        if connected_at.is_none()
            || *profile.connected_at.get_or_insert(connected_at.unwrap_or(0)) != connected_at.unwrap_or(0)
        {
            return broken(Kind::Content, what("it came at another time"));
        }
        let [coming, going] = profile.told;
        // In both worlds the same.
        for other in [coming, going][usize::from(!presence.is_connected)].into_iter().flatten() {
            let known = &mut self.publications[other].payload;
            if known != UNKNOWN && known != came.payload {
                return broken(Kind::Content, what("others heard something else"));
            }
            *known = came.payload.to_vec();
        }
        let place = coming.into_iter().flatten().position(|it| it == number);
        let going = place.and_then(|place| going.map(|going| going[place]));
        let has_gone =
            going.is_some_and(|it| self.publications[it].heard.iter().any(|(ear, _)| *ear == came.ear));
        let is_in_group = self.subscriptions.iter().any(|it| it.ear == came.ear && it.group.is_some());
        if has_gone && !is_in_group {
            return broken(Kind::Order, what("it had gone before"));
        }
        Ok(())
    }
}
