//! What a server far away adds: connections that are lost, locks, data that it refuses.

use crate::persister::record;
use crate::places::{Database, PARTITIONS, message, put, runtime};
use crate::thread::Thread;
use logic::decide::Decision;
use logic::store::mysql::MySqlConfig;
use logic::store::{Advance, Backend, Commit, StoreError};
use protocol::{ConversationId, ErrorCode, UserId};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row};
use std::time::Duration;

fn run(test: impl AsyncFnOnce(&Database, &MySqlConfig)) {
    let database = Database::make();
    runtime().block_on(async {
        let backend = database.backend();
        backend.prepare(PARTITIONS).await.unwrap();
        test(&database, &backend).await;
    });
}

/// Ends every connection to the test's database but the one that asks.
async fn cut_off(other: &mut MySqlConnection, database: &Database) -> usize {
    let sql = format!(
        "SELECT id FROM information_schema.processlist WHERE db = '{}' AND id <> CONNECTION_ID()",
        database.name()
    );
    let rows = other.fetch_all(AssertSqlSafe(sql)).await.unwrap();
    for row in &rows {
        let id: i64 = row.try_get(0).unwrap_or_else(|_| row.get::<u64, _>(0) as i64);
        // It may have ended by itself meanwhile.
        let _ = other.execute(AssertSqlSafe(format!("KILL CONNECTION {id}"))).await;
    }
    rows.len()
}

#[test]
fn a_lost_connection_is_made_again() {
    run(async |database, backend| {
        let mut other = database.connect().await;
        let mut store = backend.open_store().await.unwrap();
        let mut reader = backend.open_reader().await.unwrap();
        put(&mut *store, &[message("world", 1, "a", 1)]).await;
        assert_eq!(reader.last_seq(ConversationId::World).await.unwrap(), 1);
        assert_eq!(cut_off(&mut other, database).await, 2);
        let error = reader.last_seq(ConversationId::World).await.unwrap_err();
        assert!(matches!(error, StoreError::Passing(_)), "{error}");
        assert_eq!(reader.last_seq(ConversationId::World).await.unwrap(), 1);
    });
}

#[test]
fn a_persister_that_lost_its_connection_goes_on() {
    run(async |database, backend| {
        let mut other = database.connect().await;
        let thread = Thread::start(backend.clone(), false);
        for offset in 0..5 {
            let batch = [record("single_1_2", 1, &offset.to_string(), "x", offset)];
            let decisions = thread.decide(&batch);
            assert!(matches!(decisions[0], Decision::Insert(known) if known.seq == offset + 1));
            cut_off(&mut other, database).await;
        }
        assert_eq!(thread.stats.store_retries.get(), 4);
    });
}

#[test]
fn workers_lock_different_partitions_side_by_side() {
    run(async |_, backend| {
        let (mut one, mut other) = (backend.open_store().await.unwrap(), backend.open_store().await.unwrap());
        one.lock(&[0, 3, 6]).await.unwrap();
        other.lock(&[1, 4, 7]).await.unwrap();
        let mut third = backend.open_store().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(300), third.lock(&[2, 3, 5])).await;
        assert!(early.is_err(), "another has locked one of them: {early:?}");
    });
}

#[test]
fn a_lock_that_is_lost_with_its_connection_leaves_nothing_half_done() {
    run(async |database, backend| {
        let mut other = database.connect().await;
        let mut store = backend.open_store().await.unwrap();
        let seen = store.partitions().await.unwrap();
        let step = [Advance { partition: 0, seen: seen[0], next_offset: 1 }];
        let twice = [message("world", 1, "a", 1), message("world", 1, "a", 2)];
        store.lock(&[0]).await.unwrap();
        cut_off(&mut other, database).await;
        let error = store.commit(&step, &twice[..1], &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::Passing(_)), "{error}");
        store.lock(&[0]).await.unwrap();
        cut_off(&mut other, database).await;
        let error = store.last_seqs(&[ConversationId::World]).await.unwrap_err();
        assert!(matches!(error, StoreError::Passing(_)), "{error}");
        // It has a transaction of its own now: what fails in it is undone with the offset's step.
        assert_eq!(store.commit(&step, &twice, &[]).await.unwrap(), Commit::Duplicate);
        assert_eq!(store.partitions().await.unwrap(), seen);
        assert_eq!(store.commit(&step, &twice[..1], &[]).await.unwrap(), Commit::Done);
    });
}

/// Waits until someone waits for a lock.
async fn until_blocked(other: &mut MySqlConnection, database: &Database) {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
         ON p.id = t.trx_mysql_thread_id WHERE p.db = '{}' AND t.trx_state = 'LOCK WAIT'",
        database.name()
    );
    // The server keeps its answer for as long as it is asked more often than each 100 ms.
    while other.fetch_one(AssertSqlSafe(sql.clone())).await.unwrap().get::<i64, _>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[test]
fn the_loser_of_a_deadlock_tries_again() {
    run(async |database, backend| {
        let (mut other, mut watcher) = (database.connect().await, database.connect().await);
        let thread = Thread::start(backend.clone(), false);
        // The other has written more, so the persister is the one that is rolled back.
        other.execute("BEGIN").await.unwrap();
        let rows: Vec<_> =
            (1..200).map(|seq| format!("('other', {seq}, 0, 0, '{seq}', '', 0, '', 0, '')")).collect();
        let sql = format!("INSERT INTO messages VALUES {}", rows.join(", "));
        other.execute(AssertSqlSafe(sql)).await.unwrap();
        other.execute("UPDATE partitions SET version = version + 1 WHERE `partition` = 7").await.unwrap();
        let batch: Vec<_> =
            (2..40).map(|peer| record(&format!("single_1_{peer}"), 1, "a", "x", peer)).collect();
        let first = batch.iter().map(|polled| polled.partition).min().unwrap();
        assert!(batch.iter().any(|polled| polled.partition == 7) && first < 7);
        let against = async {
            until_blocked(&mut watcher, database).await;
            let sql = format!("UPDATE partitions SET version = version + 1 WHERE `partition` = {first}");
            other.execute(AssertSqlSafe(sql)).await.unwrap();
            other.execute("COMMIT").await.unwrap();
        };
        thread.give(batch, vec![]);
        against.await;
        let decisions = thread.next().decisions;
        assert!(
            decisions.iter().all(|decision| matches!(decision, Decision::Insert(known) if known.seq == 1))
        );
        assert!(thread.stats.store_retries.get() >= 1);
    });
}

#[test]
fn what_the_store_refuses_is_put_aside_and_the_rest_goes_on() {
    run(async |database, backend| {
        let thread = Thread::start(backend.clone(), false);
        let too_long = "x".repeat(5_001);
        let content = |n| if n == 13 { &*too_long } else { "x" };
        let batch: Vec<_> = (0..20).map(|n| record("single_1_2", 1, &n.to_string(), content(n), n)).collect();
        let decisions = thread.decide(&batch);
        assert_eq!(decisions[13], Decision::Refuse(ErrorCode::Internal));
        let stored = decisions.iter().filter(|decision| matches!(decision, Decision::Insert(_))).count();
        assert_eq!((stored, thread.stats.dead_letters_refused.get()), (19, 1));
        let mut other = database.connect().await;
        let letters =
            other.fetch_all("SELECT record_offset, reason, content FROM dead_letters").await.unwrap();
        assert_eq!((letters.len(), letters[0].get::<u64, _>(0)), (1, 13));
        assert!(letters[0].get::<String, _>(1).contains("content"), "the reason names the column");
        assert_eq!(letters[0].get::<Vec<u8>, _>(2), too_long.as_bytes());
        let mut reader = backend.open_reader().await.unwrap();
        assert_eq!(reader.last_seq(ConversationId::Single(UserId(1), UserId(2))).await.unwrap(), 19);
    });
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    run(async |database, backend| {
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
        database.connect().await.execute(newer).await.unwrap();
        let error = backend.prepare(PARTITIONS).await.unwrap_err();
        assert!(error.to_string().contains("written by a newer ringway (migration 9999)"), "{error}");
    });
}

#[test]
fn workers_that_start_at_once_make_one_store() {
    let database = Database::make();
    let (one, other) = (database.backend(), database.backend());
    runtime().block_on(async {
        let (first, second) = tokio::join!(one.prepare(64), other.prepare(64));
        first.unwrap();
        second.unwrap();
        assert_eq!(one.open_store().await.unwrap().partitions().await.unwrap().len(), 64);
    });
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let backend = MySqlConfig::new("mysql://ringway:secret@127.0.0.1:1/ringway").unwrap();
    let error = backend.open_store().await.err().unwrap().to_string();
    assert!(error.contains("mysql://127.0.0.1:1/ringway"), "{error}");
    assert!(!error.contains("secret") && !format!("{backend:?}").contains("secret"));
    let error = MySqlConfig::new("mysql://root@127.0.0.1:1").unwrap_err().to_string();
    assert!(error.contains("names no database"), "{error}");
}
