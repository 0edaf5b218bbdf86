//! Frames: reading the client's headers, unmasking, and building what the server sends.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A text frame.
pub const TEXT: u8 = 1;
/// A binary frame.
pub const BINARY: u8 = 2;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// The longest header of a client's frame: 2 bytes, 8 of length, 4 of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// A client's frame header that keeps all rules of RFC 6455 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: u8,
    pub(super) mask: [u8; 4],
    pub(super) len: u64,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

/// Reads a header from the start of `bytes`; `None` if it is not all there yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    if bytes.len() < 2 {
        return Ok(None);
    }
    if bytes[0] & 0x70 != 0 {
        return Err("a reserved bit is set and no extension was agreed on");
    }
    if bytes[1] & 0x80 == 0 {
        return Err("a client's frame must be masked");
    }
    let opcode = bytes[0] & 15;
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err("reserved opcode");
    }
    let mut reader = std::io::Cursor::new(bytes);
    let Some((header, len)) = FrameHeader::parse(&mut reader).map_err(|_| "malformed frame header")? else {
        return Ok(None);
    };
    let len_code = bytes[1] & 127;
    if (len_code == 126 && len < 126) || (len_code == 127 && len < 1 << 16) {
        return Err("the length is not in its shortest form");
    }
    if len >> 63 != 0 {
        return Err("the length has its highest bit set");
    }
    if opcode >= CLOSE && (len > 125 || !header.is_final) {
        return Err("a control frame must be whole and at most 125 bytes");
    }
    let mask = header.mask.ok_or("a client's frame must be masked")?;
    Ok(Some(Header { fin: header.is_final, opcode, mask, len, bytes: reader.position() as usize }))
}

/// Applies `mask` to bytes that start `offset` bytes into the payload.
pub(super) fn unmask(bytes: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes")) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The header of a server's whole, unmasked frame: its bytes and how many of them count.
pub fn header(opcode: u8, len: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let opcode = match opcode {
        TEXT => OpCode::Data(Data::Text),
        BINARY => OpCode::Data(Data::Binary),
        CLOSE => OpCode::Control(Control::Close),
        PING => OpCode::Control(Control::Ping),
        _ => OpCode::Control(Control::Pong),
    };
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let size = header.len(len as u64);
    let mut out = &mut bytes[..];
    header.format(len as u64, &mut out).expect("ten bytes hold every unmasked header");
    (bytes, size)
}

/// Appends a whole close frame; the reason is cut to what a control frame can hold.
pub fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let (bytes, size) = header(CLOSE, end + 2);
    out.extend_from_slice(&bytes[..size]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

/// Appends a close frame without a code, the answer to one without.
pub fn close_without_code(out: &mut Vec<u8>) {
    let (bytes, size) = header(CLOSE, 0);
    out.extend_from_slice(&bytes[..size]);
}

/// Whether a peer may send `code` (RFC 6455 section 7.4 and the IANA registry).
pub(super) fn may_close_with(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
