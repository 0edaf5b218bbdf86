//! The distributor: after COMMIT, acks and messages to the shards of those who should see them.
//!
//! Routes are read after the batch is committed, is in the hot set, and after every route change
//! that has arrived: who registered too late for a message finds it by the `sync` that follows
//! `connected`. While the directory does not answer, acks go out and messages wait, to a bound.

mod batch;
mod held;
mod texts;
mod waiting;

pub use batch::{Audience, Batch};

use crate::clock;
use crate::decide::{Decision, WorldRates};
use crate::failpoint::{self, Step};
use crate::fanout::{LargeMessage, TaskSink};
use crate::handoff;
use crate::history;
use crate::outbound::{Outbound, Outboxes};
use crate::progress::Progress;
use crate::stats::Stats;
use crate::store::entitled;
use bus::directory::{Directory, DirectoryError, LiveGateway, Memory, PerShard, Routes};
use bus::hot::{HotMessage, HotSet};
use bus::{Downlink, Parker, Polled, RouteChange, RouteSource};
use held::Tickets;
use protocol::record::{DownstreamEntry, EntryKind, Targets, UpstreamRecord};
use protocol::{ConversationId, SessionRef, UserId};
use protocol::{event, hop};
use std::sync::Arc;
use std::time::Duration;
use texts::{message, reason};
use tracing::Level;
use waiting::Waiting;

/// How long the distributor sleeps when nobody wakes it.
const PARK: Duration = Duration::from_millis(500);
/// How long while delivery reports are out, or messages wait for the directory.
const PARK_WAITING: Duration = Duration::from_millis(5);
/// How often the directory is asked again, ms.
const RETRY_MS: u64 = 100;
/// How long the end waits for delivery reports and the directory, ms. What is not done by then is
/// distributed again by whoever goes on.
const END_WAIT_MS: u64 = 5_000;

/// Route changes of the same process, and the directory that they are kept in.
pub struct LocalRoutes {
    /// Where they come from.
    pub source: Box<dyn RouteSource>,
    /// Where they go.
    pub memory: Memory,
}

/// What a distributor works with.
pub struct DistributorConfig {
    /// Where routes are kept by this thread, if they are.
    pub routes: Option<LocalRoutes>,
    /// Messages to large groups.
    pub large: Box<dyn TaskSink>,
    /// The newest messages, near at hand for `sync`.
    pub hot: Option<Box<dyn HotSet>>,
    /// What `world` takes, for the words of a refusal.
    pub world: WorldRates,
    /// How far distribution has come.
    pub progress: Arc<Progress>,
    /// What is counted.
    pub stats: Arc<Stats>,
}

/// The distributor of one worker.
pub struct Distributor<D, Y> {
    config: DistributorConfig,
    outbound: Outbound<D, Y>,
    /// Batches whose messages wait for the directory; their acks are out.
    held: Waiting,
    retry_at_ms: u64,
    tickets: Tickets,
    changes: Vec<RouteChange>,
    routes: Routes,
    gateways: Vec<LiveGateway>,
    /// Messages to large groups of the batch at hand, which go after its acks.
    large: Vec<(ConversationId, LargeMessage, Box<str>)>,
}

impl<D: Downlink, Y: Directory> Distributor<D, Y> {
    /// A distributor that sends by `outbound`.
    pub fn new(outbound: Outbound<D, Y>, config: DistributorConfig) -> Self {
        Self {
            config,
            outbound,
            held: Waiting::default(),
            retry_at_ms: 0,
            tickets: Tickets::default(),
            changes: Vec::new(),
            routes: Routes::default(),
            gateways: Vec::new(),
            large: Vec::new(),
        }
    }

    /// Distributes until the persister has ended and its last batch is out.
    pub fn run(mut self, batches: &handoff::Receiver<Batch>, parker: &Parker) {
        loop {
            self.take_routes();
            self.settle();
            self.retry_held();
            let ended = batches.has_ended();
            let room = self.held.has_room(&self.config.stats);
            if let Some(batch) = room.then(|| batches.pop()).flatten() {
                self.take_routes();
                self.distribute(batch);
            } else if ended {
                return self.end();
            } else {
                let waiting = !self.tickets.is_empty() || !self.held.is_empty();
                let routes = self.config.routes.as_ref();
                let ready =
                    || batches.is_ready() && room || routes.is_some_and(|routes| !routes.source.is_empty());
                parker.park(if waiting { PARK_WAITING } else { PARK }, ready);
            }
        }
    }

    /// Gives what is still under way its time.
    fn end(mut self) {
        let until = clock::now().0 + END_WAIT_MS;
        while (!self.tickets.is_empty() || !self.held.is_empty()) && clock::now().0 < until {
            self.settle();
            self.retry_held();
            std::thread::sleep(PARK_WAITING);
        }
        if !self.held.is_empty() {
            let batches = self.held.len();
            tracing::warn!(
                batches,
                "ended before the directory answered; they are distributed again by whoever goes on"
            );
        }
    }

    fn take_routes(&mut self) {
        let Some(LocalRoutes { source, memory }) = &mut self.config.routes else { return };
        source.drain(&mut self.changes);
        for change in self.changes.drain(..) {
            match change {
                RouteChange::Add(user, session, _) => {
                    memory.add(user, session);
                    self.config.stats.routes_added.add(1);
                    source.registered(session);
                }
                RouteChange::Remove(user, session) => {
                    memory.remove(user, session);
                    self.config.stats.routes_removed.add(1);
                }
            }
        }
    }

    /// One record per shard touched, with everything that the batch has for it; or, while the
    /// directory does not answer, the acks alone.
    fn distribute(&mut self, batch: Batch) {
        self.put_hot(&batch);
        failpoint::reached(Step::Hot);
        let mut outboxes = Outboxes::default();
        self.tell_senders(&batch, &mut outboxes);
        // None overtakes those that wait.
        let told = self.held.is_empty().then(|| self.tell_recipients(&batch, &mut outboxes));
        outboxes.send(&mut self.outbound, Step::Distributing);
        self.send_large();
        match told {
            Some(Ok(())) => self.sent(batch),
            None => self.held.push(batch),
            Some(Err(error)) => {
                self.directory_failed(&error);
                self.held.push(batch);
            }
        }
        self.held.show(&self.config.stats);
    }

    fn retry_held(&mut self) {
        if self.held.is_empty() || clock::now().0 < self.retry_at_ms {
            return;
        }
        while let Some(batch) = self.held.pop() {
            let mut outboxes = Outboxes::default();
            let told = self.tell_recipients(&batch, &mut outboxes);
            outboxes.send(&mut self.outbound, Step::Distributing);
            self.send_large();
            if let Err(error) = told {
                self.directory_failed(&error);
                self.held.put_back(batch);
                break;
            }
            self.sent(batch);
        }
        self.held.show(&self.config.stats);
    }

    fn directory_failed(&mut self, error: &DirectoryError) {
        self.config.stats.directory_failures.add(1);
        tracing::warn!(%error, held = self.held.len(), "messages wait for the directory; acks go on");
        self.retry_at_ms = clock::now().0 + RETRY_MS;
    }

    fn sent(&mut self, batch: Batch) {
        self.config.stats.distribute_latency.record(batch.committed.elapsed());
        if tracing::enabled!(target: hop::TARGET, Level::DEBUG) {
            tell_distributed(&batch);
        }
        self.tickets.push(batch.ends, self.outbound.sent(), self.config.large.sent());
        self.settle();
    }

    /// Tells the persister of the batches whose records are durable.
    fn settle(&mut self) {
        if !self.tickets.is_empty() {
            let (records, tasks) = (self.outbound.delivered(), self.config.large.delivered());
            self.tickets.settle(records, tasks, &self.config.progress);
        }
    }

    fn put_hot(&mut self, batch: &Batch) {
        let Some(hot) = &mut self.config.hot else { return };
        let stored: Vec<_> = batch
            .stored()
            .map(|(record, known)| (record.conversation, known.seq, history::to_hot(&message(record, known))))
            .collect();
        let messages: Vec<_> = stored
            .iter()
            .map(|(conversation, seq, payload)| HotMessage {
                conversation: *conversation,
                seq: *seq,
                payload,
            })
            .collect();
        if let Err(error) = hot.put(&messages) {
            self.config.stats.hot_failures.add(1);
            tracing::debug!(%error, "the hot set was not written; sync reads the store");
        }
    }

    fn tell_senders(&mut self, batch: &Batch, outboxes: &mut Outboxes) {
        for (Polled { record, .. }, decision) in batch.records.iter().zip(&batch.decisions) {
            let (kind, payload) = match decision {
                Decision::Insert(known) | Decision::Repeat(known) | Decision::Replay(known) => {
                    let (trace_id, seq, conversation) = (&*record.trace_id, known.seq, record.conversation);
                    let (started_ms, ended_ms) = (batch.taken_at.0, batch.committed_at.0);
                    tracing::debug!(
                        target: hop::TARGET,
                        hop = hop::PERSIST, trace_id, started_ms, ended_ms, %conversation, seq, "persisted"
                    );
                    (EntryKind::Ack, event::ack_persisted(&message(record, known), &record.trace_id))
                }
                Decision::Refuse(code) => {
                    tracing::debug!(trace_id = %record.trace_id, code = code.as_str(), "refused");
                    let (id, trace_id) = (Some(&*record.client_msg_id), Some(&*record.trace_id));
                    let text = reason(*code, self.config.world);
                    (EntryKind::Error, event::error(*code, &text, id, trace_id))
                }
                Decision::Skip => continue,
            };
            let origin = record.origin;
            let targets = Targets::Session(origin.session);
            let entry = DownstreamEntry { kind, targets, exclude: None, payload: payload.into() };
            outboxes.put(&mut self.outbound, origin.gateway, origin.session.shard, entry);
        }
    }

    /// Puts every recipient's entry into `outboxes`; after an error none.
    fn tell_recipients(&mut self, batch: &Batch, outboxes: &mut Outboxes) -> Result<(), DirectoryError> {
        self.look_up(batch)?;
        for (record, known) in batch.stored() {
            let message = message(record, known);
            let payload = event::new_message(&message);
            let mut per_shard = PerShard::default();
            match record.conversation {
                ConversationId::World => {
                    self.tell_everybody(record, &payload, outboxes);
                    continue;
                }
                ConversationId::Single(a, b) => self.routes.per_shard([a, b], &mut per_shard),
                ConversationId::Group(_) => match batch.groups.get(&record.conversation) {
                    Some(Audience::Members(members)) => {
                        self.routes.per_shard(members.iter().copied(), &mut per_shard);
                    }
                    Some(Audience::Windows(windows)) => {
                        self.routes.per_shard(entitled(windows, known.seq), &mut per_shard);
                    }
                    Some(Audience::Large) => {
                        let large =
                            LargeMessage { seq: known.seq, payload: payload.into(), from: record.origin };
                        self.large.push((record.conversation, large, record.trace_id.clone()));
                        continue;
                    }
                    None => {}
                },
            }
            for ((gateway, shard), users) in per_shard {
                let exclude = (record.origin.gateway == gateway).then_some(record.origin.session);
                let entry = message_entry(Targets::Users(users), exclude, &payload);
                outboxes.put(&mut self.outbound, gateway, shard, entry);
            }
        }
        Ok(())
    }

    /// After the acks: handing over may wait for the scans.
    fn send_large(&mut self) {
        for (group, message, trace_id) in self.large.drain(..) {
            self.config.large.send(group, message, &trace_id);
        }
    }

    fn tell_everybody(&mut self, record: &UpstreamRecord, payload: &[u8], outboxes: &mut Outboxes) {
        for gateway in &self.gateways {
            let exclude = (record.origin.gateway == gateway.id).then_some(record.origin.session);
            for shard in 0..gateway.shards {
                let entry = message_entry(Targets::All, exclude, payload);
                outboxes.put(&mut self.outbound, gateway.id, shard, entry);
            }
        }
    }

    /// Asks for the routes of every recipient of the batch, in one go.
    fn look_up(&mut self, batch: &Batch) -> Result<(), DirectoryError> {
        let mut users: Vec<UserId> = Vec::new();
        let (mut world, mut groups) = (false, Vec::new());
        for (record, _) in batch.stored() {
            match record.conversation {
                ConversationId::World => world = true,
                ConversationId::Single(a, b) => users.extend([a, b]),
                ConversationId::Group(_) => groups.push(record.conversation),
            }
        }
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            match batch.groups.get(&group) {
                Some(Audience::Members(members)) => users.extend_from_slice(members),
                Some(Audience::Windows(windows)) => users.extend(windows.iter().map(|member| member.user)),
                Some(Audience::Large) | None => {}
            }
        }
        users.sort_unstable();
        users.dedup();
        self.routes.clear();
        if !users.is_empty() {
            self.outbound.directory_mut().look_up(&users, &mut self.routes)?;
        }
        if world {
            self.gateways = self.outbound.directory_mut().gateways()?;
        }
        Ok(())
    }
}

fn tell_distributed(batch: &Batch) {
    let started_ms = batch.committed_at.0;
    for (record, known) in batch.stored() {
        let (trace_id, seq, conversation) = (&*record.trace_id, known.seq, record.conversation);
        tracing::debug!(
            target: hop::TARGET,
            hop = hop::DISTRIBUTE, trace_id, started_ms, %conversation, seq, "distributed"
        );
    }
}

fn message_entry(targets: Targets, exclude: Option<SessionRef>, payload: &[u8]) -> DownstreamEntry {
    DownstreamEntry { kind: EntryKind::Message, targets, exclude, payload: payload.into() }
}
