//! Two runs beside each other: ratios, and how far chance alone may have moved them.

use crate::interval::Interval;
use crate::random::Random;
use crate::report::{Latency, VERSION};
use crate::scenario::PhaseKind;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;
use thiserror::Error;

/// How often the seconds of the runs are drawn anew.
const DRAWS: usize = 1_000;
/// Of these, so many lie within the range that is told, from the 5th to the 95th in 100.
const TAIL: f64 = 0.05;

/// A report, as far as it is compared.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    version: u32,
    scenario: String,
    run: String,
    incomplete: bool,
    saturated: Option<String>,
    latencies: BTreeMap<String, Latency>,
    phases: Vec<Phase>,
    intervals: Vec<Interval>,
    server: Option<Server>,
}

#[derive(Debug, Clone, Deserialize)]
struct Phase {
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Server {
    cpu_us_per_delivery: Option<f64>,
}

/// Why a file is no report.
#[derive(Debug, Error)]
pub enum CompareError {
    /// It is something else.
    #[error("expected the JSON of `ringway load run -o FILE.json`: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of another version.
    #[error("the report has version {0}, expected {VERSION}")]
    Version(u32),
}

impl Run {
    /// A figure of each second that was measured.
    fn values(&self, of: Second) -> Vec<f64> {
        let measured = |interval: &&Interval| {
            let phase = interval.phase.checked_sub(1).and_then(|at| self.phases.get(at));
            phase.is_some_and(|phase| phase.kind != PhaseKind::Warmup.name())
        };
        self.intervals.iter().filter(measured).filter_map(of).collect()
    }
}

impl FromStr for Run {
    type Err = CompareError;

    fn from_str(text: &str) -> Result<Self, CompareError> {
        let run: Self = serde_json::from_str(text)?;
        if run.version == VERSION { Ok(run) } else { Err(CompareError::Version(run.version)) }
    }
}

/// A figure that every second has.
type Second = fn(&Interval) -> Option<f64>;

fn some(count: u64, value: f64) -> Option<f64> {
    (count > 0).then_some(value)
}

const SECONDS: [(&str, Second); 7] = [
    ("persisted a second", |i| Some(i.persisted as f64 / i.seconds)),
    ("delivered a second", |i| Some(i.delivered as f64 / i.seconds)),
    ("persisted p50, ms", |i| some(i.persisted_ms.count, i.persisted_ms.p50)),
    ("persisted p99, ms", |i| some(i.persisted_ms.count, i.persisted_ms.p99)),
    ("delivered p50, ms", |i| some(i.delivered_ms.count, i.delivered_ms.p50)),
    ("delivered p99, ms", |i| some(i.delivered_ms.count, i.delivered_ms.p99)),
    ("server cores", |i| i.server_cores),
];

/// The ratios of two runs as a table.
pub fn table(first: &Run, second: &Run) -> String {
    let mut text = String::new();
    write_table(&mut text, first, second).expect("a String takes everything");
    text
}

fn write_table(text: &mut String, first: &Run, second: &Run) -> std::fmt::Result {
    for (name, run) in [("A", first), ("B", second)] {
        let incomplete = if run.incomplete { ", INCOMPLETE" } else { "" };
        let saturated = if run.saturated.is_some() { ", GENERATOR SATURATED" } else { "" };
        writeln!(text, "{name}: {}, run {}{incomplete}{saturated}", run.scenario, run.run)?;
    }
    writeln!(text, "\n  median of seconds              A            B       B/A   by chance alone")?;
    for (name, of) in SECONDS {
        let (a, b) = (first.values(of), second.values(of));
        if a.is_empty() || b.is_empty() {
            continue;
        }
        let (at_a, at_b) = (median(&mut a.clone()), median(&mut b.clone()));
        let (low, high) = spread(&a, &b);
        let ratio = ratio(at_a, at_b);
        writeln!(text, "  {name:<20} {at_a:>12.3} {at_b:>12.3} {ratio:>9.3}   {low:.3} to {high:.3}")?;
    }
    writeln!(text, "\n  of the whole run, ms           A            B       B/A")?;
    for (name, a) in &first.latencies {
        let Some(b) = second.latencies.get(name) else { continue };
        let rows =
            [("p50", a.due.p50, b.due.p50), ("p99", a.due.p99, b.due.p99), ("p99.9", a.due.p999, b.due.p999)];
        for (percentile, a, b) in rows {
            let name = format!("{name} {percentile}");
            writeln!(text, "  {name:<20} {a:>12.3} {b:>12.3} {:>9.3}", ratio(a, b))?;
        }
    }
    let cpu = |run: &Run| run.server.as_ref().and_then(|server| server.cpu_us_per_delivery);
    if let (Some(a), Some(b)) = (cpu(first), cpu(second)) {
        writeln!(text, "  {:<20} {a:>12.3} {b:>12.3} {:>9.3}", "CPU µs a delivery", ratio(a, b))?;
    }
    Ok(())
}

fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 && b == 0.0 { 1.0 } else { b / a }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

/// Between which ratios of medians 90 in 100 lie, when seconds are drawn from each run anew, with
/// repeats (the bootstrap). Seconds that hang together make the real range wider.
fn spread(a: &[f64], b: &[f64]) -> (f64, f64) {
    let mut random = Random::new(1);
    let mut draw = |values: &[f64]| {
        let mut drawn: Vec<_> =
            values.iter().map(|_| values[random.below(values.len() as u64) as usize]).collect();
        median(&mut drawn)
    };
    let mut ratios: Vec<_> = (0..DRAWS).map(|_| ratio(draw(a), draw(b))).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ratios[(share * (DRAWS - 1) as f64).round() as usize];
    (at(TAIL), at(1.0 - TAIL))
}

#[cfg(test)]
mod tests {
    use super::{CompareError, Run, median, spread, table};

    fn run(persisted: [u64; 4]) -> Run {
        let interval = |n: &u64| {
            serde_json::json!({"end_s": 1.0, "seconds": 2.0, "phase": 1, "online": 1, "in_flight": 0, "sent": n, "accepted": 0,
                "persisted": n, "delivered": n, "refused": 0, "dropped": 0, "reconnects": 0, "lag_max_ms": 0.0,
                "persisted_ms": {"count": 1, "p50": 1.0, "p99": 2.0, "max": 3.0}, "delivered_ms": {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0},
                "persisted_begun_ms": {"count": 1, "p50": 1.0, "p99": 2.0, "max": 3.0},
                "delivered_begun_ms": {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}, "server_cores": null, "server_rss_bytes": null})
        };
        let intervals: Vec<_> = persisted.iter().map(interval).collect();
        let report = serde_json::json!({"version": 2, "scenario": "s", "run": "r", "incomplete": false, "saturated": null,
            "phases": [{"kind": "hold"}], "latencies": {}, "server": null, "intervals": intervals});
        report.to_string().parse().unwrap()
    }

    #[test]
    fn the_ratio_is_the_second_over_the_first_with_its_range() {
        let text = table(&run([200, 200, 200, 200]), &run([400, 400, 400, 400]));
        assert!(
            text.contains("persisted a second        100.000      200.000     2.000   2.000 to 2.000"),
            "{text}"
        );
        assert!(
            !text.contains("delivered p50") && !text.contains("server cores"),
            "what one has not is left out: {text}"
        );
    }

    #[test]
    fn the_range_holds_1_for_two_runs_of_the_same_kind() {
        let values = |seed: u64| -> Vec<f64> {
            let mut random = crate::random::Random::new(seed);
            (0..60).map(|_| 100.0 + random.below(20) as f64).collect()
        };
        let (low, high) = spread(&values(1), &values(2));
        assert!(low <= 1.0 && 1.0 <= high && high - low < 0.1, "{low} {high}");
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(matches!("{}".parse::<Run>(), Err(CompareError::Form(_))));
    }
}
