//! What is measured of a run: each latency from the time it was due, and beside it from the time it
//! really began.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told from longer ones, microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// A latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// To the TCP connection.
    Connect,
    /// To the answer 101: due with the connect, begun with the request.
    Upgrade,
    /// To `message-ack` with `accepted`.
    Accepted,
    /// To `message-ack` with `persisted`.
    Persisted,
    /// To the arrival at a recipient, each counted.
    Delivered,
    /// To the answer to a `sync`.
    Sync,
    /// From a planned loss of the connection until the client is back and has caught up.
    Back,
}

/// All of them, in the order of a report.
pub(crate) const MEASURES: [Measure; 7] = [
    Measure::Connect,
    Measure::Upgrade,
    Measure::Accepted,
    Measure::Persisted,
    Measure::Delivered,
    Measure::Sync,
    Measure::Back,
];

impl Measure {
    /// As it is called in reports and thresholds.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Upgrade => "upgrade",
            Self::Accepted => "accepted",
            Self::Persisted => "persisted",
            Self::Delivered => "delivered",
            Self::Sync => "sync",
            Self::Back => "back",
        }
    }
}

/// One latency, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) measure: Measure,
    /// Since it was due.
    pub(crate) due_us: u64,
    /// Since it began.
    pub(crate) begun_us: u64,
}

impl Sample {
    /// What was due and began then, and is over `now_us`.
    pub(crate) fn new(measure: Measure, due_us: u64, begun_us: u64, now_us: u64) -> Self {
        Self { measure, due_us: now_us.saturating_sub(due_us), begun_us: now_us.saturating_sub(begun_us) }
    }
}

/// One measure's histograms, in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// From the time it was due.
    pub(crate) due: Histogram<u64>,
    /// From the time it began.
    pub(crate) begun: Histogram<u64>,
}

/// The latencies of a run, or of a second of it.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    pairs: Vec<Pair>,
    /// How late the generator itself handed out what was due, microseconds.
    pub(crate) lag: Histogram<u64>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("valid bounds")
}

impl Default for Latencies {
    fn default() -> Self {
        let pair = |_| Pair { due: histogram(), begun: histogram() };
        Self { pairs: MEASURES.map(pair).into(), lag: histogram() }
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, sample: Sample) {
        let pair = &mut self.pairs[sample.measure as usize];
        pair.due.saturating_record(sample.due_us.max(1));
        pair.begun.saturating_record(sample.begun_us.max(1));
    }

    /// A measure's.
    pub(crate) fn of(&self, measure: Measure) -> &Pair {
        &self.pairs[measure as usize]
    }

    /// All of them by name, as reports and logs call them.
    pub(crate) fn histograms(&self) -> Vec<(String, &Histogram<u64>)> {
        let pair = |measure: &Measure| {
            let (name, pair) = (measure.name(), self.of(*measure));
            [(name.to_owned(), &pair.due), (format!("{name}.begun"), &pair.begun)]
        };
        MEASURES.iter().flat_map(pair).chain([("lag".to_owned(), &self.lag)]).collect()
    }

    /// The one of that name.
    pub(crate) fn histogram_mut(&mut self, name: &str) -> Option<&mut Histogram<u64>> {
        if name == "lag" {
            return Some(&mut self.lag);
        }
        let begun = name.strip_suffix(".begun");
        let measure = MEASURES.into_iter().find(|measure| measure.name() == begun.unwrap_or(name))?;
        let pair = &mut self.pairs[measure as usize];
        Some(if begun.is_some() { &mut pair.begun } else { &mut pair.due })
    }

    pub(crate) fn clear(&mut self) {
        for pair in &mut self.pairs {
            pair.due.clear();
            pair.begun.clear();
        }
        self.lag.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Latencies, MEASURES, Measure, Sample};

    #[test]
    fn each_measure_has_histograms_of_its_own_from_due_and_from_begun() {
        assert!(MEASURES.iter().enumerate().all(|(at, measure)| *measure as usize == at));
        let mut all = Latencies::default();
        all.record(Sample::new(Measure::Sync, 100, 600, 1_100));
        let pair = all.of(Measure::Sync);
        assert_eq!((pair.due.max(), pair.begun.max()), (1_000, 500));
        assert!(all.of(Measure::Back).due.is_empty());
        all.clear();
        assert!(all.of(Measure::Sync).due.is_empty());
    }
}
