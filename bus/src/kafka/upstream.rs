//! The persister's end of `im-upstream`: a member of the group of all workers.
//!
//! A rebalance is only noted in the client's callback; the group waits until the persister has read
//! its offsets and calls [`UpstreamSource::start`], or has finished its batch and calls
//! [`UpstreamSource::release`].

use super::client::{KafkaCloser, KafkaRoadError, header, headers, log, log_error};
use super::dead_letters::{DeadLetters, OnDeadLetter};
use super::owed::{Owed, Refusals};
use super::settings::Settings;
use super::tasks::go_back;
use crate::clock;
use crate::road::{Change, Poll, Polled, Polls, Skipped, StartError, UpstreamSource};
use crossbeam_queue::ArrayQueue;
use protocol::record::UpstreamRecord;
use protocol::wire::{
    self, HEADER_KIND, HEADER_TRACE_ID, HEADER_VERSION, KIND_SEND_MESSAGE, decode_upstream,
};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rebalances that are noted at a time; the group waits for each.
const REBALANCES: usize = 16;

/// What the client's callbacks note.
struct Group {
    changes: ArrayQueue<Change>,
    refusals: Refusals,
    /// Nobody will act on changes any more.
    closing: AtomicBool,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.refusals.logged(facility);
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let lost = !assigned && consumer.assignment_lost();
        let at_once = list.count() == 0 || lost || self.closing.load(Ordering::SeqCst);
        if at_once {
            let done = if assigned {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            if let Err(error) = done {
                tracing::error!(%error, "a rebalance failed");
            }
        }
        if list.count() == 0 {
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition() as u16).collect();
        let change = match (assigned, lost) {
            (true, _) => Change::Assigned(partitions),
            (false, true) => Change::Lost(partitions),
            (false, false) => Change::Revoked(partitions),
        };
        tracing::info!(?change, "the worker's share of the partitions changes");
        if self.changes.push(change).is_err() {
            tracing::error!("more rebalances than a group can have at a time");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.refusals.answered(result);
    }
}

/// How a partition stands with this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Another's.
    Away,
    /// Ours, not started.
    Assigned,
    /// Ours.
    Running,
    /// Ours until it is released.
    Revoked,
}

fn unanswered(error: KafkaError) -> StartError {
    StartError::Unanswered(error.to_string())
}

/// Messages from Kafka.
pub struct KafkaUpstream {
    consumer: BaseConsumer<Group>,
    topic: String,
    shares: Vec<Share>,
    owed: Owed,
    paused: bool,
    dead: DeadLetters,
    closer: KafkaCloser,
    wait: Duration,
}

impl KafkaUpstream {
    /// Joins the group; the topic has that many partitions (see [`super::admin::ensure_shared`]).
    pub fn new(settings: &Settings, partitions: u16) -> Result<Self, KafkaRoadError> {
        let changes = ArrayQueue::new(REBALANCES);
        let group = Group { changes, refusals: Refusals::default(), closing: AtomicBool::new(false) };
        let consumer = BaseConsumer::from_config_and_context(&settings.upstream_consumer(), group)?;
        let topic = settings.upstream_topic();
        consumer.subscribe(&[&topic])?;
        Ok(Self {
            consumer,
            topic,
            shares: vec![Share::Away; partitions.into()],
            owed: Owed::default(),
            paused: false,
            dead: DeadLetters::new(settings)?,
            closer: KafkaCloser::default(),
            wait: settings.wait,
        })
    }

    /// Tells `told` of each unreadable record that is put aside.
    pub fn on_dead_letter(&mut self, told: OnDeadLetter) {
        self.dead.tell(told);
    }

    /// Ends it from another thread.
    pub fn closer(&self) -> KafkaCloser {
        self.closer.clone()
    }

    fn list(&self, partitions: impl IntoIterator<Item = u16>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition.into());
        }
        list
    }

    fn positions(&self, positions: &[(u16, u64)], of: &[Share]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, next) in positions {
            if self.shares.get(usize::from(*partition)).is_some_and(|share| of.contains(share)) {
                list.add_partition_offset(&self.topic, (*partition).into(), Offset::Offset(*next as i64))?;
            }
        }
        Ok(list)
    }

    fn set(&mut self, partitions: &[u16], share: Share) {
        for partition in partitions {
            if let Some(held) = self.shares.get_mut(usize::from(*partition)) {
                *held = share;
            }
            if share != Share::Running {
                self.owed.forget((*partition).into());
            }
        }
    }

    fn with(&self, share: Share) -> Vec<u16> {
        let all = (0..).zip(&self.shares);
        all.filter(|(_, held)| **held == share).map(|(partition, _)| partition).collect()
    }

    fn take_change(&mut self) -> Option<Change> {
        let change = self.consumer.context().changes.pop()?;
        match &change {
            Change::Assigned(partitions) => self.set(partitions, Share::Assigned),
            Change::Revoked(partitions) => self.set(partitions, Share::Revoked),
            Change::Lost(partitions) => self.set(partitions, Share::Away),
        }
        Some(change)
    }

    /// What is owed is of partitions that run.
    fn commit_again(&mut self) {
        let again = self.owed.again(&self.consumer.context().refusals, clock::now());
        let again: Vec<_> =
            again.into_iter().map(|(partition, next)| (partition as u16, next as u64)).collect();
        self.commit(&again);
    }

    /// Where partitions are to be begun, checked against their logs, and noted where that is news.
    fn begin(&self, positions: &[(u16, u64)]) -> Result<TopicPartitionList, StartError> {
        let asked = self.list(positions.iter().map(|(partition, _)| *partition));
        let committed = self.consumer.committed_offsets(asked, self.wait).map_err(unanswered)?;
        let mut begin = TopicPartitionList::with_capacity(positions.len());
        let mut news = TopicPartitionList::new();
        for (partition, wanted) in positions {
            let (partition, wanted) = (i32::from(*partition), *wanted);
            let marks = self.consumer.fetch_watermarks(&self.topic, partition, self.wait);
            let (low, high) = marks.map_err(unanswered)?;
            let (low, high) = (low as u64, high as u64);
            if !(low..=high).contains(&wanted) {
                let partition = partition as u16;
                return Err(StartError::OutsideLog { partition, wanted, low, high });
            }
            let noted = match committed.find_partition(&self.topic, partition).map(|at| at.offset()) {
                Some(Offset::Offset(offset)) => Some(offset as u64),
                _ => None,
            };
            // What was persisted long ago, but whose distribution was never noted, is in the store
            // for whoever syncs: the log need not hold it.
            let offset = noted.unwrap_or(wanted).min(wanted).max(low);
            let place = Offset::Offset(offset as i64);
            begin.add_partition_offset(&self.topic, partition, place).map_err(unanswered)?;
            if noted != Some(offset) {
                news.add_partition_offset(&self.topic, partition, place).map_err(unanswered)?;
            }
        }
        // Before anything is polled: else whoever takes over before the first commit would begin
        // behind what was persisted and not yet distributed.
        if news.count() > 0 {
            self.consumer.commit(&news, CommitMode::Sync).map_err(unanswered)?;
        }
        Ok(begin)
    }

    /// Takes a record, or puts it aside; `false` if neither is possible now.
    fn take(&self, message: &BorrowedMessage<'_>, out: &mut Polls) -> bool {
        let partition = message.partition();
        if self.shares.get(partition as usize) != Some(&Share::Running) {
            // Its next owner reads it.
            return true;
        }
        let offset = message.offset() as u64;
        let (version, partitions) = (header(message, HEADER_VERSION), self.shares.len() as u16);
        match decode_upstream(version, message.payload(), partition, partitions) {
            Ok(record) => out.records.push(Polled { partition: partition as u16, offset, record }),
            Err(error) => {
                if !self.dead.put_message(message, &error) {
                    go_back(&self.consumer, message);
                    return false;
                }
                out.skipped.push(Skipped { partition: partition as u16, offset });
            }
        }
        true
    }

    fn failed(error: &KafkaError) -> Option<Poll> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Some(Poll::Failed(format!(
                    "the log of im-upstream no longer holds what comes next ({error}): it was lost, or kept for \
                     too short. Stop all workers and run `ringway logic new-epoch`"
                )))
            }
            Some(RDKafkaErrorCode::Fatal) => Some(Poll::Failed(format!("the consumer has failed: {error}"))),
            _ => None,
        }
    }
}

impl UpstreamSource for KafkaUpstream {
    fn partitions(&self) -> u16 {
        self.shares.len() as u16
    }

    fn poll(&mut self, max: usize, wait: Duration, out: &mut Polls) -> Poll {
        self.commit_again();
        let until = clock::now() + wait;
        let before = out.records.len();
        loop {
            if self.closer.is_closed() {
                return if out.is_empty() { Poll::Closed } else { Poll::Open };
            }
            let left = until.saturating_duration_since(clock::now());
            let left = if out.is_empty() { left } else { Duration::ZERO };
            let polled = self.consumer.poll(left);
            let nothing = polled.is_none();
            let go_on = match polled {
                Some(Ok(message)) => self.take(&message, out),
                Some(Err(error)) => {
                    if let Some(failed) = Self::failed(&error) {
                        return failed;
                    }
                    tracing::warn!(%error, "the consumer of messages goes on");
                    true
                }
                None => true,
            };
            if let Some(change) = self.take_change() {
                out.changes.push(change);
                return Poll::Open;
            }
            let over = nothing && (left.is_zero() || !out.is_empty());
            if over || !go_on || out.records.len() - before >= max {
                return Poll::Open;
            }
        }
    }

    fn start(&mut self, positions: &[(u16, u64)]) -> Result<(), StartError> {
        let ours = |partition: &u16| self.shares.get(usize::from(*partition)) == Some(&Share::Assigned);
        let positions: Vec<_> = positions.iter().copied().filter(|(partition, _)| ours(partition)).collect();
        let begin = self.begin(&positions)?;
        self.consumer.incremental_assign(&begin).map_err(unanswered)?;
        let partitions: Vec<u16> = positions.iter().map(|(partition, _)| *partition).collect();
        self.set(&partitions, Share::Running);
        if self.paused {
            self.pause();
        }
        Ok(())
    }

    fn release(&mut self, partitions: &[u16], positions: &[(u16, u64)]) {
        let committed = self.positions(positions, &[Share::Running, Share::Revoked]).and_then(|list| {
            if list.count() == 0 { Ok(()) } else { self.consumer.commit(&list, CommitMode::Sync) }
        });
        if let Err(error) = committed {
            tracing::warn!(%error, "offsets were not committed; the next owner distributes some again");
        }
        let ours = |partition: &u16| self.shares.get(usize::from(*partition)) == Some(&Share::Revoked);
        let partitions: Vec<u16> = partitions.iter().copied().filter(ours).collect();
        if partitions.is_empty() {
            return;
        }
        if let Err(error) = self.consumer.incremental_unassign(&self.list(partitions.iter().copied())) {
            tracing::error!(%error, "partitions can't be given up; the group takes them after a while");
        }
        self.set(&partitions, Share::Away);
    }

    fn commit(&mut self, positions: &[(u16, u64)]) {
        let committed = self.positions(positions, &[Share::Running]).and_then(|list| {
            for element in list.elements() {
                self.owed.ask(element.partition(), element.offset().to_raw().unwrap_or_default());
            }
            if list.count() == 0 { Ok(()) } else { self.consumer.commit(&list, CommitMode::Async) }
        });
        if committed.is_err() {
            self.consumer.context().refusals.answered(committed);
        }
    }

    fn pause(&mut self) {
        self.paused = true;
        let running = self.list(self.with(Share::Running));
        if let Err(error) = self.consumer.pause(&running) {
            tracing::warn!(%error, "the consumer can't be paused");
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        let running = self.list(self.with(Share::Running));
        if let Err(error) = self.consumer.resume(&running) {
            tracing::error!(%error, "the consumer can't be resumed");
        }
    }

    fn put_aside(&mut self, polled: &Polled<UpstreamRecord>, reason: &str) -> bool {
        let Polled { partition, offset, record } = polled;
        let mut value = Vec::new();
        wire::encode_upstream(record.into(), &mut value);
        let key = wire::upstream_key(record.conversation);
        let headers = headers(&[(HEADER_KIND, KIND_SEND_MESSAGE), (HEADER_TRACE_ID, &record.trace_id)]);
        let headers: Vec<_> =
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
        let (partition, offset) = (i32::from(*partition), *offset as i64);
        self.dead.put(&self.topic, partition, offset, reason, Some(key.as_bytes()), Some(&value), &headers)
    }
}

impl Drop for KafkaUpstream {
    /// Leaves the group at once: what it still waits for from us is answered first.
    fn drop(&mut self) {
        self.consumer.context().closing.store(true, Ordering::SeqCst);
        while self.take_change().is_some() {}
        let (assigned, revoked) =
            (self.list(self.with(Share::Assigned)), self.list(self.with(Share::Revoked)));
        if assigned.count() > 0 {
            let _ = self.consumer.incremental_assign(&assigned);
        }
        if revoked.count() > 0 {
            let _ = self.consumer.incremental_unassign(&revoked);
        }
    }
}
