//! The control plane: what operators ask over HTTP, answered on a thread of its own with a small runtime of
//! its own. Not on the way of any message: it sees snapshots of counters and of recorded latencies, and a core
//! that is asked for them exchanges two pointers; connections it sees slice by slice.

pub mod about;
pub mod desk;
mod collect;
pub mod monitor;
mod process;
mod metrics;
mod exposition;
mod histograms;
mod http;

pub use about::About;
pub use desk::{Ask, CoreDesk, Desks, Stage};

use crate::time::Time;
use std::io;
use std::net::TcpListener;

/// A runtime for the admin thread, and its listener within.
#[derive(Debug)]
pub struct Server {
    runtime: tokio::runtime::Runtime,
    listener: tokio::net::TcpListener,
    desks: Desks,
}

impl Server {
    /// Takes over a socket that listens already.
    pub fn new(listener: TcpListener, desks: Desks) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        Ok(Self { runtime, listener, desks })
    }

    /// Serves for as long as the process lives; `wake` makes a core look at its desk, and `now` is the time.
    pub fn run(
        self,
        wake: impl Fn(usize) + Send + Sync + 'static,
        now: impl Fn() -> Time + Send + Sync + 'static,
    ) {
        let Self { runtime, listener, desks } = self;
        let collection = collect::Collection::new(desks, Box::new(wake), Box::new(now));
        runtime.block_on(http::serve(listener, collection));
    }
}
