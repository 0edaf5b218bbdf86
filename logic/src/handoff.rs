//! A queue from one thread of a worker to the next, bounded in items and in bytes, which parks when
//! it is empty.

use bus::{Parker, Waker};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long the sender pauses while the queue is full.
pub const FULL_PAUSE: Duration = Duration::from_micros(200);

/// What can be handed over.
pub trait Weighed {
    /// What it counts against the queue's bound in bytes.
    fn bytes(&self) -> usize;
}

/// What waits at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many.
    pub items: usize,
    /// Bytes of all of them; one that is larger by itself waits alone.
    pub bytes: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: ArrayQueue<T>,
    /// Of what is in `items`: entered before the item is in, taken off after it is out.
    bytes: AtomicUsize,
    bytes_max: usize,
    ended: AtomicBool,
}

/// The sending end, of which there is one; dropping it tells the receiver that nothing follows.
#[derive(Debug)]
pub struct Sender<T> {
    queue: Arc<Queue<T>>,
    waker: Waker,
}

/// The receiving end, for the thread that parks.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Queue<T>>);

/// A queue to the thread that parks on `parker`.
pub fn queue<T>(bounds: Bounds, parker: &Parker) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue {
        items: ArrayQueue::new(bounds.items),
        bytes: AtomicUsize::new(0),
        bytes_max: bounds.bytes,
        ended: AtomicBool::new(false),
    });
    (Sender { queue: Arc::clone(&queue), waker: parker.waker() }, Receiver(queue))
}

impl<T: Weighed> Sender<T> {
    /// Hands an item over, or gives it back where there is no room for it.
    pub fn try_send(&mut self, item: T) -> Result<(), T> {
        let bytes = item.bytes();
        let held = self.queue.bytes.load(Ordering::Acquire);
        let has_room = held == 0 || held.saturating_add(bytes) <= self.queue.bytes_max;
        let sent = if has_room { self.push(item, bytes) } else { Err(item) };
        self.waker.wake();
        sent
    }

    fn push(&mut self, item: T, bytes: usize) -> Result<(), T> {
        self.queue.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.queue.items.push(item).inspect_err(|_| {
            self.queue.bytes.fetch_sub(bytes, Ordering::AcqRel);
        })
    }

    /// Hands an item over once there is room; returns whether it had to wait.
    pub fn send(&mut self, mut item: T) -> bool {
        let mut waited = false;
        while let Err(back) = self.try_send(item) {
            item = back;
            waited = true;
            std::thread::sleep(FULL_PAUSE);
        }
        waited
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.queue.ended.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

impl<T: Weighed> Receiver<T> {
    /// The next item, if one is there.
    pub fn pop(&self) -> Option<T> {
        let item = self.0.items.pop()?;
        self.0.bytes.fetch_sub(item.bytes(), Ordering::AcqRel);
        Some(item)
    }
}

impl<T> Receiver<T> {
    /// Whether nothing follows. To be read before the last look at the queue: whoever ends has
    /// pushed everything by then.
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// Whether there is a reason not to park.
    pub fn is_ready(&self) -> bool {
        !self.0.items.is_empty() || self.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Weighed, queue};
    use bus::Parker;

    #[derive(Debug, PartialEq)]
    struct Item(usize);

    impl Weighed for Item {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn what_goes_beyond_the_bytes_is_given_back_until_there_is_room() {
        let (mut sender, receiver) = queue(Bounds { items: 10, bytes: 100 }, &Parker::new());
        assert_eq!(sender.try_send(Item(60)), Ok(()));
        assert_eq!(sender.try_send(Item(40)), Ok(()), "exactly the bound");
        assert_eq!(sender.try_send(Item(1)), Err(Item(1)));
        assert_eq!(receiver.pop(), Some(Item(60)));
        assert_eq!(sender.try_send(Item(60)), Ok(()));
        assert_eq!((receiver.pop(), receiver.pop()), (Some(Item(40)), Some(Item(60))), "in order");
        assert_eq!(receiver.pop(), None);
    }

    #[test]
    fn what_is_larger_than_the_bound_waits_alone() {
        let (mut sender, receiver) = queue(Bounds { items: 10, bytes: 100 }, &Parker::new());
        assert_eq!(sender.try_send(Item(1_000)), Ok(()));
        assert_eq!(sender.try_send(Item(1)), Err(Item(1)));
        assert_eq!(receiver.pop(), Some(Item(1_000)));
        assert_eq!(sender.try_send(Item(1)), Ok(()));
        assert_eq!(sender.try_send(Item(1_000)), Err(Item(1_000)), "not beside others");
    }

    #[test]
    fn a_full_queue_keeps_the_count_of_its_bytes() {
        let (mut sender, receiver) = queue(Bounds { items: 1, bytes: 100 }, &Parker::new());
        assert_eq!(sender.try_send(Item(50)), Ok(()));
        for _ in 0..10 {
            assert_eq!(sender.try_send(Item(50)), Err(Item(50)));
        }
        assert_eq!(receiver.pop(), Some(Item(50)));
        assert_eq!(sender.try_send(Item(100)), Ok(()));
    }
}
