//! The only module that knows the executor, sockets, clocks and signals.

use std::fmt;

use crate::config::schema::Config;

pub mod host;

/// Runs the gateway until it is told to stop.
pub fn run(_config: Config, _shards: usize) -> Result<(), StartError> {
    Err(StartError("the gateway does not serve yet"))
}

/// Why the gateway did not start.
#[derive(Debug)]
pub struct StartError(&'static str);

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}
