//! `im-downstream-{gateway}`: a worker's batch for one shard, length-prefixed binary.
//!
//! All numbers little-endian. Batch: `sent_at u64 | entries u32`, then per entry:
//! `kind u8 | flags u8 | targets | exclude? | payload length u32 | payload`. Flags: the two low
//! bits say what the targets are (0 session, 1 users, 2 all), bit 2 whether a session is excluded.
//! A session is `shard u16 | slot u32 | generation u32`, users are `count u32 | id u64 …`.

use super::{DecodeError, check_version};
use crate::limits::DOWNSTREAM_RECORD_BYTES_MAX;
use crate::record::{DownstreamBatch, DownstreamEntry, EntryKind, Targets};
use crate::{SessionRef, UnixMs, UserId};

const TO_SESSION: u8 = 0;
const TO_USERS: u8 = 1;
const TO_ALL: u8 = 2;
const EXCLUDES: u8 = 4;
/// The smallest entry: kind, flags, no targets, no payload.
const ENTRY_BYTES_MIN: usize = 6;
const SESSION_BYTES: usize = 10;

/// The kinds by their number on the wire.
const KINDS: [EntryKind; 9] = [
    EntryKind::Ack,
    EntryKind::Error,
    EntryKind::Message,
    EntryKind::SyncResult,
    EntryKind::Read,
    EntryKind::Typing,
    EntryKind::Update,
    EntryKind::Resync,
    EntryKind::Kick,
];

/// Appends the value to `out`.
pub fn encode_downstream(batch: &DownstreamBatch, out: &mut Vec<u8>) {
    out.extend_from_slice(&batch.sent_at.0.to_le_bytes());
    length(batch.entries.len(), out);
    for entry in &batch.entries {
        let kind = KINDS.iter().position(|kind| *kind == entry.kind).expect("every kind is listed");
        let targets = match entry.targets {
            Targets::Session(_) => TO_SESSION,
            Targets::Users(_) => TO_USERS,
            Targets::All => TO_ALL,
        };
        let flags = targets | if entry.exclude.is_some() { EXCLUDES } else { 0 };
        out.extend_from_slice(&[kind as u8, flags]);
        match &entry.targets {
            Targets::Session(session) => write_session(*session, out),
            Targets::Users(users) => {
                length(users.len(), out);
                users.iter().for_each(|user| out.extend_from_slice(&user.0.to_le_bytes()));
            }
            Targets::All => {}
        }
        if let Some(session) = entry.exclude {
            write_session(session, out);
        }
        length(entry.payload.len(), out);
        out.extend_from_slice(&entry.payload);
    }
}

fn length(n: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(n).expect("a record is far below 4 GiB").to_le_bytes());
}

fn write_session(session: SessionRef, out: &mut Vec<u8>) {
    out.extend_from_slice(&session.shard.to_le_bytes());
    out.extend_from_slice(&session.slot.to_le_bytes());
    out.extend_from_slice(&session.generation.to_le_bytes());
}

/// Reads a record; `version` is the value of header `v`.
pub fn decode_downstream(
    version: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<DownstreamBatch, DecodeError> {
    check_version(version)?;
    let value = value.ok_or(DecodeError::Empty)?;
    if value.len() > DOWNSTREAM_RECORD_BYTES_MAX {
        return Err(DecodeError::TooLarge { got: value.len(), max: DOWNSTREAM_RECORD_BYTES_MAX });
    }
    let mut reader = Reader { bytes: value, at: 0 };
    let sent_at = UnixMs(u64::from_le_bytes(reader.array()?));
    let count = reader.count(ENTRY_BYTES_MIN)?;
    let entries = (0..count).map(|_| reader.entry()).collect::<Result<_, _>>()?;
    if reader.at != value.len() {
        return Err(reader.bad("more bytes after the last entry"));
    }
    Ok(DownstreamBatch { entries, sent_at })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self, why: &'static str) -> DecodeError {
        DecodeError::BadBinary { at: self.at, why }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self.bytes[self.at..].get(..n).ok_or_else(|| self.bad("it ends here"))?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N).map(|bytes| bytes.try_into().expect("N bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// A count of things of at least `each` bytes: never more than the record can still hold, so
    /// that room is made only for what is there.
    fn count(&mut self, each: usize) -> Result<usize, DecodeError> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if count > (self.bytes.len() - self.at) / each {
            return Err(self.bad("more is announced than follows"));
        }
        Ok(count)
    }

    fn session(&mut self) -> Result<SessionRef, DecodeError> {
        let bytes: [u8; SESSION_BYTES] = self.array()?;
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        Ok(SessionRef {
            shard: u16::from_le_bytes([a, b]),
            slot: u32::from_le_bytes([c, d, e, f]),
            generation: u32::from_le_bytes([g, h, i, j]),
        })
    }

    fn entry(&mut self) -> Result<DownstreamEntry, DecodeError> {
        let kind = *KINDS.get(usize::from(self.byte()?)).ok_or_else(|| self.bad("an unknown kind"))?;
        let flags = self.byte()?;
        let targets = match flags & !EXCLUDES {
            TO_SESSION => Targets::Session(self.session()?),
            TO_USERS => {
                let count = self.count(8)?;
                let ids = self.take(count * 8)?.chunks_exact(8);
                let id = |id: &[u8]| UserId(u64::from_le_bytes(id.try_into().expect("8 bytes")));
                Targets::Users(ids.map(id).collect())
            }
            TO_ALL => Targets::All,
            _ => return Err(self.bad("unknown flags")),
        };
        let exclude = if flags & EXCLUDES != 0 { Some(self.session()?) } else { None };
        let bytes = self.count(1)?;
        let payload = self.take(bytes)?;
        // A text frame of other bytes would make every client close with 1007.
        if std::str::from_utf8(payload).is_err() {
            return Err(self.bad("a payload that is not UTF-8"));
        }
        Ok(DownstreamEntry { kind, targets, exclude, payload: payload.into() })
    }
}
