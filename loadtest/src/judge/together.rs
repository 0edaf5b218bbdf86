//! The ledgers of one run that several processes made, judged as one.

use super::{Judge, Pace, Stage, Verdict};
use crate::ledger::chain::open_header;
use crate::ledger::reader::{LedgerError, records_of};
use crate::ledger::{FORMAT, Header};
use crate::store::Place;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of a first line at most that is looked at to tell whose a ledger is.
const HEADER_BYTES_MAX: u64 = 16 << 10;
/// Processes that make one run at most.
pub const WORKERS_MAX: u32 = 256;
const READ_BYTES: usize = 1 << 20;

/// Why ledgers can't be judged together.
#[derive(Debug, Error)]
pub enum TogetherError {
    /// One can't be opened.
    #[error("cannot open the ledger {}", .0.display())]
    Open(PathBuf, #[source] std::io::Error),
    /// One can't be read.
    #[error("cannot judge {}", .0.display())]
    Ledger(PathBuf, #[source] LedgerError),
    /// Some are missing.
    #[error(
        "run {run} was made by {workers} workers, each with a ledger: expected all of them, missing: of worker {missing}"
    )]
    Missing {
        /// The run's name.
        run: String,
        /// How many ledgers it has.
        workers: u32,
        /// The indices of those that were not given.
        missing: String,
    },
    /// Two are of the same worker.
    #[error("{} and {} are both of worker {worker} of run {run}: expected each once", .first.display(), .second.display())]
    Twice {
        /// The run's name.
        run: String,
        /// Whose.
        worker: u32,
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// They disagree on what the run was.
    #[error("{} and {} are of run {run}, and disagree on its workers, seed or users", .first.display(), .second.display())]
    Disagree {
        /// The run's name.
        run: String,
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

/// The ledgers of one run, in the order of their workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLedgers {
    /// What the first lines say; none if that can't be read.
    pub header: Option<Header>,
    /// Where they are.
    pub ledgers: Vec<PathBuf>,
}

impl RunLedgers {
    /// Where they are, in a line.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.ledgers.iter().map(|path| path.display().to_string()).collect();
        names.join(" ")
    }
}

/// What the first line of a file says, if it is sound.
pub(crate) fn header_of(path: &Path) -> Result<Option<Header>, TogetherError> {
    let opened = |error| TogetherError::Open(path.to_owned(), error);
    let file = File::open(path).map_err(opened)?;
    let mut line = vec![];
    BufReader::new(file).take(HEADER_BYTES_MAX).read_until(b'\n', &mut line).map_err(opened)?;
    let header = std::str::from_utf8(&line).ok().and_then(|line| open_header(line.trim_end()));
    let fits = |header: &Header| {
        header.format == FORMAT
            && (1..=WORKERS_MAX).contains(&header.workers)
            && header.worker < header.workers
    };
    Ok(header.map(|(header, _)| header).filter(fits))
}

/// Sorts ledgers by their runs, each in the order of its workers. Those whose first line can't be read
/// take the places that are empty; the judgement names the line.
pub fn runs(paths: &[PathBuf]) -> Result<Vec<RunLedgers>, TogetherError> {
    let mut runs: Vec<(Header, Vec<Option<PathBuf>>)> = vec![];
    let mut unknown = vec![];
    for path in paths {
        let Some(header) = header_of(path)? else {
            unknown.push(path.clone());
            continue;
        };
        let workers = header.workers as usize;
        // A process alone makes a run of its own; its ledger may be given twice.
        let known =
            runs.iter().position(|(known, _)| known.run == header.run && known.workers > 1 && workers > 1);
        let at = known.unwrap_or_else(|| {
            runs.push((header.clone(), vec![None; workers]));
            runs.len() - 1
        });
        place(&mut runs[at], header, path)?;
    }
    let mut unknown = unknown.into_iter();
    let mut all = vec![];
    for (header, places) in runs {
        let mut missing = vec![];
        let mut ledgers = vec![];
        for (worker, path) in places.into_iter().enumerate() {
            match path.or_else(|| unknown.next()) {
                Some(path) => ledgers.push(path),
                None => missing.push(worker.to_string()),
            }
        }
        if !missing.is_empty() {
            let (run, workers, missing) = (header.run, header.workers, missing.join(", "));
            return Err(TogetherError::Missing { run, workers, missing });
        }
        all.push(RunLedgers { header: Some(header), ledgers });
    }
    all.extend(unknown.map(|path| RunLedgers { header: None, ledgers: vec![path] }));
    Ok(all)
}

fn place(run: &mut (Header, Vec<Option<PathBuf>>), header: Header, path: &Path) -> Result<(), TogetherError> {
    let (known, places) = run;
    let (name, first) = (header.run.clone(), places.iter().flatten().next().cloned());
    let same = Header { worker: known.worker, ..header.clone() } == *known;
    if let Some(first) = first.filter(|_| !same) {
        return Err(TogetherError::Disagree { run: name, first, second: path.to_owned() });
    }
    let place = &mut places[header.worker as usize];
    if let Some(first) = place.take() {
        let (worker, second) = (header.worker, path.to_owned());
        return Err(TogetherError::Twice { run: name, worker, first, second });
    }
    *place = Some(path.to_owned());
    Ok(())
}

/// Judges the ledgers of one run, and with them the store that the messages went to, if one is named;
/// `pace` tells how far it is.
pub fn judge_run(
    run: &RunLedgers,
    store: Option<&Place>,
    pace: &mut Pace<'_>,
) -> Result<(Option<Header>, Verdict), TogetherError> {
    // By their last lines; where one can't be read, nobody knows.
    pace.begin(Stage::Records, run.ledgers.iter().map(|path| records_of(path)).sum());
    match run.ledgers.as_slice() {
        [one] => {
            let (_, input) = open(one)?;
            super::judge_with(input, store, pace).map_err(|error| TogetherError::Ledger(one.clone(), error))
        }
        several => {
            let at_least_once = run.header.as_ref().is_some_and(|header| header.at_least_once);
            let verdict = judge_several(several.iter().map(|path| open(path)), at_least_once, store, pace)?;
            Ok((run.header.clone(), verdict))
        }
    }
}

fn open(path: &Path) -> Result<(&Path, impl BufRead), TogetherError> {
    let file = File::open(path).map_err(|error| TogetherError::Open(path.to_owned(), error))?;
    Ok((path, BufReader::with_capacity(READ_BYTES, file)))
}

/// Judges several in the order of their workers: the first one declares the conversations. What a
/// sender did stands in one of them, in its order; what has no order across files is told by its time.
fn judge_several<'a, R: BufRead>(
    inputs: impl Iterator<Item = Result<(&'a Path, R), TogetherError>>,
    at_least_once: bool,
    store: Option<&Place>,
    pace: &mut Pace<'_>,
) -> Result<Verdict, TogetherError> {
    let mut judge = Judge { by_time: true, ..Judge::default() };
    let mut all = vec![];
    for (worker, input) in (0..).zip(inputs) {
        let (path, input) = input?;
        let (_, damages) =
            judge.read(input, pace).map_err(|error| TogetherError::Ledger(path.to_owned(), error))?;
        judge.end_file(damages.is_empty(), Some(worker));
        judge.now = 0;
        all.extend(damages.into_iter().map(|damage| (worker, damage)));
    }
    if let Some(place) = store {
        judge.join(place, pace);
    }
    let mut verdict = judge.finish_files(at_least_once, pace);
    for (worker, mut damage) in all {
        damage.ledger = Some(worker);
        verdict.damage(damage);
    }
    verdict.clean = verdict.is_clean();
    Ok(verdict)
}
