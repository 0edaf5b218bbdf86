//! The task topic: large groups, a record per message and bucket range.

use super::admin::Partitions;
use super::client::{KafkaCloser, KafkaRoadError, header, headers};
use super::dead_letters::{DeadLetters, OnDeadLetter};
use super::downlink::{Delivery, KafkaDownlink};
use super::owed::{Committing, Owed};
use super::settings::Settings;
use crate::clock;
use protocol::partition::partition_of;
use protocol::record::FanoutTask;
use protocol::wire::{
    HEADER_TASK_TYPE, HEADER_TRACE_ID, HEADER_VERSION, TASK_LARGE_GROUP_FANOUT, decode_fanout, encode_fanout,
    fanout_key,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// The distributor's end: tasks become durable as downstream records do.
pub struct TaskProducer {
    delivery: Delivery,
    topic: String,
    partitions: u16,
    buffer: Vec<u8>,
}

impl TaskProducer {
    /// Another end of the worker's producer.
    pub fn new(settings: &Settings, partitions: Partitions, downlink: &KafkaDownlink) -> Self {
        let (delivery, topic) = (downlink.delivery(), settings.fanout_topic());
        Self { delivery, topic, partitions: partitions.fanout, buffer: Vec::new() }
    }

    /// Sends a task; waits while too much is on its way.
    pub fn send(&mut self, task: &FanoutTask) -> Result<(), KafkaRoadError> {
        self.buffer.clear();
        encode_fanout(task, &mut self.buffer);
        let key = fanout_key(task);
        let partition = partition_of(key.as_bytes(), self.partitions);
        let headers =
            headers(&[(HEADER_TASK_TYPE, TASK_LARGE_GROUP_FANOUT), (HEADER_TRACE_ID, &task.trace_id)]);
        Ok(self.delivery.produce(&self.topic, partition, Some(&key), &self.buffer, headers)?)
    }

    /// How many tasks were given to this end.
    pub fn sent(&self) -> u64 {
        self.delivery.sent()
    }

    /// How many of them, from the first without a gap, are durable.
    pub fn delivered(&mut self) -> u64 {
        self.delivery.delivered()
    }
}

/// Tasks that were taken together.
#[derive(Debug, Default)]
pub struct TaskBatch {
    /// What is to be done.
    pub tasks: Vec<FanoutTask>,
    /// Where each partition goes on after them.
    next: BTreeMap<i32, i64>,
}

/// The scanning thread's end: a member of the group of all scanners.
pub struct KafkaTasks {
    consumer: BaseConsumer<Committing>,
    topic: String,
    owed: Owed,
    dead: DeadLetters,
    closer: KafkaCloser,
}

impl KafkaTasks {
    /// Joins the group.
    pub fn new(settings: &Settings) -> Result<Self, KafkaRoadError> {
        let context = Committing::default();
        let consumer = BaseConsumer::from_config_and_context(&settings.fanout_consumer(), context)?;
        let topic = settings.fanout_topic();
        consumer.subscribe(&[&topic])?;
        let (dead, closer) = (DeadLetters::new(settings)?, KafkaCloser::default());
        Ok(Self { consumer, topic, owed: Owed::default(), dead, closer })
    }

    /// Tells `told` of each unreadable record that is put aside.
    pub fn on_dead_letter(&mut self, told: OnDeadLetter) {
        self.dead.tell(told);
    }

    /// Ends it from another thread.
    pub fn closer(&self) -> KafkaCloser {
        self.closer.clone()
    }

    /// Up to `max` tasks, waiting up to `wait` for the first; none once closed. They come again,
    /// here or elsewhere, unless [`KafkaTasks::done`] is called.
    pub fn poll(&mut self, max: usize, wait: Duration) -> Option<TaskBatch> {
        self.commit_again();
        let mut batch = TaskBatch::default();
        let until = clock::now() + wait;
        while batch.tasks.len() < max {
            if self.closer.is_closed() {
                return None;
            }
            let left = until.saturating_duration_since(clock::now());
            let left = if batch.next.is_empty() { left } else { Duration::ZERO };
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    match decode_fanout(header(&message, HEADER_VERSION), message.payload()) {
                        Ok(task) => batch.tasks.push(task),
                        Err(error) => {
                            if !self.dead.put_message(&message, &error) {
                                go_back(&self.consumer, &message);
                                break;
                            }
                        }
                    }
                    batch.next.insert(message.partition(), message.offset() + 1);
                }
                Some(Err(error)) => tracing::warn!(%error, "the consumer of tasks goes on"),
                None if left.is_zero() || !batch.next.is_empty() => break,
                None => {}
            }
        }
        Some(batch)
    }

    /// Everything in the batch was done, and what that led to is durable.
    pub fn done(&mut self, batch: &TaskBatch) {
        let next: Vec<_> = batch.next.iter().map(|(partition, next)| (*partition, *next)).collect();
        next.iter().for_each(|(partition, next)| self.owed.ask(*partition, *next));
        self.commit(&next);
    }

    fn commit(&self, positions: &[(i32, i64)]) {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        let listed: Result<(), KafkaError> = positions.iter().try_for_each(|(partition, next)| {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*next))
        });
        if positions.is_empty() {
            return;
        }
        if let Err(error) = listed.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            self.consumer.context().refusals.answered(Err(error));
        }
    }

    /// Of the partitions that are still ours.
    fn commit_again(&mut self) {
        let mut again = self.owed.again(&self.consumer.context().refusals, clock::now());
        if again.is_empty() {
            return;
        }
        let ours = self.consumer.assignment().unwrap_or_default();
        again.retain(|(partition, _)| {
            let is_ours = ours.find_partition(&self.topic, *partition).is_some();
            if !is_ours {
                self.owed.forget(*partition);
            }
            is_ours
        });
        self.commit(&again);
    }
}

/// Reads the record again later.
pub(super) fn go_back<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    message: &rdkafka::message::BorrowedMessage<'_>,
) {
    let wait = Duration::from_secs(5);
    let (partition, offset) = (message.partition(), Offset::Offset(message.offset()));
    if let Err(error) = consumer.seek(message.topic(), partition, offset, wait) {
        let error: KafkaError = error;
        tracing::error!(%error, partition, "a record that can't be put aside can't be read again either");
    }
}
