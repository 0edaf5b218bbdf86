//! The hot set: each conversation's newest messages, near at hand for `sync`.
//!
//! Written after COMMIT and before routes are read. It may be behind or have gaps, so a reader
//! trusts it only where it is contiguous.

use crate::directory::DirectoryError;
use crate::directory::redis::Settings;
use crate::directory::redis::connection::Link;
use protocol::ConversationId;
use protocol::limits::{DIRECTORY_BATCH, HOT_MESSAGES_MAX};
use redis::Pipeline;

/// A message of the hot set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotMessage<'a> {
    /// Where it belongs.
    pub conversation: ConversationId,
    /// Its place there.
    pub seq: u64,
    /// Compact JSON; the same each time it is written.
    pub payload: &'a [u8],
}

/// Messages as they were put, by seq.
pub type HotRange = Vec<(u64, Vec<u8>)>;

/// Where hot messages live. Each thread has its own.
pub trait HotSet: Send {
    /// Puts messages in; the newest [`HOT_MESSAGES_MAX`] of a conversation stay.
    fn put(&mut self, messages: &[HotMessage<'_>]) -> Result<(), DirectoryError>;
    /// The messages after `after` up to `until`, at most `limit` from the first on; none unless all
    /// of these are there.
    fn read(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: usize,
    ) -> Result<Option<HotRange>, DirectoryError>;
}

/// The hot set in Redis: `hot_messages:{conversation}`, a sorted set by seq.
pub struct RedisHotSet {
    link: Link,
}

impl RedisHotSet {
    /// Connects at the first call.
    pub fn new(settings: &Settings) -> Self {
        Self { link: Link::new(settings) }
    }

    fn key(&self, conversation: ConversationId) -> String {
        format!("{}hot_messages:{conversation}", self.link.settings().prefix)
    }
}

impl Clone for RedisHotSet {
    fn clone(&self) -> Self {
        Self::new(self.link.settings())
    }
}

impl HotSet for RedisHotSet {
    fn put(&mut self, messages: &[HotMessage<'_>]) -> Result<(), DirectoryError> {
        for messages in messages.chunks(DIRECTORY_BATCH) {
            let mut pipeline = Pipeline::with_capacity(2 * messages.len());
            let mut touched: Vec<ConversationId> = messages.iter().map(|m| m.conversation).collect();
            touched.sort_unstable();
            touched.dedup();
            for message in messages {
                pipeline.zadd(self.key(message.conversation), message.payload, message.seq).ignore();
            }
            let oldest_to_go = -(HOT_MESSAGES_MAX as isize) - 1;
            for conversation in touched {
                pipeline.zremrangebyrank(self.key(conversation), 0, oldest_to_go).ignore();
            }
            self.link.pipeline::<()>(&pipeline, &[])?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        conversation: ConversationId,
        after: u64,
        until: u64,
        limit: usize,
    ) -> Result<Option<HotRange>, DirectoryError> {
        let expected = until.saturating_sub(after).min(limit as u64);
        if expected == 0 {
            return Ok(Some(Vec::new()));
        }
        if expected > HOT_MESSAGES_MAX as u64 {
            return Ok(None);
        }
        let mut call = redis::cmd("ZRANGEBYSCORE");
        call.arg(self.key(conversation)).arg(format!("({after}")).arg(until).arg("WITHSCORES");
        call.arg("LIMIT").arg(0).arg(expected);
        let found: Vec<(Vec<u8>, u64)> = self.link.with(|connection| call.query(connection))?;
        let whole = found.len() as u64 == expected && (after + 1..).zip(&found).all(|(seq, m)| seq == m.1);
        Ok(whole.then(|| found.into_iter().map(|(payload, seq)| (seq, payload)).collect()))
    }
}
