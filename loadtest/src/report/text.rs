//! A report as text, and a judgement.

use super::{Latency, Quantiles, Report};
use crate::judge::{FAULTS_MAX, FaultKind, KINDS, Verdict};
use std::fmt::{self, Write};

/// Faults that the text names; the JSON names more.
const NAMED_MAX: usize = 20;

/// What can be wrong with messages that nobody stores.
const PEER_KINDS: [FaultKind; 5] =
    [FaultKind::Lost, FaultKind::Doubled, FaultKind::Reordered, FaultKind::Foreign, FaultKind::Unknown];

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let incomplete = self.incomplete_text().map_or(String::new(), |text| format!("   {text}"));
        let groups = match self.groups {
            (0, _) => String::new(),
            (groups, size) => format!(", {} groups of {}", grouped(groups as u64), grouped(size as u64)),
        };
        let sends = match (self.rate > 0.0, self.verdict.sent) {
            (true, _) => format!("{} messages/s", grouped(self.rate.round() as u64)),
            (false, 0) => "no messages".to_owned(),
            (false, _) => "messages as they were answered".to_owned(),
        };
        writeln!(f, "run {}, seed {}{incomplete}", self.run, self.seed)?;
        writeln!(
            f,
            "  {} connections in {:.1} s{groups}, {sends} for {:.0} s",
            grouped(self.connections as u64),
            self.connect_s,
            self.duration_s
        )?;
        let settled = if self.settled { "settled" } else { "NOT settled" };
        let (rate, what) = match self.has_ledger() {
            true => (self.persisted_per_second, "persisted"),
            false => (self.delivered_per_second, "delivered"),
        };
        writeln!(
            f,
            "  {} {what}/s, {settled} {:.1} s after the last was due",
            grouped(rate as u64),
            self.drain_s
        )?;
        self.write_latencies(f)?;
        self.write_observed(f)?;
        self.write_workers(f)?;
        self.write_server(f)?;
        self.write_thresholds(f)?;
        match self.has_ledger() {
            true => f.write_str(&summary(&self.verdict, &self.ledger)),
            false => write_counts(f, self),
        }
    }
}

impl Report {
    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n  latency, ms      mean       p50       p90       p99     p99.9    p99.99   p99.999       max       count"
        )?;
        let none = Latency::default();
        let of = |name: &str| self.latencies.get(name).unwrap_or(&none);
        let told: &[&str] = if self.has_ledger() { &["persisted", "delivered"] } else { &["delivered"] };
        for name in told {
            write_quantiles(f, name, &of(name).due)?;
        }
        writeln!(f, "  (from the time a message was due; see docs/load-testing.md)")?;
        for name in told {
            write_quantiles(f, name, &of(name).begun)?;
        }
        writeln!(f, "  (from the time it really went out)")?;
        for name in ["accepted", "sync", "back", "connect", "upgrade"] {
            if self.latencies.contains_key(name) {
                write_quantiles(f, name, &of(name).due)?;
            }
        }
        write_quantiles(f, "lag", &self.lag_ms)?;
        writeln!(f, "  (lag: how late this program handed out what was due)")?;
        if let Some(why) = &self.saturated {
            writeln!(f, "  GENERATOR SATURATED: {why}")?;
        }
        writeln!(f)
    }

    fn write_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(s) = &self.server {
            let per =
                s.cpu_us_per_delivery.map_or(String::new(), |us| format!(", {us:.1} µs for each delivery"));
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "  server: {:.2} s CPU{per}; memory {:.1} MiB before, {:.1} MiB connected ({:.0} bytes a connection), {:.1} MiB at most",
                s.cpu_s,
                mib(s.rss_before_bytes),
                mib(s.rss_connected_bytes),
                s.rss_bytes_per_connection,
                mib(s.rss_max_bytes)
            )?;
        }
        for hop in &self.hops {
            let ms = |ms: Option<f64>| ms.map_or("more than all buckets".to_owned(), |ms| format!("{ms}"));
            writeln!(
                f,
                "  hop {}: mean {:.3} ms, p50 ≤ {}, p99 ≤ {} ({})",
                hop.hop,
                hop.mean_ms,
                ms(hop.p50_ms),
                ms(hop.p99_ms),
                grouped(hop.count)
            )?;
        }
        Ok(())
    }

    fn write_thresholds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.thresholds {
            let mark = if outcome.ok { "holds" } else { "FAILS" };
            let value =
                outcome.value.map_or("nothing was measured".to_owned(), |value| format!("{value:.3}"));
            writeln!(f, "  threshold {mark}: {} ({value})", outcome.threshold)?;
        }
        if let Some(why) = &self.gone {
            writeln!(f, "  THE SERVER IS GONE: {why}")?;
        }
        Ok(())
    }

    fn write_observed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.observed;
        writeln!(
            f,
            "  scheduled {}   put off {}   reconnects {}   dropped {}   holes {}   resyncs {}",
            grouped(o.scheduled),
            grouped(o.put_off),
            grouped(o.reconnects),
            grouped(o.dropped),
            grouped(o.holes),
            grouped(o.resyncs)
        )?;
        if o.broken > 0 {
            writeln!(
                f,
                "  broken by the scenario {}   of these back {}",
                grouped(o.broken),
                grouped(o.back)
            )?;
        }
        if o.typing.0 + o.marks.0 + o.syncs + o.left_out > 0 {
            writeln!(
                f,
                "  typing {} out {} in   read marks {} out {} in   syncs {}   left out {}",
                grouped(o.typing.0),
                grouped(o.typing.1),
                grouped(o.marks.0),
                grouped(o.marks.1),
                grouped(o.syncs),
                grouped(o.left_out)
            )?;
        }
        for (code, count) in &o.errors {
            writeln!(f, "  error {code} {}", grouped(*count))?;
        }
        if let Some(why) = &o.first_drop {
            writeln!(f, "  the first session that dropped: {why}")?;
        }
        if let Some(why) = &o.first_error {
            writeln!(f, "  the first error: {why}")?;
        }
        Ok(())
    }
}

fn write_quantiles(f: &mut fmt::Formatter<'_>, name: &str, q: &Quantiles) -> fmt::Result {
    let [mean, p50, p90, p99, p999] = [q.mean, q.p50, q.p90, q.p99, q.p999];
    let [p9999, p99999, max, count] = [q.p9999, q.p99999, q.max, q.count as f64];
    writeln!(
        f,
        "  {name:<11} {mean:>9.3} {p50:>9.3} {p90:>9.3} {p99:>9.3} {p999:>9.3} {p9999:>9.3} {p99999:>9.3} {max:>9.3} {:>11}",
        grouped(count as u64)
    )
}

/// What was counted of a peer.
fn write_counts(f: &mut fmt::Formatter<'_>, r: &Report) -> fmt::Result {
    let v = &r.verdict;
    writeln!(
        f,
        "  {}: sent {}   delivered {}   own brought back {}",
        r.protocol,
        grouped(v.sent),
        grouped(v.delivered),
        grouped(r.observed.own)
    )?;
    let counts: Vec<_> =
        PEER_KINDS.map(|kind| format!("{kind} {}", grouped(v.count(kind)))).into_iter().collect();
    writeln!(f, "  {}   undecided {}", counts.join("   "), grouped(v.undecided))?;
    for fault in v.faults.iter().take(NAMED_MAX) {
        writeln!(f, "    {fault}")?;
    }
    if v.faults.len() > NAMED_MAX {
        writeln!(f, "    and more: the JSON names up to {}", grouped(FAULTS_MAX as u64))?;
    }
    let incomplete = if v.incomplete { ", incomplete" } else { "" };
    let settled = if v.settled { "" } else { ", not settled" };
    let verdict = if v.clean { "CLEAN" } else { "NOT CLEAN" };
    writeln!(
        f,
        "verdict: {verdict}{incomplete}{settled} (counted by the numbers in messages, without a ledger)"
    )
}

/// The judgement as text, the same for a run and for a ledger that is verified.
pub fn summary(verdict: &Verdict, ledger: &str) -> String {
    let mut text = String::new();
    write_summary(&mut text, verdict, ledger).expect("a String takes everything");
    text
}

fn write_summary(text: &mut String, v: &Verdict, ledger: &str) -> fmt::Result {
    writeln!(
        text,
        "  sent {}   persisted {}   delivered {}   refused {}   resent {}   by sync {}   repeated {}",
        grouped(v.sent),
        grouped(v.persisted),
        grouped(v.delivered),
        grouped(v.refused),
        grouped(v.resent),
        grouped(v.synced),
        grouped(v.repeated)
    )?;
    text.push(' ');
    for kind in KINDS {
        write!(text, " {kind} {}  ", grouped(v.count(kind)))?;
    }
    writeln!(text, " damaged lines {}", grouped(v.damaged))?;
    if let Some(store) = &v.store {
        let (rows, conversations) = (grouped(store.rows), grouped(store.conversations));
        writeln!(text, "  the store {} has {rows} rows of {conversations} conversations", store.place)?;
        if let Some(why) = &store.unread {
            writeln!(text, "  THE STORE WAS NOT READ TO ITS END: {why}")?;
        }
    }
    for damage in v.damages.iter().take(NAMED_MAX) {
        writeln!(text, "    {damage}")?;
    }
    for fault in v.faults.iter().take(NAMED_MAX) {
        writeln!(text, "    {fault}")?;
    }
    let all = v.damaged + v.counts.values().sum::<u64>();
    let named = v.damages.len().min(NAMED_MAX) + v.faults.len().min(NAMED_MAX);
    if all > named as u64 {
        writeln!(
            text,
            "    and {} more: `ringway load verify --json {ledger}`",
            grouped(all - named as u64)
        )?;
    }
    let incomplete = if v.incomplete { ", incomplete" } else { "" };
    let settled = match (v.settled, v.undecided) {
        (true, 0) => String::new(),
        (false, 0) => ", not settled".to_owned(),
        (_, undecided) => format!(", not settled: {} were still on their way", grouped(undecided)),
    };
    let verdict = if v.clean { "CLEAN" } else { "NOT CLEAN" };
    writeln!(text, "verdict: {verdict}{incomplete}{settled} ({ledger})")
}

#[cfg(test)]
mod tests {
    use super::{grouped, summary};
    use crate::judge::{Fault, FaultKind, Verdict, Witness};

    #[test]
    fn digits_come_in_threes() {
        let texts: Vec<_> = [0, 12, 123, 1_234, 1_234_567].map(grouped).into();
        assert_eq!(texts, ["0", "12", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn the_text_names_some_faults_and_says_how_many_more_there_are() {
        let fault = Fault {
            kind: FaultKind::Lost,
            by: Witness::Store,
            conversation: "single_1_2".into(),
            sender: Some(1),
            client_id: Some("r-1-1".into()),
            seq: Some(3),
            detail: "gone".into(),
        };
        let verdict =
            Verdict { faults: vec![fault; 30], counts: [(FaultKind::Lost, 30)].into(), ..Verdict::default() };
        let text = summary(&verdict, "x.ledger");
        assert!(text.contains("lost: single_1_2 r-1-1 from 1 seq 3: by the store: gone"), "{text}");
        assert!(text.contains("and 10 more") && text.contains("NOT CLEAN"), "{text}");
    }
}
