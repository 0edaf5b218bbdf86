//! Latency of one hop, in fixed buckets. One writer, any number of readers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, ms; what is longer is counted beyond the last.
pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// A histogram with one writer: recording is a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Latency {
    /// Records `n` times `ms`; only the owning thread may.
    pub fn record(&self, ms: u64, n: u64) {
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < ms);
        add(&self.counts[bucket], n);
        add(&self.sum_ms, ms * n);
    }

    /// The count of each bucket, the last being beyond every bound, and the sum in ms.
    pub fn read(&self) -> ([u64; BOUNDS_MS.len() + 1], u64) {
        (std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)), self.sum_ms.load(Ordering::Relaxed))
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS_MS, Latency};

    #[test]
    fn each_value_falls_under_its_bound() {
        let latency = Latency::default();
        for (ms, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (5_000, 11), (5_001, 12)] {
            let before = latency.read().0[bucket];
            latency.record(ms, 2);
            assert_eq!(latency.read().0[bucket], before + 2, "{ms} ms");
        }
        assert_eq!(latency.read().1, 2 * (1 + 2 + 3 + 5_000 + 5_001));
        assert!(BOUNDS_MS.is_sorted());
    }
}
