//! A ledger whose lines are not as they were written is caught, with the line and its message, even
//! where what is left makes sense.

mod common;

use common::*;
use loadtest::judge::DamageKind;
use loadtest::ledger::chain;

/// What each line but the header is about.
fn abouts(lines: &[String]) -> Vec<String> {
    lines[1..].iter().map(|line| chain::open(line).unwrap().record.describe()).collect()
}

#[test]
fn any_removed_line_is_named() {
    let whole = lines(&clean());
    let abouts = abouts(&whole);
    for at in 1..whole.len() - 1 {
        let mut lines = whole.clone();
        lines.remove(at);
        assert_damage(&judge_lines(&lines), DamageKind::Removed, at + 1, &abouts[at - 1]);
    }
}

#[test]
fn without_its_last_line_a_ledger_is_truncated_and_without_its_first_damaged() {
    let mut lines = lines(&clean());
    lines.pop();
    let verdict = judge_lines(&lines);
    assert!(!verdict.clean && verdict.damages[0].kind == DamageKind::Truncated);
    lines.remove(0);
    assert_damage(&judge_lines(&lines), DamageKind::Removed, 1, "the header");
}

#[test]
fn a_ledger_cut_off_at_any_byte_is_not_clean() {
    let text = lines(&clean()).join("\n");
    let header = text.find('\n').unwrap();
    for end in header + 1..text.len() {
        let verdict = loadtest::judge::judge(&text.as_bytes()[..end]).unwrap().1;
        assert!(!verdict.clean && verdict.damages[0].kind == DamageKind::Truncated, "{end}: {verdict:#?}");
    }
}

#[test]
fn any_doubled_line_is_named_wherever_the_copy_stands() {
    let whole = lines(&clean());
    let abouts = abouts(&whole);
    for at in 1..whole.len() {
        for to in [1, at, at + 1, whole.len() - 1, whole.len()] {
            let mut lines = whole.clone();
            lines.insert(to, whole[at].clone());
            let verdict = judge_lines(&lines);
            // Of two copies side by side the second is the copy; one is as good as the other.
            let line = if to == at { at + 2 } else { to + 1 };
            assert_damage(&verdict, DamageKind::Doubled, line, &abouts[at - 1]);
            assert_eq!(verdict.damaged, 1, "{at} to {to}: {:#?}", verdict.damages);
            assert!(to <= at || verdict.counts.is_empty(), "a copy is not judged: {:#?}", verdict.faults);
        }
    }
}

#[test]
fn any_two_swapped_lines_are_named() {
    let whole = lines(&clean());
    let abouts = abouts(&whole);
    for one in 1..whole.len() {
        for other in one + 1..whole.len() {
            let mut lines = whole.clone();
            lines.swap(one, other);
            let verdict = judge_lines(&lines);
            let named: Vec<_> =
                verdict.damages.iter().filter(|damage| damage.kind == DamageKind::Swapped).collect();
            assert!(!named.is_empty(), "{one} and {other}: {:#?}", verdict.damages);
            assert!(verdict.damages.len() <= 2, "{one} and {other}: {:#?}", verdict.damages);
            for damage in named {
                assert!([&abouts[one - 1], &abouts[other - 1]].contains(&&damage.about), "{damage}");
            }
        }
    }
}

#[test]
fn any_altered_line_is_named() {
    let whole = lines(&clean());
    let abouts = abouts(&whole);
    for at in 1..whole.len() - 1 {
        for (from, to) in [("\"r\":", "\"r\": "), ("\"r\"", "r"), ("\"b\"", "\"B\""), ("\"n\":", "\"n\":1")] {
            let mut lines = whole.clone();
            assert!(lines[at].contains(from));
            lines[at] = lines[at].replacen(from, to, 1);
            let verdict = judge_lines(&lines);
            assert_damage(&verdict, DamageKind::Altered, at + 1, &abouts[at - 1]);
            assert_eq!(verdict.damaged, 1, "{at}: {:#?}", verdict.damages);
        }
    }
}

#[test]
fn a_line_altered_and_sealed_anew_does_not_match_the_next() {
    let records = clean();
    let mut whole = lines(&records);
    let mut changed = records.clone();
    let at = place(&records, |r| matches!(r, loadtest::ledger::Record::Base { .. }));
    changed[at] = loadtest::ledger::Record::Base { user: 9, conv: SINGLE.into(), seq: 4 };
    whole[at + 1] = lines(&changed)[at + 1].clone();
    let about = records[at].describe();
    assert_damage(&judge_lines(&whole), DamageKind::Altered, at + 2, &about);
}

#[test]
fn another_file_is_refused() {
    for text in ["", "hello\n", "{\"format\":\"ringway-ledger\",\"version\":1}\n", "\n\n"] {
        assert!(loadtest::judge::judge(text.as_bytes()).is_err(), "{text:?}");
    }
}
