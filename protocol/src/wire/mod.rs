//! How records look in Kafka: JSON upstream, length-prefixed binary downstream.
//!
//! Anybody who reaches the brokers can produce, so decoding checks every bound of
//! [`crate::limits`], never panics, and says what is wrong.

mod downstream;
mod fanout;
mod json;
mod query;
mod upstream;

pub use downstream::{decode_downstream, encode_downstream};
pub use fanout::{decode_fanout, encode_fanout, fanout_key};
pub use query::{decode_query, encode_query, query_key, query_kind};
pub use upstream::{UpstreamText, decode_upstream, encode_upstream, upstream_key};

use thiserror::Error;

/// The version that is written, and the only one that is read.
pub const VERSION: &str = "1";
/// Header: the version of the value's form.
pub const HEADER_VERSION: &str = "v";
/// Header: the client's trace id.
pub const HEADER_TRACE_ID: &str = "trace_id";
/// Header: which command the value is.
pub const HEADER_KIND: &str = "kind";
/// Header of a task: which kind.
pub const HEADER_TASK_TYPE: &str = "task_type";
/// `kind` of every record of `im-upstream`.
pub const KIND_SEND_MESSAGE: &str = "send-message";
/// `task_type` of a [`crate::record::FanoutTask`].
pub const TASK_LARGE_GROUP_FANOUT: &str = "large_group_fanout";

/// Why a record can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// No value at all.
    #[error("the record has no value")]
    Empty,
    /// Larger than any that is written.
    #[error("expected at most {max} bytes, got {got}")]
    TooLarge {
        /// Bytes.
        got: usize,
        /// Bytes.
        max: usize,
    },
    /// Text that is none.
    #[error("expected UTF-8, got other bytes")]
    NotUtf8,
    /// Not JSON.
    #[error("expected JSON: {0}")]
    NotJson(String),
    /// JSON of another shape, for example a number where text is expected.
    #[error("expected the fields of this kind of record: {0}")]
    BadShape(String),
    /// A field that must be there is not.
    #[error("missing field: {0}")]
    MissingField(&'static str),
    /// A field with a value that can't be.
    #[error("bad field {field}: {why}")]
    BadField {
        /// Which.
        field: &'static str,
        /// What was expected, or what came.
        why: String,
    },
    /// Written in a form that this version does not know.
    #[error("expected version {VERSION} in header v, got {0}")]
    UnknownVersion(String),
    /// No conversation id.
    #[error("bad conversation id")]
    BadConversationId,
    /// In another partition than its key belongs to.
    #[error("expected in partition {expected}, got in partition {got}")]
    WrongPartition {
        /// Where it belongs.
        expected: u16,
        /// Where it was.
        got: i32,
    },
    /// Binary that ends too early, goes on too long or holds an unknown kind.
    #[error("bad binary form at byte {at}: {why}")]
    BadBinary {
        /// Where.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// What is wrong with a record that can't be read, in kinds that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no record of ours, or a broken one.
    Garbage,
    /// It is of a version that is not known here.
    UnknownVersion,
    /// It is in another partition than its key belongs to.
    Misplaced,
}

impl DecodeError {
    /// Which kind this is.
    pub fn kind(&self) -> Unreadable {
        match self {
            Self::UnknownVersion(_) => Unreadable::UnknownVersion,
            Self::WrongPartition { .. } => Unreadable::Misplaced,
            Self::Empty
            | Self::TooLarge { .. }
            | Self::NotUtf8
            | Self::NotJson(_)
            | Self::BadShape(_)
            | Self::MissingField(_)
            | Self::BadField { .. }
            | Self::BadConversationId
            | Self::BadBinary { .. } => Unreadable::Garbage,
        }
    }
}

/// Checks the value of header `v`; none is as unknown as another.
pub fn check_version(header: Option<&[u8]>) -> Result<(), DecodeError> {
    match header {
        Some(version) if version == VERSION.as_bytes() => Ok(()),
        Some(other) => {
            let shown = String::from_utf8_lossy(&other[..other.len().min(16)]);
            Err(DecodeError::UnknownVersion(format!("{shown:?}")))
        }
        None => Err(DecodeError::UnknownVersion("none".into())),
    }
}
