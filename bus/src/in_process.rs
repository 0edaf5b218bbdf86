//! The road within one process: bounded queues from each shard to the worker's threads, and the
//! shards' inboxes back.
//!
//! Each shard has its own queue per class (messages, queries, route changes), so that shards share
//! nothing on a message's path but the queue's own two ends. Offsets are given out where records
//! are polled; they continue at the store's `next_offset`, so nothing is numbered twice.

use crate::road::{
    Downlink, DownlinkError, Downstream, Full, Polled, QuerySource, RouteChange, RouteSource, Sender,
    ShardInbox, Uplink, UpstreamSource,
};
use crate::wake::{Parker, Waker};
use crossbeam_queue::ArrayQueue;
use protocol::GatewayId;
use protocol::command::SendMessage;
use protocol::limits::{
    EMBEDDED_PARTITIONS, QUERY_QUEUE_RECORDS, ROUTE_QUEUE_RECORDS, UPSTREAM_QUEUE_RECORDS,
};
use protocol::record::{QueryRecord, UpstreamRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records taken from one shard before the next has its turn.
const TURN: usize = 64;
/// The longest pause of a downlink that waits for a full inbox.
const FULL_PAUSE_MAX: Duration = Duration::from_millis(1);

/// How big the queues of each shard are, records.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The one gateway there is.
    pub gateway: GatewayId,
    /// Partitions, fixed in the data directory.
    pub partitions: u16,
    /// Messages that wait per shard.
    pub upstream: usize,
    /// Queries that wait per shard.
    pub queries: usize,
    /// Route changes that wait per shard.
    pub routes: usize,
}

impl Config {
    /// The contract's bounds.
    pub fn new(gateway: GatewayId) -> Self {
        Self {
            gateway,
            partitions: EMBEDDED_PARTITIONS,
            upstream: UPSTREAM_QUEUE_RECORDS,
            queries: QUERY_QUEUE_RECORDS,
            routes: ROUTE_QUEUE_RECORDS,
        }
    }
}

/// Both ends of a road.
pub struct Road {
    /// One per shard.
    pub uplinks: Vec<InProcessUplink>,
    /// For the persister.
    pub upstream: InProcessUpstream,
    /// For the query thread.
    pub queries: InProcessQueries,
    /// For the distributor.
    pub routes: InProcessRoutes,
    /// What the distributor parks on; route changes wake it.
    pub distributor: Parker,
    /// For the distributor and the query thread.
    pub downlink: InProcessDownlink,
    /// Ends the road.
    pub closer: Closer,
    /// For the admin port.
    pub depths: Depths,
}

/// Makes a road to and from the shards behind `inboxes`.
pub fn road(config: Config, inboxes: Vec<Arc<dyn ShardInbox>>) -> Road {
    let (persister, query, distributor) = (Parker::new(), Parker::new(), Parker::new());
    let closed = Arc::new(AtomicBool::new(false));
    let shards = inboxes.len();
    let upstream = Lanes::new(shards, config.upstream);
    let queries = Lanes::new(shards, config.queries);
    let routes = Lanes::new(shards, config.routes);
    let uplinks = (0..inboxes.len())
        .map(|shard| InProcessUplink {
            upstream: Ramp::new(&upstream.queues[shard], persister.waker()),
            queries: Ramp::new(&queries.queues[shard], query.waker()),
            routes: Ramp::new(&routes.queues[shard], distributor.waker()),
        })
        .collect();
    let wakers = [persister.waker(), query.waker(), distributor.waker()];
    Road {
        uplinks,
        depths: Depths {
            upstream: upstream.queues.clone(),
            queries: queries.queues.clone(),
            routes: routes.queues.clone(),
        },
        upstream: InProcessUpstream {
            lanes: upstream,
            parker: persister,
            closed: Arc::clone(&closed),
            next_offsets: vec![0; config.partitions.into()],
        },
        queries: InProcessQueries { lanes: queries, parker: query, closed: Arc::clone(&closed) },
        routes: InProcessRoutes { lanes: routes },
        distributor,
        downlink: InProcessDownlink { gateway: config.gateway, inboxes: inboxes.into() },
        closer: Closer { closed, wakers },
    }
}

/// One shard's end of one queue.
#[derive(Debug)]
struct Ramp<T> {
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

/// One shard's way onto the road.
#[derive(Debug)]
pub struct InProcessUplink {
    upstream: Ramp<UpstreamRecord>,
    queries: Ramp<QueryRecord>,
    routes: Ramp<RouteChange>,
}

impl Uplink for InProcessUplink {
    fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full> {
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

    fn query(&mut self, record: QueryRecord) -> Result<(), Full> {
        self.queries.push(record)
    }

    fn route(&mut self, change: RouteChange) -> Result<(), Full> {
        self.routes.push(change)
    }

    fn flush(&mut self) {
        self.routes.flush();
        self.upstream.flush();
        self.queries.flush();
    }
}

/// The consumer's end of a class: every shard's queue, in turn.
#[derive(Debug)]
struct Lanes<T> {
    queues: Vec<Arc<ArrayQueue<T>>>,
    next: usize,
}

impl<T> Lanes<T> {
    fn new(shards: usize, records: usize) -> Self {
        Self { queues: (0..shards).map(|_| Arc::new(ArrayQueue::new(records))).collect(), next: 0 }
    }

    fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.is_empty())
    }

    /// Takes up to `max` records, in turns; each shard's stay in order.
    fn take(&mut self, max: usize, mut record: impl FnMut(T)) -> usize {
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
    fn poll(
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

/// The persister's end.
#[derive(Debug)]
pub struct InProcessUpstream {
    lanes: Lanes<UpstreamRecord>,
    parker: Parker,
    closed: Arc<AtomicBool>,
    next_offsets: Vec<u64>,
}

impl UpstreamSource for InProcessUpstream {
    fn partitions(&self) -> u16 {
        self.next_offsets.len() as u16
    }

    fn seek(&mut self, partition: u16, offset: u64) {
        self.next_offsets[usize::from(partition)] = offset;
    }

    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Polled<UpstreamRecord>>) -> bool {
        let Self { lanes, parker, closed, next_offsets } = self;
        lanes.poll(max, wait, parker, closed, |record| {
            let partition = record.conversation.partition(next_offsets.len() as u16);
            let next = &mut next_offsets[usize::from(partition)];
            out.push(Polled { partition, offset: *next, record });
            *next += 1;
        })
    }
}

/// The query thread's end.
#[derive(Debug)]
pub struct InProcessQueries {
    lanes: Lanes<QueryRecord>,
    parker: Parker,
    closed: Arc<AtomicBool>,
}

impl QuerySource for InProcessQueries {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<QueryRecord>) -> bool {
        self.lanes.poll(max, wait, &self.parker, &self.closed, |record| out.push(record))
    }
}

/// The distributor's end of the route changes.
#[derive(Debug)]
pub struct InProcessRoutes {
    lanes: Lanes<RouteChange>,
}

impl RouteSource for InProcessRoutes {
    fn drain(&mut self, out: &mut Vec<RouteChange>) {
        self.lanes.take(usize::MAX, |change| out.push(change));
    }

    fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

/// The way back to the shards.
#[derive(Clone)]
pub struct InProcessDownlink {
    gateway: GatewayId,
    inboxes: Arc<[Arc<dyn ShardInbox>]>,
}

impl Downlink for InProcessDownlink {
    fn send(&mut self, gateway: GatewayId, shard: u16, mut record: Downstream) -> Result<(), DownlinkError> {
        let inbox = self.inboxes.get(usize::from(shard)).filter(|_| gateway == self.gateway);
        let gone = DownlinkError::Gone(gateway, shard);
        let inbox = inbox.ok_or(gone.clone())?;
        let mut pause = Duration::from_micros(20);
        loop {
            if inbox.is_closed() {
                return Err(gone);
            }
            match inbox.push(record) {
                Ok(()) => return Ok(()),
                Err(back) => record = back,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(FULL_PAUSE_MAX);
        }
    }
}

/// Ends the road once nothing is put onto it any more.
#[derive(Debug)]
pub struct Closer {
    closed: Arc<AtomicBool>,
    wakers: [Waker; 3],
}

impl Closer {
    /// The sources give what is left, and then say that nothing follows.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for waker in &self.wakers {
            waker.wake();
        }
    }
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
