//! A road for the simulator: every message is acknowledged to its session and sent to the other
//! user, by records that arrive whenever chance has it.

use bus::{Downstream, Full, RouteChange, Sender, ShardInbox, Uplink};
use engine::ring::sim::Random;
use engine::shard::Inbox;
use protocol::command::SendMessage;
use protocol::event::{self, Message};
use protocol::partition::shard_of;
use protocol::record::{DownstreamBatch, DownstreamEntry, EntryKind, QueryRecord, Targets};
use protocol::{ConversationId, MessageId, Origin, UserId};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) struct Road {
    shards: u16,
    random: Random,
    queues: Vec<VecDeque<Downstream>>,
    pub(crate) routes: Vec<(UserId, Origin)>,
    seq: u64,
}

impl Road {
    pub(crate) fn new(shards: u16, seed: u64) -> Self {
        let queues = (0..shards).map(|_| VecDeque::new()).collect();
        Self { shards, random: Random(seed), queues, routes: vec![], seq: 0 }
    }

    /// Some of what is on its way arrives, in order per shard.
    pub(crate) fn deliver(&mut self, inboxes: &[Arc<Inbox>]) {
        for (queue, inbox) in self.queues.iter_mut().zip(inboxes) {
            for _ in 0..self.random.below(6) {
                let Some(record) = queue.pop_front() else { break };
                if let Err(back) = inbox.push(record) {
                    queue.push_front(back);
                    break;
                }
            }
        }
    }

    fn put(&mut self, shard: u16, entry: DownstreamEntry) {
        let queue = &mut self.queues[usize::from(shard)];
        match queue.back_mut() {
            Some(Downstream::Batch(batch)) if batch.entries.len() < 8 => batch.entries.push(entry),
            _ => queue
                .push_back(Downstream::Batch(DownstreamBatch { entries: vec![entry], ..Default::default() })),
        }
    }
}

pub(crate) struct SimUplink(Rc<RefCell<Road>>);

impl SimUplink {
    pub(crate) fn new(road: &Rc<RefCell<Road>>) -> Self {
        Self(Rc::clone(road))
    }
}

impl Uplink for SimUplink {
    fn publish(&mut self, from: Sender<'_>, message: &SendMessage<'_>) -> Result<(), Full> {
        let road = &mut *self.0.borrow_mut();
        if road.random.once_in(30) {
            return Err(Full);
        }
        road.seq += 1;
        let view = Message {
            message_id: MessageId(road.seq),
            client_msg_id: message.client_msg_id,
            conversation_id: message.conversation,
            sender_id: from.user,
            content: message.content,
            message_type: message.message_type,
            seq_id: road.seq,
            created_at: from.received_at,
            trace_id: from.trace_id,
        };
        let session = from.origin.session;
        let ack = event::ack_persisted(&view, from.trace_id);
        let targets = Targets::Session(session);
        let entry = DownstreamEntry { kind: EntryKind::Ack, targets, exclude: None, payload: ack.into() };
        road.put(session.shard, entry);
        let payload = event::new_message(&view);
        let ConversationId::Single(a, b) = message.conversation else { return Ok(()) };
        for user in [a, b] {
            let targets = Targets::Users(vec![user]);
            let payload = payload.clone().into();
            let entry =
                DownstreamEntry { kind: EntryKind::Message, targets, exclude: Some(session), payload };
            road.put(shard_of(user, road.shards), entry);
        }
        Ok(())
    }

    fn query(&mut self, _: QueryRecord) -> Result<(), Full> {
        Err(Full)
    }

    fn route(&mut self, change: RouteChange) -> Result<(), Full> {
        let road = &mut *self.0.borrow_mut();
        if road.random.once_in(8) {
            return Err(Full);
        }
        match change {
            RouteChange::Add(user, session, _) => {
                road.routes.push((user, session));
                let registered = Downstream::RouteRegistered(session.session);
                road.queues[usize::from(session.session.shard)].push_back(registered);
            }
            RouteChange::Remove(user, session) => {
                let before = road.routes.len();
                road.routes.retain(|route| *route != (user, session));
                assert_eq!(road.routes.len() + 1, before, "a route is removed once, after it was added");
            }
        }
        Ok(())
    }

    fn flush(&mut self) {}
}
