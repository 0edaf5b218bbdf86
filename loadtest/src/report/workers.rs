//! The processes of a run that several made together.

use super::{Report, grouped};
use serde::Serialize;
use std::fmt;

/// A worker's clock against the coordinator's, by one estimate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ClockReport {
    /// What the clock on its wall was ahead, microseconds.
    pub ahead_us: f64,
    /// The estimate is off by so much at most, microseconds: half of the best round trip.
    pub error_us: f64,
}

/// One of the processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerReport {
    /// Its number, from 0.
    pub index: u32,
    /// Where it connected from.
    pub address: String,
    /// Its process id, on its own machine.
    pub pid: u32,
    /// Its users.
    pub users: u64,
    /// Threads of clients.
    pub shards: usize,
    /// Its clock before the first connection.
    pub clock_start: ClockReport,
    /// And when the last client had left; none if it went away before.
    pub clock_end: Option<ClockReport>,
    /// What its clock, by which it measured, went ahead of the coordinator's in between, microseconds.
    pub drift_us: Option<f64>,
    /// Where its ledger is.
    pub ledger: String,
}

impl Report {
    pub(super) fn write_workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for worker in &self.workers {
            let WorkerReport { index, address, pid, users, shards, clock_start, .. } = worker;
            let (users, ClockReport { ahead_us, error_us }) = (grouped(*users), clock_start);
            write!(
                f,
                "  worker {index} at {address}, pid {pid}: {users} users, {shards} shards; clock {ahead_us:+.0} µs ± {error_us:.0}"
            )?;
            if let (Some(end), Some(drift)) = (worker.clock_end, worker.drift_us) {
                write!(f, ", drift {drift:+.0} µs ± {:.0}", end.error_us + error_us)?;
            }
            writeln!(f)?;
        }
        if self.observed.across > 0 {
            let across = grouped(self.observed.across);
            writeln!(
                f,
                "  {across} deliveries came from another worker: counted, their latency not measured"
            )?;
        }
        if let Some(why) = &self.worker_gone {
            writeln!(f, "  A WORKER IS GONE: {why}; no ledger was judged")?;
        }
        Ok(())
    }
}
