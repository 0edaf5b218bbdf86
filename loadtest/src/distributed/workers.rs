//! The workers as those who make a run: the leader's course goes out to them, and what they count and
//! measure comes back and is added up, moment by moment.

use super::clock::Base;
use super::collect;
use super::crowd::Crowd;
use super::link::Link;
use super::message::{Progress, ToWorker};
use super::{LEAVE, pack};
use crate::judge::together::{RunLedgers, judge_run};
use crate::judge::{Damage, DamageKind, Pace, Verdict};
use crate::ledger::{End, Header};
use crate::measure::Latencies;
use crate::report::WorkerReport;
use crate::run::{Field, Finished, RunError, saturated};
use crate::shard::World;
use crate::store::Place;
use crate::tally::Tally;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// From when something is said until a worker's clients have heard of it, microseconds.
const BREATH_US: u64 = 500_000;

/// By what the ledgers of a run are judged.
#[derive(Debug)]
pub(super) struct Judging {
    pub(super) header: Header,
    /// Where ledgers go that can't be read where they are.
    pub(super) ledger: PathBuf,
    /// Also asked at the end.
    pub(super) store: Option<Place>,
}

/// The workers of a run that goes on.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) crowd: Crowd,
    world: Arc<World>,
    base: Base,
    judging: Judging,
    interrupts: Arc<AtomicU64>,
    told: Option<Progress>,
    reached_us: u64,
    interval: Latencies,
}

impl Workers {
    pub(super) fn new(
        crowd: Crowd,
        world: Arc<World>,
        base: Base,
        judging: Judging,
        interrupts: Arc<AtomicU64>,
    ) -> Self {
        let interval = Latencies::default();
        Self { crowd, world, base, judging, interrupts, told: None, reached_us: 0, interval }
    }

    /// Tells how far the run is, if that is news.
    fn tell_progress(&mut self) {
        let measured_from_us = self.world.shared.measured_from_us.load(Relaxed);
        let progress = Progress { course: self.world.course.state(), measured_from_us };
        if self.told.as_ref() != Some(&progress) {
            self.crowd.tell(&ToWorker::Progress(progress.clone()));
            self.told = Some(progress);
        }
    }

    /// Adds up what all have reported up to `until_us`.
    fn fold(&mut self, until_us: u64) {
        for link in &mut self.crowd.links {
            while let Some(report) = link.reports.pop_front_if(|report| report.reached_us <= until_us) {
                link.tally = report.tally;
                link.step = report.step;
                if let Err(why) = pack::add(&report.latencies, &mut self.interval) {
                    link.leave(why);
                }
            }
        }
        Tally::sum(self.crowd.links.iter().map(|link| &link.tally), &self.world.shared.counters);
        self.reached_us = until_us;
    }

    fn hear(&mut self) {
        self.crowd.attend(Duration::ZERO);
        for link in &self.crowd.links {
            self.interrupts.fetch_max(link.interrupts, Relaxed);
        }
        let reported = self.crowd.there().map(|link| link.reported_us()).min().flatten();
        if let Some(until_us) = reported.filter(|us| *us > self.reached_us) {
            self.fold(until_us);
        }
    }

    /// What is left of each clock, and by how much the times of the ledgers may be off.
    fn end_clocks(&mut self) -> u64 {
        let clocks = self.crowd.ask_clocks(&self.base);
        let mut most_ns = 0;
        for (link, clock) in self.crowd.links.iter_mut().zip(clocks) {
            link.clock_end = clock;
            if let (Some(start), Some(end)) = (link.clock, clock) {
                most_ns = most_ns.max(end.since(&start).1);
            }
        }
        most_ns.div_ceil(1_000)
    }

    fn judge(&mut self, pace: &mut Pace<'_>) -> Result<(Verdict, String), RunError> {
        if let Some(why) = self.crowd.lost() {
            let names = self.crowd.links.iter().filter_map(|link| link.ready.as_ref());
            let names: Vec<_> = names.map(|ready| ready.ledger.clone()).collect();
            return Ok((self.not_judged(why), names.join(" ")));
        }
        let mut ledgers = vec![];
        for (index, link) in self.crowd.links.iter_mut().enumerate() {
            ledgers.push(collect::find(link, index as u32, &self.judging.header));
        }
        for (index, ledger) in ledgers.iter_mut().enumerate() {
            if ledger.is_none() {
                let into = collect::copy_of(&self.judging.ledger, index);
                collect::collect(&mut self.crowd, index, &into)?;
                *ledger = Some(into);
            }
        }
        let run = RunLedgers {
            header: Some(self.judging.header.clone()),
            ledgers: ledgers.into_iter().flatten().collect(),
        };
        self.crowd.tell(&ToWorker::Over);
        let names = run.names();
        let (_, verdict) = judge_run(&run, self.judging.store.as_ref(), pace)
            .map_err(|error| RunError::Together(names.clone(), Box::new(error)))?;
        Ok((verdict, names))
    }

    /// Without all ledgers there is no judgement: what was counted, and why.
    fn not_judged(&self, why: String) -> Verdict {
        let counters = &self.world.shared.counters;
        let about = format!("{why}: without its ledger the others say little, and none was judged");
        let mut verdict = Verdict {
            incomplete: true,
            sent: counters.sent.load(Relaxed),
            persisted: counters.persisted.load(Relaxed),
            delivered: counters.delivered.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            ..Verdict::default()
        };
        verdict.damage(Damage { kind: DamageKind::Truncated, ledger: None, line: 0, about });
        verdict
    }
}

fn report_of(index: usize, link: &Link, ledger: &str) -> WorkerReport {
    let ready = link.ready.as_ref();
    let drift_us = link.clock.zip(link.clock_end).map(|(start, end)| end.since(&start).0 as f64 / 1e3);
    WorkerReport {
        index: index as u32,
        address: link.peer.to_string(),
        pid: link.pid,
        users: ready.map_or(0, |ready| ready.users),
        shards: ready.map_or(0, |ready| ready.shards),
        clock_start: link.clock.map(|clock| clock.report()).unwrap_or_default(),
        clock_end: link.clock_end.map(|clock| clock.report()),
        drift_us,
        ledger: ledger.to_owned(),
    }
}

impl Field for Workers {
    fn tend(&mut self) -> Result<(), RunError> {
        self.tell_progress();
        self.hear();
        Ok(())
    }

    fn has_followed(&self) -> bool {
        let step = self.world.course.step() as u8;
        self.crowd.links.iter().all(|link| link.gone.is_some() || link.step == step)
    }

    fn shards(&self) -> u64 {
        self.crowd.links.iter().filter_map(|link| link.ready.as_ref()).map(|ready| ready.shards as u64).sum()
    }

    fn lost(&self) -> Option<String> {
        self.crowd.lost()
    }

    fn breath_us(&self) -> u64 {
        BREATH_US
    }

    fn reached_us(&self) -> u64 {
        self.reached_us
    }

    fn take_interval(&mut self, into: &mut Latencies) {
        into.clear();
        std::mem::swap(into, &mut self.interval);
    }

    fn leave(&mut self) -> Result<(), RunError> {
        self.tell_progress();
        self.crowd.wait_for("to leave", LEAVE, |link| link.left);
        let reported = self.crowd.links.iter().filter_map(Link::reported_us).max();
        self.fold(reported.unwrap_or(0).max(self.reached_us));
        Ok(())
    }

    fn finish(&mut self, end: End, pace: &mut Pace<'_>) -> Result<Finished, RunError> {
        let clock_us = self.end_clocks();
        self.crowd.tell(&ToWorker::Finish(End { clock_us, ..end }));
        self.crowd.wait_for("to close its ledger", LEAVE, |link| link.done.is_some());
        let (verdict, ledger) = self.judge(pace)?;
        let mut all = Latencies::default();
        let (mut why, mut workers) = (vec![], vec![]);
        for (index, link) in self.crowd.links.iter().enumerate() {
            if let Some(done) = &link.done {
                pack::add(&done.latencies, &mut all)
                    .map_err(|why| RunError::Lost(format!("worker {index} told nonsense: {why}")))?;
                why.extend(done.saturated.iter().map(|why| format!("worker {index}: {why}")));
            }
            let own = link.ready.as_ref().map_or("", |ready| ready.ledger.as_str());
            workers.push(report_of(index, link, own));
        }
        if why.is_empty() {
            why.extend(saturated(&all, 0));
        }
        let saturated = (!why.is_empty()).then(|| why.join("; "));
        Ok(Finished { all, verdict, ledger, workers, saturated })
    }
}
