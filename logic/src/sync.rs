//! `sync-result`: what was missed, within the reader's window and the event's bound.

use crate::history::Histories;
use crate::store::{StoreError, StoredMessage};
use protocol::command::SyncRequest;
use protocol::event::{self, Message, SyncPart};
use protocol::limits::SYNC_RESULT_BYTES_MAX;
use protocol::{ConversationId, ErrorCode, UserId};

/// What a message costs in a `sync-result` beside its texts, bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 280;
/// What a conversation costs, bytes.
const PART_OVERHEAD_BYTES: usize = 160;

/// The finished `sync-result`.
pub async fn answer(
    histories: &mut Histories,
    user: UserId,
    conversations: &[SyncRequest],
    limit: u32,
    trace_id: Option<&str>,
) -> Result<Vec<u8>, StoreError> {
    let mut budget = SYNC_RESULT_BYTES_MAX.saturating_sub(conversations.len() * PART_OVERHEAD_BYTES + 256);
    let mut pages = Vec::with_capacity(conversations.len());
    for request in conversations {
        pages.push(page(histories, user, request, limit, &mut budget).await?);
    }
    let parts: Vec<_> = pages.iter().map(Page::part).collect();
    Ok(event::sync_result(&parts, trace_id))
}

/// One conversation's part, owned.
struct Page {
    conversation: ConversationId,
    found: Result<Found, ErrorCode>,
}

struct Found {
    messages: Vec<StoredMessage>,
    last_seq: u64,
    has_more: bool,
}

async fn page(
    histories: &mut Histories,
    user: UserId,
    request: &SyncRequest,
    limit: u32,
    budget: &mut usize,
) -> Result<Page, StoreError> {
    let conversation = request.conversation;
    let (first, until) = match histories.reader.window(conversation, user).await?.range() {
        Ok(window) => window,
        Err(code) => return Ok(Page { conversation, found: Err(code) }),
    };
    // A window that was opened and closed without a message in it holds nothing.
    let last_seq = if until > first { until } else { 0 };
    let after = match request.after_seq {
        Some(after) => after.max(first),
        None => until.saturating_sub(limit.into()).max(first),
    };
    // After a reconnect most have missed nothing: the window alone tells.
    let mut messages =
        if after < until { histories.page(conversation, after, until, limit).await? } else { Vec::new() };
    let newest_asked = request.after_seq.is_none();
    keep_what_fits(&mut messages, newest_asked, budget);
    let has_more = match messages.last() {
        Some(last) => last.seq < until,
        None => after < until,
    };
    Ok(Page { conversation, found: Ok(Found { messages, last_seq, has_more }) })
}

/// Cuts the page to what is left of the event's bytes: at its end, so that a `sync` from there
/// goes on without a gap. The newest are asked for from their end, so there the oldest go.
fn keep_what_fits(messages: &mut Vec<StoredMessage>, newest: bool, budget: &mut usize) {
    let cost = |message: &StoredMessage| {
        // Escapes make a text at most six times as long.
        let texts = [&message.content, &message.client_msg_id, &message.trace_id];
        texts.iter().map(|text| escaped_len(text)).sum::<usize>()
            + message.trace_id.len()
            + MESSAGE_OVERHEAD_BYTES
    };
    let mut fits = |message: &StoredMessage| {
        let cost = cost(message);
        let fits = cost <= *budget;
        *budget = if fits { *budget - cost } else { 0 };
        fits
    };
    if newest {
        let keep = messages.iter().rev().take_while(|message| fits(message)).count();
        messages.drain(..messages.len() - keep);
    } else {
        let keep = messages.iter().take_while(|message| fits(message)).count();
        messages.truncate(keep);
    }
}

fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

impl Page {
    fn part(&self) -> SyncPart<'_> {
        let conversation_id = self.conversation;
        match &self.found {
            Err(code) => SyncPart::Refused { conversation_id, code: *code },
            Ok(found) => SyncPart::Messages {
                conversation_id,
                messages: found.messages.iter().map(|message| view(conversation_id, message)).collect(),
                last_seq: found.last_seq,
                has_more: found.has_more,
            },
        }
    }
}

pub(crate) fn view(conversation_id: ConversationId, message: &StoredMessage) -> Message<'_> {
    Message {
        message_id: message.message_id,
        client_msg_id: &message.client_msg_id,
        conversation_id,
        sender_id: message.sender,
        content: &message.content,
        message_type: message.message_type,
        seq_id: message.seq,
        created_at: message.created_at,
        trace_id: &message.trace_id,
    }
}
