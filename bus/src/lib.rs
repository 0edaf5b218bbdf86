//! What joins gateways and logic workers: the road that messages travel, and the directory of
//! routes.
//!
//! A shard sees the road as its [`Uplink`] and as the records that arrive in its inbox
//! ([`ShardInbox`]); a worker sees it as an [`UpstreamSource`], a [`QuerySource`] and a
//! [`Downlink`]. Implementations: [`kafka`], [`in_process`] (gateway and worker in one process) and
//! [`loopback`] (no worker at all: what the engine alone costs).

mod clock;
pub mod directory;
mod figure;
pub mod hot;
pub mod in_process;
pub mod kafka;
mod lanes;
pub mod latency;
pub mod loopback;
mod pace;
mod road;
mod wake;

pub use figure::Figure;
pub use lanes::{Depths, RouteLanes};
pub use pace::Pace;
pub use road::{
    Change, DeviceKey, Downlink, DownlinkError, Downstream, Full, Poll, Polled, Polls, QuerySource,
    RouteChange, RouteSource, Sender, ShardInbox, Skipped, StartError, Uplink, UpstreamSource,
};
pub use wake::{Parker, Waker};
