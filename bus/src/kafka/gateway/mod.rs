//! A gateway's side: uplinks for its shards, the thread that produces, the consumer that they read.
//!
//! Start in this order: [`GatewayRoad::start`] makes the topic and assigns every shard's partition
//! at its high watermark; then the lease is taken; then the gateway listens. So whatever is sent to
//! a session of this start is behind the watermark.

mod bus_thread;
mod pending;
mod splits;
mod stats;
mod uplink;

pub use stats::GatewayStats;
pub use uplink::KafkaUplink;

use super::admin;
use super::client::KafkaRoadError;
use super::settings::Settings;
use crate::clock;
use crate::directory::redis::Kicks;
use crate::figure::Figure;
use crate::in_process::Depths;
use crate::lanes::{self, Bounds, Consumers, RouteLanes};
use crate::latency::Latency;
use crate::road::{Full, ShardInbox};
use crate::wake::{Parker, Waker};
use bus_thread::BusThread;
use crossbeam_queue::ArrayQueue;
use protocol::limits::{
    KICK_QUEUE_SESSIONS, PRODUCE_PENDING_BYTES, PRODUCE_PENDING_RECORDS, QUERY_QUEUE_RECORDS,
    ROUTE_QUEUE_RECORDS, UPSTREAM_QUEUE_RECORDS,
};
use protocol::{GatewayId, Origin};
use splits::Splits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often whoever waits for quiet looks.
const LOOK: Duration = Duration::from_millis(5);

/// How much may be on its way at once.
#[derive(Debug, Clone, Copy)]
pub struct PendingBounds {
    /// Records that Kafka has not confirmed, or whose report waits for an inbox.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Messages that wait in each shard's lane.
    pub lane: usize,
}

impl Default for PendingBounds {
    fn default() -> Self {
        Self { records: PRODUCE_PENDING_RECORDS, bytes: PRODUCE_PENDING_BYTES, lane: UPSTREAM_QUEUE_RECORDS }
    }
}

/// A road that has started.
pub struct Started {
    /// One per shard.
    pub uplinks: Vec<KafkaUplink>,
    /// For the registrar.
    pub routes: RouteLanes,
    /// The road itself.
    pub road: GatewayRoad,
}

/// A gateway's road: the handle of its thread.
pub struct GatewayRoad {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
    depths: Depths,
}

/// What a road has counted.
#[derive(Clone)]
pub struct RoadCounts(Arc<Shared>);

impl std::fmt::Debug for RoadCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoadCounts({:?})", self.0.stats)
    }
}

impl RoadCounts {
    /// Every figure.
    pub fn all(&self) -> Vec<Figure> {
        self.0.stats.all()
    }

    /// From produced to confirmed, by shard.
    pub fn confirm_latency(&self) -> &[Latency] {
        &self.0.stats.confirm_latency
    }

    /// Whether the producer has not failed for good.
    pub fn is_healthy(&self) -> bool {
        !self.0.fatal.load(Ordering::Relaxed)
    }
}

/// What the handle, the thread and the uplinks share.
struct Shared {
    stats: GatewayStats,
    waker: Waker,
    kicks: ArrayQueue<Origin>,
    /// The producer has failed for good.
    fatal: AtomicBool,
    /// When to end, if before everything is confirmed, ms since 1970; 0: not yet.
    end_at: AtomicU64,
}

impl GatewayRoad {
    /// Makes the topics at need, assigns each shard's partition at its high watermark, starts the
    /// thread. Partitions and shards have the same numbers.
    pub fn start(
        settings: &Settings,
        gateway: GatewayId,
        inboxes: Vec<Arc<dyn ShardInbox>>,
        bounds: PendingBounds,
    ) -> Result<Started, KafkaRoadError> {
        let shards = inboxes.len();
        let partitions = admin::ensure_shared(settings)?;
        admin::ensure_gateway(settings, gateway, shards as u16)?;
        let (bus, registrar) = (Parker::new(), Parker::new());
        let consumers = Consumers { upstream: bus.waker(), queries: bus.waker(), routes: registrar.waker() };
        let lane_bounds =
            Bounds { upstream: bounds.lane, queries: QUERY_QUEUE_RECORDS, routes: ROUTE_QUEUE_RECORDS };
        let lanes = lanes::build(shards, lane_bounds, &consumers);
        let shared = Arc::new(Shared {
            stats: GatewayStats::new(shards),
            waker: bus.waker(),
            kicks: ArrayQueue::new(KICK_QUEUE_SESSIONS),
            fatal: AtomicBool::new(false),
            end_at: AtomicU64::new(0),
        });
        let (splits, ends) = Splits::assign(settings, gateway, &inboxes)?;
        let uplinks = lanes.ramps.into_iter().zip(ends).zip(&inboxes).enumerate();
        let uplinks = uplinks.map(|(shard, ((ramps, end), inbox))| {
            KafkaUplink::new(ramps, end, Arc::clone(inbox), Arc::clone(&shared), shard)
        });
        let uplinks = uplinks.collect();
        let ends = bus_thread::Ends {
            upstream: lanes.upstream,
            queries: lanes.queries,
            parker: bus,
            inboxes,
            splits,
        };
        let thread = BusThread::new(settings, partitions, bounds, ends, Arc::clone(&shared))?;
        let thread = thread::Builder::new().name("bus".into()).spawn(move || thread.run());
        let thread = thread.map_err(KafkaRoadError::Thread)?;
        let road = Self { thread, shared, depths: lanes.depths };
        Ok(Started { uplinks, routes: RouteLanes { lanes: lanes.routes, parker: registrar }, road })
    }

    /// The way to sessions on any gateway that newer ones have displaced.
    pub fn kicks(&self) -> Kicks {
        let shared = Arc::clone(&self.shared);
        Box::new(move |session| {
            shared.kicks.push(session).map_err(|_| Full)?;
            shared.waker.wake();
            Ok(())
        })
    }

    /// What it has counted.
    pub fn stats(&self) -> &GatewayStats {
        &self.shared.stats
    }

    /// The same, for whoever outlives this handle.
    pub fn counts(&self) -> RoadCounts {
        RoadCounts(Arc::clone(&self.shared))
    }

    /// How full the shards' lanes are.
    pub fn depths(&self) -> &Depths {
        &self.depths
    }

    /// Whether the thread is at work and its producer has not failed for good.
    pub fn is_healthy(&self) -> bool {
        !self.thread.is_finished() && !self.shared.fatal.load(Ordering::Relaxed)
    }

    /// Waits until everything taken from the shards is confirmed and reported; `false` if it was
    /// not within `wait`. For a drain: after commands are not taken any more, before sessions close.
    pub fn flush(&self, wait: Duration) -> bool {
        let until = clock::now() + wait;
        loop {
            if self.depths.are_empty() && self.shared.stats.pending.load(Ordering::SeqCst) == 0 {
                return true;
            }
            if clock::now() > until || self.thread.is_finished() {
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    /// Ends the thread, once everything is confirmed or `wait` is over; `false` if something was
    /// not confirmed. Its senders have had no ack.
    pub fn stop(self, wait: Duration) -> bool {
        let end_at = clock::unix().0 + wait.as_millis() as u64;
        self.shared.end_at.store(end_at.max(1), Ordering::SeqCst);
        self.shared.waker.wake();
        self.thread.join().is_ok()
            && self.depths.are_empty()
            && self.shared.stats.pending.load(Ordering::SeqCst) == 0
    }
}
