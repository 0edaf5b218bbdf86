//! `im-query`: a question of one user.

use super::json::{self, Text, bad, required};
use super::{DecodeError, check_version};
use crate::command::SyncRequest;
use crate::limits::{QUERY_RECORD_BYTES_MAX, SYNC_CONVERSATIONS_MAX, SYNC_LIMIT_MAX};
use crate::record::{Query, QueryRecord};
use crate::{ConversationId, Origin, UnixMs, UserId};
use serde::{Deserialize, Serialize};

const SYNC: &str = "sync";
const MARK_READ: &str = "mark-read";
const TYPING: &str = "typing";

#[derive(Serialize)]
struct Written<'a> {
    r#type: &'static str,
    user_id: UserId,
    session_id: &'a Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversations: Option<Vec<WrittenPart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WrittenPart {
    conversation_id: ConversationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_seq: Option<u64>,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    #[serde(borrow)]
    conversations: Option<Vec<ReadPart<'a>>>,
    limit: Option<u32>,
    #[serde(borrow)]
    conversation_id: Option<Text<'a>>,
    seq_id: Option<u64>,
    at_ms: Option<u64>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ReadPart<'a> {
    #[serde(borrow)]
    conversation_id: Option<Text<'a>>,
    after_seq: Option<u64>,
}

/// The key: the user's id.
pub fn query_key(user: UserId) -> String {
    user.to_string()
}

/// The value of header `kind`.
pub fn query_kind(query: &Query) -> &'static str {
    match query {
        Query::Sync { .. } => SYNC,
        Query::MarkRead { .. } => MARK_READ,
        Query::Typing { .. } => TYPING,
    }
}

/// Appends the value to `out`.
pub fn encode_query(record: &QueryRecord, out: &mut Vec<u8>) {
    let mut written = Written {
        r#type: query_kind(&record.query),
        user_id: record.user,
        session_id: &record.origin,
        conversations: None,
        limit: None,
        conversation_id: None,
        seq_id: None,
        at_ms: None,
        trace_id: record.trace_id.as_deref(),
    };
    match &record.query {
        Query::Sync { conversations, limit } => {
            let part =
                |r: &SyncRequest| WrittenPart { conversation_id: r.conversation, after_seq: r.after_seq };
            written.conversations = Some(conversations.iter().map(part).collect());
            written.limit = Some(*limit);
        }
        Query::MarkRead { conversation, seq } => {
            (written.conversation_id, written.seq_id) = (Some(*conversation), Some(*seq));
        }
        Query::Typing { conversation, at } => {
            (written.conversation_id, written.at_ms) = (Some(*conversation), Some(at.0));
        }
    }
    json::write(&written, out);
}

/// Reads a record; `version` is the value of header `v`. The partition is not looked at: no order
/// hangs on it.
pub fn decode_query(version: Option<&[u8]>, value: Option<&[u8]>) -> Result<QueryRecord, DecodeError> {
    check_version(version)?;
    let read: Read<'_> = json::read(value.ok_or(DecodeError::Empty)?, QUERY_RECORD_BYTES_MAX)?;
    let query = match &*required("type", read.r#type)?.0 {
        SYNC => sync(required("conversations", read.conversations)?, required("limit", read.limit)?)?,
        MARK_READ => Query::MarkRead {
            conversation: json::conversation(read.conversation_id)?,
            seq: required("seq_id", read.seq_id)?,
        },
        TYPING => Query::Typing {
            conversation: json::conversation(read.conversation_id)?,
            at: UnixMs(required("at_ms", read.at_ms)?),
        },
        other => return Err(bad("type", format!("got {:?}", json::cut(other)))),
    };
    Ok(QueryRecord {
        origin: json::session(read.session_id)?,
        user: json::user("user_id", read.user_id)?,
        query,
        trace_id: read.trace_id.map(json::trace_id).transpose()?.map(Into::into),
    })
}

fn sync(parts: Vec<ReadPart<'_>>, limit: u32) -> Result<Query, DecodeError> {
    if !(1..=SYNC_CONVERSATIONS_MAX).contains(&parts.len()) {
        let got = parts.len();
        return Err(bad("conversations", format!("expected 1 to {SYNC_CONVERSATIONS_MAX}, got {got}")));
    }
    if !(1..=SYNC_LIMIT_MAX).contains(&limit) {
        return Err(bad("limit", format!("expected 1 to {SYNC_LIMIT_MAX}, got {limit}")));
    }
    let part = |part: ReadPart<'_>| {
        let conversation = json::conversation(part.conversation_id)?;
        Ok(SyncRequest { conversation, after_seq: part.after_seq })
    };
    let conversations = parts.into_iter().map(part).collect::<Result<_, DecodeError>>()?;
    Ok(Query::Sync { conversations, limit })
}
