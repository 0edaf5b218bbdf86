//! Groups in MySQL.

use super::errors::{classify, is_lost};
use super::link::{Link, answer, run};
use super::{MySqlConfig, last_seq};
use crate::groups::{Member, Role, Standing};
use crate::store::look_up::literal;
use crate::store::rows::key;
use crate::store::{GroupChange, GroupStore, StoreError};
use async_trait::async_trait;
use protocol::limits::MEMBER_BUCKETS;
use protocol::partition::shard_of;
use protocol::{ConversationId, UnixMs, UserId};
use sqlx::mysql::{MySqlArguments, MySqlQueryResult, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, Row};

/// The groups of a store.
pub(super) struct MySqlGroups {
    link: Link,
    partitions: u16,
}

impl MySqlGroups {
    pub(super) async fn open(config: &MySqlConfig, partitions: u16) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open(config).await?, partitions })
    }
}

#[async_trait]
impl GroupStore for MySqlGroups {
    async fn begin(&mut self) -> Result<Box<dyn GroupChange + '_>, StoreError> {
        let mut connection = self.link.take().await?;
        if let Err(error) = answer(connection.execute("BEGIN")).await {
            return self.link.settle(connection, Err(error));
        }
        let partitions = self.partitions;
        Ok(Box::new(Change { connection, partitions, link: &mut self.link, lost: false }))
    }

    async fn standing(&mut self, group: u64, user: UserId) -> Result<Standing, StoreError> {
        let mut connection = self.link.take().await?;
        let found = answer(standing(&mut connection, group, user)).await;
        self.link.settle(connection, found)
    }

    async fn members(
        &mut self,
        group: u64,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError> {
        // From the one after, or from 0: ids are unsigned.
        let Some(from) = after.map_or(Some(0), |user| user.0.checked_add(1)) else { return Ok(Vec::new()) };
        let mut connection = self.link.take().await?;
        let query = sqlx::query(
            "SELECT user_id, role, joined_at FROM conversation_members \
             WHERE conversation_id = ? AND leave_seq IS NULL AND user_id >= ? ORDER BY user_id LIMIT ?",
        );
        let query = query.bind(name(group)).bind(from).bind(limit);
        let found = answer(query.fetch_all(&mut connection)).await;
        let read = |row: &MySqlRow| Member {
            user: UserId(row.get(0)),
            role: Role::parse(row.get(1)),
            joined_at_ms: row.get(2),
        };
        self.link.settle(connection, found.map(|rows| rows.iter().map(read).collect()))
    }
}

async fn standing(
    connection: &mut MySqlConnection,
    group: u64,
    user: UserId,
) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query(
        "SELECT m.role FROM conversations c LEFT JOIN conversation_members m \
         ON m.conversation_id = c.conversation_id AND m.user_id = ? AND m.leave_seq IS NULL WHERE c.conversation_id = ?",
    )
    .bind(user.0)
    .bind(name(group))
    .fetch_optional(connection)
    .await?;
    Ok(match row.map(|row| row.get::<Option<String>, _>(0)) {
        None => Standing::NoGroup,
        Some(None) => Standing::Outside,
        Some(Some(role)) => Standing::Inside(Role::parse(&role)),
    })
}

struct Change<'a> {
    connection: MySqlConnection,
    partitions: u16,
    link: &'a mut Link,
    /// The connection is of no use any more; the server rolls back by itself.
    lost: bool,
}

impl Change<'_> {
    fn judge<T>(&mut self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.lost |= done.as_ref().is_err_and(is_lost);
        done.map_err(classify)
    }

    async fn execute(
        &mut self,
        query: Query<'_, MySql, MySqlArguments>,
    ) -> Result<MySqlQueryResult, StoreError> {
        let done = answer(query.execute(&mut self.connection)).await;
        self.judge(done)
    }
}

#[async_trait]
impl GroupChange for Change<'_> {
    async fn make(&mut self, group_name: &str, owner: UserId, at: UnixMs) -> Result<u64, StoreError> {
        let next = "UPDATE group_ids SET newest = LAST_INSERT_ID(newest + 1) WHERE only_row = 1";
        let group = self.execute(sqlx::query(next)).await?.last_insert_id();
        let query = sqlx::query(
            "INSERT INTO conversations (conversation_id, type, name, owner, created_at) VALUES (?, 'group', ?, ?, ?)",
        );
        self.execute(query.bind(name(group)).bind(group_name).bind(owner.0).bind(at.0)).await?;
        Ok(group)
    }

    async fn fence(&mut self, group: u64) -> Result<u64, StoreError> {
        let conversation = ConversationId::Group(group);
        let query = sqlx::query("UPDATE partitions SET version = version + 1 WHERE `partition` = ?");
        self.execute(query.bind(conversation.partition(self.partitions))).await?;
        let found = answer(last_seq(&mut self.connection, conversation)).await;
        self.judge(found)
    }

    async fn standing(&mut self, group: u64, user: UserId) -> Result<Standing, StoreError> {
        let found = answer(standing(&mut self.connection, group, user)).await;
        self.judge(found)
    }

    async fn members_among(&mut self, group: u64, users: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let users: Vec<_> = users.iter().map(|user| user.0.to_string()).collect();
        let sql = format!(
            "SELECT user_id FROM conversation_members WHERE conversation_id = {} AND leave_seq IS NULL AND user_id IN ({})",
            literal(&name(group)),
            users.join(", ")
        );
        let found = answer(self.connection.fetch_all(AssertSqlSafe(sql))).await;
        let rows = self.judge(found)?;
        Ok(rows.iter().map(|row| UserId(row.get(0))).collect())
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
        let (id, role, at) = (literal(&name(group)), role.as_str(), at.0);
        let row = |user: &UserId| {
            let bucket = shard_of(*user, MEMBER_BUCKETS);
            format!("({id}, {user}, {bucket}, '{role}', {join_seq}, NULL, {join_seq}, {at})")
        };
        let rows: Vec<_> = users.iter().map(row).collect();
        let columns = "(conversation_id, user_id, bucket, role, join_seq, leave_seq, read_seq, joined_at)";
        let sql = format!("REPLACE INTO conversation_members {columns} VALUES {}", rows.join(", "));
        let done = answer(run(&mut self.connection, sql)).await;
        self.judge(done).map(drop)
    }

    async fn leave(&mut self, group: u64, user: UserId, leave_seq: u64) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE conversation_members SET leave_seq = ?, role = 'member' WHERE conversation_id = ? AND user_id = ?",
        );
        self.execute(query.bind(leave_seq).bind(name(group)).bind(user.0)).await.map(drop)
    }

    async fn set_role(&mut self, group: u64, user: UserId, role: Role) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE conversation_members SET role = ? WHERE conversation_id = ? AND user_id = ?");
        self.execute(query.bind(role.as_str()).bind(name(group)).bind(user.0)).await.map(drop)
    }

    async fn heir(&mut self, group: u64) -> Result<Option<UserId>, StoreError> {
        let query = sqlx::query(
            "SELECT user_id FROM conversation_members WHERE conversation_id = ? AND leave_seq IS NULL \
             ORDER BY role = 'admin' DESC, joined_at, user_id LIMIT 1",
        );
        let found = answer(query.bind(name(group)).fetch_optional(&mut self.connection)).await;
        Ok(self.judge(found)?.map(|row| UserId(row.get(0))))
    }

    async fn set_owner(&mut self, group: u64, owner: UserId) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE conversations SET owner = ? WHERE conversation_id = ?");
        self.execute(query.bind(owner.0).bind(name(group))).await.map(drop)
    }

    async fn grow(&mut self, group: u64, large_from: u32) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE conversations SET large = TRUE WHERE conversation_id = ? AND NOT large AND ? < \
             (SELECT COUNT(*) FROM conversation_members m WHERE m.conversation_id = ? AND m.leave_seq IS NULL)",
        );
        self.execute(query.bind(name(group)).bind(large_from).bind(name(group))).await.map(drop)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let committed = answer(self.connection.execute("COMMIT")).await;
        self.link.settle(self.connection, committed.map(drop))
    }

    async fn undo(mut self: Box<Self>) {
        if !self.lost && answer(self.connection.execute("ROLLBACK")).await.is_ok() {
            self.link.give_back(self.connection);
        }
    }
}

/// A group's name in the tables.
fn name(group: u64) -> Vec<u8> {
    key(ConversationId::Group(group))
}
