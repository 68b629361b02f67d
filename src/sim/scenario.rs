//! What kind of world a seed makes: swarm style, so that in each one some features are off and others
//! heavy, and the limits range from never reached to always in the way.

use super::chance::Chance;
use super::limiting;
use crate::message::Quality;
use crate::mqtt::alias;
use crate::mqtt::connection::Offer;
use crate::mqtt::decode;
use crate::mqtt::inflight;
use crate::nats::handshake::ServerInfo;
use crate::nats::parse;
use crate::shard::qualities::Qualities;
use crate::shard::retained::Limits;
use crate::shard::settings::{MqttSettings, NatsSettings, Settings};
use crate::shard::{limits, requests};
use crate::subject::SubjectFilter;
use crate::subject::mount::Mountpoint;
use crate::subject::responder::Responder;
use crate::subject::view::Mapping;
use crate::time::Span;
use std::sync::Arc;

/// The largest payload that a simulated client sends.
pub const PAYLOAD_BYTES_MAX: usize = 40_000;
const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1_000;

/// One seed's world.
#[derive(Debug)]
pub struct Scenario {
    pub settings: Settings,
    /// Batches under way in one lane.
    pub credits: usize,
    /// Ops and packets that clients send in all.
    pub n_ops: usize,
    pub n_connections_max: usize,
    /// Of ten connections so many are MQTT.
    pub n_mqtt_in_ten: usize,
    pub n_client_ids: usize,
    /// Weights of the steps, in the order of `world::Step`.
    pub steps: [usize; 10],
    pub nats_ops: [usize; 9],
    pub mqtt_ops: [usize; 7],
    /// Of ten publications of MQTT so many are to be retained.
    pub n_retained_in_ten: usize,
    /// Bytes of one read, of one write's room, and of one client's read.
    pub read_bytes_max: usize,
    pub kernel_bytes_max: usize,
    pub client_read_bytes_max: usize,
    /// Of a hundred payloads so many are longer than a copied one, and longer than a read.
    pub n_shared_in_hundred: usize,
    pub n_large_in_hundred: usize,
    /// No limit is ever reached: nothing may be dropped or closed.
    pub is_roomy: bool,
    /// The clock may jump so far that silent clients are lost.
    pub has_long_jumps: bool,
    /// How late MQTT clients acknowledge: at once, or at random and in any order.
    pub acknowledges_late: bool,
    /// Ops between two moments of quiet.
    pub n_ops_between_quiet: usize,
    /// Of ten NATS connections so many come in at a listener of `MOUNTS`.
    pub n_mounted_in_ten: usize,
    /// Requesters of NATS want to hear what becomes of their messages.
    pub wants_acknowledgements: bool,
    /// Some clients want to hear of the coming and going of all.
    pub watches_presence: bool,
    /// At its end the gateway is drained, after lame-duck mode or at once, instead of left to fall silent.
    pub leaves: bool,
    pub is_lame_duck: bool,
}

impl Scenario {
    /// `more` draws what came later, so that older seeds keep their worlds where that is off.
    pub fn new(chance: &mut Chance, more: &mut Chance) -> Self {
        let is_roomy = chance.one_in(2);
        let n_cores = chance.between(1, 5);
        let n_mqtt_in_ten = *chance.pick(&[0, 0, 5, 5, 8, 10]);
        // Open, Act, Read, Mail, Listen, Arrive, Write, Time, Drop, Pause.
        let mut steps = [6, 40, 40, 40, 40, 20, 20, 4, 0, 0];
        steps[1] = *chance.pick(&[4, 12, 40]);
        for weight in &mut steps[2..8] {
            *weight = *chance.pick(&[1, 10, 40, 80]);
        }
        steps[8] = *chance.pick(&[0, 0, 1, 4]);
        steps[9] = *chance.pick(&[0, 0, 2, 8]);
        let mut settings = settings(chance, n_cores, is_roomy);
        if more.one_in(3) {
            let responder = |text: &&str| Responder::parse(text).expect("it is one");
            settings.mqtt.responders = RESPONDERS.iter().map(responder).collect();
        }
        settings.limits = limiting::limits(more);
        Self {
            credits: chance.between(1, 3),
            n_ops: *chance.pick(&[60, 200, 500]),
            n_connections_max: chance.between(2, 9),
            n_mqtt_in_ten,
            n_client_ids: *chance.pick(&[2, 6, 50]),
            steps,
            nats_ops: swarm(chance),
            mqtt_ops: swarm(chance),
            n_retained_in_ten: *chance.pick(&[0, 2, 8]),
            read_bytes_max: *chance.pick(&[5, 60, 400, 65_536]),
            kernel_bytes_max: *chance.pick(&[16, 300, 4_000, 1 << 20]),
            client_read_bytes_max: *chance.pick(&[7, 100, 65_536]),
            n_shared_in_hundred: *chance.pick(&[0, 0, 10, 40]),
            n_large_in_hundred: *chance.pick(&[0, 0, 0, 5]),
            is_roomy,
            has_long_jumps: chance.one_in(5),
            acknowledges_late: chance.one_in(2),
            n_ops_between_quiet: *chance.pick(&[15, 40, 1_000]),
            settings,
            leaves: chance.one_in(3),
            is_lame_duck: chance.one_in(3),
            n_mounted_in_ten: *chance.pick(&[0, 0, 4, 8]),
            wants_acknowledgements: chance.one_in(2),
            watches_presence: chance.one_in(3),
        }
    }

    /// Whether some clients are asked by topics alone.
    pub fn has_responders(&self) -> bool {
        !self.settings.mqtt.responders.is_empty()
    }

    /// Whether a subscription of NATS is sent what was retained before.
    pub fn is_replayed(&self, filter: &[u8]) -> bool {
        match self.settings.nats.replayed.first().map(SubjectFilter::as_bytes) {
            None => false,
            Some(b">") => true,
            Some(_) => filter.starts_with(b"a."),
        }
    }

    /// The quality that a rule gives what NATS clients publish, if one does.
    pub fn ruled(&self, subject: &[u8]) -> Option<Quality> {
        let mut rules = self.settings.nats.qualities.0.iter();
        rules.find(|(filter, _)| filter.matches(subject)).map(|(_, quality)| *quality)
    }

    /// The longest delivery of this world.
    pub fn frame_bytes_max(&self) -> usize {
        match (self.n_large_in_hundred, self.n_shared_in_hundred) {
            (0, 0) => 400,
            (0, _) => 3_000,
            _ => FRAME_BYTES_MAX,
        }
    }
}

/// Weights of which about a third are 0, the first excepted, and the rest differ widely.
fn swarm<const N: usize>(chance: &mut Chance) -> [usize; N] {
    let mut weights = [0; N];
    for weight in &mut weights {
        *weight = *chance.pick(&[0, 1, 4, 16]);
    }
    weights[0] = weights[0].max(2);
    weights[1] = weights[1].max(4);
    weights
}

pub fn settings(chance: &mut Chance, n_cores: usize, is_roomy: bool) -> Settings {
    let roomy = 64 << 20;
    let mut limit = |small: &[usize]| if is_roomy { roomy } else { *chance.pick(small) };
    let write_queue_bytes_max = limit(&[600, 3_000, 20_000, roomy]);
    let core_queue_bytes_max = limit(&[2_000, 60_000, roomy, roomy]);
    let outbox_bytes_max = limit(&[300, 1_000, 8_000, roomy]);
    let session_queue_bytes_max = limit(&[500, 5_000, roomy]);
    let session_queue_messages_max = limit(&[2, 20, roomy]);
    let write_timeout = Span::from_millis(limit(&[30, 2_000, roomy]) as u64);
    Settings {
        n_cores,
        nats: NatsSettings {
            parse: parse::Limits {
                control_line_bytes_max: 4_096,
                payload_bytes_max: PAYLOAD_BYTES_MAX,
                header_bytes_max: usize::MAX,
            },
            server: server(),
            ping_interval: Span::from_secs(*chance.pick(&[4, 120])),
            pings_outstanding_max: 2,
            pong_timeout: Span::default(),
            subscriptions_max: 0,
            subscription_tokens_max: 0,
            qualities: Qualities(RULES[chance.below(4)].iter().map(|(it, of)| (filter(it), *of)).collect()),
            replayed: REPLAYED[chance.below(3)].iter().map(|it| filter(it)).collect(),
            mountpoints: MOUNTS.map(|(mountpoint, ..)| mounted_at(mountpoint)).to_vec(),
            mappings: (0..MOUNTS.len()).map(mapping_at).collect(),
            identifies_publishers: !is_roomy && chance.one_in(3),
        },
        mqtt: MqttSettings {
            decode: decode::Limits { packet_bytes_max: FRAME_BYTES_MAX as u32, connect_bytes_max: 1_000 },
            connect_timeout: Span::from_secs(30),
            topic_levels_max: 16,
            offer: offer(chance),
            named_connections_max: Vec::new(),
            subscriptions_max: 0,
            session_queue_messages_max,
            session_queue_bytes_max,
            session_queue_drops_oldest: false,
            left_behind: inflight::Limits {
                messages_max: session_queue_messages_max,
                bytes_max: session_queue_bytes_max,
                drops_oldest: true,
            },
            sessions_max: 1_000,
            responders: Vec::new(),
            requests: REQUESTS,
            retained: Limits { messages_max: roomy, bytes_max: roomy, payload_bytes_max: roomy },
            identifies_publishers: !is_roomy && chance.one_in(3),
        },
        limits: limits::Limits::NONE,
        write_queue_bytes_max,
        core_queue_bytes_max,
        outbox_bytes_max,
        batch_bytes_max: *chance.pick(&[700, 2_000, 64 << 10]),
        route_cache_bytes_max: *chance.pick(&[0, 4_000, 1 << 20]),
        interest_slice: *chance.pick(&[1, 3, 1_000]),
        write_timeout,
        statistics_every: *chance.pick(&[Span::default(), Span::from_millis(700)]),
        presence: true,
        listener_names: [vec!["default".into()], vec!["default".into()]],
        started_at_unix_millis: 0,
        lame_duck_grace: Span::from_millis(*chance.pick(&[0, 20])),
        lame_duck_duration: Span::from_millis(*chance.pick(&[1, 40, 400])),
        drain_timeout: Span::from_secs(60),
    }
}

fn offer(chance: &mut Chance) -> Offer {
    Offer {
        packet_bytes_max: FRAME_BYTES_MAX as u32,
        keep_alive_secs_max: *chance.pick(&[0, 10]),
        inflight_max: *chance.pick(&[1, 5, 100]),
        receive_maximum: u16::MAX,
        session_expiry_secs_max: u32::MAX,
        session_expiry_secs: 3_600,
        retain: true,
        aliases: alias::Limits { topics_max: 4, bytes_max: 1_000 },
    }
}

/// Whatever is asked here may be answered as long as a world lasts.
const REQUESTS: requests::Limits =
    requests::Limits { timeout: Span::from_secs(1 << 30), per_client_max: 1_000, bytes_max: 64 << 20 };

fn filter(text: &str) -> SubjectFilter {
    SubjectFilter::parse(text.as_bytes()).expect("it is one")
}

/// The quality of what NATS clients publish, by subject: the first that matches.
const RULES: [&[(&str, Quality)]; 4] = [
    &[],
    &[],
    &[("a.b", Quality::AtMostOnce), ("a.>", Quality::AtLeastOnce)],
    &[("a.b.*", Quality::AtMostOnce), ("*.b.>", Quality::AtLeastOnce), ("*.b", Quality::AtLeastOnce)],
];

/// What NATS subscriptions have replayed; each choice has one at most.
const REPLAYED: [&[&str]; 3] = [&[], &["a.>"], &[">"]];

fn server() -> ServerInfo {
    ServerInfo {
        server_id: "NSIM".into(),
        server_name: "sim".into(),
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        ..ServerInfo::default()
    }
}

fn mapping_at(nth: usize) -> Mapping {
    if nth < FIRST_EMQX { Mapping::Exact } else { Mapping::Emqx }
}

fn mounted_at(mountpoint: &str) -> Option<Arc<Mountpoint>> {
    Mountpoint::parse(mountpoint, '.').expect("it is one").map(Arc::new)
}

/// Listeners for NATS by their places: the mountpoint, whom the client says that it is, and the mount that
/// this comes to. They overlap with the alphabet below and with one another.
pub const MOUNTS: [(&str, Option<&str>, &str); 8] = [
    ("", None, ""),
    ("a", None, "a."),
    ("a.b", None, "a.b."),
    ("b", None, "b."),
    ("u.${username}", Some("*"), "u.%2A."),
    ("u.${username}", Some("a.b"), "u.a%2Eb."),
    ("", None, ""),
    ("a", None, "a."),
];

/// The first of them that has EMQX's mapping, as all that follow.
pub const FIRST_EMQX: usize = 6;

pub const SUBJECTS: [&str; 13] = [
    "a.b",
    "a.c",
    "a.b",
    "a",
    "b",
    "a.b.c",
    "b.b",
    "a/20b.c",
    "/24t.x",
    "$t.x",
    "x.a+b",
    "_INBOX.q.1",
    "/.a",
];

pub const FILTERS: [&str; 18] = [
    "a.b", "a.c", "a.b", "a", "b", "a.b.c", "a/20b.c", "/24t.x", "$t.x", "x.a+b", "a.*", "a.>", "*.b", ">",
    "*", "*.*", "_INBOX.>", "/24t.>",
];

/// Of clients that come and go.
pub const PRESENCE_FILTERS: [&str; 5] = [
    "$STRAIT.CLIENT.>",
    "$STRAIT.CLIENT.>",
    "$STRAIT.CLIENT.*.DISCONNECTED",
    "$STRAIT.CLIENT.m1.*",
    "/24SYS.clients.>",
];

pub const PRESENCE_TOPIC_FILTERS: [&str; 4] =
    ["$SYS/clients/#", "$SYS/clients/+/connected", "$SYS/clients/+/disconnected", "$SYS/clients/2/+"];

/// Of clients that are asked by topics alone: requests of the alphabet, and answers of which one topic looks
/// like the other's.
pub const RESPONDERS: [&str; 2] = ["a/+/${id} -> r/+/${id}", "b/${id}/b -> r/${id}/q"];

/// Of those clients, and of some that only look like them.
pub const RESPONDER_TOPIC_FILTERS: [&str; 8] =
    ["a/b/+", "a/b/+", "a/+/+", "b/+/b", "a/b/0", "r/#", "$share/g/a/b/+", "$share/h/b/+/b"];

pub const RESPONDER_FILTERS: [&str; 4] = ["a.b.*", "b.*.b", "*.*.b", "r.>"];

pub const TOPICS: [&str; 9] = ["a/b", "a/c", "a", "b", "a/b/c", "b/b", "a b/c", "$t/x", "/a"];

pub const TOPIC_FILTERS: [&str; 18] = [
    "a/b",
    "a/c",
    "a",
    "b",
    "a/b/c",
    "a b/c",
    "$t/x",
    "/a",
    "a/#",
    "a/+",
    "+/b",
    "#",
    "+",
    "+/+",
    "$t/#",
    "_INBOX/q/1",
    "+/x",
    "+/q/1",
];

pub const GROUPS: [&str; 2] = ["g", "h"];

/// Of the groups that NATS clients are in as well.
pub const SHARED_FILTERS: [&str; 13] = [
    "$share/g/a/b",
    "$share/g/a/b",
    "$share/g/a",
    "$share/g/a/+",
    "$share/g/a/#",
    "$share/g/#",
    "$share/g/$t/#",
    "$share/g/a b/c",
    "$share/h/a/b",
    "$share/h/a/b",
    "$share/h/+/b",
    "$share/h/a/#",
    "$share/h/+/q/1",
];
