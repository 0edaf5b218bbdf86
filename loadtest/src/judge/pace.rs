//! How far a judge is, told now and then while it works.

use std::fmt;

/// Steps between two tellings: a few milliseconds of work.
const STEPS: u64 = 1_000;

/// What a judge goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The records of the ledgers.
    Records,
    /// The rows of the store.
    Rows,
    /// Its messages, each against what became of it.
    Messages,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Far {
    /// What it goes through.
    pub stage: Stage,
    /// How many it has seen.
    pub done: u64,
    /// How many there are, if that is known; of rows, about.
    pub all: Option<u64>,
}

/// Counts what a judge has seen, and tells somebody every few thousand.
pub struct Pace<'a> {
    tell: Box<dyn FnMut(Far) + 'a>,
    far: Far,
    next: u64,
}

impl<'a> Pace<'a> {
    /// Tells `tell`.
    pub fn new(tell: impl FnMut(Far) + 'a) -> Self {
        Self { tell: Box::new(tell), far: Far { stage: Stage::Records, done: 0, all: None }, next: STEPS }
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// From here on it goes through `all` of these.
    pub(crate) fn begin(&mut self, stage: Stage, all: Option<u64>) {
        self.far = Far { stage, done: 0, all };
        self.next = STEPS;
    }

    /// It has seen `count` more.
    pub(crate) fn step(&mut self, count: u64) {
        self.far.done += count;
        if self.far.done >= self.next {
            self.next = self.far.done + STEPS;
            (self.tell)(self.far);
        }
    }
}

impl fmt::Debug for Pace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("far", &self.far).finish_non_exhaustive()
    }
}
