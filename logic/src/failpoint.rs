//! Failpoints: where a worker can be told to end in the middle of its work, so that drivers see what
//! becomes of a batch whose worker died, or stood still, at each of its steps.
//!
//! One can be armed per process, by a flag that no file and no variable stands for. While none is, a
//! failpoint is one relaxed load.

use rustix::process::{Signal, getpid, kill_process};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

/// A place in the life of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Records were polled; no transaction is open.
    Polled = 1,
    /// In the transaction: offsets have advanced and rows are inserted, COMMIT was not sent.
    Written,
    /// Committed; nothing of it is in the hot set.
    Committed,
    /// In the hot set; nobody was told.
    Hot,
    /// One shard's record is durable; the next was not given to the road.
    Distributing,
    /// Everything is durable; the road's offset is about to move.
    Distributed,
    /// Of a scan of a large group, one shard's record is durable; the next was not given to the road.
    Scanning,
    /// Everything that scans sent is durable; the offset of their tasks is about to move.
    Scanned,
    /// Partitions that are to be given up are finished; the group was not told.
    Releasing,
}

/// Every step by the name that the flag has for it.
pub const STEPS: [(&str, Step); 9] = [
    ("polled", Step::Polled),
    ("written", Step::Written),
    ("committed", Step::Committed),
    ("hot", Step::Hot),
    ("distributing", Step::Distributing),
    ("distributed", Step::Distributed),
    ("scanning", Step::Scanning),
    ("scanned", Step::Scanned),
    ("releasing", Step::Releasing),
];

/// What a worker does to itself at a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// SIGKILL: nothing is flushed, nobody is told.
    Kill,
    /// SIGSTOP, once: it goes on when it is sent SIGCONT, as if no time had passed.
    Stop,
}

/// What is to happen, where, and at which time: `committed:40`, or `committed:40:stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failpoint {
    step: Step,
    hit: NonZeroU32,
    act: Act,
}

/// [`Step`] of the armed failpoint; 0 for none.
static ARMED: AtomicU8 = AtomicU8::new(0);
/// Times that it is still to be reached.
static LEFT: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

impl Failpoint {
    /// From now on the process ends there.
    pub fn arm(self) {
        LEFT.store(self.hit.get(), Ordering::Relaxed);
        STOP.store(self.act == Act::Stop, Ordering::Relaxed);
        ARMED.store(self.step as u8, Ordering::Release);
    }
}

/// The work has come to `step`.
#[inline]
pub fn reached(step: Step) {
    reached_after(step, || {});
}

/// The work has come to `step`; `settle` makes sure of what the step says, if it is to end here.
#[inline]
pub fn reached_after(step: Step, settle: impl FnOnce()) {
    if ARMED.load(Ordering::Relaxed) == step as u8 {
        count(settle);
    }
}

#[cold]
fn count(settle: impl FnOnce()) {
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        settle();
        strike();
    }
}

fn strike() {
    let step = name(ARMED.swap(0, Ordering::Relaxed));
    let (signal, act) =
        if STOP.load(Ordering::Relaxed) { (Signal::STOP, "stop") } else { (Signal::KILL, "kill") };
    tracing::error!(step, act, "failpoint: the process ends itself");
    if let Err(error) = kill_process(getpid(), signal) {
        tracing::error!(%error, "failpoint: the process can't end itself");
        std::process::abort();
    }
    // The signal ends all threads, this one too: it is to come no further until then.
    if signal == Signal::KILL {
        std::thread::sleep(Duration::MAX);
    }
}

fn name(step: u8) -> &'static str {
    STEPS.iter().find(|(_, known)| *known as u8 == step).map_or("none", |(name, _)| name)
}

impl FromStr for Failpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let step = parts.next().unwrap_or_default();
        let (hit, act, rest) = (parts.next(), parts.next(), parts.next());
        let found = STEPS.iter().find(|(name, _)| *name == step);
        let act = match act {
            None => Some(Act::Kill),
            Some("stop") => Some(Act::Stop),
            Some(_) => None,
        };
        match (found, hit.unwrap_or("1").parse(), act, rest) {
            (Some((_, step)), Ok(hit), Some(act), None) => Ok(Self { step: *step, hit, act }),
            _ => {
                let names: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
                Err(format!("expected STEP, STEP:HIT or STEP:HIT:stop, with a step of {}", names.join(", ")))
            }
        }
    }
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = if self.act == Act::Stop { "stops" } else { "kills" };
        write!(f, "{act} itself at the step {}, time {}", name(self.step as u8), self.hit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Failpoint, STEPS};

    #[test]
    fn a_failpoint_is_a_known_step_a_time_and_what_to_do() {
        let shown = |text: &str| text.parse::<Failpoint>().map(|failpoint| failpoint.to_string());
        assert_eq!(shown("hot").unwrap(), "kills itself at the step hot, time 1");
        assert_eq!(shown("committed:40:stop").unwrap(), "stops itself at the step committed, time 40");
        for text in ["", "Hot", "commited:1", "hot:0", "hot:-1", "hot:x", "hot:1:kill", "hot:1:stop:", ":1"] {
            let error = shown(text).unwrap_err();
            assert!(STEPS.iter().all(|(name, _)| error.contains(name)), "{text}: {error}");
        }
    }
}
