//! `im-dead-letter`: records that nobody could read, as they came, with where from and why.

use super::admin::Partitions;
use super::client::{KafkaRoadError, Logged, log, log_error};
use super::settings::Settings;
use crate::clock;
use crossbeam_queue::ArrayQueue;
use protocol::partition::partition_of;
use protocol::wire::{DecodeError, Unreadable};
use protocol::{ConversationId, ids};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use thiserror::Error;

const SOURCE_TOPIC: &str = "source_topic";
const SOURCE_PARTITION: &str = "source_partition";
const SOURCE_OFFSET: &str = "source_offset";
const REASON: &str = "reason";
/// How long one record is waited for: longer than the producer itself tries.
const WAIT: Duration = Duration::from_secs(6);
const STEP: Duration = Duration::from_millis(2);

/// Is told of each unreadable record that was put aside.
pub type OnDeadLetter = Box<dyn Fn(Unreadable) + Send>;

/// A record that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its partition in the topic of dead letters.
    pub partition: i32,
    /// Its offset there: its name.
    pub offset: i64,
    /// Where it came from.
    pub source_topic: String,
    /// The partition it was in.
    pub source_partition: i32,
    /// Its offset there.
    pub source_offset: i64,
    /// Why it was put aside.
    pub reason: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a dead letter was not replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It came from a topic that Ringway does not write.
    #[error("expected a record of {0}, got one of topic {1}")]
    Topic(String, String),
    /// It does not say where it belongs.
    #[error("the record does not say where it belongs: {0}")]
    NoKey(&'static str),
    /// It could not be produced.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// What came of the one record that is waited for.
struct Outcome(ArrayQueue<Result<(), KafkaError>>);

impl ClientContext for Outcome {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Outcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.force_push(result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}

/// Puts records aside, shows them, and puts them back.
pub struct DeadLetters {
    producer: BaseProducer<Outcome>,
    settings: Settings,
    told: OnDeadLetter,
}

impl DeadLetters {
    /// Makes a producer; it connects by itself.
    pub fn new(settings: &Settings) -> Result<Self, KafkaRoadError> {
        let outcome = Outcome(ArrayQueue::new(1));
        let producer = BaseProducer::from_config_and_context(&settings.waiting_producer(), outcome)?;
        Ok(Self { producer, settings: settings.clone(), told: Box::new(|_| ()) })
    }

    /// Tells `told` of each unreadable record that is put aside.
    pub(super) fn tell(&mut self, told: OnDeadLetter) {
        self.told = told;
    }

    /// Puts a record aside as it came; `false` if it is not known to be durable.
    pub(super) fn put_message(&self, message: &BorrowedMessage<'_>, error: &DecodeError) -> bool {
        let headers = message.headers().map_or_else(Vec::new, own);
        let (partition, offset, reason) = (message.partition(), message.offset(), error.to_string());
        let put =
            self.put(message.topic(), partition, offset, &reason, message.key(), message.payload(), &headers);
        if put {
            (self.told)(error.kind());
        }
        put
    }

    #[allow(clippy::too_many_arguments, reason = "a record's parts, once")]
    pub(super) fn put(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        reason: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Vec<u8>>)],
    ) -> bool {
        let numbers = (partition.to_string(), offset.to_string());
        let more = [
            (SOURCE_TOPIC, topic),
            (SOURCE_PARTITION, &numbers.0),
            (SOURCE_OFFSET, &numbers.1),
            (REASON, reason),
        ];
        let headers = more.iter().fold(written(headers), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        match self.produce(&self.settings.dead_letter_topic(), 0, key, value, headers) {
            Ok(()) => {
                tracing::warn!(topic, partition, offset, reason, "a record was put aside as a dead letter");
                true
            }
            Err(error) => {
                tracing::error!(%error, topic, partition, offset, reason, "a bad record can't be put aside");
                false
            }
        }
    }

    /// Produces one record and waits for its report.
    fn produce(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: OwnedHeaders,
    ) -> Result<(), KafkaError> {
        let outcome = &self.producer.context().0;
        outcome.pop();
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).headers(headers);
        (record.key, record.payload) = (key, value);
        self.producer.send(record).map_err(|(error, _)| error)?;
        let until = clock::now() + WAIT;
        loop {
            self.producer.poll(STEP);
            if let Some(result) = outcome.pop() {
                return result;
            }
            if clock::now() > until {
                return Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
            }
        }
    }

    /// The oldest dead letters, at most `max`.
    pub fn list(&self, max: usize) -> Result<Vec<DeadLetter>, KafkaRoadError> {
        let topic = self.settings.dead_letter_topic();
        let consumer = BaseConsumer::from_config_and_context(&self.settings.reading_consumer(), Logged)?;
        let metadata = consumer.fetch_metadata(Some(&topic), self.settings.wait)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32);
        let mut found = Vec::new();
        for partition in 0..partitions {
            self.read(&consumer, &topic, partition, max, &mut found)?;
        }
        Ok(found)
    }

    fn read(
        &self,
        consumer: &BaseConsumer<Logged>,
        topic: &str,
        partition: i32,
        max: usize,
        found: &mut Vec<DeadLetter>,
    ) -> Result<(), KafkaRoadError> {
        let (low, high) = consumer.fetch_watermarks(topic, partition, self.settings.wait)?;
        if low == high {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(low))?;
        consumer.assign(&list)?;
        let mut until = clock::now() + self.settings.wait;
        while found.len() < max {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    found.push(letter(&message));
                    until = clock::now() + self.settings.wait;
                    if message.offset() + 1 >= high {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => return Err(error.into()),
                None if clock::now() > until => {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Puts a record back where it came from, into the partition that it belongs to. It is read
    /// again there: one that is still bad comes back.
    pub fn replay(&self, letter: &DeadLetter, partitions: Partitions) -> Result<u16, ReplayError> {
        let value = letter.value.as_deref().unwrap_or_default();
        let partition = if letter.source_topic == self.settings.upstream_topic() {
            let text = field(value, "conversation_id").ok_or(ReplayError::NoKey("no conversation_id"))?;
            let conversation =
                ConversationId::parse(&text).map_err(|_| ReplayError::NoKey("bad conversation_id"))?;
            conversation.partition(partitions.upstream)
        } else if letter.source_topic == self.settings.query_topic() {
            let user = field(value, "user_id").filter(|user| ids::decimal(user).is_some());
            let user = user.ok_or(ReplayError::NoKey("no user_id"))?;
            partition_of(user.as_bytes(), partitions.query)
        } else if letter.source_topic == self.settings.fanout_topic() {
            let key = letter.key.as_deref().ok_or(ReplayError::NoKey("no key"))?;
            partition_of(key, partitions.fanout)
        } else {
            let expected = format!(
                "{}, {} or {}",
                self.settings.upstream_topic(),
                self.settings.query_topic(),
                self.settings.fanout_topic()
            );
            return Err(ReplayError::Topic(expected, letter.source_topic.clone()));
        };
        let (key, headers) = (letter.key.as_deref(), written(&letter.headers));
        self.produce(&letter.source_topic, partition.into(), key, letter.value.as_deref(), headers)?;
        Ok(partition)
    }
}

fn field(value: &[u8], name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some(value.get(name)?.as_str()?.to_owned())
}

fn own(headers: &impl Headers) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

fn written(headers: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |written, (key, value)| {
        written.insert(Header { key, value: value.as_deref() })
    })
}

fn letter(message: &BorrowedMessage<'_>) -> DeadLetter {
    let mut letter = DeadLetter {
        partition: message.partition(),
        offset: message.offset(),
        source_topic: String::new(),
        source_partition: -1,
        source_offset: -1,
        reason: String::new(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: Vec::new(),
    };
    for (key, value) in message.headers().map_or_else(Vec::new, own) {
        let text = || String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        match key.as_str() {
            SOURCE_TOPIC => letter.source_topic = text(),
            SOURCE_PARTITION => letter.source_partition = text().parse().unwrap_or(-1),
            SOURCE_OFFSET => letter.source_offset = text().parse().unwrap_or(-1),
            REASON => letter.reason = text(),
            _ => letter.headers.push((key, value)),
        }
    }
    letter
}
