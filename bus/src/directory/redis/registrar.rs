//! The thread that keeps a gateway's lease and its routes in Redis.
//!
//! `connected` is sent once the route stands, so while Redis is away new sessions wait and nobody
//! is closed. What Redis forgets is asserted again from the gateway's own list, and whoever might
//! have missed something meanwhile is told `resync`.

use super::Settings;
use super::lease::{LEASE_MS, Lease, LeaseError, Renewal};
use super::routes::{Assertion, RedisRoutes, RouteWrite};
use super::table::Table;
use crate::clock;
use crate::directory::{DirectoryError, LiveGateway};
use crate::figure::Figure;
use crate::lanes::RouteLanes;
use crate::road::{Downstream, Full, RouteChange, ShardInbox};
use protocol::limits::{DIRECTORY_BATCH, RESYNC_WITHIN_MS, SessionPolicy};
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets};
use protocol::{Origin, event};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_millis(2_000);
/// Pauses while Redis does not answer.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How soon a full inbox is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Tells a session, on whichever gateway, that a newer one took its place.
pub type Kicks = Box<dyn FnMut(Origin) -> Result<(), Full> + Send>;

/// What a registrar is started with.
pub struct RegistrarConfig {
    /// How Redis is reached.
    pub settings: Settings,
    /// The gateway, this start of it.
    pub gateway: LiveGateway,
    /// Which of a user's sessions stay.
    pub policy: SessionPolicy,
    /// Sessions of one user, on all gateways; the oldest goes.
    pub sessions_per_user_max: usize,
    /// The route changes of the shards.
    pub routes: RouteLanes,
    /// The shards' inboxes.
    pub inboxes: Vec<Arc<dyn ShardInbox>>,
    /// The way to displaced sessions.
    pub kicks: Kicks,
    /// Called once if another start of this gateway has taken the lease: close all and exit.
    pub on_lost: Box<dyn FnOnce() + Send>,
}

/// Why a registrar did not start.
#[derive(Debug, Error)]
pub enum RegistrarError {
    /// No lease.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// No thread.
    #[error("cannot start the thread that keeps the routes: {0}")]
    Thread(#[source] io::Error),
}

/// What a registrar counts.
#[derive(Debug, Default)]
pub struct RegistrarStats {
    /// Routes that this gateway has in the directory.
    pub routes: AtomicU64,
    /// Routes added.
    pub added: AtomicU64,
    /// Routes removed.
    pub removed: AtomicU64,
    /// Routes that were missing when they were asserted again.
    pub missing: AtomicU64,
    /// Sessions displaced by newer ones.
    pub displaced: AtomicU64,
    /// Leases that had to be taken again.
    pub leases_retaken: AtomicU64,
    /// Calls that failed.
    pub errors: AtomicU64,
}

impl RegistrarStats {
    /// Every figure with its name, whether it only ever grows, and what it means.
    pub fn all(&self) -> Vec<Figure> {
        let figure = |name, total, help, value: &AtomicU64| Figure {
            name,
            total,
            help,
            value: value.load(Ordering::Relaxed),
        };
        vec![
            figure("routes", false, "Routes that this gateway has in the directory.", &self.routes),
            figure("added", true, "Routes added.", &self.added),
            figure("removed", true, "Routes removed.", &self.removed),
            figure("missing", true, "Routes that were missing when they were asserted again.", &self.missing),
            figure("displaced", true, "Sessions displaced by newer ones.", &self.displaced),
            figure("leases_retaken", true, "Leases that had to be taken again.", &self.leases_retaken),
            figure("errors", true, "Calls to the directory that failed.", &self.errors),
        ]
    }
}

fn count(of: &AtomicU64, n: usize) {
    of.fetch_add(n as u64, Ordering::Relaxed);
}

/// The handle of a running registrar.
pub struct Registrar {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    waker: crate::Waker,
    stats: Arc<RegistrarStats>,
}

impl Registrar {
    /// Takes the lease, waiting for one of an earlier start to lapse, then starts the thread.
    pub fn start(config: RegistrarConfig) -> Result<Self, RegistrarError> {
        let RegistrarConfig { settings, gateway, policy, sessions_per_user_max, .. } = config;
        let lease = Lease::new(&settings, gateway);
        let mut redis = RedisRoutes::new(&settings, policy, sessions_per_user_max);
        lease.take(&mut redis.link)?;
        let (stop, stats) = (Arc::new(AtomicBool::new(false)), Arc::new(RegistrarStats::default()));
        let waker = config.routes.parker.waker();
        let keeper = Keeper {
            lease,
            redis,
            table: Table::default(),
            routes: config.routes,
            writes: Vec::new(),
            answers: VecDeque::new(),
            kicked: VecDeque::new(),
            inboxes: config.inboxes,
            kicks: config.kicks,
            on_lost: Some(config.on_lost),
            assert_all: false,
            renewed: clock::now(),
            next_renewal: clock::now() + RENEW,
            retry_at: None,
            pause: PAUSE_MIN,
            stop: Arc::clone(&stop),
            stats: Arc::clone(&stats),
        };
        let thread = thread::Builder::new().name("registrar".into()).spawn(move || keeper.run());
        Ok(Self { thread: thread.map_err(RegistrarError::Thread)?, stop, waker, stats })
    }

    /// What it has counted.
    pub fn stats(&self) -> &Arc<RegistrarStats> {
        &self.stats
    }

    /// Whether it is still at work.
    pub fn is_healthy(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Gives the lease up, so that this gateway's routes are offline at once, and ends.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
        if self.thread.join().is_err() {
            tracing::error!("the thread that keeps the routes has panicked");
        }
    }
}

struct Keeper {
    lease: Lease,
    redis: RedisRoutes,
    table: Table,
    routes: RouteLanes,
    /// Taken from the shards, not yet in Redis; at most [`DIRECTORY_BATCH`].
    writes: Vec<RouteWrite>,
    /// For inboxes that are full; nothing is taken from the shards before they are out.
    answers: VecDeque<(u16, Downstream)>,
    kicked: VecDeque<Origin>,
    inboxes: Vec<Arc<dyn ShardInbox>>,
    kicks: Kicks,
    on_lost: Option<Box<dyn FnOnce() + Send>>,
    /// The lease had lapsed: every route must be asserted, then everybody told.
    assert_all: bool,
    renewed: Instant,
    next_renewal: Instant,
    retry_at: Option<Instant>,
    pause: Duration,
    stop: Arc<AtomicBool>,
    stats: Arc<RegistrarStats>,
}

impl Keeper {
    fn run(mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.hand_on();
            self.take();
            let now = clock::now();
            if self.retry_at.is_none_or(|at| now >= at) {
                let result = self.write().and_then(|()| self.keep(now));
                if !self.settle(result) {
                    return;
                }
            }
            self.sleep();
        }
        if let Err(error) = self.lease.give_up(&mut self.redis.link) {
            tracing::warn!(%error, "the lease can't be given up; it lapses by itself");
        }
    }

    /// Notes how the round went; `false` once the lease is another's.
    fn settle(&mut self, result: Result<Renewal, DirectoryError>) -> bool {
        match result {
            Ok(Renewal::Taken) => {
                tracing::error!("another gateway with this id has the lease: this one must go");
                if let Some(on_lost) = self.on_lost.take() {
                    on_lost();
                }
                return false;
            }
            Ok(_) => (self.retry_at, self.pause) = (None, PAUSE_MIN),
            Err(error) => {
                count(&self.stats.errors, 1);
                tracing::warn!(%error, pause_ms = self.pause.as_millis(), "new sessions wait for their routes");
                self.retry_at = Some(clock::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
        }
        self.stats.routes.store(self.table.len() as u64, Ordering::Relaxed);
        true
    }

    fn is_clear(&self) -> bool {
        self.answers.is_empty() && self.kicked.is_empty()
    }

    fn sleep(&self) {
        let now = clock::now();
        let mut until = self.next_renewal;
        if let Some(at) = self.retry_at {
            until = at;
        } else if !self.is_clear() {
            until = now + FULL_PAUSE;
        }
        let take = self.is_clear() && self.writes.is_empty();
        let ready = || self.stop.load(Ordering::SeqCst) || (take && !self.routes.lanes.is_empty());
        self.routes.parker.park(until.saturating_duration_since(now), ready);
    }

    /// Answers and kicks, in order, as far as there is room for them.
    fn hand_on(&mut self) {
        while let Some((shard, record)) = self.answers.pop_front() {
            let Some(inbox) = self.inboxes.get(usize::from(shard)).filter(|inbox| !inbox.is_closed()) else {
                continue;
            };
            if let Err(record) = inbox.push(record) {
                self.answers.push_front((shard, record));
                break;
            }
        }
        while let Some(session) = self.kicked.front() {
            if (self.kicks)(*session).is_err() {
                break;
            }
            self.kicked.pop_front();
        }
    }

    fn take(&mut self) {
        if !self.is_clear() || !self.writes.is_empty() {
            return;
        }
        let opened = clock::unix();
        let Self { routes, writes, .. } = self;
        routes.lanes.take(DIRECTORY_BATCH, |change| {
            writes.push(match change {
                RouteChange::Add(user, session, device) => {
                    RouteWrite::Add(Assertion { user, session, opened, device })
                }
                RouteChange::Remove(user, session) => RouteWrite::Remove(user, session),
            });
        });
    }

    fn write(&mut self) -> Result<(), DirectoryError> {
        let displaced = self.redis.write(&self.writes)?;
        for session in displaced.into_iter().flatten() {
            count(&self.stats.displaced, 1);
            self.kicked.push_back(session);
        }
        for write in self.writes.drain(..) {
            match write {
                RouteWrite::Add(route) => {
                    self.table.insert(route);
                    count(&self.stats.added, 1);
                    let session = route.session.session;
                    self.answers.push_back((session.shard, Downstream::RouteRegistered(session)));
                }
                RouteWrite::Remove(_, session) => {
                    self.table.remove(session.session);
                    count(&self.stats.removed, 1);
                }
            }
        }
        self.hand_on();
        Ok(())
    }

    /// Renews the lease when it is time, and asserts routes.
    fn keep(&mut self, now: Instant) -> Result<Renewal, DirectoryError> {
        if self.assert_all {
            self.assert_everything()?;
        }
        if now < self.next_renewal {
            return Ok(Renewal::Done);
        }
        let renewal = self.lease.renew(&mut self.redis.link)?;
        match renewal {
            Renewal::Taken => return Ok(renewal),
            // Even if it is there again: for a while nobody could know that this gateway lives.
            Renewal::Done if self.renewed.elapsed() > Duration::from_millis(LEASE_MS) => {
                self.assert_all = true;
            }
            Renewal::Done => self.assert_slice()?,
            Renewal::Missing => {
                if !self.lease.try_take(&mut self.redis.link)? {
                    return Ok(Renewal::Taken);
                }
                count(&self.stats.leases_retaken, 1);
                tracing::warn!("the lease was gone and is taken again; all routes are asserted");
                self.assert_all = true;
            }
        }
        self.renewed = clock::now();
        self.next_renewal = self.renewed + RENEW;
        if self.assert_all {
            self.assert_everything()?;
        }
        Ok(renewal)
    }

    fn assert_slice(&mut self) -> Result<(), DirectoryError> {
        let slice = self.table.slice().to_vec();
        for routes in slice.chunks(DIRECTORY_BATCH) {
            let missing = self.redis.reassert(routes)?;
            for (route, _) in routes.iter().zip(missing).filter(|(_, missing)| *missing) {
                count(&self.stats.missing, 1);
                self.tell(route.session.session.shard, Targets::Session(route.session.session));
            }
        }
        Ok(())
    }

    fn assert_everything(&mut self) -> Result<(), DirectoryError> {
        for routes in self.table.all().chunks(DIRECTORY_BATCH) {
            let missing = self.redis.reassert(routes)?;
            count(&self.stats.missing, missing.into_iter().filter(|missing| *missing).count());
        }
        self.assert_all = false;
        for shard in 0..self.inboxes.len() as u16 {
            self.tell(shard, Targets::All);
        }
        Ok(())
    }

    fn tell(&mut self, shard: u16, targets: Targets) {
        let payload = event::resync(RESYNC_WITHIN_MS).into();
        let entry = DownstreamEntry { kind: EntryKind::Resync, targets, exclude: None, payload };
        if let Some((last, Downstream::Batch(batch))) = self.answers.back_mut()
            && *last == shard
        {
            return batch.entries.push(entry);
        }
        let batch = DownstreamBatch { entries: vec![entry], sent_at: clock::unix() };
        self.answers.push_back((shard, Downstream::Batch(batch)));
    }
}
