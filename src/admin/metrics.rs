//! The metrics: their names, units, help and labels, from a snapshot. Not how the text looks (`exposition`).

use super::collect::{CoreSnapshot, Snapshot};
use super::desk::N_TURNED_AWAY;
use crate::message::ProtocolKind;
use crate::shard::closed::Reason;
use crate::shard::counters::Counters;
use crate::shard::latency::{Direction, Latency};
use crate::shard::limits::Limit;
use crate::shard::refused::NotSubscribed;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// Upper bounds of a latency's buckets, in nanoseconds: 1 µs to 10 s.
const BOUNDS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

const NANOS: f64 = 1e-9;

/// The metrics of a snapshot as OpenMetrics text.
pub fn open_metrics(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown { total: snapshot.total(), snapshot }));
    let mut text = String::with_capacity(32 << 10);
    encode(&mut text, &registry).expect("a string takes all that is written to it");
    text
}

#[derive(Debug)]
struct Shown {
    snapshot: Snapshot,
    total: Counters,
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.process(&mut out)?;
        self.messages(&mut out)?;
        self.connections(&mut out)?;
        self.sockets(&mut out)?;
        self.mail(&mut out)?;
        self.memory(&mut out)?;
        self.latencies(&mut out)
    }
}

impl Shown {
    fn process(&self, out: &mut Out<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        out.gauges(
            "strait_build_info",
            "The version that runs; always 1.",
            None,
            [(("version", version), 1)],
        )?;
        let answers = |core: &CoreSnapshot| u64::from(core.has_answered);
        out.per_core("strait_core_up", "Whether the core answered this scrape.", None, self, answers)
    }

    fn messages(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        out.counters(
            "strait_messages_received",
            "Messages taken from publishers.",
            None,
            by_protocol(total.published),
        )?;
        out.counters(
            "strait_payload_received",
            "Payload bytes of messages taken from publishers.",
            Some(&Unit::Bytes),
            by_protocol(total.published_bytes),
        )?;
        out.counters(
            "strait_deliveries",
            "Deliveries taken into a client's queue.",
            None,
            by_direction(total.delivered),
        )?;
        out.counters(
            "strait_payload_delivered",
            "Payload bytes of deliveries.",
            Some(&Unit::Bytes),
            by_direction(total.delivered_bytes),
        )?;
        let dropped = [
            ("connection_ended", total.discarded),
            ("queue_full", total.dropped_queue_full),
            ("session_full", total.dropped_session_full),
            ("offline", total.dropped_offline),
            ("expired", total.expired),
            ("packet_too_large", total.dropped_packet_too_large),
            ("no_group_member", total.dropped_no_member),
            ("left_behind", total.dropped_left_behind),
            ("no_topic_for_subject", total.unmappable),
            ("subject_too_long", total.subject_too_long),
            ("no_emqx_subject", total.no_emqx_subject),
        ];
        let dropped = dropped.map(|(reason, n)| (("reason", reason), n));
        out.counters("strait_deliveries_dropped", "Deliveries that nobody got.", None, dropped)?;
        let redelivered = total.redelivered;
        let help = "Messages of shared subscriptions that a member left to the others.";
        out.counter("strait_shared_redelivered", help, redelivered)?;
        let unmappable = total.headers_unmappable;
        out.counter("strait_headers_unmappable", "NATS headers that no MQTT property can hold.", unmappable)?;
        let help = "Headers that stand for something of MQTT's, with values that mean nothing.";
        out.counter("strait_headers_unknown", help, total.headers_unknown)?;
        out.counter("strait_publishes_denied", "Publishes to names of the gateway's own.", total.denied)?;
        self.requests(out)?;
        let hidden = total.replies_hidden;
        out.counter(
            "strait_replies_hidden",
            "Reply subjects that their reader could not have addressed.",
            hidden,
        )?;
        let dropped = total.notices_dropped;
        out.counter("strait_notices_dropped", "Statistics and presence events not published.", dropped)?;
        self.retained(out)
    }

    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        let opened = total.requests_opened;
        out.counter("strait_requests", "Requests of MQTT clients that may reach NATS services.", opened)?;
        let help = "Requests forgotten before their time, for others.";
        out.counter("strait_requests_forgotten", help, total.requests_forgotten)?;
        out.gauges(
            "strait_requests_open",
            "Requests whose answers are awaited.",
            None,
            [((), total.n_requests)],
        )?;
        let help = "Memory of requests whose answers are awaited.";
        out.gauges("strait_requests_open", help, Some(&Unit::Bytes), [((), total.request_bytes)])?;
        let dropped = [("unasked", total.answers_unasked), ("unheard", total.answers_unheard)];
        let dropped = dropped.map(|(reason, n)| (("reason", reason), n));
        out.counters("strait_answers_dropped", "Answers to MQTT clients that nobody got.", None, dropped)
    }

    fn retained(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        out.gauges(
            "strait_retained_messages",
            "Retained messages of clients.",
            None,
            [((), total.n_retained)],
        )?;
        let bytes = Some(&Unit::Bytes);
        out.gauges(
            "strait_retained",
            "Memory of the retained messages of clients.",
            bytes,
            [((), total.retained_bytes)],
        )?;
        let refused = total.retained_refused;
        out.counter("strait_retained_refused", "Messages not retained for want of room.", refused)?;
        let expired = total.retained_expired;
        out.counter("strait_retained_expired", "Retained messages that expired.", expired)?;
        out.counter("strait_retained_deliveries", "Deliveries of retained messages.", total.replayed)
    }

    fn connections(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        out.gauges("strait_connections", "Connections there are.", None, by_protocol(total.n_connections))?;
        let of_core = |core: &CoreSnapshot| core.counters.n_connections.iter().sum();
        out.per_core("strait_core_connections", "Connections that a core has.", None, self, of_core)?;
        out.counters(
            "strait_connections_accepted",
            "Connections accepted.",
            None,
            by_protocol(total.n_accepted),
        )?;
        let closed = Reason::ALL.map(|reason| (("reason", reason.name()), total.n_closed[reason as usize]));
        out.counters("strait_connections_closed", "Connections ended, by why.", None, closed)?;
        let turned_away = TURNED_AWAY.into_iter().zip(self.snapshot.n_turned_away);
        let turned_away = turned_away.map(|(name, n)| (("reason", name), n));
        out.counters("strait_connections_refused", "Connections turned away.", None, turned_away)?;
        out.counter("strait_accepts_delayed", "Times that accepting waited.", self.snapshot.n_delayed)?;
        out.counter(
            "strait_connections_moved",
            "Connections moved to their session's core.",
            total.n_departed,
        )?;
        out.counter(
            "strait_slow_consumers",
            "Clients ended because they read too slowly.",
            total.slow_consumers,
        )?;
        self.sessions(out)?;
        out.counter("strait_panics", "Defects that cost one connection.", total.panics)?;
        let limited =
            Limit::ALL.iter().map(|limit| (("limit", limit.key()), total.n_limited[*limit as usize]));
        out.counters("strait_limits_reached", "Times that a client reached a limit.", None, limited)?;
        let refused = NotSubscribed::NAMES.into_iter().zip(total.subscriptions_refused);
        out.counters(
            "strait_subscriptions_refused",
            "Subscriptions that a limit or a rule refused.",
            None,
            refused.map(|(reason, n)| (("reason", reason), n)),
        )?;
        out.gauges(
            "strait_subscriptions",
            "Subscriptions there are.",
            None,
            by_protocol(total.n_subscriptions),
        )
    }

    fn sessions(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        let n_online = total.n_sessions.saturating_sub(total.n_offline_sessions);
        let sessions = [(("client", "online"), n_online), (("client", "offline"), total.n_offline_sessions)];
        out.gauges("strait_sessions", "MQTT sessions there are.", None, sessions)?;
        out.gauges(
            "strait_session_messages",
            "Messages that wait in MQTT sessions.",
            None,
            [((), total.n_session_messages)],
        )?;
        out.counter(
            "strait_sessions_taken_over",
            "Client ids taken over by a later connection.",
            total.taken_over,
        )?;
        out.counter("strait_sessions_resumed", "Sessions taken up again.", total.sessions_resumed)?;
        let ended = [
            (("reason", "expired"), total.sessions_expired),
            (("reason", "no_room"), total.sessions_discarded),
        ];
        out.counters("strait_sessions_ended", "Sessions ended without their client.", None, ended)?;
        out.counter(
            "strait_sessions_refused",
            "Clients refused for too many sessions.",
            total.sessions_refused,
        )?;
        out.counter("strait_wills_published", "Wills of lost clients published.", total.wills_published)
    }

    fn sockets(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        let bytes = Some(&Unit::Bytes);
        out.counters("strait_reads", "Reads of sockets.", None, by_protocol(total.n_reads))?;
        out.counters("strait_read", "Bytes read.", bytes, by_protocol(total.read_bytes))?;
        out.counters("strait_flushes", "Writes to sockets.", None, by_protocol(total.n_writes))?;
        out.counters("strait_written", "Bytes written.", bytes, by_protocol(total.written_bytes))?;
        out.counter(
            "strait_flushes_blocked",
            "Times that a socket began to take too little.",
            total.n_blocked,
        )?;
        out.counter(
            "strait_publishers_paused",
            "Times that a publisher was not read for 10 ms.",
            total.n_stalls,
        )
    }

    fn mail(&self, out: &mut Out<'_>) -> fmt::Result {
        let total = &self.total;
        out.counter("strait_mail_batches_sent", "Batches sent from core to core.", total.mail_sent)?;
        out.counter("strait_mail_batches_taken", "Batches taken by their core.", total.mail_taken)?;
        out.counter("strait_mail_messages", "Messages posted to other cores.", total.mail_publications)?;
        out.counters(
            "strait_mail_sent",
            "Bytes of mail sent.",
            Some(&Unit::Bytes),
            [((), total.mail_sent_bytes)],
        )?;
        let lookups = [(("cache", "hit"), total.route_hits), (("cache", "miss"), total.route_misses)];
        out.counters("strait_route_lookups", "Looks for a subject's subscribers.", None, lookups)
    }

    fn memory(&self, out: &mut Out<'_>) -> fmt::Result {
        let bytes = Some(&Unit::Bytes);
        let queued = |core: &CoreSnapshot| core.counters.queued_bytes;
        out.per_core("strait_queued", "Bytes that wait for clients.", bytes, self, queued)?;
        let posted = |core: &CoreSnapshot| core.counters.outbox_bytes;
        out.per_core("strait_outbox", "Bytes of mail that wait for other cores.", bytes, self, posted)?;
        let cached = |core: &CoreSnapshot| core.counters.route_cache_bytes;
        out.per_core("strait_route_cache", "Bytes of the cache of routes.", bytes, self, cached)?;
        out.gauges(
            "strait_topic_aliases",
            "Bytes of topics that have aliases.",
            bytes,
            [((), self.total.alias_bytes)],
        )?;
        out.gauges(
            "strait_receipts_waiting",
            "Publications whose publisher waits for other cores' word.",
            None,
            [((), self.total.n_tickets)],
        )
    }

    fn latencies(&self, out: &mut Out<'_>) -> fmt::Result {
        let latencies = &self.snapshot.latencies;
        let by_direction = Direction::ALL.map(|it| (("direction", it.name()), latencies.of(it)));
        out.histograms(
            "strait_delivery_latency",
            "From the read of the publisher's socket to the write of the subscriber's.",
            by_direction,
        )?;
        out.histograms(
            "strait_mail_latency",
            "From a batch's posting on one core to its taking on another.",
            [((), &latencies.mail)],
        )
    }
}

/// Why connections are turned away, in the order in which that is counted.
const TURNED_AWAY: [&str; N_TURNED_AWAY] =
    ["limit", "listener_limit", "address_limit", "address_rate", "no_descriptor"];

type Labelled = ((&'static str, &'static str), u64);

fn by_protocol(values: [u64; ProtocolKind::COUNT]) -> [Labelled; ProtocolKind::COUNT] {
    ProtocolKind::ALL.map(|protocol| (("protocol", protocol.name()), values[protocol as usize]))
}

fn by_direction(values: [u64; Direction::COUNT]) -> [Labelled; Direction::COUNT] {
    Direction::ALL.map(|direction| (("direction", direction.name()), values[direction.idx()]))
}

/// Labels of one sample: none, or one with its value.
trait Label: fmt::Debug {
    fn pair(&self) -> Option<(&str, &str)>;
}

impl Label for () {
    fn pair(&self) -> Option<(&str, &str)> {
        None
    }
}

impl Label for (&'static str, &'static str) {
    fn pair(&self) -> Option<(&str, &str)> {
        Some(*self)
    }
}

impl Label for (&'static str, String) {
    fn pair(&self) -> Option<(&str, &str)> {
        Some((self.0, &self.1))
    }
}

/// Writes families.
struct Out<'e>(DescriptorEncoder<'e>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, None, [((), value)])
    }

    fn counters<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(label, value)| (label, ConstCounter::new(value)));
        self.family(name, help, unit, MetricType::Counter, samples)
    }

    fn gauges<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(label, value)| (label, ConstGauge::new(value)));
        self.family(name, help, unit, MetricType::Gauge, samples)
    }

    fn per_core(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        shown: &Shown,
        value: impl Fn(&CoreSnapshot) -> u64,
    ) -> fmt::Result {
        let cores = shown.snapshot.cores.iter().enumerate();
        self.gauges(name, help, unit, cores.map(|(idx, core)| (("core", idx.to_string()), value(core))))
    }

    fn histograms<'l, L: Label>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, &'l Latency)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(label, latency)| (label, Buckets(latency)));
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram, samples)
    }

    fn family<L: Label, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (label, metric) in samples {
            match label.pair() {
                Some(pair) => metric.encode(family.encode_family(&[pair])?)?,
                None => metric.encode(family.encode_family(&NO_LABELS)?)?,
            }
        }
        Ok(())
    }
}

const NO_LABELS: [(&str, &str); 0] = [];

/// A latency as a classic histogram.
struct Buckets<'l>(&'l Latency);

impl Buckets<'_> {
    /// How many recordings each bound adds to the one before, and those beyond the last. A recording counts
    /// below a bound where all that it may stand for is: to a part in a hundred of the bound.
    fn counts(&self) -> Vec<(f64, u64)> {
        let histogram = self.0.histogram();
        let mut buckets: Vec<(f64, u64)> = BOUNDS.iter().map(|&bound| (bound as f64 * NANOS, 0)).collect();
        buckets.push((f64::INFINITY, 0));
        for recorded in histogram.iter_recorded() {
            let highest = histogram.highest_equivalent(recorded.value_iterated_to());
            let bucket_idx = BOUNDS.partition_point(|&bound| bound < highest);
            buckets[bucket_idx].1 += recorded.count_since_last_iteration();
        }
        buckets
    }
}

impl EncodeMetric for Buckets<'_> {
    fn encode(&self, mut encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        let sum = self.0.sum_nanos() as f64 * NANOS;
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, self.0.histogram().len(), &self.counts(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn every_recording_is_in_the_first_bucket_that_holds_all_it_may_stand_for() {
        let mut latency = Latency::default();
        for (nanos, n) in [(0, 1), (900, 2), (2_400, 3), (9_000_000_000, 4), (30_000_000_000, 5)] {
            latency.record(Time::from_nanos(nanos).since(Time::START), n);
        }
        let counts = Buckets(&latency).counts();
        let filled = counts.iter().enumerate().filter(|(_, it)| it.1 > 0).map(|(idx, it)| (idx, it.1));
        assert_eq!(filled.collect::<Vec<_>>(), [(0, 3), (1, 3), (21, 4), (22, 5)]);
        assert_eq!(counts.iter().map(|it| it.1).sum::<u64>(), latency.histogram().len());
    }
}
