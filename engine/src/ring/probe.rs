//! What this machine's io_uring allows: tried, not only asked, with a shard's own flags and
//! operations.

use super::buffers::Buffers;
use super::uring::{CQ_ENTRIES, SQ_ENTRIES, register_table, set_up};
use super::{RingError, trial};
use io_uring::{IoUring, Probe, opcode};
use std::io;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

/// Shards whose rings are made at the same time to see whether their memory is allowed.
pub const RINGS_TRIED_MAX: u16 = 64;

/// The operations that a shard submits.
const OPERATIONS: [(&str, u8); 8] = [
    ("ACCEPT", opcode::Accept::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("SHUTDOWN", opcode::Shutdown::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("MSG_RING", opcode::MsgRingSendFd::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

/// What was found. What depends on a ring is `None` if there is none.
#[derive(Debug)]
pub struct Report {
    /// Whether the rings of all shards can be made, up to [`RINGS_TRIED_MAX`] of them.
    pub setup: Result<(), RingError>,
    /// Whether the table of direct descriptors is allowed.
    pub table: Option<Result<(), RingError>>,
    /// Names of operations that a shard submits and this kernel does not know.
    pub missing: Option<Vec<&'static str>>,
    /// Whether a socket could be accepted, moved, received on, sent on and closed as a shard does.
    pub trial: Option<Result<(), trial::TrialError>>,
    /// Newer abilities that this kernel has beyond what a shard needs.
    pub newer: Vec<&'static str>,
}

/// Whether a ring with a shard's flags and `table` direct descriptors is allowed, at little cost.
pub fn permitted(table: u32) -> Result<(), RingError> {
    apart(|| register_table(&set_up(8, 16)?, table))
}

/// On a thread of its own: while the kernel takes a ring down it interrupts the thread that made
/// it, whose blocking reads would then fail with EINTR.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Bytes of locked memory that a shard's ring asks for: its queues, whole pages of them, and the
/// descriptors of its receive buffers. Not the buffers themselves, and not the table.
pub fn locked_bytes(buffers: u16) -> u64 {
    const HEADER: u64 = 320;
    let queues = HEADER + u64::from(CQ_ENTRIES) * 16 + u64::from(SQ_ENTRIES) * 4;
    [queues, u64::from(SQ_ENTRIES) * 64, u64::from(buffers) * 16]
        .iter()
        .map(|b| b.next_multiple_of(4_096))
        .sum()
}

/// Tries everything for `shards` shards with `table` sockets and `buffers` receive buffers each.
pub fn probe(shards: u16, table: u32, buffers: u16) -> Report {
    apart(|| probe_here(shards, table, buffers))
}

fn probe_here(shards: u16, table: u32, buffers: u16) -> Report {
    let mut report = Report { setup: Ok(()), table: None, missing: None, trial: None, newer: Vec::new() };
    match set_up(8, 16) {
        Ok(ring) => {
            report.table = Some(register_table(&ring, table));
            report.missing = missing(&ring).ok();
            report.newer = newer(&ring);
        }
        Err(error) => {
            report.setup = Err(error);
            return report;
        }
    }
    report.setup = settled(|| all_rings(shards, buffers), |error| matches!(error, RingError::Memory(_)));
    let starved = |error: &trial::TrialError| matches!(error, trial::TrialError::Ring(RingError::Memory(_)));
    report.trial = Some(settled(trial::run, starved));
    report
}

/// The memory of a ring is given back some time after it is gone: what fails for want of memory is
/// tried again.
fn settled<E>(mut work: impl FnMut() -> Result<(), E>, starved: impl Fn(&E) -> bool) -> Result<(), E> {
    let mut result = work();
    for _ in 0..10 {
        match &result {
            Err(error) if starved(error) => thread::sleep(Duration::from_millis(30)),
            _ => break,
        }
        result = work();
    }
    result
}

/// Locked memory is counted for all of a user's rings together: one alone would tell nothing.
fn all_rings(shards: u16, buffers: u16) -> Result<(), RingError> {
    let mut rings = Vec::new();
    for _ in 0..shards.min(RINGS_TRIED_MAX) {
        let ring = set_up(SQ_ENTRIES, CQ_ENTRIES)?;
        // The kernel counts the descriptors of buffers, whatever their size.
        let pool = Buffers::new(buffers, 8);
        pool.register(&ring.submitter()).map_err(RingError::setup)?;
        // In this order: a ring goes before the pool that it refers to.
        rings.push((ring, pool));
    }
    Ok(())
}

fn missing(ring: &IoUring) -> io::Result<Vec<&'static str>> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    Ok(OPERATIONS.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect())
}

fn newer(ring: &IoUring) -> Vec<&'static str> {
    let params = ring.params();
    let features = [
        ("receive and send bundles (6.10)", params.is_feature_recvsend_bundle()),
        ("minimal waits (6.12)", params.is_feature_min_timeout()),
        ("waits without iowait (6.15)", params.is_feature_no_iowait()),
    ];
    features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::{locked_bytes, permitted, probe};
    use crate::ring::RingError;

    #[test]
    fn what_the_tests_run_on_allows_everything() {
        let report = probe(2, 100, 512);
        assert!(report.setup.is_ok(), "{report:?}");
        assert!(matches!(report.table, Some(Ok(()))), "{report:?}");
        assert_eq!(report.missing, Some(vec![]));
        assert!(matches!(report.trial, Some(Ok(()))), "{report:?}");
    }

    #[test]
    fn a_table_beyond_the_limit_of_files_is_told_as_such() {
        assert!(matches!(permitted(1 << 30), Err(RingError::Table { table, .. }) if table == 1 << 30));
    }

    #[test]
    fn a_ring_locks_what_was_measured() {
        // 336 KiB, and glommio's 24: two shards of an unprivileged user start with 731 KiB, not with 667.
        assert_eq!(locked_bytes(512), 336 << 10);
    }
}
