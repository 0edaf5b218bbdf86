//! Frames as a client has them: the server's come bare, its own go out masked.

use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Bytes of a server's message at most: the longest there is, a `sync-result`, has 256 KiB.
pub(super) const MESSAGE_BYTES_MAX: u64 = 4 << 20;
const CONTROL_BYTES_MAX: u64 = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continued,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A server's frame, its payload aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) last: bool,
    /// Where the payload begins, and where it ends.
    pub(super) payload: (usize, usize),
}

/// Reads the header at the start of `bytes`; `None` if it is not all there yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, String> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|error| format!("malformed frame: {error}"))?;
    let Some((header, len)) = parsed else { return Ok(None) };
    if header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_some() {
        return Err("a frame with reserved bits or a mask, which a server may not send".to_owned());
    }
    let kind = match header.opcode {
        OpCode::Data(Data::Continue) => Kind::Continued,
        OpCode::Data(Data::Text) => Kind::Text,
        OpCode::Data(Data::Binary) => Kind::Binary,
        OpCode::Control(Control::Close) => Kind::Close,
        OpCode::Control(Control::Ping) => Kind::Ping,
        OpCode::Control(Control::Pong) => Kind::Pong,
        other => return Err(format!("a frame with the reserved opcode {other}")),
    };
    let is_control = matches!(kind, Kind::Close | Kind::Ping | Kind::Pong);
    let most = if is_control { CONTROL_BYTES_MAX } else { MESSAGE_BYTES_MAX };
    if len > most || (is_control && !header.is_final) {
        return Err(format!("a frame of {len} bytes, expected at most {most} and control frames whole"));
    }
    let start = cursor.position() as usize;
    Ok(Some(Header { kind, last: header.is_final, payload: (start, start + len as usize) }))
}

/// Appends a masked frame.
pub(super) fn write(opcode: OpCode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a Vec takes everything");
    let start = out.len();
    out.extend_from_slice(payload);
    let mut chunks = out[start..].chunks_exact_mut(4);
    for chunk in &mut chunks {
        chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    chunks.into_remainder().iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}
