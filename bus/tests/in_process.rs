//! The in-process road: what is its own beside what every road promises.

mod support;

use bus::in_process::{Config, Road, road};
use bus::{
    Change, Downlink, DownlinkError, Poll, Polls, QuerySource, RouteChange, RouteSource, Uplink,
    UpstreamSource,
};
use protocol::record::{Query, QueryRecord};
use protocol::{GatewayId, UserId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Inbox, NOW, as_shard_inboxes, batch, gateway, origin, publish, take};

fn make(shards: usize, config: impl FnOnce(&mut Config)) -> (Road, Vec<Arc<Inbox>>) {
    let inboxes: Vec<Arc<Inbox>> = (0..shards).map(|_| Inbox::new(0)).collect();
    let mut settings = Config::new(gateway());
    config(&mut settings);
    (road(settings, as_shard_inboxes(&inboxes)), inboxes)
}

#[test]
fn a_worker_has_all_partitions_and_offsets_continue_where_it_starts_them() {
    let (mut road, _) = make(2, |_| ());
    for n in 0..200 {
        assert!(publish(&mut road.uplinks[n % 2], 0, 1, &n.to_string(), n as u64));
    }
    let mut polls = Polls::default();
    assert_eq!(road.upstream.poll(10, NOW, &mut polls), Poll::Open);
    assert_eq!(polls.changes, [Change::Assigned((0..8).collect())]);
    assert!(polls.records.is_empty());
    road.upstream.start(&(0..8).map(|p| (p, 100 * u64::from(p))).collect::<Vec<_>>()).unwrap();
    let mut next: HashMap<u16, u64> = HashMap::new();
    for polled in take(&mut road.upstream, 200, |_| 0) {
        let expected = next.entry(polled.partition).or_insert(100 * u64::from(polled.partition));
        assert_eq!(polled.offset, *expected);
        *expected += 1;
    }
    assert_eq!(next.len(), 8, "all partitions were used");
}

#[test]
fn a_paused_road_gives_nothing_and_keeps_it() {
    let (mut road, _) = make(1, |_| ());
    take(&mut road.upstream, 0, |_| 0);
    let mut polls = Polls::default();
    assert_eq!(road.upstream.poll(10, NOW, &mut polls), Poll::Open);
    assert!(publish(&mut road.uplinks[0], 0, 1, "a", 1));
    road.upstream.pause();
    assert_eq!(road.upstream.poll(10, NOW, &mut polls), Poll::Open);
    assert!(polls.records.is_empty());
    road.upstream.resume();
    assert_eq!(road.upstream.poll(10, NOW, &mut polls), Poll::Open);
    assert_eq!(polls.records.len(), 1);
}

#[test]
fn a_busy_shard_does_not_starve_another() {
    let (mut road, _) = make(2, |_| ());
    for n in 0..1_000 {
        assert!(publish(&mut road.uplinks[0], 0, 1, &n.to_string(), 1));
    }
    assert!(publish(&mut road.uplinks[1], 1, 2, "quiet", 1));
    let mut polls = Polls::default();
    for _ in 0..2 {
        assert_eq!(road.upstream.poll(200, NOW, &mut polls), Poll::Open);
    }
    assert_eq!(polls.records.len(), 200);
    assert!(polls.records.iter().any(|polled| polled.record.sender == UserId(2)));
}

#[test]
fn a_closed_road_gives_what_is_left_and_then_says_so() {
    let (mut road, _) = make(1, |_| ());
    assert!(publish(&mut road.uplinks[0], 0, 1, "a", 1));
    let query = Query::Sync { conversations: vec![], limit: 1 };
    let record = QueryRecord { origin: origin(0, 0), user: UserId(1), query, trace_id: None };
    road.uplinks[0].query(record).unwrap();
    road.closer.close();
    let (mut polls, mut queries) = (Polls::default(), vec![]);
    while road.upstream.poll(10, NOW, &mut polls) == Poll::Open {}
    while road.queries.poll(10, NOW, &mut queries) {}
    assert_eq!((polls.records.len(), queries.len()), (1, 1));
}

#[test]
fn no_wake_up_is_lost() {
    const EACH: usize = 20_000;
    let (road, _) = make(2, |config| config.upstream = 64);
    let mut upstream = road.upstream;
    let producers: Vec<_> = road
        .uplinks
        .into_iter()
        .enumerate()
        .map(|(shard, mut uplink)| {
            std::thread::spawn(move || {
                let mut n = 0;
                while n < EACH {
                    n += usize::from(publish(&mut uplink, 0, shard as u64, &n.to_string(), 1));
                    uplink.flush();
                }
            })
        })
        .collect();
    let mut next = [0; 2];
    let mut polls = Polls::default();
    while next.iter().sum::<usize>() < 2 * EACH {
        // Far longer than any producer needs: a lost wake-up shows as a test that takes for ever.
        assert_eq!(upstream.poll(500, Duration::from_secs(60), &mut polls), Poll::Open);
        for polled in polls.records.drain(..) {
            let next = &mut next[polled.record.sender.0 as usize];
            assert_eq!(polled.record.client_msg_id.parse::<usize>().unwrap(), *next);
            *next += 1;
        }
    }
    producers.into_iter().for_each(|producer| producer.join().unwrap());
}

#[test]
fn the_way_back_waits_for_room_and_tells_who_is_gone() {
    let (mut road, inboxes) = make(2, |_| ());
    let inbox = Arc::clone(&inboxes[0]);
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        inbox.room.store(1, Ordering::SeqCst);
    });
    assert_eq!(road.downlink.send(gateway(), 0, batch("x")), Ok(()));
    opener.join().unwrap();
    assert_eq!(inboxes[0].drain().len(), 1);
    inboxes[1].closed.store(true, Ordering::SeqCst);
    let other = GatewayId::new("other").unwrap();
    for (to, shard) in [(gateway(), 1), (gateway(), 2), (other, 0)] {
        assert_eq!(road.downlink.send(to, shard, batch("x")), Err(DownlinkError::Gone(to, shard)));
    }
    assert_eq!((road.downlink.sent(), road.downlink.delivered()), (4, 4));
}

#[test]
fn route_changes_come_in_order_and_are_answered() {
    let (mut road, inboxes) = make(1, |_| ());
    let session = origin(0, 1);
    let changes = [RouteChange::Add(UserId(1), session, 0), RouteChange::Remove(UserId(1), session)];
    for change in changes {
        road.uplinks[0].route(change).unwrap();
    }
    let mut out = vec![];
    road.routes.drain(&mut out);
    assert_eq!(out, changes);
    inboxes[0].room.store(1, Ordering::SeqCst);
    road.routes.registered(session);
    assert_eq!(inboxes[0].drain(), [bus::Downstream::RouteRegistered(session.session)]);
}
