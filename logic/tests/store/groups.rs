//! Groups: who may do what, and what becomes of it.

use crate::places::{LARGE_FROM, groups, is_member, members, message, put, users};
use logic::groups::{GroupError, Groups, Role};
use logic::store::{Backend, Members};
use protocol::{ConversationId, UserId};

async fn roles(groups: &mut Groups, group: u64, caller: u64) -> Vec<(u64, Role)> {
    let (members, has_more) = groups.members(group, UserId(caller), None, 1_000).await.unwrap();
    assert!(!has_more);
    members.iter().map(|member| (member.user.0, member.role)).collect()
}

fn is_forbidden<T>(done: Result<T, GroupError>) -> bool {
    matches!(done, Err(GroupError::Forbidden(_)))
}

async fn every_group_has_an_id_of_its_own(backend: &dyn Backend) {
    let (mut one, mut other) = (groups(backend).await, groups(backend).await);
    let mut ids = Vec::new();
    for n in 0..4 {
        let groups = if n % 2 == 0 { &mut one } else { &mut other };
        ids.push(groups.create(UserId(1), "g", &[]).await.unwrap());
    }
    assert_eq!(ids, [1, 2, 3, 4]);
}

async fn whoever_makes_a_group_owns_it_and_nobody_is_in_twice(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(2), "täglich 👋", &users([3, 2, 1, 3])).await.unwrap();
    let expected = [(1, Role::Member), (2, Role::Owner), (3, Role::Member)];
    assert_eq!(roles(&mut groups, group, 3).await, expected);
    let added = groups.add(group, UserId(2), &users([5, 3, 4, 5])).await.unwrap();
    assert_eq!(added, users([4, 5]), "only those who are new");
}

async fn roles_say_who_may_do_what(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(1), "g", &users([2, 3, 4])).await.unwrap();
    let [owner, admin, third, fourth, outside] = [1, 2, 3, 4, 9].map(UserId);
    assert!(is_forbidden(groups.add(group, third, &users([5])).await), "a member adds nobody");
    assert!(is_forbidden(groups.remove(group, third, fourth).await), "and removes nobody");
    assert!(is_forbidden(groups.set_role(group, third, third, Role::Admin).await));
    assert!(is_forbidden(groups.members(group, outside, None, 1).await), "who is outside does not see in");
    assert!(is_forbidden(groups.remove(group, outside, outside).await), "and can't leave");
    groups.set_role(group, owner, admin, Role::Admin).await.unwrap();
    groups.add(group, admin, &users([5])).await.unwrap();
    groups.remove(group, admin, UserId(5)).await.unwrap();
    assert!(is_forbidden(groups.remove(group, admin, owner).await), "nobody removes the owner");
    assert!(is_forbidden(groups.set_role(group, admin, third, Role::Admin).await));
    let passing = groups.set_role(group, owner, owner, Role::Member).await;
    assert!(matches!(passing, Err(GroupError::Invalid(_))));
    let unknown = groups.remove(group, owner, outside).await;
    assert!(matches!(unknown, Err(GroupError::NoSuchMember(user)) if user == outside));
    assert!(matches!(groups.add(77, owner, &[]).await, Err(GroupError::NotFound(77))));
    groups.remove(group, fourth, fourth).await.unwrap();
    let left = [(1, Role::Owner), (2, Role::Admin), (3, Role::Member)];
    assert_eq!(roles(&mut groups, group, 1).await, left, "what was refused has changed nothing");
}

async fn the_owners_place_goes_to_an_admin_else_to_the_longest_standing(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(1), "g", &users([2, 3, 4])).await.unwrap();
    groups.set_role(group, UserId(1), UserId(4), Role::Admin).await.unwrap();
    groups.remove(group, UserId(1), UserId(1)).await.unwrap();
    let after = [(2, Role::Member), (3, Role::Member), (4, Role::Owner)];
    assert_eq!(roles(&mut groups, group, 4).await, after);
    groups.remove(group, UserId(4), UserId(4)).await.unwrap();
    assert_eq!(roles(&mut groups, group, 2).await, [(2, Role::Owner), (3, Role::Member)]);
    groups.remove(group, UserId(3), UserId(3)).await.unwrap();
    groups.remove(group, UserId(2), UserId(2)).await.unwrap();
    assert!(is_forbidden(groups.members(group, UserId(2), None, 1).await), "the group is empty");
}

async fn members_are_listed_in_pages_by_ascending_ids(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let ids = [1, 5, i64::MAX as u64, (i64::MAX as u64) + 1, u64::MAX - 1, u64::MAX];
    let group = groups.create(UserId(1), "g", &users(ids)).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (page, has_more) = groups.members(group, UserId(1), after, 2).await.unwrap();
        seen.extend(page.iter().map(|member| member.user.0));
        after = page.last().map(|member| member.user);
        if !has_more {
            break;
        }
        assert_eq!(page.len(), 2);
    }
    assert_eq!(seen, ids);
    assert_eq!(groups.members(group, UserId(1), after, 2).await.unwrap().0.len(), 0);
}

async fn a_thousand_are_added_at_once_and_a_group_that_was_large_stays_so(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let mut store = backend.open_store().await.unwrap();
    let group = groups.create(UserId(1), "g", &users(2..=1_001)).await.unwrap();
    let id = ConversationId::Group(group);
    put(&mut *store, &[message(&format!("group_{group}"), 1, "a", 1)]).await;
    let first = LARGE_FROM - 1_001;
    let added = groups.add(group, UserId(1), &users(500..1_002 + u64::from(first))).await.unwrap();
    assert_eq!(added.len(), first as usize);
    let listed = members(&mut *store, id).await;
    assert_eq!(listed, Some(Members::Listed(users(1..=u64::from(LARGE_FROM)))), "not one too many yet");
    groups.add(group, UserId(1), &users([u64::MAX])).await.unwrap();
    assert_eq!(members(&mut *store, id).await, Some(Members::Large));
    assert!(is_member(&mut *store, id, u64::MAX).await);
    groups.remove(group, UserId(1), UserId(u64::MAX)).await.unwrap();
    assert_eq!(members(&mut *store, id).await, Some(Members::Large));
    assert!(!is_member(&mut *store, id, u64::MAX).await);
}

async fn a_change_raises_the_version_of_its_partition_and_a_refused_one_does_not(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let mut store = backend.open_store().await.unwrap();
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let partition = usize::from(ConversationId::Group(group).partition(crate::places::PARTITIONS));
    let before = store.partitions().await.unwrap();
    groups.add(group, UserId(2), &users([3])).await.unwrap_err();
    assert_eq!(store.partitions().await.unwrap(), before);
    groups.add(group, UserId(1), &users([3])).await.unwrap();
    let mut expected = before;
    expected[partition].version += 1;
    assert_eq!(store.partitions().await.unwrap(), expected);
}

async fn a_change_that_is_cut_off_is_undone_and_bars_nobody(backend: &dyn Backend) {
    let mut open = backend.open_groups(crate::places::PARTITIONS).await.unwrap();
    let mut change = open.begin().await.unwrap();
    let group = change.make("cut off", UserId(1), protocol::UnixMs(1)).await.unwrap();
    change.fence(group).await.unwrap();
    drop(change);
    let mut store = backend.open_store().await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    let mut same = Groups::new(open, LARGE_FROM);
    assert_eq!(same.create(UserId(1), "g", &[]).await.unwrap(), group, "that id was not given");
}

crate::for_every_store!(
    every_group_has_an_id_of_its_own,
    whoever_makes_a_group_owns_it_and_nobody_is_in_twice,
    roles_say_who_may_do_what,
    the_owners_place_goes_to_an_admin_else_to_the_longest_standing,
    members_are_listed_in_pages_by_ascending_ids,
    a_thousand_are_added_at_once_and_a_group_that_was_large_stays_so,
    a_change_raises_the_version_of_its_partition_and_a_refused_one_does_not,
    a_change_that_is_cut_off_is_undone_and_bars_nobody,
);
