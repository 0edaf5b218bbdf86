//! Groups and who is in them. Every change of membership goes under the fence: it raises the
//! version of the conversation's partition, so that a persister that has decided by the old
//! membership has to decide again.

use crate::clock;
use crate::store::StoreError;
use crate::store::sqlite::{SqliteStore, begin, classify, key, last_seq, rollback};
use protocol::limits::MEMBER_BUCKETS;
use protocol::{ConversationId, UserId};
use sqlx::{Row, SqliteConnection};
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

    fn parse(text: &str) -> Self {
        match text {
            "owner" => Self::Owner,
            "admin" => Self::Admin,
            _ => Self::Member,
        }
    }
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

impl From<sqlx::Error> for GroupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(classify(error))
    }
}

/// The groups of a store.
#[derive(Debug)]
pub struct Groups {
    store: SqliteStore,
    partitions: u16,
    /// With more members than this a group becomes large, for ever.
    large_from: u32,
}

impl Groups {
    /// Through a connection of its own.
    pub fn new(store: SqliteStore, partitions: u16, large_from: u32) -> Self {
        Self { store, partitions, large_from }
    }

    /// Makes a group of `owner` and `members`; returns its id.
    pub async fn create(&mut self, owner: UserId, name: &str, members: &[UserId]) -> Result<u64, GroupError> {
        let (partitions, _turn) = (self.partitions, self.store.turn.wait().await);
        let connection = &mut self.store.connection;
        begin(connection).await?;
        let mut made = create(connection, owner, name, members, partitions).await;
        if let Ok(group) = made {
            made = grow(connection, group, self.large_from).await.map(|()| group);
        }
        end(connection, made).await
    }

    /// Adds users; who is in already stays as they are, who was in before gets a new window. Returns
    /// those who are new.
    pub async fn add(
        &mut self,
        group: u64,
        caller: UserId,
        users: &[UserId],
    ) -> Result<Vec<UserId>, GroupError> {
        let (partitions, _turn) = (self.partitions, self.store.turn.wait().await);
        let connection = &mut self.store.connection;
        begin(connection).await?;
        let mut added = add(connection, group, caller, users, partitions).await;
        if added.is_ok()
            && let Err(error) = grow(connection, group, self.large_from).await
        {
            added = Err(error);
        }
        end(connection, added).await
    }

    /// Removes a user: by the owner or an admin, or by oneself.
    pub async fn remove(&mut self, group: u64, caller: UserId, user: UserId) -> Result<(), GroupError> {
        let (partitions, _turn) = (self.partitions, self.store.turn.wait().await);
        let connection = &mut self.store.connection;
        begin(connection).await?;
        let removed = remove(connection, group, caller, user, partitions).await;
        end(connection, removed).await
    }

    /// Makes a member an admin, or an admin a member; by the owner.
    pub async fn set_role(
        &mut self,
        group: u64,
        caller: UserId,
        user: UserId,
        role: Role,
    ) -> Result<(), GroupError> {
        let _turn = self.store.turn.wait().await;
        let connection = &mut self.store.connection;
        begin(connection).await?;
        let set = set_role(connection, group, caller, user, role).await;
        end(connection, set).await
    }

    /// Members with a user id above `after`, ascending, up to `limit`, and whether there are more.
    pub async fn members(
        &mut self,
        group: u64,
        caller: UserId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<(Vec<Member>, bool), GroupError> {
        let connection = &mut self.store.connection;
        role_of(connection, group, caller)
            .await?
            .ok_or(GroupError::Forbidden("only members may see who is in"))?;
        let rows = sqlx::query(
            "SELECT user_id, role, joined_at FROM conversation_members \
             WHERE conversation_id = ? AND leave_seq IS NULL AND user_id > ? ORDER BY user_id LIMIT ?",
        )
        .bind(key(ConversationId::Group(group)))
        .bind(after.map_or(i64::MIN, |user| user.0 as i64))
        .bind(limit + 1)
        .fetch_all(connection)
        .await?;
        let mut members: Vec<_> = rows
            .iter()
            .map(|row| Member {
                user: UserId(row.get::<i64, _>(0) as u64),
                role: Role::parse(row.get(1)),
                joined_at_ms: row.get::<i64, _>(2) as u64,
            })
            .collect();
        let has_more = members.len() > limit as usize;
        members.truncate(limit as usize);
        Ok((members, has_more))
    }
}

async fn end<T>(connection: &mut SqliteConnection, done: Result<T, GroupError>) -> Result<T, GroupError> {
    match done {
        Ok(value) => {
            sqlx::query("COMMIT").execute(connection).await?;
            Ok(value)
        }
        Err(error) => {
            rollback(connection).await;
            Err(error)
        }
    }
}

async fn create(
    connection: &mut SqliteConnection,
    owner: UserId,
    name: &str,
    members: &[UserId],
    partitions: u16,
) -> Result<u64, GroupError> {
    // Groups are never deleted, so their number under the write lock is the next free id.
    let row = sqlx::query("SELECT COUNT(*) FROM conversations").fetch_one(&mut *connection).await?;
    let group = row.get::<i64, _>(0) as u64 + 1;
    sqlx::query("INSERT INTO conversations (conversation_id, type, name, owner, created_at) VALUES (?, 'group', ?, ?, ?)")
        .bind(key(ConversationId::Group(group)))
        .bind(name)
        .bind(owner.0 as i64)
        .bind(clock::now().0 as i64)
        .execute(&mut *connection)
        .await?;
    // A persister may keep that there is no such group.
    raise_version(connection, group, partitions).await?;
    put_member(connection, group, owner, Role::Owner, 0).await?;
    for user in members.iter().filter(|user| **user != owner) {
        put_member(connection, group, *user, Role::Member, 0).await?;
    }
    Ok(group)
}

async fn add(
    connection: &mut SqliteConnection,
    group: u64,
    caller: UserId,
    users: &[UserId],
    partitions: u16,
) -> Result<Vec<UserId>, GroupError> {
    let role = role_of(connection, group, caller).await?;
    if !matches!(role, Some(Role::Owner | Role::Admin)) {
        return Err(GroupError::Forbidden("only the owner and admins may add members"));
    }
    let join_seq = raise_version(connection, group, partitions).await?;
    let mut added = Vec::new();
    for user in users {
        if role_of(connection, group, *user).await?.is_none() {
            put_member(connection, group, *user, Role::Member, join_seq).await?;
            added.push(*user);
        }
    }
    Ok(added)
}

/// Makes a group large once it has more members than `large_from`.
async fn grow(connection: &mut SqliteConnection, group: u64, large_from: u32) -> Result<(), GroupError> {
    sqlx::query(
        "UPDATE conversations SET large = 1 WHERE conversation_id = ?1 AND large = 0 AND ?2 < \
         (SELECT COUNT(*) FROM conversation_members WHERE conversation_id = ?1 AND leave_seq IS NULL)",
    )
    .bind(key(ConversationId::Group(group)))
    .bind(large_from)
    .execute(connection)
    .await?;
    Ok(())
}

async fn remove(
    connection: &mut SqliteConnection,
    group: u64,
    caller: UserId,
    user: UserId,
    partitions: u16,
) -> Result<(), GroupError> {
    let caller_role = role_of(connection, group, caller).await?;
    let role = role_of(connection, group, user).await?;
    let may = caller == user
        || match caller_role {
            Some(Role::Owner) => true,
            Some(Role::Admin) => role != Some(Role::Owner),
            Some(Role::Member) | None => false,
        };
    if !may || caller_role.is_none() {
        return Err(GroupError::Forbidden(
            "only the owner and admins may remove others, and nobody the owner",
        ));
    }
    let role = role.ok_or(GroupError::NoSuchMember(user))?;
    let leave_seq = raise_version(connection, group, partitions).await?;
    sqlx::query("UPDATE conversation_members SET leave_seq = ?, role = 'member' WHERE conversation_id = ? AND user_id = ?")
        .bind(leave_seq as i64)
        .bind(key(ConversationId::Group(group)))
        .bind(user.0 as i64)
        .execute(&mut *connection)
        .await?;
    if role == Role::Owner {
        pass_ownership(connection, group).await?;
    }
    Ok(())
}

/// To the longest-standing admin, else member; a group that is empty keeps none.
async fn pass_ownership(connection: &mut SqliteConnection, group: u64) -> Result<(), GroupError> {
    let group = key(ConversationId::Group(group));
    let heir = sqlx::query(
        "SELECT user_id FROM conversation_members WHERE conversation_id = ? AND leave_seq IS NULL \
         ORDER BY role = 'admin' DESC, joined_at, user_id LIMIT 1",
    )
    .bind(&group)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(heir) = heir.map(|row| row.get::<i64, _>(0)) else { return Ok(()) };
    sqlx::query("UPDATE conversation_members SET role = 'owner' WHERE conversation_id = ? AND user_id = ?")
        .bind(&group)
        .bind(heir)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE conversations SET owner = ? WHERE conversation_id = ?")
        .bind(heir)
        .bind(&group)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn set_role(
    connection: &mut SqliteConnection,
    group: u64,
    caller: UserId,
    user: UserId,
    role: Role,
) -> Result<(), GroupError> {
    if role_of(connection, group, caller).await? != Some(Role::Owner) {
        return Err(GroupError::Forbidden("only the owner may change roles"));
    }
    match role_of(connection, group, user).await? {
        None => return Err(GroupError::NoSuchMember(user)),
        Some(Role::Owner) => {
            return Err(GroupError::Invalid("the owner's role passes on only when the owner leaves"));
        }
        Some(_) => {}
    }
    sqlx::query("UPDATE conversation_members SET role = ? WHERE conversation_id = ? AND user_id = ?")
        .bind(role.as_str())
        .bind(key(ConversationId::Group(group)))
        .bind(user.0 as i64)
        .execute(connection)
        .await?;
    Ok(())
}

/// The role of a user whose window is open.
async fn role_of(
    connection: &mut SqliteConnection,
    group: u64,
    user: UserId,
) -> Result<Option<Role>, GroupError> {
    let row = sqlx::query(
        "SELECT m.role FROM conversations c LEFT JOIN conversation_members m \
         ON m.conversation_id = c.conversation_id AND m.user_id = ? AND m.leave_seq IS NULL WHERE c.conversation_id = ?",
    )
    .bind(user.0 as i64)
    .bind(key(ConversationId::Group(group)))
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or(GroupError::NotFound(group))?;
    Ok(row.get::<Option<&str>, _>(0).map(Role::parse))
}

/// Makes persisters decide again, and returns the seq at which the change takes place.
async fn raise_version(
    connection: &mut SqliteConnection,
    group: u64,
    partitions: u16,
) -> Result<u64, GroupError> {
    let conversation = ConversationId::Group(group);
    sqlx::query("UPDATE partitions SET version = version + 1 WHERE partition = ?")
        .bind(conversation.partition(partitions))
        .execute(&mut *connection)
        .await?;
    Ok(last_seq(connection, conversation).await?)
}

async fn put_member(
    connection: &mut SqliteConnection,
    group: u64,
    user: UserId,
    role: Role,
    join_seq: u64,
) -> Result<(), GroupError> {
    sqlx::query(
        "INSERT OR REPLACE INTO conversation_members \
         (conversation_id, user_id, bucket, role, join_seq, leave_seq, read_seq, joined_at) VALUES (?, ?, ?, ?, ?, NULL, ?, ?)",
    )
    .bind(key(ConversationId::Group(group)))
    .bind(user.0 as i64)
    .bind(protocol::partition::shard_of(user, MEMBER_BUCKETS))
    .bind(role.as_str())
    .bind(join_seq as i64)
    .bind(join_seq as i64)
    .bind(clock::now().0 as i64)
    .execute(connection)
    .await?;
    Ok(())
}
