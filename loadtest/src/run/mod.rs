//! A run from the first connection to the judgement of its ledger.

mod crew;
mod finish;
mod lead;
mod watch;

use crate::counters::Counters;
use crate::course::Course;
use crate::ledger::reader::LedgerError;
use crate::ledger::writer::Writer;
use crate::ledger::{FORMAT, Header, Record, VERSION};
use crate::options::Options;
use crate::peer::{Peers, Protocol};
use crate::plan::Plan;
use crate::random::Random;
use crate::report::Report;
use crate::shard::World;
use crate::store::{self, StoreError};
use crate::{client::Shared, dial, dial::Sources};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum RunError {
    /// The options don't go together.
    #[error("{0}")]
    Usage(String),
    /// The server can't be reached, or doesn't let everybody in.
    #[error("{0}")]
    Unavailable(String),
    /// The ledger can't be written.
    #[error("cannot write the ledger {0}: {1}")]
    Write(String, std::io::Error),
    /// The histograms can't be written.
    #[error("cannot write the histograms {0}: {1}")]
    Histograms(String, std::io::Error),
    /// The ledger can't be read back.
    #[error("cannot judge the ledger {0}: {1}")]
    Judge(String, LedgerError),
    /// The store that was named can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no threads, or no rings.
    #[error("cannot start the clients: {0}")]
    Start(String),
    /// Ctrl-C before anything was sent.
    #[error("interrupted before the first message")]
    Interrupted,
}

/// Runs the load, keeps the ledger, judges it.
pub fn run(options: &Options) -> Result<Report, RunError> {
    options.check().map_err(RunError::Usage)?;
    let (shards, table) =
        dial::shards_needed(options.users.len(), options.shards).map_err(RunError::Usage)?;
    // A run of an hour should not end with this.
    options.store.as_ref().map_or(Ok(()), store::check)?;
    let interrupts = watch::interrupts().map_err(|error| RunError::Start(error.to_string()))?;
    let name = name();
    let groups = crew::make_groups(options)?;
    let peers = peers(options, &name);
    let plan = match &peers {
        None => Plan::new(&options.scenario, options.users.clone(), groups),
        Some(_) => Plan::of_rooms(&options.scenario, options.users.clone(), options.room_users() as usize),
    };
    let header = header(options, &name);
    let started_at = SystemTime::now();
    let ledger = peers.is_none().then_some(options.ledger.as_path());
    let writer = Writer::start(ledger, &header)
        .map_err(|error| RunError::Write(options.ledger.display().to_string(), error))?;
    let shared = Shared {
        run: name,
        window: options.scenario.clients.window as usize,
        measured_from_us: AtomicU64::new(0),
        sessions: AtomicU64::new(0),
        counters: Counters { unacknowledged: peers.is_some(), ..Counters::default() },
    };
    let sources = match options.source_addresses {
        _ if !options.sources.is_empty() => Sources::Given(options.sources.clone()),
        0 => Sources::Loopback(dial::sources_needed(options.users.len().div_ceil(options.targets.len()))),
        sources => Sources::Loopback(sources),
    };
    if peers.is_none() {
        declare(&plan, &writer);
    }
    let world = Arc::new(World {
        scenario: options.scenario.clone(),
        seed: options.seed,
        plan,
        course: Course::new(&options.scenario),
        shared: Arc::new(shared),
        targets: options.targets.clone(),
        peers,
        sources,
        shards,
        started: Instant::now(),
    });
    let watch = watch::Watch::new(options, Arc::clone(&world), interrupts, started_at)?;
    let crew = crew::Crew::start(&world, &writer, table, &options.cores)?;
    let led = lead::lead(options, &world, watch, &writer, crew)?;
    finish::finish(options, &world, writer, led, header)
}

/// What the clients of a peer share.
fn peers(options: &Options, name: &str) -> Option<Arc<Peers>> {
    let Protocol::Peer(language, shape) = options.protocol else { return None };
    let depth = if options.scenario.is_closed() { options.scenario.arrival.depth } else { 0 };
    let run = u64::from_str_radix(name, 16).unwrap_or_default();
    Some(Peers::new((language, shape), options.room_users() as usize, options.users.len(), run, depth).into())
}

/// Distinct from run to run, or a second run's ids would be taken for repeats of the first's.
fn name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut name = Random::new((now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(32));
    format!("{:08x}", name.number() as u32)
}

fn header(options: &Options, name: &str) -> Header {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Header {
        format: FORMAT.into(),
        version: VERSION,
        run: name.to_owned(),
        seed: options.seed,
        connections: options.users.len(),
        rate: options.scenario.rate_max().round() as u64,
        started: protocol::UnixMs(now.as_millis() as u64).to_string(),
        at_least_once: options.scenario.clients.at_least_once,
    }
}

/// Tells the ledger who is to get what.
fn declare(plan: &Plan, writer: &Writer) {
    let mut scribe = writer.scribe();
    for conversation in &plan.conversations {
        let id = |user: &u32| plan.users[*user as usize].id;
        let mut members: Vec<u64> = conversation.members.iter().map(id).collect();
        members.sort_unstable();
        scribe
            .batch
            .records
            .push(Record::Conversation { conv: conversation.name.to_string().into(), members });
        // A ledger that is gone shows at the next look at it.
        let _ = scribe.hand_over_large();
    }
    let _ = scribe.hand_over(true);
}

/// Microseconds as they are counted by the clients.
fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}
