//! The figures of shards and worker, as OpenMetrics and as JSON.

use bus::in_process::Depths;
use engine::shard::{Figure, Inbox, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where the figures come from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) shards: Vec<Arc<Stats>>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) depths: Depths,
    pub(crate) worker: Arc<logic::Stats>,
}

/// Everything as OpenMetrics text.
pub(crate) fn openmetrics(sources: &Sources) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("ringway");
    registry.register_collector(Box::new(sources.clone()));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// `/shards`: per shard what it holds, how full its queues are, and what its ring has done.
pub(crate) fn shards(sources: &Sources) -> Value {
    let shard = |index: usize| {
        let [upstream, queries, routes] = sources.depths.of(index);
        let mut shard = Map::new();
        shard.insert("shard".into(), index.into());
        for Figure { name, value, .. } in sources.shards[index].all() {
            shard.insert(name.into(), value.into());
        }
        let inbox = sources.inboxes[index].queued();
        shard.insert(
            "queues".into(),
            json!({"upstream": upstream, "queries": queries, "routes": routes, "inbox": inbox}),
        );
        Value::Object(shard)
    };
    json!({"shards": (0..sources.shards.len()).map(shard).collect::<Vec<_>>()})
}

/// A family's name and, for families with one, the label that a figure's name ends in.
fn family(name: &'static str) -> (&'static str, Option<(&'static str, &'static str)>) {
    if let Some(code) = name.strip_prefix("closed_") {
        return ("sessions_closed", Some(("code", code)));
    }
    if let Some(reason) = name.strip_prefix("refused_") {
        return ("upgrades_refused", Some(("reason", reason)));
    }
    (name, None)
}

type Labels = Vec<(&'static str, String)>;

struct Family {
    total: bool,
    help: &'static str,
    values: Vec<(Labels, u64)>,
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in self.families() {
            let kind = if family.total {
                ConstCounter::new(0u64).metric_type()
            } else {
                ConstGauge::new(0i64).metric_type()
            };
            let mut metric = encoder.encode_descriptor(&name, family.help, None, kind)?;
            if let [(labels, value)] = &family.values[..]
                && labels.is_empty()
            {
                encode(metric, family.total, *value)?;
                continue;
            }
            for (labels, value) in &family.values {
                encode(metric.encode_family(labels)?, family.total, *value)?;
            }
        }
        Ok(())
    }
}

fn encode(encoder: MetricEncoder<'_>, total: bool, value: u64) -> fmt::Result {
    if total {
        ConstCounter::new(value).encode(encoder)
    } else {
        ConstGauge::new(value as i64).encode(encoder)
    }
}

impl Sources {
    fn families(&self) -> BTreeMap<String, Family> {
        let mut families = BTreeMap::new();
        for (index, stats) in self.shards.iter().enumerate() {
            for Figure { name, total, help, value } in stats.all() {
                let (family_name, label) = family(name);
                let help = match label {
                    Some(("code", _)) => {
                        "Sessions closed, by close code, by the peer, or by a broken connection"
                    }
                    Some(_) => "Upgrades refused, by reason",
                    None => help.trim_end_matches('.'),
                };
                let mut labels = vec![("shard", index.to_string())];
                labels.extend(label.map(|(key, value)| (key, value.to_owned())));
                let new = || Family { total, help, values: vec![] };
                families.entry(family_name.to_owned()).or_insert_with(new).values.push((labels, value));
            }
            let [upstream, queries, routes] = self.depths.of(index);
            let inbox = self.inboxes[index].queued();
            for (queue, len) in
                [("upstream", upstream), ("queries", queries), ("routes", routes), ("inbox", inbox)]
            {
                let help = "Records that wait in a queue of a shard";
                let new = || Family { total: false, help, values: vec![] };
                let labels = vec![("shard", index.to_string()), ("queue", queue.to_owned())];
                families
                    .entry("queue_records".to_owned())
                    .or_insert_with(new)
                    .values
                    .push((labels, len as u64));
            }
        }
        for (name, help, value) in self.worker.all() {
            let family =
                Family { total: true, help: help.trim_end_matches('.'), values: vec![(vec![], value)] };
            families.insert(format!("worker_{name}"), family);
        }
        families
    }
}
