//! Rates and token buckets, without a clock: the time comes in as a parameter.

/// So many a second, and so many at once. `per_second` 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0, burst: 1 };

    /// A rate with its burst.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} a second, {} at once", self.per_second, self.burst)
    }
}

/// A token bucket as one number: when it will be full again, µs (GCRA, ITU-T I.371). A bucket whose
/// time has come is full, so it need not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    full_at_us: u64,
}

impl Bucket {
    /// Takes a token at `now_ms`; `false` if none is there.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        let now_us = now_ms * 1_000;
        let interval_us = 1_000_000 / u64::from(rate.per_second);
        let spare_us = interval_us * u64::from(rate.burst.saturating_sub(1));
        if self.full_at_us > now_us + spare_us {
            return false;
        }
        self.full_at_us = self.full_at_us.max(now_us) + interval_us;
        true
    }

    /// Whether it is full again, that is as good as new.
    pub fn is_full(&self, now_ms: u64) -> bool {
        self.full_in_ms(now_ms) == 0
    }

    /// After how long it is full again, rounded up to ms.
    pub fn full_in_ms(&self, now_ms: u64) -> u64 {
        self.full_at_us.saturating_sub(now_ms * 1_000).div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Rate};

    #[test]
    fn a_burst_is_taken_at_once_and_the_rest_at_the_rate() {
        let (mut bucket, rate) = (Bucket::default(), Rate::new(100, 1_000));
        let taken = (0..2_000).filter(|_| bucket.take(rate, 5_000)).count();
        assert_eq!(taken, 1_000);
        let taken: usize = (5_001..=15_000).map(|ms| (0..3).filter(|_| bucket.take(rate, ms)).count()).sum();
        assert_eq!(taken, 1_000, "100 a second for ten seconds");
        assert!(!bucket.is_full(15_000) && bucket.is_full(25_001));
        let wait = bucket.full_in_ms(20_000);
        assert!(wait > 0 && !bucket.is_full(20_000 + wait - 1) && bucket.is_full(20_000 + wait));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut bucket = Bucket::default();
        assert!((0..10_000).all(|_| bucket.take(Rate::UNLIMITED, 0)));
    }
}
