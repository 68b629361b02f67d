//! Several shards and their clients, with mail that comes at once: for what is about bytes, not about order
//! or chance, which are the simulation's.

use super::*;

/// A client: its place among those of the test.
pub type Client = usize;

pub struct Several {
    pub shards: Vec<Shard>,
    pub now: Time,
    places: Vec<(CoreId, ConnectionId)>,
    sent: Vec<Vec<u8>>,
}

impl Several {
    pub fn new(n_cores: usize, settings: Settings) -> Self {
        let settings = Arc::new(Settings { n_cores, interest_slice: 1_024, ..settings });
        let keys = Keys::from_seed([1, 2, 3, 4, 5, 6]);
        let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
        let shard = |core| Shard::new(CoreId(core), settings.clone(), &keys, retained.clone(), 7);
        let shards = (0..n_cores as u16).map(shard).collect();
        Self { shards, now: Time::START, places: Vec::new(), sent: Vec::new() }
    }

    pub fn connect(&mut self, core: usize, listener: Listener) -> Client {
        let nth = self.places.len() as u64;
        let door = Door::first(listener);
        let id = self.shards[core].accept(door, "127.0.0.1:9".parse().unwrap(), nth, self.now);
        self.places.push((CoreId(core as u16), id));
        self.sent.push(Vec::new());
        self.come_to_rest();
        self.places.len() - 1
    }

    /// What the client was sent so far is forgotten.
    pub fn nats(&mut self, core: usize, ops: &str) -> Client {
        let client = self.connect(core, Listener::Nats);
        self.receive(client, b"CONNECT {\"verbose\":false,\"headers\":true,\"name\":\"probe\"}\r\n");
        self.receive(client, ops.as_bytes());
        self.sent(client);
        client
    }

    /// The client says this, and all that follows from it happens.
    pub fn receive(&mut self, client: Client, bytes: &[u8]) {
        let (core, id) = self.places[client];
        let mut input = vec![0; 1 << 16];
        let shard = &mut self.shards[core.idx()];
        let n_kept = shard.begin_read(id, &mut input);
        input[n_kept..n_kept + bytes.len()].copy_from_slice(bytes);
        shard.receive(id, &input[..n_kept + bytes.len()], self.now);
        self.come_to_rest();
    }

    /// The client is lost.
    pub fn lose(&mut self, client: Client) {
        let (core, id) = self.places[client];
        self.shards[core.idx()].end_of_input(id, true, self.now);
        self.shards[core.idx()].release(id, self.now);
        self.come_to_rest();
    }

    /// What a client has been sent since the last look.
    pub fn sent(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.sent[client])
    }

    pub fn is_closing(&self, client: Client) -> bool {
        let (core, id) = self.places[client];
        self.shards[core.idx()].is_closing(id)
    }

    /// The core that serves it.
    pub fn core(&self, client: Client) -> usize {
        self.places[client].0.idx()
    }

    pub fn come_to_rest(&mut self) {
        while (0..self.shards.len()).map(|core| self.turn(core)).filter(|goes_on| *goes_on).count() > 0 {}
    }

    /// Does what a core asks for; whether there was anything.
    fn turn(&mut self, core: usize) -> bool {
        let from = CoreId(core as u16);
        let effects = std::mem::take(self.shards[core].effects());
        let mut does_something = !effects.is_empty();
        for id in effects.flush {
            self.flush(from, id);
        }
        for (id, home) in effects.depart {
            let moved = self.shards[core].depart(id).unwrap();
            let client = self.places.iter().position(|place| *place == (from, id)).unwrap();
            self.places[client] = (home, self.shards[home.idx()].arrive(moved, self.now));
        }
        for to in 0..self.shards.len() {
            while to != core
                && let Some(batch) = self.shards[core].take_batch(CoreId(to as u16), self.now)
            {
                self.shards[to].mail(from, &batch, self.now);
                does_something = true;
            }
        }
        let is_due = |shard: &Shard| shard.wake_at().is_some_and(|at| at <= self.now);
        if self.shards[core].goes_on() || is_due(&self.shards[core]) {
            self.shards[core].tick(self.now);
            does_something = true;
        }
        does_something
    }

    fn flush(&mut self, core: CoreId, id: ConnectionId) {
        let Some(client) = self.places.iter().position(|place| *place == (core, id)) else { return };
        let shard = &mut self.shards[core.idx()];
        while let Some(queue) = shard.queue(id)
            && !queue.is_empty()
        {
            let n = queue.front().len();
            self.sent[client].extend_from_slice(queue.front());
            shard.flushed(id, n, self.now);
        }
    }
}
