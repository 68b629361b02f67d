//! Many messages in one buffer: copies of a ready-made frame in which only the header changes. Not when they
//! are sent.

use crate::mqtt::encode;
use crate::nats;
use crate::payload;
use crate::plan::{Plan, Protocol};

/// One write's worth.
const BATCH_BYTES: usize = 128 * 1024;
/// Over all publishers of a worker.
const BATCHES_BYTES: usize = 128 * 1024 * 1024;

/// What changes from message to message.
pub struct Mark {
    pub words: (u64, u64),
    /// The MQTT packet id; without meaning at QoS 0.
    pub id: u16,
    /// Which of the publisher's own subjects, from 0.
    pub subject: usize,
}

pub struct Batch {
    /// The publisher's heads, one after the other, and where each ends.
    heads: Vec<u8>,
    head_ends: Vec<usize>,
    /// Where the packet id stands, counted back from the head's end.
    id_back: usize,
    has_id: bool,
    size: usize,
    end: &'static [u8],
    /// Frames; with one subject they are kept and only marked anew.
    buffer: Vec<u8>,
    /// What of it is to be written: `at..until`.
    at: usize,
    until: usize,
    bytes_max: usize,
}

impl Batch {
    pub fn new(plan: &Plan, publisher: usize, publishers_here: usize) -> Batch {
        let (mut heads, mut head_ends, mut id_back) = (Vec::new(), Vec::new(), 0);
        let (first, step, count) = plan.subjects_of(publisher);
        for k in 0..count {
            let subject = plan.subject(plan.from, first + k * step);
            match plan.from {
                Protocol::Nats => nats::publish_line(&mut heads, &subject, None, plan.size),
                Protocol::Mqtt(version) => {
                    let topic = subject.as_bytes();
                    let id_at = encode::publish_head(&mut heads, version, plan.qos, topic, plan.size, None);
                    id_back = heads.len() - id_at;
                }
            }
            head_ends.push(heads.len());
        }
        Batch {
            heads,
            head_ends,
            id_back,
            has_id: plan.from != Protocol::Nats && plan.qos > 0,
            size: plan.size,
            end: if plan.from == Protocol::Nats { b"\r\n" } else { b"" },
            buffer: Vec::new(),
            at: 0,
            until: 0,
            bytes_max: BATCH_BYTES.min(BATCHES_BYTES / publishers_here.max(1)),
        }
    }

    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.at..self.until]
    }

    pub fn written(&mut self, n: usize) {
        self.at += n;
    }

    /// How many messages one batch holds.
    pub fn n_max(&self) -> usize {
        let longest = self.head_ends.first().map_or(0, |end| end + self.size + self.end.len());
        (self.bytes_max / longest.max(1)).max(1)
    }

    /// Makes `n` messages ready to be written; nothing may be pending.
    pub fn fill(&mut self, n: usize, mut next: impl FnMut() -> Mark) {
        self.at = 0;
        if let &[head] = self.head_ends.as_slice() {
            self.until = n * (head + self.size + self.end.len());
            self.mark_copies(head, n, next);
            return;
        }
        self.buffer.clear();
        for _ in 0..n {
            let mark = next();
            let begin = self.buffer.len();
            let head_begin = if mark.subject == 0 { 0 } else { self.head_ends[mark.subject - 1] };
            let head = &self.heads[head_begin..self.head_ends[mark.subject]];
            self.buffer.extend_from_slice(head);
            let header_at = begin + head.len();
            append_body(&mut self.buffer, self.size, self.end);
            let (head_bytes, body) = self.buffer[begin..].split_at_mut(header_at - begin);
            put_words(body, mark.words);
            if self.has_id {
                put_id(head_bytes, self.id_back, mark.id);
            }
        }
        self.until = self.buffer.len();
    }

    fn mark_copies(&mut self, head: usize, n: usize, mut next: impl FnMut() -> Mark) {
        let stride = head + self.size + self.end.len();
        while self.buffer.len() < n * stride {
            self.buffer.extend_from_slice(&self.heads);
            append_body(&mut self.buffer, self.size, self.end);
        }
        for frame in self.buffer.chunks_exact_mut(stride).take(n) {
            let mark = next();
            let (head_bytes, body) = frame.split_at_mut(head);
            put_words(body, mark.words);
            if self.has_id {
                put_id(head_bytes, self.id_back, mark.id);
            }
        }
    }
}

fn append_body(buffer: &mut Vec<u8>, size: usize, end: &[u8]) {
    buffer.resize(buffer.len() + size, b'.');
    buffer.extend_from_slice(end);
}

#[inline]
fn put_words(body: &mut [u8], (first, second): (u64, u64)) {
    let header = body.first_chunk_mut::<{ payload::LENGTH }>().expect("the command line refuses less");
    header[..8].copy_from_slice(&first.to_le_bytes());
    header[8..].copy_from_slice(&second.to_le_bytes());
}

#[inline]
fn put_id(head: &mut [u8], back: usize, id: u16) {
    let at = head.len() - back;
    head[at..at + 2].copy_from_slice(&id.to_be_bytes());
}
