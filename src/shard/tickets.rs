//! Publications whose publisher waits to hear who took them: a PUBACK, or the 503 of a request. One ticket
//! counts the answers that are still to come from other cores.

use super::id::ConnectionId;
use std::collections::VecDeque;

/// A publication under way.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    pub connection: ConnectionId,
    pub purpose: Purpose,
    /// Whether somebody took it, as far as is known.
    pub is_taken: bool,
    /// Cores that were mailed from here and have not acknowledged.
    n_acknowledgements_due: u32,
    /// Cores to which another one passed it on, less those that have answered. An answer may come before
    /// the word that it was passed on: below 0 until then.
    n_forwarded_due: i32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Purpose {
    /// PUBACK or PUBREC.
    Receipt,
    /// What the 503 needs if nobody took the request.
    NoResponders { reply: Box<[u8]>, subject: Box<[u8]> },
    /// Where a NATS publisher hears that the gateway has taken responsibility.
    Acknowledgement { reply: Box<[u8]> },
}

/// The tickets of one core, by number.
#[derive(Debug, Default)]
pub struct Tickets {
    first: u64,
    open: VecDeque<Option<Ticket>>,
}

impl Tickets {
    /// The number that the next ticket will have.
    pub fn next(&self) -> u64 {
        self.first + self.open.len() as u64
    }

    /// Opens a ticket for a publication mailed to `n_mailed > 0` cores.
    pub fn open(&mut self, connection: ConnectionId, purpose: Purpose, is_taken: bool, n_mailed: u32) -> u64 {
        let number = self.next();
        let ticket =
            Ticket { connection, purpose, is_taken, n_acknowledgements_due: n_mailed, n_forwarded_due: 0 };
        self.open.push_back(Some(ticket));
        number
    }

    /// A core that was mailed has passed it on to one more.
    pub fn expect_forwarded(&mut self, number: u64) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.n_forwarded_due += 1;
        }
    }

    /// It was passed on to this core, which has mailed it to another.
    pub fn took_over(&mut self, number: u64) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.n_forwarded_due -= 1;
            ticket.n_acknowledgements_due += 1;
        }
    }

    /// Notes the acknowledgement of a core that was mailed; the ticket comes back with the last answer.
    pub fn answered(&mut self, number: u64, is_taken: bool) -> Option<Ticket> {
        let ticket = self.get_mut(number)?;
        ticket.is_taken |= is_taken;
        ticket.n_acknowledgements_due -= 1;
        self.close_if_done(number)
    }

    /// Notes the answer of a core to which it was passed on; the ticket comes back with the last answer.
    pub fn settled(&mut self, number: u64, is_taken: bool) -> Option<Ticket> {
        let ticket = self.get_mut(number)?;
        ticket.is_taken |= is_taken;
        ticket.n_forwarded_due -= 1;
        self.close_if_done(number)
    }

    pub fn is_open(&self, number: u64) -> bool {
        let place = number.checked_sub(self.first);
        place.is_some_and(|place| matches!(self.open.get(place as usize), Some(Some(_))))
    }

    /// The publisher's session has another connection now.
    pub fn readdress(&mut self, number: u64, connection: ConnectionId) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.connection = connection;
        }
    }

    fn close_if_done(&mut self, number: u64) -> Option<Ticket> {
        let ticket = self.get_mut(number)?;
        if ticket.n_acknowledgements_due > 0 || ticket.n_forwarded_due != 0 {
            return None;
        }
        let place = (number - self.first) as usize;
        let ticket = self.open[place].take();
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.first += 1;
        }
        ticket
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.iter().flatten().count()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Ticket> {
        let place = number.checked_sub(self.first)?;
        self.open.get_mut(place as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTION: ConnectionId = ConnectionId { slot: 0, generation: 0 };

    #[test]
    fn a_ticket_closes_with_its_last_answer() {
        let mut tickets = Tickets::default();
        let first = tickets.open(CONNECTION, Purpose::Receipt, false, 1);
        let second = tickets.open(CONNECTION, Purpose::Receipt, false, 2);
        assert_eq!(tickets.answered(second, true), None);
        assert!(tickets.answered(second, false).unwrap().is_taken);
        assert_eq!(tickets.answered(second, true), None);
        assert_eq!(tickets.len(), 1);
        assert!(!tickets.answered(first, false).unwrap().is_taken);
        assert!(tickets.is_empty());
        assert_eq!(tickets.next(), 2);
    }

    #[test]
    fn an_answer_that_comes_before_the_word_of_its_forwarding_closes_nothing() {
        let mut tickets = Tickets::default();
        let ticket = tickets.open(CONNECTION, Purpose::Receipt, false, 1);
        assert_eq!(tickets.settled(ticket, false), None);
        tickets.expect_forwarded(ticket);
        assert!(tickets.answered(ticket, true).unwrap().is_taken);
    }

    #[test]
    fn what_comes_back_to_its_origin_and_goes_on_is_acknowledged_like_a_first_mail() {
        let mut tickets = Tickets::default();
        let ticket = tickets.open(CONNECTION, Purpose::Receipt, false, 1);
        tickets.expect_forwarded(ticket);
        assert_eq!(tickets.answered(ticket, false), None);
        tickets.took_over(ticket);
        assert!(tickets.answered(ticket, true).unwrap().is_taken);
    }
}
