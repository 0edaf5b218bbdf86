//! Everything Ringway asks of glommio, so that changing it is one file: placing and pinning a
//! shard's executor, starting it, and waiting for its end.
//!
//! The shard's loop is the executor's only task and never awaits: its own ring is the only wait.
//! glommio's timers, wakers and I/O would starve beside it.

use glommio::{BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use thiserror::Error;

/// glommio's own rings stay idle here; this much locked memory is enough for them.
const IDLE_RING_DEPTH: usize = 8;
const IDLE_IO_MEMORY_BYTES: usize = 64 << 10;

/// The limit of locked memory below which glommio does not start, whoever asks.
pub const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// What glommio's three rings of that depth lock: a page of entries and a page of queues each.
pub const LOCKED_BYTES: u64 = 3 * (4 << 10) * 2;
/// What glommio pins at most for their I/O memory, if the limit leaves room: pinned memory that
/// lies on a huge page counts as all of it, once per ring. It goes on without.
pub const PINNED_BYTES_MAX: u64 = 3 * (2 << 20);

/// A running executor.
#[derive(Debug)]
pub struct Executor(ExecutorJoinHandle<()>);

/// Why an executor did not start, or how it ended.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// It could not be placed or started.
    #[error(
        "cannot start a shard on {core}: {reason}; `ringway doctor` tells what this machine does not allow"
    )]
    Start {
        /// Where it was to run.
        core: String,
        /// glommio's reason, in words: its error can't be shared between threads.
        reason: String,
    },
    /// glommio asks for more locked memory than the limit allows.
    #[error(
        "the limit of locked memory is {limit} bytes, and a shard's executor asks for {LOCKED_BYTES_MIN}: run \
         `ulimit -l 512` first (systemd: LimitMEMLOCK=512K); `ringway doctor` tells how much all shards need"
    )]
    LockedMemory {
        /// RLIMIT_MEMLOCK now, bytes.
        limit: u64,
    },
    /// Its thread panicked.
    #[error("a shard's thread panicked")]
    Panicked,
}

/// Whether glommio will start at all. It would find out on a thread of its own, where nobody asks
/// before the end.
pub fn check_locked_memory() -> Result<(), ExecutorError> {
    match getrlimit(Resource::Memlock).current.filter(|limit| *limit < LOCKED_BYTES_MIN) {
        Some(limit) => Err(ExecutorError::LockedMemory { limit }),
        None => Ok(()),
    }
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
        self.0.join().map_err(|error| match error {
            GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_)) => ExecutorError::Panicked,
            error => {
                ExecutorError::Start { core: "a thread of its own".to_owned(), reason: error.to_string() }
            }
        })
    }
}

/// How many cores this process may run on.
pub fn cores_available() -> usize {
    std::thread::available_parallelism().unwrap_or(std::num::NonZero::<usize>::MIN).get()
}

/// The cores that this thread, and those it starts, may run on (the affinity mask); none if the
/// system does not tell.
pub fn cores_allowed() -> Option<Vec<usize>> {
    let mask = sched_getaffinity(None).ok()?;
    Some((0..CpuSet::MAX_CPU).filter(|core| mask.is_set(*core)).collect())
}

/// Cores as they are given to `--cores`.
pub(crate) fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
