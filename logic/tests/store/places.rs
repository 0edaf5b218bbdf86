//! Where the stores of the tests are: each test has one of its own.

use logic::decide::{Known, content_hash};
use logic::groups::Groups;
use logic::store::mysql::MySqlConfig;
use logic::store::sqlite::{SqliteConfig, Synchronous};
use logic::store::{Advance, Backend, Commit, Members, NewMessage, Store};
use protocol::command::MessageType;
use protocol::{ConversationId, MessageId, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::runtime::{Builder, Runtime};

pub(crate) const PARTITIONS: u16 = 8;
/// With more members than this a test's group is large.
pub(crate) const LARGE_FROM: u32 = 2_000;

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn on_sqlite(test: impl AsyncFnOnce(&dyn Backend)) {
    let data = tempfile::tempdir().unwrap();
    let backend = SqliteConfig::new(data.path().join("t.db"), Synchronous::Full);
    runtime().block_on(async {
        backend.prepare(PARTITIONS).await.unwrap();
        test(&backend).await;
    });
}

pub(crate) fn on_mysql(test: impl AsyncFnOnce(&dyn Backend)) {
    let database = Database::make();
    let backend = database.backend();
    runtime().block_on(async {
        backend.prepare(PARTITIONS).await.unwrap();
        test(&backend).await;
    });
}

/// A database of one test, on the server that `TEST_MYSQL` names; dropped with it.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("TEST_MYSQL").expect(
            "TEST_MYSQL says where the tests find MySQL: run scripts/services up mysql, then \
             export TEST_MYSQL=mysql://root@127.0.0.1:13306",
        );
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = Self { server, name: format!("ringway_test_{}_{number}", std::process::id()) };
        database.on_server(format!("CREATE DATABASE {}", database.name));
        database
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server.trim_end_matches('/'), self.name)
    }

    pub(crate) fn backend(&self) -> MySqlConfig {
        MySqlConfig::new(&self.url()).unwrap()
    }

    /// A connection beside the store's own.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.url()).await.unwrap()
    }

    fn on_server(&self, sql: String) {
        runtime().block_on(async {
            let mut connection = MySqlConnection::connect(&self.server).await.unwrap();
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.on_server(format!("DROP DATABASE {}", self.name));
    }
}

pub(crate) fn conversation(name: &str) -> ConversationId {
    ConversationId::parse(name).unwrap()
}

/// A message whose id follows from its seq.
pub(crate) fn message(of: &str, sender: u64, id: &'static str, seq: u64) -> NewMessage<'static> {
    saying(of, sender, id, seq, "x")
}

pub(crate) fn saying<'a>(of: &str, sender: u64, id: &'a str, seq: u64, content: &'a str) -> NewMessage<'a> {
    let content_hash = content_hash(MessageType::Text, content);
    NewMessage {
        conversation: conversation(of),
        sender: UserId(sender),
        client_msg_id: id,
        content,
        message_type: MessageType::Text,
        trace_id: "t",
        known: Known { seq, message_id: MessageId(u64::MAX - seq), content_hash, created_at: UnixMs(seq) },
    }
}

/// Commits messages through partition 0, whose offset goes on by one.
pub(crate) async fn put(store: &mut dyn Store, messages: &[NewMessage<'_>]) {
    let seen = store.partitions().await.unwrap()[0];
    let step = [Advance { partition: 0, seen, next_offset: seen.next_offset + 1 }];
    assert_eq!(store.commit(&step, messages, &[]).await.unwrap(), Commit::Done);
}

/// The seq of a conversation's newest message.
pub(crate) async fn last_seq(store: &mut dyn Store, of: ConversationId) -> u64 {
    store.last_seqs(&[of]).await.unwrap()[0]
}

/// The members of a group.
pub(crate) async fn members(store: &mut dyn Store, group: ConversationId) -> Option<Members> {
    store.members(&[group]).await.unwrap().remove(0)
}

/// Whether a user is in a group.
pub(crate) async fn is_member(store: &mut dyn Store, group: ConversationId, user: u64) -> bool {
    store.are_members(&[(group, UserId(user))]).await.unwrap()[0]
}

pub(crate) async fn groups(backend: &dyn Backend) -> Groups {
    Groups::new(backend.open_groups(PARTITIONS).await.unwrap(), LARGE_FROM)
}

pub(crate) fn users(ids: impl IntoIterator<Item = u64>) -> Vec<UserId> {
    ids.into_iter().map(UserId).collect()
}
