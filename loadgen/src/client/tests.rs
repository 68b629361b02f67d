use super::*;
use crate::clock::Clock;
use crate::mqtt::Version;
use crate::plan::Shape;
use crate::publisher::Pace;
use crate::shared::{Shared, histogram};

fn plan(protocol: Protocol, qos: u8) -> Plan {
    Plan {
        from: protocol,
        to: protocol,
        publishers: 1,
        subscribers: 1,
        subjects: 1,
        shape: Shape::All,
        is_wild: false,
        prefix: "bench".into(),
        first: 0,
        group: "g".into(),
        size: 16,
        qos,
        window: 4,
        run: 7,
    }
}

/// One client, what it writes, and what its run has counted.
struct Talk {
    plan: Plan,
    shared: Shared,
    client: Client,
    out: Vec<u8>,
    received: u64,
    duplicates: u64,
    foreign: u64,
}

impl Talk {
    fn new(plan: Plan, role: Role) -> Talk {
        let receipts = plan.receipts_per_publisher();
        let shared =
            Shared::new(Clock::start(), 1, plan.publishers, receipts).expect("there are descriptors");
        let client = Client {
            name: "it".into(),
            address: ([127, 0, 0, 1], 1).into(),
            protocol: plan.to,
            stage: Stage::Connecting,
            role,
            since: 0,
            spoken: 0,
            is_confirmed: false,
            asked_to_confirm: false,
        };
        Talk { plan, shared, client, out: Vec::new(), received: 0, duplicates: 0, foreign: 0 }
    }

    fn subscriber(plan: Plan) -> Talk {
        let role = Role::Subscriber(Box::new(Subscriber::new(&plan, 0)));
        Talk::new(plan, role)
    }

    fn publisher(plan: Plan) -> Talk {
        let role = Role::Publisher(Box::new(Publisher::new(&plan, 0, 1, Pace::Flood)));
        Talk::new(plan, role)
    }

    /// What it says when it is connected.
    fn connect(&mut self) -> Vec<u8> {
        let credentials = Credentials { user: Some("ann".into()), password: Some("x".into()), token: None };
        self.client.connected(&mut self.out, &credentials);
        std::mem::take(&mut self.out)
    }

    /// Its answer.
    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (mut latency, mut group) = (histogram(), Vec::new());
        let mut tally = Tally::new(&self.shared, &self.plan, 1000, &mut latency, &mut group);
        let credentials = Credentials { user: Some("ann".into()), ..Credentials::default() };
        let taken = self.client.take(&mut self.out, bytes, &credentials, &mut tally);
        tally.flush();
        self.received += tally.received;
        self.duplicates += tally.duplicates;
        self.foreign += tally.foreign;
        match taken {
            Ok(taken) => assert_eq!(taken, bytes.len(), "it takes whole words"),
            Err(Lost(why)) => return Err(why),
        }
        Ok(std::mem::take(&mut self.out))
    }
}

fn payload(run: u16, sequence: u64) -> Vec<u8> {
    let (first, second) = crate::payload::Header { run, flow: 0, sequence, time: 0 }.words();
    [first.to_le_bytes(), second.to_le_bytes()].concat()
}

fn msg(run: u16, sequence: u64) -> Vec<u8> {
    [b"MSG bench.0 1 16\r\n".as_slice(), &payload(run, sequence), b"\r\n"].concat()
}

#[test]
fn a_nats_subscriber_logs_in_subscribes_and_counts() {
    let mut talk = Talk::subscriber(plan(Protocol::Nats, 0));
    assert!(talk.connect().is_empty(), "the server speaks first");
    let said = talk.hear(b"INFO {\"max_payload\":1024}\r\n").expect("it is a greeting");
    assert!(said.starts_with(b"CONNECT {") && said.ends_with(b"PING\r\n"));
    assert_eq!(talk.client.awaited(), "the PONG after CONNECT");
    let said = talk.hear(b"PONG\r\n").expect("it is an answer");
    assert_eq!(said, b"SUB bench.0 1\r\nPING\r\n");
    talk.hear(b"PONG\r\n").expect("it is an answer");
    assert_eq!(talk.client.stage, Stage::Ready);
    assert_eq!(talk.hear(b"PING\r\n").expect("it is a question"), b"PONG\r\n");
    talk.hear(&[msg(7, 0), msg(7, 1), msg(7, 1), msg(8, 2)].concat()).expect("they are messages");
    assert_eq!((talk.received, talk.duplicates, talk.foreign), (3, 1, 1));
}

#[test]
fn an_mqtt_subscriber_acknowledges_and_knows_a_qos_2_message_again() {
    let mut talk = Talk::subscriber(plan(Protocol::Mqtt(Version::V4), 2));
    assert_eq!(talk.connect()[0], 0x10);
    let said = talk.hear(&[0x20, 2, 0, 0]).expect("it is a CONNACK");
    assert_eq!(said[0], 0x82);
    talk.hear(&[0x90, 3, 0, 1, 2]).expect("it is a SUBACK");
    assert_eq!(talk.client.stage, Stage::Ready);
    let publish = [b"\x34\x1b\x00\x07bench/0\x00\x05".as_slice(), &payload(7, 0)].concat();
    assert_eq!(talk.hear(&publish).expect("it is a message"), [0x50, 2, 0, 5]);
    assert_eq!(talk.hear(&publish).expect("it is that message again"), [0x50, 2, 0, 5]);
    assert_eq!(talk.hear(&[0x62, 2, 0, 5]).expect("it is a PUBREL"), [0x70, 2, 0, 5]);
    assert_eq!((talk.received, talk.duplicates), (1, 0));
    // Released, the id is another message's; the number in the payload says that it is not.
    talk.hear(&publish).expect("it is a message");
    assert_eq!((talk.received, talk.duplicates), (2, 1));
}

#[test]
fn a_publisher_waits_for_acknowledgements_and_keeps_to_what_the_server_allows() {
    let mut talk = Talk::publisher(plan(Protocol::Mqtt(Version::V5), 1));
    talk.connect();
    // Receive maximum 2.
    talk.hear(b"\x20\x06\x00\x00\x03\x21\x00\x02").expect("it is a CONNACK");
    let room = |talk: &mut Talk| {
        let Role::Publisher(publisher) = &mut talk.client.role else { panic!("it is a publisher") };
        publisher.room(&talk.plan, &talk.shared, 0)
    };
    assert_eq!(room(&mut talk), 2);
    let Role::Publisher(publisher) = &mut talk.client.role else { panic!("it is a publisher") };
    publisher.fill(2, &talk.plan, &talk.shared, 0, false);
    let frame = publisher.batch.pending().to_vec();
    publisher.batch.written(frame.len());
    assert_eq!(room(&mut talk), 0);
    talk.hear(&[0x40, 2, 0, 1]).expect("it is a PUBACK");
    talk.hear(&[0x40, 2, 0, 1]).expect("a second one changes nothing");
    assert_eq!(room(&mut talk), 1);
    let refused = talk.hear(&[0x40, 4, 0, 2, 0x87, 0]).expect_err("it is a refusal");
    assert!(refused.contains("refuses a message"), "{refused}");
}

#[test]
fn a_last_ping_confirms_only_when_it_was_asked() {
    let mut talk = Talk::publisher(plan(Protocol::Nats, 0));
    talk.hear(b"PONG\r\n").expect("it is an answer");
    assert!(!talk.client.is_confirmed);
    talk.client.stage = Stage::Ready;
    talk.client.ask_to_confirm(&mut talk.out);
    assert_eq!(std::mem::take(&mut talk.out), b"PING\r\n");
    talk.hear(b"PONG\r\n").expect("it is an answer");
    assert!(talk.client.is_confirmed);
}

#[test]
fn refusals_are_said_in_the_servers_words() {
    let mut talk = Talk::subscriber(plan(Protocol::Nats, 0));
    talk.connect();
    let wrong = [
        (b"-ERR 'Authorization Violation'\r\n".as_slice(), "Authorization Violation"),
        (b"INFO {\"max_payload\":8}\r\n", "payloads of at most 8 bytes"),
        (b"INFO {\"tls_required\":true}\r\n", "TLS"),
        (b"INFO what\r\n", "not JSON"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak NATS"),
    ];
    for (bytes, words) in wrong {
        let said = talk.hear(bytes).expect_err("it is a refusal");
        assert!(said.contains(words), "{said}");
    }
    let mut talk = Talk::subscriber(plan(Protocol::Mqtt(Version::V4), 1));
    talk.connect();
    for (bytes, words) in [
        ([0x20, 2, 0, 5].as_slice(), "refuses the login: not authorized"),
        (&[0x90, 3, 0, 1, 0x80], "no CONNACK first"),
        (b"HTTP/1.1", "does not speak MQTT"),
    ] {
        let said = talk.hear(bytes).expect_err("it is a refusal");
        assert!(said.contains(words), "{said}");
    }
    talk.client.stage = Stage::Subscribing(1);
    let said = talk.hear(&[0x90, 3, 0, 1, 0x80]).expect_err("it is a refusal");
    assert!(said.contains("refuses a subscription"), "{said}");
}
