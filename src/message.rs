//! The neutral publication: what both protocols' publishes become, and deliveries are built from. Borrowed
//! for one turn; what crosses cores or waits is copied by whoever keeps it.

use crate::payload::Payload;

/// One publication under way.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The canonical subject. From NATS it may be one that matches nothing.
    pub subject: &'a [u8],
    /// The NATS reply subject; empty where there is none.
    pub reply: &'a [u8],
    /// The NATS header block as it came; empty where there is none.
    pub header: &'a [u8],
    /// How the sizes of a NATS publish were written.
    pub digits: Digits,
    /// The MQTT 5 properties that go to every subscriber as they came, without their length.
    pub properties: &'a [u8],
    pub payload: Payload<'a>,
    pub quality: Quality,
}

/// What the publisher asked for, and what a subscriber at most gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    AtMostOnce,
    AtLeastOnce,
}

/// How many digits the sizes of a NATS publish were sent with: nats-server echoes leading zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digits {
    pub header: u8,
    pub total: u8,
}
