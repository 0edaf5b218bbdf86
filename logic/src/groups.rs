//! Groups and who is in them: the rules, whatever the store. Every change goes under the fence: it
//! raises the version of the conversation's partition, so that a persister that has decided by the
//! old membership has to decide again; and it keeps other changes out from its first look to its end.

use crate::clock;
use crate::store::{GroupChange, GroupStore, StoreError};
use protocol::UserId;
use thiserror::Error;

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything; there is one.
    Owner,
    /// Add and remove members.
    Admin,
    /// Read and write.
    Member,
}

impl Role {
    /// As in the tables and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "owner" => Self::Owner,
            "admin" => Self::Admin,
            _ => Self::Member,
        }
    }
}

/// What a user is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no such group.
    NoGroup,
    /// Their window is not open.
    Outside,
    /// Their window is open.
    Inside(Role),
}

/// A member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Since when, milliseconds since 1970.
    pub joined_at_ms: u64,
}

/// Why a group was not changed.
#[derive(Debug, Error)]
pub enum GroupError {
    /// There is none of that id.
    #[error("there is no group {0}")]
    NotFound(u64),
    /// The caller is no member, or none who may do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The user concerned is no member.
    #[error("user {0} is not a member of the group")]
    NoSuchMember(UserId),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The groups of a store.
pub struct Groups {
    store: Box<dyn GroupStore>,
    /// With more members than this a group becomes large, for ever.
    large_from: u32,
}

impl Groups {
    /// Of `store`; a group with more than `large_from` members becomes large.
    pub fn new(store: Box<dyn GroupStore>, large_from: u32) -> Self {
        Self { store, large_from }
    }

    /// Makes a group of `owner` and `members`; returns its id.
    pub async fn create(&mut self, owner: UserId, name: &str, members: &[UserId]) -> Result<u64, GroupError> {
        let mut change = self.store.begin().await?;
        let made = create(&mut *change, owner, name, members, self.large_from).await;
        end(change, made).await
    }

    /// Adds users; who is in already stays as they are, who was in before gets a new window. Returns
    /// those who are new, ascending.
    pub async fn add(
        &mut self,
        group: u64,
        caller: UserId,
        users: &[UserId],
    ) -> Result<Vec<UserId>, GroupError> {
        let mut change = self.store.begin().await?;
        let added = add(&mut *change, group, caller, users, self.large_from).await;
        end(change, added).await
    }

    /// Removes a user: by the owner or an admin, or by oneself.
    pub async fn remove(&mut self, group: u64, caller: UserId, user: UserId) -> Result<(), GroupError> {
        let mut change = self.store.begin().await?;
        let removed = remove(&mut *change, group, caller, user).await;
        end(change, removed).await
    }

    /// Makes a member an admin, or an admin a member; by the owner.
    pub async fn set_role(
        &mut self,
        group: u64,
        caller: UserId,
        user: UserId,
        role: Role,
    ) -> Result<(), GroupError> {
        let mut change = self.store.begin().await?;
        let set = set_role(&mut *change, group, caller, user, role).await;
        end(change, set).await
    }

    /// Members with a user id above `after`, ascending, up to `limit`, and whether there are more.
    pub async fn members(
        &mut self,
        group: u64,
        caller: UserId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<(Vec<Member>, bool), GroupError> {
        role(self.store.standing(group, caller).await?, group)?
            .ok_or(GroupError::Forbidden("only members may see who is in"))?;
        let mut members = self.store.members(group, after, limit + 1).await?;
        let has_more = members.len() > limit as usize;
        members.truncate(limit as usize);
        Ok((members, has_more))
    }
}

async fn end<T>(change: Box<dyn GroupChange + '_>, done: Result<T, GroupError>) -> Result<T, GroupError> {
    match done {
        Ok(value) => {
            change.commit().await?;
            Ok(value)
        }
        Err(error) => {
            change.undo().await;
            Err(error)
        }
    }
}

async fn create(
    change: &mut dyn GroupChange,
    owner: UserId,
    name: &str,
    members: &[UserId],
    large_from: u32,
) -> Result<u64, GroupError> {
    let at = clock::now();
    let group = change.make(name, owner, at).await?;
    // A persister may keep that there is no such group.
    let join_seq = change.fence(group).await?;
    change.enter(group, &[owner], Role::Owner, join_seq, at).await?;
    let mut others = distinct(members);
    others.retain(|user| *user != owner);
    change.enter(group, &others, Role::Member, join_seq, at).await?;
    change.grow(group, large_from).await?;
    Ok(group)
}

async fn add(
    change: &mut dyn GroupChange,
    group: u64,
    caller: UserId,
    users: &[UserId],
    large_from: u32,
) -> Result<Vec<UserId>, GroupError> {
    let join_seq = change.fence(group).await?;
    let caller = role(change.standing(group, caller).await?, group)?;
    if !matches!(caller, Some(Role::Owner | Role::Admin)) {
        return Err(GroupError::Forbidden("only the owner and admins may add members"));
    }
    let mut added = distinct(users);
    let mut inside = change.members_among(group, &added).await?;
    inside.sort_unstable();
    added.retain(|user| inside.binary_search(user).is_err());
    change.enter(group, &added, Role::Member, join_seq, clock::now()).await?;
    change.grow(group, large_from).await?;
    Ok(added)
}

async fn remove(
    change: &mut dyn GroupChange,
    group: u64,
    caller: UserId,
    user: UserId,
) -> Result<(), GroupError> {
    let leave_seq = change.fence(group).await?;
    let caller_role = role(change.standing(group, caller).await?, group)?;
    let user_role = role(change.standing(group, user).await?, group)?;
    if !may_remove(caller_role, user_role, caller == user) {
        return Err(GroupError::Forbidden(
            "only the owner and admins may remove others, and nobody the owner",
        ));
    }
    let user_role = user_role.ok_or(GroupError::NoSuchMember(user))?;
    change.leave(group, user, leave_seq).await?;
    // A group that is empty keeps no owner.
    if user_role == Role::Owner
        && let Some(heir) = change.heir(group).await?
    {
        change.set_role(group, heir, Role::Owner).await?;
        change.set_owner(group, heir).await?;
    }
    Ok(())
}

async fn set_role(
    change: &mut dyn GroupChange,
    group: u64,
    caller: UserId,
    user: UserId,
    to: Role,
) -> Result<(), GroupError> {
    change.fence(group).await?;
    if role(change.standing(group, caller).await?, group)? != Some(Role::Owner) {
        return Err(GroupError::Forbidden("only the owner may change roles"));
    }
    match role(change.standing(group, user).await?, group)? {
        None => Err(GroupError::NoSuchMember(user)),
        Some(Role::Owner) => {
            Err(GroupError::Invalid("the owner's role passes on only when the owner leaves"))
        }
        Some(Role::Admin | Role::Member) => Ok(change.set_role(group, user, to).await?),
    }
}

/// The role of a user whose window is open, if there is such a group.
fn role(standing: Standing, group: u64) -> Result<Option<Role>, GroupError> {
    match standing {
        Standing::NoGroup => Err(GroupError::NotFound(group)),
        Standing::Outside => Ok(None),
        Standing::Inside(role) => Ok(Some(role)),
    }
}

/// Who may remove whom.
fn may_remove(caller: Option<Role>, user: Option<Role>, oneself: bool) -> bool {
    match caller {
        None => false,
        Some(_) if oneself => true,
        Some(Role::Owner) => true,
        Some(Role::Admin) => user != Some(Role::Owner),
        Some(Role::Member) => false,
    }
}

fn distinct(users: &[UserId]) -> Vec<UserId> {
    let mut users = users.to_vec();
    users.sort_unstable();
    users.dedup();
    users
}
