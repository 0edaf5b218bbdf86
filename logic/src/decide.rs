//! What becomes of each record of a batch: a pure function of the records and of what is known.

use bus::Polled;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::command::MessageType;
use protocol::record::UpstreamRecord;
use protocol::{Bucket, ConversationId, ErrorCode, MessageId, Rate, UnixMs, UserId};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What is known of a conversation before the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The seq of its newest message; 0 for none.
    pub last_seq: u64,
    /// Who may write.
    pub writers: Writers,
}

/// Who may write into a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writers {
    /// The two of a single conversation, or everybody in `world`: its name tells.
    ByName,
    /// The members of a group whose window is open, ascending.
    Members(Arc<[UserId]>),
    /// A large group: of each sender in the batch, whether their window is open.
    Large(HashMap<UserId, bool, RandomState>),
    /// There is no such group.
    NoGroup,
}

/// A message that is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its place in the conversation.
    pub seq: u64,
    /// Its id.
    pub message_id: MessageId,
    /// [`content_hash`] of what it says.
    pub content_hash: u64,
    /// When the gateway took it first.
    pub created_at: UnixMs,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is stored under this seq and id.
    Insert(Known),
    /// It is stored already, under another offset: acknowledged again with its first ids. Whoever
    /// should see it was told, or will be by the replay of that offset.
    Repeat(Known),
    /// It was persisted from this very offset, by us or by another, but perhaps not distributed:
    /// acknowledged and distributed again.
    Replay(Known),
    /// It is not stored; the sender is told.
    Refuse(ErrorCode),
    /// A record from before `next_offset` without a row: it was refused or put aside then.
    Skip,
}

/// The key of deduplication.
pub type ClientKey<'a> = (ConversationId, UserId, &'a str);

/// What the decision needs to know of the world.
pub trait Knowledge {
    /// The conversation; every one in the batch has been loaded.
    fn conversation(&self, id: ConversationId) -> &Conversation;
    /// The message stored under that key, if it is known.
    fn known(&self, key: ClientKey<'_>) -> Option<Known>;
    /// The partition's epoch and the first offset that has not been persisted.
    fn partition(&self, partition: u16) -> (u8, u64);
    /// What `world` has room for.
    fn world(&self) -> &World;
}

/// The rates of `world`: of each sender, and of all together. Their clock is when the gateway took
/// each message, so that a replay decides the same.
#[derive(Debug, Clone, Default)]
pub struct World {
    rates: WorldRates,
    all: Bucket,
    users: HashMap<UserId, Bucket, RandomState>,
}

/// How much `world` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldRates {
    /// Of each sender.
    pub user: Rate,
    /// Of all together.
    pub all: Rate,
}

impl Default for WorldRates {
    fn default() -> Self {
        Self { user: Rate::new(1, 5), all: Rate::new(100, 200) }
    }
}

/// Buckets of `world` beyond which the full ones are let go.
const WORLD_BUCKETS_MAX: usize = 4_096;

impl World {
    /// With nothing sent yet.
    pub fn new(rates: WorldRates) -> Self {
        Self { rates, ..Self::default() }
    }

    /// Takes the room of one message; `false` if there is none.
    pub fn take(&mut self, sender: UserId, at: UnixMs) -> bool {
        if self.users.len() > WORLD_BUCKETS_MAX {
            self.users.retain(|_, bucket| !bucket.is_full(at.0));
        }
        let mut all = self.all;
        let mut user = self.users.get(&sender).copied().unwrap_or_default();
        let taken = all.take(self.rates.all, at.0) && user.take(self.rates.user, at.0);
        if taken {
            self.all = all;
            self.users.insert(sender, user);
        }
        taken
    }
}

/// A hash of what a message says, to tell a repeat from a reused id.
pub fn content_hash(kind: MessageType, content: &str) -> u64 {
    let digest = Sha256::new().chain_update(kind.as_str()).chain_update([0]).chain_update(content).finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has more than eight bytes"))
}

/// Decides on every record, in order.
pub fn decide(records: &[Polled<UpstreamRecord>], knowledge: &impl Knowledge) -> Vec<Decision> {
    let mut last_seqs: HashMap<ConversationId, u64, RandomState> = HashMap::default();
    let mut in_batch: HashMap<ClientKey<'_>, Known, RandomState> = HashMap::default();
    let mut decisions = Vec::with_capacity(records.len());
    // Copied only by a batch that writes into `world`; learnt from once it is committed.
    let mut world: Option<World> = None;
    for Polled { partition, offset, record } in records {
        let key = (record.conversation, record.sender, &*record.client_msg_id);
        let conversation = knowledge.conversation(record.conversation);
        let hash = content_hash(record.message_type, &record.content);
        let known = in_batch.get(&key).copied().or_else(|| knowledge.known(key));
        let (epoch, next_offset) = knowledge.partition(*partition);
        let message_id = MessageId::new(epoch, *partition, *offset);
        decisions.push(match (known, may_write(conversation, record)) {
            // A repeat is answered even after its sender has left: it was taken while one could.
            (Some(known), _) if known.content_hash == hash && *offset < next_offset => {
                Decision::Replay(known)
            }
            (Some(known), _) if known.content_hash == hash => Decision::Repeat(known),
            (None, _) if *offset < next_offset => Decision::Skip,
            (_, Err(code)) => Decision::Refuse(code),
            (Some(_), Ok(())) => Decision::Refuse(ErrorCode::IdReused),
            (None, Ok(()))
                if record.conversation == ConversationId::World
                    && !world
                        .get_or_insert_with(|| knowledge.world().clone())
                        .take(record.sender, record.received_at) =>
            {
                Decision::Refuse(ErrorCode::RateLimited)
            }
            (None, Ok(())) => {
                let last = last_seqs.entry(record.conversation).or_insert(conversation.last_seq);
                *last += 1;
                let new =
                    Known { seq: *last, message_id, content_hash: hash, created_at: record.received_at };
                in_batch.insert(key, new);
                Decision::Insert(new)
            }
        });
    }
    decisions
}

fn may_write(conversation: &Conversation, record: &UpstreamRecord) -> Result<(), ErrorCode> {
    let may = match (&conversation.writers, record.conversation) {
        (Writers::NoGroup, _) => return Err(ErrorCode::ConversationNotFound),
        (Writers::Members(members), _) => members.binary_search(&record.sender).is_ok(),
        (Writers::Large(senders), _) => senders.get(&record.sender).copied().unwrap_or(false),
        (Writers::ByName, ConversationId::Single(a, b)) => record.sender == a || record.sender == b,
        (Writers::ByName, _) => true,
    };
    if may { Ok(()) } else { Err(ErrorCode::NotAMember) }
}
