//! A worker's share of the partitions changes while it works.

use crate::persister::record;
use crate::places::{Database, PARTITIONS, runtime};
use crate::scripted::{Answer, Scripted};
use crate::thread::{Call, QUEUE_BATCHES, Thread};
use bus::{Change, Skipped};
use logic::decide::Decision;
use logic::store::mysql::MySqlConfig;
use logic::store::{Backend, Store};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::Runtime;

fn run(test: impl FnOnce(&MySqlConfig)) {
    let database = Database::make();
    let backend = database.backend();
    runtime().block_on(async { backend.prepare(PARTITIONS).await.unwrap() });
    test(&backend);
}

fn partition() -> u16 {
    record("single_1_2", 1, "a", "x", 0).partition
}

#[test]
fn a_share_is_continued_where_the_store_says() {
    run(|backend| {
        let first = Thread::start(backend.clone(), true);
        first.decide(&[record("single_1_2", 1, "a", "x", 0), record("single_1_2", 1, "b", "x", 1)]);
        first.end().0.unwrap();
        let second = Thread::start(backend.clone(), true);
        second.decide(&[record("single_1_2", 1, "c", "x", 2)]);
        let (ended, calls) = second.end();
        ended.unwrap();
        let Call::Start(positions) = &calls[0] else { panic!("{calls:?}") };
        assert!(positions.contains(&(partition(), 2)), "{positions:?}");
    });
}

#[test]
fn what_is_given_up_is_committed_as_far_as_it_is_distributed() {
    run(|backend| {
        let thread = Thread::start(backend.clone(), true);
        let batch = thread.take(
            vec![record("single_1_2", 1, "a", "x", 0)],
            vec![Skipped { partition: partition(), offset: 1 }],
        );
        assert_eq!(batch.ends, [(partition(), 2)], "what was skipped counts, too");
        thread.progress.reached(&batch.ends);
        thread.change(Change::Revoked(vec![partition()]));
        let (_, calls) = thread.end();
        assert_eq!(calls[1], Call::Release(vec![partition()], vec![(partition(), 2)]), "{calls:?}");
        let Call::Release(rest, none) = &calls[2] else { panic!("{calls:?}") };
        assert!(!rest.contains(&partition()) && none.is_empty(), "{calls:?}");
    });
}

#[test]
fn what_is_lost_is_neither_released_nor_committed() {
    run(|backend| {
        let thread = Thread::start(backend.clone(), true);
        let batch = thread.take(vec![record("single_1_2", 1, "a", "x", 0)], vec![]);
        thread.progress.reached(&batch.ends);
        thread.change(Change::Lost(vec![partition()]));
        let (_, calls) = thread.end();
        for call in &calls {
            if let Call::Release(partitions, positions) = call {
                assert!(!partitions.contains(&partition()) && positions.is_empty(), "{calls:?}");
            }
        }
    });
}

#[test]
fn an_owner_that_was_away_decides_again_by_what_its_successor_stored() {
    run(|backend| {
        let away = Thread::start(backend.clone(), true);
        away.decide(&[record("single_1_2", 1, "a", "x", 0)]);
        let successor = Thread::start(backend.clone(), true);
        successor.decide(&[record("single_1_2", 1, "b", "x", 1), record("single_1_2", 2, "c", "x", 2)]);
        // It polled these before it was stopped, and goes on as if nothing had happened.
        let late = away.decide(&[record("single_1_2", 1, "b", "x", 1), record("single_1_2", 2, "c", "x", 2)]);
        assert!(
            matches!(late[..], [Decision::Replay(b), Decision::Replay(c)] if (b.seq, c.seq) == (2, 3)),
            "{late:?}"
        );
        assert_eq!(away.stats.fence_lost.get(), 1);
    });
}

#[test]
fn a_persister_that_waits_for_the_distributor_follows_its_share() {
    run(|backend| {
        let thread = Thread::start(backend.clone(), true);
        let batches = QUEUE_BATCHES as u64 + 1;
        for offset in 0..batches {
            thread.give(vec![record("single_1_2", 1, &offset.to_string(), "x", offset)], vec![]);
        }
        thread.until("the queue is full", || thread.stats.distribute_queue_full.get() == 1);
        thread.progress.reached(&[(partition(), batches)]);
        thread.change(Change::Revoked(vec![partition()]));
        let released = Call::Release(vec![partition()], vec![(partition(), batches)]);
        thread.until("the partition is given up", || thread.called(&released));
        for seq in 1..=batches {
            let decisions = thread.next().decisions;
            assert!(
                matches!(decisions[0], Decision::Insert(known) if known.seq == seq),
                "what waited is handed on: {decisions:?}"
            );
        }
        thread.end().0.unwrap();
    });
}

const NOTHING: [u64; 0] = [];

/// What is committed of two records, and of one that was skipped behind them, when their partition
/// goes to another worker while the store gives these answers.
fn committed_of_a_batch_that_is_lost(answers: &[Answer]) -> Vec<u64> {
    let (store, committed) = Scripted::new(answers);
    let (ready, begin) = mpsc::channel::<()>();
    let open = move |_: &Runtime| {
        begin.recv().unwrap();
        Box::new(store) as Box<dyn Store>
    };
    let thread = Thread::over(open, true);
    let records = vec![record("single_1_2", 1, "a", "x", 0), record("single_1_2", 1, "b", "x", 1)];
    thread.give(records, vec![Skipped { partition: partition(), offset: 2 }]);
    thread.change(Change::Lost(vec![partition()]));
    // It finds both on the road when it begins.
    ready.send(()).unwrap();
    let stats = Arc::clone(&thread.stats);
    thread.end().0.unwrap();
    assert_eq!(stats.store_failing.get(), 0, "nothing waits for the store any more");
    let committed = committed.lock().unwrap();
    committed.iter().map(|advance| advance.next_offset).collect()
}

#[test]
fn offsets_never_pass_over_what_was_dropped() {
    assert_eq!(committed_of_a_batch_that_is_lost(&[Answer::Done]), [3], "the store answers at once");
    assert_eq!(
        committed_of_a_batch_that_is_lost(&[Answer::Away]),
        NOTHING,
        "what was skipped goes with the records"
    );
    let halves = [Answer::Refused, Answer::Away];
    assert_eq!(committed_of_a_batch_that_is_lost(&halves), NOTHING, "the second half goes with the first");
    let aside = [Answer::Refused, Answer::Refused, Answer::Away];
    assert_eq!(
        committed_of_a_batch_that_is_lost(&aside),
        NOTHING,
        "and with a first that was to be put aside"
    );
}

#[test]
fn a_partition_that_comes_back_is_not_committed_at_where_it_was_before() {
    run(|backend| {
        let thread = Thread::start(backend.clone(), true);
        let first = thread.take(vec![record("single_1_2", 1, "a", "x", 0)], vec![]);
        thread.change(Change::Lost(vec![partition()]));
        thread.change(Change::Assigned(vec![partition()]));
        // Another worker has been here up to 8 meanwhile; what it had itself is distributed late.
        thread.take(vec![], vec![Skipped { partition: partition(), offset: 8 }]);
        thread.progress.reached(&first.ends);
        // Longer than it is between two commits.
        std::thread::sleep(Duration::from_millis(600));
        let last = thread.take(vec![], vec![Skipped { partition: partition(), offset: 9 }]);
        thread.progress.reached(&last.ends);
        let (_, calls) = thread.end();
        let places: Vec<_> = calls
            .iter()
            .flat_map(|call| match call {
                Call::Commit(positions) | Call::Release(_, positions) => positions.clone(),
                Call::Start(_) | Call::Aside(..) => vec![],
            })
            .collect();
        assert!(
            places.iter().all(|(_, place)| *place > 8) && places.contains(&(partition(), 10)),
            "{calls:?}"
        );
    });
}
