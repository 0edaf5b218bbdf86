//! A gateway's end of the road over Kafka: reports, watermarks, partitions of its own.

mod support;

use bus::kafka::{GatewayRoad, KafkaDownlink, KafkaRoadError, KafkaUplink, PendingBounds, Settings, admin};
use bus::{Downlink, Downstream, Uplink};
use futures_executor::block_on;
use protocol::record::{DownstreamEntry, EntryKind, Targets};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Inbox, WAIT, as_shard_inboxes, batch, cut, gateway, kafka, now, origin, publish, text};

struct Rig {
    uplinks: Vec<KafkaUplink>,
    inboxes: Vec<Arc<Inbox>>,
    road: GatewayRoad,
}

fn start(settings: &Settings, shards: usize, room: usize) -> Rig {
    let inboxes: Vec<_> = (0..shards).map(|_| Inbox::new(room)).collect();
    let started =
        GatewayRoad::start(settings, gateway(), as_shard_inboxes(&inboxes), PendingBounds::default())
            .unwrap();
    Rig { uplinks: started.uplinks, inboxes, road: started.road }
}

impl Rig {
    /// The next entries for a shard.
    fn next(&mut self, shard: usize) -> Vec<DownstreamEntry> {
        let until = now() + WAIT;
        loop {
            if let Some(record) = self.uplinks[shard].poll().or_else(|| self.inboxes[shard].pop()) {
                let Downstream::Batch(batch) = record else { panic!("{record:?}") };
                return batch.entries;
            }
            assert!(now() < until, "nothing comes");
            self.uplinks[shard].flush();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn entries(&mut self, shard: usize, n: usize) -> Vec<DownstreamEntry> {
        let mut entries = vec![];
        while entries.len() < n {
            entries.append(&mut self.next(shard));
        }
        entries
    }
}

#[test]
fn whoever_sent_is_told_what_kafka_has_confirmed() {
    let mut rig = start(&kafka(), 2, usize::MAX);
    for n in 0..100u16 {
        let shard = n % 2;
        assert!(publish(&mut rig.uplinks[usize::from(shard)], shard, n.into(), &n.to_string(), 5));
    }
    rig.uplinks.iter_mut().for_each(Uplink::flush);
    for shard in 0..2 {
        let acks = rig.entries(shard, 50);
        let mut told: Vec<_> = acks
            .iter()
            .map(|ack| {
                assert_eq!(ack.kind, EntryKind::Ack);
                let event: Value = serde_json::from_slice(&ack.payload).unwrap();
                assert_eq!((&event["data"]["status"], &event["trace_id"]), (&"accepted".into(), &"t".into()));
                let id: u32 = event["data"]["tempMessageId"].as_str().unwrap().parse().unwrap();
                assert_eq!(ack.targets, Targets::Session(origin(shard as u16, id).session));
                id
            })
            .collect();
        told.sort_unstable();
        assert_eq!(told, (0..100).skip(shard).step_by(2).collect::<Vec<_>>());
    }
    let stats = rig.road.stats();
    assert_eq!(stats.accepted.load(Ordering::Relaxed), 100);
    assert_eq!(stats.confirm_latency[0].read().0.iter().sum::<u64>(), 50);
    assert!(rig.road.is_healthy() && rig.road.stop(WAIT));
}

#[test]
fn reports_for_a_full_inbox_are_kept() {
    let mut rig = start(&kafka(), 1, 0);
    for n in 0..10 {
        assert!(publish(&mut rig.uplinks[0], 0, 1, &n.to_string(), 5));
    }
    rig.uplinks[0].flush();
    assert!(!rig.road.flush(Duration::from_secs(2)), "nobody has been told yet");
    rig.inboxes[0].room.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(rig.entries(0, 10).len(), 10);
    assert!(rig.road.flush(WAIT) && rig.road.stop(WAIT));
}

#[test]
fn a_start_reads_what_comes_after_it_and_nothing_before() {
    let settings = kafka();
    let mut downlink = KafkaDownlink::new(&settings).unwrap();
    let rig = start(&settings, 2, usize::MAX);
    assert!(rig.road.stop(WAIT));
    for round in 0..5 {
        for shard in 0..2 {
            downlink.send(gateway(), shard, batch("before")).unwrap();
        }
        assert!(downlink.flush(WAIT));
        let mut rig = start(&settings, 2, usize::MAX);
        let after = format!("after {round}");
        for shard in 0..2 {
            downlink.send(gateway(), shard, batch(&after)).unwrap();
        }
        for shard in 0..2 {
            let entries = rig.next(shard);
            assert_eq!(String::from_utf8_lossy(&entries[0].payload), after);
        }
        assert!(rig.road.stop(WAIT));
    }
}

#[test]
fn a_shard_is_woken_takes_some_at_a_time_and_comes_back_for_the_rest() {
    let settings = kafka();
    let mut rig = start(&settings, 1, usize::MAX);
    while rig.uplinks[0].poll().is_some() {}
    rig.uplinks[0].flush();
    let before = rig.inboxes[0].nudges.load(Ordering::SeqCst);
    let mut downlink = KafkaDownlink::new(&settings).unwrap();
    for n in 0..1_000 {
        downlink.send(gateway(), 0, batch(&n.to_string())).unwrap();
    }
    assert!(downlink.flush(WAIT));
    let until = now() + WAIT;
    while rig.inboxes[0].nudges.load(Ordering::SeqCst) == before {
        assert!(now() < until, "nobody wakes the shard");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut next = 0;
    while next < 1_000 {
        assert!(now() < until, "{next} came");
        let mut in_tick = 0;
        while let Some(record) = rig.uplinks[0].poll() {
            let Downstream::Batch(batch) = record else { panic!("{record:?}") };
            assert_eq!(text(&batch), next.to_string());
            (next, in_tick) = (next + 1, in_tick + 1);
        }
        assert!(in_tick <= protocol::limits::DOWNSTREAM_RECORDS_PER_TICK);
        rig.uplinks[0].flush();
    }
    assert!(rig.road.stop(WAIT));
}

#[test]
fn what_a_shard_cannot_read_is_skipped_and_counted() {
    let settings = kafka();
    let mut rig = start(&settings, 1, usize::MAX);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &settings.brokers).create().unwrap();
    let topic = settings.downstream_topic(gateway());
    for _ in 0..3 {
        let record = BaseRecord::<(), str>::to(&topic).partition(0).payload("garbage");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT).unwrap();
    let mut downlink = KafkaDownlink::new(&settings).unwrap();
    downlink.send(gateway(), 0, batch("good")).unwrap();
    assert_eq!(&*rig.next(0)[0].payload, b"good");
    assert_eq!(rig.road.stats().undecodable.load(Ordering::Relaxed), 3);
    assert!(rig.road.stop(WAIT));
}

#[test]
fn a_kick_reaches_the_session_through_its_gateways_topic() {
    let mut rig = start(&kafka(), 2, usize::MAX);
    let session = origin(1, 7);
    rig.road.kicks()(session).unwrap();
    let entries = rig.next(1);
    assert_eq!((entries[0].kind, &entries[0].targets), (EntryKind::Kick, &Targets::Session(session.session)));
    assert!(rig.road.stop(WAIT));
}

/// The log is cut behind the shard's back while it does not read.
#[test]
fn a_shard_whose_place_is_lost_goes_on_from_the_watermark_and_all_its_sessions_are_told() {
    let mut settings = kafka();
    settings.extra.insert("queued.max.messages.kbytes".into(), "256".into());
    settings.extra.insert("fetch.message.max.bytes".into(), "131072".into());
    settings.extra.insert("compression.type".into(), "none".into());
    let mut rig = start(&settings, 2, usize::MAX);
    let mut downlink = KafkaDownlink::new(&settings).unwrap();
    let big = "x".repeat(100_000);
    for _ in 0..60 {
        downlink.send(gateway(), 0, batch(&big)).unwrap();
    }
    assert!(downlink.flush(WAIT));
    cut(&settings, &settings.downstream_topic(gateway()), 0);
    let mut bigs = 0;
    loop {
        let entries = rig.next(0);
        if entries[0].kind == EntryKind::Resync {
            assert_eq!(entries[0].targets, Targets::All);
            break;
        }
        bigs += 1;
    }
    assert!(bigs < 60, "the shard had fetched everything before the log was cut");
    downlink.send(gateway(), 0, batch("fresh")).unwrap();
    downlink.send(gateway(), 1, batch("other")).unwrap();
    assert_eq!(&*rig.next(0)[0].payload, b"fresh");
    assert_eq!(&*rig.next(1)[0].payload, b"other", "another shard's queue is as it was");
    assert_eq!(rig.road.stats().reassigned.load(Ordering::Relaxed), 1);
    assert!(rig.road.stop(WAIT));
}

#[test]
fn topics_are_made_once_grown_for_more_shards_and_checked() {
    let settings = kafka();
    let partitions = admin::ensure_shared(&settings).unwrap();
    assert_eq!((partitions.upstream, partitions.query, partitions.fanout), (8, 4, 4));
    assert_eq!(admin::ensure_shared(&settings).unwrap(), partitions);
    for shards in [1, 3, 2] {
        admin::ensure_gateway(&settings, gateway(), shards).unwrap();
    }
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &settings.brokers).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(&settings.downstream_topic(gateway())), WAIT).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
    let other = Settings { upstream_partitions: 16, ..settings };
    let error = admin::ensure_shared(&other).unwrap_err();
    assert!(matches!(error, KafkaRoadError::PartitionCount { found: 8, expected: 16, .. }), "{error}");
    assert!(error.to_string().contains("set upstream_partitions to 8"), "{error}");
}

#[test]
fn more_copies_than_brokers_are_refused_with_the_setting_to_change() {
    let settings = Settings { replication: 3, ..kafka() };
    let error = admin::ensure_shared(&settings).unwrap_err();
    assert!(error.to_string().contains("set kafka.replication_factor"), "{error}");
}

#[test]
fn topics_are_made_with_the_copies_that_must_have_a_record() {
    let mut settings = kafka();
    settings.min_insync = 2;
    admin::ensure_shared(&settings).unwrap();
    admin::ensure_gateway(&settings, gateway(), 1).unwrap();
    let mut config = ClientConfig::new();
    let client: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", &settings.brokers).create().unwrap();
    let topics = [
        settings.upstream_topic(),
        settings.query_topic(),
        settings.fanout_topic(),
        settings.dead_letter_topic(),
        settings.downstream_topic(gateway()),
    ];
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let told = block_on(client.describe_configs(&asked, &AdminOptions::new())).unwrap();
    for (topic, told) in topics.iter().zip(told) {
        let told = told.unwrap();
        let entry = told.get("min.insync.replicas").unwrap();
        assert_eq!(entry.value.as_deref(), Some("2"), "{topic}");
    }
}

#[test]
fn a_log_is_told_by_its_oldest_offset_and_its_next() {
    let settings = kafka();
    let partitions = admin::ensure_shared(&settings).unwrap();
    let empty = admin::Log { low: 0, high: 0 };
    assert_eq!(admin::upstream_logs(&settings, partitions).unwrap(), [empty; 8]);
    let mut rig = start(&settings, 1, usize::MAX);
    for n in 0..5 {
        assert!(publish(&mut rig.uplinks[0], 0, 1, &n.to_string(), 5));
    }
    rig.uplinks[0].flush();
    assert!(rig.road.flush(WAIT) && rig.road.stop(WAIT));
    let own = usize::from(protocol::ConversationId::Group(5).partition(8));
    let logs = admin::upstream_logs(&settings, partitions).unwrap();
    assert_eq!(logs[own], admin::Log { low: 0, high: 5 });
    cut(&settings, &settings.upstream_topic(), own as i32);
    let logs = admin::upstream_logs(&settings, partitions).unwrap();
    assert_eq!(logs[own], admin::Log { low: 5, high: 5 });
    assert!(logs.iter().enumerate().all(|(partition, log)| partition == own || *log == empty), "{logs:?}");
}

#[test]
fn without_a_broker_a_start_says_where_it_looked() {
    let mut settings = Settings::new("127.0.0.1:1");
    settings.wait = Duration::from_millis(500);
    let error = admin::ensure_shared(&settings).unwrap_err();
    assert!(error.to_string().starts_with("no Kafka broker answers at 127.0.0.1:1 within 500ms"), "{error}");
}
