//! Batches whose messages wait for the directory; their acks are out.

use super::Batch;
use crate::handoff::Weighed;
use crate::stats::Stats;
use protocol::limits::{HELD_BATCHES_MAX, HELD_BYTES_MAX};
use std::collections::VecDeque;

/// In the order in which they were committed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// Whether it is counted that there is no room.
    counted: bool,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
    }

    /// Puts the one back that was taken out.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.bytes += batch.bytes();
        self.batches.push_front(batch);
    }

    pub(super) fn pop(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.bytes();
        Some(batch)
    }

    /// Whether one more may come. Without room the persister is kept waiting: it finds its queue full.
    pub(super) fn has_room(&mut self, stats: &Stats) -> bool {
        let room = self.batches.len() < HELD_BATCHES_MAX && self.bytes < HELD_BYTES_MAX;
        if !room && !self.counted {
            stats.held_full.add(1);
            let (batches, bytes) = (self.batches.len(), self.bytes);
            tracing::warn!(
                batches,
                bytes,
                "too much waits for the directory: nothing more is persisted until it answers"
            );
        }
        self.counted = !room;
        room
    }

    pub(super) fn show(&self, stats: &Stats) {
        stats.held_batches.set(self.batches.len() as u64);
        stats.held_bytes.set(self.bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::Waiting;
    use crate::distribute::{Audience, Batch};
    use crate::handoff::Weighed;
    use crate::stats::Stats;
    use protocol::limits::HELD_BYTES_MAX;
    use protocol::{ConversationId, UnixMs, UserId};

    /// A batch whose group has so many members.
    fn batch(members: usize) -> Batch {
        let members: Vec<_> = (0..members as u64).map(UserId).collect();
        let group = (ConversationId::Group(1), Audience::Members(members.into()));
        Batch {
            records: vec![],
            decisions: vec![],
            groups: [group].into_iter().collect(),
            ends: vec![],
            taken_at: UnixMs(0),
            committed_at: UnixMs(0),
            committed: crate::clock::monotonic(),
        }
    }

    #[test]
    fn there_is_no_room_from_the_bytes_on_and_that_is_counted_once() {
        let (mut waiting, stats) = (Waiting::default(), Stats::new(1));
        let half = batch(HELD_BYTES_MAX / 2 / size_of::<UserId>());
        assert!(half.bytes() > HELD_BYTES_MAX / 2);
        waiting.push(batch(1));
        assert!(waiting.has_room(&stats));
        waiting.push(half);
        assert!(waiting.has_room(&stats), "half of it is taken");
        waiting.push(batch(HELD_BYTES_MAX / 2 / size_of::<UserId>()));
        assert!(!waiting.has_room(&stats) && !waiting.has_room(&stats));
        assert_eq!(stats.held_full.get(), 1);
        while let Some(batch) = waiting.pop() {
            if batch.bytes() > HELD_BYTES_MAX / 2 {
                waiting.put_back(batch);
                break;
            }
        }
        assert!(!waiting.has_room(&stats), "what is put back counts again");
        assert!(waiting.pop().is_some() && waiting.has_room(&stats));
    }
}
