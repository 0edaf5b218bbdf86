//! A batch that is decided while its partitions are locked: it sees what came before, and keeps out what
//! comes meanwhile.

use crate::persister::{record, seqs};
use crate::places::{PARTITIONS, groups, last_seq, members, message, put, users};
use async_trait::async_trait;
use bus::Polled;
use logic::Stats;
use logic::decide::{Decision, Known, WorldRates};
use logic::groups::Groups;
use logic::persist::Persister;
use logic::store::{
    Advance, Backend, Commit, DeadLetter, Members, Membership, NewMessage, Partition, Store, StoreError,
};
use protocol::limits::FENCES_LOST_MAX;
use protocol::record::UpstreamRecord;
use protocol::{ConversationId, ErrorCode, UserId};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

fn partition(group: u64) -> u16 {
    ConversationId::Group(group).partition(PARTITIONS)
}

async fn row(store: &mut dyn Store, partition: u16) -> Partition {
    store.partitions().await.unwrap()[usize::from(partition)]
}

async fn what_is_read_under_the_lock_is_what_was_changed_just_before(backend: &dyn Backend) {
    let (mut groups, mut store) = (groups(backend).await, backend.open_store().await.unwrap());
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let (id, own) = (ConversationId::Group(group), partition(group));
    let before = row(&mut *store, own).await;
    groups.add(group, UserId(1), &users([3])).await.unwrap();
    store.lock(&[own]).await.unwrap();
    let seen = row(&mut *store, own).await;
    assert_eq!(seen, Partition { version: before.version + 1, ..before });
    assert_eq!(members(&mut *store, id).await, Some(Members::Listed(users([1, 2, 3]))));
    let step = [Advance { partition: own, seen, next_offset: 1 }];
    assert_eq!(store.commit(&step, &[message("group_1", 3, "a", 1)], &[]).await.unwrap(), Commit::Done);
    assert_eq!(row(&mut *store, own).await, Partition { next_offset: 1, ..seen });
}

async fn a_change_made_meanwhile_waits_and_begins_behind_the_batch(backend: &dyn Backend) {
    let (mut groups, mut store) = (groups(backend).await, backend.open_store().await.unwrap());
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let (id, own, third) = (ConversationId::Group(group), partition(group), users([3]));
    store.lock(&[own]).await.unwrap();
    let seen = row(&mut *store, own).await;
    let mut change = pin!(groups.add(group, UserId(1), &third));
    // However long it is given, it can't end.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut change).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(members(&mut *store, id).await, Some(Members::Listed(users([1, 2]))));
    let step = [Advance { partition: own, seen, next_offset: 1 }];
    assert_eq!(store.commit(&step, &[message("group_1", 1, "a", 1)], &[]).await.unwrap(), Commit::Done);
    assert_eq!(change.await.unwrap(), third);
    let windows = store.windows(id, 0).await.unwrap();
    let begun = windows.iter().find(|window| window.user == third[0]).map(|window| window.after);
    assert_eq!(begun, Some(1), "{windows:?}");
    assert_eq!(row(&mut *store, own).await, Partition { next_offset: 1, version: seen.version + 1, ..seen });
}

async fn a_lock_that_is_given_up_bars_nobody(backend: &dyn Backend) {
    let (mut groups, mut store) = (groups(backend).await, backend.open_store().await.unwrap());
    let group = groups.create(UserId(1), "g", &[]).await.unwrap();
    store.unlock().await;
    store.lock(&[0, 1]).await.unwrap();
    store.lock(&(0..PARTITIONS).collect::<Vec<_>>()).await.unwrap();
    store.unlock().await;
    groups.add(group, UserId(1), &users([2])).await.unwrap();
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    put(&mut *backend.open_store().await.unwrap(), &[message("world", 1, "b", 2)]).await;
}

async fn a_commit_that_writes_nothing_ends_the_lock_too(backend: &dyn Backend) {
    let (mut store, mut other) = (backend.open_store().await.unwrap(), backend.open_store().await.unwrap());
    put(&mut *store, &[message("world", 1, "a", 1)]).await;
    store.lock(&[0]).await.unwrap();
    let seen = row(&mut *store, 0).await;
    let step = [Advance { partition: 0, seen, next_offset: 2 }];
    let twice = store.commit(&step, &[message("world", 1, "a", 2)], &[]).await.unwrap();
    assert_eq!(twice, Commit::Duplicate);
    put(&mut *other, &[message("world", 1, "b", 2)]).await;
    store.lock(&[0]).await.unwrap();
    assert_eq!(store.commit(&step, &[], &[]).await.unwrap(), Commit::FenceLost, "the lock is no fence");
    put(&mut *other, &[message("world", 1, "c", 3)]).await;
}

/// What others do to a group, each before one commit that has no lock.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add(u64),
    Remove(u64),
}

/// A store in which others always come first, as long as nothing keeps them out.
struct Crowded {
    store: Box<dyn Store>,
    locked: bool,
    groups: Groups,
    group: u64,
    changes: VecDeque<Change>,
    /// Another worker, and what it persists before the lock.
    other: Option<(Persister, Vec<Polled<UpstreamRecord>>)>,
}

impl Crowded {
    /// Over a group that it makes, of user 1 and their guest 2.
    async fn over(backend: &dyn Backend, changes: &[Change]) -> Self {
        let (store, mut groups) = (backend.open_store().await.unwrap(), groups(backend).await);
        let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
        let changes = changes.iter().copied().collect();
        Self { store, locked: false, groups, group, changes, other: None }
    }

    fn name(&self) -> String {
        format!("group_{}", self.group)
    }

    async fn persister(self) -> (Persister, Arc<Stats>) {
        let stats = Arc::new(Stats::new(1));
        let persister = Persister::new(Box::new(self), WorldRates::default(), Arc::clone(&stats));
        (persister.await.unwrap(), stats)
    }

    async fn change(&mut self) {
        let (group, owner) = (self.group, UserId(1));
        match self.changes.pop_front() {
            Some(Change::Add(user)) => drop(self.groups.add(group, owner, &users([user])).await.unwrap()),
            Some(Change::Remove(user)) => self.groups.remove(group, owner, UserId(user)).await.unwrap(),
            None => {}
        }
    }
}

#[async_trait]
impl Store for Crowded {
    fn batch_records_max(&self) -> usize {
        self.store.batch_records_max()
    }

    fn batch_interval(&self) -> Duration {
        self.store.batch_interval()
    }

    async fn lock(&mut self, partitions: &[u16]) -> Result<(), StoreError> {
        if let Some((mut other, batch)) = self.other.take() {
            other.persist(&batch).await.unwrap();
        }
        self.locked = true;
        self.store.lock(partitions).await
    }

    async fn unlock(&mut self) {
        self.locked = false;
        self.store.unlock().await;
    }

    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError> {
        self.store.partitions().await
    }

    async fn last_seqs(&mut self, of: &[ConversationId]) -> Result<Vec<u64>, StoreError> {
        self.store.last_seqs(of).await
    }

    async fn members(&mut self, of: &[ConversationId]) -> Result<Vec<Option<Members>>, StoreError> {
        self.store.members(of).await
    }

    async fn windows(&mut self, of: ConversationId, seq: u64) -> Result<Vec<Membership>, StoreError> {
        self.store.windows(of, seq).await
    }

    async fn are_members(&mut self, of: &[(ConversationId, UserId)]) -> Result<Vec<bool>, StoreError> {
        self.store.are_members(of).await
    }

    async fn find(&mut self, of: ConversationId, by: UserId, id: &str) -> Result<Option<Known>, StoreError> {
        self.store.find(of, by, id).await
    }

    async fn commit(
        &mut self,
        advances: &[Advance],
        messages: &[NewMessage<'_>],
        dead: &[DeadLetter<'_>],
    ) -> Result<Commit, StoreError> {
        if !std::mem::take(&mut self.locked) {
            self.change().await;
        }
        self.store.commit(advances, messages, dead).await
    }
}

/// Far more than a batch may be decided again.
fn without_end() -> Vec<Change> {
    [Change::Add(3), Change::Remove(3)].repeat(25)
}

fn lost_and_locked(stats: &Stats) -> (u64, u64) {
    (stats.fence_lost.get(), stats.batches_locked.get())
}

const LOST: u64 = FENCES_LOST_MAX as u64;

async fn a_batch_is_persisted_though_members_change_without_end(backend: &dyn Backend) {
    let crowded = Crowded::over(backend, &without_end()).await;
    let name = crowded.name();
    let (mut persister, stats) = crowded.persister().await;
    for n in 0..3 {
        let decisions = persister.persist(&[record(&name, 2, &n.to_string(), "x", n)]).await.unwrap();
        assert_eq!(seqs(&decisions), [Some(n + 1)]);
        assert_eq!(lost_and_locked(&stats), ((n + 1) * LOST, n + 1));
    }
}

async fn a_fence_that_is_lost_fewer_times_locks_nothing(backend: &dyn Backend) {
    let crowded = Crowded::over(backend, &without_end()[..FENCES_LOST_MAX as usize - 1]).await;
    let name = crowded.name();
    let (mut persister, stats) = crowded.persister().await;
    let decisions = persister.persist(&[record(&name, 2, "a", "x", 0)]).await.unwrap();
    assert_eq!((seqs(&decisions), lost_and_locked(&stats)), (vec![Some(1)], (LOST - 1, 0)));
}

async fn who_was_removed_before_the_lock_is_refused_under_it(backend: &dyn Backend) {
    let mut changes = [Change::Add(3)].repeat(FENCES_LOST_MAX as usize - 1);
    changes.push(Change::Remove(2));
    let crowded = Crowded::over(backend, &changes).await;
    let name = crowded.name();
    let (mut persister, stats) = crowded.persister().await;
    let both = [record(&name, 2, "a", "x", 0), record(&name, 1, "b", "x", 1)];
    let decisions = persister.persist(&both).await.unwrap();
    assert_eq!(decisions[0], Decision::Refuse(ErrorCode::NotAMember));
    assert_eq!((seqs(&decisions)[1], lost_and_locked(&stats)), (Some(1), (LOST, 1)));
}

async fn what_another_worker_persisted_before_the_lock_is_a_replay(backend: &dyn Backend) {
    let mut crowded = Crowded::over(backend, &without_end()).await;
    let (name, id) = (crowded.name(), ConversationId::Group(crowded.group));
    let (other, _) = crate::persister::persister(backend).await;
    let batch: Vec<_> = (0..3).map(|n| record(&name, 2, &n.to_string(), "x", n)).collect();
    crowded.other = Some((other, batch[..2].to_vec()));
    let (mut persister, stats) = crowded.persister().await;
    let decisions = persister.persist(&batch).await.unwrap();
    assert!(
        matches!(decisions[..], [Decision::Replay(a), Decision::Replay(b), Decision::Insert(c)] if [a.seq, b.seq, c.seq] == [1, 2, 3]),
        "{decisions:?}"
    );
    assert_eq!((lost_and_locked(&stats), stats.replays.get()), ((LOST, 1), 2));
    assert_eq!(last_seq(&mut *backend.open_store().await.unwrap(), id).await, 3);
}

async fn a_repeat_that_shows_under_the_lock_is_answered_with_the_first_ids(backend: &dyn Backend) {
    let crowded = Crowded::over(backend, &without_end()).await;
    let name = crowded.name();
    let (mut first, _) = crate::persister::persister(backend).await;
    first.persist(&[record(&name, 2, "a", "x", 0)]).await.unwrap();
    let (mut persister, stats) = crowded.persister().await;
    let both = [record(&name, 2, "b", "x", 1), record(&name, 2, "a", "x", 2)];
    let decisions = persister.persist(&both).await.unwrap();
    assert_eq!(seqs(&decisions), [Some(2), None]);
    assert!(matches!(decisions[1], Decision::Repeat(known) if known.seq == 1));
    assert_eq!((lost_and_locked(&stats), stats.duplicates_looked_up.get()), ((LOST, 1), 1));
}

async fn batches_and_changes_of_one_group_go_on_side_by_side(backend: &dyn Backend) {
    let mut groups = groups(backend).await;
    let group = groups.create(UserId(1), "g", &users([2])).await.unwrap();
    let (mut persister, stats) = crate::persister::persister(backend).await;
    let change = async {
        for _ in 0..60 {
            groups.add(group, UserId(1), &users([3])).await.unwrap();
            groups.remove(group, UserId(1), UserId(3)).await.unwrap();
        }
    };
    let persist = async {
        for n in 0..40 {
            let batch = [record(&format!("group_{group}"), 2, &n.to_string(), "x", n)];
            assert_eq!(seqs(&persister.persist(&batch).await.unwrap()), [Some(n + 1)]);
        }
    };
    tokio::join!(change, persist);
    let (lost, batches) = (stats.fence_lost.get(), stats.batches.get());
    assert!(batches == 40 && lost <= batches * LOST, "{lost} fences lost");
}

crate::for_every_store!(
    what_is_read_under_the_lock_is_what_was_changed_just_before,
    a_change_made_meanwhile_waits_and_begins_behind_the_batch,
    a_lock_that_is_given_up_bars_nobody,
    a_commit_that_writes_nothing_ends_the_lock_too,
    a_batch_is_persisted_though_members_change_without_end,
    a_fence_that_is_lost_fewer_times_locks_nothing,
    who_was_removed_before_the_lock_is_refused_under_it,
    what_another_worker_persisted_before_the_lock_is_a_replay,
    a_repeat_that_shows_under_the_lock_is_answered_with_the_first_ids,
    batches_and_changes_of_one_group_go_on_side_by_side,
);
