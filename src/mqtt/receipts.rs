//! The acknowledgements that one client is owed, in the order of its publishes: a PUBACK or PUBREC leaves
//! only after those before it, however the cores answer [MQTT-4.6.0-2] [MQTT-4.6.0-3]; and the QoS 2
//! publishes of which it has not said PUBREL.

use crate::mqtt::change::{Change, Diary};
use crate::mqtt::packet::Qos;
use crate::mqtt::reason::Reason;
use std::collections::{BTreeMap, VecDeque};

/// What is owed.
#[derive(Debug, Default)]
pub struct Receipts {
    queue: VecDeque<Receipt>,
}

#[derive(Clone, Copy, Debug)]
struct Receipt {
    packet_id: u16,
    /// Owed a PUBREC, not a PUBACK.
    is_exactly_once: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Cores have yet to answer for this ticket.
    Waiting(u64),
    Ready(Reason),
    /// What was in the way has a number, which is put in words only when the client is told.
    Refused(Reason, u8),
}

/// An acknowledgement that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub packet_id: u16,
    pub is_exactly_once: bool,
    pub reason: Reason,
    /// Of one that refuses: what was in the way.
    pub why: Option<u8>,
}

impl Receipts {
    /// How many are owed.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A publish that was taken everywhere at once.
    #[inline]
    pub fn owe_ready(&mut self, packet_id: u16, qos: Qos, reason: Reason) {
        self.owe(packet_id, qos, State::Ready(reason));
    }

    /// A publish that nobody gets; `why` is a number of the caller's for what was in the way.
    pub fn owe_refused(&mut self, packet_id: u16, qos: Qos, reason: Reason, why: u8) {
        self.owe(packet_id, qos, State::Refused(reason, why));
    }

    /// A publish whose ticket is open.
    pub fn owe_waiting(&mut self, packet_id: u16, qos: Qos, ticket: u64) {
        self.owe(packet_id, qos, State::Waiting(ticket));
    }

    #[inline]
    fn owe(&mut self, packet_id: u16, qos: Qos, state: State) {
        self.queue.push_back(Receipt { packet_id, is_exactly_once: qos == Qos::ExactlyOnce, state });
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

    /// The next acknowledgement that may leave.
    #[inline]
    pub fn next_ready(&mut self) -> Option<Ready> {
        let &Receipt { packet_id, is_exactly_once, state } = self.queue.front()?;
        let (reason, why) = match state {
            State::Waiting(_) => return None,
            State::Ready(reason) => (reason, None),
            State::Refused(reason, why) => (reason, Some(why)),
        };
        self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 4 {
            self.queue = VecDeque::new();
        }
        Some(Ready { packet_id, is_exactly_once, reason, why })
    }
}

/// The QoS 2 publishes that a client has not released, by identifier: one that comes again is not published
/// again. They outlive the connection. [MQTT-4.3.3-10]
#[derive(Debug, Default)]
pub struct Unreleased {
    flows: BTreeMap<u16, Flow>,
}

/// Who answers the publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// This connection's receipts have its PUBREC.
    Owed,
    /// It has had its PUBREC.
    Answered,
    /// Its connection ended before cores had answered for this ticket.
    Left(u64),
}

impl Unreleased {
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Notes that a PUBREC is owed, and says how the flow stood where it is known already. One that was
    /// answered once stays so.
    pub fn begin(&mut self, packet_id: u16) -> Option<Flow> {
        let known = self.flows.get(&packet_id).copied();
        if known != Some(Flow::Answered) {
            self.flows.insert(packet_id, Flow::Owed);
        }
        known
    }

    pub fn contains(&self, packet_id: u16) -> bool {
        self.flows.contains_key(&packet_id)
    }

    /// PUBREC leaves; one that refuses ends the flow. Whether it is the first. [MQTT-4.3.3-9]
    pub fn answered(&mut self, packet_id: u16, is_refused: bool) -> bool {
        if is_refused {
            self.flows.remove(&packet_id);
            return false;
        }
        let flow = self.flows.get_mut(&packet_id);
        flow.is_some_and(|flow| std::mem::replace(flow, Flow::Answered) != Flow::Answered)
    }

    /// A flow that was answered before the gateway began.
    pub fn restore(&mut self, packet_id: u16) {
        self.flows.insert(packet_id, Flow::Answered);
    }

    /// Says the flows that were answered: the others' publishes come again.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (packet_id, _) in self.flows.iter().filter(|(_, flow)| **flow == Flow::Answered) {
            Change::Received(*packet_id).write(out);
        }
    }

    /// PUBREL came, and the flow ends, if there is one.
    pub fn release(&mut self, packet_id: u16) -> Option<Flow> {
        self.flows.remove(&packet_id)
    }

    /// The connection is gone, and with it the answers it was owed: a client publishes again what was not
    /// acknowledged. Those whose message everybody has taken count as answered, and those that were to be
    /// refused are new when they come again.
    pub fn suspend(&mut self, receipts: Receipts, diary: &mut Diary) {
        for receipt in receipts.queue.into_iter().filter(|receipt| receipt.is_exactly_once) {
            let packet_id = receipt.packet_id;
            match receipt.state {
                State::Waiting(ticket) => {
                    self.flows.entry(packet_id).and_modify(|flow| *flow = Flow::Left(ticket));
                }
                State::Ready(reason) | State::Refused(reason, _) => {
                    if self.answered(packet_id, reason.is_failure()) {
                        diary.note(&Change::Received(packet_id));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_leave_in_the_order_of_their_publishes() {
        let mut receipts = Receipts::default();
        receipts.owe_waiting(7, Qos::AtLeastOnce, 100);
        receipts.owe_ready(8, Qos::ExactlyOnce, Reason::Success);
        receipts.owe_waiting(9, Qos::AtLeastOnce, 101);
        assert_eq!(receipts.next_ready(), None);
        receipts.settle(101, Reason::NoMatchingSubscribers);
        assert_eq!(receipts.next_ready(), None);
        receipts.settle(100, Reason::Success);
        let ready = |packet_id, is_exactly_once, reason| {
            Some(Ready { packet_id, is_exactly_once, reason, why: None })
        };
        assert_eq!(receipts.next_ready(), ready(7, false, Reason::Success));
        assert_eq!(receipts.next_ready(), ready(8, true, Reason::Success));
        assert_eq!(receipts.next_ready(), ready(9, false, Reason::NoMatchingSubscribers));
        assert!(receipts.is_empty());
    }

    // [MQTT-4.3.3-9]
    #[test]
    fn a_flow_of_qos_2_is_known_until_it_is_released_or_refused() {
        let (mut unreleased, mut receipts) = (Unreleased::default(), Receipts::default());
        for packet_id in 1..=3 {
            assert_eq!(unreleased.begin(packet_id), None);
        }
        unreleased.answered(1, false);
        unreleased.answered(2, true);
        receipts.owe_waiting(3, Qos::ExactlyOnce, 50);
        unreleased.suspend(receipts, &mut Diary::default());
        assert_eq!(unreleased.begin(1), Some(Flow::Answered));
        assert_eq!(unreleased.begin(2), None);
        assert_eq!(unreleased.begin(3), Some(Flow::Left(50)));
        // It was to be refused: when it comes again it is new.
        let mut receipts = Receipts::default();
        receipts.owe_ready(3, Qos::ExactlyOnce, Reason::QuotaExceeded);
        unreleased.suspend(receipts, &mut Diary::default());
        assert_eq!(unreleased.begin(3), None);
        assert_eq!((unreleased.release(1), unreleased.release(1)), (Some(Flow::Answered), None));
    }
}
