//! A client's talk with a NATS server.

use crate::client::{Client, Credentials, Lost, Role, Stage};
use crate::nats::{self, Op};
use crate::subscriber::{Subscriber, Tally};

impl Client {
    pub fn take_nats(
        &mut self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        credentials: &Credentials,
        tally: &mut Tally<'_>,
    ) -> Result<usize, Lost> {
        let mut at = 0;
        loop {
            if let Role::Subscriber(subscriber) = &mut self.role {
                at += known_messages(subscriber, &bytes[at..], tally);
            }
            let Some((op, length)) = nats::parse(&bytes[at..]).map_err(|malformed| broken(&malformed))?
            else {
                return Ok(at);
            };
            at += length;
            self.hear(out, &op, credentials, tally)?;
        }
    }

    fn hear(
        &mut self,
        out: &mut Vec<u8>,
        op: &Op<'_>,
        credentials: &Credentials,
        tally: &mut Tally<'_>,
    ) -> Result<(), Lost> {
        match op {
            Op::Message(message) => {
                if let Role::Subscriber(subscriber) = &mut self.role {
                    if message.headers.is_empty() && message.reply.is_none() {
                        message.line.clone_into(&mut subscriber.line);
                    }
                    subscriber.message(message.payload, tally);
                }
            }
            Op::Ping => out.extend_from_slice(b"PONG\r\n"),
            Op::Pong => self.pong(out, tally),
            Op::Ok => {}
            Op::Info(info) => self.info(out, info, credentials, tally)?,
            Op::Error(text) => {
                let text = nats::printable(text);
                tally.shared.heard(&format!("-ERR {text}"));
                return Err(Lost(match self.stage {
                    Stage::Ready => format!("the server reports -ERR {text}"),
                    _ => format!("the server refuses: -ERR {text}"),
                }));
            }
        }
        Ok(())
    }

    fn pong(&mut self, out: &mut Vec<u8>, tally: &Tally<'_>) {
        match self.stage {
            Stage::Confirming => self.subscribe(out, tally.plan),
            Stage::Subscribing(_) => self.stage = Stage::Ready,
            _ => self.confirmed(),
        }
    }

    fn info(
        &mut self,
        out: &mut Vec<u8>,
        info: &[u8],
        credentials: &Credentials,
        tally: &Tally<'_>,
    ) -> Result<(), Lost> {
        // Later INFOs tell of other servers; we stay.
        if self.stage != Stage::Greeting {
            return Ok(());
        }
        let info: serde_json::Value = serde_json::from_slice(info)
            .map_err(|_| Lost("the server's INFO is not JSON: is this a NATS port?".into()))?;
        if info["tls_required"] == true {
            return Err(Lost("the server wants TLS, which this tool does not speak".into()));
        }
        let size = tally.plan.size as u64;
        if let Some(most) = info["max_payload"].as_u64().filter(|most| *most > 0 && size > *most) {
            return Err(Lost(format!("the server takes payloads of at most {most} bytes, not {size}")));
        }
        let login = nats::Login {
            name: &self.name,
            user: credentials.user.as_deref(),
            password: credentials.password.as_deref(),
            token: credentials.token.as_deref(),
        };
        nats::connect(out, &login);
        self.stage = Stage::Confirming;
        Ok(())
    }
}

/// The messages that look like the last one: they need no parsing. Gives the bytes they take.
#[inline]
fn known_messages(subscriber: &mut Subscriber, bytes: &[u8], tally: &mut Tally<'_>) -> usize {
    if subscriber.line.is_empty() {
        return 0;
    }
    let line = std::mem::take(&mut subscriber.line);
    let size = size_in(&line);
    let (begin, end, length) = (line.len(), line.len() + size, line.len() + size + 2);
    let mut at = 0;
    while let Some(frame) = bytes.get(at..at + length) {
        if !frame.starts_with(&line) || &frame[end..] != b"\r\n" {
            break;
        }
        subscriber.message(&frame[begin..end], tally);
        at += length;
    }
    subscriber.line = line;
    at
}

/// The last number of a control line that has been parsed before.
fn size_in(line: &[u8]) -> usize {
    let digits = line.trim_ascii_end().iter().rev().take_while(|byte| byte.is_ascii_digit());
    digits.fold((0, 1), |(value, unit), digit| (value + usize::from(digit - b'0') * unit, unit * 10)).0
}

fn broken(malformed: &nats::Malformed) -> Lost {
    Lost(format!("the server does not speak NATS: it sent {}", malformed.0))
}
