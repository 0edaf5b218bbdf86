//! `im-upstream`: a client's message with its authenticated sender.

use super::json::{self, Text, bad, required};
use super::{DecodeError, check_version};
use crate::command::MessageType;
use crate::limits::{CLIENT_MSG_ID_BYTES_MAX, CONTENT_CHARS_MAX, UPSTREAM_RECORD_BYTES_MAX};
use crate::record::UpstreamRecord;
use crate::{ConversationId, GatewayId, Origin, UnixMs, UserId};
use serde::{Deserialize, Serialize};

/// A message as it is written: the fields of an [`UpstreamRecord`], borrowed from wherever they are.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamText<'a> {
    /// The session that sent it.
    pub origin: &'a Origin,
    /// The authenticated sender.
    pub sender: UserId,
    /// Where it belongs.
    pub conversation: ConversationId,
    /// The client's own id for it.
    pub client_msg_id: &'a str,
    /// What it says.
    pub content: &'a str,
    /// What kind of content.
    pub message_type: MessageType,
    /// When the gateway took it.
    pub received_at: UnixMs,
    /// Follows the message through every log.
    pub trace_id: &'a str,
}

impl<'a> From<&'a UpstreamRecord> for UpstreamText<'a> {
    fn from(record: &'a UpstreamRecord) -> Self {
        Self {
            origin: &record.origin,
            sender: record.sender,
            conversation: record.conversation,
            client_msg_id: &record.client_msg_id,
            content: &record.content,
            message_type: record.message_type,
            received_at: record.received_at,
            trace_id: &record.trace_id,
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    sender_id: UserId,
    session_id: &'a Origin,
    gateway_id: &'a str,
    shard: u16,
    conversation_id: ConversationId,
    client_msg_id: &'a str,
    content: &'a str,
    message_type: MessageType,
    received_at_ms: u64,
    trace_id: &'a str,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    sender_id: Option<Text<'a>>,
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    #[serde(borrow)]
    gateway_id: Option<Text<'a>>,
    shard: Option<u16>,
    #[serde(borrow)]
    conversation_id: Option<Text<'a>>,
    #[serde(borrow)]
    client_msg_id: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    message_type: Option<Text<'a>>,
    received_at_ms: Option<u64>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

/// The key: the conversation's name.
pub fn upstream_key(conversation: ConversationId) -> String {
    conversation.to_string()
}

/// Appends the value to `out`.
pub fn encode_upstream(record: UpstreamText<'_>, out: &mut Vec<u8>) {
    let gateway: &GatewayId = &record.origin.gateway;
    let written = Written {
        sender_id: record.sender,
        session_id: record.origin,
        gateway_id: gateway.as_str(),
        shard: record.origin.session.shard,
        conversation_id: record.conversation,
        client_msg_id: record.client_msg_id,
        content: record.content,
        message_type: record.message_type,
        received_at_ms: record.received_at.0,
        trace_id: record.trace_id,
    };
    json::write(&written, out);
}

/// Reads a record that came from `partition` of so many; `version` is the value of header `v`.
pub fn decode_upstream(
    version: Option<&[u8]>,
    value: Option<&[u8]>,
    partition: i32,
    partitions: u16,
) -> Result<UpstreamRecord, DecodeError> {
    check_version(version)?;
    let read: Read<'_> = json::read(value.ok_or(DecodeError::Empty)?, UPSTREAM_RECORD_BYTES_MAX)?;
    let origin = json::session(read.session_id)?;
    if *required("gateway_id", read.gateway_id)?.0 != *origin.gateway.as_str() {
        return Err(bad("gateway_id", "expected the gateway of session_id"));
    }
    if required("shard", read.shard)? != origin.session.shard {
        return Err(bad("shard", "expected the shard of session_id"));
    }
    let client_msg_id = required("client_msg_id", read.client_msg_id)?.0;
    if !(1..=CLIENT_MSG_ID_BYTES_MAX).contains(&client_msg_id.len()) {
        return Err(bad("client_msg_id", format!("expected 1 to {CLIENT_MSG_ID_BYTES_MAX} bytes")));
    }
    let content = required("content", read.content)?.0;
    if content.is_empty() || content.chars().nth(CONTENT_CHARS_MAX).is_some() {
        return Err(bad("content", format!("expected 1 to {CONTENT_CHARS_MAX} characters")));
    }
    let message_type = required("message_type", read.message_type)?.0;
    let message_type = MessageType::parse(&message_type)
        .ok_or_else(|| bad("message_type", format!("got {:?}", json::cut(&message_type))))?;
    let conversation = json::conversation(read.conversation_id)?;
    let expected = conversation.partition(partitions);
    if partition != i32::from(expected) {
        return Err(DecodeError::WrongPartition { expected, got: partition });
    }
    Ok(UpstreamRecord {
        origin,
        sender: json::user("sender_id", read.sender_id)?,
        conversation,
        client_msg_id: client_msg_id.into(),
        content: content.into(),
        message_type,
        received_at: UnixMs(required("received_at_ms", read.received_at_ms)?),
        trace_id: json::trace_id(required("trace_id", read.trace_id)?)?.into(),
    })
}
