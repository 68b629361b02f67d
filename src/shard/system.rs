//! What NATS clients ask of the server itself. The shard knows neither the date nor the process, so its driver
//! makes the answer; from here it goes to the reply subject like any message.

use super::Shard;
use super::connection::Protocol;
use super::fanout::Publisher;
use super::id::{ConnectionId, CoreId};
use super::publish::Ask;
use crate::message::Message;
pub use crate::nats::connection::ServerRequest as Asked;
use crate::payload::Payload;
use crate::time::Time;

/// A request to be answered.
#[derive(Debug)]
pub struct Request {
    pub asked: Asked,
    /// As the requester names itself.
    pub user: Option<Box<str>>,
    requester: ConnectionId,
    reply: Box<[u8]>,
}

impl Shard {
    /// Takes a request to the server itself, unless its answer must wait for another core's outbox.
    pub(super) fn take_request(
        &mut self,
        requester: ConnectionId,
        asked: Asked,
        reply: &[u8],
    ) -> Result<(), CoreId> {
        let plan = self.plan(reply)?;
        self.drop_plan(plan);
        let user = self.clients.slots.get(requester).and_then(|connection| match &connection.protocol {
            Protocol::Nats(nats) => nats.options().user.clone(),
            Protocol::Mqtt(_) => None,
        });
        self.clients.effects.requests.push(Request { asked, user, requester, reply: reply.into() });
        Ok(())
    }

    /// Sends the answer to a request. Its way was clear when the request was taken; what has filled since then
    /// is exceeded by this one message.
    pub fn answer(&mut self, request: &Request, payload: &[u8], now: Time) {
        self.now = now;
        let plan = self.plan_anyway(&request.reply);
        let message = Message::plain(&request.reply, Payload::Copied(payload));
        let publisher = Publisher::new(request.requester, true);
        self.carry_out(publisher, &message, plan, Ask::Nothing);
        self.settle(now);
    }
}
