//! `sync`: pages without gaps, within the window, within its bytes.

mod support;

use support::{seqs, start};

#[test]
fn pages_follow_each_other_without_a_gap() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    for n in 0..25 {
        rig.send(1, "single_1_2", &format!("a{n}"), "x");
        rig.acked(&format!("a{n}"));
    }
    let (mut after, mut all, mut pages) = (0, vec![], 0);
    loop {
        let part = rig.sync(2, "single_1_2", Some(after), 10);
        all.extend(seqs(&part));
        pages += 1;
        assert_eq!(part["lastSeq"], 25);
        if part["hasMore"] == false {
            break;
        }
        after = *all.last().unwrap();
    }
    assert_eq!((all, pages), ((1..=25).collect(), 3));
    assert_eq!(seqs(&rig.sync(2, "single_1_2", None, 3)), [23, 24, 25], "without afterSeq the newest");
    assert_eq!(seqs(&rig.sync(2, "single_1_2", Some(25), 3)), [0u64; 0]);
    rig.stop();
}

#[test]
fn a_seq_beyond_all_others_opens_no_window() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    support::http(&rig, 1, "POST", "/api/groups", r#"{"name":"g","members":[]}"#);
    rig.send(1, "group_1", "a", "before they came");
    rig.acked("a");
    assert_eq!(support::http(&rig, 1, "POST", "/api/groups/1/members", r#"{"userIds":[2]}"#).0, 204);
    for beyond in [1 << 63, u64::MAX] {
        assert_eq!(seqs(&rig.sync(2, "group_1", Some(beyond), 5)), [0u64; 0], "after {beyond}");
    }
    rig.stop();
}

#[test]
fn what_does_not_fit_is_left_for_the_next_page() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    let content = "\u{1}".repeat(5_000);
    for n in 0..20 {
        rig.send(1, "single_1_2", &format!("a{n}"), &content);
        rig.acked(&format!("a{n}"));
    }
    let (mut after, mut all) = (0, vec![]);
    for page in 0.. {
        let part = rig.sync(2, "single_1_2", Some(after), 300);
        assert!(part.to_string().len() <= 256 << 10, "page {page}");
        all.extend(seqs(&part));
        if part["hasMore"] == false {
            break;
        }
        assert!(page < 10, "no end");
        after = *all.last().unwrap();
    }
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
    rig.stop();
}

#[test]
fn what_may_not_be_read_has_a_code() {
    let data = tempfile::tempdir().unwrap();
    let mut rig = start(data.path());
    assert_eq!(rig.sync(3, "single_1_2", None, 5)["code"], "NOT_A_MEMBER");
    assert_eq!(rig.sync(3, "group_9", None, 5)["code"], "CONVERSATION_NOT_FOUND");
    let empty = rig.sync(3, "single_1_3", None, 5);
    assert_eq!((seqs(&empty).len(), &empty["lastSeq"], &empty["hasMore"]), (0, &0.into(), &false.into()));
    rig.stop();
}
