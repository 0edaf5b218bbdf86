//! `ringway load compare`: what is different between two reports.

use super::{Outcome, output};
use crate::exit;
use anyhow::Context;
use clap::Args;
use loadtest::compare::{Run, table};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  ringway load run steady -o before.json
  ringway load run steady -o after.json
  ringway load compare before.json after.json

A ratio is the second over the first; beside it is the range that 90 in 100 draws of the runs' own seconds \
give. Where that holds 1, the two may be the same.
Exit codes: 0 ok, 65 no report.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Compare {
    /// The report to compare with
    #[arg(value_name = "A.json")]
    first: PathBuf,
    /// The report to compare
    #[arg(value_name = "B.json")]
    second: PathBuf,
}

fn read(path: &Path) -> Result<Run, (u8, anyhow::Error)> {
    let text = std::fs::read_to_string(path).context("cannot open it");
    let run = text.and_then(|text| Ok(text.parse()?));
    run.with_context(|| format!("cannot read the report {}", path.display()))
        .map_err(|error| (exit::DATA, error))
}

pub(super) fn run(args: &Compare) -> Outcome {
    let (first, second) = (read(&args.first)?, read(&args.second)?);
    output::print(&table(&first, &second)).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(0)
}
