//! A WebSocket of a client without I/O: bytes in, texts out, and the other way round.

mod frame;
#[cfg(test)]
mod tests;
mod upgrade;

use crate::dial::{DialError, Target};
use crate::random::Random;
use frame::{Kind, MESSAGE_BYTES_MAX};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// The upgrade is done.
    Upgraded,
    /// A message.
    Text(&'a str),
    /// A message of bytes.
    Binary(&'a [u8]),
    /// It closes: code, if there is one, and reason.
    Closed(Option<u16>, &'a str),
}

/// Why a socket is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// There never was a WebSocket.
    Refused(DialError),
    /// What came breaks the protocol, or whoever heard it will hear no more.
    Fault(String),
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::Fault(why)
    }
}

/// One client's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Of the upgrade; empty once that is done.
    key: String,
    /// Bytes of an answer, or of a frame, that is not all there.
    partial: Vec<u8>,
    /// A message that comes in several frames, and whether it is one of bytes.
    message: Vec<u8>,
    binary: bool,
    random: Random,
    /// Frames on their way out.
    out: Vec<u8>,
}

impl Socket {
    /// Before the upgrade; masks and keys follow from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        Self { key: String::new(), partial: vec![], message: vec![], binary: false, random, out: vec![] }
    }

    /// Begins anew, with the request for an upgrade.
    pub(crate) fn open(&mut self, target: &Target, token: &str) {
        self.key = upgrade::key(&mut self.random);
        self.partial.clear();
        self.message.clear();
        self.out = upgrade::request(target, token, &self.key);
    }

    /// Frees what a socket that is gone has no use for.
    pub(crate) fn clear(&mut self) {
        (self.partial, self.message, self.out) = (vec![], vec![], vec![]);
    }

    /// Queues a text.
    pub(crate) fn say(&mut self, text: &str) {
        self.write(OpCode::Data(Data::Text), text.as_bytes());
    }

    /// Queues bytes.
    pub(crate) fn say_binary(&mut self, bytes: &[u8]) {
        self.write(OpCode::Data(Data::Binary), bytes);
    }

    /// Queues a close frame.
    pub(crate) fn close(&mut self) {
        self.write(OpCode::Control(Control::Close), &1000u16.to_be_bytes());
    }

    fn write(&mut self, opcode: OpCode, payload: &[u8]) {
        let mask = (self.random.number() as u32).to_ne_bytes();
        frame::write(opcode, payload, mask, &mut self.out);
    }

    /// Whether bytes wait to go out.
    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// What waits to go out; the bytes of an emptied `buffer` are used for what comes next.
    pub(crate) fn take_output(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.out, buffer)
    }

    /// Takes bytes that came in, and tells what they say.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        target: &Target,
        mut tell: impl FnMut(&mut Self, Heard<'_>) -> Result<(), String>,
    ) -> Result<(), Broken> {
        if self.partial.is_empty() {
            let used = self.take(bytes, target, &mut tell)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let used = self.take(&all, target, &mut tell)?;
        all.drain(..used);
        // What is over now is seldom much, and ten thousand clients are to fit.
        self.partial = if all.is_empty() { vec![] } else { all };
        Ok(())
    }

    /// Takes as many whole frames as there are; how many bytes those were.
    fn take(
        &mut self,
        bytes: &[u8],
        target: &Target,
        tell: &mut impl FnMut(&mut Self, Heard<'_>) -> Result<(), String>,
    ) -> Result<usize, Broken> {
        let mut at = 0;
        if !self.key.is_empty() {
            match upgrade::answer(bytes, &self.key, target).map_err(Broken::Refused)? {
                None => return Ok(0),
                Some(head) => at = head,
            }
            self.key = String::new();
            tell(self, Heard::Upgraded)?;
        }
        while let Some(header) = frame::parse(&bytes[at..])? {
            let (start, end) = (at + header.payload.0, at + header.payload.1);
            let Some(payload) = bytes.get(start..end) else { break };
            self.frame(header.kind, header.last, payload, tell)?;
            at = end;
        }
        Ok(at)
    }

    fn frame(
        &mut self,
        kind: Kind,
        last: bool,
        payload: &[u8],
        tell: &mut impl FnMut(&mut Self, Heard<'_>) -> Result<(), String>,
    ) -> Result<(), Broken> {
        match kind {
            Kind::Text if last => tell(self, Heard::Text(text(payload)?))?,
            Kind::Binary if last => tell(self, Heard::Binary(payload))?,
            Kind::Text | Kind::Binary | Kind::Continued => {
                if kind != Kind::Continued {
                    self.binary = kind == Kind::Binary;
                }
                self.message.extend_from_slice(payload);
                if self.message.len() as u64 > MESSAGE_BYTES_MAX {
                    return Err(format!("a message of more than {MESSAGE_BYTES_MAX} bytes").into());
                }
                if last {
                    let message = std::mem::take(&mut self.message);
                    let binary = self.binary;
                    tell(self, if binary { Heard::Binary(&message) } else { Heard::Text(text(&message)?) })?;
                }
            }
            Kind::Ping => self.write(OpCode::Control(Control::Pong), payload),
            Kind::Pong => {}
            Kind::Close => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                tell(self, Heard::Closed(code, text(payload.get(2..).unwrap_or_default())?))?;
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("a text that is not UTF-8: {error}"))
}
