//! Large groups: one task per message and bucket range, so that a crash repeats one range and
//! ranges can run side by side. Tasks of one (group, range) that come together become one scan.

mod tasks;

pub use tasks::{KafkaSink, KafkaSource, LocalSink, LocalSource, Task, TaskSink, TaskSource, local};

use crate::failpoint::{self, Step};
use crate::history::Histories;
use crate::outbound::{Outbound, Outboxes};
use crate::stats::Stats;
use crate::store::{Membership, StoreError, entitled};
use crate::sync::view;
use bus::Downlink;
use bus::directory::{Directory, DirectoryError, PerShard, Routes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::{FANOUT_RANGES, MEMBER_BUCKETS, SYNC_LIMIT_MAX};
use protocol::record::{DownstreamEntry, EntryKind, Targets};
use protocol::{ConversationId, Origin, event};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Runtime;

const POLL_WAIT: Duration = Duration::from_millis(500);
/// Tries of a scan before everybody is told to sync; with the pauses below, about a minute.
const TRIES: u32 = 12;
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(8);
/// Users that one entry names at most, so that a record keeps its bound.
const USERS_PER_ENTRY: usize = 16_384;
/// Over how long clients spread their `sync` after a scan that failed.
const RESYNC_WITHIN_MS: u32 = 5_000;
/// How long the records of a scan may take to be durable; then its tasks are not done, and are
/// polled again after the next start.
const DELIVERY_WAIT: Duration = Duration::from_secs(30);

/// A message to a large group.
#[derive(Debug)]
pub struct LargeMessage {
    /// Its place in the group.
    pub seq: u64,
    /// The finished `new-message`.
    pub payload: Box<[u8]>,
    /// The session that sent it.
    pub from: Origin,
}

#[derive(Debug, Error)]
enum ScanError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// A group and a range of its buckets.
type Place = (ConversationId, u16);

/// The thread that scans.
pub struct Fanout<D, Y> {
    outbound: Outbound<D, Y>,
    histories: Histories,
    runtime: Runtime,
    stats: Arc<Stats>,
    routes: Routes,
}

impl<D: Downlink, Y: Directory> Fanout<D, Y> {
    /// Scans by `histories`, sends by `outbound`.
    pub fn new(outbound: Outbound<D, Y>, histories: Histories, runtime: Runtime) -> Self {
        let stats = Arc::clone(&histories.stats);
        Self { outbound, histories, runtime, stats, routes: Routes::default() }
    }

    /// Works until the source is closed and its last task is done.
    pub fn run(mut self, mut source: Box<dyn TaskSource>) {
        let mut tasks = Vec::new();
        loop {
            let open = source.poll(POLL_WAIT, &mut tasks);
            if tasks.is_empty() && !open {
                return;
            }
            if tasks.is_empty() {
                continue;
            }
            for (place, tasks) in merge(&mut tasks) {
                self.scan(place, &tasks);
            }
            if self.outbound.await_delivery(DELIVERY_WAIT) {
                failpoint::reached(Step::Scanned);
                source.done();
            }
        }
    }

    fn scan(&mut self, (group, range): Place, tasks: &[Task]) {
        self.stats.fanout_scans.add(1);
        let mut pause = RETRY_PAUSE_MIN;
        for _ in 0..TRIES {
            match self.try_scan(group, range, tasks) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, %group, range, "a large group can't be reached yet; tried again");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
        self.stats.fanout_failures.add(1);
        tracing::error!(%group, range, "a large group was not reached: everybody is told to sync");
        self.tell_all_to_sync();
    }

    fn try_scan(&mut self, group: ConversationId, range: u16, tasks: &[Task]) -> Result<(), ScanError> {
        let width = MEMBER_BUCKETS / FANOUT_RANGES;
        let buckets = range * width..(range + 1) * width;
        let first = tasks.iter().map(|task| task.seq).min().unwrap_or(0);
        let windows = self.histories.reader.windows(group, buckets, first);
        let members = self.runtime.block_on(windows)?;
        let payloads = self.runtime.block_on(payloads(&mut self.histories, group, tasks))?;
        let users: Vec<_> = members.iter().map(|member| member.user).collect();
        self.outbound.directory_mut().look_up(&users, &mut self.routes)?;
        self.send(&members, tasks, &payloads);
        Ok(())
    }

    /// One record per shard touched, with all messages in order.
    fn send(
        &mut self,
        members: &[Membership],
        tasks: &[Task],
        payloads: &HashMap<u64, Arc<[u8]>, RandomState>,
    ) {
        let mut outboxes = Outboxes::default();
        for task in tasks {
            // A message that the store does not hold any more has nobody to be told of it.
            let Some(payload) = payloads.get(&task.seq) else { continue };
            let mut shards = PerShard::default();
            self.routes.per_shard(entitled(members, task.seq), &mut shards);
            for ((gateway, shard), users) in shards {
                let exclude = (task.from.gateway == gateway).then_some(task.from.session);
                for users in users.chunks(USERS_PER_ENTRY) {
                    let entry = DownstreamEntry {
                        kind: EntryKind::Message,
                        targets: Targets::Users(users.to_vec()),
                        exclude,
                        payload: Box::from(&**payload),
                    };
                    outboxes.put(&mut self.outbound, gateway, shard, entry);
                }
            }
        }
        outboxes.send(&mut self.outbound, Step::Scanning);
    }

    fn tell_all_to_sync(&mut self) {
        // Nobody is online, as far as is known, if the directory does not answer.
        let gateways = self.outbound.directory_mut().gateways().unwrap_or_default();
        for gateway in gateways {
            for shard in 0..gateway.shards {
                let payload = event::resync(RESYNC_WITHIN_MS).into();
                let (kind, targets) = (EntryKind::Resync, Targets::All);
                let entry = DownstreamEntry { kind, targets, exclude: None, payload };
                self.outbound.send_entries(gateway.id, shard, vec![entry]);
            }
        }
    }
}

/// Tasks by place, in the order in which they came; a task that came twice counts once.
fn merge(tasks: &mut Vec<Task>) -> Vec<(Place, Vec<Task>)> {
    let mut merged: Vec<(Place, Vec<Task>)> = Vec::new();
    let mut places: HashMap<Place, usize, RandomState> = HashMap::default();
    for task in tasks.drain(..) {
        let key = (task.group, task.range);
        let place = *places.entry(key).or_insert_with(|| {
            merged.push((key, Vec::new()));
            merged.len() - 1
        });
        if merged[place].1.iter().all(|known| known.seq != task.seq) {
            merged[place].1.push(task);
        }
    }
    merged
}

/// The finished texts of the tasks' messages, by seq.
async fn payloads(
    histories: &mut Histories,
    group: ConversationId,
    tasks: &[Task],
) -> Result<HashMap<u64, Arc<[u8]>, RandomState>, StoreError> {
    let mut payloads: HashMap<u64, Arc<[u8]>, RandomState> = HashMap::default();
    for task in tasks {
        if let Some(message) = &task.message {
            payloads.insert(task.seq, Arc::clone(message));
        }
    }
    let mut missing: Vec<_> =
        tasks.iter().map(|task| task.seq).filter(|seq| !payloads.contains_key(seq)).collect();
    missing.sort_unstable();
    let mut missing = missing.into_iter().peekable();
    while let Some(first) = missing.next() {
        // Seqs of one batch are close together: one page for all that fit in it.
        let mut last = first;
        while let Some(seq) = missing.next_if(|seq| *seq < first + u64::from(SYNC_LIMIT_MAX)) {
            last = seq;
        }
        for stored in histories.page(group, first - 1, last, SYNC_LIMIT_MAX).await? {
            payloads.insert(stored.seq, event::new_message(&view(group, &stored)).into());
        }
    }
    Ok(payloads)
}
