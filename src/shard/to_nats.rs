//! A fan-out's way to one NATS subscription, whose client may see names otherwise than everybody.

use super::connection::{Special, Subscription, SubscriptionKind};
use super::crossing;
use super::fanout::{End, Fanout, Outcome, Room};
use super::frames::queue_frames;
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::{GATEWAY_INBOX, Message, ProtocolKind};
use crate::nats;
use crate::nats::connection::is_forged_reply;
use crate::payload::Payload;
use crate::subject::mapping;
use crate::subject::view::{Unseen, View};
use std::borrow::Cow;

impl Fanout<'_> {
    #[inline]
    pub(super) fn deliver_nats(
        &mut self,
        nats: &nats::connection::Connection,
        subscription: &mut Subscription,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        if crossing::has_header_to_make(self.message)
            // From NATS it has properties where it is published anew, of what MQTT was told; else it goes as it came.
            && (room.origin.protocol == ProtocolKind::Mqtt || !self.message.properties.is_empty())
            && nats.headers()
        {
            return self.deliver_nats_crossed(nats, subscription, queue, pool, room);
        }
        self.deliver_nats_as(self.message, nats, subscription, queue, pool, room)
    }

    /// A message from MQTT, with a header that says what its properties say.
    #[inline(never)]
    fn deliver_nats_crossed(
        &mut self,
        nats: &nats::connection::Connection,
        subscription: &mut Subscription,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let header = self.shapes.crossed.take_header(self.message);
        let message = Message { header: &header, ..*self.message };
        let outcome = self.deliver_nats_as(&message, nats, subscription, queue, pool, room);
        self.shapes.crossed.give_header_back(header);
        outcome
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called once by what is as often as a message, and once by another"
    )]
    fn deliver_nats_as(
        &mut self,
        message: &Message<'_>,
        nats: &nats::connection::Connection,
        subscription: &mut Subscription,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let SubscriptionKind::Nats { sid, n_delivered, special } = &mut subscription.kind else {
            return Outcome::none(End::NotEligible);
        };
        let max = match special.as_deref() {
            None => None,
            Some(special) if self.comes_by_replay(special, message) => {
                return Outcome::none(End::NotEligible);
            }
            Some(Special { view: None, max, .. }) => *max,
            Some(Special { view: Some(_), .. }) => {
                return self.deliver_nats_apart(message, nats, subscription, queue, pool, room);
            }
        };
        let Some(n_wanted) = n_wanted(message, *n_delivered, max) else {
            return Outcome::none(End::NotEligible);
        };
        let sid = sid.as_bytes();
        let takes_header = nats.headers() && !message.header.is_empty();
        let shape = self.shapes.nats(message, takes_header);
        if is_too_long(message, takes_header, room) {
            return Outcome::none(End::SubjectTooLong);
        }
        let n = room.n_fitting(queue, shape.address(message, sid), n_wanted);
        if n > 0 {
            shape.queue(message, n, sid, queue, pool);
        }
        *n_delivered += n as u64;
        outcome(n, n_wanted, *n_delivered, max)
    }

    /// The same, to a subscription whose client does not see names as they are.
    #[inline(never)]
    fn deliver_nats_apart(
        &mut self,
        message: &Message<'_>,
        nats: &nats::connection::Connection,
        subscription: &mut Subscription,
        queue: &mut WriteQueue,
        pool: &mut BufferPool,
        room: Room<'_>,
    ) -> Outcome {
        let SubscriptionKind::Nats { sid, n_delivered, special: Some(special) } = &mut subscription.kind
        else {
            return Outcome::none(End::NotEligible);
        };
        let Some(view) = special.view.as_deref() else { return Outcome::none(End::NotEligible) };
        if special.begins_with_wildcard && mapping::is_dollar_topic(message.subject) {
            return Outcome::none(End::NotEligible);
        }
        let subject = match view.seen(message.subject) {
            Ok(subject) => subject,
            Err(Unseen::Elsewhere) => return Outcome::none(End::NotEligible),
            Err(Unseen::NoName(_)) => return Outcome::none(End::NoEmqxSubject),
        };
        let reply = seen_reply(view, message.reply);
        let seen = &Message { subject: &subject, reply: &reply, ..*message };
        let Some(n_wanted) = n_wanted(seen, *n_delivered, special.max) else {
            return Outcome::none(End::NotEligible);
        };
        let takes_header = nats.headers() && !seen.header.is_empty();
        if is_too_long(seen, takes_header, room) {
            return Outcome::none(End::SubjectTooLong);
        }
        let head = self.shapes.nats_apart(message, seen, takes_header, sid.as_bytes());
        let n = room.n_fitting(queue, head.len() + seen.payload.len() + 2, n_wanted);
        match (&seen.run, seen.payload) {
            _ if n == 0 => {}
            (Some(run), _) => queue_frames(head, run, n, b"\r\n", queue, pool),
            (None, Payload::Copied(payload)) => queue.append(pool, |buffer| {
                buffer.extend_from_slice(head);
                buffer.extend_from_slice(payload);
                buffer.extend_from_slice(b"\r\n");
            }),
            (None, Payload::Shared(bytes)) => {
                queue.append(pool, |buffer| buffer.extend_from_slice(head));
                queue.append_shared(bytes.clone());
                queue.append(pool, |buffer| buffer.extend_from_slice(b"\r\n"));
            }
        }
        *n_delivered += n as u64;
        outcome(n, n_wanted, *n_delivered, special.max)
    }
}

impl Fanout<'_> {
    /// Whether what is live has come by a replay, or will.
    fn comes_by_replay(&self, special: &Special, message: &Message<'_>) -> bool {
        self.replay.is_none() && message.version != 0 && message.version <= special.replayed_until
    }
}

/// The reply subject that a client is shown. One of the gateway's is everywhere; one that its client could not
/// address is none.
fn seen_reply<'r>(view: &View, reply: &'r [u8]) -> Cow<'r, [u8]> {
    if reply.is_empty() || reply.starts_with(GATEWAY_INBOX) {
        return Cow::Borrowed(reply);
    }
    let seen = view.seen_reply(reply).unwrap_or_default();
    if is_forged_reply(&seen) { Cow::default() } else { seen }
}

/// How many of the messages a subscription is still due; `None` where it had its last.
#[inline]
fn n_wanted(message: &Message<'_>, n_delivered: u64, max: Option<u64>) -> Option<usize> {
    match max {
        Some(max) if n_delivered >= max => None,
        Some(max) => Some((max - n_delivered).min(message.n() as u64) as usize),
        None => Some(message.n()),
    }
}

/// Whether a client could not read the line.
#[inline]
fn is_too_long(message: &Message<'_>, with_header: bool, room: Room<'_>) -> bool {
    nats::encode::before_sid_len(message.subject, with_header)
        > room.settings.nats.parse.control_line_bytes_max
}

#[inline]
fn outcome(n: usize, n_wanted: usize, n_delivered: u64, max: Option<u64>) -> Outcome {
    let end = if n < n_wanted {
        End::Overflowed
    } else if max.is_some_and(|max| n_delivered >= max) {
        End::DeliveredLast
    } else {
        End::Delivered
    };
    Outcome::queued(n as u64, end)
}
