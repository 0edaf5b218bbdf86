//! What the persister asks SQLite for, many at a time: each statement is a way to its thread and back.

use crate::store::rows::conversation;
use crate::store::{Members, look_up};
use protocol::limits::LOOK_UPS_PER_STATEMENT;
use protocol::{ConversationId, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

pub(super) async fn last_seqs(
    connection: &mut SqliteConnection,
    conversations: &[ConversationId],
) -> Result<Vec<u64>, sqlx::Error> {
    let mut all = Vec::with_capacity(conversations.len());
    for some in conversations.chunks(LOOK_UPS_PER_STATEMENT) {
        let row = connection.fetch_one(AssertSqlSafe(look_up::last_seqs(some))).await?;
        all.extend((0..some.len()).map(|at| row.get::<Option<i64>, _>(at).unwrap_or(0) as u64));
    }
    Ok(all)
}

pub(super) async fn members(
    connection: &mut SqliteConnection,
    groups: &[ConversationId],
) -> Result<Vec<Option<Members>>, sqlx::Error> {
    let mut all = Vec::with_capacity(groups.len());
    for some in groups.chunks(LOOK_UPS_PER_STATEMENT) {
        let rows = connection.fetch_all(AssertSqlSafe(look_up::groups(some))).await?;
        let found: Vec<_> =
            rows.iter().filter_map(|row| Some((conversation(row.get(0))?, row.get(1)))).collect();
        let listed: Vec<_> = found.iter().filter(|(_, large)| !large).map(|(group, _)| *group).collect();
        let open = match &listed[..] {
            [] => vec![],
            listed => pairs(&connection.fetch_all(AssertSqlSafe(look_up::members(listed))).await?),
        };
        all.extend(look_up::assemble(some, &found, &open));
    }
    Ok(all)
}

pub(super) async fn are_members(
    connection: &mut SqliteConnection,
    of: &[(ConversationId, UserId)],
) -> Result<Vec<bool>, sqlx::Error> {
    let mut all = Vec::with_capacity(of.len());
    for some in of.chunks(LOOK_UPS_PER_STATEMENT) {
        let sql = look_up::are_members(some, |user| user.0 as i64);
        let open = pairs(&connection.fetch_all(AssertSqlSafe(sql)).await?);
        all.extend(some.iter().map(|one| open.contains(one)));
    }
    Ok(all)
}

fn pairs(rows: &[SqliteRow]) -> Vec<(ConversationId, UserId)> {
    let pair = |row: &SqliteRow| Some((conversation(row.get(0))?, UserId(row.get::<i64, _>(1) as u64)));
    rows.iter().filter_map(pair).collect()
}
