//! What a worker counts.

use bus::Figure;
use bus::latency::Latency;
use protocol::wire::Unreadable;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count, or a level that goes up and down.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it to `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident,)*) => {
        /// One worker's figures.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: Count,)*
            /// From a shard to the persister, by shard.
            pub upstream_latency: Box<[Latency]>,
            /// One transaction.
            pub commit_latency: Latency,
            /// From COMMIT until the last record of the batch was handed to a shard.
            pub distribute_latency: Latency,
        }

        impl Stats {
            /// For a worker that serves so many shards.
            pub fn new(shards: u16) -> Self {
                let upstream_latency = (0..shards).map(|_| Latency::default()).collect();
                Self { upstream_latency, ..Self::default() }
            }

            /// The hop from `shard`; what comes from beyond is counted with the last.
            pub fn upstream(&self, shard: u16) -> &Latency {
                &self.upstream_latency[usize::from(shard).min(self.upstream_latency.len() - 1)]
            }

            /// Counts an unreadable record that was put aside.
            pub fn put_aside(&self, kind: Unreadable) {
                let count = match kind {
                    Unreadable::Garbage => &self.dead_letters_garbage,
                    Unreadable::UnknownVersion => &self.dead_letters_unknown_version,
                    Unreadable::Misplaced => &self.dead_letters_misplaced,
                };
                count.add(1);
            }

            /// Every figure with its name, whether it only ever grows, and what it means.
            pub fn all(&self) -> Vec<Figure> {
                vec![$(Figure {
                    name: stringify!($name),
                    total: stats!(@total $kind),
                    help: concat!($($doc),+).trim(),
                    value: self.$name.get(),
                }),*]
            }
        }
    };
    (@total total) => { true };
    (@total gauge) => { false };
}

stats! {
    /// Batches committed.
    batches: total,
    /// Records taken from the road.
    records: total,
    /// Messages persisted.
    persisted: total,
    /// Repeats of persisted messages, acknowledged again.
    repeats: total,
    /// Records polled again after they had been persisted; acknowledged and distributed again.
    replays: total,
    /// Messages refused because the sender is no member.
    refused_not_a_member: total,
    /// Messages refused because there is no such conversation.
    refused_not_found: total,
    /// Messages refused because their client id was used for another.
    refused_id_reused: total,
    /// Messages refused because `world` takes no more.
    refused_rate: total,
    /// Transactions begun again because another owner or a membership change came first.
    fence_lost: total,
    /// Batches that lost their fence again and again, and were decided while their partitions were locked.
    batches_locked: total,
    /// Transactions begun again because a repeat was not in the cache.
    duplicates_looked_up: total,
    /// Transactions begun again because the store was busy or failed.
    store_retries: total,
    /// Tries of the present batch that the store did not take; 0 while it answers.
    store_failing: gauge,
    /// Messages put aside because the store refuses them.
    dead_letters_refused: total,
    /// Records put aside that are none of ours, or broken.
    dead_letters_garbage: total,
    /// Records put aside that are of a version that is not known here.
    dead_letters_unknown_version: total,
    /// Records put aside that were in another partition than their key belongs to.
    dead_letters_misplaced: total,
    /// Entries sent to shards.
    downstream_entries: total,
    /// Records sent to shards.
    downstream_records: total,
    /// Records for shards that were gone.
    downstream_gone: total,
    /// Batches that found no room on their way to the distributor; the persister waited.
    distribute_queue_full: total,
    /// Batches whose messages wait for the directory of routes.
    held_batches: gauge,
    /// Bytes of these batches.
    held_bytes: gauge,
    /// Times that no further batch was taken because too much waited for the directory.
    held_full: total,
    /// Look-ups of routes that failed; messages wait for the next one.
    directory_failures: total,
    /// Hints (read, typing, updates) that nobody was told of, for want of the directory.
    hints_dropped: total,
    /// Times that the hot set could not be read or written.
    hot_failures: total,
    /// Pages of messages that came from the hot set.
    hot_pages: total,
    /// Routes added.
    routes_added: total,
    /// Routes removed.
    routes_removed: total,
    /// Queries answered.
    queries: total,
    /// Queries that failed.
    queries_failed: total,
    /// Read marks that moved.
    marks_moved: total,
    /// Typing hints that were too old, or for a conversation that takes none.
    typing_dropped: total,
    /// Scans of a bucket range of a large group.
    fanout_scans: total,
    /// Messages to large groups, times their ranges.
    fanout_tasks: total,
    /// Tasks that found no room on their way to the scans; the distributor waited.
    fanout_queue_full: total,
    /// Scans that failed for good; everybody is told to sync.
    fanout_failures: total,
}
