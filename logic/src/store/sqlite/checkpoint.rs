//! Copies the write-ahead log into the database beside the writer, so that no COMMIT waits for it.

use super::{SqliteConfig, Turn, open};
use crate::store::StoreError;
use sqlx::SqliteConnection;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use tokio::runtime;
use tracing::warn;

/// Pages of 4 KiB in the log, about, after which they are copied: 32 MiB. A batch touches up to two
/// pages for each of its messages, and the same ones again and again: the rarer, the fewer copies.
const CHECKPOINT_PAGES: usize = 8_192;
const PAGES_PER_MESSAGE: usize = 2;

/// A thread with a connection of its own. Dropped, it ends once it has copied what it began.
#[derive(Debug)]
pub(super) struct Checkpointer {
    pages: usize,
    due: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) async fn start(config: &SqliteConfig) -> Result<Self, StoreError> {
        let (connection, turn) = (open(config).await?, config.turn.clone());
        // One that is under way and one that is due: more would do nothing.
        let (due, wanted) = sync_channel(1);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let thread = runtime.and_then(|runtime| {
            let work = move || runtime.block_on(run(connection, &turn, &wanted));
            thread::Builder::new().name("checkpointer".into()).spawn(work)
        });
        let thread =
            thread.map_err(|error| StoreError::prepare(config.path.display(), sqlx::Error::Io(error)))?;
        Ok(Self { pages: 0, due: Some(due), thread: Some(thread) })
    }

    /// So many messages were committed.
    pub(super) fn committed(&mut self, messages: usize) {
        self.pages += 1 + messages * PAGES_PER_MESSAGE;
        if self.pages >= CHECKPOINT_PAGES && self.due.as_ref().is_some_and(|due| due.try_send(()).is_ok()) {
            self.pages = 0;
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.due = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(mut connection: SqliteConnection, turn: &Turn, wanted: &Receiver<()>) {
    while wanted.recv().is_ok() {
        // What is not copied now is copied the next time, or by a COMMIT at LOG_PAGES_MAX.
        if let Err(error) = checkpoint(&mut connection, turn).await {
            warn!(%error, "the log of the database was not copied; a full or failing disk is the usual cause");
        }
    }
}

/// Most of the log is copied while others write, then what they wrote meanwhile; what is left after
/// that is little, and copied while they stand in line, so that the log starts again at its front.
async fn checkpoint(connection: &mut SqliteConnection, turn: &Turn) -> Result<(), sqlx::Error> {
    for _ in 0..2 {
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut *connection).await?;
    }
    let _turn = turn.wait().await;
    sqlx::query("PRAGMA wal_checkpoint(RESTART)").execute(connection).await.map(drop)
}
