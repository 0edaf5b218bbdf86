//! The store as a second witness of a run: its rows, read by queries of this module's own. It shares
//! no code with those who write them, and it cannot write.

mod link;
mod place;

pub use place::Place;

use crate::judge::{Judge, Pace};
use link::Link;
use std::time::Duration;
use thiserror::Error;

/// Rows of a page: at 5,000 characters a content, 10 MB at most.
const PAGE_ROWS: u32 = 500;
/// How long a connection may take, and how long a page.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);

/// Why the store says nothing.
#[derive(Debug, Error)]
pub enum StoreError {
    /// What was given is no store.
    #[error(
        "expected a --store like sqlite:data/ringway.db or mysql://user:password@host:3306/database: {0}"
    )]
    Place(String),
    /// It can't be reached, or breaks off.
    #[error("cannot read the store {0}: {1}")]
    Unreachable(Place, String),
    /// It doesn't answer.
    #[error("the store {0} did not answer within {seconds} s", seconds = .1.as_secs())]
    Slow(Place, Duration),
    /// It is another's database, or an empty one.
    #[error(
        "the store {0} has no table {1}: expected the database that `ringway dev` or `ringway logic` writes to"
    )]
    NoTable(Place, &'static str),
    /// Its tables are of another time.
    #[error(
        "the tables of the store {place} have version {found}, expected {expected}: use the load tool that came with that server"
    )]
    Schema {
        /// Where.
        place: Place,
        /// The version of its tables.
        found: i64,
        /// The version that this program reads.
        expected: i64,
    },
    /// There is no thread, or no runtime, to read it with.
    #[error("cannot start to read the store: {0}")]
    Start(std::io::Error),
}

/// Looks whether the store can be read, before a run that is to be joined with it.
pub fn check(place: &Place) -> Result<(), StoreError> {
    on_a_runtime(async { Link::open(place).await?.close().await })
}

/// Gives every row of the conversations of the judge's ledger to it.
pub(crate) fn join(judge: &mut Judge, place: &Place, pace: &mut Pace<'_>) -> Result<(), StoreError> {
    on_a_runtime(async {
        let mut link = Link::open(place).await?;
        for conversation in judge.conversations() {
            let mut after = judge.before(conversation);
            judge.begin_rows(conversation);
            loop {
                let rows = link.page(judge.name(conversation), after, PAGE_ROWS).await?;
                for row in &rows {
                    judge.row(conversation, row);
                    after = row.seq;
                }
                pace.step(rows.len() as u64);
                if rows.len() < PAGE_ROWS as usize {
                    break;
                }
            }
            judge.end_rows(conversation);
        }
        link.close().await
    })
}

fn on_a_runtime<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StoreError::Start)?.block_on(work)
}
