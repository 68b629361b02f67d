//! Clients that may publish only so much in a second: they wait, and nothing of theirs is lost or overtaken.

use super::sessions::V5;
use super::*;
use crate::shard::closed::Closed;
use crate::shard::limits::{Limit, Limits};
use crate::shard::rates::Rate;

fn rated(messages_per_sec: u64, bytes_per_sec: u64) -> Alone {
    let rates = [Rate { messages_per_sec, bytes_per_sec }; 2];
    Alone::new(Settings { limits: Limits { rates, ..Limits::NONE }, ..settings() })
}

impl Alone {
    fn pass_millis(&mut self, millis: u64) {
        let until = self.now + Span::from_millis(millis);
        while let Some(at) = self.shard.wake_at()
            && at <= until
        {
            self.now = self.now.max(at);
            self.shard.tick(self.now);
        }
        self.now = until;
    }

    /// How many messages of NATS a client was sent.
    fn n_msgs(&mut self, id: ConnectionId) -> usize {
        self.sent(id).matches("MSG a 1 ").count()
    }

    fn n_limited_by(&self, limit: Limit) -> u64 {
        self.shard.counters().n_limited[limit as usize]
    }
}

#[test]
fn a_nats_client_has_a_seconds_messages_at_once_and_the_rest_as_time_passes() {
    let mut alone = rated(100, 0);
    let (reader, publisher, other) = (alone.nats("SUB a 1\r\n"), alone.nats(""), alone.nats(""));
    let messages = [b"PUB a 1\r\nx\r\n".repeat(500), b"PING\r\n".to_vec()].concat();
    alone.receive_whole(publisher, &messages);
    // The one with which it was too much is among them.
    assert_eq!(alone.n_msgs(reader), 101);
    assert!(!alone.shard.wants_input(publisher));
    alone.receive_whole(other, b"PUB a 1\r\nx\r\n");
    assert_eq!(alone.n_msgs(reader), 1);
    alone.pass_millis(1_000);
    let n = alone.n_msgs(reader);
    assert!((99..=101).contains(&n), "{n}");
    assert_eq!(alone.sent(publisher), "");
    alone.pass_millis(3_100);
    assert_eq!(alone.n_msgs(reader), 500 - 101 - n);
    // It is asked whether it is there, once it no longer has to wait.
    assert_eq!(alone.sent(publisher), "PING\r\nPONG\r\n");
    assert!(alone.shard.wants_input(publisher));
    assert_eq!(alone.n_limited_by(Limit::NatsMessageRate), 1);
    // After a pause there is a second's worth again, and no more.
    alone.pass_millis(10_000);
    alone.receive_whole(publisher, &messages);
    assert_eq!(alone.n_msgs(reader), 101);
    assert_eq!(alone.n_limited_by(Limit::NatsMessageRate), 2);
}

#[test]
fn an_mqtt_client_that_waits_is_acknowledged_in_order_and_keeps_its_session() {
    let mut alone = rated(10, 0);
    let reader = alone.nats("SUB t 1\r\n");
    let (id, _) = alone.mqtt(V5);
    let publish = |packet_id| [0x32, 7, 0, 1, b't', 0, packet_id, 0, b'x'];
    let last = [0x34, 7, 0, 1, b't', 0, 12, 0, b'x'];
    let packets: Vec<u8> = (1..=11).flat_map(publish).chain(last).collect();
    alone.receive_whole(id, &packets);
    assert_eq!(alone.hears(id).len(), 11);
    // What waits is taken before its client's end.
    alone.shard.end_of_input(id, false, alone.now);
    assert!(alone.hears(id).is_empty() && !alone.shard.is_closing(id));
    alone.pass_millis(200);
    assert_eq!(alone.hears(id)[0], "PUBREC 12 00");
    assert!(alone.shard.is_closing(id));
    assert_eq!(alone.sent(reader).matches("MSG t 1 ").count(), 12);
    assert_eq!(alone.n_limited_by(Limit::MqttMessageRate), 1);
}

#[test]
fn bytes_have_their_own_rate_and_a_keep_alive_does_not_run_out_meanwhile() {
    let mut alone = rated(0, 100);
    let reader = alone.nats("SUB a 1\r\n");
    let id = alone.connect(Listener::Mqtt);
    // A keep-alive of two seconds.
    alone.receive(id, b"\x10\x0d\0\x04MQTT\x04\x02\0\x02\0\x01k");
    let publish = [b"\x30\xff\x07\0\x01a".as_slice(), &[b'x'; 1_020]].concat();
    alone.receive_whole(id, &[publish, b"\xc0\0".to_vec()].concat());
    assert_eq!(alone.n_msgs(reader), 1);
    alone.pass_millis(9_000);
    assert!(!alone.shard.is_closing(id));
    assert_eq!(alone.sent_bytes(id), b"\x20\x02\0\0");
    alone.pass_millis(500);
    assert_eq!(alone.sent_bytes(id), b"\xd0\0");
    assert_eq!((alone.n_limited_by(Limit::MqttByteRate), alone.n_limited_by(Limit::MqttMessageRate)), (1, 0));
}

#[test]
fn what_was_read_of_a_client_that_waits_is_delivered_before_a_drain_ends() {
    let mut alone = rated(10, 0);
    let (reader, publisher) = (alone.nats("SUB a 1\r\n"), alone.nats(""));
    alone.receive_whole(publisher, &b"PUB a 1\r\nx\r\n".repeat(500));
    alone.shard.begin_drain(alone.now);
    assert_eq!(alone.n_msgs(reader), 500);
}

/// CONNECT of MQTT 3.1.1 as `k`, with a clean session.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x02\0\x01k";

#[test]
fn a_client_that_comes_back_waits_until_all_is_read_that_it_had_sent_before() {
    let mut alone = rated(10, 0);
    let reader = alone.nats("SUB a 1\r\n");
    let old = alone.connect(Listener::Mqtt);
    alone.receive(old, CONNECT);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(100));
    assert_eq!(alone.n_msgs(reader), 11);
    // Its pings went unanswered: it has closed the old connection, which is not read.
    let new = alone.connect(Listener::Mqtt);
    alone.receive(new, CONNECT);
    assert_eq!((alone.n_msgs(reader), alone.shard.wants_input(old)), (89, true));
    assert!(alone.sent_bytes(new).is_empty() && !alone.shard.wants_input(new));
    // What its socket still has.
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(50));
    assert_eq!(alone.n_msgs(reader), 50);
    alone.shard.end_of_input(old, false, alone.now);
    assert_eq!(alone.sent_bytes(new), b"\x20\x02\0\0");
    assert!(alone.shard.is_closing(old));
    assert_eq!(alone.shard.counters().taken_over, 0);
    // The rate is each connection's.
    alone.receive_whole(new, &b"\x30\x04\0\x01ax".repeat(100));
    assert_eq!((alone.n_msgs(reader), alone.shard.wants_input(new)), (11, false));
}

#[test]
fn of_two_that_wait_for_their_old_connection_the_last_stays_and_the_first_is_told() {
    let mut alone = rated(10, 0);
    let reader = alone.nats("SUB a 1\r\n");
    let ids = [(); 3].map(|()| alone.connect(Listener::Mqtt));
    let [old, second, third] = ids;
    alone.receive(old, CONNECT);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(100));
    alone.receive(second, CONNECT);
    alone.pass_millis(100);
    alone.receive(third, CONNECT);
    assert!(alone.shard.is_closing(second) && alone.sent_bytes(third).is_empty());
    assert_eq!(alone.sent_bytes(second), b"\x20\x02\0\0");
    alone.shard.end_of_input(old, false, alone.now);
    assert_eq!(alone.sent_bytes(third), b"\x20\x02\0\0");
    assert_eq!((alone.n_msgs(reader), alone.shard.n_paused()), (100, 0));
    alone.pass_millis(2_000);
    assert!(!alone.shard.is_closing(third));
}

#[test]
fn a_rate_holds_again_when_nobody_comes_back_after_all() {
    let mut alone = rated(10, 0);
    let reader = alone.nats("SUB a 1\r\n");
    let (old, second) = (alone.connect(Listener::Mqtt), alone.connect(Listener::Mqtt));
    alone.receive(old, CONNECT);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(20));
    alone.pass_millis(300);
    alone.receive(second, CONNECT);
    alone.shard.end_of_input(second, true, alone.now);
    alone.shard.close(second, Closed::Lost, alone.now);
    alone.pass_millis(2_000);
    let _ = alone.n_msgs(reader);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(200));
    assert!(alone.n_msgs(reader) <= 12 && !alone.shard.wants_input(old));
    // The next that comes back is waited for as the first would have been.
    let third = alone.connect(Listener::Mqtt);
    alone.receive(third, CONNECT);
    assert!(alone.shard.wants_input(old) && alone.sent_bytes(third).is_empty());
}

#[test]
fn who_waits_for_its_old_connection_has_said_who_it_is_in_time() {
    let mut limited = settings();
    limited.limits = Limits { unconnected_max: 1, ..limited.limits };
    limited.limits.rates = [Rate { messages_per_sec: 10, bytes_per_sec: 0 }; 2];
    limited.mqtt.connect_timeout = Span::from_secs(2);
    let mut alone = Alone::new(limited);
    let old = alone.connect(Listener::Mqtt);
    alone.receive(old, b"\x10\x0d\0\x04MQTT\x04\0\0\x02\0\x01k");
    let second = alone.connect(Listener::Mqtt);
    alone.pass_millis(1_700);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(100));
    alone.receive(second, b"\x10\x0d\0\x04MQTT\x04\0\0\x02\0\x01k");
    let others = [alone.connect(Listener::Mqtt), alone.connect(Listener::Mqtt)];
    // Beyond its time for CONNECT, and while too many have not said who they are.
    alone.pass_millis(900);
    assert!(!alone.shard.is_closing(second) && alone.sent_bytes(second).is_empty());
    alone.pass_millis(150);
    assert_eq!(alone.sent_bytes(second), b"\x20\x02\x01\0");
    assert!(alone.shard.is_closing(old) && alone.shard.is_closing(others[0]));
}

#[test]
fn who_is_overtaken_while_it_waits_hears_of_the_session_that_there_is() {
    let mut alone = rated(10, 0);
    let ids = [(); 3].map(|()| alone.connect(Listener::Mqtt));
    let connect = b"\x10\x0d\0\x04MQTT\x04\0\0\x02\0\x01k";
    alone.receive(ids[0], connect);
    alone.receive_whole(ids[0], &b"\x30\x04\0\x01ax".repeat(100));
    alone.receive(ids[1], connect);
    alone.pass_millis(100);
    alone.receive(ids[2], connect);
    assert_eq!(alone.sent_bytes(ids[1]), b"\x20\x02\x01\0");
    alone.shard.end_of_input(ids[0], false, alone.now);
    assert_eq!(alone.sent_bytes(ids[2]), b"\x20\x02\x01\0");
}

#[test]
fn a_drain_lets_nobody_wait_for_an_old_connection() {
    let mut alone = rated(10, 0);
    let reader = alone.nats("SUB a 1\r\n");
    let (old, second) = (alone.connect(Listener::Mqtt), alone.connect(Listener::Mqtt));
    alone.receive(old, CONNECT);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(100));
    alone.receive(second, CONNECT);
    assert_eq!(alone.n_msgs(reader), 100);
    alone.shard.begin_drain(alone.now);
    assert!(alone.shard.is_closing(old) && alone.shard.is_closing(second));
    assert_eq!((alone.sent_bytes(second), alone.shard.n_paused()), (b"\x20\x02\0\0".to_vec(), 0));
}

#[test]
fn a_connection_that_stays_open_is_taken_over_after_a_second_whoever_waits() {
    let mut alone = rated(10, 0);
    let reader = alone.nats("SUB a 1\r\n");
    let old = alone.connect(Listener::Mqtt);
    alone.receive(old, CONNECT);
    alone.receive_whole(old, &b"\x30\x04\0\x01ax".repeat(100));
    let second = alone.connect(Listener::Mqtt);
    alone.receive(second, CONNECT);
    alone.pass_millis(500);
    let third = alone.connect(Listener::Mqtt);
    alone.receive(third, CONNECT);
    alone.pass_millis(499);
    assert!(!alone.shard.is_closing(old) && alone.sent_bytes(third).is_empty());
    alone.pass_millis(2);
    assert!(alone.shard.is_closing(old) && alone.shard.is_closing(second));
    assert!(alone.sent_bytes(third).starts_with(b"\x20\x02\0\0"));
    assert_eq!(alone.n_msgs(reader), 100);
    assert_eq!(alone.shard.counters().taken_over, 2);
}

#[test]
fn a_client_that_publishes_too_much_for_an_hour_is_a_line_a_minute() {
    let mut alone = rated(10, 0);
    let publisher = alone.nats("");
    let told = super::log::lines(|| {
        for _ in 0..60 {
            alone.receive_whole(publisher, &[b"PONG\r\n".to_vec(), b"PUB a 1\r\nx\r\n".repeat(60)].concat());
            alone.pass_millis(10_000);
        }
    });
    let n = told.iter().filter(|line| line.contains("nats.publish_rate_max is 10")).count();
    assert!((9..=11).contains(&n), "{told:#?}");
}
