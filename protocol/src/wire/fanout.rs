//! `im-task-large-group-fanout`: one message of a large group for one range of its buckets.

use super::json::{self, Text, bad, required};
use super::{DecodeError, check_version};
use crate::limits::{FANOUT_RANGES, UPSTREAM_RECORD_BYTES_MAX};
use crate::record::FanoutTask;
use crate::{ConversationId, Origin};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Written<'a> {
    conversation_id: ConversationId,
    seq_id: u64,
    range: u16,
    session_id: &'a Origin,
    trace_id: &'a str,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    conversation_id: Option<Text<'a>>,
    seq_id: Option<u64>,
    range: Option<u16>,
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

/// The key: `group_{id}:{range}`.
pub fn fanout_key(task: &FanoutTask) -> String {
    format!("{}:{}", task.conversation, task.range)
}

/// Appends the value to `out`.
pub fn encode_fanout(task: &FanoutTask, out: &mut Vec<u8>) {
    let FanoutTask { conversation, seq, range, from, trace_id } = task;
    let written =
        Written { conversation_id: *conversation, seq_id: *seq, range: *range, session_id: from, trace_id };
    json::write(&written, out);
}

/// Reads a task; `version` is the value of header `v`.
pub fn decode_fanout(version: Option<&[u8]>, value: Option<&[u8]>) -> Result<FanoutTask, DecodeError> {
    check_version(version)?;
    let read: Read<'_> = json::read(value.ok_or(DecodeError::Empty)?, UPSTREAM_RECORD_BYTES_MAX)?;
    let conversation = json::conversation(read.conversation_id)?;
    if !matches!(conversation, ConversationId::Group(_)) {
        return Err(bad("conversation_id", "expected a group"));
    }
    let range = required("range", read.range)?;
    if range >= FANOUT_RANGES {
        return Err(bad("range", format!("expected below {FANOUT_RANGES}, got {range}")));
    }
    Ok(FanoutTask {
        conversation,
        seq: required("seq_id", read.seq_id)?,
        range,
        from: json::session(read.session_id)?,
        trace_id: json::trace_id(required("trace_id", read.trace_id)?)?.into(),
    })
}
