//! What MySQL's errors mean: whether to try again, to look for what is refused, or to connect anew.

use crate::store::StoreError;
use sqlx::mysql::MySqlDatabaseError;

/// ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED of MariaDB, ER_SESSION_WAS_KILLED of MySQL.
const LOST: [u16; 3] = [1053, 1927, 3169];

/// Tells what may work later from what never will. Only what SQL calls a fault of the data (classes
/// 22 and 23 of SQLSTATE, and a text that is no text) is one: whatever else goes wrong, known or not,
/// is no reason to give up a message.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    /// ER_TRUNCATED_WRONG_VALUE_FOR_FIELD has the class of errors without one in MySQL.
    const NO_TEXT: u16 = 1366;
    let is_data = match (database(&error), &error) {
        (Some(database), _) => {
            let class = database.code().map(|state| &state[..state.len().min(2)]);
            database.number() == NO_TEXT || matches!(class, Some("22" | "23"))
        }
        (None, sqlx::Error::Encode(_)) => true,
        (None, _) => false,
    };
    if is_data { StoreError::Data(error) } else { StoreError::Passing(error) }
}

/// Whether the connection can't be used any more: the server has ended it, or an answer was not
/// read to its end.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match (database(error), error) {
        (Some(database), _) => {
            let class = database.code().map(|state| &state[..state.len().min(2)]);
            LOST.contains(&database.number()) || class == Some("08")
        }
        (None, sqlx::Error::RowNotFound | sqlx::Error::Encode(_)) => false,
        (None, _) => true,
    }
}

fn database(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    match error {
        sqlx::Error::Database(database) => database.try_downcast_ref::<MySqlDatabaseError>(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

    #[derive(Debug, PartialEq, Eq)]
    enum Meaning {
        TryAgain,
        ConnectAnew,
        Refused,
    }
    use Meaning::{ConnectAnew, Refused, TryAgain};

    fn meaning(error: sqlx::Error) -> Meaning {
        match (is_lost(&error), classify(error)) {
            (false, StoreError::Data(_)) => Refused,
            (true, StoreError::Passing(_)) => ConnectAnew,
            (false, StoreError::Passing(_)) => TryAgain,
            (lost, error) => panic!("{error:?} with lost = {lost}"),
        }
    }

    #[tokio::test]
    async fn only_a_fault_of_the_data_is_no_reason_to_try_again() {
        let server = std::env::var("TEST_MYSQL").expect(
            "TEST_MYSQL says where the tests find MySQL: run scripts/services up mysql, then \
             export TEST_MYSQL=mysql://root@127.0.0.1:13306",
        );
        let mut connection = MySqlConnection::connect(&server).await.unwrap();
        for (number, state, expected) in [
            (1205, "HY000", TryAgain),    // lock wait timeout
            (1213, "40001", TryAgain),    // deadlock
            (1290, "HY000", TryAgain),    // read-only server
            (1792, "25006", TryAgain),    // read-only transaction
            (1021, "HY000", TryAgain),    // disk full
            (1114, "HY000", TryAgain),    // table full
            (1146, "42S02", TryAgain),    // no such table
            (1142, "42000", TryAgain),    // not allowed
            (30_000, "HY000", TryAgain),  // nobody knows
            (1040, "08004", ConnectAnew), // too many connections
            (1053, "08S01", ConnectAnew), // shutdown
            (1927, "70100", ConnectAnew), // killed
            (1048, "23000", Refused),     // must not be null
            (1264, "22003", Refused),     // out of range
            (1366, "HY000", Refused),     // no text, as MySQL says it
            (1366, "22007", Refused),     // as MariaDB says it
            (1406, "22001", Refused),     // too long
            (3140, "22032", Refused),     // no JSON
        ] {
            let signal = format!("SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {number}");
            let error = connection.execute(AssertSqlSafe(signal)).await.unwrap_err();
            assert_eq!(meaning(error), expected, "{number} ({state})");
        }
        let closed = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(meaning(closed), ConnectAnew);
    }
}
