//! The command line.

use crate::config::Flag;
use clap::{Args, Parser, Subcommand};
use logic::failpoint::Failpoint;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A gateway engine for instant messaging: one shard per core, each on its own io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  ringway dev                        everything in one process, data in ./data
  ringway token --user 7             a token for user 7, on stdout
  ringway dev --shards 2 --listen 0.0.0.0:9000
  ringway gateway --config gateway.toml      clients' sockets, in front of Kafka
  ringway logic --config logic.toml          a worker behind it, with the API and the page
  ringway doctor                     what this machine lacks, and the commands that change it
  ringway load quick                 100 clients on that server, and whether anything was lost

Log lines go to stderr; RUST_LOG=debug shows each message with its trace id.
Exit codes: 0 ok, 1 the doctor found what prevents running, 64 usage, 65 no ledger, 69 unavailable, \
73 a file can't be written, 78 configuration, 99 the ledger is not clean, 130 Ctrl-C before the first message.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Gateway, worker and store in one process, with nothing to install
    Dev(Box<Dev>),
    /// Clients' sockets, in front of Kafka and Redis
    Gateway(Box<Gateway>),
    /// A worker over Kafka, MySQL and Redis, with the HTTP API and the page
    Logic(Box<Logic>),
    /// Print a development token
    Token(Token),
    /// Check whether this machine is as it should be, and how to change it
    Doctor(crate::doctor::Doctor),
    /// Load from many clients, and a judgement of what was lost, doubled or out of order
    Load(crate::load::Load),
}

const DEV_EXAMPLES: &str = "Examples:
  ringway dev
  ringway dev --listen 127.0.0.1:9000 --data /tmp/chat --shards 2
  ringway dev --config ringway.toml --connections-max 5000
  RINGWAY_ENGINE__SHARDS=2 ringway dev
  ringway dev --print-config > ringway.toml          what is in force, to start a file from

Default < file < environment < flag. docs/configuration.md has every setting. SIGHUP reads the keys \
of tokens again; Ctrl-C and SIGTERM persist what was taken, then end.
Exit codes: 0 ok, 64 usage, 69 unavailable, 78 configuration.";

#[derive(Debug, Clone, Args, Default)]
#[command(after_help = DEV_EXAMPLES)]
pub(crate) struct Dev {
    /// Where clients connect (the socket is at /ws) [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Where the HTTP API is served, at /api [default: 127.0.0.1:8081]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) http: Option<String>,
    /// Where /metrics and /shards are served [default: 127.0.0.1:8082]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin: Option<String>,
    /// Directory of the store and of the development key; made at need [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Shards, each with its own ring and table of sockets [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Cores that shards are pinned to, in turn, such as 0,1 [default: not pinned]
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<String>,
    /// Connections per shard; beyond it a client is told 503 [default: 18000]
    #[arg(long, value_name = "N")]
    pub(crate) connections_max: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings in force as TOML, each with where it comes from, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Dev {
    /// The flags that are settings. As texts: a value is judged in one place, wherever it comes from.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let flag = |key, name, value: &Option<String>| Flag { key, name, value: value.clone() };
        vec![
            flag("listen", "--listen", &self.listen),
            flag("http", "--http", &self.http),
            flag("admin", "--admin", &self.admin),
            flag("data", "--data", &self.data),
            flag("engine.shards", "--shards", &self.shards),
            flag("engine.cores", "--cores", &self.cores),
            flag("limits.connections_max", "--connections-max", &self.connections_max),
        ]
    }
}

const GATEWAY_EXAMPLES: &str = "Examples:
  ringway gateway --config gateway.toml
  ringway gateway --config gateway.toml --id gateway-2 --listen 0.0.0.0:8080 --shards 4
  RINGWAY_KAFKA__BROKERS=k1:9092,k2:9092 RINGWAY_REDIS__URL=redis://r:6379 ringway gateway
  ringway gateway --config gateway.toml --print-config

A gateway needs an id of its own; one that is alive elsewhere is refused. docs/configuration.md has \
every setting, docs/operations.md what to run where. SIGTERM drains: acks go out, sessions are \
closed with a hint when to come back, the lease is given up. SIGHUP reads the keys of tokens again.
Exit codes: 0 ok, 64 usage, 69 unavailable, 78 configuration.";

#[derive(Debug, Clone, Args, Default)]
#[command(after_help = GATEWAY_EXAMPLES)]
pub(crate) struct Gateway {
    /// Where clients connect (the socket is at /ws) [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Where /livez, /readyz and /metrics are served [default: 127.0.0.1:8082]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin: Option<String>,
    /// Its name, which no other gateway has [default: gateway-1]
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Shards, each with its own ring and table of sockets [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Cores that shards are pinned to, in turn, such as 0,1 [default: not pinned]
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<String>,
    /// Connections per shard; beyond it a client is told 503 [default: 18000]
    #[arg(long, value_name = "N")]
    pub(crate) connections_max: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings in force as TOML, each with where it comes from, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Gateway {
    /// The flags that are settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let flag = |key, name, value: &Option<String>| Flag { key, name, value: value.clone() };
        vec![
            flag("listen", "--listen", &self.listen),
            flag("admin", "--admin", &self.admin),
            flag("gateway.id", "--id", &self.id),
            flag("engine.shards", "--shards", &self.shards),
            flag("engine.cores", "--cores", &self.cores),
            flag("limits.connections_max", "--connections-max", &self.connections_max),
        ]
    }
}

const LOGIC_EXAMPLES: &str = "Examples:
  ringway logic --config logic.toml
  ringway logic --config logic.toml --http 0.0.0.0:8081
  RINGWAY_MYSQL__URL=mysql://ringway:secret@db/ringway ringway logic --config logic.toml
  ringway logic --config logic.toml --print-config

Any number of workers share the partitions; one that joins or leaves moves some of them. SIGTERM \
finishes the present batch and leaves; SIGHUP reads the keys of tokens again. docs/configuration.md \
has every setting, docs/operations.md what to run where.
Exit codes: 0 ok, 64 usage, 69 unavailable, 78 configuration.";

#[derive(Debug, Clone, Args, Default)]
#[command(after_help = LOGIC_EXAMPLES)]
pub(crate) struct Logic {
    /// What to do instead of working
    #[command(subcommand)]
    pub(crate) call: Option<LogicCall>,
    /// Where the page and the HTTP API are served [default: 127.0.0.1:8081]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) http: Option<String>,
    /// Where /livez, /readyz and /metrics are served [default: 127.0.0.1:8083]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings in force as TOML, each with where it comes from, and end
    #[arg(long)]
    pub(crate) print_config: bool,
    /// For tests: where and when this worker kills or stops itself
    #[arg(long, value_name = "STEP[:HIT[:stop]]", hide = true)]
    pub(crate) failpoint: Option<Failpoint>,
}

const LETTERS_EXAMPLES: &str = "Examples:
  ringway logic --config logic.toml dead-letters list
  ringway logic --config logic.toml dead-letters show 12
  ringway logic --config logic.toml dead-letters replay 12

A record that nobody can read, or that the store refuses, is put aside with the reason. A replayed \
one goes into the partition that it belongs to; if it is still bad it comes back under a new offset.
Exit codes: 0 ok, 64 usage, 69 unavailable, 78 configuration.";

const EPOCH_EXAMPLES: &str = "Examples:
  ringway logic --config logic.toml new-epoch          how things stand; changes nothing
  ringway logic --config logic.toml new-epoch --yes

After Kafka has lost its log: stop all workers, run this, start them. Gateways may stay: what they have \
put into the new log is persisted. To change the number of partitions: stop gateways, let the workers \
persist what is left, stop them, delete the topic, run this with the new number configured, start all. \
What is persisted stays; ids of new messages have the next epoch in them, so none is given twice.
Exit codes: 0 ok, 64 usage, 69 unavailable or not confirmed, 78 configuration.";

/// What an operator asks of a worker's world.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LogicCall {
    /// Records that were put aside: see them, put them back
    #[command(subcommand, after_help = LETTERS_EXAMPLES)]
    DeadLetters(DeadLetterCall),
    /// Go on from the log there is now, after the old one was lost
    #[command(after_help = EPOCH_EXAMPLES)]
    NewEpoch {
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// What an operator asks of the dead letters.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DeadLetterCall {
    /// The oldest, a line each
    List,
    /// One of them, whole
    Show {
        /// Its offset, as in the list
        offset: i64,
    },
    /// Put it back where it belongs
    Replay {
        /// Its offset, as in the list
        offset: i64,
    },
}

impl Logic {
    /// The flags that are settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let flag = |key, name, value: &Option<String>| Flag { key, name, value: value.clone() };
        vec![flag("http", "--http", &self.http), flag("admin", "--admin", &self.admin)]
    }
}

const TOKEN_EXAMPLES: &str = "Examples:
  ringway token --user 7
  ringway token --user 7 --device phone --ttl 30m
  ringway token --users 1..1000 > tokens.txt     one per line, both ends included

Signed with the development key of the data directory, which is made at need.
Exit codes: 0 ok, 64 usage, 69 unavailable.";

#[derive(Debug, Args)]
#[command(after_help = TOKEN_EXAMPLES)]
pub(crate) struct Token {
    /// The user
    #[arg(long, value_name = "ID", required_unless_present = "users", conflicts_with = "users")]
    pub(crate) user: Option<u64>,
    /// A range of users, both ends included: one token per line
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub(crate) users: Option<RangeInclusive<u64>>,
    /// The device that the token is for
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// How long the token is valid: a number with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// The data directory, whose key signs
    #[arg(long, value_name = "DIR", default_value_os_t = data())]
    pub(crate) data: PathBuf,
}

/// Where `ringway dev` has its data if neither a file nor a flag says otherwise.
pub(crate) fn data() -> PathBuf {
    let named = std::env::var_os("RINGWAY_DATA").filter(|name| !name.is_empty());
    named.map_or_else(|| "./data".into(), PathBuf::from)
}

/// As many tokens as one call prints.
const TOKENS_MAX: u64 = 10_000_000;

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let ends = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (first, last): (u64, u64) = ends.ok_or("expected two numbers as in 1..1000")?;
    if first > last {
        return Err(format!("expected the smaller number first, got {first}..{last}"));
    }
    if last - first >= TOKENS_MAX {
        return Err(format!("expected at most {TOKENS_MAX} users"));
    }
    Ok(first..=last)
}

/// A duration such as `30s`, `5m`, `24h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number with s, m, h or d, such as 24h, got {text:?}");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|s| *s > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{Cli, duration, range};
    use clap::CommandFactory;
    use std::time::Duration;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_has_the_exit_codes_of_the_program_and_no_others() {
        let code = |line: &str| line.strip_suffix(';')?.split_once(": u8 = ")?.1.parse().ok();
        let codes: Vec<u8> = include_str!("main.rs").lines().filter_map(code).chain([0, 1]).collect();
        let told = |help: &str| -> Vec<u8> {
            let list = help.split_once("Exit codes: ").expect("they are told").1.replace('\n', " ");
            list.split([',', ';']).filter_map(|part| part.split_whitespace().next()?.parse().ok()).collect()
        };
        let whole = told(super::EXAMPLES);
        assert!(codes.len() > 8 && codes.iter().all(|code| whole.contains(code)), "{codes:?} {whole:?}");
        for help in [super::EXAMPLES, super::DEV_EXAMPLES, super::TOKEN_EXAMPLES] {
            assert!(told(help).iter().all(|code| codes.contains(code)), "{help}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for text in ["", "24", "h", "-1s", "0s", "1.5h", "1 h", "99999999999999999999s", "ü"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(range("1..3"), Ok(1..=3));
        for text in ["", "1", "3..1", "1..x", "1..=3", "0..10000000"] {
            assert!(range(text).is_err(), "{text:?}");
        }
    }
}
