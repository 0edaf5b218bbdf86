//! `ringway load`: load from many clients, and the judgement of what they saw.

mod common;
mod compare;
mod distributed;
mod output;
mod quick;
mod scenario;
mod verify;

use crate::exit;
use clap::{Args, Subcommand};
use loadtest::RunError;
use std::process::ExitCode;

const LOAD_EXAMPLES: &str = "Examples:
  ringway dev                                          in another terminal
  ringway load quick                                   100 clients, 1,000 messages/s, 10 s
  ringway load run smoke                               a scenario that comes with the program
  ringway load run steady -o report.html               a report with curves
  ringway load verify ringway-load.ledger              judge that run again, from its file
  ringway load coordinator steady --workers 2          a run that two other processes make:
  ringway load worker --join 127.0.0.1:7070            one of them

docs/load-testing.md says what the figures mean.
Exit codes: 0 clean, 64 usage, 65 no ledger, 69 the server can't be reached or is gone, or a \
worker is, 73 a file can't be written, 78 the scenario is wrong, 99 not clean or a threshold failed, \
130 Ctrl-C before the first message.";

#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
pub(crate) struct Load {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(Debug, Subcommand)]
enum LoadCommand {
    /// Send at a constant rate from many clients, and judge what they saw
    Quick(Box<quick::Quick>),
    /// Go through a scenario: phases, mixes, storms; measure, report and judge it
    Run(Box<scenario::Run>),
    /// Lead a scenario that workers in other processes go through together; measure, report and judge it
    Coordinator(Box<distributed::Coordinate>),
    /// Take part in a run that a coordinator leads
    Worker(distributed::Work),
    /// List the scenarios that come with the program, or print one to start a file from
    Scenarios(scenario::Scenarios),
    /// Compare two reports in JSON: ratios, with how far chance alone may have moved them
    Compare(compare::Compare),
    /// Judge a run from its ledger alone, or from those of all its workers
    Verify(verify::Verify),
}

/// What a subcommand comes to: an exit code, with or without something to say.
type Outcome = std::result::Result<u8, (u8, anyhow::Error)>;

/// Runs the subcommand; the code says how it went.
pub(crate) fn run(args: &Load) -> ExitCode {
    let done = match &args.command {
        LoadCommand::Quick(args) => quick::run(args),
        LoadCommand::Run(args) => scenario::run(args),
        LoadCommand::Coordinator(args) => distributed::coordinate(args),
        LoadCommand::Worker(args) => distributed::work(args),
        LoadCommand::Scenarios(args) => scenario::list(args),
        LoadCommand::Compare(args) => compare::run(args),
        LoadCommand::Verify(args) => verify::run(args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err((code, error)) => {
            eprintln!("ringway: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn code_of(error: &RunError) -> u8 {
    match error {
        RunError::Usage(_) => exit::USAGE,
        RunError::Unavailable(_) | RunError::Start(_) | RunError::Store(_) | RunError::Lost(_) => {
            exit::UNAVAILABLE
        }
        RunError::Write(..) | RunError::Histograms(..) => exit::CANNOT_CREATE,
        RunError::Judge(..) | RunError::Together(..) => exit::DATA,
        RunError::Interrupted => exit::INTERRUPTED,
    }
}
