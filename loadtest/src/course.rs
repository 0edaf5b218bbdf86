//! How far a run is: said by the one who leads it, looked at by the shards.

use crate::scenario::{PhaseKind, Scenario};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Step {
    /// Clients connect, messages go out and come in.
    Run,
    /// Nothing new goes out.
    Settle,
    /// What is stored is read back.
    ReadBack,
    /// Clients leave.
    Leave,
}

/// How far a run is, to be told to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    step: u8,
    /// [`UNKNOWN`] where it is not known yet.
    starts_us: Vec<u64>,
    spread_us: u64,
}

/// A time that is not known yet.
const UNKNOWN: u64 = u64::MAX;

/// Connections that are to be made: from one user up to another, over a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wave {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) seconds: f64,
}

impl Wave {
    /// When a user's connection is due, microseconds after the wave's beginning.
    pub(crate) fn due_us(&self, user: u64) -> u64 {
        let share = (user - self.first) as f64 / (self.end - self.first).max(1) as f64;
        (share * self.seconds * 1e6) as u64
    }
}

/// How far a run is.
#[derive(Debug)]
pub(crate) struct Course {
    step: AtomicU8,
    /// When each phase begins, microseconds since the run did.
    starts_us: Box<[AtomicU64]>,
    /// Connections that there are when each phase begins, and after the last.
    connections: Box<[u64]>,
    /// How far apart clients begin to read back, microseconds.
    spread_us: AtomicU64,
}

impl Course {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut connections = vec![scenario.connections];
        for phase in &scenario.phases {
            let now = connections[connections.len() - 1];
            connections.push(phase.connections.unwrap_or(now).max(now));
        }
        Self {
            step: AtomicU8::new(Step::Run as u8),
            starts_us: scenario.phases.iter().map(|_| AtomicU64::new(UNKNOWN)).collect(),
            connections: connections.into(),
            spread_us: AtomicU64::new(1),
        }
    }

    pub(crate) fn step(&self) -> Step {
        match self.step.load(Ordering::Acquire) {
            0 => Step::Run,
            1 => Step::Settle,
            2 => Step::ReadBack,
            _ => Step::Leave,
        }
    }

    pub(crate) fn go_to(&self, step: Step) {
        self.step.store(step as u8, Ordering::Release);
    }

    /// Has everything read back, spread over so long.
    pub(crate) fn read_back(&self, spread_us: u64) {
        self.spread_us.store(spread_us, Ordering::Release);
        self.go_to(Step::ReadBack);
    }

    pub(crate) fn spread_us(&self) -> u64 {
        self.spread_us.load(Ordering::Acquire)
    }

    /// How far it is.
    pub(crate) fn state(&self) -> State {
        State {
            step: self.step() as u8,
            starts_us: self.starts_us.iter().map(|us| us.load(Ordering::Acquire)).collect(),
            spread_us: self.spread_us(),
        }
    }

    /// Follows another process's course of the same scenario.
    pub(crate) fn follow(&self, state: &State) {
        for (own, us) in self.starts_us.iter().zip(&state.starts_us) {
            own.store(*us, Ordering::Release);
        }
        self.spread_us.store(state.spread_us, Ordering::Release);
        self.step.store(state.step, Ordering::Release);
    }

    /// Begins a phase.
    pub(crate) fn begin(&self, phase: usize, at_us: u64) {
        self.starts_us[phase].store(at_us, Ordering::Release);
    }

    /// When a phase begins, if that is known.
    pub(crate) fn start_us(&self, phase: usize) -> Option<u64> {
        Some(self.starts_us.get(phase)?.load(Ordering::Acquire)).filter(|us| *us != UNKNOWN)
    }

    /// Users that take part in a phase: those that were there before it.
    pub(crate) fn users(&self, phase: usize) -> u64 {
        self.connections[phase]
    }

    /// Connections that are to be there after a phase.
    pub(crate) fn users_after(&self, phase: usize) -> u64 {
        self.connections[phase + 1]
    }

    /// The connections that a phase adds.
    pub(crate) fn wave(&self, phase: usize, seconds: f64) -> Wave {
        Wave { first: self.users(phase), end: self.users_after(phase), seconds }
    }
}

/// From when on messages are measured: after the last warm-up.
pub(crate) fn first_measured(scenario: &Scenario) -> usize {
    scenario.phases.iter().take_while(|phase| phase.kind == PhaseKind::Warmup).count()
}

#[cfg(test)]
mod tests {
    use super::{Course, Step, Wave};
    use crate::scenario::Scenario;

    #[test]
    fn a_phase_has_the_users_that_were_there_before_it() {
        let phase = |more: &str| format!("[[phase]]\nkind = \"hold\"\nduration = \"1s\"\n{more}\n");
        let text =
            format!("connections = 2\n{}{}{}", phase("connections = 6"), phase(""), phase("connections = 8"));
        let course = Course::new(&Scenario::read("x", &text).unwrap());
        assert_eq!([0, 1, 2].map(|phase| course.users(phase)), [2, 6, 6]);
        assert_eq!(course.users_after(2), 8);
        assert_eq!(course.wave(0, 2.0), Wave { first: 2, end: 6, seconds: 2.0 });
        assert_eq!(course.wave(0, 2.0).due_us(4), 1_000_000);
        assert_eq!((course.step(), course.start_us(1), course.start_us(9)), (Step::Run, None, None));
        course.begin(1, 5);
        course.go_to(Step::Leave);
        assert_eq!((course.step(), course.start_us(1)), (Step::Leave, Some(5)));
        let follower = Course::new(&Scenario::read("x", &text).unwrap());
        let told = serde_json::to_string(&course.state()).unwrap();
        follower.follow(&serde_json::from_str(&told).unwrap());
        assert_eq!(follower.state(), course.state());
        assert_eq!(
            (follower.step(), follower.start_us(0), follower.start_us(1)),
            (Step::Leave, None, Some(5))
        );
    }
}
