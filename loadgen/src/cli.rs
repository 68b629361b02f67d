//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Shape;
use crate::threshold::Threshold;
use crate::units;

/// Load for NATS and MQTT brokers, and for gateways between them.
///
/// Exit codes: 0 all well, 1 the run failed or broke the promise of a closed loop, 64 wrong flags,
/// 78 a wrong scenario file, 99 a threshold was missed, 130 interrupted.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version, args_override_self = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Publish and receive, end to end: rates, latencies, losses
    Pubsub(Box<Load>),
    /// Only publish (as fast as the server reads, unless --rate)
    Pub(Box<Load>),
    /// Only receive, until --msgs, --duration or Ctrl-C
    Sub(Box<Load>),
    /// Open many connections, each with a subscription, and hold them
    Conn(Box<Load>),
    /// Round trips: every connection waits for its own message before it sends the next
    Request(Box<Load>),
    /// A trivial server that counts what is published and throws it away, to know what the generator can do
    Sink(Sink),
    /// The phases and jobs of a scenario file, in which every flag is a key
    Run(Box<Run>),
    /// Two results of --json side by side
    Compare { first: PathBuf, second: PathBuf },
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Nats,
    Mqtt,
}

#[derive(Args, Debug)]
pub struct Sink {
    /// Where to listen for NATS; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:20243", value_name = "HOST:PORT")]
    pub nats: String,
    /// Where to listen for MQTT
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "HOST:PORT")]
    pub mqtt: String,
    /// Pin to this core
    #[arg(long)]
    pub core: Option<usize>,
    /// End after this long [default: at Ctrl-C]
    #[arg(long, short = 'z', value_parser = units::duration)]
    pub duration: Option<Duration>,
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[arg(long)]
    pub no_progress: bool,
}

#[derive(Args, Debug)]
pub struct Run {
    /// The scenario, as TOML
    pub file: PathBuf,
    /// Only say whether it is right
    #[arg(long)]
    pub check: bool,
    /// Flags win over the file
    #[command(flatten)]
    pub load: Load,
}

#[derive(Args, Debug)]
pub struct Load {
    /// What publishers speak
    #[arg(long, value_enum, default_value = "nats")]
    pub from: Speaks,
    /// What subscribers speak
    #[arg(long, value_enum, default_value = "nats")]
    pub to: Speaks,
    /// The NATS server
    #[arg(long, default_value = "127.0.0.1:20243", value_name = "HOST:PORT")]
    pub nats: String,
    /// The MQTT server
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "HOST:PORT")]
    pub mqtt: String,
    /// Another host than in --nats and --mqtt
    #[arg(long)]
    pub host: Option<String>,
    /// Another port than in --nats or --mqtt
    #[arg(long, short = 'p')]
    pub port: Option<u16>,
    /// Connect from these addresses in turn (each has some 28,000 ports)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub ifaddr: Vec<IpAddr>,
    #[arg(long, short = 'u')]
    pub user: Option<String>,
    #[arg(long, short = 'P')]
    pub password: Option<String>,
    /// NATS token
    #[arg(long)]
    pub token: Option<String>,

    /// Publishing connections
    #[arg(long, alias = "pub", value_parser = units::count, default_value = "1")]
    pub publishers: u64,
    /// Subscribing connections
    #[arg(long, alias = "sub", value_parser = units::count, default_value = "1")]
    pub subscribers: u64,
    /// Connections of conn and request [default: 16], of pub and sub the publishers and subscribers
    #[arg(long, alias = "clients", short = 'c', value_parser = units::count)]
    pub connections: Option<u64>,
    /// Subjects or topics that publishers go through [default: 1; with --shape pair one for each pair]
    #[arg(long, aliases = ["multisubject", "multisubjectmax"], value_parser = units::count)]
    pub subjects: Option<u64>,
    /// So many wildcard filters over all subscribers, whose subjects publishers hit in turn
    #[arg(long, value_parser = units::count, conflicts_with = "subjects")]
    pub wildcards: Option<u64>,
    /// Who gets what
    #[arg(long, value_enum, default_value = "all")]
    pub shape: Shape,
    /// Payload bytes, at least 16
    #[arg(long, short = 's', value_parser = units::bytes, default_value = "128")]
    pub size: usize,
    /// MQTT quality of service, both ways
    #[arg(long, short = 'q', value_parser = clap::value_parser!(u8).range(0..=2), default_value = "0")]
    pub qos: u8,
    /// Unacknowledged QoS 1 and 2 messages per publisher
    #[arg(long, short = 'F', alias = "inflight", value_parser = clap::value_parser!(u16).range(1..), default_value = "100")]
    pub window: u16,
    /// 3 is 3.1, 4 is 3.1.1, 5 is 5.0
    #[arg(long, short = 'V', value_parser = clap::value_parser!(u8).range(3..=5), default_value = "4")]
    pub mqtt_version: u8,
    /// Begins subjects and topics; %i is the subject's number (otherwise it follows after a dot or slash), %u
    /// the user
    #[arg(long, alias = "topic", short = 't', default_value = "bench")]
    pub prefix: String,
    /// The number of the first subject
    #[arg(long, short = 'n', value_parser = units::count, default_value = "0")]
    pub startnumber: u64,
    /// Name of the group of --shape queue
    #[arg(long, default_value = "loadgen")]
    pub group: String,

    /// Open loop: messages a second, all publishers together; latency counts from the intended time
    #[arg(long, alias = "throughput", value_parser = units::rate, conflicts_with = "lag")]
    pub rate: Option<f64>,
    /// Closed loop: at most so many messages under way per publisher [default for pubsub: 1000]
    #[arg(long, value_parser = units::count)]
    pub lag: Option<u64>,
    /// As fast as the server reads, whatever it delivers
    #[arg(long, conflicts_with_all = ["lag", "rate"])]
    pub flood: bool,
    /// Connections a second that conn opens
    #[arg(long, short = 'R', value_parser = units::rate)]
    pub connrate: Option<f64>,
    /// Measure for this long [default: 10s without --msgs]
    #[arg(long, short = 'z', value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Send so many messages in all
    #[arg(long, alias = "limit", short = 'L', value_parser = units::count, conflicts_with = "duration")]
    pub msgs: Option<u64>,
    /// Run so long before measuring [default: 1s; none with --msgs]
    #[arg(long, value_parser = units::duration)]
    pub warmup: Option<Duration>,
    /// Grow to full load over this long
    #[arg(long, value_parser = units::duration, default_value = "0s")]
    pub ramp_up: Duration,
    /// Give up when a login takes, or nothing moves for, so long
    #[arg(long, value_parser = units::duration, default_value = "10s")]
    pub timeout: Duration,

    /// Pin to this core; further threads to the next ones
    #[arg(long)]
    pub core: Option<usize>,
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256), default_value = "1")]
    pub threads: u16,
    /// Report CPU and memory of this process
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Intervals, one a line
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Latencies as a percentile distribution
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// The whole as one page with charts, which needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Must hold, or the exit code is 99: 'p99<2ms', 'loss==0', 'received_per_s>=1m'
    #[arg(long, alias = "thresholds", value_name = "RULE")]
    pub threshold: Vec<Threshold>,
    #[arg(long)]
    pub no_progress: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_letter_or_word_stands_for_two_flags() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_verbs_that_load_take_the_same_flags() {
        let mut command = Cli::command();
        command.build();
        let flags = |verb: &str| -> Vec<String> {
            let verb = command.find_subcommand(verb).expect("it is a verb");
            verb.get_arguments().map(|arg| arg.get_id().to_string()).collect()
        };
        for verb in ["pub", "sub", "conn", "request"] {
            assert_eq!(flags(verb), flags("pubsub"));
        }
        assert!(flags("pubsub").iter().all(|flag| flags("run").contains(flag)));
    }
}
