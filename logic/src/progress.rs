//! How far distribution has come, from the distributor to the persister: the road's own offsets
//! move only so far, so that what was persisted but not distributed is polled again after a crash.

use std::sync::atomic::{AtomicU64, Ordering};

/// Per partition, the offset below which everything is persisted and distributed.
#[derive(Debug)]
pub struct Progress(Box<[AtomicU64]>);

impl Progress {
    /// Nothing has been distributed yet.
    pub fn new(partitions: u16) -> Self {
        Self((0..partitions).map(|_| AtomicU64::new(0)).collect())
    }

    /// Everything below these offsets has been distributed.
    pub fn reached(&self, ends: &[(u16, u64)]) {
        for (partition, end) in ends {
            self.0[usize::from(*partition)].store(*end, Ordering::Release);
        }
    }

    /// How far a partition is.
    pub fn of(&self, partition: u16) -> u64 {
        self.0[usize::from(partition)].load(Ordering::Acquire)
    }
}
