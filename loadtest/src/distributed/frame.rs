//! One message: four bytes with its length, most significant first, and JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use thiserror::Error;

/// Why there is no message.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    #[error("the connection was closed")]
    Closed,
    #[error("it said nothing for {} s", super::SILENCE.as_secs())]
    Silent,
    #[error("the connection failed: {0}")]
    Io(io::Error),
    #[error("a message of {0} bytes, expected {1} at most")]
    TooLong(usize, usize),
    #[error("a message that is none of this protocol: {0}")]
    Form(#[from] serde_json::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Io(error),
        }
    }
}

/// Writes a message.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize, most: usize) -> Result<(), FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > most {
        return Err(FrameError::TooLong(length, most));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    to.write_all(&bytes)?;
    Ok(to.flush()?)
}

/// Reads a message of `most` bytes at most; no more memory is taken than has come.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read, most: usize) -> Result<T, FrameError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(FrameError::TooLong(length, most));
    }
    let mut bytes = vec![];
    from.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(FrameError::Closed);
    }
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::{FrameError, read, write};

    #[test]
    fn a_message_reads_back_and_the_next_one_after_it() {
        let mut bytes = vec![];
        write(&mut bytes, &[1, 2], 10).unwrap();
        write(&mut bytes, &"x", 10).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(read::<Vec<u8>>(&mut from, 10).unwrap(), [1, 2]);
        assert_eq!(read::<String>(&mut from, 10).unwrap(), "x");
        assert!(matches!(read::<String>(&mut from, 10), Err(FrameError::Closed)));
    }

    #[test]
    fn what_is_no_message_is_refused_before_memory_is_taken_for_it() {
        let told = |bytes: &[u8]| read::<Vec<u8>>(&mut &*bytes, 8);
        assert!(matches!(told(&[0xff; 8]), Err(FrameError::TooLong(0xffff_ffff, 8))));
        assert!(matches!(told(&[0, 0, 0, 9]), Err(FrameError::TooLong(9, 8))));
        assert!(matches!(told(b"\0\0\0\x05[1"), Err(FrameError::Closed)));
        assert!(matches!(told(b"\0\0"), Err(FrameError::Closed)));
        assert!(matches!(told(b"\0\0\0\x02{}"), Err(FrameError::Form(_))));
        assert!(matches!(told(b"\0\0\0\0"), Err(FrameError::Form(_))));
        assert!(matches!(told(b"GET / HTTP/1.1"), Err(FrameError::TooLong(..))));
        assert!(matches!(write(&mut vec![], &"0123456789", 8), Err(FrameError::TooLong(12, 8))));
    }
}
