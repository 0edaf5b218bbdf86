//! Everything Ringway asks of glommio, so that changing it is one file: placing and pinning a
//! shard's executor, starting it, and waiting for its end.
//!
//! The shard's loop is the executor's only task and never awaits: its own ring is the only wait.
//! glommio's timers, wakers and I/O would starve beside it.

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use thiserror::Error;

/// glommio's own rings stay idle here; this much locked memory is enough for them.
const IDLE_RING_DEPTH: usize = 8;
const IDLE_IO_MEMORY_BYTES: usize = 64 << 10;

/// A running executor.
#[derive(Debug)]
pub struct Executor(ExecutorJoinHandle<()>);

/// Why an executor did not start, or how it ended.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// It could not be placed or started.
    #[error("cannot start a shard on {core}: {reason}")]
    Start {
        /// Where it was to run.
        core: String,
        /// glommio's reason, in words: its error can't be shared between threads.
        reason: String,
    },
    /// Its thread panicked.
    #[error("a shard's thread panicked")]
    Panicked,
}

/// Runs `work` to its end on a thread of its own, pinned to `core` if one is given.
pub fn start(
    name: &str,
    core: Option<usize>,
    work: impl FnOnce() + Send + 'static,
) -> Result<Executor, ExecutorError> {
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .ring_depth(IDLE_RING_DEPTH)
        .io_memory(IDLE_IO_MEMORY_BYTES)
        .spawn(move || async move { work() })
        .map(Executor)
        .map_err(|error| ExecutorError::Start {
            core: core.map_or("any core".to_owned(), |core| format!("core {core}")),
            reason: error.to_string(),
        })
}

impl Executor {
    /// Waits for its end.
    pub fn join(self) -> Result<(), ExecutorError> {
        self.0.join().map_err(|_| ExecutorError::Panicked)
    }
}

/// How many cores this process may run on.
pub fn cores_available() -> usize {
    std::thread::available_parallelism().unwrap_or(std::num::NonZero::<usize>::MIN).get()
}
