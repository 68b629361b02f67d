//! Messages of QoS 1 towards one client: the identifiers under way, within the window that the client's
//! Receive Maximum opens, and the bounded queue of those that wait for it. Not persistent: nothing is sent
//! again, so what is under way keeps only its identifier.

use crate::message::Origin;
use bytes::Bytes;
use std::collections::VecDeque;

/// The outgoing side of a session.
#[derive(Debug)]
pub struct Inflight {
    /// Unacknowledged messages that the client accepts at once. `n_unacknowledged <= window`.
    window: u16,
    n_unacknowledged: u16,
    /// Identifiers from `first_id` on, in order; true where the acknowledgement came before an older one's.
    acknowledged: VecDeque<bool>,
    first_id: u16,
    waiting: VecDeque<Waiting>,
    n_waiting_bytes: usize,
}

/// A frame without its identifier.
#[derive(Debug)]
pub struct Waiting {
    pub head: Box<[u8]>,
    /// Where in `head` the identifier goes.
    pub packet_id_at: usize,
    pub payload: Bytes,
    pub origin: Origin,
}

impl Waiting {
    pub fn n_bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

impl Inflight {
    pub fn new(window: u16) -> Self {
        Self {
            window: window.max(1),
            n_unacknowledged: 0,
            acknowledged: VecDeque::new(),
            first_id: 1,
            waiting: VecDeque::new(),
            n_waiting_bytes: 0,
        }
    }

    /// Whether one more may leave.
    pub fn is_open(&self) -> bool {
        // An identifier is not used again while an older one is under way.
        self.n_unacknowledged < self.window && self.acknowledged.len() < usize::from(u16::MAX)
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn n_waiting_bytes(&self) -> usize {
        self.n_waiting_bytes
    }

    /// The identifier of a message that leaves now. [MQTT-2.2.1-4]
    pub fn begin(&mut self) -> u16 {
        debug_assert!(self.is_open());
        let id = nth_id_after(self.first_id, self.acknowledged.len());
        self.acknowledged.push_back(false);
        self.n_unacknowledged += 1;
        id
    }

    /// Notes a PUBACK; false where no such message is under way.
    pub fn acknowledge(&mut self, id: u16) -> bool {
        let place = usize::from(distance(self.first_id, id));
        match self.acknowledged.get_mut(place) {
            Some(acknowledged) if id != 0 && !*acknowledged => *acknowledged = true,
            _ => return false,
        }
        self.n_unacknowledged -= 1;
        while let Some(true) = self.acknowledged.front() {
            self.acknowledged.pop_front();
            self.first_id = nth_id_after(self.first_id, 1);
        }
        if self.acknowledged.is_empty() {
            self.acknowledged = VecDeque::new();
        }
        true
    }

    /// Keeps a message until the window opens.
    pub fn wait(&mut self, waiting: Waiting) {
        self.n_waiting_bytes += waiting.n_bytes();
        self.waiting.push_back(waiting);
    }

    /// The message that has waited longest.
    pub fn next_waiting(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.n_waiting_bytes -= waiting.n_bytes();
        Some(waiting)
    }

    /// Drops what waits, and says how many bytes it was.
    pub fn forget_waiting(&mut self) -> usize {
        self.waiting = VecDeque::new();
        std::mem::take(&mut self.n_waiting_bytes)
    }
}

/// Identifiers go round from 65,535 to 1.
fn nth_id_after(id: u16, n: usize) -> u16 {
    ((usize::from(id) - 1 + n) % usize::from(u16::MAX) + 1) as u16
}

fn distance(from: u16, to: u16) -> u16 {
    let round = u32::from(u16::MAX);
    ((u32::from(to) + round - u32::from(from)) % round) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ProtocolKind;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn identifiers_under_way_are_distinct_and_within_the_window(
            steps in proptest::collection::vec((any::<bool>(), 0usize..8), 0..300),
            window in 1u16..10,
            first_id in prop_oneof![Just(1u16), Just(65_530)],
        ) {
            let mut inflight = Inflight { first_id, ..Inflight::new(window) };
            let mut under_way = BTreeSet::new();
            for (begin, nth) in steps {
                if begin && inflight.is_open() {
                    let id = inflight.begin();
                    prop_assert!(id != 0 && under_way.insert(id));
                } else if let Some(&id) = under_way.iter().nth(nth) {
                    under_way.remove(&id);
                    prop_assert!(inflight.acknowledge(id));
                    prop_assert!(!inflight.acknowledge(id));
                }
                prop_assert!(under_way.len() <= usize::from(window));
                prop_assert!(!inflight.acknowledge(0));
            }
        }
    }

    #[test]
    fn messages_wait_in_order_and_their_bytes_are_counted() {
        let mut inflight = Inflight::new(1);
        for n in 0..3 {
            inflight.wait(Waiting {
                head: vec![n; 10].into(),
                packet_id_at: 0,
                payload: Bytes::from_static(b"xx"),
                origin: Origin { protocol: ProtocolKind::Nats, read_at: Default::default() },
            });
        }
        assert_eq!(inflight.n_waiting_bytes(), 36);
        assert_eq!(inflight.next_waiting().map(|waiting| waiting.head.first().copied()), Some(Some(0)));
        assert_eq!((inflight.n_waiting(), inflight.n_waiting_bytes()), (2, 24));
    }
}
