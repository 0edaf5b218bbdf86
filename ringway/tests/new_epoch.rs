//! `ringway logic new-epoch` and the workers before and after it, over Kafka and MySQL as they are. A
//! topic of another name stands for one that is lost, or deleted and made anew.

use bus::kafka::{GatewayRoad, PendingBounds, Settings};
use bus::{Downstream, Sender, ShardInbox, Uplink};
use logic::store::mysql::MySqlConfig;
use logic::store::{Backend, StoredMessage};
use protocol::command::{MessageType, SendMessage};
use protocol::{ConversationId, GatewayId, Origin, SessionRef, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const WAIT: Duration = Duration::from_secs(60);
/// Conversations of the test: user 1 with each of so many others.
const PEERS: u64 = 12;

fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} says where the tests find it: scripts/services up"))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A store of its own; dropped with it.
struct Database(String);

impl Database {
    fn make(partitions: u16) -> Self {
        let database = Self(format!("ringway_epoch_{}", std::process::id()));
        database.on_server(format!("CREATE DATABASE {}", database.0));
        runtime().block_on(database.store().prepare(partitions)).expect("a store");
        database
    }

    fn url(&self) -> String {
        format!("{}/{}", service("TEST_MYSQL").trim_end_matches('/'), self.0)
    }

    fn store(&self) -> MySqlConfig {
        MySqlConfig::new(&self.url()).expect("a URL")
    }

    /// Epoch and number of the partitions.
    fn epoch(&self) -> (u8, usize) {
        let all = runtime().block_on(async {
            self.store().open_store().await.expect("a store").partitions().await.expect("partitions")
        });
        assert!(all.iter().all(|partition| partition.epoch == all[0].epoch), "{all:?}");
        (all[0].epoch, all.len())
    }

    fn messages(&self, peer: u64) -> Vec<StoredMessage> {
        let conversation = ConversationId::Single(UserId(1), UserId(peer));
        runtime().block_on(async {
            let mut reader = self.store().open_reader().await.expect("a reader");
            reader.page(conversation, 0, 1_000, 1_000).await.expect("a page")
        })
    }

    fn on_server(&self, sql: String) {
        runtime().block_on(async {
            let mut connection = MySqlConnection::connect(&service("TEST_MYSQL")).await.expect("a server");
            connection.execute(AssertSqlSafe(sql)).await.expect("it is done");
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.on_server(format!("DROP DATABASE {}", self.0));
    }
}

/// A log and a configuration that names it.
struct Log<'a> {
    database: &'a Database,
    settings: Settings,
}

/// A worker; killed when dropped.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Nobody;

impl ShardInbox for Nobody {
    fn push(&self, _: Downstream) -> Result<(), Downstream> {
        Ok(())
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn nudge(&self) {}
}

impl<'a> Log<'a> {
    fn new(database: &'a Database, name: &str, partitions: u16) -> Self {
        let mut settings = Settings::new(service("TEST_KAFKA"));
        settings.prefix = format!("epoch-{}-{name}-", std::process::id());
        (settings.upstream_partitions, settings.query_partitions) = (partitions, 1);
        Self { database, settings }
    }

    fn logic(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        let Settings { brokers, prefix, upstream_partitions, .. } = &self.settings;
        command
            .args(["logic", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("RINGWAY_KAFKA__BROKERS", brokers)
            .env("RINGWAY_KAFKA__TOPIC_PREFIX", prefix)
            .env("RINGWAY_KAFKA__REPLICATION_FACTOR", "1")
            .env("RINGWAY_KAFKA__UPSTREAM_PARTITIONS", upstream_partitions.to_string())
            .env("RINGWAY_KAFKA__QUERY_PARTITIONS", "1")
            .env("RINGWAY_REDIS__URL", service("TEST_REDIS"))
            .env("RINGWAY_REDIS__KEY_PREFIX", prefix)
            .env("RINGWAY_MYSQL__URL", self.database.url());
        command
    }

    /// What a gateway accepts: `id` in each conversation.
    fn accept(&self, id: &str) {
        let gateway = GatewayId::new("epoch").expect("an id");
        let inboxes: Vec<Arc<dyn ShardInbox>> = vec![Arc::new(Nobody)];
        let started = GatewayRoad::start(&self.settings, gateway, inboxes, PendingBounds::default());
        let started = started.expect("a road");
        let mut uplink = { started.uplinks }.remove(0);
        for peer in 2..2 + PEERS {
            let session = SessionRef { shard: 0, slot: 1, generation: 1 };
            let origin = Origin { gateway, boot_epoch: 1, session };
            let from = Sender { origin, user: UserId(1), received_at: UnixMs(7), trace_id: "t" };
            let conversation = ConversationId::Single(UserId(1), UserId(peer));
            let message =
                SendMessage { client_msg_id: id, conversation, content: id, message_type: MessageType::Text };
            assert!(uplink.publish(from, &message).is_ok());
        }
        uplink.flush();
        assert!(started.road.flush(WAIT) && started.road.stop(WAIT), "Kafka confirms it");
    }

    /// Lets a worker run until every conversation has so many messages.
    fn work(&self, messages: usize) {
        let _worker = Worker(self.logic().stdout(Stdio::null()).spawn().expect("it runs"));
        for _ in 0..WAIT.as_millis() / 100 {
            if (2..2 + PEERS).all(|peer| self.database.messages(peer).len() >= messages) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("not persisted within {WAIT:?}");
    }

    fn new_epoch(&self, more: &[&str]) -> Output {
        self.logic().arg("new-epoch").args(more).output().expect("it runs")
    }
}

/// The operator changes nothing without `--yes`, and everything with it.
fn begin(log: &Log<'_>, told: &str) {
    let before = log.database.epoch();
    let asked = log.new_epoch(&[]);
    let stdout = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.code() == Some(69) && stdout.contains(told), "{asked:?}");
    assert_eq!(log.database.epoch(), before);
    let done = log.new_epoch(&["--yes"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(log.database.epoch(), (before.0 + 1, log.settings.upstream_partitions.into()));
}

#[test]
fn a_new_log_is_taken_from_its_first_record_whatever_its_number_of_partitions() {
    let database = Database::make(4);
    let first = Log::new(&database, "a", 4);
    first.accept("a");
    first.work(1);
    let own = first.new_epoch(&[]);
    let stdout = String::from_utf8_lossy(&own.stdout);
    assert!(stdout.contains("seems to be the store's own; if so, all of it is persisted"), "{own:?}");

    // The log is lost; gateways went on, and have accepted messages into the new one.
    let lost = Log::new(&database, "b", 4);
    lost.accept("b");
    begin(&lost, &format!("4 partitions, {PEERS} records"));
    lost.work(2);

    for (name, partitions) in [("c", 7), ("d", 2)] {
        let changed = Log::new(&database, name, partitions);
        let refused = changed.logic().output().expect("it ends");
        let stderr = String::from_utf8_lossy(&refused.stderr);
        let found = database.epoch().1;
        assert!(
            stderr.contains(&format!("the store has {found} partitions, expected {partitions}")),
            "{stderr}"
        );
        assert_eq!(refused.status.code(), Some(69));
        changed.accept(name);
        begin(&changed, &format!("{partitions} partitions, {PEERS} records"));
        changed.work(if name == "c" { 3 } else { 4 });
    }

    let mut ids = std::collections::BTreeSet::new();
    for peer in 2..2 + PEERS {
        let messages = database.messages(peer);
        let told: Vec<_> = messages.iter().map(|message| (message.seq, &*message.content)).collect();
        assert_eq!(told, [(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        ids.extend(messages.iter().map(|message| message.message_id.0));
    }
    assert_eq!(ids.len(), 4 * PEERS as usize, "no message id twice");

    // Back at the first log with another number of partitions: it is refused by Kafka's own count.
    let grown = Log::new(&database, "a", 8);
    let refused = grown.new_epoch(&["--yes"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("has 4 partitions, but 8 are configured"), "{stderr}");
    assert_eq!(database.epoch(), (4, 2));
}
