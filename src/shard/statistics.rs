//! Statistics under `$SYS/broker`, by the names that mosquitto gave them: every core tells the first what it
//! counts, and that one publishes the sums. Retained, so that a subscriber has them at once. What operators
//! scrape is `admin`'s.

use super::Shard;
use super::counters::Counters;
use super::id::CoreId;
use super::mail::Item;
use crate::message::ProtocolKind;
use crate::time::{Span, Time};

/// When this core's next word is due; and at the first, what it has heard and said.
#[derive(Debug, Default)]
pub struct Statistics {
    due: Time,
    /// By core, this one's own place unused.
    others: Vec<Counters>,
    n_clients_max: u64,
    told_at: Time,
    /// What the averages were made of, when they were told last.
    before: [u64; N_RATES],
    averages: [[f64; SPANS.len()]; N_RATES],
    /// What was said last, in the order of `values`.
    said: Vec<String>,
}

const N_RATES: usize = 7;
const RATES: [&str; N_RATES] = [
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "bytes/received",
    "bytes/sent",
    "connections",
    "sockets",
];

/// What the averages are over, in seconds.
const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

impl Shard {
    /// When statistics are due, if they are wanted.
    pub(super) fn statistics_wake_at(&self) -> Option<Time> {
        (self.settings.statistics_every != Span::default()).then_some(self.statistics.due)
    }

    pub(super) fn tick_statistics(&mut self, now: Time) {
        let every = self.settings.statistics_every;
        if every == Span::default() || self.statistics.due > now {
            return;
        }
        self.statistics.due = now + every;
        if self.core == FIRST {
            self.tell_statistics(now);
        } else if !self.peers[FIRST.idx()].outbox.is_full() {
            let counters = Box::new(self.counters());
            self.peers[FIRST.idx()].outbox.push(Item::Counters(counters));
        }
    }

    /// Takes what another core has counted so far.
    pub(super) fn hear_counters(&mut self, from: CoreId, counters: &Counters) {
        let others = &mut self.statistics.others;
        if others.len() <= from.idx() {
            others.resize_with(from.idx() + 1, Counters::default);
        }
        others[from.idx()] = *counters;
    }

    fn tell_statistics(&mut self, now: Time) {
        let mut total = self.counters();
        self.statistics.others.iter().for_each(|other| total.add(other));
        self.statistics.take_averages(&total, now);
        let values = self.statistics.values(&total, now);
        for (value_idx, (name, value)) in values.into_iter().enumerate() {
            let said = &mut self.statistics.said;
            if said.get(value_idx) == Some(&value) {
                continue;
            }
            match said.get_mut(value_idx) {
                Some(said) => said.clone_from(&value),
                None => said.push(value.clone()),
            }
            let topic = format!("$SYS/broker/{name}");
            self.note_topic(topic.as_bytes(), value.into_bytes(), true);
        }
    }
}

/// The core that says it.
const FIRST: CoreId = CoreId(0);

impl Statistics {
    /// Averages per minute, each moving so that its span counts for most.
    fn take_averages(&mut self, total: &Counters, now: Time) {
        let counted = counted(total);
        let secs = now.since(self.told_at).as_micros() as f64 / 1e6;
        if secs > 0.0 {
            for ((averages, counted), before) in self.averages.iter_mut().zip(counted).zip(self.before) {
                let per_minute = counted.saturating_sub(before) as f64 * 60.0 / secs;
                for (average, (_, span)) in averages.iter_mut().zip(SPANS) {
                    *average += (1.0 - (-secs / span).exp()) * (per_minute - *average);
                }
            }
        }
        (self.before, self.told_at) = (counted, now);
        self.n_clients_max = self.n_clients_max.max(total.n_connections.iter().sum());
    }

    fn values(&self, total: &Counters, now: Time) -> Vec<(String, String)> {
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        let [mqtt, nats] = [ProtocolKind::Mqtt, ProtocolKind::Nats].map(|kind| kind as usize);
        let n_clients = sum(&total.n_connections);
        let numbers = [
            ("clients/connected", n_clients),
            ("clients/mqtt/connected", total.n_connections[mqtt]),
            ("clients/nats/connected", total.n_connections[nats]),
            ("clients/disconnected", total.n_offline_sessions),
            ("clients/total", n_clients + total.n_offline_sessions),
            ("clients/maximum", self.n_clients_max),
            ("messages/received", sum(&total.published)),
            ("messages/sent", sum(&total.delivered)),
            ("publish/messages/received", sum(&total.published)),
            ("publish/messages/sent", sum(&total.delivered)),
            ("publish/messages/dropped", n_dropped(total)),
            ("publish/bytes/received", sum(&total.published_bytes)),
            ("publish/bytes/sent", sum(&total.delivered_bytes)),
            ("bytes/received", sum(&total.read_bytes)),
            ("bytes/sent", sum(&total.written_bytes)),
            ("subscriptions/count", sum(&total.n_subscriptions)),
            ("retained messages/count", total.n_retained),
        ];
        let version = ("version".to_owned(), format!("strait version {}", env!("CARGO_PKG_VERSION")));
        let uptime = ("uptime".to_owned(), format!("{} seconds", now.as_micros() / 1_000_000));
        let numbers = numbers.map(|(name, number)| (name.to_owned(), number.to_string()));
        let averages = RATES.iter().zip(&self.averages).flat_map(|(name, averages)| {
            let of_span = move |((span, _), average): ((&str, f64), &f64)| {
                (format!("load/{name}/{span}"), format!("{average:.2}"))
            };
            SPANS.into_iter().zip(averages).map(of_span)
        });
        [version, uptime].into_iter().chain(numbers).chain(averages).collect()
    }
}

/// What averages are made of, in the order of `RATES`.
fn counted(total: &Counters) -> [u64; N_RATES] {
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    [
        sum(&total.published),
        sum(&total.delivered),
        n_dropped(total),
        sum(&total.read_bytes),
        sum(&total.written_bytes),
        sum(&total.n_accepted),
        sum(&total.n_accepted),
    ]
}

fn n_dropped(total: &Counters) -> u64 {
    total.dropped_queue_full + total.dropped_session_full + total.dropped_packet_too_large
}
