//! Writes the ledger from a thread of its own, behind a bounded queue: who meets a full one waits
//! rather than lose a line. The same thread keeps the histograms, since every latency passes here.

use super::chain::Sealer;
use super::{End, Header, Record};
use crate::measure::{Latencies, Sample};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Batches between the clients and the disk.
const QUEUE_BATCHES: usize = 256;
/// Records that one shard keeps back while that queue is full; then it waits.
const KEPT_RECORDS: usize = 65_536;
/// Records in a batch that goes out early.
const BATCH_RECORDS: usize = 1_024;
const BUFFER_BYTES: usize = 1 << 20;

/// What clients saw, on its way to the file and the histograms.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Record<'static>>,
    pub(crate) samples: Vec<Sample>,
    /// How late messages were handed out, microseconds.
    pub(crate) lags_us: Vec<u64>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.samples.is_empty() && self.lags_us.is_empty()
    }

    fn len(&self) -> usize {
        self.records.len() + self.samples.len() + self.lags_us.len()
    }
}

/// One shard's way into the ledger.
#[derive(Debug)]
pub(crate) struct Scribe {
    pub(crate) batch: Batch,
    queue: SyncSender<Batch>,
    /// How often this shard had to wait for the queue.
    pub(crate) waits: u64,
}

/// The ledger takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Scribe {
    /// Hands over what there is. A full queue may keep it back for a while, up to a bound, unless
    /// its place in the file matters: `now`.
    pub(crate) fn hand_over(&mut self, now: bool) -> Result<(), Gone> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match self.queue.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(batch)) if !now && batch.len() < KEPT_RECORDS => {
                self.batch = batch;
                Ok(())
            }
            Err(TrySendError::Full(batch)) => {
                self.waits += 1;
                self.queue.send(batch).map_err(|_| Gone)
            }
            Err(TrySendError::Disconnected(_)) => Err(Gone),
        }
    }

    /// The same, once a batch is large.
    pub(crate) fn hand_over_large(&mut self) -> Result<(), Gone> {
        if self.batch.len() < BATCH_RECORDS { Ok(()) } else { self.hand_over(false) }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    thread: JoinHandle<io::Result<Work>>,
    queue: SyncSender<Batch>,
    interval: Arc<Mutex<Latencies>>,
}

struct Work {
    file: BufWriter<Box<dyn Write + Send>>,
    sealer: Sealer,
    latencies: Latencies,
    interval: Arc<Mutex<Latencies>>,
    end: End,
}

impl Writer {
    /// Makes the file, in place of an older one, and starts the thread; without a path the thread keeps
    /// the histograms, and no ledger.
    pub(crate) fn start(path: Option<&Path>, header: &Header) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(File::create(path)?),
            None => Box::new(io::sink()),
        };
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, to);
        let mut sealer = Sealer::default();
        writeln!(file, "{}", sealer.header(header))?;
        let interval = Arc::default();
        let (queue, batches) = sync_channel(QUEUE_BATCHES);
        let work = Work {
            file,
            sealer,
            latencies: Latencies::default(),
            interval: Arc::clone(&interval),
            end: End::default(),
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || work.run(&batches))?;
        Ok(Self { thread, queue, interval })
    }

    /// A way in for one more shard.
    pub(crate) fn scribe(&self) -> Scribe {
        Scribe { batch: Batch::default(), queue: self.queue.clone(), waits: 0 }
    }

    /// Takes the latencies since the last call into `into`, in place of what was there.
    pub(crate) fn take_interval(&self, into: &mut Latencies) {
        into.clear();
        std::mem::swap(into, &mut *self.interval.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the thread has ended early, which is by an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes the last line, with the counts of what was written; to be called once all scribes are
    /// gone.
    pub(crate) fn finish(self, end: End) -> io::Result<Latencies> {
        drop(self.queue);
        let joined = self.thread.join().map_err(|_| io::Error::other("the ledger's thread panicked"))?;
        let mut work = joined?;
        let End { sent, acks, got, .. } = work.end;
        let end = End { sent, acks, got, ..end };
        writeln!(work.file, "{}", work.sealer.record(&Record::End(end)))?;
        work.file.flush()?;
        Ok(work.latencies)
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Work {
    fn run(mut self, batches: &Receiver<Batch>) -> io::Result<Self> {
        for batch in batches {
            self.measure(&batch);
            for record in &batch.records {
                self.write(record)?;
            }
        }
        Ok(self)
    }

    fn measure(&mut self, batch: &Batch) {
        let interval = &mut *self.interval.lock().unwrap_or_else(PoisonError::into_inner);
        for all in [interval, &mut self.latencies] {
            batch.samples.iter().for_each(|sample| all.record(*sample));
            batch.lags_us.iter().for_each(|us| all.lag.saturating_record((*us).max(1)));
        }
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Sent { .. } => self.end.sent += 1,
            Record::Ack { .. } => self.end.acks += 1,
            Record::Got { .. } => self.end.got += 1,
            _ => {}
        }
        writeln!(self.file, "{}", self.sealer.record(record))
    }
}
