//! The binary: command line, configuration, wiring, signals; nothing else.

mod admin;
mod cli;
mod config;
mod data_dir;
mod dev;
mod doctor;
mod gateway;
mod health;
mod load;
mod metrics;
mod new_epoch;
mod notify;
mod operator;
mod reload;
mod signals;
mod telemetry;
mod token;
mod worker;

use clap::Parser;
use clap::error::ErrorKind;
use cli::{Cli, Command};
use config::{Config, Faults, Flag, Loaded, Sections};
use protocol::token::KeySource;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use telemetry::{Hops, Telemetry};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes after sysexits.h.
mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const DATA: u8 = 65;
    pub(crate) const UNAVAILABLE: u8 = 69;
    pub(crate) const CANNOT_CREATE: u8 = 73;
    pub(crate) const CONFIG: u8 = 78;
    /// As k6 has it for thresholds that were not met.
    pub(crate) const NOT_CLEAN: u8 = 99;
    /// As shells have it for a program ended by Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 130;
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) };
        }
    };
    match cli.command {
        Command::Token(args) => report(token::run(&args), exit::UNAVAILABLE),
        Command::Doctor(args) => doctor::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Dev(args) => {
            let run = |config: &Config, keys: &[_]| dev::run(&args, config, keys);
            serve("ringway-dev", args.config.as_deref(), &args.flags(), args.print_config, run)
        }
        Command::Gateway(args) => {
            let run = |config: &gateway::Config, keys: &[_]| gateway::run(&args, config, keys);
            serve("ringway-gateway", args.config.as_deref(), &args.flags(), args.print_config, run)
        }
        Command::Logic(args) => {
            let run = |config: &worker::Config, keys: &[_]| worker::run(&args, config, keys);
            serve("ringway-logic", args.config.as_deref(), &args.flags(), args.print_config, run)
        }
    }
}

/// Reads the configuration, and prints it or runs with it.
fn serve<T: Sections>(
    service: &'static str,
    file: Option<&Path>,
    flags: &[Flag],
    print: bool,
    run: impl FnOnce(&Loaded<T>, &[KeySource]) -> anyhow::Result<()>,
) -> ExitCode {
    let refused = |faults: Faults| report(Err(faults.into()), exit::CONFIG);
    let config = match Loaded::<T>::load(file, flags) {
        Ok(config) => config,
        Err(faults) => return refused(faults),
    };
    if print {
        // A reader such as `head` may have gone.
        let _ = std::io::stdout().write_all(config::print(&config.settings).as_bytes());
        return ExitCode::SUCCESS;
    }
    let keys = match config.keys() {
        Ok(keys) => keys,
        Err(faults) => return refused(faults),
    };
    let _telemetry = start_log(service);
    report(run(&config, &keys), exit::UNAVAILABLE)
}

/// Logs to stderr; what is returned exports the hops of messages, as `service`, until it is dropped.
fn start_log(service: &'static str) -> Option<Telemetry> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    // glommio warns of locked memory that it goes on without, and that nothing here uses.
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,glommio=error"));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter);
    let started = telemetry::start(service);
    let why_not = started.as_ref().err().cloned();
    let (hops, telemetry) = started.ok().flatten().unzip();
    let hops = hops.map(|hops| hops.with_filter(Hops::filter()));
    tracing_subscriber::registry().with(log).with(hops).init();
    if let Some(why) = why_not {
        tracing::warn!("spans are not exported: {why}");
    }
    telemetry
}

fn report(result: anyhow::Result<()>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway: {}", told_once(&error));
            ExitCode::from(code)
        }
    }
}

/// An error and its causes; a cause that the words before it have is not told again.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        match told.as_str() {
            "" => cause,
            before if before.contains(&cause) => told,
            before => format!("{before}: {cause}"),
        }
    })
}
