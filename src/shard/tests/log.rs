//! What the log says of subjects that subscribers go without, and of what clients are refused.

use super::several::Several;
use super::*;
use crate::mqtt::encode;
use crate::mqtt::packet::{Publish, Qos, Version};
use crate::mqtt::property::Properties;
use std::io::{self, Write};
use std::sync::Mutex;

/// The lines that are logged meanwhile.
pub(super) fn lines(act: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let kept = Kept::default();
    let writer = kept.clone();
    let log = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(log.finish(), act);
    let bytes = kept.0.lock().unwrap();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// An MQTT client on each core that subscribes to `x/#`, and one of NATS on the first that publishes.
fn publisher(several: &mut Several) -> usize {
    for core in 0..several.shards.len() {
        let names = (b'a'..).map(char::from);
        let home =
            |name: &char| several.shards[0].keys.home(name.to_string().as_bytes(), several.shards.len());
        let name = names.clone().find(|name| home(name).idx() == core).unwrap();
        let client = several.connect(core, Listener::Mqtt);
        several.receive(client, format!("\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01{name}").as_bytes());
        several.receive(client, b"\x82\x09\0\x01\0\0\x03x/#\0");
    }
    several.nats(0, "")
}

#[test]
fn a_thousand_subjects_without_a_topic_are_one_line_on_one_core_and_on_many() {
    for n_cores in 1..4 {
        let mut several = Several::new(n_cores, settings());
        let publisher = publisher(&mut several);
        let told = lines(|| {
            (0..1_000).for_each(|_| several.receive(publisher, b"PUB x.a+b 2\r\nhi\r\n"));
            several.now = several.now + Span::from_secs(5);
            several.receive(publisher, b"PUB x.\x07\xff+c 2\r\nhi\r\n");
        });
        let n_counted: u64 = several.shards.iter().map(|shard| shard.counters().unmappable).sum();
        assert_eq!(n_counted, 1_001 * n_cores as u64);
        assert_eq!(told.len(), 2, "{told:#?}");
        let says = |line: &str, what: &[&str]| what.iter().all(|part| line.contains(part));
        assert!(says(&told[0], &["WARN", "no topic", "127.0.0.1:9", "probe", "subject=x.a+b"]));
        assert!(!told[0].contains("n_passed_over"));
        assert!(says(&told[1], &["no topic", "probe", r"subject=x.\x07\xff+c "]), "{}", told[1]);
        let n_passed_over: u64 = told[1].split("n_passed_over=").nth(1).unwrap().trim().parse().unwrap();
        // What others have passed over they tell with their next word.
        assert!((999..1_000 * n_cores as u64).contains(&n_passed_over), "{n_passed_over}");
    }
}

#[test]
fn a_publisher_on_another_core_is_named_and_a_long_subject_is_cut() {
    let mut several = Several::new(2, settings());
    let client = several.connect(1, Listener::Mqtt);
    several.receive(client, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01a");
    several.receive(client, b"\x82\x09\0\x01\0\0\x03x/#\0");
    let publisher = several.nats(1 - several.core(client), "");
    let told =
        lines(|| several.receive(publisher, format!("PUB x.#{} 0\r\n\r\n", "y".repeat(500)).as_bytes()));
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("name=\"probe\"") && told[0].ends_with("yyy…"), "{}", told[0]);
    assert!(told[0].len() < 400, "{}", told[0]);
}

#[test]
fn what_a_client_was_refused_reads_as_it_was_told_and_stays_on_one_line() {
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    let told = lines(|| {
        alone.receive(id, "PUB /24SYS.é 0\r\n\r\nPUB /24SYS.\x1b[2J\x07 0\r\n\r\n".as_bytes());
        alone.receive(id, b"PUB /24SYS.\xff\xc3\\ 0\r\n\r\n");
    });
    assert_eq!(told.len(), 3, "{told:#?}");
    for (line, subject) in told.iter().zip(["é", r"\x1b[2J\x07", r"\xff\xc3\\"]) {
        let said = format!("refused: -ERR 'Permissions Violation for Publish to \"/24SYS.{subject}\"'");
        assert!(line.contains(&said), "{said} is not in\n{line}");
    }
}

#[test]
fn the_log_says_what_a_client_at_the_wrong_port_seems_to_speak_and_the_client_hears_as_ever() {
    const TLS: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc";
    let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
    for (listener, input, heard, said) in [
        (Listener::Mqtt, TLS, "", "bad input: CONNECT has reserved bits set; it looks like TLS"),
        (Listener::Nats, TLS, unknown, "bad input: unknown protocol operation; it looks like TLS"),
        (Listener::Mqtt, b"GET / HTTP/1.1\r\n\r\n", "", "is not CONNECT; it looks like HTTP"),
        (Listener::Nats, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a", unknown, "; it looks like an MQTT client"),
        (Listener::Mqtt, b"CONNECT {}\r\n", "", "is not CONNECT; it looks like a NATS client"),
    ] {
        let mut alone = Alone::new(settings());
        let id = alone.connect(listener);
        let told = lines(|| alone.receive(id, input));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(said), "{said} is not in\n{}", told[0]);
        assert_eq!(alone.sent(id), heard);
    }
    // Who has said CONNECT is at the right port.
    let mut alone = Alone::new(settings());
    let id = alone.nats("");
    let told = lines(|| alone.receive(id, TLS));
    assert!(told[0].contains("bad input: unknown") && !told[0].contains("looks like"), "{}", told[0]);
}

#[test]
fn a_nats_subscription_that_is_too_much_is_told_with_the_setting() {
    let mut limited = settings();
    (limited.nats.subscriptions_max, limited.nats.subscription_tokens_max) = (1, 2);
    let mut alone = Alone::new(limited);
    let id = alone.nats("SUB a 1\r\n");
    let told = lines(|| alone.receive(id, b"SUB a.b.c 2\r\nSUB b 3\r\n"));
    assert_eq!(told.len(), 2, "{told:#?}");
    let settings = ["nats.subscription_tokens_max is 2", "nats.subscriptions_max is 1"];
    for (line, setting) in told.iter().zip(settings) {
        assert!(line.contains("refused: -ERR ") && line.contains(setting), "{line}");
    }
}

#[test]
fn what_no_mqtt_client_asked_for_is_not_told() {
    let mut several = Several::new(2, settings());
    let publisher = publisher(&mut several);
    let told = lines(|| several.receive(publisher, b"PUB y.a+b 2\r\nhi\r\nPUB x.ab 2\r\nhi\r\n"));
    assert_eq!(told, Vec::<String>::new());
}

#[test]
fn a_line_that_is_over_the_limit_is_told_with_its_publisher_and_nobody_has_taken_the_message() {
    for n_cores in 1..3 {
        let mut several = Several::new(n_cores, settings());
        for core in 0..n_cores {
            several.nats(core, "SUB x.> 1\r\n");
        }
        let device = several.connect(0, Listener::Mqtt);
        several.receive(device, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01a");
        several.sent(device);
        let publish = |topic_len: usize, packet_id| {
            let topic = format!("x/{}", "y".repeat(topic_len - 2));
            let (dup, retain, qos, properties) = (false, false, Qos::AtLeastOnce, Properties::EMPTY);
            let (topic, payload) = (topic.as_bytes(), b"");
            let publish = Publish { dup, qos, retain, topic, packet_id, properties, payload };
            let mut out = Vec::new();
            encode::publish(&mut out, Version::V5, &publish).unwrap();
            out
        };
        // The line begins with `HMSG ` and has a blank after the subject.
        let longest = 4_096 - 6;
        let told = lines(|| {
            several.receive(device, &publish(longest + 1, 1));
            several.receive(device, &publish(longest + 1, 2));
            assert_eq!(several.sent(device), b"\x40\x03\0\x01\x10\x40\x03\0\x02\x10");
            several.receive(device, &publish(longest, 3));
            assert_eq!(several.sent(device), b"\x40\x02\0\x03");
        });
        assert_eq!(told.len(), 1, "{told:#?}");
        let says =
            ["over nats.control_line_bytes_max", "protocol=\"mqtt\"", "id=\"a\"", "subject=x.yyy", "yyy…"];
        assert!(says.iter().all(|part| told[0].contains(part)), "{}", told[0]);
        let n_counted: u64 = several.shards.iter().map(|shard| shard.counters().subject_too_long).sum();
        assert_eq!(n_counted, 2 * n_cores as u64);
    }
}
