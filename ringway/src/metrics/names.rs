//! Every metric by its name, and where its value comes from. `docs/metrics.md` says what each means
//! and what to do when it moves; a test holds the page to what is served.
//!
//! Names end in their unit (`_bytes`, `_seconds`), and in `_total` if they only ever grow.

use super::Sources;
use bus::latency::Latency;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    /// As Prometheus has it.
    pub(super) name: &'static str,
    /// Where its values come from.
    pub(super) from: From,
}

/// Where a metric's values come from. Figures bring their help with them.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// The version, as a label.
    Build,
    /// Whether `/readyz` says yes.
    Ready,
    /// A figure of each shard.
    Shard(&'static str),
    /// The figures of each shard that begin so; the rest is a label.
    ShardBy(By),
    /// How many records wait in the queues of each shard.
    Queues,
    /// A figure of the worker.
    Worker(&'static str),
    /// A figure of a gateway's road over Kafka.
    Road(&'static str),
    /// A figure of what keeps a gateway's routes in Redis.
    Routes(&'static str),
    /// The figures of the worker that begin so; the rest is a label.
    WorkerBy(By),
    /// How long a hop takes.
    Hop(Hop),
}

/// Several figures that are one metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub(super) prefix: &'static str,
    pub(super) label: &'static str,
    pub(super) help: &'static str,
}

/// A part of a message's way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hop {
    Upstream,
    Commit,
    Distribute,
    Downstream,
    Confirm,
}

impl Hop {
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Upstream => "From the shard that took a command to the persister",
            Self::Commit => "One transaction, which is one batch",
            Self::Distribute => "From COMMIT until the last record of a batch was handed to a shard",
            Self::Downstream => "From the distributor to the shard that hands it out, per record",
            Self::Confirm => "From producing a message until Kafka has confirmed it",
        }
    }

    /// Its histograms: one per shard where a shard of this process is at one end.
    pub(super) fn of(self, sources: &Sources) -> Vec<(Option<usize>, &Latency)> {
        let worker = sources.worker.as_deref();
        let one = |latency| vec![(None, latency)];
        match (self, worker) {
            (Self::Upstream, Some(worker)) => {
                let all = worker.upstream_latency.iter().enumerate();
                all.map(|(shard, latency)| (Some(shard), latency)).collect()
            }
            (Self::Commit, Some(worker)) => one(&worker.commit_latency),
            (Self::Distribute, Some(worker)) => one(&worker.distribute_latency),
            (Self::Upstream | Self::Commit | Self::Distribute, None) => vec![],
            (Self::Downstream, _) => {
                let all = sources.shards.iter().enumerate();
                all.map(|(shard, stats)| (Some(shard), &stats.downstream_latency)).collect()
            }
            (Self::Confirm, _) => {
                let all = sources.road.iter().flat_map(|road| road.counts.confirm_latency()).enumerate();
                all.map(|(shard, latency)| (Some(shard), latency)).collect()
            }
        }
    }
}

const CLOSED: By = By {
    prefix: "closed_",
    label: "code",
    help: "Sessions closed, by close code, by the peer, or by a broken connection",
};
const REFUSED: By = By { prefix: "refused_", label: "reason", help: "Upgrades refused, by reason" };
const REFUSED_MESSAGES: By =
    By { prefix: "refused_", label: "reason", help: "Messages refused for good, by reason" };
const DEAD_LETTERS: By =
    By { prefix: "dead_letters_", label: "reason", help: "Records put aside as dead letters, by reason" };

const fn metric(name: &'static str, from: From) -> Metric {
    Metric { name, from }
}

/// All of them, in the order of the page.
pub(super) const METRICS: &[Metric] = &[
    metric("ringway_build_info", From::Build),
    metric("ringway_ready", From::Ready),
    // Connections.
    metric("ringway_sessions", From::Shard("connections")),
    metric("ringway_users", From::Shard("users")),
    metric("ringway_slots", From::Shard("slots")),
    metric("ringway_accepted_total", From::Shard("accepted")),
    metric("ringway_accept_failures_total", From::Shard("accept_failures")),
    metric("ringway_passed_total", From::Shard("passed")),
    metric("ringway_arrived_total", From::Shard("arrived")),
    metric("ringway_pass_failures_total", From::Shard("pass_failures")),
    metric("ringway_upgrades_total", From::Shard("upgrades")),
    metric("ringway_upgrades_refused_total", From::ShardBy(REFUSED)),
    metric("ringway_sessions_closed_total", From::ShardBy(CLOSED)),
    // Traffic of the sockets.
    metric("ringway_messages_received_total", From::Shard("messages_in")),
    metric("ringway_received_bytes_total", From::Shard("bytes_in")),
    metric("ringway_commands_refused_total", From::Shard("commands_refused")),
    metric("ringway_commands_rate_limited_total", From::Shard("rate_limited")),
    metric("ringway_commands_busy_total", From::Shard("busy")),
    metric("ringway_frames_queued_total", From::Shard("frames_out")),
    metric("ringway_sent_bytes_total", From::Shard("bytes_out")),
    metric("ringway_sends_total", From::Shard("sends")),
    metric("ringway_egress_bytes", From::Shard("egress_bytes")),
    metric("ringway_partial_bytes", From::Shard("partial_bytes")),
    metric("ringway_receives_starved_total", From::Shard("receives_starved")),
    metric("ringway_ticks_total", From::Shard("ticks")),
    metric("ringway_controls_untold_total", From::Shard("controls_untold")),
    // The road.
    metric("ringway_queue_records", From::Queues),
    metric("ringway_downstream_records_total", From::Shard("downstream_records")),
    metric("ringway_downstream_entries_total", From::Shard("downstream_entries")),
    metric("ringway_downstream_missed_total", From::Shard("downstream_missed")),
    // A message's way, hop by hop.
    metric("ringway_upstream_latency_seconds", From::Hop(Hop::Upstream)),
    metric("ringway_commit_latency_seconds", From::Hop(Hop::Commit)),
    metric("ringway_distribute_latency_seconds", From::Hop(Hop::Distribute)),
    metric("ringway_downstream_latency_seconds", From::Hop(Hop::Downstream)),
    // A gateway's road over Kafka, and its routes in Redis.
    metric("ringway_confirm_latency_seconds", From::Hop(Hop::Confirm)),
    metric("ringway_road_produced_total", From::Road("produced")),
    metric("ringway_road_accepted_total", From::Road("accepted")),
    metric("ringway_road_failed_total", From::Road("failed")),
    metric("ringway_road_queue_full_total", From::Road("queue_full")),
    metric("ringway_road_taken_total", From::Road("taken")),
    metric("ringway_road_undecodable_total", From::Road("undecodable")),
    metric("ringway_road_reassigned_total", From::Road("reassigned")),
    metric("ringway_road_kicked_total", From::Road("kicked")),
    metric("ringway_road_pending_records", From::Road("pending")),
    metric("ringway_routes", From::Routes("routes")),
    metric("ringway_routes_added_total", From::Routes("added")),
    metric("ringway_routes_removed_total", From::Routes("removed")),
    metric("ringway_routes_missing_total", From::Routes("missing")),
    metric("ringway_routes_displaced_total", From::Routes("displaced")),
    metric("ringway_routes_leases_retaken_total", From::Routes("leases_retaken")),
    metric("ringway_routes_errors_total", From::Routes("errors")),
    // The worker.
    metric("ringway_worker_records_total", From::Worker("records")),
    metric("ringway_worker_batches_total", From::Worker("batches")),
    metric("ringway_worker_persisted_total", From::Worker("persisted")),
    metric("ringway_worker_repeats_total", From::Worker("repeats")),
    metric("ringway_worker_replays_total", From::Worker("replays")),
    metric("ringway_worker_refused_total", From::WorkerBy(REFUSED_MESSAGES)),
    metric("ringway_worker_fence_lost_total", From::Worker("fence_lost")),
    metric("ringway_worker_batches_locked_total", From::Worker("batches_locked")),
    metric("ringway_worker_duplicates_looked_up_total", From::Worker("duplicates_looked_up")),
    metric("ringway_worker_store_retries_total", From::Worker("store_retries")),
    metric("ringway_worker_store_failing", From::Worker("store_failing")),
    metric("ringway_worker_dead_letters_total", From::WorkerBy(DEAD_LETTERS)),
    metric("ringway_worker_downstream_records_total", From::Worker("downstream_records")),
    metric("ringway_worker_downstream_entries_total", From::Worker("downstream_entries")),
    metric("ringway_worker_downstream_gone_total", From::Worker("downstream_gone")),
    metric("ringway_worker_distribute_queue_full_total", From::Worker("distribute_queue_full")),
    metric("ringway_worker_held_batches", From::Worker("held_batches")),
    metric("ringway_worker_held_bytes", From::Worker("held_bytes")),
    metric("ringway_worker_held_full_total", From::Worker("held_full")),
    metric("ringway_worker_directory_failures_total", From::Worker("directory_failures")),
    metric("ringway_worker_hints_dropped_total", From::Worker("hints_dropped")),
    metric("ringway_worker_hot_pages_total", From::Worker("hot_pages")),
    metric("ringway_worker_hot_failures_total", From::Worker("hot_failures")),
    metric("ringway_worker_routes_added_total", From::Worker("routes_added")),
    metric("ringway_worker_routes_removed_total", From::Worker("routes_removed")),
    metric("ringway_worker_queries_total", From::Worker("queries")),
    metric("ringway_worker_queries_failed_total", From::Worker("queries_failed")),
    metric("ringway_worker_marks_moved_total", From::Worker("marks_moved")),
    metric("ringway_worker_typing_dropped_total", From::Worker("typing_dropped")),
    metric("ringway_worker_fanout_tasks_total", From::Worker("fanout_tasks")),
    metric("ringway_worker_fanout_scans_total", From::Worker("fanout_scans")),
    metric("ringway_worker_fanout_queue_full_total", From::Worker("fanout_queue_full")),
    metric("ringway_worker_fanout_failures_total", From::Worker("fanout_failures")),
];

#[cfg(test)]
mod tests {
    use super::{From, METRICS};
    use bus::Figure;

    /// How many metrics show a figure.
    fn shown(figures: &[Figure], by_name: impl Fn(From) -> Option<(&'static str, bool)>) {
        for figure in figures {
            let takes = |metric: &&super::Metric| match by_name(metric.from) {
                Some((name, false)) => name == figure.name,
                Some((prefix, true)) => figure.name.starts_with(prefix),
                None => false,
            };
            let metrics: Vec<_> = METRICS.iter().filter(takes).collect();
            let [metric] = metrics[..] else { panic!("{} is shown by {metrics:?}", figure.name) };
            assert_eq!(metric.name.ends_with("_total"), figure.total, "{}", metric.name);
        }
    }

    #[test]
    fn every_figure_is_shown_by_one_metric() {
        shown(&engine::shard::Stats::default().all(), |from| match from {
            From::Shard(name) => Some((name, false)),
            From::ShardBy(by) => Some((by.prefix, true)),
            _ => None,
        });
        shown(&logic::Stats::new(1).all(), |from| match from {
            From::Worker(name) => Some((name, false)),
            From::WorkerBy(by) => Some((by.prefix, true)),
            _ => None,
        });
    }

    #[test]
    fn names_are_distinct_and_of_one_style() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        for name in &names {
            let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(plain && name.starts_with("ringway_"), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
