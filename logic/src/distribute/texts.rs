//! What senders and recipients are told.

use crate::decide::{Known, WorldRates};
use crate::query::not_open;
use protocol::ErrorCode;
use protocol::event::Message;
use protocol::record::UpstreamRecord;

pub(super) fn message<'a>(record: &'a UpstreamRecord, known: &Known) -> Message<'a> {
    Message {
        message_id: known.message_id,
        client_msg_id: &record.client_msg_id,
        conversation_id: record.conversation,
        sender_id: record.sender,
        content: &record.content,
        message_type: record.message_type,
        seq_id: known.seq,
        created_at: known.created_at,
        trace_id: &record.trace_id,
    }
}

pub(super) fn reason(code: ErrorCode, world: WorldRates) -> String {
    match code {
        ErrorCode::NotAMember | ErrorCode::ConversationNotFound => not_open(code).into(),
        ErrorCode::IdReused => {
            "tempMessageId was used before in this conversation, with other content".into()
        }
        ErrorCode::RateLimited => format!(
            "world takes {} of each user and {} of all: send it again in a moment",
            world.user, world.all
        ),
        _ => "the message could not be stored; it has been put aside for the operator".into(),
    }
}
