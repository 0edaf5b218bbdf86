//! `ringway load`: load from many clients, and the judgement of what they saw.

use crate::cli::{self, duration};
use crate::data_dir::development_key;
use crate::exit;
use crate::token::expires_in;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use loadtest::{Options, RunError, Target, User};
use protocol::UserId;
use protocol::token::mint_hs256;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const LOAD_EXAMPLES: &str = "Examples:
  ringway dev                                          in another terminal
  ringway load quick                                   100 clients, 1,000 messages/s, 10 s
  ringway load verify ringway-load.ledger              judge that run again, from its file

docs/load-testing.md says what the figures mean.
Exit codes: 0 clean, 64 usage, 65 no ledger, 69 the server can't be reached, 73 a file can't be
written, 99 the ledger is not clean, 130 Ctrl-C before the first message.";

#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
pub(crate) struct Load {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(Debug, Subcommand)]
enum LoadCommand {
    /// Send at a constant rate from many clients, and judge what they saw
    Quick(Box<Quick>),
    /// Judge a ledger from its file alone
    Verify(Verify),
}

const QUICK_EXAMPLES: &str = "Examples:
  ringway load quick
  ringway load quick -c 10000 -R 5000 -d 60s
  ringway load quick --groups 10 --group-size 100 -R 100 -o report.json
  ringway load quick --reconnect -d 60s                and kill -9 the server meanwhile
  ringway load quick --reconnect --at-least-once       and kill a worker of the real road
  ringway load quick --target ws://10.0.0.2:8080/ws --tokens tokens.txt -c 1000

Users are 1 to N and write to their neighbour (1 and 2, 3 and 4 …), or with --groups to groups too.
Latency counts from the time a message was due, however late it went out. Ctrl-C ends the
sending and still waits for what is under way; a second one ends at once.
Exit codes: 0 clean, 64 usage, 69 the server can't be reached, 73 a file can't be written,
99 the ledger is not clean, 130 Ctrl-C before the first message.";

#[derive(Debug, Args)]
#[command(after_help = QUICK_EXAMPLES)]
struct Quick {
    /// The socket; given several times, users are spread over them
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws", value_parser = loadtest::target)]
    target: Vec<Target>,
    /// Connections, one user each
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    connections: usize,
    /// Messages a second, over all users
    #[arg(short = 'R', long, value_name = "N", default_value_t = 1_000)]
    rate: u64,
    /// How long to send and measure: a number with s, m, h or d
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long to send before that, unmeasured
    #[arg(long, value_name = "TIME", value_parser = duration)]
    warmup: Option<Duration>,
    /// The HTTP API, which makes the groups
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", value_parser = loadtest::api_host)]
    api: String,
    /// The server's data directory, whose key signs the tokens
    #[arg(long, value_name = "DIR", default_value_os_t = cli::data(), conflicts_with = "tokens")]
    data: PathBuf,
    /// A file of tokens, one per line, such as `ringway token --users 1..1000` prints
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Groups to make and to write to
    #[arg(long, value_name = "N", default_value_t = 0)]
    groups: usize,
    /// Members of each group
    #[arg(long, value_name = "N", default_value_t = 10)]
    group_size: usize,
    /// Bytes of a message's content
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    payload: usize,
    /// What senders and conversations are drawn from; the same seed gives the same schedule
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the ledger goes; an older one is replaced
    #[arg(long, value_name = "FILE", default_value = "./ringway-load.ledger")]
    ledger: PathBuf,
    /// Where a report in JSON goes
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Connect again when a connection is lost; without it, what its client misses counts as lost
    #[arg(long)]
    reconnect: bool,
    /// Allow that a session is told of a message again, as the contract does: after the death of a
    /// worker or of Kafka what may not have arrived is sent again. It is counted
    #[arg(long)]
    at_least_once: bool,
    /// Source addresses 127.0.0.1, 127.0.0.2 … for a target on loopback [default: as ports require]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    source_addresses: u8,
}

const VERIFY_EXAMPLES: &str = "Examples:
  ringway load verify ringway-load.ledger
  ringway load verify --json ringway-load.ledger | jq .counts

It names what was lost, doubled, reordered, altered, or delivered to somebody outside, and lines of
the ledger that were removed, doubled, swapped or altered, each with its message.
Exit codes: 0 clean, 65 no ledger, 99 not clean.";

#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
struct Verify {
    /// The ledger
    #[arg(value_name = "FILE")]
    ledger: PathBuf,
    /// Print the judgement as JSON
    #[arg(long)]
    json: bool,
}

/// Longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 86_400);

/// Runs the subcommand; the code says how it went.
pub(crate) fn run(args: &Load) -> ExitCode {
    let done = match &args.command {
        LoadCommand::Quick(args) => quick(args),
        LoadCommand::Verify(args) => verify(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::NOT_CLEAN),
        Err((code, error)) => {
            eprintln!("ringway: {error:#}");
            ExitCode::from(code)
        }
    }
}

type Outcome = std::result::Result<bool, (u8, anyhow::Error)>;

fn quick(args: &Quick) -> Outcome {
    let options = options(args).map_err(|error| (exit::USAGE, error))?;
    let report = loadtest::quick(&options).map_err(|error| (code_of(&error), error.into()))?;
    print(&report.to_string()).map_err(|error| (exit::CANNOT_CREATE, error))?;
    if let Some(path) = &args.output {
        write_json(path, &report).map_err(|error| (exit::CANNOT_CREATE, error))?;
    }
    Ok(report.verdict.clean)
}

fn code_of(error: &RunError) -> u8 {
    match error {
        RunError::Usage(_) => exit::USAGE,
        RunError::Unavailable(_) | RunError::Runtime(_) => exit::UNAVAILABLE,
        RunError::Write(..) => exit::CANNOT_CREATE,
        RunError::Judge(..) => exit::DATA,
        RunError::Interrupted => exit::INTERRUPTED,
    }
}

fn options(args: &Quick) -> Result<Options> {
    Ok(Options {
        targets: args.target.clone(),
        users: users(args)?,
        rate: args.rate,
        duration: args.duration,
        warmup: args.warmup.unwrap_or_default(),
        api: args.api.clone(),
        groups: args.groups,
        group_size: args.group_size,
        payload_bytes: args.payload,
        seed: args.seed,
        ledger: args.ledger.clone(),
        reconnect: args.reconnect,
        at_least_once: args.at_least_once,
        source_addresses: args.source_addresses,
    })
}

fn users(args: &Quick) -> Result<Vec<User>> {
    if let Some(path) = &args.tokens {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let tokens = text.split_whitespace().take(args.connections);
        let users = loadtest::users_of_tokens(tokens)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let found = users.len();
        anyhow::ensure!(
            found == args.connections,
            "{} holds {found} tokens, {} connections need one each: see `ringway token --users`",
            path.display(),
            args.connections
        );
        return Ok(users);
    }
    // Made by the server at its start: a key of one's own would only be refused later.
    anyhow::ensure!(
        args.data.join("dev.key").exists(),
        "{} holds no dev.key: --data must be the data directory of `ringway dev`, or give --tokens",
        args.data.display()
    );
    let key = development_key(&args.data)?;
    let expires_at = expires_in(TOKEN_TTL)?;
    let user = |id| User { id, token: mint_hs256(&key, UserId(id), None, expires_at) };
    Ok((1..=args.connections as u64).map(user).collect())
}

fn write_json(path: &Path, report: &loadtest::report::Report) -> Result<()> {
    let mut text = serde_json::to_string_pretty(report).context("cannot write the report as JSON")?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn verify(args: &Verify) -> Outcome {
    let judged = File::open(&args.ledger)
        .context("cannot open it")
        .and_then(|file| Ok(loadtest::judge::judge(BufReader::with_capacity(1 << 20, file))?))
        .with_context(|| format!("cannot judge {}", args.ledger.display()));
    let (header, verdict) = judged.map_err(|error| (exit::DATA, error))?;
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&verdict).map_err(|error| (exit::DATA, error.into()))?;
        text.push('\n');
        text
    } else {
        let run = header.map_or_else(String::new, |h| {
            format!("run {}, seed {}, {} connections, started {}\n", h.run, h.seed, h.connections, h.started)
        });
        run + &loadtest::report::summary(&verdict, &args.ledger.display().to_string())
    };
    print(&text).map_err(|error| (exit::CANNOT_CREATE, error))?;
    Ok(verdict.clean)
}

/// Prints; a reader that has gone away, as `head` does, is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
