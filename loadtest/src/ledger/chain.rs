//! The seals of the lines. Each carries its number, the checksum of the line before, a name of what
//! that line was about (so that a missing one can be named), and a checksum over all of itself.
//!
//! They find accidents and careless edits. Who reseals every line after the edit is not found: there
//! is no key.

use super::{Header, Record};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write;

/// FNV-1a, 64 bits: the same on every machine and in every version, and a change of one byte always
/// shows. Contents of messages are told apart by it too.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The checksum of a line without its seal: the hash folded to 32 bits.
fn checksum(body: &[u8]) -> u32 {
    let hash = hash(body);
    (hash >> 32) as u32 ^ hash as u32
}

/// `,"x":"01234567"}`
const SEAL_BYTES: usize = 16;

/// Makes the lines of a file, in order.
#[derive(Debug, Default)]
pub struct Sealer {
    lines: u64,
    before: u32,
    about: String,
}

impl Sealer {
    /// The first line, without the line feed.
    pub fn header(&mut self, header: &Header) -> String {
        let json = serde_json::to_string(header).expect("a header holds only strings and numbers");
        self.about.push_str("the header");
        let body = json.strip_suffix('}').expect("an object");
        self.seal(body.to_owned())
    }

    /// The next line, without the line feed.
    pub fn record(&mut self, record: &Record<'_>) -> String {
        let record_json = serde_json::to_string(record).expect("a record holds only strings and numbers");
        let about = serde_json::to_string(&self.about).expect("a string");
        let mut line = String::with_capacity(record_json.len() + about.len() + 64);
        let (n, before) = (self.lines + 1, self.before);
        write!(line, r#"{{"n":{n},"r":{record_json},"b":{about},"p":"{before:08x}""#)
            .expect("a String takes everything");
        self.about = record.describe();
        self.seal(line)
    }

    fn seal(&mut self, mut line: String) -> String {
        self.lines += 1;
        self.before = checksum(line.as_bytes());
        write!(line, r#","x":"{:08x}"}}"#, self.before).expect("a String takes everything");
        line
    }
}

/// A line whose seal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Its number, from 1; the header is 1.
    pub n: u64,
    /// What it says.
    pub record: Record<'a>,
    /// What the line before was about.
    pub about_before: Cow<'a, str>,
    /// The checksum of the line before.
    pub before: u32,
    /// Its own checksum.
    pub own: u32,
}

#[derive(Deserialize)]
struct Wire<'a> {
    n: u64,
    #[serde(borrow)]
    r: Record<'a>,
    #[serde(borrow)]
    b: Cow<'a, str>,
    p: &'a str,
}

/// The line's checksum, if that is what its seal says.
fn own_checksum(line: &str) -> Option<u32> {
    let (body, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES)?)?;
    let digits = seal.strip_prefix(r#","x":""#)?.strip_suffix(r#""}"#)?;
    let own = u32::from_str_radix(digits, 16).ok()?;
    // The digits in one way of writing only, so that no change of them goes unseen.
    (own == checksum(body.as_bytes()) && digits.bytes().all(|b| !b.is_ascii_uppercase() && b != b'+'))
        .then_some(own)
}

/// Reads a line after the first; `None` if it isn't as it was sealed.
pub fn open(line: &str) -> Option<Sealed<'_>> {
    let own = own_checksum(line)?;
    let wire: Wire<'_> = serde_json::from_str(line).ok()?;
    let before = u32::from_str_radix(wire.p, 16).ok()?;
    Some(Sealed { n: wire.n, record: wire.r, about_before: wire.b, before, own })
}

/// Reads the first line; `None` if it isn't as it was sealed.
pub fn open_header(line: &str) -> Option<(Header, u32)> {
    let own = own_checksum(line)?;
    Some((serde_json::from_str(line).ok()?, own))
}

/// What a line says whose seal doesn't hold, as far as it can still be read.
pub fn guess(line: &str) -> Option<Record<'_>> {
    serde_json::from_str::<Wire<'_>>(line).ok().map(|wire| wire.r)
}

/// The number that a line claims, without a check of the rest: for a look ahead.
pub fn number(line: &str) -> Option<u64> {
    let digits = line.strip_prefix(r#"{"n":"#)?;
    let end = digits.bytes().position(|b| !b.is_ascii_digit())?;
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Sealer, hash, number, open};
    use crate::ledger::Record;

    #[test]
    fn fnv_1a_is_the_published_one() {
        // Test vectors of the FNV page (isthe.com/chongo/tech/comp/fnv).
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_line_reads_back_and_any_changed_byte_shows() {
        let mut sealer = Sealer::default();
        sealer.record(&Record::Base { user: 1, conv: "single_1_2".into(), seq: 0 });
        let down = Record::Down { session: 1, user: 7, why: "a \"quoted\" reason".into(), at: 5 };
        let line = sealer.record(&down);
        let sealed = open(&line).unwrap();
        assert_eq!((sealed.n, &sealed.record), (2, &down));
        assert_eq!(sealed.about_before, "single_1_2 before the run, seq 0, seen by user 1");
        assert_eq!(number(&line), Some(2));
        for at in 0..line.len() {
            for bit in [1, 2, 32] {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= bit;
                assert!(std::str::from_utf8(&bytes).ok().and_then(open).is_none(), "byte {at} bit {bit}");
            }
            assert!(open(&line[..at]).is_none());
        }
    }
}
