//! One line a second on stderr: how far a run is.

use crate::interval::Interval;
use crate::report::grouped;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

/// Columns of a terminal that doesn't tell.
const COLUMNS: usize = 100;

/// Shows how far a run is: on a terminal by rewriting one line, else by one line after the other.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    /// Whether a line stands there, to be wiped.
    stands: bool,
}

/// What the line has beside the interval's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) seconds: u64,
    pub(crate) users: u64,
    /// Nothing is acknowledged: deliveries are what there is.
    pub(crate) unacknowledged: bool,
    pub(crate) persisted: u64,
    pub(crate) delivered: u64,
    pub(crate) errors: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), stands: false }
    }

    pub(crate) fn show(&mut self, what: &str, totals: Totals, interval: &Interval) {
        let line = line(what, totals, interval);
        // Who closes stderr doesn't want to know.
        let _ = if self.terminal {
            self.stands = true;
            let columns =
                rustix::termios::tcgetwinsize(std::io::stderr()).map_or(COLUMNS, |size| size.ws_col.into());
            let fits: String = line.chars().take(columns.max(20) - 1).collect();
            write!(std::io::stderr(), "\r\x1b[K{fits}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    /// Leaves the line of a terminal.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.stands) {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn line(what: &str, totals: Totals, i: &Interval) -> String {
    let Totals { seconds, users, unacknowledged, persisted, delivered, errors } = totals;
    let rate = |n: u64| grouped((n as f64 / i.seconds.max(0.001)).round() as u64);
    let mut line = format!("{seconds:>4} s {what}: {} of {} online", grouped(i.online), grouped(users));
    let (answered, stored) = match unacknowledged {
        true => (format!("{}/s delivered", rate(i.delivered)), String::new()),
        false => {
            (format!("{}/s persisted", rate(i.persisted)), format!("persisted {}, ", grouped(persisted)))
        }
    };
    let more = write!(
        line,
        ", {}/s sent, {answered}, {} in flight, p50 {:.1} p99 {:.1} ms, {stored}delivered {}, errors {}, lag {:.1} ms",
        rate(i.sent),
        grouped(i.in_flight),
        i.delivered_ms.p50,
        i.delivered_ms.p99,
        grouped(delivered),
        grouped(errors),
        i.lag_max_ms,
    );
    more.expect("a String takes everything");
    if let Some(cores) = i.server_cores {
        write!(line, ", server {cores:.2} cores").expect("a String takes everything");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Totals, line};
    use crate::interval::{Interval, Short};

    #[test]
    fn the_line_has_rates_latency_errors_and_how_late_the_generator_is() {
        let delivered_ms = Short { count: 9, p50: 1.04, p99: 20.0, max: 30.0 };
        let interval = Interval {
            seconds: 2.0,
            online: 1_000,
            sent: 3_000,
            persisted: 2_000,
            in_flight: 1_000,
            delivered_ms,
            lag_max_ms: 0.26,
            ..Interval::default()
        };
        let (persisted, delivered, errors) = (9_000, 8_000, 3);
        let totals = Totals { seconds: 7, users: 1_200, unacknowledged: false, persisted, delivered, errors };
        let told = line("hold 1/2", Totals { unacknowledged: true, ..totals }, &interval);
        assert!(told.contains("/s delivered, 1,000 in flight") && !told.contains("persisted"), "{told}");
        assert_eq!(
            line("hold 1/2", totals, &interval),
            "   7 s hold 1/2: 1,000 of 1,200 online, 1,500/s sent, 1,000/s persisted, 1,000 in flight, p50 1.0 p99 20.0 ms, \
             persisted 9,000, delivered 8,000, errors 3, lag 0.3 ms"
        );
    }
}
