//! How long messages take through the gateway: from the read of the publisher's socket to the write of the
//! subscriber's, and mail from core to core. Not a clock: the times come as arguments.
//!
//! Nothing is recorded per message. A queue keeps a mark for the deliveries of one read time; when they are
//! written, one look at the clock and one recording count for all of them. A queue that stays behind keeps
//! its marks, so that what waits is recorded when it leaves, with the time that it took.

use crate::message::{Origin, ProtocolKind};
use crate::time::{Span, Time};
use hdrhistogram::Histogram;
use std::collections::VecDeque;

/// Recordings are right to one part in a hundred.
pub const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest span that is told from longer ones.
pub const LATENCY_MAX: Span = Span::from_secs(60);

/// From which protocol a delivery came, and to which it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    MqttToMqtt,
    MqttToNats,
    NatsToMqtt,
    NatsToNats,
}

impl Direction {
    pub const COUNT: usize = 4;
    /// In the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::MqttToMqtt, Self::MqttToNats, Self::NatsToMqtt, Self::NatsToNats];

    #[inline]
    pub fn new(from: ProtocolKind, to: ProtocolKind) -> Self {
        match (from, to) {
            (ProtocolKind::Mqtt, ProtocolKind::Mqtt) => Self::MqttToMqtt,
            (ProtocolKind::Mqtt, ProtocolKind::Nats) => Self::MqttToNats,
            (ProtocolKind::Nats, ProtocolKind::Mqtt) => Self::NatsToMqtt,
            (ProtocolKind::Nats, ProtocolKind::Nats) => Self::NatsToNats,
        }
    }

    #[inline]
    pub fn idx(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::MqttToMqtt => "mqtt_to_mqtt",
            Self::MqttToNats => "mqtt_to_nats",
            Self::NatsToMqtt => "nats_to_mqtt",
            Self::NatsToNats => "nats_to_nats",
        }
    }
}

/// All that one core has recorded since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// By direction.
    pub deliveries: [Latency; Direction::COUNT],
    /// Batches of mail, from their posting on another core to their taking here.
    pub mail: Latency,
}

impl Latencies {
    pub fn of(&self, direction: Direction) -> &Latency {
        &self.deliveries[direction.idx()]
    }

    #[inline]
    pub fn record(&mut self, direction: Direction, latency: Span, n: u64) {
        self.deliveries[direction.idx()].record(latency, n);
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.deliveries.iter_mut().zip(&other.deliveries) {
            own.add(other);
        }
        self.mail.add(&other.mail);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.deliveries.iter_mut().chain([&mut self.mail]).for_each(Latency::clear);
    }
}

/// A distribution of spans in nanoseconds. 30 KiB, whatever is recorded.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    sum_nanos: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos(), SIGNIFICANT_DIGITS);
        Self { histogram: histogram.expect("the bounds are in order"), sum_nanos: 0 }
    }
}

impl Latency {
    #[inline]
    pub fn record(&mut self, latency: Span, n: u64) {
        self.histogram.saturating_record_n(latency.as_nanos(), n);
        self.sum_nanos = self.sum_nanos.saturating_add(latency.as_nanos().saturating_mul(n));
    }

    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// All spans together, exactly.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }

    fn add(&mut self, other: &Self) {
        if !other.histogram.is_empty() {
            self.histogram.add(&other.histogram).expect("both have the same bounds");
            self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
        }
    }

    fn clear(&mut self) {
        if !self.histogram.is_empty() {
            self.histogram.reset();
            self.sum_nanos = 0;
        }
    }
}

/// How many read times a queue tells apart. Beyond, the latest share one, and count from the earliest of
/// them: a subscriber that far behind is not measured too kindly.
const MARKS_MAX: usize = 1_024;

/// The deliveries in one write queue that are not written yet.
#[derive(Debug)]
pub struct Marks {
    /// Bytes that have left the queue; positions count from its beginning.
    n_written: u64,
    last: Mark,
    /// Those before the last; none while the queue is written whole, turn by turn, as most are.
    #[expect(clippy::box_collection, reason = "every connection has this, and few ever use it")]
    older: Option<Box<VecDeque<Mark>>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { n_written: 0, last: Mark::NONE, older: None }
    }
}

/// Deliveries of one read time, between two positions of the queue.
#[derive(Clone, Copy, Debug)]
struct Mark {
    read_at: Time,
    start: u64,
    end: u64,
    /// By the protocol that they came from.
    n: [u64; ProtocolKind::COUNT],
}

impl Mark {
    const NONE: Self = Self { read_at: Time::NEVER, start: 0, end: 0, n: [0; ProtocolKind::COUNT] };

    fn is_empty(&self) -> bool {
        self.n == [0; ProtocolKind::COUNT]
    }
}

impl Marks {
    /// Notes `n` deliveries that made the queue grow from `n_bytes_before` to `n_bytes`.
    #[inline]
    pub fn note(&mut self, origin: Origin, n: u64, n_bytes_before: usize, n_bytes: usize) {
        if self.last.read_at != origin.read_at {
            self.begin(origin.read_at, n_bytes_before);
        }
        self.last.end = self.n_written + n_bytes as u64;
        self.last.n[origin.protocol as usize] += n;
    }

    fn begin(&mut self, read_at: Time, n_bytes_before: usize) {
        if !self.last.is_empty() {
            let older = self.older.get_or_insert_default();
            if older.len() >= MARKS_MAX {
                self.last.read_at = self.last.read_at.min(read_at);
                return;
            }
            older.push_back(self.last);
        }
        let at = self.n_written + n_bytes_before as u64;
        self.last = Mark { read_at, start: at, end: at, n: [0; ProtocolKind::COUNT] };
    }

    /// Notes that `n_bytes` more have left, and gives each delivery among them to `record` once: where it
    /// came from, when it was read, and how many were alike.
    #[inline]
    pub fn written(&mut self, n_bytes: usize, mut record: impl FnMut(ProtocolKind, Time, u64)) {
        if n_bytes == 0 {
            return;
        }
        self.n_written += n_bytes as u64;
        while let Some(older) = &mut self.older
            && let Some(mark) = older.front_mut()
        {
            if !mark.written_to(self.n_written, &mut record) {
                return;
            }
            older.pop_front();
        }
        if self.last.written_to(self.n_written, &mut record) {
            // An idle connection holds no memory for this.
            self.older = None;
            self.last = Mark::NONE;
        }
    }

    /// Forgets deliveries that nobody will be sent, and says how many they were.
    pub fn discard(&mut self) -> u64 {
        let all = self.older.iter().flat_map(|older| older.iter()).chain([&self.last]);
        let n = all.map(|mark| mark.n.iter().sum::<u64>()).sum();
        *self = Self::default();
        n
    }
}

impl Mark {
    /// Gives out what is written when the queue has left up to `position`; whether that is all of it. Where a
    /// write ends between two deliveries of one read their share is taken by its bytes.
    fn written_to(&mut self, position: u64, record: &mut impl FnMut(ProtocolKind, Time, u64)) -> bool {
        let is_whole = position >= self.end;
        if !is_whole && position <= self.start {
            return false;
        }
        let share = |n: u64| match is_whole {
            true => n,
            // The product has more than 64 bits only for a queue far beyond any limit.
            false => n.saturating_mul(position - self.start) / (self.end - self.start),
        };
        for protocol in ProtocolKind::ALL {
            let n = &mut self.n[protocol as usize];
            let n_done = share(*n);
            if n_done > 0 {
                *n -= n_done;
                record(protocol, self.read_at, n_done);
            }
        }
        self.start = position;
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn origin(nanos: u64) -> Origin {
        Origin { protocol: ProtocolKind::Nats, read_at: at(nanos) }
    }

    /// What `written` gives out.
    fn written(marks: &mut Marks, n_bytes: usize) -> Vec<(u64, u64)> {
        let mut given = Vec::new();
        marks.written(n_bytes, |_, read_at, n| given.push((read_at.as_nanos(), n)));
        given
    }

    #[test]
    fn deliveries_of_one_read_are_one_recording() {
        let mut marks = Marks::default();
        (0..10).for_each(|n| marks.note(origin(5), 1, n * 10, n * 10 + 10));
        assert_eq!(written(&mut marks, 100), [(5, 10)]);
        assert_eq!(marks.discard(), 0);
    }

    #[test]
    fn what_the_socket_did_not_take_is_recorded_when_it_leaves() {
        let mut marks = Marks::default();
        (0..10).for_each(|n| marks.note(origin(5), 1, n * 10, n * 10 + 10));
        assert_eq!(written(&mut marks, 35), [(5, 3)]);
        marks.note(origin(8), 1, 65, 75);
        assert_eq!(written(&mut marks, 0), []);
        assert_eq!(written(&mut marks, 64), [(5, 6)]);
        assert_eq!(written(&mut marks, 11), [(5, 1), (8, 1)]);
        assert!(marks.older.is_none());
    }

    #[test]
    fn too_many_read_times_are_merged_into_the_earliest() {
        let mut marks = Marks::default();
        for n in 0..2 * MARKS_MAX {
            marks.note(origin(1 + n as u64), 1, n, n + 1);
        }
        assert_eq!(marks.older.as_ref().map(|older| older.len()), Some(MARKS_MAX));
        let given = written(&mut marks, 2 * MARKS_MAX);
        let first_merged = 1 + MARKS_MAX as u64;
        assert_eq!(given.last(), Some(&(first_merged, MARKS_MAX as u64)));
        assert_eq!(given.iter().map(|(_, n)| n).sum::<u64>(), 2 * MARKS_MAX as u64);
    }

    #[test]
    fn a_span_beyond_the_longest_counts_as_that() {
        let mut latency = Latency::default();
        latency.record(Span::from_secs(3_600), 2);
        let max = latency.histogram().max();
        assert!(max >= LATENCY_MAX.as_nanos() && max < LATENCY_MAX.as_nanos() * 2);
        assert_eq!((latency.histogram().len(), latency.sum_nanos()), (2, 7_200_000_000_000));
    }

    #[test]
    fn what_cores_hand_over_adds_up() {
        let [mut all, mut one] = [Latencies::default(), Latencies::default()];
        for n in 1..4 {
            one.record(Direction::NatsToMqtt, Span::from_millis(n), n);
            one.mail.record(Span::from_millis(n), 1);
            all.add(&one);
            one.clear();
        }
        let delivered = all.of(Direction::NatsToMqtt);
        assert_eq!((delivered.histogram().len(), delivered.sum_nanos()), (6, 14_000_000));
        assert_eq!((all.mail.histogram().len(), all.mail.sum_nanos()), (3, 6_000_000));
        assert!(all.of(Direction::MqttToNats).histogram().is_empty());
    }

    proptest! {
        #[test]
        fn every_delivery_is_recorded_once_and_not_before_it_is_written(
            steps in proptest::collection::vec((0u8..3, 1usize..50), 1..200),
        ) {
            let mut marks = Marks::default();
            let (mut n_queued, mut n_noted, mut n_recorded, mut now) = (0, 0, 0, 1);
            for (kind, n) in steps {
                match kind {
                    0 => {
                        marks.note(origin(now), 1, n_queued, n_queued + n);
                        n_queued += n;
                        n_noted += 1;
                    }
                    1 => now += 1,
                    _ => {
                        let n_written = n.min(n_queued);
                        n_recorded += written(&mut marks, n_written).iter().map(|(_, n)| n).sum::<u64>();
                        n_queued -= n_written;
                    }
                }
                prop_assert!(n_recorded <= n_noted);
                prop_assert!(n_queued > 0 || n_recorded == n_noted);
            }
            prop_assert_eq!(n_recorded + marks.discard(), n_noted);
        }
    }
}
