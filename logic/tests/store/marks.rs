//! Read marks: forward only, and no further than their user may see.

use crate::places::{conversation, groups, message, put, users};
use logic::store::{Backend, Mark};
use protocol::{ConversationId, UserId};

fn mark(of: &str, user: u64, seq: u64) -> Mark {
    Mark { conversation: conversation(of), user: UserId(user), seq }
}

async fn a_mark_moves_forward_up_to_the_newest(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let mut marks = backend.open_marks().await.unwrap();
    put(
        &mut *store,
        &["a", "b", "c", "d"].map(|id| message("single_1_2", 1, id, u64::from(id.as_bytes()[0] - 96))),
    )
    .await;
    let moved = marks.mark_read(&[mark("single_1_2", 2, 2)]).await.unwrap();
    assert_eq!(moved, [Some(2)]);
    let all = [
        mark("single_1_2", 2, 1),
        mark("single_1_2", 2, 3),
        mark("single_1_2", 2, 3),
        mark("single_1_2", 1, u64::MAX),
        mark("single_1_2", 9, 1),
        mark("single_1_9", 1, 1),
        mark("single_1_2", 2, u64::MAX),
    ];
    let moved = marks.mark_read(&all).await.unwrap();
    assert_eq!(moved, [None, Some(3), None, Some(4), None, None, Some(4)]);
    assert_eq!(marks.mark_read(&[]).await.unwrap(), []);
}

async fn a_mark_of_one_who_left_ends_with_their_window(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let mut marks = backend.open_marks().await.unwrap();
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let name = format!("group_{group}");
    assert_eq!(marks.mark_read(&[mark(&name, 2, 5)]).await.unwrap(), [None], "nothing is there yet");
    put(&mut *store, &[message(&name, 1, "a", 1)]).await;
    groups.remove(group, UserId(2), UserId(2)).await.unwrap();
    put(&mut *store, &[message(&name, 1, "b", 2)]).await;
    assert_eq!(marks.mark_read(&[mark(&name, 2, 5), mark(&name, 1, 5)]).await.unwrap(), [Some(1), Some(2)]);
}

async fn marks_of_a_whole_poll_move_at_once(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let mut marks = backend.open_marks().await.unwrap();
    let names: Vec<_> = (2..66).map(|other| format!("single_1_{other}")).collect();
    let all: Vec<_> = names.iter().map(|name| message(name, 1, "a", 1)).collect();
    put(&mut *store, &all).await;
    let all: Vec<_> = names.iter().map(|name| mark(name, 1, 1)).collect();
    assert_eq!(marks.mark_read(&all).await.unwrap(), vec![Some(1); 64]);
    let mut reader = backend.open_reader().await.unwrap();
    let (lines, _) = reader.conversations(UserId(1), None, 100).await.unwrap();
    assert!(lines.iter().all(|line| line.read_seq == 1 && line.peer_read_seq == Some(0)));
    assert!(lines.iter().all(|line| matches!(line.conversation, ConversationId::Single(..))));
}

crate::for_every_store!(
    a_mark_moves_forward_up_to_the_newest,
    a_mark_of_one_who_left_ends_with_their_window,
    marks_of_a_whole_poll_move_at_once,
);
