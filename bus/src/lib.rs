//! What joins gateways and logic workers: the road that messages travel, and the directory of
//! routes.
//!
//! A shard sees the road as its [`Uplink`] and as the records that arrive in its inbox
//! ([`ShardInbox`]); a worker sees it as an [`UpstreamSource`], a [`QuerySource`] and a
//! [`Downlink`]. Implementations: [`in_process`] (gateway and worker in one process) and
//! [`loopback`] (no worker at all: what the engine alone costs).

pub mod directory;
mod figure;
pub mod in_process;
pub mod latency;
pub mod loopback;
mod road;
mod wake;

pub use figure::Figure;
pub use road::{
    Downlink, DownlinkError, Downstream, Full, Polled, QuerySource, RouteChange, RouteSource, Sender,
    ShardInbox, Uplink, UpstreamSource,
};
pub use wake::{Parker, Waker};
