//! What is under way to a client, as the changes that make it anew, and made of them.

use super::{Inflight, Sent, State, nth_id_after};
use crate::message::Quality;
use crate::mqtt::change::{Change, Corrupt};

impl Inflight {
    /// Says all of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        Change::FirstId(self.first_id).write(out);
        let sent = || (0..self.sent.len()).map_while(|idx| Some((idx, self.sent.get(idx)?)));
        sent().for_each(|(_, kept)| Change::Sent(kept).write(out));
        for (idx, _) in sent() {
            let packet_id = nth_id_after(self.first_id, idx);
            match self.sent.note(idx).map(|sent| sent.state) {
                Some(State::Released) => Change::Released(packet_id).write(out),
                Some(State::Done) => Change::Finished(packet_id).write(out),
                Some(State::Published) | None => {}
            }
        }
        let waiting = (0..self.waiting.len()).map_while(|idx| self.waiting.get(idx));
        waiting.for_each(|kept| Change::Waits(kept).write(out));
    }

    /// Applies a change to one that no connection has.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), Corrupt> {
        let published = Sent { state: State::Published, is_under_way: false };
        match change {
            Change::FirstId(packet_id) if self.sent.is_empty() => self.first_id = *packet_id,
            Change::Waits(kept) => self.waiting.push(kept, ()),
            Change::Sent(kept) => {
                self.has_free_id()?;
                self.sent.push(kept, published);
            }
            Change::Leaves => {
                self.has_free_id()?;
                let oldest = self.waiting.get(0).ok_or(Corrupt)?;
                self.sent.push(&oldest, published);
                self.waiting.pop_front();
            }
            Change::Dropped(n) => {
                (0..*n).try_for_each(|_| self.waiting.pop_front()).ok_or(Corrupt)?;
            }
            Change::WentToOthers => drop(self.take_unsent_shared()),
            Change::Released(packet_id) => match self.find(*packet_id) {
                Some((idx, Quality::ExactlyOnce, State::Published)) => {
                    self.sent.note_mut(idx).ok_or(Corrupt)?.state = State::Released;
                }
                _ => return Err(Corrupt),
            },
            Change::Finished(packet_id) => match self.find(*packet_id) {
                Some((idx, _, State::Published | State::Released)) => drop(self.finish(idx)),
                _ => return Err(Corrupt),
            },
            _ => return Err(Corrupt),
        }
        Ok(())
    }

    fn has_free_id(&self) -> Result<(), Corrupt> {
        (self.sent.len() < usize::from(u16::MAX)).then_some(()).ok_or(Corrupt)
    }

    /// Bounds what is under way by this from now on, and keeps no more memory than that takes.
    pub fn settle_down(&mut self, sent_bytes_max: usize) {
        self.sent_bytes_max = sent_bytes_max;
        self.suspend();
    }
}
