//! The figures of shards and worker, as OpenMetrics and as JSON.

mod encode;
mod names;

use crate::health::Health;
use bus::Depths;
use bus::Figure;
use bus::directory::redis::RegistrarStats;
use bus::kafka::{GatewayRoad, RoadCounts};
use engine::gateway::Gateway;
use engine::shard::{Inbox, Stats};
use logic::Worker;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) use encode::openmetrics;

/// Where the figures come from; a process may have some of it.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) health: Arc<Health>,
    shards: Vec<Arc<Stats>>,
    inboxes: Vec<Arc<Inbox>>,
    depths: Option<Depths>,
    worker: Option<Arc<logic::Stats>>,
    road: Option<Arc<Road>>,
}

/// A gateway's road over Kafka, and what keeps its routes.
#[derive(Debug)]
pub(crate) struct Road {
    counts: RoadCounts,
    depths: Depths,
    registrar: Arc<RegistrarStats>,
}

impl Road {
    /// The figures of a road and of its registrar.
    pub(crate) fn new(road: &GatewayRoad, registrar: Arc<RegistrarStats>) -> Self {
        Self { counts: road.counts(), depths: road.depths().clone(), registrar }
    }
}

impl Sources {
    /// A gateway and a worker in one process.
    pub(crate) fn dev(health: &Arc<Health>, gateway: &Gateway, depths: Depths, worker: &Worker) -> Self {
        let worker = Some(Arc::clone(worker.stats()));
        Self { worker, ..Self::of(health, gateway, depths) }
    }

    /// A gateway.
    pub(crate) fn gateway(health: &Arc<Health>, gateway: &Gateway, road: Arc<Road>) -> Self {
        let depths = road.depths.clone();
        Self { road: Some(road), ..Self::of(health, gateway, depths) }
    }

    /// A worker.
    pub(crate) fn worker(health: &Arc<Health>, worker: &Worker) -> Self {
        let worker = Some(Arc::clone(worker.stats()));
        Self { health: Arc::clone(health), shards: vec![], inboxes: vec![], depths: None, worker, road: None }
    }

    fn of(health: &Arc<Health>, gateway: &Gateway, depths: Depths) -> Self {
        Self {
            health: Arc::clone(health),
            shards: gateway.stats().to_vec(),
            inboxes: gateway.inboxes().to_vec(),
            depths: Some(depths),
            worker: None,
            road: None,
        }
    }

    /// The queues of a shard, by name, and how many records wait in each.
    fn queues(&self, shard: usize) -> [(&'static str, usize); 4] {
        let [upstream, queries, routes] = self.depths.as_ref().map_or([0; 3], |depths| depths.of(shard));
        let inbox = self.inboxes[shard].queued();
        [("upstream", upstream), ("queries", queries), ("routes", routes), ("inbox", inbox)]
    }
}

/// `/shards`: per shard what it holds, how full its queues are, and what its ring has done.
pub(crate) fn shards(sources: &Sources) -> Value {
    let shard = |index: usize| {
        let mut shard = Map::new();
        shard.insert("shard".into(), index.into());
        for Figure { name, value, .. } in sources.shards[index].all() {
            shard.insert(name.into(), value.into());
        }
        let queues = sources.queues(index).into_iter().map(|(name, len)| (name.to_owned(), json!(len)));
        shard.insert("queues".into(), Value::Object(queues.collect()));
        Value::Object(shard)
    };
    json!({"shards": (0..sources.shards.len()).map(shard).collect::<Vec<_>>()})
}
