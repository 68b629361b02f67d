//! A core that hears of very many subscriptions at once applies them in slices, and acknowledges what it has
//! applied.

use super::*;

const N: usize = 100_000;

/// Two shards, and the mail of both.
struct Two([Shard; 2]);

impl Two {
    fn new() -> Self {
        let settings = Arc::new(Settings { n_cores: 2, interest_slice: 1_024, ..settings() });
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
        Self([0, 1].map(|core| Shard::new(CoreId(core), settings.clone(), &keys, retained.clone(), 7)))
    }

    /// Gives one all that the other has for it, as if it had gathered.
    fn mail(&mut self, from: usize, now: Time) {
        let to = 1 - from;
        while let Some(batch) = self.0[from].take_batch(CoreId(to as u16), now) {
            self.0[to].mail(CoreId(from as u16), &batch, now);
        }
    }

    /// Filters that the second has heard of.
    fn n_heard(&self) -> usize {
        let mut n = 0;
        self.0[1].replica().for_each(|_, _, _, _| n += 1);
        n
    }

    fn answers(&mut self, id: ConnectionId) -> String {
        let mut text = Vec::new();
        while let Some(queue) = self.0[0].queue(id)
            && !queue.is_empty()
        {
            let n = queue.front().len();
            text.extend_from_slice(queue.front());
            self.0[0].flushed(id, n, Time::START);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[test]
fn a_hundred_thousand_subscriptions_are_heard_of_in_slices_and_acknowledged_when_all_are_applied() {
    let mut two = Two::new();
    let door = Door::first(Listener::Nats);
    let id = two.0[0].accept(door, "127.0.0.1:9".parse().unwrap(), 0, Time::START);
    two.0[0].receive(id, b"CONNECT {\"verbose\":false}\r\n", Time::START);
    let subs: Vec<String> = (0..N).map(|n| format!("SUB a.{n} {n}\r\n")).collect();
    for some in subs.chunks(1_000) {
        two.0[0].receive(id, some.concat().as_bytes(), Time::START);
    }
    two.0[0].receive(id, b"PING\r\n", Time::START);
    two.answers(id);
    two.mail(0, Time::START);
    let mut n_slices = 1;
    let mut n_heard = two.n_heard();
    assert_eq!(n_heard, 1_024);
    while two.0[1].wake_at() == Some(Time::START) {
        two.0[1].tick(Time::START);
        let n_more = two.n_heard() - n_heard;
        assert!(n_more <= 1_024);
        n_heard += n_more;
        n_slices += 1;
        two.mail(1, Time::START);
        two.mail(0, Time::START);
        let is_answered = two.answers(id).contains("PONG");
        assert_eq!(is_answered, two.0[1].wake_at() != Some(Time::START));
    }
    assert_eq!(n_heard, N);
    assert_eq!(two.0[1].slice.longest, 1_024);
    assert!(n_slices >= N / 1_024);
}

#[test]
fn a_filter_that_comes_and_goes_in_one_turn_is_one_change_to_the_others() {
    for (last, n_left) in [("SUB a 3\r\nSUB b.* q 4\r\n", 2), ("", 0)] {
        let mut two = Two::new();
        let door = Door::first(Listener::Nats);
        let id = two.0[0].accept(door, "127.0.0.1:9".parse().unwrap(), 0, Time::START);
        two.0[0].receive(id, b"CONNECT {\"verbose\":false}\r\n", Time::START);
        two.answers(id);
        let churn = "SUB a 1\r\nSUB b.* q 2\r\nUNSUB 1\r\nUNSUB 2\r\n".repeat(10);
        two.0[0].receive(id, format!("{churn}{last}PING\r\n").as_bytes(), Time::START);
        let batch = two.0[0].take_batch(CoreId(1), Time::START).unwrap();
        let changes = batch.items.iter().filter(|item| matches!(item, Item::Interest(_)));
        assert_eq!(changes.count(), 2);
        two.0[1].mail(CoreId(0), &batch, Time::START);
        assert_eq!(two.n_heard(), n_left);
        assert_eq!(two.answers(id), "");
        two.mail(1, Time::START);
        assert_eq!(two.answers(id), "PONG\r\n");
    }
}
