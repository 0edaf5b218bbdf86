//! Every fault that is planted in a real store is found when the ledger is joined with it. For MySQL the
//! tests need TEST_MYSQL, such as mysql://root@127.0.0.1:13306 (`scripts/services up mysql`).

mod common;

use common::*;
use loadtest::judge::{Far, FaultKind, Pace, Stage, Verdict, Witness, judge_with};
use loadtest::ledger::{Record, Via};
use loadtest::store::{Place, check};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, SqliteConnection};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A database of its own, with the tables of the server.
enum Db {
    Sqlite(tempfile::TempDir),
    MySql { server: String, name: String },
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

impl Db {
    fn sqlite() -> Self {
        let db = Self::Sqlite(tempfile::tempdir().unwrap());
        block_on(async {
            let options = db.dsn().parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap();
            let mut connection = options.create_if_missing(true).connect().await.unwrap();
            sqlx::migrate!("../logic/migrations/sqlite").run(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
        db.filled()
    }

    fn mysql() -> Self {
        let server = std::env::var("TEST_MYSQL").expect(
            "TEST_MYSQL says where the tests find MySQL: run scripts/services up mysql, then \
             export TEST_MYSQL=mysql://root@127.0.0.1:13306",
        );
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("joined_{}_{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let server = server.trim_end_matches('/').to_owned();
        block_on(async {
            let mut connection = MySqlConnection::connect(&server).await.expect("a server");
            let sql = format!("CREATE DATABASE {name}");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            let mut connection = MySqlConnection::connect(&format!("{server}/{name}")).await.unwrap();
            sqlx::migrate!("../logic/migrations/mysql")
                .set_locking(false)
                .run(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
        Self::MySql { server, name }.filled()
    }

    fn dsn(&self) -> String {
        match self {
            Self::Sqlite(directory) => format!("sqlite:{}", directory.path().join("ringway.db").display()),
            Self::MySql { server, name } => format!("{server}/{name}"),
        }
    }

    fn place(&self) -> Place {
        self.dsn().parse().unwrap()
    }

    fn run(&self, sql: &str) {
        let (dsn, sql) = (self.dsn(), AssertSqlSafe(sql.to_owned()));
        block_on(async {
            match self {
                Self::Sqlite(_) => {
                    let mut connection = SqliteConnection::connect(&dsn).await.unwrap();
                    sqlx::query(sql).execute(&mut connection).await.unwrap();
                    connection.close().await.unwrap();
                }
                Self::MySql { .. } => {
                    let mut connection = MySqlConnection::connect(&dsn).await.unwrap();
                    sqlx::query(sql).execute(&mut connection).await.unwrap();
                    connection.close().await.unwrap();
                }
            }
        });
    }

    fn insert(&self, conversation: &str, seq: u64, sender: u64, client_id: &str) {
        self.run(&format!(
            "INSERT INTO messages (conversation_id, seq_id, message_id, sender_id, client_msg_id, content, \
             content_hash, message_type, created_at, trace_id) VALUES (X'{}', {seq}, {}, {sender}, X'{}', \
             '{client_id}', 0, 'text', 1, '')",
            hex(conversation),
            1000 + seq,
            hex(client_id)
        ));
    }

    /// What the clean ledger is about, one row from before the run, and another's conversation.
    fn filled(self) -> Self {
        self.insert(SINGLE, 4, 1, "before");
        self.insert("single_8_9", 1, 8, "elsewhere");
        for (seq, sender, id) in [(5, 1, "a"), (6, 1, "b"), (7, 2, "c")] {
            self.insert(SINGLE, seq, sender, id);
        }
        self.insert(GROUP, 1, 1, "g");
        self.insert(GROUP, 2, 3, "h");
        self
    }

    /// Spoils the message of that client id.
    fn set(&self, change: &str, client_id: &str) {
        self.run(&format!("UPDATE messages SET {change} WHERE client_msg_id = X'{}'", hex(client_id)));
    }

    fn delete(&self, client_id: &str) {
        self.run(&format!("DELETE FROM messages WHERE client_msg_id = X'{}'", hex(client_id)));
    }

    fn judge(&self, records: &[Record<'_>]) -> Verdict {
        let text: String = lines(records).iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        judge_with(text.as_bytes(), Some(&self.place()), &mut Pace::silent()).expect("a ledger").1
    }

    /// The faults that the store is the witness of, as kinds and client ids; nothing else is wrong.
    fn faults(&self, detail: &str) -> Vec<(FaultKind, Option<String>)> {
        let verdict = self.judge(&clean());
        assert!(!verdict.clean, "{verdict:#?}");
        assert!(verdict.faults.iter().all(|fault| fault.by == Witness::Store), "{verdict:#?}");
        assert!(verdict.faults.iter().any(|fault| fault.detail.contains(detail)), "{detail}: {verdict:#?}");
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(json["faults"][0]["by"], "store");
        assert!(verdict.faults[0].to_string().contains("by the store"), "{}", verdict.faults[0]);
        verdict.faults.into_iter().map(|fault| (fault.kind, fault.client_id)).collect()
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        if let Self::MySql { server, name } = self {
            let sql = AssertSqlSafe(format!("DROP DATABASE {name}"));
            let server = server.clone();
            block_on(async {
                if let Ok(mut connection) = MySqlConnection::connect(&server).await {
                    let _ = sqlx::query(sql).execute(&mut connection).await;
                }
            });
        }
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

fn named(kind: FaultKind, client_id: &str) -> (FaultKind, Option<String>) {
    (kind, Some(client_id.to_owned()))
}

fn a_store_that_has_what_was_acknowledged_is_clean(db: &Db) {
    let verdict = db.judge(&clean());
    assert!(verdict.clean, "{verdict:#?}");
    let store = verdict.store.expect("it was read");
    assert_eq!((store.conversations, store.rows, store.unread), (2, 5, None));
}

fn an_acknowledged_message_without_a_row_is_lost_and_leaves_a_gap(db: &Db) {
    db.delete("b");
    let faults = db.faults("acknowledged as seq 6 id 1006, and has no row");
    assert_eq!(faults, [(FaultKind::Gap, None), named(FaultKind::Lost, "b")]);
}

fn the_last_rows_that_are_missing_are_a_gap_too(db: &Db) {
    db.delete("c");
    let faults = db.faults("it ends before seq 7, and 7 was seen");
    assert_eq!(faults, [(FaultKind::Gap, None), named(FaultKind::Lost, "c")]);
}

fn a_message_that_was_delivered_and_never_acknowledged_must_have_its_row(db: &Db) {
    db.delete("c");
    let mut records = clean();
    records.retain(|record| !matches!(record, Record::Ack { msg, .. } if msg == "c"));
    let verdict = db.judge(&records);
    assert_fault(&verdict, FaultKind::Lost, "c", "it was delivered as seq 7 id 1007, and has no row");
}

fn a_message_under_two_seqs_is_doubled(db: &Db) {
    match db {
        Db::Sqlite(_) => db.run("DROP INDEX messages_client_id"),
        Db::MySql { .. } => db.run("ALTER TABLE messages DROP INDEX by_client_id"),
    }
    db.insert(SINGLE, 8, 1, "a");
    assert_eq!(
        db.faults("seq 5 id 1005 in single_1_2, and as seq 8 id 1008"),
        [named(FaultKind::Doubled, "a")]
    );
}

fn a_message_in_two_conversations_is_doubled(db: &Db) {
    db.insert(GROUP, 3, 1, "a");
    let faults = db.faults("it has it as");
    assert_eq!(faults, [named(FaultKind::Doubled, "a")]);
}

fn two_messages_under_one_id_are_doubled(db: &Db) {
    db.set("message_id = 1005", "b");
    let faults = db.faults("id 1005 is also that of a from 1");
    assert_eq!(faults, [named(FaultKind::Doubled, "b"), named(FaultKind::Altered, "b")]);
}

fn a_row_that_nobody_sent_is_unknown(db: &Db) {
    db.insert(SINGLE, 8, 2, "ghost");
    assert_eq!(db.faults("nobody sent"), [named(FaultKind::Unknown, "ghost")]);
}

fn a_row_of_a_message_that_was_refused_is_unknown(db: &Db) {
    db.insert(SINGLE, 8, 1, "no");
    let mut records = clean();
    records.extend([sent(1, SINGLE, "no"), refused(1, SINGLE, "no", false)]);
    assert_fault(&db.judge(&records), FaultKind::Unknown, "no", "refused for good");
}

fn other_content_is_altered(db: &Db) {
    db.set("content = 'A'", "a");
    assert_eq!(db.faults("its content was"), [named(FaultKind::Altered, "a")]);
}

fn another_sender_is_altered(db: &Db) {
    db.set("sender_id = 2", "b");
    assert_eq!(db.faults("its sender is 2"), [named(FaultKind::Altered, "b")]);
}

fn another_client_id_is_altered(db: &Db) {
    db.set("client_msg_id = X'7A'", "b");
    assert_eq!(db.faults("its client id is z"), [named(FaultKind::Altered, "b")]);
}

fn another_id_is_altered(db: &Db) {
    db.set("message_id = 18446744073709551", "g");
    let faults = db.faults("delivered as seq 1 id 1001, stored as seq 1 id 18446744073709551");
    assert_eq!(faults, [named(FaultKind::Altered, "g")]);
}

fn another_conversation_is_altered(db: &Db) {
    db.set(&format!("conversation_id = X'{}', seq_id = 3", hex(GROUP)), "c");
    let faults = db.faults("it is in group_9");
    assert!(faults.contains(&named(FaultKind::Altered, "c")), "{faults:?}");
    assert!(faults.contains(&(FaultKind::Gap, None)), "{faults:?}");
}

fn another_seq_is_altered_and_leaves_a_gap(db: &Db) {
    db.set("seq_id = 9", "c");
    let faults = db.faults("it has no seq 7 to 8, before c from 2");
    assert_eq!(faults, [(FaultKind::Gap, None), named(FaultKind::Altered, "c")]);
}

fn seqs_in_another_order_than_sent_are_reordered(db: &Db) {
    for (seq, id) in [(50, "a"), (5, "b"), (6, "a")] {
        db.set(&format!("seq_id = {seq}"), id);
    }
    let faults = db.faults("sent before b, which has seq 5");
    assert!(faults.contains(&named(FaultKind::Reordered, "a")), "{faults:?}");
}

/// 1,501 messages more, in the store and in the ledger.
fn long(db: &Db) -> Vec<Record<'static>> {
    let mut records = clean();
    let mut values = vec![];
    for seq in 8..=1_508_u64 {
        let id: &'static str = Box::leak(format!("m{seq}").into_boxed_str());
        records.extend([sent(1, SINGLE, id), ack(1, SINGLE, id, seq)]);
        records.push(got(1, SINGLE, seq, 1, id, Via::Final));
        records.push(got(2, SINGLE, seq, 1, id, Via::Live));
        values.push(format!(
            "(X'{}', {seq}, {}, 1, X'{}', '{id}', 0, 'text', 1, '')",
            hex(SINGLE),
            1000 + seq,
            hex(id)
        ));
    }
    db.run(&format!("INSERT INTO messages VALUES {}", values.join(", ")));
    records
}

fn what_is_longer_than_a_page_is_read_to_its_end(db: &Db) {
    let records = long(db);
    let verdict = db.judge(&records);
    assert!(verdict.clean, "{:#?}", &verdict.faults[..3.min(verdict.faults.len())]);
    assert_eq!(verdict.store.unwrap().rows, 5 + 1_501);
    db.set("content = 'x'", "m1499");
    assert_fault(&db.judge(&records), FaultKind::Altered, "m1499", "its content was");
}

fn it_is_told_how_many_rows_have_been_read(db: &Db) {
    let text = lines(&long(db)).join("\n");
    let mut told = vec![];
    judge_with(text.as_bytes(), Some(&db.place()), &mut Pace::new(|far| told.push(far))).unwrap();
    let rows: Vec<_> = told.into_iter().filter(|far| far.stage == Stage::Rows).collect();
    assert_eq!(rows, [Far { stage: Stage::Rows, done: 1_000, all: Some(1_506) }]);
}

fn tables_of_another_version_are_refused_with_both_versions(db: &Db) {
    db.run("UPDATE _sqlx_migrations SET version = version + 40");
    let error = check(&db.place()).unwrap_err().to_string();
    assert!(error.contains("have version 4") && error.contains("expected"), "{error}");
    let verdict = db.judge(&clean());
    assert!(!verdict.clean && verdict.counts.is_empty(), "{verdict:#?}");
    assert!(verdict.store.unwrap().unread.unwrap().contains("version"));
}

fn a_database_of_something_else_is_refused(db: &Db) {
    db.run("DROP TABLE messages");
    let error = check(&db.place()).unwrap_err().to_string();
    assert!(error.contains("no table messages") && error.contains("ringway dev"), "{error}");
}

macro_rules! for_every_store {
    ($($test:ident),* $(,)?) => {
        mod sqlite { $(#[test] fn $test() { super::$test(&super::Db::sqlite()); })* }
        mod mysql { $(#[test] fn $test() { super::$test(&super::Db::mysql()); })* }
    };
}

for_every_store! {
    a_store_that_has_what_was_acknowledged_is_clean,
    an_acknowledged_message_without_a_row_is_lost_and_leaves_a_gap,
    the_last_rows_that_are_missing_are_a_gap_too,
    a_message_that_was_delivered_and_never_acknowledged_must_have_its_row,
    a_message_under_two_seqs_is_doubled,
    a_message_in_two_conversations_is_doubled,
    two_messages_under_one_id_are_doubled,
    a_row_that_nobody_sent_is_unknown,
    a_row_of_a_message_that_was_refused_is_unknown,
    other_content_is_altered,
    another_sender_is_altered,
    another_client_id_is_altered,
    another_id_is_altered,
    another_conversation_is_altered,
    another_seq_is_altered_and_leaves_a_gap,
    seqs_in_another_order_than_sent_are_reordered,
    what_is_longer_than_a_page_is_read_to_its_end,
    it_is_told_how_many_rows_have_been_read,
    tables_of_another_version_are_refused_with_both_versions,
    a_database_of_something_else_is_refused,
}

#[test]
fn a_store_that_is_not_there_is_named_without_its_password() {
    let error = check(&"sqlite:/nowhere/ringway.db".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("sqlite:/nowhere/ringway.db"), "{error}");
    let error = check(&"mysql://reader:secret@127.0.0.1:1/chat".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("mysql://127.0.0.1:1/chat") && !error.contains("secret"), "{error}");
}
