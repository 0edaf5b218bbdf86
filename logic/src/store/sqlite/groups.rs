//! Groups in SQLite.

use super::{Spare, SqliteConfig, begin, classify, end, last_seq, rollback};
use crate::groups::{Member, Role, Standing};
use crate::store::rows::key;
use crate::store::{GroupChange, GroupStore, StoreError};
use async_trait::async_trait;
use protocol::limits::MEMBER_BUCKETS;
use protocol::partition::shard_of;
use protocol::{ConversationId, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use tokio::sync::OwnedMutexGuard;

/// The groups of a store.
#[derive(Debug)]
pub struct SqliteGroups {
    spare: Spare,
    partitions: u16,
}

impl SqliteGroups {
    /// Opens a store that [`prepare`](super::prepare) has made.
    pub async fn open(config: &SqliteConfig, partitions: u16) -> Result<Self, StoreError> {
        Ok(Self { spare: Spare::open(config).await?, partitions })
    }
}

#[async_trait]
impl GroupStore for SqliteGroups {
    async fn begin(&mut self) -> Result<Box<dyn GroupChange + '_>, StoreError> {
        let turn = self.spare.config.turn.wait().await;
        let mut connection = self.spare.take().await?;
        begin(&mut connection).await.map_err(classify)?;
        Ok(Box::new(Change { connection, partitions: self.partitions, spare: &mut self.spare, _turn: turn }))
    }

    async fn standing(&mut self, group: u64, user: UserId) -> Result<Standing, StoreError> {
        let mut connection = self.spare.take().await?;
        let found = standing(&mut connection, group, user).await;
        self.spare.give_back(connection);
        found.map_err(classify)
    }

    async fn members(
        &mut self,
        group: u64,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError> {
        let mut connection = self.spare.take().await?;
        let found = page(&mut connection, group, after, limit).await;
        self.spare.give_back(connection);
        found.map_err(classify)
    }
}

async fn standing(
    connection: &mut SqliteConnection,
    group: u64,
    user: UserId,
) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query(
        "SELECT m.role FROM conversations c LEFT JOIN conversation_members m \
         ON m.conversation_id = c.conversation_id AND m.user_id = ? AND m.leave_seq IS NULL WHERE c.conversation_id = ?",
    )
    .bind(user.0 as i64)
    .bind(name(group))
    .fetch_optional(connection)
    .await?;
    Ok(match row.map(|row| row.get::<Option<String>, _>(0)) {
        None => Standing::NoGroup,
        Some(None) => Standing::Outside,
        Some(Some(role)) => Standing::Inside(Role::parse(&role)),
    })
}

/// Ids are u64 in the bits of signed integers: those with the highest bit come last, by a range of
/// their own.
async fn page(
    connection: &mut SqliteConnection,
    group: u64,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Member>, sqlx::Error> {
    const HIGH: u64 = 1 << 63;
    let Some(from) = after.map_or(Some(0), |user| user.0.checked_add(1)) else { return Ok(Vec::new()) };
    let mut members: Vec<Member> = Vec::new();
    for (first, last) in [(from, HIGH - 1), (from.max(HIGH), u64::MAX)] {
        if first > last {
            continue;
        }
        let rows = sqlx::query(
            "SELECT user_id, role, joined_at FROM conversation_members \
             WHERE conversation_id = ? AND leave_seq IS NULL AND user_id BETWEEN ? AND ? ORDER BY user_id LIMIT ?",
        )
        .bind(name(group))
        .bind(first as i64)
        .bind(last as i64)
        .bind(limit - members.len() as u32)
        .fetch_all(&mut *connection)
        .await?;
        members.extend(rows.iter().map(|row| Member {
            user: UserId(row.get::<i64, _>(0) as u64),
            role: Role::parse(row.get(1)),
            joined_at_ms: row.get::<i64, _>(2) as u64,
        }));
    }
    Ok(members)
}

struct Change<'a> {
    connection: SqliteConnection,
    partitions: u16,
    spare: &'a mut Spare,
    _turn: OwnedMutexGuard<()>,
}

#[async_trait]
impl GroupChange for Change<'_> {
    async fn make(&mut self, group_name: &str, owner: UserId, at: UnixMs) -> Result<u64, StoreError> {
        // Groups are never deleted, so their number under the write lock is the next free id.
        let count = sqlx::query("SELECT COUNT(*) FROM conversations").fetch_one(&mut self.connection).await;
        let group = count.map_err(classify)?.get::<i64, _>(0) as u64 + 1;
        sqlx::query("INSERT INTO conversations (conversation_id, type, name, owner, created_at) VALUES (?, 'group', ?, ?, ?)")
            .bind(name(group))
            .bind(group_name)
            .bind(owner.0 as i64)
            .bind(at.0 as i64)
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
        Ok(group)
    }

    async fn fence(&mut self, group: u64) -> Result<u64, StoreError> {
        let conversation = ConversationId::Group(group);
        sqlx::query("UPDATE partitions SET version = version + 1 WHERE partition = ?")
            .bind(conversation.partition(self.partitions))
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
        last_seq(&mut self.connection, conversation).await.map_err(classify)
    }

    async fn standing(&mut self, group: u64, user: UserId) -> Result<Standing, StoreError> {
        standing(&mut self.connection, group, user).await.map_err(classify)
    }

    async fn members_among(&mut self, group: u64, users: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let users: Vec<_> = users.iter().map(|user| (user.0 as i64).to_string()).collect();
        // Numbers only, so nothing in them is SQL.
        let sql = format!(
            "SELECT user_id FROM conversation_members WHERE conversation_id = ? AND leave_seq IS NULL AND user_id IN ({})",
            users.join(", ")
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .bind(name(group))
            .fetch_all(&mut self.connection)
            .await
            .map_err(classify)?;
        Ok(rows.iter().map(|row| UserId(row.get::<i64, _>(0) as u64)).collect())
    }

    async fn enter(
        &mut self,
        group: u64,
        users: &[UserId],
        role: Role,
        join_seq: u64,
        at: UnixMs,
    ) -> Result<(), StoreError> {
        if users.is_empty() {
            return Ok(());
        }
        let row = |user: &UserId| {
            let bucket = shard_of(*user, MEMBER_BUCKETS);
            format!("(?1, {}, {bucket}, ?2, ?3, NULL, ?3, ?4)", user.0 as i64)
        };
        let rows: Vec<_> = users.iter().map(row).collect();
        let sql = format!(
            "INSERT OR REPLACE INTO conversation_members \
             (conversation_id, user_id, bucket, role, join_seq, leave_seq, read_seq, joined_at) VALUES {}",
            rows.join(", ")
        );
        sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .bind(name(group))
            .bind(role.as_str())
            .bind(join_seq as i64)
            .bind(at.0 as i64)
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
        Ok(())
    }

    async fn leave(&mut self, group: u64, user: UserId, leave_seq: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE conversation_members SET leave_seq = ?, role = 'member' WHERE conversation_id = ? AND user_id = ?")
            .bind(leave_seq as i64)
            .bind(name(group))
            .bind(user.0 as i64)
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
        Ok(())
    }

    async fn set_role(&mut self, group: u64, user: UserId, role: Role) -> Result<(), StoreError> {
        sqlx::query("UPDATE conversation_members SET role = ? WHERE conversation_id = ? AND user_id = ?")
            .bind(role.as_str())
            .bind(name(group))
            .bind(user.0 as i64)
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
        Ok(())
    }

    async fn heir(&mut self, group: u64) -> Result<Option<UserId>, StoreError> {
        let heir = sqlx::query(
            "SELECT user_id FROM conversation_members WHERE conversation_id = ? AND leave_seq IS NULL \
             ORDER BY role = 'admin' DESC, joined_at, user_id LIMIT 1",
        )
        .bind(name(group))
        .fetch_optional(&mut self.connection)
        .await
        .map_err(classify)?;
        Ok(heir.map(|row| UserId(row.get::<i64, _>(0) as u64)))
    }

    async fn set_owner(&mut self, group: u64, owner: UserId) -> Result<(), StoreError> {
        sqlx::query("UPDATE conversations SET owner = ? WHERE conversation_id = ?")
            .bind(owner.0 as i64)
            .bind(name(group))
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
        Ok(())
    }

    async fn grow(&mut self, group: u64, large_from: u32) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE conversations SET large = 1 WHERE conversation_id = ?1 AND large = 0 AND ?2 < \
             (SELECT COUNT(*) FROM conversation_members WHERE conversation_id = ?1 AND leave_seq IS NULL)",
        )
        .bind(name(group))
        .bind(large_from)
        .execute(&mut self.connection)
        .await
        .map_err(classify)?;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let committed = end(&mut self.connection, Ok(())).await;
        self.spare.give_back(self.connection);
        committed
    }

    async fn undo(mut self: Box<Self>) {
        rollback(&mut self.connection).await;
        self.spare.give_back(self.connection);
    }
}

/// A group's name in the tables.
fn name(group: u64) -> Vec<u8> {
    key(ConversationId::Group(group))
}
