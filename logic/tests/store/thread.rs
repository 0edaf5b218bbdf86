//! The persister's thread, on a road that the test holds in its hand.
#![allow(clippy::disallowed_types, reason = "a test is no shard")]

use crate::places::PARTITIONS;
use bus::{Change, Parker, Poll, Polled, Polls, Skipped, StartError, UpstreamSource};
use logic::Stats;
use logic::decide::{Decision, WorldRates};
use logic::distribute::Batch;
use logic::handoff::{self, Bounds, Receiver};
use logic::persist::{Persister, Run, Stopped};
use logic::progress::Progress;
use logic::store::{Backend, Store};
use protocol::record::UpstreamRecord;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Batches that the thread may be ahead of the test.
pub(crate) const QUEUE_BATCHES: usize = 16;

/// What a poll is to bring.
pub(crate) enum Step {
    Records(Vec<Polled<UpstreamRecord>>, Vec<Skipped>),
    Change(Change),
}

/// What the thread has asked of the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Start(Vec<(u16, u64)>),
    Release(Vec<u16>, Vec<(u16, u64)>),
    Commit(Vec<(u16, u64)>),
    Aside(u64, String),
}

struct Source {
    steps: mpsc::Receiver<Step>,
    calls: Arc<Mutex<Vec<Call>>>,
    keeps_dead_letters: bool,
}

impl Source {
    fn called(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

impl UpstreamSource for Source {
    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    fn poll(&mut self, _: usize, wait: Duration, out: &mut Polls) -> Poll {
        match self.steps.recv_timeout(wait.min(Duration::from_millis(20))) {
            Ok(Step::Records(records, skipped)) => {
                out.records = records;
                out.skipped = skipped;
            }
            Ok(Step::Change(change)) => out.changes.push(change),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Poll::Closed,
        }
        Poll::Open
    }

    fn start(&mut self, positions: &[(u16, u64)]) -> Result<(), StartError> {
        self.called(Call::Start(positions.to_vec()));
        Ok(())
    }

    fn release(&mut self, partitions: &[u16], positions: &[(u16, u64)]) {
        self.called(Call::Release(partitions.to_vec(), positions.to_vec()));
    }

    fn commit(&mut self, positions: &[(u16, u64)]) {
        self.called(Call::Commit(positions.to_vec()));
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}

    fn put_aside(&mut self, record: &Polled<UpstreamRecord>, reason: &str) -> bool {
        self.called(Call::Aside(record.offset, reason.to_owned()));
        self.keeps_dead_letters
    }
}

/// A persister's thread over a store.
pub(crate) struct Thread {
    steps: mpsc::Sender<Step>,
    batches: Receiver<Batch>,
    parker: Parker,
    calls: Arc<Mutex<Vec<Call>>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) progress: Arc<Progress>,
    handle: JoinHandle<Result<(), Stopped>>,
}

impl Thread {
    /// All partitions are its own from the start.
    pub(crate) fn start(backend: impl Backend + 'static, keeps_dead_letters: bool) -> Self {
        let open = move |runtime: &Runtime| runtime.block_on(backend.open_store()).unwrap();
        Self::over(open, keeps_dead_letters)
    }

    /// The same over the store that the thread is to open.
    pub(crate) fn over(
        open: impl FnOnce(&Runtime) -> Box<dyn Store> + Send + 'static,
        keeps_dead_letters: bool,
    ) -> Self {
        let (steps, stepped) = mpsc::channel();
        let (calls, parker) = (Arc::default(), Parker::new());
        let (out, batches) = handoff::queue(Bounds { items: QUEUE_BATCHES, bytes: usize::MAX }, &parker);
        let source = Source { steps: stepped, calls: Arc::clone(&calls), keeps_dead_letters };
        let stats = Arc::new(Stats::new(1));
        let progress = Arc::new(Progress::new(PARTITIONS));
        let (counted, reached) = (Arc::clone(&stats), Arc::clone(&progress));
        let handle = std::thread::spawn(move || {
            let runtime = crate::places::runtime();
            let store = open(&runtime);
            let persister = runtime.block_on(Persister::new(store, WorldRates::default(), counted)).unwrap();
            Run::new(persister, source, out, reached, runtime, Arc::default()).run()
        });
        let thread = Self { steps, batches, parker, calls, stats, progress, handle };
        thread.change(Change::Assigned((0..PARTITIONS).collect()));
        thread
    }

    pub(crate) fn change(&self, change: Change) {
        self.steps.send(Step::Change(change)).unwrap();
    }

    /// Gives it a batch; what became of it once it is handed on.
    pub(crate) fn take(&self, records: Vec<Polled<UpstreamRecord>>, skipped: Vec<Skipped>) -> Batch {
        self.give(records, skipped);
        self.next()
    }

    pub(crate) fn give(&self, records: Vec<Polled<UpstreamRecord>>, skipped: Vec<Skipped>) {
        self.steps.send(Step::Records(records, skipped)).unwrap();
    }

    /// The next batch that is handed on.
    pub(crate) fn next(&self) -> Batch {
        for _ in 0..200 {
            if let Some(batch) = self.batches.pop() {
                return batch;
            }
            self.parker.park(Duration::from_millis(100), || self.batches.is_ready());
        }
        panic!("no batch within 20 s")
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within 20 s: {what}");
    }

    /// Whether the road was asked for that.
    pub(crate) fn called(&self, call: &Call) -> bool {
        self.calls.lock().unwrap().contains(call)
    }

    pub(crate) fn decide(&self, records: &[Polled<UpstreamRecord>]) -> Vec<Decision> {
        self.take(records.to_vec(), vec![]).decisions
    }

    /// Closes the road, and waits for the end; what was asked of the road by then.
    pub(crate) fn end(self) -> (Result<(), Stopped>, Vec<Call>) {
        drop(self.steps);
        let ended = self.handle.join().unwrap();
        let calls = self.calls.lock().unwrap().clone();
        (ended, calls)
    }
}
