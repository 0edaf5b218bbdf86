//! `ringway gateway`: clients' sockets on one side, Kafka on the other, its routes in Redis.

use crate::admin;
use crate::cli;
use crate::config::{Gateway as Sections, Loaded};
use crate::dev::boot_epoch;
use crate::health::{Health, parts};
use crate::metrics::{Road, Sources};
use crate::notify;
use crate::reload::{Reload, loader};
use crate::signals;
use anyhow::{Result, bail};
use bus::ShardInbox;
use bus::directory::LiveGateway;
use bus::directory::redis::{Registrar, RegistrarConfig};
use bus::kafka::{GatewayRoad, PendingBounds};
use engine::gateway::{Gateway, GatewayConfig, check_machine, inboxes};
use engine::shard::Chat;
use protocol::command::Parser;
use protocol::token::KeySource;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long what was taken may be on its way before sessions are closed all the same.
const FLUSH: Duration = Duration::from_secs(10);
/// How long the road may take to end after that.
const STOP: Duration = Duration::from_secs(5);

/// The configuration of `ringway gateway`.
pub(crate) type Config = Loaded<Sections>;

/// Runs until SIGINT or SIGTERM, then drains.
pub(crate) fn run(args: &cli::Gateway, config: &Config, keys: &[KeySource]) -> Result<()> {
    check_machine(&config.engine.cores, &config.limits.engine)?;
    let health = Arc::new(Health::default());
    let admin = admin::serve(config.admin, Arc::clone(&health))?;
    let load = loader::<Sections>(args.config.clone(), args.flags());
    let reload = Reload::new(load, config.settings.clone(), keys, None, config.origins.clone());
    let (shards, boot_epoch) = (config.engine.shards, boot_epoch()?);
    let inboxes = inboxes(shards)?;
    let shard_inboxes = || inboxes.iter().map(|inbox| Arc::clone(inbox) as Arc<dyn ShardInbox>).collect();

    // In this order: whatever is sent to a session of this start lies behind the watermarks that its
    // shards begin at, and nobody is let in before routes can be kept.
    let started = GatewayRoad::start(&config.kafka.0, config.id, shard_inboxes(), PendingBounds::default())?;
    let lost = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lost);
    let registrar = Registrar::start(RegistrarConfig {
        settings: config.redis.0.clone(),
        gateway: LiveGateway { id: config.id, boot_epoch, shards },
        policy: config.limits.engine.session_policy,
        sessions_per_user_max: config.limits.engine.sessions_per_user_max,
        routes: started.routes,
        inboxes: shard_inboxes(),
        kicks: started.road.kicks(),
        on_lost: Box::new(move || told.store(true, Ordering::SeqCst)),
    })?;
    let gateway_config = GatewayConfig {
        listen: config.listen,
        gateway: config.id,
        boot_epoch,
        shards,
        cores: config.engine.cores.clone(),
        limits: config.limits.engine.clone(),
        policy: reload.policy(),
    };
    let mut uplinks = started.uplinks.into_iter();
    let gateway = Gateway::start(&gateway_config, inboxes, |shard| {
        let uplink = uplinks.next().expect("the road has an uplink per shard");
        Chat::new(uplink, Parser::new(), config.id, boot_epoch, shard)
    })?;
    let road = Arc::new(Road::new(&started.road, Arc::clone(registrar.stats())));
    admin.show(Sources::gateway(&health, &gateway, Arc::clone(&road)));
    health.started(parts::gateway(&gateway).into_iter().chain(parts::road(&started.road)).collect());
    println!("ringway gateway {} is up, {shards} shard(s)", config.id);
    println!("  socket   ws://{}/ws", gateway.address());
    println!("  admin    http://{}/metrics, /shards, /livez and /readyz", admin.address);

    notify::ready();
    let running = Running { health, gateway, road: started.road, registrar, lost };
    let failure = signals::wait(|| reload.reload(Some(&running.gateway)), || running.failure())?;
    running.drain(failure)
}

struct Running {
    health: Arc<Health>,
    gateway: Gateway,
    road: GatewayRoad,
    registrar: Registrar,
    lost: Arc<AtomicBool>,
}

impl Running {
    fn failure(&self) -> Option<String> {
        let failures = [
            (self.gateway.has_failed(), "a shard has failed"),
            (!self.road.is_healthy(), "the way to Kafka has failed for good"),
            (!self.registrar.is_healthy(), "the thread that keeps the routes has ended"),
            (self.lost.load(Ordering::SeqCst), "another start of this gateway has taken its lease"),
        ];
        failures.into_iter().find(|(failed, _)| *failed).map(|(_, what)| what.to_owned())
    }

    /// No commands any more; what was taken is confirmed and its acks go out; sessions close, with
    /// a hint when to come back; the lease is given up.
    fn drain(self, failure: Option<String>) -> Result<()> {
        tracing::info!("draining: no new connections and commands, then close 1001");
        self.health.draining();
        notify::stopping();
        self.gateway.stop_taking();
        let flushed = self.road.flush(FLUSH);
        if !flushed {
            tracing::warn!(
                "not everything that was taken is confirmed: its senders got no ack, and send it again"
            );
        }
        self.gateway.close();
        // A shard that has failed can't be waited for, and the others wait for it.
        let closed = if self.gateway.has_failed() { Ok(()) } else { self.gateway.join() };
        self.registrar.stop();
        let stopped = self.road.stop(STOP);
        closed?;
        if let Some(failure) = failure {
            bail!("{failure}: see the log");
        }
        tracing::info!(confirmed = flushed && stopped, "drained");
        Ok(())
    }
}
