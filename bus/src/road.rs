//! The contract between a shard, the road and a worker.

use protocol::command::SendMessage;
use protocol::record::{DownstreamBatch, QueryRecord, UpstreamRecord};
use protocol::{GatewayId, Origin, SessionRef, UnixMs, UserId};
use std::time::Duration;
use thiserror::Error;

/// A bounded queue is full: nothing was taken. The client is told `BUSY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the queue is full")]
pub struct Full;

/// Who sends, as the gateway has authenticated it.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The session.
    pub origin: Origin,
    /// The user.
    pub user: UserId,
    /// When the gateway read the command.
    pub received_at: UnixMs,
    /// The client's trace id, or one made for it.
    pub trace_id: &'a str,
}

/// A session that came or went, for the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteChange {
    /// The session is open on that device; the directory answers [`Downstream::RouteRegistered`].
    Add(UserId, Origin, DeviceKey),
    /// The session is gone.
    Remove(UserId, Origin),
}

/// What stands for a device's name: the same on every gateway; 0 is a session without one.
pub type DeviceKey = u64;

/// One shard's way onto the road. Owned by the shard: no lock, nothing shared between shards.
///
/// Nothing is acknowledged from here: a record that was taken is only on its way.
pub trait Uplink {
    /// Takes a message, or refuses it when the shard's queue is full.
    fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full>;
    /// Takes a query, or refuses it when the shard's queue is full.
    fn query(&mut self, record: QueryRecord) -> Result<(), Full>;
    /// Takes a change of routes; the shard keeps what is refused and offers it again next tick.
    fn route(&mut self, change: RouteChange) -> Result<(), Full>;
    /// Ends a tick: wakes whoever consumes, once for all that was taken.
    fn flush(&mut self);
    /// What the road hands straight back on this thread (the loop-back road); most have nothing.
    fn poll(&mut self) -> Option<Downstream> {
        None
    }
}

/// What reaches a shard from the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downstream {
    /// Events for sessions of this shard, in order.
    Batch(DownstreamBatch),
    /// The session's route stands: `connected` may be sent.
    RouteRegistered(SessionRef),
}

/// The receiving end of a shard as other threads see it: bounded, and waking the shard at need.
pub trait ShardInbox: Send + Sync {
    /// Takes the record, or gives it back when the inbox is full.
    fn push(&self, record: Downstream) -> Result<(), Downstream>;
    /// Whether the shard has ended: nothing that is pushed will be taken out any more.
    fn is_closed(&self) -> bool;
    /// Makes the shard go round once more and look at [`Uplink::poll`], although nothing was pushed.
    fn nudge(&self);
}

/// A record with its place on the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled<T> {
    /// The partition it came from.
    pub partition: u16,
    /// Its offset there: ascending, and dense but for what was [`Skipped`].
    pub offset: u64,
    /// The record.
    pub record: T,
}

/// A record that nobody could read. The source has put it among the dead letters, durably, before
/// it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The partition it came from.
    pub partition: u16,
    /// Its offset there.
    pub offset: u64,
}

/// What becomes of this worker's share of the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These are this worker's from now on; none gives records before [`UpstreamSource::start`].
    Assigned(Vec<u16>),
    /// These go to another worker, which waits for [`UpstreamSource::release`]: finish what was
    /// polled of them, then release.
    Revoked(Vec<u16>),
    /// These are another worker's already: drop what was polled of them, and commit nothing.
    Lost(Vec<u16>),
}

/// What a poll brought. The caller takes it out before the next.
#[derive(Debug, Default)]
pub struct Polls {
    /// Records, in order per partition. They came before the changes.
    pub records: Vec<Polled<UpstreamRecord>>,
    /// What was put aside as unreadable.
    pub skipped: Vec<Skipped>,
    /// Changes of the share, in order.
    pub changes: Vec<Change>,
}

impl Polls {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.skipped.is_empty() && self.changes.is_empty()
    }
}

/// How a road stands after a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Poll {
    /// More may come.
    Open,
    /// Closed and empty: nothing follows.
    Closed,
    /// It can't go on, and trying again does not help.
    Failed(String),
}

/// Why partitions could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// The log does not hold what comes next.
    #[error(
        "partition {partition} continues at offset {wanted}, but its log holds {low} to {high}: the log was \
         lost, or kept for too short. What is persisted is safe; to go on from the new log, stop all \
         workers and run `ringway logic new-epoch`"
    )]
    OutsideLog {
        /// Which.
        partition: u16,
        /// Where it is to be continued.
        wanted: u64,
        /// The oldest offset that is there.
        low: u64,
        /// The offset that is written next.
        high: u64,
    },
    /// The road did not answer; the same call may succeed later.
    #[error("the offsets of the partitions can't be read: {0}")]
    Unanswered(String),
}

/// A logic worker's end of `im-upstream`. One thread owns it.
pub trait UpstreamSource: Send {
    /// How many partitions the road has.
    fn partitions(&self) -> u16;
    /// Appends up to `max` records to `out`, waiting up to `wait` for the first. Returns as soon as
    /// there is a change. To be called often, paused or not: who does not poll for minutes loses
    /// its share.
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Polls) -> Poll;
    /// Starts partitions that were assigned, each with the store's `next_offset`: at that, or
    /// earlier where distribution had not come so far. One call per [`Change::Assigned`].
    fn start(&mut self, positions: &[(u16, u64)]) -> Result<(), StartError>;
    /// Commits `positions` and gives up partitions that were revoked, once per [`Change::Revoked`].
    fn release(&mut self, partitions: &[u16], positions: &[(u16, u64)]);
    /// Notes that everything below these offsets is persisted and distributed; does not wait.
    fn commit(&mut self, positions: &[(u16, u64)]);
    /// No records from now on; polling goes on.
    fn pause(&mut self);
    /// Records again.
    fn resume(&mut self);
    /// Puts a record that the store refuses among the road's dead letters; `false` if the road
    /// keeps none, or could not: then the store must.
    fn put_aside(&mut self, record: &Polled<UpstreamRecord>, reason: &str) -> bool;
}

/// A query thread's end of `im-query`.
pub trait QuerySource: Send {
    /// Appends up to `max` records to `out`, waiting up to `wait` for the first. Returns `false`
    /// once the road is closed and empty.
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<QueryRecord>) -> bool;
}

/// The stream of route changes, for the thread that keeps the directory.
pub trait RouteSource: Send {
    /// Appends every change that has arrived to `out`; never waits.
    fn drain(&mut self, out: &mut Vec<RouteChange>);
    /// Whether none has arrived.
    fn is_empty(&self) -> bool;
    /// Tells the session's shard that its route stands; waits while the inbox is full.
    fn registered(&mut self, session: Origin);
}

/// Why a downstream record could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DownlinkError {
    /// That gateway, or that shard of it, is not there (any more): its clients come back by `sync`.
    #[error("no shard {1} of gateway {0}")]
    Gone(GatewayId, u16),
    /// The road can't take it, now or later.
    #[error("a record for shard {1} of gateway {0} can't be sent: {2}")]
    Failed(GatewayId, u16, String),
}

/// A worker's way to the shards: `im-downstream-{gateway}`, partition = shard. Each clone counts
/// for itself.
pub trait Downlink: Send {
    /// Sends the batch; waits while the way is full (back-pressure to the worker).
    fn send(&mut self, gateway: GatewayId, shard: u16, batch: DownstreamBatch) -> Result<(), DownlinkError>;
    /// How many batches were given to this end so far.
    fn sent(&self) -> u64;
    /// How many of them, from the first without a gap, need no further care: they are durable, or
    /// their shard is gone.
    fn delivered(&mut self) -> u64;
}
