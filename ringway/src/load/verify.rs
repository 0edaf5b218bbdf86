//! `ringway load verify`: a ledger judged from its file alone, or with the rows of a store.

use super::common::Store;
use super::{Outcome, output};
use crate::exit;
use anyhow::Context;
use clap::Args;
use loadtest::store::{self, Place};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  ringway load verify ringway-load.ledger
  ringway load verify --json ringway-load.ledger | jq .counts
  ringway load verify day-1.ledger day-2.ledger            each by itself
  ringway load verify --store sqlite:data/ringway.db ringway-load.ledger

It names what was lost, doubled, reordered, altered, or delivered to somebody outside, and lines of
the ledger that were removed, doubled, swapped or altered, each with its message. With --store the
rows of the conversations of the run are held against all that too.
Exit codes: 0 clean, 64 usage, 65 no ledger, 69 the store can't be read, 99 not clean.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// The ledgers, each judged by itself
    #[arg(value_name = "FILE", required = true)]
    ledgers: Vec<PathBuf>,
    /// Print each judgement as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: Store,
}

pub(super) fn run(args: &Verify) -> Outcome {
    let store = args.store.place().map_err(|error| (exit::USAGE, error))?;
    if let Some(place) = &store {
        store::check(place).map_err(|error| (exit::UNAVAILABLE, error.into()))?;
    }
    let mut clean = true;
    for ledger in &args.ledgers {
        clean &= verify(ledger, store.as_ref(), args.json)?;
    }
    Ok(if clean { 0 } else { exit::NOT_CLEAN })
}

fn verify(ledger: &Path, store: Option<&Place>, json: bool) -> Result<bool, (u8, anyhow::Error)> {
    let judged = File::open(ledger)
        .context("cannot open it")
        .and_then(|file| Ok(loadtest::judge::judge_with(BufReader::with_capacity(1 << 20, file), store)?))
        .with_context(|| format!("cannot judge {}", ledger.display()));
    let (header, verdict) = judged.map_err(|error| (exit::DATA, error))?;
    let text = if json {
        let mut text = serde_json::to_string_pretty(&verdict).map_err(|error| (exit::DATA, error.into()))?;
        text.push('\n');
        text
    } else {
        let run = header.map_or_else(String::new, |h| {
            format!("run {}, seed {}, {} connections, started {}\n", h.run, h.seed, h.connections, h.started)
        });
        run + &loadtest::report::summary(&verdict, &ledger.display().to_string())
    };
    output::print(&text).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(verdict.clean)
}
