//! The monitoring that NATS people use, in nats-server's shape: `/varz`, `/connz`, `/subsz`, and what clients
//! ask over NATS itself. What has no meaning here is left out, or is the empty object that nats-server shows
//! where it is not configured.

mod query;
pub mod varz;
pub mod connz;
pub mod subsz;
pub mod system;

pub use query::Query;

/// The one account there is.
const ACCOUNT: &str = "$G";

/// How many entries are shown where nobody asks for another number.
const LIMIT: usize = 1_024;

/// What was asked is not understood; the text is for the asker.
#[derive(Debug, PartialEq, Eq)]
pub struct BadQuery(pub String);
