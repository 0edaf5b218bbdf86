//! A bounded queue from one thread of a worker to the next, which parks when it is empty.

use bus::{Parker, Waker};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the sender pauses while the queue is full.
const FULL_PAUSE: Duration = Duration::from_micros(200);

#[derive(Debug)]
struct Queue<T> {
    items: ArrayQueue<T>,
    ended: AtomicBool,
}

/// The sending end; dropping it tells the receiver that nothing follows.
#[derive(Debug)]
pub struct Sender<T> {
    queue: Arc<Queue<T>>,
    waker: Waker,
}

/// The receiving end, for the thread that parks.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Queue<T>>);

/// A queue of `capacity` to the thread that parks on `parker`.
pub fn queue<T>(capacity: usize, parker: &Parker) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue { items: ArrayQueue::new(capacity), ended: AtomicBool::new(false) });
    (Sender { queue: Arc::clone(&queue), waker: parker.waker() }, Receiver(queue))
}

impl<T> Sender<T> {
    /// Hands an item over; waits while the receiver is a whole queue behind.
    pub fn send(&self, mut item: T) {
        while let Err(back) = self.queue.items.push(item) {
            item = back;
            self.waker.wake();
            std::thread::sleep(FULL_PAUSE);
        }
        self.waker.wake();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.queue.ended.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

impl<T> Receiver<T> {
    /// The next item, if one is there.
    pub fn pop(&self) -> Option<T> {
        self.0.items.pop()
    }

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
