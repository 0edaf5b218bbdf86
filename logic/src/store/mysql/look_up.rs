//! What the persister asks MySQL for, many at a time. The statements are not prepared: they differ each
//! time.

use crate::store::rows::conversation;
use crate::store::{Members, look_up};
use protocol::limits::LOOK_UPS_PER_STATEMENT;
use protocol::{ConversationId, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row};

pub(super) async fn last_seqs(
    connection: &mut MySqlConnection,
    conversations: &[ConversationId],
) -> Result<Vec<u64>, sqlx::Error> {
    let mut all = Vec::with_capacity(conversations.len());
    for some in conversations.chunks(LOOK_UPS_PER_STATEMENT) {
        let row = connection.fetch_one(AssertSqlSafe(look_up::last_seqs(some))).await?;
        all.extend((0..some.len()).map(|at| row.get::<Option<u64>, _>(at).unwrap_or(0)));
    }
    Ok(all)
}

pub(super) async fn members(
    connection: &mut MySqlConnection,
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
    connection: &mut MySqlConnection,
    of: &[(ConversationId, UserId)],
) -> Result<Vec<bool>, sqlx::Error> {
    let mut all = Vec::with_capacity(of.len());
    for some in of.chunks(LOOK_UPS_PER_STATEMENT) {
        let sql = look_up::are_members(some, |user| user.0);
        let open = pairs(&connection.fetch_all(AssertSqlSafe(sql)).await?);
        all.extend(some.iter().map(|one| open.contains(one)));
    }
    Ok(all)
}

fn pairs(rows: &[MySqlRow]) -> Vec<(ConversationId, UserId)> {
    rows.iter().filter_map(|row| Some((conversation(row.get(0))?, UserId(row.get(1))))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection;

    /// SELECTs of this connection so far.
    async fn selects(connection: &mut MySqlConnection) -> u64 {
        let row = connection.fetch_one("SHOW SESSION STATUS LIKE 'Com_select'").await.unwrap();
        row.get::<String, _>(1).parse().unwrap()
    }

    #[tokio::test]
    async fn many_are_looked_up_by_few_statements() {
        let server = std::env::var("TEST_MYSQL").expect(
            "TEST_MYSQL says where the tests find MySQL: run scripts/services up mysql, then \
             export TEST_MYSQL=mysql://root@127.0.0.1:13306",
        );
        let mut connection = MySqlConnection::connect(&server).await.unwrap();
        let database = format!("ringway_look_up_{}", std::process::id());
        for sql in [format!("CREATE DATABASE {database}"), format!("USE {database}")] {
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        sqlx::migrate!("migrations/mysql").run(&mut connection).await.unwrap();
        let many = 5 * LOOK_UPS_PER_STATEMENT as u64;
        let groups: Vec<_> = (0..many).map(ConversationId::Group).collect();
        let rows: Vec<_> = (0..many).map(|n| format!("('group_{n}', 'group', 'g', 1, FALSE, 0)")).collect();
        let sql = format!("INSERT INTO conversations VALUES {}", rows.join(", "));
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        let senders: Vec<_> = groups.iter().map(|group| (*group, UserId(7))).collect();

        let before = selects(&mut connection).await;
        assert_eq!(last_seqs(&mut connection, &groups).await.unwrap(), vec![0; groups.len()]);
        let after_seqs = selects(&mut connection).await;
        let nobody = vec![Some(Members::Listed(vec![])); groups.len()];
        assert_eq!(members(&mut connection, &groups).await.unwrap(), nobody);
        let after_members = selects(&mut connection).await;
        assert_eq!(are_members(&mut connection, &senders).await.unwrap(), vec![false; senders.len()]);
        let after = selects(&mut connection).await;
        connection.execute(AssertSqlSafe(format!("DROP DATABASE {database}"))).await.unwrap();
        assert_eq!((after_seqs - before, after_members - after_seqs, after - after_members), (5, 10, 5));
    }
}
