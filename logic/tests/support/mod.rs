//! A worker over a real store, SQLite unless told otherwise, and the real in-process road; the tests are its shards.
#![allow(dead_code, reason = "each test file uses some of it")]

use bus::directory::LiveGateway;
use bus::in_process::{Closer, Config, InProcessUplink, road};
use bus::{Downstream, RouteChange, Sender, ShardInbox, Uplink};
use logic::decide::WorldRates;
use logic::roads::Roads;
use logic::store::Backend;
use logic::store::sqlite::{SqliteConfig, Synchronous};
use logic::{Worker, WorkerConfig};
use protocol::command::{MessageType, SendMessage, SyncRequest};
use protocol::record::{EntryKind, Query, QueryRecord, Targets};
use protocol::token::Keys;
use protocol::{ConversationId, GatewayId, Origin, Rate, SessionRef, UnixMs, UserId};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

pub(crate) const KEY: &[u8] = b"a key of the tests";
const WAIT: Duration = Duration::from_secs(20);

struct Inbox(SyncSender<Downstream>);

impl ShardInbox for Inbox {
    fn push(&self, record: Downstream) -> Result<(), Downstream> {
        self.0.try_send(record).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(record)
            | std::sync::mpsc::TrySendError::Disconnected(record) => record,
        })
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn nudge(&self) {}
}

/// An entry as a shard sees it.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) kind: EntryKind,
    pub(crate) targets: Targets,
    pub(crate) exclude: Option<SessionRef>,
    pub(crate) event: Value,
}

pub(crate) struct Rig {
    pub(crate) worker: Worker,
    pub(crate) uplink: InProcessUplink,
    arrived: Receiver<Downstream>,
    pending: std::collections::VecDeque<Arrived>,
    closer: Closer,
}

pub(crate) fn gateway() -> GatewayId {
    GatewayId::new("gw").unwrap()
}

pub(crate) fn origin(slot: u32) -> Origin {
    Origin { gateway: gateway(), boot_epoch: 1, session: SessionRef { shard: 0, slot, generation: 0 } }
}

pub(crate) fn worker_config(store: Arc<dyn Backend>) -> WorkerConfig {
    WorkerConfig {
        store,
        http: "127.0.0.1:0".parse().unwrap(),
        keys: tokio::sync::watch::channel(Keys::hs256(KEY)).1,
        dev_key: Some(KEY.into()),
        socket_url: "ws://{host}:8080/ws".into(),
        origins: vec!["https://chat.example".into()],
        large_group_members: 4,
        world: WorldRates { user: Rate::new(1, 2_000), all: Rate::UNLIMITED },
    }
}

pub(crate) fn start(data: &Path) -> Rig {
    start_over(Arc::new(SqliteConfig::new(data.join("test.db"), Synchronous::Normal)))
}

/// A shard's inbox, and what comes into it.
pub(crate) fn inbox() -> (Arc<dyn ShardInbox>, Receiver<Downstream>) {
    let (sender, arrived) = sync_channel(100_000);
    (Arc::new(Inbox(sender)), arrived)
}

pub(crate) fn start_over(store: Arc<dyn Backend>) -> Rig {
    let (inbox, arrived) = inbox();
    let mut road = road(Config::new(gateway()), vec![inbox]);
    let gateway = LiveGateway { id: gateway(), boot_epoch: 1, shards: 1 };
    let roads =
        Roads::local(gateway, road.upstream, road.queries, road.routes, road.distributor, road.downlink);
    let worker = Worker::start(&worker_config(store), roads).unwrap();
    Rig::of(worker, road.uplinks.remove(0), arrived, road.closer)
}

impl Rig {
    pub(crate) fn of(
        worker: Worker,
        uplink: InProcessUplink,
        arrived: Receiver<Downstream>,
        closer: Closer,
    ) -> Self {
        Self { worker, uplink, arrived, pending: Default::default(), closer }
    }

    /// Sends as the session in slot `user`.
    pub(crate) fn send(&mut self, user: u64, conversation: &str, id: &str, content: &str) {
        self.put(user, conversation, id, content);
        self.uplink.flush();
    }

    /// The same, without waking anybody yet: what is put before a flush is one batch.
    pub(crate) fn put(&mut self, user: u64, conversation: &str, id: &str, content: &str) {
        self.put_at(user, conversation, id, content, 7);
    }

    /// The same, taken by the gateway at that time.
    pub(crate) fn send_at(&mut self, user: u64, conversation: &str, id: &str, content: &str, at: u64) {
        self.put_at(user, conversation, id, content, at);
        self.uplink.flush();
    }

    fn put_at(&mut self, user: u64, conversation: &str, id: &str, content: &str, at: u64) {
        let trace_id = format!("t-{id}");
        let from = Sender {
            origin: origin(user as u32),
            user: UserId(user),
            received_at: UnixMs(at),
            trace_id: &trace_id,
        };
        let conversation = ConversationId::parse(conversation).unwrap();
        let message =
            SendMessage { client_msg_id: id, conversation, content, message_type: MessageType::Text };
        self.uplink.publish(from, &message).unwrap();
    }

    /// Lets the worker see what was put.
    pub(crate) fn uplink_flush(&mut self) {
        self.uplink.flush();
    }

    /// Opens a session of `user` in the slot of that number.
    pub(crate) fn connect(&mut self, user: u64) {
        self.uplink.route(RouteChange::Add(UserId(user), origin(user as u32), 0)).unwrap();
        self.uplink.flush();
        match self.arrived.recv_timeout(WAIT).expect("the route is registered") {
            Downstream::RouteRegistered(session) => assert_eq!(session, origin(user as u32).session),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn sync(&mut self, user: u64, conversation: &str, after: Option<u64>, limit: u32) -> Value {
        let conversation = ConversationId::parse(conversation).unwrap();
        let query =
            Query::Sync { conversations: vec![SyncRequest { conversation, after_seq: after }], limit };
        self.ask(user, query);
        let mut answer = self.next(EntryKind::SyncResult).event;
        answer["data"]["conversations"][0].take()
    }

    /// Asks as the session in slot `user`.
    pub(crate) fn ask(&mut self, user: u64, query: Query) {
        let record = QueryRecord { origin: origin(user as u32), user: UserId(user), query, trace_id: None };
        self.uplink.query(record).unwrap();
        self.uplink.flush();
    }

    /// The next entry of that kind; others before it are dropped.
    pub(crate) fn next(&mut self, kind: EntryKind) -> Arrived {
        loop {
            while self.pending.is_empty() {
                if let Downstream::Batch(batch) = self.arrived.recv_timeout(WAIT).expect("something arrives")
                {
                    self.pending.extend(batch.entries.into_iter().map(|entry| Arrived {
                        kind: entry.kind,
                        targets: entry.targets,
                        exclude: entry.exclude,
                        event: serde_json::from_slice(&entry.payload).unwrap(),
                    }));
                }
            }
            let entry = self.pending.pop_front().expect("filled above");
            if entry.kind == kind {
                return entry;
            }
        }
    }

    /// The seq and id of the next ack, for that client id.
    pub(crate) fn acked(&mut self, id: &str) -> (u64, String) {
        let data = self.next(EntryKind::Ack).event["data"].take();
        assert_eq!((data["tempMessageId"].as_str(), data["status"].as_str()), (Some(id), Some("persisted")));
        (data["seqId"].as_u64().unwrap(), data["messageId"].as_str().unwrap().to_owned())
    }

    /// The code of the next error, for that client id.
    pub(crate) fn refused(&mut self, id: &str) -> String {
        let data = self.next(EntryKind::Error).event["data"].take();
        assert_eq!(data["tempMessageId"], id);
        data["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn stop(self) {
        self.closer.close();
        assert!(self.worker.join());
    }
}

/// The seqs of a sync's part.
pub(crate) fn seqs(part: &Value) -> Vec<u64> {
    let messages = part["messages"].as_array().unwrap_or_else(|| panic!("{part}"));
    messages.iter().map(|message| message["seq_id"].as_u64().unwrap()).collect()
}

/// An answer of the HTTP API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// A header's value, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A token for a user.
pub(crate) fn token(user: u64) -> String {
    protocol::token::mint_hs256(KEY, UserId(user), None, UnixMs(u64::MAX / 2))
}

/// An HTTP call with these headers, each with its line's end.
pub(crate) fn call(rig: &Rig, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(rig.worker.http_address()).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

/// An HTTP call of a user; returns status and body.
pub(crate) fn http(rig: &Rig, user: u64, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = call(rig, method, path, &format!("Authorization: Bearer {}\r\n", token(user)), body);
    (answer.status, answer.json())
}
