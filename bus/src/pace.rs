//! Gathering without a wait for whoever comes alone: batches of a loop begin at least some time apart.
//!
//! What comes after a pause goes at once; what comes soon after that waits for the rest of the time,
//! with everything else that comes meanwhile. Each batch costs wakes and requests in every process
//! on the way, whatever its size.

use std::time::{Duration, Instant};

/// When a loop may begin its next batch.
#[derive(Debug)]
pub struct Pace {
    apart: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// Batches begin at least that time apart.
    pub fn new(apart: Duration) -> Self {
        Self { apart, next: None }
    }

    /// A batch has begun. After a full one the next need not wait: there is as much as it can take.
    pub fn begun(&mut self, now: Instant, full: bool) {
        self.next = (!full).then(|| now + self.apart);
    }

    /// How long until the next batch may begin; zero if it may.
    pub fn left(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use crate::clock;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_goes_at_once_and_the_next_waits_for_the_rest() {
        let (mut pace, begin) = (Pace::new(10 * MS), clock::now());
        assert_eq!(pace.left(begin), Duration::ZERO);
        pace.begun(begin, false);
        assert_eq!(pace.left(begin + 3 * MS), 7 * MS);
        assert_eq!(pace.left(begin + 10 * MS), Duration::ZERO);
        assert_eq!(pace.left(begin + 500 * MS), Duration::ZERO, "nobody waits after a pause");
    }

    #[test]
    fn after_a_full_batch_nothing_waits() {
        let (mut pace, begin) = (Pace::new(10 * MS), clock::now());
        pace.begun(begin, false);
        pace.begun(begin + MS, true);
        assert_eq!(pace.left(begin + MS), Duration::ZERO);
    }
}
