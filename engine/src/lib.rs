//! The gateway: clients' sockets on one side, the road on the other.
//!
//! - [`session`]: one connection as a state machine without I/O;
//! - [`shard`]: one core, its loop, its table of sessions and its queues;
//! - [`ring`]: what a shard waits on, as a trait, as an io_uring and as a simulator;
//! - [`gateway`]: the shards of one process;
//! - [`executor`]: placing and pinning them (glommio).

pub mod executor;
pub mod gateway;
pub mod ring;
pub mod session;
pub mod shard;
