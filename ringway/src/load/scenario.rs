//! `ringway load run`: a scenario from a file, or one that comes with the program.

use super::common::Common;
use super::{Outcome, code_of, output};
use crate::cli::duration;
use crate::exit;
use anyhow::Context;
use clap::Args;
use loadtest::report::Report;
use loadtest::scenario::{Scenario, ready};
use loadtest::{Options, RunError};
use std::path::{Path, PathBuf};
use std::time::Duration;

const RUN_EXAMPLES: &str = "Examples:
  ringway load run                                     smoke: half a minute of everything
  ringway load run steady -o report.html -o report.json
  ringway load run steady -R 5000 -d 2m --threshold 'delivered.p(99)<20ms'
  ringway load run reconnect-storm -c 18000 --server-pid $(pidof ringway) --admin http://127.0.0.1:8082
  ringway load scenarios steady > mine.toml; ringway load run mine.toml

Flags override the file. Latency counts from the time a message was due, and beside that from the time \
it went out. Ctrl-C ends the sending, waits for what is under way, and marks the report incomplete; a \
second one ends at once.
Exit codes: 0 clean, 64 usage, 69 the server can't be reached or is gone, 73 a file can't be written, \
78 the scenario is wrong, 99 the ledger is not clean, a threshold failed, or the generator was saturated, \
130 Ctrl-C before the first message.";

#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(super) struct Run {
    /// A file in TOML, or the name of a scenario that comes with the program
    #[arg(value_name = "SCENARIO", default_value = "smoke")]
    scenario: String,
    #[command(flatten)]
    common: Common,
    /// Connections before the first phase, one user each
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=2_000_000))]
    connections: Option<u64>,
    /// Messages a second in the phase that has most; others in proportion
    #[arg(short = 'R', long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long all phases take together; each in proportion
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Messages that each user has under way, in a closed loop
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    depth: Option<u64>,
    /// Groups to make
    #[arg(long, value_name = "N")]
    groups: Option<u64>,
    /// Members of each group
    #[arg(long, value_name = "N")]
    group_size: Option<u64>,
    /// Connect again when a connection is lost
    #[arg(long)]
    reconnect: bool,
    /// Allow that a session is told of a message again, as after the death of a worker
    #[arg(long)]
    at_least_once: bool,
    /// Where a report goes, by its ending: .html a page with curves, .hlog histograms second by second, .txt
    /// text, else JSON; may be given several times
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// A generator that could not keep up does not fail the run
    #[arg(long)]
    allow_saturated: bool,
}

const SCENARIOS_EXAMPLES: &str = "Examples:
  ringway load scenarios
  ringway load scenarios smoke > mine.toml
Exit codes: 0 ok, 64 usage.";

#[derive(Debug, Args)]
#[command(after_help = SCENARIOS_EXAMPLES)]
pub(super) struct Scenarios {
    /// Print this one's file
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    let most = loadtest::scenario::RATE_MAX;
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= most);
    rate.ok_or_else(|| format!("expected a number up to {most}"))
}

impl Run {
    fn read(&self) -> Result<Scenario, (u8, anyhow::Error)> {
        let path = Path::new(&self.scenario);
        let is_file = path.exists() || self.scenario.contains(['/', '.']);
        let (name, text) = match ready::text(&self.scenario).filter(|_| !is_file) {
            Some(text) => (self.scenario.clone(), text.to_owned()),
            None if is_file => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
                let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                (name.unwrap_or_default(), text.map_err(|error| (exit::CONFIG, error))?)
            }
            None => {
                let names = ready::READY.map(|(name, _)| name).join(", ");
                let error = anyhow::anyhow!("expected a file, or one of {names}; got {}", self.scenario);
                return Err((exit::USAGE, error));
            }
        };
        let mut scenario =
            Scenario::read(&self.scenario, &text).map_err(|error| (exit::CONFIG, error.into()))?;
        if scenario.name.is_empty() {
            scenario.name = name;
        }
        Ok(scenario)
    }

    fn change(&self, scenario: &mut Scenario) -> Result<(), String> {
        if let Some(connections) = self.connections {
            scenario.scale_connections(connections);
        }
        if let Some(rate) = self.rate {
            scenario.scale_rate(rate)?;
        }
        if let Some(duration) = self.duration {
            scenario.scale_duration(duration);
        }
        let keep = |value: &mut u64, flag: Option<u64>| *value = flag.unwrap_or(*value);
        keep(&mut scenario.arrival.depth, self.depth);
        keep(&mut scenario.groups.count, self.groups);
        keep(&mut scenario.groups.size, self.group_size);
        scenario.clients.reconnect |= self.reconnect;
        scenario.clients.at_least_once |= self.at_least_once;
        scenario.check()
    }
}

pub(super) fn run(args: &Run) -> Outcome {
    run_by(args, loadtest::run)
}

/// Has `run` make the run that these arguments tell of, and reports it.
pub(super) fn run_by(args: &Run, run: impl FnOnce(&Options) -> Result<Report, RunError>) -> Outcome {
    let mut scenario = args.read()?;
    args.change(&mut scenario).map_err(|error| (exit::USAGE, anyhow::anyhow!(error)))?;
    let histograms = output::histograms(&args.output);
    let options = args.common.options(scenario, histograms).map_err(|error| (exit::USAGE, error))?;
    let report = run(&options).map_err(|error| (code_of(&error), error.into()))?;
    output::print(&report.to_string()).map_err(|error| (exit::CANNOT_CREATE, error))?;
    output::write(&args.output, &report).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(match report.is_ok(args.allow_saturated) {
        _ if report.is_gone() => exit::UNAVAILABLE,
        true => 0,
        false => exit::NOT_CLEAN,
    })
}

pub(super) fn list(args: &Scenarios) -> Outcome {
    let text = match &args.name {
        Some(name) => ready::text(name).map(str::to_owned).ok_or_else(|| {
            let names = ready::READY.map(|(name, _)| name).join(", ");
            (exit::USAGE, anyhow::anyhow!("expected one of {names}; got {name}"))
        })?,
        None => {
            let line = |(name, _): (&str, _)| {
                let about = ready::read(name).and_then(Result::ok).map_or(String::new(), |own| own.about);
                format!("{name:<16} {about}\n")
            };
            ready::READY.map(line).concat()
        }
    };
    output::print(&text).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(0)
}
