//! `/connz`: the connections, one by one.

use super::super::about::{About, duration, uptime};
use super::super::collect::{Collection, Found};
use super::{ACCOUNT, BadQuery, Query};
use crate::message::ProtocolKind;
use crate::shard::census::{Seen, SeenSubscription};
use crate::shard::closed::{Closed, Reason};
use crate::time::Time;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    sort: Sort,
    state: State,
    subscriptions: Subscriptions,
    shows_user: bool,
    cid: Option<u64>,
    user: Option<String>,
    mqtt_client: Option<String>,
    has_account: bool,
    /// One of its subscriptions may get a message that this filter matches.
    filter_subject: Option<String>,
    offset: usize,
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscriptions {
    Hidden,
    Subjects,
    Detailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Cid,
    Start,
    Subscriptions,
    Pending,
    MessagesTo,
    MessagesFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    RoundTrip,
    Stop,
    Reason,
}

const SORTS: [(&str, Sort); 14] = [
    ("cid", Sort::Cid),
    ("start", Sort::Start),
    ("subs", Sort::Subscriptions),
    ("pending", Sort::Pending),
    ("msgs_to", Sort::MessagesTo),
    ("msgs_from", Sort::MessagesFrom),
    ("bytes_to", Sort::BytesTo),
    ("bytes_from", Sort::BytesFrom),
    ("last", Sort::Last),
    ("idle", Sort::Idle),
    ("uptime", Sort::Uptime),
    ("rtt", Sort::RoundTrip),
    ("stop", Sort::Stop),
    ("reason", Sort::Reason),
];

impl Wanted {
    pub fn parse(query: &Query) -> Result<Self, BadQuery> {
        let sort = match query.text("sort") {
            None => Sort::Cid,
            Some(name) => SORTS
                .iter()
                .find(|(own, _)| *own == name)
                .map(|(_, sort)| *sort)
                .ok_or_else(|| BadQuery(format!("invalid sorting option: {name}")))?,
        };
        let state = match query.text("state").map(str::to_ascii_lowercase).as_deref() {
            None | Some("open" | "0") => State::Open,
            Some("closed" | "1") => State::Closed,
            Some("any" | "all" | "2") => State::Any,
            Some(other) => {
                return Err(BadQuery(format!("Error decoding state for {other}")));
            }
        };
        if state == State::Open && matches!(sort, Sort::Stop | Sort::Reason) {
            let name = query.text("sort").unwrap_or_default();
            return Err(BadQuery(format!("sort by {name} only valid on closed connections")));
        }
        let subscriptions = match query.text("subs") {
            Some("detail") => Subscriptions::Detailed,
            _ if query.flag("subs")? => Subscriptions::Subjects,
            _ => Subscriptions::Hidden,
        };
        let (offset, limit) = query.part()?;
        let text = |name| query.text(name).map(str::to_owned);
        let filter_subject = text("filter_subject").filter(|filter| filter != ">");
        if filter_subject.is_some() && text("acc").is_none() {
            return Err(BadQuery("filter by subject only valid with account filtering".into()));
        }
        Ok(Self {
            sort,
            state,
            subscriptions,
            shows_user: query.flag("auth")?,
            cid: query.number("cid")?.filter(|&cid| cid > 0),
            user: text("user"),
            mqtt_client: text("mqtt_client"),
            has_account: text("acc").is_none_or(|account| account == ACCOUNT),
            filter_subject,
            offset,
            limit,
        })
    }

    fn wants(&self, seen: &Seen) -> bool {
        self.has_account
            && self.cid.is_none_or(|cid| cid == seen.cid)
            && self.user.as_deref().is_none_or(|user| seen.user.as_deref() == Some(user))
            && self.mqtt_client.as_deref().is_none_or(|id| seen.mqtt_client.as_deref() == Some(id))
    }
}

impl Sort {
    fn sort(self, found: &mut [Found]) {
        // Ties stay in the order in which they were accepted.
        found.sort_by_key(|one| one.seen.cid);
        let traffic = |one: &Found| one.seen.traffic;
        match self {
            Self::Cid => {}
            Self::Start => found.sort_by_key(|one| one.seen.accepted_at),
            Self::Subscriptions => found.sort_by_key(|one| Reverse(one.seen.n_subscriptions)),
            Self::Pending => found.sort_by_key(|one| Reverse(one.seen.n_pending_bytes)),
            Self::MessagesTo => found.sort_by_key(|one| Reverse(traffic(one).n_out)),
            Self::MessagesFrom => found.sort_by_key(|one| Reverse(traffic(one).n_in)),
            Self::BytesTo => found.sort_by_key(|one| Reverse(traffic(one).out_bytes)),
            Self::BytesFrom => found.sort_by_key(|one| Reverse(traffic(one).in_bytes)),
            Self::Last => found.sort_by_key(|one| Reverse(one.seen.active_at)),
            // Who has been silent for longest, and who has been here for longest.
            Self::Idle => found.sort_by_key(|one| one.seen.active_at),
            Self::Uptime => found.sort_by_key(|one| one.seen.accepted_at),
            Self::RoundTrip => found.sort_by_key(|one| Reverse(one.seen.round_trip)),
            Self::Stop => found.sort_by_key(|one| Reverse(one.seen.end.map(|(at, _)| at))),
            Self::Reason => found.sort_by_key(|one| one.seen.end.map(|(_, closed)| reason(closed))),
        }
    }
}

/// Asks the cores and shows what they answer.
pub async fn to_json(collection: &Collection, wanted: &Wanted, now: Time) -> Value {
    let about = &collection.shared.about;
    let mut found = Vec::new();
    if wanted.state != State::Closed {
        found.extend(collection.connections(|seen| wanted.wants(seen)).await);
        if let Some(filter) = &wanted.filter_subject {
            found = with_interest(collection, found, filter).await;
        }
    }
    // Who is asked for by his number is shown wherever he is.
    if wanted.state != State::Open || (wanted.cid.is_some() && found.is_empty()) {
        found.extend(collection.ended(|seen| wanted.wants(seen)).await);
    }
    wanted.sort.sort(&mut found);
    let total = found.len();
    let shown: Vec<Found> = found.into_iter().skip(wanted.offset).take(wanted.limit).collect();
    let mut connections = Vec::with_capacity(shown.len());
    for one in &shown {
        let mut object = entry(about, &one.seen, now, wanted.shows_user);
        if wanted.subscriptions != Subscriptions::Hidden && one.seen.end.is_none() {
            let list = collection.subscriptions(one).await;
            show_subscriptions(&list, one.seen.cid, wanted.subscriptions, &mut object);
        }
        connections.push(Value::Object(object));
    }
    json!({
        "server_id": about.server_id,
        "now": about.date(now),
        "num_connections": connections.len(),
        "total": total,
        "offset": wanted.offset,
        "limit": wanted.limit,
        "connections": connections,
    })
}

/// Those who have a subscription that `filter` may have to do with.
async fn with_interest(collection: &Collection, found: Vec<Found>, filter: &str) -> Vec<Found> {
    let mut interested = Vec::new();
    for one in found {
        let subscriptions = collection.subscriptions(&one).await;
        if subscriptions.iter().any(|it| it.overlaps(filter)) {
            interested.push(one);
        }
    }
    interested
}

fn entry(about: &About, seen: &Seen, now: Time, shows_user: bool) -> Map<String, Value> {
    let until = seen.end.map_or(now, |(at, _)| at);
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.into(), value);
    put("cid", json!(seen.cid));
    put("kind", json!("Client"));
    put("type", json!(if seen.protocol == ProtocolKind::Mqtt { "mqtt" } else { "nats" }));
    put("ip", json!(seen.peer.ip().to_string()));
    put("port", json!(seen.peer.port()));
    put("start", json!(about.date(seen.accepted_at)));
    put("last_activity", json!(about.date(seen.active_at)));
    if let Some((at, closed)) = seen.end {
        put("stop", json!(about.date(at)));
        put("reason", json!(reason(closed)));
    }
    seen.round_trip.iter().for_each(|span| drop(put("rtt", json!(duration(*span)))));
    put("uptime", json!(uptime(until.since(seen.accepted_at))));
    put("idle", json!(uptime(until.since(seen.active_at))));
    put("pending_bytes", json!(seen.n_pending_bytes));
    put("in_msgs", json!(seen.traffic.n_in));
    put("out_msgs", json!(seen.traffic.n_out));
    put("in_bytes", json!(seen.traffic.in_bytes));
    put("out_bytes", json!(seen.traffic.out_bytes));
    put("subscriptions", json!(seen.n_subscriptions));
    for (name, text) in [
        ("name", &seen.name),
        ("lang", &seen.lang),
        ("version", &seen.version),
        ("mqtt_client", &seen.mqtt_client),
    ] {
        text.iter().for_each(|text| drop(put(name, json!(text))));
    }
    if shows_user {
        seen.user.iter().for_each(|user| drop(put("authorized_user", json!(user))));
        put("name_tag", json!(ACCOUNT));
    }
    object
}

fn show_subscriptions(
    list: &[SeenSubscription],
    cid: u64,
    how: Subscriptions,
    object: &mut Map<String, Value>,
) {
    if list.is_empty() {
        return;
    }
    let (name, value) = if how == Subscriptions::Detailed {
        let details = list.iter().map(|one| Value::Object(subscription(one, cid))).collect();
        ("subscriptions_list_detail", Value::Array(details))
    } else {
        ("subscriptions_list", list.iter().map(|one| json!(one.subject)).collect())
    };
    object.insert(name.into(), value);
}

/// A subscription with all there is to it.
pub fn subscription(one: &SeenSubscription, cid: u64) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.into(), value);
    put("subject", json!(one.subject));
    one.group.iter().for_each(|group| drop(put("qgroup", json!(group))));
    put("sid", json!(one.sid));
    one.n_delivered.iter().for_each(|n| drop(put("msgs", json!(n))));
    one.max.iter().for_each(|max| drop(put("max", json!(max))));
    put("cid", json!(cid));
    object
}

/// In nats-server's words, as far as it has any.
fn reason(closed: Closed) -> &'static str {
    match closed.reason() {
        Reason::Normal | Reason::DisconnectWithWill | Reason::ByPeer => "Client Closed",
        Reason::Lost => "Read Error",
        Reason::BadInput => match closed.nats_error() {
            Some("Maximum Payload Violation") => "Maximum Message Payload Exceeded",
            Some("maximum control line exceeded") => "Maximum Control Line Exceeded",
            _ => "Protocol Violation",
        },
        Reason::ConnectRefused => "Authentication Failure",
        Reason::PacketRefused => "Protocol Violation",
        Reason::ConnectTimeout | Reason::Unconnected => "Authentication Timeout",
        Reason::KeepAlive => "Stale Connection",
        Reason::SlowConsumer => "Slow Consumer (Pending Bytes)",
        Reason::TakenOver => "Duplicate Client ID",
        Reason::ShuttingDown => "Server Shutdown",
        Reason::Panicked => "Internal Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str) -> Result<Wanted, BadQuery> {
        Wanted::parse(&Query::parse(query))
    }

    #[test]
    fn what_is_asked_for_wrongly_is_said() {
        for query in ["sort=nonsense", "state=nonsense", "limit=x", "cid=-", "subs=x", "sort=stop"] {
            assert!(wanted(query).is_err(), "{query}");
        }
        assert!(wanted("filter_subject=a").is_err());
        assert!(wanted("filter_subject=a&acc=$G").is_ok() && wanted("filter_subject=%3E").is_ok());
        assert!(wanted("sort=stop&state=closed").is_ok());
        let all = wanted("").expect("nothing is wrong with nothing");
        assert_eq!((all.sort, all.state, all.offset, all.limit), (Sort::Cid, State::Open, 0, 1_024));
    }
}
