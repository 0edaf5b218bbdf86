//! What every store promises, and what SQLite's files promise beyond.

mod support;

use logic::decide::{Known, content_hash};
use logic::store::sqlite::{SqliteConfig, SqliteStore, Synchronous, prepare};
use logic::store::{Advance, Commit, NewMessage, Store, StoreError};
use protocol::command::MessageType;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::Connection;

fn message(id: &'static str, seq: u64) -> NewMessage<'static> {
    let content_hash = content_hash(MessageType::Text, "x");
    NewMessage {
        conversation: ConversationId::World,
        sender: UserId(u64::MAX),
        client_msg_id: id,
        content: "x",
        message_type: MessageType::Text,
        trace_id: "t",
        known: Known { seq, message_id: MessageId(u64::MAX - seq), content_hash, created_at: UnixMs(9) },
    }
}

async fn keeps_its_promises(mut one: impl Store, mut other: impl Store) {
    let seen = one.partitions().await.unwrap()[0];
    let step = |next_offset| [Advance { partition: 0, seen, next_offset }];
    assert_eq!(one.commit(&step(1), &[message("a", 1)], &[]).await.unwrap(), Commit::Done);
    assert_eq!(
        other.commit(&step(1), &[message("b", 2)], &[]).await.unwrap(),
        Commit::FenceLost,
        "one wins an offset"
    );
    assert_eq!(other.last_seq(ConversationId::World).await.unwrap(), 1, "the loser has written nothing");
    let seen = other.partitions().await.unwrap()[0];
    assert_eq!(seen.next_offset, 1);
    let step = [Advance { partition: 0, seen, next_offset: 2 }];
    let both = [message("b", 2), message("a", 3)];
    assert_eq!(other.commit(&step, &both, &[]).await.unwrap(), Commit::Duplicate);
    assert_eq!(other.partitions().await.unwrap()[0], seen, "a duplicate undoes all of it");
    let found = other.find(ConversationId::World, UserId(u64::MAX), "a").await.unwrap();
    assert_eq!(found, Some(message("a", 1).known), "ids up to u64::MAX come back as they went");
    assert_eq!(other.find(ConversationId::World, UserId(u64::MAX), "A").await.unwrap(), None);
}

#[tokio::test]
async fn sqlite_keeps_its_promises() {
    let data = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(data.path().join("t.db"), Synchronous::Full);
    prepare(&config, 8).await.unwrap();
    prepare(&config, 8).await.unwrap();
    keeps_its_promises(SqliteStore::open(&config).await.unwrap(), SqliteStore::open(&config).await.unwrap())
        .await;
    let error = prepare(&config, 9).await.unwrap_err();
    assert!(matches!(error, StoreError::Partitions { found: 8, expected: 9 }), "{error}");
}

#[tokio::test]
async fn data_of_a_newer_version_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(data.path().join("t.db"), Synchronous::Full);
    prepare(&config, 8).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&config.path);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    let error = prepare(&config, 8).await.unwrap_err();
    assert!(error.to_string().contains("written by a newer ringway (migration 9999)"), "{error}");
}
