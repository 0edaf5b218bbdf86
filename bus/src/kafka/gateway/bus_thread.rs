//! The one thread of a gateway that produces: it drains the shards' lanes, gives records to the
//! client, and hands delivery reports back.
//!
//! A conversation's messages of one session are in one lane and in one partition, and the producer
//! is idempotent: their order is kept. When too much is on its way nothing is taken, so lanes fill
//! and shards answer `BUSY`.

use super::pending::{Pending, Table};
use super::splits::Splits;
use super::stats::count;
use super::{PendingBounds, Shared};
use crate::clock;
use crate::kafka::admin::Partitions;
use crate::kafka::client::{KafkaRoadError, headers, log, log_error};
use crate::kafka::settings::Settings;
use crate::lanes::Lanes;
use crate::pace::Pace;
use crate::road::ShardInbox;
use crate::wake::Parker;
use crossbeam_queue::ArrayQueue;
use protocol::limits::RESYNC_WITHIN_MS;
use protocol::partition::partition_of;
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, QueryRecord, Targets, UpstreamRecord};
use protocol::wire::{self, HEADER_KIND, HEADER_TRACE_ID};
use protocol::{Origin, event};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Records taken from the lanes at a time, per class.
const TAKE: usize = 256;
/// How soon reports are looked for while something is on its way.
const REPORT_PAUSE: Duration = Duration::from_millis(2);
/// How long to sleep when nothing is.
const IDLE: Duration = Duration::from_millis(100);
/// How often the consumer's own events are served.
const SERVE: Duration = Duration::from_millis(50);
/// Headers and overhead of one record, bytes.
const RECORD_OVERHEAD: usize = 160;
/// A kick's place in the table: none, nobody waits for its report.
const NO_INDEX: usize = usize::MAX;

/// Where the client puts reports; read by the same thread right after.
pub(super) struct Reports(ArrayQueue<(usize, Result<(), KafkaError>)>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        if index != NO_INDEX {
            let result = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
            let taken = self.0.push((index, result));
            debug_assert!(taken.is_ok(), "there is a place for every record on its way");
        }
    }
}

/// The other ends of what the shards have.
pub(super) struct Ends {
    pub(super) upstream: Lanes<UpstreamRecord>,
    pub(super) queries: Lanes<QueryRecord>,
    pub(super) parker: Parker,
    pub(super) inboxes: Vec<Arc<dyn ShardInbox>>,
    pub(super) splits: Splits,
}

pub(super) struct BusThread {
    producer: BaseProducer<Reports>,
    table: Table,
    bounds: PendingBounds,
    ends: Ends,
    shared: Arc<Shared>,
    settings: Settings,
    partitions: Partitions,
    upstream_topic: String,
    query_topic: String,
    /// Taken from the lanes, not yet taken by the client; at most [`TAKE`].
    messages: VecDeque<UpstreamRecord>,
    queries: VecDeque<QueryRecord>,
    kicking: Option<Origin>,
    buffer: Vec<u8>,
    pace: Pace,
    served: Instant,
}

impl BusThread {
    pub(super) fn new(
        settings: &Settings,
        partitions: Partitions,
        bounds: PendingBounds,
        ends: Ends,
        shared: Arc<Shared>,
    ) -> Result<Self, KafkaRoadError> {
        let reports = Reports(ArrayQueue::new(bounds.records + 2 * TAKE));
        let producer = BaseProducer::from_config_and_context(&settings.gateway_producer(), reports)?;
        Ok(Self {
            producer,
            table: Table::new(ends.inboxes.len()),
            bounds,
            ends,
            shared,
            settings: settings.clone(),
            partitions,
            upstream_topic: settings.upstream_topic(),
            query_topic: settings.query_topic(),
            messages: VecDeque::with_capacity(TAKE),
            queries: VecDeque::with_capacity(TAKE),
            kicking: None,
            buffer: Vec::new(),
            pace: Pace::new(Duration::from_millis(settings.linger_ms.into())),
            served: clock::now(),
        })
    }

    pub(super) fn run(mut self) {
        loop {
            self.take_reports();
            if self.gathers().is_zero() {
                self.produce();
            }
            self.kick();
            self.serve();
            self.table.hand_on(&self.ends.inboxes);
            let pending = self.table.len() + self.messages.len() + self.queries.len();
            self.shared.stats.pending.store(pending as u64, Ordering::SeqCst);
            if self.is_over() {
                return;
            }
            self.sleep();
        }
    }

    fn is_over(&self) -> bool {
        let end_at = self.shared.end_at.load(Ordering::SeqCst);
        let empty = self.shared.stats.pending.load(Ordering::SeqCst) == 0
            && self.ends.upstream.is_empty()
            && self.ends.queries.is_empty()
            && self.kicking.is_none()
            && self.shared.kicks.is_empty()
            && self.producer.in_flight_count() == 0;
        end_at != 0 && (empty || clock::unix().0 >= end_at)
    }

    fn has_room(&self) -> bool {
        self.table.len() < self.bounds.records
            && self.table.bytes() < self.bounds.bytes
            && self.messages.is_empty()
            && self.queries.is_empty()
    }

    /// How long what is in the lanes still waits for company: not while Kafka has nothing to confirm,
    /// since whoever is alone on the way gains nothing by it.
    fn gathers(&self) -> Duration {
        if self.table.len() == 0 { Duration::ZERO } else { self.pace.left(clock::now()) }
    }

    fn sleep(&self) {
        let gathers = self.gathers();
        if !gathers.is_zero() {
            // Not parked: no shard has to wake this thread meanwhile.
            return thread::sleep(gathers.min(REPORT_PAUSE));
        }
        let waiting = self.table.len() > 0 || !self.messages.is_empty() || !self.queries.is_empty();
        let in_flight = waiting || self.producer.in_flight_count() > 0;
        let wait = if in_flight { REPORT_PAUSE } else { IDLE };
        let room = self.has_room();
        let Ends { upstream, queries, parker, .. } = &self.ends;
        let ending = || self.shared.end_at.load(Ordering::SeqCst) != 0;
        parker.park(wait, || {
            (room && !(upstream.is_empty() && queries.is_empty()))
                || !self.shared.kicks.is_empty()
                || (!in_flight && ending())
        });
    }

    /// Reports, as far as they have come.
    fn take_reports(&mut self) {
        // A poll without a wait handles one event, which holds all reports of a response.
        let mut before = usize::MAX;
        loop {
            self.producer.poll(Duration::ZERO);
            while let Some((index, result)) = self.producer.context().0.pop() {
                if let Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal)) = result {
                    self.shared.fatal.store(true, Ordering::Relaxed);
                }
                self.table.report(index, result, &self.shared.stats);
            }
            let left = self.producer.in_flight_count() as usize;
            if left == 0 || left >= before {
                return;
            }
            before = left;
        }
    }

    fn produce(&mut self) {
        if self.has_room() {
            let room = (self.bounds.records - self.table.len()).min(TAKE);
            // Before a lane is emptied, so that nobody sees both nothing there and nothing here.
            self.shared.stats.pending.fetch_add(1, Ordering::SeqCst);
            let Self { ends, messages, queries, .. } = self;
            ends.upstream.take(room, |record| messages.push_back(record));
            ends.queries.take(TAKE, |record| queries.push_back(record));
            if !(self.messages.is_empty() && self.queries.is_empty()) {
                self.pace.begun(clock::now(), self.messages.len() == TAKE);
            }
        } else if !self.ends.upstream.is_empty() {
            count(&self.shared.stats.queue_full);
        }
        while let Some(record) = self.messages.pop_front() {
            if !self.produce_message(&record) {
                self.messages.push_front(record);
                break;
            }
        }
        while let Some(record) = self.queries.pop_front() {
            if !self.produce_query(&record) {
                self.queries.push_front(record);
                break;
            }
        }
    }

    fn produce_message(&mut self, record: &UpstreamRecord) -> bool {
        self.buffer.clear();
        wire::encode_upstream(record.into(), &mut self.buffer);
        let key = wire::upstream_key(record.conversation);
        let partition = record.conversation.partition(self.partitions.upstream);
        let pending = Pending {
            session: record.origin.session,
            message: Some((record.client_msg_id.clone(), record.conversation)),
            trace_id: Some(record.trace_id.clone()),
            bytes: self.buffer.len() + key.len() + RECORD_OVERHEAD,
            produced_at: clock::unix(),
            produced: clock::now(),
        };
        let headers = headers(&[(HEADER_KIND, wire::KIND_SEND_MESSAGE), (HEADER_TRACE_ID, &record.trace_id)]);
        self.send(pending, false, &key, partition, headers)
    }

    fn produce_query(&mut self, record: &QueryRecord) -> bool {
        self.buffer.clear();
        wire::encode_query(record, &mut self.buffer);
        let key = wire::query_key(record.user);
        let partition = partition_of(key.as_bytes(), self.partitions.query);
        let pending = Pending {
            session: record.origin.session,
            message: None,
            trace_id: record.trace_id.clone(),
            bytes: self.buffer.len() + key.len() + RECORD_OVERHEAD,
            produced_at: clock::unix(),
            produced: clock::now(),
        };
        let kind = (HEADER_KIND, wire::query_kind(&record.query));
        let trace_id = record.trace_id.as_deref().map(|trace_id| (HEADER_TRACE_ID, trace_id));
        let headers = match trace_id {
            Some(trace_id) => headers(&[kind, trace_id]),
            None => headers(&[kind]),
        };
        self.send(pending, true, &key, partition, headers)
    }

    /// Gives what is in the buffer to the client; `false` if its queue is full.
    fn send(
        &mut self,
        pending: Pending,
        query: bool,
        key: &str,
        partition: u16,
        headers: OwnedHeaders,
    ) -> bool {
        let index = self.table.insert(pending);
        let topic = if query { &self.query_topic } else { &self.upstream_topic };
        let record = BaseRecord::with_opaque_to(topic, index)
            .partition(partition.into())
            .key(key)
            .payload(&self.buffer)
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => count(&self.shared.stats.produced),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                count(&self.shared.stats.queue_full);
                self.table.withdraw(index);
                return false;
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                    self.shared.fatal.store(true, Ordering::Relaxed);
                }
                self.table.report(index, Err(error), &self.shared.stats);
            }
        }
        true
    }

    /// Tells displaced sessions, through their gateway's topic: it may be any gateway.
    fn kick(&mut self) {
        while let Some(session) = self.kicking.take().or_else(|| self.shared.kicks.pop()) {
            if !self.kick_one(&session) {
                self.kicking = Some(session);
                return;
            }
        }
    }

    fn kick_one(&mut self, session: &Origin) -> bool {
        let targets = Targets::Session(session.session);
        let entry =
            DownstreamEntry { kind: EntryKind::Kick, targets, exclude: None, payload: Box::default() };
        self.buffer.clear();
        let batch = DownstreamBatch { entries: vec![entry], sent_at: clock::unix() };
        wire::encode_downstream(&batch, &mut self.buffer);
        let topic = self.settings.downstream_topic(session.gateway);
        let record = BaseRecord::<(), _, _>::with_opaque_to(&topic, NO_INDEX)
            .partition(session.session.shard.into())
            .payload(&self.buffer)
            .headers(headers(&[]));
        match self.producer.send(record) {
            Ok(()) => count(&self.shared.stats.kicked),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => return false,
            Err((error, _)) => tracing::debug!(%error, %session, "a displaced session's gateway is gone"),
        }
        true
    }

    /// The consumer's events, and partitions whose place is lost.
    fn serve(&mut self) {
        if self.served.elapsed() >= SERVE {
            self.served = clock::now();
            self.ends.splits.serve();
        }
        for shard in self.ends.splits.mend() {
            count(&self.shared.stats.reassigned);
            let payload = event::resync(RESYNC_WITHIN_MS).into();
            let (kind, targets) = (EntryKind::Resync, Targets::All);
            self.table.tell(shard as u16, DownstreamEntry { kind, targets, exclude: None, payload });
        }
    }
}
