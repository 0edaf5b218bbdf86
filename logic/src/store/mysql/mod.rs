//! The store of many processes, in MySQL 8 or MariaDB.

mod conversations;
mod errors;
mod groups;
mod link;
mod look_up;
mod read;
mod write;

use super::rows::key;
use super::{
    Backend, GroupStore, Marks, Members, Membership, Partition, Reader, Store, StoreError, of_next_epoch,
};
use async_trait::async_trait;
use link::{Link, answer, run};
use protocol::limits::{MYSQL_PACKET_BYTES_MIN, MYSQL_PREPARE_WAIT, WORKER_BATCH_INTERVAL_MS};
use protocol::{ConversationId, UserId};
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{Executor, MySqlConnection, Row};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Where the store is.
#[derive(Clone)]
pub struct MySqlConfig {
    options: MySqlConnectOptions,
    batch_interval: Duration,
}

impl MySqlConfig {
    /// By its URL: `mysql://user:password@host:port/database`.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        // The URL may hold a password, so the error must not show it.
        let options = url.parse::<MySqlConnectOptions>();
        let options = options.map_err(|error| StoreError::prepare("the given URL", error))?;
        if options.get_database().is_none() {
            let text = "the URL names no database; expected mysql://user:password@host:port/database";
            return Err(StoreError::prepare("the given URL", text));
        }
        Ok(Self { options, batch_interval: Duration::from_millis(WORKER_BATCH_INTERVAL_MS) })
    }

    /// The same with transactions that begin at most so far apart while records keep coming.
    pub fn with_batch_interval(self, batch_interval: Duration) -> Self {
        Self { batch_interval, ..self }
    }
}

impl fmt::Display for MySqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.options.get_database().unwrap_or_default();
        write!(f, "mysql://{}:{}/{database}", self.options.get_host(), self.options.get_port())
    }
}

impl fmt::Debug for MySqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MySqlConfig({self})")
    }
}

#[async_trait(?Send)]
impl Backend for MySqlConfig {
    async fn prepare(&self, partitions: u16) -> Result<(), StoreError> {
        let mut connection = Link::open(self).await?.take().await?;
        check_packets(self, &mut connection).await?;
        lock(&mut connection).await.map_err(|error| StoreError::prepare(self, error))?;
        let migrated = sqlx::migrate!("migrations/mysql").run(&mut connection).await;
        migrated.map_err(|error| StoreError::migrate(self, error))?;
        let found = make_partitions(&mut connection, partitions).await;
        let found = found.map_err(|error| StoreError::prepare(self, error))?;
        if found != usize::from(partitions) {
            return Err(StoreError::Partitions { found, expected: partitions.into() });
        }
        Ok(())
    }

    async fn open_store(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(write::MySqlStore::open(self).await?))
    }

    async fn open_reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(read::MySqlReader::open(self).await?))
    }

    async fn open_marks(&self) -> Result<Box<dyn Marks>, StoreError> {
        Ok(Box::new(conversations::MySqlMarks::open(self).await?))
    }

    async fn open_groups(&self, partitions: u16) -> Result<Box<dyn GroupStore>, StoreError> {
        Ok(Box::new(groups::MySqlGroups::open(self, partitions).await?))
    }

    async fn new_epoch(&self, next_offsets: &[u64]) -> Result<(), StoreError> {
        let mut link = Link::open(self).await?;
        let mut connection = link.take().await?;
        let found = answer(lock_partitions(&mut connection)).await;
        let found = found.map_err(|error| StoreError::prepare(self, error))?;
        let next = of_next_epoch(&found, next_offsets)?;
        // What fails or is cut off is rolled back with its connection.
        let begun = answer(replace_partitions(&mut connection, &next)).await;
        link.settle(connection, begun)
    }
}

/// Keeps out others who prepare the same store, until the connection ends. The lock of sqlx's
/// migrations waits for -1 seconds, which MariaDB 10.11 takes for no lock at all.
async fn lock(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let wait = MYSQL_PREPARE_WAIT.as_secs();
    let sql = "SELECT GET_LOCK(CONCAT('ringway:', SHA1(DATABASE())), ?)";
    let row = sqlx::query(sql).bind(wait).fetch_one(connection).await?;
    match row.get::<Option<i64>, _>(0) {
        Some(1) => Ok(()),
        _ => {
            let text = format!("another process has been preparing the store for {wait} s");
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
        }
    }
}

/// The largest batch has to fit into one statement.
async fn check_packets(config: &MySqlConfig, connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT @@max_allowed_packet").fetch_one(connection).await;
    let found: u64 = row.map_err(|error| StoreError::prepare(config, error))?.get(0);
    if found < MYSQL_PACKET_BYTES_MIN {
        let (setting, expected) = ("max_allowed_packet", MYSQL_PACKET_BYTES_MIN);
        return Err(StoreError::Setting { place: config.to_string(), setting, found, expected });
    }
    Ok(())
}

/// Makes the partitions of a new store; returns how many there are.
async fn make_partitions(connection: &mut MySqlConnection, expected: u16) -> Result<usize, sqlx::Error> {
    let found = partitions(connection).await?.len();
    if found > 0 || expected == 0 {
        return Ok(found);
    }
    let first = Partition { epoch: 1, next_offset: 0, version: 0 };
    run(connection, insert_partitions_sql(&vec![first; expected.into()])).await?;
    Ok(partitions(connection).await?.len())
}

fn insert_partitions_sql(all: &[Partition]) -> String {
    let row = |(partition, row): (u16, &Partition)| {
        let Partition { epoch, next_offset, version } = row;
        format!("({partition}, {epoch}, {next_offset}, {version})")
    };
    let rows: Vec<_> = (0..).zip(all).map(row).collect();
    let columns = "(`partition`, epoch, next_offset, version)";
    format!("INSERT INTO partitions {columns} VALUES {}", rows.join(", "))
}

/// Begins a transaction in which nobody else changes the partitions.
async fn lock_partitions(connection: &mut MySqlConnection) -> Result<Vec<Partition>, sqlx::Error> {
    run(connection, "BEGIN".to_owned()).await?;
    connection.fetch_all("SELECT 1 FROM partitions FOR UPDATE").await?;
    partitions(connection).await
}

/// Ends that transaction with these partitions, and no others.
async fn replace_partitions(connection: &mut MySqlConnection, all: &[Partition]) -> Result<(), sqlx::Error> {
    run(connection, "DELETE FROM partitions".to_owned()).await?;
    run(connection, insert_partitions_sql(all)).await?;
    run(connection, "COMMIT".to_owned()).await.map(drop)
}

async fn partitions(connection: &mut MySqlConnection) -> Result<Vec<Partition>, sqlx::Error> {
    let rows = sqlx::query("SELECT epoch, next_offset, version FROM partitions ORDER BY `partition`")
        .fetch_all(connection)
        .await?;
    let read = |row: &MySqlRow| Partition { epoch: row.get(0), next_offset: row.get(1), version: row.get(2) };
    Ok(rows.iter().map(read).collect())
}

async fn last_seq(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT MAX(seq_id) FROM messages WHERE conversation_id = ?")
        .bind(key(conversation))
        .fetch_one(connection)
        .await?;
    Ok(row.get::<Option<u64>, _>(0).unwrap_or(0))
}

async fn members(
    connection: &mut MySqlConnection,
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
        "SELECT user_id FROM conversation_members WHERE conversation_id = ? AND leave_seq IS NULL ORDER BY user_id",
    )
    .bind(key(group))
    .fetch_all(connection)
    .await?;
    Ok(Some(Members::Listed(rows.iter().map(|row| UserId(row.get(0))).collect())))
}

async fn windows(
    connection: &mut MySqlConnection,
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
    .bind(seq)
    .fetch_all(connection)
    .await?;
    let read = |row: &MySqlRow| Membership {
        user: UserId(row.get(0)),
        after: row.get(1),
        until: row.get::<Option<u64>, _>(2).unwrap_or(u64::MAX),
    };
    Ok(rows.iter().map(read).collect())
}
