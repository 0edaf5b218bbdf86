//! Lists of conversations and read marks in SQLite.

use super::{Spare, SqliteConfig, begin, classify, end};
use crate::store::rows::{conversation, key};
use crate::store::{Cursor, Listed, Mark, Marks, StoreError};
use async_trait::async_trait;
use protocol::limits::UNREAD_MAX;
use protocol::{ConversationId, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

const LIST: &str = "WITH mine AS (\
    SELECT m.conversation_id AS id, c.name, m.join_seq, m.read_seq, m.joined_at, \
    (SELECT MAX(seq_id) FROM messages x WHERE x.conversation_id = m.conversation_id AND x.seq_id > m.join_seq) AS last_seq \
    FROM conversation_members m LEFT JOIN conversations c ON c.conversation_id = m.conversation_id \
    WHERE m.user_id = ?1 AND m.leave_seq IS NULL), \
    active AS (SELECT mine.*, COALESCE(\
    (SELECT created_at FROM messages x WHERE x.conversation_id = id AND x.seq_id = last_seq), joined_at) AS at FROM mine) \
    SELECT id, name, join_seq, read_seq, last_seq, at, (SELECT p.read_seq FROM conversation_members p \
    WHERE p.conversation_id = id AND name IS NULL AND p.user_id <> ?1) FROM active WHERE (at, id) < (?2, ?3) ORDER BY at DESC, id DESC LIMIT ?4";

pub(super) async fn lines(
    connection: &mut SqliteConnection,
    user: UserId,
    cursor: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<Listed>, sqlx::Error> {
    let (at, id) =
        cursor.map_or((i64::MAX, Vec::new()), |cursor| (cursor.active_ms as i64, key(cursor.conversation)));
    let rows =
        sqlx::query(LIST).bind(user.0 as i64).bind(at).bind(id).bind(limit).fetch_all(connection).await?;
    Ok(rows.iter().filter_map(listed).collect())
}

fn listed(row: &SqliteRow) -> Option<Listed> {
    let conversation = conversation(row.get(0))?;
    Some(Listed {
        conversation,
        name: row.get(1),
        join_seq: row.get::<i64, _>(2) as u64,
        last_seq: row.get::<Option<i64>, _>(4).unwrap_or(0) as u64,
        read_seq: row.get::<i64, _>(3) as u64,
        peer_read_seq: row.get::<Option<i64>, _>(6).map(|seq| seq as u64),
        unread: 0,
        last: None,
        cursor: Cursor { active_ms: row.get::<i64, _>(5) as u64, conversation },
    })
}

pub(super) async fn unread(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
    user: UserId,
    after: u64,
) -> Result<u32, sqlx::Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE conversation_id = ? AND seq_id > ? AND sender_id <> ? LIMIT ?)",
    )
    .bind(key(conversation))
    .bind(after as i64)
    .bind(user.0 as i64)
    .bind(UNREAD_MAX)
    .fetch_one(connection)
    .await?;
    Ok(row.get::<i64, _>(0) as u32)
}

/// Moves read marks.
#[derive(Debug)]
pub struct SqliteMarks(Spare);

impl SqliteMarks {
    /// Opens a store that [`prepare`](super::prepare) has made.
    pub async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        Ok(Self(Spare::open(config).await?))
    }
}

#[async_trait]
impl Marks for SqliteMarks {
    async fn mark_read(&mut self, marks: &[Mark]) -> Result<Vec<Option<u64>>, StoreError> {
        let _turn = self.0.config.turn.wait().await;
        let mut connection = self.0.take().await?;
        begin(&mut connection).await.map_err(classify)?;
        let moved = move_marks(&mut connection, marks).await;
        let moved = end(&mut connection, moved).await;
        self.0.give_back(connection);
        moved
    }
}

async fn move_marks(
    connection: &mut SqliteConnection,
    marks: &[Mark],
) -> Result<Vec<Option<u64>>, sqlx::Error> {
    let mut moved = Vec::with_capacity(marks.len());
    for mark in marks {
        let row = sqlx::query(
            "UPDATE conversation_members SET read_seq = MIN(?1, COALESCE(leave_seq, \
             (SELECT COALESCE(MAX(seq_id), 0) FROM messages WHERE conversation_id = ?2))) \
             WHERE conversation_id = ?2 AND user_id = ?3 AND read_seq < MIN(?1, COALESCE(leave_seq, \
             (SELECT COALESCE(MAX(seq_id), 0) FROM messages WHERE conversation_id = ?2))) RETURNING read_seq",
        )
        .bind(i64::try_from(mark.seq).unwrap_or(i64::MAX))
        .bind(key(mark.conversation))
        .bind(mark.user.0 as i64)
        .fetch_optional(&mut *connection)
        .await?;
        moved.push(row.map(|row| row.get::<i64, _>(0) as u64));
    }
    Ok(moved)
}
