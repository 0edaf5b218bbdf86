//! The persister's transaction: fence, duplicates, and what comes back.

use crate::places::{conversation, last_seq, message, put, saying};
use logic::store::{Advance, Backend, Commit, DeadLetter, NewMessage, Partition};
use protocol::{ConversationId, UserId};

async fn one_of_two_writers_wins_an_offset(backend: &dyn Backend) {
    let (mut one, mut other) = (backend.open_store().await.unwrap(), backend.open_store().await.unwrap());
    let seen = one.partitions().await.unwrap()[0];
    let step = [Advance { partition: 0, seen, next_offset: 1 }];
    assert_eq!(one.commit(&step, &[message("world", 1, "a", 1)], &[]).await.unwrap(), Commit::Done);
    let lost = other.commit(&step, &[message("world", 1, "b", 2)], &[]).await.unwrap();
    assert_eq!(lost, Commit::FenceLost);
    assert_eq!(last_seq(&mut *other, ConversationId::World).await, 1, "the loser has written nothing");
    assert_eq!(other.partitions().await.unwrap()[0], Partition { next_offset: 1, ..seen });
}

async fn a_batch_over_many_partitions_is_all_or_nothing(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let before = store.partitions().await.unwrap();
    let step = |partition: u16, seen: Partition| Advance {
        partition,
        seen,
        next_offset: seen.next_offset + u64::from(partition) + 1,
    };
    let mut all: Vec<_> = (0..).zip(&before).map(|(partition, seen)| step(partition, *seen)).collect();
    all[7].seen.version += 1;
    assert_eq!(store.commit(&all, &[message("world", 1, "a", 1)], &[]).await.unwrap(), Commit::FenceLost);
    assert_eq!(store.partitions().await.unwrap(), before);
    all[7].seen.version -= 1;
    assert_eq!(store.commit(&all, &[message("world", 1, "a", 1)], &[]).await.unwrap(), Commit::Done);
    let after: Vec<_> = store.partitions().await.unwrap().iter().map(|row| row.next_offset).collect();
    assert_eq!(after, (1..=8).collect::<Vec<_>>());
}

async fn partitions_that_are_not_neighbours_advance_together(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let before = store.partitions().await.unwrap();
    let next = [(2, 1 << 40), (3, 7), (6, u64::MAX >> 1)];
    let steps = next.map(|(partition, next_offset)| Advance {
        partition,
        seen: before[usize::from(partition)],
        next_offset,
    });
    assert_eq!(store.commit(&steps, &[], &[]).await.unwrap(), Commit::Done);
    let after: Vec<_> = store.partitions().await.unwrap().iter().map(|row| row.next_offset).collect();
    assert_eq!(after, [0, 0, 1 << 40, 7, 0, 0, u64::MAX >> 1, 0]);
}

async fn a_replay_whose_offset_stays_is_committed(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    let seen = store.partitions().await.unwrap()[0];
    let step = [Advance { partition: 0, seen, next_offset: seen.next_offset }];
    assert_eq!(store.commit(&step, &[], &[]).await.unwrap(), Commit::Done);
    assert_eq!(store.partitions().await.unwrap()[0], seen);
}

async fn a_duplicate_undoes_all_of_it(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    let seen = store.partitions().await.unwrap()[0];
    let step = [Advance { partition: 0, seen, next_offset: 2 }];
    let both = [message("world", 1, "b", 2), message("world", 1, "a", 3)];
    assert_eq!(store.commit(&step, &both, &[]).await.unwrap(), Commit::Duplicate);
    assert_eq!(store.partitions().await.unwrap()[0], seen);
    assert_eq!(store.find(ConversationId::World, UserId(1), "b").await.unwrap(), None);
    let found = store.find(ConversationId::World, UserId(1), "a").await.unwrap();
    assert_eq!(found, Some(message("world", 1, "a", 1).known));
    assert_eq!(
        store.commit(&step, &both[..1], &[]).await.unwrap(),
        Commit::Done,
        "and the next goes through"
    );
}

async fn client_ids_differ_by_case_and_blanks(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let ids = ["AbC", "abc", "abc ", " abc", "äbc", "abc\0"];
    for (seq, id) in (1..).zip(ids) {
        put(&mut *store, &[message("world", 1, id, seq)]).await;
    }
    for (seq, id) in (1..).zip(ids) {
        let found = store.find(ConversationId::World, UserId(1), id).await.unwrap();
        assert_eq!(found.map(|known| known.seq), Some(seq), "{id:?}");
    }
    assert_eq!(store.find(ConversationId::World, UserId(1), "ABC").await.unwrap(), None);
    assert_eq!(store.find(ConversationId::World, UserId(2), "abc").await.unwrap(), None, "the sender's own");
}

async fn ids_up_to_the_largest_come_back_as_they_went(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let single = format!("single_{}_{}", u64::MAX - 1, u64::MAX);
    let mut largest = message(&single, u64::MAX, "a", 1);
    largest.known.content_hash = logic::decide::content_hash(largest.message_type, largest.content);
    put(&mut *store, &[largest]).await;
    let found = store.find(conversation(&single), UserId(u64::MAX), "a").await.unwrap();
    assert_eq!(found, Some(largest.known));
    let mut reader = backend.open_reader().await.unwrap();
    let page = reader.page(conversation(&single), 0, 1, 10).await.unwrap();
    assert_eq!((page[0].sender, page[0].message_id), (UserId(u64::MAX), largest.known.message_id));
}

async fn texts_come_back_as_they_went(backend: &dyn Backend) {
    let longest = "\u{1F600}".repeat(5_000);
    let texts = ["a", "👩‍👩‍👧‍👦 \u{10FFFF}", "nul \0, newline \n, quote ' \" \\", &longest, " blanks  "];
    let mut store = backend.open_store().await.unwrap();
    let ids = ["0", "1", "2", "3", "4"];
    let all: Vec<_> =
        (1..).zip(texts).zip(ids).map(|((seq, text), id)| saying("world", 1, id, seq, text)).collect();
    put(&mut *store, &all).await;
    let mut reader = backend.open_reader().await.unwrap();
    let page = reader.page(ConversationId::World, 0, u64::MAX >> 1, 300).await.unwrap();
    assert_eq!(page.iter().map(|message| &*message.content).collect::<Vec<_>>(), texts);
}

async fn batches_of_every_size_are_stored_whole(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let most = store.batch_records_max() as u64;
    let ids: Vec<_> = (0..3_000 + most).map(|n| n.to_string()).collect();
    let mut last = 0;
    for size in (1..=35).chain([63, 127, 499, 500, most]) {
        let seqs = last + 1..=last + size;
        let batch: Vec<_> = seqs.map(|seq| saying("world", 1, &ids[seq as usize], seq, "x")).collect();
        put(&mut *store, &batch).await;
        last += size;
        assert_eq!(last_seq(&mut *store, ConversationId::World).await, last);
    }
    let mut reader = backend.open_reader().await.unwrap();
    let all = reader.page(ConversationId::World, 0, last, 10_000).await.unwrap();
    assert_eq!(all.iter().map(|message| message.seq).collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    assert!(all.iter().all(|message| message.client_msg_id == ids[message.seq as usize]));
}

async fn a_batch_of_the_largest_messages_is_stored(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let (longest, id) = ("\u{1F600}".repeat(5_000), "i".repeat(60));
    let most = store.batch_records_max();
    let ids: Vec<_> = (1..=most).map(|n| format!("{id}{n}")).collect();
    let batch: Vec<NewMessage<'_>> =
        (1..).zip(&ids).map(|(seq, id)| saying("world", u64::MAX, id, seq, &longest)).collect();
    put(&mut *store, &batch).await;
    assert_eq!(last_seq(&mut *store, ConversationId::World).await, most as u64);
}

async fn a_dead_letter_moves_the_offset_and_stores_no_message(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let seen = store.partitions().await.unwrap()[3];
    let step = [Advance { partition: 3, seen, next_offset: 1 }];
    let letter =
        DeadLetter { partition: 3, offset: 0, message: message("world", 1, "a", 1), reason: "for the test" };
    assert_eq!(store.commit(&step, &[], &[letter]).await.unwrap(), Commit::Done);
    assert_eq!(store.partitions().await.unwrap()[3].next_offset, 1);
    assert_eq!(last_seq(&mut *store, ConversationId::World).await, 0);
}

crate::for_every_store!(
    one_of_two_writers_wins_an_offset,
    a_batch_over_many_partitions_is_all_or_nothing,
    partitions_that_are_not_neighbours_advance_together,
    a_replay_whose_offset_stays_is_committed,
    a_duplicate_undoes_all_of_it,
    client_ids_differ_by_case_and_blanks,
    ids_up_to_the_largest_come_back_as_they_went,
    texts_come_back_as_they_went,
    batches_of_every_size_are_stored_whole,
    a_batch_of_the_largest_messages_is_stored,
    a_dead_letter_moves_the_offset_and_stores_no_message,
);
