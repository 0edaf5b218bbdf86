//! One connection as a state machine without I/O: bytes go in, events come out.
//!
//! A [`Session`] first reads an upgrade request, then frames. It keeps nothing but what is
//! unfinished: a whole frame within one input is unmasked where it lies and handed out from there.

mod authorize;
mod event;
pub mod frame;
mod upgrade;
mod utf8;

pub use authorize::{Policy, authorize};
pub use event::{ControlPayload, Event, Input, Payload};
pub use upgrade::{Refusal, Upgrade};

use frame::{BINARY, CLOSE, HEADER_BYTES_MAX, Header, PING, PONG, TEXT};
use protocol::{CloseCode, Limits};
use utf8::Utf8;

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Request,
    Open,
    /// A close frame has gone out, or a fault was found: only the peer's close frame matters.
    Closing,
    /// The peer has said goodbye, or can't be understood any more.
    Done,
}

/// What is unfinished: a request, a frame, a fragmented message.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of the request, or of a frame header or control frame, that came so far.
    head: Vec<u8>,
    /// The data frame whose payload is coming in, and how much of it has come.
    frame: Option<(Header, u64)>,
    /// The message so far; it grows with what has really come.
    message: Vec<u8>,
    /// Opcode of the message that is being fragmented; 0 for none.
    opcode: u8,
    fragments: u32,
    utf8: Utf8,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

type Fault = (CloseCode, &'static str);

impl Session {
    /// A session that waits for an upgrade request.
    pub fn new() -> Self {
        Self { phase: Phase::Request, partial: None }
    }

    /// The upgrade was accepted: what follows are frames.
    pub fn open(&mut self) {
        self.phase = Phase::Open;
    }

    /// A close frame has gone out: all but the peer's is discarded from now on.
    pub fn close_sent(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// Nothing that comes is looked at any more, and what is unfinished is let go.
    pub fn abandon(&mut self) {
        self.phase = Phase::Done;
        self.partial = None;
    }

    /// Bytes held for what is unfinished.
    pub fn heap_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |p| size_of::<Partial>() + p.head.capacity() + p.message.capacity())
    }

    /// The next event in `input`; `None` once all of it is read. What is unfinished is kept.
    pub fn next<'a>(&mut self, limits: &Limits, input: &mut Input<'a>) -> Option<Event<'a>> {
        loop {
            if input.is_empty() {
                return None;
            }
            let read = match self.phase {
                Phase::Request => return self.read_request(input),
                Phase::Done => {
                    input.take(input.rest.len());
                    return None;
                }
                Phase::Open | Phase::Closing => self.read_frame(limits, input),
            };
            match read {
                Ok(Some(event))
                    if self.phase == Phase::Open || matches!(event, Event::CloseReceived { .. }) =>
                {
                    return Some(event);
                }
                Ok(_) => {}
                Err((code, reason)) => {
                    let told = self.phase == Phase::Open;
                    self.phase = Phase::Done;
                    self.partial = None;
                    if told {
                        return Some(Event::Fault { code, reason });
                    }
                }
            }
        }
    }

    fn read_request<'a>(&mut self, input: &mut Input<'a>) -> Option<Event<'a>> {
        let partial = self.partial.get_or_insert_default();
        match upgrade::read(&mut partial.head, input.rest) {
            upgrade::Read::Unfinished => {
                input.take(input.rest.len());
                None
            }
            upgrade::Read::Whole { used, request } => {
                input.take(used);
                self.partial = None;
                Some(match request {
                    Ok(upgrade) => Event::Upgrade(upgrade),
                    Err(refusal) => {
                        self.phase = Phase::Done;
                        Event::Refused(refusal)
                    }
                })
            }
        }
    }

    /// Reads one frame, or what there is of it.
    fn read_frame<'a>(&mut self, limits: &Limits, input: &mut Input<'a>) -> Result<Option<Event<'a>>, Fault> {
        if self.partial.is_none() {
            let Some(header) = parse(input.rest)? else {
                self.partial.get_or_insert_default().head.extend_from_slice(input.take(input.rest.len()));
                return Ok(None);
            };
            let whole = (input.rest.len() - header.bytes) as u64 >= header.len;
            if whole && header.fin && matches!(header.opcode, TEXT | BINARY) {
                check_data(limits, &header, 0, 0)?;
                input.take(header.bytes);
                return whole_message(&header, input.take(header.len as usize)).map(Some);
            }
        }
        self.read_piece(limits, input)
    }

    /// The same where something is unfinished already, or will be.
    fn read_piece<'a>(&mut self, limits: &Limits, input: &mut Input<'a>) -> Result<Option<Event<'a>>, Fault> {
        let partial = self.partial.get_or_insert_default();
        if partial.frame.is_none() {
            let Some(header) = partial.read_header(input)? else { return Ok(None) };
            if header.opcode >= CLOSE {
                let event = partial.read_control(&header, input);
                if event.is_some() {
                    self.drop_partial_if_idle();
                }
                return match event {
                    Some(payload) => self.control(&header, &payload).map(Some),
                    None => Ok(None),
                };
            }
            partial.start_data(limits, &header)?;
        }
        let partial = self.partial.as_mut().expect("a data frame is unfinished");
        if !partial.read_data(input)? {
            return Ok(None);
        }
        let binary = partial.opcode == BINARY;
        let message = std::mem::take(&mut partial.message);
        self.partial = None;
        Ok(Some(Event::Message { binary, payload: Payload::Owned(message) }))
    }

    fn drop_partial_if_idle(&mut self) {
        if self.partial.as_ref().is_some_and(|p| p.opcode == 0 && p.head.is_empty()) {
            self.partial = None;
        }
    }

    fn control(&mut self, header: &Header, payload: &[u8]) -> Result<Event<'static>, Fault> {
        match header.opcode {
            PING => Ok(Event::Ping(ControlPayload::new(payload))),
            PONG => Ok(Event::Pong),
            _ => {
                let reply = match payload {
                    [] => None,
                    [_] => return Err((CloseCode::Protocol, "a close frame's code has two bytes")),
                    [high, low, reason @ ..] => {
                        let code = u16::from_be_bytes([*high, *low]);
                        if !frame::may_close_with(code) {
                            return Err((CloseCode::Protocol, "a close code that may not be sent"));
                        }
                        if simdutf8::basic::from_utf8(reason).is_err() {
                            return Err((CloseCode::InvalidPayload, "a close reason that is not UTF-8"));
                        }
                        Some(code)
                    }
                };
                self.phase = Phase::Done;
                self.partial = None;
                Ok(Event::CloseReceived { reply })
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    frame::parse(bytes).map_err(|reason| (CloseCode::Protocol, reason))
}

/// Checks a data frame's header against the limits and the message that it may continue.
fn check_data(limits: &Limits, header: &Header, so_far: usize, opcode: u8) -> Result<(), Fault> {
    match (header.opcode, opcode) {
        (0, 0) => return Err((CloseCode::Protocol, "nothing is there to be continued")),
        (TEXT | BINARY, 1..) => {
            return Err((CloseCode::Protocol, "a new message before the last one has ended"));
        }
        (BINARY, 0) if !limits.binary => {
            return Err((CloseCode::Unsupported, "binary frames are not taken: send JSON as text"));
        }
        _ => {}
    }
    if header.len.saturating_add(so_far as u64) > limits.message_bytes_max as u64 {
        return Err((CloseCode::TooBig, "the message is larger than the limit"));
    }
    Ok(())
}

fn whole_message<'a>(header: &Header, payload: &'a mut [u8]) -> Result<Event<'a>, Fault> {
    frame::unmask(payload, header.mask, 0);
    if header.opcode == TEXT && simdutf8::basic::from_utf8(payload).is_err() {
        return Err((CloseCode::InvalidPayload, "text that is not UTF-8"));
    }
    Ok(Event::Message { binary: header.opcode == BINARY, payload: Payload::Borrowed(payload) })
}

impl Partial {
    /// Completes a header from what is kept and what comes; `None` if there is still too little.
    fn read_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Fault> {
        if self.head.is_empty() {
            if let Some(header) = parse(input.rest)? {
                input.take(header.bytes);
                return Ok(Some(header));
            }
            self.head.extend_from_slice(input.take(input.rest.len()));
            return Ok(None);
        }
        if let Some(header) = parse(&self.head)? {
            // A control frame whose payload is being collected.
            return Ok(Some(header));
        }
        let kept = self.head.len();
        let more = input.rest.len().min(HEADER_BYTES_MAX - kept);
        self.head.extend_from_slice(&input.rest[..more]);
        let Some(header) = parse(&self.head)? else {
            input.take(more);
            return Ok(None);
        };
        input.take(header.bytes - kept);
        self.head.clear();
        Ok(Some(header))
    }

    /// Collects a control frame's payload, with its header before it, until it is whole.
    fn read_control(&mut self, header: &Header, input: &mut Input<'_>) -> Option<ControlPayload> {
        if self.head.is_empty() {
            let len = header.len as u8;
            self.head.extend_from_slice(&[0x80 | header.opcode, 0x80 | len]);
            self.head.extend_from_slice(&header.mask);
        }
        let missing = header.bytes + header.len as usize - self.head.len();
        let piece = input.take(missing.min(input.rest.len()));
        self.head.extend_from_slice(piece);
        if piece.len() < missing {
            return None;
        }
        let payload = &mut self.head[header.bytes..];
        frame::unmask(payload, header.mask, 0);
        let payload = ControlPayload::new(payload);
        self.head.clear();
        Some(payload)
    }

    fn start_data(&mut self, limits: &Limits, header: &Header) -> Result<(), Fault> {
        check_data(limits, header, self.message.len(), self.opcode)?;
        if header.opcode != 0 {
            self.opcode = header.opcode;
            self.fragments = 0;
        }
        self.fragments += 1;
        if self.fragments > limits.fragments_max {
            return Err((CloseCode::TooBig, "the message comes in more fragments than the limit"));
        }
        self.frame = Some((*header, 0));
        Ok(())
    }

    /// Takes in payload; `true` once the message is whole.
    fn read_data(&mut self, input: &mut Input<'_>) -> Result<bool, Fault> {
        let (header, done) = self.frame.as_mut().expect("a data frame is unfinished");
        let len = (header.len - *done).min(input.rest.len() as u64) as usize;
        let piece = input.take(len);
        frame::unmask(piece, header.mask, (*done % 4) as usize);
        *done += len as u64;
        let (frame_whole, fin) = (*done == header.len, header.fin);
        let text = self.opcode == TEXT;
        if text && !self.utf8.push(piece) {
            return Err((CloseCode::InvalidPayload, "text that is not UTF-8"));
        }
        self.message.extend_from_slice(piece);
        if !frame_whole {
            return Ok(false);
        }
        self.frame = None;
        if fin && text && !self.utf8.is_complete() {
            return Err((CloseCode::InvalidPayload, "text that ends within a character"));
        }
        Ok(fin)
    }
}
