//! A report of a run that never was, in each of its forms.

use super::{ClockReport, Observed, Quantiles, Report, VERSION, WorkerReport, html, latencies};
use crate::interval::{Interval, Short};
use crate::judge::{Fault, FaultKind, StoreRead, Verdict, Witness};
use crate::measure::{Latencies, Measure, Sample};
use crate::server::{HopReport, ServerReport};
use crate::threshold::Threshold;

fn measured() -> Latencies {
    let mut all = Latencies::default();
    for us in 1..=1_000 {
        all.record(Sample::new(Measure::Persisted, 0, us * 500, us * 1_000));
    }
    all
}

fn report() -> Report {
    let all = measured();
    let fault = Fault {
        kind: FaultKind::Lost,
        by: Witness::Clients,
        conversation: "single_1_2".into(),
        sender: Some(1),
        client_id: Some("<script>".into()),
        seq: None,
        detail: "gone".into(),
    };
    let verdict = Verdict {
        persisted: 7,
        counts: [(FaultKind::Lost, 1)].into(),
        faults: vec![fault],
        store: Some(StoreRead { place: "sqlite:<x>".into(), conversations: 3, rows: 1_234, unread: None }),
        ..Verdict::default()
    };
    let second = |end_s: f64| Interval {
        end_s,
        seconds: 1.0,
        phase: 1,
        online: 3,
        persisted: 5,
        persisted_ms: Short { count: 5, p50: 1.0, p99: 9.0, max: 10.0 },
        server_cores: Some(0.5),
        ..Interval::default()
    };
    let mut report = Report {
        version: VERSION,
        scenario: "a <b> & c".into(),
        protocol: "ringway".into(),
        run: "r".into(),
        started: "2026-11-25T00:00:00.000Z".into(),
        seed: 1,
        connections: 3,
        groups: (0, 0),
        rate: 10.0,
        duration_s: 3.0,
        connect_s: 0.1,
        drain_s: 0.1,
        settled: true,
        incomplete: false,
        gone: None,
        worker_gone: None,
        saturated: None,
        persisted_per_second: 10.0,
        delivered_per_second: 10.0,
        ack_ms: Quantiles::of(&all.of(Measure::Persisted).due),
        delivery_ms: Quantiles::default(),
        latencies: latencies(&all),
        lag_ms: Quantiles::default(),
        observed: Observed { errors: [("BUSY".into(), 2)].into(), ..Observed::default() },
        server: Some(ServerReport {
            pids: vec![1],
            cpu_s: 1.5,
            cpu_us_per_delivery: Some(12.5),
            rss_before_bytes: 1 << 20,
            rss_connected_bytes: 2 << 20,
            rss_max_bytes: 3 << 20,
            rss_bytes_per_connection: 99.0,
        }),
        hops: vec![HopReport {
            hop: "commit".into(),
            count: 3,
            mean_ms: 1.25,
            p50_ms: Some(1.0),
            p99_ms: None,
        }],
        thresholds: vec![],
        phases: vec![],
        intervals: (1..=3).map(|at| second(f64::from(at))).collect(),
        workers: vec![WorkerReport {
            index: 0,
            address: "127.0.0.1:9".into(),
            pid: 77,
            users: 1_500,
            shards: 2,
            clock_start: ClockReport { ahead_us: 12.4, error_us: 20.2 },
            clock_end: Some(ClockReport { ahead_us: 15.0, error_us: 30.0 }),
            drift_us: Some(-2.6),
            ledger: "x.ledger".into(),
        }],
        ledger: "x.ledger".into(),
        verdict,
    };
    let thresholds: Vec<Threshold> =
        ["persisted.p(50)<600ms", "persisted.begun.p(50)<300ms", "lost==0", "sync.max<1s", "errors==2"]
            .map(|text| text.parse().unwrap())
            .into();
    report.thresholds = report.judge(&thresholds, &all);
    report
}

#[test]
fn thresholds_are_judged_by_what_was_measured() {
    let ok: Vec<_> = report().thresholds.iter().map(|outcome| outcome.ok).collect();
    assert_eq!(ok, [true, true, false, false, true]);
}

#[test]
fn a_saturated_generator_fails_the_run_unless_that_is_allowed() {
    let mut report = report();
    report.thresholds.clear();
    report.verdict.clean = true;
    assert!(report.is_ok(false));
    report.saturated = Some("late".into());
    assert!(!report.is_ok(false) && report.is_ok(true));
}

#[test]
fn the_page_names_what_is_wrong_and_nothing_of_it_is_markup() {
    let page = html(&report());
    assert!(
        page.contains("a &lt;b&gt; &amp; c") && page.contains("&lt;script&gt;") && !page.contains("<script")
    );
    assert!(!page.contains("http") && !page.contains("NaN"), "{page}");
    for told in
        ["NOT CLEAN", "persisted, from begun", "Server CPU", "commit", "lost==0", "error BUSY 2", "+12 ± 20"]
    {
        assert!(page.contains(told), "{told}");
    }
    assert!(page.contains("store sqlite:&lt;x&gt;: 1,234 rows of 3 conversations"), "{page}");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn the_text_has_both_beginnings_and_every_threshold() {
    let text = report().to_string();
    for told in [
        "(from the time it really went out)",
        "threshold FAILS: lost==0 (1.000)",
        "hop commit: mean 1.250 ms, p50 ≤ 1",
        "12.5 µs",
        "the store sqlite:<x> has 1,234 rows of 3 conversations",
        "worker 0 at 127.0.0.1:9, pid 77: 1,500 users, 2 shards; clock +12 µs ± 20, drift -3 µs ± 50",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn a_run_that_lost_a_worker_says_so_in_every_form() {
    let mut report = report();
    report.incomplete = true;
    report.worker_gone = Some("worker 1 of 2: closed".into());
    let (text, page) = (report.to_string(), html(&report));
    for told in ["INCOMPLETE: a worker went away", "A WORKER IS GONE: worker 1 of 2: closed"] {
        assert!(text.contains(told) && page.contains(told), "{told}");
    }
    assert!(report.is_gone() && !report.is_ok(true));
}
