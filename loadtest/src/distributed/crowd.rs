//! All workers of a run together, as their coordinator hears them.

use super::clock::{ANSWER, Base, Clock, EXCHANGES, Exchange};
use super::link::{Event, Link};
use super::message::ToWorker;
use crate::run::RunError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How often it is looked whether a wait is over, and how often it is told that it goes on.
const LOOK: Duration = Duration::from_millis(20);
const TELL: Duration = Duration::from_secs(5);

/// The workers, in the order of their indices.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) links: Vec<Link>,
    events: Receiver<(u32, Event)>,
}

/// Tells workers that the run has ended in vain.
pub(super) fn dismiss(links: &mut [Link], error: &RunError) {
    let interrupted = matches!(error, RunError::Interrupted);
    for link in links {
        link.say(&ToWorker::Abort { why: error.to_string(), interrupted });
    }
}

impl Crowd {
    pub(super) fn new(links: Vec<Link>, events: Receiver<(u32, Event)>) -> Self {
        Self { links, events }
    }

    /// Hears whatever is said, for so long at most.
    pub(super) fn attend(&mut self, wait: Duration) {
        let first = self.events.recv_timeout(wait).ok();
        for (id, event) in first.into_iter().chain(self.events.try_iter()) {
            if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
                link.hear(event);
            }
        }
    }

    /// Which of them went away before it had done its part.
    pub(super) fn lost(&self) -> Option<String> {
        let all = self.links.len();
        let gone = |link: &Link| link.gone.clone().filter(|_| link.done.is_none());
        self.links.iter().enumerate().find_map(|(index, link)| {
            let why = gone(link)?;
            Some(format!("worker {index} of {all}, pid {} at {}: {why}", link.pid, link.peer))
        })
    }

    pub(super) fn check(&self) -> Result<(), RunError> {
        self.lost().map_or(Ok(()), |why| Err(RunError::Lost(format!("a worker is gone: {why}"))))
    }

    /// Those that take part.
    pub(super) fn there(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut().filter(|link| link.gone.is_none())
    }

    pub(super) fn tell(&mut self, message: &ToWorker) {
        self.there().for_each(|link| link.say(message));
    }

    /// Waits until all that take part have reached something; those that don't in time are gone.
    pub(super) fn wait_for(&mut self, what: &str, at_most: Duration, reached: impl Fn(&Link) -> bool) {
        let until = Instant::now() + at_most;
        let mut told = Instant::now();
        while !self.there().all(|link| reached(link)) {
            if told.elapsed() >= TELL {
                told = Instant::now();
                let missing = self.there().filter(|link| !reached(link)).count();
                eprintln!("waiting for {missing} of {} workers {what}", self.links.len());
            }
            if Instant::now() >= until {
                let late = format!("{what} took it more than {} s", at_most.as_secs());
                return self.there().filter(|link| !reached(link)).for_each(|link| link.leave(late.clone()));
            }
            self.attend(LOOK);
        }
    }

    /// The same before the run, which Ctrl-C and the loss of a worker end.
    pub(super) fn wait_to_start(
        &mut self,
        what: &str,
        at_most: Duration,
        interrupts: &AtomicU64,
        reached: impl Fn(&Link) -> bool,
    ) -> Result<(), RunError> {
        let until = Instant::now() + at_most;
        loop {
            let step = LOOK.min(until.saturating_duration_since(Instant::now()));
            if step.is_zero() {
                self.wait_for(what, Duration::ZERO, &reached);
            } else {
                self.attend(step);
            }
            self.check()?;
            if interrupts.load(Relaxed) > 0 {
                return Err(RunError::Interrupted);
            }
            if self.links.iter().all(&reached) {
                return Ok(());
            }
        }
    }

    /// Asks each for its clock, several times; one that doesn't answer is gone.
    pub(super) fn ask_clocks(&mut self, base: &Base) -> Vec<Option<Clock>> {
        (0..self.links.len()).map(|index| self.ask_clock(base, index)).collect()
    }

    fn ask_clock(&mut self, base: &Base, index: usize) -> Option<Clock> {
        let mut exchanges = vec![];
        for n in 0..EXCHANGES {
            let link = &mut self.links[index];
            link.answer = None;
            let asked = Instant::now();
            link.say(&ToWorker::Clock { n });
            while self.links[index].gone.is_none() {
                match self.links[index].answer.take() {
                    Some((told, told_ns, told_unix_ns, answered)) if told == n => {
                        exchanges.push(Exchange { asked, answered, told_ns, told_unix_ns });
                        break;
                    }
                    _ if asked.elapsed() > ANSWER => {
                        let late = format!("it did not tell its clock within {} s", ANSWER.as_secs());
                        self.links[index].leave(late);
                    }
                    _ => self.attend(LOOK),
                }
            }
        }
        Clock::estimate(base, &exchanges).filter(|_| self.links[index].gone.is_none())
    }
}
