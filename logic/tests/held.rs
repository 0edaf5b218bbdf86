//! The directory of routes is away: messages wait, to a bound, and none is lost.

mod support;

use bus::directory::{Directory, DirectoryError, LiveGateway, Memory, Routes};
use bus::in_process::{Config, road};
use logic::Worker;
use logic::roads::Roads;
use logic::store::sqlite::{SqliteConfig, Synchronous};
use protocol::UserId;
use protocol::limits::{DISTRIBUTE_QUEUE_BATCHES, HELD_BATCHES_MAX};
use protocol::record::EntryKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Rig, gateway, worker_config};

/// A directory that can be away, as Redis can.
#[derive(Clone)]
struct Switched {
    memory: Memory,
    away: Arc<AtomicBool>,
}

impl Switched {
    fn ask(&self) -> Result<(), DirectoryError> {
        if self.away.load(Ordering::SeqCst) { Err(DirectoryError("away".into())) } else { Ok(()) }
    }
}

impl Directory for Switched {
    fn look_up(&mut self, users: &[UserId], out: &mut Routes) -> Result<(), DirectoryError> {
        self.ask()?;
        self.memory.look_up(users, out)
    }

    fn gateways(&mut self) -> Result<Vec<LiveGateway>, DirectoryError> {
        self.ask()?;
        self.memory.gateways()
    }
}

fn start(data: &Path, away: &Arc<AtomicBool>) -> Rig {
    let (inbox, arrived) = support::inbox();
    let mut road = road(Config::new(gateway()), vec![inbox]);
    let live = LiveGateway { id: gateway(), boot_epoch: 1, shards: 1 };
    let Roads {
        upstream,
        queries,
        downlink,
        directory,
        large,
        tasks,
        distributor,
        routes,
        hot,
        stats,
        abandon,
    } = Roads::local(live, road.upstream, road.queries, road.routes, road.distributor, road.downlink);
    let directory = Switched { memory: directory, away: Arc::clone(away) };
    let roads = Roads {
        upstream,
        queries,
        downlink,
        directory,
        large,
        tasks,
        distributor,
        routes,
        hot,
        stats,
        abandon,
    };
    let store = SqliteConfig::new(data.join("test.db"), Synchronous::Normal);
    let worker = Worker::start(&worker_config(Arc::new(store)), roads).unwrap();
    Rig::of(worker, road.uplinks.remove(0), arrived, road.closer)
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("not within 20 s: {what}");
}

#[test]
fn at_the_bound_of_what_waits_for_the_directory_nothing_more_is_persisted_and_nothing_is_lost() {
    let (data, away) = (tempfile::tempdir().unwrap(), Arc::<AtomicBool>::default());
    let mut rig = start(data.path(), &away);
    rig.connect(2);
    away.store(true, Ordering::SeqCst);
    let stats = Arc::clone(rig.worker.stats());
    // Each is a batch of its own: those that are held, those in the queue, the one in hand.
    let taken = (HELD_BATCHES_MAX + DISTRIBUTE_QUEUE_BATCHES + 1) as u64;
    for n in 1..=taken {
        rig.send(1, "single_1_2", &n.to_string(), "x");
        until("it is persisted", || stats.persisted.get() == n);
    }
    until("the queue is full", || stats.distribute_queue_full.get() == 1);
    assert_eq!((stats.held_full.get(), stats.held_batches.get()), (1, HELD_BATCHES_MAX as u64));
    assert!(stats.held_bytes.get() > 0);
    let more = taken + 20;
    for n in taken + 1..=more {
        rig.send(1, "single_1_2", &n.to_string(), "x");
    }
    for n in 1..=HELD_BATCHES_MAX {
        assert_eq!(rig.acked(&n.to_string()).0, n as u64, "acks go on");
    }
    assert_eq!(stats.persisted.get(), taken, "what comes now stays on the road");
    away.store(false, Ordering::SeqCst);
    for n in 1..=more {
        let event = rig.next(EntryKind::Message).event;
        assert_eq!(event["data"]["seq_id"], n, "in order, and each once");
    }
    until("nothing is held", || stats.held_batches.get() == 0);
    assert_eq!((stats.held_bytes.get(), stats.held_full.get()), (0, 1));
    rig.stop();
}
