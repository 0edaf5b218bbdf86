//! A worker: joins a coordinator, holds its share of the clients, and does as it is told.

use super::clock::{Base, unix_ns};
use super::frame;
use super::line::Line;
use super::message::{Answer, Hello, Report, ToCoordinator, ToWorker};
use super::secret::{self, Secret};
use super::setup::{Heard, Told};
use super::{
    CHUNK_BYTES, FOLLOW, FRAME_BYTES_MAX, HELLO, HELLO_BYTES_MAX, JOIN, JOIN_EVERY, LEAVE, PROTOCOL, READY,
    REPORT_US, VERSION, pack,
};
use crate::course::Step;
use crate::dial;
use crate::ledger::End;
use crate::measure::Latencies;
use crate::run::{Field, Local, Making, RunError, interrupts, world};
use crate::shard::World;
use crate::tally::Tally;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How often a worker looks around.
const LOOK: Duration = Duration::from_millis(10);
/// Messages of the coordinator that wait to be looked at.
const QUEUE: usize = 16;
/// After so many Ctrl-C a worker doesn't wait for its coordinator.
const INTERRUPTS_MAX: u64 = 3;

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Host and port of the coordinator.
    pub join: String,
    /// Rings, each with a thread and a table of sockets; 0: as the coordinator says.
    pub shards: usize,
    /// The cores that they are pinned to; empty: as the coordinator says.
    pub cores: Vec<usize>,
    /// Where the ledger goes; none: `ringway-load.INDEX.ledger`.
    pub ledger: Option<PathBuf>,
    /// What both sides know, if anything.
    pub secret: Option<Secret>,
}

/// What a worker has done, when all has gone well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worked {
    /// The run's name.
    pub run: String,
    /// Which of its workers this was, and how many there were.
    pub index: u32,
    /// See `index`.
    pub workers: u32,
    /// Where the ledger is.
    pub ledger: PathBuf,
    /// Its users.
    pub users: u64,
    /// Messages that they sent.
    pub sent: u64,
    /// Deliveries to them.
    pub delivered: u64,
}

/// Takes part in a run, from joining it until it is over.
pub fn work(worker: &Worker) -> Result<Worked, RunError> {
    let base = Base::now();
    let interrupts = interrupts().map_err(|error| RunError::Start(error.to_string()))?;
    let (stream, peer) = join(worker, &interrupts)?;
    let mut talk = Talk::new(stream, peer, base, interrupts)?;
    eprintln!("joined the coordinator at {peer}; waiting for the other workers");
    let told = talk.hear_setup()?;
    match take_part(worker, &mut talk, &told) {
        Err(error) => {
            talk.say(&ToCoordinator::Failed { why: error.to_string() });
            Err(error)
        }
        worked => worked,
    }
}

/// Looks for the coordinator for a while, and says hello.
fn join(worker: &Worker, interrupts: &AtomicU64) -> Result<(TcpStream, SocketAddr), RunError> {
    let until = Instant::now() + JOIN;
    let mut said = false;
    let (stream, peer) = loop {
        let error = match reach(&worker.join) {
            Ok(reached) => break reached,
            Err(error) => error,
        };
        if interrupts.load(Relaxed) > 0 {
            return Err(RunError::Interrupted);
        }
        if Instant::now() >= until {
            let (at, seconds) = (&worker.join, JOIN.as_secs());
            return Err(RunError::Unavailable(format!(
                "no coordinator at {at} within {seconds} s ({error}): `ringway load coordinator` says where it listens"
            )));
        }
        if !std::mem::replace(&mut said, true) {
            eprintln!("waiting for a coordinator at {}", worker.join);
        }
        std::thread::sleep(JOIN_EVERY);
    };
    let greeted = greet(&stream, worker.secret.as_ref());
    greeted.map_err(|why| RunError::Lost(format!("the coordinator at {peer}: {why}")))?;
    Ok((stream, peer))
}

fn reach(host: &str) -> io::Result<(TcpStream, SocketAddr)> {
    let address = host.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((TcpStream::connect_timeout(&address, HELLO)?, address))
}

/// Says who this is, and hears whether it is let in.
fn greet(mut stream: &TcpStream, secret: Option<&Secret>) -> Result<(), String> {
    let io = |error: io::Error| error.to_string();
    stream.set_read_timeout(Some(HELLO)).map_err(io)?;
    stream.set_write_timeout(Some(HELLO)).map_err(io)?;
    let told: Hello = frame::read(&mut stream, HELLO_BYTES_MAX)
        .map_err(|error| format!("it is no coordinator of a load run, or of another version: {error}"))?;
    let own = secret::nonce().map_err(io)?;
    let nonces = [told.nonce.as_str(), own.as_str()];
    let proof = secret.map(|secret| secret.prove("worker", nonces));
    let hello = Hello {
        protocol: PROTOCOL,
        version: VERSION.to_owned(),
        nonce: own.clone(),
        proof,
        pid: std::process::id(),
    };
    frame::write(&mut stream, &hello, HELLO_BYTES_MAX).map_err(|error| error.to_string())?;
    match frame::read(&mut stream, HELLO_BYTES_MAX).map_err(|error| error.to_string())? {
        Answer::Refused { why } => Err(why),
        Answer::Accepted { proof } => {
            secret::check(secret, "coordinator", [own.as_str(), told.nonce.as_str()], proof.as_deref())
        }
    }
}

/// The conversation with the coordinator.
struct Talk {
    line: Line,
    peer: SocketAddr,
    base: Base,
    inbox: Receiver<Result<ToWorker, String>>,
    interrupts: Arc<AtomicU64>,
    told_interrupts: u64,
}

impl Talk {
    /// Listens on a thread of its own, which answers at once when it is asked for the clock.
    fn new(
        stream: TcpStream,
        peer: SocketAddr,
        base: Base,
        interrupts: Arc<AtomicU64>,
    ) -> Result<Self, RunError> {
        let start = |error: io::Error| RunError::Start(error.to_string());
        let (line, mut back) = Line::new(stream).map_err(start)?;
        let (heard, inbox) = sync_channel(QUEUE);
        let own = line.clone();
        let listen = move || {
            loop {
                let message = match frame::read(&mut back, FRAME_BYTES_MAX) {
                    Ok(ToWorker::Alive) => continue,
                    Ok(ToWorker::Clock { n }) => {
                        let (ns, unix_ns) = (base.ns(Instant::now()), unix_ns());
                        // A line that is gone shows at the next read.
                        let _ = own.say(&ToCoordinator::Clock { n, ns, unix_ns });
                        continue;
                    }
                    read => read.map_err(|error| error.to_string()),
                };
                let ended = message.is_err();
                if heard.send(message).is_err() || ended {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("coordinator".into()).spawn(listen).map_err(start)?;
        line.beat(ToCoordinator::Alive).map_err(start)?;
        Ok(Self { line, peer, base, inbox, interrupts, told_interrupts: 0 })
    }

    /// Says something; a coordinator that is gone shows when it is listened to.
    fn say(&self, message: &ToCoordinator) {
        let _ = self.line.say(message);
    }

    /// The next message, if there is one within `wait`.
    fn next(&mut self, wait: Duration) -> Result<Option<ToWorker>, RunError> {
        let interrupts = self.interrupts.load(Relaxed);
        if interrupts >= INTERRUPTS_MAX {
            return Err(RunError::Interrupted);
        }
        if interrupts != self.told_interrupts {
            self.told_interrupts = interrupts;
            self.say(&ToCoordinator::Interrupts(interrupts));
        }
        let gone = |why: &str| {
            let peer = self.peer;
            RunError::Lost(format!("the coordinator at {peer} is gone: {why}; the run has no verdict"))
        };
        match self.inbox.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone("its connection is over")),
            Ok(Err(why)) => Err(gone(&why)),
            Ok(Ok(ToWorker::Abort { interrupted: true, .. })) => Err(RunError::Interrupted),
            Ok(Ok(ToWorker::Abort { why, .. })) => {
                Err(RunError::Lost(format!("the coordinator has ended the run: {why}")))
            }
            Ok(Ok(message)) => Ok(Some(message)),
        }
    }

    /// The next message before the start, for which Ctrl-C doesn't wait.
    fn next_before_start(&mut self) -> Result<Option<ToWorker>, RunError> {
        if self.interrupts.load(Relaxed) > 0 {
            return Err(RunError::Interrupted);
        }
        self.next(LOOK)
    }

    fn hear_setup(&mut self) -> Result<Told, RunError> {
        let mut heard = Heard::default();
        loop {
            let Some(message) = self.next_before_start()? else { continue };
            let told = heard.hear(message).map_err(|why| {
                RunError::Lost(format!("the coordinator at {} said what was not expected: {why}", self.peer))
            })?;
            if let Some(told) = told {
                return Ok(told);
            }
        }
    }

    /// Waits for the word to start; when that is.
    fn hear_go(&mut self) -> Result<Instant, RunError> {
        let until = Instant::now() + READY;
        while Instant::now() < until {
            match self.next_before_start()? {
                Some(ToWorker::Go { zero_ns }) => return Ok(self.base.instant(zero_ns)),
                Some(other) => return Err(self.unexpected(&other)),
                None => {}
            }
        }
        Err(RunError::Lost(format!("the coordinator at {} did not start the run", self.peer)))
    }

    fn unexpected(&self, message: &ToWorker) -> RunError {
        let message = format!("{message:?}");
        RunError::Lost(format!("the coordinator at {} said what was not expected: {message:.60}", self.peer))
    }
}

/// Makes its part of the world, and goes through the run with it.
fn take_part(worker: &Worker, talk: &mut Talk, told: &Told) -> Result<Worked, RunError> {
    let header = told.setup.header.clone();
    let own = format!("./ringway-load.{}.ledger", header.worker);
    let ledger = worker.ledger.clone().unwrap_or_else(|| own.into());
    let options = told.options(ledger.clone(), worker.shards, &worker.cores).map_err(RunError::Usage)?;
    let users = told.share.count(options.users.len() as u64);
    let (shards, table) = dial::shards_needed(users as usize, options.shards).map_err(RunError::Usage)?;
    File::create(&ledger).map_err(|error| RunError::Write(ledger.display().to_string(), error))?;
    let absolute = std::path::absolute(&ledger).unwrap_or(ledger.clone());
    talk.say(&ToCoordinator::Ready { users, shards, ledger: absolute.display().to_string() });
    let started = talk.hear_go()?;
    let making = Making { name: header.run.clone(), share: told.share, shards, started };
    let world = Arc::new(world(&options, told.groups.clone(), making));
    let mut local = Local::new(Arc::clone(&world), &ledger, None, &header)?;
    if header.worker == 0 {
        local.declare()?;
    }
    eprintln!(
        "worker {} of {} of run {}: {users} users on {shards} shards",
        header.worker, header.workers, header.run
    );
    std::thread::sleep(started.saturating_duration_since(Instant::now()));
    local.start(table, &options.cores)?;
    let mut part =
        Part { world, local, talk, followed: vec![], reported_us: 0, latencies: Latencies::default() };
    let ended = part.live();
    part.finish(ended, &ledger)?;
    let counters = &part.world.shared.counters;
    let (sent, delivered) = (counters.sent.load(Relaxed), counters.delivered.load(Relaxed));
    let (run, index, workers) = (header.run, header.worker, header.workers);
    Ok(Worked { run, index, workers, ledger, users, sent, delivered })
}

/// A worker in the middle of a run.
struct Part<'a> {
    world: Arc<World>,
    local: Local,
    talk: &'a mut Talk,
    /// Steps of the run, and when they were heard of.
    followed: Vec<(Instant, Step)>,
    reported_us: u64,
    latencies: Latencies,
}

impl Part<'_> {
    /// Goes on until the clients have left; the end of the ledger.
    fn live(&mut self) -> Result<End, RunError> {
        while self.world.course.step() != Step::Leave {
            match self.talk.next(LOOK)? {
                Some(ToWorker::Progress(progress)) => {
                    self.world.shared.measured_from_us.store(progress.measured_from_us, Relaxed);
                    self.world.course.follow(&progress.course);
                    self.followed.push((Instant::now(), self.world.course.step()));
                }
                Some(other) => return Err(self.talk.unexpected(&other)),
                None => {}
            }
            self.local.tend()?;
            let reached_us = self.world.now_us() / REPORT_US * REPORT_US;
            if reached_us > self.reported_us {
                self.report(reached_us);
            }
        }
        self.local.leave()?;
        self.report(self.world.now_us());
        self.talk.say(&ToCoordinator::Left);
        self.hear_end()
    }

    /// The step that the clients have heard of.
    fn step(&mut self) -> Step {
        let heard = |(at, _): &(Instant, Step)| at.elapsed() >= FOLLOW;
        let last = self.followed.iter().rposition(heard);
        self.followed.drain(..last.unwrap_or(0));
        last.map_or(Step::Run, |_| self.followed[0].1)
    }

    fn report(&mut self, reached_us: u64) {
        self.reported_us = reached_us;
        self.local.take_interval(&mut self.latencies);
        let report = Report {
            reached_us,
            step: self.step() as u8,
            tally: Tally::of(&self.world.shared.counters),
            latencies: pack::pack(&self.latencies),
        };
        self.talk.say(&ToCoordinator::Report(Box::new(report)));
    }

    fn hear_end(&mut self) -> Result<End, RunError> {
        let until = Instant::now() + 2 * LEAVE;
        while Instant::now() < until {
            match self.talk.next(LOOK)? {
                Some(ToWorker::Finish(end)) => return Ok(end),
                Some(ToWorker::Progress(_)) | None => {}
                Some(other) => return Err(self.talk.unexpected(&other)),
            }
        }
        Err(RunError::Lost("the coordinator does not end the run".to_owned()))
    }

    /// Closes the ledger, and hands it over if that is asked for. However the run ended, the ledger has
    /// an end.
    fn finish(&mut self, ended: Result<End, RunError>, ledger: &Path) -> Result<(), RunError> {
        self.world.course.go_to(Step::Leave);
        self.local.leave()?;
        let cut_short = End { interrupted: true, ..End::default() };
        let (all, saturated) = self.local.close(*ended.as_ref().unwrap_or(&cut_short))?;
        ended?;
        let written = |error: io::Error| RunError::Write(ledger.display().to_string(), error);
        let mut file = File::open(ledger).map_err(written)?;
        let ledger_bytes = file.metadata().map_err(written)?.len();
        let latencies = pack::pack(&all);
        self.talk.say(&ToCoordinator::Done { latencies, saturated, ledger_bytes });
        loop {
            match self.talk.next(LOOK)? {
                Some(ToWorker::SendLedger) => {
                    let mut part = vec![];
                    file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut part).map_err(written)?;
                    self.talk.say(&ToCoordinator::Ledger(STANDARD.encode(part)));
                }
                Some(ToWorker::Over) => return Ok(()),
                Some(other) => return Err(self.talk.unexpected(&other)),
                None => {}
            }
        }
    }
}
