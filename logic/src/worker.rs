//! The threads of one worker: persister, distributor, scans of large groups, query, HTTP.

use crate::decide::WorldRates;
use crate::distribute::{Distributor, DistributorConfig};
use crate::fanout;
use crate::groups::Groups;
use crate::handoff;
use crate::http::{self, Api};
use crate::outbound::Outbound;
use crate::persist::Persister;
use crate::query::Queries;
use crate::stats::Stats;
use crate::store::StoreError;
use crate::store::read::Reader;
use crate::store::sqlite::{self, SqliteConfig, SqliteStore};
use bus::directory::{LiveGateway, Memory};
use bus::{Downlink, Parker, QuerySource, RouteSource, UpstreamSource};
use protocol::GatewayId;
use protocol::limits::DISTRIBUTE_QUEUE_BATCHES;
use protocol::token::Keys;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, oneshot, watch};

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The store.
    pub store: SqliteConfig,
    /// The gateway whose shards are served.
    pub gateway: GatewayId,
    /// How many shards it has.
    pub shards: u16,
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// The keys of tokens, as they are now.
    pub keys: watch::Receiver<Keys>,
    /// The key that signs development tokens; none outside `dev`.
    pub dev_key: Option<Arc<[u8]>>,
    /// Where the socket is; `{host}` stands for the host that a client asked for.
    pub socket_url: String,
    /// Pages of other origins that may use the API.
    pub origins: Vec<String>,
    /// A group with more members than this is large, for ever.
    pub large_group_members: u32,
    /// What `world` takes.
    pub world: WorldRates,
}

/// A worker's ends of the road.
pub struct Roads<U, Q, R, D> {
    /// Messages.
    pub upstream: U,
    /// Queries.
    pub queries: Q,
    /// Route changes.
    pub routes: R,
    /// What the distributor parks on.
    pub distributor: Parker,
    /// To the shards.
    pub downlink: D,
}

/// Why a worker did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP address can't be listened on.
    #[error(
        "cannot listen on {address} for the HTTP API: {source}; stop what has it, or choose another with --http"
    )]
    Http {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A thread or its runtime could not be made.
    #[error("cannot start a thread of the worker: {0}")]
    Thread(#[source] io::Error),
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    threads: Vec<JoinHandle<()>>,
    http: JoinHandle<()>,
    http_stop: oneshot::Sender<()>,
    http_address: SocketAddr,
    stats: Arc<Stats>,
}

fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(StartError::Thread)
}

impl Worker {
    /// Prepares the store, then starts the threads.
    pub fn start<U, Q, R, D>(config: &WorkerConfig, roads: Roads<U, Q, R, D>) -> Result<Self, StartError>
    where
        U: UpstreamSource + 'static,
        Q: QuerySource + 'static,
        R: RouteSource + 'static,
        D: Downlink + Clone + Sync + 'static,
    {
        let stats = Arc::new(Stats::new(config.shards));
        let partitions = roads.upstream.partitions();
        let (persisting, querying, serving, scanning) = (runtime()?, runtime()?, runtime()?, runtime()?);
        persisting.block_on(sqlite::prepare(&config.store, partitions))?;
        let Roads { upstream, queries, routes, distributor: parker, downlink } = roads;
        let gateway = LiveGateway { id: config.gateway, boot_epoch: 0, shards: config.shards };
        let outbound = Outbound::new(Memory::new(&[gateway]), downlink, Arc::clone(&stats));
        let reader = |runtime: &Runtime| runtime.block_on(Reader::open(&config.store.path));
        let store = |runtime: &Runtime| runtime.block_on(SqliteStore::open(&config.store));

        let persister = Persister::new(store(&persisting)?, config.world, Arc::clone(&stats));
        let persister = persisting.block_on(persister)?;
        let (large, fanout) =
            fanout::queue(outbound.clone(), reader(&scanning)?, &stats, config.gateway, config.shards);
        let distributor =
            DistributorConfig { gateway: config.gateway, shards: config.shards, world: config.world };
        let (batches, received) = handoff::queue(DISTRIBUTE_QUEUE_BATCHES, &parker);
        let distributor = Distributor::new(routes, outbound.clone(), large, distributor, Arc::clone(&stats));
        let query = Queries {
            reader: reader(&querying)?,
            store: store(&querying)?,
            outbound: outbound.clone(),
            stats: Arc::clone(&stats),
        };
        let api = Api {
            groups: Arc::new(Mutex::new(Groups::new(
                store(&serving)?,
                partitions,
                config.large_group_members,
            ))),
            reader: Arc::new(Mutex::new(reader(&serving)?)),
            store: Arc::new(Mutex::new(store(&serving)?)),
            tell: Arc::new(outbound),
            keys: config.keys.clone(),
            dev_key: config.dev_key.clone(),
            socket_url: config.socket_url.as_str().into(),
            origins: config.origins.clone().into(),
        };
        let (http, http_stop, http_address) = serve_http(config.http, api, serving)?;
        let threads = vec![
            spawn("persister", move || persister.run(upstream, batches, &persisting))?,
            spawn("distributor", move || distributor.run(&received, &parker))?,
            spawn("fanout", move || fanout.run(&scanning))?,
            spawn("query", move || query.run(queries, &querying))?,
        ];
        Ok(Self { threads, http, http_stop, http_address, stats })
    }

    /// Where the HTTP API listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// What it has counted.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Whether every thread is still at work.
    pub fn is_healthy(&self) -> bool {
        !self.http.is_finished() && self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Waits until everything that was on the closed road is persisted and distributed; `false` if
    /// a thread panicked.
    pub fn join(self) -> bool {
        let ended: Vec<_> = self.threads.into_iter().map(|thread| thread.join().is_ok()).collect();
        let _ = self.http_stop.send(());
        self.http.join().is_ok() && ended.iter().all(|ended| *ended)
    }
}

type Serving = (JoinHandle<()>, oneshot::Sender<()>, SocketAddr);

fn serve_http(address: SocketAddr, api: Api, runtime: Runtime) -> Result<Serving, StartError> {
    let fail = |source| StartError::Http { address, source };
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let app = http::router(api).into_make_service_with_connect_info::<SocketAddr>();
    let thread = spawn("http", move || {
        runtime.block_on(async {
            let serve = axum::serve(listener, app);
            tokio::select! {
                result = async { serve.await } => if let Err(error) = result {
                    tracing::error!(%error, "the HTTP API has ended");
                },
                _ = stopped => {}
            }
        });
    })?;
    Ok((thread, stop, address))
}
