//! A run from the first connection to the judgement of its ledger.

use crate::client::Shared;
use crate::client::task::Phase;
use crate::counters::Counters;
use crate::judge::judge;
use crate::ledger::reader::LedgerError;
use crate::ledger::writer::{Latencies, Writer};
use crate::ledger::{End, FORMAT, Header, VERSION};
use crate::options::Options;
use crate::progress::Progress;
use crate::random::Random;
use crate::report::{Observed, Quantiles, Report};
use crate::schedule::Pacer;
use crate::setup::{self, Crowd};
use crate::{dial, ledger};
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::watch;

/// After how long without any news what was sent counts as settled for better or worse, without and
/// with lost connections.
const QUIET: Duration = Duration::from_secs(10);
const QUIET_RECONNECT: Duration = Duration::from_secs(30);
/// How long a backlog may take that still moves.
const SETTLE: Duration = Duration::from_secs(300);
/// How long reading everything back may take, and how it is spread: one client each so many µs.
const READ_BACK: Duration = Duration::from_secs(120);
const READ_BACK_SPREAD_US: u64 = 200;
/// Between the last client's start and the first message.
const BREATH: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no report.
#[derive(Debug, Error)]
pub enum RunError {
    /// The options don't go together.
    #[error("{0}")]
    Usage(String),
    /// The server can't be reached, or doesn't let everybody in.
    #[error("{0}")]
    Unavailable(String),
    /// The ledger can't be written.
    #[error("cannot write the ledger {0}: {1}")]
    Write(String, std::io::Error),
    /// The ledger can't be read back.
    #[error("cannot judge the ledger {0}: {1}")]
    Judge(String, LedgerError),
    /// There are no threads.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    /// Ctrl-C before anything was sent.
    #[error("interrupted before the first message")]
    Interrupted,
}

/// Runs the load, keeps the ledger, judges it.
pub fn quick(options: &Options) -> Result<Report, RunError> {
    options.check().map_err(RunError::Usage)?;
    dial::raise_descriptors(options.users.len()).map_err(RunError::Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::Runtime)?;
    let done = runtime.block_on(Run::start(options)?.live())?;
    drop(runtime);
    let ledger = options.ledger.display().to_string();
    let file = File::open(&options.ledger).map_err(|error| RunError::Judge(ledger.clone(), error.into()))?;
    let (_, verdict) = judge(BufReader::new(file)).map_err(|error| RunError::Judge(ledger.clone(), error))?;
    let interrupted = done.interrupted;
    Ok(Report {
        version: 1,
        run: done.run,
        seed: options.seed,
        connections: options.users.len(),
        groups: (options.groups, options.group_size),
        rate: options.rate,
        duration_s: options.duration.as_secs_f64(),
        connect_s: done.connect.as_secs_f64(),
        drain_s: done.drain.as_secs_f64(),
        settled: done.settled,
        incomplete: interrupted,
        persisted_per_second: verdict.persisted as f64 / done.sending.as_secs_f64().max(0.001),
        ack_ms: Quantiles::of(&done.latencies.ack),
        delivery_ms: Quantiles::of(&done.latencies.delivery),
        observed: done.observed,
        ledger,
        verdict,
    })
}

/// What is known when the last client has left.
struct Done {
    run: String,
    latencies: Latencies,
    observed: Observed,
    connect: Duration,
    sending: Duration,
    drain: Duration,
    settled: bool,
    /// Whether what is missing is lost.
    quiet: bool,
    interrupted: bool,
}

struct Run<'a> {
    options: &'a Options,
    shared: Arc<Shared>,
    writer: Writer,
    ledger: ledger::writer::Ledger,
    started: Instant,
    interrupts: Arc<AtomicU64>,
    progress: Progress,
}

/// How far what was sent had come when it was to be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// Everything was there.
    All,
    /// Something was missing, and nothing moved any more.
    Quiet,
    /// Something was still on its way, or may have been.
    Moving,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Reached,
    TimedOut,
    Interrupted,
}

impl<'a> Run<'a> {
    fn start(options: &'a Options) -> Result<Self, RunError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Distinct from run to run, or a second run's ids would be taken for repeats of the first's.
        let mut name = Random::new((now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(32));
        let run = format!("{:08x}", name.number() as u32);
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            run: run.clone(),
            seed: options.seed,
            connections: options.users.len(),
            rate: options.rate,
            started: protocol::UnixMs(now.as_millis() as u64).to_string(),
            at_least_once: options.at_least_once,
        };
        let (writer, ledger) = Writer::start(&options.ledger, &header)
            .map_err(|error| RunError::Write(options.ledger.display().to_string(), error))?;
        let shared = Arc::new(Shared {
            run,
            payload_bytes: options.payload_bytes,
            measured_from_us: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            counters: Counters::default(),
        });
        let interrupts = Arc::default();
        Ok(Self {
            options,
            shared,
            writer,
            ledger,
            started: Instant::now(),
            interrupts,
            progress: Progress::new(),
        })
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    async fn live(mut self) -> Result<Done, RunError> {
        let interrupts = Arc::clone(&self.interrupts);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                interrupts.fetch_add(1, Relaxed);
            }
        });
        let (phase, phases) = watch::channel(Phase::Run);
        let mut crowd = setup::crowd(self.options, &self.shared, &self.ledger, self.started, phases).await?;
        let connecting = Instant::now();
        self.connect().await?;
        let connect = connecting.elapsed();

        let first = self.started.elapsed() + BREATH;
        self.send(&mut crowd, first).await?;
        let sending = self.started.elapsed().saturating_sub(first);
        let due = Instant::now();
        let settled = self.settle().await?;
        let drain = due.elapsed();

        let users = self.options.users.len() as u64;
        let mut all_read = false;
        if self.interrupts.load(Relaxed) < 2 {
            let _ = phase.send(Phase::ReadBack(users * READ_BACK_SPREAD_US));
            let done = |c: &Counters| c.read_back.load(Relaxed) + c.gone.load(Relaxed) >= users;
            all_read = self.wait("reading back", READ_BACK, 2, done).await? == Waited::Reached;
        }
        let observed = self.observe();
        let _ = phase.send(Phase::Stop);
        while crowd.clients.join_next().await.is_some() {}
        self.progress.end();
        // Ended by a second Ctrl-C, what is missing may have been on its way.
        let ended = self.interrupts.load(Relaxed) >= 2;
        let quiet = settled != Settled::Moving && all_read && !ended;
        let settled = settled == Settled::All && !ended;
        let done = Done {
            run: self.shared.run.clone(),
            latencies: Latencies::default(),
            observed,
            connect,
            sending: sending + if settled { drain } else { Duration::ZERO },
            drain,
            settled,
            quiet,
            interrupted: self.interrupts.load(Relaxed) > 0,
        };
        self.finish(done)
    }

    fn finish(self, mut done: Done) -> Result<Done, RunError> {
        drop(self.ledger);
        let Done { interrupted, settled, quiet, .. } = done;
        let end = End { interrupted, settled, quiet, ..End::default() };
        let path = self.options.ledger.display().to_string();
        done.latencies = self.writer.finish(end).map_err(|error| RunError::Write(path, error))?;
        Ok(done)
    }

    /// Waits for something, and shows how far it is; more Ctrl-C than were had end the wait.
    async fn wait(
        &mut self,
        what: &str,
        at_most: Duration,
        interrupts: u64,
        reached: impl Fn(&Counters) -> bool,
    ) -> Result<Waited, RunError> {
        let until = Instant::now() + at_most;
        loop {
            if reached(self.counters()) {
                return Ok(Waited::Reached);
            }
            if let Some(why) = self.counters().fatal.get() {
                return Err(RunError::Unavailable(why.clone()));
            }
            if self.writer.has_failed() {
                let error = std::io::Error::other("the writing thread has ended: is the disk full?");
                return Err(RunError::Write(self.options.ledger.display().to_string(), error));
            }
            if self.interrupts.load(Relaxed) >= interrupts {
                return Ok(Waited::Interrupted);
            }
            if Instant::now() >= until {
                return Ok(Waited::TimedOut);
            }
            tokio::time::sleep(LOOK).await;
            let users = self.options.users.len();
            self.progress.show(what, users, &self.shared.counters, || self.writer.take_worst_us());
        }
    }

    async fn connect(&mut self) -> Result<(), RunError> {
        let users = self.options.users.len() as u64;
        let at_most = Duration::from_secs(60) + Duration::from_millis(users * 5);
        match self.wait("connecting", at_most, 1, |c| c.ready.load(Relaxed) >= users).await? {
            Waited::Reached => Ok(()),
            Waited::Interrupted => Err(RunError::Interrupted),
            Waited::TimedOut => {
                let ready = self.counters().ready.load(Relaxed);
                let drop = self.counters().first_drop.get();
                let why =
                    drop.map_or(String::new(), |why| format!("; the first session that dropped: {why}"));
                Err(RunError::Unavailable(format!(
                    "only {ready} of {users} clients were ready after {} s{why}",
                    at_most.as_secs()
                )))
            }
        }
    }

    /// Has everything sent that the schedule holds.
    async fn send(&mut self, crowd: &mut Crowd, first: Duration) -> Result<(), RunError> {
        let measured = (first + self.options.warmup).as_micros() as u64;
        self.shared.measured_from_us.store(measured, Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&self.shared);
        let pacer = Pacer {
            random: Random::new(self.options.seed),
            senders: std::mem::take(&mut crowd.senders),
            rate: self.options.rate,
            messages: self.options.messages(),
            started: self.started,
            first,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("pacer".into());
        let thread = thread.spawn(move || pacer.run(&shared.counters)).map_err(RunError::Runtime)?;
        let at_most = self.options.warmup + self.options.duration + BREATH + Duration::from_secs(60);
        let waited = self.wait("sending", at_most, 1, |_| thread.is_finished()).await;
        stop.store(true, Relaxed);
        let _ = thread.join();
        waited.map(|_| ())
    }

    /// Waits until everything has come, or for as long as there is news.
    async fn settle(&mut self) -> Result<Settled, RunError> {
        let quiet = if self.options.reconnect { QUIET_RECONNECT } else { QUIET };
        let until = Instant::now() + SETTLE;
        while Instant::now() < until {
            let heard = self.counters().heard();
            match self.wait("settling", quiet, 2, Counters::have_settled).await? {
                Waited::Reached => return Ok(Settled::All),
                Waited::Interrupted => break,
                Waited::TimedOut if self.counters().heard() == heard => return Ok(Settled::Quiet),
                Waited::TimedOut => {}
            }
        }
        Ok(Settled::Moving)
    }

    fn observe(&self) -> Observed {
        let c = self.counters();
        Observed {
            scheduled: c.scheduled.load(Relaxed),
            put_off: c.put_off.load(Relaxed),
            reconnects: c.reconnects.load(Relaxed),
            dropped: c.dropped.load(Relaxed),
            holes: c.holes.load(Relaxed),
            resyncs: c.resyncs.load(Relaxed),
            first_drop: c.first_drop.get().cloned(),
            first_error: c.first_error.get().cloned(),
        }
    }
}
