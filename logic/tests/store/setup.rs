//! Making a store, and making it go on after a loss of the log.

use crate::places::{PARTITIONS, message, put};
use logic::store::{Advance, Backend, Commit, Partition, StoreError};

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
    let error = backend.new_epoch(&[0; 7]).await.unwrap_err();
    assert!(matches!(error, StoreError::Partitions { found: 8, expected: 7 }), "{error}");
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

async fn there_is_a_last_epoch(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    for _ in 1..u8::MAX {
        backend.new_epoch(&[0; 8]).await.unwrap();
    }
    let error = backend.new_epoch(&[9; 8]).await.unwrap_err();
    assert!(matches!(error, StoreError::LastEpoch { partition: 0 }), "{error}");
    let all = store.partitions().await.unwrap();
    assert!(all.iter().all(|row| (row.epoch, row.next_offset) == (u8::MAX, 0)), "{all:?}");
}

crate::for_every_store!(
    the_number_of_partitions_is_fixed,
    a_new_epoch_goes_on_at_the_new_offsets_and_fences_who_came_before,
    there_is_a_last_epoch,
);
