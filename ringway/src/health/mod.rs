//! Whether the process lives, and whether it is ready to take work: a phase, and a list of parts
//! each of which can be asked.

pub(crate) mod parts;

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// At work.
    Well,
    /// Over: as it should be while draining, a failure before.
    Ended,
    /// It can't do its work; why.
    Failed(String),
}

/// What a failure of a part calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// A new start: it is in `/livez` and `/readyz`.
    Life,
    /// Patience, for it may pass: it is in `/readyz` only.
    Readiness,
}

/// Something that must be well.
pub(crate) struct Part {
    name: String,
    concern: Concern,
    look: Box<dyn Fn() -> State + Send + Sync>,
}

impl Part {
    /// A part; `look` is called by each probe, so it must not wait for anything.
    pub(crate) fn new(
        name: impl Into<String>,
        concern: Concern,
        look: impl Fn() -> State + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), concern, look: Box::new(look) }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({})", self.name)
    }
}

const STARTING: u8 = 0;
const STARTED: u8 = 1;
const DRAINING: u8 = 2;

/// The health of a process.
#[derive(Debug, Default)]
pub(crate) struct Health {
    phase: AtomicU8,
    parts: OnceLock<Vec<Part>>,
}

impl Health {
    /// Everything is there: from now on these parts are asked.
    pub(crate) fn started(&self, parts: Vec<Part>) {
        let first = self.parts.set(parts).is_ok();
        debug_assert!(first, "a process starts once");
        let _ = self.phase.compare_exchange(STARTING, STARTED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// No new work from now on; parts may end.
    pub(crate) fn draining(&self) {
        self.phase.store(DRAINING, Ordering::SeqCst);
    }

    /// Whether every thread is alive.
    pub(crate) fn live(&self) -> Report {
        Report { probe: "livez", lines: self.ask(|part| part.concern == Concern::Life) }
    }

    /// Whether work may be sent here.
    pub(crate) fn ready(&self) -> Report {
        let fault = match self.phase.load(Ordering::SeqCst) {
            STARTING => Some("starting".to_owned()),
            DRAINING => Some("draining".to_owned()),
            _ => None,
        };
        let mut lines = vec![Line { name: "phase".into(), fault }];
        lines.extend(self.ask(|_| true));
        Report { probe: "readyz", lines }
    }

    fn ask(&self, concerned: impl Fn(&Part) -> bool) -> Vec<Line> {
        let draining = self.phase.load(Ordering::SeqCst) == DRAINING;
        let parts = self.parts.get().into_iter().flatten().filter(|part| concerned(part));
        let line = |part: &Part| {
            let fault = match (part.look)() {
                State::Well => None,
                State::Ended => (!draining).then(|| "it has ended: see the log".to_owned()),
                State::Failed(why) => Some(why),
            };
            Line { name: part.name.clone(), fault }
        };
        parts.map(line).collect()
    }
}

/// What a probe is told of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    fault: Option<String>,
}

/// What a probe is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    probe: &'static str,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        self.lines.iter().all(|line| line.fault.is_none())
    }

    /// As Kubernetes words it: `ok`, or a line per part.
    pub(crate) fn text(&self, verbose: bool) -> String {
        if self.is_good() && !verbose {
            return "ok\n".into();
        }
        let mut text = String::new();
        for Line { name, fault } in &self.lines {
            match fault {
                None => _ = writeln!(text, "[+]{name} ok"),
                Some(why) => _ = writeln!(text, "[-]{name} failed: {why}"),
            }
        }
        let outcome = if self.is_good() { "passed" } else { "failed" };
        _ = writeln!(text, "{} check {outcome}", self.probe);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Concern, Health, Part, State};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// A part whose state the test turns: 0 well, 1 ended, 2 failed.
    fn part(concern: Concern) -> (Part, Arc<AtomicU8>) {
        let state = Arc::new(AtomicU8::new(0));
        let seen = Arc::clone(&state);
        let look = move || match seen.load(Ordering::SeqCst) {
            0 => State::Well,
            1 => State::Ended,
            _ => State::Failed("it is on fire".into()),
        };
        (Part::new("kiln", concern, look), state)
    }

    fn good(health: &Health) -> (bool, bool) {
        (health.live().is_good(), health.ready().is_good())
    }

    #[test]
    fn it_is_ready_between_start_and_drain_only() {
        let health = Health::default();
        assert_eq!(good(&health), (true, false));
        assert_eq!(health.ready().text(false), "[-]phase failed: starting\nreadyz check failed\n");
        health.started(vec![part(Concern::Life).0]);
        assert_eq!(good(&health), (true, true));
        assert_eq!(health.ready().text(false), "ok\n");
        assert_eq!(health.ready().text(true), "[+]phase ok\n[+]kiln ok\nreadyz check passed\n");
        health.draining();
        assert_eq!(good(&health), (true, false));
    }

    #[test]
    fn a_thread_that_ends_before_its_time_is_a_failure_of_both() {
        let health = Health::default();
        let (part, state) = part(Concern::Life);
        health.started(vec![part]);
        state.store(1, Ordering::SeqCst);
        assert_eq!(good(&health), (false, false));
        assert_eq!(
            health.live().text(false),
            "[-]kiln failed: it has ended: see the log\nlivez check failed\n"
        );
        health.draining();
        assert_eq!(good(&health), (true, false), "a drain is when parts end");
        state.store(2, Ordering::SeqCst);
        assert_eq!(good(&health), (false, false), "a drain excuses no failure");
    }

    #[test]
    fn what_may_pass_is_no_reason_to_start_anew() {
        let health = Health::default();
        let (part, state) = part(Concern::Readiness);
        health.started(vec![part]);
        state.store(2, Ordering::SeqCst);
        assert_eq!(good(&health), (true, false));
        state.store(0, Ordering::SeqCst);
        assert_eq!(good(&health), (true, true));
    }

    #[test]
    fn a_drain_that_comes_before_the_start_is_over_stays() {
        let health = Health::default();
        health.draining();
        health.started(vec![]);
        assert_eq!(good(&health), (true, false));
    }
}
