//! The list of a user's conversations.

use crate::places::{conversation, groups, message, put, saying, users};
use logic::store::{Backend, Cursor, Mark};
use protocol::limits::UNREAD_MAX;
use protocol::{ConversationId, UserId};

async fn the_latest_is_first_and_pages_go_on_by_cursor(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    // Two of them at the same time.
    for (other, at) in [(2, 30), (3, 10), (4, 20), (5, 20), (6, 40)] {
        let mut first = message(&format!("single_1_{other}"), other, "a", 1);
        first.known.created_at.0 = at;
        put(&mut *store, &[first]).await;
    }
    let mut reader = backend.open_reader().await.unwrap();
    let (mut seen, mut cursor): (_, Option<Cursor>) = (Vec::new(), None);
    loop {
        let (page, has_more) = reader.conversations(UserId(1), cursor.as_ref(), 2).await.unwrap();
        seen.extend(page.iter().map(|line| line.conversation.to_string()));
        cursor = page.last().map(|line| Cursor::parse(&line.cursor.to_string()).unwrap());
        if !has_more {
            break;
        }
    }
    assert_eq!(seen, ["single_1_6", "single_1_2", "single_1_5", "single_1_4", "single_1_3"]);
    assert_eq!(reader.conversations(UserId(9), None, 2).await.unwrap(), (vec![], false));
}

async fn a_line_tells_what_is_unread_and_what_came_last(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let mut marks = backend.open_marks().await.unwrap();
    let mut reader = backend.open_reader().await.unwrap();
    let all = [(1, "a"), (1, "b"), (2, "c"), (1, "d")];
    let all: Vec<_> =
        (1..).zip(all).map(|(seq, (from, id))| saying("single_1_2", from, id, seq, id)).collect();
    put(&mut *store, &all).await;
    let mark = Mark { conversation: conversation("single_1_2"), user: UserId(2), seq: 1 };
    marks.mark_read(&[mark]).await.unwrap();
    let (of_two, _) = reader.conversations(UserId(2), None, 10).await.unwrap();
    let line = &of_two[0];
    assert_eq!((line.last_seq, line.read_seq, line.unread), (4, 1, 2), "one's own is not unread");
    assert_eq!((line.peer_read_seq, &line.name), (Some(0), &None));
    assert_eq!(line.last.as_ref().map(|message| &*message.content), Some("d"));
    let (of_one, _) = reader.conversations(UserId(1), None, 10).await.unwrap();
    assert_eq!((of_one[0].unread, of_one[0].peer_read_seq), (1, Some(1)));
}

async fn a_group_is_listed_by_its_name_and_shows_what_lies_in_the_window(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let mut groups = groups(backend).await;
    let mut reader = backend.open_reader().await.unwrap();
    let group = groups.create(UserId(1), "friends", &users([2])).await.unwrap();
    let name = format!("group_{group}");
    put(&mut *store, &[message(&name, 1, "a", 1), message(&name, 1, "b", 2)]).await;
    groups.add(group, UserId(1), &users([3])).await.unwrap();
    let (of_three, _) = reader.conversations(UserId(3), None, 10).await.unwrap();
    let line = &of_three[0];
    assert_eq!((line.name.as_deref(), line.last_seq, line.unread), (Some("friends"), 0, 0));
    assert_eq!((&line.last, line.peer_read_seq), (&None, None), "what was there before is not theirs");
    put(&mut *store, &[message(&name, 1, "c", 3)]).await;
    let (of_three, _) = reader.conversations(UserId(3), None, 10).await.unwrap();
    assert_eq!((of_three[0].last_seq, of_three[0].unread), (3, 1));
    groups.remove(group, UserId(1), UserId(3)).await.unwrap();
    assert_eq!(reader.conversations(UserId(3), None, 10).await.unwrap().0, []);
}

async fn unread_is_counted_up_to_a_bound(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let ids: Vec<_> = (0..=UNREAD_MAX + 1).map(|n| n.to_string()).collect();
    let all: Vec<_> = (1..).zip(&ids).map(|(seq, id)| saying("single_1_2", 1, id, seq, "x")).collect();
    for batch in all.chunks(500) {
        put(&mut *store, batch).await;
    }
    let mut reader = backend.open_reader().await.unwrap();
    let single = ConversationId::Single(UserId(1), UserId(2));
    assert_eq!(reader.unread(single, UserId(2), 0).await.unwrap(), UNREAD_MAX);
    assert_eq!(reader.unread(single, UserId(2), 3).await.unwrap(), UNREAD_MAX - 1);
    assert_eq!(reader.unread(single, UserId(1), 0).await.unwrap(), 0);
}

crate::for_every_store!(
    the_latest_is_first_and_pages_go_on_by_cursor,
    a_line_tells_what_is_unread_and_what_came_last,
    a_group_is_listed_by_its_name_and_shows_what_lies_in_the_window,
    unread_is_counted_up_to_a_bound,
);
