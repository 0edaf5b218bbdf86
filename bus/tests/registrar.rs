//! A gateway's lease and routes in Redis, through what Redis forgets and who else is there.

mod support;

use bus::directory::redis::{
    LEASE_MS, LeaseError, RedisDirectory, Registrar, RegistrarConfig, RegistrarError, Settings,
};
use bus::directory::{Directory, LiveGateway, Routes};
use bus::kafka::{GatewayRoad, PendingBounds};
use bus::{Downstream, RouteChange, Uplink};
use protocol::limits::SessionPolicy;
use protocol::record::{EntryKind, Targets};
use protocol::{GatewayId, Origin, SessionRef, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::{Inbox, WAIT, as_shard_inboxes, kafka, now, redis};

/// A gateway with one shard; its road carries the route changes.
struct Rig {
    uplink: Box<dyn Uplink>,
    inbox: Arc<Inbox>,
    registrar: Registrar,
    kicked: Receiver<Origin>,
    lost: Arc<AtomicBool>,
    road: GatewayRoad,
    epoch: u64,
}

fn gateway() -> GatewayId {
    GatewayId::new("gw").unwrap()
}

fn start(redis: &Settings, policy: SessionPolicy, epoch: u64) -> Result<Rig, RegistrarError> {
    let inboxes = [Inbox::new(usize::MAX)];
    let started =
        GatewayRoad::start(&kafka(), gateway(), as_shard_inboxes(&inboxes), PendingBounds::default())
            .unwrap();
    let (kicks, kicked) = channel();
    let lost = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lost);
    let [inbox] = inboxes;
    let registrar = Registrar::start(RegistrarConfig {
        settings: redis.clone(),
        gateway: LiveGateway { id: gateway(), boot_epoch: epoch, shards: 1 },
        policy,
        sessions_per_user_max: 8,
        routes: started.routes,
        inboxes: as_shard_inboxes(std::slice::from_ref(&inbox)),
        kicks: Box::new(move |session| {
            kicks.send(session).unwrap();
            Ok(())
        }),
        on_lost: Box::new(move || told.store(true, Ordering::SeqCst)),
    })?;
    let uplink = Box::new({ started.uplinks }.remove(0));
    Ok(Rig { uplink, inbox, registrar, kicked, lost, road: started.road, epoch })
}

impl Rig {
    fn origin(&self, slot: u32) -> Origin {
        let session = SessionRef { shard: 0, slot, generation: 0 };
        Origin { gateway: gateway(), boot_epoch: self.epoch, session }
    }

    fn open(&mut self, user: u64, slot: u32) {
        self.uplink.route(RouteChange::Add(UserId(user), self.origin(slot), 0)).unwrap();
        self.uplink.flush();
    }

    fn close(&mut self, user: u64, slot: u32) {
        self.uplink.route(RouteChange::Remove(UserId(user), self.origin(slot))).unwrap();
        self.uplink.flush();
    }

    /// The next record for the shard.
    fn next(&self) -> Downstream {
        let until = now() + WAIT;
        loop {
            if let Some(record) = self.inbox.pop() {
                return record;
            }
            assert!(now() < until, "nothing comes");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn registered(&mut self, user: u64, slot: u32) {
        self.open(user, slot);
        assert_eq!(self.next(), Downstream::RouteRegistered(self.origin(slot).session));
    }

    /// Whom the next `resync` is for.
    fn resync(&self) -> Vec<Targets> {
        let Downstream::Batch(batch) = self.next() else { panic!("no batch") };
        assert!(batch.entries.iter().all(|entry| entry.kind == EntryKind::Resync));
        batch.entries.into_iter().map(|entry| entry.targets).collect()
    }

    fn stop(self) {
        self.registrar.stop();
        assert!(self.road.stop(WAIT));
    }
}

fn routes(redis: &Settings, user: u64) -> Vec<Origin> {
    let mut routes = Routes::default();
    RedisDirectory::new(redis).look_up(&[UserId(user)], &mut routes).unwrap();
    routes.of(UserId(user)).to_vec()
}

fn connection(redis: &Settings) -> ::redis::Connection {
    ::redis::Client::open(redis.url.as_str()).unwrap().get_connection().unwrap()
}

/// Deletes every key of this test: what FLUSHALL does to it alone.
fn wipe(redis: &Settings) {
    let mut connection = connection(redis);
    let keys: Vec<String> =
        ::redis::cmd("KEYS").arg(format!("{}*", redis.prefix)).query(&mut connection).unwrap();
    assert!(!keys.is_empty());
    ::redis::cmd("DEL").arg(&keys).exec(&mut connection).unwrap();
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = now() + WAIT;
    while !is() {
        assert!(now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_session_is_told_once_its_route_stands_and_the_lease_makes_it_live() {
    let redis = redis();
    let mut rig = start(&redis, SessionPolicy::All, 1).unwrap();
    rig.registered(1, 7);
    assert_eq!(routes(&redis, 1), [rig.origin(7)]);
    let live = LiveGateway { id: gateway(), boot_epoch: 1, shards: 1 };
    assert_eq!(RedisDirectory::new(&redis).gateways().unwrap(), [live]);
    rig.close(1, 7);
    eventually("the route goes", || routes(&redis, 1).is_empty());
    rig.registered(1, 8);
    rig.stop();
    assert_eq!(routes(&redis, 1), [], "a gateway that has left is offline at once");
    assert_eq!(RedisDirectory::new(&redis).gateways().unwrap(), []);
}

#[test]
fn a_wiped_redis_has_the_lease_and_every_route_again_and_everybody_is_told() {
    let redis = redis();
    let mut rig = start(&redis, SessionPolicy::All, 1).unwrap();
    for user in 0..1_000 {
        rig.open(user, user as u32);
    }
    for _ in 0..1_000 {
        assert!(matches!(rig.next(), Downstream::RouteRegistered(_)));
    }
    wipe(&redis);
    assert_eq!(routes(&redis, 1), []);
    assert_eq!(rig.resync(), [Targets::All]);
    for user in 0..1_000 {
        assert_eq!(routes(&redis, user), [rig.origin(user as u32)]);
    }
    assert!(rig.registrar.is_healthy() && !rig.lost.load(Ordering::SeqCst));
    assert_eq!(rig.registrar.stats().leases_retaken.load(Ordering::Relaxed), 1);
    rig.stop();
}

#[test]
fn a_route_that_is_missing_comes_back_and_its_session_is_told() {
    let redis = redis();
    let mut rig = start(&redis, SessionPolicy::All, 1).unwrap();
    rig.registered(1, 1);
    rig.registered(2, 2);
    ::redis::cmd("DEL").arg(format!("{}user_session:2", redis.prefix)).exec(&mut connection(&redis)).unwrap();
    assert_eq!(rig.resync(), [Targets::Session(rig.origin(2).session)]);
    assert_eq!(routes(&redis, 2), [rig.origin(2)]);
    rig.stop();
}

#[test]
fn a_gateway_id_that_is_alive_does_not_start_twice() {
    let redis = redis();
    let rig = start(&redis, SessionPolicy::All, 1).unwrap();
    let second = start(&redis, SessionPolicy::All, 2).map(drop).unwrap_err();
    assert!(matches!(second, RegistrarError::Lease(LeaseError::Alive(id)) if id == gateway()), "{second}");
    rig.stop();
}

#[test]
fn a_dead_gateways_lease_is_waited_out() {
    let redis = redis();
    let lease = format!("{}gateway:gw", redis.prefix);
    ::redis::cmd("SET").arg(&lease).arg("1:1").arg("PX").arg(1_500).exec(&mut connection(&redis)).unwrap();
    let mut rig = start(&redis, SessionPolicy::All, 2).unwrap();
    let held: String = ::redis::cmd("GET").arg(&lease).query(&mut connection(&redis)).unwrap();
    assert_eq!(held, "2:1");
    rig.registered(1, 1);
    rig.stop();
}

#[test]
fn a_gateway_whose_lease_another_has_taken_is_told_to_go() {
    let redis = redis();
    let rig = start(&redis, SessionPolicy::All, 1).unwrap();
    let lease = format!("{}gateway:gw", redis.prefix);
    ::redis::cmd("SET").arg(&lease).arg("9:1").arg("PX").arg(LEASE_MS).exec(&mut connection(&redis)).unwrap();
    eventually("it is told", || rig.lost.load(Ordering::SeqCst));
    eventually("it ends", || !rig.registrar.is_healthy());
    let held: String = ::redis::cmd("GET").arg(&lease).query(&mut connection(&redis)).unwrap();
    assert_eq!(held, "9:1", "another's lease is left alone");
    rig.stop();
}

#[test]
fn a_newer_session_elsewhere_displaces_an_older_one() {
    let redis = redis();
    let mut rig = start(&redis, SessionPolicy::Replace, 1).unwrap();
    rig.registered(1, 1);
    rig.registered(1, 2);
    assert_eq!(rig.kicked.recv_timeout(WAIT).unwrap(), rig.origin(1));
    assert_eq!(routes(&redis, 1), [rig.origin(2)]);
    rig.stop();
}

#[test]
fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let redis = redis();
    let mut rig = start(&redis, SessionPolicy::All, 1).unwrap();
    rig.registered(1, 1);
    ::redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection(&redis)).unwrap();
    rig.registered(1, 2);
    assert_eq!(routes(&redis, 1).len(), 2);
    rig.stop();
}
