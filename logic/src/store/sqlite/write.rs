//! The persister's part of SQLite, and the operator's.

use super::{
    Turn, begin, classify, end, enter_single, last_seq, members, open, partitions, rollback, windows,
};
use crate::decide::{Known, content_hash};
use crate::store::rows::{entered_by, key, message_type};
use crate::store::sqlite::SqliteConfig;
use crate::store::{
    Advance, Commit, DeadLetter, Members, Membership, NewMessage, Partition, Store, StoreError,
    may_begin_epoch,
};
use async_trait::async_trait;
use protocol::limits::{EMBEDDED_BATCH_RECORDS_MAX, MEMBER_BUCKETS};
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

/// Rows per INSERT: fixed sizes, so that every statement is prepared once.
const ROWS_PER_INSERT: [usize; 4] = [128, 32, 8, 1];

/// A connection that writes.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    turn: Turn,
}

impl SqliteStore {
    /// Opens a store that [`prepare`](super::prepare) has made.
    pub async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        Ok(Self { connection: open(config).await?, turn: config.turn.clone() })
    }

    pub(super) async fn new_epoch(&mut self, next_offsets: &[u64]) -> Result<(), StoreError> {
        let _turn = self.turn.wait().await;
        may_begin_epoch(&self.partitions().await?, next_offsets)?;
        begin(&mut self.connection).await.map_err(classify)?;
        let begun = begin_epoch(&mut self.connection, next_offsets).await;
        end(&mut self.connection, begun).await
    }
}

async fn begin_epoch(connection: &mut SqliteConnection, next_offsets: &[u64]) -> Result<(), sqlx::Error> {
    for (partition, next_offset) in (0u16..).zip(next_offsets) {
        sqlx::query("UPDATE partitions SET epoch = epoch + 1, next_offset = ? WHERE partition = ?")
            .bind(*next_offset as i64)
            .bind(partition)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    fn batch_records_max(&self) -> usize {
        EMBEDDED_BATCH_RECORDS_MAX
    }

    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError> {
        partitions(&mut self.connection).await.map_err(classify)
    }

    async fn last_seq(&mut self, conversation: ConversationId) -> Result<u64, StoreError> {
        last_seq(&mut self.connection, conversation).await.map_err(classify)
    }

    async fn members(&mut self, group: ConversationId) -> Result<Option<Members>, StoreError> {
        members(&mut self.connection, group).await.map_err(classify)
    }

    async fn windows(&mut self, group: ConversationId, seq: u64) -> Result<Vec<Membership>, StoreError> {
        windows(&mut self.connection, group, 0..MEMBER_BUCKETS, seq).await.map_err(classify)
    }

    async fn is_member(&mut self, group: ConversationId, user: UserId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT 1 FROM conversation_members WHERE conversation_id = ? AND user_id = ? AND leave_seq IS NULL",
        )
        .bind(key(group))
        .bind(user.0 as i64)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(classify)?;
        Ok(row.is_some())
    }

    async fn find(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        client_msg_id: &str,
    ) -> Result<Option<Known>, StoreError> {
        let row = sqlx::query(
            "SELECT seq_id, message_id, content, message_type, created_at FROM messages \
             WHERE conversation_id = ? AND sender_id = ? AND client_msg_id = ?",
        )
        .bind(key(conversation))
        .bind(sender.0 as i64)
        .bind(client_msg_id.as_bytes())
        .fetch_optional(&mut self.connection)
        .await
        .map_err(classify)?;
        Ok(row.map(|row| Known {
            seq: row.get::<i64, _>(0) as u64,
            message_id: MessageId(row.get::<i64, _>(1) as u64),
            content_hash: content_hash(message_type(row.get(3)), row.get(2)),
            created_at: UnixMs(row.get::<i64, _>(4) as u64),
        }))
    }

    async fn commit(
        &mut self,
        advances: &[Advance],
        messages: &[NewMessage<'_>],
        dead: &[DeadLetter<'_>],
    ) -> Result<Commit, StoreError> {
        let _turn = self.turn.wait().await;
        begin(&mut self.connection).await.map_err(classify)?;
        match write(&mut self.connection, advances, messages, dead).await {
            Ok(undone @ (Commit::FenceLost | Commit::Duplicate)) => {
                rollback(&mut self.connection).await;
                Ok(undone)
            }
            written => end(&mut self.connection, written).await,
        }
    }
}

async fn write(
    connection: &mut SqliteConnection,
    advances: &[Advance],
    messages: &[NewMessage<'_>],
    dead: &[DeadLetter<'_>],
) -> Result<Commit, sqlx::Error> {
    for Advance { partition, seen, next_offset } in advances {
        let changed = sqlx::query(
            "UPDATE partitions SET next_offset = ? WHERE partition = ? AND next_offset = ? AND version = ? AND epoch = ?",
        )
        .bind(*next_offset as i64)
        .bind(*partition)
        .bind(seen.next_offset as i64)
        .bind(seen.version as i64)
        .bind(seen.epoch)
        .execute(&mut *connection)
        .await?;
        if changed.rows_affected() != 1 {
            return Ok(Commit::FenceLost);
        }
    }
    match insert(connection, messages).await {
        Ok(()) => {}
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(Commit::Duplicate),
        Err(error) => return Err(error),
    }
    for message in messages {
        if let Some(users) = entered_by(message) {
            enter_single(connection, message.conversation, users, message.known.created_at).await?;
        }
    }
    for letter in dead {
        put_aside(connection, letter).await?;
    }
    Ok(Commit::Done)
}

async fn insert(
    connection: &mut SqliteConnection,
    mut messages: &[NewMessage<'_>],
) -> Result<(), sqlx::Error> {
    while !messages.is_empty() {
        let rows = ROWS_PER_INSERT.into_iter().find(|rows| *rows <= messages.len()).expect("one row fits");
        let (chunk, rest) = messages.split_at(rows);
        let mut query = sqlx::query(AssertSqlSafe(insert_sql(rows)));
        for message in chunk {
            let Known { seq, message_id, content_hash, created_at } = message.known;
            query = query
                .bind(key(message.conversation))
                .bind(seq as i64)
                .bind(message_id.0 as i64)
                .bind(message.sender.0 as i64)
                .bind(message.client_msg_id.as_bytes())
                .bind(message.content)
                .bind(content_hash as i64)
                .bind(message.message_type.as_str())
                .bind(created_at.0 as i64)
                .bind(message.trace_id);
        }
        query.execute(&mut *connection).await?;
        messages = rest;
    }
    Ok(())
}

async fn put_aside(connection: &mut SqliteConnection, letter: &DeadLetter<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO dead_letters (partition, record_offset, conversation_id, sender_id, client_msg_id, content, \
         reason, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(letter.partition)
    .bind(letter.offset as i64)
    .bind(key(letter.message.conversation))
    .bind(letter.message.sender.0 as i64)
    .bind(letter.message.client_msg_id.as_bytes())
    .bind(letter.message.content)
    .bind(letter.reason)
    .bind(letter.message.known.created_at.0 as i64)
    .execute(connection)
    .await
    .map(drop)
}

fn insert_sql(rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let columns = "conversation_id, seq_id, message_id, sender_id, client_msg_id, content, content_hash, message_type, \
                   created_at, trace_id";
    format!("INSERT INTO messages ({columns}) VALUES {}", vec![row; rows].join(", "))
}
