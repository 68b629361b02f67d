//! One subscriber: what it gets, from whom, and whether it is new. Not its socket.

use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;

use crate::payload::{self, Header};
use crate::plan::{Plan, Shape};
use crate::seen::{Arrival, Seen};
use crate::shared::Shared;

/// What one turn's messages are counted into.
pub struct Tally<'a> {
    pub shared: &'a Shared,
    pub plan: &'a Plan,
    /// `Clock::stamp` of this turn.
    pub stamp: u64,
    pub latency: &'a mut Histogram<u64>,
    /// Of a queue group, whose members share it; by publisher.
    pub group: &'a mut [GroupFlow],
    pub received: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub foreign: u64,
    run_of_equals: (u64, u64),
}

impl<'a> Tally<'a> {
    pub fn new(
        shared: &'a Shared,
        plan: &'a Plan,
        stamp: u64,
        latency: &'a mut Histogram<u64>,
        group: &'a mut [GroupFlow],
    ) -> Tally<'a> {
        Tally {
            shared,
            plan,
            stamp,
            latency,
            group,
            received: 0,
            duplicates: 0,
            reordered: 0,
            foreign: 0,
            run_of_equals: (0, 0),
        }
    }

    /// Messages of one batch were sent at one time and are read at one time: they are recorded as one.
    #[inline]
    fn record(&mut self, time: u64) {
        if self.run_of_equals.0 == time {
            self.run_of_equals.1 += 1;
        } else {
            self.flush();
            self.run_of_equals = (time, 1);
        }
    }

    pub fn flush(&mut self) {
        let (time, n) = self.run_of_equals;
        if n > 0 {
            self.latency.saturating_record_n(payload::elapsed(time, self.stamp).max(1), n);
        }
        self.run_of_equals = (0, 0);
    }
}

#[derive(Default)]
pub struct GroupFlow {
    seen: Seen,
    new: u64,
}

#[derive(Default)]
struct Flow {
    seen: Seen,
    /// One more than the highest number so far.
    above: u64,
    new: u64,
}

pub struct Subscriber {
    pub idx: usize,
    flows: Vec<Flow>,
    first_publisher: usize,
    destination: u32,
    destinations: u32,
    is_in_group: bool,
    /// The flow of the last message, whose count the others have not been told yet.
    current: usize,
    /// Takes messages of any run, from processes that it knows nothing of.
    is_alone: bool,
    run: Option<u16>,
    /// The control line of the last message, by which the next is recognised.
    pub line: Vec<u8>,
    /// Packet ids of QoS 2 messages that were taken and not released.
    unreleased: Vec<u64>,
}

/// Flows that a subscriber keeps apart when it does not know the publishers.
const UNKNOWN_FLOWS_MAX: usize = 1 << 20;

impl Subscriber {
    pub fn new(plan: &Plan, idx: usize) -> Subscriber {
        let is_alone = plan.publishers == 0;
        let (publishers, destination) = plan.publishers_of(idx);
        let first_publisher = if is_alone { 0 } else { publishers.start };
        let n_flows = if is_alone { 0 } else { publishers.len() };
        Subscriber {
            idx,
            flows: (0..n_flows).map(|_| Flow::default()).collect(),
            first_publisher,
            destination: destination as u32,
            destinations: plan.destinations() as u32,
            is_in_group: plan.shape == Shape::Queue && !is_alone,
            current: 0,
            is_alone,
            run: (!is_alone).then_some(plan.run),
            line: Vec::new(),
            unreleased: Vec::new(),
        }
    }

    #[inline]
    pub fn message(&mut self, payload: &[u8], tally: &mut Tally<'_>) {
        let Some(header) = Header::read(payload) else {
            self.strange(tally);
            return;
        };
        if self.run != Some(header.run) && !self.joins(header.run) {
            tally.foreign += 1;
            return;
        }
        let (publisher, destination) = match self.destinations {
            1 => (header.flow, 0),
            n => (header.flow / n, header.flow % n),
        };
        let at = (publisher as usize).wrapping_sub(self.first_publisher);
        if destination != self.destination || (at >= self.flows.len() && !self.learns(at, header.sequence)) {
            tally.foreign += 1;
            return;
        }
        if at != self.current {
            self.tell(tally.shared, tally.plan);
            self.current = at;
        }
        tally.received += 1;
        let flow = &mut self.flows[at];
        let is_behind = header.sequence < flow.above;
        let arrival = if self.is_in_group {
            let group = &mut tally.group[at];
            let arrival = group.seen.arrive(header.sequence);
            group.new += u64::from(arrival == Arrival::New);
            arrival
        } else {
            flow.seen.arrive(header.sequence)
        };
        if arrival == Arrival::New {
            flow.new += 1;
            tally.reordered += u64::from(is_behind);
            tally.record(header.time);
        } else {
            tally.duplicates += 1;
        }
        if !is_behind {
            flow.above = header.sequence + 1;
        }
        if self.is_in_group {
            let n = tally.group[at].new;
            tally.shared.receipts[at].store(n, Ordering::Release);
        }
    }

    /// A payload without our header: with nobody known to publish, it counts and that is all.
    fn strange(&mut self, tally: &mut Tally<'_>) {
        if self.is_alone {
            tally.received += 1;
        } else {
            tally.foreign += 1;
        }
    }

    #[cold]
    fn joins(&mut self, run: u16) -> bool {
        if self.is_alone {
            self.run = Some(run);
            self.flows.clear();
        }
        self.is_alone
    }

    /// A publisher of another process: it may have begun long ago.
    #[cold]
    fn learns(&mut self, at: usize, sequence: u64) -> bool {
        if !self.is_alone || at >= UNKNOWN_FLOWS_MAX {
            return false;
        }
        self.flows.resize_with(at + 1, Flow::default);
        self.flows[at].seen = Seen::starting_at(sequence);
        true
    }

    /// Lets the publishers know how far this subscriber is.
    pub fn tell(&self, shared: &Shared, plan: &Plan) {
        if self.is_alone || self.is_in_group {
            return;
        }
        if let Some(flow) = self.flows.get(self.current) {
            let publisher = self.first_publisher + self.current;
            let at = publisher * plan.receipts_per_publisher() + plan.receipt_of(self.idx);
            shared.receipts[at].store(flow.new, Ordering::Release);
        }
    }

    /// False if this packet id was taken before and not released since: the same message again.
    pub fn takes_qos2(&mut self, id: u16) -> bool {
        let (word, bit) = (usize::from(id / 64), 1 << (id % 64));
        if word >= self.unreleased.len() {
            self.unreleased.resize(word + 1, 0);
        }
        let is_new = self.unreleased[word] & bit == 0;
        self.unreleased[word] |= bit;
        is_new
    }

    pub fn released(&mut self, id: u16) {
        if let Some(word) = self.unreleased.get_mut(usize::from(id / 64)) {
            *word &= !(1 << (id % 64));
        }
    }
}
