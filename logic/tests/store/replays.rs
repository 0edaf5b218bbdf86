//! What was persisted and perhaps not distributed comes again.

use crate::persister::record;
use crate::places::{Database, PARTITIONS, groups, runtime, users};
use crate::thread::Thread;
use logic::decide::Decision;
use logic::distribute::Audience;
use logic::store::{Backend, Membership};
use protocol::{ConversationId, UserId};

/// Those whose window holds `seq`, ascending.
fn within(windows: &[Membership], seq: u64) -> Vec<UserId> {
    let within = windows.iter().filter(|member| member.after < seq && seq <= member.until);
    let mut users: Vec<_> = within.map(|member| member.user).collect();
    users.sort_unstable();
    users
}

#[test]
fn a_replay_is_for_those_who_were_members_when_it_was_persisted() {
    let database = Database::make();
    let backend = database.backend();
    runtime().block_on(async {
        backend.prepare(PARTITIONS).await.unwrap();
        let mut groups = groups(&backend).await;
        let group = groups.create(UserId(1), "g", &users([2, 3])).await.unwrap();
        let (id, name) = (ConversationId::Group(group), format!("group_{group}"));
        let died = Thread::start(backend.clone(), false);
        let first = died.take(vec![record(&name, 1, "a", "x", 0)], vec![]);
        assert!(matches!(&first.groups[&id], Audience::Members(members) if **members == users([1, 2, 3])));

        groups.remove(group, UserId(1), UserId(3)).await.unwrap();
        groups.add(group, UserId(1), &users([4])).await.unwrap();
        let successor = Thread::start(backend.clone(), false);
        let again = successor.take(vec![record(&name, 1, "a", "x", 0), record(&name, 1, "b", "x", 1)], vec![]);
        assert!(
            matches!(again.decisions[..], [Decision::Replay(a), Decision::Insert(b)] if (a.seq, b.seq) == (1, 2)),
            "{:?}",
            again.decisions
        );
        let Audience::Windows(windows) = &again.groups[&id] else { panic!("{:?}", again.groups) };
        assert_eq!(within(windows, 1), users([1, 2, 3]));
        assert_eq!(within(windows, 2), users([1, 2, 4]));

        let after = successor.take(vec![record(&name, 1, "c", "x", 2)], vec![]);
        assert!(matches!(&after.groups[&id], Audience::Members(members) if **members == users([1, 2, 4])));
    });
}
