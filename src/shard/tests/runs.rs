//! Runs against their safe twin: the same messages, kept apart by a packet or op that says nothing, must
//! reach everyone byte for byte the same.

use super::*;
use proptest::prelude::*;

/// Messages in a row to one subject.
#[derive(Clone, Debug)]
struct Burst {
    subject: &'static str,
    payload_len: usize,
    n: usize,
    has_reply: bool,
    has_header: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Speaks {
    Nats,
    Mqtt(u8),
}

fn burst() -> impl Strategy<Value = Burst> {
    let subject =
        prop_oneof![Just("a.b"), Just("a.c"), Just("n"), Just("/24t.x"), Just("o.o"), Just("q.1"), Just("m")];
    (
        subject,
        prop_oneof![Just(0), Just(7), Just(40), Just(1_400), Just(2_000)],
        1usize..48,
        any::<[bool; 2]>(),
    )
        .prop_map(|(subject, payload_len, n, [has_reply, has_header])| Burst {
            subject,
            payload_len,
            n,
            has_reply,
            has_header,
        })
}

/// What else the messages meet.
#[derive(Clone, Copy, Debug)]
struct World {
    queue_max: usize,
    /// Bytes of a read: a run ends with it.
    read_bytes: usize,
    /// Whether every subject has several subscribers.
    is_crowded: bool,
}

impl World {
    fn is_roomy(self) -> bool {
        self.queue_max >= 1 << 20
    }
}

/// What the publisher sends; with `apart`, something that says nothing between any two messages.
fn input(bursts: &[Burst], speaks: Speaks, apart: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut number = 0u8;
    for burst in bursts {
        for _ in 0..burst.n {
            number = number.wrapping_add(1);
            let payload = vec![number; burst.payload_len];
            match speaks {
                Speaks::Nats => {
                    let reply = if burst.has_reply { "r.r " } else { "" };
                    let (verb, block) =
                        if burst.has_header { ("HPUB", "NATS/1.0\r\nA: b\r\n\r\n") } else { ("PUB", "") };
                    let sizes = match block.len() {
                        0 => payload.len().to_string(),
                        n => format!("{n} {}", n + payload.len()),
                    };
                    let line = format!("{verb} {} {reply}{sizes}\r\n{block}", burst.subject);
                    bytes.extend_from_slice(line.as_bytes());
                    bytes.extend_from_slice(&payload);
                    bytes.extend_from_slice(if apart { b"\r\nPONG\r\n" } else { b"\r\n" });
                }
                Speaks::Mqtt(level) => {
                    let topic = burst.subject.replace("/24", "$").replace('.', "/");
                    let properties: &[u8] = match (level, burst.has_reply) {
                        (5, true) => b"\x02\x01\x00",
                        (5, false) => b"\0",
                        _ => b"",
                    };
                    let len = 2 + topic.len() + properties.len() + payload.len();
                    bytes.push(0x30);
                    if len < 128 {
                        bytes.push(len as u8);
                    } else {
                        bytes.extend([len as u8 & 127 | 128, (len >> 7) as u8]);
                    }
                    bytes.extend([0, topic.len() as u8]);
                    bytes.extend_from_slice(topic.as_bytes());
                    bytes.extend_from_slice(properties);
                    bytes.extend_from_slice(&payload);
                    bytes.extend_from_slice(if apart { b"\xc0\0" } else { b"" });
                }
            }
        }
    }
    bytes
}

fn mqtt_client(alone: &mut Alone, name: u8, level: u8, subscribe: &[u8], options: u8) -> ConnectionId {
    let id = alone.connect(Listener::Mqtt);
    let properties: &[u8] = if level == 5 { b"\0" } else { b"" };
    let mut bytes = vec![0x10, 13 + properties.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0];
    bytes.extend_from_slice(properties);
    bytes.extend([0, 1, name]);
    alone.receive(id, &bytes);
    if !subscribe.is_empty() {
        let mut bytes = vec![0x82, (5 + properties.len() + subscribe.len()) as u8, 0, 1];
        bytes.extend_from_slice(properties);
        bytes.extend([0, subscribe.len() as u8]);
        bytes.extend_from_slice(subscribe);
        bytes.push(options);
        alone.receive(id, &bytes);
    }
    alone.sent(id);
    id
}

/// Which clients are the members of a queue group.
const GROUP: std::ops::Range<usize> = 6..8;

/// What every subscriber is sent, and the counters.
fn outcome(
    bursts: &[Burst],
    speaks: Speaks,
    apart: bool,
    world: World,
) -> (Vec<Vec<u8>>, counters::Counters) {
    let mut alone = Alone::new(Settings { write_queue_bytes_max: world.queue_max, ..settings() });
    let mut ids: Vec<_> = [
        "SUB a.* 1\r\n",
        "SUB a.b 1\r\nSUB m 3\r\nSUB n 2\r\n",
        "SUB a.b 1\r\n",
        if world.is_crowded { "SUB > other\r\n" } else { "SUB z other\r\n" },
        "SUB a.b 1\r\nUNSUB 1 5\r\n",
        "SUB o.> 1\r\nSUB o.o 2\r\n",
        // Which of them a short queue ends would be left to chance as well.
        if world.is_roomy() { "SUB q.* g 7\r\n" } else { "" },
        if world.is_roomy() { "SUB q.1 g 8\r\n" } else { "" },
    ]
    .into_iter()
    .map(|subscribe| alone.nats(subscribe))
    .collect();
    ids.extend([
        mqtt_client(&mut alone, b'a', 4, b"a/+", 0),
        mqtt_client(&mut alone, b'b', 4, if world.is_crowded { b"#" } else { b"z" }, 1),
        mqtt_client(&mut alone, b'c', 5, b"a/b", 0),
        mqtt_client(&mut alone, b'd', 5, b"$t/x", 1),
        mqtt_client(&mut alone, b'e', 3, b"n", 0),
    ]);
    let publisher = match speaks {
        Speaks::Nats => {
            // With a short queue it would not be read while it does not read itself.
            let id = alone.nats(if world.is_roomy() { "SUB a.c 9\r\n" } else { "" });
            ids.push(id);
            id
        }
        Speaks::Mqtt(level) => mqtt_client(&mut alone, b'p', level, b"", 0),
    };
    let before = alone.shard.counters();
    for part in input(bursts, speaks, apart).chunks(world.read_bytes) {
        alone.receive(publisher, part);
    }
    // A run is looked up once, and the two ways differ in their reads.
    let counters = Counters {
        n_reads: [0; 2],
        read_bytes: [0; 2],
        n_stalls: 0,
        route_hits: 0,
        route_misses: 0,
        route_cache_entries: 0,
        route_cache_bytes: 0,
        queued_bytes: 0,
        ..alone.shard.counters()
    };
    assert_eq!((before.published, before.delivered), ([0; 2], [0; 4]));
    (ids.into_iter().map(|id| alone.sent_bytes(id)).collect(), counters)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn a_run_goes_out_as_its_messages_would_one_by_one(
        bursts in proptest::collection::vec(burst(), 1..8),
        speaks in prop_oneof![Just(Speaks::Nats), Just(Speaks::Mqtt(3)), Just(Speaks::Mqtt(4)), Just(Speaks::Mqtt(5))],
        queue_max in prop_oneof![3 => Just(1usize << 20), 1 => 400usize..9_000],
        read_bytes in prop_oneof![Just(60_000usize), 60usize..300],
        is_crowded: bool,
    ) {
        let world = World { queue_max, read_bytes, is_crowded };
        let whole = outcome(&bursts, speaks, false, world);
        let apart = outcome(&bursts, speaks, true, World { read_bytes: 60_000, ..world });
        prop_assert_eq!(whole.1, apart.1);
        // Who of a group gets which is left to chance, but none is lost and none doubled.
        let len = |all: &[Vec<u8>]| GROUP.map(|client_idx| all[client_idx].len()).sum::<usize>();
        prop_assert_eq!(len(&whole.0), len(&apart.0));
        for (_, (whole, apart)) in whole.0.iter().zip(&apart.0).enumerate().filter(|(idx, _)| !GROUP.contains(idx)) {
            prop_assert_eq!(String::from_utf8_lossy(whole), String::from_utf8_lossy(apart));
        }
    }
}

/// How QoS 1 comes: of which version its publisher is, whether messages and acknowledgements come apart, the
/// window, and how many are acknowledged in the end.
#[derive(Clone, Copy, Debug)]
struct Acknowledging {
    level: u8,
    apart: bool,
    window: u16,
    n_acked: u16,
    newest_first: bool,
}

/// What the publisher of QoS 1 is sent, and what four subscribers are.
fn acknowledged_outcome(bursts: &[(usize, u8)], how: Acknowledging, read_bytes: usize) -> Vec<Vec<u8>> {
    let mut limited = settings();
    limited.mqtt.offer.inflight_max = how.window;
    let mut alone = Alone::new(limited);
    let subscribers = [(b'a', 4, 0), (b'b', 4, 1), (b'c', 5, 1), (b'd', 5, 2)]
        .map(|(name, level, qos)| mqtt_client(&mut alone, name, level, b"a/b", qos));
    let publisher = mqtt_client(&mut alone, b'p', how.level, b"", 0);
    let ping: &[u8] = if how.apart { b"\xc0\0" } else { b"" };
    let properties: &[u8] = if how.level == 5 { b"\0" } else { b"" };
    let mut input = Vec::new();
    let lens = bursts.iter().flat_map(|&(len, n)| std::iter::repeat_n(len, n.into()));
    for (packet_id, len) in (1u16..).zip(lens) {
        input.extend([0x32, (7 + properties.len() + len) as u8, 0, 3, b'a', b'/', b'b']);
        input.extend(packet_id.to_be_bytes());
        input.extend_from_slice(properties);
        input.extend(std::iter::repeat_n(packet_id as u8, len));
        input.extend_from_slice(ping);
    }
    input.chunks(read_bytes).for_each(|part| alone.receive(publisher, part));
    let mut answers = alone.sent_bytes(publisher);
    let mut pubacks = Vec::new();
    while let &[kind, len, ..] = &answers[..] {
        let packet: Vec<u8> = answers.drain(..2 + usize::from(len)).collect();
        pubacks.extend(packet.into_iter().filter(|_| kind == 0x40));
    }
    let mut outcome = vec![pubacks];
    for subscriber in subscribers {
        let mut sent = alone.sent_bytes(subscriber);
        let nth = |nth| if how.newest_first { how.n_acked - nth } else { nth + 1 };
        let acks: Vec<u8> =
            (0..how.n_acked).flat_map(|n| [&[0x40, 2], &nth(n).to_be_bytes()[..]].concat()).collect();
        acks.chunks(if how.apart { 4 } else { 50_000 }).for_each(|part| alone.receive(subscriber, part));
        sent.extend(alone.sent_bytes(subscriber));
        outcome.push(sent);
    }
    outcome
}

proptest! {
    #[test]
    fn a_run_of_qos_1_is_sent_and_acknowledged_as_its_messages_would_be_one_by_one(
        bursts in proptest::collection::vec((prop_oneof![Just(0usize), Just(7), Just(100)], 1u8..60), 1..5),
        (level, window, n_acked) in (4u8..6, 1u16..80, 0u16..100),
        newest_first: bool,
        read_bytes in prop_oneof![Just(50_000usize), 60usize..300],
    ) {
        // None that was not sent before.
        let how = Acknowledging { level, apart: false, window, n_acked: n_acked.min(window), newest_first };
        let whole = acknowledged_outcome(&bursts, how, read_bytes);
        let apart = acknowledged_outcome(&bursts, Acknowledging { apart: true, ..how }, 50_000);
        prop_assert_eq!(whole, apart);
    }
}
