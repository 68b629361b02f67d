//! What clients ask of the server itself, over NATS: `$SYS.REQ.USER.INFO` and `$SYS.REQ.SERVER.PING`. A core
//! answers by itself, with the counters that the others published last.

use super::super::about::About;
use super::super::desk::CoreDesk;
use super::super::process::{Processor, resident_bytes};
use super::ACCOUNT;
use super::varz::Flow;
use crate::shard::system::{Asked, Request};
use crate::time::{Span, Time};
use serde_json::{Value, json};

/// The kernel is asked no more often than this, however often clients ask.
const LOOK_EVERY: Span = Span::from_millis(500);

/// What one core tells its clients.
#[derive(Debug, Default)]
pub struct Teller {
    n_told: u64,
    processor: Processor,
    resident_bytes: u64,
    looked_at: Option<Time>,
}

impl Teller {
    pub fn tell(&mut self, request: &Request, desk: &CoreDesk, now: Time) -> Vec<u8> {
        let about = &desk.shared().about;
        self.n_told += 1;
        let mut answer = json!({"server": self.server(about, now)});
        match request.asked {
            Asked::UserInfo => {
                let user = request.user.as_deref().unwrap_or_default();
                answer["data"] = json!({"user": user, "account": ACCOUNT, "account_name": ACCOUNT});
            }
            Asked::ServerPing => answer["statsz"] = self.stats(about, desk, now),
        }
        answer.to_string().into_bytes()
    }

    fn server(&self, about: &About, now: Time) -> Value {
        json!({
            "name": about.server_name,
            "host": about.nats.map_or(String::new(), |at| at.ip().to_string()),
            "id": about.server_id,
            "ver": about.nats_version,
            "jetstream": false,
            "flags": 0,
            "seq": self.n_told,
            "time": about.date(now),
        })
    }

    fn stats(&mut self, about: &About, desk: &CoreDesk, now: Time) -> Value {
        if self.looked_at.is_none_or(|at| now.since(at) >= LOOK_EVERY) {
            self.looked_at = Some(now);
            self.resident_bytes = resident_bytes();
        }
        let total = desk.total();
        let Flow { in_msgs, in_bytes, out_msgs, out_bytes } = Flow::of(&total);
        json!({
            "start": about.date(Time::START),
            "mem": self.resident_bytes,
            "cores": about.n_processors,
            "cpu": self.processor.percent(now),
            "connections": total.n_connections.iter().sum::<u64>(),
            "total_connections": total.n_accepted.iter().sum::<u64>(),
            "active_accounts": 1,
            "subscriptions": total.n_subscriptions.iter().sum::<u64>(),
            "sent": {"msgs": out_msgs, "bytes": out_bytes},
            "sent_to_clients": {"msgs": out_msgs, "bytes": out_bytes},
            "received": {"msgs": in_msgs, "bytes": in_bytes},
            "received_from_clients": {"msgs": in_msgs, "bytes": in_bytes},
            "slow_consumers": total.slow_consumers,
            "active_servers": 1,
            "gomaxprocs": about.n_cores,
        })
    }
}
