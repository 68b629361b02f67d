//! What came to the sessions, against what was published.

use super::nats_publisher::NatsPublisher;
use super::{Persistence, Plan};
use crate::message::Quality;
use crate::sim::faults::{Check, Kind, broken};
use crate::sim::session_client::{SessionClient, Told};
use std::collections::BTreeSet;

impl Persistence {
    /// The subscribers, and all who publish.
    fn parted(&self, plan: Plan) -> (&[SessionClient], Vec<Publisher<'_>>) {
        let (subscribers, publishers) = self.clients.split_at(plan.n_subscribers);
        let with_session = publishers.iter().map(Publisher::Session);
        let all = with_session.chain(self.without_session.iter().map(Publisher::Nats)).collect();
        (subscribers, all)
    }

    /// Every message came to some member; of QoS 2, where all were granted that, to one and once.
    pub(super) fn compare_shared(&self, plan: Plan) -> Check {
        let (members, publishers) = self.parted(plan);
        let all_exact = members.iter().all(|member| member.quality == Quality::ExactlyOnce);
        for (publisher_idx, publisher) in publishers.iter().enumerate() {
            let number = plan.n_subscribers + publisher_idx;
            for published_at in [Quality::AtLeastOnce, Quality::ExactlyOnce] {
                for nth in publisher.published(published_at) {
                    let it = Told { publisher: number, nth, published_at };
                    let n_told: usize = members
                        .iter()
                        .map(|member| member.told.iter().filter(|told| **told == it).count())
                        .sum();
                    let is_exact =
                        all_exact && published_at == Quality::ExactlyOnce && !publisher.is_doubtful(nth);
                    if n_told == 0 || (is_exact && n_told > 1) {
                        return broken(Kind::Missing, format!("{it:?} was heard {n_told} times"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Every subscriber has heard every message of every publisher, as often and in the order that is due.
    pub(super) fn compare(&self, plan: Plan) -> Check {
        let (subscribers, publishers) = self.parted(plan);
        for (nth, subscriber) in subscribers.iter().enumerate() {
            for (publisher_idx, publisher) in publishers.iter().enumerate() {
                let number = plan.n_subscribers + publisher_idx;
                for quality in [Quality::AtLeastOnce, Quality::ExactlyOnce] {
                    let wanted: Vec<u32> = publisher.published(quality);
                    let heard = |told: &&Told| told.publisher == number && told.published_at == quality;
                    let mut heard: Vec<u32> = subscriber.told.iter().filter(heard).map(|it| it.nth).collect();
                    let is_exact = quality.min(subscriber.quality) == Quality::ExactlyOnce;
                    // What comes again does not count.
                    let mut seen = BTreeSet::new();
                    heard.retain(|&nth| seen.insert(nth) || (is_exact && !publisher.is_doubtful(nth)));
                    if heard != wanted {
                        let what =
                            format!("{nth} heard {heard:?} of {number} at {quality:?}, not {wanted:?}");
                        return broken(Kind::Missing, what);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A client with a session, or one of NATS, which has none.
enum Publisher<'p> {
    Session(&'p SessionClient),
    Nats(&'p NatsPublisher),
}

impl Publisher<'_> {
    fn published(&self, quality: Quality) -> Vec<u32> {
        match self {
            Self::Session(client) => client.published(quality).collect(),
            Self::Nats(client) => client.published(quality).collect(),
        }
    }

    /// Whether what it published may come twice, whatever its QoS.
    fn is_doubtful(&self, nth: u32) -> bool {
        // NATS publishes at QoS 1 here, where anything may.
        matches!(self, Self::Session(client) if client.is_doubtful(nth))
    }
}
