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
    n_answers_due: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Purpose {
    Puback,
    /// What the 503 needs if nobody took the request.
    NoResponders {
        reply: Box<[u8]>,
        subject: Box<[u8]>,
    },
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

    /// Opens a ticket that `n_answers_due > 0` cores will answer.
    pub fn open(
        &mut self,
        connection: ConnectionId,
        purpose: Purpose,
        is_taken: bool,
        n_answers_due: u32,
    ) -> u64 {
        let number = self.next();
        self.open.push_back(Some(Ticket { connection, purpose, is_taken, n_answers_due }));
        number
    }

    /// One core more will answer.
    pub fn expect_one_more(&mut self, number: u64) {
        if let Some(ticket) = self.get_mut(number) {
            ticket.n_answers_due += 1;
        }
    }

    /// Notes one core's answer; the ticket comes back with the last.
    pub fn answered(&mut self, number: u64, is_taken: bool) -> Option<Ticket> {
        let ticket = self.get_mut(number)?;
        ticket.is_taken |= is_taken;
        ticket.n_answers_due -= 1;
        if ticket.n_answers_due > 0 {
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

    #[test]
    fn a_ticket_closes_with_its_last_answer() {
        let mut tickets = Tickets::default();
        let connection = ConnectionId { slot: 0, generation: 0 };
        let first = tickets.open(connection, Purpose::Puback, false, 1);
        let second = tickets.open(connection, Purpose::Puback, false, 1);
        tickets.expect_one_more(second);
        assert_eq!(tickets.answered(second, true), None);
        assert!(tickets.answered(second, false).unwrap().is_taken);
        assert_eq!(tickets.answered(second, true), None);
        assert_eq!(tickets.len(), 1);
        assert!(!tickets.answered(first, false).unwrap().is_taken);
        assert!(tickets.is_empty());
        assert_eq!(tickets.next(), 2);
    }
}
