//! Entries for sessions and users, wherever they are: what the distributor, the query thread,
//! the HTTP API and the scans of large groups send.

use crate::clock;
use crate::failpoint::{self, Step};
use crate::stats::Stats;
use bus::Downlink;
use bus::directory::{Directory, PerShard, Routes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::DOWNSTREAM_RECORD_BYTES_MAX;
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets};
use protocol::{GatewayId, Origin, UserId};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether records have become durable.
const DELIVERY_STEP: Duration = Duration::from_millis(2);
/// How long a failpoint waits for that.
const FAILPOINT_WAIT: Duration = Duration::from_secs(5);

/// The way to the shards, for one thread.
#[derive(Clone)]
pub struct Outbound<D, Y> {
    directory: Y,
    downlink: D,
    stats: Arc<Stats>,
}

impl<D: Downlink, Y: Directory> Outbound<D, Y> {
    /// By the routes of `directory`.
    pub fn new(directory: Y, downlink: D, stats: Arc<Stats>) -> Self {
        Self { directory, downlink, stats }
    }

    /// Sends one event to one session.
    pub fn tell_session(&mut self, kind: EntryKind, origin: Origin, payload: Vec<u8>) {
        let targets = Targets::Session(origin.session);
        let entry = DownstreamEntry { kind, targets, exclude: None, payload: payload.into() };
        self.send_entries(origin.gateway, origin.session.shard, vec![entry]);
    }

    /// Sends one event to every session of `users` but `except`. A hint: while the directory does
    /// not answer nobody is told, and it is counted.
    pub fn tell_users(&mut self, kind: EntryKind, users: &[UserId], except: Option<Origin>, payload: &[u8]) {
        let mut routes = Routes::default();
        if let Err(error) = self.directory.look_up(users, &mut routes) {
            self.stats.hints_dropped.add(1);
            return tracing::debug!(%error, "nobody can be told of a change");
        }
        let mut shards = PerShard::default();
        routes.per_shard(users.iter().copied(), &mut shards);
        for ((gateway, shard), users) in shards {
            let exclude = except.filter(|origin| origin.gateway == gateway).map(|origin| origin.session);
            let targets = Targets::Users(users);
            let entry = DownstreamEntry { kind, targets, exclude, payload: payload.into() };
            self.send_entries(gateway, shard, vec![entry]);
        }
    }

    /// The routes.
    pub(crate) fn directory_mut(&mut self) -> &mut Y {
        &mut self.directory
    }

    /// Records given to the road by this end so far.
    pub(crate) fn sent(&self) -> u64 {
        self.downlink.sent()
    }

    /// How many of them, from the first on, need no further care.
    pub(crate) fn delivered(&mut self) -> u64 {
        self.downlink.delivered()
    }

    /// Waits until all of them need no further care; `false` if they do not within `wait`.
    pub(crate) fn await_delivery(&mut self, wait: Duration) -> bool {
        let until = clock::now().0 + wait.as_millis() as u64;
        while self.delivered() < self.sent() {
            if clock::now().0 > until {
                return false;
            }
            std::thread::sleep(DELIVERY_STEP);
        }
        true
    }

    /// Sends entries to one shard, as one record.
    pub fn send_entries(&mut self, gateway: GatewayId, shard: u16, entries: Vec<DownstreamEntry>) {
        self.stats.downstream_entries.add(entries.len() as u64);
        self.stats.downstream_records.add(1);
        let batch = DownstreamBatch { entries, sent_at: clock::now() };
        if let Err(error) = self.downlink.send(gateway, shard, batch) {
            self.stats.downstream_gone.add(1);
            tracing::debug!(%error, "nobody is there to be told; clients come back by sync");
        }
    }
}

/// What is collected per shard, so that each gets one record; more only where one would grow past
/// its bound.
#[derive(Debug, Default)]
pub struct Outboxes(HashMap<(GatewayId, u16), Outbox, RandomState>);

#[derive(Debug, Default)]
struct Outbox {
    entries: Vec<DownstreamEntry>,
    bytes: usize,
}

impl Outboxes {
    /// Adds an entry; what is there goes out first where the record would grow past its bound.
    pub fn put<D: Downlink, Y: Directory>(
        &mut self,
        outbound: &mut Outbound<D, Y>,
        gateway: GatewayId,
        shard: u16,
        entry: DownstreamEntry,
    ) {
        let outbox = self.0.entry((gateway, shard)).or_default();
        let bytes = entry.bytes();
        if outbox.bytes + bytes > DOWNSTREAM_RECORD_BYTES_MAX && !outbox.entries.is_empty() {
            let full = std::mem::take(outbox);
            outbound.send_entries(gateway, shard, full.entries);
        }
        outbox.bytes += bytes;
        outbox.entries.push(entry);
    }

    /// Sends what was collected; between two shards the work is at `step`.
    pub fn send<D: Downlink, Y: Directory>(self, outbound: &mut Outbound<D, Y>, step: Step) {
        let mut left = self.0.len();
        for ((gateway, shard), outbox) in self.0 {
            outbound.send_entries(gateway, shard, outbox.entries);
            left -= 1;
            if left > 0 {
                failpoint::reached_after(step, || {
                    outbound.await_delivery(FAILPOINT_WAIT);
                });
            }
        }
    }
}

/// What the HTTP API tells users; no matter over which road.
pub trait Tell: Send + Sync {
    /// Sends one event to every session of `users`. May wait while a shard is behind.
    fn tell(&self, kind: EntryKind, users: &[UserId], payload: &[u8]);
}

impl<D: Downlink + Clone + Sync, Y: Directory + Clone + Sync> Tell for Outbound<D, Y> {
    fn tell(&self, kind: EntryKind, users: &[UserId], payload: &[u8]) {
        self.clone().tell_users(kind, users, None, payload);
    }
}
