//! What is written down for a store: all of it, before anybody is told that it is kept; and a shard that begins
//! with it.

use super::sessions::{V5, Wish};
use super::*;
use crate::mqtt::encode::AckKind;
use crate::mqtt::packet::Qos;
use crate::mqtt::property::Property;
use crate::mqtt::reason::Reason;
use crate::store::image::Image;

impl Alone {
    /// Keeps what was written down.
    pub(super) fn keep(&mut self) {
        let mut taken = Vec::new();
        let position = self.shard.take_journal(&mut taken);
        self.journal.append(&mut taken);
        self.shard.kept(position, self.now);
    }

    fn image(&self) -> Image {
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let mut image = Image::new(keys.shared_hasher(), 0);
        assert_eq!(image.read(&self.journal), Ok(self.journal.len()));
        image
    }

    fn check_journal(&mut self) {
        self.keep();
        let image = self.image();
        let sessions = self.shard.written_sessions();
        assert_eq!(image.n_sessions(), sessions.len());
        for (client_id, changes) in sessions {
            let mut written = Vec::new();
            image.session(&client_id).expect("it is written down").write(&mut written);
            assert_eq!(written.escape_ascii().to_string(), changes.escape_ascii().to_string());
        }
    }

    /// Another shard, that begins with what this one has left so far.
    fn begin_again(&self, settings: Settings) -> Self {
        let mut image = self.image();
        let mut again = Self::new(settings);
        again.now = self.now;
        assert!(image.retained().all(|retained| again.shard.restore_retained(&retained)));
        for (client_id, stored) in image.take_sessions() {
            assert!(again.shard.restore(&client_id, stored, again.now));
        }
        assert!(again.shard.is_heard());
        again.pass(0);
        again
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_journal();
        }
    }
}

/// A session with something of everything, and the publisher of it.
fn busy(alone: &mut Alone) {
    let delay = [Property::WillDelayInterval(5)];
    let (id, _) = alone.mqtt(Wish { will: Some(("w", &delay)), ..V5 });
    alone.subscribe(id, "t", Qos::ExactlyOnce);
    alone.subscribe(id, "$share/g/t/+", Qos::AtLeastOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", ..V5 });
    alone.publish(publisher, 1, Qos::AtLeastOnce, "one", &[]);
    alone.publish(publisher, 2, Qos::ExactlyOnce, "two", &[Property::MessageExpiryInterval(50)]);
    alone.publish(publisher, 3, Qos::ExactlyOnce, "three", &[]);
    alone.publish(publisher, 4, Qos::AtLeastOnce, "four", &[]);
    assert_eq!(alone.hears(id).len(), 4);
    alone.ack(id, AckKind::Puback, 1, Reason::Success);
    alone.ack(id, AckKind::Pubrec, 2, Reason::Success);
    assert_eq!(alone.hears(id), ["PUBREL 2 00"]);
    alone.lose(id);
    alone.publish(publisher, 5, Qos::AtLeastOnce, "late", &[Property::MessageExpiryInterval(50)]);
    alone.publish(publisher, 6, Qos::ExactlyOnce, "later", &[]);
    alone.hears(publisher);
}

#[test]
fn a_session_comes_back_after_a_restart_with_all_that_it_had() {
    let mut alone = Alone::new(settings());
    busy(&mut alone);
    let mut again = alone.begin_again(settings());
    assert_eq!(again.shard.counters().n_offline_sessions, 2);
    let (id, heard) = again.mqtt(V5);
    let expected = ["CONNACK present", "PUBREL 2 00", "PUBLISH 2 3 dup three", "PUBLISH 1 4 dup four"];
    assert_eq!(heard[..4], expected);
    assert_eq!(heard[4..], ["PUBLISH 1 5 late 50s", "PUBLISH 2 6 later"]);
    // What its publisher says again is known.
    let (publisher, heard) = again.mqtt(Wish { client_id: "p", ..V5 });
    assert_eq!(heard, ["CONNACK present"]);
    again.publish(publisher, 6, Qos::ExactlyOnce, "later", &[]);
    again.ack(publisher, AckKind::Pubrel, 3, Reason::Success);
    assert_eq!(again.hears(publisher), ["PUBREC 6 00", "PUBCOMP 3 00"]);
    assert_eq!(again.hears(id), [""; 0]);
    again.publish(publisher, 7, Qos::AtLeastOnce, "live", &[]);
    assert_eq!(again.hears(id), ["PUBLISH 1 7 live"]);
    // And once more, from the second one's journal alone.
    again.keep();
    assert_eq!(again.begin_again(settings()).shard.counters().n_sessions, 2);
}

#[test]
fn a_will_whose_client_was_there_is_published_after_its_delay_and_a_session_ends_in_its_time() {
    let mut alone = Alone::new(settings());
    let delay = [Property::WillDelayInterval(5)];
    alone.mqtt(Wish { will: Some(("w", &delay)), ..V5 });
    let (gone, _) = alone.mqtt(Wish { client_id: "gone", ..V5 });
    alone.lose(gone);
    alone.pass(40);
    alone.keep();
    let mut again = alone.begin_again(settings());
    let watcher = again.nats("SUB w 1\r\n");
    again.pass(4);
    assert_eq!(again.said_to(watcher), "");
    again.pass(1);
    assert_eq!(again.said_to(watcher), "MSG w 1 4\r\ndead\r\n");
    assert_eq!(again.shard.counters().n_sessions, 2);
    // 40 of its 100 seconds were over.
    again.pass(56);
    assert_eq!(again.shard.counters().n_sessions, 1);
    again.pass(39);
    assert_eq!(again.shard.counters().n_sessions, 0);
}

#[test]
fn a_session_that_was_to_end_with_its_connection_does() {
    let mut alone = Alone::new(settings());
    let (id, _) = alone.mqtt(V5);
    alone.subscribe(id, "t", Qos::AtLeastOnce);
    alone.lose(id);
    alone.mqtt(Wish { properties: &[], ..V5 });
    alone.keep();
    let mut image = alone.image();
    let (client_id, stored) = image.take_sessions().next().expect("it was kept once");
    let mut again = Alone::new(settings());
    assert!(!again.shard.restore(&client_id, stored, Time::START));
    assert_eq!(again.shard.counters().n_sessions, 0);
}

#[test]
fn nobody_is_told_that_something_is_kept_before_it_is() {
    let mut alone = Alone::new(settings());
    let (subscriber, _) = alone.mqtt(V5);
    alone.subscribe(subscriber, "t", Qos::ExactlyOnce);
    let (publisher, _) = alone.mqtt(Wish { client_id: "p", properties: &[], ..V5 });
    let nats = alone.nats("SUB ack 1\r\n");
    alone.is_keeping = false;
    alone.publish(publisher, 1, Qos::AtLeastOnce, "one", &[]);
    alone.publish(publisher, 2, Qos::ExactlyOnce, "two", &[]);
    alone.receive(nats, b"HPUB t ack 25 26\r\nNATS/1.0\r\nMqtt-QoS: 1\r\n\r\nx\r\n");
    assert_eq!(alone.hears(publisher), [""; 0]);
    assert_eq!(alone.hears(subscriber), [""; 0]);
    assert_eq!(alone.sent(nats), "");
    alone.keep();
    assert_eq!(alone.hears(publisher), ["PUBACK 1 00", "PUBREC 2 00"]);
    assert_eq!(alone.hears(subscriber), ["PUBLISH 1 1 one", "PUBLISH 2 2 two", "PUBLISH 1 3 x"]);
    assert!(alone.sent(nats).starts_with("MSG ack 1 "));
    // QoS 2 towards the client: PUBREL only when its PUBREC is kept; and from it: PUBCOMP.
    alone.ack(subscriber, AckKind::Pubrec, 2, Reason::Success);
    assert_eq!(alone.hears(subscriber), [""; 0]);
    alone.keep();
    assert_eq!(alone.hears(subscriber), ["PUBREL 2 00"]);
}

#[test]
fn a_store_that_lags_slows_those_who_wait_for_its_word_and_loses_no_answer() {
    let mut alone = Alone::new(settings());
    let (subscriber, _) = alone.mqtt(V5);
    alone.subscribe(subscriber, "t", Qos::AtLeastOnce);
    let [reader, publisher] = [alone.nats("SUB ack 1\r\n"), alone.nats("")];
    alone.is_keeping = false;
    let op = b"HPUB t ack 25 26\r\nNATS/1.0\r\nMqtt-QoS: 1\r\n\r\nx\r\n".as_slice();
    let mut n_sent = 0;
    while alone.shard.wants_input(publisher) {
        n_sent += 500;
        alone.receive(publisher, &op.repeat(500));
    }
    assert_eq!((n_sent, alone.shard.n_answers()), (1_500, 1_024));
    assert_eq!(alone.sent(reader), "");
    // Nobody tries again and again meanwhile.
    assert!(alone.shard.wake_at().is_none_or(|at| at > alone.now));
    let mut said = String::new();
    for _ in 0..20 {
        alone.keep();
        alone.shard.tick(alone.now);
        said += &alone.sent(reader);
    }
    assert_eq!(said.matches("MSG ack").count(), n_sent);
    assert!(alone.shard.wants_input(publisher));
}

#[test]
fn retained_messages_come_back_with_what_is_left_of_their_lives() {
    let mut alone = Alone::new(settings());
    let nats = alone.nats("");
    for (subject, payload) in [("a", "x"), ("b", "x"), ("b", "")] {
        let n = 28 + payload.len();
        let op = format!("HPUB {subject} 28 {n}\r\nNATS/1.0\r\nMqtt-Retain: 1\r\n\r\n{payload}\r\n");
        alone.receive(nats, op.as_bytes());
    }
    assert_eq!(alone.shard.counters().n_retained, 1);
    alone.keep();
    let again = alone.begin_again(settings());
    assert_eq!(again.shard.counters().n_retained, 1);
}
