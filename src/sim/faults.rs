//! What can go wrong: the kinds of violation, and the lies that a driver can be made to tell, which prove
//! that each kind is found. No lie is told unless it is asked for.

use super::chance::Chance;
use super::scenario::RESPONDERS;
use crate::shard::interest::Change;
use crate::shard::limits::Limits;
use crate::shard::mail::{Acknowledgement, Batch, Item};
use crate::shard::settings::Settings;
use crate::subject::responder::Responder;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A delivery that was due did not come.
    Missing,
    /// One came that was not due: too many, too early, too late, or to the wrong one.
    NotDue,
    /// Two of one publisher came to one subscription in the wrong order.
    Order,
    /// A delivery differs from what was published.
    Content,
    /// Bytes from the gateway that no client could read, or an answer nobody asked for.
    Wire,
    /// PUBACK or 503 where the other was due.
    Receipt,
    /// A connection ended without a reason.
    Closed,
    /// A queue over its bound.
    Bound,
    /// Tables that differ when all is quiet, or what is announced twice at once.
    Interest,
    /// Something waits though nothing is under way.
    Stuck,
    /// Counters that contradict what came.
    Counted,
    /// The shard panicked.
    Panic,
}

/// One broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    pub kind: Kind,
    pub what: String,
}

/// The result of a step.
pub type Check = Result<(), Violation>;

/// A violation as the result of a step.
pub fn broken(kind: Kind, what: impl Into<String>) -> Check {
    Err(Violation { kind, what: what.into() })
}

/// How a driver deceives its shards about their mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// A batch overtakes the one before it.
    Reordered,
    /// A batch is lost.
    Dropped,
    /// A batch comes twice.
    Doubled,
    /// Interest is acknowledged, but comes only with a later batch.
    InterestLate,
    /// Every acknowledgement says that all of the log is applied.
    AcknowledgedAhead,
    /// Every batch says that its sender has come through its drain.
    DrainedAhead,
    /// Every batch says that all messages of which somebody wants to hear are taken.
    TakenAhead,
    /// What a client is told of something never comes to it, now and then.
    Unheard(Part),
    /// It comes to it twice.
    HeardTwice(Part),
    /// It was right some time ago.
    Stale(Part),
    /// The last rule for the quality of what NATS publishes holds, and not the first.
    RulesReversed,
    /// No listener has EMQX's mapping.
    MappedExactly,
    /// A client may publish as much as it will.
    AnyRate,
    /// As many bytes as it will.
    AnyByteRate,
    /// Any number may be there that don't say who they are.
    AnyUnconnected,
    /// They may say as much as they will.
    AnyUnconnectedBytes,
    /// A rule holds whatever a header asks for.
    RuleBeforeHeader,
    /// Nobody is asked by topics alone.
    NobodyAskedByTopic,
    /// Answers at the topics of requests are messages like others.
    AnswersByTopicUnknown,
}

/// What clients are told besides each other's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Acknowledgement,
    Reading,
    Replay,
    /// An answer of MQTT to a request of NATS.
    Answer,
    /// The same of a client that is asked by topics alone.
    AnswerByTopic,
    Presence,
}

/// What a lie keeps back in one lane.
#[derive(Debug, Default)]
pub struct Withheld {
    changes: Vec<Change>,
    /// What was acknowledged last.
    n_applied: u64,
}

impl Lie {
    /// How often a client hears what it is told once.
    pub fn n_heard(self, part: Part, chance: &mut Chance) -> usize {
        if self == Self::Unheard(part) && chance.one_in(3) {
            0
        } else if self == Self::HeardTwice(part) {
            2
        } else {
            1
        }
    }

    /// Falsifies what the shards are told when they begin.
    pub fn misconfigure(self, settings: &mut Settings) {
        if self == Self::RulesReversed {
            settings.nats.qualities.0.reverse();
        }
        if self == Self::MappedExactly {
            settings.nats.mappings.clear();
        }
        if self == Self::AnyRate {
            settings.limits.rates = Limits::NONE.rates;
        }
        if self == Self::AnyByteRate {
            settings.limits.rates.iter_mut().for_each(|rate| rate.bytes_per_sec = 0);
        }
        if self == Self::AnyUnconnected {
            settings.limits.unconnected_max = usize::MAX;
        }
        if self == Self::AnyUnconnectedBytes {
            settings.limits.unconnected_bytes_max = usize::MAX;
        }
        let responders = &mut settings.mqtt.responders;
        if self == Self::NobodyAskedByTopic {
            responders.clear();
        }
        if self == Self::AnswersByTopicUnknown && !responders.is_empty() {
            let elsewhere = |text: &&str| Responder::parse(&text.replace("r/", "s/")).expect("it is one");
            *responders = RESPONDERS.iter().map(elsewhere).collect();
        }
    }

    /// Falsifies a batch before it is delivered.
    pub fn falsify(self, batch: &mut Batch, withheld: &mut Withheld, chance: &mut Chance) {
        match self {
            Self::None
            | Self::Reordered
            | Self::Dropped
            | Self::Doubled
            | Self::Unheard(_)
            | Self::HeardTwice(_)
            | Self::Stale(_)
            | Self::MappedExactly
            | Self::AnyRate
            | Self::AnyByteRate
            | Self::AnyUnconnected
            | Self::AnyUnconnectedBytes
            | Self::RulesReversed
            | Self::RuleBeforeHeader
            | Self::NobodyAskedByTopic
            | Self::AnswersByTopicUnknown => {}
            Self::TakenAhead => {
                for item in &batch.items {
                    if let Item::Acknowledged(acknowledgement) = item {
                        withheld.n_applied = acknowledgement.n_applied;
                    }
                }
                let ahead =
                    Acknowledgement { n_applied: withheld.n_applied, n_handled: 100, ..Default::default() };
                batch.items.push(Item::Acknowledged(ahead));
            }
            Self::InterestLate => {
                let late = std::mem::take(&mut withheld.changes);
                for item in &mut batch.items {
                    if let Item::Interest(change) = item
                        && chance.one_in(2)
                    {
                        withheld.changes.push(change.clone());
                        // A fence is answered as a change would be.
                        *item = Item::Fence(1);
                    }
                }
                batch.items.extend(late.into_iter().map(Item::Interest));
            }
            Self::DrainedAhead => batch.items.extend((0..20).map(|_| Item::DrainRound)),
            Self::AcknowledgedAhead => {
                for item in &mut batch.items {
                    if let Item::Acknowledged(acknowledgement) = item {
                        acknowledgement.n_applied = u64::MAX;
                    }
                }
            }
        }
    }
}
