//! How far another process's clock is from this one's, by asking it several times, as NTP does: the
//! answer that came back soonest is off by half of its round trip at most.

use crate::report::ClockReport;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a clock is asked for, and how long an answer may take.
pub(super) const EXCHANGES: u32 = 16;
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// Nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// The moment at which a process's clock says 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    since: Instant,
    unix_ns: u64,
}

impl Base {
    pub(super) fn now() -> Self {
        Self { since: Instant::now(), unix_ns: unix_ns() }
    }

    pub(super) fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.since).as_nanos() as u64
    }

    pub(super) fn instant(&self, ns: u64) -> Instant {
        self.since + Duration::from_nanos(ns)
    }
}

/// A question and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    /// What the other clock said.
    pub(super) told_ns: u64,
    /// And the clock on the other's wall.
    pub(super) told_unix_ns: u64,
}

/// What the other clock is ahead of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) ahead_ns: i64,
    /// The same of the clock on the wall, which may be set meanwhile: it is told, and not relied on.
    wall_ahead_ns: i64,
    /// Both are off by so much at most.
    pub(super) error_ns: u64,
}

impl Clock {
    /// Estimates it.
    pub(super) fn estimate(base: &Base, exchanges: &[Exchange]) -> Option<Self> {
        let round = |exchange: &Exchange| exchange.answered - exchange.asked;
        let best = exchanges.iter().min_by_key(|exchange| round(exchange))?;
        let half = round(best).as_nanos() as u64 / 2;
        let middle = base.ns(best.asked) + half;
        let ahead = |told: u64, own: u64| told.wrapping_sub(own) as i64;
        Some(Self {
            ahead_ns: ahead(best.told_ns, middle),
            wall_ahead_ns: ahead(best.told_unix_ns, base.unix_ns + middle),
            // Half a nanosecond may have been rounded off.
            error_ns: half + 1,
        })
    }

    /// What the other clock says when this one says `ns`.
    pub(super) fn there(&self, ns: u64) -> u64 {
        ns.saturating_add_signed(self.ahead_ns)
    }

    /// How far the two have gone apart since `before`, and may have at most, nanoseconds.
    pub(super) fn since(&self, before: &Self) -> (i64, u64) {
        let drift = self.ahead_ns.wrapping_sub(before.ahead_ns);
        (drift, drift.unsigned_abs() + self.error_ns + before.error_ns)
    }

    pub(super) fn report(&self) -> ClockReport {
        let (ahead_us, error_us) = (self.wall_ahead_ns as f64 / 1e3, self.error_ns as f64 / 1e3);
        ClockReport { ahead_us, error_us }
    }
}

#[cfg(test)]
mod tests {
    use super::{Base, Clock, Exchange};

    #[test]
    fn the_soonest_answer_tells_the_clock_and_its_error_holds_the_truth() {
        let base = Base::now();
        // The other clock is 5,000 ns ahead. Ways there and back take these times.
        for ways in [[(900, 100), (60, 20), (10_000, 0)], [(10, 10), (0, 900), (3_000, 3_000)]] {
            let exchanges: Vec<_> = (0..)
                .zip(ways)
                .map(|(n, (there, back))| {
                    let asked = 1_000_000 * (n + 1);
                    let told_ns = asked + there + 5_000;
                    let (asked, answered) = (base.instant(asked), base.instant(asked + there + back));
                    Exchange { asked, answered, told_ns, told_unix_ns: base.unix_ns + told_ns }
                })
                .collect();
            let clock = Clock::estimate(&base, &exchanges).unwrap();
            assert!(clock.ahead_ns.abs_diff(5_000) <= clock.error_ns, "{clock:?}");
            assert!(clock.error_ns <= 41, "{clock:?}");
            assert_eq!(clock.wall_ahead_ns, clock.ahead_ns);
            assert!(clock.there(100_000).abs_diff(105_000) <= clock.error_ns);
        }
        assert_eq!(Clock::estimate(&base, &[]), None);
    }

    #[test]
    fn what_two_estimates_are_apart_is_the_drift_and_may_be_more_by_both_errors() {
        let of = |ahead_ns, error_ns| Clock { ahead_ns, wall_ahead_ns: 0, error_ns };
        assert_eq!(of(-700, 30).since(&of(-200, 20)), (-500, 550));
    }
}
