//! The road without workers, on one shard: what the engine alone costs. For benches and tests.
//!
//! A message turns round at once: it is numbered, written as `new-message` and handed back to the
//! same shard. Nothing is stored and nothing is acknowledged.

use crate::road::{Downstream, Full, RouteChange, Sender, Uplink};
use protocol::command::SendMessage;
use protocol::event::{self, Message};
use protocol::limits::UPSTREAM_QUEUE_RECORDS;
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, QueryRecord, Targets};
use protocol::{ConversationId, MessageId, UserId};
use std::collections::VecDeque;

/// The loop-back road of one shard.
#[derive(Debug)]
pub struct Loopback {
    group: Vec<UserId>,
    seq: u64,
    batch: DownstreamBatch,
    registered: VecDeque<Downstream>,
}

impl Loopback {
    /// Every group has the users from 1 to `group_members`.
    pub fn new(group_members: u64) -> Self {
        let group = (1..=group_members).map(UserId).collect();
        Self { group, seq: 0, batch: DownstreamBatch::default(), registered: VecDeque::new() }
    }
}

impl Uplink for Loopback {
    fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full> {
        if self.batch.entries.len() >= UPSTREAM_QUEUE_RECORDS {
            return Err(Full);
        }
        self.seq += 1;
        let payload = event::new_message(&Message {
            message_id: MessageId(self.seq),
            client_msg_id: message.client_msg_id,
            conversation_id: message.conversation,
            sender_id: from.user,
            content: message.content,
            message_type: message.message_type,
            seq_id: self.seq,
            created_at: from.received_at,
            trace_id: from.trace_id,
        });
        let targets = match message.conversation {
            ConversationId::Single(a, b) => Targets::Users(vec![a, b]),
            ConversationId::Group(_) => Targets::Users(self.group.clone()),
            ConversationId::World => Targets::All,
        };
        let exclude = Some(from.origin.session);
        let entry = DownstreamEntry { kind: EntryKind::Message, targets, exclude, payload: payload.into() };
        self.batch.entries.push(entry);
        Ok(())
    }

    fn query(&mut self, _: QueryRecord) -> Result<(), Full> {
        Err(Full)
    }

    fn route(&mut self, change: RouteChange) -> Result<(), Full> {
        if let RouteChange::Add(_, session, _) = change {
            self.registered.push_back(Downstream::RouteRegistered(session.session));
        }
        Ok(())
    }

    fn flush(&mut self) {}

    fn poll(&mut self) -> Option<Downstream> {
        if let Some(registered) = self.registered.pop_front() {
            return Some(registered);
        }
        let batch = std::mem::take(&mut self.batch);
        (!batch.entries.is_empty()).then_some(Downstream::Batch(batch))
    }
}
