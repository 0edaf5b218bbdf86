//! Reads a ledger line by line and tells which lines are not where, or not what, they were.

use super::chain::{self, Sealed};
use super::{FORMAT, Header, Record, VERSION};
use crate::judge::{Damage, DamageKind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::Path;
use thiserror::Error;

/// How much of the end of a file is looked at for its last line, bytes.
const END_BYTES: u64 = 16 << 10;

/// Why a file can't be judged at all.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// It can't be read.
    #[error("cannot read the ledger")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error(
        "this is no ledger: expected a first line with \"format\":\"{FORMAT}\" and sealed lines after it"
    )]
    Format,
    /// It is of another version.
    #[error("the ledger has version {0}, expected {VERSION}")]
    Version(u32),
}

/// Where the lines are, against where they should be.
#[derive(Debug, Default)]
struct Places {
    expected: u64,
    /// Checksum of the line before the expected one, if that was read in its place.
    before: Option<u32>,
    /// Numbers passed over: first and last, the line that showed it, what the last was about.
    missing: Vec<(u64, u64, u64, String)>,
    /// Sound lines found out of place: number, then where and about what.
    strays: BTreeMap<u64, (u64, String)>,
    damages: Vec<Damage>,
}

impl Places {
    fn damage(&mut self, kind: DamageKind, line: u64, about: String) {
        self.damages.push(Damage { kind, ledger: None, line, about });
    }

    fn is_missing(&self, n: u64) -> bool {
        self.missing.iter().any(|(first, last, ..)| (*first..=*last).contains(&n))
    }

    /// Takes a sound line that stands at `at`, with `next` behind it; whether it counts.
    fn take(&mut self, sealed: &Sealed<'_>, at: u64, next: Option<&str>) -> bool {
        let n = sealed.n;
        if n == self.expected {
            self.check_before(sealed, at);
            self.expected += 1;
            self.before = Some(sealed.own);
            // A copy of it came too early: that one has counted.
            return !self.strays.contains_key(&n);
        }
        let next_n = next.and_then(chain::number);
        let replaces = next_n == Some(self.expected + 1);
        let intrudes = !replaces && (n < self.expected || next_n == Some(self.expected));
        if replaces {
            let told = next.and_then(chain::open).map(|next| next.about_before.into_owned());
            let about = told.unwrap_or_else(|| "a line that can't be read".to_owned());
            self.missing.push((self.expected, self.expected, at, about));
            self.expected += 1;
            self.before = None;
        }
        if replaces || intrudes {
            let again = (n < self.expected && !self.is_missing(n)) || self.strays.contains_key(&n);
            if again {
                self.damage(DamageKind::Doubled, at, sealed.record.describe());
            } else {
                self.strays.insert(n, (at, sealed.record.describe()));
            }
            return !again;
        }
        self.missing.push((self.expected, n - 1, at, sealed.about_before.clone().into_owned()));
        self.expected = n + 1;
        self.before = Some(sealed.own);
        true
    }

    /// A line that was changed and sealed anew doesn't match what the next one says of it.
    fn check_before(&mut self, sealed: &Sealed<'_>, at: u64) {
        if self.before.is_some_and(|before| before != sealed.before) {
            self.damage(DamageKind::Altered, at - 1, sealed.about_before.clone().into_owned());
        }
    }

    /// Takes a line at `at` whose seal doesn't hold, with `next` behind it.
    fn take_altered(&mut self, line: &str, at: u64, next: Option<&str>) {
        let about = chain::guess(line).map(|record| record.describe());
        let after = next.and_then(chain::open);
        // What the next line says of it is what it was about before the change.
        let told = after.as_ref().filter(|next| next.n == self.expected + 1);
        let about = told.map(|next| next.about_before.clone().into_owned()).or(about);
        self.damage(DamageKind::Altered, at, about.unwrap_or_else(|| "a line that can't be read".to_owned()));
        if after.is_none_or(|next| next.n != self.expected) {
            self.expected += 1;
            self.before = None;
        }
    }

    /// What is missing and found elsewhere was moved; what is only missing is removed; what is only
    /// found elsewhere was doubled.
    fn finish(mut self) -> Vec<Damage> {
        if let Some((&last, (at, about))) = self.strays.last_key_value()
            && last >= self.expected
        {
            self.missing.push((self.expected, last, *at, about.clone()));
        }
        let missing = std::mem::take(&mut self.missing);
        for (first, last, at, about) in missing {
            let mut next = first;
            let found: Vec<u64> = self.strays.range(first..=last).map(|stray| *stray.0).collect();
            for n in found.into_iter().chain([last.saturating_add(1)]) {
                if n > next {
                    let count = n - next;
                    let about =
                        if count == 1 { about.clone() } else { format!("{count} lines, the last {about}") };
                    self.damage(DamageKind::Removed, at, about);
                }
                if let Some((at, about)) = self.strays.remove(&n) {
                    self.damage(DamageKind::Swapped, at, about);
                }
                next = n.saturating_add(1);
            }
        }
        for (at, about) in std::mem::take(&mut self.strays).into_values() {
            self.damage(DamageKind::Doubled, at, about);
        }
        self.damages.sort_by_key(|damage| damage.line);
        self.damages
    }
}

/// Two lines at a time, without their line feeds.
struct Lines<R> {
    input: R,
    line: String,
    next: Option<String>,
}

impl<R: BufRead> Lines<R> {
    fn read(&mut self) -> std::io::Result<Option<String>> {
        let mut bytes = std::mem::take(&mut self.line).into_bytes();
        bytes.clear();
        if self.input.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        while bytes.last().is_some_and(|b| *b == b'\n') {
            bytes.pop();
        }
        // A byte that breaks the encoding is damage like any other, and shows in the seal.
        let text = String::from_utf8(bytes);
        Ok(Some(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())))
    }

    fn step(&mut self) -> std::io::Result<bool> {
        let Some(next) = self.next.take() else { return Ok(false) };
        self.next = self.read()?;
        self.line = next;
        Ok(true)
    }
}

/// How many records a file has, as its last line says, unchecked: for those who watch it being read.
pub(crate) fn records_of(path: &Path) -> Option<u64> {
    let mut file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(END_BYTES))).ok()?;
    let mut end = vec![];
    file.take(END_BYTES).read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    // The first line is the header.
    end.lines().rev().find_map(chain::number).and_then(|n| n.checked_sub(1))
}

/// Reads all of `input`, gives each record that counts to `each`, and returns the header, if it can
/// be read, and what is wrong with the lines.
pub fn read(
    input: impl BufRead,
    mut each: impl FnMut(&Record<'_>),
) -> Result<(Option<Header>, Vec<Damage>), LedgerError> {
    let mut lines = Lines { input, line: String::new(), next: None };
    lines.next = lines.read()?;
    let mut places = Places::default();
    let header = read_header(&mut lines, &mut places)?;
    let mut at = u64::from(header.is_some());
    while lines.step()? {
        at += 1;
        let next = lines.next.as_deref();
        match chain::open(&lines.line) {
            Some(sealed) => {
                if places.take(&sealed, at, next) {
                    each(&sealed.record);
                }
            }
            None => {
                places.take_altered(&lines.line, at, next);
                if let Some(record) = chain::guess(&lines.line) {
                    each(&record);
                }
            }
        }
    }
    Ok((header, places.finish()))
}

/// The first line, or the damage that stands in its place.
fn read_header<R: BufRead>(lines: &mut Lines<R>, places: &mut Places) -> Result<Option<Header>, LedgerError> {
    let first = lines.next.as_deref().ok_or(LedgerError::Format)?;
    if let Some((header, own)) = chain::open_header(first) {
        if header.format != FORMAT {
            return Err(LedgerError::Format);
        }
        if header.version != VERSION {
            return Err(LedgerError::Version(header.version));
        }
        lines.step()?;
        places.expected = 2;
        places.before = Some(own);
        return Ok(Some(header));
    }
    // Without a sound header it is a ledger only if what follows is sealed as one.
    if chain::open(first).is_some() {
        places.expected = 1;
        return Ok(None);
    }
    lines.step()?;
    let second = lines.next.as_deref().and_then(chain::open).ok_or(LedgerError::Format)?;
    places.damage(DamageKind::Altered, 1, second.about_before.into_owned());
    places.expected = 2;
    // The caller counts lines from the header on.
    let unknown = Header {
        format: FORMAT.into(),
        version: VERSION,
        run: String::new(),
        seed: 0,
        connections: 0,
        rate: 0,
        started: String::new(),
        at_least_once: false,
        worker: 0,
        workers: 1,
    };
    Ok(Some(unknown))
}
