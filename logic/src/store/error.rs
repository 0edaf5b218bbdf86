//! Why a store did not do what it was asked.

use thiserror::Error;

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It may work later: busy, locked, read-only, disk full, connection lost. A lost connection
    /// may have been lost at COMMIT: only the store knows how that ended.
    #[error("the store can't answer now: {0}")]
    Passing(#[source] sqlx::Error),
    /// This very data is refused, however often it is tried.
    #[error("the store refuses the data: {0}")]
    Data(#[source] sqlx::Error),
    /// The tables are newer than this program.
    #[error(
        "the data at {place} was written by a newer ringway (migration {migration}): use that version or newer"
    )]
    TooNew {
        /// Which store.
        place: String,
        /// The migration that is not known here.
        migration: i64,
    },
    /// The tables can't be made or brought up to date.
    #[error("cannot prepare the store at {place}: {source}")]
    Prepare {
        /// Which store.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting of the server would fail messages that clients may send.
    #[error("the store at {place} has {setting} = {found}, expected at least {expected}: raise it")]
    Setting {
        /// Which store.
        place: String,
        /// The server's variable.
        setting: &'static str,
        /// As it is.
        found: u64,
        /// What is needed.
        expected: u64,
    },
    /// The number of partitions is fixed when the store is made.
    #[error(
        "the store has {found} partitions, expected {expected}: it was made by another version or with another \
         configuration; over Kafka, set kafka.upstream_partitions to {found}, or change the number as \
         docs/operations.md says (Growing)"
    )]
    Partitions {
        /// In the store.
        found: usize,
        /// Asked for.
        expected: usize,
    },
    /// A message id has eight bits for the epoch.
    #[error("the store is at epoch {}, the last there is", u8::MAX)]
    LastEpoch,
}

impl StoreError {
    /// `Prepare`, of the store at `place`.
    pub(super) fn prepare(
        place: impl std::fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Prepare { place: place.to_string(), source: source.into() }
    }

    /// Why migrations of the store at `place` did not run.
    pub(super) fn migrate(place: impl std::fmt::Display, error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(migration) => {
                Self::TooNew { place: place.to_string(), migration }
            }
            error => Self::prepare(place, error),
        }
    }
}
