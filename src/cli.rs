//! The command line: flags and subcommands. Which values a flag takes is the configuration's matter: they
//! come as text and are read, and refused, as the file's are.

pub mod map;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::load::Flag;

const EXAMPLES: &str = "\
Examples:
  strait                               MQTT on 127.0.0.1:1883, NATS on :20243,
                                       http://127.0.0.1:18083/metrics
  strait --mqtt 1884 --nats off        MQTT alone, on another port of loopback
  strait --nats 0.0.0.0:4222 --allow-anonymous
                                       for other hosts, without credentials
  strait config default > strait.toml  a file with every key and what it means
  strait --config /etc/strait/strait.toml check
                                       what would keep it from running here?
  strait map spBv1.0/plant/7           in NATS it is spBv1//0.plant.7
  strait map --subject 'plant.*.>'     in MQTT it is plant/+/+/#

Every key is also a variable: STRAIT__MQTT__PAYLOAD_BYTES_MAX=65536 strait

Exit codes:
   0  ended in order
   1  a name that the other world can't spell (map)
  64  wrong usage
  69  no io_uring, or too little locked memory
  70  a bug
  71  the system refuses something else, such as a port in use
  78  wrong configuration";

/// A gateway between MQTT and NATS: a message published by a client of one reaches the subscribers of both.
#[derive(Debug, Parser)]
#[command(name = "strait", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Configuration file [default: strait.toml in the working directory, if there is one].
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where MQTT clients connect: ip:port, localhost:port, a port on loopback, or off.
    #[arg(long, global = true, value_name = "ADDR")]
    pub mqtt: Option<String>,
    /// Where NATS clients connect: ip:port, localhost:port, a port on loopback, or off.
    #[arg(long, global = true, value_name = "ADDR")]
    pub nats: Option<String>,
    /// Where metrics and health are read over HTTP: ip:port, localhost:port, a port on loopback, or off.
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Shards to run; 0 is one for each core this process may use.
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true)]
    pub cores: Option<String>,
    /// error, warn, info, debug, trace, or levels per module (info,strait::mqtt=debug).
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Let clients connect without credentials from other hosts.
    #[arg(long, global = true)]
    pub allow_anonymous: bool,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print a configuration and end.
    #[command(subcommand)]
    Config(Show),
    /// Verify the configuration and this host, and end.
    Check,
    /// Say what topics are called as subjects, or subjects as topics.
    Map(Map),
}

/// Which names to translate.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = MAPPING)]
pub struct Map {
    /// The names are subjects, and their topics are asked for.
    #[arg(short, long)]
    pub subject: bool,
    /// As a listener with `mapping = "emqx"` has it.
    #[arg(short, long)]
    pub emqx: bool,
    /// Names from standard input, and answers, end in NUL and not in a newline.
    #[arg(short = '0', long)]
    pub null: bool,
    /// Topics and topic filters, or subjects and their filters; `-` for those on standard input, one a line.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<OsString>,
}

// A paragraph is one line here: it is broken where the terminal ends.
const MAPPING: &str = "\
Each name is answered by a line. A filter is one that has a wildcard or begins with `$share/`. A queue group, which is \
what a shared subscription is in NATS, stands behind its filter, as in SUB. `a/#` also matches `a`, which `a.>` does \
not: it is two filters, with a tab between them.

A name that the other world can't spell is answered by an empty line, and the reason on standard error; then the exit \
code is 1.

Examples:
  strait map 'a/#'                          a.>    a
  strait map '$share/jobs/tasks/+'          tasks.* jobs
  strait map --subject 'tasks.* jobs'       $share/jobs/tasks/+
  strait map - < topics.txt";

/// Which configuration to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Show {
    /// Every key at its default, with its meaning, unit and range.
    Default,
    /// The values in force, and who gave them.
    Show,
}

impl Cli {
    /// The flags that stand for keys.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let given = [
            ("--mqtt", "mqtt.listen", &self.mqtt),
            ("--nats", "nats.listen", &self.nats),
            ("--admin", "admin.listen", &self.admin),
            ("--cores", "cores", &self.cores),
            ("--log", "log", &self.log),
        ];
        let values = given
            .into_iter()
            .filter_map(|(name, key, value)| value.clone().map(|value| Flag { name, key, value }));
        let anonymous = ["mqtt.allow_anonymous", "nats.allow_anonymous", "admin.allow_anonymous"]
            .into_iter()
            .filter(|_| self.allow_anonymous)
            .map(|key| Flag { name: "--allow-anonymous", key, value: "true".into() });
        values.chain(anonymous).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::load::load;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_flags_fits_a_terminal_of_80_columns_as_it_is_laid_out() {
        let at = |width| {
            let mut command = Cli::command().term_width(width);
            let main = command.render_long_help().to_string();
            let map = command.find_subcommand_mut("map").unwrap().clone().term_width(width);
            [main, map.clone().render_long_help().to_string()]
        };
        for (narrow, wide) in at(80).into_iter().zip(at(1_000)) {
            // Lines that are laid out by hand begin with blanks; paragraphs are filled.
            let laid_out = |help: &str| -> Vec<String> {
                let (_, after) = help.split_once("Examples:").unwrap();
                after.lines().map(str::to_owned).collect()
            };
            assert_eq!(laid_out(&narrow), laid_out(&wide));
            for paragraph in wide.split("\n\n").filter(|it| it.len() > 80 && !it.contains("\n ")) {
                let filled: Vec<_> =
                    narrow.lines().filter(|line| !line.is_empty() && paragraph.contains(line)).collect();
                let (_last, full) = filled.split_last().unwrap();
                assert!(full.iter().all(|line| line.len() > 60), "{full:?}");
            }
        }
    }

    #[test]
    fn every_flag_reaches_its_key_before_or_after_the_subcommand() {
        let words = "strait --mqtt 1884 check --nats 0.0.0.0:1 --admin off --cores 3 --log debug \
                     --allow-anonymous";
        let cli = Cli::try_parse_from(words.split(' ')).unwrap();
        assert_eq!(cli.command, Some(Command::Check));
        let config = load(None, [], &cli.flags()).unwrap();
        assert_eq!(config.mqtt.listen, "127.0.0.1:1884".parse().ok());
        assert_eq!(config.nats.listen, "0.0.0.0:1".parse().ok());
        assert_eq!(config.admin.listen, None);
        assert_eq!((config.cores, config.log.as_str()), (3, "debug"));
        assert!(config.mqtt.allow_anonymous && config.nats.allow_anonymous);
    }
}
