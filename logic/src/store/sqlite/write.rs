//! The persister's part of SQLite, and the operator's.

use super::checkpoint::Checkpointer;
use super::{
    Turn, begin, classify, end, enter_single, insert_partitions, look_up, open, partitions, rollback, windows,
};
use crate::decide::{Known, content_hash};
use crate::store::rows::{entered_by, key, message_type};
use crate::store::sqlite::SqliteConfig;
use crate::store::{
    Advance, Commit, DeadLetter, Members, Membership, NewMessage, Partition, Store, StoreError, of_next_epoch,
};
use async_trait::async_trait;
use protocol::limits::{EMBEDDED_BATCH_INTERVAL_MS, EMBEDDED_BATCH_RECORDS_MAX, MEMBER_BUCKETS};
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// Rows per INSERT: fixed sizes, so that every statement is prepared once; and each half of the one
/// before, since every statement is two hops between threads.
const ROWS_PER_INSERT: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// A connection that writes.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    turn: Turn,
    /// The turn of a transaction that [`lock`](Store::lock) has begun.
    locked: Option<OwnedMutexGuard<()>>,
    checkpointer: Checkpointer,
}

impl SqliteStore {
    /// Opens a store that [`prepare`](super::prepare) has made.
    pub async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        let checkpointer = Checkpointer::start(config).await?;
        let (connection, turn) = (open(config).await?, config.turn.clone());
        Ok(Self { connection, turn, locked: None, checkpointer })
    }

    /// Stands in line and begins.
    async fn begin(&mut self) -> Result<OwnedMutexGuard<()>, StoreError> {
        let turn = self.turn.wait().await;
        begin(&mut self.connection).await.map_err(classify)?;
        Ok(turn)
    }

    /// What was read. After some errors SQLite has ended the transaction by itself, so none is the end of
    /// one that locks.
    async fn settle<T>(&mut self, found: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if found.is_err() {
            self.unlock().await;
        }
        found.map_err(classify)
    }

    pub(super) async fn new_epoch(&mut self, next_offsets: &[u64]) -> Result<(), StoreError> {
        let _turn = self.turn.wait().await;
        let next = of_next_epoch(&self.partitions().await?, next_offsets)?;
        begin(&mut self.connection).await.map_err(classify)?;
        let begun = replace_partitions(&mut self.connection, &next).await;
        end(&mut self.connection, begun).await
    }
}

async fn replace_partitions(connection: &mut SqliteConnection, all: &[Partition]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM partitions").execute(&mut *connection).await?;
    insert_partitions(connection, all).await
}

#[async_trait]
impl Store for SqliteStore {
    fn batch_records_max(&self) -> usize {
        EMBEDDED_BATCH_RECORDS_MAX
    }

    fn batch_interval(&self) -> Duration {
        Duration::from_millis(EMBEDDED_BATCH_INTERVAL_MS)
    }

    /// All of them, whichever are named: SQLite has one writer.
    async fn lock(&mut self, _: &[u16]) -> Result<(), StoreError> {
        self.unlock().await;
        self.locked = Some(self.begin().await?);
        Ok(())
    }

    async fn unlock(&mut self) {
        if let Some(_turn) = self.locked.take() {
            rollback(&mut self.connection).await;
        }
    }

    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError> {
        let found = partitions(&mut self.connection).await;
        self.settle(found).await
    }

    async fn last_seqs(&mut self, conversations: &[ConversationId]) -> Result<Vec<u64>, StoreError> {
        let found = look_up::last_seqs(&mut self.connection, conversations).await;
        self.settle(found).await
    }

    async fn members(&mut self, groups: &[ConversationId]) -> Result<Vec<Option<Members>>, StoreError> {
        let found = look_up::members(&mut self.connection, groups).await;
        self.settle(found).await
    }

    async fn windows(&mut self, group: ConversationId, seq: u64) -> Result<Vec<Membership>, StoreError> {
        let found = windows(&mut self.connection, group, 0..MEMBER_BUCKETS, seq).await;
        self.settle(found).await
    }

    async fn are_members(&mut self, of: &[(ConversationId, UserId)]) -> Result<Vec<bool>, StoreError> {
        let found = look_up::are_members(&mut self.connection, of).await;
        self.settle(found).await
    }

    async fn find(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        client_msg_id: &str,
    ) -> Result<Option<Known>, StoreError> {
        let found = sqlx::query(
            "SELECT seq_id, message_id, content, message_type, created_at FROM messages \
             WHERE conversation_id = ? AND sender_id = ? AND client_msg_id = ?",
        )
        .bind(key(conversation))
        .bind(sender.0 as i64)
        .bind(client_msg_id.as_bytes())
        .fetch_optional(&mut self.connection)
        .await;
        Ok(self.settle(found).await?.map(|row| Known {
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
        let _turn = match self.locked.take() {
            Some(turn) => turn,
            None => self.begin().await?,
        };
        match write(&mut self.connection, advances, messages, dead).await {
            Ok(undone @ (Commit::FenceLost | Commit::Duplicate)) => {
                rollback(&mut self.connection).await;
                Ok(undone)
            }
            written => {
                let committed = end(&mut self.connection, written).await?;
                self.checkpointer.committed(messages.len());
                Ok(committed)
            }
        }
    }
}

async fn write(
    connection: &mut SqliteConnection,
    advances: &[Advance],
    messages: &[NewMessage<'_>],
    dead: &[DeadLetter<'_>],
) -> Result<Commit, sqlx::Error> {
    if !advance(connection, advances).await? {
        return Ok(Commit::FenceLost);
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

/// Moves the offsets on; false if one is not where it was seen.
async fn advance(connection: &mut SqliteConnection, advances: &[Advance]) -> Result<bool, sqlx::Error> {
    if advances.is_empty() {
        return Ok(true);
    }
    let mut query = sqlx::query(AssertSqlSafe(advance_sql(advances.len())));
    for Advance { partition, seen, next_offset } in advances {
        query = query
            .bind(*partition)
            .bind(seen.next_offset as i64)
            .bind(seen.version as i64)
            .bind(seen.epoch)
            .bind(*next_offset as i64);
    }
    Ok(query.execute(connection).await?.rows_affected() == advances.len() as u64)
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

/// A statement that fails undoes the transaction, as [`write`] would: with the default, ABORT, SQLite
/// copies every page that a statement changes into a journal of that statement first.
fn insert_sql(rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let columns = "conversation_id, seq_id, message_id, sender_id, client_msg_id, content, content_hash, message_type, \
                   created_at, trace_id";
    format!("INSERT OR ROLLBACK INTO messages ({columns}) VALUES {}", vec![row; rows].join(", "))
}

fn advance_sql(partitions: usize) -> String {
    let rows = vec!["(?, ?, ?, ?, ?)"; partitions].join(", ");
    format!(
        "UPDATE partitions SET next_offset = column5 FROM (VALUES {rows}) \
         WHERE partition = column1 AND next_offset = column2 AND version = column3 AND epoch = column4"
    )
}
