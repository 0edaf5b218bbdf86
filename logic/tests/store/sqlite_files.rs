//! What SQLite's files promise beyond.

use crate::places::{last_seq, put, saying};
use logic::store::Backend;
use logic::store::sqlite::{SqliteConfig, Synchronous};
use protocol::ConversationId;
use sqlx::Connection;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn data_of_a_newer_version_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(data.path().join("t.db"), Synchronous::Full);
    config.prepare(8).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&config.path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    let error = config.prepare(8).await.unwrap_err();
    assert!(error.to_string().contains("written by a newer ringway (migration 9999)"), "{error}");
}

#[tokio::test]
async fn the_log_is_copied_into_the_database_while_it_is_written() {
    /// Far more pages than the checkpointer waits for, and fewer than a COMMIT copies itself.
    const MESSAGES: u64 = 16_000;
    let data = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(data.path().join("t.db"), Synchronous::Normal);
    config.prepare(8).await.unwrap();
    let mut store = config.open_store().await.unwrap();
    let made = fs::metadata(&config.path).unwrap().len();
    let ids: Vec<_> = (1..=MESSAGES).map(|n| n.to_string()).collect();
    let all: Vec<_> = (1..).zip(&ids).map(|(seq, id)| saying("world", 1, id, seq, "x")).collect();
    for batch in all.chunks(4_000) {
        put(&mut *store, batch).await;
    }
    let grown = async {
        while fs::metadata(&config.path).unwrap().len() == made {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), grown).await.expect("copied at all");
    assert_eq!(last_seq(&mut *store, ConversationId::World).await, MESSAGES);
}
