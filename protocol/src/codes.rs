//! Error codes of the `error` event and close codes of the WebSocket.

use serde::Serialize;

/// Why a command was refused; the `code` of an `error` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The command is not valid: not JSON, a field missing, of the wrong type or out of bounds.
    InvalidMessage,
    /// The envelope's `type` is none that this server knows.
    UnknownType,
    /// A command is larger than the limit.
    MessageTooLarge,
    /// The sender is not a member of the conversation.
    NotAMember,
    /// There is no such conversation.
    ConversationNotFound,
    /// The client id was used before by this sender in this conversation, with other content.
    IdReused,
    /// The sender exceeds a rate limit.
    RateLimited,
    /// A bounded queue on the road is full; the same command may be sent again later.
    Busy,
    /// The token has expired.
    AuthExpired,
    /// The server failed; it logged why.
    Internal,
}

impl ErrorCode {
    /// Whether sending the same command again, later, can succeed.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Busy | Self::Internal)
    }

    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::NotAMember => "NOT_A_MEMBER",
            Self::ConversationNotFound => "CONVERSATION_NOT_FOUND",
            Self::IdReused => "ID_REUSED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Busy => "BUSY",
            Self::AuthExpired => "AUTH_EXPIRED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// Status codes of a close frame: RFC 6455 section 7.4.1, and Ringway's own from 4001 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// Both sides are done (1000).
    Normal = 1000,
    /// The server drains; the reason says `retry_ms=N` (1001).
    GoingAway = 1001,
    /// The peer broke the framing rules (1002).
    Protocol = 1002,
    /// Binary frames are not accepted (1003).
    Unsupported = 1003,
    /// Text that is not UTF-8 (1007).
    InvalidPayload = 1007,
    /// A message above the limit (1009).
    TooBig = 1009,
    /// The server is overloaded, come back later (1013).
    TryAgainLater = 1013,
    /// The token expired or was revoked (4001).
    AuthExpired = 4001,
    /// A newer session took this one's place (4002).
    Replaced = 4002,
    /// The reader can't keep up with what is sent to it (4003).
    SlowConsumer = 4003,
    /// Repeatedly above the rate limit (4004).
    RateLimited = 4004,
    /// Nothing was heard from the client for too long (4005).
    HeartbeatLost = 4005,
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }
}
