//! Offsets that a member of a group asked to be committed. In the middle of a rebalance Kafka refuses
//! them, and a partition to which nothing comes any more has no next commit that would cover it: much
//! later, when it changes hands, everything would come again. So they are asked for again.

use super::client::{log, log_error};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often offsets that were refused are asked for again.
const AGAIN_EVERY: Duration = Duration::from_millis(500);

/// What librdkafka calls the line that it logs of a commit that was refused.
const COMMIT_FAILED: &str = "COMMITFAIL";

/// Whether a commit was refused.
#[derive(Debug, Default)]
pub(super) struct Refusals(AtomicBool);

impl Refusals {
    /// The answer to a commit, where there is one.
    pub(super) fn answered(&self, result: KafkaResult<()>) {
        if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed; they are asked for again");
            self.refused();
        }
    }

    /// A line of the client's log. rdkafka 0.39 sets no callback for `rd_kafka_commit`, and without
    /// one the log is the only place that tells how it ended (`rd_kafka_cgrp_propagate_commit_result`).
    pub(super) fn logged(&self, facility: &str) {
        if facility == COMMIT_FAILED {
            self.refused();
        }
    }

    fn refused(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// By partition, what was last asked for.
#[derive(Debug, Default)]
pub(super) struct Owed {
    next: BTreeMap<i32, i64>,
    again_at: Option<Instant>,
}

impl Owed {
    pub(super) fn ask(&mut self, partition: i32, next: i64) {
        self.next.insert(partition, next);
    }

    /// The partition is another's.
    pub(super) fn forget(&mut self, partition: i32) {
        self.next.remove(&partition);
    }

    /// What is to be asked for again now, if a commit was refused.
    pub(super) fn again(&mut self, refusals: &Refusals, now: Instant) -> Vec<(i32, i64)> {
        let waits = self.again_at.is_some_and(|at| now < at);
        if waits || !refusals.0.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        self.again_at = Some(now + AGAIN_EVERY);
        self.next.iter().map(|(partition, next)| (*partition, *next)).collect()
    }
}

/// A member of a group that tells of nothing but its commits.
#[derive(Debug, Default)]
pub(super) struct Committing {
    pub(super) refusals: Refusals,
}

impl ClientContext for Committing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.refusals.logged(facility);
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Committing {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.refusals.answered(result);
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN_EVERY, Owed, Refusals};
    use crate::clock;
    use rdkafka::error::KafkaError;

    #[test]
    fn what_was_refused_is_asked_for_again_as_it_is_by_then_and_not_too_often() {
        let (mut owed, refusals, now) = (Owed::default(), Refusals::default(), clock::now());
        owed.ask(1, 10);
        owed.ask(2, 20);
        owed.ask(3, 30);
        assert_eq!(owed.again(&refusals, now), [], "nothing was refused");
        refusals.logged("FAIL");
        assert_eq!(owed.again(&refusals, now), [], "another line of the log");
        refusals.logged("COMMITFAIL");
        owed.ask(1, 11);
        owed.forget(3);
        assert_eq!(owed.again(&refusals, now), [(1, 11), (2, 20)]);
        refusals.answered(Err(KafkaError::Canceled));
        assert_eq!(owed.again(&refusals, now), [], "again, but not at once");
        assert_eq!(owed.again(&refusals, now + AGAIN_EVERY), [(1, 11), (2, 20)]);
        assert_eq!(owed.again(&refusals, now + 2 * AGAIN_EVERY), [], "that was not refused");
    }
}
