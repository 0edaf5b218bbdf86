//! `ringway load verify`: a run judged from its ledger alone or from those of all its workers, or with the
//! rows of a store.

use super::common::{Showing, Store};
use super::{Outcome, output};
use crate::exit;
use clap::Args;
use loadtest::judge::together::{RunLedgers, judge_run, runs};
use loadtest::store::{self, Place};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  ringway load verify ringway-load.ledger
  ringway load verify --json ringway-load.ledger | jq .counts
  ringway load verify day-1.ledger day-2.ledger            each run by itself
  ringway load verify ringway-load.*.ledger                one run of several workers, as one
  ringway load verify --store sqlite:data/ringway.db ringway-load.ledger

It names what was lost, doubled, reordered, altered, or delivered to somebody outside, and lines of \
the ledger that were removed, doubled, swapped or altered, each with its message. \
A run that several workers made needs the ledgers of all of them, in any order. With --store the \
rows of the conversations of the run are held against all that too.
Exit codes: 0 clean, 64 usage, 65 no ledger, or not all of a run, 69 the store can't be read, \
99 not clean.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// The ledgers; those of one run's workers are judged together, each other by itself
    #[arg(value_name = "FILE", required = true)]
    ledgers: Vec<PathBuf>,
    /// Print each judgement as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    showing: Showing,
}

pub(super) fn run(args: &Verify) -> Outcome {
    let store = args.store.place().map_err(|error| (exit::USAGE, error))?;
    if let Some(place) = &store {
        store::check(place).map_err(|error| (exit::UNAVAILABLE, error.into()))?;
    }
    let mut clean = true;
    for run in runs(&args.ledgers).map_err(|error| (exit::DATA, error.into()))? {
        clean &= verify(&run, store.as_ref(), args)?;
    }
    Ok(if clean { 0 } else { exit::NOT_CLEAN })
}

fn verify(run: &RunLedgers, store: Option<&Place>, args: &Verify) -> Result<bool, (u8, anyhow::Error)> {
    let judged = judge_run(run, store, &mut loadtest::judging(args.showing.how()));
    let (header, verdict) = judged.map_err(|error| (exit::DATA, error.into()))?;
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&verdict).map_err(|error| (exit::DATA, error.into()))?;
        text.push('\n');
        text
    } else {
        let about = header.map_or_else(String::new, |h| {
            format!("run {}, seed {}, {} connections, started {}\n", h.run, h.seed, h.connections, h.started)
        });
        about + &loadtest::report::summary(&verdict, &run.names())
    };
    output::print(&text).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(verdict.clean)
}
