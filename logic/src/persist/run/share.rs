//! The partitions that a run has: how they come and go, and how far each is.

use super::{RETRY_PAUSE_MIN, Run, Stopped};
use crate::clock;
use crate::failpoint::{self, Step};
use bus::{Change, StartError, UpstreamSource};
use std::time::Duration;

/// How often the road is told how far distribution has come.
const COMMIT_EVERY_MS: u64 = 500;
/// How long partitions that are given up wait for their last batch to be distributed; what is not
/// by then is distributed again by the next owner.
const RELEASE_WAIT_MS: u64 = 5_000;
const RELEASE_STEP: Duration = Duration::from_millis(2);

/// What the run knows of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Partition {
    pub(super) owned: bool,
    /// The first offset that was polled; what is below was committed before.
    pub(super) begun: u64,
    /// Everything below has been handed to the distributor.
    pub(super) handed: u64,
    /// Everything below has been committed to the road.
    committed: u64,
}

impl<U: UpstreamSource> Run<U> {
    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Assigned(partitions) => self.assigned.push_back(partitions),
            Change::Revoked(partitions) => self.release(&partitions),
            Change::Lost(partitions) => self.forget(&partitions),
        }
    }

    /// Waits until what was handed on is distributed, then gives the partitions up.
    pub(super) fn release(&mut self, partitions: &[u16]) {
        let behind = |run: &Self| {
            partitions.iter().any(|p| {
                let partition = run.share[usize::from(*p)];
                partition.owned && run.progress.of(*p) < partition.handed
            })
        };
        let until = clock::now().0 + RELEASE_WAIT_MS;
        while behind(self) && clock::now().0 < until {
            std::thread::sleep(RELEASE_STEP);
        }
        let positions = self.positions(partitions);
        failpoint::reached(Step::Releasing);
        self.source.release(partitions, &positions);
        self.forget(partitions);
    }

    fn forget(&mut self, partitions: &[u16]) {
        for partition in partitions {
            self.share[usize::from(*partition)] = Partition::default();
        }
        for waiting in &mut self.assigned {
            waiting.retain(|partition| !partitions.contains(partition));
        }
    }

    /// Continues partitions where the store says. Tries until it is done or they are gone again.
    pub(super) fn take_over(&mut self, partitions: Vec<u16>) -> Result<(), Stopped> {
        // Kept where a change finds it.
        self.assigned.push_front(partitions);
        self.pause = RETRY_PAUSE_MIN;
        loop {
            let reloaded = self.runtime.block_on(self.persister.reload());
            let Some(partitions) = self.assigned.front().filter(|p| !p.is_empty()) else { break };
            let next = |partition: &u16| (*partition, self.persister.next_offset(*partition));
            let positions: Vec<_> = partitions.iter().map(next).collect();
            match reloaded.map(|()| self.source.start(&positions)) {
                Ok(Ok(())) => {
                    self.own(&positions);
                    break;
                }
                Ok(Err(error @ StartError::OutsideLog { .. })) => return Err(Stopped::Log(error)),
                Ok(Err(error)) => tracing::warn!(%error, "partitions can't be started yet; tried again"),
                Err(error) => tracing::warn!(%error, "the store does not say where to go on; asked again"),
            }
            self.back_off();
            if self.is_abandoned() {
                break;
            }
        }
        self.assigned.pop_front();
        self.resume();
        Ok(())
    }

    fn own(&mut self, positions: &[(u16, u64)]) {
        for (partition, next_offset) in positions {
            self.share[usize::from(*partition)] =
                Partition { owned: true, begun: u64::MAX, ..Partition::default() };
            tracing::info!(partition, next_offset, "a partition is this worker's");
        }
    }

    /// How far these partitions are distributed, where that is news to the road.
    fn positions(&self, partitions: &[u16]) -> Vec<(u16, u64)> {
        let news = partitions.iter().filter_map(|partition| {
            let known = self.share[usize::from(*partition)];
            // Progress may be that of an earlier time with this partition, which is behind by now.
            let reached = self.progress.of(*partition).min(known.handed);
            (known.owned && reached > known.committed.max(known.begun)).then_some((*partition, reached))
        });
        news.collect()
    }

    pub(super) fn commit(&mut self) {
        let now = clock::now().0;
        if now < self.committed_ms + COMMIT_EVERY_MS {
            return;
        }
        self.committed_ms = now;
        let all: Vec<u16> = (0..self.share.len() as u16).collect();
        let positions = self.positions(&all);
        if !positions.is_empty() {
            failpoint::reached(Step::Distributed);
            self.source.commit(&positions);
            for (partition, position) in positions {
                self.share[usize::from(partition)].committed = position;
            }
        }
    }
}
