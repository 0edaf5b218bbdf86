//! One connection to MySQL, made again when it is lost.

use super::MySqlConfig;
use super::errors::{classify, is_lost};
use crate::clock;
use crate::store::StoreError;
use protocol::UnixMs;
use protocol::limits::{
    MYSQL_ANSWER_TIMEOUT, MYSQL_CONNECT_TIMEOUT, MYSQL_IDLE_CHECKED_AFTER,
    MYSQL_IDLE_TRANSACTION_SECONDS_MAX, MYSQL_LOCK_WAIT_SECONDS_MAX, MYSQL_STATEMENTS_CACHED,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlConnection};
use std::io;
use std::time::Duration;

/// One connection. It is taken for each piece of work and given back; one that is not (its work was
/// cut off, or it is lost) is closed, upon which the server rolls back, and the next is made anew.
pub(super) struct Link {
    config: MySqlConfig,
    idle: Option<(MySqlConnection, UnixMs)>,
}

impl Link {
    /// Connects.
    pub(super) async fn open(config: &MySqlConfig) -> Result<Self, StoreError> {
        let mut link = Self { config: config.clone(), idle: None };
        let connection = link.connect().await.map_err(|error| StoreError::prepare(config, error))?;
        link.give_back(connection);
        Ok(link)
    }

    /// A connection that works, as far as one can know. After a while of silence it is asked: servers
    /// and what lies between close those that are idle.
    pub(super) async fn take(&mut self) -> Result<MySqlConnection, StoreError> {
        if let Some((mut connection, used)) = self.idle.take() {
            let idle = Duration::from_millis(clock::now().0.saturating_sub(used.0));
            if idle < MYSQL_IDLE_CHECKED_AFTER
                || within(MYSQL_CONNECT_TIMEOUT, connection.ping()).await.is_ok()
            {
                return Ok(connection);
            }
        }
        self.connect().await.map_err(classify)
    }

    /// For the next.
    pub(super) fn give_back(&mut self, connection: MySqlConnection) {
        self.idle = Some((connection, clock::now()));
    }

    /// Gives the connection back unless its work has broken it.
    pub(super) fn settle<T>(
        &mut self,
        connection: MySqlConnection,
        done: Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        if !done.as_ref().is_err_and(is_lost) {
            self.give_back(connection);
        }
        done.map_err(classify)
    }

    async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        let options = self
            .config
            .options
            .clone()
            .statement_cache_capacity(MYSQL_STATEMENTS_CACHED)
            .pipes_as_concat(false)
            .disable_statement_logging();
        let mut connection = within(MYSQL_CONNECT_TIMEOUT, options.connect()).await?;
        // MariaDB ends a transaction whose worker has stopped halfway; MySQL knows no such thing.
        let session = format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
             innodb_lock_wait_timeout = {MYSQL_LOCK_WAIT_SECONDS_MAX} \
             /*M!100300 , idle_transaction_timeout = {MYSQL_IDLE_TRANSACTION_SECONDS_MAX} */"
        );
        within(MYSQL_CONNECT_TIMEOUT, async {
            connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            connection.execute(AssertSqlSafe(session)).await
        })
        .await?;
        Ok(connection)
    }
}

/// An answer, or the error that none came in time; the connection is of no use then.
pub(super) async fn answer<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    within(MYSQL_ANSWER_TIMEOUT, work).await
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| {
        let text = format!("no answer within {} s", time.as_secs());
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
    };
    tokio::time::timeout(time, work).await.map_err(late)?
}

/// Runs one statement that is made of numbers and names of our own; it is not prepared, since it
/// differs each time.
pub(super) async fn run(connection: &mut MySqlConnection, sql: String) -> Result<u64, sqlx::Error> {
    Ok(connection.execute(AssertSqlSafe(sql)).await?.rows_affected())
}
