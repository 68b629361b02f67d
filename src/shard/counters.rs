//! What a shard counts. Plain numbers of one writer; whoever wants to see them asks the shard, or reads the
//! copy that the driver publishes now and then. Spans are in `latency`.

use super::closed::Reason;
use super::latency::Direction;
use super::limits::Limit;
use super::refused::NotSubscribed;
use crate::message::ProtocolKind;

/// Writes the struct and its flat form from one list, so that what is counted is also published.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty,)+) => {
        /// Since the shard began; those that say so are of now.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Counters {
            fn default() -> Self {
                Self { $($name: <$type as Words>::NONE,)+ }
            }
        }

        /// How many words all counters are.
        pub const N_WORDS: usize = 0 $(+ <$type as Words>::COUNT)+;

        impl Counters {
            /// The counters one after another.
            pub fn to_words(&self) -> [u64; N_WORDS] {
                let mut words = [0; N_WORDS];
                let mut rest = &mut words[..];
                $(
                    let (own, after) = rest.split_at_mut(<$type as Words>::COUNT);
                    self.$name.write(own);
                    rest = after;
                )+
                debug_assert!(rest.is_empty());
                words
            }

            /// The counters of such words.
            pub fn from_words(words: &[u64; N_WORDS]) -> Self {
                let mut counters = Self::default();
                let mut rest = &words[..];
                $(
                    let (own, after) = rest.split_at(<$type as Words>::COUNT);
                    counters.$name.read(own);
                    rest = after;
                )+
                debug_assert!(rest.is_empty());
                counters
            }

            /// Adds what another shard counted.
            pub fn add(&mut self, other: &Self) {
                let (mut words, others) = (self.to_words(), other.to_words());
                words.iter_mut().zip(others).for_each(|(own, other)| *own = own.wrapping_add(other));
                *self = Self::from_words(&words);
            }
        }
    };
}

counters! {
    /// Messages taken from publishers, by what they speak.
    published: ByProtocol,
    /// Their payloads, in bytes.
    published_bytes: ByProtocol,
    /// Header blocks of those from NATS, in bytes.
    published_header_bytes: u64,
    /// Deliveries taken into a client's queue.
    delivered: ByDirection,
    /// Their payloads, in bytes.
    delivered_bytes: ByDirection,
    /// Header blocks that went from NATS to NATS, in bytes.
    delivered_header_bytes: u64,
    /// Deliveries that were queued for a client and never written, since its connection or its session ended.
    /// A session that stays sends those of QoS 1 and 2 again.
    discarded: u64,
    /// Deliveries of QoS 0 that a full write queue had no room for.
    dropped_queue_full: u64,
    /// Deliveries of QoS 1 and 2 that a full session queue had no room for: the declared exception to "kept".
    dropped_session_full: u64,
    /// Deliveries of QoS 0 to clients that were not connected.
    dropped_offline: u64,
    /// Deliveries whose message expired while they waited.
    expired: u64,
    /// Deliveries larger than the client's maximum packet size.
    dropped_packet_too_large: u64,
    /// Copies for groups that no member anywhere could take.
    dropped_no_member: u64,
    /// Messages of shared subscriptions that a member left behind and that too much else waited with.
    dropped_left_behind: u64,
    /// Messages of shared subscriptions that a member left behind and others were offered.
    redelivered: u64,
    /// Deliveries to MQTT of subjects that no topic can spell.
    unmappable: u64,
    /// Headers of NATS messages that no MQTT property can hold.
    headers_unmappable: u64,
    /// Headers of NATS messages whose names stand for something of MQTT's, with values that mean nothing.
    headers_unknown: u64,
    /// Deliveries to NATS of subjects longer than a client can read.
    subject_too_long: u64,
    /// Deliveries to NATS clients with EMQX's mapping of topics that have no subject by it.
    no_emqx_subject: u64,
    /// Deliveries without the reply subject, to clients that could not have addressed it: it is not in their mount,
    /// or their mapping spells it otherwise.
    replies_hidden: u64,
    /// Requests of MQTT clients that were given a reply subject.
    requests_opened: u64,
    /// Of those, the ones that were forgotten before their time for others.
    requests_forgotten: u64,
    /// Requests of now whose answers are awaited.
    n_requests: u64,
    /// Their memory, in bytes.
    request_bytes: u64,
    /// Answers to reply subjects of the gateway under which nobody waits, or not any longer.
    answers_unasked: u64,
    /// Answers to clients that have no subscription to their response topic.
    answers_unheard: u64,
    /// Publishes to names that belong to the gateway.
    denied: u64,
    /// Messages to be retained that there was no room for.
    retained_refused: u64,
    /// Deliveries of messages that were retained before their subscription.
    replayed: u64,
    /// Retained messages that expired; the process's, as the next two, and counted by its first shard.
    retained_expired: u64,
    /// Retained messages of now.
    n_retained: u64,
    /// Their memory, in bytes.
    retained_bytes: u64,
    /// Of what the gateway publishes itself: what could not wait any longer for room.
    notices_dropped: u64,
    /// Bytes read from sockets.
    read_bytes: ByProtocol,
    /// The reads that brought them.
    n_reads: ByProtocol,
    /// Bytes written to sockets.
    written_bytes: ByProtocol,
    /// The writes that took them.
    n_writes: ByProtocol,
    /// Times that a client's socket began to take less than waited for it.
    n_blocked: u64,
    /// Times that a publisher was not read for a moment, for a subscriber that falls behind.
    n_stalls: u64,
    /// Connections accepted here.
    n_accepted: ByProtocol,
    /// Connections of now.
    n_connections: ByProtocol,
    /// Connections that left for the core where their session lives.
    n_departed: u64,
    /// Connections that ended, by why they did.
    n_closed: ByReason,
    /// Of those, by their own slowness.
    slow_consumers: u64,
    /// Of those, by a new connection of the same client id.
    taken_over: u64,
    /// Times that a client reached a limit, by which.
    n_limited: ByLimit,
    /// Wills of clients that were lost.
    wills_published: u64,
    /// Sessions of now, connected or not.
    n_sessions: u64,
    /// Of those, the ones whose client is not connected.
    n_offline_sessions: u64,
    /// Messages of QoS 1 and 2 that wait in sessions now: those never sent, and of clients that are away also
    /// those that were not acknowledged.
    n_session_messages: u64,
    /// Sessions that a new connection took up again.
    sessions_resumed: u64,
    /// Sessions that ended since their client stayed away.
    sessions_expired: u64,
    /// Sessions that ended since the core had no room for what they kept.
    sessions_discarded: u64,
    /// Clients refused since there were too many sessions.
    sessions_refused: u64,
    /// Defects of ours that cost a connection.
    panics: u64,
    /// Subscriptions that a limit or a rule refused, by which it was.
    subscriptions_refused: ByRefusal,
    /// Subscriptions of now.
    n_subscriptions: ByProtocol,
    /// Subscriptions that ever began.
    n_subscribed: u64,
    /// Batches of mail that left for other cores.
    mail_sent: u64,
    /// Their bytes.
    mail_sent_bytes: u64,
    /// Publications posted to other cores.
    mail_publications: u64,
    /// Batches of mail that came from other cores.
    mail_taken: u64,
    /// Looks for the subscribers of a subject that the cache answered.
    route_hits: u64,
    /// Looks that it did not.
    route_misses: u64,
    /// Results in the cache of now.
    route_cache_entries: u64,
    /// Bytes of the cache of now.
    route_cache_bytes: u64,
    /// Bytes that wait for clients now.
    queued_bytes: u64,
    /// Bytes of topics that have aliases now.
    alias_bytes: u64,
    /// Bytes of mail that wait for other cores now.
    outbox_bytes: u64,
    /// Publications of now whose publisher waits to hear who took them.
    n_tickets: u64,
}

impl Counters {
    #[inline]
    pub fn count_read(&mut self, protocol: ProtocolKind, n_bytes: usize) {
        self.n_reads[protocol as usize] += 1;
        self.read_bytes[protocol as usize] += n_bytes as u64;
    }

    #[inline]
    pub fn count_write(&mut self, protocol: ProtocolKind, n_bytes: usize) {
        self.n_writes[protocol as usize] += u64::from(n_bytes > 0);
        self.written_bytes[protocol as usize] += n_bytes as u64;
    }
}

/// By `ProtocolKind`.
pub type ByProtocol = [u64; ProtocolKind::COUNT];
/// By `Direction`.
pub type ByDirection = [u64; Direction::COUNT];
/// By `Reason`.
pub type ByReason = [u64; Reason::COUNT];
/// By the place of a `NotSubscribed`.
pub type ByRefusal = [u64; NotSubscribed::COUNT];

/// By `Limit`.
pub type ByLimit = [u64; Limit::COUNT];

/// A counter, or several of one kind.
trait Words {
    const COUNT: usize;
    const NONE: Self;

    fn write(&self, words: &mut [u64]);
    fn read(&mut self, words: &[u64]);
}

impl Words for u64 {
    const COUNT: usize = 1;
    const NONE: Self = 0;

    fn write(&self, words: &mut [u64]) {
        words[0] = *self;
    }

    fn read(&mut self, words: &[u64]) {
        *self = words[0];
    }
}

impl<const N: usize> Words for [u64; N] {
    const COUNT: usize = N;
    const NONE: Self = [0; N];

    fn write(&self, words: &mut [u64]) {
        words.copy_from_slice(self);
    }

    fn read(&mut self, words: &[u64]) {
        self.copy_from_slice(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_back_from_their_words_and_add_up() {
        let words = std::array::from_fn(|idx| idx as u64 + 1);
        let counters = Counters::from_words(&words);
        assert_eq!(counters.to_words(), words);
        assert_eq!((counters.published, counters.n_tickets), ([1, 2], N_WORDS as u64));
        let mut sum = counters;
        sum.add(&counters);
        assert_eq!(sum.to_words(), words.map(|word| word * 2));
    }
}
