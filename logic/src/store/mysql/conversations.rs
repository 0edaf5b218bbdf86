//! Lists of conversations and read marks in MySQL.

use super::MySqlConfig;
use super::errors::is_lost;
use super::link::{Link, answer, run};
use crate::store::look_up::literal;
use crate::store::rows::{conversation, key};
use crate::store::{Cursor, Listed, Mark, Marks, StoreError};
use async_trait::async_trait;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::UNREAD_MAX;
use protocol::{ConversationId, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row};

const LIST: &str = "WITH mine AS (\
    SELECT m.conversation_id AS id, c.name, m.join_seq, m.read_seq, m.joined_at, \
    (SELECT MAX(x.seq_id) FROM messages x WHERE x.conversation_id = m.conversation_id AND x.seq_id > m.join_seq) AS last_seq \
    FROM conversation_members m LEFT JOIN conversations c ON c.conversation_id = m.conversation_id \
    WHERE m.user_id = ? AND m.leave_seq IS NULL), \
    active AS (SELECT mine.*, COALESCE(\
    (SELECT x.created_at FROM messages x WHERE x.conversation_id = mine.id AND x.seq_id = mine.last_seq), \
    mine.joined_at) AS active_at FROM mine) \
    SELECT id, name, join_seq, read_seq, last_seq, active_at, \
    (SELECT p.read_seq FROM conversation_members p WHERE p.conversation_id = active.id AND active.name IS NULL \
    AND p.user_id <> ? LIMIT 1) \
    FROM active WHERE active_at < ? OR (active_at = ? AND id < ?) ORDER BY active_at DESC, id DESC LIMIT ?";

pub(super) async fn lines(
    connection: &mut MySqlConnection,
    user: UserId,
    cursor: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<Listed>, sqlx::Error> {
    let (at, id) =
        cursor.map_or((u64::MAX, Vec::new()), |cursor| (cursor.active_ms, key(cursor.conversation)));
    let rows = sqlx::query(LIST)
        .bind(user.0)
        .bind(user.0)
        .bind(at)
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().filter_map(listed).collect())
}

fn listed(row: &MySqlRow) -> Option<Listed> {
    let conversation = conversation(row.get(0))?;
    Some(Listed {
        conversation,
        name: row.get(1),
        join_seq: row.get(2),
        last_seq: row.get::<Option<u64>, _>(4).unwrap_or(0),
        read_seq: row.get(3),
        peer_read_seq: row.get(6),
        unread: 0,
        last: None,
        cursor: Cursor { active_ms: row.get(5), conversation },
    })
}

pub(super) async fn unread(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    user: UserId,
    after: u64,
) -> Result<u32, sqlx::Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE conversation_id = ? AND seq_id > ? AND sender_id <> ? LIMIT ?) AS some",
    )
    .bind(key(conversation))
    .bind(after)
    .bind(user.0)
    .bind(UNREAD_MAX)
    .fetch_one(connection)
    .await?;
    Ok(row.get::<i64, _>(0) as u32)
}

/// Moves read marks.
pub(super) struct MySqlMarks {
    link: Link,
}

impl MySqlMarks {
    pub(super) async fn open(config: &MySqlConfig) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open(config).await? })
    }
}

#[async_trait]
impl Marks for MySqlMarks {
    async fn mark_read(&mut self, marks: &[Mark]) -> Result<Vec<Option<u64>>, StoreError> {
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.link.take().await?;
        let mut moved = answer(move_marks(&mut connection, marks)).await;
        if moved.as_ref().is_err_and(|error| !is_lost(error))
            && let Err(error) = answer(connection.execute("ROLLBACK")).await
        {
            moved = moved.and(Err(error));
        }
        self.link.settle(connection, moved)
    }
}

/// Whose mark, and of which conversation.
type Place = (ConversationId, UserId);

/// Where a mark is, and how far it may go.
struct Reach {
    read: u64,
    until: u64,
}

/// One statement reads and locks them all, one moves them.
async fn move_marks(
    connection: &mut MySqlConnection,
    marks: &[Mark],
) -> Result<Vec<Option<u64>>, sqlx::Error> {
    connection.execute("BEGIN").await?;
    let mut places = lock(connection, marks).await?;
    let mut changed: HashMap<Place, u64, RandomState> = HashMap::default();
    let mut step = |mark: &Mark| {
        let place = (mark.conversation, mark.user);
        let reach = places.get_mut(&place)?;
        let to = mark.seq.min(reach.until);
        if to <= reach.read {
            return None;
        }
        reach.read = to;
        changed.insert(place, to);
        Some(to)
    };
    let moved = marks.iter().map(&mut step).collect();
    if !changed.is_empty() {
        let (mut whens, mut all) = (String::new(), Vec::with_capacity(changed.len()));
        for (place, to) in changed {
            whens += &format!(" WHEN {} THEN {to}", is_at(place));
            all.push(is_at(place));
        }
        let sql =
            format!("UPDATE conversation_members SET read_seq = CASE{whens} END WHERE {}", all.join(" OR "));
        run(connection, sql).await?;
    }
    connection.execute("COMMIT").await?;
    Ok(moved)
}

async fn lock(
    connection: &mut MySqlConnection,
    marks: &[Mark],
) -> Result<HashMap<Place, Reach, RandomState>, sqlx::Error> {
    let places: Vec<_> = marks.iter().map(|mark| is_at((mark.conversation, mark.user))).collect();
    let sql = format!(
        "SELECT conversation_id, user_id, read_seq, COALESCE(leave_seq, \
         (SELECT MAX(x.seq_id) FROM messages x WHERE x.conversation_id = conversation_members.conversation_id)) \
         FROM conversation_members WHERE {} FOR UPDATE",
        places.join(" OR ")
    );
    let rows = connection.fetch_all(AssertSqlSafe(sql)).await?;
    let read = |row: &MySqlRow| {
        let reach = Reach { read: row.get(2), until: row.get::<Option<u64>, _>(3).unwrap_or(0) };
        Some(((conversation(row.get(0))?, UserId(row.get(1))), reach))
    };
    Ok(rows.iter().filter_map(read).collect())
}

fn is_at((conversation, user): Place) -> String {
    format!("(conversation_id = {} AND user_id = {user})", literal(&key(conversation)))
}
