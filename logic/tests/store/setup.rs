//! Making a store, and making it go on from a new log.

use crate::places::{LARGE_FROM, PARTITIONS, groups, last_seq, message, put, users};
use logic::groups::Groups;
use logic::store::{Advance, Backend, Commit, Partition, StoreError};
use protocol::{ConversationId, UserId};

async fn the_number_of_partitions_is_fixed(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    backend.prepare(PARTITIONS).await.unwrap();
    assert_eq!(store.partitions().await.unwrap()[0].next_offset, 1, "what is there stays");
    let error = backend.prepare(PARTITIONS + 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Partitions { found: 8, expected: 9 }), "{error}");
}

async fn a_new_epoch_goes_on_at_the_new_offsets_and_fences_who_came_before(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    let seen = store.partitions().await.unwrap()[0];
    backend.new_epoch(&[1, 2, 3, 4, 5, 6, 7, u64::MAX >> 1]).await.unwrap();
    let now = store.partitions().await.unwrap();
    assert_eq!(now[0], Partition { epoch: seen.epoch + 1, next_offset: 1, ..seen });
    assert_eq!(now[7].next_offset, u64::MAX >> 1);
    let step = [Advance { partition: 0, seen, next_offset: 2 }];
    assert_eq!(
        store.commit(&step, &[], &[]).await.unwrap(),
        Commit::FenceLost,
        "the same offset, another log"
    );
}

async fn a_new_epoch_may_have_another_number_of_partitions(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    backend.new_epoch(&[5; 12]).await.unwrap();
    backend.prepare(12).await.unwrap();
    let grown = store.partitions().await.unwrap();
    assert!(grown.len() == 12 && grown.iter().all(|row| (row.epoch, row.next_offset) == (2, 5)), "{grown:?}");
    let error = backend.prepare(PARTITIONS).await.unwrap_err();
    assert!(matches!(error, StoreError::Partitions { found: 12, expected: 8 }), "{error}");
    let step = [Advance { partition: 11, seen: grown[11], next_offset: 6 }];
    let second = message("world", 1, "b", 2);
    assert_eq!(store.commit(&step, &[second], &[]).await.unwrap(), Commit::Done, "a row that is new");
    backend.new_epoch(&[0; 2]).await.unwrap();
    backend.new_epoch(&[0; 12]).await.unwrap();
    let again = store.partitions().await.unwrap();
    assert!(again.len() == 12 && again.iter().all(|row| row.epoch == 4), "never an epoch twice: {again:?}");
    assert_eq!(store.commit(&step, &[], &[]).await.unwrap(), Commit::FenceLost);
    assert_eq!(last_seq(&mut *store, ConversationId::World).await, 2, "what is stored stays");
}

async fn a_change_of_groups_goes_on_over_another_number_of_partitions(backend: &dyn Backend) {
    let group = groups(backend).await.create(UserId(1), "g", &users([2])).await.unwrap();
    backend.new_epoch(&[0; 3]).await.unwrap();
    let mut groups = Groups::new(backend.open_groups(3).await.unwrap(), LARGE_FROM);
    let mut store = backend.open_store().await.unwrap();
    let before = store.partitions().await.unwrap();
    groups.add(group, UserId(1), &users([3])).await.unwrap();
    let after = store.partitions().await.unwrap();
    let own = usize::from(ConversationId::Group(group).partition(3));
    assert_eq!(after[own].version, before[own].version + 1, "its persister decides again");
}

async fn there_is_a_last_epoch(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    for _ in 1..u8::MAX {
        backend.new_epoch(&[0; 8]).await.unwrap();
    }
    let error = backend.new_epoch(&[9; 8]).await.unwrap_err();
    assert!(matches!(error, StoreError::LastEpoch), "{error}");
    let all = store.partitions().await.unwrap();
    assert!(all.iter().all(|row| (row.epoch, row.next_offset) == (u8::MAX, 0)), "{all:?}");
}

crate::for_every_store!(
    the_number_of_partitions_is_fixed,
    a_new_epoch_goes_on_at_the_new_offsets_and_fences_who_came_before,
    a_new_epoch_may_have_another_number_of_partitions,
    a_change_of_groups_goes_on_over_another_number_of_partitions,
    there_is_a_last_epoch,
);
