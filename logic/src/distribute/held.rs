//! Batches that are sent but not yet known to be durable.

use crate::progress::Progress;
use std::collections::VecDeque;

/// In the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Tickets(VecDeque<Ticket>);

/// A batch is done once so many records and tasks, from the first on, are durable.
#[derive(Debug)]
struct Ticket {
    ends: Vec<(u16, u64)>,
    records: u64,
    tasks: u64,
}

impl Tickets {
    pub(super) fn push(&mut self, ends: Vec<(u16, u64)>, records: u64, tasks: u64) {
        self.0.push_back(Ticket { ends, records, tasks });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Enters what has become durable into `progress`.
    pub(super) fn settle(&mut self, records: u64, tasks: u64, progress: &Progress) {
        while let Some(ticket) = self.0.front() {
            if ticket.records > records || ticket.tasks > tasks {
                break;
            }
            progress.reached(&ticket.ends);
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tickets;
    use crate::progress::Progress;

    #[test]
    fn offsets_move_in_order_and_only_once_everything_before_is_durable() {
        let (mut tickets, progress) = (Tickets::default(), Progress::new(2));
        tickets.push(vec![(0, 5)], 2, 0);
        tickets.push(vec![(0, 9), (1, 4)], 3, 1);
        tickets.settle(1, 0, &progress);
        assert_eq!((progress.of(0), progress.of(1)), (0, 0));
        tickets.settle(3, 0, &progress);
        assert_eq!((progress.of(0), progress.of(1)), (5, 0), "a task of the second is not durable yet");
        tickets.settle(3, 1, &progress);
        assert_eq!((progress.of(0), progress.of(1)), (9, 4));
        assert!(tickets.is_empty());
    }
}
