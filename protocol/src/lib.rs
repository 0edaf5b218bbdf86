//! What crosses a boundary: commands, events, records, ids, codes, limits and partitioning.
//!
//! Nothing here does I/O or reads a clock: times come in as [`UnixMs`], bytes go out into buffers
//! that the caller owns. `docs/message-life.md` shows where on the road each piece is used.

pub mod codes;
pub mod command;
pub mod event;
pub mod hop;
pub mod ids;
pub mod limits;
pub mod partition;
pub mod rate;
pub mod record;
mod text;
pub mod time;
pub mod token;
pub mod wire;

pub use codes::{CloseCode, ErrorCode};
pub use ids::{ConversationId, GatewayId, MessageId, Origin, SessionRef, UserId};
pub use limits::{Limits, SessionPolicy};
pub use rate::{Bucket, Rate};
pub use time::UnixMs;
