//! The persister's part of MySQL. A warm batch takes three round trips: BEGIN with one UPDATE of its
//! partitions, one INSERT of its messages, COMMIT. One that locks its partitions first has more.

use super::errors::{classify, is_lost};
use super::link::{Link, answer, run};
use super::{MySqlConfig, look_up, partitions, windows};
use crate::decide::Known;
use crate::failpoint::{self, Step};
use crate::store::look_up::literal;
use crate::store::rows::{entered_by, key};
use crate::store::{
    Advance, Commit, DeadLetter, Members, Membership, NewMessage, Partition, Store, StoreError,
};
use async_trait::async_trait;
use protocol::limits::{MEMBER_BUCKETS, WORKER_BATCH_RECORDS_MAX};
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row};
use std::time::Duration;

/// Rows per INSERT: fixed sizes, so that every statement is prepared once. A full batch is one; what
/// lies between takes a few, since the server keeps every parameter of every prepared statement.
const ROWS_PER_INSERT: [usize; 16] =
    [WORKER_BATCH_RECORDS_MAX, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 8, 4, 3, 2, 1];

/// What the persister writes through.
pub(super) struct MySqlStore {
    link: Link,
    batch_interval: Duration,
    /// The connection of a transaction that [`lock`](Store::lock) has begun.
    locked: Option<MySqlConnection>,
}

/// A connection for one piece of work, and whether that is done in a transaction that locks.
struct Work {
    connection: MySqlConnection,
    locked: bool,
}

impl MySqlStore {
    pub(super) async fn open(config: &MySqlConfig) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open(config).await?, batch_interval: config.batch_interval, locked: None })
    }

    async fn take(&mut self) -> Result<Work, StoreError> {
        match self.locked.take() {
            Some(connection) => Ok(Work { connection, locked: true }),
            None => Ok(Work { connection: self.link.take().await?, locked: false }),
        }
    }

    /// Gives it back. Work that failed in a transaction that locks is its end, and that of its
    /// connection: what comes next must not believe itself within it.
    fn settle<T>(&mut self, work: Work, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if !work.locked {
            return self.link.settle(work.connection, done);
        }
        if done.is_ok() {
            self.locked = Some(work.connection);
        }
        done.map_err(classify)
    }
}

#[async_trait]
impl Store for MySqlStore {
    fn batch_records_max(&self) -> usize {
        WORKER_BATCH_RECORDS_MAX
    }

    fn batch_interval(&self) -> Duration {
        self.batch_interval
    }

    async fn lock(&mut self, partitions: &[u16]) -> Result<(), StoreError> {
        self.unlock().await;
        let connection = self.link.take().await?;
        let mut work = Work { connection, locked: true };
        let locked = answer(run(&mut work.connection, lock_sql(partitions))).await;
        self.settle(work, locked).map(drop)
    }

    async fn unlock(&mut self) {
        if let Some(mut connection) = self.locked.take() {
            // A connection on which it can't be undone is not used again.
            if answer(connection.execute("ROLLBACK")).await.is_ok() {
                self.link.give_back(connection);
            }
        }
    }

    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError> {
        let mut work = self.take().await?;
        let found = answer(partitions(&mut work.connection)).await;
        self.settle(work, found)
    }

    async fn last_seqs(&mut self, conversations: &[ConversationId]) -> Result<Vec<u64>, StoreError> {
        let mut work = self.take().await?;
        let found = answer(look_up::last_seqs(&mut work.connection, conversations)).await;
        self.settle(work, found)
    }

    async fn members(&mut self, groups: &[ConversationId]) -> Result<Vec<Option<Members>>, StoreError> {
        let mut work = self.take().await?;
        let found = answer(look_up::members(&mut work.connection, groups)).await;
        self.settle(work, found)
    }

    async fn windows(&mut self, group: ConversationId, seq: u64) -> Result<Vec<Membership>, StoreError> {
        let mut work = self.take().await?;
        let found = answer(windows(&mut work.connection, group, 0..MEMBER_BUCKETS, seq)).await;
        self.settle(work, found)
    }

    async fn are_members(&mut self, of: &[(ConversationId, UserId)]) -> Result<Vec<bool>, StoreError> {
        let mut work = self.take().await?;
        let found = answer(look_up::are_members(&mut work.connection, of)).await;
        self.settle(work, found)
    }

    async fn find(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        client_msg_id: &str,
    ) -> Result<Option<Known>, StoreError> {
        let mut work = self.take().await?;
        let query = sqlx::query(
            "SELECT seq_id, message_id, content_hash, created_at FROM messages \
             WHERE conversation_id = ? AND sender_id = ? AND client_msg_id = ?",
        );
        let query = query.bind(key(conversation)).bind(sender.0).bind(client_msg_id.as_bytes());
        let found = answer(query.fetch_optional(&mut work.connection)).await;
        let known = found.map(|row| {
            row.map(|row| Known {
                seq: row.get(0),
                message_id: MessageId(row.get(1)),
                content_hash: row.get(2),
                created_at: UnixMs(row.get(3)),
            })
        });
        self.settle(work, known)
    }

    async fn commit(
        &mut self,
        advances: &[Advance],
        messages: &[NewMessage<'_>],
        dead: &[DeadLetter<'_>],
    ) -> Result<Commit, StoreError> {
        let Work { mut connection, locked } = self.take().await?;
        let mut written = answer(write(&mut connection, locked, advances, messages, dead)).await;
        let undo = match &written {
            Ok(Commit::Done) => false,
            Ok(Commit::FenceLost | Commit::Duplicate) => true,
            Err(error) => !is_lost(error),
        };
        // Whatever it was, a connection on which it can't be undone is not used again.
        if undo && let Err(error) = answer(connection.execute("ROLLBACK")).await {
            written = written.and(Err(error));
        }
        self.link.settle(connection, written)
    }
}

async fn write(
    connection: &mut MySqlConnection,
    locked: bool,
    advances: &[Advance],
    messages: &[NewMessage<'_>],
    dead: &[DeadLetter<'_>],
) -> Result<Commit, sqlx::Error> {
    if !locked && advances.is_empty() {
        connection.execute("BEGIN").await?;
    }
    if !advances.is_empty() {
        let begin = if locked { "" } else { "BEGIN; " };
        let advanced = run(connection, format!("{begin}{}", advance_sql(advances))).await?;
        // The client counts the rows found, so one whose offset stays is counted too.
        if advanced != advances.len() as u64 {
            return Ok(Commit::FenceLost);
        }
    }
    match insert(connection, messages).await {
        Ok(()) => {}
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(Commit::Duplicate),
        Err(error) => return Err(error),
    }
    enter_singles(connection, messages).await?;
    for letter in dead {
        put_aside(connection, letter).await?;
    }
    failpoint::reached(Step::Written);
    connection.execute("COMMIT").await?;
    Ok(Commit::Done)
}

/// Locks in the order in which [`advance_sql`] does, and only these rows: without the hint a server may
/// read a table as small as this from its start, and wait for every row that another worker has locked.
/// What is read after it is as it is then, since at READ COMMITTED each statement sees what was
/// committed before it.
fn lock_sql(partitions: &[u16]) -> String {
    let rows: Vec<_> = partitions.iter().map(u16::to_string).collect();
    format!(
        "BEGIN; SELECT 1 FROM partitions FORCE INDEX (PRIMARY) WHERE `partition` IN ({}) ORDER BY `partition` FOR UPDATE",
        rows.join(", ")
    )
}

/// Compare-and-set of all partitions in one statement. The rows are found by their keys, so that only
/// these are locked, in ascending order; each takes its new offset by its place in a list, which a
/// server finds faster than by comparing (with 64 partitions 0.9 ms a statement, and 1.6 ms with CASE
/// and OR).
fn advance_sql(advances: &[Advance]) -> String {
    let first = advances.first().map_or(0, |advance| advance.partition);
    let (mut seen, mut offsets) = (Vec::with_capacity(advances.len()), Vec::new());
    for Advance { partition, seen: Partition { epoch, next_offset, version }, next_offset: next } in advances
    {
        seen.push(format!("({partition}, {next_offset}, {version}, {epoch})"));
        offsets.resize(usize::from(partition - first), "NULL".to_owned());
        offsets.push(next.to_string());
    }
    format!(
        "UPDATE partitions SET next_offset = ELT(`partition` - {first} + 1, {}) \
         WHERE (`partition`, next_offset, version, epoch) IN ({})",
        offsets.join(", "),
        seen.join(", ")
    )
}

async fn insert(
    connection: &mut MySqlConnection,
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
                .bind(seq)
                .bind(message_id.0)
                .bind(message.sender.0)
                .bind(message.client_msg_id.as_bytes())
                .bind(message.content)
                .bind(content_hash)
                .bind(message.message_type.as_str())
                .bind(created_at.0)
                .bind(message.trace_id);
        }
        query.execute(&mut *connection).await?;
        messages = rest;
    }
    Ok(())
}

fn insert_sql(rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let columns = "conversation_id, seq_id, message_id, sender_id, client_msg_id, content, content_hash, message_type, \
                   created_at, trace_id";
    format!("INSERT INTO messages ({columns}) VALUES {}", vec![row; rows].join(", "))
}

async fn enter_singles(
    connection: &mut MySqlConnection,
    messages: &[NewMessage<'_>],
) -> Result<(), sqlx::Error> {
    let mut rows = Vec::new();
    for message in messages {
        for user in entered_by(message).into_iter().flatten() {
            let (id, at) = (literal(&key(message.conversation)), message.known.created_at.0);
            rows.push(format!("({id}, {user}, 0, 'member', 0, 0, {at})"));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let columns = "(conversation_id, user_id, bucket, role, join_seq, read_seq, joined_at)";
    let sql = format!("INSERT IGNORE INTO conversation_members {columns} VALUES {}", rows.join(", "));
    run(connection, sql).await.map(drop)
}

async fn put_aside(connection: &mut MySqlConnection, letter: &DeadLetter<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO dead_letters (`partition`, record_offset, conversation_id, sender_id, client_msg_id, content, \
         reason, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(letter.partition)
    .bind(letter.offset)
    .bind(key(letter.message.conversation))
    .bind(letter.message.sender.0)
    .bind(letter.message.client_msg_id.as_bytes())
    .bind(letter.message.content.as_bytes())
    .bind(letter.reason)
    .bind(letter.message.known.created_at.0)
    .execute(connection)
    .await
    .map(drop)
}
