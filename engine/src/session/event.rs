//! What goes into a session, and what comes out.

use super::{Refusal, Upgrade};
use protocol::CloseCode;
use std::ops::{Deref, DerefMut};

/// Bytes to be read.
#[derive(Debug)]
pub struct Input<'a> {
    pub(super) rest: &'a mut [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &[u8] {
        self.rest
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> &'a mut [u8] {
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        taken
    }
}

/// What came.
#[derive(Debug)]
pub enum Event<'a> {
    /// A whole, valid upgrade request; what follows it is unread in the input.
    Upgrade(Box<Upgrade>),
    /// A request to be refused.
    Refused(Refusal),
    /// A whole message, unmasked; text is UTF-8.
    Message {
        /// Binary, or text.
        binary: bool,
        /// What it says.
        payload: Payload<'a>,
    },
    /// To be answered with a pong of the same payload.
    Ping(ControlPayload),
    /// Somebody is there.
    Pong,
    /// The peer's close frame; to be answered with `reply`, or with none if it had no code.
    CloseReceived {
        /// The code to be echoed.
        reply: Option<u16>,
    },
    /// The peer broke a rule: to be closed with this code.
    Fault {
        /// Which rule.
        code: CloseCode,
        /// In words.
        reason: &'static str,
    },
}

/// A message's bytes: still in the input, or put together.
#[derive(Debug)]
pub enum Payload<'a> {
    /// A whole frame within the input.
    Borrowed(&'a mut [u8]),
    /// Put together from pieces or fragments.
    Owned(Vec<u8>),
}

impl Deref for Payload<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl DerefMut for Payload<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// The payload of a control frame, at most 125 bytes.
#[derive(Debug, Clone, Copy)]
pub struct ControlPayload {
    bytes: [u8; 125],
    len: u8,
}

impl Deref for ControlPayload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl ControlPayload {
    pub(super) fn new(payload: &[u8]) -> Self {
        let mut bytes = [0; 125];
        bytes[..payload.len()].copy_from_slice(payload);
        Self { bytes, len: payload.len() as u8 }
    }
}
