//! What one recipient has seen of its room, by the numbers in messages.

use crate::ranges::Ranges;
use std::collections::VecDeque;

/// Predecessors that one recipient waits for at most; of more, the oldest is given up.
const AWAITED_MAX: usize = 1_024;

/// What a message is to its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// New, but after a later one of the same sender.
    Late,
    /// It was there before.
    Again,
}

/// What one recipient has seen of its room.
#[derive(Debug, Default)]
pub(super) struct Seen {
    numbers: Ranges,
    /// Numbers that were not there when their senders' next ones came.
    awaited: VecDeque<u64>,
}

impl Seen {
    /// An own message, which nobody brings.
    pub(super) fn own(&mut self, number: u64) {
        self.numbers.insert(number);
    }

    /// A message came, and its sender's one before has that number.
    pub(super) fn take(&mut self, number: u64, previous: u64) -> Arrival {
        if !self.numbers.insert(number) {
            return Arrival::Again;
        }
        if previous > 0 && !self.numbers.contains(previous) {
            if self.awaited.len() == AWAITED_MAX {
                self.awaited.pop_front();
            }
            self.awaited.push_back(previous);
        }
        match self.awaited.iter().position(|awaited| *awaited == number) {
            Some(at) => {
                self.awaited.remove(at);
                Arrival::Late
            }
            None => Arrival::New,
        }
    }

    /// Numbers up to `last` that never came: first and last of each stretch.
    pub(super) fn missing(&self, last: u64) -> Vec<(u64, u64)> {
        self.numbers.holes(0, last)
    }
}

#[cfg(test)]
mod tests {
    use super::{AWAITED_MAX, Arrival, Seen};

    #[test]
    fn a_doubled_and_a_late_message_are_told_from_a_lost_one() {
        let mut seen = Seen::default();
        seen.own(2);
        // Two senders, 1 3 5 and 4 6; their own messages may pass each other's.
        let came = [(1, 0), (5, 3), (4, 0), (3, 1), (3, 1), (7, 6)];
        let took = came.map(|(number, previous)| seen.take(number, previous));
        use Arrival::{Again, Late, New};
        assert_eq!(took, [New, New, New, Late, Again, New]);
        assert_eq!(seen.missing(9), [(6, 6), (8, 9)]);
    }

    #[test]
    fn what_is_waited_for_is_bounded() {
        let mut seen = Seen::default();
        for number in 1..=AWAITED_MAX as u64 + 9 {
            seen.take(2 * number + 1, 2 * number);
        }
        assert_eq!(seen.awaited.len(), AWAITED_MAX);
    }
}
