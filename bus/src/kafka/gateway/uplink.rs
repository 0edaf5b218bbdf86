//! One shard's way onto the road, and its partition's queue back. Everything here runs on the shard.

use super::Shared;
use super::splits::{Split, SplitEnd};
use super::stats::count;
use crate::lanes::Ramps;
use crate::road::{Downstream, Full, RouteChange, Sender, ShardInbox, Uplink};
use protocol::command::SendMessage;
use protocol::limits::DOWNSTREAM_RECORDS_PER_TICK;
use protocol::record::{DownstreamBatch, QueryRecord};
use protocol::wire::{HEADER_VERSION, decode_downstream};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One shard's way onto the road and back.
pub struct KafkaUplink {
    ramps: Ramps,
    /// None while a new one is on its way.
    split: Option<Split>,
    end: SplitEnd,
    inbox: Arc<dyn ShardInbox>,
    shared: Arc<Shared>,
    shard: usize,
    /// The queue was not empty when it was last looked at.
    draining: bool,
    taken_in_tick: usize,
    /// The last record could not be read: the next that can't is not logged again.
    in_garbage: bool,
}

impl KafkaUplink {
    pub(super) fn new(
        ramps: Ramps,
        end: SplitEnd,
        inbox: Arc<dyn ShardInbox>,
        shared: Arc<Shared>,
        shard: usize,
    ) -> Self {
        let (split, draining) = (None, true);
        Self { ramps, split, end, inbox, shared, shard, draining, taken_in_tick: 0, in_garbage: false }
    }

    /// Takes a queue that the bus thread has made anew.
    fn adopt(&mut self) {
        let Some(mut split) = self.end.fresh.pop() else { return };
        // Dropping the old handle silences the callback of the queue that both refer to.
        self.split = None;
        let (ready, inbox) = (Arc::clone(&self.end.ready), Arc::clone(&self.inbox));
        split.set_nonempty_callback(move || {
            ready.store(true, Ordering::SeqCst);
            inbox.nudge();
        });
        self.split = Some(split);
        self.draining = true;
    }

    fn next(&mut self) -> Option<DownstreamBatch> {
        loop {
            let polled = self.split.as_ref()?.poll(Duration::ZERO)?;
            match polled {
                Ok(message) => match read(&message) {
                    Ok(batch) => {
                        count(&self.shared.stats.taken);
                        self.in_garbage = false;
                        return Some(batch);
                    }
                    Err(error) => {
                        count(&self.shared.stats.undecodable);
                        if !std::mem::replace(&mut self.in_garbage, true) {
                            let (shard, offset) = (self.shard, message.offset());
                            tracing::error!(%error, shard, offset, "downstream records can't be read; they are skipped");
                        }
                    }
                },
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, shard = self.shard, "the place in the downstream partition is lost");
                    self.end.broken.store(true, Ordering::SeqCst);
                    self.shared.waker.wake();
                    return None;
                }
            }
        }
    }
}

fn read(message: &BorrowedMessage<'_>) -> Result<DownstreamBatch, protocol::wire::DecodeError> {
    decode_downstream(super::super::client::header(message, HEADER_VERSION), message.payload())
}

impl Uplink for KafkaUplink {
    fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full> {
        self.ramps.publish(from, message)
    }

    fn query(&mut self, record: QueryRecord) -> Result<(), Full> {
        self.ramps.query(record)
    }

    fn route(&mut self, change: RouteChange) -> Result<(), Full> {
        self.ramps.route(change)
    }

    fn flush(&mut self) {
        self.taken_in_tick = 0;
        self.ramps.flush();
    }

    fn poll(&mut self) -> Option<Downstream> {
        self.adopt();
        if self.taken_in_tick >= DOWNSTREAM_RECORDS_PER_TICK {
            // The rest after the sockets' turn; without this the shard might wait meanwhile.
            self.inbox.nudge();
            return None;
        }
        // The queue calls only when it was empty: it is read to its end before it is left alone.
        if !self.draining && !self.end.ready.swap(false, Ordering::SeqCst) {
            return None;
        }
        let batch = self.next();
        self.draining = batch.is_some();
        self.taken_in_tick += usize::from(self.draining);
        batch.map(Downstream::Batch)
    }
}
