//! `ringway dev`: gateway, worker and store in one process.

use crate::admin;
use crate::cli;
use crate::config::{Config, Dev};
use crate::data_dir::DataDir;
use crate::health::{Health, parts};
use crate::metrics::Sources;
use crate::notify;
use crate::reload::{Reload, loader};
use crate::signals;
use crate::token::since_1970;
use anyhow::{Result, bail};
use bus::Depths;
use bus::ShardInbox;
use bus::directory::LiveGateway;
use bus::in_process;
use engine::gateway::{Gateway, GatewayConfig, check_machine, inboxes};
use engine::shard::Chat;
use logic::roads::Roads;
use logic::store::sqlite::SqliteConfig;
use logic::{Worker, WorkerConfig};
use protocol::GatewayId;
use protocol::command::Parser;
use protocol::token::KeySource;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long commands that were taken may be on their way before sessions are closed all the same.
const SETTLE_MAX: Duration = Duration::from_secs(5);
const SETTLE_STEP: Duration = Duration::from_millis(10);

/// Runs until SIGINT or SIGTERM, then drains. Tokens are checked with the keys and with the
/// development key.
pub(crate) fn run(args: &cli::Dev, config: &Config, keys: &[KeySource]) -> Result<()> {
    check_machine(&config.engine.cores, &config.limits.engine)?;
    let data = DataDir::open(&config.data)?;
    let health = Arc::new(Health::default());
    let admin = admin::serve(config.admin, Arc::clone(&health))?;
    let key = data.key()?;
    let load = loader::<Dev>(args.config.clone(), args.flags());
    let reload = Reload::new(load, config.settings.clone(), keys, Some(&key), origins(config));
    let gateway_id = GatewayId::new("dev").expect("a valid id");
    let shards = config.engine.shards;

    let inboxes = inboxes(shards)?;
    let shard_inboxes = inboxes.iter().map(|inbox| Arc::clone(inbox) as Arc<dyn ShardInbox>).collect();
    let mut road = in_process::road(in_process::Config::new(gateway_id), shard_inboxes);
    let worker_config = WorkerConfig {
        store: Arc::new(SqliteConfig::new(data.store(), config.store.synchronous)),
        http: config.http,
        keys: reload.keys(),
        dev_key: Some(key.into()),
        socket_url: socket_url(config.listen),
        origins: config.origins.clone(),
        large_group_members: config.logic.large_group_members,
        world: config.world,
    };
    let boot_epoch = boot_epoch()?;
    let live = LiveGateway { id: gateway_id, boot_epoch, shards };
    let roads = Roads::local(live, road.upstream, road.queries, road.routes, road.distributor, road.downlink);
    let worker = Worker::start(&worker_config, roads)?;

    let gateway_config = GatewayConfig {
        listen: config.listen,
        gateway: gateway_id,
        boot_epoch,
        shards,
        cores: config.engine.cores.clone(),
        limits: config.limits.engine.clone(),
        policy: reload.policy(),
    };
    let mut uplinks = road.uplinks.drain(..);
    let gateway = Gateway::start(&gateway_config, inboxes, |shard| {
        let uplink = uplinks.next().expect("the road has an uplink per shard");
        Chat::new(uplink, Parser::new(), gateway_id, boot_epoch, shard)
    })?;
    drop(uplinks);
    admin.show(Sources::dev(&health, &gateway, road.depths.clone(), &worker));
    health.started(parts::gateway(&gateway).into_iter().chain(parts::worker(&worker)).collect());
    greet(config, &gateway, &worker, admin.address);
    notify::ready();

    let running = Running { health, gateway, worker, closer: road.closer, depths: road.depths, reload };
    let failure = signals::wait(|| running.reload.reload(Some(&running.gateway)), || running.failure())?;
    running.drain(failure)
}

/// How a page finds the socket: where it listens on every address, at the host the page came from.
fn socket_url(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        return format!("ws://{{host}}:{}/ws", listen.port());
    }
    format!("ws://{listen}/ws")
}

/// The page's own address, by its names on this machine, and whatever is listed.
fn origins(config: &Config) -> Vec<String> {
    let port = config.http.port();
    let own = [
        format!("http://{}", config.http),
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
    ];
    own.into_iter().chain(config.origins.iter().cloned()).collect()
}

/// Distinct at each start, ascending: microseconds since 1970.
pub(crate) fn boot_epoch() -> Result<u64> {
    Ok(since_1970()?.as_micros() as u64)
}

fn greet(config: &Config, gateway: &Gateway, worker: &Worker, admin: std::net::SocketAddr) {
    let data = config.data.display();
    println!(
        "ringway dev {} is up, {} shard(s), data in {data}",
        env!("CARGO_PKG_VERSION"),
        config.engine.shards
    );
    println!("  socket   ws://{}/ws", gateway.address());
    println!("  API      http://{}/api", worker.http_address());
    println!("  admin    http://{admin}/metrics, /shards, /livez and /readyz");
    println!("  a token  ringway token --user 1 --data {data}");
    println!("Ctrl-C stops it; what was taken is persisted first.");
}

struct Running {
    health: Arc<Health>,
    gateway: Gateway,
    worker: Worker,
    closer: in_process::Closer,
    depths: Depths,
    reload: Reload,
}

impl Running {
    fn failure(&self) -> Option<String> {
        if self.gateway.has_failed() {
            return Some("a shard has failed".to_owned());
        }
        (!self.worker.is_healthy()).then(|| "a thread of the worker has ended".to_owned())
    }

    /// No commands any more; what is on its way settles; sessions close; the rest is persisted.
    fn drain(self, failure: Option<String>) -> Result<()> {
        tracing::info!("draining: no new connections and commands, then close 1001");
        self.health.draining();
        notify::stopping();
        self.gateway.stop_taking();
        self.settle();
        self.gateway.close();
        // A shard that has failed can't be waited for, and the others wait for it.
        let gateway = if failure.is_none() { self.gateway.join() } else { Ok(()) };
        self.closer.close();
        let persisted = self.worker.join();
        gateway?;
        if let Some(failure) = failure {
            bail!("{failure}: see the log; what was taken is persisted: {persisted}");
        }
        if !persisted {
            bail!("a thread of the worker panicked: see the log; messages without an ack may be lost");
        }
        tracing::info!("drained: everything that was taken is persisted");
        Ok(())
    }

    /// Gives acks of what was taken the time to reach their senders.
    fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..SETTLE_MAX.as_millis() / SETTLE_STEP.as_millis() {
            thread::sleep(SETTLE_STEP);
            // A batch may be between two queues: only a while of quiet tells.
            quiet = if self.depths.are_empty() { quiet + 1 } else { 0 };
            if quiet == 10 {
                return;
            }
        }
    }
}
