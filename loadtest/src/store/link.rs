//! A connection that reads messages, page by page, and is not allowed to do anything else.

use super::place::{Kind, Place};
use super::{ANSWER, CONNECT, StoreError};
use crate::judge::Row;
use crate::ledger::chain;
use sqlx::mysql::MySqlRow;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, MySqlConnection, Row as _, SqliteConnection};
use std::time::Duration;

/// The versions of tables that the queries below are written for, as `logic/migrations/` counts them.
const SQLITE_SCHEMA: i64 = 2;
const MYSQL_SCHEMA: i64 = 1;

/// What says which version the tables have, and what holds the messages.
const VERSIONS: &str = "_sqlx_migrations";
const MESSAGES: &str = "messages";

/// A connection that only reads.
pub(super) struct Link {
    place: Place,
    connection: Open,
}

enum Open {
    Sqlite(SqliteConnection),
    MySql(MySqlConnection),
}

impl Link {
    /// Connects, and looks whether the tables are those that are expected.
    pub(super) async fn open(place: &Place) -> Result<Self, StoreError> {
        let connection = within(place, CONNECT, connect(place)).await?;
        let mut link = Self { place: place.clone(), connection };
        link.check().await?;
        Ok(link)
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        let Self { place, connection } = self;
        let closing = async {
            match connection {
                Open::Sqlite(connection) => connection.close().await,
                Open::MySql(connection) => connection.close().await,
            }
        };
        within(&place, CONNECT, closing).await
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        for table in [VERSIONS, MESSAGES] {
            if !within(&self.place, ANSWER, self.connection.has_table(table)).await? {
                return Err(StoreError::NoTable(self.place.clone(), table));
            }
        }
        let expected = match self.connection {
            Open::Sqlite(_) => SQLITE_SCHEMA,
            Open::MySql(_) => MYSQL_SCHEMA,
        };
        let found = within(&self.place, ANSWER, self.connection.version()).await?;
        if found != expected {
            return Err(StoreError::Schema { place: self.place.clone(), found, expected });
        }
        Ok(())
    }

    /// The first rows of a conversation after a seq, by seq.
    pub(super) async fn page(&mut self, name: &str, after: u64, rows: u32) -> Result<Vec<Row>, StoreError> {
        within(&self.place, ANSWER, self.connection.page(name, after, rows)).await
    }
}

async fn connect(place: &Place) -> Result<Open, sqlx::Error> {
    match &place.0 {
        Kind::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(ANSWER);
            Ok(Open::Sqlite(options.disable_statement_logging().connect().await?))
        }
        Kind::MySql(options) => {
            let mut connection = options.clone().disable_statement_logging().connect().await?;
            // Of every transaction from here on, those of single statements too.
            sqlx::query("SET SESSION TRANSACTION READ ONLY").execute(&mut connection).await?;
            Ok(Open::MySql(connection))
        }
    }
}

impl Open {
    async fn has_table(&mut self, table: &str) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";
                Ok(sqlx::query(sql).bind(table).fetch_optional(connection).await?.is_some())
            }
            Self::MySql(connection) => {
                let sql = "SELECT 1 FROM information_schema.tables \
                           WHERE table_schema = DATABASE() AND table_name = ?";
                Ok(sqlx::query(sql).bind(table).fetch_optional(connection).await?.is_some())
            }
        }
    }

    async fn version(&mut self) -> Result<i64, sqlx::Error> {
        let sql = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success";
        match self {
            Self::Sqlite(connection) => Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?),
            Self::MySql(connection) => Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?),
        }
    }

    /// Contents are taken as bytes: what breaks their encoding is a fault of one row, and no error.
    async fn page(&mut self, name: &str, after: u64, rows: u32) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let sql = "SELECT seq_id, message_id, sender_id, client_msg_id, CAST(content AS BLOB) FROM messages \
                           WHERE conversation_id = ? AND seq_id > ? ORDER BY seq_id LIMIT ?";
                // It has u64 in the bits of its signed integers.
                let query = sqlx::query(sql).bind(name.as_bytes()).bind(after as i64).bind(rows);
                query.fetch_all(connection).await?.iter().map(of_sqlite).collect()
            }
            Self::MySql(connection) => {
                let sql = "SELECT seq_id, message_id, sender_id, client_msg_id, CAST(content AS BINARY) FROM messages \
                           WHERE conversation_id = ? AND seq_id > ? ORDER BY seq_id LIMIT ?";
                let query = sqlx::query(sql).bind(name.as_bytes()).bind(after).bind(rows);
                query.fetch_all(connection).await?.iter().map(of_mysql).collect()
            }
        }
    }
}

fn of_sqlite(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let number = |at: usize| row.try_get::<i64, _>(at).map(|n| n as u64);
    Ok(made(number(0)?, number(1)?, number(2)?, row.try_get(3)?, row.try_get(4)?))
}

fn of_mysql(row: &MySqlRow) -> Result<Row, sqlx::Error> {
    Ok(made(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
}

fn made(seq: u64, id: u64, sender: u64, client_id: &[u8], content: &[u8]) -> Row {
    let client_id = String::from_utf8_lossy(client_id).into_owned();
    Row { seq, id, sender, client_id, hash: chain::hash(content) }
}

async fn within<T>(
    place: &Place,
    at_most: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(at_most, work).await {
        Ok(done) => done.map_err(|error| StoreError::Unreachable(place.clone(), error.to_string())),
        Err(_) => Err(StoreError::Slow(place.clone(), at_most)),
    }
}

#[cfg(test)]
mod tests {
    use super::{MYSQL_SCHEMA, Open, SQLITE_SCHEMA, connect};
    use crate::store::Place;
    use sqlx::{ConnectOptions, Connection};

    /// What a database says to a statement that would change it.
    fn changed(place: &str, sql: &'static str) -> String {
        let place: Place = place.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(async {
            match connect(&place).await.unwrap() {
                Open::Sqlite(mut connection) => sqlx::query(sql).execute(&mut connection).await.map(drop),
                Open::MySql(mut connection) => sqlx::query(sql).execute(&mut connection).await.map(drop),
            }
        });
        done.unwrap_err().to_string()
    }

    #[test]
    fn a_connection_to_sqlite_cannot_write() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = options.connect().await.unwrap();
            sqlx::query("CREATE TABLE messages (n)").execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
        let told = changed(&format!("sqlite:{}", file.path().display()), "DELETE FROM messages");
        assert!(told.contains("readonly"), "{told}");
    }

    #[test]
    fn a_connection_to_mysql_cannot_write() {
        let server = std::env::var("TEST_MYSQL").expect(
            "TEST_MYSQL says where the tests find MySQL: run scripts/services up mysql, then \
             export TEST_MYSQL=mysql://root@127.0.0.1:13306",
        );
        // A table that every server has.
        let place = format!("{}/mysql", server.trim_end_matches('/'));
        let told = changed(&place, "DELETE FROM help_topic WHERE FALSE");
        assert!(told.contains("READ ONLY"), "{told}");
    }

    /// Whoever changes the tables looks here whether the queries still say the same.
    #[test]
    fn the_queries_are_written_for_the_newest_tables() {
        for (kind, read) in [("sqlite", SQLITE_SCHEMA), ("mysql", MYSQL_SCHEMA)] {
            let files = std::fs::read_dir(format!("../logic/migrations/{kind}")).unwrap();
            let versions = files.map(|file| {
                let name = file.unwrap().file_name().into_string().unwrap();
                name.split('_').next().unwrap().parse::<i64>().unwrap()
            });
            assert_eq!(versions.max(), Some(read), "{kind}");
        }
    }
}
