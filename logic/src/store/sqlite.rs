//! The store of one process, in SQLite: WAL, one writer, any number of readers.

use super::{Advance, Commit, DeadLetter, Members, NewMessage, Partition, Store, StoreError};
use crate::decide::{Known, content_hash};
use protocol::command::MessageType;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a writer waits for another before the store counts as busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of 4 KiB in the log after which they are copied into the database, 64 MiB. A batch touches
/// up to two pages for each of its messages: by default (1,000) they would be copied batch by batch.
const CHECKPOINT_PAGES: &str = "16384";
/// What a connection that writes keeps of the database in memory, 32 MiB (SQLite wants KiB as a
/// negative number): more than a batch changes, or its pages would be written more than once.
const CACHE_KIB_NEGATIVE: &str = "-32768";
/// Rows per INSERT: fixed sizes, so that every statement is prepared once.
const ROWS_PER_INSERT: [usize; 4] = [128, 32, 8, 1];

/// When a COMMIT returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Once it is on the disk: it survives a loss of power.
    #[default]
    Full,
    /// Once the system has it: it survives the end of the process.
    Normal,
}

/// Where the store is and how it writes.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The database file.
    pub path: PathBuf,
    /// When a COMMIT returns.
    pub synchronous: Synchronous,
    /// Shared by all that write.
    pub turn: Turn,
}

impl SqliteConfig {
    /// The store at `path`; clones of this configuration write in turn.
    pub fn new(path: impl Into<PathBuf>, synchronous: Synchronous) -> Self {
        Self { path: path.into(), synchronous, turn: Turn::default() }
    }

    /// How a connection that writes is opened.
    pub fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("cache_size", CACHE_KIB_NEGATIVE)
            .synchronous(match self.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging()
    }
}

/// Who writes next. SQLite has one writer at a time, and those that wait for it by its busy handler
/// may starve: here they stand in line.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<Mutex<()>>);

impl Turn {
    pub(crate) async fn wait(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0).lock_owned().await
    }
}

/// A connection that writes.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) connection: SqliteConnection,
    pub(crate) turn: Turn,
}

fn prepare_error(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Prepare { path: path.display().to_string(), source: source.into() }
}

/// Makes the database at need, brings its tables up to date, and checks its partitions.
pub async fn prepare(config: &SqliteConfig, partitions: u16) -> Result<(), StoreError> {
    let fail = |error| prepare_error(&config.path, error);
    let mut connection =
        SqliteConnection::connect_with(&config.options().create_if_missing(true)).await.map_err(fail)?;
    match sqlx::migrate!("migrations/sqlite").run(&mut connection).await {
        Ok(()) => {}
        Err(sqlx::migrate::MigrateError::VersionMissing(migration)) => {
            return Err(StoreError::TooNew { path: config.path.display().to_string(), migration });
        }
        Err(error) => return Err(prepare_error(&config.path, error)),
    }
    let mut store = SqliteStore { connection, turn: config.turn.clone() };
    backfill_singles(&mut store.connection).await.map_err(fail)?;
    if store.partitions().await?.is_empty() {
        for partition in 0..partitions {
            sqlx::query(
                "INSERT INTO partitions (partition, epoch, next_offset, version) VALUES (?, 1, 0, 0)",
            )
            .bind(partition)
            .execute(&mut store.connection)
            .await
            .map_err(fail)?;
        }
    }
    let found = store.partitions().await?.len();
    if found != usize::from(partitions) {
        return Err(StoreError::Partitions { found, expected: partitions.into() });
    }
    store.connection.close().await.map_err(fail)
}

impl SqliteStore {
    /// Opens a store that [`prepare`] has made.
    pub async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        let connection = SqliteConnection::connect_with(&config.options()).await;
        let connection = connection.map_err(|error| prepare_error(&config.path, error))?;
        Ok(Self { connection, turn: config.turn.clone() })
    }

    async fn insert(&mut self, mut messages: &[NewMessage<'_>]) -> Result<(), sqlx::Error> {
        while !messages.is_empty() {
            let rows =
                ROWS_PER_INSERT.into_iter().find(|rows| *rows <= messages.len()).expect("one row fits");
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
            query.execute(&mut self.connection).await?;
            messages = rest;
        }
        Ok(())
    }

    /// The first message of a single conversation enters it in the lists of its two users.
    async fn enter_singles(&mut self, messages: &[NewMessage<'_>]) -> Result<(), sqlx::Error> {
        for message in messages.iter().filter(|message| message.known.seq == 1) {
            enter_single(&mut self.connection, message.conversation, message.known.created_at).await?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
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
            .execute(&mut self.connection)
            .await?;
            if changed.rows_affected() != 1 {
                return Ok(Commit::FenceLost);
            }
        }
        match self.insert(messages).await {
            Ok(()) => {}
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(Commit::Duplicate),
            Err(error) => return Err(error),
        }
        self.enter_singles(messages).await?;
        for letter in dead {
            self.put_aside(letter).await?;
        }
        Ok(Commit::Done)
    }

    async fn put_aside(&mut self, letter: &DeadLetter<'_>) -> Result<(), sqlx::Error> {
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
        .execute(&mut self.connection)
        .await
        .map(drop)
    }
}

fn insert_sql(rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let columns = "conversation_id, seq_id, message_id, sender_id, client_msg_id, content, content_hash, message_type, \
                   created_at, trace_id";
    format!("INSERT INTO messages ({columns}) VALUES {}", vec![row; rows].join(", "))
}

/// A conversation's name in the tables.
pub(crate) fn key(conversation: ConversationId) -> Vec<u8> {
    conversation.to_string().into_bytes()
}

/// Tells what may work later from what never will.
pub(crate) fn classify(error: sqlx::Error) -> StoreError {
    /// SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_TOOBIG, SQLITE_RANGE (primary result codes).
    const DATA: [i32; 4] = [19, 20, 18, 25];
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<i32>().ok()),
        _ => None,
    };
    match code {
        Some(code) if DATA.contains(&(code & 0xff)) => StoreError::Data(error),
        _ => StoreError::Passing(error),
    }
}

impl Store for SqliteStore {
    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError> {
        let rows = sqlx::query("SELECT epoch, next_offset, version FROM partitions ORDER BY partition")
            .fetch_all(&mut self.connection)
            .await
            .map_err(classify)?;
        let read = |row: SqliteRow| Partition {
            epoch: row.get::<i64, _>(0) as u8,
            next_offset: row.get::<i64, _>(1) as u64,
            version: row.get::<i64, _>(2) as u64,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn last_seq(&mut self, conversation: ConversationId) -> Result<u64, StoreError> {
        last_seq(&mut self.connection, conversation).await.map_err(classify)
    }

    async fn members(&mut self, conversation: ConversationId) -> Result<Option<Members>, StoreError> {
        members(&mut self.connection, conversation).await.map_err(classify)
    }

    async fn is_member(&mut self, conversation: ConversationId, user: UserId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT 1 FROM conversation_members WHERE conversation_id = ? AND user_id = ? AND leave_seq IS NULL",
        )
        .bind(key(conversation))
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
        let written = self.write(advances, messages, dead).await;
        if let Ok(Commit::Done) = written {
            match sqlx::query("COMMIT").execute(&mut self.connection).await {
                Ok(_) => return Ok(Commit::Done),
                Err(error) => {
                    rollback(&mut self.connection).await;
                    return Err(classify(error));
                }
            }
        }
        rollback(&mut self.connection).await;
        written.map_err(classify)
    }
}

/// Takes the write lock at once: a lock taken later could be refused halfway.
pub(crate) async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(connection).await.map(drop)
}

pub(crate) async fn rollback(connection: &mut SqliteConnection) {
    // After some errors SQLite has rolled back by itself and says so here: either way it is undone.
    let _ = sqlx::query("ROLLBACK").execute(connection).await;
}

pub(crate) async fn last_seq(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT COALESCE(MAX(seq_id), 0) FROM messages WHERE conversation_id = ?")
        .bind(key(conversation))
        .fetch_one(connection)
        .await?;
    Ok(row.get::<i64, _>(0) as u64)
}

pub(crate) async fn members(
    connection: &mut SqliteConnection,
    group: ConversationId,
) -> Result<Option<Members>, sqlx::Error> {
    let row = sqlx::query("SELECT large FROM conversations WHERE conversation_id = ?")
        .bind(key(group))
        .fetch_optional(&mut *connection)
        .await?;
    match row.map(|row| row.get::<bool, _>(0)) {
        None => return Ok(None),
        Some(true) => return Ok(Some(Members::Large)),
        Some(false) => {}
    }
    let rows = sqlx::query(
        "SELECT user_id FROM conversation_members WHERE conversation_id = ? AND leave_seq IS NULL",
    )
    .bind(key(group))
    .fetch_all(connection)
    .await?;
    let mut members: Vec<_> = rows.into_iter().map(|row| UserId(row.get::<i64, _>(0) as u64)).collect();
    members.sort_unstable();
    Ok(Some(Members::Listed(members)))
}

/// Enters a single conversation in the lists of its two users; others have members by the API.
async fn enter_single(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
    at: UnixMs,
) -> Result<(), sqlx::Error> {
    let ConversationId::Single(a, b) = conversation else { return Ok(()) };
    for user in [a, b] {
        sqlx::query(
            "INSERT OR IGNORE INTO conversation_members \
             (conversation_id, user_id, bucket, role, join_seq, read_seq, joined_at) VALUES (?, ?, 0, 'member', 0, 0, ?)",
        )
        .bind(key(conversation))
        .bind(user.0 as i64)
        .bind(at.0 as i64)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Stores from before there were lists of conversations have singles that nobody is entered in.
const SINGLES_ENTERED: i64 = 1;

async fn backfill_singles(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?.get(0);
    if version >= SINGLES_ENTERED {
        return Ok(());
    }
    begin(connection).await?;
    let rows = sqlx::query("SELECT conversation_id, MIN(created_at) FROM messages GROUP BY conversation_id")
        .fetch_all(&mut *connection)
        .await?;
    for row in rows {
        let name = String::from_utf8_lossy(row.get(0)).into_owned();
        if let Ok(conversation) = ConversationId::parse(&name) {
            enter_single(connection, conversation, UnixMs(row.get::<i64, _>(1) as u64)).await?;
        }
    }
    sqlx::query("PRAGMA user_version = 1").execute(&mut *connection).await?;
    sqlx::query("COMMIT").execute(connection).await.map(drop)
}

pub(crate) fn message_type(text: &str) -> MessageType {
    MessageType::parse(text).unwrap_or(MessageType::Custom)
}
