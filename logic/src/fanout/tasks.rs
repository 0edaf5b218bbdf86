//! How tasks reach the thread that scans: a queue within one process, or the task topic.

use super::LargeMessage;
use crate::handoff::{self, Bounds, Weighed};
use crate::stats::Stats;
use bus::Parker;
use bus::kafka::{KafkaTasks, TaskBatch, TaskProducer};
use protocol::limits::{FANOUT_QUEUE_BYTES, FANOUT_QUEUE_TASKS, FANOUT_RANGES};
use protocol::record::FanoutTask;
use protocol::{ConversationId, Origin};
use std::sync::Arc;
use std::time::Duration;

/// One message for one range of buckets.
#[derive(Debug, Clone)]
pub struct Task {
    /// The group.
    pub group: ConversationId,
    /// Which of the [`FANOUT_RANGES`].
    pub range: u16,
    /// The message's place in the group.
    pub seq: u64,
    /// The session that sent it.
    pub from: Origin,
    /// The finished `new-message`, where it came along; else it is read from the store.
    pub message: Option<Arc<[u8]>>,
}

impl Weighed for Task {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.message.as_ref().map_or(0, |message| message.len())
    }
}

/// The distributor's end.
pub trait TaskSink: Send {
    /// Hands a message over, a task per range; waits while the scans are behind.
    fn send(&mut self, group: ConversationId, message: LargeMessage, trace_id: &str);
    /// How many tasks were given to it so far.
    fn sent(&self) -> u64;
    /// How many of them, from the first on, can't be lost any more.
    fn delivered(&mut self) -> u64;
}

/// The scanning thread's end.
pub trait TaskSource: Send {
    /// Appends tasks to `out`, waiting up to `wait` for the first; `false` once closed and empty.
    fn poll(&mut self, wait: Duration, out: &mut Vec<Task>) -> bool;
    /// Everything that was polled is done, and what that led to is durable.
    fn done(&mut self);
}

/// Both ends of the queue within one process.
pub fn local(stats: &Arc<Stats>) -> (LocalSink, LocalSource) {
    let parker = Parker::new();
    let (sender, tasks) =
        handoff::queue(Bounds { items: FANOUT_QUEUE_TASKS, bytes: FANOUT_QUEUE_BYTES }, &parker);
    (LocalSink { tasks: sender, sent: 0, stats: Arc::clone(stats) }, LocalSource { tasks, parker })
}

/// The distributor's end of the queue; dropping it says that nothing follows.
#[derive(Debug)]
pub struct LocalSink {
    tasks: handoff::Sender<Task>,
    sent: u64,
    stats: Arc<Stats>,
}

impl TaskSink for LocalSink {
    fn send(&mut self, group: ConversationId, message: LargeMessage, _: &str) {
        let LargeMessage { seq, payload, from } = message;
        let payload: Arc<[u8]> = payload.into();
        for range in 0..FANOUT_RANGES {
            let waited =
                self.tasks.send(Task { group, range, seq, from, message: Some(Arc::clone(&payload)) });
            self.stats.fanout_queue_full.add(waited.into());
            self.sent += 1;
            self.stats.fanout_tasks.add(1);
        }
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    /// What is in memory is as safe as the rest of this process.
    fn delivered(&mut self) -> u64 {
        self.sent
    }
}

/// The scanning thread's end of the queue.
#[derive(Debug)]
pub struct LocalSource {
    tasks: handoff::Receiver<Task>,
    parker: Parker,
}

impl TaskSource for LocalSource {
    fn poll(&mut self, wait: Duration, out: &mut Vec<Task>) -> bool {
        let ended = self.tasks.has_ended();
        if !ended {
            self.parker.park(wait, || self.tasks.is_ready());
        }
        while let Some(task) = self.tasks.pop() {
            out.push(task);
        }
        !ended || !out.is_empty()
    }

    fn done(&mut self) {}
}

/// The distributor's end of the task topic.
pub struct KafkaSink {
    /// The topic.
    pub producer: TaskProducer,
    /// What is counted.
    pub stats: Arc<Stats>,
}

impl TaskSink for KafkaSink {
    fn send(&mut self, group: ConversationId, message: LargeMessage, trace_id: &str) {
        for range in 0..FANOUT_RANGES {
            let (seq, from) = (message.seq, message.from);
            let task = FanoutTask { conversation: group, seq, range, from, trace_id: trace_id.into() };
            self.stats.fanout_tasks.add(1);
            if let Err(error) = self.producer.send(&task) {
                // It counts as sent and never as delivered, so its record is polled again.
                tracing::error!(%error, %group, range, trace_id, "a task was not taken by the road");
            }
        }
    }

    fn sent(&self) -> u64 {
        self.producer.sent()
    }

    fn delivered(&mut self) -> u64 {
        self.producer.delivered()
    }
}

/// The scanning thread's end of the task topic.
pub struct KafkaSource {
    tasks: KafkaTasks,
    polled: TaskBatch,
}

impl KafkaSource {
    /// Scans what `tasks` brings.
    pub fn new(tasks: KafkaTasks) -> Self {
        Self { tasks, polled: TaskBatch::default() }
    }
}

impl TaskSource for KafkaSource {
    fn poll(&mut self, wait: Duration, out: &mut Vec<Task>) -> bool {
        let Some(mut batch) = self.tasks.poll(FANOUT_QUEUE_TASKS, wait) else { return false };
        out.extend(batch.tasks.drain(..).map(|task| Task {
            group: task.conversation,
            range: task.range,
            seq: task.seq,
            from: task.from,
            message: None,
        }));
        self.polled = batch;
        true
    }

    fn done(&mut self) {
        self.tasks.done(&self.polled);
    }
}
