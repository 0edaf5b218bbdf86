//! The persister's thread: polls, persists whatever it takes, and follows its share of the
//! partitions.

mod share;

use super::{Aside, Persister, ends, places};
use crate::clock;
use crate::decide::Decision;
use crate::distribute::Batch;
use crate::failpoint::{self, Step};
use crate::handoff;
use crate::progress::Progress;
use crate::store::StoreError;
use bus::{Pace, Poll, Polled, Polls, Skipped, StartError, UpstreamSource};
use protocol::UnixMs;
use protocol::record::UpstreamRecord;
use share::Partition;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Runtime;

/// How long a poll waits for the first record.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// Pauses between tries while the store does not answer.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Pauses of [`handoff::FULL_PAUSE`] for which the distributor is just waited for, about a second: to
/// pause the road for less would throw away what it has fetched.
const FULL_PAUSES: u32 = 5_000;
/// How long the road is polled after that, at a time.
const FULL_POLL: Duration = Duration::from_millis(20);

/// Why a persister can't go on.
#[derive(Debug, Error)]
pub enum Stopped {
    /// The log does not hold what comes next.
    #[error(transparent)]
    Log(StartError),
    /// The road can't be used.
    #[error("messages can't be read: {0}")]
    Road(String),
}

/// The thread's state.
pub struct Run<U> {
    persister: Persister,
    source: U,
    batches: handoff::Sender<Batch>,
    progress: Arc<Progress>,
    runtime: Runtime,
    /// Set when the worker is to end even though the store does not answer; what is on a durable
    /// road is persisted by the next one.
    abandon: Arc<AtomicBool>,
    pause: Duration,
    paused: bool,
    closed: bool,
    share: Vec<Partition>,
    /// Shares that came while the store did not answer.
    assigned: VecDeque<Vec<u16>>,
    committed_ms: u64,
}

/// Records and what became of each, and what was skipped beside them.
#[derive(Default)]
struct Outcome {
    records: Vec<Polled<UpstreamRecord>>,
    decisions: Vec<Decision>,
    skipped: Vec<Skipped>,
}

impl Outcome {
    fn append(&mut self, mut other: Self) {
        self.records.append(&mut other.records);
        self.decisions.append(&mut other.decisions);
        self.skipped.append(&mut other.skipped);
    }
}

impl<U: UpstreamSource> Run<U> {
    /// A run of `persister` on the records of `source`.
    pub fn new(
        persister: Persister,
        source: U,
        batches: handoff::Sender<Batch>,
        progress: Arc<Progress>,
        runtime: Runtime,
        abandon: Arc<AtomicBool>,
    ) -> Self {
        let share = vec![Partition::default(); usize::from(source.partitions())];
        Self {
            persister,
            source,
            batches,
            progress,
            runtime,
            abandon,
            pause: RETRY_PAUSE_MIN,
            paused: false,
            closed: false,
            share,
            assigned: VecDeque::new(),
            committed_ms: 0,
        }
    }

    /// Persists what comes until the road is closed, and hands each batch on once it is committed.
    pub fn run(mut self) -> Result<(), Stopped> {
        let mut polls = Polls::default();
        let (most, mut pace) =
            (self.persister.batch_records_max(), Pace::new(self.persister.batch_interval()));
        while !self.closed {
            thread::sleep(pace.left(clock::monotonic()));
            let state = self.source.poll(most, POLL_WAIT, &mut polls);
            let records = std::mem::take(&mut polls.records);
            let skipped = std::mem::take(&mut polls.skipped);
            if !records.is_empty() || !skipped.is_empty() {
                pace.begun(clock::monotonic(), records.len() >= most);
                self.take(records, skipped);
                pace.done(clock::monotonic());
            }
            for change in polls.changes.drain(..) {
                self.change(change);
            }
            while let Some(partitions) = self.assigned.pop_front() {
                self.take_over(partitions)?;
            }
            self.commit();
            self.see(state)?;
        }
        let owned: Vec<u16> = (0..).zip(&self.share).filter(|(_, p)| p.owned).map(|(p, _)| p).collect();
        self.release(&owned);
        Ok(())
    }

    fn see(&mut self, state: Poll) -> Result<(), Stopped> {
        match state {
            Poll::Open => {}
            Poll::Closed => self.closed = true,
            Poll::Failed(why) => return Err(Stopped::Road(why)),
        }
        Ok(())
    }

    fn take(&mut self, records: Vec<Polled<UpstreamRecord>>, skipped: Vec<Skipped>) {
        self.persister.stats.records.add(records.len() as u64);
        let taken_at = self.measure_arrival(&records);
        for (partition, offset) in places(&records, &skipped) {
            let held = &mut self.share[usize::from(partition)];
            held.begun = held.begun.min(offset);
        }
        failpoint::reached(Step::Polled);
        self.pause = RETRY_PAUSE_MIN;
        let Outcome { records, decisions, skipped } = self.persist(records, skipped);
        failpoint::reached(Step::Committed);
        self.resume();
        let ends = ends(&records, &skipped);
        for (partition, end) in &ends {
            self.share[usize::from(*partition)].handed = *end;
        }
        let groups = self.persister.groups(&records);
        let (committed_at, committed) = (clock::now(), clock::monotonic());
        self.hand_on(Batch { records, decisions, groups, ends, taken_at, committed_at, committed });
    }

    /// Hands a batch to the distributor. While there is no room nothing more is persisted; if that
    /// lasts, the road is polled meanwhile, so that the share is kept.
    fn hand_on(&mut self, mut batch: Batch) {
        let mut waited = 0;
        while let Err(back) = self.batches.try_send(batch) {
            batch = back;
            waited += 1;
            if waited == 1 {
                self.persister.stats.distribute_queue_full.add(1);
            }
            if waited < FULL_PAUSES {
                thread::sleep(handoff::FULL_PAUSE);
            } else if self.is_abandoned() {
                // It is persisted, and its offsets are not noted: whoever goes on distributes it.
                return;
            } else {
                self.idle(FULL_POLL);
            }
        }
        self.resume();
    }

    /// How long records were on their way, by the shard that they came from; returns the time.
    fn measure_arrival(&self, records: &[Polled<UpstreamRecord>]) -> UnixMs {
        let now = clock::now();
        for Polled { record, .. } in records {
            let took = now.0.saturating_sub(record.received_at.0);
            self.persister.stats.upstream(record.origin.session.shard).record_ms(took);
        }
        now
    }

    /// Persists records, whatever it takes. Those of partitions that go to another worker meanwhile
    /// are dropped, with what was skipped there: it polls them again.
    fn persist(&mut self, mut records: Vec<Polled<UpstreamRecord>>, mut skipped: Vec<Skipped>) -> Outcome {
        loop {
            if records.is_empty() && skipped.is_empty() {
                return self.dropped();
            }
            let persisted = self.persister.persist_or_put_aside(&records, &skipped, None);
            match self.runtime.block_on(persisted) {
                Ok(decisions) => return Outcome { records, decisions, skipped },
                Err(StoreError::Data(error)) => return self.bisect(records, skipped, &error.to_string()),
                Err(error) => {
                    self.wait_for_store(&error);
                    if self.is_abandoned() {
                        return Outcome::default();
                    }
                    self.retain_owned(&mut records, &mut skipped);
                }
            }
        }
    }

    /// Nothing waits for the store any more.
    fn dropped(&self) -> Outcome {
        self.persister.stats.store_failing.set(0);
        Outcome::default()
    }

    /// Drops what another worker has now. All of a partition or nothing: its offset would pass over
    /// what is left out.
    fn retain_owned(&self, records: &mut Vec<Polled<UpstreamRecord>>, skipped: &mut Vec<Skipped>) {
        let owned = |partition: u16| self.share[usize::from(partition)].owned;
        records.retain(|record| owned(record.partition));
        skipped.retain(|skipped| owned(skipped.partition));
    }

    /// The store refuses something in these records: halves on their own, down to the one that is
    /// put aside with the reason.
    fn bisect(
        &mut self,
        mut records: Vec<Polled<UpstreamRecord>>,
        mut skipped: Vec<Skipped>,
        error: &str,
    ) -> Outcome {
        if records.len() <= 1 {
            return self.put_aside(records, skipped, error);
        }
        let mut second = records.split_off(records.len() / 2);
        let mut outcome = self.persist(records, Vec::new());
        if self.is_abandoned() {
            return outcome;
        }
        self.retain_owned(&mut second, &mut skipped);
        // What was skipped may lie behind all of the records, so it goes with the last.
        outcome.append(self.persist(second, skipped));
        outcome
    }

    fn put_aside(
        &mut self,
        records: Vec<Polled<UpstreamRecord>>,
        skipped: Vec<Skipped>,
        reason: &str,
    ) -> Outcome {
        let Some(polled) = records.first() else { return Outcome::default() };
        tracing::error!(reason, trace_id = %polled.record.trace_id, "the store refuses a message; it is put aside");
        self.persister.stats.dead_letters_refused.add(1);
        let aside = Aside { reason, on_road: self.source.put_aside(polled, reason) };
        loop {
            let done = self.persister.persist_or_put_aside(&records, &skipped, Some(aside));
            match self.runtime.block_on(done) {
                Ok(decisions) => return Outcome { records, decisions, skipped },
                Err(error) => self.wait_for_store(&error),
            }
            if self.is_abandoned() || !self.share[usize::from(records[0].partition)].owned {
                return self.dropped();
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandon.load(Ordering::Relaxed)
    }

    fn wait_for_store(&mut self, error: &StoreError) {
        self.persister.stats.store_retries.add(1);
        self.persister.stats.store_failing.add(1);
        tracing::warn!(%error, pause_ms = self.pause.as_millis(), "the store did not take a batch; it is tried again");
        self.back_off();
        // The connection may have failed at COMMIT: only the store knows how that ended. While it
        // does not say, the fence refuses what was decided by the old state.
        let _ = self.runtime.block_on(self.persister.reload());
    }

    /// Lets a pause pass, after which the next is longer.
    fn back_off(&mut self) {
        self.idle(self.pause);
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
    }

    /// Lets time pass while the road is polled, so that the share is kept, and changes are followed.
    fn idle(&mut self, time: Duration) {
        if !std::mem::replace(&mut self.paused, true) {
            self.source.pause();
        }
        let until = clock::now().0 + time.as_millis() as u64;
        let mut polls = Polls::default();
        loop {
            let left = until.saturating_sub(clock::now().0);
            let state = self.source.poll(0, Duration::from_millis(left), &mut polls);
            for change in polls.changes.drain(..) {
                self.change(change);
            }
            // A failure shows again at the next poll of the main loop.
            self.closed |= state == Poll::Closed;
            if left == 0 || self.closed {
                return thread::sleep(Duration::from_millis(left.min(1)));
            }
        }
    }

    /// Records again, if waiting has paused the road.
    fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.source.resume();
        }
    }
}
