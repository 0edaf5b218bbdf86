//! Every bound that a client, an operator or a test can reach, in one place, with its unit.
//!
//! Constants are fixed by the contract; [`Limits`] holds those a deployment may set, and is a
//! parameter of the session, so a test listener can widen them.

use crate::Rate;
use std::time::Duration;

/// `tempMessageId`, bytes.
pub const CLIENT_MSG_ID_BYTES_MAX: usize = 64;
/// `conversationId`, bytes.
pub const CONVERSATION_ID_BYTES_MAX: usize = 64;
/// `content`, characters (Unicode scalar values).
pub const CONTENT_CHARS_MAX: usize = 5_000;
/// `trace_id`, bytes.
pub const TRACE_ID_BYTES_MAX: usize = 64;
/// Nesting of a command's JSON.
pub const JSON_DEPTH_MAX: usize = 16;
/// Values (objects, arrays, keys, scalars) in one command's JSON.
pub const JSON_VALUES_MAX: usize = 1_024;
/// Conversations named by one `sync`.
pub const SYNC_CONVERSATIONS_MAX: usize = 100;
/// Messages per conversation in one `sync` answer.
pub const SYNC_LIMIT_MAX: u32 = 300;
/// Messages per conversation when `sync` names no limit.
pub const SYNC_LIMIT_DEFAULT: u32 = 50;
/// One `sync-result`, bytes; what does not fit is left empty with `hasMore`.
pub const SYNC_RESULT_BYTES_MAX: usize = 256 << 10;
/// One downstream record, bytes of payloads and targets.
pub const DOWNSTREAM_RECORD_BYTES_MAX: usize = 512 << 10;
/// One record of `im-upstream`, bytes: 5,000 characters escaped as six bytes each, ids and names.
pub const UPSTREAM_RECORD_BYTES_MAX: usize = 32 << 10;
/// One record of `im-query`, bytes: a `sync` of 100 conversations.
pub const QUERY_RECORD_BYTES_MAX: usize = 32 << 10;
/// Messages and queries of one gateway process that Kafka has not confirmed yet, records (full:
/// shards' queues fill, then `BUSY`).
pub const PRODUCE_PENDING_RECORDS: usize = 65_536;
/// The same, bytes of keys, values and headers.
pub const PRODUCE_PENDING_BYTES: usize = 64 << 20;
/// Records that a gateway fetches ahead per shard, KiB.
pub const DOWNSTREAM_FETCH_KIB: usize = 4_096;
/// Records that a worker fetches ahead, KiB.
pub const UPSTREAM_FETCH_KIB: usize = 32 << 10;
/// Downstream records taken by a shard per tick, so that sockets get their turn.
pub const DOWNSTREAM_RECORDS_PER_TICK: usize = 64;
/// Downstream records of one worker thread that Kafka has not confirmed yet (full: it waits).
pub const DOWNLINK_PENDING_RECORDS: usize = 4_096;
/// Downstream records of one worker process that Kafka has not confirmed yet, KiB.
pub const DOWNLINK_PENDING_KIB: usize = 64 << 10;
/// Sessions displaced by newer ones that wait to be told (full: new routes wait).
pub const KICK_QUEUE_SESSIONS: usize = 1_024;
/// Over how long clients spread their `sync` after a `resync` to all, ms.
pub const RESYNC_WITHIN_MS: u32 = 5_000;
/// Route changes, look-ups or re-assertions in one round trip to the directory.
pub const DIRECTORY_BATCH: usize = 512;
/// Lease renewals within which every route of a gateway is asserted again.
pub const REASSERT_RENEWALS: usize = 8;
/// Newest messages of a conversation in the hot set.
pub const HOT_MESSAGES_MAX: usize = 300;
/// Tasks for large groups that are taken at a time.
pub const FANOUT_BATCH_TASKS: usize = 256;
/// Dead letters shown at most.
pub const DEAD_LETTERS_LIST_MAX: usize = 10_000;
/// Members in one call of the HTTP API.
pub const GROUP_MEMBERS_PER_CALL_MAX: usize = 1_000;
/// A group's name, characters.
pub const GROUP_NAME_CHARS_MAX: usize = 100;
/// Members in one page of the HTTP API.
pub const MEMBERS_PAGE_MAX: u32 = 1_000;
/// Members in one page when the call names no limit.
pub const MEMBERS_PAGE_DEFAULT: u32 = 100;
/// A request's body to the HTTP API, bytes (more: 413).
pub const HTTP_BODY_BYTES_MAX: usize = 64 << 10;
/// A gateway's id, bytes.
pub const GATEWAY_ID_BYTES_MAX: usize = 31;
/// Head of an upgrade request, bytes (more is answered 431).
pub const REQUEST_HEAD_BYTES_MAX: usize = 8 << 10;
/// Headers of an upgrade request (more is answered 431).
pub const REQUEST_HEADERS_MAX: usize = 64;
/// A token, bytes.
pub const TOKEN_BYTES_MAX: usize = 4 << 10;
/// Payload of a control frame, bytes (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;
/// Frames that one fragmented message may come in.
pub const FRAGMENTS_MAX: u32 = 1_024;
/// Partitions of the in-process road; fixed in the data directory.
pub const EMBEDDED_PARTITIONS: u16 = 8;
/// Records in one batch of a logic worker, that is in one transaction of MySQL.
pub const WORKER_BATCH_RECORDS_MAX: usize = 500;
/// The same with SQLite, which writes whole pages: the more messages, the more share one.
pub const EMBEDDED_BATCH_RECORDS_MAX: usize = 4_000;
/// How far apart a worker's batches begin at most while records keep coming, ms; one that comes after a
/// pause does not wait. A deployment may set another.
pub const WORKER_BATCH_INTERVAL_MS: u64 = 10;
/// The same with SQLite, which no deployment sets.
pub const EMBEDDED_BATCH_INTERVAL_MS: u64 = 3;
/// The longest that a deployment may set, ms.
pub const BATCH_INTERVAL_MS_MAX: u64 = 1_000;
/// Commands that wait in one shard's queue for the road (full: `BUSY`).
pub const UPSTREAM_QUEUE_RECORDS: usize = 4_096;
/// Queries that wait in one shard's queue for the query thread (full: `BUSY`): as many as a shard
/// has connections by default, since after a restart each of them asks once. At most about 4 KiB
/// each, for a `sync` of [`SYNC_CONVERSATIONS_MAX`].
pub const QUERY_QUEUE_RECORDS: usize = CONNECTIONS_MAX_DEFAULT;
/// Connections per shard unless a deployment sets [`Limits::connections_max`].
pub const CONNECTIONS_MAX_DEFAULT: usize = 18_000;
/// Route changes that wait in one shard's queue for the directory.
pub const ROUTE_QUEUE_RECORDS: usize = 4_096;
/// Persisted batches that wait for the distributor (full: the persister waits).
pub const DISTRIBUTE_QUEUE_BATCHES: usize = 16;
/// The same, bytes; a batch that is larger by itself waits alone. It is 16 batches of 4,000 records of
/// 1,048 bytes each; one batch of the longest messages is larger.
pub const DISTRIBUTE_QUEUE_BYTES: usize = 64 << 20;
/// Distributed batches whose messages wait for the directory (full: the persister waits).
pub const HELD_BATCHES_MAX: usize = 64;
/// The same, bytes; the batch that reaches it is still held.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// Records in a shard's inbox, per class of producer; bytes ≤ slots × the largest record.
pub const INBOX_RECORDS: usize = 1_024;
/// What an operator may ask of a shard before it has looked (full: it is asked again for
/// [`CONTROL_TRIES`] × [`CONTROL_PAUSE`], then that is reported).
pub const CONTROL_QUEUE_RECORDS: usize = 8;
/// How often a shard is asked whose queue of these is full: for 1 s, twice as long as a shard sleeps.
pub const CONTROL_TRIES: usize = 100;
/// How soon it is asked again.
pub const CONTROL_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of one gathered send: what queued up for a socket leaves in pieces of at most this.
pub const GATHER_BYTES: usize = 16 << 10;
/// Recipients remembered per conversation by a worker (recent client ids, for repeats).
pub const RECENT_IDS_PER_CONVERSATION: usize = 256;
/// Commands above the rate that are answered with an error before the session is closed 4004; a
/// client that has no more under way than these learns of the first in time.
pub const RATE_STRIKES_MAX: u32 = 100;
/// Addresses and users whose buckets are kept while they are not full; beyond it all are full again.
pub const BUCKETS_MAX: usize = 1 << 20;
/// `typing` older than this is dropped.
pub const TYPING_AGE_MS_MAX: u64 = 3_000;
/// Messages of others that are counted as unread.
pub const UNREAD_MAX: u32 = 1_000;
/// Conversations in one page of the HTTP API.
pub const CONVERSATIONS_PAGE_MAX: u32 = 100;
/// Conversations in one page when the call names no limit.
pub const CONVERSATIONS_PAGE_DEFAULT: u32 = 50;
/// Buckets that the members of a group are spread over.
pub const MEMBER_BUCKETS: u16 = 64;
/// Bucket ranges of a large group: as many tasks per batch.
pub const FANOUT_RANGES: u16 = 4;
/// Tasks for large groups that wait (full: the distributor waits).
pub const FANOUT_QUEUE_TASKS: usize = 256;
/// The same, bytes; the tasks of one message share its text, which is counted for each.
pub const FANOUT_QUEUE_BYTES: usize = 4 << 20;
/// A group with more members than this is large, for ever.
pub const LARGE_GROUP_MEMBERS: u32 = 500;
/// Conversations that a worker keeps warm.
pub const WARM_CONVERSATIONS_MAX: usize = 65_536;
/// Conversations, or members of large groups, that one statement of the persister asks for.
pub const LOOK_UPS_PER_STATEMENT: usize = 128;
/// Times that a batch loses its fence before it is decided while its partitions are locked.
pub const FENCES_LOST_MAX: u32 = 2;
/// Connections that one worker holds to its store: persister, query thread (2), scans of large
/// groups, HTTP API (3).
pub const STORE_CONNECTIONS_PER_WORKER: usize = 7;
/// How long connecting to MySQL may take.
pub const MYSQL_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long MySQL may take over one piece of work; then the connection is given up.
pub const MYSQL_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a worker that starts waits for another that makes the tables.
pub const MYSQL_PREPARE_WAIT: Duration = Duration::from_secs(60);
/// A connection to MySQL that was silent for longer is asked whether it is still there.
pub const MYSQL_IDLE_CHECKED_AFTER: Duration = Duration::from_secs(5);
/// How long a statement waits for a row that another has locked, seconds.
pub const MYSQL_LOCK_WAIT_SECONDS_MAX: u32 = 5;
/// How long a transaction may stand still before MariaDB ends it, seconds.
pub const MYSQL_IDLE_TRANSACTION_SECONDS_MAX: u32 = 10;
/// Statements that one connection to MySQL keeps prepared.
pub const MYSQL_STATEMENTS_CACHED: usize = 64;
/// The smallest `max_allowed_packet` of a MySQL server, bytes: a batch of the largest messages,
/// 500 × (5,000 characters × 4 bytes + ids), has to fit into one statement.
pub const MYSQL_PACKET_BYTES_MIN: u64 = 16 << 20;

/// Which of a user's sessions stay when a new one opens; the others are closed 4002.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionPolicy {
    /// All, up to `sessions_per_user_max`.
    #[default]
    All,
    /// One per device that tokens name; those without a device count as one.
    PerDevice,
    /// Only the newest.
    Replace,
}

/// What a deployment may set. Defaults are the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A client's message after unmasking and reassembly, bytes (more: 1009).
    pub message_bytes_max: usize,
    /// Frames that one message may come in (more: 1009).
    pub fragments_max: u32,
    /// Text only, or binary too (the contract refuses binary with 1003).
    pub binary: bool,
    /// Time to send a whole upgrade request (then 408).
    pub handshake: Duration,
    /// Silence after which the server pings; after twice this it closes 4005.
    pub heartbeat: Duration,
    /// Bytes queued for one connection beyond which it is closed 4003.
    pub egress_bytes_max: usize,
    /// Grace for the frame in flight and the close frame before the socket is shut down.
    pub close_grace: Duration,
    /// Sessions of one user; the oldest goes with 4002.
    pub sessions_per_user_max: usize,
    /// Connections per shard; beyond it, 503.
    pub connections_max: usize,
    /// Connections per shard beyond `connections_max` that are accepted to be told 503.
    pub headroom: usize,
    /// Bytes per shard that unfinished messages and queued frames may hold; beyond it, whoever
    /// needs more is closed 1013.
    pub memory_bytes_max: usize,
    /// Commands of one user, over all their sessions (more: `RATE_LIMITED`, then 4004).
    pub user_rate: Rate,
    /// New connections of one address to one shard (more: 429).
    pub address_rate: Rate,
    /// Whether connections from this machine are free of `address_rate`.
    pub loopback_exempt: bool,
    /// Which of a user's sessions stay when a new one opens.
    pub session_policy: SessionPolicy,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 10,
            fragments_max: FRAGMENTS_MAX,
            binary: false,
            handshake: Duration::from_secs(5),
            heartbeat: Duration::from_secs(30),
            egress_bytes_max: 512 << 10,
            close_grace: Duration::from_secs(2),
            sessions_per_user_max: 8,
            connections_max: CONNECTIONS_MAX_DEFAULT,
            headroom: 1_000,
            memory_bytes_max: 256 << 20,
            user_rate: Rate::new(100, 1_000),
            address_rate: Rate::new(200, 200),
            loopback_exempt: true,
            session_policy: SessionPolicy::All,
        }
    }
}
