//! The bounded queues into a shard from other threads.
//!
//! One queue per class of producer, so that a flood of one class can't starve another. Producers
//! off the ring wake a parked shard by its eventfd, at most once per park.

use super::passing::{Move, MoveId};
use crate::session::Policy;
use bus::{Downstream, ShardInbox};
use crossbeam_queue::ArrayQueue;
use protocol::limits::{CONTROL_QUEUE_RECORDS, INBOX_RECORDS};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// What an operator, or the binary on behalf of one, asks of a shard.
#[derive(Debug, Clone)]
pub enum Control {
    /// Who may connect from now on.
    Policy(Arc<Policy>),
    /// Stop accepting connections and taking commands; go on delivering.
    StopTaking,
    /// Close every session with 1001 and end.
    Close,
}

/// What other shards say.
#[derive(Debug)]
pub(super) enum FromShard {
    /// A socket is being passed here.
    Moving(Box<Move>),
    /// It could not be passed: forget it.
    NotMoving(MoveId),
}

/// A shard's inbox. All ends share it by `Arc`; only its shard takes out.
#[derive(Debug)]
pub struct Inbox {
    from_bus: ArrayQueue<Downstream>,
    from_shards: ArrayQueue<FromShard>,
    control: ArrayQueue<Control>,
    /// There is something to look at that is in no queue here.
    nudged: AtomicBool,
    parked: AtomicBool,
    closed: AtomicBool,
    wake: Arc<OwnedFd>,
}

impl Inbox {
    /// An inbox with [`INBOX_RECORDS`] places per class, and few for what operators ask.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            from_bus: ArrayQueue::new(INBOX_RECORDS),
            from_shards: ArrayQueue::new(INBOX_RECORDS),
            control: ArrayQueue::new(CONTROL_QUEUE_RECORDS),
            nudged: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
        })
    }

    /// The descriptor that wakes the shard, for its ring to watch.
    pub fn wake_fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.wake)
    }

    /// Asks something of the shard; `false` if too much is being asked already.
    #[must_use]
    pub fn control(&self, control: Control) -> bool {
        let taken = self.control.push(control).is_ok();
        self.wake();
        taken
    }

    /// Records from the road that wait to be delivered.
    pub fn queued(&self) -> usize {
        self.from_bus.len()
    }

    pub(super) fn push_from_shard(&self, message: FromShard) -> Result<(), FromShard> {
        self.from_shards.push(message)?;
        self.wake();
        Ok(())
    }

    pub(super) fn pop_from_bus(&self) -> Option<Downstream> {
        self.from_bus.pop()
    }

    pub(super) fn pop_from_shard(&self) -> Option<FromShard> {
        self.from_shards.pop()
    }

    pub(super) fn pop_control(&self) -> Option<Control> {
        self.control.pop()
    }

    /// Announces that the shard is about to wait; `false` if something has come meanwhile.
    pub(super) fn park(&self) -> bool {
        self.parked.store(true, Ordering::SeqCst);
        // Either this look sees a push that came before, or that push's producer sees `parked`.
        fence(Ordering::SeqCst);
        self.from_bus.is_empty()
            && self.from_shards.is_empty()
            && self.control.is_empty()
            && !self.nudged.load(Ordering::SeqCst)
    }

    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
        // Before the look that it asks for: a nudge during that look makes another.
        self.nudged.swap(false, Ordering::SeqCst);
    }

    /// The shard has ended: nothing will be taken out any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::SeqCst) {
            // Never read and therefore never full: its poll is edge-triggered. An error here would
            // mean a closed descriptor, which this struct itself keeps open.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl ShardInbox for Inbox {
    fn push(&self, record: Downstream) -> Result<(), Downstream> {
        self.from_bus.push(record)?;
        self.wake();
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn nudge(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::Inbox;
    use bus::ShardInbox;

    #[test]
    fn a_nudge_makes_one_more_round_and_then_the_shard_may_wait() {
        let inbox = Inbox::new().unwrap();
        assert!(inbox.park());
        inbox.unpark();
        inbox.nudge();
        assert!(!inbox.park());
        inbox.unpark();
        assert!(inbox.park());
    }
}
