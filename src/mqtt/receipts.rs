//! The acknowledgements that one client is owed, in the order of its publishes: a PUBACK leaves only after
//! those before it, however the cores answer. [MQTT-4.6.0-2]

use crate::mqtt::reason::Reason;
use std::collections::VecDeque;

/// What is owed.
#[derive(Debug, Default)]
pub struct Receipts {
    queue: VecDeque<Receipt>,
}

#[derive(Debug)]
struct Receipt {
    packet_id: u16,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Cores have yet to answer for this ticket.
    Waiting(u64),
    Ready(Reason),
}

impl Receipts {
    /// How many are owed.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A publish that was taken everywhere at once.
    pub fn owe_ready(&mut self, packet_id: u16, reason: Reason) {
        self.queue.push_back(Receipt { packet_id, state: State::Ready(reason) });
    }

    /// A publish whose ticket is open.
    pub fn owe_waiting(&mut self, packet_id: u16, ticket: u64) {
        self.queue.push_back(Receipt { packet_id, state: State::Waiting(ticket) });
    }

    /// The last answer for `ticket` came.
    pub fn settle(&mut self, ticket: u64, reason: Reason) {
        // Tickets close nearly in order, so the search ends at once.
        let waiting =
            |receipt: &&mut Receipt| matches!(receipt.state, State::Waiting(number) if number == ticket);
        if let Some(receipt) = self.queue.iter_mut().find(waiting) {
            receipt.state = State::Ready(reason);
        }
    }

    /// The next PUBACK that may leave.
    pub fn next_ready(&mut self) -> Option<(u16, Reason)> {
        let &Receipt { packet_id, state: State::Ready(reason) } = self.queue.front()? else { return None };
        self.queue.pop_front();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some((packet_id, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_leave_in_the_order_of_their_publishes() {
        let mut receipts = Receipts::default();
        receipts.owe_waiting(7, 100);
        receipts.owe_ready(8, Reason::Success);
        receipts.owe_waiting(9, 101);
        assert_eq!(receipts.next_ready(), None);
        receipts.settle(101, Reason::NoMatchingSubscribers);
        assert_eq!(receipts.next_ready(), None);
        receipts.settle(100, Reason::Success);
        assert_eq!(receipts.next_ready(), Some((7, Reason::Success)));
        assert_eq!(receipts.next_ready(), Some((8, Reason::Success)));
        assert_eq!(receipts.next_ready(), Some((9, Reason::NoMatchingSubscribers)));
        assert!(receipts.is_empty());
    }
}
