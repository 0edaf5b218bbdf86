//! Why there is no ring, in words that name the cause and the cure.

use super::probe::locked_bytes;
use crate::executor::LOCKED_BYTES;
use crate::gateway::RECEIVE_BUFFERS;
use std::io;
use thiserror::Error;

/// Why there is no ring.
#[derive(Debug, Error)]
pub enum RingError {
    /// io_uring is switched off or filtered.
    #[error(
        "io_uring is forbidden here ({0}): on the host, run `sysctl -w kernel.io_uring_disabled=0`; in a container, \
         start it with `--security-opt seccomp=FILE`, where FILE allows io_uring_setup, io_uring_enter and \
         io_uring_register (Docker's default profile does not); `ringway doctor` tells which of the two it is"
    )]
    Forbidden(io::Error),
    /// The kernel lacks what we need.
    #[error(
        "this kernel's io_uring lacks what Ringway needs ({0}): Linux 6.1 or newer is required; `ringway doctor` \
         tells what is missing"
    )]
    TooOld(io::Error),
    /// Too many descriptors asked for.
    #[error(
        "a table of {table} sockets per shard was refused ({refusal}): it may not exceed the limit of open files; \
         run `ulimit -n {table}` first (systemd: LimitNOFILE={table}), or lower connections_max and use more shards; \
         `ringway doctor` tells the limits"
    )]
    Table {
        /// How many were asked for.
        table: u32,
        /// The kernel's answer.
        refusal: io::Error,
    },
    /// Too few descriptors, or none left on the whole machine.
    #[error(
        "no file descriptor is left for a ring ({0}): raise the limit of open files with `ulimit -n` (systemd: \
         LimitNOFILE=), or that of the machine with `sysctl -w fs.file-max=N`; `ringway doctor` tells which"
    )]
    Descriptors(io::Error),
    /// Too little locked memory.
    #[error(
        "not enough lockable memory for a ring ({0}): raise it with `ulimit -l N`, N being {kib} for each shard and at \
         least 512 (systemd: LimitMEMLOCK=NK), or use fewer shards; `ringway doctor` tells how much is needed",
        kib = locked_kib()
    )]
    Memory(io::Error),
}

/// What a shard locks, KiB, with room for what else the user has locked.
fn locked_kib() -> u64 {
    (locked_bytes(RECEIVE_BUFFERS) + LOCKED_BYTES).next_multiple_of(64 << 10) >> 10
}

impl RingError {
    /// The kernel's answer to a ring.
    pub(super) fn setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Self::Forbidden(error),
            Some(libc::ENOMEM) => Self::Memory(error),
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors(error),
            _ => Self::TooOld(error),
        }
    }

    /// The kernel's answer to a table of `table` sockets.
    pub(super) fn table(table: u32, error: io::Error) -> Self {
        match error.raw_os_error() {
            // A filter may allow making a ring and forbid registering anything with it.
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Self::Forbidden(error),
            _ => Self::Table { table, refusal: error },
        }
    }

    /// The kernel's answer itself.
    pub fn cause(&self) -> &io::Error {
        match self {
            Self::Forbidden(error) | Self::TooOld(error) | Self::Descriptors(error) | Self::Memory(error) => {
                error
            }
            Self::Table { refusal, .. } => refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RingError;
    use std::io;

    #[test]
    fn every_cause_names_its_cure_and_the_doctor() {
        let cases = [
            (libc::EPERM, "kernel.io_uring_disabled=0"),
            (libc::ENOSYS, "--security-opt seccomp="),
            (libc::ENOMEM, "`ulimit -l N`, N being 384 for each shard"),
            (libc::EMFILE, "LimitNOFILE="),
            (libc::ENFILE, "fs.file-max"),
            (libc::EINVAL, "Linux 6.1"),
        ];
        for (errno, cure) in cases {
            let text = RingError::setup(io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains(cure) && text.contains("ringway doctor"), "{errno}: {text}");
        }
        let text = RingError::table(19_064, io::Error::from_raw_os_error(libc::EMFILE)).to_string();
        assert!(text.contains("ulimit -n 19064") && text.contains("connections_max"), "{text}");
    }
}
