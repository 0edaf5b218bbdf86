//! What a run comes to, for a person and for a program.

use crate::judge::{KINDS, Verdict};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::{self, Write};

/// Faults that the text names; the JSON names more.
const NAMED_MAX: usize = 20;

/// Quantiles of a latency, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Messages measured.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// Half are faster.
    pub p50: f64,
    /// Nine in ten.
    pub p90: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1,000.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Quantiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            mean: (histogram.mean().round()) / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// What clients counted that the ledger does not judge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Messages that the schedule handed out.
    pub scheduled: u64,
    /// Refusals after which the message went out again.
    pub put_off: u64,
    /// Sessions after a client's first.
    pub reconnects: u64,
    /// Sessions that ended before the run did.
    pub dropped: u64,
    /// Holes that `sync` had to fill.
    pub holes: u64,
    /// Times that the server said `resync`.
    pub resyncs: u64,
    /// Why the first of the dropped sessions ended.
    pub first_drop: Option<String>,
    /// The first error that was not a matter of time.
    pub first_error: Option<String>,
}

/// What a run comes to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of this form.
    pub version: u32,
    /// The run's name.
    pub run: String,
    /// What the schedule was drawn from.
    pub seed: u64,
    /// Users, a connection each.
    pub connections: usize,
    /// Groups, and members of each.
    pub groups: (usize, usize),
    /// Messages a second that were asked for.
    pub rate: u64,
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
    /// Messages a second that were persisted, from the first due time to the last ack.
    pub persisted_per_second: f64,
    /// From due to acknowledged as persisted, ms.
    pub ack_ms: Quantiles,
    /// From due to delivered, ms.
    pub delivery_ms: Quantiles,
    /// What clients counted.
    pub observed: Observed,
    /// Where the ledger is.
    pub ledger: String,
    /// What the judge says of it.
    pub verdict: Verdict,
}

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
        let incomplete = if self.incomplete { "   INCOMPLETE: cut short by Ctrl-C" } else { "" };
        let groups = match self.groups {
            (0, _) => String::new(),
            (groups, size) => format!(", {} groups of {}", grouped(groups as u64), grouped(size as u64)),
        };
        writeln!(f, "run {}, seed {}{incomplete}", self.run, self.seed)?;
        writeln!(
            f,
            "  {} connections in {:.1} s{groups}, {} messages/s for {:.0} s",
            grouped(self.connections as u64),
            self.connect_s,
            grouped(self.rate),
            self.duration_s
        )?;
        let settled = if self.settled { "settled" } else { "NOT settled" };
        writeln!(
            f,
            "  {} persisted/s, {settled} {:.1} s after the last was due",
            grouped(self.persisted_per_second as u64),
            self.drain_s
        )?;
        writeln!(
            f,
            "\n  latency, ms      mean       p50       p90       p99     p99.9       max       count"
        )?;
        for (name, q) in [("persisted", &self.ack_ms), ("delivered", &self.delivery_ms)] {
            writeln!(
                f,
                "  {name:<11} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>11}",
                q.mean,
                q.p50,
                q.p90,
                q.p99,
                q.p999,
                q.max,
                grouped(q.count)
            )?;
        }
        writeln!(f, "  (from the time a message was due; see docs/load-testing.md)\n")?;
        self.write_observed(f)?;
        f.write_str(&summary(&self.verdict, &self.ledger))
    }
}

impl Report {
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
        if let Some(why) = &o.first_drop {
            writeln!(f, "  the first session that dropped: {why}")?;
        }
        if let Some(why) = &o.first_error {
            writeln!(f, "  the first error: {why}")?;
        }
        Ok(())
    }
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
    use crate::judge::{Fault, FaultKind, Verdict};

    #[test]
    fn digits_come_in_threes() {
        let texts: Vec<_> = [0, 12, 123, 1_234, 1_234_567].map(grouped).into();
        assert_eq!(texts, ["0", "12", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn the_text_names_some_faults_and_says_how_many_more_there_are() {
        let fault = Fault {
            kind: FaultKind::Lost,
            conversation: "single_1_2".into(),
            sender: Some(1),
            client_id: Some("r-1-1".into()),
            seq: Some(3),
            detail: "gone".into(),
        };
        let verdict =
            Verdict { faults: vec![fault; 30], counts: [(FaultKind::Lost, 30)].into(), ..Verdict::default() };
        let text = summary(&verdict, "x.ledger");
        assert!(text.contains("lost: single_1_2 r-1-1 from 1 seq 3: gone"), "{text}");
        assert!(text.contains("and 10 more") && text.contains("NOT CLEAN"), "{text}");
    }
}
