//! The codec against itself, against the specification's bytes, against hostile ones, and against another
//! codec. Not how a session reacts.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

pub(crate) mod generate;

mod golden;
mod hostile;
mod properties;
mod roundtrip;
mod topics;

mod oracle;
mod other_codec;

use crate::mqtt;
use crate::mqtt::decode::{Decoded, Limits, decode};
use crate::mqtt::malformed::Malformed;
use crate::mqtt::packet::{Packet, Version};

/// The packet in these bytes, which hold nothing else.
fn decoded(bytes: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    match decode(bytes, version, &Limits::NONE)? {
        Decoded::Packet(packet, taken) => {
            assert_eq!(taken, bytes.len(), "a packet takes its whole frame");
            Ok(packet)
        }
        Decoded::Incomplete { need } => panic!("{} of {need} bytes: {bytes:02X?}", bytes.len()),
    }
}

/// A frame of this first byte and body.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    crate::mqtt::wire::put_varint(&mut bytes, u32::try_from(body.len()).unwrap());
    bytes.extend_from_slice(body);
    bytes
}
