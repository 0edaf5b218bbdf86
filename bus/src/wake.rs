//! Parking a consumer thread until one of several producers has something for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

/// The consumer's side: made on, and used by, the thread that parks.
#[derive(Debug)]
pub struct Parker {
    shared: Arc<Shared>,
}

/// The producers' side: wakes the parked consumer, at most once per park.
#[derive(Debug, Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parked: AtomicBool,
    consumer: std::sync::OnceLock<Thread>,
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

impl Parker {
    /// A parker; the thread that first calls [`Parker::park`] becomes its consumer.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { parked: AtomicBool::new(false), consumer: Default::default() }) }
    }

    /// A handle for producers.
    pub fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// Sleeps until woken or `wait` is over, unless `ready` says that something has come already.
    /// May return early.
    pub fn park(&self, wait: Duration, ready: impl FnOnce() -> bool) {
        self.shared.consumer.get_or_init(thread::current);
        self.shared.parked.store(true, Ordering::SeqCst);
        // Either this look sees a push that came before, or that push's producer sees `parked`.
        fence(Ordering::SeqCst);
        if !ready() {
            thread::park_timeout(wait);
        }
        self.shared.parked.store(false, Ordering::SeqCst);
    }
}

impl Waker {
    /// Wakes the consumer if it is parked; call it after pushing.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.shared.parked.load(Ordering::Relaxed)
            && self.shared.parked.swap(false, Ordering::SeqCst)
            && let Some(consumer) = self.shared.consumer.get()
        {
            consumer.unpark();
        }
    }
}
