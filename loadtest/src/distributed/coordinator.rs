//! The coordinator: gathers the workers, tells each its share, and leads the run.

use super::clock::Base;
use super::crowd::{Crowd, dismiss};
use super::gather::gather;
use super::message::{Setup, ToWorker};
use super::secret::Secret;
use super::workers::{Judging, Workers};
use super::{READY, START_IN, setup};
use crate::judge::together::WORKERS_MAX;
use crate::ledger::Header;
use crate::options::Options;
use crate::peer::Protocol;
use crate::plan::Conversation;
use crate::report::Report;
use crate::run::{Making, RunError, Watch, follow_through, header, interrupts, make_groups, name, world};
use crate::share::Share;
use crate::store;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

/// How a coordinator finds its workers.
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How many workers make the run.
    pub workers: u32,
    /// How long it waits for them.
    pub wait: Duration,
    /// What both sides know, if anything.
    pub secret: Option<Secret>,
}

impl Coordinator {
    fn check(&self, options: &Options) -> Result<(), String> {
        let (workers, users) = (self.workers, options.users.len() as u64);
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(format!("expected 1 to {WORKERS_MAX} workers, got {workers}"));
        }
        if options.protocol != Protocol::Ringway {
            return Err(format!("--protocol {}: one process alone makes such a run", options.protocol));
        }
        if !options.sources.is_empty() {
            return Err("--source: the addresses of one machine are not those of all workers'".to_owned());
        }
        if users < 2 * u64::from(workers) {
            return Err(format!("{workers} workers need two users each at least, got {users} connections"));
        }
        if !self.listen.ip().is_loopback() && self.secret.is_none() {
            return Err(format!(
                "who reaches {} could take part and would get tokens: expected --secret-file, or a --listen on loopback",
                self.listen
            ));
        }
        Ok(())
    }
}

/// Runs the load with workers in other processes, and judges what they saw together.
pub fn coordinate(options: &Options, how: &Coordinator) -> Result<Report, RunError> {
    options.check().and_then(|()| how.check(options)).map_err(RunError::Usage)?;
    let interrupts = interrupts().map_err(|error| RunError::Start(error.to_string()))?;
    let name = name();
    let header = Header { workers: how.workers, ..header(options, &name) };
    options.store.as_ref().map_or(Ok(()), store::check)?;
    let (links, events, _door) = gather(how, &interrupts)?;
    let base = Base::now();
    let mut crowd = Crowd::new(links, events);
    let groups = match prepare(options, &header, &mut crowd, &base, &interrupts) {
        Ok(groups) => groups,
        Err(error) => {
            dismiss(&mut crowd.links, &error);
            return Err(error);
        }
    };
    let started = Instant::now() + START_IN;
    // It has no users of its own, and no shards.
    let making = Making { name, share: Share::ALL, shards: 1, started };
    let world = Arc::new(world(options, groups, making));
    let watch =
        Watch::new(options, Arc::clone(&world), Arc::clone(&interrupts), SystemTime::now() + START_IN);
    let watch = match watch {
        Ok(watch) => watch,
        Err(error) => {
            dismiss(&mut crowd.links, &error);
            return Err(error);
        }
    };
    for link in &mut crowd.links {
        let zero_ns = link.clock.map_or(0, |clock| clock.there(base.ns(started)));
        link.say(&ToWorker::Go { zero_ns });
    }
    let (ledger, store) = (options.ledger.clone(), options.store.clone());
    let judging = Judging { header: header.clone(), ledger, store };
    let mut workers = Workers::new(crowd, Arc::clone(&world), base, judging, interrupts);
    let report = follow_through(options, &world, watch, &mut workers, header);
    match &report {
        Ok(_) => workers.crowd.tell(&ToWorker::Over),
        Err(error) => dismiss(&mut workers.crowd.links, error),
    }
    report
}

/// Everything before the start: clocks, groups, and what each worker is told.
fn prepare(
    options: &Options,
    header: &Header,
    crowd: &mut Crowd,
    base: &Base,
    interrupts: &AtomicU64,
) -> Result<Vec<Conversation>, RunError> {
    let clocks = crowd.ask_clocks(base);
    for (index, (link, clock)) in crowd.links.iter_mut().zip(clocks).enumerate() {
        link.clock = clock;
        if let Some(told) = clock.map(|clock| clock.report()) {
            let (ahead, error) = (told.ahead_us, told.error_us);
            eprintln!("worker {index}: its clock is ahead by {ahead:.0} µs ± {error:.0} µs");
        }
    }
    crowd.check()?;
    let groups = make_groups(options)?;
    for (index, link) in (0..).zip(&mut crowd.links) {
        let setup = Setup {
            header: Header { worker: index, ..header.clone() },
            scenario: options.scenario.clone(),
            targets: options.targets.iter().map(|target| target.url.clone()).collect(),
            source_addresses: options.source_addresses,
            shards: options.shards,
            cores: options.cores.clone(),
            groups: groups.len() as u64,
        };
        setup::tell(link, setup, &options.users, &groups);
    }
    crowd.wait_to_start("to get ready", READY, interrupts, |link| link.ready.is_some())?;
    Ok(groups)
}
