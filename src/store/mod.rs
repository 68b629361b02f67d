//! What outlives the process, on its way to whoever keeps it and back: sessions that outlive their connections,
//! and retained messages. Pure: nothing here knows a file, and nothing waits.
//!
//! A shard whose settings ask for it writes each change into its [`journal::Journal`] in the turn that makes
//! it. The driver takes the bytes ([`Shard::take_journal`](crate::shard::Shard::take_journal)), keeps them in
//! their order, and says how far it has come ([`Shard::kept`](crate::shard::Shard::kept)); one that keeps
//! nothing leaves the journal off. Whatever promises a client that something is kept (PUBACK, PUBREC, PUBREL,
//! PUBCOMP, SUBACK, UNSUBACK, a PUBLISH under an identifier) leaves only then.
//!
//! After a restart an [`image::Image`] takes in the journals of all cores, in any order, and each session
//! goes to its home core ([`Shard::restore`](crate::shard::Shard::restore)), however many cores there are now.
//! Listeners open when every core has heard of the subscriptions. The new journals begin with what was
//! restored, so the old ones are not needed any more.
//!
//! Not kept: wills and subscriptions of sessions that end with their connection, anything of NATS clients, who have
//! no sessions, and what is on its way in the moment of a crash: a message between two cores, whose publisher has
//! no acknowledgement and sends it again (of QoS 2 it may then come a second time to those who had it), a will that
//! is being published, and what a member of a group has left behind and nobody else has been given yet.

pub mod journal;
pub mod image;

#[cfg(test)]
mod tests;
