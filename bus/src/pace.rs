//! Gathering without a wait for whoever comes alone: batches of a loop begin at least some time apart.
//!
//! What comes after a pause goes at once; what comes soon after that waits for the rest of the time,
//! with everything else that comes meanwhile. Each batch costs wakes and requests in every process
//! on the way, whatever its size: where the machines have time for that, a batch is quickly done and
//! the next is soon allowed; where they don't, batches take longer, lie further apart and are larger.

use std::time::{Duration, Instant};

/// How many times as far apart batches begin as one takes.
const APART: u32 = 3;
/// Of how many batches the time that one takes is the mean, about.
const SMOOTHED: u32 = 4;

/// When a loop may begin its next batch.
#[derive(Debug)]
pub struct Pace {
    longest: Duration,
    begun: Option<Instant>,
    next: Option<Instant>,
    /// How long a batch takes.
    takes: Duration,
}

impl Pace {
    /// Batches begin that time apart, or less if they are told to be [`done`](Self::done) soon.
    pub fn new(longest: Duration) -> Self {
        Self { longest, begun: None, next: None, takes: Duration::ZERO }
    }

    /// A batch has begun. After a full one the next need not wait: there is as much as it can take.
    pub fn begun(&mut self, now: Instant, full: bool) {
        self.begun = Some(now);
        self.next = (!full).then(|| now + self.longest);
    }

    /// The batch that has begun is done.
    pub fn done(&mut self, now: Instant) {
        let Some(begun) = self.begun.take() else { return };
        self.takes = (self.takes * (SMOOTHED - 1) + now.saturating_duration_since(begun)) / SMOOTHED;
        self.next = self.next.map(|_| begun + self.longest.min(self.takes * APART));
    }

    /// How long until the next batch may begin; zero if it may.
    pub fn left(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::{APART, Pace};
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
        pace.done(begin + 2 * MS);
        assert_eq!(pace.left(begin + 2 * MS), Duration::ZERO);
    }

    #[test]
    fn quick_batches_lie_closer_and_slow_ones_no_further_apart_than_the_longest() {
        let (mut pace, mut begin) = (Pace::new(10 * MS), clock::now());
        let mut apart = |takes: Duration| {
            for _ in 0..40 {
                pace.begun(begin, false);
                pace.done(begin + takes);
                begin += 20 * MS;
            }
            pace.left(begin - 20 * MS)
        };
        let near = |found: Duration, wanted: Duration| found.abs_diff(wanted) < MS / 10;
        assert!(near(apart(MS), APART * MS));
        assert!(near(apart(2 * MS), 2 * APART * MS));
        assert_eq!(apart(9 * MS), 10 * MS);
        assert!(near(apart(MS / 10), APART * MS / 10), "and back");
    }
}
