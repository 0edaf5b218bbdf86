//! A worker's end of the road over Kafka: shares that change hands, records nobody can read.

#[path = "../support/mod.rs"]
mod support;
mod workers;

use bus::kafka::{
    DeadLetters, GatewayRoad, KafkaDownlink, KafkaTasks, KafkaUpstream, PendingBounds, Settings,
    TaskProducer, admin,
};
use bus::{Change, Poll, Polls, Skipped, StartError, Uplink, UpstreamSource};
use protocol::ConversationId;
use protocol::record::{FanoutTask, UpstreamRecord};
use protocol::wire::{Unreadable, encode_upstream};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, TopicPartitionList};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
#[allow(clippy::disallowed_types, reason = "a test is no shard")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Inbox, WAIT, as_shard_inboxes, cut, gateway, kafka, now, origin, publish, take};
use workers::{Shares, Store, work};

const STEP: Duration = Duration::from_millis(100);

/// One shard's uplink and its road.
fn road(settings: &Settings) -> (impl Uplink + Send + use<>, GatewayRoad) {
    let inboxes = [Inbox::new(usize::MAX)];
    let started =
        GatewayRoad::start(settings, gateway(), as_shard_inboxes(&inboxes), PendingBounds::default())
            .unwrap();
    ({ started.uplinks }.remove(0), started.road)
}

/// Sends `n` messages to one group, and waits until they are confirmed.
fn send(settings: &Settings, n: usize, group: u64) {
    let (mut uplink, road) = road(settings);
    for n in 0..n {
        assert!(publish(&mut uplink, 0, 1, &n.to_string(), group));
    }
    uplink.flush();
    assert!(road.flush(WAIT) && road.stop(WAIT));
}

fn source(settings: &Settings) -> KafkaUpstream {
    let partitions = admin::ensure_shared(settings).unwrap();
    KafkaUpstream::new(settings, partitions.upstream).unwrap()
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = now() + WAIT;
    while !is() {
        assert!(now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_share_that_changes_hands_loses_and_repeats_nothing() {
    let settings = kafka();
    let (mut uplink, road) = road(&settings);
    let (store, shares) = (Arc::new(Store::default()), Arc::new(Shares::default()));
    let stops = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
    let begin = |worker: usize| {
        let (settings, store, shares) = (settings.clone(), Arc::clone(&store), Arc::clone(&shares));
        let stop = Arc::clone(&stops[worker]);
        std::thread::spawn(move || work(worker, &settings, &store, &stop, &shares))
    };
    let mut sent = 0;
    let mut some = |sent: &mut usize| {
        for _ in 0..200 {
            assert!(publish(&mut uplink, 0, 1, &sent.to_string(), *sent as u64 % 50));
            *sent += 1;
        }
        uplink.flush();
        std::thread::sleep(STEP);
    };
    let share = |worker: usize| shares[worker].lock().unwrap().len();
    let first = begin(0);
    eventually("the first has all", || {
        some(&mut sent);
        share(0) == 8
    });
    let second = begin(1);
    eventually("they share", || {
        some(&mut sent);
        share(0) == 4 && share(1) == 4
    });
    some(&mut sent);
    stops[0].store(true, Ordering::SeqCst);
    first.join().unwrap();
    eventually("the second has all", || {
        some(&mut sent);
        share(1) == 8
    });
    assert!(road.flush(WAIT));
    eventually("everything is persisted", || store.len() == sent);
    stops[1].store(true, Ordering::SeqCst);
    second.join().unwrap();
    assert_eq!(store.repeats.load(Ordering::SeqCst), 0, "what was committed does not come again");
    let persisted = store.persisted.lock().unwrap();
    let workers: BTreeSet<_> = persisted.iter().map(|(worker, _)| *worker).collect();
    assert_eq!(workers.len(), 2);
    let mut next: HashMap<ConversationId, usize> = HashMap::new();
    for (_, polled) in persisted.iter() {
        let ConversationId::Group(group) = polled.record.conversation else { panic!("{polled:?}") };
        let expected = next.entry(polled.record.conversation).or_insert(group as usize);
        assert_eq!(polled.record.client_msg_id.parse::<usize>().unwrap(), *expected);
        *expected += 50;
    }
    drop(persisted);
    assert!(road.stop(WAIT));
}

#[test]
fn a_partition_begins_at_what_is_committed_or_persisted_whichever_is_less() {
    let settings = kafka();
    send(&settings, 100, 1);
    let partition = ConversationId::Group(1).partition(8);
    let mut first = source(&settings);
    assert_eq!(take(&mut first, 100, |_| 0)[0].offset, 0);
    first.release(&[], &[(partition, 40)]);
    drop(first);
    for (next_offset, begins) in [(70, 40), (30, 30)] {
        let mut again = source(&settings);
        let next = |p: u16| if p == partition { next_offset } else { 0 };
        assert_eq!(take(&mut again, 10, next)[0].offset, begins, "next_offset {next_offset}");
    }
}

/// Where the group of all workers would go on.
fn noted(settings: &Settings, partition: u16) -> Option<i64> {
    let consumer: BaseConsumer = settings.upstream_consumer().create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&settings.upstream_topic(), partition.into());
    let found = consumer.committed_offsets(asked, WAIT).unwrap();
    found.elements()[0].offset().to_raw().filter(|offset| *offset >= 0)
}

#[test]
fn where_a_partition_begins_is_noted_before_anything_is_polled() {
    let settings = kafka();
    send(&settings, 100, 1);
    let partition = ConversationId::Group(1).partition(8);
    assert_eq!(noted(&settings, partition), None);
    // The store was set back to an older state in between.
    for next_offset in [70, 30] {
        let mut source = source(&settings);
        let mut polls = Polls::default();
        let until = now() + WAIT;
        while polls.changes.is_empty() {
            assert!(now() < until);
            assert_eq!(source.poll(1, STEP, &mut polls), Poll::Open);
        }
        source.start(&[(partition, next_offset)]).unwrap();
        assert_eq!(noted(&settings, partition), Some(next_offset as i64));
    }
}

#[test]
fn a_partition_whose_log_does_not_hold_what_comes_next_is_refused() {
    let settings = kafka();
    let mut source = source(&settings);
    let mut polls = Polls::default();
    let until = now() + WAIT;
    while polls.changes.is_empty() {
        assert!(now() < until);
        assert_eq!(source.poll(1, STEP, &mut polls), Poll::Open);
    }
    let error = source.start(&[(0, 1_000)]).unwrap_err();
    assert_eq!(error, StartError::OutsideLog { partition: 0, wanted: 1_000, low: 0, high: 0 });
    assert!(error.to_string().contains("ringway logic new-epoch"), "{error}");
}

#[test]
fn a_log_that_is_cut_ahead_of_its_reader_ends_the_source_with_the_cure() {
    let settings = kafka();
    send(&settings, 10, 1);
    let mut source = source(&settings);
    take(&mut source, 10, |_| 0);
    source.pause();
    send(&settings, 10, 1);
    cut(&settings, &settings.upstream_topic(), ConversationId::Group(1).partition(8).into());
    source.resume();
    let (mut polls, until) = (Polls::default(), now() + WAIT);
    let why = loop {
        assert!(now() < until && polls.records.is_empty(), "{polls:?}");
        if let Poll::Failed(why) = source.poll(500, STEP, &mut polls) {
            break why;
        }
    };
    assert!(why.contains("run `ringway logic new-epoch`"), "{why}");
}

#[test]
fn a_paused_source_gives_nothing_stays_in_its_group_and_goes_on() {
    let settings = kafka();
    send(&settings, 10, 1);
    let mut source = source(&settings);
    take(&mut source, 10, |_| 0);
    source.pause();
    send(&settings, 10, 1);
    let mut polls = Polls::default();
    for _ in 0..20 {
        assert_eq!(source.poll(500, STEP, &mut polls), Poll::Open);
    }
    assert!(polls.is_empty(), "{polls:?}");
    source.resume();
    assert_eq!(take(&mut source, 10, |_| 0)[0].offset, 10);
}

#[test]
fn who_does_not_poll_for_too_long_is_told_that_its_share_is_lost_and_may_begin_again() {
    let mut settings = kafka();
    settings.extra.insert("session.timeout.ms".into(), "6000".into());
    settings.extra.insert("max.poll.interval.ms".into(), "6000".into());
    send(&settings, 10, 1);
    let mut source = source(&settings);
    take(&mut source, 10, |_| 0);
    std::thread::sleep(Duration::from_secs(8));
    let (mut polls, mut changes, until) = (Polls::default(), vec![], now() + WAIT);
    while changes.len() < 2 {
        assert!(now() < until, "{changes:?}");
        assert_eq!(source.poll(500, STEP, &mut polls), Poll::Open);
        assert!(polls.records.is_empty());
        changes.append(&mut polls.changes);
    }
    let all: Vec<u16> = (0..8).collect();
    assert_eq!(changes, [Change::Lost(all.clone()), Change::Assigned(all.clone())]);
    source.start(&all.iter().map(|partition| (*partition, 0)).collect::<Vec<_>>()).unwrap();
    assert_eq!(take(&mut source, 10, |_| 0)[0].offset, 0, "nothing was committed");
}

/// Puts a value where it does not belong, or with a version that nobody knows.
fn put(producer: &BaseProducer, topic: &str, partition: u16, version: &str, value: &[u8]) {
    let headers = OwnedHeaders::new().insert(Header { key: "v", value: Some(version) });
    let record =
        BaseRecord::<(), [u8]>::to(topic).partition(partition.into()).payload(value).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT).unwrap();
}

#[test]
#[allow(clippy::disallowed_types, reason = "a test is no shard")]
fn what_nobody_can_read_becomes_a_dead_letter_and_the_partition_moves_on() {
    let settings = kafka();
    let partitions = admin::ensure_shared(&settings).unwrap();
    let topic = settings.upstream_topic();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &settings.brokers).create().unwrap();
    let record = UpstreamRecord {
        origin: origin(0, 1),
        sender: protocol::UserId(1),
        conversation: ConversationId::Group(1),
        client_msg_id: "misplaced".into(),
        content: "x".into(),
        message_type: protocol::command::MessageType::Text,
        received_at: protocol::UnixMs(1),
        trace_id: "t".into(),
    };
    let mut value = vec![];
    encode_upstream((&record).into(), &mut value);
    let own = ConversationId::Group(1).partition(8);
    let other = (own + 1) % 8;
    put(&producer, &topic, other, "1", b"garbage");
    put(&producer, &topic, other, "2", &value);
    put(&producer, &topic, other, "1", &value);
    let group = (2..).find(|group| ConversationId::Group(*group).partition(8) == other).unwrap();
    send(&settings, 1, group);

    let mut source = source(&settings);
    let counted = Arc::<Mutex<Vec<Unreadable>>>::default();
    let told = Arc::clone(&counted);
    source.on_dead_letter(Box::new(move |kind| told.lock().unwrap().push(kind)));
    let (mut polls, mut skipped, mut records) = (Polls::default(), vec![], vec![]);
    let until = now() + WAIT;
    while records.is_empty() {
        assert!(now() < until);
        assert_eq!(source.poll(1, STEP, &mut polls), Poll::Open);
        records.append(&mut polls.records);
        skipped.append(&mut polls.skipped);
        for change in polls.changes.drain(..) {
            let Change::Assigned(partitions) = change else { panic!("{change:?}") };
            source.start(&partitions.into_iter().map(|p| (p, 0)).collect::<Vec<_>>()).unwrap();
        }
    }
    assert_eq!((records[0].partition, records[0].offset), (other, 3));
    assert_eq!(skipped, [0, 1, 2].map(|offset| Skipped { partition: other, offset }));

    let kinds = [Unreadable::Garbage, Unreadable::UnknownVersion, Unreadable::Misplaced];
    assert_eq!(*counted.lock().unwrap(), kinds);

    let letters = DeadLetters::new(&settings).unwrap();
    let dead = letters.list(100).unwrap();
    let reasons: Vec<_> = dead.iter().map(|letter| letter.reason.as_str()).collect();
    assert!(reasons[0].starts_with("expected JSON"), "{reasons:?}");
    assert_eq!(reasons[1], "expected version 1 in header v, got \"2\"");
    assert_eq!(reasons[2], format!("expected in partition {own}, got in partition {other}"));
    assert_eq!(dead[2].value.as_deref(), Some(&*value));
    assert_eq!((&*dead[2].source_topic, dead[2].source_offset), (&*topic, 2));
    letters.replay(&dead[0], partitions).unwrap_err();
    assert_eq!(letters.replay(&dead[2], partitions).unwrap(), own);
    let replayed = take(&mut source, 1, |_| 0);
    assert_eq!((replayed[0].partition, &replayed[0].record), (own, &record));

    assert!(source.put_aside(&replayed[0], "the store refuses it"));
    let dead = letters.list(100).unwrap();
    assert_eq!((dead.len(), &*dead[3].reason), (4, "the store refuses it"));
}

#[test]
fn tasks_come_again_until_they_are_done() {
    let settings = kafka();
    let partitions = admin::ensure_shared(&settings).unwrap();
    let downlink = KafkaDownlink::new(&settings).unwrap();
    let mut producer = TaskProducer::new(&settings, partitions, &downlink);
    for seq in 0..20 {
        let (conversation, range) = (ConversationId::Group(1), (seq % 4) as u16);
        producer
            .send(&FanoutTask { conversation, seq, range, from: origin(0, 1), trace_id: "t".into() })
            .unwrap();
    }
    assert!(downlink.flush(WAIT));
    eventually("all are durable", || producer.delivered() == 20);
    let take = |tasks: &mut KafkaTasks, n: usize, done: bool| {
        let (mut seqs, until) = (vec![], now() + WAIT);
        while seqs.len() < n {
            assert!(now() < until, "{} of {n} tasks came", seqs.len());
            let batch = tasks.poll(7, STEP).unwrap();
            seqs.extend(batch.tasks.iter().map(|task| task.seq));
            if done {
                tasks.done(&batch);
            }
        }
        seqs.sort_unstable();
        seqs
    };
    let all: Vec<_> = (0..20).collect();
    assert_eq!(take(&mut KafkaTasks::new(&settings).unwrap(), 20, false), all);
    let mut tasks = KafkaTasks::new(&settings).unwrap();
    assert_eq!(take(&mut tasks, 20, true), all);
    drop(tasks);
    let mut tasks = KafkaTasks::new(&settings).unwrap();
    let closer = tasks.closer();
    producer
        .send(&FanoutTask {
            conversation: ConversationId::Group(1),
            seq: 20,
            range: 0,
            from: origin(0, 1),
            trace_id: "t".into(),
        })
        .unwrap();
    assert_eq!(take(&mut tasks, 1, true), [20]);
    closer.close();
    assert!(tasks.poll(7, STEP).is_none());
}
