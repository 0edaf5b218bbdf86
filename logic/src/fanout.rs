//! Large groups: one task per message and bucket range, so that a crash repeats one range and
//! ranges can run side by side. Tasks of one (group, range) that wait together become one scan.

use crate::handoff;
use crate::outbound::{Outbound, Outboxes};
use crate::stats::Stats;
use crate::store::StoreError;
use crate::store::read::{Membership, Reader};
use bus::directory::PerShard;
use bus::{Downlink, Parker};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::{FANOUT_QUEUE_TASKS, FANOUT_RANGES, MEMBER_BUCKETS};
use protocol::record::{DownstreamEntry, EntryKind, Targets};
use protocol::{ConversationId, GatewayId, Origin, UserId, event};
use std::sync::Arc;
use std::time::Duration;

const PARK: Duration = Duration::from_millis(500);
/// Tries of a scan before everybody is told to sync.
const TRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Users that one entry names at most, so that a record keeps its bound.
const USERS_PER_ENTRY: usize = 16_384;
/// Over how long clients spread their `sync` after a scan that failed.
const RESYNC_WITHIN_MS: u32 = 5_000;

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

/// One message for one range of buckets.
#[derive(Debug, Clone)]
pub struct Task {
    /// The group.
    pub group: ConversationId,
    /// Which of the [`FANOUT_RANGES`].
    pub range: u16,
    /// What is sent.
    pub message: Arc<LargeMessage>,
}

/// The distributor's end; dropping it says that nothing follows.
#[derive(Debug)]
pub struct TaskSender {
    tasks: handoff::Sender<Task>,
    stats: Arc<Stats>,
}

impl TaskSender {
    /// Hands a message over, a task per range; waits while the scans are behind.
    pub fn send(&self, group: ConversationId, message: LargeMessage) {
        let message = Arc::new(message);
        for range in 0..FANOUT_RANGES {
            self.tasks.send(Task { group, range, message: Arc::clone(&message) });
            self.stats.fanout_tasks.add(1);
        }
    }
}

/// A group and a range of its buckets.
type Place = (ConversationId, u16);

/// The thread that scans.
pub struct Fanout<D> {
    tasks: handoff::Receiver<Task>,
    parker: Parker,
    outbound: Outbound<D>,
    reader: Reader,
    stats: Arc<Stats>,
    /// Who is told to sync when a scan fails for good.
    gateway: GatewayId,
    shards: u16,
}

/// Both ends of the queue.
pub fn queue<D: Downlink>(
    outbound: Outbound<D>,
    reader: Reader,
    stats: &Arc<Stats>,
    gateway: GatewayId,
    shards: u16,
) -> (TaskSender, Fanout<D>) {
    let parker = Parker::new();
    let (sender, tasks) = handoff::queue(FANOUT_QUEUE_TASKS, &parker);
    let sender = TaskSender { tasks: sender, stats: Arc::clone(stats) };
    (sender, Fanout { tasks, parker, outbound, reader, stats: Arc::clone(stats), gateway, shards })
}

impl<D: Downlink> Fanout<D> {
    /// Works until the distributor has ended and its last task is done.
    pub fn run(mut self, runtime: &tokio::runtime::Runtime) {
        loop {
            let ended = self.tasks.has_ended();
            let mut merged: Vec<(Place, Vec<Arc<LargeMessage>>)> = Vec::new();
            let mut places: HashMap<Place, usize, RandomState> = HashMap::default();
            while let Some(Task { group, range, message }) = self.tasks.pop() {
                let place = *places.entry((group, range)).or_insert_with(|| {
                    merged.push(((group, range), Vec::new()));
                    merged.len() - 1
                });
                merged[place].1.push(message);
            }
            if merged.is_empty() && ended {
                return;
            }
            if merged.is_empty() {
                self.parker.park(PARK, || self.tasks.is_ready());
            }
            for ((group, range), messages) in merged {
                self.scan(group, range, &messages, runtime);
            }
        }
    }

    fn scan(
        &mut self,
        group: ConversationId,
        range: u16,
        messages: &[Arc<LargeMessage>],
        runtime: &tokio::runtime::Runtime,
    ) {
        self.stats.fanout_scans.add(1);
        for _ in 0..TRIES {
            match runtime.block_on(self.members(group, range, messages[0].seq)) {
                Ok(members) => return self.send(&members, messages),
                Err(error) => {
                    tracing::warn!(%error, %group, "the members of a large group can't be read; tried again");
                    std::thread::sleep(RETRY_PAUSE);
                }
            }
        }
        self.stats.fanout_failures.add(1);
        tracing::error!(%group, "a large group was not reached: everybody is told to sync");
        for shard in 0..self.shards {
            let payload = event::resync(RESYNC_WITHIN_MS).into();
            let entry =
                DownstreamEntry { kind: EntryKind::Resync, targets: Targets::All, exclude: None, payload };
            self.outbound.send_entries(self.gateway, shard, vec![entry]);
        }
    }

    async fn members(
        &mut self,
        group: ConversationId,
        range: u16,
        seq: u64,
    ) -> Result<Vec<Membership>, StoreError> {
        let width = MEMBER_BUCKETS / FANOUT_RANGES;
        self.reader.windows(group, range * width..(range + 1) * width, seq).await
    }

    /// One record per shard touched, with all messages in order.
    fn send(&mut self, members: &[Membership], messages: &[Arc<LargeMessage>]) {
        let mut outboxes = Outboxes::default();
        let users: Vec<UserId> = members.iter().map(|member| member.user).collect();
        let routes = self.outbound.look_up(&users).clone();
        for message in messages {
            let mut shards = PerShard::default();
            routes.per_shard(entitled(members, message.seq), &mut shards);
            for ((gateway, shard), users) in shards {
                let exclude = Some(message.from).filter(|from| from.gateway == gateway);
                for users in users.chunks(USERS_PER_ENTRY) {
                    let entry = DownstreamEntry {
                        kind: EntryKind::Message,
                        targets: Targets::Users(users.to_vec()),
                        exclude: exclude.map(|from| from.session),
                        payload: message.payload.clone(),
                    };
                    outboxes.put(&mut self.outbound, gateway, shard, entry);
                }
            }
        }
        outboxes.send(&mut self.outbound);
    }
}

/// Those whose window holds `seq`.
fn entitled(members: &[Membership], seq: u64) -> impl Iterator<Item = UserId> + '_ {
    members.iter().filter(move |m| m.after < seq && seq <= m.until).map(|m| m.user)
}
