//! The store of one process, in SQLite: WAL, one writer, any number of readers.

mod checkpoint;
mod conversations;
mod groups;
mod look_up;
mod read;
mod write;

pub use conversations::SqliteMarks;
pub use groups::SqliteGroups;
pub use read::SqliteReader;
pub use write::SqliteStore;

use super::rows::{conversation, key};
use super::{Backend, GroupStore, Marks, Members, Membership, Partition, Reader, Store, StoreError};
use async_trait::async_trait;
use protocol::{ConversationId, UnixMs, UserId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a writer waits for another before the store counts as busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of 4 KiB in the log after which a COMMIT copies them itself, 256 MiB: the bound of the log
/// where the checkpointer can't keep up.
const LOG_PAGES_MAX: &str = "65536";
/// What a connection that writes keeps of the database in memory, 64 MiB (SQLite wants KiB as a
/// negative number): more than a batch changes, or its pages would be written more than once.
const CACHE_KIB_NEGATIVE: &str = "-65536";

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
            .pragma("wal_autocheckpoint", LOG_PAGES_MAX)
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
    async fn wait(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0).lock_owned().await
    }
}

#[async_trait(?Send)]
impl Backend for SqliteConfig {
    async fn prepare(&self, partitions: u16) -> Result<(), StoreError> {
        prepare(self, partitions).await
    }

    async fn open_store(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(SqliteStore::open(self).await?))
    }

    async fn open_reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.path).await?))
    }

    async fn open_marks(&self) -> Result<Box<dyn Marks>, StoreError> {
        Ok(Box::new(SqliteMarks::open(self).await?))
    }

    async fn open_groups(&self, partitions: u16) -> Result<Box<dyn GroupStore>, StoreError> {
        Ok(Box::new(SqliteGroups::open(self, partitions).await?))
    }

    async fn new_epoch(&self, next_offsets: &[u64]) -> Result<(), StoreError> {
        SqliteStore::open(self).await?.new_epoch(next_offsets).await
    }
}

/// Makes the database at need, brings its tables up to date, and checks its partitions.
pub async fn prepare(config: &SqliteConfig, expected: u16) -> Result<(), StoreError> {
    let place = config.path.display();
    let fail = |error| StoreError::prepare(&place, error);
    let mut connection = config.options().create_if_missing(true).connect().await.map_err(fail)?;
    let migrated = sqlx::migrate!("migrations/sqlite").run(&mut connection).await;
    migrated.map_err(|error| StoreError::migrate(&place, error))?;
    backfill_singles(&mut connection).await.map_err(fail)?;
    if partitions(&mut connection).await.map_err(fail)?.is_empty() {
        let first = Partition { epoch: 1, next_offset: 0, version: 0 };
        insert_partitions(&mut connection, &vec![first; expected.into()]).await.map_err(fail)?;
    }
    let found = partitions(&mut connection).await.map_err(fail)?.len();
    if found != usize::from(expected) {
        return Err(StoreError::Partitions { found, expected: expected.into() });
    }
    connection.close().await.map_err(fail)
}

/// Tells what may work later from what never will.
fn classify(error: sqlx::Error) -> StoreError {
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

/// Takes the write lock at once: a lock taken later could be refused halfway.
async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(connection).await.map(drop)
}

/// Commits what was done; whatever failed is rolled back.
async fn end<T>(connection: &mut SqliteConnection, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
    let committed = match done {
        Ok(value) => sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| value),
        Err(error) => Err(error),
    };
    if committed.is_err() {
        rollback(connection).await;
    }
    committed.map_err(classify)
}

async fn rollback(connection: &mut SqliteConnection) {
    // After some errors SQLite has rolled back by itself and says so here: either way it is undone.
    let _ = sqlx::query("ROLLBACK").execute(connection).await;
}

/// A connection for those whose work may be cut off halfway, as a call of the HTTP API is when its
/// client hangs up. It is taken and given back; one that is not is closed, and so rolled back.
#[derive(Debug)]
struct Spare {
    config: SqliteConfig,
    connection: Option<SqliteConnection>,
}

impl Spare {
    async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        Ok(Self { config: config.clone(), connection: Some(open(config).await?) })
    }

    async fn take(&mut self) -> Result<SqliteConnection, StoreError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => open(&self.config).await,
        }
    }

    fn give_back(&mut self, connection: SqliteConnection) {
        self.connection = Some(connection);
    }
}

async fn open(config: &SqliteConfig) -> Result<SqliteConnection, StoreError> {
    let connection = config.options().connect().await;
    connection.map_err(|error| StoreError::prepare(config.path.display(), error))
}

async fn insert_partitions(connection: &mut SqliteConnection, all: &[Partition]) -> Result<(), sqlx::Error> {
    for (partition, row) in (0u16..).zip(all) {
        sqlx::query("INSERT INTO partitions (partition, epoch, next_offset, version) VALUES (?, ?, ?, ?)")
            .bind(partition)
            .bind(row.epoch)
            .bind(row.next_offset as i64)
            .bind(row.version as i64)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn partitions(connection: &mut SqliteConnection) -> Result<Vec<Partition>, sqlx::Error> {
    let rows = sqlx::query("SELECT epoch, next_offset, version FROM partitions ORDER BY partition")
        .fetch_all(connection)
        .await?;
    let read = |row: &SqliteRow| Partition {
        epoch: row.get::<i64, _>(0) as u8,
        next_offset: row.get::<i64, _>(1) as u64,
        version: row.get::<i64, _>(2) as u64,
    };
    Ok(rows.iter().map(read).collect())
}

async fn last_seq(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT COALESCE(MAX(seq_id), 0) FROM messages WHERE conversation_id = ?")
        .bind(key(conversation))
        .fetch_one(connection)
        .await?;
    Ok(row.get::<i64, _>(0) as u64)
}

async fn members(
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

async fn windows(
    connection: &mut SqliteConnection,
    group: ConversationId,
    buckets: Range<u16>,
    seq: u64,
) -> Result<Vec<Membership>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT user_id, join_seq, leave_seq FROM conversation_members \
         WHERE conversation_id = ? AND bucket >= ? AND bucket < ? AND (leave_seq IS NULL OR leave_seq >= ?)",
    )
    .bind(key(group))
    .bind(buckets.start)
    .bind(buckets.end)
    .bind(seq as i64)
    .fetch_all(connection)
    .await?;
    let read = |row: &SqliteRow| Membership {
        user: UserId(row.get::<i64, _>(0) as u64),
        after: row.get::<i64, _>(1) as u64,
        until: row.get::<Option<i64>, _>(2).map_or(u64::MAX, |seq| seq as u64),
    };
    Ok(rows.iter().map(read).collect())
}

/// Enters a single conversation in the lists of its two users.
async fn enter_single(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
    users: [UserId; 2],
    at: UnixMs,
) -> Result<(), sqlx::Error> {
    for user in users {
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
        if let Some(ConversationId::Single(a, b)) = conversation(row.get(0)) {
            let at = UnixMs(row.get::<i64, _>(1) as u64);
            enter_single(connection, ConversationId::Single(a, b), [a, b], at).await?;
        }
    }
    sqlx::query("PRAGMA user_version = 1").execute(&mut *connection).await?;
    sqlx::query("COMMIT").execute(connection).await.map(drop)
}
