//! What a run costs its servers: CPU time and memory of their processes, and how long each hop takes
//! by their own `/metrics`.

use crate::api;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a page of memory.
fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// A process at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory, bytes.
    pub(crate) rss_bytes: u64,
}

/// What processes have used so far, all together; `None` if one of them is not there.
pub(crate) fn usage(pids: &[u32]) -> Option<Usage> {
    let mut all = Usage::default();
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let memory = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        all.cpu_s += cpu_ticks(&stat)? as f64 / rustix::param::clock_ticks_per_second() as f64;
        all.rss_bytes += memory.split_whitespace().nth(1)?.parse::<u64>().ok()? * page_bytes();
    }
    (!pids.is_empty()).then_some(all)
}

/// utime + stime: fields 14 and 15 of proc(5), of which the second, the name, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// What the servers' processes used for a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerReport {
    /// The processes.
    pub pids: Vec<u32>,
    /// CPU seconds from the first message due until everything had settled.
    pub cpu_s: f64,
    /// Of those, microseconds for each delivery.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory before anybody had connected, bytes.
    pub rss_before_bytes: u64,
    /// And once everybody was, bytes.
    pub rss_connected_bytes: u64,
    /// The most of all seconds, bytes.
    pub rss_max_bytes: u64,
    /// What a connection added, bytes.
    pub rss_bytes_per_connection: f64,
}

/// A hop's latency over a run, by the server's own histogram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HopReport {
    /// The part of its metric's name between `ringway_` and `_latency_seconds`.
    pub hop: String,
    /// How many were measured.
    pub count: u64,
    /// Milliseconds.
    pub mean_ms: f64,
    /// Upper bounds of the buckets in which these lie, milliseconds; none beyond the last bucket.
    pub p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub p99_ms: Option<f64>,
}

/// One hop's histogram, over all labels.
#[derive(Debug, Clone, Default, PartialEq)]
struct Buckets {
    count: f64,
    sum_s: f64,
    /// By upper bound, in nanoseconds: what counts up to there.
    below: BTreeMap<u64, f64>,
}

/// The hops of all servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Hops(BTreeMap<String, Buckets>);

/// Asks every admin port.
pub(crate) fn hops(admins: &[String]) -> Result<Hops, api::ApiError> {
    let mut hops = Hops::default();
    for admin in admins {
        hops.add(&api::get(admin, "/metrics")?);
    }
    Ok(hops)
}

impl Hops {
    /// Adds the samples of a page of metrics.
    fn add(&mut self, page: &str) {
        for line in page.lines().filter(|line| line.starts_with("ringway_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let Some((hop, kind)) = name["ringway_".len()..].split_once("_latency_seconds_") else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else { continue };
            let buckets = self.0.entry(hop.to_owned()).or_default();
            match kind {
                "count" => buckets.count += value,
                "sum" => buckets.sum_s += value,
                "bucket" => {
                    let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
                    let Some(bound) = bound.and_then(|bound| bound.parse::<f64>().ok()) else { continue };
                    if bound.is_finite() {
                        *buckets.below.entry((bound * 1e9).round() as u64).or_default() += value;
                    }
                }
                _ => {}
            }
        }
    }

    /// What has come to these since `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<HopReport> {
        let none = Buckets::default();
        let report = |(hop, now): (&String, &Buckets)| {
            let then = before.0.get(hop).unwrap_or(&none);
            let count = now.count - then.count;
            if count <= 0.0 {
                return None;
            }
            let at = |quantile: f64| {
                let before = |bound: &u64| then.below.get(bound).copied().unwrap_or(0.0);
                let reached = |(bound, below): &(&u64, &f64)| **below - before(bound) >= quantile * count;
                now.below.iter().find(reached).map(|(bound, _)| *bound as f64 / 1e6)
            };
            Some(HopReport {
                hop: hop.clone(),
                count: count as u64,
                mean_ms: (now.sum_s - then.sum_s) * 1e3 / count,
                p50_ms: at(0.5),
                p99_ms: at(0.99),
            })
        };
        self.0.iter().filter_map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Hops, cpu_ticks, usage};

    #[test]
    fn a_process_is_measured_whatever_its_name() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 0 0 0 31 11 0 0 20 0 9 0 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert!(usage(&[std::process::id()]).unwrap().rss_bytes > 0);
        assert_eq!(usage(&[]), None);
        assert_eq!(usage(&[u32::MAX]), None);
    }

    #[test]
    fn a_hop_is_what_was_counted_between_two_looks() {
        let page = |scale: u64| {
            format!(
                "# TYPE x histogram\nringway_commit_latency_seconds_sum {}\nringway_commit_latency_seconds_count {}\n\
                 ringway_commit_latency_seconds_bucket{{le=\"0.001\"}} {}\n\
                 ringway_commit_latency_seconds_bucket{{le=\"0.01\"}} {}\n\
                 ringway_commit_latency_seconds_bucket{{le=\"+Inf\"}} {}\nringway_sessions{{shard=\"0\"}} 7\n",
                0.2 * scale as f64,
                100 * scale,
                60 * scale,
                98 * scale,
                100 * scale
            )
        };
        let (mut before, mut after) = (Hops::default(), Hops::default());
        before.add(&page(1));
        after.add(&page(2));
        after.add("ringway_commit_latency_seconds_bucket{shard=\"1\",le=\"0.01\"} 2\n");
        let hops = after.since(&before);
        assert_eq!((hops.len(), hops[0].hop.as_str(), hops[0].count), (1, "commit", 100));
        assert!((hops[0].mean_ms - 2.0).abs() < 1e-9);
        assert_eq!((hops[0].p50_ms, hops[0].p99_ms), (Some(1.0), Some(10.0)));
        assert!(before.since(&before).is_empty());
    }
}
