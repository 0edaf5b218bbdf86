//! The persister: batches from the road, each in one transaction.
//!
//! [`Persister`] tries one transaction; [`Run`] is the thread around it, that polls, tries again,
//! puts aside what the store refuses, and follows the changes of its share of the partitions.

mod cache;
mod load;
mod run;

pub use run::{Run, Stopped};

use crate::clock;
use crate::decide::{Decision, Known, World, WorldRates, Writers, decide};
use crate::distribute::Audience;
use crate::stats::Stats;
use crate::store::{Advance, Commit, DeadLetter, NewMessage, Store, StoreError};
use bus::{Polled, Skipped};
use cache::Cache;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::FENCES_LOST_MAX;
use protocol::record::UpstreamRecord;
use protocol::{ConversationId, ErrorCode, MessageId, UserId};
use std::sync::Arc;
use std::time::Duration;

type Records = [Polled<UpstreamRecord>];

/// Why records are not to be stored as messages.
#[derive(Debug, Clone, Copy)]
struct Aside<'a> {
    reason: &'a str,
    /// Whether the road has kept them; else the store does.
    on_road: bool,
}

/// What became of a transaction.
enum Tried {
    Done(Vec<Decision>),
    /// The world has changed: the decisions must be made again.
    FenceLost,
    /// Repeats were taken for new messages; they have been looked up, for the next try.
    Duplicate,
}

/// Transactions, and what is known between them.
pub struct Persister {
    store: Box<dyn Store>,
    cache: Cache,
    stats: Arc<Stats>,
}

impl Persister {
    /// Reads where the partitions stand.
    pub async fn new(
        mut store: Box<dyn Store>,
        world: WorldRates,
        stats: Arc<Stats>,
    ) -> Result<Self, StoreError> {
        let (partitions, world) = (store.partitions().await?, World::new(world));
        let cache = Cache { partitions, world, ..Cache::default() };
        Ok(Self { store, cache, stats })
    }

    /// Records that the store takes at once.
    fn batch_records_max(&self) -> usize {
        self.store.batch_records_max()
    }

    /// How far apart batches begin.
    fn batch_interval(&self) -> Duration {
        self.store.batch_interval()
    }

    /// Where a partition is to be continued.
    fn next_offset(&self, partition: u16) -> u64 {
        self.cache.partitions[usize::from(partition)].next_offset
    }

    /// Forgets what may not be so any more, and reads where the partitions stand.
    pub async fn reload(&mut self) -> Result<(), StoreError> {
        self.cache.conversations.clear();
        self.cache.windows.clear();
        let (found, expected) = (self.store.partitions().await?, self.cache.partitions.len());
        if found.len() != expected {
            // An operator has changed it. Conversations are in other partitions than this worker takes
            // them from: it may not write any more.
            return Err(StoreError::Partitions { found: found.len(), expected });
        }
        self.cache.partitions = found;
        Ok(())
    }

    /// Who is in the groups that something was written into, as it was at COMMIT.
    fn groups(&mut self, records: &Records) -> HashMap<ConversationId, Audience, RandomState> {
        let windows = std::mem::take(&mut self.cache.windows);
        let ids = records.iter().map(|polled| polled.record.conversation);
        ids.filter_map(|id| match &self.cache.conversations.get(&id)?.conversation.writers {
            Writers::Members(members) => Some((
                id,
                match windows.get(&id) {
                    Some((_, windows)) => Audience::Windows(Arc::clone(windows)),
                    None => Audience::Members(Arc::clone(members)),
                },
            )),
            Writers::Large(_) => Some((id, Audience::Large)),
            Writers::ByName | Writers::NoGroup => None,
        })
        .collect()
    }

    /// Persists records, and decides again when the world changes meanwhile.
    pub async fn persist(&mut self, records: &Records) -> Result<Vec<Decision>, StoreError> {
        self.persist_or_put_aside(records, &[], None).await
    }

    /// The same, beside records that were skipped; with a reason to put them aside, the records are
    /// not stored as messages.
    async fn persist_or_put_aside(
        &mut self,
        records: &Records,
        skipped: &[Skipped],
        aside: Option<Aside<'_>>,
    ) -> Result<Vec<Decision>, StoreError> {
        let mut fences_lost = 0;
        loop {
            let tried = if fences_lost < FENCES_LOST_MAX {
                self.attempt(records, skipped, aside).await?
            } else {
                self.attempt_locked(records, skipped, aside).await?
            };
            match tried {
                Tried::Done(decisions) => return Ok(decisions),
                Tried::FenceLost => fences_lost += 1,
                Tried::Duplicate => {}
            }
        }
    }

    /// The same while the partitions are locked, from before they are read until COMMIT: changes of
    /// membership that come one after the other would have the batch decided again without end, and
    /// now wait for it.
    ///
    /// It promises no less. The lock only says who waits: the transaction has the same compare-and-set,
    /// and every decision is made from rows read under the lock. A worker that has taken a partition
    /// over has either committed before the lock, in which case its records lie below the
    /// `next_offset` that is read here, and are replays, never stored again; or it waits, and then
    /// finds its own fence lost, and ours are its replays. A change of membership was either committed
    /// before the lock, and is seen, or begins its windows behind what this batch writes.
    async fn attempt_locked(
        &mut self,
        records: &Records,
        skipped: &[Skipped],
        aside: Option<Aside<'_>>,
    ) -> Result<Tried, StoreError> {
        let mut partitions: Vec<_> =
            ends(records, skipped).into_iter().map(|(partition, _)| partition).collect();
        partitions.sort_unstable();
        self.store.lock(&partitions).await?;
        let tried = match self.reload().await {
            Ok(()) => self.attempt(records, skipped, aside).await,
            Err(error) => Err(error),
        };
        match tried {
            Ok(Tried::Done(_)) => self.stats.batches_locked.add(1),
            Ok(Tried::FenceLost | Tried::Duplicate) => {}
            Err(_) => self.store.unlock().await,
        }
        tried
    }

    /// One transaction.
    async fn attempt(
        &mut self,
        records: &Records,
        skipped: &[Skipped],
        aside: Option<Aside<'_>>,
    ) -> Result<Tried, StoreError> {
        self.load(records).await?;
        self.look_up_replayed(records).await?;
        let mut decisions = decide(records, &self.cache);
        if aside.is_some() {
            decisions.fill(Decision::Refuse(ErrorCode::Internal));
        }
        let by_store = aside.filter(|aside| !aside.on_road).into_iter();
        let letters: Vec<_> = by_store
            .flat_map(|aside| records.iter().map(move |record| dead_letter(record, aside.reason)))
            .collect();
        let messages = new_messages(records, &decisions);
        let advances = self.advances(records, skipped);
        let begun = clock::monotonic();
        let committed = self.store.commit(&advances, &messages, &letters).await?;
        self.stats.store_failing.set(0);
        self.stats.commit_latency.record(begun.elapsed());
        match committed {
            Commit::Done => {
                self.stats.batches.add(1);
                self.learn(&messages, &advances);
                self.learn_world(records, &decisions);
                self.count(&decisions);
                self.cache.found.clear();
                Ok(Tried::Done(decisions))
            }
            Commit::FenceLost => {
                self.stats.fence_lost.add(1);
                self.reload().await?;
                Ok(Tried::FenceLost)
            }
            Commit::Duplicate => {
                self.stats.duplicates_looked_up.add(1);
                for message in &messages {
                    self.look_up(message.conversation, message.sender, message.client_msg_id).await?;
                }
                Ok(Tried::Duplicate)
            }
        }
    }

    async fn look_up(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        id: &str,
    ) -> Result<Option<Known>, StoreError> {
        let known = self.store.find(conversation, sender, id).await?;
        if let Some(known) = known {
            self.cache.found.insert((conversation, sender, id.into()), known);
        }
        Ok(known)
    }

    /// Records below `next_offset` have been persisted before, by us or by another: their rows, if
    /// any, are acknowledged and distributed again, to those who were to see them then.
    async fn look_up_replayed(&mut self, records: &Records) -> Result<(), StoreError> {
        for Polled { partition, offset, record } in records {
            if *offset < self.next_offset(*partition) {
                let known = self.look_up(record.conversation, record.sender, &record.client_msg_id).await?;
                if let Some(known) = known {
                    self.look_up_windows(record.conversation, known.seq).await?;
                }
            }
        }
        Ok(())
    }

    /// Members may have come and gone since. Large groups are reached by windows anyway.
    async fn look_up_windows(&mut self, id: ConversationId, seq: u64) -> Result<(), StoreError> {
        let warm = self.cache.conversations.get(&id);
        let listed = warm.is_some_and(|warm| matches!(warm.conversation.writers, Writers::Members(_)));
        if listed && self.cache.windows.get(&id).is_none_or(|(from, _)| *from > seq) {
            let windows = self.store.windows(id, seq).await?;
            self.cache.windows.insert(id, (seq, windows.into()));
        }
        Ok(())
    }

    fn advances(&self, records: &Records, skipped: &[Skipped]) -> Vec<Advance> {
        let mut next: Vec<Option<u64>> = vec![None; self.cache.partitions.len()];
        for (partition, end) in ends(records, skipped) {
            next[usize::from(partition)] = Some(end);
        }
        let all = (0..).zip(&self.cache.partitions).zip(next);
        all.filter_map(|((partition, seen), next)| {
            let next_offset = next?.max(seen.next_offset);
            Some(Advance { partition, seen: *seen, next_offset })
        })
        .collect()
    }

    fn learn(&mut self, messages: &[NewMessage<'_>], advances: &[Advance]) {
        for advance in advances {
            self.cache.partitions[usize::from(advance.partition)].next_offset = advance.next_offset;
        }
        for message in messages {
            let warm =
                self.cache.conversations.get_mut(&message.conversation).expect("loaded for this batch");
            warm.conversation.last_seq = message.known.seq;
            warm.learn(message.sender, message.client_msg_id, message.known);
        }
    }

    fn learn_world(&mut self, records: &Records, decisions: &[Decision]) {
        for (Polled { record, .. }, decision) in records.iter().zip(decisions) {
            if record.conversation == ConversationId::World && matches!(decision, Decision::Insert(_)) {
                self.cache.world.take(record.sender, record.received_at);
            }
        }
    }

    fn count(&self, decisions: &[Decision]) {
        for decision in decisions {
            let count = match decision {
                Decision::Insert(_) => &self.stats.persisted,
                Decision::Repeat(_) => &self.stats.repeats,
                Decision::Replay(_) => &self.stats.replays,
                Decision::Refuse(ErrorCode::NotAMember) => &self.stats.refused_not_a_member,
                Decision::Refuse(ErrorCode::ConversationNotFound) => &self.stats.refused_not_found,
                Decision::Refuse(ErrorCode::IdReused) => &self.stats.refused_id_reused,
                Decision::Refuse(ErrorCode::RateLimited) => &self.stats.refused_rate,
                Decision::Refuse(_) | Decision::Skip => continue,
            };
            count.add(1);
        }
    }
}

/// Partition and offset of each.
fn places(records: &Records, skipped: &[Skipped]) -> impl Iterator<Item = (u16, u64)> {
    let records = records.iter().map(|record| (record.partition, record.offset));
    records.chain(skipped.iter().map(|skipped| (skipped.partition, skipped.offset)))
}

/// The offset after the last one of each partition.
fn ends(records: &Records, skipped: &[Skipped]) -> Vec<(u16, u64)> {
    let mut ends: HashMap<u16, u64, RandomState> = HashMap::default();
    for (partition, offset) in places(records, skipped) {
        let end = ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
    }
    ends.into_iter().collect()
}

fn new_messages<'a>(records: &'a Records, decisions: &[Decision]) -> Vec<NewMessage<'a>> {
    let inserts = records.iter().zip(decisions).filter_map(|(polled, decision)| match decision {
        Decision::Insert(known) => Some(new_message(&polled.record, *known)),
        Decision::Repeat(_) | Decision::Replay(_) | Decision::Refuse(_) | Decision::Skip => None,
    });
    inserts.collect()
}

fn new_message(record: &UpstreamRecord, known: Known) -> NewMessage<'_> {
    NewMessage {
        conversation: record.conversation,
        sender: record.sender,
        client_msg_id: &record.client_msg_id,
        content: &record.content,
        message_type: record.message_type,
        trace_id: &record.trace_id,
        known,
    }
}

fn dead_letter<'a>(polled: &'a Polled<UpstreamRecord>, reason: &'a str) -> DeadLetter<'a> {
    let created_at = polled.record.received_at;
    let known = Known { seq: 0, message_id: MessageId(0), content_hash: 0, created_at };
    let Polled { partition, offset, .. } = *polled;
    DeadLetter { partition, offset, message: new_message(&polled.record, known), reason }
}
