//! Topics, made and checked before anything runs on them.

use super::client::{KafkaRoadError, Logged, watermarks};
use super::settings::Settings;
use crate::clock;
use futures_executor::block_on;
use protocol::GatewayId;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// How often a new topic is looked at until it is ready.
const LOOK: Duration = Duration::from_millis(50);

/// What a topic's number of partitions may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// This, and no other: a change would move conversations.
    Exactly,
    /// What is there stands.
    Any,
    /// It is grown to that; more does no harm.
    AtLeast,
}

/// A topic that must be there.
#[derive(Debug, Clone)]
struct Topic {
    name: String,
    partitions: usize,
    count: Count,
    settings: &'static [(&'static str, &'static str)],
}

/// How many partitions the topics have, in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    /// Of `im-upstream`.
    pub upstream: u16,
    /// Of `im-query`.
    pub query: u16,
    /// Of the task topic.
    pub fanout: u16,
}

/// Makes what is missing of the topics that all processes share, and checks what is there.
pub fn ensure_shared(settings: &Settings) -> Result<Partitions, KafkaRoadError> {
    let ten_minutes: &[_] = &[("retention.ms", "600000")];
    let topic = |name, partitions, count, settings| Topic { name, partitions, count, settings };
    let counts = ensure(
        settings,
        &[
            topic(settings.upstream_topic(), settings.upstream_partitions.into(), Count::Exactly, &[]),
            topic(settings.query_topic(), settings.query_partitions.into(), Count::Any, ten_minutes),
            topic(settings.fanout_topic(), settings.query_partitions.into(), Count::Any, &[]),
            topic(settings.dead_letter_topic(), 1, Count::Any, &[("retention.ms", "-1")]),
        ],
    )?;
    let count = |at: usize| u16::try_from(counts[at]).unwrap_or(u16::MAX);
    Ok(Partitions { upstream: count(0), query: count(1), fanout: count(2) })
}

/// What the log of one partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The oldest offset that is there.
    pub low: u64,
    /// The offset that is written next.
    pub high: u64,
}

/// What the partitions of `im-upstream` hold.
pub fn upstream_logs(settings: &Settings, partitions: Partitions) -> Result<Vec<Log>, KafkaRoadError> {
    let admin = Admin::new(settings)?;
    let topic = settings.upstream_topic();
    let log = |partition: u16| {
        let (low, high) = watermarks(admin.client.inner(), &topic, partition.into(), settings.wait)?;
        Ok(Log { low: low as u64, high: high as u64 })
    };
    (0..partitions.upstream).map(log).collect()
}

/// Makes a gateway's own topic, or grows it to a partition per shard.
pub fn ensure_gateway(settings: &Settings, gateway: GatewayId, shards: u16) -> Result<(), KafkaRoadError> {
    let name = settings.downstream_topic(gateway);
    // What is older than that, clients have fetched by `sync`.
    let topic = Topic {
        name,
        partitions: shards.into(),
        count: Count::AtLeast,
        settings: &[("retention.ms", "600000")],
    };
    ensure(settings, &[topic]).map(drop)
}

fn ensure(settings: &Settings, topics: &[Topic]) -> Result<Vec<usize>, KafkaRoadError> {
    let admin = Admin::new(settings)?;
    topics.iter().map(|topic| admin.ensure(topic)).collect()
}

struct Admin<'s> {
    client: AdminClient<Logged>,
    settings: &'s Settings,
}

impl<'s> Admin<'s> {
    fn new(settings: &'s Settings) -> Result<Self, KafkaRoadError> {
        let client = AdminClient::from_config_and_context(&settings.admin(), Logged)?;
        Ok(Self { client, settings })
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.settings.wait))
            .operation_timeout(Some(self.settings.wait))
    }

    /// How the topic stands; none if there is none.
    fn look(&self, name: &str) -> Result<Option<Found>, KafkaRoadError> {
        let metadata = self.client.inner().fetch_metadata(Some(name), self.settings.wait);
        let metadata = metadata.map_err(|source| KafkaRoadError::NoBroker {
            brokers: self.settings.brokers.clone(),
            waited: self.settings.wait,
            source,
        })?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let found = found.filter(|topic| topic.error().is_none() && !topic.partitions().is_empty());
        Ok(found.map(|topic| {
            let partitions = topic.partitions();
            Found { all: partitions.len(), led: partitions.iter().filter(|p| p.leader() >= 0).count() }
        }))
    }

    /// Returns how many partitions there are.
    fn ensure(&self, topic: &Topic) -> Result<usize, KafkaRoadError> {
        let found = match self.look(&topic.name)? {
            Some(found) => found.all,
            None => {
                self.create(topic)?;
                topic.partitions
            }
        };
        let needed = match topic.count {
            Count::Any => found,
            Count::Exactly if found != topic.partitions => {
                let (topic, expected) = (topic.name.clone(), topic.partitions);
                return Err(KafkaRoadError::PartitionCount { topic, found, expected });
            }
            Count::Exactly => found,
            Count::AtLeast => {
                if found < topic.partitions {
                    self.grow(topic)?;
                }
                found.max(topic.partitions)
            }
        };
        self.wait_for(topic, needed)
    }

    fn create(&self, topic: &Topic) -> Result<(), KafkaRoadError> {
        let replication = TopicReplication::Fixed(self.settings.replication);
        let min_insync = self.settings.min_insync.to_string();
        let mut new = NewTopic::new(&topic.name, topic.partitions as i32, replication)
            .set("min.insync.replicas", &min_insync);
        for (key, value) in topic.settings {
            new = new.set(key, value);
        }
        let results = block_on(self.client.create_topics(&[new], &self.options()))?;
        match results.into_iter().find_map(Result::err) {
            // Another process was faster.
            None | Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Some((_, code)) => Err(self.failed(topic, code)),
        }
    }

    fn grow(&self, topic: &Topic) -> Result<(), KafkaRoadError> {
        let new = NewPartitions::new(&topic.name, topic.partitions);
        let results = block_on(self.client.create_partitions(&[new], &self.options()))?;
        match results.into_iter().find_map(Result::err) {
            None | Some((_, RDKafkaErrorCode::InvalidPartitions)) => Ok(()),
            Some((_, code)) => Err(self.failed(topic, code)),
        }
    }

    fn failed(&self, topic: &Topic, code: RDKafkaErrorCode) -> KafkaRoadError {
        KafkaRoadError::Topic {
            topic: topic.name.clone(),
            partitions: topic.partitions,
            replication: self.settings.replication,
            why: match code {
                RDKafkaErrorCode::InvalidReplicationFactor => {
                    "there are fewer brokers than copies: add brokers, or set kafka.replication_factor"
                        .to_owned()
                }
                code => code.to_string(),
            },
        }
    }

    /// Waits until that many partitions have a leader; returns how many there are.
    fn wait_for(&self, topic: &Topic, needed: usize) -> Result<usize, KafkaRoadError> {
        let until = clock::now() + self.settings.wait;
        loop {
            match self.look(&topic.name)? {
                Some(found) if found.led >= needed => return Ok(found.all),
                _ if clock::now() > until => {
                    return Err(KafkaRoadError::NotReady {
                        topic: topic.name.clone(),
                        partitions: needed,
                        waited: self.settings.wait,
                    });
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }
}

/// Partitions of a topic.
struct Found {
    all: usize,
    /// With a leader.
    led: usize,
}
