//! A user's conversations: the list with what is unread, and the read marks.

use super::read::Reader;
use super::sqlite::{SqliteStore, begin, classify, key, rollback};
use super::{StoreError, StoredMessage};
use protocol::limits::UNREAD_MAX;
use protocol::{ConversationId, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// One line of a user's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which conversation.
    pub conversation: ConversationId,
    /// A group's name.
    pub name: Option<String>,
    /// The newest seq that the user may see; 0 for none.
    pub last_seq: u64,
    /// Up to where they have read.
    pub read_seq: u64,
    /// Up to where the peer of a single conversation has read.
    pub peer_read_seq: Option<u64>,
    /// Messages of others after that, up to [`UNREAD_MAX`].
    pub unread: u32,
    /// The newest message that they may see.
    pub last: Option<StoredMessage>,
    /// Where the next page goes on.
    pub cursor: Cursor,
}

/// A place in the list, which is ordered by the latest activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When something happened last, milliseconds since 1970.
    pub active_ms: u64,
    /// In which conversation.
    pub conversation: ConversationId,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.active_ms, self.conversation)
    }
}

impl Cursor {
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let (active_ms, conversation) = text.split_once('.')?;
        let conversation = ConversationId::parse(conversation).ok()?;
        Some(Self { active_ms: active_ms.parse().ok()?, conversation })
    }
}

const LIST: &str = "WITH mine AS (\
    SELECT m.conversation_id AS id, c.name, m.join_seq, m.read_seq, m.joined_at, \
    (SELECT MAX(seq_id) FROM messages x WHERE x.conversation_id = m.conversation_id AND x.seq_id > m.join_seq) AS last_seq \
    FROM conversation_members m LEFT JOIN conversations c ON c.conversation_id = m.conversation_id \
    WHERE m.user_id = ?1 AND m.leave_seq IS NULL), \
    active AS (SELECT mine.*, COALESCE(\
    (SELECT created_at FROM messages x WHERE x.conversation_id = id AND x.seq_id = last_seq), joined_at) AS at FROM mine) \
    SELECT id, name, join_seq, read_seq, last_seq, at, (SELECT p.read_seq FROM conversation_members p \
    WHERE p.conversation_id = id AND name IS NULL AND p.user_id <> ?1) FROM active WHERE (at, id) < (?2, ?3) ORDER BY at DESC, id DESC LIMIT ?4";

impl Reader {
    /// Up to `limit` conversations that `user` is in, the latest first, after `cursor`, and whether
    /// there are more.
    pub async fn conversations(
        &mut self,
        user: UserId,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        let (at, id) = cursor
            .map_or((i64::MAX, Vec::new()), |cursor| (cursor.active_ms as i64, key(cursor.conversation)));
        let rows = sqlx::query(LIST)
            .bind(user.0 as i64)
            .bind(at)
            .bind(id)
            .bind(limit + 1)
            .fetch_all(&mut self.connection)
            .await
            .map_err(classify)?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows.iter().take(limit as usize) {
            let Some(mut listed) = listed(row) else { continue };
            let join_seq = row.get::<i64, _>(2) as u64;
            listed.unread = self.unread(listed.conversation, user, listed.read_seq.max(join_seq)).await?;
            if listed.last_seq > 0 {
                let last = self.page(listed.conversation, listed.last_seq - 1, listed.last_seq, 1).await?;
                listed.last = last.into_iter().next();
            }
            list.push(listed);
        }
        Ok((list, rows.len() > limit as usize))
    }

    async fn unread(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        after: u64,
    ) -> Result<u32, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE conversation_id = ? AND seq_id > ? AND sender_id <> ? LIMIT ?)",
        )
        .bind(key(conversation))
        .bind(after as i64)
        .bind(user.0 as i64)
        .bind(UNREAD_MAX)
        .fetch_one(&mut self.connection)
        .await
        .map_err(classify)?;
        Ok(row.get::<i64, _>(0) as u32)
    }
}

fn listed(row: &SqliteRow) -> Option<Listed> {
    let conversation = ConversationId::parse(std::str::from_utf8(row.get(0)).ok()?).ok()?;
    Some(Listed {
        conversation,
        name: row.get(1),
        last_seq: row.get::<Option<i64>, _>(4).unwrap_or(0) as u64,
        read_seq: row.get::<i64, _>(3) as u64,
        peer_read_seq: row.get::<Option<i64>, _>(6).map(|seq| seq as u64),
        unread: 0,
        last: None,
        cursor: Cursor { active_ms: row.get::<i64, _>(5) as u64, conversation },
    })
}

/// A user has read a conversation up to a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Up to this one.
    pub seq: u64,
}

impl SqliteStore {
    /// Moves read marks forward, in one transaction; of each, the seq it moved to, or none where it
    /// stayed. A mark never goes beyond what its user may see.
    pub async fn mark_read(&mut self, marks: &[Mark]) -> Result<Vec<Option<u64>>, StoreError> {
        let _turn = self.turn.wait().await;
        begin(&mut self.connection).await.map_err(classify)?;
        let moved = move_marks(&mut self.connection, marks).await;
        let committed = match moved {
            Ok(moved) => sqlx::query("COMMIT").execute(&mut self.connection).await.map(|_| moved),
            Err(error) => Err(error),
        };
        if committed.is_err() {
            rollback(&mut self.connection).await;
        }
        committed.map_err(classify)
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
