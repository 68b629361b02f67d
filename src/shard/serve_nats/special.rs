//! Publishes that don't go to their subscribers as they are written: denied, for the gateway itself, answers to
//! requests of MQTT clients, and those of clients that are set apart.

use super::neutral;
use crate::message::{GATEWAY_INBOX, Message, Quality};
use crate::nats::connection::Special;
use crate::nats::op::Publish;
use crate::payload::{Payload, share_if_large};
use crate::shard::Shard;
use crate::shard::connection::Protocol;
use crate::shard::crossing;
use crate::shard::id::ConnectionId;
use crate::shard::input::Served;
use crate::shard::publish::Ask;
use crate::shard::reading::Read;
use crate::subject::view::View;
use std::borrow::Cow;
use std::rc::Rc;

impl Shard {
    #[cold]
    pub(super) fn nats_publish_special(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        special: Special,
        input: &[u8],
        n_taken: usize,
    ) -> Served {
        match special {
            Special::Denied(denied) => {
                self.clients.counters.denied += 1;
                self.nats_refuse(id, "", |nats, out| nats.publish_denied(publish, denied, out));
            }
            Special::Request(asked) => {
                let reply = self.canonical(id, publish.reply);
                if let Err(full) = self.take_request(id, asked, &reply) {
                    return self.wait_for_outbox(id, full);
                }
                self.with_nats(id, |nats, out| nats.acknowledge(out));
            }
            Special::Apart => {
                let subject = self.canonical(id, publish.subject);
                let reply = self.canonical_reply(id, publish.reply);
                let apart = Publish { subject: &subject, reply: &reply, ..*publish };
                return self.nats_publish(id, publish, Some(&apart), input, n_taken);
            }
            Special::ReadOne(at) | Special::ReadMany(at) => {
                let read = if matches!(special, Special::ReadOne(_)) { Read::One } else { Read::Many };
                if let Err(full) = self.take_read(id, read, &publish.subject[at..], publish.reply) {
                    return self.wait_for_outbox(id, full);
                }
                self.with_nats(id, |nats, out| nats.acknowledge(out));
            }
            Special::Answer => return self.nats_answer(id, publish, n_taken),
        }
        Served::Taken(n_taken)
    }

    /// Takes the answer to a request of an MQTT client.
    fn nats_answer(&mut self, id: ConnectionId, publish: &Publish<'_>, n_taken: usize) -> Served {
        let to = match self.answer_to(publish.subject) {
            Ok(to) => to,
            Err(full) => return self.wait_for_outbox(id, full),
        };
        let Some(connection) = self.clients.slots.get(id) else { return Served::Ended };
        let Protocol::Nats(nats) = &connection.protocol else { return Served::Ended };
        let wants_no_responders = nats.wants_no_responders();
        let reply = self.canonical_reply(id, publish.reply);
        let is_mounted = self.view(id).is_some_and(|view| view.is_mounted());
        let shared = share_if_large(publish.payload);
        let payload = Payload::of(publish.payload, shared.as_ref());
        let asked = crossing::asked(publish.header);
        self.clients.counters.headers_unknown += asked.map_or(0, |asked| asked.n_unknown);
        let cleaned = asked.map(|_| crossing::without_forbidden(publish.header, is_mounted));
        let cleaned = self.identified(id, cleaned.as_deref().unwrap_or(publish.header)).or(cleaned);
        let quality = asked.and_then(|asked| asked.quality).unwrap_or(Quality::AtMostOnce);
        let (ask, reply_to_answer) = match &*reply {
            b"" => (Ask::Nothing, &b""[..]),
            reply if quality > Quality::AtMostOnce => {
                (Ask::Acknowledgement { reply, is_retained: false }, &b""[..])
            }
            reply if wants_no_responders => (Ask::NoResponders { subject: publish.subject }, reply),
            reply => (Ask::Nothing, reply),
        };
        let message = Message {
            reply: reply_to_answer,
            header: cleaned.as_deref().unwrap_or(publish.header),
            quality,
            ..neutral(publish, payload)
        };
        self.with_nats(id, |nats, out| nats.acknowledge(out));
        self.count_published(&message, publish.header.len());
        self.carry_out_answer(id, &message, to, ask);
        Served::Taken(n_taken)
    }

    /// How a NATS client's names stand to everybody's, where they are not the same.
    pub(in crate::shard) fn view(&self, id: ConnectionId) -> Option<&Rc<View>> {
        match &self.clients.slots.get(id)?.protocol {
            Protocol::Nats(nats) => nats.view(),
            Protocol::Mqtt(_) => None,
        }
    }

    /// What a name that a client publishes to is to everybody else.
    pub(in crate::shard) fn canonical<'n>(&self, id: ConnectionId, name: &'n [u8]) -> Cow<'n, [u8]> {
        self.view(id).map_or(Cow::Borrowed(name), |view| view.canonical(name))
    }

    /// The same of a reply subject. One of the gateway's is what it is for whoever has it.
    fn canonical_reply<'n>(&self, id: ConnectionId, reply: &'n [u8]) -> Cow<'n, [u8]> {
        if reply.is_empty() || reply.starts_with(GATEWAY_INBOX) {
            return Cow::Borrowed(reply);
        }
        self.canonical(id, reply)
    }
}
