//! Looks at a run while it goes on: once a second an interval is made, shown and kept.

use super::RunError;
use super::field::Field;
use crate::interval::{Interval, Intervals};
use crate::measure::Latencies;
use crate::options::Options;
use crate::progress::{Left, Shown, Totals};
use crate::report::HistogramLog;
use crate::server::{self, Hops, Usage};
use crate::shard::World;
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// How often a run is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);
const EVERY_US: u64 = 1_000_000;
/// In less, ticks of 10 ms say nothing of a share of a core.
const USAGE_US_MIN: u64 = 500_000;
/// Intervals that a report keeps: a day of them.
const INTERVALS_MAX: usize = 86_400;

/// Counts Ctrl-C.
pub(crate) fn interrupts() -> io::Result<Arc<AtomicU64>> {
    let mut signals = Signals::new([SIGINT])?;
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            counted.fetch_add(1, Relaxed);
        }
    })?;
    Ok(count)
}

/// Times of the sending, microseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// When the first message is due.
    pub(super) first_us: u64,
    /// When the phase that goes on ends, and when the last does.
    pub(super) phase_end_us: u64,
    pub(super) end_us: u64,
}

impl Span {
    fn left(self, now_us: u64) -> Left {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let all_s = seconds(now_us, self.end_us);
        let gone = 1.0 - all_s / seconds(self.first_us, self.end_us).max(1e-6);
        Left { phase_s: seconds(now_us, self.phase_end_us), all_s, gone }
    }
}

/// What was seen of a run.
pub(crate) struct Watch {
    world: Arc<World>,
    interrupts: Arc<AtomicU64>,
    progress: Shown,
    making: Intervals,
    latencies: Latencies,
    log: Option<(PathBuf, HistogramLog)>,
    pids: Vec<u32>,
    pub(super) hops_before: Option<Hops>,
    pub(super) usage_before: Option<Usage>,
    /// When the last interval ended, microseconds since the run began.
    last_us: u64,
    /// The phase that goes on, from 1; 0 if none does.
    pub(super) phase: usize,
    /// The sending, while it goes on.
    pub(super) span: Option<Span>,
    pub(super) intervals: Vec<Interval>,
}

impl Watch {
    pub(crate) fn new(
        options: &Options,
        world: Arc<World>,
        interrupts: Arc<AtomicU64>,
        started_at: SystemTime,
    ) -> Result<Self, RunError> {
        let usage_before = server::usage(&options.server_pids);
        if usage_before.is_none() && !options.server_pids.is_empty() {
            let pids = &options.server_pids;
            return Err(RunError::Usage(format!("expected --server-pid of running processes, got {pids:?}")));
        }
        let hops = || server::hops(&options.admins).map_err(|error| RunError::Unavailable(error.to_string()));
        let log = match &options.histograms {
            None => None,
            Some(path) => {
                let log = HistogramLog::create(path, &world.shared.run, started_at);
                let log = log.map_err(|error| RunError::Histograms(path.display().to_string(), error))?;
                Some((path.clone(), log))
            }
        };
        Ok(Self {
            interrupts,
            progress: Shown::new(options.progress),
            making: Intervals::default(),
            latencies: Latencies::default(),
            log,
            pids: options.server_pids.clone(),
            hops_before: (!options.admins.is_empty()).then(hops).transpose()?,
            usage_before,
            last_us: 0,
            phase: 0,
            span: None,
            intervals: vec![],
            world,
        })
    }

    /// How often Ctrl-C was pressed.
    pub(super) fn interrupts(&self) -> u64 {
        self.interrupts.load(Relaxed)
    }

    /// What the servers' processes have used.
    pub(super) fn usage(&self) -> Option<Usage> {
        server::usage(&self.pids)
    }

    /// Makes an interval, if a second is over.
    pub(super) fn look(&mut self, what: &str, field: &mut dyn Field) -> Result<(), RunError> {
        if field.reached_us() >= self.last_us + EVERY_US { self.interval(what, field) } else { Ok(()) }
    }

    fn interval(&mut self, what: &str, field: &mut dyn Field) -> Result<(), RunError> {
        let now_us = field.reached_us().max(self.last_us);
        let length = Duration::from_micros(now_us - self.last_us);
        field.take_interval(&mut self.latencies);
        let counters = &self.world.shared.counters;
        let usage = self.usage().filter(|_| now_us >= self.last_us + USAGE_US_MIN);
        let mut interval = self.making.next(counters, &self.latencies, usage, length.as_secs_f64());
        // In the time of the run; the first message's due time is not known yet.
        (interval.end_s, interval.phase) = (now_us as f64 / 1e6, self.phase);
        let totals = Totals {
            seconds: now_us / 1_000_000,
            unacknowledged: counters.unacknowledged,
            users: self.world.plan.users.len() as u64,
            sent: counters.sent.load(Relaxed),
            persisted: counters.persisted.load(Relaxed),
            delivered: counters.delivered.load(Relaxed),
            errors: counters.errors().values().sum(),
            left: self.span.map(|span| span.left(now_us)),
        };
        self.progress.show(what, totals, &interval);
        if let Some((path, log)) = &mut self.log {
            let written = log.write(&self.latencies, Duration::from_micros(self.last_us), length);
            written.map_err(|error| RunError::Histograms(path.display().to_string(), error))?;
        }
        if self.intervals.len() < INTERVALS_MAX {
            self.intervals.push(interval);
        }
        self.last_us = now_us;
        Ok(())
    }

    /// The last interval, and the end of what stands on a terminal.
    pub(super) fn end(&mut self, field: &mut dyn Field) -> Result<(), RunError> {
        self.interval("done", field)?;
        self.progress.end();
        Ok(())
    }
}
