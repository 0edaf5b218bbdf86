//! What every load run is told: where, as whom, from which threads, and what is measured.

use crate::cli;
use crate::data_dir::development_key;
use crate::token::expires_in;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use loadtest::scenario::Scenario;
use loadtest::store::Place;
use loadtest::{Options, Progress, Protocol, Target, Threshold, User};
use protocol::UserId;
use protocol::token::mint_hs256;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, Args)]
pub(super) struct Common {
    /// The socket; given several times, users are spread over them
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws", value_parser = loadtest::target)]
    target: Vec<Target>,
    /// What the server is spoken to in: ringway; raw-echo, raw-relay, raw-room; nats-echo, nats-relay (nats),
    /// nats-room; mqtt-echo, mqtt-relay (mqtt), mqtt-room; loopback-relay, loopback-room. A path may say
    /// {user}, {peer} and {room}
    #[arg(long, value_name = "NAME", default_value_t, value_parser = protocol)]
    protocol: Protocol,
    /// Users of a room, for the protocols that have rooms
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    room_size: u64,
    /// The HTTP API, which makes the groups
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", value_parser = loadtest::api_host)]
    api: String,
    /// The server's data directory, whose key signs the tokens
    #[arg(long, value_name = "DIR", default_value_os_t = cli::data(), conflicts_with = "tokens")]
    data: PathBuf,
    /// A file of tokens, one per line, such as `ringway token --users 1..1000` prints
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// What senders and conversations are drawn from; the same seed gives the same schedule
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the ledger goes; an older one is replaced
    #[arg(long, value_name = "FILE", default_value = "./ringway-load.ledger")]
    pub(super) ledger: PathBuf,
    /// Source addresses 127.0.0.1, 127.0.0.2 … for a target on loopback [default: as ports require]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    source_addresses: u8,
    /// Addresses of this machine to connect from, in turn, such as 10.0.0.2,10.0.0.3
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "source_addresses")]
    source: Vec<IpAddr>,
    /// Threads of clients, each with its own ring and table of sockets [default: as the limit of open files requires]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    shards: usize,
    /// Cores that those threads are pinned to, in turn, such as 0,1 [default: not pinned]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// A process of the server, whose CPU time and memory are measured; may be given several times
    #[arg(long, value_name = "PID")]
    server_pid: Vec<u32>,
    /// An admin address of the server, whose /metrics tell how long each hop takes; may be given several times
    #[arg(long, value_name = "URL", value_parser = loadtest::api_host)]
    admin: Vec<String>,
    /// What must hold at the end, such as 'persisted.p(99)<50ms' or 'lost==0'; may be given several times
    #[arg(long, value_name = "EXPR", value_parser = threshold)]
    threshold: Vec<Threshold>,
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    showing: Showing,
}

/// Whether and how it is shown how far something is.
#[derive(Debug, Args)]
pub(super) struct Showing {
    /// How to show how far it is: auto redraws a few lines in place on a terminal (tui says the same), and
    /// prints one line after the other elsewhere, as plain does everywhere
    #[arg(long, value_name = "HOW", default_value = "auto")]
    progress: How,
    /// No progress, as --progress none
    #[arg(short, long, conflicts_with = "progress")]
    quiet: bool,
}

impl Showing {
    pub(super) fn how(&self) -> Progress {
        if self.quiet { Progress::None } else { self.progress.into() }
    }
}

/// How progress is shown, as flags have it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    Auto,
    Plain,
    Tui,
    None,
}

impl From<How> for Progress {
    fn from(how: How) -> Self {
        match how {
            How::Auto | How::Tui => Self::Auto,
            How::Plain => Self::Plain,
            How::None => Self::None,
        }
    }
}

/// The store as a second witness.
#[derive(Debug, Args)]
pub(super) struct Store {
    /// The store that the server writes to, read at the end and held against the ledger:
    /// sqlite:DIR/ringway.db or mysql://user:password@host/database. Nothing is written to it
    #[arg(long, value_name = "DSN")]
    store: Option<Secret>,
}

/// A text that is not shown: clap would quote a wrong one, with its password.
#[derive(Clone)]
struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Store {
    /// Where it is, if it was named.
    pub(super) fn place(&self) -> Result<Option<Place>> {
        Ok(self.store.as_ref().map(|text| text.0.parse()).transpose()?)
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    text.parse()
}

fn threshold(text: &str) -> Result<Threshold, String> {
    text.parse()
}

impl Common {
    /// What a run of that scenario is told.
    pub(super) fn options(&self, scenario: Scenario, histograms: Option<PathBuf>) -> Result<Options> {
        let users = self.users(scenario.connections_max())?;
        Ok(Options {
            protocol: self.protocol,
            room_size: self.room_size,
            api: self.api.clone(),
            seed: self.seed,
            ledger: self.ledger.clone(),
            source_addresses: self.source_addresses,
            sources: self.source.clone(),
            shards: self.shards,
            cores: self.cores.clone(),
            server_pids: self.server_pid.clone(),
            admins: self.admin.clone(),
            thresholds: self.threshold.clone(),
            histograms,
            store: self.store.place()?,
            progress: self.showing.how(),
            ..Options::new(scenario, self.target.clone(), users)
        })
    }

    fn users(&self, connections: u64) -> Result<Vec<User>> {
        let open = self.target.iter().all(|target| target.url.contains("{user}"));
        if self.tokens.is_none() && (open || !self.protocol.takes_tokens()) {
            return Ok((1..=connections).map(|id| User { id, token: String::new() }).collect());
        }
        if let Some(path) = &self.tokens {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let tokens = text.split_whitespace().take(connections as usize);
            let users = loadtest::users_of_tokens(tokens)
                .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            let found = users.len() as u64;
            anyhow::ensure!(
                found == connections,
                "{} holds {found} tokens, {connections} connections need one each: see `ringway token --users`",
                path.display()
            );
            return Ok(users);
        }
        // Made by the server at its start: a key of one's own would only be refused later.
        anyhow::ensure!(
            self.data.join("dev.key").exists(),
            "{} holds no dev.key: --data must be the data directory of `ringway dev`, or give --tokens",
            self.data.display()
        );
        let key = development_key(&self.data)?;
        let expires_at = expires_in(TOKEN_TTL)?;
        let user = |id| User { id, token: mint_hs256(&key, UserId(id), None, expires_at) };
        Ok((1..=connections).map(user).collect())
    }
}
