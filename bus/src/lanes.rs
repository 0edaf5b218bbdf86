//! The first stretch of every road: bounded queues from each shard to one consuming thread.
//!
//! Each shard has its own queue per class (messages, queries, route changes), so that shards share
//! nothing on a message's path but the queue's own two ends.

use crate::road::{Full, RouteChange, Sender};
use crate::wake::{Parker, Waker};
use crossbeam_queue::ArrayQueue;
use protocol::command::SendMessage;
use protocol::record::{QueryRecord, UpstreamRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records taken from one shard before the next has its turn.
const TURN: usize = 64;

/// One shard's end of one queue.
#[derive(Debug)]
pub(crate) struct Ramp<T> {
    queue: Arc<ArrayQueue<T>>,
    consumer: Waker,
    pushed: bool,
}

impl<T> Ramp<T> {
    fn new(queue: &Arc<ArrayQueue<T>>, consumer: Waker) -> Self {
        Self { queue: Arc::clone(queue), consumer, pushed: false }
    }

    fn push(&mut self, record: T) -> Result<(), Full> {
        self.queue.push(record).map_err(|_| Full)?;
        self.pushed = true;
        Ok(())
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.pushed) {
            self.consumer.wake();
        }
    }
}

/// One shard's ends of all classes.
#[derive(Debug)]
pub(crate) struct Ramps {
    upstream: Ramp<UpstreamRecord>,
    queries: Ramp<QueryRecord>,
    routes: Ramp<RouteChange>,
}

impl Ramps {
    pub(crate) fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full> {
        // Only this shard pushes here, so a place that is free now is still free below; refusing
        // first saves building what would be refused.
        if self.upstream.queue.is_full() {
            return Err(Full);
        }
        self.upstream.push(UpstreamRecord {
            origin: from.origin,
            sender: from.user,
            conversation: message.conversation,
            client_msg_id: message.client_msg_id.into(),
            content: message.content.into(),
            message_type: message.message_type,
            received_at: from.received_at,
            trace_id: from.trace_id.into(),
        })
    }

    pub(crate) fn query(&mut self, record: QueryRecord) -> Result<(), Full> {
        self.queries.push(record)
    }

    pub(crate) fn route(&mut self, change: RouteChange) -> Result<(), Full> {
        self.routes.push(change)
    }

    pub(crate) fn flush(&mut self) {
        self.routes.flush();
        self.upstream.flush();
        self.queries.flush();
    }
}

/// How many records wait per shard in each class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) upstream: usize,
    pub(crate) queries: usize,
    pub(crate) routes: usize,
}

/// The consumers of the three classes.
pub(crate) struct Consumers {
    pub(crate) upstream: Waker,
    pub(crate) queries: Waker,
    pub(crate) routes: Waker,
}

/// Every shard's ramps, and the other ends of the three classes.
pub(crate) struct Built {
    pub(crate) ramps: Vec<Ramps>,
    pub(crate) upstream: Lanes<UpstreamRecord>,
    pub(crate) queries: Lanes<QueryRecord>,
    pub(crate) routes: Lanes<RouteChange>,
    pub(crate) depths: Depths,
}

pub(crate) fn build(shards: usize, bounds: Bounds, consumers: &Consumers) -> Built {
    let upstream = Lanes::new(shards, bounds.upstream);
    let queries = Lanes::new(shards, bounds.queries);
    let routes = Lanes::new(shards, bounds.routes);
    let ramps = (0..shards).map(|shard| Ramps {
        upstream: Ramp::new(&upstream.queues[shard], consumers.upstream.clone()),
        queries: Ramp::new(&queries.queues[shard], consumers.queries.clone()),
        routes: Ramp::new(&routes.queues[shard], consumers.routes.clone()),
    });
    let ramps = ramps.collect();
    let depths = Depths {
        upstream: upstream.queues.clone(),
        queries: queries.queues.clone(),
        routes: routes.queues.clone(),
    };
    Built { ramps, upstream, queries, routes, depths }
}

/// The consumer's end of a class: every shard's queue, in turn.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    queues: Vec<Arc<ArrayQueue<T>>>,
    next: usize,
}

impl<T> Lanes<T> {
    fn new(shards: usize, records: usize) -> Self {
        Self { queues: (0..shards).map(|_| Arc::new(ArrayQueue::new(records))).collect(), next: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.is_empty())
    }

    /// Takes up to `max` records, in turns; each shard's stay in order.
    pub(crate) fn take(&mut self, max: usize, mut record: impl FnMut(T)) -> usize {
        let (mut taken, mut idle) = (0, 0);
        while taken < max && idle < self.queues.len() {
            let queue = &self.queues[self.next];
            self.next = (self.next + 1) % self.queues.len();
            let before = taken;
            while taken < max && taken - before < TURN {
                let Some(next) = queue.pop() else { break };
                record(next);
                taken += 1;
            }
            idle = if taken == before { idle + 1 } else { 0 };
        }
        taken
    }

    /// The same, waiting for the first; `false` once closed and empty.
    pub(crate) fn poll(
        &mut self,
        max: usize,
        wait: Duration,
        park: &Parker,
        closed: &AtomicBool,
        mut record: impl FnMut(T),
    ) -> bool {
        if self.take(max, &mut record) > 0 {
            return true;
        }
        // Read before the last look: whoever closes has pushed everything by then.
        if closed.load(Ordering::SeqCst) {
            return self.take(max, &mut record) > 0;
        }
        park.park(wait, || !self.is_empty() || closed.load(Ordering::SeqCst));
        self.take(max, &mut record);
        true
    }
}

/// The route changes of all shards, for whoever keeps the directory.
#[derive(Debug)]
pub struct RouteLanes {
    pub(crate) lanes: Lanes<RouteChange>,
    pub(crate) parker: Parker,
}

/// How full the queues are.
#[derive(Debug, Clone)]
pub struct Depths {
    upstream: Vec<Arc<ArrayQueue<UpstreamRecord>>>,
    queries: Vec<Arc<ArrayQueue<QueryRecord>>>,
    routes: Vec<Arc<ArrayQueue<RouteChange>>>,
}

impl Depths {
    /// Records that wait in shard `shard`'s queues: messages, queries, route changes.
    pub fn of(&self, shard: usize) -> [usize; 3] {
        [self.upstream[shard].len(), self.queries[shard].len(), self.routes[shard].len()]
    }

    /// Whether no message and no query waits anywhere.
    pub fn are_empty(&self) -> bool {
        self.upstream.iter().all(|queue| queue.is_empty())
            && self.queries.iter().all(|queue| queue.is_empty())
    }
}
