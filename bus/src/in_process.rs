//! The road within one process: bounded queues from each shard to the worker's threads, and the
//! shards' inboxes back.
//!
//! Offsets are given out where records are polled; they continue at the store's `next_offset`, so
//! nothing is numbered twice.

pub use crate::lanes::Depths;
use crate::lanes::{self, Bounds, Consumers, Lanes, Ramps};
use crate::road::{
    Change, Downlink, DownlinkError, Downstream, Full, Poll, Polled, Polls, QuerySource, RouteChange,
    RouteSource, Sender, ShardInbox, StartError, Uplink, UpstreamSource,
};
use crate::wake::{Parker, Waker};
use protocol::command::SendMessage;
use protocol::limits::{
    EMBEDDED_PARTITIONS, QUERY_QUEUE_RECORDS, ROUTE_QUEUE_RECORDS, UPSTREAM_QUEUE_RECORDS,
};
use protocol::record::{DownstreamBatch, QueryRecord, UpstreamRecord};
use protocol::{GatewayId, Origin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest pause of whoever waits for a full inbox.
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
    let Config { upstream, queries, routes, .. } = config;
    let consumers =
        Consumers { upstream: persister.waker(), queries: query.waker(), routes: distributor.waker() };
    let lanes = lanes::build(inboxes.len(), Bounds { upstream, queries, routes }, &consumers);
    let inboxes: Arc<[_]> = inboxes.into();
    Road {
        uplinks: lanes.ramps.into_iter().map(InProcessUplink).collect(),
        depths: lanes.depths,
        upstream: InProcessUpstream {
            lanes: lanes.upstream,
            parker: persister,
            closed: Arc::clone(&closed),
            assigned: false,
            paused: false,
            next_offsets: vec![0; config.partitions.into()],
        },
        queries: InProcessQueries { lanes: lanes.queries, parker: query, closed: Arc::clone(&closed) },
        routes: InProcessRoutes { lanes: lanes.routes, inboxes: Arc::clone(&inboxes) },
        distributor,
        downlink: InProcessDownlink { gateway: config.gateway, inboxes, sent: 0 },
        closer: Closer { closed, wakers: [consumers.upstream, consumers.queries, consumers.routes] },
    }
}

/// One shard's way onto the road.
#[derive(Debug)]
pub struct InProcessUplink(Ramps);

impl Uplink for InProcessUplink {
    fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full> {
        self.0.publish(from, message)
    }

    fn query(&mut self, record: QueryRecord) -> Result<(), Full> {
        self.0.query(record)
    }

    fn route(&mut self, change: RouteChange) -> Result<(), Full> {
        self.0.route(change)
    }

    fn flush(&mut self) {
        self.0.flush();
    }
}

/// The persister's end.
#[derive(Debug)]
pub struct InProcessUpstream {
    lanes: Lanes<UpstreamRecord>,
    parker: Parker,
    closed: Arc<AtomicBool>,
    assigned: bool,
    paused: bool,
    next_offsets: Vec<u64>,
}

impl UpstreamSource for InProcessUpstream {
    fn partitions(&self) -> u16 {
        self.next_offsets.len() as u16
    }

    fn poll(&mut self, max: usize, wait: Duration, out: &mut Polls) -> Poll {
        if !std::mem::replace(&mut self.assigned, true) {
            out.changes.push(Change::Assigned((0..self.partitions()).collect()));
            return Poll::Open;
        }
        if self.paused {
            std::thread::sleep(wait);
            return Poll::Open;
        }
        let Self { lanes, parker, closed, next_offsets, .. } = self;
        let open = lanes.poll(max, wait, parker, closed, |record| {
            let partition = record.conversation.partition(next_offsets.len() as u16);
            let next = &mut next_offsets[usize::from(partition)];
            out.records.push(Polled { partition, offset: *next, record });
            *next += 1;
        });
        if open { Poll::Open } else { Poll::Closed }
    }

    fn start(&mut self, positions: &[(u16, u64)]) -> Result<(), StartError> {
        for (partition, offset) in positions {
            self.next_offsets[usize::from(*partition)] = *offset;
        }
        Ok(())
    }

    /// The whole road is one worker's for as long as there is one.
    fn release(&mut self, _partitions: &[u16], _positions: &[(u16, u64)]) {}

    /// The store's `next_offset` is where this road continues.
    fn commit(&mut self, _positions: &[(u16, u64)]) {}

    fn pause(&mut self) {
        self.paused = true;
    }

    fn resume(&mut self) {
        self.paused = false;
    }

    fn put_aside(&mut self, _record: &Polled<UpstreamRecord>, _reason: &str) -> bool {
        false
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
pub struct InProcessRoutes {
    lanes: Lanes<RouteChange>,
    inboxes: Arc<[Arc<dyn ShardInbox>]>,
}

impl RouteSource for InProcessRoutes {
    fn drain(&mut self, out: &mut Vec<RouteChange>) {
        self.lanes.take(usize::MAX, |change| out.push(change));
    }

    fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    fn registered(&mut self, session: Origin) {
        if let Some(inbox) = self.inboxes.get(usize::from(session.session.shard)) {
            push_waiting(inbox.as_ref(), Downstream::RouteRegistered(session.session));
        }
    }
}

/// The way back to the shards.
#[derive(Clone)]
pub struct InProcessDownlink {
    gateway: GatewayId,
    inboxes: Arc<[Arc<dyn ShardInbox>]>,
    sent: u64,
}

impl Downlink for InProcessDownlink {
    fn send(&mut self, gateway: GatewayId, shard: u16, batch: DownstreamBatch) -> Result<(), DownlinkError> {
        self.sent += 1;
        let inbox = self.inboxes.get(usize::from(shard)).filter(|_| gateway == self.gateway);
        match inbox {
            Some(inbox) if push_waiting(inbox.as_ref(), Downstream::Batch(batch)) => Ok(()),
            _ => Err(DownlinkError::Gone(gateway, shard)),
        }
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    /// What an inbox has taken is delivered.
    fn delivered(&mut self) -> u64 {
        self.sent
    }
}

/// Pushes once there is room; `false` if the shard has ended.
fn push_waiting(inbox: &dyn ShardInbox, mut record: Downstream) -> bool {
    let mut pause = Duration::from_micros(20);
    loop {
        if inbox.is_closed() {
            return false;
        }
        match inbox.push(record) {
            Ok(()) => return true,
            Err(back) => record = back,
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(FULL_PAUSE_MAX);
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
