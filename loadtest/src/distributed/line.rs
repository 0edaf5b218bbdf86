//! One end of a connection: what it says, and that it lives.

use super::frame::{self, FrameError};
use super::{ALIVE, FRAME_BYTES_MAX, SEND, SILENCE};
use serde::Serialize;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

/// The way to the other side; several threads may speak.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Mutex<TcpStream>>);

impl Line {
    /// Sets the bounds of a connection whose two sides know each other; the way back is for a reader.
    pub(super) fn new(stream: TcpStream) -> io::Result<(Self, TcpStream)> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SEND))?;
        let back = stream.try_clone()?;
        Ok((Self(Arc::new(Mutex::new(stream))), back))
    }

    /// Says something.
    pub(super) fn say(&self, message: &impl Serialize) -> Result<(), FrameError> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&mut *stream, message, FRAME_BYTES_MAX)
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is closed already is what is wanted.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    /// Says every second that this side lives, from a thread of its own, until the connection ends.
    pub(super) fn beat(&self, alive: impl Serialize + Send + 'static) -> io::Result<()> {
        let line = self.clone();
        let beat = move || {
            while line.say(&alive).is_ok() {
                std::thread::sleep(ALIVE);
            }
        };
        std::thread::Builder::new().name("alive".into()).spawn(beat).map(drop)
    }
}
