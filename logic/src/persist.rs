//! The persister: batches from the road, each in one transaction.

use crate::clock;
use crate::decide::{
    ClientKey, Conversation, Decision, Knowledge, Known, World, WorldRates, Writers, decide,
};
use crate::distribute::{Audience, Batch};
use crate::handoff;
use crate::stats::Stats;
use crate::store::{Advance, Commit, DeadLetter, Members, NewMessage, Partition, Store, StoreError};
use bus::{Change, Poll, Polled, Polls, StartError, UpstreamSource};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::{RECENT_IDS_PER_CONVERSATION, WARM_CONVERSATIONS_MAX, WORKER_BATCH_RECORDS_MAX};
use protocol::record::UpstreamRecord;
use protocol::{ConversationId, ErrorCode, MessageId, UserId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a poll waits for the first record.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// Pauses between tries while the store does not answer.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

type Records = [Polled<UpstreamRecord>];

/// What the persister keeps warm of a conversation. Sound because of the fence: whoever else
/// writes a message or changes the membership makes the next compare-and-set fail.
struct Warm {
    conversation: Conversation,
    ids: HashMap<(UserId, Box<str>), Known, RandomState>,
    order: VecDeque<(UserId, Box<str>)>,
}

impl Warm {
    fn learn(&mut self, sender: UserId, client_msg_id: &str, known: Known) {
        let key = (sender, Box::from(client_msg_id));
        if self.ids.insert(key.clone(), known).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > RECENT_IDS_PER_CONVERSATION
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// What decisions are made from.
#[derive(Default)]
struct Cache {
    conversations: HashMap<ConversationId, Warm, RandomState>,
    partitions: Vec<Partition>,
    world: World,
    /// Messages that the store was asked for by key, for this batch.
    found: HashMap<(ConversationId, UserId, Box<str>), Known, RandomState>,
}

impl Knowledge for Cache {
    fn conversation(&self, id: ConversationId) -> &Conversation {
        &self.conversations[&id].conversation
    }

    fn known(&self, (conversation, sender, id): ClientKey<'_>) -> Option<Known> {
        let warm = self.conversations.get(&conversation)?;
        warm.ids
            .get(&(sender, Box::from(id)))
            .or_else(|| self.found.get(&(conversation, sender, Box::from(id))))
            .copied()
    }

    fn partition(&self, partition: u16) -> (u8, u64) {
        let partition = self.partitions[usize::from(partition)];
        (partition.epoch, partition.next_offset)
    }

    fn world(&self) -> &World {
        &self.world
    }
}

/// The persister of one worker.
pub struct Persister<S: Store> {
    store: S,
    cache: Cache,
    stats: Arc<Stats>,
    pause: Duration,
}

impl<S: Store> Persister<S> {
    /// Reads where the partitions stand.
    pub async fn new(mut store: S, world: WorldRates, stats: Arc<Stats>) -> Result<Self, StoreError> {
        let (partitions, world) = (store.partitions().await?, World::new(world));
        let cache = Cache { partitions, world, ..Cache::default() };
        Ok(Self { store, cache, stats, pause: RETRY_PAUSE_MIN })
    }

    /// Begins what is this worker's from now on, where the store continues.
    fn start(&self, source: &mut impl UpstreamSource, change: Change) -> Result<(), StartError> {
        let Change::Assigned(partitions) = change else { return Ok(()) };
        let position =
            |partition: u16| (partition, self.cache.partitions[usize::from(partition)].next_offset);
        source.start(&partitions.into_iter().map(position).collect::<Vec<_>>())
    }

    /// Persists what comes until the road is closed, and hands each batch on once it is committed.
    pub fn run(
        mut self,
        mut source: impl UpstreamSource,
        out: handoff::Sender<Batch>,
        runtime: &tokio::runtime::Runtime,
    ) {
        let mut polls = Polls::default();
        loop {
            match source.poll(WORKER_BATCH_RECORDS_MAX, POLL_WAIT, &mut polls) {
                Poll::Open => {}
                Poll::Closed => return,
                Poll::Failed(error) => return tracing::error!(%error, "the road can't go on"),
            }
            for change in polls.changes.drain(..) {
                if let Err(error) = self.start(&mut source, change) {
                    return tracing::error!(%error, "the persister can't start");
                }
            }
            polls.skipped.clear();
            let records = std::mem::take(&mut polls.records);
            if records.is_empty() {
                continue;
            }
            self.stats.records.add(records.len() as u64);
            self.measure_arrival(&records);
            let decisions = runtime.block_on(self.persist(&records));
            let (groups, committed_at) = (self.groups(&records), clock::now());
            out.send(Batch { records, decisions, groups, committed_at });
        }
    }

    /// How long records were on their way, by the shard that they came from.
    fn measure_arrival(&self, records: &Records) {
        let now = clock::now();
        for Polled { record, .. } in records {
            self.stats
                .upstream(record.origin.session.shard)
                .record(now.0.saturating_sub(record.received_at.0), 1);
        }
    }

    /// Persists records, whatever it takes: what was taken from the road is not given up.
    pub async fn persist(&mut self, records: &Records) -> Vec<Decision> {
        self.cache.found.clear();
        self.pause = RETRY_PAUSE_MIN;
        loop {
            match self.try_persist(records, None).await {
                Ok(Some(decisions)) => return decisions,
                Ok(None) => {}
                Err(StoreError::Data(error)) => return self.bisect(records, &error).await,
                Err(error) => self.wait_for_store(&error).await,
            }
        }
    }

    /// The store refuses something in these records: halves on their own, down to the one that is
    /// put aside with the reason.
    async fn bisect(&mut self, records: &Records, error: &sqlx::Error) -> Vec<Decision> {
        if let [record] = records {
            tracing::error!(%error, trace_id = %record.record.trace_id, "the store refuses a message; it is put aside");
            return self.put_aside(records, &error.to_string()).await;
        }
        let (first, second) = records.split_at(records.len() / 2);
        let mut decisions = Box::pin(self.persist(first)).await;
        decisions.extend(Box::pin(self.persist(second)).await);
        decisions
    }

    async fn put_aside(&mut self, records: &Records, reason: &str) -> Vec<Decision> {
        self.stats.dead_letters.add(1);
        loop {
            match self.try_persist(records, Some(reason)).await {
                Ok(Some(decisions)) => return decisions,
                Ok(None) => {}
                Err(error) => self.wait_for_store(&error).await,
            }
        }
    }

    /// Who is in the groups that something was written into, as it was at COMMIT.
    fn groups(&self, records: &Records) -> HashMap<ConversationId, Audience, RandomState> {
        let ids = records.iter().map(|polled| polled.record.conversation);
        ids.filter_map(|id| match &self.cache.conversations.get(&id)?.conversation.writers {
            Writers::Members(members) => Some((id, Audience::Members(Arc::clone(members)))),
            Writers::Large(_) => Some((id, Audience::Large)),
            Writers::ByName | Writers::NoGroup => None,
        })
        .collect()
    }

    async fn wait_for_store(&mut self, error: &StoreError) {
        self.stats.store_retries.add(1);
        tracing::warn!(%error, pause_ms = self.pause.as_millis(), "the store did not take a batch; it is tried again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        // The connection may have failed at COMMIT: only the store knows how that ended.
        self.cache.conversations.clear();
        if let Ok(partitions) = self.store.partitions().await {
            self.cache.partitions = partitions;
        }
    }

    /// One transaction; `None` if the world has changed and the decisions must be made again. With
    /// a reason to put them aside, the records are not stored as messages.
    async fn try_persist(
        &mut self,
        records: &Records,
        aside: Option<&str>,
    ) -> Result<Option<Vec<Decision>>, StoreError> {
        self.load(records).await?;
        self.look_up_replayed(records).await?;
        let mut decisions = decide(records, &self.cache);
        if aside.is_some() {
            decisions.fill(Decision::Refuse(ErrorCode::Internal));
        }
        let letters = aside.map(|reason| records.iter().map(|record| dead_letter(record, reason)).collect());
        let letters: Vec<_> = letters.unwrap_or_default();
        let messages = new_messages(records, &decisions);
        let advances = self.advances(records);
        let begun = clock::now();
        let committed = self.store.commit(&advances, &messages, &letters).await?;
        self.stats.commit_latency.record(clock::now().0.saturating_sub(begun.0), 1);
        match committed {
            Commit::Done => {
                self.stats.batches.add(1);
                self.learn(&messages, &advances);
                self.learn_world(records, &decisions);
                self.count(&decisions);
                Ok(Some(decisions))
            }
            Commit::FenceLost => {
                self.stats.fence_lost.add(1);
                self.cache.conversations.clear();
                self.cache.partitions = self.store.partitions().await?;
                Ok(None)
            }
            Commit::Duplicate => {
                self.stats.duplicates_looked_up.add(1);
                for message in &messages {
                    self.look_up(message.conversation, message.sender, message.client_msg_id).await?;
                }
                Ok(None)
            }
        }
    }

    async fn look_up(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        id: &str,
    ) -> Result<(), StoreError> {
        if let Some(known) = self.store.find(conversation, sender, id).await? {
            self.cache.found.insert((conversation, sender, id.into()), known);
        }
        Ok(())
    }

    /// Records below `next_offset` have been persisted before, by us or by another: their rows, if
    /// any, are acknowledged and distributed again.
    async fn look_up_replayed(&mut self, records: &Records) -> Result<(), StoreError> {
        for Polled { partition, offset, record } in records {
            if *offset < self.cache.partition(*partition).1 {
                self.look_up(record.conversation, record.sender, &record.client_msg_id).await?;
            }
        }
        Ok(())
    }

    /// Loads the conversations of the batch that are cold.
    async fn load(&mut self, records: &Records) -> Result<(), StoreError> {
        if self.cache.conversations.len() + records.len() > WARM_CONVERSATIONS_MAX {
            self.cache.conversations.clear();
        }
        for Polled { record, .. } in records {
            let id = record.conversation;
            if !self.cache.conversations.contains_key(&id) {
                let writers = self.load_writers(id).await?;
                let conversation = Conversation { last_seq: self.store.last_seq(id).await?, writers };
                let warm = Warm { conversation, ids: HashMap::default(), order: VecDeque::new() };
                self.cache.conversations.insert(id, warm);
            }
            let warm = self.cache.conversations.get_mut(&id).expect("loaded above");
            if let Writers::Large(senders) = &mut warm.conversation.writers
                && !senders.contains_key(&record.sender)
            {
                senders.insert(record.sender, self.store.is_member(id, record.sender).await?);
            }
        }
        Ok(())
    }

    async fn load_writers(&mut self, id: ConversationId) -> Result<Writers, StoreError> {
        Ok(match id {
            ConversationId::Group(_) => match self.store.members(id).await? {
                None => Writers::NoGroup,
                Some(Members::Large) => Writers::Large(HashMap::default()),
                Some(Members::Listed(members)) => Writers::Members(members.into()),
            },
            ConversationId::Single(..) | ConversationId::World => Writers::ByName,
        })
    }

    fn advances(&self, records: &Records) -> Vec<Advance> {
        let mut next: Vec<Option<u64>> = vec![None; self.cache.partitions.len()];
        for Polled { partition, offset, .. } in records {
            next[usize::from(*partition)] = Some(offset + 1);
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

fn new_messages<'a>(records: &'a Records, decisions: &[Decision]) -> Vec<NewMessage<'a>> {
    let inserts = records.iter().zip(decisions).filter_map(|(polled, decision)| match decision {
        Decision::Insert(known) => Some(new_message(&polled.record, *known)),
        Decision::Repeat(_) | Decision::Refuse(_) | Decision::Skip => None,
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
