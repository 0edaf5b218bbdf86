//! One line a second on stderr: how far a run is.

use crate::counters::Counters;
use crate::report::grouped;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Shows how far a run is: on a terminal by rewriting one line, else by one line after the other.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    shown: Instant,
    terminal: bool,
    /// Characters of the line that stands, to be wiped.
    width: usize,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { started: now, shown: now, terminal: std::io::stderr().is_terminal(), width: 0 }
    }

    pub(crate) fn show(
        &mut self,
        what: &str,
        users: usize,
        counters: &Counters,
        worst_us: impl FnOnce() -> u64,
    ) {
        if self.shown.elapsed() < EVERY {
            return;
        }
        self.shown = Instant::now();
        let n = |counter: &std::sync::atomic::AtomicU64| grouped(counter.load(Relaxed));
        let line = format!(
            "{:>4} s {what}: {} of {} online, sent {}, persisted {}, delivered {}, worst {} ms, reconnects {}",
            self.started.elapsed().as_secs(),
            n(&counters.online),
            grouped(users as u64),
            n(&counters.sent),
            n(&counters.persisted),
            n(&counters.delivered),
            worst_us() / 1_000,
            n(&counters.reconnects),
        );
        // Who closes stderr doesn't want to know.
        let _ = if self.terminal {
            let width = std::mem::replace(&mut self.width, line.len());
            write!(std::io::stderr(), "\r{line:<width$}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    /// Leaves the line of a terminal.
    pub(crate) fn end(&mut self) {
        if self.terminal && self.width > 0 {
            let _ = writeln!(std::io::stderr());
            self.width = 0;
        }
    }
}
