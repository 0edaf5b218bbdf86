//! Large groups: by bucket ranges, each member once, within their window.

mod support;

use protocol::limits::FANOUT_RANGES;
use protocol::record::{EntryKind, Targets};
use support::{http, start};

/// Users that a message goes to, over all ranges, ascending.
fn reached(rig: &mut support::Rig, records: usize) -> Vec<u64> {
    let mut users = vec![];
    for _ in 0..records {
        let entry = rig.next(EntryKind::Message);
        let Targets::Users(some) = entry.targets else { panic!("{entry:?}") };
        users.extend(some.iter().map(|user| user.0));
    }
    users.sort_unstable();
    users
}

#[test]
fn every_member_online_is_reached_once_and_nobody_beyond_their_window() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    // More than the 4 that this rig's groups have at most before they are large.
    let members: Vec<u64> = (2..=400).collect();
    let body = format!(r#"{{"name":"g","members":{members:?}}}"#);
    assert_eq!(http(&rig, 1, "POST", "/api/groups", &body).0, 201);
    let online: Vec<u64> = (1..=200).collect();
    for user in &online {
        rig.connect(*user);
    }
    let scans =
        |rig: &support::Rig| (rig.worker.stats().fanout_scans.get(), rig.worker.stats().fanout_tasks.get());
    rig.send(1, "group_1", "a", "x");
    rig.acked("a");
    let ranges = usize::from(FANOUT_RANGES);
    assert_eq!(reached(&mut rig, ranges), online, "one record per shard touched and range");
    assert_eq!(scans(&rig), (ranges as u64, ranges as u64));

    assert_eq!(http(&rig, 1, "DELETE", "/api/groups/1/members/7", "").0, 204);
    rig.send(1, "group_1", "b", "x");
    rig.acked("b");
    let without: Vec<_> = online.iter().copied().filter(|user| *user != 7).collect();
    assert_eq!(reached(&mut rig, ranges), without, "who was removed gets nothing any more");
    assert_eq!(support::seqs(&rig.sync(7, "group_1", Some(0), 10)), [1]);
    rig.send(7, "group_1", "c", "x");
    assert_eq!(rig.refused("c"), "NOT_A_MEMBER");

    assert_eq!(http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":[7]}"#).0, 204);
    rig.send(7, "group_1", "d", "x");
    assert_eq!(rig.acked("d").0, 3, "and who comes back writes again");
    assert_eq!(reached(&mut rig, ranges), online);
    rig.stop();
}

#[test]
fn messages_that_wait_together_share_a_scan() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[2,3,4,5,6]}"#);
    rig.connect(2);
    for n in 0..100 {
        rig.put(1, "group_1", &n.to_string(), "x");
    }
    rig.uplink_flush();
    let seqs: Vec<_> =
        (0..100).map(|_| rig.next(EntryKind::Message).event["data"]["seq_id"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>(), "in order");
    let stats = rig.worker.stats();
    assert_eq!(stats.fanout_tasks.get(), 100 * u64::from(FANOUT_RANGES));
    assert!(stats.fanout_scans.get() < 200, "{}", stats.fanout_scans.get());
    rig.stop();
}
