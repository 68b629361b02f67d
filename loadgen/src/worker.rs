//! One thread: an epoll loop over its share of the clients. It reads, lets publishers send, and writes. Not the
//! run's phases; those are `run`'s.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::client::{Client, Credentials, KEEP_ALIVE_SECS, Lost, Role, Stage};
use crate::link::{Link, Read};
use crate::plan::{Plan, Protocol};
use crate::publisher::Publisher;
use crate::shared::{Cell, Phase, Shared, lock};
use crate::subscriber::{GroupFlow, Subscriber, Tally};

const WAKER: u64 = u64::MAX;
const EVENTS: usize = 1024;
/// Connections that one worker opens at a time; more would overflow a listener's backlog.
const OPENING_MAX: usize = 128;
/// How often deadlines and keep-alives are looked at.
const TICK_NS: u64 = 100_000_000;
/// Before a message is due the loop spins: a sleep that short comes back late.
const SPIN_NS: u64 = 60_000;
/// Writes in one turn of one publisher, so that others have theirs.
const BATCHES_PER_TURN: usize = 4;

/// What a worker is to do.
pub struct Order {
    pub credentials: Credentials,
    pub timeout: Duration,
    pub core: Option<usize>,
    /// Connections opened in a second at most.
    pub connrate: Option<f64>,
    /// Where connections come from, in turn.
    pub from_addresses: Vec<IpAddr>,
    pub clients: Vec<ClientOrder>,
}

pub struct ClientOrder {
    pub name: String,
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub role: Role,
}

struct Slot {
    link: Link,
    client: Client,
    is_readable: bool,
    is_counted: bool,
    is_finished: bool,
    is_confirmed: bool,
}

pub struct Worker<'s> {
    shared: &'s Shared,
    cell: &'s Cell,
    plan: &'s Plan,
    order: Order,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    n_opening: usize,
    /// Slots that have something to read, those with a publisher, and those with something to write.
    readable: Vec<usize>,
    publishers: Vec<usize>,
    to_flush: Vec<usize>,
    scratch: Vec<u8>,
    group: Vec<GroupFlow>,
    next_tick: u64,
    late: u64,
}

impl<'s> Worker<'s> {
    pub fn new(shared: &'s Shared, plan: &'s Plan, idx: usize, order: Order) -> io::Result<Worker<'s>> {
        let cell = &shared.cells[idx];
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, cell.waker(), EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET)?;
        let n_group = plan.publishers;
        Ok(Worker {
            shared,
            cell,
            plan,
            order,
            epoll,
            slots: Vec::new(),
            n_opening: 0,
            readable: Vec::new(),
            publishers: Vec::new(),
            to_flush: Vec::new(),
            scratch: Vec::new(),
            group: (0..n_group).map(|_| GroupFlow::default()).collect(),
            next_tick: 0,
            late: 0,
        })
    }

    /// Until the run is stopped. What goes wrong is told to all.
    pub fn run(&mut self) {
        self.cell.thread_id.store(rustix::thread::gettid().as_raw_nonzero().get() as u32, Ordering::Relaxed);
        self.order.clients.reverse();
        if let Err(error) = self.turns() {
            self.shared.fail(error.to_string());
        }
        self.leave();
    }

    fn turns(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while self.shared.phase() != Phase::Stopped {
            let now = self.shared.clock.now();
            self.wait(&mut events, now)?;
            let now = self.shared.clock.now();
            self.open(now);
            for event in events.drain(..) {
                self.event(event, now);
            }
            let had_input = !self.readable.is_empty();
            self.read(now);
            let has_sent = self.publish(now);
            self.flush();
            if had_input || has_sent {
                self.wake_others();
            } else if self.shared.phase() >= Phase::Running {
                // A turn without work was waiting, whether it slept or spun.
                let spent = self.shared.clock.now() - now;
                self.cell.idle_ns.fetch_add(spent, Ordering::Relaxed);
            }
            if now >= self.next_tick {
                self.tick(now);
                self.next_tick = now + TICK_NS;
            }
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>, now: u64) -> io::Result<()> {
        let mut timeout = self.sleep_ns(now);
        if timeout > 0 {
            self.cell.set_asleep(true);
            // Looked at again after saying so: who changed it before has not seen us asleep.
            timeout = self.sleep_ns(now);
        }
        let timespec = Timespec { tv_sec: 0, tv_nsec: timeout.min(TICK_NS) as i64 };
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timespec));
        self.cell.set_asleep(false);
        if timeout > 0 {
            let slept = self.shared.clock.now() - now;
            self.cell.idle_ns.fetch_add(slept, Ordering::Relaxed);
        }
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How long nothing needs to be done if no event comes.
    fn sleep_ns(&mut self, now: u64) -> u64 {
        if !self.readable.is_empty() {
            return 0;
        }
        let mut sleep = TICK_NS;
        if self.n_opening < OPENING_MAX && !self.order.clients.is_empty() {
            if self.may_open(now) {
                return 0;
            }
            sleep = 1_000_000;
        }
        if self.shared.phase() == Phase::Running {
            let since = now.saturating_sub(self.shared.started());
            for at in &self.publishers {
                let slot = &mut self.slots[*at];
                let Role::Publisher(publisher) = &mut slot.client.role else { continue };
                if !slot.link.is_writable || publisher.is_finished() {
                    continue;
                }
                let wait = match publisher.next_due() {
                    Some(due) => (publisher.delay_ns + due).saturating_sub(since + SPIN_NS),
                    None if publisher.room(self.plan, self.shared, since) > 0 => 0,
                    None => publisher.delay_ns.checked_sub(since).unwrap_or(TICK_NS),
                };
                sleep = sleep.min(wait);
            }
        }
        sleep
    }

    /// Whether `--connrate` lets another connection begin.
    fn may_open(&self, now: u64) -> bool {
        self.order.connrate.is_none_or(|rate| (self.slots.len() as f64) <= now as f64 / 1e9 * rate)
    }

    fn open(&mut self, now: u64) {
        while self.n_opening < OPENING_MAX {
            let at = self.slots.len();
            if !self.may_open(now) {
                return;
            }
            let Some(order) = self.order.clients.pop() else { return };
            let from = self.order.from_addresses.get(at % self.order.from_addresses.len().max(1));
            let opened = Link::connect(order.address, from.copied()).and_then(|link| {
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&self.epoll, &link.fd, EventData::new_u64(at as u64), flags)?;
                Ok(link)
            });
            let link = match opened {
                Ok(link) => link,
                Err(error) => {
                    self.shared.fail(format!("{}: {}", order.name, plain(&error)));
                    return;
                }
            };
            if matches!(order.role, Role::Publisher(_)) {
                self.publishers.push(at);
            }
            self.n_opening += 1;
            self.slots.push(Slot {
                link,
                client: Client {
                    name: order.name,
                    address: order.address,
                    protocol: order.protocol,
                    stage: Stage::Connecting,
                    role: order.role,
                    since: now,
                    spoken: now,
                    is_confirmed: false,
                    asked_to_confirm: false,
                },
                is_readable: false,
                is_counted: false,
                is_finished: false,
                is_confirmed: false,
            });
        }
    }

    fn event(&mut self, event: epoll::Event, now: u64) {
        let token = event.data.u64();
        if token == WAKER {
            let _ = rustix::io::read(self.cell.waker(), &mut [0; 8]);
            return;
        }
        let at = token as usize;
        let slot = &mut self.slots[at];
        let flags = event.flags;
        if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            slot.link.is_writable = true;
            if slot.client.stage == Stage::Connecting {
                if let Err(error) = slot.link.connected() {
                    let lost = Lost(format!("cannot connect: {}", plain(&error)));
                    self.lose(at, &lost);
                    return;
                }
                slot.client.connected(slot.link.out(), &self.order.credentials);
                slot.client.spoken = now;
            }
            self.to_flush.push(at);
        }
        let slot = &mut self.slots[at];
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR)
            && !slot.is_readable
        {
            slot.is_readable = true;
            self.readable.push(at);
        }
    }

    fn read(&mut self, now: u64) {
        if self.readable.is_empty() {
            return;
        }
        let ready = std::mem::take(&mut self.readable);
        let shared = self.shared;
        let mut latency = lock(&self.cell.latency);
        let mut group = std::mem::take(&mut self.group);
        let stamp = shared.clock.stamp(now);
        let plan = self.plan;
        let mut tally = Tally::new(shared, plan, stamp, &mut latency, &mut group);
        for at in ready {
            let Slot { link, client, is_readable, .. } = &mut self.slots[at];
            let credentials = &self.order.credentials;
            let read =
                link.read(&mut self.scratch, |out, bytes| client.take(out, bytes, credentials, &mut tally));
            if let Role::Subscriber(subscriber) = &client.role {
                subscriber.tell(shared, plan);
            }
            if link.has_out() {
                self.to_flush.push(at);
            }
            *is_readable = matches!(read, Ok(Read::More));
            match read {
                Ok(Read::More) => self.readable.push(at),
                Ok(Read::Drained) => {}
                Ok(Read::Closed) => self.lose(at, &Lost("the server closed the connection".into())),
                Err(lost) => self.lose(at, &lost),
            }
            self.count(at, now);
        }
        tally.flush();
        let cell = self.cell;
        cell.received.fetch_add(tally.received, Ordering::Relaxed);
        cell.duplicates.fetch_add(tally.duplicates, Ordering::Relaxed);
        cell.reordered.fetch_add(tally.reordered, Ordering::Relaxed);
        cell.foreign.fetch_add(tally.foreign, Ordering::Relaxed);
        self.group = group;
    }

    /// A client that has become ready, or whose last word is confirmed, is told to `run` once.
    fn count(&mut self, at: usize, now: u64) {
        let slot = &mut self.slots[at];
        if slot.client.stage == Stage::Ready && !slot.is_counted {
            slot.is_counted = true;
            self.n_opening -= 1;
            let took = now.saturating_sub(slot.client.since).max(1);
            lock(&self.cell.handshakes).saturating_record(took);
            self.cell.ready.fetch_add(1, Ordering::Release);
        }
        if slot.client.is_confirmed && !slot.is_confirmed {
            slot.is_confirmed = true;
            self.cell.confirmed.fetch_add(1, Ordering::Release);
        }
    }

    /// True if anything was sent.
    fn publish(&mut self, now: u64) -> bool {
        let phase = self.shared.phase();
        if phase < Phase::Running {
            return false;
        }
        let mut has_sent = false;
        let since = now.saturating_sub(self.shared.started());
        for k in 0..self.publishers.len() {
            let at = self.publishers[k];
            match self.publish_one(at, now, since, phase) {
                Ok(sent) => has_sent |= sent,
                Err(lost) => self.lose(at, &lost),
            }
        }
        has_sent
    }

    fn publish_one(&mut self, at: usize, now: u64, since: u64, phase: Phase) -> Result<bool, Lost> {
        let Slot { link, client, is_finished, .. } = &mut self.slots[at];
        let Role::Publisher(publisher) = &mut client.role else { return Ok(false) };
        if *is_finished || !link.is_writable {
            return Ok(false);
        }
        let mut has_sent = false;
        for _ in 0..BATCHES_PER_TURN {
            let was_blocked = !publisher.batch.pending().is_empty();
            if !write_batch(link, publisher)? || !link.flush()? {
                return Ok(has_sent);
            }
            if phase != Phase::Running || publisher.is_finished() {
                break;
            }
            let room = publisher.room(self.plan, self.shared, since);
            let n = room.min(publisher.batch.n_max() as u64);
            if n == 0 {
                return Ok(has_sent);
            }
            publisher.fill(n, self.plan, self.shared, now, was_blocked);
            self.cell.sent.fetch_add(n, Ordering::Relaxed);
            has_sent = true;
        }
        self.late += std::mem::take(&mut publisher.late);
        self.cell.late.store(self.late, Ordering::Relaxed);
        let is_done = publisher.is_finished() || phase == Phase::Draining;
        if is_done && write_batch(link, publisher)? {
            *is_finished = true;
            self.cell.finished.fetch_add(1, Ordering::Release);
            client.ask_to_confirm(link.out());
            self.to_flush.push(at);
        }
        Ok(has_sent)
    }

    /// Words wait for the rest of a batch: they must not land in the middle of a message.
    fn flush(&mut self) {
        for at in std::mem::take(&mut self.to_flush) {
            let Slot { link, client, .. } = &mut self.slots[at];
            let is_whole = match &mut client.role {
                Role::Publisher(publisher) => write_batch(link, publisher),
                Role::Subscriber(_) => Ok(true),
            };
            let flushed = is_whole.and_then(|is_whole| if is_whole { Ok(link.flush()?) } else { Ok(false) });
            if let Err(lost) = flushed {
                self.lose(at, &lost);
            }
        }
    }

    fn tick(&mut self, now: u64) {
        let timeout = self.order.timeout.as_nanos() as u64;
        for at in 0..self.slots.len() {
            let Slot { link, client, .. } = &mut self.slots[at];
            if client.stage != Stage::Ready && now.saturating_sub(client.since) > timeout {
                let lost = Lost(format!("{} did not come within {:?}", client.awaited(), self.order.timeout));
                self.lose(at, &lost);
                return;
            }
            let is_mqtt = client.protocol != Protocol::Nats;
            let quiet = now.saturating_sub(client.spoken);
            if is_mqtt && client.stage == Stage::Ready && quiet > u64::from(KEEP_ALIVE_SECS) * 500_000_000 {
                client.spoken = now;
                client.ping(link.out());
                self.to_flush.push(at);
            }
        }
    }

    fn wake_others(&self) {
        for cell in &self.shared.cells {
            if !std::ptr::eq(cell, self.cell) {
                cell.wake();
            }
        }
    }

    fn lose(&mut self, at: usize, lost: &Lost) {
        let client = &self.slots[at].client;
        if self.shared.phase() == Phase::Stopped {
            return;
        }
        let said = self.shared.last_heard();
        let said = if said.is_empty() || lost.0.contains(&said) {
            String::new()
        } else {
            format!("; it last said: {said}")
        };
        self.shared.fail(format!("{} ({}): {}{said}", client.name, client.address, lost.0));
    }

    /// A polite end; a server that no longer listens does not matter.
    fn leave(&mut self) {
        for Slot { link, client, .. } in &mut self.slots {
            client.say_goodbye(link.out());
            let _ = link.flush();
        }
    }
}

/// True once nothing of the batch is left.
fn write_batch(link: &mut Link, publisher: &mut Publisher) -> Result<bool, Lost> {
    let pending = publisher.batch.pending();
    if pending.is_empty() {
        return Ok(true);
    }
    let written = link.write(pending)?;
    publisher.batch.written(written);
    Ok(publisher.batch.pending().is_empty())
}

/// An error without its number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".into(),
        io::ErrorKind::TimedOut => "no answer".into(),
        _ => error.to_string(),
    }
}

/// The share of a run's clients that each worker has.
pub fn share(plan: &Plan, workers: usize, role: usize, is_subscriber: bool) -> usize {
    match plan.shape {
        // The members of a group count together, so one worker has them all.
        crate::plan::Shape::Queue if is_subscriber => workers - 1,
        _ => role % workers,
    }
}

pub fn new_subscriber(plan: &Plan, idx: usize) -> Role {
    Role::Subscriber(Box::new(Subscriber::new(plan, idx)))
}
