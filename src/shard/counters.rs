//! What a shard counts. Plain numbers of one writer; whoever wants to see them asks the shard.

/// Since the shard began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub published: u64,
    pub delivered: u64,
    /// Deliveries of QoS 0 that a full write queue had no room for.
    pub dropped_queue_full: u64,
    /// Deliveries of QoS 1 that a full session queue had no room for: the declared exception to "kept".
    pub dropped_session_full: u64,
    /// Deliveries larger than the client's maximum packet size.
    pub dropped_packet_too_large: u64,
    /// Queue group messages for which no core had a member left.
    pub dropped_no_member: u64,
    /// Deliveries to MQTT of subjects that no topic can spell.
    pub unmappable: u64,
    /// Deliveries to NATS of subjects longer than a client can read.
    pub subject_too_long: u64,
    /// Publishes to names that belong to the gateway.
    pub denied: u64,
    pub slow_consumers: u64,
    pub taken_over: u64,
    pub panics: u64,
}
