//! The persister over each store: what its cache knows is worth no more than the fence.

use crate::places::{PARTITIONS, conversation, groups, users};
use bus::Polled;
use logic::Stats;
use logic::decide::{Decision, WorldRates};
use logic::persist::Persister;
use logic::store::{Backend, StoreError};
use protocol::command::MessageType;
use protocol::record::UpstreamRecord;
use protocol::{ErrorCode, GatewayId, Origin, SessionRef, UnixMs, UserId};
use std::sync::Arc;

pub(crate) async fn persister(backend: &dyn Backend) -> (Persister, Arc<Stats>) {
    let stats = Arc::new(Stats::new(1));
    let store = backend.open_store().await.unwrap();
    (Persister::new(store, WorldRates::default(), Arc::clone(&stats)).await.unwrap(), stats)
}

pub(crate) fn record(of: &str, sender: u64, id: &str, content: &str, offset: u64) -> Polled<UpstreamRecord> {
    let conversation = conversation(of);
    let session = SessionRef { shard: 0, slot: 1, generation: 1 };
    let record = UpstreamRecord {
        origin: Origin { gateway: GatewayId::new("gw").unwrap(), boot_epoch: 1, session },
        sender: UserId(sender),
        conversation,
        client_msg_id: id.into(),
        content: content.into(),
        message_type: MessageType::Text,
        trace_id: "t".into(),
        received_at: UnixMs(7),
    };
    Polled { partition: conversation.partition(PARTITIONS), offset, record }
}

pub(crate) fn seqs(decisions: &[Decision]) -> Vec<Option<u64>> {
    let seq = |decision: &Decision| match decision {
        Decision::Insert(known) => Some(known.seq),
        Decision::Repeat(_) | Decision::Replay(_) | Decision::Refuse(_) | Decision::Skip => None,
    };
    decisions.iter().map(seq).collect()
}

async fn a_change_of_membership_makes_the_persister_decide_again(backend: &dyn Backend) {
    let (mut persister, stats) = persister(backend).await;
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let name = format!("group_{group}");
    let first = persister.persist(&[record(&name, 2, "a", "x", 0)]).await.unwrap();
    assert_eq!(seqs(&first), [Some(1)]);
    groups.remove(group, UserId(1), UserId(2)).await.unwrap();
    let (lost, both) =
        (stats.fence_lost.get(), [record(&name, 2, "b", "x", 1), record(&name, 1, "c", "x", 2)]);
    let second = persister.persist(&both).await.unwrap();
    assert_eq!(second[0], Decision::Refuse(ErrorCode::NotAMember));
    assert_eq!((seqs(&second)[1], stats.fence_lost.get()), (Some(2), lost + 1));
}

async fn of_two_persisters_that_hold_one_partition_none_stores_a_record_twice(backend: &dyn Backend) {
    let ((mut one, _), (mut other, stats)) = (persister(backend).await, persister(backend).await);
    let batch = |offset: u64| [record("single_1_2", 1, &offset.to_string(), "x", offset)];
    assert_eq!(seqs(&one.persist(&batch(0)).await.unwrap()), [Some(1)]);
    let again = other.persist(&batch(0)).await.unwrap();
    assert!(matches!(again[0], Decision::Replay(known) if known.seq == 1), "{again:?}");
    assert_eq!(stats.fence_lost.get(), 1);
    assert_eq!(seqs(&other.persist(&batch(1)).await.unwrap()), [Some(2)]);
    assert_eq!(seqs(&one.persist(&batch(2)).await.unwrap()), [Some(3)], "and the first goes on from there");
}

async fn a_persister_of_another_number_of_partitions_writes_nothing_any_more(backend: &dyn Backend) {
    let (mut persister, _) = persister(backend).await;
    persister.persist(&[record("single_1_2", 1, "a", "x", 0)]).await.unwrap();
    for partitions in [12, 3] {
        backend.new_epoch(&vec![0; partitions]).await.unwrap();
        for _ in 0..2 {
            let error = persister.persist(&[record("single_1_2", 1, "b", "x", 1)]).await.unwrap_err();
            let expected = usize::from(PARTITIONS);
            assert!(
                matches!(error, StoreError::Partitions { found, expected: e } if (found, e) == (partitions, expected)),
                "{error}"
            );
        }
    }
    let mut reader = backend.open_reader().await.unwrap();
    assert_eq!(reader.last_seq(conversation("single_1_2")).await.unwrap(), 1);
}

async fn a_replay_is_answered_with_the_first_ids_and_stores_nothing(backend: &dyn Backend) {
    let (mut first, _) = persister(backend).await;
    let batch: Vec<_> = (0..20).map(|n| record("single_1_2", 1, &n.to_string(), "x", n)).collect();
    let decisions = first.persist(&batch).await.unwrap();
    let (mut second, stats) = persister(backend).await;
    let replayed = second.persist(&batch).await.unwrap();
    let repeats: Vec<_> = decisions
        .iter()
        .map(|decision| match decision {
            Decision::Insert(known) => Decision::Replay(*known),
            other => *other,
        })
        .collect();
    assert_eq!((replayed, stats.replays.get()), (repeats, 20));
    let mut reader = backend.open_reader().await.unwrap();
    assert_eq!(reader.last_seq(conversation("single_1_2")).await.unwrap(), 20);
}

async fn a_cold_repeat_is_found_by_its_key(backend: &dyn Backend) {
    let (mut first, _) = persister(backend).await;
    first.persist(&[record("single_1_2", 1, "a", "x", 0)]).await.unwrap();
    let (mut second, stats) = persister(backend).await;
    let batch = [record("single_1_2", 1, "b", "x", 1), record("single_1_2", 1, "a", "x", 2)];
    let decisions = second.persist(&batch).await.unwrap();
    assert_eq!(seqs(&decisions), [Some(2), None]);
    assert!(matches!(decisions[1], Decision::Repeat(known) if known.seq == 1));
    assert_eq!(stats.duplicates_looked_up.get(), 1);
    let reused = second.persist(&[record("single_1_2", 1, "a", "other", 3)]).await.unwrap();
    assert_eq!(reused, [Decision::Refuse(ErrorCode::IdReused)]);
}

async fn a_batch_of_cold_conversations_of_all_kinds_is_decided_as_a_warm_one(backend: &dyn Backend) {
    let (mut first, _) = persister(backend).await;
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let singles: Vec<_> = (2..300).map(|peer| format!("single_1_{peer}")).collect();
    let group = format!("group_{group}");
    let batch = |round: u64| {
        let of = singles.iter().chain([&group]).enumerate();
        let mut batch: Vec<_> =
            of.map(|(n, of)| record(of, 1, &round.to_string(), "x", round * 1_000 + n as u64)).collect();
        batch.push(record(&group, 9, &round.to_string(), "x", round * 1_000 + 500));
        batch.push(record("group_77", 1, &round.to_string(), "x", round * 1_000 + 501));
        batch.push(record(&singles[0], 2, &round.to_string(), "x", round * 1_000 + 502));
        batch
    };
    let expected = |decisions: &[Decision], seq: u64| {
        let [others @ .., outside, nowhere, twice] = decisions else { panic!("{decisions:?}") };
        assert!(seqs(&others[1..]).iter().all(|found| *found == Some(seq)), "{others:?}");
        assert_eq!(*outside, Decision::Refuse(ErrorCode::NotAMember));
        assert_eq!(*nowhere, Decision::Refuse(ErrorCode::ConversationNotFound));
        assert_eq!(seqs(&[others[0], *twice]), [Some(2 * seq - 1), Some(2 * seq)]);
    };
    expected(&first.persist(&batch(0)).await.unwrap(), 1);
    expected(&first.persist(&batch(1)).await.unwrap(), 2);
    let (mut cold, _) = persister(backend).await;
    expected(&cold.persist(&batch(2)).await.unwrap(), 3);
}

crate::for_every_store!(
    a_batch_of_cold_conversations_of_all_kinds_is_decided_as_a_warm_one,
    a_change_of_membership_makes_the_persister_decide_again,
    of_two_persisters_that_hold_one_partition_none_stores_a_record_twice,
    a_persister_of_another_number_of_partitions_writes_nothing_any_more,
    a_replay_is_answered_with_the_first_ids_and_stores_nothing,
    a_cold_repeat_is_found_by_its_key,
);
