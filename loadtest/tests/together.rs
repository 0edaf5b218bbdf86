//! The ledgers of one run's workers are judged as one: what is wrong across two files is found and named.

mod common;

use common::*;
use loadtest::judge::together::{TogetherError, judge_run, runs};
use loadtest::judge::{DamageKind, FaultKind, Pace, Verdict};
use loadtest::ledger::{End, Header, Record, Via};
use std::path::{Path, PathBuf};

/// The user that a record is of; conversations are declared by the first worker.
fn user(record: &Record<'_>) -> u64 {
    match record {
        Record::Conversation { .. } | Record::End(_) => 1,
        Record::Session { user, .. }
        | Record::Down { user, .. }
        | Record::Base { user, .. }
        | Record::Sent { user, .. }
        | Record::Again { user, .. }
        | Record::Ack { user, .. }
        | Record::Refused { user, .. }
        | Record::Got { user, .. }
        | Record::ReadBack { user, .. }
        | Record::Stored { user, .. } => *user,
    }
}

fn header_of(worker: u32) -> Header {
    Header { worker, workers: 2, ..header() }
}

/// Users 1 and 2 are one worker's, user 3 the other's.
fn files(records: &[Record<'static>]) -> [Vec<String>; 2] {
    let part = |worker: u32| {
        let of = |record: &&Record<'static>| u32::from(user(record) == 3) == worker;
        let own: Vec<_> = records.iter().filter(of).cloned().collect();
        lines_after(&header_of(worker), &own)
    };
    [part(0), part(1)]
}

fn write(folder: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

fn judge_files(files: &[Vec<String>; 2]) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = files;
    // Given in the wrong order: the first lines say whose each is.
    let paths = [write(folder.path(), "b", second), write(folder.path(), "a", first)];
    let runs = runs(&paths).unwrap();
    assert_eq!((runs.len(), runs[0].ledgers.len()), (1, 2));
    judge_run(&runs[0], None, &mut Pace::silent()).unwrap().1
}

fn judge_parts(records: &[Record<'static>]) -> Verdict {
    judge_files(&files(records))
}

#[test]
fn two_clean_ledgers_of_a_run_are_clean_together_and_count_as_one() {
    let verdict = judge_parts(&clean());
    assert!(verdict.clean, "{verdict:#?}");
    let one = judge_records(&clean());
    assert_eq!(
        (verdict.sent, verdict.persisted, verdict.delivered),
        (one.sent, one.persisted, one.delivered)
    );
}

#[test]
fn what_was_sent_in_one_and_never_came_in_the_other_is_lost() {
    let mut records = clean();
    records.retain(|r| !matches!(r, Record::Got { user: 3, msg, .. } if msg == "g"));
    assert_fault(&judge_parts(&records), FaultKind::Lost, "g", "not delivered to user 3, not by sync either");
}

#[test]
fn one_seq_for_messages_of_two_workers_is_doubled() {
    let mut records = clean();
    let was = |r: &&mut Record<'static>| matches!(r, Record::Ack { user: 3, msg, .. } if msg == "h");
    *records.iter_mut().find(was).unwrap() = ack(3, GROUP, "h", 1);
    assert_fault(&judge_parts(&records), FaultKind::Doubled, "h", "seq 1 is also that of g");
}

#[test]
fn one_message_twice_to_a_session_of_the_other_worker_is_doubled() {
    let mut records = clean();
    let at = place(&records, |r| matches!(r, Record::Got { user: 3, via: Via::Live, msg, .. } if msg == "g"));
    records.insert(at + 1, records[at].clone());
    assert_fault(&judge_parts(&records), FaultKind::Doubled, "g", "twice to session 3");
}

#[test]
fn messages_of_one_worker_that_come_to_the_other_out_of_order_are_reordered() {
    let mut records = clean();
    records.push(sent(1, GROUP, "i"));
    records.push(ack(1, GROUP, "i", 3));
    for user in 2..=3 {
        records.push(got(user, GROUP, 3, 1, "i", Via::Live));
    }
    records.push(got(1, GROUP, 3, 1, "i", Via::Final));
    assert!(judge_parts(&records).clean);
    let at = |msg: &str| {
        place(&records, |r| matches!(r, Record::Got { user: 3, via: Via::Live, msg: own, .. } if own == msg))
    };
    let (first, last) = (at("g"), at("i"));
    records.swap(first, last);
    assert_fault(&judge_parts(&records), FaultKind::Reordered, "g", "to session 3 of user 3 after seq 3");
}

#[test]
fn a_seq_that_no_worker_has_seen_is_a_gap() {
    let mut records = clean();
    records.retain(|r| !matches!(r, Record::Got { msg, .. } | Record::Ack { msg, .. } | Record::Sent { msg, .. } if msg == "g"));
    let verdict = judge_parts(&records);
    assert_fault(&verdict, FaultKind::Gap, "h", "nobody has seen seq 1 to 1");
}

#[test]
fn a_message_of_one_worker_that_comes_to_a_stranger_in_the_other_is_foreign() {
    let mut records = clean();
    records.push(got(3, SINGLE, 5, 1, "a", Via::Live));
    assert_fault(&judge_parts(&records), FaultKind::Foreign, "a", "delivered to user 3");
}

#[test]
fn other_content_or_another_conversation_than_the_sender_s_is_altered_whichever_file_is_read_first() {
    // "h" is sent by the second worker's user, and delivered to the first one's.
    let mut records = clean();
    for record in &mut records {
        if let Record::Got { msg, hash, .. } = record
            && msg == "h"
        {
            *hash ^= 1;
        }
    }
    assert_fault(&judge_parts(&records), FaultKind::Altered, "h", "its content was");
    let mut records = clean();
    let at = place(&records, |r| matches!(r, Record::Got { user: 1, via: Via::Live, msg, .. } if msg == "h"));
    records[at] = got(1, SINGLE, 2, 3, "h", Via::Live);
    assert_fault(&judge_parts(&records), FaultKind::Altered, "h", "delivered in ");
}

#[test]
fn a_message_that_nobody_of_the_run_has_sent_is_unknown() {
    let mut records = clean();
    records.retain(|r| !matches!(r, Record::Sent { msg, .. } if msg == "h"));
    assert_fault(&judge_parts(&records), FaultKind::Unknown, "h", "nobody sent it");
}

#[test]
fn what_was_known_before_a_member_of_another_worker_asked_must_be_read_back() {
    let read_back = |asked: u64| {
        let mut records = clean();
        for record in &mut records {
            if let Record::Ack { at, .. } | Record::Got { at, .. } = record {
                *at = 1_000;
            }
        }
        records.retain(|r| !matches!(r, Record::Got { user: 3, msg, .. } if msg == "g"));
        records.push(Record::ReadBack { user: 3, conv: GROUP.into(), at: asked });
        records.push(Record::Stored { user: 3, conv: GROUP.into(), seq: 2 });
        let end = End { settled: true, clock_us: 100, ..End::default() };
        let of = |worker: u32| {
            let own: Vec<_> = records.iter().filter(|r| u32::from(user(r) == 3) == worker).cloned().collect();
            let header = header_of(worker);
            lines_of(&header, &own, end)
        };
        judge_files(&[of(0), of(1)])
    };
    assert_fault(&read_back(1_201), FaultKind::Lost, "g", "not delivered to user 3");
    // Within what the clocks may be off, nobody can say which was first.
    let verdict = read_back(1_200);
    assert_eq!((verdict.undecided, verdict.count(FaultKind::Lost), verdict.clean), (1, 0, false));
}

#[test]
fn a_line_that_is_missing_in_one_of_the_files_is_named_with_its_worker() {
    let mut files = files(&clean());
    let at = files[1].iter().position(|line| line.contains("\"sent\"")).unwrap();
    files[1].remove(at);
    let verdict = judge_files(&files);
    let damage = &verdict.damages[0];
    assert_eq!((damage.kind, damage.ledger), (DamageKind::Removed, Some(1)));
    assert!(damage.to_string().starts_with("ledger of worker 1, line"), "{damage}");
    assert!(damage.about.contains("group_9 h from 3") && !verdict.clean, "{damage}");
}

#[test]
fn a_file_that_was_cut_off_is_named_with_its_worker() {
    let mut files = files(&clean());
    files[0].pop();
    let verdict = judge_files(&files);
    assert!(verdict.incomplete && !verdict.clean, "{verdict:#?}");
    assert!(verdict.damages[0].to_string().starts_with("ledger of worker 0, truncated"), "{verdict:#?}");
}

#[test]
fn a_first_line_that_can_not_be_read_is_damage_and_its_file_still_of_the_run() {
    let mut files = files(&clean());
    files[1][0] = files[1][0].replace("\"seed\":1", "\"seed\":2");
    let verdict = judge_files(&files);
    assert_eq!((verdict.damages[0].kind, verdict.damages[0].ledger), (DamageKind::Altered, Some(1)));
    assert_eq!(verdict.sent, 5);
}

#[test]
fn the_ledgers_of_a_run_come_all_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = files(&clean());
    let paths =
        [("a", &first), ("b", &second), ("c", &first)].map(|(name, lines)| write(folder.path(), name, lines));
    let error = runs(&paths[..1]).unwrap_err();
    assert!(error.to_string().contains("made by 2 workers") && error.to_string().contains("of worker 1"));
    assert!(matches!(runs(&paths).unwrap_err(), TogetherError::Twice { worker: 0, .. }));
    let other = lines_after(&Header { seed: 9, ..header_of(1) }, &[]);
    let other = write(folder.path(), "d", &other);
    assert!(matches!(runs(&[paths[0].clone(), other]).unwrap_err(), TogetherError::Disagree { .. }));
    let alone = write(folder.path(), "e", &lines(&clean()));
    let several = runs(&[alone.clone(), paths[1].clone(), paths[0].clone(), alone]).unwrap();
    assert_eq!(several.iter().map(|run| run.ledgers.len()).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(matches!(runs(&[folder.path().join("none")]), Err(TogetherError::Open(..))));
}
