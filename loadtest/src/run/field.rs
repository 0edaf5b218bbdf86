//! Who makes a run: this process alone, or several others that it leads.

use super::crew::Crew;
use super::finish::saturated;
use super::{RunError, load};
use crate::judge::{Pace, Stage, Verdict, judge_with};
use crate::ledger::reader::records_of;
use crate::ledger::writer::Writer;
use crate::ledger::{End, Header};
use crate::measure::Latencies;
use crate::report::WorkerReport;
use crate::shard::World;
use crate::store::Place;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Between the last client's start and the first message, microseconds.
const BREATH_US: u64 = 200_000;

/// Those who make a run, as the one who leads it sees them. What they count stands in the counters of
/// its world, and what they are to do in its course.
pub(crate) trait Field {
    /// Does what is to be done while the leader waits.
    fn tend(&mut self) -> Result<(), RunError>;

    /// Whether what was counted was counted after they had heard of the step that the run is at.
    fn has_followed(&self) -> bool {
        true
    }

    /// How many shards send.
    fn shards(&self) -> u64;

    /// Which of them went away before the end, if one did.
    fn lost(&self) -> Option<String> {
        None
    }

    /// From when something is said until they all know it at the latest, microseconds.
    fn breath_us(&self) -> u64 {
        BREATH_US
    }

    /// Up to when all has been counted, microseconds since the run began.
    fn reached_us(&self) -> u64;

    /// Takes the latencies since the last call into `into`, in place of what was there.
    fn take_interval(&mut self, into: &mut Latencies);

    /// Waits until the last client has left.
    fn leave(&mut self) -> Result<(), RunError>;

    /// Closes the ledger, and judges it, which `pace` is told of; of a peer, what was counted.
    fn finish(&mut self, end: End, pace: &mut Pace<'_>) -> Result<Finished, RunError>;
}

/// What is left of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) all: Latencies,
    pub(crate) verdict: Verdict,
    /// Where the ledger is.
    pub(crate) ledger: String,
    pub(crate) workers: Vec<WorkerReport>,
    /// Why a generator could not keep up, if so.
    pub(crate) saturated: Option<String>,
}

/// The clients of this process.
#[derive(Debug)]
pub(crate) struct Local {
    world: Arc<World>,
    ledger: PathBuf,
    /// Also asked at the end.
    store: Option<Place>,
    writer: Option<Writer>,
    crew: Option<Crew>,
}

impl Local {
    /// Makes the ledger; a run on a peer has none.
    pub(crate) fn new(
        world: Arc<World>,
        ledger: &Path,
        store: Option<Place>,
        header: &Header,
    ) -> Result<Self, RunError> {
        let writer = Writer::start(world.peers.is_none().then_some(ledger), header)
            .map_err(|error| RunError::Write(ledger.display().to_string(), error))?;
        Ok(Self { world, ledger: ledger.to_owned(), store, writer: Some(writer), crew: None })
    }

    fn writer(&self) -> Result<&Writer, RunError> {
        let closed = || self.write_error(std::io::Error::other("it is closed already"));
        self.writer.as_ref().ok_or_else(closed)
    }

    fn write_error(&self, error: std::io::Error) -> RunError {
        RunError::Write(self.ledger.display().to_string(), error)
    }

    /// Tells the ledger who is to get what.
    pub(crate) fn declare(&self) -> Result<(), RunError> {
        if self.world.peers.is_none() {
            super::declare(&self.world.plan, self.writer()?);
        }
        Ok(())
    }

    /// Starts the clients: they connect from now on.
    pub(crate) fn start(&mut self, table: usize, cores: &[usize]) -> Result<(), RunError> {
        self.crew = Some(Crew::start(&self.world, self.writer()?, table, cores)?);
        Ok(())
    }

    /// Writes the ledger's last line; what was measured, and why the clients could not keep up, if so.
    pub(crate) fn close(&mut self, end: End) -> Result<(Latencies, Option<String>), RunError> {
        let writer = self.writer.take();
        let writer = writer.ok_or_else(|| self.write_error(std::io::Error::other("it is closed already")))?;
        let all = writer.finish(end).map_err(|error| self.write_error(error))?;
        let why = saturated(&all, load(&self.world.shared.counters.ledger_waits));
        Ok((all, why))
    }
}

impl Field for Local {
    fn tend(&mut self) -> Result<(), RunError> {
        if self.writer()?.has_failed() {
            let error = std::io::Error::other("the writing thread has ended: is the disk full?");
            return Err(self.write_error(error));
        }
        Ok(())
    }

    fn shards(&self) -> u64 {
        self.world.shards as u64
    }

    fn reached_us(&self) -> u64 {
        self.world.now_us()
    }

    fn take_interval(&mut self, into: &mut Latencies) {
        match &self.writer {
            Some(writer) => writer.take_interval(into),
            None => into.clear(),
        }
    }

    fn leave(&mut self) -> Result<(), RunError> {
        self.crew.take().map_or(Ok(()), Crew::join)
    }

    fn finish(&mut self, end: End, pace: &mut Pace<'_>) -> Result<Finished, RunError> {
        let ledger = self.ledger.display().to_string();
        let (all, saturated) = self.close(end)?;
        if let Some(peers) = &self.world.peers {
            let counters = &self.world.shared.counters;
            let verdict = peers.verdict(counters, end.settled, end.quiet, end.interrupted);
            return Ok(Finished { all, verdict, ledger: String::new(), workers: vec![], saturated });
        }
        let file = File::open(&self.ledger).map_err(|error| RunError::Judge(ledger.clone(), error.into()))?;
        pace.begin(Stage::Records, records_of(&self.ledger));
        let judged = judge_with(BufReader::with_capacity(1 << 20, file), self.store.as_ref(), pace);
        let (_, verdict) = judged.map_err(|error| RunError::Judge(ledger.clone(), error))?;
        Ok(Finished { all, verdict, ledger, workers: vec![], saturated })
    }
}
