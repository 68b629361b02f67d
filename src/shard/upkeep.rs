//! A connection's end, and what time brings: deadlines, pings, timeouts.

use super::Shard;
use super::budget::Budget;
use super::closed::{Closed, Refused, Slow};
use super::connection::{Life, Protocol};
use super::fanout::Clients;
use super::id::ConnectionId;
use super::latency::Direction;
use super::limits::Limit;
use super::returning::HURRY;
use crate::nats::encode;
use crate::time::{Span, Time};
use std::collections::BinaryHeap;

/// How long a connection that ends may take to read what is queued for it.
const LINGER: Span = Span::from_secs(2);

/// The same when the gateway stops, and somebody waits for that.
const LINGER_AT_STOP: Span = Span::from_millis(500);

/// How long a connection that there is no room for may take to say CONNECT and be told.
const REFUSAL: Span = Span::from_secs(1);

/// Deadlines looked at in one turn.
const DEADLINES_PER_TICK: usize = 128;

impl Shard {
    /// Ends a connection: its subscriptions now, the rest when the driver has flushed its queue.
    pub(super) fn close(&mut self, id: ConnectionId, closed: Closed, now: Time) {
        self.close_stranger(id, closed, None, now);
    }

    /// As `close`, of one that seems to speak another protocol: the log says which.
    pub(super) fn close_stranger(
        &mut self,
        id: ConnectionId,
        closed: Closed,
        speaks: Option<&'static str>,
        now: Time,
    ) {
        if self.owing == Some(id) {
            self.send_owed_receipts();
        }
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if matches!(connection.life, Life::Closing(_)) {
            return;
        }
        self.note_end(id, closed, now);
        self.clients.counters.n_closed[closed.reason() as usize] += 1;
        if let Some(limit) = closed.limit() {
            self.clients.counters.n_limited[limit as usize] += 1;
        }
        self.note_disconnected(id, closed);
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        let n_pending_bytes = connection.n_queued_bytes();
        // A farewell behind half a frame, or in the place of a CONNACK, could not be read.
        let is_slow = matches!(closed, Closed::SlowConsumer(_));
        let can_read_more = !is_slow || connection.queue.is_empty();
        let mut farewell = Vec::new();
        match &connection.protocol {
            _ if !can_read_more => {}
            Protocol::Nats(_) => {
                closed.nats_error().into_iter().for_each(|text| encode::error(&mut farewell, text));
            }
            Protocol::Mqtt(_) if connection.awaits_connack => {}
            Protocol::Mqtt(mqtt) => {
                let reason = closed.mqtt_reason();
                reason.into_iter().for_each(|it| mqtt.bid_farewell(it, &closed.to_string(), &mut farewell));
            }
        }
        if is_slow {
            self.clients.counters.slow_consumers += 1;
            self.discard_queue(id);
        }
        self.clients.write(id, &farewell);
        let until = match closed {
            Closed::ShuttingDown if self.queue(id).is_some_and(|queue| !queue.is_empty()) => {
                self.linger_until(now)
            }
            Closed::ShuttingDown => now + LINGER_AT_STOP,
            _ => now + LINGER,
        };
        self.stop_serving(id, until);
        self.suspend_session(id, now);
        self.clients.effects.close.push(id);
        self.end_stalls_of_pressed(id, now);
        let will_due = self.clients.slots.session(id).map_or(Time::NEVER, |session| session.will_due);
        self.schedule(id, until.min(will_due));
        self.log_close(id, n_pending_bytes, closed, speaks, now);
        self.let_successor_in(id, now);
    }

    /// From here on the connection takes and is told nothing more.
    fn stop_serving(&mut self, id: ConnectionId, until: Time) {
        self.forget_unconnected(id);
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        connection.life = Life::Closing(until);
        connection.kept = Vec::new();
        connection.held = Vec::new();
        connection.fence = None;
        connection.full_outbox = None;
        connection.awaits_answers = false;
        connection.is_stalled = false;
        if let Some(published) = connection.published.as_ref().filter(|_| connection.is_paused) {
            self.paused.remove(&(published.paused_until, id));
        }
        connection.is_paused = false;
        connection.is_choked = false;
        connection.awaits_connack = false;
        if let Protocol::Mqtt(mqtt) = &mut connection.protocol {
            self.clients.counters.alias_bytes -= mqtt.n_alias_bytes() as u64;
            (mqtt.known_topics, mqtt.aliases) = Default::default();
        }
    }

    /// Forgets what waits for a client.
    pub(super) fn discard_queue(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        self.clients.n_queued_bytes -= connection.queue.len();
        connection.queue.clear(&mut self.clients.pool);
        self.clients.counters.discarded += connection.marks.discard();
    }

    /// Enters a deadline, unless an earlier one is entered already.
    pub(super) fn schedule(&mut self, id: ConnectionId, due: Time) {
        if let Some(check_at) = self.clients.slots.check_at(id)
            && due < *check_at
        {
            *check_at = due;
            self.deadlines.schedule(id, due);
        }
    }

    /// What the clock alone changes. The driver calls it at the time that `wake_at` gave, or later.
    pub fn tick(&mut self, now: Time) {
        self.now = now;
        self.budget = Budget::new(now);
        self.end_stalls(false, now);
        self.end_pauses(false, now);
        self.let_unconnected_go(now);
        self.go_on_leaving(now);
        // What ends in this turn shares its slice.
        self.tick_departed();
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.advance(now, &mut due);
        // The rest at once, but others between: a hundred thousand sessions may end in one moment.
        let n_later = due.len().saturating_sub(DEADLINES_PER_TICK);
        for (id, at) in due.drain(n_later..) {
            // An entry that an earlier deadline replaced no longer counts.
            if self.clients.slots.check_at(id).is_some_and(|check_at| *check_at == at) {
                self.guarded(id, now, |shard| shard.check_deadlines(id, now));
            }
        }
        self.due = due;
        self.tick_hearing();
        self.tick_replays(now);
        self.requests.expire(now);
        self.tick_listings(now);
        self.tick_statistics(now);
        self.complaints.tell_untold(now);
        self.tell_untold_losses(now);
        self.settle(now);
    }

    /// When `tick` has something to do, if ever.
    pub fn wake_at(&self) -> Option<Time> {
        if !self.due.is_empty() || self.redelivery.goes_on() || self.is_unsettled() {
            return Some(self.now);
        }
        let stall = self.stalled.front().map(|(until, _)| *until);
        let own = [
            self.paused.first().map(|(until, _)| *until),
            self.unconnected_wake_at(),
            self.hearing_wakes_at(),
            self.departed_wake_at(),
            self.replays_wake_at(),
            self.statistics_wake_at(),
            self.requests.wake_at(),
            self.listings_wake_at(),
            self.leave_at(),
            self.complaints.wake_at(),
            self.losses.wake_at(),
            self.clients.unseen.wake_at(),
        ];
        [stall, self.deadlines.next()].into_iter().chain(own).flatten().min()
    }

    /// Looks at everything that a connection can be late with, and enters the next time to look.
    pub(super) fn check_deadlines(&mut self, id: ConnectionId, now: Time) {
        if let Some(check_at) = self.clients.slots.check_at(id) {
            *check_at = Time::NEVER;
        }
        if self.clients.slots.is_offline(id) {
            return self.check_offline(id, now);
        }
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        match connection.life {
            Life::Closing(until) if until <= now => return self.clients.effects.cut.push(id),
            Life::Closing(until) => {
                let will_due = self.check_will(id, now);
                return self.schedule(id, until.min(will_due));
            }
            Life::Open | Life::Leaving(_) => {}
        }
        // Its silence is our doing.
        if connection.is_kept_waiting() {
            connection.heard_at = now;
        }
        let next = match &connection.protocol {
            Protocol::Mqtt(mqtt) if !mqtt.is_connected() => {
                let timeout = self.settings.mqtt.connect_timeout;
                let is_refused = connection.no_room.is_some();
                let timeout = if is_refused { timeout.min(REFUSAL) } else { timeout };
                // Who had to wait for its old connection has said CONNECT, which is looked at soon after.
                let waited = connection.published.as_ref();
                let until = waited.map_or(Time::START, |it| it.paused_until + HURRY);
                Ok(until.max(connection.accepted_at + timeout))
            }
            Protocol::Mqtt(mqtt) => match mqtt.silence_millis_max() {
                0 => return,
                millis => Ok(connection.heard_at + Span::from_millis(millis)),
            },
            Protocol::Nats(_) => self.check_nats(id, now),
        };
        let closed = match next {
            Ok(due) if due > now => return self.schedule(id, due),
            Ok(_) if self.is_mqtt_unconnected(id) => self.without_connect(id),
            Ok(_) => Closed::KeepAlive,
            Err(closed) => closed,
        };
        self.close(id, closed, now);
    }

    fn is_mqtt_unconnected(&self, id: ConnectionId) -> bool {
        self.clients.slots.get(id).is_some_and(
            |connection| matches!(&connection.protocol, Protocol::Mqtt(mqtt) if !mqtt.is_connected()),
        )
    }

    /// How one ends that did not say CONNECT in time: some were only let in to be refused.
    fn without_connect(&self, id: ConnectionId) -> Closed {
        match self.clients.slots.get(id).and_then(|it| Some((it.no_room?, it.door))) {
            Some((no_room, door)) => Closed::MqttConnect(Refused::no_room(no_room, door, &self.settings)),
            None => Closed::ConnectTimeout,
        }
    }

    /// Pings a NATS client that has been silent, and finds the one that takes nothing.
    fn check_nats(&mut self, id: ConnectionId, now: Time) -> Result<Time, Closed> {
        let settings = &self.settings;
        let interval = settings.nats.ping_interval;
        let mut out = Vec::new();
        let Some(connection) = self.clients.slots.get_mut(id) else { return Err(Closed::Lost) };
        // What it answers may be there, unread.
        let is_kept_waiting = connection.is_kept_waiting();
        if is_kept_waiting && connection.asked_at != Time::NEVER {
            connection.asked_at = now;
        }
        let mut ping_at = connection.ping_at.unwrap_or(connection.accepted_at + interval);
        if ping_at <= now {
            let asks = !is_kept_waiting && connection.needs_ping(interval, now);
            let Protocol::Nats(nats) = &mut connection.protocol else { return Err(Closed::Lost) };
            if asks {
                if !nats.ask(settings.nats.pings_outstanding_max, &mut out) {
                    return Err(Closed::KeepAlive);
                }
                connection.asked_at = connection.asked_at.min(now);
            }
            ping_at = now + interval;
        }
        connection.ping_at = Some(ping_at);
        let pong_due = match settings.nats.pong_timeout {
            timeout if timeout > Span::default() => connection.asked_at + timeout,
            _ => Time::NEVER,
        };
        let write_due = connection.stuck_since.map_or(Time::NEVER, |since| since + settings.write_timeout);
        if pong_due <= now {
            return Err(Closed::KeepAlive);
        }
        self.clients.write(id, &out);
        if write_due <= now {
            Err(Closed::SlowConsumer(Slow::WriteTimeout))
        } else {
            Ok(ping_at.min(pong_due).min(write_due))
        }
    }

    /// Ends what had its last message, and the connections whose queue no longer has room.
    pub(super) fn after_fanout(&mut self) {
        if !self.clients.finished.is_empty() {
            self.end_finished_subscriptions();
        }
        self.end_broken();
        while let Some((id, limit)) = self.clients.overflowed.pop() {
            self.overflowed(id, limit);
        }
        self.keep_core_total();
    }

    /// More is due to a client than may wait for it: one of NATS ends, one of MQTT goes without.
    #[cold]
    fn overflowed(&mut self, id: ConnectionId, limit: Limit) {
        match self.clients.slots.session(id) {
            None => self.close(id, Closed::SlowConsumer(Slow::Pending), self.now),
            Some(_) => self.note_loss(id, limit),
        }
    }

    /// Ends the largest queues while the core has no room for all of them, whatever they are made of. They are
    /// looked through once, however many have to go.
    pub(super) fn keep_core_total(&mut self) {
        let bytes_max = self.settings.core_queue_bytes_max;
        if self.n_bytes_for_clients() <= bytes_max {
            return;
        }
        let queues = self.clients.slots.queued_bytes().filter(|(_, n_bytes)| *n_bytes > 0);
        let mut queues: BinaryHeap<_> = queues.map(|(id, n_bytes)| (n_bytes, id)).collect();
        while self.n_bytes_for_clients() > bytes_max {
            let n_largest = queues.peek().map_or(0, |(n_bytes, _)| *n_bytes);
            let n_left_behind = self.redelivery.n_bytes();
            if n_left_behind >= n_largest {
                if n_left_behind == 0 {
                    return;
                }
                let n_bytes_left = bytes_max.saturating_sub(self.clients.n_queued_bytes);
                let n_forgotten = self.redelivery.shrink_to(usize::MAX, n_bytes_left);
                self.clients.counters.dropped_left_behind += n_forgotten;
                if n_forgotten > 0 {
                    self.note_shared_loss(Limit::CoreQueue);
                }
                continue;
            }
            let Some((_, id)) = queues.pop() else { return };
            self.end_queue(id);
            // What is left, its last words or its session, goes where that is the largest in turn.
            let n_bytes_left = self.clients.slots.queued_bytes_of(id);
            if n_bytes_left > 0 {
                queues.push((n_bytes_left, id));
            }
        }
    }

    /// Ends whose queue is the largest.
    fn end_queue(&mut self, id: ConnectionId) {
        match self.clients.slots.get(id) {
            Some(largest) if largest.is_open() => {
                self.close(id, Closed::SlowConsumer(Slow::CoreTotal), self.now);
            }
            Some(largest) if !largest.queue.is_empty() => {
                // It was only to read its last, and others would pay for that.
                self.discard_queue(id);
                self.clients.effects.cut.push(id);
            }
            _ => {
                self.note_loss(id, Limit::CoreQueue);
                self.discard_session(id);
            }
        }
    }

    /// Notes that the driver had written some of a connection's queue by `now`, or found that nothing can be
    /// written yet.
    pub fn flushed(&mut self, id: ConnectionId, n_written: usize, now: Time) {
        self.now = now;
        let Clients { slots, pool, counters, latencies, n_queued_bytes, .. } = &mut self.clients;
        let Some(connection) = slots.get_mut(id) else { return };
        let kind = connection.protocol_kind();
        connection.is_dirty = false;
        connection.queue.advance(n_written, pool);
        *n_queued_bytes -= n_written;
        counters.count_write(kind, n_written);
        if n_written > 0 {
            connection.written_at = now;
        }
        connection.marks.written(n_written, |from, read_at, n| {
            latencies.record(Direction::new(from, kind), now.since(read_at), n);
        });
        // Counted from the first write that left something: a queue that was empty for long is not late.
        if connection.queue.is_empty() {
            connection.stuck_since = None;
            connection.is_losing = false;
        } else if n_written > 0 || connection.stuck_since.is_none() {
            counters.n_blocked += u64::from(connection.stuck_since.is_none());
            connection.stuck_since = Some(now);
        }
        let is_nats = matches!(connection.protocol, Protocol::Nats(_));
        if !connection.queue.is_empty() && is_nats && connection.is_open() {
            self.schedule(id, now + self.settings.write_timeout);
        }
        if self.is_ending() {
            self.all_written(id, now);
        }
        self.clients.send_waiting(id, &self.settings, now);
        self.resume_replays(id);
        self.end_stalls_of_pressed(id, now);
        self.settle_further(now);
    }

    /// Lets a connection that ends, in a drain, linger no longer than it has to.
    fn all_written(&mut self, id: ConnectionId, now: Time) {
        if let Some(connection) = self.clients.slots.get_mut(id)
            && let Life::Closing(until) = connection.life
            && connection.queue.is_empty()
            && now + LINGER_AT_STOP < until
        {
            connection.life = Life::Closing(now + LINGER_AT_STOP);
            self.schedule(id, now + LINGER_AT_STOP);
        }
    }

    /// Whatever lowers a queue lets go on whom it had slowed, its own client among them.
    pub(super) fn end_stalls_of_pressed(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        if connection.is_choked && connection.queue.len() <= self.settings.write_queue_bytes_max / 2 {
            connection.is_choked = false;
            self.runnable.push_back(id);
        }
        let is_relieved = connection.is_relieved(&self.settings) || !connection.is_open();
        if is_relieved && connection.pressed_since.take().is_some() {
            self.end_stalls(true, now);
        }
    }

    /// Notes that nothing can be written to a connection any more. What it had sent is still taken.
    pub fn write_failed(&mut self, id: ConnectionId, now: Time) {
        self.now = now;
        let Some(connection) = self.clients.slots.get_mut(id) else { return };
        connection.is_write_dead = true;
        connection.is_dirty = false;
        self.discard_queue(id);
        self.end_stalls_of_pressed(id, now);
        self.settle_further(now);
    }

    /// Forgets a connection whose socket is gone.
    pub fn release(&mut self, id: ConnectionId, now: Time) {
        self.now = now;
        self.close(id, Closed::Lost, now);
        self.discard_queue(id);
        if let Some(connection) = self.clients.slots.get_mut(id) {
            self.clients.counters.n_connections[connection.protocol_kind() as usize] -= 1;
            if self.has_session(id) {
                self.go_offline(id, now);
            } else if let Some(connection) = self.clients.slots.remove(id) {
                self.clients.n_queued_bytes -= connection.n_queued_bytes();
            }
            self.freed.note();
        }
        self.settle_further(now);
    }
}
