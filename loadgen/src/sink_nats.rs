//! What the sink says to a NATS client.

use memchr::memchr;

use crate::nats;
use crate::sink::{Counted, Leave};

pub const INFO: &[u8] =
    b"INFO {\"server_id\":\"sink\",\"server_name\":\"loadgen sink\",\"version\":\"2.10.0\",\
    \"proto\":1,\"headers\":true,\"max_payload\":67108864}\r\n";
const LINE_MAX: usize = 64 * 1024;

#[derive(Default)]
pub struct NatsTalk {
    /// The last message's line, by which the next is recognised, and its length with the payload.
    line: Vec<u8>,
    length: usize,
}

impl NatsTalk {
    pub fn take(&mut self, out: &mut Vec<u8>, bytes: &[u8], counted: &mut Counted) -> Result<usize, Leave> {
        let mut at = 0;
        loop {
            at += self.known(&bytes[at..], counted);
            let rest = &bytes[at..];
            let Some(newline) = memchr(b'\n', &rest[..rest.len().min(LINE_MAX)]) else {
                let is_long = rest.len() >= LINE_MAX;
                return if is_long { Err(Leave::Wrong("a line without an end")) } else { Ok(at) };
            };
            let line = &rest[..=newline];
            let mut words = line.trim_ascii().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            match words.next() {
                Some(b"PUB" | b"HPUB") => {
                    let size = words.next_back().and_then(nats::number);
                    let length = line.len() + size.ok_or(Leave::Wrong("a message without its size"))? + 2;
                    let Some(frame) = rest.get(..length) else { return Ok(at) };
                    if !frame.ends_with(b"\r\n") {
                        return Err(Leave::Wrong("a payload that does not end where it was said to"));
                    }
                    // Counted as the first of its kind.
                    line.clone_into(&mut self.line);
                    self.length = length;
                }
                Some(word) => {
                    match word {
                        b"PING" => out.extend_from_slice(b"PONG\r\n"),
                        b"CONNECT" | b"SUB" | b"UNSUB" | b"PONG" => {}
                        _ => return Err(Leave::Wrong("it does not speak NATS")),
                    }
                    at += line.len();
                }
                None => return Err(Leave::Wrong("an empty line")),
            }
        }
    }

    /// Counts the messages that look like the last one; gives the bytes they take.
    #[inline]
    fn known(&self, bytes: &[u8], counted: &mut Counted) -> usize {
        if self.line.is_empty() {
            return 0;
        }
        let (mut at, mut n) = (0, 0);
        while let Some(frame) = bytes.get(at..at + self.length) {
            if !frame.starts_with(&self.line) || &frame[self.length - 2..] != b"\r\n" {
                break;
            }
            at += self.length;
            n += 1;
        }
        counted.messages += n;
        counted.bytes += at as u64;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TALK: &[u8] = b"CONNECT {}\r\nPING\r\nPUB a 2\r\nhi\r\nPUB a 2\r\nho\r\nPUB b r 0\r\n\r\n\
        HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nSUB a 1\r\nPING\r\n";

    #[test]
    fn messages_count_wherever_the_bytes_are_cut() {
        for cut in 0..=TALK.len() {
            let (mut talk, mut out, mut counted) = (NatsTalk::default(), Vec::new(), Counted::default());
            let taken = talk.take(&mut out, &TALK[..cut], &mut counted).expect("it is right");
            let rest = talk.take(&mut out, &TALK[taken..], &mut counted).expect("it is right");
            assert_eq!((taken + rest, counted.messages), (TALK.len(), 4), "cut at {cut}");
            assert_eq!(out, b"PONG\r\nPONG\r\n");
        }
    }

    proptest! {
        #[test]
        fn nearly_right_bytes_are_survived(at in 0..TALK.len(), byte: u8) {
            let mut bytes = TALK.to_vec();
            bytes[at] = byte;
            let (mut talk, mut out, mut counted) = (NatsTalk::default(), Vec::new(), Counted::default());
            if let Ok(taken) = talk.take(&mut out, &bytes, &mut counted) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
