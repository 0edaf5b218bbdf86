//! A user's conversations: the list, histories, read marks.

use super::Api;
use super::problem::Problem;
use super::request::{Body, Caller, InPath, InQuery, limit};
use crate::query::{may_mark, not_open, told_of_read};
use crate::store::{Cursor, Listed, Mark};
use crate::sync::view;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::limits::{
    CONVERSATIONS_PAGE_DEFAULT, CONVERSATIONS_PAGE_MAX, SYNC_LIMIT_DEFAULT, SYNC_LIMIT_MAX,
};
use protocol::record::EntryKind;
use protocol::{ConversationId, event};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct ListPage {
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    Caller(caller): Caller,
    State(api): State<Api>,
    InQuery(page): InQuery<ListPage>,
) -> Result<Response, Problem> {
    let limit = limit(page.limit, CONVERSATIONS_PAGE_DEFAULT, CONVERSATIONS_PAGE_MAX)?;
    let wrong = || Problem::invalid("cursor must be the cursor of an earlier page");
    let cursor = page.cursor.map(|text| Cursor::parse(&text).ok_or_else(wrong)).transpose()?;
    let (found, has_more) = api.reader.lock().await.conversations(caller, cursor.as_ref(), limit).await?;
    let mut answer = json!({"conversations": found.iter().map(line).collect::<Vec<_>>()});
    if let (true, Some(last)) = (has_more, found.last()) {
        answer["cursor"] = last.cursor.to_string().into();
    }
    Ok(Json(answer).into_response())
}

fn line(listed: &Listed) -> Value {
    let kind = match listed.conversation {
        ConversationId::Single(..) => "single",
        ConversationId::Group(_) => "group",
        ConversationId::World => "world",
    };
    let mut line = json!({
        "conversationId": listed.conversation,
        "type": kind,
        "lastSeq": listed.last_seq,
        "readSeq": listed.read_seq,
        "unreadCount": listed.unread,
        "lastMessage": listed.last.as_ref().map(|message| view(listed.conversation, message)),
    });
    if let Some(name) = &listed.name {
        line["name"] = name.as_str().into();
    }
    if let Some(seq) = listed.peer_read_seq {
        line["peerReadSeq"] = seq.into();
    }
    line
}

#[derive(Deserialize)]
pub(super) struct HistoryPage {
    after_seq: Option<u64>,
    before_seq: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn messages(
    Caller(caller): Caller,
    State(api): State<Api>,
    InPath(conversation): InPath<String>,
    InQuery(page): InQuery<HistoryPage>,
) -> Result<Response, Problem> {
    let conversation = parse(&conversation)?;
    let limit = limit(page.limit, SYNC_LIMIT_DEFAULT, SYNC_LIMIT_MAX)?;
    if page.after_seq.is_some() && page.before_seq.is_some() {
        return Err(Problem::invalid("give after_seq or before_seq, not both"));
    }
    let mut reader = api.reader.lock().await;
    let window = reader.window(conversation, caller).await?.range();
    let (first, last) = window.map_err(|code| Problem::not_open(code, not_open(code)))?;
    // Seqs are dense, so a page backwards is a page forwards from `limit` before.
    let until = page.before_seq.map_or(last, |before| before.saturating_sub(1).min(last));
    let after = match page.after_seq {
        Some(after) => after.max(first),
        None => until.saturating_sub(limit.into()).max(first),
    };
    let messages = reader.page(conversation, after, until, limit).await?;
    drop(reader);
    let has_more = match page.after_seq {
        Some(_) => messages.last().is_some_and(|message| message.seq < last),
        None => messages.first().is_some_and(|message| message.seq > first + 1),
    };
    let messages: Vec<_> = messages.iter().map(|message| view(conversation, message)).collect();
    let last_seq = if last > first { last } else { 0 };
    Ok(Json(json!({"messages": messages, "lastSeq": last_seq, "hasMore": has_more})).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadMark {
    seq_id: u64,
}

pub(super) async fn mark_read(
    Caller(caller): Caller,
    State(api): State<Api>,
    InPath(conversation): InPath<String>,
    Body(ReadMark { seq_id }): Body<ReadMark>,
) -> Result<StatusCode, Problem> {
    let conversation = parse(&conversation)?;
    if let Err((code, text)) = may_mark(&mut **api.reader.lock().await, conversation, caller).await? {
        return Err(Problem::not_open(code, text));
    }
    let mark = Mark { conversation, user: caller, seq: seq_id };
    let moved = api.marks.lock().await.mark_read(&[mark]).await?;
    if let Some(seq) = moved[0] {
        api.stats.marks_moved.add(1);
        api.tell(EntryKind::Read, told_of_read(&mark), event::read(conversation, caller, seq)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn parse(text: &str) -> Result<ConversationId, Problem> {
    ConversationId::parse(text)
        .map_err(|why| Problem::invalid(format!("the conversation's id is not valid: {why}")))
}
