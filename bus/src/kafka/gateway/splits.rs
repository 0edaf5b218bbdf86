//! The one consumer of a gateway, split into a queue per shard.

use super::super::client::{KafkaRoadError, Logged, watermarks};
use super::super::settings::Settings;
use crate::road::ShardInbox;
use crossbeam_queue::ArrayQueue;
use protocol::GatewayId;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For the watermark of a partition that is assigned again.
const WATERMARK_WAIT: Duration = Duration::from_secs(1);

/// A shard's queue.
pub(super) type Split = PartitionQueue<Logged>;

/// What a shard and the bus thread share about the shard's queue.
#[derive(Clone)]
pub(super) struct SplitEnd {
    /// A queue that the shard has not taken yet.
    pub(super) fresh: Arc<ArrayQueue<Split>>,
    /// The queue has something.
    pub(super) ready: Arc<AtomicBool>,
    /// The shard has seen that its place in the partition is lost.
    pub(super) broken: Arc<AtomicBool>,
}

pub(super) struct Splits {
    consumer: Arc<BaseConsumer<Logged>>,
    topic: String,
    ends: Vec<SplitEnd>,
    inboxes: Vec<Arc<dyn ShardInbox>>,
}

impl Splits {
    /// Assigns every shard's partition at its high watermark: exactly what comes from now on.
    pub(super) fn assign(
        settings: &Settings,
        gateway: GatewayId,
        inboxes: &[Arc<dyn ShardInbox>],
    ) -> Result<(Self, Vec<SplitEnd>), KafkaRoadError> {
        let config = settings.gateway_consumer(gateway.as_str());
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&config, Logged)?);
        let topic = settings.downstream_topic(gateway);
        let mut list = TopicPartitionList::with_capacity(inboxes.len());
        for shard in 0..inboxes.len() as i32 {
            // `Offset::End` is looked up some time after this returns: it misses records.
            let (_, high) = watermarks(consumer.client(), &topic, shard, settings.wait)?;
            list.add_partition_offset(&topic, shard, Offset::Offset(high))?;
        }
        consumer.assign(&list)?;
        let ends: Vec<_> = inboxes
            .iter()
            .map(|_| SplitEnd {
                fresh: Arc::new(ArrayQueue::new(1)),
                ready: Arc::default(),
                broken: Arc::default(),
            })
            .collect();
        let splits = Self { consumer, topic, ends: ends.clone(), inboxes: inboxes.to_vec() };
        for shard in 0..inboxes.len() {
            splits.split(shard)?;
        }
        Ok((splits, ends))
    }

    fn split(&self, shard: usize) -> Result<(), KafkaError> {
        let split = self.consumer.split_partition_queue(&self.topic, shard as i32);
        let split = split.ok_or_else(|| KafkaError::Subscription(self.topic.clone()))?;
        self.ends[shard].fresh.force_push(split);
        self.inboxes[shard].nudge();
        Ok(())
    }

    /// Serves the consumer's own events; what it returns belongs to no shard.
    pub(super) fn serve(&self) {
        match self.consumer.poll(Duration::ZERO) {
            // Fetched between assign and split: before anybody listened, or before the `resync`.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "the downstream consumer goes on"),
        }
    }

    /// Assigns the partitions again whose place is lost; returns their shards, whose sessions have
    /// missed something.
    pub(super) fn mend(&self) -> Vec<usize> {
        let broken = |shard: &usize| self.ends[*shard].broken.swap(false, Ordering::SeqCst);
        let broken: Vec<usize> = (0..self.ends.len()).filter(broken).collect();
        let mended = |shard: &usize| match self.reassign(*shard) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, shard, "a downstream partition can't be assigned again; tried again");
                self.ends[*shard].broken.store(true, Ordering::SeqCst);
                false
            }
        };
        broken.into_iter().filter(mended).collect()
    }

    fn reassign(&self, shard: usize) -> Result<(), KafkaError> {
        let partition = shard as i32;
        let (_, high) = watermarks(self.consumer.client(), &self.topic, partition, WATERMARK_WAIT)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, partition);
        self.consumer.incremental_unassign(&list)?;
        list.set_partition_offset(&self.topic, partition, Offset::Offset(high))?;
        self.consumer.incremental_assign(&list)?;
        self.split(shard)
    }
}
