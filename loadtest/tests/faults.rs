//! Every fault of a server that is planted in a ledger is found, and its message named.

mod common;

use common::*;
use loadtest::judge::{FaultKind, Verdict};
use loadtest::ledger::{End, Header, Record, Via};

fn live(records: &[Record<'_>], to: u64, id: &str) -> usize {
    place(records, |r| matches!(r, Record::Got { user, msg, via: Via::Live, .. } if *user == to && msg == id))
}

#[test]
fn a_clean_ledger_is_clean() {
    let verdict = judge_records(&clean());
    assert!(verdict.clean, "{verdict:#?}");
    assert_eq!((verdict.sent, verdict.persisted, verdict.delivered), (5, 5, 7));
}

#[test]
fn the_json_counts_every_kind_of_fault_also_where_there_is_none() {
    let counts = serde_json::to_value(judge_records(&clean())).unwrap()["counts"].clone();
    let zeros = ["lost", "doubled", "reordered", "gap", "foreign", "altered", "unknown"];
    let zeros = zeros.into_iter().map(|kind| (kind.to_owned(), serde_json::Value::from(0)));
    assert_eq!(counts, serde_json::Value::Object(zeros.collect()));
}

#[test]
fn a_message_that_was_not_delivered_is_lost() {
    let mut records = clean();
    records.remove(live(&records, 2, "b"));
    let verdict = judge_records(&records);
    assert_fault(&verdict, FaultKind::Lost, "b", "not delivered to user 2: it is stored");
    records.retain(|r| !matches!(r, Record::Got { user: 2, msg, .. } if msg == "b"));
    let verdict = judge_records(&records);
    assert_fault(&verdict, FaultKind::Lost, "b", "not delivered to user 2, not by sync either");
    assert_eq!(verdict.count(FaultKind::Lost), 1);
}

#[test]
fn a_message_that_came_late_by_sync_is_not_lost() {
    let mut records = clean();
    let at = live(&records, 2, "b");
    records[at] = got(2, SINGLE, 6, 1, "b", Via::Sync);
    let verdict = judge_records(&records);
    assert!(verdict.clean, "{verdict:#?}");
    assert_eq!(verdict.synced, 1);
}

#[test]
fn a_message_that_was_never_acknowledged_is_lost() {
    let mut records = clean();
    records.retain(|r| !matches!(r, Record::Ack { msg, .. } if msg == "g"));
    assert_fault(&judge_records(&records), FaultKind::Lost, "g", "never acknowledged");
}

#[test]
fn a_message_that_its_sender_cannot_read_back_is_lost() {
    let mut records = clean();
    records.retain(|r| !matches!(r, Record::Got { user: 3, msg, via: Via::Final, .. } if msg == "h"));
    assert_fault(&judge_records(&records), FaultKind::Lost, "h", "can't read it back");
}

#[test]
fn one_message_under_two_seqs_is_doubled() {
    let mut records = clean();
    records.push(got(2, SINGLE, 8, 1, "a", Via::Final));
    assert_fault(&judge_records(&records), FaultKind::Doubled, "a", "delivered as seq 5");
    let mut records = clean();
    records.push(ack(1, SINGLE, "a", 8));
    assert_fault(&judge_records(&records), FaultKind::Doubled, "a", "acknowledged first as seq 5");
}

#[test]
fn two_messages_under_one_seq_are_doubled() {
    let mut records = clean();
    records.extend([
        sent(1, SINGLE, "d"),
        ack(1, SINGLE, "d", 7),
        got(2, SINGLE, 7, 1, "d", Via::Live),
        got(1, SINGLE, 7, 1, "d", Via::Final),
    ]);
    assert_fault(&judge_records(&records), FaultKind::Doubled, "d", "seq 7 is also that of c from 2");
}

#[test]
fn one_message_twice_to_one_session_is_doubled_and_a_repeat_to_another_is_not() {
    let mut records = clean();
    let at = live(&records, 2, "a");
    records.insert(at + 1, records[at].clone());
    assert_fault(&judge_records(&records), FaultKind::Doubled, "a", "twice to session 2");
    let Record::Got { session, .. } = &mut records[at + 1] else { unreachable!() };
    *session = 77;
    assert!(judge_records(&records).clean);
    records[at + 1] = got(2, SINGLE, 5, 1, "a", Via::Sync);
    assert!(judge_records(&records).clean);
}

#[test]
fn a_run_that_allows_it_counts_what_comes_again_and_still_finds_a_second_seq() {
    let allowing = Header { at_least_once: true, ..header() };
    let mut records = clean();
    let at = live(&records, 2, "a");
    records.insert(at + 1, records[at].clone());
    let verdict = judge_lines(&lines_after(&allowing, &records));
    assert!(verdict.clean, "{verdict:#?}");
    assert_eq!(verdict.repeated, 1);
    records.push(got(2, SINGLE, 8, 1, "a", Via::Final));
    assert_fault(
        &judge_lines(&lines_after(&allowing, &records)),
        FaultKind::Doubled,
        "a",
        "delivered as seq 5",
    );
}

#[test]
fn a_seq_that_nobody_has_seen_is_a_gap() {
    let mut records = clean();
    for record in &mut records {
        if let Record::Got { msg, seq, id, .. } | Record::Ack { msg, seq, id, .. } = record
            && msg == "h"
        {
            (*seq, *id) = (5, 1005);
        }
    }
    let verdict = judge_records(&records);
    assert_fault(&verdict, FaultKind::Gap, "h", "nobody has seen seq 2 to 4");
    let mut records = clean();
    records.push(Record::Stored { user: 1, conv: GROUP.into(), seq: 3 });
    let verdict = judge_records(&records);
    assert_eq!((verdict.count(FaultKind::Gap), verdict.faults[0].seq), (1, Some(3)));
}

#[test]
fn deliveries_out_of_order_are_reordered_and_what_sync_filled_is_not() {
    let mut records = clean();
    let (a, b) = (live(&records, 2, "a"), live(&records, 2, "b"));
    records.swap(a, b);
    assert_fault(&judge_records(&records), FaultKind::Reordered, "a", "after seq 6");
    records.insert(b, got(2, SINGLE, 5, 1, "a", Via::Sync));
    let verdict = judge_records(&records);
    assert!(verdict.clean, "{verdict:#?}");
}

/// User 1 sends x, then y; the server gives y the smaller seq.
fn overtaken(between: Vec<Record<'static>>) -> Vec<Record<'static>> {
    let mut records = clean();
    records.extend([sent(1, SINGLE, "x"), sent(1, SINGLE, "y")]);
    records.extend(between);
    for (msg, seq) in [("y", 8), ("x", 9)] {
        records.extend([ack(1, SINGLE, msg, seq), got(2, SINGLE, seq, 1, msg, Via::Live)]);
        records.push(got(1, SINGLE, seq, 1, msg, Via::Final));
    }
    records
}

#[test]
fn a_senders_messages_in_another_order_are_reordered() {
    assert_fault(
        &judge_records(&overtaken(vec![])),
        FaultKind::Reordered,
        "x",
        "sent before y, which has seq 8",
    );
    let resent = overtaken(vec![again(1, 9, SINGLE, "x"), again(1, 9, SINGLE, "y")]);
    assert_fault(&judge_records(&resent), FaultKind::Reordered, "x", "sent before y, which has seq 8");
}

#[test]
fn a_refused_message_takes_the_place_of_its_repeat() {
    let refusal = vec![refused(1, SINGLE, "x", true), again(1, 1, SINGLE, "x")];
    let verdict = judge_records(&overtaken(refusal));
    assert!(verdict.clean, "{verdict:#?}");
}

#[test]
fn a_message_that_may_have_been_refused_has_the_place_of_its_first_sending_or_of_its_repeat() {
    // x is refused, y persisted behind it, and the session ends before y's ack: both go again.
    let refusal = vec![refused(1, SINGLE, "x", true), again(1, 9, SINGLE, "x"), again(1, 9, SINGLE, "y")];
    let verdict = judge_records(&overtaken(refusal));
    assert!(verdict.clean, "{verdict:#?}");
    // Where y has the place of its repeat, z, which was sent after that, must still come behind it.
    let mut records = clean();
    records.extend([sent(1, SINGLE, "x"), sent(1, SINGLE, "y"), refused(1, SINGLE, "x", true)]);
    records.extend([again(1, 9, SINGLE, "x"), again(1, 9, SINGLE, "y"), sent(1, SINGLE, "z")]);
    for (msg, seq) in [("x", 8), ("z", 9), ("y", 10)] {
        records.extend([ack(1, SINGLE, msg, seq), got(2, SINGLE, seq, 1, msg, Via::Live)]);
        records.push(got(1, SINGLE, seq, 1, msg, Via::Final));
    }
    let verdict = judge_records(&records);
    assert_fault(&verdict, FaultKind::Reordered, "y", "sent before z");
    assert_eq!(verdict.count(FaultKind::Reordered), 1);
}

#[test]
fn a_message_to_somebody_outside_is_foreign() {
    let mut records = clean();
    records.push(got(3, SINGLE, 5, 1, "a", Via::Live));
    assert_fault(&judge_records(&records), FaultKind::Foreign, "a", "user 3");
}

#[test]
fn other_content_another_seq_and_another_id_are_altered() {
    let spoil = |how: fn(&mut Record<'static>)| {
        let mut records = clean();
        let at = live(&records, 2, "c".replace('c', "a").as_str());
        how(&mut records[at]);
        judge_records(&records)
    };
    let verdict = spoil(|r| {
        if let Record::Got { hash, .. } = r {
            *hash ^= 1;
        }
    });
    assert_fault(&verdict, FaultKind::Altered, "a", "content");
    assert_eq!(verdict.count(FaultKind::Altered), 1);
    let verdict = spoil(|r| {
        if let Record::Got { id, .. } = r {
            *id += 1;
        }
    });
    assert_fault(&verdict, FaultKind::Altered, "a", "acknowledged as");
    let mut records = clean();
    let at = place(&records, |r| matches!(r, Record::Ack { msg, .. } if msg == "c"));
    let Record::Ack { seq, .. } = &mut records[at] else { unreachable!() };
    *seq = 8;
    assert_fault(&judge_records(&records), FaultKind::Altered, "c", "delivered as seq 7");
}

#[test]
fn a_message_that_nobody_sent_is_unknown_and_a_refused_one_must_not_arrive() {
    let mut records = clean();
    records.push(got(2, SINGLE, 8, 1, "ghost", Via::Live));
    assert_fault(&judge_records(&records), FaultKind::Unknown, "ghost", "nobody sent it");
    let mut records = clean();
    records.extend([sent(1, SINGLE, "no"), refused(1, SINGLE, "no", false)]);
    let verdict = judge_records(&records);
    assert!(verdict.clean && verdict.refused == 1, "{verdict:#?}");
    records.push(got(2, SINGLE, 8, 1, "no", Via::Live));
    assert_fault(&judge_records(&records), FaultKind::Unknown, "no", "refused");
}

fn read_back(user: u64, conv: &'static str) -> Record<'static> {
    Record::ReadBack { user, conv: conv.into(), at: 0 }
}

fn stored(user: u64, conv: &'static str, seq: u64) -> Record<'static> {
    Record::Stored { user, conv: conv.into(), seq }
}

/// A run that had not settled: `z` of user 1 is acknowledged after both users asked for what is
/// stored, and before what follows.
fn acked_late(quiet: bool, after: Vec<Record<'static>>) -> Verdict {
    let mut records = clean();
    records.push(sent(1, SINGLE, "z"));
    for user in [1, 2] {
        records.extend([read_back(user, SINGLE), stored(user, SINGLE, 7)]);
    }
    records.push(ack(1, SINGLE, "z", 8));
    records.extend(after);
    judge_lines(&lines_ending(&records, End { quiet, ..End::default() }))
}

#[test]
fn a_message_acknowledged_after_it_was_asked_for_is_undecided_and_not_lost() {
    for quiet in [false, true] {
        let verdict = acked_late(quiet, vec![]);
        assert!(verdict.counts.is_empty(), "{verdict:#?}");
        assert_eq!((verdict.undecided, verdict.settled, verdict.clean), (1, false, false));
    }
    // Its sender has read it again, and the other one got it: it is there, and the run is not settled.
    let there = vec![got(1, SINGLE, 8, 1, "z", Via::Final), got(2, SINGLE, 8, 1, "z", Via::Live)];
    let verdict = acked_late(true, there);
    assert_eq!((verdict.undecided, verdict.counts.is_empty(), verdict.clean), (0, true, false));
}

#[test]
fn a_message_that_is_missing_from_what_was_asked_for_after_its_ack_is_lost_in_any_run() {
    for quiet in [false, true] {
        let verdict = acked_late(quiet, vec![read_back(1, SINGLE), stored(1, SINGLE, 7)]);
        assert_fault(&verdict, FaultKind::Lost, "z", "can't read it back");
        assert_eq!((verdict.count(FaultKind::Lost), verdict.undecided), (1, 1), "user 2 has not asked again");
        let verdict = acked_late(quiet, vec![read_back(1, SINGLE)]);
        assert!(verdict.counts.is_empty(), "the answer has not come: {verdict:#?}");
    }
}

#[test]
fn a_message_never_acknowledged_is_lost_only_if_nothing_moved_any_more() {
    let mut records = clean();
    records.push(sent(1, SINGLE, "z"));
    let judge = |quiet| judge_lines(&lines_ending(&records, End { quiet, ..End::default() }));
    let verdict = judge(false);
    assert_eq!((verdict.undecided, verdict.counts.is_empty(), verdict.clean), (1, true, false));
    assert_fault(&judge(true), FaultKind::Lost, "z", "never acknowledged");
}

#[test]
fn a_message_that_came_only_by_the_last_sync_is_lost_only_if_nothing_moved_any_more() {
    let mut records = clean();
    records.remove(live(&records, 2, "b"));
    let judge = |quiet| judge_lines(&lines_ending(&records, End { quiet, ..End::default() }));
    let verdict = judge(false);
    assert_eq!((verdict.undecided, verdict.counts.is_empty()), (1, true));
    assert_fault(&judge(true), FaultKind::Lost, "b", "not delivered to user 2: it is stored");
}

#[test]
fn a_run_that_was_not_settled_has_nothing_lost_and_is_incomplete() {
    let mut records = clean();
    records.push(sent(1, SINGLE, "z"));
    let mut lines = lines(&records);
    lines.pop();
    let mut sealer = loadtest::ledger::chain::Sealer::default();
    let verdict = judge_lines(&lines);
    assert!(!verdict.clean && verdict.incomplete && verdict.counts.is_empty(), "{verdict:#?}");
    // The same with an end that says so.
    let end = End { sent: 6, acks: 5, got: 19, interrupted: true, settled: false, quiet: false, clock_us: 0 };
    let mut whole = vec![lines[0].clone()];
    sealer.header(&loadtest::ledger::chain::open_header(&lines[0]).unwrap().0);
    whole.extend(records.iter().map(|record| sealer.record(record)));
    whole.push(sealer.record(&Record::End(end)));
    let verdict = judge_lines(&whole);
    assert!(verdict.incomplete && verdict.clean, "{verdict:#?}");
}
