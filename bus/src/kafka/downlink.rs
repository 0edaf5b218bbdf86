//! A worker's producer: to the shards, and to the task topic. What was given to it is followed
//! until it is durable.

use super::client::{KafkaRoadError, headers, log, log_error};
use super::settings::Settings;
use crate::road::{Downlink, DownlinkError};
use crossbeam_queue::SegQueue;
use protocol::GatewayId;
use protocol::limits::DOWNLINK_PENDING_RECORDS;
use protocol::record::DownstreamBatch;
use protocol::wire::encode_downstream;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pauses while the client's queue is full.
const PAUSE_MIN: Duration = Duration::from_micros(200);
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// What travels with a record through the client.
struct Ticket {
    done: Arc<SegQueue<u64>>,
    number: u64,
}

#[derive(Default)]
struct Outcomes {
    /// The client has failed for good: nothing more gets through.
    fatal: AtomicBool,
}

impl ClientContext for Outcomes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let end = match result {
            Ok(_) => End::Delivered,
            Err((error, _)) => self.end(error),
        };
        if end != End::Open {
            ticket.done.push(ticket.number);
        }
    }
}

/// What became of a record.
#[derive(PartialEq, Eq)]
enum End {
    Delivered,
    /// There is no such topic or partition.
    Gone,
    /// It will never be taken.
    Refused,
    /// It is not known to be durable, and this client won't bring it there.
    Open,
}

impl Outcomes {
    fn end(&self, error: &KafkaError) -> End {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            ) => End::Gone,
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
                tracing::error!(%error, "a record can't be produced; its recipients find it by sync");
                End::Refused
            }
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => End::Open,
            _ => {
                tracing::error!(%error, "the worker's producer has failed");
                self.fatal.store(true, Ordering::SeqCst);
                End::Open
            }
        }
    }
}

struct Shared {
    producer: ThreadedProducer<Outcomes>,
    closed: AtomicBool,
}

/// One end of a worker's producer, which counts what it was given and what of that is durable.
pub struct Delivery {
    shared: Arc<Shared>,
    done: Arc<SegQueue<u64>>,
    /// Durable, but not without a gap before.
    ahead: BinaryHeap<Reverse<u64>>,
    sent: u64,
    delivered: u64,
}

impl Delivery {
    fn new(shared: Arc<Shared>) -> Self {
        let done = Arc::new(SegQueue::new());
        Self { shared, done, ahead: BinaryHeap::new(), sent: 0, delivered: 0 }
    }

    /// How many records this end was given.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many of them, from the first without a gap, are durable or their partition is gone.
    pub fn delivered(&mut self) -> u64 {
        while let Some(number) = self.done.pop() {
            self.ahead.push(Reverse(number));
        }
        while self.ahead.peek() == Some(&Reverse(self.delivered + 1)) {
            self.ahead.pop();
            self.delivered += 1;
        }
        self.delivered
    }

    /// Gives a record to the client; waits while it, or this end, has too much on its way.
    pub(super) fn produce(
        &mut self,
        topic: &str,
        partition: u16,
        key: Option<&str>,
        value: &[u8],
        headers: OwnedHeaders,
    ) -> Result<(), KafkaError> {
        self.sent += 1;
        let ticket = Box::new(Ticket { done: Arc::clone(&self.done), number: self.sent });
        let mut record = BaseRecord::<str, [u8], _>::with_opaque_to(topic, ticket)
            .partition(partition.into())
            .payload(value)
            .headers(headers);
        record.key = key;
        let mut pause = PAUSE_MIN;
        loop {
            let room = self.sent - self.delivered() <= DOWNLINK_PENDING_RECORDS as u64;
            if room {
                match self.shared.producer.send(record) {
                    Ok(()) => return Ok(()),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                    Err((error, _)) => {
                        if self.shared.producer.context().end(&error) != End::Open {
                            self.done.push(self.sent);
                        }
                        return Err(error);
                    }
                }
            }
            let context = self.shared.producer.context();
            if self.shared.closed.load(Ordering::SeqCst) || context.fatal.load(Ordering::SeqCst) {
                return Err(KafkaError::Canceled);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Clone for Delivery {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

/// A worker's way to the shards of every gateway.
#[derive(Clone)]
pub struct KafkaDownlink {
    settings: Settings,
    delivery: Delivery,
    buffer: Vec<u8>,
}

impl KafkaDownlink {
    /// Makes the producer; it connects by itself.
    pub fn new(settings: &Settings) -> Result<Self, KafkaRoadError> {
        let config = settings.downlink_producer();
        let producer = ThreadedProducer::from_config_and_context(&config, Outcomes::default())?;
        let shared = Arc::new(Shared { producer, closed: AtomicBool::new(false) });
        Ok(Self { settings: settings.clone(), delivery: Delivery::new(shared), buffer: Vec::new() })
    }

    /// Another end of the same producer, for other topics.
    pub(super) fn delivery(&self) -> Delivery {
        self.delivery.clone()
    }

    /// Whether the producer has not failed for good.
    pub fn is_healthy(&self) -> bool {
        !self.delivery.shared.producer.context().fatal.load(Ordering::SeqCst)
    }

    /// From now on nobody waits for room: what does not fit fails. For the end of a process.
    pub fn close(&self) {
        self.delivery.shared.closed.store(true, Ordering::SeqCst);
    }

    /// Waits until all that any end was given is durable; `false` if it is not within `wait`.
    pub fn flush(&self, wait: Duration) -> bool {
        self.delivery.shared.producer.flush(wait).is_ok()
    }
}

impl Downlink for KafkaDownlink {
    fn send(&mut self, gateway: GatewayId, shard: u16, batch: DownstreamBatch) -> Result<(), DownlinkError> {
        self.buffer.clear();
        encode_downstream(&batch, &mut self.buffer);
        let topic = self.settings.downstream_topic(gateway);
        let sent = self.delivery.produce(&topic, shard, None, &self.buffer, headers(&[]));
        sent.map_err(|error| match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            ) => DownlinkError::Gone(gateway, shard),
            _ => DownlinkError::Failed(gateway, shard, error.to_string()),
        })
    }

    fn sent(&self) -> u64 {
        self.delivery.sent()
    }

    fn delivered(&mut self) -> u64 {
        self.delivery.delivered()
    }
}
