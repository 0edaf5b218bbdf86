//! Client → server: reading and checking a command.

mod parse;

pub use parse::Parser;

use crate::ConversationId;
use crate::codes::ErrorCode;
use serde::Serialize;

/// The kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// Plain text.
    Text,
    /// An image, by reference.
    Image,
    /// A file, by reference.
    File,
    /// A sound, by reference.
    Audio,
    /// A video, by reference.
    Video,
    /// Whatever the clients agree on.
    Custom,
}

impl MessageType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Text, Self::Image, Self::File, Self::Audio, Self::Video, Self::Custom];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::File => "file",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Custom => "custom",
        }
    }

    /// From the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A checked command with the client's `trace_id`; borrows from the parsed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The envelope's `trace_id`, if it gave one.
    pub trace_id: Option<&'a str>,
    /// What it asks for.
    pub command: Command<'a>,
}

/// What a client can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `send-message`.
    SendMessage(SendMessage<'a>),
    /// `sync`.
    Sync {
        /// Per conversation, from where.
        conversations: Vec<SyncRequest>,
        /// Messages per conversation.
        limit: u32,
    },
    /// `mark-read`.
    MarkRead {
        /// Which conversation.
        conversation: ConversationId,
        /// Read up to this one.
        seq: u64,
    },
    /// `typing`.
    Typing {
        /// Where.
        conversation: ConversationId,
    },
    /// `ping`.
    Ping,
}

/// A message to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendMessage<'a> {
    /// The client's own id, the key of deduplication.
    pub client_msg_id: &'a str,
    /// Where to.
    pub conversation: ConversationId,
    /// 1 to 5,000 characters.
    pub content: &'a str,
    /// What kind of content.
    pub message_type: MessageType,
}

/// One conversation of a `sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncRequest {
    /// Which.
    pub conversation: ConversationId,
    /// Messages after this seq, ascending; none: the newest.
    pub after_seq: Option<u64>,
}

/// Why a command was not taken; becomes an `error` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class.
    pub code: ErrorCode,
    /// Field, what was expected, what came.
    pub message: String,
    /// The client's id for the message, if one could be read.
    pub temp_message_id: Option<String>,
    /// The client's trace id, if one could be read.
    pub trace_id: Option<String>,
    /// Whether it is no JSON at all, rather than JSON that asks for the wrong thing.
    pub not_json: bool,
}
