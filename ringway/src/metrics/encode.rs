//! OpenMetrics text, made anew for each scrape.

use super::Sources;
use super::names::{By, From, METRICS, Metric};
use bus::Figure;
use bus::latency::{BOUNDS_US, Latency};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// Everything as OpenMetrics text.
pub(crate) fn openmetrics(sources: &Sources) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sources.clone()));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = Figures {
            shards: self.shards.iter().map(|stats| stats.all()).collect(),
            worker: self.worker.iter().flat_map(|worker| worker.all()).collect(),
            road: self.road.iter().flat_map(|road| road.counts.all()).collect(),
            routes: self.road.iter().flat_map(|road| road.registrar.all()).collect(),
        };
        let families = METRICS.iter().map(|metric| (metric.name, figures.family(metric, self)));
        // What this process has no part of is not there.
        let mut there = families.filter(|(_, family)| !family.readings.is_empty());
        there.try_for_each(|(name, family)| family.encode(name, &mut encoder))
    }
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy)]
enum Reading<'a> {
    Total(u64),
    Level(u64),
    Hop(&'a Latency),
}

struct Family<'a> {
    help: &'static str,
    readings: Vec<(Labels, Reading<'a>)>,
}

/// All figures, read once per scrape.
struct Figures {
    shards: Vec<Vec<Figure>>,
    worker: Vec<Figure>,
    road: Vec<Figure>,
    routes: Vec<Figure>,
}

impl Figures {
    fn family<'a>(&self, metric: &Metric, sources: &'a Sources) -> Family<'a> {
        match metric.from {
            From::Build => {
                let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
                level("The version that runs, as a label", vec![(version, 1)])
            }
            From::Ready => {
                let ready = u64::from(sources.health.ready().is_good());
                level("1 while /readyz says yes, else 0", vec![(vec![], ready)])
            }
            From::Queues => {
                let queues = (0..self.shards.len()).flat_map(|shard| {
                    let queues = sources.queues(shard).into_iter();
                    queues.map(move |(queue, len)| {
                        let labels = vec![("shard", shard.to_string()), ("queue", queue.to_owned())];
                        (labels, len as u64)
                    })
                });
                level("Records that wait in a queue of a shard", queues.collect())
            }
            From::Shard(name) => self.of_shards(|figure| (figure.name == name).then(Vec::new), None),
            From::ShardBy(by) => self.of_shards(|figure| label(by, figure), Some(by.help)),
            From::Worker(name) => {
                family(&self.worker, &[], |figure| (figure.name == name).then(Vec::new), None)
            }
            From::Road(name) => family(&self.road, &[], |figure| (figure.name == name).then(Vec::new), None),
            From::Routes(name) => {
                family(&self.routes, &[], |figure| (figure.name == name).then(Vec::new), None)
            }
            From::WorkerBy(by) => family(&self.worker, &[], |figure| label(by, figure), Some(by.help)),
            From::Hop(hop) => {
                let all = hop.of(sources).into_iter();
                let labels = |shard: Option<usize>| {
                    shard.map(|shard| ("shard", shard.to_string())).into_iter().collect()
                };
                let readings = all.map(|(shard, latency)| (labels(shard), Reading::Hop(latency)));
                Family { help: hop.help(), readings: readings.collect() }
            }
        }
    }

    fn of_shards(
        &self,
        take: impl Fn(&Figure) -> Option<Labels>,
        help: Option<&'static str>,
    ) -> Family<'static> {
        let mut all = Family { help: "", readings: vec![] };
        for (shard, figures) in self.shards.iter().enumerate() {
            let part = family(figures, &[("shard", shard.to_string())], &take, help);
            all.help = part.help;
            all.readings.extend(part.readings);
        }
        all
    }
}

/// The figures that `take` gives further labels; without a help the figure's own is told.
fn family(
    figures: &[Figure],
    labels: &[(&'static str, String)],
    take: impl Fn(&Figure) -> Option<Labels>,
    help: Option<&'static str>,
) -> Family<'static> {
    let mut family = Family { help: help.unwrap_or_default(), readings: vec![] };
    for figure in figures {
        let Some(more) = take(figure) else { continue };
        if help.is_none() {
            family.help = figure.help.trim_end_matches('.');
        }
        let reading = if figure.total { Reading::Total } else { Reading::Level };
        family.readings.push(([labels, &more].concat(), reading(figure.value)));
    }
    family
}

/// The label that the rest of a figure's name is.
fn label(by: By, figure: &Figure) -> Option<Labels> {
    let value = figure.name.strip_prefix(by.prefix)?;
    Some(vec![(by.label, value.to_owned())])
}

fn level(help: &'static str, readings: Vec<(Labels, u64)>) -> Family<'static> {
    let readings = readings.into_iter().map(|(labels, value)| (labels, Reading::Level(value)));
    Family { help, readings: readings.collect() }
}

impl Family<'_> {
    fn encode(&self, name: &str, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.readings.first() {
            Some((_, Reading::Total(_))) => MetricType::Counter,
            Some((_, Reading::Hop(_))) => MetricType::Histogram,
            Some((_, Reading::Level(_))) | None => MetricType::Gauge,
        };
        // The encoder adds both endings by itself.
        let name = name.strip_suffix("_total").unwrap_or(name);
        let unit = [("_bytes", Unit::Bytes), ("_seconds", Unit::Seconds)];
        let unit = unit.iter().find_map(|(ending, unit)| Some((name.strip_suffix(ending)?, unit)));
        let (name, unit) = unit.map_or((name, None), |(name, unit)| (name, Some(unit)));
        let mut metric = encoder.encode_descriptor(name, self.help, unit, kind)?;
        if let [(labels, reading)] = &self.readings[..]
            && labels.is_empty()
        {
            return reading.encode(metric);
        }
        self.readings.iter().try_for_each(|(labels, reading)| reading.encode(metric.encode_family(labels)?))
    }
}

impl Reading<'_> {
    fn encode(self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Total(value) => ConstCounter::new(value).encode(encoder),
            Self::Level(value) => ConstGauge::new(value as i64).encode(encoder),
            Self::Hop(latency) => {
                let (counts, sum_us) = latency.read();
                let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(counts).collect();
                // From the same reading as the buckets, so that the two never disagree.
                let count = counts.iter().sum();
                encoder.encode_histogram::<NoLabelSet>(sum_us as f64 / 1e6, count, &buckets, None)
            }
        }
    }
}
