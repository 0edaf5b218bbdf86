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
    /// The session is open; the directory answers [`Downstream::RouteRegistered`].
    Add(UserId, Origin),
    /// The session is gone.
    Remove(UserId, Origin),
}

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
}

/// A record with its place on the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled<T> {
    /// The partition it came from.
    pub partition: u16,
    /// Its offset there: dense, ascending.
    pub offset: u64,
    /// The record.
    pub record: T,
}

/// A logic worker's end of `im-upstream`. One thread owns it.
pub trait UpstreamSource: Send {
    /// How many partitions the road has.
    fn partitions(&self) -> u16;
    /// Continues `partition` at `offset`; called for each partition before the first poll.
    fn seek(&mut self, partition: u16, offset: u64);
    /// Appends up to `max` records to `out`, waiting up to `wait` for the first. Returns `false`
    /// once the road is closed and empty.
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Polled<UpstreamRecord>>) -> bool;
}

/// A query thread's end of `im-query`.
pub trait QuerySource: Send {
    /// Appends up to `max` records to `out`, waiting up to `wait` for the first. Returns `false`
    /// once the road is closed and empty.
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<QueryRecord>) -> bool;
}

/// The stream of route changes, for the thread that keeps an in-memory directory.
pub trait RouteSource: Send {
    /// Appends every change that has arrived to `out`; never waits.
    fn drain(&mut self, out: &mut Vec<RouteChange>);
    /// Whether none has arrived.
    fn is_empty(&self) -> bool;
}

/// Why a downstream record could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DownlinkError {
    /// That gateway, or that shard of it, is not there (any more): its clients come back by `sync`.
    #[error("no shard {1} of gateway {0}")]
    Gone(GatewayId, u16),
}

/// A worker's way to the shards: `im-downstream-{gateway}`, partition = shard.
pub trait Downlink: Send {
    /// Sends the record; waits while the shard's inbox is full (back-pressure to the worker).
    fn send(&mut self, gateway: GatewayId, shard: u16, record: Downstream) -> Result<(), DownlinkError>;
}
