//! Latency of one hop, in fixed buckets. One writer, any number of readers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, µs; what is longer is counted beyond the last.
pub const BOUNDS_US: [u64; 15] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000,
];

/// A histogram with one writer: recording is a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    /// Records what a monotonic clock has measured; only the owning thread may.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.counts[bucket], 1);
        add(&self.sum_us, us);
    }

    /// Records the difference of two times of day, of which all that is known is whole ms; only the
    /// owning thread may.
    pub fn record_ms(&self, ms: u64) {
        self.record(Duration::from_millis(ms));
    }

    /// The count of each bucket, the last being beyond every bound, and the sum in µs.
    pub fn read(&self) -> ([u64; BOUNDS_US.len() + 1], u64) {
        (std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)), self.sum_us.load(Ordering::Relaxed))
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS_US, Latency};
    use std::time::Duration;

    #[test]
    fn each_value_falls_under_its_bound() {
        let latency = Latency::default();
        let values = [(0, 0), (100, 0), (101, 1), (1_000, 3), (1_001, 4), (5_000_000, 14), (5_000_001, 15)];
        for (us, bucket) in values {
            let before = latency.read().0[bucket];
            latency.record(Duration::from_micros(us));
            assert_eq!(latency.read().0[bucket], before + 1, "{us} µs");
        }
        assert_eq!(latency.read().1, values.iter().map(|(us, _)| us).sum::<u64>());
        assert!(BOUNDS_US.is_sorted());
    }

    #[test]
    fn whole_milliseconds_are_counted_as_such() {
        let latency = Latency::default();
        latency.record_ms(2);
        assert_eq!((latency.read().0[4], latency.read().1), (1, 2_000));
    }
}
