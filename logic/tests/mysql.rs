//! A worker over MySQL: the way of a message, and what it holds of the server.

mod support;

use logic::store::mysql::MySqlConfig;
use protocol::limits::STORE_CONNECTIONS_PER_WORKER;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};
use std::sync::Arc;
use support::{http, seqs, start_over};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn on_server(server: &str, sql: String) -> Vec<sqlx::mysql::MySqlRow> {
    runtime().block_on(async {
        let mut connection = MySqlConnection::connect(server).await.unwrap();
        connection.fetch_all(AssertSqlSafe(sql)).await.unwrap()
    })
}

#[test]
fn a_worker_talks_over_mysql_through_as_many_connections_as_it_says() {
    let server = std::env::var("TEST_MYSQL").expect(
        "TEST_MYSQL says where the tests find MySQL: run scripts/services up mysql, then \
         export TEST_MYSQL=mysql://root@127.0.0.1:13306",
    );
    let name = format!("ringway_worker_{}", std::process::id());
    on_server(&server, format!("CREATE DATABASE {name}"));
    let store = MySqlConfig::new(&format!("{}/{name}", server.trim_end_matches('/'))).unwrap();
    let mut rig = start_over(Arc::new(store));

    assert_eq!(http(&rig, 1, "POST", "/api/groups", r#"{"name":"friends","members":[2]}"#).0, 201);
    rig.send(2, "group_1", "a", "hello 👋");
    assert_eq!(rig.acked("a").0, 1);
    rig.send(3, "group_1", "b", "let me in");
    assert_eq!(rig.refused("b"), "NOT_A_MEMBER");
    assert_eq!(http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":[3]}"#).0, 204);
    rig.send(3, "group_1", "b", "thank you");
    assert_eq!(rig.acked("b").0, 2);
    assert_eq!(seqs(&rig.sync(1, "group_1", Some(0), 10)), [1, 2]);
    assert_eq!(seqs(&rig.sync(3, "group_1", Some(0), 10)), [2], "what was there before is not theirs");
    assert_eq!(http(&rig, 1, "PUT", "/api/conversations/group_1/read", r#"{"seqId":1}"#).0, 204);
    let (_, list) = http(&rig, 1, "GET", "/api/conversations", "");
    let line = &list["conversations"][0];
    assert_eq!((&line["name"], &line["unreadCount"]), (&json!("friends"), &json!(1)));

    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}'");
    let held: i64 = on_server(&server, sql)[0].get(0);
    assert_eq!(held, STORE_CONNECTIONS_PER_WORKER as i64);
    rig.stop();
    on_server(&server, format!("DROP DATABASE {name}"));
}
