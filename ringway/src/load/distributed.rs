//! `ringway load coordinator` and `ringway load worker`: one run that several processes make.

use super::scenario::{self, Run};
use super::{Outcome, code_of, output};
use crate::cli::duration;
use crate::exit;
use anyhow::{Context, Result};
use clap::Args;
use loadtest::distributed::{Coordinator, Secret, Worker};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the secret is looked for, if no file is named.
const SECRET_VARIABLE: &str = "RINGWAY_LOAD_SECRET";

const COORDINATOR_EXAMPLES: &str = "Examples:
  ringway load coordinator steady --workers 2 -o report.html
  ringway load worker --join 127.0.0.1:7070            twice, each in another terminal
  ringway load coordinator idle-million -c 100000 --workers 3 --wait 5m
  ringway load coordinator steady --workers 4 --listen 10.0.0.1:7070 --secret-file secret

Each worker has its share of the users and sends what the schedule of the whole run has for them; \
the coordinator has none, and makes the summary, reports, thresholds and exit codes of `load run`. \
--shards and --cores are those of workers that are told nothing else. Who joins gets tokens: beyond \
loopback a secret is required, and the connection is not encrypted. Ctrl-C here or at a worker ends \
the sending for all.
Exit codes: as `load run`; 69 also if a worker is missing, can't take part, or goes away.";

#[derive(Debug, Args)]
#[command(after_help = COORDINATOR_EXAMPLES)]
pub(super) struct Coordinate {
    #[command(flatten)]
    run: Run,
    /// Workers that make the run together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Where workers join
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// How long to wait for all workers
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    secret: SecretFile,
}

const WORKER_EXAMPLES: &str = "Examples:
  ringway load worker --join 127.0.0.1:7070
  ringway load worker --join 127.0.0.1:7070 --shards 4 --cores 2,3,4,5
  ringway load worker --join 10.0.0.1:7070 --secret-file secret --ledger /var/tmp/run.ledger

It looks for its coordinator for 30 s. What to do, users, tokens and targets come from there; the \
ledger stays here, and is sent over where the coordinator can't read it.
Exit codes: 0 the run is over, and the coordinator judges it; 64 usage, 69 no coordinator, not let \
in, or the coordinator is gone, 73 the ledger can't be written, 130 Ctrl-C before the first message.";

#[derive(Debug, Args)]
#[command(after_help = WORKER_EXAMPLES)]
pub(super) struct Work {
    /// Where the coordinator listens
    #[arg(long, value_name = "HOST:PORT")]
    join: String,
    /// Threads of clients, each with its own ring and table of sockets [default: as the coordinator says, or as
    /// the limit of open files requires]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    shards: usize,
    /// Cores that those threads are pinned to, in turn, such as 0,1 [default: as the coordinator says, or not pinned]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Where the ledger goes; an older one is replaced [default: ./ringway-load.INDEX.ledger]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretFile,
}

#[derive(Debug, Args)]
struct SecretFile {
    /// A file with what coordinator and workers both know, 16 bytes or more [default: $RINGWAY_LOAD_SECRET, or none]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretFile {
    fn read(&self) -> Result<Option<Secret>> {
        let (text, from) = match (&self.secret_file, std::env::var(SECRET_VARIABLE)) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                (text, path.display().to_string())
            }
            (None, Ok(text)) => (text, SECRET_VARIABLE.to_owned()),
            (None, Err(_)) => return Ok(None),
        };
        Secret::new(&text).map(Some).map_err(|error| anyhow::anyhow!("{from}: {error}"))
    }
}

pub(super) fn coordinate(args: &Coordinate) -> Outcome {
    let secret = args.secret.read().map_err(|error| (exit::USAGE, error))?;
    let how = Coordinator { listen: args.listen, workers: args.workers, wait: args.wait, secret };
    scenario::run_by(&args.run, |options| loadtest::distributed::coordinate(options, &how))
}

pub(super) fn work(args: &Work) -> Outcome {
    let secret = args.secret.read().map_err(|error| (exit::USAGE, error))?;
    let worker = Worker {
        join: args.join.clone(),
        shards: args.shards,
        cores: args.cores.clone(),
        ledger: args.ledger.clone(),
        secret,
    };
    let done = loadtest::distributed::work(&worker).map_err(|error| (code_of(&error), error.into()))?;
    let text = format!(
        "worker {} of {} of run {}: {} users sent {} messages and got {}; the coordinator judges them ({})\n",
        done.index,
        done.workers,
        done.run,
        done.users,
        done.sent,
        done.delivered,
        done.ledger.display()
    );
    output::print(&text).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(0)
}
