//! Two workers that share partitions, and what stands for their store.

use super::{STEP, source};
use bus::kafka::Settings;
use bus::{Change, Poll, Polled, Polls, UpstreamSource};
use protocol::record::UpstreamRecord;
use std::collections::{BTreeSet, HashMap};
#[allow(clippy::disallowed_types, reason = "a test is no shard")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the store is to two workers: where each partition goes on, under a fence.
#[derive(Default)]
#[allow(clippy::disallowed_types, reason = "a test is no shard")]
pub(crate) struct Store {
    next: Mutex<HashMap<u16, u64>>,
    pub(crate) persisted: Mutex<Vec<(usize, Polled<UpstreamRecord>)>>,
    pub(crate) repeats: AtomicUsize,
}

#[allow(clippy::disallowed_types, reason = "a test is no shard")]
impl Store {
    fn next(&self, partition: u16) -> u64 {
        *self.next.lock().unwrap().get(&partition).unwrap_or(&0)
    }

    fn persist(&self, worker: usize, records: Vec<Polled<UpstreamRecord>>, at: &mut HashMap<u16, u64>) {
        let mut next = self.next.lock().unwrap();
        for polled in records {
            let next = next.entry(polled.partition).or_default();
            at.insert(polled.partition, polled.offset + 1);
            if polled.offset < *next {
                self.repeats.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            assert_eq!(polled.offset, *next, "nothing is left out");
            *next += 1;
            self.persisted.lock().unwrap().push((worker, polled));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.persisted.lock().unwrap().len()
    }
}

/// A worker as the persister is one; returns once it is told to.
pub(crate) fn work(worker: usize, settings: &Settings, store: &Store, stop: &AtomicBool, shares: &Shares) {
    let mut source = source(settings);
    let (mut polls, mut at) = (Polls::default(), HashMap::new());
    while !stop.load(Ordering::SeqCst) {
        assert_eq!(source.poll(100, STEP, &mut polls), Poll::Open);
        store.persist(worker, std::mem::take(&mut polls.records), &mut at);
        let positions: Vec<_> = at.iter().map(|(partition, next)| (*partition, *next)).collect();
        source.commit(&positions);
        for change in polls.changes.drain(..) {
            let mut share = shares[worker].lock().unwrap();
            match change {
                Change::Assigned(partitions) => {
                    share.extend(&partitions);
                    let positions: Vec<_> = partitions.iter().map(|p| (*p, store.next(*p))).collect();
                    source.start(&positions).unwrap();
                }
                Change::Revoked(partitions) => {
                    share.retain(|partition| !partitions.contains(partition));
                    source.release(&partitions, &positions);
                    at.retain(|partition, _| !partitions.contains(partition));
                }
                Change::Lost(partitions) => panic!("{partitions:?} are lost"),
            }
        }
    }
    let positions: Vec<_> = at.into_iter().collect();
    source.release(&[], &positions);
    shares[worker].lock().unwrap().clear();
}

#[allow(clippy::disallowed_types, reason = "a test is no shard")]
pub(crate) type Shares = [Mutex<BTreeSet<u16>>; 2];
