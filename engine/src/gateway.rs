//! The shards of one process, from start to drain.

use crate::executor::{self, Executor, ExecutorError};
use crate::ring::{ListenError, Listener, RingConfig, RingError, UringRing, probe};
use crate::session::Policy;
use crate::shard::{ACCEPTS, Control, Identity, Inbox, Service, Shard, ShardConfig, Stats};
use bus::ShardInbox;
use protocol::limits::{CONTROL_PAUSE, CONTROL_TRIES};
use protocol::{GatewayId, Limits};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use thiserror::Error;

/// Receive buffers per shard: 2 MiB with their size, a fixed cost.
pub const RECEIVE_BUFFERS: u16 = 512;
/// Bytes of one of them.
pub const RECEIVE_BUFFER_BYTES: usize = 4_096;

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Its name.
    pub gateway: GatewayId,
    /// Chosen anew at each start.
    pub boot_epoch: u64,
    /// How many shards; each has its own ring and table of sockets.
    pub shards: u16,
    /// The cores that shards are pinned to, in turn; empty: not pinned.
    pub cores: Vec<usize>,
    /// The bounds in force.
    pub limits: Limits,
    /// Who may connect.
    pub policy: Arc<Policy>,
}

/// Why a gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A shard's ring could not be made.
    #[error("shard {0}: {1}")]
    Ring(u16, RingError),
    /// This machine does not allow the ring of any shard.
    #[error(transparent)]
    Forbidden(RingError),
    /// A shard ended before it had a ring, without a reason of its own.
    #[error("shard {0} did not start: see the log, and what `ringway doctor` says")]
    Silent(u16),
    /// A shard's executor did not start.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// No inbox.
    #[error(
        "cannot make the inbox of a shard: {0}; if no descriptor is left, raise the limit of open files with \
         `ulimit -n` (systemd: LimitNOFILE=), or use fewer shards; `ringway doctor` tells the limits"
    )]
    Inbox(io::Error),
    /// A core that is not there.
    #[error(
        "core {core} is not among those that this process may run on ({}): list some of these in `cores`, or allow \
         others (taskset, AllowedCPUs= in systemd, docker run --cpuset-cpus)",
        executor::list(.allowed)
    )]
    Core {
        /// The core asked for.
        core: usize,
        /// Those there are.
        allowed: Vec<usize>,
    },
}

/// Shards that did not take what they were asked: they have not looked for a while.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("shards {0:?} take nothing that they are asked: do they hang? /livez tells")]
pub struct Untold(pub Vec<u16>);

/// The inboxes of a gateway's shards, made first: the road needs them, and the gateway the road.
pub fn inboxes(shards: u16) -> Result<Arc<[Arc<Inbox>]>, StartError> {
    (0..shards).map(|_| Inbox::new().map(Arc::new)).collect::<Result<_, _>>().map_err(StartError::Inbox)
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    inboxes: Arc<[Arc<Inbox>]>,
    stats: Vec<Arc<Stats>>,
    executors: Vec<Executor>,
    failed: Arc<AtomicBool>,
}

impl Gateway {
    /// Starts every shard; `service` makes the one for a shard's index.
    pub fn start<S: Service + Send + 'static>(
        config: &GatewayConfig,
        inboxes: Arc<[Arc<Inbox>]>,
        mut service: impl FnMut(u16) -> S,
    ) -> Result<Self, StartError> {
        check_machine(&config.cores, &config.limits)?;
        let (listeners, address) = Listener::bind(config.listen, config.shards)?;
        let peers: Arc<[AtomicI32]> = (0..config.shards).map(|_| AtomicI32::new(-1)).collect();
        let mut gateway = Self {
            address,
            inboxes,
            stats: (0..config.shards).map(|_| Arc::default()).collect(),
            executors: Vec::new(),
            failed: Arc::default(),
        };
        // No ring goes before all shards have ended: a socket may be on its way to it.
        let end = Arc::new(Barrier::new(usize::from(config.shards)));
        let (started, starts) = mpsc::channel();
        let mut signals = Vec::new();
        for (shard, listener) in (0..).zip(listeners) {
            let (signal, go) = mpsc::channel();
            signals.push(signal);
            let thread = Thread {
                shard,
                config: gateway.shard_config(config, shard),
                ring: gateway.ring_config(config, shard, &peers),
                listener,
                service: service(shard),
                end: Arc::clone(&end),
                started: started.clone(),
                go,
                failed: Arc::clone(&gateway.failed),
            };
            let core =
                (!config.cores.is_empty()).then(|| config.cores[usize::from(shard) % config.cores.len()]);
            gateway.executors.push(executor::start(&format!("shard-{shard}"), core, move || thread.run())?);
        }
        drop(started);
        gateway.all_started(&starts, signals)
    }

    /// Nobody accepts before all rings are there; without a signal a shard ends.
    fn all_started(
        self,
        starts: &mpsc::Receiver<(u16, Result<(), RingError>)>,
        signals: Vec<mpsc::Sender<()>>,
    ) -> Result<Self, StartError> {
        // Ends once every shard has either told or gone without a word.
        let results: Vec<_> = starts.iter().collect();
        let silent = (0..signals.len() as u16).find(|shard| results.iter().all(|(told, _)| told != shard));
        let failed = results.into_iter().find_map(|(shard, result)| Some((shard, result.err()?)));
        if silent.is_none() && failed.is_none() {
            for signal in signals {
                let _ = signal.send(());
            }
            return Ok(self);
        }
        drop(signals);
        let ended = self.join();
        match failed {
            Some((shard, error)) => Err(StartError::Ring(shard, error)),
            None => {
                Err(ended.map_or_else(StartError::Executor, |()| StartError::Silent(silent.unwrap_or(0))))
            }
        }
    }

    fn shard_config(&self, config: &GatewayConfig, shard: u16) -> ShardConfig {
        let GatewayConfig { gateway, boot_epoch, shards, .. } = *config;
        ShardConfig {
            identity: Identity { gateway, boot_epoch, shard, shards },
            limits: config.limits.clone(),
            policy: Arc::clone(&config.policy),
            inboxes: Arc::clone(&self.inboxes),
            stats: Arc::clone(&self.stats[usize::from(shard)]),
        }
    }

    fn ring_config(&self, config: &GatewayConfig, shard: u16, peers: &Arc<[AtomicI32]>) -> RingConfig {
        RingConfig {
            table: ShardConfig::table(&config.limits) as u32,
            buffers: RECEIVE_BUFFERS,
            buffer_bytes: RECEIVE_BUFFER_BYTES,
            accepts: ACCEPTS,
            shard,
            peers: Arc::clone(peers),
            wake: self.inboxes[usize::from(shard)].wake_fd(),
        }
    }

    /// Where it listens; with port 0 asked for, the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each shard's figures.
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// Each shard's inbox.
    pub fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.inboxes
    }

    /// Whether a shard has ended with an error; the others cannot go on for it.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// No new connections, no new commands; what is on its way is still delivered.
    pub fn stop_taking(&self) {
        self.control_or_log(&Control::StopTaking);
    }

    /// New connections are let in by `policy` from now on; sessions that are open stay. An error names
    /// the shards that go on with the one before.
    pub fn set_policy(&self, policy: &Arc<Policy>) -> Result<(), Untold> {
        self.control(&Control::Policy(Arc::clone(policy)))
    }

    /// Closes every session with 1001; the shards end when the last one has gone.
    pub fn close(&self) {
        self.control_or_log(&Control::Close);
    }

    fn control_or_log(&self, control: &Control) {
        if let Err(untold) = self.control(control) {
            tracing::error!(%untold, "not every shard could be asked to drain");
        }
    }

    /// Asks every shard; those whose queue is full again for a while. One that has ended needs nothing.
    fn control(&self, control: &Control) -> Result<(), Untold> {
        let mut left: Vec<u16> = (0..self.inboxes.len() as u16).collect();
        for _ in 0..CONTROL_TRIES {
            left.retain(|shard| {
                let inbox = &self.inboxes[usize::from(*shard)];
                !inbox.is_closed() && !inbox.control(control.clone())
            });
            if left.is_empty() {
                return Ok(());
            }
            std::thread::sleep(CONTROL_PAUSE);
        }
        for shard in &left {
            self.stats[usize::from(*shard)].controls_untold.add(1);
        }
        Err(Untold(left))
    }

    /// Waits for the shards to end.
    pub fn join(self) -> Result<(), ExecutorError> {
        self.executors.into_iter().try_for_each(Executor::join)
    }
}

/// What this machine forbids to every shard, as one error. To be asked first: told by executors it
/// would be a panic each, and whatever else takes descriptors would fail before them and not say why.
pub fn check_machine(cores: &[usize], limits: &Limits) -> Result<(), StartError> {
    check_cores(cores)?;
    executor::check_locked_memory()?;
    probe::permitted(ShardConfig::table(limits) as u32).map_err(StartError::Forbidden)
}

fn check_cores(cores: &[usize]) -> Result<(), StartError> {
    // Where the mask can't be read, pinning itself will tell.
    let Some(allowed) = executor::cores_allowed() else { return Ok(()) };
    match cores.iter().find(|core| !allowed.contains(core)) {
        Some(&core) => Err(StartError::Core { core, allowed }),
        None => Ok(()),
    }
}

struct Thread<S> {
    shard: u16,
    config: ShardConfig,
    ring: RingConfig,
    listener: Listener,
    service: S,
    end: Arc<Barrier>,
    started: mpsc::Sender<(u16, Result<(), RingError>)>,
    go: mpsc::Receiver<()>,
    failed: Arc<AtomicBool>,
}

impl<S: Service> Thread<S> {
    fn run(self) {
        let inbox = Arc::clone(&self.config.inboxes[usize::from(self.shard)]);
        let (ring, told) = match UringRing::new(self.ring, Some(self.listener)) {
            Ok(ring) => (Some(ring), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let _ = self.started.send((self.shard, told));
        drop(self.started);
        let (Some(ring), Ok(())) = (ring, self.go.recv()) else {
            inbox.close();
            return;
        };
        let mut shard = Shard::new(self.config, ring, self.service);
        let guard = FailedUnlessEnded { failed: &self.failed, inbox: &inbox };
        if let Err(error) = shard.run() {
            tracing::error!(shard = self.shard, %error, "the shard's ring failed; the shard ends");
        } else {
            std::mem::forget(guard);
        }
        self.end.wait();
    }
}

/// Tells the gateway when a shard ends otherwise than by being asked to, even by a panic.
struct FailedUnlessEnded<'a> {
    failed: &'a AtomicBool,
    inbox: &'a Inbox,
}

impl Drop for FailedUnlessEnded<'_> {
    fn drop(&mut self) {
        self.failed.store(true, Ordering::SeqCst);
        self.inbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{Gateway, StartError, Untold, check_cores, inboxes};
    use crate::executor::cores_allowed;
    use crate::session::Policy;
    use protocol::limits::CONTROL_QUEUE_RECORDS;
    use rustix::thread::{CpuSet, sched_setaffinity};
    use std::sync::Arc;

    #[test]
    fn a_shard_that_takes_nothing_is_named_and_counted() {
        let gateway = Gateway {
            address: "127.0.0.1:0".parse().unwrap(),
            inboxes: inboxes(3).unwrap(),
            stats: (0..3).map(|_| Arc::default()).collect(),
            executors: vec![],
            failed: Arc::default(),
        };
        let policy = Arc::<Policy>::default();
        for _ in 0..CONTROL_QUEUE_RECORDS {
            assert_eq!(gateway.set_policy(&policy), Ok(()));
        }
        gateway.inboxes[1].close();
        assert_eq!(gateway.set_policy(&policy), Err(Untold(vec![0, 2])), "one that has ended needs nothing");
        let counted: Vec<_> = gateway.stats().iter().map(|stats| stats.controls_untold.get()).collect();
        assert_eq!(counted, [1, 0, 1]);
    }

    #[test]
    fn cores_are_those_of_the_affinity_mask() {
        let allowed = cores_allowed().expect("this process may run somewhere");
        let last = *allowed.last().expect("at least on one core");
        // Only this thread's: the mask of a thread is its own.
        let mut only_last = CpuSet::new();
        only_last.set(last);
        sched_setaffinity(None, &only_last).expect("fewer cores are always allowed");
        assert!(check_cores(&[]).is_ok() && check_cores(&[last, last]).is_ok());
        let error = check_cores(&[last, last + 1]).expect_err("it is not in the mask");
        assert!(
            matches!(&error, StartError::Core { core, allowed } if *core == last + 1 && allowed[..] == [last])
        );
        assert!(error.to_string().contains(&format!("may run on ({last})")), "{error}");
    }
}
