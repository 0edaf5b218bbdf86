//! The road over Kafka: gateways and workers in processes of their own.
//!
//! A gateway has one thread ([`gateway`]) that produces for all its shards, and one consumer split
//! into a queue per shard, which each shard reads on its own thread. A worker has a consumer group
//! member per topic ([`KafkaUpstream`], [`KafkaQueries`], [`KafkaTasks`]) and a producer to the
//! shards ([`KafkaDownlink`]).

pub mod admin;
mod client;
mod dead_letters;
mod downlink;
mod gateway;
mod owed;
mod queries;
mod settings;
mod tasks;
mod upstream;

pub use client::{KafkaCloser, KafkaRoadError};
pub use dead_letters::{DeadLetter, DeadLetters, OnDeadLetter, ReplayError};
pub use downlink::{Delivery, KafkaDownlink};
pub use gateway::{GatewayRoad, GatewayStats, KafkaUplink, PendingBounds, RoadCounts, Started};
pub use queries::KafkaQueries;
pub use settings::{GroupProtocol, Settings};
pub use tasks::{KafkaTasks, TaskBatch, TaskProducer};
pub use upstream::KafkaUpstream;
