//! What is read of SQLite beside the persister.

use super::conversations::{lines, unread};
use super::{classify, last_seq, members, windows};
use crate::store::rows::{key, message_type};
use crate::store::{Cursor, Listed, Members, Membership, Reader, StoreError, StoredMessage, Window};
use async_trait::async_trait;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use std::ops::Range;
use std::path::Path;

/// A connection that only reads, beside the one that writes.
#[derive(Debug)]
pub struct SqliteReader {
    connection: SqliteConnection,
}

impl SqliteReader {
    /// Opens the database at `path`.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        Ok(Self { connection: options.connect().await.map_err(StoreError::Passing)? })
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn last_seq(&mut self, conversation: ConversationId) -> Result<u64, StoreError> {
        last_seq(&mut self.connection, conversation).await.map_err(classify)
    }

    async fn group_window(&mut self, group: ConversationId, user: UserId) -> Result<Window, StoreError> {
        // One statement, so that the window and the newest seq belong to the same moment.
        let row = sqlx::query(
            "SELECT m.join_seq, m.leave_seq, (SELECT COALESCE(MAX(seq_id), 0) FROM messages WHERE conversation_id = ?1) \
             FROM conversations c LEFT JOIN conversation_members m \
             ON m.conversation_id = c.conversation_id AND m.user_id = ?2 WHERE c.conversation_id = ?1",
        )
        .bind(key(group))
        .bind(user.0 as i64)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(classify)?;
        let Some(row) = row else { return Ok(Window::NotFound) };
        let Some(join_seq) = row.get::<Option<i64>, _>(0) else { return Ok(Window::NotAMember) };
        let until = row.get::<Option<i64>, _>(1).unwrap_or_else(|| row.get(2));
        Ok(Window::Open { after: join_seq as u64, until: until as u64 })
    }

    async fn members(&mut self, group: ConversationId) -> Result<Option<Members>, StoreError> {
        members(&mut self.connection, group).await.map_err(classify)
    }

    async fn windows(
        &mut self,
        group: ConversationId,
        buckets: Range<u16>,
        seq: u64,
    ) -> Result<Vec<Membership>, StoreError> {
        windows(&mut self.connection, group, buckets, seq).await.map_err(classify)
    }

    async fn page(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        // `after` may be any u64: beyond an i64 it would turn negative, and open the window.
        if after >= until {
            return Ok(vec![]);
        }
        let rows = sqlx::query(
            "SELECT message_id, seq_id, sender_id, client_msg_id, content, message_type, created_at, trace_id \
             FROM messages WHERE conversation_id = ? AND seq_id > ? AND seq_id <= ? ORDER BY seq_id LIMIT ?",
        )
        .bind(key(conversation))
        .bind(after as i64)
        .bind(until as i64)
        .bind(limit)
        .fetch_all(&mut self.connection)
        .await
        .map_err(classify)?;
        Ok(rows.iter().map(stored).collect())
    }

    async fn lines(
        &mut self,
        user: UserId,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        lines(&mut self.connection, user, cursor, limit).await.map_err(classify)
    }

    async fn unread(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        after: u64,
    ) -> Result<u32, StoreError> {
        unread(&mut self.connection, conversation, user, after).await.map_err(classify)
    }
}

fn stored(row: &SqliteRow) -> StoredMessage {
    StoredMessage {
        message_id: MessageId(row.get::<i64, _>(0) as u64),
        seq: row.get::<i64, _>(1) as u64,
        sender: UserId(row.get::<i64, _>(2) as u64),
        client_msg_id: String::from_utf8_lossy(row.get(3)).into_owned(),
        content: row.get(4),
        message_type: message_type(row.get(5)),
        created_at: UnixMs(row.get::<i64, _>(6) as u64),
        trace_id: row.get(7),
    }
}
