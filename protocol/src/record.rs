//! What travels between gateways and logic workers.
//!
//! On the in-process road these structs themselves move between threads.

use crate::command::{MessageType, SyncRequest};
use crate::{ConversationId, Origin, SessionRef, UnixMs, UserId};

/// A client's message on its way to the logic workers (topic `im-upstream`, by conversation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRecord {
    /// The session that sent it: acks and errors go there without looking up a route.
    pub origin: Origin,
    /// The authenticated sender.
    pub sender: UserId,
    /// Where it belongs.
    pub conversation: ConversationId,
    /// The client's own id for it (`tempMessageId`), the key of deduplication.
    pub client_msg_id: Box<str>,
    /// What it says.
    pub content: Box<str>,
    /// What kind of content.
    pub message_type: MessageType,
    /// When the gateway took it; becomes `created_at`, the same again on replay.
    pub received_at: UnixMs,
    /// Follows the message through every log.
    pub trace_id: Box<str>,
}

/// A question to the logic workers (topic `im-query`, by user).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRecord {
    /// The session that asked.
    pub origin: Origin,
    /// The authenticated user.
    pub user: UserId,
    /// What is asked.
    pub query: Query,
    /// The client's `trace_id`, echoed in the answer; none if it gave none.
    pub trace_id: Option<Box<str>>,
}

/// The questions there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Pull what was missed.
    Sync {
        /// Per conversation, from where.
        conversations: Vec<SyncRequest>,
        /// Messages per conversation.
        limit: u32,
    },
    /// The user has read up to here.
    MarkRead {
        /// Which conversation.
        conversation: ConversationId,
        /// Up to this one.
        seq: u64,
    },
    /// The user is typing.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// When; what is too old is dropped.
        at: UnixMs,
    },
}

/// A message of a large group for one range of its buckets (topic `im-task-large-group-fanout`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanoutTask {
    /// The group.
    pub conversation: ConversationId,
    /// The message's place in it.
    pub seq: u64,
    /// Which of the [`crate::limits::FANOUT_RANGES`].
    pub range: u16,
    /// The session that sent it, which must not get it.
    pub from: Origin,
    /// Follows the message through every log.
    pub trace_id: Box<str>,
}

/// Everything one worker batch has for one shard of one gateway (topic `im-downstream-{gateway}`,
/// partition = shard), in decided order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DownstreamBatch {
    /// In the order in which they must reach each socket.
    pub entries: Vec<DownstreamEntry>,
    /// When the worker began to send it, for the latency of this hop.
    pub sent_at: UnixMs,
}

/// One event and whom it is for. The payload is the finished WebSocket text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamEntry {
    /// What it is, for counting and for entries that carry no text.
    pub kind: EntryKind,
    /// Whom it is for, within the shard.
    pub targets: Targets,
    /// A session that must not get it: the one that sent the message.
    pub exclude: Option<SessionRef>,
    /// The finished text, byte for byte as it goes into a frame.
    pub payload: Box<[u8]>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// `message-ack`.
    Ack,
    /// `error`.
    Error,
    /// `new-message`.
    Message,
    /// `sync-result`.
    SyncResult,
    /// `read`.
    Read,
    /// `typing`.
    Typing,
    /// `conversation-update`.
    Update,
    /// `resync`.
    Resync,
    /// No text: the session it is for is closed with 4002, a newer one took its place elsewhere.
    Kick,
}

/// Whom an entry is for, within one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// One session, by slot and generation.
    Session(SessionRef),
    /// Every session of these users.
    Users(Vec<UserId>),
    /// Every session on the shard.
    All,
}

impl UpstreamRecord {
    /// What this record counts against bounds in bytes: itself and its texts.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.client_msg_id.len() + self.content.len() + self.trace_id.len()
    }
}

impl DownstreamEntry {
    /// What this entry counts against [`crate::limits::DOWNSTREAM_RECORD_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        let targets = match &self.targets {
            Targets::Users(users) => users.len() * 8,
            Targets::Session(_) | Targets::All => 16,
        };
        self.payload.len() + targets + 40
    }
}
