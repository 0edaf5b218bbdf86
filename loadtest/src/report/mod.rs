//! What a run comes to, for a person and for a program.

mod histograms;
mod html;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod workers;

pub(crate) use histograms::HistogramLog;
pub use html::html;
pub use text::{grouped, summary};
pub use workers::{ClockReport, WorkerReport};

use crate::interval::Interval;
use crate::judge::Verdict;
use crate::measure::{Latencies, MEASURES};
use crate::server::{HopReport, ServerReport};
use crate::threshold::{Aggregate, Outcome, Subject, Threshold};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the JSON form.
pub const VERSION: u32 = 2;

/// Quantiles of a latency, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Messages measured.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The fastest.
    pub min: f64,
    /// Half are faster.
    pub p50: f64,
    /// Three in four.
    pub p75: f64,
    /// Nine in ten.
    pub p90: f64,
    /// 19 in 20.
    pub p95: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1,000.
    pub p999: f64,
    /// 9,999 in 10,000.
    pub p9999: f64,
    /// 99,999 in 100,000.
    pub p99999: f64,
    /// The slowest.
    pub max: f64,
}

impl Quantiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            mean: (histogram.mean().round()) / 1_000.0,
            min: histogram.min() as f64 / 1_000.0,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            p99999: at(0.99999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// A latency from both its beginnings, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// From the time it was due.
    pub due: Quantiles,
    /// From the time it really began.
    pub begun: Quantiles,
}

/// What clients counted that the ledger does not judge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Messages that the schedule handed out.
    pub scheduled: u64,
    /// Messages acknowledged as accepted.
    pub accepted: u64,
    /// Refusals after which the message went out again.
    pub put_off: u64,
    /// Sessions after a client's first.
    pub reconnects: u64,
    /// Sessions that ended before the run did, the scenario's doing aside.
    pub dropped: u64,
    /// Connections that the scenario broke.
    pub broken: u64,
    /// Of these, clients that came back and caught up.
    pub back: u64,
    /// Holes that `sync` had to fill.
    pub holes: u64,
    /// Times that the server said `resync`.
    pub resyncs: u64,
    /// `typing` that went out, and that came in.
    pub typing: (u64, u64),
    /// `mark-read` that went out, and `read` that came in.
    pub marks: (u64, u64),
    /// `sync` that the mix called for.
    pub syncs: u64,
    /// `typing`, `mark-read` and `sync` left out: their client was away, or asking already.
    pub left_out: u64,
    /// Own messages that a peer's room brought back.
    pub own: u64,
    /// How often a shard had to wait for the ledger.
    pub ledger_waits: u64,
    /// Deliveries that another worker had sent: counted, and not measured.
    pub across: u64,
    /// Errors that the server told, by code.
    pub errors: BTreeMap<String, u64>,
    /// Why the first of the dropped sessions ended.
    pub first_drop: Option<String>,
    /// The first error that was not a matter of time.
    pub first_error: Option<String>,
}

/// A phase as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseReport {
    /// What it was.
    pub kind: String,
    /// When it began, seconds since the first message was due.
    pub start_s: f64,
    /// How long it was, seconds.
    pub seconds: f64,
    /// Messages a second at its beginning and at its end.
    pub rate: (f64, f64),
}

/// What a run comes to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of this form.
    pub version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What the server was spoken to in.
    pub protocol: String,
    /// The run's name.
    pub run: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// What the schedule was drawn from.
    pub seed: u64,
    /// Users, a connection each.
    pub connections: usize,
    /// Groups, and members of each.
    pub groups: (usize, usize),
    /// Messages a second that were asked for, at most.
    pub rate: f64,
    /// Seconds that were asked for, after the warm-up.
    pub duration_s: f64,
    /// Seconds to connect everybody.
    pub connect_s: f64,
    /// Seconds from the last message's due time until everything had settled.
    pub drain_s: f64,
    /// Whether everything had settled before the wait was over.
    pub settled: bool,
    /// Whether the run was cut short.
    pub incomplete: bool,
    /// Why the server counts as gone, if it does.
    pub gone: Option<String>,
    /// Which worker went away before the end, if one did: then no ledger was judged.
    pub worker_gone: Option<String>,
    /// Why the generator could not keep up, if so: the figures are then also its own.
    pub saturated: Option<String>,
    /// Messages a second that were persisted, from the first due time to the last ack.
    pub persisted_per_second: f64,
    /// Deliveries a second in that time.
    pub delivered_per_second: f64,
    /// From due to acknowledged as persisted, ms.
    pub ack_ms: Quantiles,
    /// From due to delivered, ms.
    pub delivery_ms: Quantiles,
    /// Every latency that was measured, by name.
    pub latencies: BTreeMap<String, Latency>,
    /// How late the generator handed out what was due, ms.
    pub lag_ms: Quantiles,
    /// What clients counted.
    pub observed: Observed,
    /// What the servers' processes used.
    pub server: Option<ServerReport>,
    /// How long each hop took, by the servers' own histograms.
    pub hops: Vec<HopReport>,
    /// What had to hold.
    pub thresholds: Vec<Outcome>,
    /// The phases.
    pub phases: Vec<PhaseReport>,
    /// The run second by second.
    pub intervals: Vec<Interval>,
    /// The processes that made the run together; none if it was this one alone.
    pub workers: Vec<WorkerReport>,
    /// Where the ledger is; a run on a peer has none.
    pub ledger: String,
    /// What the judge says of it.
    pub verdict: Verdict,
}

/// Quantiles of every latency that there was.
pub(crate) fn latencies(all: &Latencies) -> BTreeMap<String, Latency> {
    let pairs = MEASURES.into_iter().map(|measure| (measure, all.of(measure)));
    pairs
        .filter(|(_, pair)| !pair.due.is_empty())
        .map(|(measure, pair)| {
            let latency = Latency { due: Quantiles::of(&pair.due), begun: Quantiles::of(&pair.begun) };
            (measure.name().to_owned(), latency)
        })
        .collect()
}

impl Report {
    /// Judges thresholds against what was measured.
    pub(crate) fn judge(&self, thresholds: &[Threshold], all: &Latencies) -> Vec<Outcome> {
        thresholds.iter().map(|threshold| threshold.judge(self.value(threshold.subject, all))).collect()
    }

    /// Whether the server, or a worker, went away.
    pub fn is_gone(&self) -> bool {
        self.gone.is_some() || self.worker_gone.is_some()
    }

    fn incomplete_text(&self) -> Option<&'static str> {
        match &self.worker_gone {
            Some(_) => Some("INCOMPLETE: a worker went away"),
            None => self.incomplete.then_some("INCOMPLETE: cut short by Ctrl-C"),
        }
    }

    fn value(&self, subject: Subject, all: &Latencies) -> Option<f64> {
        match subject {
            Subject::Latency(measure, begun, aggregate) => {
                let pair = all.of(measure);
                of_histogram(if begun { &pair.begun } else { &pair.due }, aggregate)
            }
            Subject::Lag(aggregate) => of_histogram(&all.lag, aggregate),
            Subject::Count("persisted_per_second") => Some(self.persisted_per_second),
            Subject::Count("delivered_per_second") => Some(self.delivered_per_second),
            Subject::Count(name) => Some(self.count(name) as f64),
        }
    }

    fn count(&self, name: &str) -> u64 {
        let v = &self.verdict;
        match name {
            "undecided" => v.undecided,
            "refused" => v.refused,
            "repeated" => v.repeated,
            "resent" => v.resent,
            "dropped" => self.observed.dropped,
            "put_off" => self.observed.put_off,
            "holes" => self.observed.holes,
            "errors" => self.observed.errors.values().sum(),
            kind => {
                v.counts.iter().filter(|(fault, _)| fault.to_string() == kind).map(|(_, count)| count).sum()
            }
        }
    }

    /// Whether there is a ledger: a peer is judged by counts.
    pub fn has_ledger(&self) -> bool {
        !self.ledger.is_empty()
    }

    /// Whether the ledger is clean, all thresholds hold, and, unless that is allowed, the generator
    /// kept up.
    pub fn is_ok(&self, allow_saturated: bool) -> bool {
        let kept_up = allow_saturated || self.saturated.is_none();
        self.verdict.clean && kept_up && self.thresholds.iter().all(|outcome| outcome.ok)
    }
}

fn of_histogram(histogram: &Histogram<u64>, aggregate: Aggregate) -> Option<f64> {
    let ms = |us: f64| us / 1_000.0;
    match aggregate {
        Aggregate::Count => Some(histogram.len() as f64),
        _ if histogram.is_empty() => None,
        Aggregate::Percentile(percent) => Some(ms(histogram.value_at_quantile(percent / 100.0) as f64)),
        Aggregate::Mean => Some(ms(histogram.mean())),
        Aggregate::Max => Some(ms(histogram.max() as f64)),
    }
}
