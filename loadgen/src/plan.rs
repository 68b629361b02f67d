//! Who publishes what, who receives it, and how flows are numbered. Pure: no socket, no clock.
//!
//! A *flow* is what one publisher sends to one set of subscribers; its sequence numbers have no gap. It is
//! numbered `publisher * destinations + destination`.

use crate::mqtt::Version;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Nats,
    Mqtt(Version),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Every subscriber gets every message.
    All,
    /// Publisher i, subject i, subscriber i.
    Pair,
    /// Each message to one member of a group that all subscribers form.
    Queue,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub from: Protocol,
    pub to: Protocol,
    pub publishers: usize,
    pub subscribers: usize,
    pub subjects: usize,
    pub shape: Shape,
    /// Subjects are reached by one wildcard filter each, spread over the subscribers.
    pub is_wild: bool,
    pub prefix: String,
    /// The number of the first subject.
    pub first: usize,
    pub group: String,
    pub size: usize,
    pub qos: u8,
    pub window: u16,
    pub run: u16,
}

impl Plan {
    /// Sets of subscribers that the messages of one publisher go to.
    pub fn destinations(&self) -> usize {
        if self.is_wild { self.subscribers.max(1) } else { 1 }
    }

    /// Counters of what was received, for each publisher.
    pub fn receipts_per_publisher(&self) -> usize {
        match self.shape {
            _ if self.is_wild => self.subscribers,
            Shape::All => self.subscribers,
            Shape::Pair | Shape::Queue => self.subscribers.min(1),
        }
    }

    /// Where in a publisher's counters this subscriber counts.
    pub fn receipt_of(&self, subscriber: usize) -> usize {
        if self.receipts_per_publisher() > 1 { subscriber } else { 0 }
    }

    /// Copies of a message that must arrive.
    pub fn copies(&self) -> u64 {
        match self.shape {
            _ if self.is_wild => 1,
            Shape::All => self.subscribers as u64,
            Shape::Pair | Shape::Queue => self.subscribers.min(1) as u64,
        }
    }

    /// The subjects that a publisher goes through: the first, the step, how many.
    pub fn subjects_of(&self, publisher: usize) -> (usize, usize, usize) {
        if self.publishers >= self.subjects {
            return (publisher % self.subjects, 1, 1);
        }
        let count = (self.subjects - publisher).div_ceil(self.publishers);
        (publisher, self.publishers, count)
    }

    /// The destination of a subject's messages.
    #[inline]
    pub fn destination_of(&self, subject: usize) -> usize {
        if self.is_wild { subject % self.destinations() } else { 0 }
    }

    /// The subjects whose filters a subscriber holds.
    pub fn filters_of(&self, subscriber: usize) -> impl Iterator<Item = usize> + use<> {
        let step = match self.shape {
            _ if self.is_wild => self.subscribers,
            Shape::Pair => self.subscribers,
            Shape::All | Shape::Queue => 1,
        };
        let first = if step == 1 { 0 } else { subscriber };
        (first..self.subjects).step_by(step)
    }

    /// The publishers whose messages a subscriber gets, and its destination among theirs.
    pub fn publishers_of(&self, subscriber: usize) -> (std::ops::Range<usize>, usize) {
        match self.shape {
            _ if self.is_wild => (0..self.publishers, subscriber),
            Shape::Pair => (subscriber..subscriber + 1, 0),
            Shape::All | Shape::Queue => (0..self.publishers, 0),
        }
    }

    pub fn subject(&self, protocol: Protocol, idx: usize) -> String {
        let number = self.first + idx;
        let name = if self.prefix.contains("%i") {
            self.prefix.replace("%i", &number.to_string())
        } else {
            format!("{}.{number}", self.prefix)
        };
        let name = if self.is_wild { format!("{name}.x") } else { name };
        spelled(protocol, &name)
    }

    pub fn filter(&self, idx: usize) -> String {
        let mut subject = self.subject(self.to, idx);
        if self.is_wild {
            subject.pop();
            subject.push(if self.to == Protocol::Nats { '*' } else { '+' });
        }
        match (self.shape, self.to) {
            (Shape::Queue, Protocol::Mqtt(_)) => format!("$share/{}/{subject}", self.group),
            _ => subject,
        }
    }

    pub fn queue(&self) -> Option<&str> {
        (self.shape == Shape::Queue).then_some(self.group.as_str())
    }

    /// Why this plan cannot be carried out, for the one who wrote the flags.
    pub fn check(&self) -> Result<(), String> {
        let is_both = self.publishers > 0 && self.subscribers > 0;
        if self.subjects == 0 {
            return Err("--subjects must be at least 1".into());
        }
        if is_both && self.shape == Shape::Pair && self.publishers != self.subscribers {
            return Err(format!(
                "--shape pair joins publisher i to subscriber i: --publishers {} and --subscribers {} must be equal",
                self.publishers, self.subscribers
            ));
        }
        if self.shape == Shape::Pair && self.subjects < self.publishers.max(self.subscribers) {
            return Err(format!(
                "--shape pair needs a subject for each pair: --subjects {} is fewer than {}",
                self.subjects,
                self.publishers.max(self.subscribers)
            ));
        }
        if self.is_wild && self.shape != Shape::All {
            return Err("--wildcards goes with --shape all only".into());
        }
        if self.is_wild && self.subjects < self.subscribers {
            return Err("--wildcards must be at least as many as --subscribers".into());
        }
        if self.publishers as u64 * self.destinations() as u64 > crate::payload::FLOWS_MAX {
            return Err(
                "more flows than the payload's header can number: fewer publishers or subscribers".into()
            );
        }
        Ok(())
    }
}

/// A name in a protocol's spelling: `/` and `.` change places as the gateway changes them.
pub fn spelled(protocol: Protocol, name: &str) -> String {
    match protocol {
        Protocol::Nats => name.replace('/', "."),
        Protocol::Mqtt(_) => name.replace('.', "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shape: Shape, publishers: usize, subscribers: usize, subjects: usize) -> Plan {
        let nats = Protocol::Nats;
        Plan {
            from: nats,
            to: nats,
            publishers,
            subscribers,
            subjects,
            shape,
            is_wild: false,
            prefix: "bench".into(),
            first: 0,
            group: "g".into(),
            size: 16,
            qos: 0,
            window: 100,
            run: 1,
        }
    }

    #[test]
    fn every_subject_has_a_publisher_and_every_publisher_a_subject() {
        for (publishers, subjects) in [(1, 1), (8, 1), (1, 8), (3, 8), (8, 3)] {
            let plan = plan(Shape::All, publishers, 1, subjects);
            let mut hit = vec![0; subjects];
            for publisher in 0..publishers {
                let (first, step, count) = plan.subjects_of(publisher);
                assert!(count > 0);
                (0..count).for_each(|k| hit[first + k * step] += 1);
            }
            assert!(hit.iter().all(|hits| *hits > 0), "{publishers} on {subjects}: {hit:?}");
        }
    }

    #[test]
    fn pairs_meet_on_their_own_subjects() {
        let plan = plan(Shape::Pair, 3, 3, 7);
        for i in 0..3 {
            let (first, step, count) = plan.subjects_of(i);
            let published: Vec<_> = (0..count).map(|k| first + k * step).collect();
            assert_eq!(published, plan.filters_of(i).collect::<Vec<_>>());
        }
        assert_eq!(plan.copies(), 1);
    }

    #[test]
    fn wildcards_are_spread_and_each_subject_has_one_receiver() {
        let mut plan = plan(Shape::All, 2, 3, 10);
        plan.is_wild = true;
        plan.to = Protocol::Mqtt(Version::V4);
        for subscriber in 0..3 {
            for subject in plan.filters_of(subscriber) {
                assert_eq!(plan.destination_of(subject), subscriber);
            }
        }
        assert_eq!(plan.subject(Protocol::Nats, 7), "bench.7.x");
        assert_eq!(plan.filter(7), "bench/7/+");
    }

    #[test]
    fn names_are_spelled_as_each_protocol_has_them() {
        let mut plan = plan(Shape::Queue, 1, 2, 1);
        plan.prefix = "site/%i/temp".into();
        plan.first = 100;
        assert_eq!(plan.subject(Protocol::Nats, 4), "site.104.temp");
        plan.to = Protocol::Mqtt(Version::V5);
        assert_eq!(plan.filter(4), "$share/g/site/104/temp");
    }

    #[test]
    fn plans_that_cannot_be_are_refused() {
        assert!(plan(Shape::Pair, 2, 3, 3).check().is_err());
        assert!(plan(Shape::Pair, 3, 3, 2).check().is_err());
        assert!(plan(Shape::All, 1, 1, 0).check().is_err());
        assert!(plan(Shape::All, 5000, 5000, 1).check().is_ok());
    }
}
