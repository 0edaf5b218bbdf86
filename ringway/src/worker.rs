//! `ringway logic`: a worker over Kafka, MySQL and Redis, with the HTTP API and the page.

use crate::admin;
use crate::cli;
use crate::config::{Loaded, Worker as Sections};
use crate::health::{Health, parts};
use crate::metrics::Sources;
use crate::notify;
use crate::operator;
use crate::reload::{Reload, loader};
use crate::signals;
use anyhow::{Result, bail};
use logic::roads::{Closers, Roads};
use logic::store::mysql::MySqlConfig;
use logic::{Worker, WorkerConfig};
use protocol::token::KeySource;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// How long the end waits for the store and for the shards; what is not done by then stays on the
/// road, and is done by whoever goes on.
const END_MAX: Duration = Duration::from_secs(15);
/// How long the end waits for everything. Kafka's client leaves its groups only once its last commits are
/// answered, or 45 s old when nobody answers; a store may take 30 s (`MYSQL_ANSWER_TIMEOUT`).
const LEAVE_MAX: Duration = Duration::from_secs(20);
/// How long records that were sent may take to be durable.
const FLUSH: Duration = Duration::from_secs(5);

/// The configuration of `ringway logic`.
pub(crate) type Config = Loaded<Sections>;

/// Runs until SIGINT or SIGTERM, then finishes its batch and leaves its groups.
pub(crate) fn run(args: &cli::Logic, config: &Config, keys: &[KeySource]) -> Result<()> {
    if let Some(call) = &args.call {
        return operator::run(call, config);
    }
    let health = Arc::new(Health::default());
    let admin = admin::serve(config.admin, Arc::clone(&health))?;
    let load = loader::<Sections>(args.config.clone(), args.flags());
    let reload = Reload::new(load, config.settings.clone(), keys, None, vec![]);
    let store = MySqlConfig::new(&config.mysql.url)?.with_batch_interval(config.mysql.batch_interval);
    let worker_config = WorkerConfig {
        store: Arc::new(store),
        http: config.http,
        keys: reload.keys(),
        dev_key: None,
        socket_url: config.socket_url.clone(),
        origins: config.origins.clone(),
        large_group_members: config.logic.large_group_members,
        world: config.world,
    };
    if let Some(failpoint) = args.failpoint {
        tracing::warn!("FAILPOINT: this worker {failpoint}; for tests, never for a deployment");
        failpoint.arm();
    }
    let (roads, closers) = Roads::connect(&config.kafka.0, &config.redis.0)?;
    let closers = Arc::new(closers);
    let worker = Worker::start(&worker_config, roads)?;
    admin.show(Sources::worker(&health, &worker));
    health.started(parts::worker(&worker).into_iter().chain([parts::downlink(&closers)]).collect());
    println!("ringway logic {} is up", env!("CARGO_PKG_VERSION"));
    println!("  API      http://{}/api", worker.http_address());
    println!("  admin    http://{}/metrics, /livez and /readyz", admin.address);

    notify::ready();

    let failed = || {
        if let Some(failure) = worker.failure() {
            return Some(failure.to_owned());
        }
        let ended = !worker.is_healthy();
        (ended || !closers.is_healthy()).then(|| "a part of the worker has ended: see the log".to_owned())
    };
    let failure = signals::wait(|| reload.reload(None), failed)?;
    drain(&health, worker, &closers, failure)
}

fn drain(health: &Health, worker: Worker, closers: &Arc<Closers>, failure: Option<String>) -> Result<()> {
    tracing::info!("draining: the present batch is finished, then the groups are left");
    health.draining();
    notify::stopping();
    closers.close();
    let late = Arc::clone(closers);
    thread::spawn(move || {
        thread::sleep(END_MAX);
        late.abandon();
    });
    let (told, ended) = mpsc::channel();
    thread::spawn(move || told.send(worker.join()));
    let ended = ended.recv_timeout(LEAVE_MAX);
    let flushed = ended.is_ok() && closers.flush(FLUSH);
    if let Some(failure) = failure {
        bail!("{failure}");
    }
    match ended {
        Ok(true) => {
            tracing::info!(flushed, "drained: what was not distributed stays in Kafka for the next worker");
        }
        Err(mpsc::RecvTimeoutError::Timeout) => tracing::warn!(
            "ended without leaving the groups, since Kafka or the store does not answer: others have the partitions \
             once the session here is over; what was not distributed stays in Kafka for them"
        ),
        Ok(false) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            bail!("a thread of the worker panicked: see the log; what it had not done stays in Kafka")
        }
    }
    Ok(())
}
