//! `ringway doctor`: whether this machine is as a configuration needs it.

use crate::cli::Dev;
use crate::config::Config;
use crate::{exit, report};
use clap::Args;
use engine::executor::{LOCKED_BYTES, LOCKED_BYTES_MIN, PINNED_BYTES_MAX};
use engine::gateway::RECEIVE_BUFFERS;
use engine::ring::probe::{self, locked_bytes};
use engine::ring::{BACKLOG, RingError, SEND_BUFFER_BYTES, TrialError};
use engine::shard::ShardConfig;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tuning::{Demand, Machine, Refusal, RingFacts, Status, Style, examine, worst};

const EXAMPLES: &str = "Examples:
  ringway doctor                                     for the defaults of `ringway dev`
  ringway doctor --shards 4 --connections-max 50000
  ringway doctor --config ringway.toml --verbose     with what is fine, too
  ringway doctor --json | jq -r '.[] | select(.status == \"fail\") | .do'

It changes nothing. docs/tuning.md has each check, and how to make a change permanent.
Exit codes: 0 nothing prevents running (there may be warnings), 1 something does, 64 usage, \
78 configuration.";

/// The arguments of `ringway doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// The TOML file to check the machine for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Shards [default: those of the file, else one per core]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Connections per shard [default: those of the file, else 18000]
    #[arg(long, value_name = "N")]
    connections_max: Option<String>,
    /// Print a JSON array instead of text
    #[arg(long)]
    json: bool,
    /// Print the details of what is fine, too
    #[arg(long, short)]
    verbose: bool,
}

/// Prints all checks.
pub(crate) fn run(args: &Doctor) -> ExitCode {
    let dev = Dev {
        config: args.config.clone(),
        shards: args.shards.clone(),
        connections_max: args.connections_max.clone(),
        ..Dev::default()
    };
    let config = match Config::load(dev.config.as_deref(), &dev.flags()) {
        Ok(config) => config,
        Err(faults) => return report(Err(faults.into()), exit::CONFIG),
    };
    let demand = demand(&config);
    let checks = examine(&Machine::at("/"), &demand, &facts(&demand));
    let mut out = if args.json {
        tuning::json(&checks)
    } else {
        // https://no-color.org: any value but the empty one.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = std::io::stdout().is_terminal() && !plain;
        tuning::text(&checks, Style { colour, verbose: args.verbose })
    };
    if args.json {
        out.push('\n');
    }
    // A reader such as `head` may have gone; the exit code still tells.
    let _ = std::io::stdout().write_all(out.as_bytes());
    if worst(&checks) == Status::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn demand(config: &Config) -> Demand {
    let limits = &config.limits.engine;
    Demand {
        shards: config.engine.shards,
        cores: config.engine.cores.clone(),
        connections_max: limits.connections_max as u64,
        table: ShardConfig::table(limits) as u64,
        backlog: BACKLOG as u64,
        send_buffer_bytes: SEND_BUFFER_BYTES as u64,
        message_bytes_max: limits.message_bytes_max as u64,
        egress_bytes_max: limits.egress_bytes_max as u64,
        locked_bytes: locked_bytes(RECEIVE_BUFFERS) + LOCKED_BYTES,
        pinned_bytes_max: PINNED_BYTES_MAX,
        locked_bytes_min: LOCKED_BYTES_MIN,
    }
}

fn facts(demand: &Demand) -> RingFacts {
    let report = probe::probe(demand.shards, demand.table as u32, RECEIVE_BUFFERS);
    RingFacts {
        setup: Some(report.setup.map_err(|error| refusal(&error))),
        table: report.table.map(|table| table.map_err(|error| refusal(&error))),
        missing: report.missing,
        trial: report.trial.map(|trial| {
            trial.map_err(|error| match error {
                TrialError::Ring(error) => refusal(&error),
                error => Refusal { kind: ErrorKind::Other, message: error.to_string() },
            })
        }),
        newer: report.newer,
    }
}

/// The kernel's own answer: what to do about it is for the check to say.
fn refusal(error: &RingError) -> Refusal {
    Refusal { kind: error.cause().kind(), message: error.cause().to_string() }
}
