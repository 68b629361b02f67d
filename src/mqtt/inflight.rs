//! Messages of QoS 1 and 2 towards one client: those it was sent, under their identifiers, within the window
//! that the client's Receive Maximum opens, and the bounded queue of those that wait for it. It outlives the
//! connection: what was not acknowledged is sent again to the next one, first and under the same
//! identifiers. Not the writing of it.

mod written;

use crate::message::Quality;
use crate::mqtt::change::{Change, Diary};
use crate::mqtt::kept::{Kept, Log};
use crate::time::Time;

/// The outgoing side of a session.
#[derive(Debug)]
pub struct Inflight {
    /// Unacknowledged messages that the client accepts at once. `n_under_way <= window`.
    window: u16,
    /// Of those sent on this connection.
    n_under_way: u16,
    first_id: u16,
    /// Messages were lost for want of room since nothing waited last.
    is_losing: bool,
    /// The first `n_current` of `sent` were sent on this connection; the rest on one before, and wait for
    /// their repetition.
    n_current: usize,
    /// What bounds `sent` in bytes: one that is not acknowledged keeps all after it.
    sent_bytes_max: usize,
    /// By identifier, from `first_id` on.
    sent: Log<Sent>,
    waiting: Log<()>,
    /// The session's.
    diary: Diary,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug)]
struct Sent {
    state: State,
    /// Counts in this connection's window.
    is_under_way: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Sent, and not acknowledged.
    Published,
    /// QoS 2: the client has it; PUBREL is sent and PUBCOMP is due. It is never sent again. [MQTT-4.3.3-3]
    Released,
    /// The identifier is free, as soon as those before it are.
    Done,
}

/// What is to be written next.
#[derive(Debug)]
pub enum Next<'a> {
    Publish { packet_id: u16, dup: bool, kept: Kept<'a> },
    Pubrel { packet_id: u16 },
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// The message is done with.
    Done,
    /// PUBREC: now PUBREL is due.
    Release,
    /// No such message is under way.
    Unknown,
    /// Such a message is, of the other QoS.
    Mismatched,
}

/// What may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub messages_max: usize,
    pub bytes_max: usize,
    /// Whether the oldest gives way where there is no room, and not the one that comes.
    pub drops_oldest: bool,
}

/// What became of a message that is to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    pub is_kept: bool,
    /// Older ones that made room for it, and those of them whose time was over.
    pub n_dropped: usize,
    pub n_expired: usize,
    /// The last time that there was no room, bytes were in the way and not messages.
    pub lacks_bytes: bool,
}

impl Inflight {
    pub fn new(window: u16, sent_bytes_max: usize) -> Self {
        Self {
            window: window.max(1),
            n_under_way: 0,
            first_id: 1,
            is_losing: false,
            n_current: 0,
            sent_bytes_max,
            sent: Log::default(),
            waiting: Log::default(),
            diary: Diary::default(),
        }
    }

    /// Where the session writes down what changes.
    #[inline]
    pub fn diary(&mut self) -> &mut Diary {
        &mut self.diary
    }

    /// Whether one more may leave that was never sent.
    #[inline]
    pub fn is_open(&self) -> bool {
        // An identifier is not used again while an older one is under way.
        self.n_under_way < self.window
            && self.n_current == self.sent.len()
            && self.sent.len() < usize::from(u16::MAX)
            && self.sent.n_bytes() < self.sent_bytes_max
    }

    /// How many messages of so many bytes may leave one after another that were never sent.
    pub fn n_open(&self, n_bytes: usize) -> usize {
        if self.n_current < self.sent.len() {
            return 0;
        }
        let n_window = usize::from(self.window.saturating_sub(self.n_under_way));
        let n_ids = usize::from(u16::MAX) - self.sent.len();
        let room = self.sent_bytes_max.saturating_sub(self.sent.n_bytes());
        n_window.min(n_ids).min(room.div_ceil(n_bytes.max(1)))
    }

    /// Makes room for `n` messages of so many bytes that leave now.
    pub fn reserve(&mut self, n: usize, n_bytes: usize) {
        self.sent.reserve(n, n_bytes);
    }

    /// Whether something must leave before a message that comes now.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether something could leave, if the window and the client let it.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.has_waiting() || self.n_current < self.sent.len()
    }

    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn n_waiting_bytes(&self) -> usize {
        self.waiting.n_bytes()
    }

    /// Bytes of all that is kept for the client.
    #[inline]
    pub fn n_bytes(&self) -> usize {
        self.sent.n_bytes() + self.waiting.n_bytes()
    }

    /// Whether there is a message that the client has not acknowledged, or was not sent yet.
    pub fn has_unanswered(&self) -> bool {
        !self.sent.is_empty() || self.has_waiting()
    }

    /// How many those are.
    pub fn n_unanswered(&self) -> usize {
        let n_done = self.sent.noted().filter(|(_, sent)| sent.state == State::Done).count();
        self.sent.len() - n_done + self.waiting.len()
    }

    /// Keeps a message that leaves now, and gives it its identifier. [MQTT-2.2.1-4]
    #[inline]
    pub fn begin(&mut self, kept: &Kept<'_>) -> u16 {
        debug_assert!(self.is_open());
        let id = nth_id_after(self.first_id, self.sent.len());
        // Made only where it is wanted: a message is long.
        if self.diary.is_open() {
            self.diary.note(&Change::Sent(*kept));
        }
        self.sent.push(kept, Sent { state: State::Published, is_under_way: true });
        self.n_current += 1;
        self.n_under_way += 1;
        id
    }

    /// Notes a PUBACK.
    #[inline]
    pub fn puback(&mut self, id: u16) -> Acknowledged {
        match self.find(id) {
            Some((idx, Quality::AtLeastOnce, State::Published)) => self.finish(idx),
            None | Some((_, _, State::Done)) => Acknowledged::Unknown,
            Some(_) => Acknowledged::Mismatched,
        }
    }

    /// Notes PUBACKs as far as they are those of the oldest messages, in their order; how many that are.
    #[inline]
    pub fn pubacks(&mut self, ids: impl Iterator<Item = u16>) -> usize {
        let (mut n, mut n_under_way, mut next_id) = (0, 0, self.first_id);
        for (id, (quality, sent)) in ids.zip(self.sent.noted()) {
            if id != next_id || quality != Quality::AtLeastOnce || sent.state != State::Published {
                break;
            }
            n += 1;
            n_under_way += u16::from(sent.is_under_way);
            next_id = nth_id_after(next_id, 1);
        }
        if n == 0 {
            return n;
        }
        if self.diary.is_open() {
            (0..n).for_each(|idx| self.diary.note(&Change::Finished(nth_id_after(self.first_id, idx))));
        }
        self.n_under_way -= n_under_way;
        self.n_current = self.n_current.saturating_sub(n);
        self.first_id = next_id;
        self.sent.forget(n);
        self.forget_done();
        n
    }

    /// Notes a PUBREC, and that PUBREL follows it. One that refuses the message ends it. [MQTT-4.3.3-4]
    pub fn pubrec(&mut self, id: u16, is_refused: bool) -> Acknowledged {
        match self.find(id) {
            Some((idx, Quality::ExactlyOnce, State::Published)) if is_refused => self.finish(idx),
            Some((idx, Quality::ExactlyOnce, State::Published | State::Released)) => {
                if let Some(sent) = self.sent.note_mut(idx)
                    && std::mem::replace(&mut sent.state, State::Released) == State::Published
                {
                    self.diary.note(&Change::Released(id));
                }
                Acknowledged::Release
            }
            None | Some((_, _, State::Done)) => Acknowledged::Unknown,
            Some(_) => Acknowledged::Mismatched,
        }
    }

    /// Notes a PUBCOMP.
    pub fn pubcomp(&mut self, id: u16) -> Acknowledged {
        match self.find(id) {
            Some((idx, Quality::ExactlyOnce, State::Released)) => self.finish(idx),
            None | Some((_, _, State::Done)) => Acknowledged::Unknown,
            Some(_) => Acknowledged::Mismatched,
        }
    }

    /// Gives up a message that can't be sent after all.
    pub fn give_up(&mut self, id: u16) {
        if let Some((idx, _, State::Published | State::Released)) = self.find(id) {
            self.finish(idx);
        }
    }

    #[inline]
    fn find(&self, id: u16) -> Option<(usize, Quality, State)> {
        if id == 0 {
            return None;
        }
        let idx = usize::from(distance(self.first_id, id));
        Some((idx, self.sent.quality(idx)?, self.sent.note(idx)?.state))
    }

    #[inline]
    fn finish(&mut self, idx: usize) -> Acknowledged {
        if self.diary.is_open() {
            self.diary.note(&Change::Finished(nth_id_after(self.first_id, idx)));
        }
        if let Some(sent) = self.sent.note_mut(idx) {
            sent.state = State::Done;
            self.n_under_way -= u16::from(std::mem::take(&mut sent.is_under_way));
        }
        self.forget_done();
        Acknowledged::Done
    }

    /// Frees the identifiers of the oldest, as far as they are done with.
    #[inline]
    fn forget_done(&mut self) {
        while self.sent.note(0).is_some_and(|sent| sent.state == State::Done) {
            self.sent.pop_front();
            self.n_current = self.n_current.saturating_sub(1);
            self.first_id = nth_id_after(self.first_id, 1);
        }
    }

    /// Keeps a message until the window opens, or the client is back.
    pub fn wait(&mut self, kept: &Kept<'_>, limits: &Limits, now: Time) -> Waited {
        let mut waited = Waited { is_kept: true, ..Waited::default() };
        self.is_losing &= self.has_waiting();
        loop {
            let has_many = self.waiting.len() >= limits.messages_max;
            if !has_many && self.waiting.n_bytes() + kept.n_bytes() <= limits.bytes_max {
                break;
            }
            waited.lacks_bytes = !has_many;
            let is_expired = self.waiting.get(0).is_some_and(|oldest| oldest.is_expired(now));
            if self.waiting.is_empty() || !(is_expired || limits.drops_oldest) {
                return Waited { is_kept: false, ..waited };
            }
            self.drop_oldest();
            waited.n_dropped += usize::from(!is_expired);
            waited.n_expired += usize::from(is_expired);
        }
        if self.diary.is_open() {
            self.diary.note(&Change::Waits(*kept));
        }
        self.waiting.push(kept, ());
        waited
    }

    /// Notes that messages are lost for want of room; true for the first since nothing waited last.
    pub fn begin_loss(&mut self) -> bool {
        !std::mem::replace(&mut self.is_losing, true)
    }

    fn drop_oldest(&mut self) {
        self.diary.note(&Change::Dropped(1));
        self.waiting.pop_front();
    }

    /// The next that may leave: what an earlier connection left unacknowledged, in its order
    /// [MQTT-4.4.0-1], and then what waits. Of the latter, what is expired is dropped and counted.
    pub fn next(&mut self, now: Time, n_expired: &mut u64) -> Option<Next<'_>> {
        while self.n_current < self.sent.len() {
            let idx = self.n_current;
            let is_window_open = self.n_under_way < self.window;
            let sent = self.sent.note_mut(idx)?;
            let state = sent.state;
            if state == State::Published {
                if !is_window_open {
                    return None;
                }
                sent.is_under_way = true;
                self.n_under_way += 1;
            }
            self.n_current += 1;
            let packet_id = nth_id_after(self.first_id, idx);
            match state {
                State::Published => {
                    return self.sent.get(idx).map(|kept| Next::Publish { packet_id, dup: true, kept });
                }
                State::Released => return Some(Next::Pubrel { packet_id }),
                State::Done => {}
            }
        }
        if !self.is_open() {
            return None;
        }
        while self.waiting.get(0).is_some_and(|oldest| oldest.is_expired(now)) {
            self.drop_oldest();
            *n_expired += 1;
        }
        let idx = self.sent.len();
        let oldest = self.waiting.get(0)?;
        self.diary.note(&Change::Leaves);
        self.sent.push(&oldest, Sent { state: State::Published, is_under_way: true });
        self.waiting.pop_front();
        self.n_current += 1;
        self.n_under_way += 1;
        let packet_id = nth_id_after(self.first_id, idx);
        self.sent.get(idx).map(|kept| Next::Publish { packet_id, dup: false, kept })
    }

    /// The connection is gone: everything that was sent is to be sent again.
    pub fn suspend(&mut self) {
        self.n_current = 0;
        self.n_under_way = 0;
        self.sent.notes_mut().for_each(|sent| sent.is_under_way = false);
        self.sent.shrink();
        self.waiting.shrink();
    }

    /// A connection has come for it, with its own window.
    pub fn resume(&mut self, window: u16) {
        self.window = window.max(1);
    }

    /// The first that came by a shared subscription and was never sent.
    pub fn first_unsent_shared(&self) -> Option<Kept<'_>> {
        let idx = self.waiting.first_shared()?;
        self.waiting.get(idx)
    }

    /// Takes out all of those.
    pub fn take_unsent_shared(&mut self) -> Leftovers {
        self.diary.note(&Change::WentToOthers);
        let (mut shared, mut others) = (Log::default(), Log::default());
        let mut waiting = std::mem::take(&mut self.waiting);
        while let Some(kept) = waiting.get(0) {
            let to = if kept.share.is_some() { &mut shared } else { &mut others };
            to.push(&kept, ());
            waiting.pop_front();
        }
        self.waiting = others;
        Leftovers { sent: Log::default(), waiting: shared }
    }

    /// Ends it. What others may have of it is left, and how many were never sent.
    pub fn end(&mut self) -> (Option<Leftovers>, usize) {
        let Self { sent, waiting, .. } = std::mem::replace(self, Self::new(1, 0));
        let n_unsent = waiting.len();
        let has_shared = sent.first_shared().is_some() || waiting.first_shared().is_some();
        (has_shared.then_some(Leftovers { sent, waiting }), n_unsent)
    }
}

/// Messages that their client can't have, of which those of shared subscriptions are another's: what was
/// never sent, and what was at QoS 1 and was not acknowledged. [MQTT-4.8.2-5]
#[derive(Debug)]
pub struct Leftovers {
    sent: Log<Sent>,
    waiting: Log<()>,
}

impl Leftovers {
    pub fn n_unsent(&self) -> usize {
        self.waiting.len()
    }

    /// Messages that are kept, those among them that nobody else may have.
    pub fn n_messages(&self) -> usize {
        self.sent.len() + self.waiting.len()
    }

    /// Their bytes.
    pub fn n_bytes(&self) -> usize {
        self.sent.n_bytes() + self.waiting.n_bytes()
    }

    /// The first of them, until it is forgotten.
    pub fn first(&mut self) -> Option<Kept<'_>> {
        while let Some(sent) = self.sent.note(0) {
            let is_due = sent.state == State::Published
                && self.sent.quality(0) == Some(Quality::AtLeastOnce)
                && self.sent.is_shared(0);
            if is_due {
                return self.sent.get(0);
            }
            self.sent.pop_front();
        }
        let idx = self.waiting.first_shared()?;
        for _ in 0..idx {
            self.waiting.pop_front();
        }
        self.waiting.get(0)
    }

    pub fn forget_first(&mut self) {
        if self.sent.pop_front().is_none() {
            self.waiting.pop_front();
        }
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
mod tests;
