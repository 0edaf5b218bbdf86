//! The tables, as a worker needs them. SQLite is the embedded store.

pub mod conversations;
pub mod read;
pub mod sqlite;

use crate::decide::Known;
use protocol::command::MessageType;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use thiserror::Error;

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It may work later: busy, locked, disk full, connection lost.
    #[error("the store can't answer now: {0}")]
    Passing(#[source] sqlx::Error),
    /// This very data is refused, however often it is tried.
    #[error("the store refuses the data: {0}")]
    Data(#[source] sqlx::Error),
    /// The tables are newer than this program.
    #[error(
        "the data at {path} was written by a newer ringway (migration {migration}): use that version or newer"
    )]
    TooNew {
        /// Which store.
        path: String,
        /// The migration that is not known here.
        migration: i64,
    },
    /// The tables can't be made or brought up to date.
    #[error("cannot prepare the store at {path}: {source}")]
    Prepare {
        /// Which store.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The number of partitions is fixed when the data directory is made.
    #[error(
        "the store has {found} partitions, expected {expected}: it was made by another version or with another configuration"
    )]
    Partitions {
        /// In the store.
        found: usize,
        /// Asked for.
        expected: usize,
    },
}

/// One row of `partitions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Part of each message id; raised by an operator after a loss of the log.
    pub epoch: u8,
    /// The first offset that has not been persisted.
    pub next_offset: u64,
    /// Raised by each change of membership.
    pub version: u64,
}

/// One partition's step in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// Which.
    pub partition: u16,
    /// As it was seen.
    pub seen: Partition,
    /// What `next_offset` becomes.
    pub next_offset: u64,
}

/// A message to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// Where it belongs.
    pub conversation: ConversationId,
    /// Who sent it.
    pub sender: UserId,
    /// Under which id of their own.
    pub client_msg_id: &'a str,
    /// What it says.
    pub content: &'a str,
    /// What kind of content.
    pub message_type: MessageType,
    /// Follows it through every log.
    pub trace_id: &'a str,
    /// Its seq, id, hash and time.
    pub known: Known,
}

/// A stored message, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id.
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: u64,
    /// Who sent it.
    pub sender: UserId,
    /// Under which id of their own.
    pub client_msg_id: String,
    /// What it says.
    pub content: String,
    /// What kind of content.
    pub message_type: MessageType,
    /// When the gateway took it.
    pub created_at: UnixMs,
    /// Follows it through every log.
    pub trace_id: String,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// All of it is on disk.
    Done,
    /// Another owner or a change of membership came first; nothing was written.
    FenceLost,
    /// A client id is in the store already; nothing was written.
    Duplicate,
}

/// Who is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// The users whose window is open, ascending.
    Listed(Vec<UserId>),
    /// Too many to be listed: they are asked for one by one, and reached by bucket ranges.
    Large,
}

/// A record that the store refuses, with the reason.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// Its partition.
    pub partition: u16,
    /// Its offset.
    pub offset: u64,
    /// What it was.
    pub message: NewMessage<'a>,
    /// Why it is here.
    pub reason: &'a str,
}

/// What a worker asks of a store. One thread owns it.
#[allow(async_fn_in_trait, reason = "each worker thread drives its own current-thread runtime")]
pub trait Store {
    /// Every partition, by index.
    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError>;
    /// The seq of the newest message; 0 for none.
    async fn last_seq(&mut self, conversation: ConversationId) -> Result<u64, StoreError>;
    /// The members of a group; none if there is no such group.
    async fn members(&mut self, conversation: ConversationId) -> Result<Option<Members>, StoreError>;
    /// Whether the user's window in a group is open.
    async fn is_member(&mut self, conversation: ConversationId, user: UserId) -> Result<bool, StoreError>;
    /// The message stored under that key.
    async fn find(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        client_msg_id: &str,
    ) -> Result<Option<Known>, StoreError>;
    /// Compare-and-set of every partition, the messages, and the dead letters: all or nothing.
    async fn commit(
        &mut self,
        advances: &[Advance],
        messages: &[NewMessage<'_>],
        dead: &[DeadLetter<'_>],
    ) -> Result<Commit, StoreError>;
}
