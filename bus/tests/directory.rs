//! What every directory promises: of the one in memory and of the one in Redis.

mod support;

use bus::directory::redis::{Assertion, RedisDirectory, RedisRoutes, RouteWrite};
use bus::directory::{Directory, LiveGateway, Memory, PerShard, Routes};
use protocol::limits::SessionPolicy;
use protocol::{GatewayId, Origin, SessionRef, UnixMs, UserId};
use support::redis;

fn session(boot_epoch: u64, slot: u32, generation: u32) -> Origin {
    let gateway = GatewayId::new("gw").unwrap();
    Origin { gateway, boot_epoch, session: SessionRef { shard: (slot % 2) as u16, slot, generation } }
}

fn live() -> LiveGateway {
    LiveGateway { id: GatewayId::new("gw").unwrap(), boot_epoch: 1, shards: 2 }
}

/// A directory with the side that gateways write.
trait Writable {
    fn add(&mut self, user: UserId, session: Origin);
    fn remove(&mut self, user: UserId, session: Origin);
    fn directory(&mut self) -> &mut dyn Directory;
}

impl Writable for Memory {
    fn add(&mut self, user: UserId, session: Origin) {
        Memory::add(self, user, session);
    }

    fn remove(&mut self, user: UserId, session: Origin) {
        Memory::remove(self, user, session);
    }

    fn directory(&mut self) -> &mut dyn Directory {
        self
    }
}

struct OverRedis(RedisRoutes, RedisDirectory);

impl OverRedis {
    /// With the lease of `live` as long as the test runs.
    fn new() -> Self {
        let settings = redis();
        let client = ::redis::Client::open(settings.url.as_str()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let (lease, all) = (format!("{}gateway:gw", settings.prefix), format!("{}gateways", settings.prefix));
        ::redis::pipe().set_ex(lease, "1:2", 600).zadd(all, "gw", 1).exec(&mut connection).unwrap();
        let routes = RedisRoutes::new(&settings, SessionPolicy::All, 8);
        Self(routes, RedisDirectory::new(&settings))
    }
}

impl Writable for OverRedis {
    fn add(&mut self, user: UserId, session: Origin) {
        let route = Assertion { user, session, opened: UnixMs(0), device: 0 };
        assert_eq!(self.0.write(&[RouteWrite::Add(route)]).unwrap(), [vec![]]);
    }

    fn remove(&mut self, user: UserId, session: Origin) {
        assert_eq!(self.0.write(&[RouteWrite::Remove(user, session)]).unwrap(), [vec![]]);
    }

    fn directory(&mut self) -> &mut dyn Directory {
        &mut self.1
    }
}

fn of(directory: &mut impl Writable, user: u64) -> Vec<Origin> {
    let mut out = Routes::default();
    directory.directory().look_up(&[UserId(user)], &mut out).unwrap();
    let mut sessions = out.of(UserId(user)).to_vec();
    sessions.sort_by_key(|session| session.session);
    sessions
}

fn a_route_is_added_once_and_removed_alone(mut directory: impl Writable) {
    assert_eq!(of(&mut directory, 1), []);
    directory.add(UserId(1), session(1, 1, 0));
    directory.add(UserId(1), session(1, 1, 0));
    directory.add(UserId(1), session(1, 3, 0));
    directory.add(UserId(2), session(1, 2, 0));
    assert_eq!(of(&mut directory, 1), [session(1, 1, 0), session(1, 3, 0)], "added twice counts once");
    directory.remove(UserId(1), session(1, 1, 1));
    directory.remove(UserId(1), session(2, 1, 0));
    assert_eq!(of(&mut directory, 1).len(), 2, "another generation or start removes nothing");
    directory.remove(UserId(1), session(1, 1, 0));
    assert_eq!(of(&mut directory, 1), [session(1, 3, 0)]);
    directory.remove(UserId(1), session(1, 3, 0));
    assert_eq!((of(&mut directory, 1).len(), of(&mut directory, 2).len()), (0, 1));
}

#[test]
fn a_route_is_added_once_and_removed_alone_in_memory() {
    a_route_is_added_once_and_removed_alone(Memory::new(&[live()]));
}

#[test]
fn a_route_is_added_once_and_removed_alone_in_redis() {
    a_route_is_added_once_and_removed_alone(OverRedis::new());
}

fn many_users_are_looked_up_at_once_and_each_shard_gets_them_once(mut directory: impl Writable) {
    for user in 0..1_500u32 {
        directory.add(UserId(user.into()), session(1, user, 0));
        if user % 100 == 0 {
            directory.add(UserId(user.into()), session(1, user + 10_000, 0));
        }
    }
    // Named twice, and some who are nobody.
    let users: Vec<_> = (0..2_000).chain(0..5).map(UserId).collect();
    let (mut routes, mut shards) = (Routes::default(), PerShard::default());
    routes.add(UserId(7), session(9, 9, 9));
    directory.directory().look_up(&users, &mut routes).unwrap();
    assert_eq!(routes.of(UserId(7)), [session(1, 7, 0)], "what was there before is gone");
    assert_eq!(routes.of(UserId(1_700)), []);
    routes.per_shard((0..2_000).map(UserId), &mut shards);
    assert_eq!(shards.len(), 2);
    for shard in 0..2 {
        let users: Vec<_> = (0..1_500).filter(|user| user % 2 == shard).map(UserId).collect();
        assert_eq!(shards[&(live().id, shard as u16)], users);
    }
    assert_eq!(directory.directory().gateways().unwrap(), [live()]);
}

#[test]
fn many_users_are_looked_up_at_once_and_each_shard_gets_them_once_in_memory() {
    many_users_are_looked_up_at_once_and_each_shard_gets_them_once(Memory::new(&[live()]));
}

#[test]
fn many_users_are_looked_up_at_once_and_each_shard_gets_them_once_in_redis() {
    many_users_are_looked_up_at_once_and_each_shard_gets_them_once(OverRedis::new());
}

#[test]
fn a_route_of_another_start_or_of_a_gateway_without_a_lease_is_offline() {
    let mut directory = OverRedis::new();
    directory.add(UserId(1), session(2, 1, 0));
    let gone = Origin { gateway: GatewayId::new("gone").unwrap(), ..session(1, 3, 0) };
    directory.add(UserId(1), gone);
    assert_eq!(of(&mut directory, 1), []);
    directory.add(UserId(1), session(1, 5, 0));
    assert_eq!(of(&mut directory, 1), [session(1, 5, 0)]);
}

#[test]
fn without_redis_a_look_up_is_an_error_and_nobody_is_offline() {
    let mut settings = redis();
    settings.url = "redis://127.0.0.1:1".into();
    let mut routes = Routes::default();
    let error = RedisDirectory::new(&settings).look_up(&[UserId(1)], &mut routes).unwrap_err();
    assert!(error.to_string().starts_with("the directory of routes does not answer"), "{error}");
}

/// What is displaced when sessions open one after another, by slot and device.
fn displaced(policy: SessionPolicy, max: usize, opened: &[(u32, u64)]) -> Vec<Vec<u32>> {
    let mut routes = RedisRoutes::new(&redis(), policy, max);
    let write = |(at, (slot, device)): (usize, &(u32, u64))| {
        let route = Assertion {
            user: UserId(1),
            session: session(1, *slot, 0),
            opened: UnixMs(at as u64),
            device: *device,
        };
        let mut gone: Vec<_> =
            routes.write(&[RouteWrite::Add(route)]).unwrap()[0].iter().map(|s| s.session.slot).collect();
        gone.sort_unstable();
        gone
    };
    opened.iter().enumerate().map(write).collect()
}

#[test]
fn the_policy_says_which_sessions_have_to_go_wherever_they_are() {
    let opened = [(1, 7), (2, 8), (3, 7), (4, 0)];
    let none = Vec::<u32>::new;
    assert_eq!(displaced(SessionPolicy::All, 8, &opened), [none(), none(), none(), none()]);
    assert_eq!(displaced(SessionPolicy::All, 2, &opened), [none(), none(), vec![1], vec![2]]);
    assert_eq!(displaced(SessionPolicy::PerDevice, 8, &opened), [none(), none(), vec![1], none()]);
    assert_eq!(displaced(SessionPolicy::Replace, 8, &opened), [none(), vec![1], vec![2], vec![3]]);
}
