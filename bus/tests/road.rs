//! What every road promises, of the one within a process and of the one over Kafka.

mod support;

use bus::kafka::PendingBounds;
use bus::{DownlinkError, Uplink};
use protocol::record::{Query, QueryRecord};
use protocol::{ConversationId, UserId};
use std::collections::HashMap;
use std::time::Duration;
use support::{
    Rig, WAIT, batch, gateway, in_process_rig, kafka, kafka_rig, now, origin, publish, take, text,
};

const EACH: usize = 2_000;

fn over_kafka() -> Rig {
    kafka_rig(&kafka(), PendingBounds::default())
}

fn within_a_process() -> Rig {
    in_process_rig(4_096)
}

/// Sends until it is taken.
fn insist(uplink: &mut dyn Uplink, shard: u16, user: u64, id: &str, group: u64) {
    while !publish(uplink, shard, user, id, group) {
        uplink.flush();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each shard sends as one user into many conversations.
fn everything_arrives_once_and_in_order(mut rig: Rig) {
    let uplinks = std::mem::take(&mut rig.uplinks);
    let producers: Vec<_> = uplinks
        .into_iter()
        .zip(0u16..)
        .map(|(mut uplink, shard)| {
            std::thread::spawn(move || {
                for n in 0..EACH {
                    insist(uplink.as_mut(), shard, shard.into(), &n.to_string(), n as u64 % 20);
                    if n % 50 == 0 {
                        uplink.flush();
                    }
                }
                uplink.flush();
            })
        })
        .collect();
    let records = take(rig.upstream.as_mut(), 2 * EACH, |_| 0);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    assert_eq!(records.len(), 2 * EACH);
    let mut next_offset: HashMap<u16, u64> = HashMap::new();
    let mut next_id: HashMap<(UserId, ConversationId), usize> = HashMap::new();
    for polled in &records {
        let record = &polled.record;
        assert_eq!(polled.partition, record.conversation.partition(8));
        let expected = next_offset.entry(polled.partition).or_default();
        assert_eq!(polled.offset, *expected, "offsets are dense");
        *expected += 1;
        let ConversationId::Group(group) = record.conversation else { panic!("{record:?}") };
        let expected = next_id.entry((record.sender, record.conversation)).or_insert(group as usize);
        assert_eq!(record.client_msg_id.parse::<usize>().unwrap(), *expected, "a sender's order is kept");
        *expected += 20;
    }
    (rig.close)();
}

#[test]
fn everything_arrives_once_and_in_order_within_a_process() {
    everything_arrives_once_and_in_order(within_a_process());
}

#[test]
fn everything_arrives_once_and_in_order_over_kafka() {
    everything_arrives_once_and_in_order(over_kafka());
}

/// Nobody takes anything, or Kafka confirms nothing, for as long as it is filled.
fn a_full_road_refuses_and_keeps_what_it_took(mut rig: Rig, at_most: usize) {
    let uplink = rig.uplinks[0].as_mut();
    let mut taken = vec![];
    for n in 0..1_000 {
        if publish(uplink, 0, 1, &n.to_string(), 1) {
            taken.push(n);
        }
        uplink.flush();
    }
    assert!((8..=at_most).contains(&taken.len()), "{} of 1000 were taken", taken.len());
    let records = take(rig.upstream.as_mut(), taken.len(), |_| 0);
    let ids: Vec<_> =
        records.iter().map(|polled| polled.record.client_msg_id.parse::<i32>().unwrap()).collect();
    assert_eq!(ids, taken);
    insist(rig.uplinks[0].as_mut(), 0, 1, "again", 1);
    rig.uplinks[0].flush();
    assert_eq!(&*take(rig.upstream.as_mut(), 1, |_| 0)[0].record.client_msg_id, "again");
    (rig.close)();
}

#[test]
fn a_full_road_refuses_and_keeps_what_it_took_within_a_process() {
    a_full_road_refuses_and_keeps_what_it_took(in_process_rig(8), 8);
}

#[test]
fn a_full_road_refuses_and_keeps_what_it_took_over_kafka() {
    let mut settings = kafka();
    settings.extra.insert("linger.ms".into(), "3000".into());
    let bounds = PendingBounds { records: 8, lane: 8, ..PendingBounds::default() };
    a_full_road_refuses_and_keeps_what_it_took(kafka_rig(&settings, bounds), 24);
}

fn queries_arrive_with_their_users(mut rig: Rig) {
    for user in 0..100 {
        let query = Query::Sync {
            conversations: vec![protocol::command::SyncRequest {
                conversation: ConversationId::World,
                after_seq: None,
            }],
            limit: 1,
        };
        let record = QueryRecord { origin: origin(0, 0), user: UserId(user), query, trace_id: None };
        rig.uplinks[0].query(record).unwrap();
    }
    rig.uplinks[0].flush();
    let (mut out, until) = (vec![], now() + WAIT);
    while out.len() < 100 {
        assert!(now() < until, "{} queries came", out.len());
        assert!(rig.queries.poll(10, Duration::from_millis(200), &mut out));
    }
    let mut users: Vec<_> = out.iter().map(|record| record.user.0).collect();
    users.sort_unstable();
    assert_eq!(users, (0..100).collect::<Vec<_>>());
    (rig.close)();
}

#[test]
fn queries_arrive_with_their_users_within_a_process() {
    queries_arrive_with_their_users(within_a_process());
}

#[test]
fn queries_arrive_with_their_users_over_kafka() {
    queries_arrive_with_their_users(over_kafka());
}

fn a_shard_gets_its_own_batches_in_order(mut rig: Rig) {
    for n in 0..300 {
        rig.downlink.send(gateway(), n % 2, batch(&n.to_string())).unwrap();
    }
    assert_eq!(rig.downlink.sent(), 300);
    for shard in 0..2 {
        let batches = rig.arrived(shard, 150);
        let texts: Vec<_> = batches.iter().map(text).collect();
        assert_eq!(texts, (0..300).skip(shard).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(batches[0], batch(&shard.to_string()), "byte for byte");
    }
    let until = now() + WAIT;
    while rig.downlink.delivered() < 300 {
        assert!(now() < until, "{} of 300 are delivered", rig.downlink.delivered());
        std::thread::sleep(Duration::from_millis(5));
    }
    (rig.close)();
}

#[test]
fn a_shard_gets_its_own_batches_in_order_within_a_process() {
    a_shard_gets_its_own_batches_in_order(within_a_process());
}

#[test]
fn a_shard_gets_its_own_batches_in_order_over_kafka() {
    a_shard_gets_its_own_batches_in_order(over_kafka());
}

/// Over Kafka it may take a moment until that is known; then it holds nobody up.
fn what_is_sent_to_nobody_counts_as_delivered(mut rig: Rig) {
    let nobody = protocol::GatewayId::new("nobody").unwrap();
    for (to, shard) in [(nobody, 0), (gateway(), 7)] {
        match rig.downlink.send(to, shard, batch("x")) {
            Ok(()) | Err(DownlinkError::Gone(..)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    rig.downlink.send(gateway(), 0, batch("after")).unwrap();
    assert_eq!(text(&rig.arrived(0, 1)[0]), "after");
    let until = now() + WAIT;
    while rig.downlink.delivered() < rig.downlink.sent() {
        assert!(now() < until, "{} of {}", rig.downlink.delivered(), rig.downlink.sent());
        std::thread::sleep(Duration::from_millis(20));
    }
    (rig.close)();
}

#[test]
fn what_is_sent_to_nobody_counts_as_delivered_within_a_process() {
    what_is_sent_to_nobody_counts_as_delivered(within_a_process());
}

#[test]
fn what_is_sent_to_nobody_counts_as_delivered_over_kafka() {
    what_is_sent_to_nobody_counts_as_delivered(over_kafka());
}

fn what_was_taken_before_the_road_closed_is_still_given(mut rig: Rig) {
    for n in 0..100 {
        assert!(publish(rig.uplinks[0].as_mut(), 0, 1, &n.to_string(), n));
    }
    rig.uplinks[0].flush();
    (rig.close)();
    assert_eq!(take(rig.upstream.as_mut(), 100, |_| 0).len(), 100);
}

#[test]
fn what_was_taken_before_the_road_closed_is_still_given_within_a_process() {
    what_was_taken_before_the_road_closed_is_still_given(within_a_process());
}

#[test]
fn what_was_taken_before_the_road_closed_is_still_given_over_kafka() {
    what_was_taken_before_the_road_closed_is_still_given(over_kafka());
}
