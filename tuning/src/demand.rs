//! What a configuration asks of a machine.

/// What a configuration asks for; sizes and counts that the engine fixes come from the engine.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Shards.
    pub shards: u16,
    /// The cores they are pinned to, in turn; empty: not pinned.
    pub cores: Vec<usize>,
    /// Connections per shard.
    pub connections_max: u64,
    /// Slots in a shard's table of sockets: connections, headroom and spare slots.
    pub table: u64,
    /// Connections that may wait to be accepted, per shard.
    pub backlog: u64,
    /// `SO_SNDBUF` of a connection, bytes.
    pub send_buffer_bytes: u64,
    /// A client's largest message, bytes.
    pub message_bytes_max: u64,
    /// What may be queued for one connection, bytes.
    pub egress_bytes_max: u64,
    /// Memory that one shard's rings lock, bytes.
    pub locked_bytes: u64,
    /// Memory that one shard pins besides, if the limit leaves room for it, bytes.
    pub pinned_bytes_max: u64,
    /// The limit of locked memory below which nothing starts, bytes.
    pub locked_bytes_min: u64,
}

/// The process before its shards, bytes of RSS: measured at 25 MiB (worker, store, HTTP).
const PROCESS_BYTES: u64 = 25 << 20;
/// A shard without connections, bytes of RSS: measured at 12 MiB (pool, ring, queues).
const SHARD_BYTES: u64 = 12 << 20;
/// One idle connection in user space, bytes of RSS: measured at 664 and 746 over 16,000 connections.
const SESSION_BYTES: u64 = 800;
/// One idle connection in the kernel, bytes of slab: measured at 4,850 (TCP, inode, file, dentry).
const SOCKET_BYTES: u64 = 5_000;
/// Descriptors of the process before its shards (measured: 34) and per shard (7), rounded up.
const PROCESS_FILES: u64 = 64;
const SHARD_FILES: u64 = 8;

impl Demand {
    /// Connections of all shards.
    pub fn connections(&self) -> u64 {
        u64::from(self.shards) * self.connections_max
    }

    /// Sockets of all shards, with those that are told 503.
    pub(crate) fn sockets(&self) -> u64 {
        u64::from(self.shards) * self.table
    }

    /// Ordinary descriptors of the process; sockets of clients are not among them.
    pub(crate) fn files(&self) -> u64 {
        PROCESS_FILES + SHARD_FILES * u64::from(self.shards)
    }

    /// User-space memory with every connection open and idle, bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        PROCESS_BYTES + u64::from(self.shards) * SHARD_BYTES + self.connections() * SESSION_BYTES
    }

    /// Kernel memory with every connection open and idle, bytes.
    pub(crate) fn kernel_bytes(&self) -> u64 {
        self.connections() * SOCKET_BYTES
    }

    /// What slow readers may hold at most beyond that, bytes: each is closed at its cap, and the
    /// kernel allows twice SO_SNDBUF.
    pub(crate) fn queued_bytes_max(&self) -> u64 {
        self.connections() * (self.egress_bytes_max + 2 * self.send_buffer_bytes)
    }

    /// Two shards with the default limits.
    pub fn example() -> Self {
        Self {
            shards: 2,
            cores: Vec::new(),
            connections_max: 18_000,
            table: 19_064,
            backlog: 4_096,
            send_buffer_bytes: 128 << 10,
            message_bytes_max: 64 << 10,
            egress_bytes_max: 512 << 10,
            locked_bytes: 360 << 10,
            pinned_bytes_max: 6 << 20,
            locked_bytes_min: 512 << 10,
        }
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes.div_ceil(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
