//! The workers' ledgers: read where they are, if that is this machine; else sent over.

use super::crowd::Crowd;
use super::link::Link;
use super::message::ToWorker;
use super::{LEAVE, LEDGER_BYTES_MAX};
use crate::judge::together::header_of;
use crate::ledger::Header;
use crate::run::RunError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A worker's ledger, if it can be read where the worker says: the file there is this run's, and of the
/// length that it says.
pub(super) fn find(link: &Link, index: u32, header: &Header) -> Option<PathBuf> {
    let path = PathBuf::from(&link.ready.as_ref()?.ledger);
    let own = Header { worker: index, ..header.clone() };
    let whole = std::fs::metadata(&path).ok()?.len() == link.done.as_ref()?.ledger_bytes;
    (whole && header_of(&path).ok()? == Some(own)).then_some(path)
}

/// Where the copy of a worker's ledger goes: beside the name that the coordinator was given.
pub(super) fn copy_of(ledger: &Path, index: usize) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(format!(".{index}"));
    name.into()
}

/// Has a worker send its ledger.
pub(super) fn collect(crowd: &mut Crowd, index: usize, into: &Path) -> Result<(), RunError> {
    let bytes = crowd.links[index].done.as_ref().map_or(0, |done| done.ledger_bytes);
    let name = into.display().to_string();
    if bytes > LEDGER_BYTES_MAX {
        return Err(RunError::Lost(format!(
            "the ledger of worker {index} has {bytes} bytes, of which {LEDGER_BYTES_MAX} at most are taken over: copy it and use `ringway load verify`"
        )));
    }
    eprintln!("taking over the ledger of worker {index}, {bytes} bytes, into {name}");
    let write = |error: io::Error| RunError::Write(name.clone(), error);
    let mut file = BufWriter::new(File::create(into).map_err(write)?);
    let mut had = 0;
    loop {
        crowd.links[index].say(&ToWorker::SendLedger);
        let id = crowd.links[index].id;
        crowd.wait_for("to send its ledger", LEAVE, |link| link.id != id || link.part.is_some());
        let link = &mut crowd.links[index];
        let part = link.part.take().and_then(|part| STANDARD.decode(part).ok());
        let Some(part) = part else {
            let why = link.gone.clone().unwrap_or_else(|| "no base64".to_owned());
            return Err(RunError::Lost(format!("the ledger of worker {index} did not come over: {why}")));
        };
        had += part.len() as u64;
        if part.is_empty() && had == bytes {
            return file.flush().map_err(write);
        }
        if part.is_empty() || had > bytes {
            return Err(RunError::Lost(format!(
                "the ledger of worker {index} came over with {had} bytes, expected {bytes}"
            )));
        }
        file.write_all(&part).map_err(write)?;
    }
}
