//! A report as one page that needs nothing else: no network, no script.

mod judgement;

use super::svg::{COLOURS, Curve, Figure};
use super::{Quantiles, Report, grouped};
use crate::interval::Interval;
use judgement::{judgement, workers};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
/// Marks on an axis of time, about.
const MARKS: f64 = 8.0;

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{} · ringway load</title><style>{STYLE}",
        escape(&report.scenario)
    );
    for (at, colour) in COLOURS.iter().enumerate() {
        put(&mut page, format_args!(".c{at}{{stroke:{colour}}}.k{at}::before{{color:{colour}}}"));
    }
    page.push_str("</style></head><body>");
    head(&mut page, report);
    if !report.thresholds.is_empty() {
        thresholds(&mut page, report);
    }
    latencies(&mut page, report);
    over_time(&mut page, report);
    server(&mut page, report);
    workers(&mut page, report);
    judgement(&mut page, report);
    page.push_str("</body></html>\n");
    page
}

fn put(page: &mut String, what: std::fmt::Arguments<'_>) {
    page.write_fmt(what).expect("a String takes everything");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn head(page: &mut String, r: &Report) {
    put(page, format_args!("<h1>{}</h1>", escape(&r.scenario)));
    put(
        page,
        format_args!(
            "<p class=\"soft\">{}, run {}, {}, seed {}, {} connections, {:.0} s</p>",
            escape(&r.protocol),
            escape(&r.run),
            escape(&r.started),
            r.seed,
            grouped(r.connections as u64),
            r.duration_s
        ),
    );
    let mut mark = |good: bool, text: &str| {
        let bad = if good { "" } else { " bad" };
        put(page, format_args!("<span class=\"verdict{bad}\">{}</span>", escape(text)));
    };
    mark(
        r.verdict.clean,
        if r.verdict.clean { "CLEAN: nothing lost, doubled or out of order" } else { "NOT CLEAN" },
    );
    if let Some(text) = r.incomplete_text() {
        mark(false, text);
    }
    if let Some(why) = &r.saturated {
        mark(false, &format!("GENERATOR SATURATED: {why}"));
    }
    if let Some(why) = &r.gone {
        mark(false, &format!("THE SERVER IS GONE: {why}"));
    }
    if let Some(why) = &r.worker_gone {
        mark(false, &format!("A WORKER IS GONE: {why}"));
    }
    let mut tiles = vec![
        ("persisted/s", grouped(r.persisted_per_second.round() as u64)),
        ("persisted p99, ms", format!("{:.2}", r.ack_ms.p99)),
        ("delivered/s", grouped(r.delivered_per_second.round() as u64)),
        ("delivered p99, ms", format!("{:.2}", r.delivery_ms.p99)),
        ("lost", grouped(r.count("lost"))),
    ];
    if !r.has_ledger() {
        // Nothing is stored, so the first two say nothing.
        tiles.drain(..2);
    }
    if let Some(us) = r.server.as_ref().and_then(|server| server.cpu_us_per_delivery) {
        tiles.push(("server CPU µs a delivery", format!("{us:.1}")));
    }
    page.push_str("<div class=\"tiles\">");
    for (name, value) in tiles {
        put(page, format_args!("<div><b>{value}</b>{name}</div>"));
    }
    page.push_str("</div>");
}

fn thresholds(page: &mut String, r: &Report) {
    page.push_str("<h2>Thresholds</h2><table><tr><th>threshold</th><th>was</th><th></th></tr>");
    for outcome in &r.thresholds {
        let value = outcome.value.map_or("nothing was measured".to_owned(), |value| format!("{value:.3}"));
        let (class, says) = if outcome.ok { ("", "holds") } else { ("bad", "fails") };
        let threshold = escape(&outcome.threshold);
        put(
            page,
            format_args!("<tr><td>{threshold}</td><td>{value}</td><td class=\"{class}\">{says}</td></tr>"),
        );
    }
    page.push_str("</table>");
}

/// Percentiles as they stand on the axis of a spectrum: each nine as wide as the one before.
fn spectrum(q: &Quantiles) -> Vec<(f64, f64)> {
    let nines = [
        (50.0, q.p50),
        (75.0, q.p75),
        (90.0, q.p90),
        (95.0, q.p95),
        (99.0, q.p99),
        (99.9, q.p999),
        (99.99, q.p9999),
        (99.999, q.p99999),
    ];
    // More nines than there are values say no more than the slowest.
    let told = |(percent, _): &(f64, f64)| *percent <= 90.0 || q.count as f64 * (100.0 - percent) >= 100.0;
    nines.into_iter().filter(told).map(|(percent, value)| (nines_of(percent), value)).collect()
}

fn nines_of(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).log10()
}

fn latencies(page: &mut String, r: &Report) {
    page.push_str(
        "<h2>Latency, ms</h2><div class=\"wide\"><table><tr><th></th><th>mean</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th>\
         <th>p99.99</th><th>p99.999</th><th>max</th><th>count</th></tr>",
    );
    let mut row = |name: &str, q: &Quantiles| {
        put(page, format_args!("<tr><td>{name}</td>"));
        for value in [q.mean, q.p50, q.p90, q.p99, q.p999, q.p9999, q.p99999, q.max] {
            put(page, format_args!("<td>{value:.3}</td>"));
        }
        put(page, format_args!("<td>{}</td></tr>", grouped(q.count)));
    };
    for (name, latency) in &r.latencies {
        row(&format!("{name}, from due"), &latency.due);
        row(&format!("{name}, from begun"), &latency.begun);
    }
    row("generator lag", &r.lag_ms);
    page.push_str("</table></div>");
    let curve = |name, colour, q: &Quantiles| Curve { name, colour, points: spectrum(q) };
    let mut curves = vec![];
    if let Some(latency) = r.latencies.get("persisted") {
        curves.push(curve("persisted, from due", 0, &latency.due));
        curves.push(curve("persisted, from begun", 5, &latency.begun));
    }
    if let Some(latency) = r.latencies.get("delivered") {
        curves.push(curve("delivered, from due", 1, &latency.due));
        curves.push(curve("delivered, from begun", 4, &latency.begun));
    }
    let told = |curve: &Curve| curve.points.last().map_or(0.0, |(nines, _)| *nines);
    let most = curves.iter().map(told).fold(0.0, f64::max);
    let marks =
        [50.0, 90.0, 99.0, 99.9, 99.99, 99.999].map(|percent| (nines_of(percent), format!("p{percent}")));
    let marks = marks.into_iter().filter(|(nines, _)| *nines <= most).collect();
    page.push_str("<h2>Spectrum</h2>");
    page.push_str(&Figure { unit: "ms", curves, logarithmic: true, marks }.draw());
}

fn over_time(page: &mut String, r: &Report) {
    let curve = |name, colour, value: &dyn Fn(&Interval) -> f64| Curve {
        name,
        colour,
        points: r.intervals.iter().map(|interval| (interval.end_s, value(interval))).collect(),
    };
    let per_second = |n: u64, interval: &Interval| n as f64 / interval.seconds.max(0.001);
    let some = |count: u64, value: f64| if count > 0 { value } else { f64::NAN };
    let mut figure = |title: &str, unit: &str, logarithmic: bool, curves: Vec<Curve>| {
        put(page, format_args!("<h2>{title}</h2>"));
        page.push_str(&Figure { unit, curves, logarithmic, marks: times(r) }.draw());
    };
    figure(
        "Latency over time, from due",
        "ms",
        true,
        vec![
            curve("persisted p50", 0, &|i| some(i.persisted_ms.count, i.persisted_ms.p50)),
            curve("persisted p99", 4, &|i| some(i.persisted_ms.count, i.persisted_ms.p99)),
            curve("delivered p50", 2, &|i| some(i.delivered_ms.count, i.delivered_ms.p50)),
            curve("delivered p99", 1, &|i| some(i.delivered_ms.count, i.delivered_ms.p99)),
            curve("generator lag", 5, &|i| i.lag_max_ms),
        ],
    );
    figure(
        "Rates",
        "a second",
        false,
        vec![
            curve("sent", 5, &|i| per_second(i.sent, i)),
            curve("persisted", 0, &|i| per_second(i.persisted, i)),
            curve("delivered", 2, &|i| per_second(i.delivered, i)),
        ],
    );
    figure(
        "Connections",
        "",
        false,
        vec![
            curve("online", 0, &|i| i.online as f64),
            curve("messages in flight", 1, &|i| i.in_flight as f64),
        ],
    );
    if r.intervals.iter().any(|i| i.refused + i.dropped + i.reconnects > 0) {
        figure(
            "Errors",
            "a second",
            false,
            vec![
                curve("refused", 1, &|i| per_second(i.refused, i)),
                curve("sessions lost", 3, &|i| per_second(i.dropped, i)),
                curve("reconnects", 2, &|i| per_second(i.reconnects, i)),
            ],
        );
    }
    if r.intervals.iter().any(|i| i.server_cores.is_some()) {
        figure(
            "Server CPU",
            "cores",
            false,
            vec![curve("cores", 3, &|i| i.server_cores.unwrap_or(f64::NAN))],
        );
        let mib =
            |i: &Interval| i.server_rss_bytes.map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20));
        figure("Server memory", "MiB", false, vec![curve("resident", 4, &mib)]);
    }
}

/// Marks on an axis of time: round numbers of seconds, and where phases begin.
fn times(r: &Report) -> Vec<(f64, String)> {
    let (Some(first), Some(last)) = (r.intervals.first(), r.intervals.last()) else { return vec![] };
    let step =
        [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0];
    let wanted = (last.end_s - first.end_s) / MARKS;
    let step = step.into_iter().find(|step| *step >= wanted).unwrap_or(86_400.0);
    let mut marks = vec![];
    let mut at = (first.end_s / step).ceil() * step;
    while at <= last.end_s {
        marks.push((at, format!("{at:.0} s")));
        at += step;
    }
    marks
}

fn server(page: &mut String, r: &Report) {
    page.push_str(
        "<h2>Phases</h2><table><tr><th>phase</th><th>from, s</th><th>for, s</th><th>messages/s</th></tr>",
    );
    for phase in &r.phases {
        let rate = match phase.rate {
            (from, to) if from == to => format!("{from:.0}"),
            (from, to) => format!("{from:.0} → {to:.0}"),
        };
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{rate}</td></tr>",
                phase.kind, phase.start_s, phase.seconds
            ),
        );
    }
    page.push_str("</table>");
    if let Some(s) = &r.server {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        put(
            page,
            format_args!(
                "<h2>Server</h2><p>{:.2} s CPU; memory {:.1} MiB before, {:.1} MiB connected ({:.0} bytes a connection), {:.1} MiB at most</p>",
                s.cpu_s,
                mib(s.rss_before_bytes),
                mib(s.rss_connected_bytes),
                s.rss_bytes_per_connection,
                mib(s.rss_max_bytes)
            ),
        );
    }
    if !r.hops.is_empty() {
        page.push_str("<h2>Hops, ms, by the server's metrics</h2><table><tr><th>hop</th><th>mean</th><th>p50 ≤</th><th>p99 ≤</th><th>count</th></tr>");
        for hop in &r.hops {
            let ms = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| format!("{ms}"));
            put(
                page,
                format_args!(
                    "<tr><td>{}</td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escape(&hop.hop),
                    hop.mean_ms,
                    ms(hop.p50_ms),
                    ms(hop.p99_ms),
                    grouped(hop.count)
                ),
            );
        }
        page.push_str("</table>");
    }
}
