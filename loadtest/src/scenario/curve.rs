//! When messages are due: a rate that changes in straight lines, and what is drawn along it.

use crate::random::Random;

/// A rate that goes in a straight line from one value to another; per second, and seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Curve {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) seconds: f64,
}

impl Curve {
    /// How many are due until `t` seconds have passed.
    fn sum(&self, t: f64) -> f64 {
        self.from * t + (self.to - self.from) * t * t / (2.0 * self.seconds)
    }

    /// How many are due in all.
    pub(crate) fn total(&self) -> f64 {
        if self.seconds > 0.0 { self.sum(self.seconds) } else { 0.0 }
    }

    /// After how many seconds `n` are due; `None` if that many never are.
    fn time_of(&self, n: f64) -> Option<f64> {
        // Times that were scaled are off by less than a message is worth.
        if n + 1e-6 >= self.total() {
            return None;
        }
        let slope = (self.to - self.from) / self.seconds;
        if slope.abs() < 1e-12 {
            return Some(n / self.from);
        }
        // The root of slope/2 t² + from t - n, in the form that loses no digits for small slopes.
        let root = (self.from * self.from + 2.0 * slope * n).max(0.0).sqrt();
        Some(2.0 * n / (self.from + root))
    }
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Evenly.
    Constant,
    /// As independent events are: exponential pauses.
    Poisson,
}

/// The due times along a curve, in microseconds from its beginning. Chance follows from the seed.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    curve: Curve,
    spacing: Spacing,
    random: Random,
    count: f64,
}

impl Arrivals {
    pub(crate) fn new(curve: Curve, spacing: Spacing, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = if spacing == Spacing::Poisson { exponential(&mut random) } else { 0.0 };
        Self { curve, spacing, random, count }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due = self.curve.time_of(self.count)?;
        self.count += match self.spacing {
            Spacing::Constant => 1.0,
            Spacing::Poisson => exponential(&mut self.random),
        };
        Some((due * 1e6).round() as u64)
    }
}

/// A pause whose mean is 1.
fn exponential(random: &mut Random) -> f64 {
    -(1.0 - random.fraction()).ln()
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Curve, Spacing};

    fn times(from: f64, to: f64, seconds: f64, spacing: Spacing) -> Vec<u64> {
        Arrivals::new(Curve { from, to, seconds }, spacing, 7).collect()
    }

    #[test]
    fn a_constant_rate_is_spaced_evenly_and_does_not_drift() {
        let times = times(3_000.0, 3_000.0, 10.0, Spacing::Constant);
        assert_eq!(times.len(), 30_000);
        assert_eq!((times[0], times[3], times[29_997]), (0, 1_000, 9_999_000));
    }

    #[test]
    fn a_time_that_is_off_by_nanoseconds_makes_no_message_more() {
        assert_eq!(times(100.0, 100.0, 8.000_000_001, Spacing::Constant).len(), 800);
    }

    #[test]
    fn a_ramp_holds_as_many_as_its_mean_rate() {
        let times = times(0.0, 1_000.0, 10.0, Spacing::Constant);
        assert_eq!(times.len(), 5_000);
        // A quarter of them in the first half.
        let early = times.iter().filter(|t| **t < 5_000_000).count();
        assert!((1_249..=1_251).contains(&early), "{early}");
        assert!(times.is_sorted() && times[4_999] < 10_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_independent_events() {
        let times = times(1_000.0, 1_000.0, 100.0, Spacing::Poisson);
        // 100,000 expected; six standard deviations are about 1,900.
        assert!((98_100..101_900).contains(&times.len()), "{}", times.len());
        let pauses: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
        let spread = pauses.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / pauses.len() as f64;
        assert!((spread.sqrt() / mean - 1.0).abs() < 0.05, "an exponential's deviation is its mean");
    }

    #[test]
    fn nothing_is_due_at_rate_0_or_in_no_time() {
        assert!(times(0.0, 0.0, 10.0, Spacing::Constant).is_empty());
        assert!(times(5.0, 5.0, 0.0, Spacing::Poisson).is_empty());
    }
}
