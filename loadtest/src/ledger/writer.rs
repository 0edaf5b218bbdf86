//! Writes the ledger from a thread of its own, behind a bounded channel: clients wait rather than
//! lose a line. The same thread keeps the histograms, since every latency passes here.

use super::chain::Sealer;
use super::{End, Header, Record};
use hdrhistogram::Histogram;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Records between the clients and the disk.
const CHANNEL_RECORDS: usize = 65_536;
const BUFFER_BYTES: usize = 1 << 20;
/// The longest latency that is told from longer ones, microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// A record, and how long after its due time it came about (acks and deliveries only).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The record.
    pub record: Record<'static>,
    /// Microseconds since the message was due; `None` if that isn't measured.
    pub latency_us: Option<u64>,
}

/// What clients give their records to.
pub type Ledger = mpsc::Sender<Entry>;

/// Latencies of a run, in microseconds.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// From due to acknowledged as persisted.
    pub ack: Histogram<u64>,
    /// From due to delivered.
    pub delivery: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let new = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("valid bounds");
        Self { ack: new(), delivery: new() }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<io::Result<Work>>,
    worst_us: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Work {
    file: BufWriter<File>,
    sealer: Sealer,
    latencies: Latencies,
    end: End,
    worst_us: Arc<AtomicU64>,
}

impl Writer {
    /// Makes the file, in place of an older one, and starts the thread.
    pub fn start(path: &Path, header: &Header) -> io::Result<(Self, Ledger)> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        let mut sealer = Sealer::default();
        writeln!(file, "{}", sealer.header(header))?;
        let worst_us = Arc::new(AtomicU64::new(0));
        let (ledger, mut records) = mpsc::channel(CHANNEL_RECORDS);
        let mut work = Work {
            file,
            sealer,
            latencies: Latencies::default(),
            end: End::default(),
            worst_us: Arc::clone(&worst_us),
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            while let Some(entry) = records.blocking_recv() {
                work.take(&entry)?;
            }
            Ok(work)
        })?;
        Ok((Self { thread, worst_us }, ledger))
    }

    /// The longest delivery since the last call, microseconds.
    pub fn take_worst_us(&self) -> u64 {
        self.worst_us.swap(0, Relaxed)
    }

    /// Whether the thread has ended early, which is by an error.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes the last line, with the counts of what was written; to be called once all senders are
    /// gone.
    pub fn finish(self, end: End) -> io::Result<Latencies> {
        let joined = self.thread.join().map_err(|_| io::Error::other("the ledger's thread panicked"))?;
        let mut work = joined?;
        let End { sent, acks, got, .. } = work.end;
        let end = End { sent, acks, got, ..end };
        writeln!(work.file, "{}", work.sealer.record(&Record::End(end)))?;
        work.file.flush()?;
        Ok(work.latencies)
    }
}

impl Work {
    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        let latency = entry.latency_us.map(|us| us.clamp(1, LATENCY_US_MAX));
        match &entry.record {
            Record::Sent { .. } => self.end.sent += 1,
            Record::Ack { .. } => {
                self.end.acks += 1;
                if let Some(us) = latency {
                    self.latencies.ack.saturating_record(us);
                }
            }
            Record::Got { .. } => {
                self.end.got += 1;
                if let Some(us) = latency {
                    self.latencies.delivery.saturating_record(us);
                    self.worst_us.fetch_max(us, Relaxed);
                }
            }
            _ => {}
        }
        writeln!(self.file, "{}", self.sealer.record(&entry.record))
    }
}
