//! A small ledger of a run in which nothing went wrong, and what is needed to spoil it.
#![allow(dead_code, reason = "each test file uses its part")]

use loadtest::judge::{DamageKind, FaultKind, Verdict, judge};
use loadtest::ledger::chain::{Sealer, hash};
use loadtest::ledger::{End, FORMAT, Header, Record, VERSION, Via};

pub(crate) const SINGLE: &str = "single_1_2";
pub(crate) const GROUP: &str = "group_9";

pub(crate) fn header() -> Header {
    Header {
        format: FORMAT.into(),
        version: VERSION,
        run: "r".into(),
        seed: 1,
        connections: 3,
        rate: 10,
        started: "2026-11-24T00:00:00.000Z".into(),
        at_least_once: false,
        worker: 0,
        workers: 1,
    }
}

pub(crate) fn sent(user: u64, conv: &'static str, msg: &'static str) -> Record<'static> {
    let conv = conv.into();
    Record::Sent { user, session: user, conv, msg: msg.into(), hash: hash(msg.as_bytes()), due: 0, at: 0 }
}

pub(crate) fn again(user: u64, session: u64, conv: &'static str, msg: &'static str) -> Record<'static> {
    Record::Again { user, session, conv: conv.into(), msg: msg.into(), at: 0 }
}

pub(crate) fn ack(user: u64, conv: &'static str, msg: &'static str, seq: u64) -> Record<'static> {
    Record::Ack { user, session: user, conv: conv.into(), msg: msg.into(), seq, id: 1000 + seq, at: 0 }
}

pub(crate) fn refused(user: u64, conv: &'static str, msg: &'static str, retry: bool) -> Record<'static> {
    let code = if retry { "BUSY" } else { "NOT_A_MEMBER" }.into();
    Record::Refused { user, session: user, conv: conv.into(), msg: msg.into(), code, retry, at: 0 }
}

pub(crate) fn got(
    user: u64,
    conv: &'static str,
    seq: u64,
    from: u64,
    msg: &'static str,
    via: Via,
) -> Record<'static> {
    let (hash, id) = (hash(msg.as_bytes()), 1000 + seq);
    Record::Got { user, session: user, conv: conv.into(), seq, from, msg: msg.into(), hash, id, via, at: 0 }
}

/// Three messages between users 1 and 2 (of whom it has 4 from before), two in a group of three.
pub(crate) fn clean() -> Vec<Record<'static>> {
    let mut records = vec![
        Record::Conversation { conv: SINGLE.into(), members: vec![1, 2] },
        Record::Conversation { conv: GROUP.into(), members: vec![1, 2, 3] },
    ];
    for user in 1..=3 {
        records.push(Record::Session { session: user, user, id: "gw.1".into(), at: 0 });
    }
    records.push(Record::Base { user: 1, conv: SINGLE.into(), seq: 4 });
    records.push(Record::Base { user: 2, conv: SINGLE.into(), seq: 4 });
    records.push(Record::Base { user: 3, conv: GROUP.into(), seq: 0 });
    for (from, conv, msg, seq) in [
        (1, SINGLE, "a", 5),
        (1, SINGLE, "b", 6),
        (2, SINGLE, "c", 7),
        (1, GROUP, "g", 1),
        (3, GROUP, "h", 2),
    ] {
        records.push(sent(from, conv, msg));
        for user in 1..=(if conv == SINGLE { 2 } else { 3 }) {
            if user != from {
                records.push(got(user, conv, seq, from, msg, Via::Live));
            }
        }
        records.push(ack(from, conv, msg, seq));
    }
    for user in 1..=3u64 {
        if user < 3 {
            for (seq, from, msg) in [(5, 1, "a"), (6, 1, "b"), (7, 2, "c")] {
                records.push(got(user, SINGLE, seq, from, msg, Via::Final));
            }
            records.push(Record::Stored { user, conv: SINGLE.into(), seq: 7 });
        }
        records.push(got(user, GROUP, 1, 1, "g", Via::Final));
        records.push(got(user, GROUP, 2, 3, "h", Via::Final));
    }
    records
}

/// The place of the first record for which `which` holds.
pub(crate) fn place(records: &[Record<'_>], which: impl Fn(&Record<'_>) -> bool) -> usize {
    records.iter().position(which).expect("the record is there")
}

/// The lines of a ledger of these records, with an end that counts them.
pub(crate) fn lines(records: &[Record<'_>]) -> Vec<String> {
    lines_of(&header(), records, settled())
}

/// The lines of a ledger that begins so.
pub(crate) fn lines_after(header: &Header, records: &[Record<'_>]) -> Vec<String> {
    lines_of(header, records, settled())
}

/// The lines of a ledger with another end, apart from its counts.
pub(crate) fn lines_ending(records: &[Record<'_>], end: End) -> Vec<String> {
    lines_of(&header(), records, end)
}

fn settled() -> End {
    End { settled: true, quiet: true, ..End::default() }
}

pub(crate) fn lines_of(header: &Header, records: &[Record<'_>], mut end: End) -> Vec<String> {
    let mut sealer = Sealer::default();
    let mut lines = vec![sealer.header(header)];
    for record in records {
        match record {
            Record::Sent { .. } => end.sent += 1,
            Record::Ack { .. } => end.acks += 1,
            Record::Got { .. } => end.got += 1,
            _ => {}
        }
        lines.push(sealer.record(record));
    }
    lines.push(sealer.record(&Record::End(end)));
    lines
}

pub(crate) fn judge_lines(lines: &[String]) -> Verdict {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    judge(text.as_bytes()).expect("a ledger").1
}

pub(crate) fn judge_records(records: &[Record<'_>]) -> Verdict {
    judge_lines(&lines(records))
}

/// The verdict has this fault, and it names the message.
pub(crate) fn assert_fault(verdict: &Verdict, kind: FaultKind, client_id: &str, detail: &str) {
    let found = verdict.faults.iter().any(|fault| {
        fault.kind == kind
            && (fault.client_id.as_deref() == Some(client_id) || fault.detail.contains(client_id))
            && fault.detail.contains(detail)
    });
    assert!(found && !verdict.clean, "expected {kind} of {client_id} with {detail:?}, got {verdict:#?}");
}

/// The verdict has this damage, and it names the message.
pub(crate) fn assert_damage(verdict: &Verdict, kind: DamageKind, line: usize, about: &str) {
    let found = verdict
        .damages
        .iter()
        .any(|damage| damage.kind == kind && damage.line == line as u64 && damage.about == about);
    assert!(
        found && !verdict.clean,
        "expected {kind:?} at line {line} about {about:?}, got {:#?}",
        verdict.damages
    );
}
