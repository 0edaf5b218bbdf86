//! From what a run has left behind to its report.

use super::field::{Field, Finished};
use super::lead::Led;
use super::{RunError, load};
use crate::ledger::{End, Header};
use crate::measure::{Latencies, Measure};
use crate::options::Options;
use crate::progress::judging;
use crate::report::{Observed, Quantiles, Report, VERSION, latencies};
use crate::scenario::PhaseKind;
use crate::server::ServerReport;
use crate::shard::World;

/// The generator kept up if no more than one message in a hundred was handed out later than this.
const LAG_US_MAX: u64 = 10_000;
const LAG_QUANTILE: f64 = 0.99;

/// Closes the ledger, judges it, and writes down what came of it all.
pub(super) fn finish(
    options: &Options,
    world: &World,
    field: &mut dyn Field,
    led: Led,
    header: Header,
) -> Result<Report, RunError> {
    let end = End { interrupted: led.interrupted, settled: led.settled, quiet: led.quiet, ..End::default() };
    let Finished { all, verdict, ledger, workers, saturated } =
        field.finish(end, &mut judging(options.progress))?;
    let scenario = &options.scenario;
    let seconds = led.sending.as_secs_f64().max(0.001);
    let warmups = scenario.phases.iter().filter(|phase| phase.kind == PhaseKind::Warmup);
    let warmup: f64 = warmups.map(|phase| phase.duration.as_secs_f64()).sum();
    let mut report = Report {
        version: VERSION,
        scenario: scenario.name.clone(),
        protocol: options.protocol.to_string(),
        run: world.shared.run.clone(),
        started: header.started,
        seed: options.seed,
        connections: options.users.len(),
        groups: (scenario.groups.count as usize, scenario.groups.size as usize),
        rate: if scenario.is_closed() { 0.0 } else { scenario.rate_max() },
        duration_s: scenario.duration().as_secs_f64() - warmup,
        connect_s: led.connect.as_secs_f64(),
        drain_s: led.drain.as_secs_f64(),
        settled: led.settled,
        incomplete: led.interrupted,
        gone: led.gone.clone(),
        worker_gone: led.lost.clone(),
        saturated,
        persisted_per_second: verdict.persisted as f64 / seconds,
        delivered_per_second: verdict.delivered as f64 / seconds,
        ack_ms: Quantiles::of(&all.of(Measure::Persisted).due),
        delivery_ms: Quantiles::of(&all.of(Measure::Delivered).due),
        latencies: latencies(&all),
        lag_ms: Quantiles::of(&all.lag),
        observed: observed(world),
        server: server(options, &led, verdict.delivered),
        hops: led.hops_after.as_ref().zip(led.watch.hops_before.as_ref()).map_or(vec![], |(a, b)| a.since(b)),
        thresholds: vec![],
        phases: led.phases,
        intervals: led.watch.intervals,
        workers,
        ledger,
        verdict,
    };
    for interval in &mut report.intervals {
        interval.end_s -= led.first_us as f64 / 1e6;
    }
    let mut thresholds = options.thresholds.clone();
    // They were read when the scenario was checked.
    thresholds.extend(scenario.thresholds.iter().filter_map(|text| text.parse().ok()));
    report.thresholds = report.judge(&thresholds, &all);
    Ok(report)
}

/// Why a generator could not keep up, if so.
pub(crate) fn saturated(all: &Latencies, waits: u64) -> Option<String> {
    let late_us = all.lag.value_at_quantile(LAG_QUANTILE);
    let mut why = vec![];
    if !all.lag.is_empty() && late_us > LAG_US_MAX {
        let (late, most) = (late_us as f64 / 1e3, LAG_US_MAX / 1_000);
        why.push(format!(
            "1 in 100 messages was handed out {late:.1} ms late or more (at most {most} ms are allowed)"
        ));
    }
    if waits > 0 {
        why.push(format!("clients had to wait {waits} times for the ledger's thread"));
    }
    (!why.is_empty()).then(|| why.join("; "))
}

fn observed(world: &World) -> Observed {
    let c = &world.shared.counters;
    Observed {
        scheduled: load(&c.scheduled),
        accepted: load(&c.accepted),
        put_off: load(&c.put_off),
        reconnects: load(&c.reconnects),
        dropped: load(&c.dropped),
        broken: load(&c.broken),
        back: load(&c.back),
        holes: load(&c.holes),
        resyncs: load(&c.resyncs),
        typing: (load(&c.typing), load(&c.typing_heard)),
        marks: (load(&c.marks), load(&c.marks_heard)),
        syncs: load(&c.syncs),
        left_out: load(&c.left_out),
        own: world.peers.as_ref().map_or(0, |peers| peers.own()),
        ledger_waits: load(&c.ledger_waits),
        across: load(&c.across),
        errors: c.errors(),
        first_drop: c.first_drop.get().cloned(),
        first_error: c.first_error.get().cloned(),
    }
}

fn server(options: &Options, led: &Led, delivered: u64) -> Option<ServerReport> {
    let (connected, settled) = led.usage;
    let (before, connected) = (led.watch.usage_before?, connected?);
    // A server that died in between has used nothing that could be told.
    let cpu_s = settled?.cpu_s - connected.cpu_s;
    let rss = led.watch.intervals.iter().filter_map(|interval| interval.server_rss_bytes);
    let added = connected.rss_bytes as f64 - before.rss_bytes as f64;
    Some(ServerReport {
        pids: options.server_pids.clone(),
        cpu_s,
        cpu_us_per_delivery: (delivered > 0).then(|| cpu_s * 1e6 / delivered as f64),
        rss_before_bytes: before.rss_bytes,
        rss_connected_bytes: connected.rss_bytes,
        rss_max_bytes: rss.fold(connected.rss_bytes, u64::max),
        rss_bytes_per_connection: added / options.scenario.connections as f64,
    })
}
