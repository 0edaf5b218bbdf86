//! Windows of membership and pages of messages.

use crate::places::{LARGE_FROM, conversation, groups, is_member, last_seq, members, message, put, users};
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
    assert!(is_member(&mut *store, id, 2).await);
    assert!(!is_member(&mut *store, id, 4).await);
    let listed = Some(Members::Listed(users([1, 2, 3])));
    assert_eq!(members(&mut *store, id).await, listed);
    assert_eq!(reader.members(id).await.unwrap(), listed);
    assert_eq!(members(&mut *store, conversation("group_99")).await, None);
}

async fn what_is_asked_of_many_is_told_of_each(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let mut store = backend.open_store().await.unwrap();
    let small = groups.create(UserId(1), "g", &users([3, 2, u64::MAX])).await.unwrap();
    groups.remove(small, UserId(1), UserId(2)).await.unwrap();
    let large = groups.create(UserId(1), "g", &users(2..=1_000)).await.unwrap();
    for first in (1_001..=u64::from(LARGE_FROM) + 1).step_by(1_000) {
        groups.add(large, UserId(1), &users(first..first + 1_000)).await.unwrap();
    }
    put(&mut *store, &[message("world", 1, "a", 1), message("world", 1, "b", 2)]).await;
    put(&mut *store, &[message(&format!("group_{small}"), 1, "a", 1)]).await;
    // More than one statement asks for.
    let mut ids: Vec<_> = (100..400).map(ConversationId::Group).collect();
    ids[7] = ConversationId::World;
    ids[150] = ConversationId::Group(small);
    ids[299] = ConversationId::Group(large);
    let seqs = store.last_seqs(&ids).await.unwrap();
    let told: Vec<_> = (0..).zip(&seqs).filter(|(_, seq)| **seq > 0).collect();
    assert_eq!((seqs.len(), told), (300, vec![(7, &2), (150, &1)]));
    assert_eq!(last_seq(&mut *store, ids[150]).await, 1);
    ids.swap_remove(7);
    let found = store.members(&ids).await.unwrap();
    for (id, found) in ids.iter().zip(&found) {
        let expected = match id {
            ConversationId::Group(id) if *id == small => Some(Members::Listed(users([1, 3, u64::MAX]))),
            ConversationId::Group(id) if *id == large => Some(Members::Large),
            _ => None,
        };
        assert_eq!((id, found), (id, &expected));
    }
    let asked: Vec<_> = (0..300).map(|user| (ConversationId::Group(large), UserId(user))).collect();
    let mut among = asked.clone();
    among.extend([2, u64::MAX, 4].map(|user| (ConversationId::Group(small), UserId(user))));
    let are = store.are_members(&among).await.unwrap();
    let outside: Vec<_> = among.iter().zip(are).filter(|(_, is)| !is).map(|(of, _)| of.1).collect();
    assert_eq!(outside, users([0, 2, 4]));
    assert!(store.last_seqs(&[]).await.unwrap().is_empty() && store.members(&[]).await.unwrap().is_empty());
    assert!(store.are_members(&[]).await.unwrap().is_empty());
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
    what_is_asked_of_many_is_told_of_each,
    every_member_is_in_one_range_of_buckets,
    a_page_has_what_lies_between_ascending_and_no_more_than_asked,
);
