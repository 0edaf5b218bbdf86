//! What goes into a store and comes out of it.

use crate::decide::Known;
use protocol::command::MessageType;
use protocol::{ConversationId, ErrorCode, MessageId, UnixMs, UserId};

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

/// What a user may read of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Messages with `after < seq ≤ until`.
    Open {
        /// Their `join_seq`.
        after: u64,
        /// Their `leave_seq`, or the newest there is.
        until: u64,
    },
    /// They never were a member.
    NotAMember,
    /// There is no such group.
    NotFound,
}

impl Window {
    /// The window, or why there is none.
    pub fn range(self) -> Result<(u64, u64), ErrorCode> {
        match self {
            Self::Open { after, until } => Ok((after, until)),
            Self::NotAMember => Err(ErrorCode::NotAMember),
            Self::NotFound => Err(ErrorCode::ConversationNotFound),
        }
    }
}

/// A member's window: messages with `after < seq ≤ until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Who.
    pub user: UserId,
    /// Their `join_seq`.
    pub after: u64,
    /// Their `leave_seq`, or no end.
    pub until: u64,
}

/// Those whose window holds `seq`.
pub(crate) fn entitled(members: &[Membership], seq: u64) -> impl Iterator<Item = UserId> + '_ {
    members.iter().filter(move |m| m.after < seq && seq <= m.until).map(|m| m.user)
}

/// A user has read a conversation up to a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Up to this one.
    pub seq: u64,
}

/// One line of a user's list of conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which conversation.
    pub conversation: ConversationId,
    /// A group's name.
    pub name: Option<String>,
    /// The user's `join_seq`.
    pub join_seq: u64,
    /// The newest seq that the user may see; 0 for none.
    pub last_seq: u64,
    /// Up to where they have read.
    pub read_seq: u64,
    /// Up to where the peer of a single conversation has read.
    pub peer_read_seq: Option<u64>,
    /// Messages of others after that, up to [`UNREAD_MAX`](protocol::limits::UNREAD_MAX).
    pub unread: u32,
    /// The newest message that they may see.
    pub last: Option<StoredMessage>,
    /// Where the next page goes on.
    pub cursor: Cursor,
}

/// A place in the list, which is ordered by the latest activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When something happened last, milliseconds since 1970.
    pub active_ms: u64,
    /// In which conversation.
    pub conversation: ConversationId,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.active_ms, self.conversation)
    }
}

impl Cursor {
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let (active_ms, conversation) = text.split_once('.')?;
        let conversation = ConversationId::parse(conversation).ok()?;
        Some(Self { active_ms: active_ms.parse().ok()?, conversation })
    }
}

/// A conversation's name in the tables.
pub(super) fn key(conversation: ConversationId) -> Vec<u8> {
    conversation.to_string().into_bytes()
}

/// The conversation of a name in the tables.
pub(super) fn conversation(key: &[u8]) -> Option<ConversationId> {
    ConversationId::parse(std::str::from_utf8(key).ok()?).ok()
}

/// The kind of content by its name in the tables.
pub(super) fn message_type(text: &str) -> MessageType {
    MessageType::parse(text).unwrap_or(MessageType::Custom)
}

/// The two users of a single conversation that a message is the first of; others have members by
/// the API.
pub(super) fn entered_by(message: &NewMessage<'_>) -> Option<[UserId; 2]> {
    match message.conversation {
        ConversationId::Single(a, b) if message.known.seq == 1 => Some([a, b]),
        ConversationId::Single(..) | ConversationId::Group(_) | ConversationId::World => None,
    }
}
