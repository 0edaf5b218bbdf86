//! Windows of membership and pages of messages.

use crate::places::{conversation, groups, message, put, users};
use logic::store::{Backend, Members, Membership, Window};
use protocol::limits::MEMBER_BUCKETS;
use protocol::{ConversationId, UserId};

async fn a_single_conversation_is_open_to_its_two(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("single_1_2", 1, "a", 1)]).await;
    let mut reader = backend.open_reader().await.unwrap();
    let single = conversation("single_1_2");
    for user in [1, 2] {
        let window = reader.window(single, UserId(user)).await.unwrap();
        assert_eq!(window, Window::Open { after: 0, until: 1 });
    }
    assert_eq!(reader.window(single, UserId(3)).await.unwrap(), Window::NotAMember);
    let world = reader.window(ConversationId::World, UserId(3)).await.unwrap();
    assert_eq!(world, Window::Open { after: 0, until: 0 });
}

async fn a_group_is_open_from_joining_until_leaving(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let mut store = backend.open_store().await.unwrap();
    let mut reader = backend.open_reader().await.unwrap();
    assert_eq!(reader.window(conversation("group_1"), UserId(1)).await.unwrap(), Window::NotFound);
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let (id, name) = (ConversationId::Group(group), format!("group_{group}"));
    put(&mut *store, &[message(&name, 1, "a", 1)]).await;
    groups.add(group, UserId(1), &users([3])).await.unwrap();
    put(&mut *store, &[message(&name, 1, "b", 2)]).await;
    groups.remove(group, UserId(1), UserId(2)).await.unwrap();
    put(&mut *store, &[message(&name, 1, "c", 3)]).await;
    let mut window = async |user| reader.window(id, UserId(user)).await.unwrap();
    assert_eq!(window(1).await, Window::Open { after: 0, until: 3 });
    assert_eq!(window(2).await, Window::Open { after: 0, until: 2 });
    assert_eq!(window(3).await, Window::Open { after: 1, until: 3 });
    assert_eq!(window(4).await, Window::NotAMember);
    groups.add(group, UserId(1), &users([2])).await.unwrap();
    assert_eq!(window(2).await, Window::Open { after: 3, until: 3 }, "coming back replaces the window");
    assert!(store.is_member(id, UserId(2)).await.unwrap());
    assert!(!store.is_member(id, UserId(4)).await.unwrap());
    let listed = Some(Members::Listed(users([1, 2, 3])));
    assert_eq!(store.members(id).await.unwrap(), listed);
    assert_eq!(reader.members(id).await.unwrap(), listed);
    assert_eq!(store.members(conversation("group_99")).await.unwrap(), None);
}

async fn every_member_is_in_one_range_of_buckets(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let mut store = backend.open_store().await.unwrap();
    let group = groups.create(UserId(1), "g", &users(2..=200)).await.unwrap();
    let (id, name) = (ConversationId::Group(group), format!("group_{group}"));
    put(&mut *store, &[message(&name, 1, "a", 1)]).await;
    groups.remove(group, UserId(7), UserId(7)).await.unwrap();
    put(&mut *store, &[message(&name, 1, "b", 2)]).await;
    let mut reader = backend.open_reader().await.unwrap();
    let mut found: Vec<Membership> = Vec::new();
    for first in (0..MEMBER_BUCKETS).step_by(16) {
        found.extend(reader.windows(id, first..first + 16, 1).await.unwrap());
    }
    found.sort_by_key(|membership| membership.user);
    assert_eq!(found.iter().map(|m| m.user).collect::<Vec<_>>(), users(1..=200));
    assert_eq!(found[6], Membership { user: UserId(7), after: 0, until: 1 });
    assert_eq!(found[7], Membership { user: UserId(8), after: 0, until: u64::MAX });
    let mut persisters = store.windows(id, 1).await.unwrap();
    persisters.sort_by_key(|membership| membership.user);
    assert_eq!(persisters, found, "and the persister sees all of them at once");
    let later = reader.windows(id, 0..MEMBER_BUCKETS, 2).await.unwrap();
    assert!(later.iter().all(|membership| membership.user != UserId(7)), "whose window has ended before");
}

async fn a_page_has_what_lies_between_ascending_and_no_more_than_asked(backend: &dyn Backend) {
    let mut store = backend.open_store().await.unwrap();
    let ids = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let all: Vec<_> = (1..).zip(ids).map(|(seq, id)| message("single_1_2", 1, id, seq)).collect();
    put(&mut *store, &all).await;
    put(&mut *store, &[message("single_1_20", 1, "0", 1), message("single_1_3", 1, "0", 1)]).await;
    let mut reader = backend.open_reader().await.unwrap();
    let mut page = async |after, until, limit| {
        let page = reader.page(conversation("single_1_2"), after, until, limit).await.unwrap();
        page.iter().map(|message| message.seq).collect::<Vec<_>>()
    };
    assert_eq!(page(3, 7, 300).await, [4, 5, 6, 7]);
    assert_eq!(page(3, 7, 2).await, [4, 5]);
    assert_eq!(page(0, 99, 300).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(page(10, 99, 300).await, [0u64; 0]);
}

crate::for_every_store!(
    a_single_conversation_is_open_to_its_two,
    a_group_is_open_from_joining_until_leaving,
    every_member_is_in_one_range_of_buckets,
    a_page_has_what_lies_between_ascending_and_no_more_than_asked,
);
