//! `ringway load quick`: a scenario of one rate, told by flags alone.

use super::common::Common;
use super::{Outcome, code_of, output};
use crate::cli::duration;
use crate::exit;
use clap::Args;
use loadtest::scenario::{Clients, Groups, Mix, Payload, Phase, PhaseKind, Scenario};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  ringway load quick
  ringway load quick -c 10000 -R 5000 -d 60s
  ringway load quick --groups 10 --group-size 100 -R 100 -o report.json
  ringway load quick --reconnect -d 60s                and kill -9 the server meanwhile
  ringway load quick --reconnect --at-least-once       and kill a worker of the real road
  ringway load quick --protocol raw-relay --target 'ws://127.0.0.1:9001/relay/{room}'
  ringway load quick --target ws://10.0.0.2:8080/ws --tokens tokens.txt -c 1000

Users are 1 to N and write to their neighbour (1 and 2, 3 and 4 …), or with --groups to groups too. \
Latency counts from the time a message was due, however late it went out. Ctrl-C ends the \
sending and still waits for what is under way; a second one ends at once.
Exit codes: 0 clean, 64 usage, 69 the server can't be reached, 73 a file can't be written, \
99 the ledger is not clean or a threshold failed, 130 Ctrl-C before the first message.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Quick {
    #[command(flatten)]
    common: Common,
    /// Connections, one user each
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    connections: u64,
    /// Messages a second, over all users
    #[arg(short = 'R', long, value_name = "N", default_value_t = 1_000)]
    rate: u64,
    /// How long to send and measure: a number with s, m, h or d
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long to send before that, unmeasured
    #[arg(long, value_name = "TIME", value_parser = duration)]
    warmup: Option<Duration>,
    /// Groups to make and to write to
    #[arg(long, value_name = "N", default_value_t = 0)]
    groups: u64,
    /// Members of each group
    #[arg(long, value_name = "N", default_value_t = 10)]
    group_size: u64,
    /// Bytes of a message's content
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=5_000))]
    payload: u64,
    /// Where a report goes: a page if the name ends in .html, else JSON; may be given several times
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Connect again when a connection is lost; without it, what its client misses counts as lost
    #[arg(long)]
    reconnect: bool,
    /// Allow that a session is told of a message again, as the contract does: after the death of a
    /// worker or of Kafka what may not have arrived is sent again. It is counted
    #[arg(long)]
    at_least_once: bool,
}

impl Quick {
    fn scenario(&self) -> Result<Scenario, String> {
        if self.rate == 0 || self.rate > 1_000_000 {
            return Err(format!("expected a --rate from 1 to 1000000, got {}", self.rate));
        }
        if self.connections < 2 {
            return Err("one user has nobody to write to: expected --connections 2 or more".to_owned());
        }
        let phase = |kind, duration| {
            let rate = Some(self.rate as f64);
            Phase { kind, duration, rate, connections: None, share: None }
        };
        let warmup = self.warmup.map(|warmup| phase(PhaseKind::Warmup, warmup));
        // Every place of a user in a conversation weighs the same.
        let (single, group) = (self.connections / 2 * 2, self.groups * self.group_size);
        Ok(Scenario {
            name: "quick".to_owned(),
            about: String::new(),
            connections: self.connections,
            connect: Default::default(),
            arrival: Default::default(),
            mix: Mix { single, group, ..Mix::default() },
            groups: Groups { count: self.groups, size: self.group_size },
            payload: Payload { bytes: self.payload, ..Payload::default() },
            clients: Clients {
                reconnect: self.reconnect,
                at_least_once: self.at_least_once,
                ..Clients::default()
            },
            phases: warmup.into_iter().chain([phase(PhaseKind::Hold, self.duration)]).collect(),
            thresholds: vec![],
        })
    }
}

pub(super) fn run(args: &Quick) -> Outcome {
    let usage = |error: String| (exit::USAGE, anyhow::anyhow!(error));
    let scenario = args.scenario().map_err(usage)?;
    let histograms = output::histograms(&args.output);
    let options = args.common.options(scenario, histograms).map_err(|error| (exit::USAGE, error))?;
    let report = loadtest::run(&options).map_err(|error| (code_of(&error), error.into()))?;
    output::print(&report.to_string()).map_err(|error| (exit::CANNOT_CREATE, error))?;
    output::write(&args.output, &report).map_err(|error| (exit::CANNOT_CREATE, error))?;
    // A quick look on a machine that is busy is worth having; the text says how late it was.
    Ok(if report.is_ok(true) { 0 } else { exit::NOT_CLEAN })
}
