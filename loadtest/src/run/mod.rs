//! A run from the first connection to the judgement of its ledger.

mod crew;
mod field;
mod finish;
mod lead;
mod watch;

pub(crate) use crew::make_groups;
pub(crate) use field::{Field, Finished, Local};
pub(crate) use finish::saturated;
pub(crate) use watch::{Watch, interrupts};

use crate::counters::Counters;
use crate::course::Course;
use crate::judge::together::TogetherError;
use crate::ledger::reader::LedgerError;
use crate::ledger::writer::Writer;
use crate::ledger::{FORMAT, Header, Record, VERSION};
use crate::options::Options;
use crate::peer::{Peers, Protocol};
use crate::plan::{Conversation, Plan};
use crate::random::Random;
use crate::report::Report;
use crate::shard::World;
use crate::share::Share;
use crate::store::{self, StoreError};
use crate::{client::Shared, dial, dial::Sources};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Sessions of one process are numbered from this many times its index on, so that no number stands
/// for two sessions of a run.
const SESSIONS_OF_A_PROCESS: u64 = 1_000_000_000;

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
    /// The ledgers of several workers can't be judged together.
    #[error("cannot judge the ledgers {0}")]
    Together(String, #[source] Box<TogetherError>),
    /// There are no threads, or no rings.
    #[error("cannot start the clients: {0}")]
    Start(String),
    /// One of several processes that make the run went away, or can't take part.
    #[error("{0}")]
    Lost(String),
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
    let interrupts = interrupts().map_err(|error| RunError::Start(error.to_string()))?;
    let name = name();
    let groups = crew::make_groups(options)?;
    let header = header(options, &name);
    let started_at = SystemTime::now();
    let making = Making { name, share: Share::ALL, shards, started: Instant::now() };
    let world = Arc::new(world(options, groups, making));
    let mut local = Local::new(Arc::clone(&world), &options.ledger, options.store.clone(), &header)?;
    local.declare()?;
    let watch = Watch::new(options, Arc::clone(&world), interrupts, started_at)?;
    local.start(table, &options.cores)?;
    follow_through(options, &world, watch, &mut local, header)
}

/// Leads those who make a run through it, and judges what they saw.
pub(crate) fn follow_through(
    options: &Options,
    world: &World,
    watch: Watch,
    field: &mut dyn Field,
    header: Header,
) -> Result<Report, RunError> {
    let led = lead::lead(options, world, watch, field)?;
    finish::finish(options, world, field, led, header)
}

/// What a process makes of a run, beside what all are told.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) name: String,
    pub(crate) share: Share,
    pub(crate) shards: usize,
    /// When the run began.
    pub(crate) started: Instant,
}

/// The world of a process, with all users of the run and those of its share.
pub(crate) fn world(options: &Options, groups: Vec<Conversation>, making: Making) -> World {
    let Making { name, share, shards, started } = making;
    let peers = peers(options, &name);
    let plan = match &peers {
        None => Plan::new(&options.scenario, options.users.clone(), groups),
        Some(_) => Plan::of_rooms(&options.scenario, options.users.clone(), options.room_users() as usize),
    };
    let own = || (0..share.count(plan.users.len() as u64)).map(|place| share.user(place) as usize);
    let shared = Shared {
        run: name,
        window: options.scenario.clients.window as usize,
        measured_from_us: AtomicU64::new(0),
        sessions: AtomicU64::new(u64::from(share.index) * SESSIONS_OF_A_PROCESS),
        own: (share != Share::ALL).then(|| own().map(|user| plan.users[user].id).collect()),
        counters: Counters { unacknowledged: peers.is_some(), ..Counters::default() },
    };
    // By all users: those of other processes may come from the same addresses.
    let sources = match options.source_addresses {
        _ if !options.sources.is_empty() => Sources::Given(options.sources.clone()),
        0 => Sources::Loopback(dial::sources_needed(options.users.len().div_ceil(options.targets.len()))),
        sources => Sources::Loopback(sources),
    };
    World {
        scenario: options.scenario.clone(),
        seed: options.seed,
        plan,
        course: Course::new(&options.scenario),
        shared: Arc::new(shared),
        targets: options.targets.clone(),
        protocol: options.protocol,
        peers,
        sources,
        share,
        shards,
        started,
    }
}

/// What the clients of a peer share.
fn peers(options: &Options, name: &str) -> Option<Arc<Peers>> {
    let Protocol::Peer(language, shape) = options.protocol else { return None };
    let depth = if options.scenario.is_closed() { options.scenario.arrival.depth } else { 0 };
    let run = u64::from_str_radix(name, 16).unwrap_or_default();
    Some(Peers::new((language, shape), options.room_users() as usize, options.users.len(), run, depth).into())
}

/// Distinct from run to run, or a second run's ids would be taken for repeats of the first's.
pub(crate) fn name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut name = Random::new((now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(32));
    format!("{:08x}", name.number() as u32)
}

pub(crate) fn header(options: &Options, name: &str) -> Header {
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
        worker: 0,
        workers: 1,
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
