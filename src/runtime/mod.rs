//! The only module that knows the executor, sockets, clocks and signals. One executor per core drives one
//! shard; everything that decides is in `shard`.

pub mod clock;
pub mod host;
mod settings;
mod admission;
mod listener;
mod mesh;
mod ring;
mod core;
mod connection;
mod inbox;
mod rounds;

use crate::admin::{self, CoreDesk, Desks, Stage};
use crate::config::schema::Config;
use crate::shard::id::CoreId;
use crate::shard::keys::Keys;
use crate::shard::leave::Forgotten;
use crate::shard::retained::Retained;
use crate::shard::settings::Settings;
use crate::shard::{Door, Listener, Shard};
use clock::Clock;
use core::{Core, name};
use glommio::{LocalExecutorBuilder, Placement};
use listener::{Acceptor, Bound, bind_named};
use mesh::Mesh;
use ring::Ring;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use socket2::Socket;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Why the gateway did not start, or ended.
#[derive(Debug)]
pub enum StartError {
    Listen {
        listener: String,
        address: SocketAddr,
        error: io::Error,
    },
    System {
        what: &'static str,
        error: String,
    },
    /// A core is gone. Acknowledgements are never assumed, so the process can't go on without it.
    CoreEnded,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { listener, address, error } => {
                write!(f, "cannot listen for {listener} on {address}: {error}")
            }
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::CoreEnded => f.write_str("a core has ended; see the lines above"),
        }
    }
}

/// What the main thread waits for.
#[derive(Debug)]
pub enum Event {
    Ready,
    /// TERM or INT.
    Signal,
    /// USR2.
    LameDuck,
    /// A core in lame-duck mode has no connections left.
    Left,
    /// A core has drained and closed its connections.
    Stopped(Forgotten),
    CoreEnded,
}

/// Longer than a process lives, and short enough for the kernel's clock.
const NEVER: Duration = Duration::from_secs(1 << 32);

/// How much longer than a drain may take the process waits for its cores.
const STOP_MARGIN: Duration = Duration::from_secs(1);

/// Serves until TERM or INT.
pub fn run(config: &Config, n_cores: usize) -> Result<(), StartError> {
    pass_over_signals()?;
    let listeners = bind_all(config)?;
    let admin = config.admin.listen.map(|address| bind_named("admin requests", address)).transpose()?;
    let address = |wanted| listeners.iter().find(|it| it.door.listener == wanted).map(|it| it.address);
    let seed = random().map_err(|error| system("reading random numbers", &error))?;
    // Told to every NATS client: words that nothing else is made of.
    let server_id = match config.nats.server_id.as_str() {
        "" => format!("STRAIT{:016X}{:016X}", seed[7], seed[8]),
        given => given.to_owned(),
    };
    let [.., n_nats] = n_doors(config);
    let settings =
        Arc::new(settings::shard_settings(config, n_cores, server_id, &bound_at(&listeners, n_nats)));
    let n_credits = settings::Lanes::new(&config.limits, n_cores).n_credits;
    let mesh = Mesh::new(n_cores, n_credits, n_doors(config), settings::admission(&config.limits));
    let mesh = Arc::new(mesh.map_err(|error| system("opening the cores' bells", &error))?);
    let (events, event) = channel();
    let clock = Clock::start();
    let admin_address = admin.as_ref().map(|(_, address)| *address);
    let addresses = [address(Listener::Nats), address(Listener::Mqtt), admin_address];
    let about =
        settings::about(config, &settings, clock.date_of_start(), addresses, host::processors().len());
    let (desks, core_desks) = admin::desk::desks(about);
    let shared = desks.shared();
    if let Some((socket, _)) = admin {
        start_admin(socket, desks, &mesh, clock)?;
    }
    start_cores(&settings, &mesh, seed, clock, core_desks, &events)?;
    wait_for(&event, n_cores, |event| matches!(event, Event::Ready))?;
    forward_signals(&events)?;
    let (turn, pace) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    for bound in &listeners {
        let acceptor = Acceptor {
            bound: bound.clone(),
            mesh: mesh.clone(),
            n_cores,
            turn: turn.clone(),
            connections_max: config.limits.connections_max,
            rate_max: u64::from(config.limits.connection_rate_per_core_max) * n_cores as u64,
            pace: Arc::clone(&pace),
            clock,
            server: settings.nats.server.clone(),
            shared: shared.clone(),
        };
        spawn_thread(format!("accept-{}", name(bound.door.listener)), move || acceptor.run())?;
    }
    shared.set_stage(Stage::Serving);
    greet(&listeners, admin_address, n_cores, !config.nats.mountpoint.is_empty());
    let is_lame_duck = wait_for_end(&event)?;
    shared.set_stage(Stage::Draining);
    if is_lame_duck {
        leave(&listeners, &mesh, &event, n_cores)?;
    }
    let timeout = Duration::from_secs(config.limits.drain_timeout_secs.into()) + STOP_MARGIN;
    stop(&listeners, &mesh, &event, n_cores, timeout)
}

/// Every listener that is not off, each protocol's first before those that have names.
fn bind_all(config: &Config) -> Result<Vec<Bound>, StartError> {
    let mut listeners = Vec::new();
    let firsts = [
        (Listener::Mqtt, config.mqtt.listen, config.mqtt.max_connections),
        (Listener::Nats, config.nats.listen, config.nats.max_connections),
    ];
    for (listener, first, n_max) in firsts {
        if let Some(address) = first {
            let n_max = if n_max == 0 { usize::MAX } else { n_max };
            listeners.push(Bound::new(Door::first(listener), None, address, n_max)?);
        }
    }
    for (listener, section) in [(Listener::Mqtt, "mqtt"), (Listener::Nats, "nats")] {
        let named = config.listeners.iter().filter(|it| it.section == section);
        for (it, nth) in named.zip(1..) {
            let Some(address) = it.bind else { continue };
            let connections_max = if it.max_connections == 0 { usize::MAX } else { it.max_connections };
            listeners.push(Bound::new(Door { listener, nth }, Some(&it.name), address, connections_max)?);
        }
    }
    Ok(listeners)
}

/// How many listeners of each kind the configuration names, those that are off among them.
fn n_doors(config: &Config) -> [usize; 2] {
    ["mqtt", "nats"].map(|section| 1 + config.listeners.iter().filter(|it| it.section == section).count())
}

/// Where each listener for NATS listens, by their places.
fn bound_at(listeners: &[Bound], n_nats: usize) -> Vec<Option<SocketAddr>> {
    let mut bound = vec![None; n_nats];
    for it in listeners.iter().filter(|it| it.door.listener == Listener::Nats) {
        bound[usize::from(it.door.nth)] = Some(it.address);
    }
    bound
}

fn start_admin(socket: Socket, desks: Desks, mesh: &Arc<Mesh>, clock: Clock) -> Result<(), StartError> {
    let server = admin::Server::new(socket.into(), desks);
    let server = server.map_err(|error| system("starting the admin listener", &error))?;
    let mesh = mesh.clone();
    spawn_thread("admin".into(), move || {
        server.run(move |core| mesh.wake(CoreId(core as u16)), move || clock.now());
    })
}

fn start_cores(
    settings: &Arc<Settings>,
    mesh: &Arc<Mesh>,
    seed: [u64; 9],
    clock: Clock,
    desks: Vec<CoreDesk>,
    events: &Sender<Event>,
) -> Result<(), StartError> {
    let [a, b, c, d, e, f, chance, ..] = seed;
    let keys = Keys::from_seed([a, b, c, d, e, f]);
    let retained = Arc::new(Retained::new(settings.mqtt.retained, &keys));
    let processors = host::processors();
    for (core, desk) in desks.into_iter().enumerate() {
        let placement = processors
            .get(core % processors.len().max(1))
            .copied()
            .map_or(Placement::Unbound, Placement::Fixed);
        let (settings, mesh, keys, events) = (settings.clone(), mesh.clone(), keys.clone(), events.clone());
        let retained = retained.clone();
        let ended = events.clone();
        let ring = mesh.bell(CoreId(core as u16)).and_then(Ring::new);
        let ring = ring.map_err(|error| system("making a core's ring", &error))?;
        let builder = LocalExecutorBuilder::new(placement)
            .name(&format!("core-{core}"))
            // Only sockets are driven through the ring: the default of 10 MiB is for files.
            .io_memory(64 << 10)
            // Never: there is one task, and a preemption that comes just before the executor turns to its
            // ready tasks has it sleep on them.
            .preempt_timer(NEVER);
        let handle = builder.spawn(move || async move {
            let chance = chance ^ (core as u64) << 48;
            let shard = Shard::new(CoreId(core as u16), settings.clone(), &keys, retained, chance);
            let core = Core::new(shard, ring, mesh, clock, desk, events.clone());
            let _ = events.send(Event::Ready);
            // It goes on when all is done: taking the executor apart gains nothing, as the process ends.
            rounds::run(core).await;
        });
        let handle = handle.map_err(|error| system("starting a core", &error))?;
        spawn_thread(format!("watch-{core}"), move || {
            // A core never returns: it ended by a panic, which is already reported.
            let _ = handle.join();
            let _ = ended.send(Event::CoreEnded);
        })?;
    }
    Ok(())
}

fn forward_signals(events: &Sender<Event>) -> Result<(), StartError> {
    let wanted = [SIGTERM, SIGINT, SIGUSR2];
    let mut signals = Signals::new(wanted).map_err(|error| system("taking signals", &error))?;
    let events = events.clone();
    spawn_thread("signals".into(), move || {
        for signal in signals.forever() {
            let event = if signal == SIGUSR2 { Event::LameDuck } else { Event::Signal };
            if events.send(event).is_err() {
                return;
            }
        }
    })
}

/// Signals by which other servers read their configuration again, or open their logs: they would end the
/// process, and all its connections, where nobody takes them.
fn pass_over_signals() -> Result<(), StartError> {
    let mut signals = Signals::new([SIGHUP, SIGUSR1]).map_err(|error| system("taking signals", &error))?;
    spawn_thread("signals-else".into(), move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                tracing::info!(
                    "HUP changes nothing: the configuration is read at the start only, restart for that"
                );
            } else {
                tracing::info!(
                    "USR1 changes nothing: the log goes to standard error, there is no file to reopen"
                );
            }
        }
    })
}

/// Waits for `n` events of a kind. Others of no consequence pass; a core that ends never does.
fn wait_for(event: &Receiver<Event>, n: usize, is_wanted: impl Fn(&Event) -> bool) -> Result<(), StartError> {
    let mut n_seen = 0;
    while n_seen < n {
        match event.recv() {
            Ok(Event::CoreEnded) | Err(_) => return Err(StartError::CoreEnded),
            Ok(event) => n_seen += usize::from(is_wanted(&event)),
        }
    }
    Ok(())
}

/// Waits for a signal that ends the gateway, and says whether by lame-duck mode first.
fn wait_for_end(event: &Receiver<Event>) -> Result<bool, StartError> {
    loop {
        match event.recv() {
            Ok(Event::CoreEnded) | Err(_) => return Err(StartError::CoreEnded),
            Ok(Event::Signal) => return Ok(false),
            Ok(Event::LameDuck) => return Ok(true),
            Ok(Event::Ready | Event::Left | Event::Stopped(_)) => {}
        }
    }
}

/// Lame-duck mode: nobody new is taken, and those who are there go one by one. A second signal of any kind
/// ends it early.
fn leave(
    listeners: &[Bound],
    mesh: &Mesh,
    event: &Receiver<Event>,
    n_cores: usize,
) -> Result<(), StartError> {
    tracing::info!("entering lame-duck mode: new connections are no longer accepted");
    mesh.leave();
    close_listeners(listeners);
    let mut n_left = 0;
    while n_left < n_cores {
        match event.recv() {
            Ok(Event::Left) => n_left += 1,
            Ok(Event::Ready | Event::Stopped(_)) => {}
            Ok(Event::CoreEnded) | Err(_) => return Err(StartError::CoreEnded),
            Ok(Event::Signal | Event::LameDuck) => {
                tracing::info!("lame-duck mode ends early, by a second signal");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn close_listeners(listeners: &[Bound]) {
    for bound in listeners {
        // Wakes the thread that waits in accept.
        let _ = bound.socket.shutdown(Shutdown::Both);
    }
}

fn stop(
    listeners: &[Bound],
    mesh: &Mesh,
    event: &Receiver<Event>,
    n_cores: usize,
    timeout: Duration,
) -> Result<(), StartError> {
    tracing::info!("stopping");
    mesh.stop();
    close_listeners(listeners);
    let (mut n_stopped, mut forgotten) = (0, Forgotten::default());
    while n_stopped < n_cores {
        match event.recv_timeout(timeout) {
            Ok(Event::Stopped(of_core)) => {
                n_stopped += 1;
                forgotten.sessions += of_core.sessions;
                forgotten.messages += of_core.messages;
            }
            Ok(Event::Ready | Event::Left | Event::LameDuck) => {}
            Ok(Event::CoreEnded) => return Err(StartError::CoreEnded),
            Ok(Event::Signal) | Err(_) => {
                tell_forgotten(forgotten);
                tracing::warn!("stopped before all connections had ended");
                return Ok(());
            }
        }
    }
    tell_forgotten(forgotten);
    tracing::info!("stopped");
    Ok(())
}

/// Of the cores that have come to their end.
fn tell_forgotten(forgotten: Forgotten) {
    let Forgotten { sessions, messages } = forgotten;
    if messages > 0 {
        tracing::warn!(sessions, messages, "what waited in sessions is lost: it is kept in memory alone");
    }
}

/// Says what listens, and what to try.
fn greet(listeners: &[Bound], admin: Option<SocketAddr>, n_cores: usize, is_mounted: bool) {
    // Whoever has closed the output goes without it.
    let _ = io::stdout().write_all(greeting(listeners, admin, n_cores, is_mounted).as_bytes());
}

/// `is_mounted` is whether the first listener for NATS has a mountpoint.
fn greeting(listeners: &[Bound], admin: Option<SocketAddr>, n_cores: usize, is_mounted: bool) -> String {
    let shards = if n_cores == 1 { "one shard".into() } else { format!("{n_cores} shards") };
    let mut lines = vec![format!("strait {} serves on {shards}", env!("CARGO_PKG_VERSION"))];
    lines.extend(listeners.iter().map(|Bound { name, address, .. }| format!("  {name} on {address}")));
    lines.extend(admin.map(|address| format!("  metrics on http://{address}/metrics")));
    let first = |wanted| listeners.iter().find(|it| it.door == Door::first(wanted)).map(|it| it.address);
    if let Some(mqtt) = first(Listener::Mqtt) {
        let port = mqtt.port();
        let at = match reached(mqtt) {
            // Where these clients look by themselves.
            IpAddr::V4(Ipv4Addr::LOCALHOST) => format!("-p {port}"),
            other => format!("-h {other} -p {port}"),
        };
        let nats = first(Listener::Nats);
        // What is published at a mountpoint is below it, and who published may be a part of that.
        let filter = if nats.is_some() && is_mounted { "#" } else { "demo/#" };
        lines.push("Try, in two other terminals:".into());
        lines.push(format!("  mosquitto_sub {at} -t '{filter}' -v"));
        lines.push(match nats {
            Some(nats) => {
                let (host, port) = (reached(nats), nats.port());
                format!("  printf 'PUB demo.hello 5\\r\\nworld\\r\\n' | nc -q 1 {host} {port}")
            }
            None => format!("  mosquitto_pub {at} -t demo/hello -m world"),
        });
    }
    lines.join("\n") + "\n"
}

/// Where this host reaches what listens there.
fn reached(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn spawn_thread(thread_name: String, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let spawned = thread::Builder::new().name(thread_name).spawn(work);
    spawned.map(drop).map_err(|error| system("starting a thread", &error))
}

fn system(what: &'static str, error: &dyn fmt::Display) -> StartError {
    StartError::System { what, error: error.to_string() }
}

/// Secret seeds: hash keys, chance, and the server's name.
fn random() -> io::Result<[u64; 9]> {
    let mut bytes = [0; 72];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut words =
        bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    Ok(std::array::from_fn(|_| words.next().expect("nine words")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listener: Listener, address: &str) -> Bound {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let (door, address) = (Door::first(listener), address.parse().unwrap());
        let name = name(listener).to_owned();
        Bound { door, name, socket: Arc::new(socket), address, connections_max: 1, limit: String::new() }
    }

    #[test]
    fn what_to_try_is_what_works_with_these_listeners() {
        let (mqtt, nats) = (Listener::Mqtt, Listener::Nats);
        for (listeners, is_mounted, expected) in [
            (
                vec![bound(mqtt, "127.0.0.1:1883"), bound(nats, "127.0.0.1:4222")],
                false,
                &["mosquitto_sub -p 1883 -t 'demo/#' -v\n", "nc -q 1 127.0.0.1 4222\n"][..],
            ),
            (
                vec![bound(mqtt, "0.0.0.0:1"), bound(nats, "[::]:2")],
                true,
                &["mosquitto_sub -p 1 -t '#' -v\n", "nc -q 1 ::1 2\n"],
            ),
            (
                vec![bound(mqtt, "10.0.0.1:1")],
                true,
                &["mosquitto_sub -h 10.0.0.1 -p 1 -t 'demo/#' -v\n", "mosquitto_pub -h 10.0.0.1 -p 1 "],
            ),
        ] {
            let told = greeting(&listeners, None, 1, is_mounted);
            for expected in expected {
                assert!(told.contains(expected), "{expected} is not in\n{told}");
            }
        }
        assert!(!greeting(&[bound(nats, "127.0.0.1:4222")], None, 1, false).contains("Try"));
    }
}
