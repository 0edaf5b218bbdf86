//! Who watches a ledger being judged is told how far that is.

mod common;

use common::*;
use loadtest::judge::together::{judge_run, runs};
use loadtest::judge::{Far, Pace, Stage};
use loadtest::ledger::Record;
use std::path::PathBuf;

/// A clean ledger with as many sessions that say nothing as make it long.
fn long() -> Vec<Record<'static>> {
    let mut records = clean();
    let end = |session| Record::Down { session, user: 1, why: "left".into(), at: 0 };
    records.extend((0..3_500).map(end));
    records
}

/// What is told while ledgers are judged.
fn told(texts: &[String]) -> Vec<Far> {
    let folder = tempfile::tempdir().unwrap();
    let write = |(at, text): (usize, &String)| -> PathBuf {
        let path = folder.path().join(at.to_string());
        std::fs::write(&path, text).unwrap();
        path
    };
    let paths: Vec<_> = texts.iter().enumerate().map(write).collect();
    let mut told = vec![];
    let runs = runs(&paths).unwrap();
    judge_run(&runs[0], None, &mut Pace::new(|far| told.push(far))).unwrap();
    told
}

fn records_of(told: &[Far]) -> Vec<(u64, Option<u64>)> {
    told.iter().filter(|far| far.stage == Stage::Records).map(|far| (far.done, far.all)).collect()
}

#[test]
fn every_thousand_records_it_is_told_how_many_there_are() {
    let records = long();
    // The end is a record too.
    let all = Some(records.len() as u64 + 1);
    let told = told(&[lines(&records).join("\n")]);
    assert_eq!(records_of(&told), [(1_000, all), (2_000, all), (3_000, all)]);
}

#[test]
fn the_records_of_a_runs_ledgers_are_counted_together() {
    let of = |worker| {
        let header = loadtest::ledger::Header { worker, workers: 2, ..header() };
        lines_after(&header, &long()).join("\n")
    };
    let all = Some(2 * (long().len() as u64 + 1));
    let told = records_of(&told(&[of(0), of(1)]));
    assert_eq!(told.last(), Some(&(7_000, all)));
}

#[test]
fn where_the_end_can_not_be_read_nobody_says_how_many_there_are() {
    let text = lines(&long()).join("\n") + "\n" + &"x".repeat(1 << 16);
    assert_eq!(records_of(&told(&[text])).first(), Some(&(1_000, None)));
}

#[test]
fn messages_are_told_once_all_records_have_been_read() {
    let mut records = clean();
    for n in 0..1_200 {
        let id: &'static str = Box::leak(format!("m{n}").into_boxed_str());
        records.push(sent(1, SINGLE, id));
    }
    let told = told(&[lines(&records).join("\n")]);
    // Five are in the clean part.
    assert_eq!(told.last(), Some(&Far { stage: Stage::Messages, done: 1_000, all: Some(1_205) }));
}
