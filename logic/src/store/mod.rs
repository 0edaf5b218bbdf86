//! The tables, as a worker needs them: one contract, kept by SQLite within one process and by
//! MySQL (or MariaDB) beyond.
//!
//! A [`Backend`] is where the store is; it opens what each thread of a worker needs of it.

mod error;
mod look_up;
pub mod mysql;
mod rows;
pub mod sqlite;

pub use error::StoreError;
pub(crate) use rows::entitled;
pub use rows::{
    Advance, Commit, Cursor, DeadLetter, Listed, Mark, Members, Membership, NewMessage, Partition,
    StoredMessage, Window,
};

use crate::decide::Known;
use crate::groups::{Member, Role, Standing};
use async_trait::async_trait;
use protocol::{ConversationId, UnixMs, UserId};
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

/// Where a store is. Whatever it opens is owned by one thread and holds one connection.
#[async_trait(?Send)]
pub trait Backend: Debug + Send + Sync {
    /// Makes the tables at need, brings them up to date, and checks the partitions.
    async fn prepare(&self, partitions: u16) -> Result<(), StoreError>;
    /// For the persister.
    async fn open_store(&self) -> Result<Box<dyn Store>, StoreError>;
    /// For whoever reads.
    async fn open_reader(&self) -> Result<Box<dyn Reader>, StoreError>;
    /// For whoever moves read marks.
    async fn open_marks(&self) -> Result<Box<dyn Marks>, StoreError>;
    /// For the changes of groups, with so many partitions.
    async fn open_groups(&self, partitions: u16) -> Result<Box<dyn GroupStore>, StoreError>;
    /// For a new log, with as many partitions as there are offsets: raises the epoch, and makes each
    /// partition go on at its offset of that log. If their number changes nothing of the old log may
    /// be left to be persisted, since conversations move to other partitions.
    async fn new_epoch(&self, next_offsets: &[u64]) -> Result<(), StoreError>;
}

/// What the persister asks of a store.
#[async_trait]
pub trait Store: Send {
    /// Records that one transaction takes at most.
    fn batch_records_max(&self) -> usize;
    /// How far apart its transactions begin at most, so that more records share one.
    fn batch_interval(&self) -> Duration;
    /// Begins the next transaction early, with the rows of these partitions locked: at least one, and
    /// they ascend. What is read from then on is read within it, as it was when the last of them was
    /// locked or later; nobody else changes them until `commit` or [`unlock`](Self::unlock), and
    /// whatever fails in between has unlocked them.
    async fn lock(&mut self, partitions: &[u16]) -> Result<(), StoreError>;
    /// Ends a transaction that [`lock`](Self::lock) has begun, with nothing done; without one it does
    /// nothing.
    async fn unlock(&mut self);
    /// Every partition, by index.
    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError>;
    /// The seq of each one's newest message; 0 for none.
    async fn last_seqs(&mut self, conversations: &[ConversationId]) -> Result<Vec<u64>, StoreError>;
    /// The members of each group; none if there is no such group.
    async fn members(&mut self, groups: &[ConversationId]) -> Result<Vec<Option<Members>>, StoreError>;
    /// Whether each user's window in the group is open.
    async fn are_members(&mut self, of: &[(ConversationId, UserId)]) -> Result<Vec<bool>, StoreError>;
    /// The windows of a group's members that may reach beyond `seq`.
    async fn windows(&mut self, group: ConversationId, seq: u64) -> Result<Vec<Membership>, StoreError>;
    /// The message stored under that key.
    async fn find(
        &mut self,
        conversation: ConversationId,
        sender: UserId,
        client_msg_id: &str,
    ) -> Result<Option<Known>, StoreError>;
    /// Compare-and-set of every partition, the messages, and the dead letters: all or nothing. It ends
    /// a transaction that [`lock`](Self::lock) has begun, however it ends; else it has one of its own. The
    /// first message of a single conversation enters it in the lists of its two users. `advances`
    /// ascend by partition.
    async fn commit(
        &mut self,
        advances: &[Advance],
        messages: &[NewMessage<'_>],
        dead: &[DeadLetter<'_>],
    ) -> Result<Commit, StoreError>;
}

/// What is read of a store beside the persister: windows of membership, pages of messages, lists.
#[async_trait]
pub trait Reader: Send {
    /// The seq of the newest message; 0 for none.
    async fn last_seq(&mut self, conversation: ConversationId) -> Result<u64, StoreError>;
    /// What `user` may read of a group; window and newest seq belong to the same moment.
    async fn group_window(&mut self, group: ConversationId, user: UserId) -> Result<Window, StoreError>;
    /// The members of a group; none if there is no such group.
    async fn members(&mut self, group: ConversationId) -> Result<Option<Members>, StoreError>;
    /// The windows of members in a range of buckets that may reach beyond `seq`.
    async fn windows(
        &mut self,
        group: ConversationId,
        buckets: Range<u16>,
        seq: u64,
    ) -> Result<Vec<Membership>, StoreError>;
    /// Up to `limit` messages with `after < seq ≤ until`, ascending.
    async fn page(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError>;
    /// Up to `limit` lines of the list of `user`, the latest first, after `cursor`; without what is
    /// unread and the last message.
    async fn lines(
        &mut self,
        user: UserId,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError>;
    /// Messages after a seq that are not of `user`, counted up to
    /// [`UNREAD_MAX`](protocol::limits::UNREAD_MAX).
    async fn unread(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        after: u64,
    ) -> Result<u32, StoreError>;

    /// What `user` may read of `conversation`.
    async fn window(&mut self, conversation: ConversationId, user: UserId) -> Result<Window, StoreError> {
        match conversation {
            ConversationId::Single(a, b) if user != a && user != b => return Ok(Window::NotAMember),
            ConversationId::Group(_) => return self.group_window(conversation, user).await,
            ConversationId::Single(..) | ConversationId::World => {}
        }
        Ok(Window::Open { after: 0, until: self.last_seq(conversation).await? })
    }

    /// Up to `limit` conversations that `user` is in, the latest first, after `cursor`, and whether
    /// there are more.
    async fn conversations(
        &mut self,
        user: UserId,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        let mut list = self.lines(user, cursor, limit + 1).await?;
        let has_more = list.len() > limit as usize;
        list.truncate(limit as usize);
        for line in &mut list {
            line.unread = self.unread(line.conversation, user, line.read_seq.max(line.join_seq)).await?;
            if line.last_seq > 0 {
                let last = self.page(line.conversation, line.last_seq - 1, line.last_seq, 1).await?;
                line.last = last.into_iter().next();
            }
        }
        Ok((list, has_more))
    }
}

/// Read marks.
#[async_trait]
pub trait Marks: Send {
    /// Moves read marks forward, in one transaction; of each, the seq it moved to, or none where it
    /// stayed. A mark never goes beyond what its user may see.
    async fn mark_read(&mut self, marks: &[Mark]) -> Result<Vec<Option<u64>>, StoreError>;
}

/// Groups and their members. The rules are in [`groups`](crate::groups); here is what they stand on.
#[async_trait]
pub trait GroupStore: Send {
    /// Begins a change; one that is dropped without an end is undone.
    async fn begin(&mut self) -> Result<Box<dyn GroupChange + '_>, StoreError>;
    /// What a user is in a group.
    async fn standing(&mut self, group: u64, user: UserId) -> Result<Standing, StoreError>;
    /// Members with a user id above `after`, ascending, up to `limit`.
    async fn members(
        &mut self,
        group: u64,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError>;
}

/// One transaction of [`GroupStore`].
#[async_trait]
pub trait GroupChange: Send {
    /// Makes a group without members; returns its id, which no other ever has.
    async fn make(&mut self, name: &str, owner: UserId, at: UnixMs) -> Result<u64, StoreError>;
    /// Makes persisters decide again, keeps other changes out until this one has ended, and returns
    /// the seq at which it takes place.
    async fn fence(&mut self, group: u64) -> Result<u64, StoreError>;
    /// What a user is in a group.
    async fn standing(&mut self, group: u64, user: UserId) -> Result<Standing, StoreError>;
    /// Those of `users` whose window is open.
    async fn members_among(&mut self, group: u64, users: &[UserId]) -> Result<Vec<UserId>, StoreError>;
    /// Opens windows after `join_seq`; who was in before gets a new one.
    async fn enter(
        &mut self,
        group: u64,
        users: &[UserId],
        role: Role,
        join_seq: u64,
        at: UnixMs,
    ) -> Result<(), StoreError>;
    /// Closes a window after `leave_seq`.
    async fn leave(&mut self, group: u64, user: UserId, leave_seq: u64) -> Result<(), StoreError>;
    /// Gives a member a role.
    async fn set_role(&mut self, group: u64, user: UserId, role: Role) -> Result<(), StoreError>;
    /// The longest-standing admin, else member.
    async fn heir(&mut self, group: u64) -> Result<Option<UserId>, StoreError>;
    /// Enters the owner with the group.
    async fn set_owner(&mut self, group: u64, owner: UserId) -> Result<(), StoreError>;
    /// Makes the group large, for ever, if it has more members than that.
    async fn grow(&mut self, group: u64, large_from: u32) -> Result<(), StoreError>;
    /// Ends with everything done.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
    /// Ends with nothing done.
    async fn undo(self: Box<Self>);
}

/// The partitions of the next epoch. It is above that of every partition there was, also of those that
/// go: a number that comes back later must not give a message id twice.
fn of_next_epoch(before: &[Partition], next_offsets: &[u64]) -> Result<Vec<Partition>, StoreError> {
    let last = before.iter().map(|partition| partition.epoch).max().unwrap_or(0);
    let epoch = last.checked_add(1).ok_or(StoreError::LastEpoch)?;
    let versions = before.iter().map(|partition| partition.version).chain(std::iter::repeat(0));
    let rows = next_offsets.iter().zip(versions);
    Ok(rows.map(|(next_offset, version)| Partition { epoch, next_offset: *next_offset, version }).collect())
}
