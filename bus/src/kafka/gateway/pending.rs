//! What is on its way to Kafka, and what is told to the senders when a report comes.

use super::stats::{GatewayStats, count};
use crate::clock;
use crate::road::{Downstream, ShardInbox};
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets};
use protocol::{ConversationId, ErrorCode, SessionRef, UnixMs, event, hop};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Reports in one record for a shard.
const REPORTS_PER_RECORD: usize = 256;

/// A message or query that Kafka has not confirmed.
pub(super) struct Pending {
    pub(super) session: SessionRef,
    /// A message is named in its report; a query is only heard of when it fails.
    pub(super) message: Option<(Box<str>, ConversationId)>,
    pub(super) trace_id: Option<Box<str>>,
    pub(super) bytes: usize,
    pub(super) produced_at: UnixMs,
    /// The same, for how long it took.
    pub(super) produced: Instant,
}

/// The table of what is on its way. Its index is what the client carries along with a record.
pub(super) struct Table {
    records: Slab<Pending>,
    bytes: usize,
    /// Reports that their shard's inbox has not taken yet, by shard.
    reports: Vec<VecDeque<DownstreamEntry>>,
    waiting: usize,
}

impl Table {
    pub(super) fn new(shards: usize) -> Self {
        let reports = (0..shards).map(|_| VecDeque::new()).collect();
        Self { records: Slab::new(), bytes: 0, reports, waiting: 0 }
    }

    /// Records on their way, and reports that wait.
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.waiting
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, pending: Pending) -> usize {
        self.bytes += pending.bytes;
        self.records.insert(pending)
    }

    /// Takes back what could not be given to the client.
    pub(super) fn withdraw(&mut self, index: usize) {
        self.bytes -= self.records.remove(index).bytes;
    }

    /// A report has come: an ack, or an error, for the sender.
    pub(super) fn report(&mut self, index: usize, result: Result<(), KafkaError>, stats: &GatewayStats) {
        let Some(pending) = self.records.try_remove(index) else {
            tracing::error!(index, "a delivery report for nothing that is on its way");
            return;
        };
        self.bytes -= pending.bytes;
        let trace_id = pending.trace_id.as_deref();
        let (kind, payload) = match (&result, &pending.message) {
            (Ok(()), None) => return,
            (Ok(()), Some((id, conversation))) => {
                count(&stats.accepted);
                if let Some(latency) = stats.confirm_latency.get(usize::from(pending.session.shard)) {
                    latency.record(pending.produced.elapsed());
                }
                let (trace_id, started_ms) = (trace_id.unwrap_or_default(), pending.produced_at.0);
                tracing::debug!(
                    target: hop::TARGET,
                    hop = hop::ACCEPTED, trace_id, started_ms, %conversation, "accepted"
                );
                (EntryKind::Ack, event::ack_accepted(id, *conversation, trace_id))
            }
            (Err(error), message) => {
                count(&stats.failed);
                tracing::warn!(%error, trace_id, "a record could not be produced");
                let (code, text) = refusal(error);
                let id = message.as_ref().map(|(id, _)| &**id);
                (EntryKind::Error, event::error(code, text, id, trace_id))
            }
        };
        let targets = Targets::Session(pending.session);
        self.tell(
            pending.session.shard,
            DownstreamEntry { kind, targets, exclude: None, payload: payload.into() },
        );
    }

    /// Queues an entry for a shard.
    pub(super) fn tell(&mut self, shard: u16, entry: DownstreamEntry) {
        if let Some(reports) = self.reports.get_mut(usize::from(shard)) {
            reports.push_back(entry);
            self.waiting += 1;
        }
    }

    /// Hands queued entries to the shards, as far as their inboxes take them.
    pub(super) fn hand_on(&mut self, inboxes: &[Arc<dyn ShardInbox>]) {
        for (reports, inbox) in self.reports.iter_mut().zip(inboxes) {
            while !reports.is_empty() {
                let n = reports.len().min(REPORTS_PER_RECORD);
                if inbox.is_closed() {
                    self.waiting -= reports.len();
                    reports.clear();
                    break;
                }
                let entries: Vec<_> = reports.drain(..n).collect();
                let batch = Downstream::Batch(DownstreamBatch { entries, sent_at: clock::unix() });
                if let Err(Downstream::Batch(back)) = inbox.push(batch) {
                    back.entries.into_iter().rev().for_each(|entry| reports.push_front(entry));
                    break;
                }
                self.waiting -= n;
            }
        }
    }
}

/// What the sender is told, and whether trying again can help.
fn refusal(error: &KafkaError) -> (ErrorCode, &'static str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
            (ErrorCode::Internal, "the message could not be taken; the server logged why")
        }
        _ => (ErrorCode::Busy, "the message could not be made durable: send it again in a moment"),
    }
}
