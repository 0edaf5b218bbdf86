//! What joins a worker to the shards: its ends of a road, and who is online.

use crate::distribute::LocalRoutes;
use crate::fanout::{KafkaSink, KafkaSource, TaskSink, TaskSource, local};
use crate::stats::Stats;
use bus::Parker;
use bus::directory::redis::{RedisDirectory, Settings as Redis};
use bus::directory::{LiveGateway, Memory};
use bus::hot::{HotSet, RedisHotSet};
use bus::in_process::{InProcessDownlink, InProcessQueries, InProcessRoutes, InProcessUpstream};
use bus::kafka::admin::ensure_shared;
use bus::kafka::{
    KafkaCloser, KafkaDownlink, KafkaQueries, KafkaRoadError, KafkaTasks, KafkaUpstream, Settings as Kafka,
    TaskProducer,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A worker's ends of the road.
pub struct Roads<U, Q, D, Y> {
    /// Messages.
    pub upstream: U,
    /// Queries.
    pub queries: Q,
    /// To the shards.
    pub downlink: D,
    /// Who is online, and where.
    pub directory: Y,
    /// Messages to large groups, from the distributor.
    pub large: Box<dyn TaskSink>,
    /// The same, to the thread that scans.
    pub tasks: Box<dyn TaskSource>,
    /// What the distributor parks on.
    pub distributor: Parker,
    /// Routes of this process, if the distributor is to keep them.
    pub routes: Option<LocalRoutes>,
    /// Makes a thread's way to the newest messages.
    pub hot: Option<Box<dyn Fn() -> Box<dyn HotSet>>>,
    /// Counted by all of it.
    pub stats: Arc<Stats>,
    /// Set to end although the store does not answer; for roads that keep what is not persisted.
    pub abandon: Arc<AtomicBool>,
}

/// The roads within one process.
pub type LocalRoads = Roads<InProcessUpstream, InProcessQueries, InProcessDownlink, Memory>;

impl LocalRoads {
    /// The ends of an in-process road to the shards of `gateway`.
    pub fn local(
        gateway: LiveGateway,
        upstream: InProcessUpstream,
        queries: InProcessQueries,
        routes: InProcessRoutes,
        distributor: Parker,
        downlink: InProcessDownlink,
    ) -> Self {
        let stats = Arc::new(Stats::new(gateway.shards));
        let memory = Memory::new(&[gateway]);
        let (large, tasks) = local(&stats);
        Self {
            upstream,
            queries,
            downlink,
            directory: memory.clone(),
            large: Box::new(large),
            tasks: Box::new(tasks),
            distributor,
            routes: Some(LocalRoutes { source: Box::new(routes), memory }),
            hot: None,
            stats,
            abandon: Arc::default(),
        }
    }
}

/// The roads over Kafka, with routes and hot messages in Redis.
pub type RealRoads = Roads<KafkaUpstream, KafkaQueries, KafkaDownlink, RedisDirectory>;

/// Ends the roads over Kafka.
pub struct Closers {
    sources: [KafkaCloser; 3],
    downlink: KafkaDownlink,
    abandon: Arc<AtomicBool>,
}

/// Shards of one gateway whose upstream latency is told apart; those beyond share the last.
const SHARDS_TOLD_APART: u16 = 16;

impl RealRoads {
    /// Makes the topics at need, and joins the groups of workers.
    pub fn connect(kafka: &Kafka, redis: &Redis) -> Result<(Self, Closers), KafkaRoadError> {
        let partitions = ensure_shared(kafka)?;
        let downlink = KafkaDownlink::new(kafka)?;
        let mut upstream = KafkaUpstream::new(kafka, partitions.upstream)?;
        let mut queries = KafkaQueries::new(kafka)?;
        let mut tasks = KafkaTasks::new(kafka)?;
        let stats = Arc::new(Stats::new(SHARDS_TOLD_APART));
        let counted = || {
            let stats = Arc::clone(&stats);
            Box::new(move |kind| stats.put_aside(kind))
        };
        upstream.on_dead_letter(counted());
        queries.on_dead_letter(counted());
        tasks.on_dead_letter(counted());
        let producer = TaskProducer::new(kafka, partitions, &downlink);
        let abandon = Arc::<AtomicBool>::default();
        let closers = Closers {
            sources: [upstream.closer(), queries.closer(), tasks.closer()],
            downlink: downlink.clone(),
            abandon: Arc::clone(&abandon),
        };
        let redis = redis.clone();
        let roads = Self {
            upstream,
            queries,
            downlink,
            directory: RedisDirectory::new(&redis),
            large: Box::new(KafkaSink { producer, stats: Arc::clone(&stats) }),
            tasks: Box::new(KafkaSource::new(tasks)),
            distributor: Parker::new(),
            routes: None,
            hot: Some(Box::new(move || Box::new(RedisHotSet::new(&redis)))),
            stats,
            abandon,
        };
        Ok((roads, closers))
    }
}

impl Closers {
    /// Nothing is polled any more; what was polled is finished.
    pub fn close(&self) {
        self.sources.iter().for_each(KafkaCloser::close);
    }

    /// What does not get through by now is left to the road and to whoever goes on.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::SeqCst);
        self.downlink.close();
    }

    /// Whether the way to the shards has not failed for good.
    pub fn is_healthy(&self) -> bool {
        self.downlink.is_healthy()
    }

    /// Waits until everything that was sent is durable; `false` if it is not within `wait`.
    pub fn flush(&self, wait: Duration) -> bool {
        self.downlink.flush(wait)
    }
}
