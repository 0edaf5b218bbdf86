//! The distributor: after COMMIT, acks and messages to the shards of those who should see them.
//!
//! Routes are read after the batch is committed and after every route change that has arrived: who
//! registered too late for a message finds it by the `sync` that follows `connected`.

use crate::clock;
use crate::decide::{Decision, Known, WorldRates};
use crate::fanout::{LargeMessage, TaskSender};
use crate::handoff;
use crate::outbound::{Outbound, Outboxes};
use crate::query::not_open;
use crate::stats::Stats;
use bus::directory::PerShard;
use bus::{Downlink, Parker, Polled, RouteChange, RouteSource};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::event::{self, Message};
use protocol::record::{DownstreamEntry, EntryKind, Targets, UpstreamRecord};
use protocol::{ConversationId, ErrorCode, GatewayId, Origin, SessionRef, UnixMs, UserId};
use std::sync::Arc;
use std::time::Duration;

/// How long the distributor sleeps when nobody wakes it.
const PARK: Duration = Duration::from_millis(500);

/// A committed batch.
#[derive(Debug)]
pub struct Batch {
    /// What came.
    pub records: Vec<Polled<UpstreamRecord>>,
    /// What became of each.
    pub decisions: Vec<Decision>,
    /// Who is in the groups written into, as it was at COMMIT.
    pub groups: HashMap<ConversationId, Audience, RandomState>,
    /// When it was committed.
    pub committed_at: UnixMs,
}

/// Who is in a group.
#[derive(Debug, Clone)]
pub enum Audience {
    /// These.
    Members(Arc<[UserId]>),
    /// Too many: they are reached by bucket ranges.
    Large,
}

/// The distributor of one worker, with the directory of one process.
pub struct Distributor<R: RouteSource, D: Downlink> {
    routes: R,
    outbound: Outbound<D>,
    large: TaskSender,
    stats: Arc<Stats>,
    /// The shards there are, for `world`.
    gateway: GatewayId,
    shards: u16,
    world: WorldRates,
    changes: Vec<RouteChange>,
}

/// What a distributor needs to know.
#[derive(Debug, Clone)]
pub struct DistributorConfig {
    /// The gateway whose shards are served.
    pub gateway: GatewayId,
    /// How many there are.
    pub shards: u16,
    /// What `world` takes, for the words of a refusal.
    pub world: WorldRates,
}

impl<R: RouteSource, D: Downlink> Distributor<R, D> {
    /// A distributor for the shards of `gateway`.
    pub fn new(
        routes: R,
        outbound: Outbound<D>,
        large: TaskSender,
        config: DistributorConfig,
        stats: Arc<Stats>,
    ) -> Self {
        let DistributorConfig { gateway, shards, world } = config;
        Self { routes, outbound, large, stats, gateway, shards, world, changes: Vec::new() }
    }

    /// Distributes until the persister has ended and its last batch is out.
    pub fn run(mut self, batches: &handoff::Receiver<Batch>, parker: &Parker) {
        loop {
            self.take_routes();
            let ended = batches.has_ended();
            if let Some(batch) = batches.pop() {
                self.take_routes();
                self.distribute(&batch);
                let took = clock::now().0.saturating_sub(batch.committed_at.0);
                self.stats.distribute_latency.record(took, 1);
            } else if ended {
                return;
            } else {
                let routes = &self.routes;
                parker.park(PARK, || batches.is_ready() || !routes.is_empty());
            }
        }
    }

    fn take_routes(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        self.routes.drain(&mut changes);
        for change in changes.drain(..) {
            match change {
                RouteChange::Add(user, session, _) => {
                    self.outbound.directory_mut().add(user, session);
                    self.stats.routes_added.add(1);
                    self.routes.registered(session);
                }
                RouteChange::Remove(user, session) => {
                    self.outbound.directory_mut().remove(user, session);
                    self.stats.routes_removed.add(1);
                }
            }
        }
        self.changes = changes;
    }

    /// One record per shard touched, with everything that the batch has for it.
    fn distribute(&mut self, batch: &Batch) {
        let mut outboxes = Outboxes::default();
        for (polled, decision) in batch.records.iter().zip(&batch.decisions) {
            let record = &polled.record;
            match decision {
                Decision::Insert(known) | Decision::Repeat(known) => {
                    tracing::debug!(trace_id = %record.trace_id, seq = known.seq, conversation = %record.conversation, "persisted");
                    let message = message(record, known);
                    let ack = event::ack_persisted(&message, &record.trace_id);
                    self.tell_session(&mut outboxes, EntryKind::Ack, record.origin, ack);
                    self.tell_recipients(&mut outboxes, &message, record, batch);
                }
                Decision::Refuse(code) => {
                    tracing::debug!(trace_id = %record.trace_id, code = code.as_str(), "refused");
                    let id = Some(&*record.client_msg_id);
                    let error = event::error(*code, &reason(*code, self.world), id, Some(&record.trace_id));
                    self.tell_session(&mut outboxes, EntryKind::Error, record.origin, error);
                }
                Decision::Skip => {}
            }
        }
        outboxes.send(&mut self.outbound);
    }

    fn tell_session(&mut self, outboxes: &mut Outboxes, kind: EntryKind, origin: Origin, payload: Vec<u8>) {
        let targets = Targets::Session(origin.session);
        let entry = DownstreamEntry { kind, targets, exclude: None, payload: payload.into() };
        outboxes.put(&mut self.outbound, origin.gateway, origin.session.shard, entry);
    }

    fn tell_recipients(
        &mut self,
        outboxes: &mut Outboxes,
        message: &Message<'_>,
        record: &UpstreamRecord,
        batch: &Batch,
    ) {
        let payload = event::new_message(message);
        let from = record.origin;
        let exclude = |gateway| (from.gateway == gateway).then_some(from.session);
        let mut per_shard = PerShard::default();
        match record.conversation {
            ConversationId::World => {
                for shard in 0..self.shards {
                    let entry = message_entry(Targets::All, exclude(self.gateway), &payload);
                    outboxes.put(&mut self.outbound, self.gateway, shard, entry);
                }
                return;
            }
            ConversationId::Single(a, b) => {
                self.outbound.shards_of(&[a, b], &mut per_shard);
            }
            ConversationId::Group(_) => match batch.groups.get(&record.conversation) {
                Some(Audience::Members(members)) => {
                    self.outbound.shards_of(members, &mut per_shard);
                }
                Some(Audience::Large) => {
                    let message = LargeMessage { seq: message.seq_id, payload: payload.into(), from };
                    return self.large.send(record.conversation, message);
                }
                None => {}
            },
        }
        for ((gateway, shard), users) in per_shard {
            let entry = message_entry(Targets::Users(users), exclude(gateway), &payload);
            outboxes.put(&mut self.outbound, gateway, shard, entry);
        }
    }
}

fn message_entry(targets: Targets, exclude: Option<SessionRef>, payload: &[u8]) -> DownstreamEntry {
    DownstreamEntry { kind: EntryKind::Message, targets, exclude, payload: payload.into() }
}

fn message<'a>(record: &'a UpstreamRecord, known: &Known) -> Message<'a> {
    Message {
        message_id: known.message_id,
        client_msg_id: &record.client_msg_id,
        conversation_id: record.conversation,
        sender_id: record.sender,
        content: &record.content,
        message_type: record.message_type,
        seq_id: known.seq,
        created_at: known.created_at,
        trace_id: &record.trace_id,
    }
}

fn reason(code: ErrorCode, world: WorldRates) -> String {
    match code {
        ErrorCode::NotAMember | ErrorCode::ConversationNotFound => not_open(code).into(),
        ErrorCode::IdReused => {
            "tempMessageId was used before in this conversation, with other content".into()
        }
        ErrorCode::RateLimited => format!(
            "world takes {} of each user and {} of all: send it again in a moment",
            world.user, world.all
        ),
        _ => "the message could not be stored; it has been put aside for the operator".into(),
    }
}
