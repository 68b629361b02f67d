//! A NATS client: sends ops of the small alphabet, knows which answers it is owed and in which order, and
//! reads what comes without leniency.

mod asking;

use super::client::Scene;
use super::crossing::{HEADERS, KEEPING_HEADER};
use super::faults::{Check, Kind, Lie, broken};
use super::names::Names;
use super::own::Came;
use super::record::{At, Known, Publication, Subscription, Terms};
use super::retained::Request;
use super::scenario::{FILTERS, FIRST_EMQX, GROUPS, MOUNTS, PRESENCE_FILTERS, RESPONDER_FILTERS};
use super::wire::{ServerOp, hear_ops};
use crate::message::{GATEWAY_INBOX, Quality};
use crate::shard::census::cid;
use crate::subject::mapping;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub struct NatsClient {
    verbose: bool,
    echo: bool,
    headers: bool,
    no_responders: bool,
    /// Its place among `MOUNTS`. All names that the oracle knows have the mount before them.
    nth_mount: usize,
    /// What came and is not whole.
    unread: Vec<u8>,
    /// Ops sent that no answer has confirmed yet, oldest first.
    sent: VecDeque<Sent>,
    /// When each unanswered PING was sent.
    pinged: VecDeque<At>,
    was_greeted: bool,
    /// Then it has said who it is.
    was_answered: bool,
    n_infos: u32,
    /// Sid and the oracle's number, of subscriptions that it has not ended.
    subscriptions: Vec<(u32, usize)>,
    /// Sids that it ended without a maximum, with the group in which each begins anew: else nobody could
    /// tell whose a late delivery is.
    free_sids: Vec<(u32, Option<&'static str>)>,
    n_sids: u32,
    /// Requests that it may answer.
    requests: Vec<Vec<u8>>,
    /// Those of MQTT clients, by the oracle's number.
    asked: Vec<(Vec<u8>, usize)>,
    inbox: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Connect,
    Subscribe(usize),
    SubscribeAgain,
    Unsubscribe(usize),
    UnsubscribeAfter(usize),
    Publish(usize),
    Read(usize),
    Ping,
}

impl NatsClient {
    pub fn new(nth_mount: usize) -> Self {
        Self { nth_mount, ..Self::default() }
    }

    pub fn nth_listener(&self) -> usize {
        self.nth_mount
    }

    fn names(&self) -> Names {
        Names { mount: MOUNTS[self.nth_mount].2, is_emqx: self.nth_mount >= FIRST_EMQX }
    }

    pub fn connect(&mut self, scene: &mut Scene<'_>) {
        let chance = &mut *scene.chance;
        self.verbose = chance.one_in(3);
        self.echo = !chance.one_in(3);
        self.headers = !chance.one_in(3);
        self.no_responders = self.headers && !chance.one_in(3);
        let listener = &mut scene.oracle.listeners[scene.connection];
        listener.takes_header = self.headers;
        listener.names = self.names();
        let Self { verbose, echo, headers, no_responders, .. } = self;
        let json = format!(
            "{{\"verbose\":{verbose},\"pedantic\":false,\"echo\":{echo},\"headers\":{headers},\
             \"no_responders\":{no_responders},\"protocol\":1{}}}",
            MOUNTS[self.nth_mount].1.map_or(String::new(), |user| format!(",\"user\":\"{user}\""))
        );
        scene.out.extend_from_slice(format!("CONNECT {json}\r\n").as_bytes());
        self.sent.push_back(Sent::Connect);
    }

    pub fn act(&mut self, scene: &mut Scene<'_>) -> &'static str {
        if !self.asked.is_empty() && scene.chance.one_in(3) {
            let (reply, number) = self.asked.remove(0);
            self.answer(&reply, number, scene);
            return "answers a request of MQTT";
        }
        if !self.requests.is_empty() && scene.chance.one_in(3) {
            let reply = self.requests.remove(0);
            let quality = self.quality(&reply, scene);
            let spelled = self.names().seen_reply(&reply);
            let publication = Publication { subject: reply, spelled, quality, ..self.publication(scene) };
            self.publish(publication, scene);
            return "answers a request";
        }
        match scene.chance.weighted(&scene.scenario.nats_ops) {
            1 => self.subscribe(None, scene),
            2 => {
                let group = *scene.chance.pick(&GROUPS);
                self.subscribe(Some(group), scene)
            }
            3 => self.unsubscribe(scene),
            4 => self.unsubscribe_after(scene),
            5 if self.headers && scene.chance.below(10) < scene.scenario.n_retained_in_ten => {
                self.keep(scene)
            }
            5 if self.headers => {
                let (header, _, quality) = *scene.chance.pick(&HEADERS[1..]);
                let publication = self.publication(scene);
                let is_ruled = scene.lie == Lie::RuleBeforeHeader
                    && scene.scenario.ruled(&publication.subject).is_some();
                let quality = quality.filter(|_| !is_ruled).unwrap_or(publication.quality);
                let publication = Publication { header: header.as_bytes().to_vec(), quality, ..publication };
                self.publish(publication, scene);
                "HPUB"
            }
            6 => self.request(scene),
            7 => {
                self.ping(scene);
                "PING"
            }
            // What it would be answered has no names of its own here.
            8 if !self.names().is_emqx => self.read(scene),
            _ => {
                let publication = self.publication(scene);
                self.publish(publication, scene);
                "PUB"
            }
        }
    }

    fn publication(&self, scene: &mut Scene<'_>) -> Publication {
        let publication = scene.publication(Quality::AtMostOnce, false);
        let spelled = publication.subject.clone();
        let subject = self.names().canonical(&spelled);
        let (quality, identity) = (self.quality(&subject, scene), self.identity(scene));
        Publication { subject, spelled, quality, identity, ..publication }
    }

    /// Who it is, where the gateway tells that.
    fn identity(&self, scene: &Scene<'_>) -> Vec<(&'static str, String)> {
        let mut identity = Vec::new();
        if scene.scenario.settings.nats.identifies_publishers {
            identity.push(("Mqtt-Client-Id", cid(scene.connection as u64).to_string()));
            identity.extend(MOUNTS[self.nth_mount].1.map(|user| ("Mqtt-User", user.to_owned())));
            identity.push(("Mqtt-Client-Protocol", "nats".into()));
        }
        identity
    }

    /// Of what it publishes without saying which.
    fn quality(&self, subject: &[u8], scene: &Scene<'_>) -> Quality {
        let otherwise = if self.verbose { Quality::AtLeastOnce } else { Quality::AtMostOnce };
        scene.scenario.ruled(subject).unwrap_or(otherwise)
    }

    fn publish(&mut self, publication: Publication, scene: &mut Scene<'_>) {
        let Publication { spelled, reply, acknowledged_at, header, payload, .. } = &publication;
        let reply = self.names().seen_reply(if acknowledged_at.is_empty() { reply } else { acknowledged_at });
        let out = &mut *scene.out;
        out.extend_from_slice(if header.is_empty() { b"PUB " } else { b"HPUB " });
        out.extend_from_slice(spelled);
        out.push(b' ');
        if !reply.is_empty() {
            out.extend_from_slice(&reply);
            out.push(b' ');
        }
        if !header.is_empty() {
            out.extend_from_slice(format!("{} ", header.len()).as_bytes());
        }
        out.extend_from_slice(format!("{}\r\n", header.len() + payload.len()).as_bytes());
        out.extend_from_slice(header);
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
        let number = scene.oracle.publish(publication);
        self.sent.push_back(Sent::Publish(number));
    }

    /// A publish that is kept, or that clears what was.
    fn keep(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let mut publication = self.publication(scene);
        publication.header = KEEPING_HEADER.as_bytes().to_vec();
        // What has no topic is not kept.
        publication.retain = mapping::subject_to_topic(&publication.subject, &mut Vec::new());
        if publication.retain && scene.chance.one_in(4) {
            publication.payload.clear();
        }
        self.publish(publication, scene);
        "HPUB of what is kept"
    }

    fn subscribe(&mut self, group: Option<&'static str>, scene: &mut Scene<'_>) -> &'static str {
        let watches = scene.scenario.watches_presence && scene.chance.one_in(4);
        let asks = !watches && scene.scenario.has_responders() && scene.chance.one_in(6);
        let mut filter = *scene.chance.pick(match (watches, asks) {
            (true, _) => &PRESENCE_FILTERS[..],
            (_, true) => &RESPONDER_FILTERS,
            _ => &FILTERS,
        });
        // There it is no filter.
        if self.names().is_emqx && filter.contains('+') {
            filter = "a.b";
        }
        // One with a maximum may have ended by itself.
        let is_certain = |(_, number): &&(u32, usize)| scene.oracle.subscriptions[*number].max.is_none();
        if let Some(&(sid, _)) = self.subscriptions.iter().find(is_certain)
            && scene.chance.one_in(12)
        {
            scene.out.extend_from_slice(format!("SUB {filter} {sid}\r\n").as_bytes());
            self.sent.push_back(Sent::SubscribeAgain);
            return "SUB of a used sid";
        }
        let free = self.free_sids.iter().position(|(_, of)| *of == group).filter(|_| scene.chance.one_in(2));
        let sid = match free {
            Some(place) => self.free_sids.remove(place).0,
            None => {
                self.n_sids += 1;
                self.n_sids
            }
        };
        for old in
            scene.oracle.subscriptions.iter_mut().filter(|old| old.ear == (scene.connection, Some(sid)))
        {
            old.is_superseded |= old.end.is_some_and(|end| end.acknowledged.is_none());
        }
        let number = self.enter(sid, filter, group, scene);
        self.subscriptions.push((sid, number));
        if group.is_some() { "SUB of a group" } else { "SUB" }
    }

    fn enter(&mut self, sid: u32, filter: &str, group: Option<&'static str>, scene: &mut Scene<'_>) -> usize {
        let text = group
            .map_or(format!("SUB {filter} {sid}\r\n"), |group| format!("SUB {filter} {group} {sid}\r\n"));
        scene.out.extend_from_slice(text.as_bytes());
        let terms = Terms {
            known: Known::sent(scene.oracle.now),
            quality: Quality::AtMostOnce,
            hears_itself: self.echo,
            retain_as_published: false,
        };
        let (filters, begins_with_wildcard) = self.names().filters(filter);
        if group.is_none() && scene.scenario.is_replayed(filters[0].as_bytes()) {
            let subscription = scene.oracle.subscriptions.len();
            scene.oracle.requests.push(Request { subscription, place: 0 });
        }
        scene.oracle.subscriptions.push(Subscription {
            ear: (scene.connection, Some(sid)),
            filters,
            group,
            begins_with_wildcard,
            terms: vec![terms],
            end: None,
            max: None,
            n_heard: 0,
            is_superseded: false,
        });
        let number = scene.oracle.subscriptions.len() - 1;
        self.sent.push_back(Sent::Subscribe(number));
        number
    }

    fn unsubscribe(&mut self, scene: &mut Scene<'_>) -> &'static str {
        if self.subscriptions.is_empty() {
            return "nothing";
        }
        let (sid, number) = self.subscriptions.swap_remove(scene.chance.below(self.subscriptions.len()));
        scene.out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
        let subscription = &mut scene.oracle.subscriptions[number];
        subscription.end = Some(Known::sent(scene.oracle.now));
        // A sid with a maximum may have ended by itself: it never begins anew here.
        if subscription.max.is_none() {
            self.free_sids.push((sid, subscription.group));
        }
        self.sent.push_back(Sent::Unsubscribe(number));
        "UNSUB"
    }

    fn unsubscribe_after(&mut self, scene: &mut Scene<'_>) -> &'static str {
        let is_first = |(sid, number): &&(u32, usize)| {
            let ear = (scene.connection, Some(*sid));
            let n_of_sid = scene.oracle.subscriptions.iter().filter(|it| it.ear == ear).count();
            n_of_sid == 1 && scene.oracle.subscriptions[*number].max.is_none()
        };
        let Some(&(sid, number)) = self.subscriptions.iter().find(is_first) else { return "nothing" };
        let max = scene.chance.between(1, 6) as u64;
        scene.out.extend_from_slice(format!("UNSUB {sid} {max}\r\n").as_bytes());
        scene.oracle.subscriptions[number].max = Some((max, None));
        self.sent.push_back(Sent::UnsubscribeAfter(number));
        "UNSUB with a maximum"
    }

    pub fn ping(&mut self, scene: &mut Scene<'_>) {
        scene.out.extend_from_slice(b"PING\r\n");
        self.sent.push_back(Sent::Ping);
        self.pinged.push_back(scene.oracle.now);
    }

    pub fn hear(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Check {
        let mut unread = std::mem::take(&mut self.unread);
        let heard = hear_ops(&mut unread, bytes, |op| match op {
            Ok(op) => self.take(&op, scene),
            Err(what) => scene.unexpected(&what),
        });
        self.unread = unread;
        heard
    }

    fn take(&mut self, op: &ServerOp<'_>, scene: &mut Scene<'_>) -> Check {
        if !self.was_greeted && !matches!(op, ServerOp::Info(_)) {
            return scene.unexpected("something before INFO");
        }
        self.was_answered |= matches!(op, ServerOp::Ok | ServerOp::Pong | ServerOp::Message { .. });
        match op {
            ServerOp::Info(json) => {
                let says = |text: &[u8]| json.windows(text.len()).any(|part| part == text);
                let is_second = says(b"\"connect_info\":true");
                if self.was_greeted && !is_second && says(b"\"ldm\":true") {
                    let may = scene.is_leaving && self.n_infos == 2;
                    self.n_infos += 1;
                    return if may { Ok(()) } else { scene.unexpected("INFO of a lame duck out of turn") };
                }
                self.was_greeted = true;
                self.n_infos += 1;
                let has_connected = !self.sent.contains(&Sent::Connect);
                if self.n_infos > 2 || is_second != (self.n_infos == 2) || (is_second && !has_connected) {
                    return scene.unexpected("INFO out of turn");
                }
                Ok(())
            }
            ServerOp::Ping => {
                scene.out.extend_from_slice(b"PONG\r\n");
                Ok(())
            }
            ServerOp::Ok => match self.sent.pop_front() {
                Some(sent) if self.verbose && sent != Sent::Ping => {
                    confirm(sent, scene);
                    Ok(())
                }
                other => scene.unexpected(&format!("+OK for {other:?}")),
            },
            ServerOp::Pong => loop {
                match self.sent.pop_front() {
                    Some(Sent::Ping) => {
                        let asked = self.pinged.pop_front().expect("a PING has its time");
                        return scene.oracle.pong(scene.connection, asked);
                    }
                    Some(sent) if !self.verbose => confirm(sent, scene),
                    other => return scene.unexpected(&format!("PONG for {other:?}")),
                }
            },
            ServerOp::Err(text) if *text == b" 'Stale Connection'" && scene.may_be_lost => Ok(()),
            ServerOp::Err(b" 'Authentication Timeout'") if !self.was_answered && scene.may_give_way() => {
                Ok(())
            }
            ServerOp::Err(text) => scene.unexpected(&format!("-ERR {}", String::from_utf8_lossy(text))),
            ServerOp::Message { .. } => self.take_message(op, scene),
        }
    }

    fn take_message(&mut self, op: &ServerOp<'_>, scene: &mut Scene<'_>) -> Check {
        let ServerOp::Message { subject, sid, reply, header, payload } = op else { return Ok(()) };
        let names = self.names();
        let (heard, subject) = (*subject, names.canonical(subject));
        if header.starts_with(b"NATS/1.0 503") {
            return asking::hear_no_responders(&subject, names, header, payload, *sid, scene);
        }
        if let Some(number) = scene.oracle.own_at(&subject, payload) {
            let (ear, is_marked) = ((scene.connection, Some(*sid)), !reply.is_empty());
            let header = self.headers.then_some(*header);
            return scene.hear_own(number, &Came { ear, payload, header, is_marked });
        }
        if payload.is_empty() && scene.is_clear(|it| names.seen(it).as_deref() == Some(heard)) {
            scene.oracle.n_clears += 1;
            return scene.oracle.count((scene.connection, Some(*sid)));
        }
        let number = scene.recognise(payload)?;
        let is_named = names.seen(&subject).as_deref() == Some(heard)
            && scene.oracle.may_be_named(number, &subject, reply);
        let ear = (scene.connection, Some(*sid));
        let publication = &scene.oracle.publications[number];
        let is_from_mqtt = scene.oracle.listeners[publication.by].is_mqtt;
        let is_told = publication.is_told_by(header, self.headers, is_from_mqtt);
        let is_answerable = publication.may_have_reply(reply, names);
        if !is_named || !is_answerable || !is_told {
            let header = String::from_utf8_lossy(header);
            let reply = String::from_utf8_lossy(reply);
            let what = scene.oracle.describe(number);
            let what = format!("{}: MSG with {reply:?} and {header:?} differs from {what}", scene.connection);
            return broken(Kind::Content, what);
        }
        // Of what another member may have left nobody here can tell whose the answers are: its client's, or of all who
        // subscribe to the response topic.
        let may_be_left = publication.quality != Quality::AtMostOnce && scene.oracle.is_in_group(ear);
        if reply.starts_with(GATEWAY_INBOX) {
            if !may_be_left {
                self.asked.push((reply.to_vec(), number));
            }
        } else if !reply.is_empty() && publication.asks.is_none() {
            self.requests.push(publication.reply.clone());
        }
        for _ in 0..scene.n_heard(ear, number) {
            scene.hear_kept_or_live(ear, number)?;
        }
        Ok(())
    }

    pub fn waits_for(&self) -> Option<String> {
        let rest = (!self.unread.is_empty()).then(|| "the rest of an op".to_owned());
        self.sent.front().map(|sent| format!("an answer to {sent:?}")).or(rest)
    }
}

/// An answer says that an op was done.
fn confirm(sent: Sent, scene: &mut Scene<'_>) {
    scene.oracle.listeners[scene.connection].is_served = true;
    let now = scene.oracle.now;
    match sent {
        Sent::Connect | Sent::SubscribeAgain | Sent::Ping => {}
        Sent::Publish(number) => scene.oracle.handled(number),
        Sent::Read(reading) => scene.oracle.readings[reading].handled = Some(now),
        Sent::Subscribe(number) => {
            scene.oracle.subscriptions[number].terms[0].known.acknowledged = Some(now);
        }
        Sent::Unsubscribe(number) => {
            if let Some(end) = &mut scene.oracle.subscriptions[number].end {
                end.acknowledged = Some(now);
            }
        }
        Sent::UnsubscribeAfter(number) => {
            let subscription = &mut scene.oracle.subscriptions[number];
            let n_heard = subscription.n_heard;
            subscription.max = subscription.max.map(|(max, _)| (max, Some(n_heard)));
        }
    }
}
