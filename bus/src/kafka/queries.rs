//! The query thread's end of `im-query`: a member of the group of all query threads.
//!
//! An answer that is lost with its worker is asked for again by the client, so offsets are
//! committed by the client library as records are taken.

use super::client::{KafkaCloser, KafkaRoadError, Logged, header};
use super::dead_letters::{DeadLetters, OnDeadLetter};
use super::settings::Settings;
use crate::clock;
use crate::road::QuerySource;
use protocol::record::QueryRecord;
use protocol::wire::{HEADER_VERSION, decode_query};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use std::time::Duration;

/// Queries from Kafka.
pub struct KafkaQueries {
    consumer: BaseConsumer<Logged>,
    dead: DeadLetters,
    closer: KafkaCloser,
}

impl KafkaQueries {
    /// Joins the group.
    pub fn new(settings: &Settings) -> Result<Self, KafkaRoadError> {
        let consumer = BaseConsumer::from_config_and_context(&settings.query_consumer(), Logged)?;
        consumer.subscribe(&[&settings.query_topic()])?;
        Ok(Self { consumer, dead: DeadLetters::new(settings)?, closer: KafkaCloser::default() })
    }

    /// Tells `told` of each unreadable record that is put aside.
    pub fn on_dead_letter(&mut self, told: OnDeadLetter) {
        self.dead.tell(told);
    }

    /// Ends it from another thread.
    pub fn closer(&self) -> KafkaCloser {
        self.closer.clone()
    }
}

impl QuerySource for KafkaQueries {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<QueryRecord>) -> bool {
        let until = clock::now() + wait;
        let before = out.len();
        while out.len() - before < max {
            if self.closer.is_closed() {
                return out.len() > before;
            }
            let left = until.saturating_duration_since(clock::now());
            let left = if out.len() == before { left } else { Duration::ZERO };
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    match decode_query(header(&message, HEADER_VERSION), message.payload()) {
                        Ok(record) => out.push(record),
                        // If it can't be put aside either it is gone: nothing was promised for it.
                        Err(error) => drop(self.dead.put_message(&message, &error)),
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "the consumer of queries goes on"),
                None if left.is_zero() || out.len() > before => break,
                None => {}
            }
        }
        true
    }
}
