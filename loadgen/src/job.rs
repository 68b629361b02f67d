//! What a verb makes of the flags: the plan, the pace, and each thread's share of the clients. Not the run.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use crate::cli::{Load, Speaks};
use crate::client::{Credentials, Role};
use crate::clock::Clock;
use crate::mqtt::Version;
use crate::plan::{Plan, Protocol, Shape};
use crate::publisher::{Pace, Publisher};
use crate::worker::{self, ClientOrder, Order};

/// Of conn and request, without `--connections`.
const CONNECTIONS: u64 = 16;

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
    /// Where connections come from, in turn; nothing: where the system lets them.
    pub from_addresses: Vec<IpAddr>,
}

impl Job {
    pub fn new(verb: &'static str, load: &Load, run: u16) -> Result<Job, String> {
        let plan = plan(verb, load, run)?;
        let pace = pace(verb, load)?;
        let uses = |speaks| {
            (load.from == speaks && plan.publishers > 0) || (load.to == speaks && plan.subscribers > 0)
        };
        if load.port.is_some() && uses(Speaks::Nats) && uses(Speaks::Mqtt) {
            return Err(
                "--port is one server's: NATS and MQTT are both in use, so give --nats and --mqtt".into()
            );
        }
        let resolve = |speaks, text: &str| {
            let text = with_host(text, load.host.as_deref(), load.port)?;
            if uses(speaks) { address(&text).map(Some) } else { Ok(None) }
        };
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
            from_addresses: load.ifaddr.clone(),
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
                from_addresses: self.from_addresses.clone(),
                clients: Vec::new(),
            })
            .collect();
        // Runs of other processes, and jobs beside this one, have other names.
        let run = format!("{}-{:04x}", clock.day_ms() % 1_000_000_000, plan.run);
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
    let connections = load.connections.unwrap_or(CONNECTIONS);
    let (publishers, subscribers, shape) = match verb {
        "pub" => (load.connections.unwrap_or(load.publishers), 0, load.shape),
        "sub" => (0, load.connections.unwrap_or(load.subscribers), load.shape),
        "conn" => (0, connections, Shape::Pair),
        "request" => (connections, connections, Shape::Pair),
        _ if load.connections.is_some() => {
            return Err("--connections of pubsub are --publishers and --subscribers".into());
        }
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
        prefix: load.prefix.replace("%u", load.user.as_deref().unwrap_or("")),
        first: load.startnumber as usize,
        group: load.group.clone(),
        size: load.size,
        qos: load.qos,
        window: load.window,
        run,
    };
    plan.check()?;
    let has_many = subjects.saturating_add(load.startnumber) > crate::payload::FLOWS_MAX;
    if has_many || load.prefix.len() > 1000 || load.prefix.is_empty() {
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

/// `--host` and `--port` in their places.
fn with_host(text: &str, host: Option<&str>, port: Option<u16>) -> Result<String, String> {
    if host.is_none() && port.is_none() {
        return Ok(text.to_owned());
    }
    let (old_host, old_port) = text.rsplit_once(':').ok_or_else(|| format!("'{text}' is not HOST:PORT"))?;
    let port = port.map_or_else(|| old_port.to_owned(), |port| port.to_string());
    Ok(format!("{}:{port}", host.unwrap_or(old_host)))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("'{text}' is not HOST:PORT: {error}"))?;
    found.next().ok_or_else(|| format!("'{text}' has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser as _;

    fn job(line: &str) -> Result<Job, String> {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        match cli.verb {
            Verb::Pubsub(load) => Job::new("pubsub", &load, 1),
            Verb::Pub(load) => Job::new("pub", &load, 1),
            Verb::Conn(load) => Job::new("conn", &load, 1),
            _ => Err("not in this test".into()),
        }
    }

    fn refusal(line: &str) -> String {
        job(line).err().unwrap_or_else(|| panic!("{line} is carried out"))
    }

    #[test]
    fn letters_and_words_of_other_tools_mean_the_same() {
        let emqtt =
            job("loadgen pub --from mqtt -p 1999 -c 7 -V 5 -t site/%u/%i -u ann -s 32 -q 1 -F 9 -L 10k -n 5");
        let emqtt = emqtt.expect("it is a job");
        assert_eq!(emqtt.mqtt.map(|address| address.port()), Some(1999));
        assert_eq!((emqtt.plan.publishers, emqtt.plan.size, emqtt.plan.window), (7, 32, 9));
        assert_eq!(emqtt.plan.from, Protocol::Mqtt(Version::V5));
        assert_eq!(emqtt.plan.subject(emqtt.plan.from, 0), "site/ann/5");
        assert_eq!(emqtt.msgs, Some(10_000));
        let nats = job("loadgen pub --clients 3 --msgs 1m --size 16 --multisubject 8 --throughput 5k");
        let nats = nats.expect("it is a job");
        assert_eq!((nats.plan.publishers, nats.plan.subjects), (3, 8));
        assert!(matches!(nats.pace, Pace::Rate { .. }));
        let old = job("loadgen pubsub --pub 2 --sub 4 --no-progress -z 5s").expect("it is a job");
        assert_eq!((old.plan.publishers, old.plan.subscribers, old.shows_progress), (2, 4, false));
        assert_eq!(job("loadgen conn -c 5 -R 100").expect("it is a job").plan.subscribers, 5);
    }

    #[test]
    fn a_host_and_a_port_take_their_places() {
        let job = job("loadgen pubsub --host 127.0.0.9 --nats 127.0.0.1:77").expect("it is a job");
        assert_eq!(job.nats.map(|address| address.to_string()), Some("127.0.0.9:77".into()));
        assert_eq!(with_host("[::1]:77", None, Some(78)), Ok("[::1]:78".into()));
        assert!(refusal("loadgen pubsub --from mqtt -p 77").contains("--port"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(refusal("loadgen pubsub -c 3").contains("--publishers"));
        assert!(refusal("loadgen pubsub --lag 0").contains("--flood"));
        assert!(refusal("loadgen pub --publishers 0").contains("nobody"));
        assert!(refusal("loadgen pubsub --size 15").contains("16"));
        assert!(refusal("loadgen pubsub --nats nowhere").contains("HOST:PORT"));
        assert!(refusal("loadgen pubsub --ifaddr here").contains("ifaddr"));
    }

    #[test]
    fn messages_and_clients_are_dealt_out_evenly() {
        let job =
            job("loadgen pubsub --publishers 3 --subscribers 2 --threads 2 --msgs 10").expect("it is a job");
        let orders = job.orders(Clock::start());
        assert_eq!(orders.iter().map(|order| order.clients.len()).sum::<usize>(), 5);
        let quotas = orders.iter().flat_map(|order| &order.clients).filter_map(|client| match &client.role {
            Role::Publisher(publisher) => Some(publisher.quota),
            Role::Subscriber(_) => None,
        });
        assert_eq!(quotas.sum::<u64>(), 10);
    }
}
