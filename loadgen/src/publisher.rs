//! One publisher: how much it may send now, numbering, and the acknowledgements of QoS 1 and 2. Not its socket.

use std::sync::atomic::Ordering;

use crate::frame::{Batch, Mark};
use crate::payload::Header;
use crate::plan::{Plan, Protocol};
use crate::schedule::Schedule;
use crate::shared::Shared;

/// Sent this much later than intended counts as late.
const LATE_NS: u64 = 1_000_000;

/// How publishers are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// At most so many messages under way per publisher.
    Lag(u64),
    /// All publishers together.
    Rate { per_second: f64, ramp_ns: u64 },
    /// As fast as the sockets take it.
    Flood,
}

pub struct Publisher {
    pub idx: usize,
    pub batch: Batch,
    pub sent: u64,
    /// No more than this; `u64::MAX` without `--msgs`.
    pub quota: u64,
    /// Starts so long after the run does (the ramp of a closed loop).
    pub delay_ns: u64,
    /// Its place among all publishers, for the schedule of an open loop.
    turn: u64,
    turns: u64,
    pace: Pace,
    /// The slowest subscriber at the last look.
    slowest: usize,
    least: u64,
    subject: usize,
    n_subjects: usize,
    first_subject: usize,
    step: usize,
    /// By destination.
    sequences: Vec<u64>,
    ids: PacketIds,
    pub late: u64,
}

impl Publisher {
    pub fn new(plan: &Plan, idx: usize, publishers_here: usize, pace: Pace) -> Publisher {
        let (first_subject, step, n_subjects) = plan.subjects_of(idx);
        let has_ids = plan.from != Protocol::Nats && plan.qos > 0;
        Publisher {
            idx,
            batch: Batch::new(plan, idx, publishers_here),
            sent: 0,
            quota: u64::MAX,
            delay_ns: 0,
            turn: idx as u64,
            turns: plan.publishers as u64,
            pace,
            slowest: 0,
            least: 0,
            subject: 0,
            n_subjects,
            first_subject,
            step,
            sequences: vec![0; plan.destinations()],
            ids: PacketIds::new(if has_ids { plan.window } else { 0 }),
            late: 0,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.sent >= self.quota
    }

    /// How many messages may leave now.
    pub fn room(&mut self, plan: &Plan, shared: &Shared, since_start: u64) -> u64 {
        let Some(running) = since_start.checked_sub(self.delay_ns) else { return 0 };
        let allowed = match self.pace {
            Pace::Flood => u64::MAX,
            Pace::Lag(lag) => {
                let under_way = self.sent - self.received(plan, shared).min(self.sent);
                let room = lag.saturating_sub(under_way);
                // A quarter at a time: small change would cost the server more than messages do.
                if room < lag.div_ceil(4) { 0 } else { room }
            }
            Pace::Rate { per_second, ramp_ns } => {
                let due = Schedule::new(per_second, ramp_ns).due(running);
                let mine = due.saturating_sub(self.turn).div_ceil(self.turns);
                mine.saturating_sub(self.sent)
            }
        };
        let ids = if self.ids.is_used() { self.ids.n_free() } else { u64::MAX };
        allowed.min(self.quota - self.sent).min(ids)
    }

    /// When the next message is due in an open loop.
    pub fn next_due(&self) -> Option<u64> {
        let Pace::Rate { per_second, ramp_ns } = self.pace else { return None };
        let n = self.sent * self.turns + self.turn;
        (!self.is_finished()).then(|| Schedule::new(per_second, ramp_ns).time_of(n))
    }

    /// Messages that every subscriber has which must get them.
    fn received(&mut self, plan: &Plan, shared: &Shared) -> u64 {
        let n = plan.receipts_per_publisher();
        let mine = &shared.receipts[self.idx * n..(self.idx + 1) * n];
        if plan.copies() == 1 {
            return mine.iter().map(|receipts| receipts.load(Ordering::Acquire)).sum();
        }
        // Nobody can have fewer than the slowest had, as long as that one has got nothing more.
        if mine.get(self.slowest).is_some_and(|receipts| receipts.load(Ordering::Acquire) == self.least) {
            return self.least;
        }
        let counts = mine.iter().map(|receipts| receipts.load(Ordering::Acquire)).enumerate();
        (self.slowest, self.least) = counts.min_by_key(|(_, receipts)| *receipts).unwrap_or((0, u64::MAX));
        self.least
    }

    /// Puts `n` messages into the batch. In an open loop each carries the time it was meant for.
    pub fn fill(&mut self, n: u64, plan: &Plan, shared: &Shared, now: u64, was_blocked: bool) {
        let stamp = shared.clock.stamp(now);
        let schedule = match self.pace {
            Pace::Rate { per_second, ramp_ns } => Some(Schedule::new(per_second, ramp_ns)),
            _ => None,
        };
        let started = shared.started() + self.delay_ns;
        let (turn, turns, base) = (self.turn, self.turns, self.sent);
        let (n_subjects, first, step) = (self.n_subjects, self.first_subject, self.step);
        let (mut k, mut late) = (0, 0);
        let Publisher { batch, subject, sequences, ids, idx, .. } = self;
        let flow_base = *idx * plan.destinations();
        batch.fill(n as usize, || {
            let time = schedule.map_or(stamp, |schedule| {
                let intended = started + schedule.time_of((base + k) * turns + turn);
                late += u64::from(!was_blocked && now.saturating_sub(intended) > LATE_NS);
                shared.clock.stamp(intended)
            });
            k += 1;
            let mine = *subject;
            *subject = if mine + 1 == n_subjects { 0 } else { mine + 1 };
            let destination = plan.destination_of(first + mine * step);
            let sequence = sequences[destination];
            sequences[destination] = sequence + 1;
            let flow = (flow_base + destination) as u32;
            let words = Header { run: plan.run, flow, sequence, time }.words();
            Mark { words, id: ids.take(), subject: mine }
        });
        self.late += late;
        self.sent += n;
        shared.sent[self.idx].store(self.sent, Ordering::Release);
    }

    /// An acknowledgement of QoS 1 or the last of QoS 2. False if nothing was waiting for it.
    pub fn acknowledged(&mut self, id: u16) -> bool {
        self.ids.free(id)
    }

    pub fn window(&mut self, receive_max: u16) {
        self.ids.limit(receive_max);
    }
}

/// The packet ids of messages under way: at most the window, and none twice.
struct PacketIds {
    free: Vec<u16>,
    /// By id.
    is_taken: Vec<bool>,
    n_max: usize,
}

impl PacketIds {
    fn new(window: u16) -> PacketIds {
        let n_max = usize::from(window);
        PacketIds { free: (1..=window).rev().collect(), is_taken: vec![false; n_max + 1], n_max }
    }

    fn is_used(&self) -> bool {
        self.n_max > 0
    }

    fn n_free(&self) -> u64 {
        self.free.len() as u64
    }

    /// 0 where messages carry none.
    fn take(&mut self) -> u16 {
        let id = self.free.pop().unwrap_or(0);
        self.is_taken[usize::from(id)] = id > 0;
        id
    }

    fn free(&mut self, id: u16) -> bool {
        let was_taken = self.is_taken.get_mut(usize::from(id)).is_some_and(std::mem::take);
        if was_taken {
            self.free.push(id);
        }
        was_taken
    }

    /// A server that allows fewer says so before any is taken.
    fn limit(&mut self, receive_max: u16) {
        self.free.retain(|id| *id <= receive_max);
        self.n_max = self.free.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::plan::Shape;

    const SECOND: u64 = 1_000_000_000;

    fn publishers(n: usize, subscribers: usize, pace: Pace) -> (Plan, Shared, Vec<Publisher>) {
        let plan = Plan {
            from: Protocol::Nats,
            to: Protocol::Nats,
            publishers: n,
            subscribers,
            subjects: 1,
            shape: Shape::All,
            is_wild: false,
            prefix: "bench".into(),
            first: 0,
            group: "g".into(),
            size: 16,
            qos: 0,
            window: 1,
            run: 1,
        };
        let receipts = plan.receipts_per_publisher();
        let shared = Shared::new(Clock::start(), 1, n, receipts).expect("there are descriptors");
        let all = (0..n).map(|idx| Publisher::new(&plan, idx, n, pace)).collect();
        (plan, shared, all)
    }

    #[test]
    fn a_closed_loop_waits_for_the_slowest_subscriber() {
        let (plan, shared, mut all) = publishers(1, 2, Pace::Lag(100));
        let publisher = &mut all[0];
        assert_eq!(publisher.room(&plan, &shared, 0), 100);
        publisher.fill(100, &plan, &shared, 0, false);
        shared.receipts[0].store(100, Ordering::Release);
        assert_eq!(publisher.room(&plan, &shared, 0), 0, "the other one has nothing yet");
        shared.receipts[1].store(10, Ordering::Release);
        assert_eq!(publisher.room(&plan, &shared, 0), 0, "small change is not worth a write");
        shared.receipts[1].store(30, Ordering::Release);
        assert_eq!(publisher.room(&plan, &shared, 0), 30);
    }

    #[test]
    fn publishers_share_a_rate_and_no_message_is_forgotten() {
        let (plan, shared, mut all) = publishers(3, 1, Pace::Rate { per_second: 100.0, ramp_ns: 0 });
        let mut sent = 0;
        for step in 1..=10 {
            for publisher in &mut all {
                let n = publisher.room(&plan, &shared, step * SECOND / 10);
                publisher.fill(n, &plan, &shared, step * SECOND / 10, false);
                sent += n;
            }
        }
        // The first is due at once and the last at the very end.
        assert!((100..=101).contains(&sent), "{sent}");
        assert!(all.iter().all(|publisher| publisher.next_due() >= Some(SECOND)));
    }

    #[test]
    fn what_leaves_late_counts_as_late_unless_the_server_kept_it_waiting() {
        let (plan, shared, mut all) = publishers(1, 1, Pace::Rate { per_second: 1000.0, ramp_ns: 0 });
        let n = all[0].room(&plan, &shared, SECOND);
        all[0].fill(n, &plan, &shared, SECOND, true);
        assert_eq!(all[0].late, 0);
        let n = all[0].room(&plan, &shared, 2 * SECOND);
        all[0].fill(n, &plan, &shared, 2 * SECOND, false);
        assert!(all[0].late > 900, "{}", all[0].late);
    }

    #[test]
    fn a_quota_is_not_exceeded_and_a_delay_is_kept() {
        let (plan, shared, mut all) = publishers(1, 1, Pace::Flood);
        let publisher = &mut all[0];
        (publisher.quota, publisher.delay_ns) = (5, 10);
        assert_eq!(publisher.room(&plan, &shared, 9), 0);
        assert_eq!(publisher.room(&plan, &shared, 10), 5);
        publisher.fill(5, &plan, &shared, 10, false);
        assert!(publisher.is_finished() && publisher.room(&plan, &shared, 10) == 0);
        assert_eq!(publisher.batch.pending().len(), 5 * b"PUB bench.0 16\r\n0123456789012345\r\n".len());
    }
}
