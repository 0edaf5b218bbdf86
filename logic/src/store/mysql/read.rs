//! What is read of MySQL beside the persister.

use super::conversations::{lines, unread};
use super::link::{Link, answer};
use super::{MySqlConfig, last_seq, members, windows};
use crate::store::rows::{key, message_type};
use crate::store::{Cursor, Listed, Members, Membership, Reader, StoreError, StoredMessage, Window};
use async_trait::async_trait;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row};
use std::ops::Range;

/// What is read through.
pub(super) struct MySqlReader {
    link: Link,
}

impl MySqlReader {
    pub(super) async fn open(config: &MySqlConfig) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open(config).await? })
    }
}

#[async_trait]
impl Reader for MySqlReader {
    async fn last_seq(&mut self, conversation: ConversationId) -> Result<u64, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(last_seq(&mut connection, conversation)).await;
        self.link.settle(connection, found)
    }

    async fn group_window(&mut self, group: ConversationId, user: UserId) -> Result<Window, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(group_window(&mut connection, group, user)).await;
        self.link.settle(connection, found)
    }

    async fn members(&mut self, group: ConversationId) -> Result<Option<Members>, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(members(&mut connection, group)).await;
        self.link.settle(connection, found)
    }

    async fn windows(
        &mut self,
        group: ConversationId,
        buckets: Range<u16>,
        seq: u64,
    ) -> Result<Vec<Membership>, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(windows(&mut connection, group, buckets, seq)).await;
        self.link.settle(connection, found)
    }

    async fn page(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let mut connection = self.link.take().await?;
        let query = sqlx::query(
            "SELECT message_id, seq_id, sender_id, client_msg_id, content, message_type, created_at, trace_id \
             FROM messages WHERE conversation_id = ? AND seq_id > ? AND seq_id <= ? ORDER BY seq_id LIMIT ?",
        );
        let query = query.bind(key(conversation)).bind(after).bind(until).bind(limit);
        let found = answer(query.fetch_all(&mut connection)).await;
        self.link.settle(connection, found.map(|rows| rows.iter().map(stored).collect()))
    }

    async fn lines(
        &mut self,
        user: UserId,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(lines(&mut connection, user, cursor, limit)).await;
        self.link.settle(connection, found)
    }

    async fn unread(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        after: u64,
    ) -> Result<u32, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(unread(&mut connection, conversation, user, after)).await;
        self.link.settle(connection, found)
    }
}

async fn group_window(
    connection: &mut MySqlConnection,
    group: ConversationId,
    user: UserId,
) -> Result<Window, sqlx::Error> {
    // One statement, so that the window and the newest seq belong to the same moment.
    let row = sqlx::query(
        "SELECT m.join_seq, m.leave_seq, (SELECT MAX(x.seq_id) FROM messages x WHERE x.conversation_id = c.conversation_id) \
         FROM conversations c LEFT JOIN conversation_members m \
         ON m.conversation_id = c.conversation_id AND m.user_id = ? WHERE c.conversation_id = ?",
    )
    .bind(user.0)
    .bind(key(group))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(Window::NotFound) };
    let Some(after) = row.get::<Option<u64>, _>(0) else { return Ok(Window::NotAMember) };
    let newest = row.get::<Option<u64>, _>(2).unwrap_or(0);
    Ok(Window::Open { after, until: row.get::<Option<u64>, _>(1).unwrap_or(newest) })
}

fn stored(row: &MySqlRow) -> StoredMessage {
    StoredMessage {
        message_id: MessageId(row.get(0)),
        seq: row.get(1),
        sender: UserId(row.get(2)),
        client_msg_id: String::from_utf8_lossy(row.get(3)).into_owned(),
        content: row.get(4),
        message_type: message_type(row.get(5)),
        created_at: UnixMs(row.get(6)),
        trace_id: row.get(7),
    }
}
