//! What a verb makes of the flags: the plan, the pace, and each thread's share of the clients. Not the run.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use crate::cli::{Load, Speaks};
use crate::client::{Credentials, Role};
use crate::clock::Clock;
use crate::mqtt::Version;
use crate::plan::{Plan, Protocol, Shape};
use crate::publisher::{Pace, Publisher};
use crate::worker::{self, ClientOrder, Order};

/// What a verb makes of the flags.
pub struct Job {
    pub verb: &'static str,
    pub plan: Plan,
    pub pace: Pace,
    pub nats: Option<SocketAddr>,
    pub mqtt: Option<SocketAddr>,
    pub credentials: Credentials,
    pub msgs: Option<u64>,
    /// Nothing: until interrupted.
    pub duration: Option<Duration>,
    pub warmup: Duration,
    pub ramp_up: Duration,
    pub timeout: Duration,
    pub core: Option<usize>,
    pub threads: usize,
    pub server_pid: Option<u32>,
    pub shows_progress: bool,
    pub connrate: Option<f64>,
}

impl Job {
    pub fn new(verb: &'static str, load: &Load, run: u16) -> Result<Job, String> {
        let plan = plan(verb, load, run)?;
        let pace = pace(verb, load)?;
        let uses = |speaks| {
            (load.from == speaks && plan.publishers > 0) || (load.to == speaks && plan.subscribers > 0)
        };
        let resolve = |speaks, text: &str| if uses(speaks) { address(text).map(Some) } else { Ok(None) };
        let is_endless = load.msgs.is_some() || (verb == "sub" && load.duration.is_none());
        let default_warmup =
            Duration::from_secs(if is_endless || verb == "conn" || verb == "sub" { 0 } else { 1 });
        Ok(Job {
            verb,
            nats: resolve(Speaks::Nats, &load.nats)?,
            mqtt: resolve(Speaks::Mqtt, &load.mqtt)?,
            plan,
            pace,
            credentials: Credentials {
                user: load.user.clone(),
                password: load.password.clone(),
                token: load.token.clone(),
            },
            msgs: load.msgs,
            duration: load.duration.or((!is_endless).then_some(Duration::from_secs(10))),
            warmup: load.warmup.unwrap_or(default_warmup),
            ramp_up: load.ramp_up,
            timeout: load.timeout,
            core: load.core,
            threads: usize::from(load.threads),
            server_pid: load.server_pid,
            shows_progress: !load.no_progress,
            connrate: load.connrate,
        })
    }

    fn address(&self, protocol: Protocol) -> SocketAddr {
        let address = if protocol == Protocol::Nats { self.nats } else { self.mqtt };
        address.expect("it was resolved for all protocols in use")
    }

    pub fn orders(&self, clock: Clock) -> Vec<Order> {
        let plan = &self.plan;
        let mut orders: Vec<Order> = (0..self.threads)
            .map(|k| Order {
                credentials: self.credentials.clone(),
                timeout: self.timeout,
                core: self.core.map(|core| core + k),
                connrate: self.connrate.map(|rate| rate / self.threads as f64),
                clients: Vec::new(),
            })
            .collect();
        let run = clock.day_ms() % 1_000_000_000;
        for idx in 0..plan.subscribers {
            orders[worker::share(plan, self.threads, idx, true)].clients.push(ClientOrder {
                name: format!("loadgen-{run}-subscriber-{idx}"),
                address: self.address(plan.to),
                protocol: plan.to,
                role: worker::new_subscriber(plan, idx),
            });
        }
        for idx in 0..plan.publishers {
            let mut publisher = Publisher::new(plan, idx, plan.publishers.div_ceil(self.threads), self.pace);
            if let Some(msgs) = self.msgs {
                let (each, rest) = (msgs / plan.publishers as u64, msgs % plan.publishers as u64);
                publisher.quota = each + u64::from((idx as u64) < rest);
            }
            if !matches!(self.pace, Pace::Rate { .. }) {
                publisher.delay_ns = self.ramp_up.as_nanos() as u64 * idx as u64 / plan.publishers as u64;
            }
            orders[worker::share(plan, self.threads, idx, false)].clients.push(ClientOrder {
                name: format!("loadgen-{run}-publisher-{idx}"),
                address: self.address(plan.from),
                protocol: plan.from,
                role: Role::Publisher(Box::new(publisher)),
            });
        }
        orders
    }
}

/// Who publishes what to whom.
fn plan(verb: &str, load: &Load, run: u16) -> Result<Plan, String> {
    let version = Version::from_level(load.mqtt_version).ok_or("no such MQTT version")?;
    let protocol = |speaks| if speaks == Speaks::Nats { Protocol::Nats } else { Protocol::Mqtt(version) };
    let (publishers, subscribers, shape) = match verb {
        "pub" => (load.publishers, 0, load.shape),
        "sub" => (0, load.subscribers, load.shape),
        "conn" => (0, load.connections, Shape::Pair),
        "request" => (load.connections, load.connections, Shape::Pair),
        _ => (load.publishers, load.subscribers, load.shape),
    };
    if publishers + subscribers == 0 {
        return Err("nobody publishes and nobody subscribes".into());
    }
    if load.size < crate::payload::LENGTH {
        return Err(format!(
            "--size {}: a payload begins with a header of 16 bytes (run, flow, number, time), so 16 is the least",
            load.size
        ));
    }
    let pairs = if shape == Shape::Pair { publishers.max(subscribers) } else { 1 };
    let subjects = load.wildcards.or(load.subjects).unwrap_or(pairs);
    let plan = Plan {
        from: protocol(load.from),
        to: protocol(load.to),
        publishers: publishers as usize,
        subscribers: subscribers as usize,
        subjects: subjects as usize,
        shape,
        is_wild: load.wildcards.is_some(),
        prefix: load.prefix.clone(),
        group: load.group.clone(),
        size: load.size,
        qos: load.qos,
        window: load.window,
        run,
    };
    plan.check()?;
    if subjects > crate::payload::FLOWS_MAX || load.prefix.len() > 1000 || load.prefix.is_empty() {
        return Err("--prefix must have 1 to 1000 bytes, and subjects be below 16 million".into());
    }
    Ok(plan)
}

fn pace(verb: &str, load: &Load) -> Result<Pace, String> {
    let ramp_ns = load.ramp_up.as_nanos() as u64;
    Ok(match (load.rate, load.lag) {
        (Some(per_second), _) => Pace::Rate { per_second, ramp_ns },
        _ if verb == "request" => Pace::Lag(1),
        (None, Some(0)) => return Err("--lag 0 lets nothing through; --flood knows no limit".into()),
        (None, Some(lag)) if verb != "pub" => Pace::Lag(lag),
        (None, None) if verb == "pubsub" && !load.flood => Pace::Lag(1000),
        _ => Pace::Flood,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("'{text}' is not HOST:PORT: {error}"))?;
    found.next().ok_or_else(|| format!("'{text}' has no address"))
}
