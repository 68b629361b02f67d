//! `/subsz`: how subjects are matched, and on demand the subscriptions.

use super::super::collect::{Collection, Snapshot};
use super::connz::subscription;
use super::{ACCOUNT, BadQuery, Query};
use crate::time::Time;
use serde_json::{Map, Value, json};

#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    lists: bool,
    has_account: bool,
    /// Only those that match this subject.
    subject: Option<String>,
    offset: usize,
    limit: usize,
}

impl Wanted {
    pub fn parse(query: &Query) -> Result<Self, BadQuery> {
        let (offset, limit) = query.part()?;
        let subject = query.text("test").map(str::to_owned);
        if subject.as_deref().is_some_and(|subject| !is_literal(subject)) {
            return Err(BadQuery("Invalid test subject, must be a literal subject".into()));
        }
        let has_account = query.text("acc").is_none_or(|account| account == ACCOUNT);
        Ok(Self { lists: query.flag("subs")?, has_account, subject, offset, limit })
    }
}

/// Asks the cores and shows what they answer.
pub async fn to_json(collection: &Collection, wanted: &Wanted, snapshot: &Snapshot, now: Time) -> Value {
    let about = &collection.shared.about;
    let total = snapshot.total();
    let n_looks = total.route_hits + total.route_misses;
    let n_delivered: u64 = total.delivered.iter().sum();
    let n_published: u64 = total.published.iter().sum();
    let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.into(), value);
    put("server_id", json!(about.server_id));
    put("now", json!(about.date(now)));
    put("num_subscriptions", json!(total.n_subscriptions.iter().sum::<u64>()));
    put("num_cache", json!(total.route_cache_entries));
    put("num_inserts", json!(total.n_subscribed));
    put("num_removes", json!(total.n_subscribed - total.n_subscriptions.iter().sum::<u64>()));
    put("num_matches", json!(n_looks));
    put("cache_hit_rate", json!(ratio(total.route_hits, n_looks)));
    put("avg_fanout", json!(ratio(n_delivered, n_published)));
    let (mut n_found, mut shown) = (0, Vec::new());
    if wanted.lists && wanted.has_account {
        (n_found, shown) = find(collection, wanted).await;
    }
    put("total", json!(n_found));
    put("offset", json!(wanted.offset));
    put("limit", json!(wanted.limit));
    if wanted.lists {
        put("subscriptions_list", Value::Array(shown));
    }
    Value::Object(object)
}

/// How many match what is wanted, and the part of them that is to be shown.
async fn find(collection: &Collection, wanted: &Wanted) -> (usize, Vec<Value>) {
    let mut connections = collection.connections(|seen| seen.n_subscriptions > 0).await;
    connections.sort_by_key(|one| one.seen.cid);
    let shown_until = wanted.offset.saturating_add(wanted.limit);
    let (mut n_found, mut shown) = (0, Vec::new());
    for one in connections {
        for subscribed in collection.subscriptions(&one).await {
            let matches = |subject: &str| matches(&subscribed.subject, subject);
            if wanted.subject.as_deref().is_none_or(matches) {
                if (wanted.offset..shown_until).contains(&n_found) {
                    let mut object = subscription(&subscribed, one.seen.cid);
                    object.insert("account".into(), json!(ACCOUNT));
                    object.insert("account_tag".into(), json!(ACCOUNT));
                    shown.push(Value::Object(object));
                }
                n_found += 1;
            }
        }
    }
    (n_found, shown)
}

fn is_literal(subject: &str) -> bool {
    subject.split('.').all(|token| !matches!(token, "" | "*" | ">"))
}

/// Whether a filter matches a subject.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_they_do_elsewhere() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*", "a.b.c", false),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
        }
        assert!(Wanted::parse(&Query::parse("test=a.*")).is_err());
    }
}
