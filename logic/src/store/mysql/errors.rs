//! What MySQL's errors mean: whether to try again, to look for what is refused, or to connect anew.

use crate::store::StoreError;
use sqlx::mysql::MySqlDatabaseError;

/// ER_QUERY_INTERRUPTED, ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED, and MariaDB's idle transaction
/// timeouts and lost connections come with the class 08 or with these: the connection is over.
const LOST: [u16; 3] = [1053, 1927, 3169];

/// Tells what may work later from what never will. Only what SQL calls a fault of the data (classes
/// 22 and 23 of SQLSTATE, and a text that is no text) is one: whatever else goes wrong, known or not,
/// is no reason to give up a message. So is what is too large for the server's packets.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    /// ER_NET_PACKET_TOO_LARGE and ER_TRUNCATED_WRONG_VALUE_FOR_FIELD, which have other classes.
    const DATA: [u16; 2] = [1153, 1366];
    let is_data = match (database(&error), &error) {
        (Some(database), _) => {
            let class = database.code().map(|state| &state[..state.len().min(2)]);
            DATA.contains(&database.number()) || matches!(class, Some("22" | "23"))
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
