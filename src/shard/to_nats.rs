//! A fan-out's way to one NATS subscription, whose client may see only the end of the names.

use super::connection::{Special, Subscription, SubscriptionKind};
use super::fanout::{End, Fanout, Outcome, Room};
use super::shapes::NatsShape;
use super::write_queue::{BufferPool, WriteQueue};
use crate::message::Message;
use crate::nats;
use crate::nats::sid::Sid;

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
        let SubscriptionKind::Nats { sid, n_delivered, special } = &mut subscription.kind else {
            return Outcome::none(End::NotEligible);
        };
        let max = match special.as_deref() {
            None => None,
            Some(Special { mount: None, max, .. }) => *max,
            Some(Special { mount: Some(_), .. }) => {
                return self.deliver_nats_mounted(nats, subscription, queue, pool, room);
            }
        };
        let message = self.message;
        let takes_header = nats.headers() && !message.header.is_empty();
        let shape = self.shapes.nats(message, takes_header);
        deliver_shape(message, shape, (sid, n_delivered, max), takes_header, queue, pool, room)
    }

    /// The same, to a subscription whose client does not see all of the names.
    #[inline(never)]
    fn deliver_nats_mounted(
        &mut self,
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
        let mount = special.mount.as_deref().unwrap_or_default();
        let Some(seen) = self.message.seen_from(mount) else { return Outcome::none(End::NotEligible) };
        let takes_header = nats.headers() && !seen.header.is_empty();
        let shape = self.shapes.nats_mounted(self.message, &seen, takes_header);
        deliver_shape(&seen, shape, (sid, n_delivered, special.max), takes_header, queue, pool, room)
    }
}

/// Queues to a NATS subscription, of this sid, so many deliveries and at most so many, what its shape is.
#[inline(always)]
#[expect(clippy::inline_always, reason = "called once by what is as often as a message, and once by another")]
fn deliver_shape(
    message: &Message<'_>,
    shape: &mut NatsShape,
    (sid, n_delivered, max): (&Sid, &mut u64, Option<u64>),
    takes_header: bool,
    queue: &mut WriteQueue,
    pool: &mut BufferPool,
    room: Room<'_>,
) -> Outcome {
    let n_wanted = match max {
        Some(max) if *n_delivered >= max => return Outcome::none(End::NotEligible),
        Some(max) => (max - *n_delivered).min(message.n() as u64) as usize,
        None => message.n(),
    };
    let sid = sid.as_bytes();
    if nats::encode::before_sid_len(message.subject, takes_header)
        > room.settings.nats.parse.control_line_bytes_max
    {
        return Outcome::none(End::SubjectTooLong);
    }
    let n = room.n_fitting(queue, shape.address(message, sid), n_wanted);
    if n > 0 {
        shape.queue(message, n, sid, queue, pool);
    }
    *n_delivered += n as u64;
    let end = if n < n_wanted {
        End::Overflowed
    } else if max.is_some_and(|max| *n_delivered >= max) {
        End::DeliveredLast
    } else {
        End::Delivered
    };
    Outcome::queued(n as u64, end)
}
