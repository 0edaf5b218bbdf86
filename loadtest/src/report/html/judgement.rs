//! What a report's page says of the ledger, and of who wrote it.

use super::{Report, escape, grouped, put};
use crate::judge::KINDS;

/// Faults that the page names.
const NAMED_MAX: usize = 50;

/// The processes that made the run together.
pub(super) fn workers(page: &mut String, r: &Report) {
    if r.workers.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Workers</h2><table><tr><th></th><th>address</th><th>users</th><th>shards</th><th>clock ahead, µs</th><th>drift, µs</th></tr>",
    );
    for worker in &r.workers {
        let clock = worker.clock_start;
        let drift = worker.drift_us.map_or(String::new(), |drift| format!("{drift:+.0}"));
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:+.0} ± {:.0}</td><td>{drift}</td></tr>",
                worker.index,
                escape(&worker.address),
                grouped(worker.users),
                worker.shards,
                clock.ahead_us,
                clock.error_us
            ),
        );
    }
    page.push_str("</table>");
}

/// What is wrong, and what was counted.
pub(super) fn judgement(page: &mut String, r: &Report) {
    let v = &r.verdict;
    let title = if r.has_ledger() { "Judgement of the ledger" } else { "Counts" };
    put(page, format_args!("<h2>{title}</h2><table><tr>"));
    let counts = [
        ("sent", v.sent),
        ("persisted", v.persisted),
        ("delivered", v.delivered),
        ("refused", v.refused),
        ("resent", v.resent),
        ("by sync", v.synced),
        ("repeated", v.repeated),
        ("undecided", v.undecided),
        ("damaged lines", v.damaged),
    ];
    let faults = KINDS.map(|kind| (kind.to_string(), v.count(kind)));
    for (name, _) in &counts {
        put(page, format_args!("<th>{name}</th>"));
    }
    page.push_str("</tr><tr>");
    for (_, count) in &counts {
        put(page, format_args!("<td>{}</td>", grouped(*count)));
    }
    page.push_str("</tr></table><table><tr>");
    for (name, _) in &faults {
        put(page, format_args!("<th>{name}</th>"));
    }
    page.push_str("</tr><tr>");
    for (_, count) in &faults {
        let class = if *count > 0 { "bad" } else { "" };
        put(page, format_args!("<td class=\"{class}\">{}</td>", grouped(*count)));
    }
    page.push_str("</tr></table>");
    for fault in v.faults.iter().take(NAMED_MAX) {
        put(page, format_args!("<p>{}</p>", escape(&fault.to_string())));
    }
    let o = &r.observed;
    put(
        page,
        format_args!(
            "<p class=\"soft\">reconnects {}, dropped {}, broken by the scenario {}, holes {}, resyncs {}, put off {}</p>",
            grouped(o.reconnects),
            grouped(o.dropped),
            grouped(o.broken),
            grouped(o.holes),
            grouped(o.resyncs),
            grouped(o.put_off)
        ),
    );
    for (code, count) in &o.errors {
        put(page, format_args!("<p>error {} {}</p>", escape(code), grouped(*count)));
    }
    for why in [&o.first_drop, &o.first_error].into_iter().flatten() {
        put(page, format_args!("<p class=\"soft\">first: {}</p>", escape(why)));
    }
    if let Some(store) = &v.store {
        let unread =
            store.unread.as_ref().map_or(String::new(), |why| format!(", not read to its end: {why}"));
        let text = format!(
            "store {}: {} rows of {} conversations{unread}",
            store.place,
            grouped(store.rows),
            grouped(store.conversations)
        );
        put(page, format_args!("<p class=\"soft\">{}</p>", escape(&text)));
    }
    if !r.has_ledger() {
        let own = grouped(r.observed.own);
        put(page, format_args!("<p class=\"soft\">own messages brought back {own}; no ledger</p>"));
        return;
    }
    put(
        page,
        format_args!(
            "<p class=\"soft\">ledger {}: <code>ringway load verify</code> judges it again</p>",
            escape(&r.ledger)
        ),
    );
}
