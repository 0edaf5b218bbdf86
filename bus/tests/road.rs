//! The in-process road: bounded, in order, nothing lost, every wake-up seen.

use bus::in_process::{Config, Road, road};
use bus::{
    Downlink, DownlinkError, Downstream, QuerySource, RouteChange, RouteSource, Sender, ShardInbox, Uplink,
    UpstreamSource,
};
use protocol::command::{MessageType, SendMessage};
use protocol::record::{Query, QueryRecord};
use protocol::{ConversationId, GatewayId, Origin, SessionRef, UnixMs, UserId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Inbox {
    taken: AtomicUsize,
    room: AtomicUsize,
    closed: AtomicBool,
}

impl ShardInbox for Inbox {
    fn push(&self, record: Downstream) -> Result<(), Downstream> {
        if self.room.load(Ordering::SeqCst) == 0 {
            return Err(record);
        }
        self.room.fetch_sub(1, Ordering::SeqCst);
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

fn gateway() -> GatewayId {
    GatewayId::new("gw").unwrap()
}

fn make(shards: usize, config: impl FnOnce(&mut Config)) -> (Road, Vec<Arc<Inbox>>) {
    let inboxes: Vec<Arc<Inbox>> = (0..shards).map(|_| Arc::default()).collect();
    let mut settings = Config::new(gateway());
    config(&mut settings);
    let shared = inboxes.iter().map(|inbox| Arc::clone(inbox) as Arc<dyn ShardInbox>).collect();
    (road(settings, shared), inboxes)
}

fn origin(shard: u16, slot: u32) -> Origin {
    Origin { gateway: gateway(), boot_epoch: 1, session: SessionRef { shard, slot, generation: 0 } }
}

fn publish(uplink: &mut impl Uplink, user: u64, id: &str, group: u64) -> bool {
    let from = Sender { origin: origin(0, 0), user: UserId(user), received_at: UnixMs(0), trace_id: "t" };
    let conversation = ConversationId::Group(group);
    let message =
        SendMessage { client_msg_id: id, conversation, content: "x", message_type: MessageType::Text };
    uplink.publish(from, &message).is_ok()
}

const NOW: Duration = Duration::ZERO;

#[test]
fn a_full_queue_refuses_and_what_was_taken_comes_in_order() {
    let (mut road, _) = make(1, |config| config.upstream = 8);
    let taken: Vec<_> = (0..20).filter(|n| publish(&mut road.uplinks[0], 1, &n.to_string(), 1)).collect();
    assert_eq!(taken, (0..8).collect::<Vec<_>>());
    let mut out = vec![];
    assert!(road.upstream.poll(5, NOW, &mut out) && road.upstream.poll(5, NOW, &mut out));
    let ids: Vec<_> = out.iter().map(|polled| polled.record.client_msg_id.parse::<i32>().unwrap()).collect();
    assert_eq!(ids, taken);
    assert!(publish(&mut road.uplinks[0], 1, "again", 1));
}

#[test]
fn offsets_are_dense_per_partition_and_continue_where_they_were_put() {
    let (mut road, _) = make(2, |_| ());
    for partition in 0..road.upstream.partitions() {
        road.upstream.seek(partition, 100 * u64::from(partition));
    }
    for n in 0..200 {
        assert!(publish(&mut road.uplinks[n % 2], 1, &n.to_string(), n as u64));
    }
    let mut out = vec![];
    while out.len() < 200 {
        assert!(road.upstream.poll(37, NOW, &mut out));
    }
    let mut next: HashMap<u16, u64> = HashMap::new();
    for polled in &out {
        assert_eq!(polled.partition, polled.record.conversation.partition(8));
        let expected = next.entry(polled.partition).or_insert(100 * u64::from(polled.partition));
        assert_eq!(polled.offset, *expected);
        *expected += 1;
    }
    assert_eq!(next.len(), 8, "all partitions were used");
}

#[test]
fn a_busy_shard_does_not_starve_another() {
    let (mut road, _) = make(2, |_| ());
    for n in 0..1_000 {
        assert!(publish(&mut road.uplinks[0], 1, &n.to_string(), 1));
    }
    assert!(publish(&mut road.uplinks[1], 2, "quiet", 1));
    let mut out = vec![];
    road.upstream.poll(200, NOW, &mut out);
    assert!(out.iter().any(|polled| polled.record.sender == UserId(2)));
}

#[test]
fn what_was_taken_before_the_road_closed_is_still_given() {
    let (mut road, _) = make(1, |_| ());
    assert!(publish(&mut road.uplinks[0], 1, "a", 1));
    let query = Query::Sync { conversations: vec![], limit: 1 };
    let record = QueryRecord { origin: origin(0, 0), user: UserId(1), query, trace_id: None };
    road.uplinks[0].query(record).unwrap();
    road.closer.close();
    let (mut messages, mut queries) = (vec![], vec![]);
    while road.upstream.poll(10, NOW, &mut messages) {}
    while road.queries.poll(10, NOW, &mut queries) {}
    assert_eq!((messages.len(), queries.len()), (1, 1));
}

#[test]
fn no_wake_up_is_lost_and_a_senders_order_is_kept() {
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
                    n += usize::from(publish(&mut uplink, shard as u64, &n.to_string(), 1));
                    uplink.flush();
                }
            })
        })
        .collect();
    let mut next = [0; 2];
    let mut out = vec![];
    while next.iter().sum::<usize>() < 2 * EACH {
        // Far longer than any producer needs: a lost wake-up shows as a test that takes for ever.
        upstream.poll(500, Duration::from_secs(60), &mut out);
        for polled in out.drain(..) {
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
    let record = || Downstream::RouteRegistered(SessionRef { shard: 0, slot: 0, generation: 0 });
    let inbox = Arc::clone(&inboxes[0]);
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        inbox.room.store(1, Ordering::SeqCst);
    });
    assert_eq!(road.downlink.send(gateway(), 0, record()), Ok(()));
    opener.join().unwrap();
    assert_eq!(inboxes[0].taken.load(Ordering::SeqCst), 1);
    inboxes[1].closed.store(true, Ordering::SeqCst);
    let other = GatewayId::new("other").unwrap();
    for (to, shard) in [(gateway(), 1), (gateway(), 2), (other, 0)] {
        assert_eq!(road.downlink.send(to, shard, record()), Err(DownlinkError::Gone(to, shard)));
    }
}

#[test]
fn route_changes_come_in_order() {
    let (mut road, _) = make(1, |_| ());
    let changes = [RouteChange::Add(UserId(1), origin(0, 1)), RouteChange::Remove(UserId(1), origin(0, 1))];
    for change in changes {
        road.uplinks[0].route(change).unwrap();
    }
    let mut out = vec![];
    road.routes.drain(&mut out);
    assert_eq!(out, changes);
}
