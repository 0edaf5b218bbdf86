//! The figures of shards and worker, as OpenMetrics and as JSON.

mod encode;
mod names;

use crate::health::Health;
use bus::Figure;
use bus::in_process::Depths;
use engine::shard::{Inbox, Stats};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) use encode::openmetrics;

/// Where the figures come from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) health: Arc<Health>,
    pub(crate) shards: Vec<Arc<Stats>>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) depths: Depths,
    pub(crate) worker: Arc<logic::Stats>,
}

impl Sources {
    /// The queues of a shard, by name, and how many records wait in each.
    fn queues(&self, shard: usize) -> [(&'static str, usize); 4] {
        let [upstream, queries, routes] = self.depths.of(shard);
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
