//! How far a run is, once a second on stderr.

mod judging;
mod screen;

pub use judging::judging;

use crate::interval::Interval;
use crate::report::grouped;
use screen::Screen;
use std::io::Write;

/// How a run shows how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// As lines redrawn in place on a terminal, else as one line after the other.
    #[default]
    Auto,
    /// As one line after the other.
    Plain,
    /// Not at all.
    None,
}

/// Shows how far a run is.
#[derive(Debug)]
pub(crate) enum Shown {
    Screen(Screen),
    Plain,
    Nothing,
}

/// What is shown beside the interval's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) seconds: u64,
    pub(crate) users: u64,
    pub(crate) sent: u64,
    /// Nothing is acknowledged: deliveries are what there is.
    pub(crate) unacknowledged: bool,
    pub(crate) persisted: u64,
    pub(crate) delivered: u64,
    pub(crate) errors: u64,
    /// While messages go out.
    pub(crate) left: Option<Left>,
}

/// How long the sending will go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Left {
    /// Seconds of the phase.
    pub(crate) phase_s: f64,
    /// Seconds of all phases.
    pub(crate) all_s: f64,
    /// The share that has gone, 0 to 1.
    pub(crate) gone: f64,
}

impl Shown {
    pub(crate) fn new(how: Progress) -> Self {
        match how {
            Progress::Auto => Screen::new().map_or(Self::Plain, Self::Screen),
            Progress::Plain => Self::Plain,
            Progress::None => Self::Nothing,
        }
    }

    pub(crate) fn show(&self, what: &str, totals: Totals, interval: &Interval) {
        match self {
            Self::Screen(screen) => screen.show(what, totals, interval),
            // Who closes stderr doesn't want to know.
            Self::Plain => drop(writeln!(std::io::stderr(), "{}", line(what, totals, interval))),
            Self::Nothing => {}
        }
    }

    /// Wipes what stands on a terminal.
    pub(crate) fn end(&mut self) {
        *self = Self::Nothing;
    }
}

/// What happened in so many seconds, a second.
fn rate(n: u64, seconds: f64) -> String {
    grouped((n as f64 / seconds.max(0.001)).round() as u64)
}

/// Who is there, and what happens a second.
fn rates(totals: Totals, i: &Interval) -> String {
    let answered = match totals.unacknowledged {
        true => format!("{}/s delivered", rate(i.delivered, i.seconds)),
        false => format!("{}/s persisted", rate(i.persisted, i.seconds)),
    };
    format!(
        "{} of {} online, {}/s sent, {answered}, {} in flight",
        grouped(i.online),
        grouped(totals.users),
        rate(i.sent, i.seconds),
        grouped(i.in_flight)
    )
}

/// What has happened so far, and how the machines are.
fn counts(totals: Totals, i: &Interval) -> String {
    let Totals { unacknowledged, persisted, delivered, errors, .. } = totals;
    let stored = if unacknowledged { String::new() } else { format!("persisted {}, ", grouped(persisted)) };
    let server = i.server_cores.map_or(String::new(), |cores| format!(", server {cores:.2} cores"));
    format!(
        "{stored}delivered {}, errors {}, lag {:.1} ms{server}",
        grouped(delivered),
        grouped(errors),
        i.lag_max_ms
    )
}

fn line(what: &str, totals: Totals, i: &Interval) -> String {
    let (rates, counts, delivered) = (rates(totals, i), counts(totals, i), i.delivered_ms);
    format!(
        "{:>4} s {what}: {rates}, p50 {:.1} p99 {:.1} ms, {counts}",
        totals.seconds, delivered.p50, delivered.p99
    )
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
        let totals = Totals {
            seconds: 7,
            users: 1_200,
            unacknowledged: false,
            sent: 9_100,
            persisted: 9_000,
            delivered: 8_000,
            errors: 3,
            left: None,
        };
        let told = line("hold 1/2", Totals { unacknowledged: true, ..totals }, &interval);
        assert!(told.contains("/s delivered, 1,000 in flight") && !told.contains("persisted"), "{told}");
        assert_eq!(
            line("hold 1/2", totals, &interval),
            "   7 s hold 1/2: 1,000 of 1,200 online, 1,500/s sent, 1,000/s persisted, 1,000 in flight, p50 1.0 p99 20.0 ms, \
             persisted 9,000, delivered 8,000, errors 3, lag 0.3 ms"
        );
    }
}
