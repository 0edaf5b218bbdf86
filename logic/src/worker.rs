//! The threads of one worker: persister, distributor, scans of large groups, query, HTTP.

use crate::decide::WorldRates;
use crate::distribute::{Distributor, DistributorConfig};
use crate::fanout::Fanout;
use crate::groups::Groups;
use crate::handoff::{self, Bounds};
use crate::history::Histories;
use crate::http::{self, Api};
use crate::outbound::Outbound;
use crate::persist::{Persister, Run};
use crate::progress::Progress;
use crate::query::Queries;
use crate::roads::Roads;
use crate::stats::Stats;
use crate::store::{Backend, StoreError};
use bus::directory::Directory;
use bus::{Downlink, QuerySource, UpstreamSource};
use protocol::limits::{DISTRIBUTE_QUEUE_BATCHES, DISTRIBUTE_QUEUE_BYTES};
use protocol::token::Keys;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, oneshot, watch};

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The store.
    pub store: Arc<dyn Backend>,
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

impl WorkerConfig {
    fn api<D, Y>(
        &self,
        runtime: &Runtime,
        partitions: u16,
        outbound: Outbound<D, Y>,
        stats: &Arc<Stats>,
    ) -> Result<Api, StoreError>
    where
        D: Downlink + Clone + Sync + 'static,
        Y: Directory + Clone + Sync + 'static,
    {
        let groups = runtime.block_on(self.store.open_groups(partitions))?;
        Ok(Api {
            groups: Arc::new(Mutex::new(Groups::new(groups, self.large_group_members))),
            reader: Arc::new(Mutex::new(runtime.block_on(self.store.open_reader())?)),
            marks: Arc::new(Mutex::new(runtime.block_on(self.store.open_marks())?)),
            tell: Arc::new(outbound),
            stats: Arc::clone(stats),
            keys: self.keys.clone(),
            dev_key: self.dev_key.clone(),
            socket_url: self.socket_url.as_str().into(),
            origins: self.origins.clone().into(),
        })
    }
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
    threads: Vec<Running>,
    http: Running,
    http_stop: oneshot::Sender<()>,
    http_address: SocketAddr,
    stats: Arc<Stats>,
    failure: Arc<OnceLock<String>>,
}

fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

/// A thread of a worker, as seen from elsewhere.
#[derive(Debug, Clone)]
pub struct ThreadWatch {
    /// Its name.
    pub name: &'static str,
    held: Weak<()>,
}

impl ThreadWatch {
    /// Whether it has not ended, by a panic or otherwise.
    pub fn is_running(&self) -> bool {
        self.held.strong_count() > 0
    }
}

#[derive(Debug)]
struct Running {
    watch: ThreadWatch,
    handle: JoinHandle<()>,
}

impl Running {
    /// Waits for its end; `false` if it panicked.
    fn join(self) -> bool {
        self.handle.join().is_ok()
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<Running, StartError> {
    let held = Arc::new(());
    let watch = ThreadWatch { name, held: Arc::downgrade(&held) };
    let work = move || {
        let _held = held;
        work();
    };
    let handle = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(StartError::Thread)?;
    Ok(Running { watch, handle })
}

impl Worker {
    /// Prepares the store, then starts the threads.
    pub fn start<U, Q, D, Y>(config: &WorkerConfig, roads: Roads<U, Q, D, Y>) -> Result<Self, StartError>
    where
        U: UpstreamSource + 'static,
        Q: QuerySource + 'static,
        D: Downlink + Clone + Sync + 'static,
        Y: Directory + Clone + Sync + 'static,
    {
        let Roads { upstream, queries, downlink, directory, large, tasks, distributor: parker, .. } = roads;
        let Roads { routes, hot, stats, abandon, .. } = roads;
        let partitions = upstream.partitions();
        let (persisting, querying, serving, scanning) = (runtime()?, runtime()?, runtime()?, runtime()?);
        persisting.block_on(config.store.prepare(partitions))?;
        let near = || hot.as_ref().map(|hot| hot());
        let histories = |runtime: &Runtime| {
            let reader = runtime.block_on(config.store.open_reader())?;
            Ok::<_, StoreError>(Histories { reader, hot: near(), stats: Arc::clone(&stats) })
        };
        let marks = |runtime: &Runtime| runtime.block_on(config.store.open_marks());
        let outbound = Outbound::new(directory.clone(), downlink, Arc::clone(&stats));
        let progress = Arc::new(Progress::new(partitions));

        let store = persisting.block_on(config.store.open_store())?;
        let persister = persisting.block_on(Persister::new(store, config.world, Arc::clone(&stats)))?;
        let bounds = Bounds { items: DISTRIBUTE_QUEUE_BATCHES, bytes: DISTRIBUTE_QUEUE_BYTES };
        let (batches, received) = handoff::queue(bounds, &parker);
        let failure = Arc::new(OnceLock::new());
        let run = Run::new(persister, upstream, batches, Arc::clone(&progress), persisting, abandon);
        let distribute = DistributorConfig {
            routes,
            large,
            hot: near(),
            world: config.world,
            progress,
            stats: Arc::clone(&stats),
        };
        let distributor = Distributor::new(outbound.clone(), distribute);
        let fanout = Fanout::new(outbound.clone(), histories(&scanning)?, scanning);
        let query = Queries {
            histories: histories(&querying)?,
            marks: marks(&querying)?,
            outbound: outbound.clone(),
            stats: Arc::clone(&stats),
        };
        let api = config.api(&serving, partitions, outbound, &stats)?;
        let (http, http_stop, http_address) = serve_http(config.http, api, serving)?;
        let failed = Arc::clone(&failure);
        let persist = move || {
            if let Err(stopped) = run.run() {
                tracing::error!(error = %stopped, "the persister can't go on");
                let _ = failed.set(stopped.to_string());
            }
        };
        let threads = vec![
            spawn("persister", persist)?,
            spawn("distributor", move || distributor.run(&received, &parker))?,
            spawn("fanout", move || fanout.run(tasks))?,
            spawn("query", move || query.run(queries, &querying))?,
        ];
        Ok(Self { threads, http, http_stop, http_address, stats, failure })
    }

    /// Why the persister could not go on, if it could not.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Where the HTTP API listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// What it has counted.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Its threads, to be watched from elsewhere.
    pub fn threads(&self) -> Vec<ThreadWatch> {
        self.threads.iter().chain([&self.http]).map(|thread| thread.watch.clone()).collect()
    }

    /// Whether every thread is still at work.
    pub fn is_healthy(&self) -> bool {
        self.threads.iter().chain([&self.http]).all(|thread| thread.watch.is_running())
    }

    /// Waits until everything that was on the closed road is persisted and distributed; `false` if
    /// a thread panicked.
    pub fn join(self) -> bool {
        let ended: Vec<_> = self.threads.into_iter().map(Running::join).collect();
        let _ = self.http_stop.send(());
        self.http.join() && ended.iter().all(|ended| *ended)
    }
}

type Serving = (Running, oneshot::Sender<()>, SocketAddr);

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
