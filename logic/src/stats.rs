//! What a worker counts.

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
        }

        impl Stats {
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
    /// Routes added.
    routes_added,
    /// Routes removed.
    routes_removed,
    /// Queries answered.
    queries,
    /// Queries that failed.
    queries_failed,
}
