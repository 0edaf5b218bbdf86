//! What SQLite's files promise beyond.

use logic::store::Backend;
use logic::store::sqlite::{SqliteConfig, Synchronous};
use sqlx::Connection;

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
