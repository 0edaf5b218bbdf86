//! The upgrade as a client has it: a request, and whether the answer is one to it.

use crate::dial::{DialError, Target};
use crate::random::Random;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tungstenite::handshake::derive_accept_key;

/// Bytes of an answer's head at most.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 32;

/// A key for `Sec-WebSocket-Key`.
pub(super) fn key(random: &mut Random) -> String {
    let halves = [random.number(), random.number()].map(u64::to_be_bytes);
    STANDARD.encode(halves.concat())
}

/// The request.
pub(super) fn request(target: &Target, token: &str, key: &str) -> Vec<u8> {
    let Target { host, path, subprotocol, .. } = target;
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    if !token.is_empty() {
        request.push_str("Authorization: Bearer ");
        request.push_str(token);
        request.push_str("\r\n");
    }
    if let Some(subprotocol) = subprotocol {
        request.push_str("Sec-WebSocket-Protocol: ");
        request.push_str(subprotocol);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// How long the head of an answer is, if it is all there and upgrades to a WebSocket.
pub(super) fn answer(bytes: &[u8], key: &str, target: &Target) -> Result<Option<usize>, DialError> {
    let no_websocket = |why: String| DialError::Upgrade(target.url.clone(), why);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(no_websocket("an endless answer".to_owned())),
        Err(error) => return Err(no_websocket(format!("not HTTP: {error}"))),
    };
    let code = response.code.unwrap_or(0);
    if code != 101 {
        return Err(DialError::Refused(target.url.clone(), code));
    }
    let accept = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-accept"));
    let expected = derive_accept_key(key.as_bytes());
    match accept {
        Some(header) if header.value == expected.as_bytes() => Ok(Some(head)),
        _ => Err(no_websocket("its Sec-WebSocket-Accept is not the one for the key".to_owned())),
    }
}
