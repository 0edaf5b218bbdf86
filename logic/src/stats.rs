//! What a worker counts.

use bus::latency::Latency;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
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

            /// Every figure: name, what it counts, value. All only ever grow.
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim(), self.$name.get())),*]
            }
        }
    };
}

stats! {
    /// Batches committed.
    batches,
    /// Records taken from the road.
    records,
    /// Messages persisted.
    persisted,
    /// Repeats of persisted messages, acknowledged again.
    repeats,
    /// Messages refused because the sender is no member.
    refused_not_a_member,
    /// Messages refused because there is no such conversation.
    refused_not_found,
    /// Messages refused because their client id was used for another.
    refused_id_reused,
    /// Messages refused because `world` takes no more.
    refused_rate,
    /// Transactions begun again because another owner or a membership change came first.
    fence_lost,
    /// Transactions begun again because a repeat was not in the cache.
    duplicates_looked_up,
    /// Transactions begun again because the store was busy or failed.
    store_retries,
    /// Records put aside because the store refuses them.
    dead_letters,
    /// Entries sent to shards.
    downstream_entries,
    /// Records sent to shards.
    downstream_records,
    /// Records for shards that were gone.
    downstream_gone,
    /// Look-ups of routes that failed.
    look_up_failures,
    /// Routes added.
    routes_added,
    /// Routes removed.
    routes_removed,
    /// Queries answered.
    queries,
    /// Queries that failed.
    queries_failed,
    /// Read marks that moved.
    marks_moved,
    /// Typing hints that were too old, or for a conversation that takes none.
    typing_dropped,
    /// Scans of a bucket range of a large group.
    fanout_scans,
    /// Messages to large groups, times their ranges.
    fanout_tasks,
    /// Scans that failed for good; everybody is told to sync.
    fanout_failures,
}
