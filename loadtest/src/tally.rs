//! The counters of one process at a moment, as they go to another that adds them up.

use crate::counters::Counters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters that are added up.
const COUNTERS: usize = 27;

/// Counters at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    numbers: [u64; COUNTERS],
    errors: BTreeMap<String, u64>,
    first_drop: Option<String>,
    first_error: Option<String>,
    fatal: Option<String>,
}

fn numbers(c: &Counters) -> [&AtomicU64; COUNTERS] {
    [
        &c.online,
        &c.ready,
        &c.read_back,
        &c.gone,
        &c.finished,
        &c.scheduled,
        &c.sent,
        &c.accepted,
        &c.persisted,
        &c.refused,
        &c.put_off,
        &c.expected,
        &c.delivered,
        &c.across,
        &c.typing,
        &c.typing_heard,
        &c.marks,
        &c.marks_heard,
        &c.syncs,
        &c.left_out,
        &c.broken,
        &c.back,
        &c.reconnects,
        &c.dropped,
        &c.holes,
        &c.resyncs,
        &c.ledger_waits,
    ]
}

impl Tally {
    pub(crate) fn of(counters: &Counters) -> Self {
        Self {
            numbers: numbers(counters).map(|counter| counter.load(Relaxed)),
            errors: counters.errors(),
            first_drop: counters.first_drop.get().cloned(),
            first_error: counters.first_error.get().cloned(),
            fatal: counters.fatal.get().cloned(),
        }
    }

    /// Puts the sum of all in place of what `counters` had.
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Self>, counters: &Counters) {
        let (mut sums, mut errors) = ([0u64; COUNTERS], BTreeMap::<String, u64>::new());
        for tally in all {
            sums.iter_mut().zip(tally.numbers).for_each(|(sum, number)| *sum = sum.saturating_add(number));
            for (code, count) in &tally.errors {
                let sum = errors.entry(code.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
            let firsts = [
                (&counters.first_drop, &tally.first_drop),
                (&counters.first_error, &tally.first_error),
                (&counters.fatal, &tally.fatal),
            ];
            for (own, told) in firsts {
                told.iter().for_each(|told| drop(own.set(told.clone())));
            }
        }
        numbers(counters).iter().zip(sums).for_each(|(counter, sum)| counter.store(sum, Relaxed));
        *counters.errors.lock().unwrap_or_else(PoisonError::into_inner) = errors;
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, numbers};
    use crate::counters::Counters;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn the_counters_of_two_processes_add_up() {
        let (one, other, sum) = (Counters::default(), Counters::default(), Counters::default());
        for (at, (a, b)) in numbers(&one).into_iter().zip(numbers(&other)).enumerate() {
            a.store(at as u64, Relaxed);
            b.store(100, Relaxed);
        }
        one.error("BUSY");
        other.error("BUSY");
        other.error("INTERNAL");
        other.first_drop.set("gone".into()).unwrap();
        let told = serde_json::to_string(&Tally::of(&other)).unwrap();
        let tallies = [Tally::of(&one), serde_json::from_str(&told).unwrap()];
        for _ in 0..2 {
            Tally::sum(tallies.iter(), &sum);
        }
        let all: Vec<u64> = numbers(&sum).iter().map(|counter| counter.load(Relaxed)).collect();
        assert_eq!(all, (100..100 + all.len() as u64).collect::<Vec<_>>());
        assert_eq!(sum.errors(), [("BUSY".to_owned(), 2), ("INTERNAL".to_owned(), 1)].into());
        assert_eq!(sum.first_drop.get().map(String::as_str), Some("gone"));
    }
}
