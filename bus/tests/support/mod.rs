//! Roads to test: each implementation with both of its ends in the hands of the test.
#![allow(dead_code, reason = "each test file uses some of it")]

use bus::in_process::{self, Config};
use bus::kafka::{GatewayRoad, KafkaDownlink, KafkaQueries, KafkaUpstream, PendingBounds, Settings, admin};
use bus::{
    Change, Downlink, Downstream, Poll, Polled, Polls, QuerySource, Sender, ShardInbox, Uplink,
    UpstreamSource,
};
use futures_executor::block_on;
use protocol::command::{MessageType, SendMessage};
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets, UpstreamRecord};
use protocol::{ConversationId, GatewayId, Origin, SessionRef, UnixMs, UserId};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::sync::Arc;
#[allow(clippy::disallowed_types, reason = "a test is no shard")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a test waits for what must come.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
pub(crate) const NOW: Duration = Duration::ZERO;

#[allow(clippy::disallowed_methods, reason = "a test has a clock of its own")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A shard's inbox with as much room as the test gives it.
#[allow(clippy::disallowed_types, reason = "a test is no shard")]
pub(crate) struct Inbox {
    pub(crate) taken: Mutex<VecDeque<Downstream>>,
    pub(crate) room: AtomicUsize,
    pub(crate) closed: AtomicBool,
    pub(crate) nudges: AtomicUsize,
}

#[allow(clippy::disallowed_types, reason = "a test is no shard")]
impl Inbox {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            room: AtomicUsize::new(room),
            closed: AtomicBool::new(false),
            nudges: AtomicUsize::new(0),
        })
    }

    pub(crate) fn pop(&self) -> Option<Downstream> {
        self.taken.lock().unwrap().pop_front()
    }

    /// Everything taken so far.
    pub(crate) fn drain(&self) -> Vec<Downstream> {
        self.taken.lock().unwrap().drain(..).collect()
    }
}

impl ShardInbox for Inbox {
    fn push(&self, record: Downstream) -> Result<(), Downstream> {
        if self.room.load(Ordering::SeqCst) == 0 {
            return Err(record);
        }
        self.room.fetch_sub(1, Ordering::SeqCst);
        self.taken.lock().unwrap().push_back(record);
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn nudge(&self) {
        self.nudges.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn as_shard_inboxes(inboxes: &[Arc<Inbox>]) -> Vec<Arc<dyn ShardInbox>> {
    inboxes.iter().map(|inbox| Arc::clone(inbox) as Arc<dyn ShardInbox>).collect()
}

pub(crate) fn gateway() -> GatewayId {
    GatewayId::new("gw").unwrap()
}

pub(crate) fn origin(shard: u16, slot: u32) -> Origin {
    Origin { gateway: gateway(), boot_epoch: 1, session: SessionRef { shard, slot, generation: 0 } }
}

/// Publishes as the session in slot `user` of `shard`; `false` if it was refused.
pub(crate) fn publish(
    uplink: &mut (impl Uplink + ?Sized),
    shard: u16,
    user: u64,
    id: &str,
    group: u64,
) -> bool {
    let (origin, received_at) = (origin(shard, user as u32), UnixMs(7));
    let from = Sender { origin, user: UserId(user), received_at, trace_id: "t" };
    let conversation = ConversationId::Group(group);
    let message =
        SendMessage { client_msg_id: id, conversation, content: "x", message_type: MessageType::Text };
    uplink.publish(from, &message).is_ok()
}

pub(crate) fn batch(text: &str) -> DownstreamBatch {
    let payload = text.as_bytes().into();
    let entry = DownstreamEntry { kind: EntryKind::Message, targets: Targets::All, exclude: None, payload };
    DownstreamBatch { entries: vec![entry], sent_at: UnixMs(1) }
}

pub(crate) fn text(batch: &DownstreamBatch) -> String {
    String::from_utf8(batch.entries[0].payload.to_vec()).unwrap()
}

/// A name that no other test and no other run has.
#[allow(clippy::disallowed_methods, reason = "a test has a clock of its own")]
pub(crate) fn own_prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("t{since}-{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst))
}

fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the services with `scripts/services up`, which says how to set it")
    })
}

/// Kafka as the environment names it, with topics of this test's own.
pub(crate) fn kafka() -> Settings {
    let mut settings = Settings::new(service("TEST_KAFKA"));
    settings.prefix = own_prefix();
    settings.upstream_partitions = 8;
    settings.query_partitions = 4;
    settings
}

/// Redis as the environment names it, with keys of this test's own.
pub(crate) fn redis() -> bus::directory::redis::Settings {
    let mut settings = bus::directory::redis::Settings::new(service("TEST_REDIS"));
    settings.prefix = own_prefix();
    settings
}

/// Deletes everything in a partition up to its end.
pub(crate) fn cut(settings: &Settings, topic: &str, partition: i32) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers);
    let consumer: BaseConsumer = config.create().unwrap();
    let (_, high) = consumer.fetch_watermarks(topic, partition, WAIT).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(high)).unwrap();
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
}

/// A road with two shards and one worker.
pub(crate) struct Rig {
    pub(crate) uplinks: Vec<Box<dyn Uplink + Send>>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) upstream: Box<dyn UpstreamSource>,
    pub(crate) queries: Box<dyn QuerySource>,
    pub(crate) downlink: Box<dyn Downlink>,
    pub(crate) close: Box<dyn FnOnce()>,
}

pub(crate) fn in_process_rig(lane: usize) -> Rig {
    let inboxes = vec![Inbox::new(usize::MAX), Inbox::new(usize::MAX)];
    let config = Config { upstream: lane, ..Config::new(gateway()) };
    let road = in_process::road(config, as_shard_inboxes(&inboxes));
    let closer = road.closer;
    Rig {
        uplinks: road.uplinks.into_iter().map(|uplink| Box::new(uplink) as Box<dyn Uplink + Send>).collect(),
        inboxes,
        upstream: Box::new(road.upstream),
        queries: Box::new(road.queries),
        downlink: Box::new(road.downlink),
        close: Box::new(move || closer.close()),
    }
}

pub(crate) fn kafka_rig(settings: &Settings, bounds: PendingBounds) -> Rig {
    let inboxes = vec![Inbox::new(usize::MAX), Inbox::new(usize::MAX)];
    let started = GatewayRoad::start(settings, gateway(), as_shard_inboxes(&inboxes), bounds).unwrap();
    let partitions = admin::ensure_shared(settings).unwrap();
    let upstream = KafkaUpstream::new(settings, partitions.upstream).unwrap();
    let queries = KafkaQueries::new(settings).unwrap();
    let closers = [upstream.closer(), queries.closer()];
    let road = started.road;
    let uplinks = started.uplinks.into_iter().map(|uplink| Box::new(uplink) as Box<dyn Uplink + Send>);
    Rig {
        uplinks: uplinks.collect(),
        inboxes,
        upstream: Box::new(upstream),
        queries: Box::new(queries),
        downlink: Box::new(KafkaDownlink::new(settings).unwrap()),
        close: Box::new(move || {
            assert!(road.flush(WAIT), "everything is confirmed");
            assert!(road.stop(WAIT));
            drop(closers);
        }),
    }
}

/// Polls until `n` records have come; partitions are started where `next` says.
pub(crate) fn take(
    source: &mut (impl UpstreamSource + ?Sized),
    n: usize,
    next: impl Fn(u16) -> u64,
) -> Vec<Polled<UpstreamRecord>> {
    let (mut polls, mut records) = (Polls::default(), vec![]);
    let until = now() + WAIT;
    while records.len() < n {
        assert!(now() < until, "{} of {n} records came", records.len());
        assert_eq!(source.poll(500, Duration::from_millis(200), &mut polls), Poll::Open);
        records.append(&mut polls.records);
        for change in polls.changes.drain(..) {
            if let Change::Assigned(partitions) = change {
                let positions: Vec<_> = partitions.into_iter().map(|p| (p, next(p))).collect();
                source.start(&positions).unwrap();
            }
        }
    }
    records
}

impl Rig {
    /// What has reached a shard, waiting until `n` batches have; acks of the road itself aside.
    pub(crate) fn arrived(&mut self, shard: usize, n: usize) -> Vec<DownstreamBatch> {
        let mut batches = vec![];
        let until = now() + WAIT;
        while batches.len() < n {
            assert!(now() < until, "{} of {n} batches came", batches.len());
            let record = self.uplinks[shard].poll().or_else(|| self.inboxes[shard].pop());
            match record {
                Some(Downstream::Batch(batch)) => {
                    if batch.entries[0].kind == EntryKind::Message {
                        batches.push(batch);
                    }
                }
                Some(Downstream::RouteRegistered(_)) => {}
                None => {
                    self.uplinks[shard].flush();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        batches
    }
}
